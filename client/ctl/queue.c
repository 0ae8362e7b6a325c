/* queue.c - pyprepctl queue: bounded queues in shared memory, by name; no daemon takes part. */
#include "client/ctl/queue.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/nearest.h"
#include "client/ctl/report.h"

struct queue_arguments queue_arguments = {
	.capacity = 1024,
	.message_max = 4096,
	.members_max = 64,
	.timeout_ns = QUEUE_FOREVER,
};

static const struct option_row options[] = {
	{ "capacity", 'c', OPTION_INT, &queue_arguments.capacity, "N",
	  "create: the bound, in messages (default 1024)", 1, 1 << 24 },
	{ "message-max", 'm', OPTION_INT, &queue_arguments.message_max, "BYTES",
	  "create: the longest message (default 4096)", 1, 1 << 30 },
	{ "members-max", 0, OPTION_INT, &queue_arguments.members_max, "N",
	  "create: how many processes may be attached at once (default 64)", 1, QUEUE_MEMBERS_MAX },
	{ "mode", 0, OPTION_TEXT, &queue_arguments.mode, "OCTAL",
	  "create: who may open it (default 0600)", 0, 0 },
	{ "timeout", 't', OPTION_DURATION, &queue_arguments.timeout_ns, "TIME",
	  "put, get, join: wait no longer (exit status 124); default: as long as it takes", 0, 0 },
	{ "no-wait", 0, OPTION_FLAG, &queue_arguments.no_wait, NULL,
	  "put, get, join: do not wait at all (exit status 75)", 0, 0 },
	{ "count", 'n', OPTION_INT, &queue_arguments.count, "N",
	  "get: so many messages (default 1)", 1, INT64_MAX },
	{ "all", 'a', OPTION_FLAG, &queue_arguments.all, NULL,
	  "get: until the queue is closed and drained; with --no-wait: what is there", 0, 0 },
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "only results; ls: only the names", 0, 0 },
	OPTION_ROW_END,
};

static const struct verb {
	const char *name;
	int least, most; /* words */
	const char *usage;
	queue_verb_fn run;
} verbs[] = {
	{ "create", 1, 1, "queue create NAME [--capacity N] [--message-max BYTES]",
	  queue_verb_create },
	{ "put", 1, INT_MAX, "queue put NAME [MESSAGE ... | -]", queue_verb_put },
	{ "get", 1, 1, "queue get NAME [--count N | --all]", queue_verb_get },
	{ "ls", 0, 0, "queue ls", queue_verb_ls },
	{ "stat", 1, 1, "queue stat NAME", queue_verb_stat },
	{ "close", 1, 1, "queue close NAME", queue_verb_close },
	{ "join", 1, 1, "queue join NAME", queue_verb_join },
	{ "rm", 1, INT_MAX, "queue rm NAME ...", queue_verb_rm },
};
#define VERBS      (sizeof verbs / sizeof verbs[0])
#define VERB_NAMES "create put get ls stat close join rm"

uint64_t
queue_patience(void)
{
	return queue_arguments.no_wait ? QUEUE_NO_WAIT : queue_arguments.timeout_ns;
}

static int
unknown_verb(const char *text)
{
	struct nearest nearest;

	nearest_begin(&nearest, text);
	for (unsigned i = 0; i < VERBS; i++)
		nearest_offer(&nearest, verbs[i].name);
	const char *best = nearest_best(&nearest);
	return ctl_fail(EXIT_USAGE, "usage", "queue has no '%s'; %s%s%s", text,
			best ? "did you mean '" : "it takes " VERB_NAMES, best ? best : "",
			best ? "'?" : "");
}

/* Whoever may write to a queue's file may also cut it short while we use it. */
static void
on_sigbus(int number)
{
	static const char text[] = "pyprepctl: the queue's file was cut short while it was used\n";

	(void)number;
	(void)!write(STDERR_FILENO, text, sizeof text - 1);
	_exit(EXIT_OURS);
}

/* After "--" a message may begin with a dash. */
static int
run_verb(const struct verb *verb, const struct words *words)
{
	char **all = ctl_alloc((size_t)(words->count + words->rest_count) + 1, sizeof *all);
	int count = 0;

	for (int i = 1; i < words->count; i++)
		all[count++] = words->word[i];
	for (int i = 0; i < words->rest_count; i++)
		all[count++] = words->rest[i];
	int status = count < verb->least || count > verb->most
			     ? ctl_fail(EXIT_USAGE, "usage", "write: pyprepctl %s", verb->usage)
			     : verb->run(all, count);
	free(all);
	return status;
}

static int
queue_main(const struct words *words)
{
	struct sigaction action = { .sa_handler = on_sigbus };
	unsigned i = 0;

	if (words->count == 0)
		return ctl_fail(EXIT_USAGE, "usage", "queue takes one of " VERB_NAMES);
	while (i < VERBS && strcmp(verbs[i].name, words->word[0]) != 0)
		i++;
	if (i == VERBS)
		return unknown_verb(words->word[0]);
	sigaction(SIGBUS, &action, NULL);
	return run_verb(&verbs[i], words);
}

extern const struct command command_queue;
const struct command command_queue = {
	.name = "queue",
	.args = "VERB [NAME ...] [OPTIONS]",
	.summary = "bounded queues in shared memory: make them, put, get, close, look",
	.examples = "  pyprepctl queue create work --capacity 100\n"
		    "  pyprepctl queue put work one two three\n"
		    "  find . -name '*.c' | pyprepctl queue put work -\n"
		    "  pyprepctl queue get work --count 3\n"
		    "  pyprepctl queue close work; pyprepctl queue get work --all\n"
		    "  pyprepctl queue stat work\n"
		    "  pyprepctl queue rm work\n",
	.more = "create NAME          a queue that any process of yours may use (ipc/queue.h)\n"
		"put NAME MESSAGE ... each word is a message; without words or with - each line\n"
		"                     of standard input; waits while the queue is full\n"
		"get NAME             prints messages, a line each; waits while it is empty\n"
		"ls, stat NAME        what there is; one in detail, with its members\n"
		"close NAME           no more puts: consumers drain it and learn the end\n"
		"join NAME            wait until every message is done, or lost with who had it\n"
		"rm NAME ...          remove the name; who uses it goes on\n"
		"\n"
		"A message is done when get has written it out.\n"
		"Exit status: 75 full or empty (--no-wait); 124 not within --timeout; 3 no such\n"
		"queue; 1 it is closed.\n",
	.options = options,
	.complete = COMPLETE_WORDS,
	.choices = VERB_NAMES,
	.run = queue_main,
};
