/*
 * bench.c - pyprepctl bench: how fast pyprep is on this machine, beside what the machine can.
 *
 * Each row runs in a process of its own, with a private daemon of its own; this process
 * waits, prints, and cleans up.  So a row that fails, hangs or is interrupted takes nothing
 * with it: its process is killed, its daemon and floor die with it (and are reaped here, as
 * the subreaper), and their directory goes.
 */
#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/command.h"
#include "client/ctl/floor.h"
#include "client/ctl/nearest.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

#define ROW_PATIENCE_S 180
#define REAP_NS        (5 * NS_PER_S)

static bool attach, quick;

static const struct option_row options[] = {
	{ "attach", 0, OPTION_FLAG, &attach, NULL,
	  "measure the daemon that runs, not a private one (rows that do it no harm)", 0, 0 },
	{ "quick", 0, OPTION_FLAG, &quick, NULL, "fewer rounds: seconds, less sure", 0, 0 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

/* ---- cleaning up ---- */

static int
remove_one(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)status;
	(void)type;
	(void)at;
	(void)remove(path);
	return 0;
}

static void
remove_tree(const char *path)
{
	(void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Wait for what a row left behind: it was told to die, and came to us. */
static void
reap_all(void)
{
	uint64_t begun = clock_now();

	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);
		if (pid < 0 || clock_now() - begun > REAP_NS)
			return;
		if (pid == 0)
			bench_pause_ms(1);
	}
}

/* ---- one row ---- */

/* The signals this process waits for instead of being interrupted; not those that its
 * starter made it ignore (nohup). */
static void
waited_signals(sigset_t *ret)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action;

	sigemptyset(ret);
	sigaddset(ret, SIGCHLD);
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
		if (sigaction(ends[i], NULL, &action) < 0 || action.sa_handler != SIG_IGN)
			sigaddset(ret, ends[i]);
}

static _Noreturn void
row_main(const struct bench *bench, const struct bench_row *row, struct bench_result *result)
{
	sigset_t set;

	waited_signals(&set);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	result->done = row->measure(bench, result) == 0;
	_exit(0);
}

/* Until the row's process has ended: 0, or the signal that asked us to end. */
static int
wait_row(pid_t pid, struct bench_result *result)
{
	uint64_t begun = clock_now();
	sigset_t set;
	int status;

	waited_signals(&set);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		int number = sigtimedwait(&set, NULL, &(struct timespec){ .tv_sec = 1 });
		bool late = clock_now() - begun > ROW_PATIENCE_S * NS_PER_S;
		if ((number < 0 || number == SIGCHLD) && !late)
			continue;
		floor_kill(pid);
		result->done = false;
		bench_fail(result, "it took more than %d s", ROW_PATIENCE_S);
		return late ? 0 : number;
	}
	if (!result->done && !result->error[0])
		bench_fail(result, "its process ended without a word (status %d)", status);
	return 0;
}

/* Returns the signal that came, or 0. */
static int
measure_row(const struct bench *bench, const struct bench_row *row, struct bench_result *result)
{
	*result = (struct bench_result){
		.value = NAN, .p50 = NAN, .p99 = NAN, .p999 = NAN, .floor = NAN
	};
	fflush(stdout);
	pid_t pid = floor_fork();
	if (pid == 0)
		row_main(bench, row, result);
	if (pid < 0) {
		bench_fail(result, "cannot fork: %s", strerror(errno));
		return 0;
	}
	int number = wait_row(pid, result);
	reap_all();
	return number;
}

/* ---- which rows ---- */

static const struct bench_row *
find_row(const char *name)
{
	struct nearest nearest;

	nearest_begin(&nearest, name);
	for (const struct bench_row *row = bench_rows; row->name; row++) {
		if (strcmp(row->name, name) == 0)
			return row;
		nearest_offer(&nearest, row->name);
	}
	const char *best = nearest_best(&nearest);
	ctl_fail(EXIT_USAGE, "usage", "bench has no row '%s'; %s%s%s", name,
		 best ? "did you mean '" : "rows: ", best ? best : BENCH_ROW_NAMES,
		 best ? "'?" : "");
	return NULL;
}

static bool
wanted(const struct bench_row *row, const struct words *words)
{
	if (words->count == 0)
		return !attach || row->attachable;
	for (int i = 0; i < words->count; i++)
		if (strcmp(row->name, words->word[i]) == 0)
			return true;
	return false;
}

static int
check_words(const struct words *words)
{
	for (int i = 0; i < words->count; i++) {
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
measure_rows(const struct bench *bench, const struct words *words)
{
	struct bench_result *result = floor_share(sizeof *result);
	struct machine machine;
	int status = 0;

	if (!result)
		return ctl_fail(EXIT_OURS, "internal", "no shared memory for the results");
	machine_look(&machine);
	bench_print_begin(&machine);
	for (const struct bench_row *row = bench_rows; row->name; row++) {
		if (!wanted(row, words))
			continue;
		int number = measure_row(bench, row, result);
		if (number != 0) {
			ctl_note("interrupted; its daemons and files are gone");
			status = EXIT_SIGNALLED + number;
			break;
		}
		bench_print_row(row, result, &machine);
		if (!result->done)
			status = EXIT_SOME_FAILED;
	}
	munmap(result, sizeof *result);
	return status;
}

static int
bench_run(const struct words *words)
{
	char directory[] = "/tmp/pyprep-bench-XXXXXX", path[1024] = "";
	struct bench bench = {
		.daemon = path, .directory = directory, .attach = attach, .quick = quick
	};
	sigset_t set;

	int status = check_words(words);
	if (status != 0)
		return status;
	if (!attach && bench_find_daemon(path, sizeof path) < 0)
		return ctl_fail(EXIT_OURS, "no_daemon",
				"pyprepd is not beside pyprepctl, in ../sbin or in PATH; add its "
				"directory to PATH, or measure a running daemon with --attach");
	if (!mkdtemp(directory))
		return ctl_fail(EXIT_OURS, "internal", "cannot make a directory in /tmp: %s",
				strerror(errno));
	waited_signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	status = measure_rows(&bench, words);
	remove_tree(directory);
	return status;
}

extern const struct command command_bench;
const struct command command_bench = {
	.name = "bench",
	.args = "[ROW...] [--quick] [--attach] [--json]",
	.summary = "measure pyprep on this machine, beside what the machine can do",
	.examples = "  pyprepctl bench --quick\n"
		    "  pyprepctl bench attached_latency attached_rate\n"
		    "  pyprepctl bench --json | jq -r 'select(.met|not).name'\n",
	.more = "Rows: attached_latency attached_rate array_items sleeps_1000 sumsq_4 exec_rate\n"
		"      replacement bytes_per_job idle_pss start\n"
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
	.choices = BENCH_ROW_NAMES,
	.run = bench_run,
};
