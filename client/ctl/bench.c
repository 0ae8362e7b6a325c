/*
 * bench.c - pyprepctl bench: how fast pyprep is on this machine, beside what the machine can.
 *
 * Each row runs in a process of its own (aside.h), with a private daemon of its own; this
 * process waits, prints, and cleans up.
 */
#include <math.h>
#include <string.h>
#include <sys/mman.h>

#include "client/ctl/aside.h"
#include "client/ctl/bench.h"
#include "client/ctl/command.h"
#include "client/ctl/floor.h"
#include "client/ctl/nearest.h"
#include "client/ctl/report.h"

#define ROW_PATIENCE_S 1200 /* when it hangs: a row takes seconds */

static bool attach, quick;

static const struct option_row options[] = {
	{ "attach", 0, OPTION_FLAG, &attach, NULL,
	  "measure the daemon that runs, not a private one (rows that do it no harm)", 0, 0 },
	{ "quick", 0, OPTION_FLAG, &quick, NULL, "fewer rounds: seconds, less sure", 0, 0 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

/* ---- one row ---- */

struct row_run {
	const struct bench *bench;
	const struct bench_row *row;
	struct bench_result *result; /* shared with the row's process */
};

static int
row_part(void *context)
{
	struct row_run *run = context;

	run->result->done = run->row->measure(run->bench, run->result) == 0;
	return 0;
}

/* Returns the signal that came, or 0. */
static int
measure_row(const struct aside *aside, struct row_run *run)
{
	struct bench_result *result = run->result;

	*result = (struct bench_result){
		.value = NAN, .p50 = NAN, .p99 = NAN, .p999 = NAN, .floor = NAN, .python = NAN
	};
	struct aside_result end = aside_run(aside, row_part, run, ROW_PATIENCE_S);
	if (end.how == ASIDE_LATE) {
		result->done = false;
		bench_fail(result, "it took more than %d s", ROW_PATIENCE_S);
	} else if (!result->done && !result->error[0]) {
		bench_fail(result, "its process ended without a word (%s %d)",
			   end.how == ASIDE_DIED ? "signal" : "status", end.value);
	}
	return end.how == ASIDE_INTERRUPTED ? end.value : 0;
}

/* ---- which rows ---- */

#define GROUP_NAMES "jobs store ipc all"

static const struct bench_row *
find_row(const char *name)
{
	static const char *const groups[] = { "jobs", "store", "ipc", "all" };
	struct nearest nearest;

	nearest_begin(&nearest, name);
	for (const struct bench_row *row = bench_rows; row->name; row++) {
		if (strcmp(row->name, name) == 0)
			return row;
		nearest_offer(&nearest, row->name);
	}
	for (unsigned i = 0; i < sizeof groups / sizeof *groups; i++)
		nearest_offer(&nearest, groups[i]);
	const char *best = nearest_best(&nearest);
	ctl_fail(EXIT_USAGE, "usage", "bench has no row '%s'; %s%s%s", name,
		 best ? "did you mean '" : "rows: ",
		 best ? best : BENCH_ROW_NAMES "; groups: " GROUP_NAMES, best ? "'?" : "");
	return NULL;
}

/* A word is a row's name, a group's, or "all". */
static bool
is_group(const char *word)
{
	return strcmp(word, "jobs") == 0 || strcmp(word, "store") == 0 ||
	       strcmp(word, "ipc") == 0 || strcmp(word, "all") == 0;
}

static bool
names(const char *word, const struct bench_row *row)
{
	if (is_group(word))
		return (strcmp(word, "all") == 0 || strcmp(word, row->group) == 0) &&
		       (!attach || row->attachable);
	return strcmp(word, row->name) == 0;
}

static bool
wanted(const struct bench_row *row, const struct words *words)
{
	if (words->count == 0)
		return names("jobs", row);
	for (int i = 0; i < words->count; i++)
		if (names(words->word[i], row))
			return true;
	return false;
}

static bool
any_wanted(const char *group, const struct words *words)
{
	for (const struct bench_row *row = bench_rows; row->name; row++)
		if (strcmp(row->group, group) == 0 && wanted(row, words))
			return true;
	return false;
}

static int
check_words(const struct words *words)
{
	for (int i = 0; i < words->count; i++) {
		if (is_group(words->word[i]))
			continue;
		const struct bench_row *row = find_row(words->word[i]);
		if (!row)
			return EXIT_USAGE;
		if (attach && !row->attachable)
			return ctl_fail(EXIT_USAGE, "usage",
					"%s would disturb a daemon in use (or needs a fresh one); "
					"measure it without --attach",
					row->name);
	}
	return 0;
}

/* ---- the command ---- */

static int
measure_rows(const struct bench *bench, const struct aside *aside, const struct words *words)
{
	struct row_run run = { .bench = bench, .result = floor_share(sizeof *run.result) };
	struct machine machine;
	int status = 0;

	if (!run.result)
		return ctl_fail(EXIT_OURS, "internal", "no shared memory for the results");
	machine_look(&machine);
	bench_print_begin(&machine, any_wanted("ipc", words));
	for (run.row = bench_rows; run.row->name; run.row++) {
		if (!wanted(run.row, words))
			continue;
		int number = measure_row(aside, &run);
		if (number != 0) {
			ctl_note("interrupted; its daemons and files are gone");
			status = EXIT_SIGNALLED + number;
			break;
		}
		bench_print_row(run.row, run.result, &machine);
		if (!run.result->done)
			status = EXIT_SOME_FAILED;
	}
	munmap(run.result, sizeof *run.result);
	return status;
}

static int
bench_run(const struct words *words)
{
	char path[1024] = "";
	struct aside aside;
	struct bench bench = { .daemon = path,
			       .directory = aside.directory,
			       .label = aside.label,
			       .attach = attach,
			       .quick = quick };

	int status = check_words(words);
	if (status != 0)
		return status;
	if (!attach && bench_find_daemon(path, sizeof path) < 0)
		return ctl_fail(EXIT_OURS, "no_daemon",
				"pyprepd is not beside pyprepctl, in ../sbin or in PATH; add its "
				"directory to PATH, or measure a running daemon with --attach");
	status = aside_open(&aside, "bench");
	if (status != 0)
		return status;
	status = measure_rows(&bench, &aside, words);
	aside_close(&aside);
	return status;
}

extern const struct command command_bench;
const struct command command_bench = {
	.name = "bench",
	.args = "[ROW... | jobs | store | ipc | all] [--quick] [--attach] [--json]",
	.summary = "measure pyprep on this machine, beside what the machine can do",
	.examples = "  pyprepctl bench --quick\n"
		    "  pyprepctl bench attached_latency attached_rate\n"
		    "  pyprepctl bench --json | jq -r 'select(.met|not).name'\n",
	.more = "jobs: attached_latency attached_rate array_items sleeps_1000 sumsq_4 exec_rate\n"
		"      replacement deep_queue bytes_per_job idle_pss start (what is measured without a word)\n"
		"ipc:  the primitives, with CPython's own beside them where python3 is\n"
		"Each row is measured by turns with its floor: the same work by the least code "
		"that\n"
		"can do it (bare rings between three processes, a plain loop, vfork and exec), "
		"which\n"
		"waits as pyprep waits.  Ratios hold on any machine, times do not.  Without "
		"--attach\n"
		"each row starts a pyprepd of its own (beside this program, in ../sbin, or in "
		"PATH)\n"
		"in a directory of its own, and nothing of it remains.\n"
		"Exit status: 0 all rows were measured, whether or not their goals are met; 1 "
		"some\n"
		"could not be.\n",
	.options = options,
	.complete = COMPLETE_WORDS,
	.choices = "jobs ipc all " BENCH_ROW_NAMES,
	.run = bench_run,
};
