/* drill.c - pyprepctl drill: the table of drills, each run in a process of its own. */
#include "client/ctl/drill.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "client/ctl/aside.h"
#include "client/ctl/command.h"
#include "client/ctl/demo_story.h"
#include "client/ctl/nearest.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

#define PATIENCE_S 600 /* beyond its time, when it hangs */

/*        name             function             what */
#define DRILLS(X)                                                                           \
	X("worker-kill", drill_worker_kill, "workers are killed")                           \
	X("broker-kill", drill_broker_kill, "the broker is killed")                         \
	X("daemon-kill", drill_daemon_kill, "the supervisor is killed, and with it all")    \
	X("hang", drill_hang, "a worker, the broker and a command stop, and do not listen") \
	X("oom", drill_oom, "jobs take more memory than they may")                          \
	X("disk-full", drill_disk_full, "the store finds no room, and then some")           \
	X("fd-exhaustion", drill_fd_exhaustion, "the broker runs out of descriptors")       \
	X("clock-jump", drill_clock_jump, "the wall clock jumps by an hour, both ways")

#define X(name, function, summary) { name, summary, function },
static const struct demo_row rows[] = { DRILLS(X){ NULL, NULL, NULL } };
#undef X
#define X(name, function, summary) name " "
#define DRILL_NAMES                DRILLS(X) "all"

struct drill_options drill_options = { .for_ns = 10 * NS_PER_S };

static const struct option_row options[] = {
	{ "for", 0, OPTION_DURATION, &drill_options.for_ns, "TIME",
	  "how long faults are made (else 10s); letting all work end comes after", 0, 0 },
	{ "seed", 0, OPTION_INT, &drill_options.seed, "S",
	  "the random numbers' (else a new one, printed): the same faults again", 1, INT32_MAX },
	{ "forgets", 0, OPTION_FLAG, &drill_options.forgets, NULL,
	  "with a store that forgets: to see the judge find what is lost", 0, 0 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

static const struct demo_row *
find_row(const char *name)
{
	struct nearest nearest;

	nearest_begin(&nearest, name);
	for (const struct demo_row *row = rows; row->name; row++) {
		if (strcmp(row->name, name) == 0)
			return row;
		nearest_offer(&nearest, row->name);
	}
	const char *best = nearest_best(&nearest);
	ctl_fail(EXIT_USAGE, "usage", "there is no drill '%s'; %s%s%s", name,
		 best ? "did you mean '" : "there are: ", best ? best : DRILL_NAMES,
		 best ? "'?" : "");
	return NULL;
}

static int
run_one(const struct aside *aside, const struct demo_row *row)
{
	struct demo demo = {
		.row = row, .schema = "pyprep.drill/1", .noun = "drill", .aside = aside
	};

	return demo_tell(&demo, (unsigned)(drill_options.for_ns / NS_PER_S) + PATIENCE_S);
}

static int
run_all(const struct aside *aside, const char *name)
{
	bool all = strcmp(name, "all") == 0;
	int status = 0;

	for (const struct demo_row *row = rows; row->name; row++) {
		if (!all && strcmp(row->name, name) != 0)
			continue;
		int one = run_one(aside, row);
		status = one > status ? one : status;
		if (one > EXIT_SIGNALLED)
			break;
		if (all && !ctl.json)
			putchar('\n');
	}
	return status;
}

static int
drill_command(const struct words *words)
{
	struct aside aside;

	if (words->count != 1)
		return ctl_fail(EXIT_USAGE, "usage", "name one drill: %s", DRILL_NAMES);
	if (strcmp(words->word[0], "all") != 0 && !find_row(words->word[0]))
		return EXIT_USAGE;
	if (drill_options.seed == 0) {
		uint32_t random = 1;
		(void)!getrandom(&random, sizeof random, GRND_NONBLOCK);
		drill_options.seed = (random & INT32_MAX) | 1;
	}
	int status = aside_open(&aside, "drill");
	if (status != 0)
		return status;
	status = run_all(&aside, words->word[0]);
	aside_close(&aside);
	return status;
}

extern const struct command command_drill;
const struct command command_drill = {
	.name = "drill",
	.args = "NAME|all [--for TIME] [--seed S] [--json]",
	.summary = "a disaster on purpose, in a daemon of its own, and what it cost",
	.examples = "  pyprepctl drill worker-kill\n"
		    "  pyprepctl drill daemon-kill --for 30s --seed 7\n"
		    "  pyprepctl drill all --json | jq '.checks'\n",
	.more = "Each starts a private daemon, gives it detached and attached jobs, does harm to "
		"it at\n"
		"random moments, and then judges: nothing acknowledged lost, nothing done twice,\n"
		"re-runs marked, everyone answered; and how long it took until work went on.\n"
		"Your daemon is not touched, and nothing remains.\n"
		"Exit status: 0 all that is promised held; 1 something did not.\n",
	.options = options,
	.complete = COMPLETE_WORDS,
	.choices = DRILL_NAMES,
	.run = drill_command,
};
