/*
 * compare.c - pyprepctl compare: pyprep and CPython's own implementation on the same work, in
 * the same run.  Each topic runs in a process of its own.
 */
#include "client/ctl/compare.h"

#include <string.h>

#include "client/ctl/aside.h"
#include "client/ctl/command.h"
#include "client/ctl/cpython.h"
#include "client/ctl/nearest.h"
#include "client/ctl/report.h"

#define REPEATS          5
#define REPEATS_QUICK    3
#define TOPIC_PATIENCE_S 1800
#define TIDY_PATIENCE_S  10

/*    name, needs a daemon, tidies up */
#define TOPICS(X)             \
	X(cpu, true, NULL)    \
	X(io, true, NULL)     \
	X(call, true, NULL)   \
	X(map, true, NULL)    \
	X(queue, false, NULL) \
	X(pipe, false, NULL)  \
	X(shm, false, NULL)   \
	X(manager, true, compare_manager_tidy)

#define X(name, daemon, tidy) { #name, daemon, compare_##name, tidy },
static const struct compare_topic topics[] = { TOPICS(X){ 0 } };
#undef X
#define X(name, daemon, tidy) #name " "
#define TOPIC_NAMES           TOPICS(X) "all"

static int64_t repeats;
static bool quick;

static const struct option_row options[] = {
	{ "repeats", 0, OPTION_INT, &repeats, "N",
	  "turns of each way, of which the median counts (5; 3 with --quick)", 1,
	  COMPARE_REPEATS_MAX },
	{ "quick", 0, OPTION_FLAG, &quick, NULL, "less work: seconds, less sure figures", 0, 0 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

/* ---- one topic ---- */

struct part {
	struct compare *c;
	const struct compare_topic *topic;
};

/* In the topic's process: its exit status. */
static int
run_part(void *context)
{
	struct part *part = context;
	struct pyprep *p = NULL;

	int status = part->topic->needs_daemon ? ctl_connect(&p) : 0;
	if (status != 0)
		return status;
	status = part->topic->run(part->c, p);
	compare_print_said(part->c, part->topic->name);
	pyprep_close(p);
	return status == 0 && part->c->failed ? EXIT_SOME_FAILED : status;
}

static int
run_topic(const struct aside *aside, struct compare *c, const struct compare_topic *topic)
{
	struct part part = { .c = c, .topic = topic };

	struct aside_result end = aside_run(aside, run_part, &part, TOPIC_PATIENCE_S);
	if (topic->tidy)
		(void)aside_run(aside, topic->tidy, c, TIDY_PATIENCE_S);
	switch (end.how) {
	case ASIDE_ENDED:
		return end.value;
	case ASIDE_INTERRUPTED:
		return EXIT_SIGNALLED + end.value;
	case ASIDE_LATE:
		return ctl_fail(EXIT_OURS, "compare",
				"compare %s took more than %d s and was ended", topic->name,
				TOPIC_PATIENCE_S);
	case ASIDE_DIED:
		break;
	}
	return ctl_fail(EXIT_OURS, "compare", "compare %s was killed by signal %d", topic->name,
			end.value);
}

/* ---- which ---- */

static int
check_words(const struct words *words)
{
	struct nearest nearest;

	if (words->count == 0)
		return ctl_fail(EXIT_USAGE, "usage", "compare what? there are: %s", TOPIC_NAMES);
	for (int i = 0; i < words->count; i++) {
		bool known = strcmp(words->word[i], "all") == 0;
		nearest_begin(&nearest, words->word[i]);
		for (const struct compare_topic *topic = topics; topic->name; topic++) {
			known = known || strcmp(words->word[i], topic->name) == 0;
			nearest_offer(&nearest, topic->name);
		}
		const char *best = nearest_best(&nearest);
		if (!known)
			return ctl_fail(EXIT_USAGE, "usage", "there is no comparison '%s'; %s%s%s",
					words->word[i], best ? "did you mean '" : "there are: ",
					best ? best : TOPIC_NAMES, best ? "'?" : "");
	}
	return 0;
}

static bool
wanted(const struct compare_topic *topic, const struct words *words)
{
	for (int i = 0; i < words->count; i++)
		if (strcmp(words->word[i], topic->name) == 0 || strcmp(words->word[i], "all") == 0)
			return true;
	return false;
}

static int
run_topics(const struct aside *aside, struct compare *c, const struct words *words)
{
	int status = 0;

	for (const struct compare_topic *topic = topics; topic->name; topic++) {
		if (!wanted(topic, words))
			continue;
		int one = run_topic(aside, c, topic);
		if (one > status)
			status = one;
		if (one > EXIT_SIGNALLED)
			break;
	}
	return status;
}

static int
compare_command(const struct words *words)
{
	struct compare c = { .quick = quick };
	struct machine machine;
	struct aside aside;
	char python[64];

	int status = check_words(words);
	if (status == 0)
		status = aside_open(&aside, "compare");
	if (status != 0)
		return status;
	if (cpython_version(python, sizeof python) == 0)
		c.python = python;
	machine_look(&machine);
	c.machine = &machine;
	c.label = aside.label;
	c.repeats = repeats > 0 ? (unsigned)repeats : quick ? REPEATS_QUICK : REPEATS;
	compare_print_begin(&c);
	status = run_topics(&aside, &c, words);
	aside_close(&aside);
	return status;
}

extern const struct command command_compare;
const struct command command_compare = {
	.name = "compare",
	.args = "TOPIC... [--repeats N] [--quick] [--json]",
	.summary = "pyprep and CPython's own pools, queues and pipes on the same work",
	.examples = "  pyprepctl compare cpu\n"
		    "  pyprepctl compare pipe shm --repeats 9\n"
		    "  pyprepctl compare all --quick --json\n",
	.more = "Topics, or all:\n"
		"  cpu    8 x sumsq: one after another, by processes, threads, an event loop\n"
		"  io     200 x sleep ms=10, the same ways\n"
		"  call   calls that do nothing, one in flight and all at once; /bin/true\n"
		"  map    a million squares: an array job, and Pool.map\n"
		"  queue  messages of 64 bytes, one to one, two to two, and there and back\n"
		"  pipe   round trips and one way, 64 bytes and 1 MiB\n"
		"  shm    an array of 8 MiB: made, filled, summed, attached to; and counting\n"
		"  manager  a number that processes add to by requests, and an atomic one\n"
		"All ways take turns; the median and the spread of the turns are printed, and how\n"
		"many times as fast as CPython's way pyprep's is.  cpu, io, call and map use the "
		"pools\n"
		"of the running daemon, and as many processes or threads there as here.\n"
		"$PYPREP_PYTHON is the interpreter, else python3 in PATH; without one pyprep is\n"
		"measured alone.\n"
		"Exit status: 0 all was measured; 1 something could not be.\n",
	.options = options,
	.complete = COMPLETE_WORDS,
	.choices = TOPIC_NAMES,
	.run = compare_command,
};
