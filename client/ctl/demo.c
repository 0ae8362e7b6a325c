/* demo.c - pyprepctl demo: the table of stories, each told in a process of its own. */
#include "client/ctl/demo.h"

#include <stdio.h>
#include <string.h>

#include "client/ctl/aside.h"
#include "client/ctl/command.h"
#include "client/ctl/demo_story.h"
#include "client/ctl/nearest.h"
#include "client/ctl/report.h"

#define STORY_PATIENCE_S 1200 /* when it hangs: a story takes seconds */

/* In the order of `demo all`. */
#define DEMOS(X)   \
	X(queue)   \
	X(pipe)    \
	X(shm)     \
	X(manager) \
	X(locks)

#define X(name) extern const struct demo_row demo_##name;
DEMOS(X)
#undef X

#define X(name) &demo_##name,
static const struct demo_row *const rows[] = { DEMOS(X) NULL };
#undef X
#define X(name)    #name " "
#define DEMO_NAMES DEMOS(X) "all"

static bool quick;

static const struct option_row options[] = {
	{ "quick", 0, OPTION_FLAG, &quick, NULL, "fewer rounds: seconds, less sure figures", 0, 0 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

static const struct demo_row *
find_row(const char *name)
{
	struct nearest nearest;

	nearest_begin(&nearest, name);
	for (const struct demo_row *const *row = rows; *row; row++) {
		if (strcmp((*row)->name, name) == 0)
			return *row;
		nearest_offer(&nearest, (*row)->name);
	}
	const char *best = nearest_best(&nearest);
	ctl_fail(EXIT_USAGE, "usage", "there is no demo '%s'; %s%s%s", name,
		 best ? "did you mean '" : "there are: ", best ? best : DEMO_NAMES,
		 best ? "'?" : "");
	return NULL;
}

/* The exit status of one story. */
static int
tell_one(const struct aside *aside, const struct demo_row *row)
{
	struct demo demo = { .row = row,
			     .schema = "pyprep.demo/1",
			     .noun = "demo",
			     .aside = aside,
			     .quick = quick };

	return demo_tell(&demo, STORY_PATIENCE_S);
}

static int
tell_all(const struct aside *aside, const struct words *words)
{
	int status = 0;
	bool all = strcmp(words->word[0], "all") == 0;

	for (const struct demo_row *const *row = rows; *row; row++) {
		if (!all && strcmp((*row)->name, words->word[0]) != 0)
			continue;
		int one = tell_one(aside, *row);
		if (one > status)
			status = one;
		if (one > EXIT_SIGNALLED)
			break;
		if (all && !ctl.json)
			putchar('\n');
	}
	return status;
}

static int
demo_command(const struct words *words)
{
	struct aside aside;

	if (words->count != 1)
		return ctl_fail(EXIT_USAGE, "usage", "name one demo: %s", DEMO_NAMES);
	if (strcmp(words->word[0], "all") != 0 && !find_row(words->word[0]))
		return EXIT_USAGE;
	int status = aside_open(&aside, "demo");
	if (status != 0)
		return status;
	status = tell_all(&aside, words);
	aside_close(&aside);
	return status;
}

extern const struct command command_demo;
const struct command command_demo = {
	.name = "demo",
	.args = "NAME|all [--quick] [--json]",
	.summary = "what IPC does, shown by real processes: limits, deaths and prices",
	.examples = "  pyprepctl demo queue\n"
		    "  pyprepctl demo all --quick\n"
		    "  pyprepctl demo locks --json | jq .figures\n",
	.more = "Each runs real processes, kills some of them, says what the others see, and ends\n"
		"with its figures, beside those of CPython's multiprocessing where python3 is.\n"
		"Nothing of it remains.  pyprep-ipc(7) says what each primitive promises.\n"
		"Exit status: 0 all that is promised held; 1 something did not.\n",
	.options = options,
	.complete = COMPLETE_WORDS,
	.choices = DEMO_NAMES,
	.run = demo_command,
};
