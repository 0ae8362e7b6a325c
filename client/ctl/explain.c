/*
 * explain.c - pyprepctl explain: questions about processes, threads, event loops and IPC, each
 * answered by an experiment on this machine.
 *
 * A topic is a story (demo.h) that ends with its answer: sentences computed from the figures of
 * this very run.  To add one: a function in an explain_*.c, a line in TOPICS, docs and a test.
 */
#include "client/ctl/explain.h"

#include <stdio.h>
#include <string.h>

#include "client/ctl/aside.h"
#include "client/ctl/command.h"
#include "client/ctl/demo_story.h"
#include "client/ctl/nearest.h"
#include "client/ctl/print_table.h"
#include "client/ctl/report.h"

#define TOPIC_PATIENCE_S 1200 /* when it hangs: a topic takes seconds */

#define X(id, name, question, tell) { name, question, tell },
static const struct demo_row topics[] = { TOPICS(X){ 0 } };
#undef X
#define X(id, name, question, tell) name " "
#define TOPIC_NAMES                 TOPICS(X) "all"

static bool quick;

static const struct option_row options[] = {
	{ "quick", 0, OPTION_FLAG, &quick, NULL, "fewer rounds: less sure figures", 0, 0 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

static int
list_topics(void)
{
	static const struct column columns[] = {
		{ "topic", COLUMN_TEXT, 0 },
		{ "question", COLUMN_TEXT, 0 },
	};
	struct table table;

	table_begin(&table, columns, 2, false);
	for (const struct demo_row *t = topics; t->name; t++) {
		if (ctl.json) {
			json_t *json = json_pack("{s:s, s:s, s:s}", "schema", "pyprep.topic/1",
						 "topic", t->name, "question", t->summary);
			json_dumpf(json, stdout, JSON_COMPACT);
			putchar('\n');
			json_decref(json);
			continue;
		}
		table_text(&table, COLOUR_NONE, "%s", t->name);
		table_text(&table, COLOUR_NONE, "%s", t->summary);
	}
	table_print(&table);
	if (!ctl.json && !ctl.quiet)
		printf("\npyprepctl explain TOPIC runs the experiment and answers with its "
		       "figures.\n");
	return 0;
}

static bool
is_topic(const char *name)
{
	struct nearest nearest;

	nearest_begin(&nearest, name);
	for (const struct demo_row *t = topics; t->name; t++) {
		if (strcmp(t->name, name) == 0)
			return true;
		nearest_offer(&nearest, t->name);
	}
	const char *best = nearest_best(&nearest);
	ctl_fail(EXIT_USAGE, "usage", "there is no topic '%s'; %s%s%s", name,
		 best ? "did you mean '" : "there are: ", best ? best : TOPIC_NAMES,
		 best ? "'?" : "");
	return false;
}

static int
explain_one(const struct aside *aside, const struct demo_row *topic)
{
	struct demo story = { .row = topic,
			      .schema = "pyprep.explain/1",
			      .noun = "topic",
			      .aside = aside,
			      .quick = quick };

	return demo_tell(&story, TOPIC_PATIENCE_S);
}

static int
explain_words(const struct aside *aside, const char *word)
{
	bool all = strcmp(word, "all") == 0;
	int status = 0;

	for (const struct demo_row *t = topics; t->name; t++) {
		if (!all && strcmp(t->name, word) != 0)
			continue;
		int one = explain_one(aside, t);
		status = one > status ? one : status;
		if (one > EXIT_SIGNALLED)
			break;
		if (all && !ctl.json)
			putchar('\n');
	}
	return status;
}

static int
explain_command(const struct words *words)
{
	struct aside aside;

	if (words->count == 0)
		return list_topics();
	if (words->count > 1)
		return ctl_fail(EXIT_USAGE, "usage", "name one topic: %s", TOPIC_NAMES);
	if (strcmp(words->word[0], "all") != 0 && !is_topic(words->word[0]))
		return EXIT_USAGE;
	int status = aside_open(&aside, "explain");
	if (status != 0)
		return status;
	status = explain_words(&aside, words->word[0]);
	aside_close(&aside);
	return status;
}

extern const struct command command_explain;
const struct command command_explain = {
	.name = "explain",
	.args = "[TOPIC|all] [--quick] [--json]",
	.summary = "a question about concurrency or IPC, answered by an experiment here",
	.examples = "  pyprepctl explain\n"
		    "  pyprepctl explain wake-up-cost\n"
		    "  pyprepctl explain gil --json | jq -r '.answer[]'\n",
	.more = "Alone it lists the topics.  Each takes some seconds; every figure is measured in\n"
		"this run, CPython's beside ours where python3 is (PYPREP_PYTHON names another), "
		"and\n"
		"the answer's sentences are computed from them.  Needs no daemon.\n",
	.options = options,
	.complete = COMPLETE_WORDS,
	.choices = TOPIC_NAMES,
	.run = explain_command,
};
