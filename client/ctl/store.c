/*
 * store.c - pyprepctl store check|repair: pyprepd looks at the store of a daemon that does not run.
 *
 * The store is the daemon's, and so is what knows its files: this becomes `pyprepd --check-store`.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/command.h"
#include "client/ctl/nearest.h"
#include "client/ctl/report.h"

static struct {
	const char *state_dir;
} options;

static const struct option_row rows[] = {
	{ "state-dir", 0, OPTION_TEXT, &options.state_dir, "DIR",
	  "the store's directory (else $PYPREP_STATE_DIR, else the usual places)", 0, 0 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

static const struct verb {
	const char *name;
	const char *option;
} verbs[] = { { "check", "--check-store" }, { "repair", "--repair-store" } };

static const struct verb *
find_verb(const struct words *words)
{
	struct nearest near;

	if (words->count != 1) {
		ctl_fail(EXIT_USAGE, "usage", "store needs one word, check or repair");
		return NULL;
	}
	nearest_begin(&near, words->word[0]);
	for (size_t i = 0; i < 2; i++) {
		if (strcmp(words->word[0], verbs[i].name) == 0)
			return &verbs[i];
		nearest_offer(&near, verbs[i].name);
	}
	const char *best = nearest_best(&near);
	ctl_fail(EXIT_USAGE, "usage", "store takes check or repair, not '%s'%s%s%s", words->word[0],
		 best != NULL ? "; did you mean '" : "", best != NULL ? best : "",
		 best != NULL ? "'?" : "");
	return NULL;
}

static int
store_run(const struct words *words)
{
	const struct verb *verb = find_verb(words);
	char daemon[512];

	if (verb == NULL)
		return EXIT_USAGE;
	if (bench_find_daemon(daemon, sizeof daemon) < 0)
		return ctl_fail(EXIT_OURS, "no_daemon",
				"there is no pyprepd beside pyprepctl, in ../sbin or in PATH");
	if (options.state_dir != NULL && setenv("PYPREP_STATE_DIR", options.state_dir, 1) < 0)
		ctl_no_memory();
	char *const argv[] = { (char *)"pyprepd", (char *)(uintptr_t)verb->option,
			       ctl.json ? (char *)"--json" : NULL, NULL };
	execv(daemon, argv);
	return ctl_fail(EXIT_OURS, "no_daemon", "%s: %s", daemon, strerror(errno));
}

extern const struct command command_store;
const struct command command_store = {
	.name = "store",
	.args = "check | repair",
	.summary = "look at the store of a daemon that does not run; save what can be read of it",
	.examples = "  pyprepctl stop && pyprepctl store check\n"
		    "  pyprepctl store repair --state-dir /var/lib/pyprep\n"
		    "  pyprepctl store check --json | jq .damage\n",
	.more = "check changes nothing.  It reads the log, every page and every row, compares "
		"their\n"
		"checksums, and has SQLite look at its own.\n"
		"repair puts every row that can be read into a new store, which takes the old "
		"one's\n"
		"place in one step; the old one is kept beside it as store.db.damaged.  It says "
		"which\n"
		"jobs are known to be lost.\n"
		"Exit status: 0 the store is whole, or now is; 65 it is damaged; 66 there is "
		"none;\n"
		"74 its files cannot be read or written; 75 a daemon uses it, or the disk is "
		"full.\n",
	.options = rows,
	.complete = COMPLETE_WORDS,
	.choices = "check repair",
	.run = store_run,
};
