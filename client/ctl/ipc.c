/* ipc.c - pyprepctl ipc: the sub-verbs. */
#include "client/ctl/ipc.h"

#include <string.h>

#include "client/ctl/nearest.h"
#include "client/ctl/report.h"

struct ipc_options ipc_options;

static const struct option_row options[] = {
	{ "wide", 'w', OPTION_FLAG, &ipc_options.wide, NULL,
	  "ls: every column, however long the lines", 0, 0 },
	{ "watch", 0, OPTION_DURATION, &ipc_options.watch_ns, "S",
	  "ls: again every S seconds, until interrupted", 0, 0 },
	{ "orphans", 0, OPTION_FLAG, &ipc_options.orphans, NULL,
	  "rm: everything that ls marks orphan", 0, 0 },
	{ "force", 0, OPTION_FLAG, &ipc_options.force, NULL, "rm: also what living processes hold",
	  0, 0 },
	{ "dry-run", 0, OPTION_FLAG, &ipc_options.dry_run, NULL,
	  "rm: only say what would be removed", 0, 0 },
	{ "payload", 0, OPTION_TEXT, &ipc_options.payload, "LO..HI",
	  "lab: sizes, such as 64..16M (the default), 4K..64K or 1M", 0, 0 },
	{ "svg", 0, OPTION_TEXT, &ipc_options.svg, "FILE", "lab: write the curves there, too", 0,
	  0 },
	{ "quick", 0, OPTION_FLAG, &ipc_options.quick, NULL, "lab: shorter, less exact", 0, 0 },
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "ls: only names; rm: say nothing", 0, 0 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

/* A row, a function, a word in `choices`. */
static const struct ipc_verb verbs[] = {
	{ "ls", ipc_ls },
	{ "rm", ipc_rm },
	{ "lab", ipc_lab },
};
#define VERBS (sizeof verbs / sizeof verbs[0])

static int
unknown_verb(const char *text)
{
	struct nearest nearest;

	nearest_begin(&nearest, text);
	for (unsigned i = 0; i < VERBS; i++)
		nearest_offer(&nearest, verbs[i].name);
	const char *best = nearest_best(&nearest);
	return ctl_fail(EXIT_USAGE, "usage", "there is no 'ipc %s'%s%s%s; see pyprepctl ipc --help",
			text, best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
}

static int
ipc_run(const struct words *words)
{
	if (words->count == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"write: pyprepctl ipc ls, ipc rm NAME, or ipc lab");
	for (unsigned i = 0; i < VERBS; i++)
		if (strcmp(verbs[i].name, words->word[0]) == 0)
			return verbs[i].run(words->word + 1, words->count - 1);
	return unknown_verb(words->word[0]);
}

extern const struct command command_ipc;
const struct command command_ipc = {
	.name = "ipc",
	.args = "ls [KIND...] [-w] [--watch S] | rm NAME... | rm --orphans [NAME...] | lab "
		"[--payload LO..HI] [--svg FILE]",
	.summary = "list what processes talk through, remove what is left over, compare the ways",
	.examples = "  pyprepctl ipc ls\n"
		    "  pyprepctl ipc ls ring queue --wide\n"
		    "  pyprepctl ipc ls --json | jq 'select(.state == \"orphan\")'\n"
		    "  pyprepctl ipc rm --orphans\n"
		    "  pyprepctl ipc lab --payload 64..64K --svg lab.svg\n",
	.more = "KIND: link, ring, pipe, queue, memfd, array, segment, counter, lock, semaphore, "
		"barrier,\n"
		"event, socket, slab.  Named objects and left-over sockets are shown without a "
		"daemon,\n"
		"too.  pyprep-ipc(7) says how each figure is taken.\n",
	.options = options,
	.complete = COMPLETE_WORDS,
	.choices = "ls rm lab",
	.run = ipc_run,
};
