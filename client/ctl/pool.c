/* pool.c - pyprepctl pools, and pyprepctl pool resize|pause|resume|strategy. */
#include <inttypes.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/nearest.h"
#include "client/ctl/number.h"
#include "client/ctl/print_json.h"
#include "client/ctl/report.h"
#include "client/ctl/status.h"

#define WORKERS_MAX 4096

static const struct option_row pools_options[] = {
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "only the names", 0, 0 },
	OPTION_ROW_END,
};

static const struct option_row pool_options[] = {
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "do not say what was done", 0, 0 },
	OPTION_ROW_END,
};

struct pools {
	bool daemon_seen; /* the first reply is not a pool */
	struct table table;
};

static int
got_pool(void *context, const msgpack_object *map)
{
	struct pools *pools = context;

	if (!pools->daemon_seen) {
		pools->daemon_seen = true;
		return 0;
	}
	if (ctl.json) {
		json_t *json = json_of_object(map);
		json_object_set_new(json, "schema", json_string("pyprep.pool/1"));
		json_print_line(json);
	} else if (ctl.quiet) {
		printf("%.*s\n", FIELD_TEXT(map, "name"));
	} else {
		pools_table_add(&pools->table, map);
	}
	return 0;
}

static int
pools_run(const struct words *words)
{
	struct pools pools = { 0 };
	struct request request;

	if (words->count > 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"pools takes no words, not '%s'; to change one: pyprepctl pool",
				words->word[0]);
	pools_table_begin(&pools.table);
	request_begin(&request, "status", 0);
	int status = request_once(&request, got_pool, &pools);
	table_print(&pools.table);
	return status;
}

extern const struct command command_pools;
const struct command command_pools = {
	.name = "pools",
	.args = "[--json]",
	.summary = "list the pools",
	.examples = "  pyprepctl pools\n",
	.options = pools_options,
	.run = pools_run,
};

/* The verbs of `pool` are the protocol's, with the number of words that follow. */
static const struct {
	const char *verb;
	int words;
	const char *usage;
} verbs[] = {
	{ "resize", 2, "pool resize NAME N" },
	{ "pause", 1, "pool pause NAME" },
	{ "resume", 1, "pool resume NAME" },
	{ "strategy", 2, "pool strategy NAME STRATEGY" },
};
#define VERBS     (sizeof verbs / sizeof verbs[0])
#define VERB_LIST "resize, pause, resume or strategy"

static int
got_change(void *context, const msgpack_object *map)
{
	const char *name = context;

	if (ctl.json) {
		json_print_line(json_of_object(map));
		return 0;
	}
	if (ctl.quiet)
		return 0;
	if (field_get(map, "workers"))
		printf("pool %s: %" PRIu64 " workers\n", name, field_u64(map, "workers"));
	else if (field_get(map, "strategy"))
		printf("pool %s: strategy %.*s\n", name, FIELD_TEXT(map, "strategy"));
	else
		printf("pool %s: %.*s\n", name, FIELD_TEXT(map, "state"));
	return 0;
}

static int
unknown_verb(const char *text)
{
	struct nearest nearest;

	nearest_begin(&nearest, text);
	for (unsigned i = 0; i < VERBS; i++)
		nearest_offer(&nearest, verbs[i].verb);
	const char *best = nearest_best(&nearest);
	return ctl_fail(EXIT_USAGE, "usage", "pool takes " VERB_LIST ", not '%s'%s%s%s", text,
			best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
}

static int
pool_run(const struct words *words)
{
	struct request request;
	int64_t workers = 0;
	unsigned i = 0;

	if (words->count == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"pool takes " VERB_LIST "; 'pyprepctl pools' lists pools");
	while (i < VERBS && strcmp(verbs[i].verb, words->word[0]) != 0)
		i++;
	if (i == VERBS)
		return unknown_verb(words->word[0]);
	if (words->count != verbs[i].words + 1)
		return ctl_fail(EXIT_USAGE, "usage", "write: pyprepctl %s", verbs[i].usage);
	bool sized = strcmp(verbs[i].verb, "resize") == 0;
	if (sized && number_int(words->word[2], 0, WORKERS_MAX, &workers) < 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"the number of workers is a whole number from 0 to %d, not '%s'",
				WORKERS_MAX, words->word[2]);
	request_begin(&request, verbs[i].verb, (unsigned)verbs[i].words);
	request_text(&request, "pool", words->word[1]);
	if (sized)
		request_u64(&request, "workers", (uint64_t)workers);
	else if (verbs[i].words == 2)
		request_text(&request, "strategy", words->word[2]);
	return request_once(&request, got_change, words->word[1]);
}

extern const struct command command_pool;
const struct command command_pool = {
	.name = "pool",
	.args = "resize NAME N | pause NAME | resume NAME | strategy NAME STRATEGY",
	.summary = "change a pool's size or strategy, pause or resume it",
	.examples = "  pyprepctl pool resize cpu 4\n"
		    "  pyprepctl pool pause io\n"
		    "  pyprepctl pool resume io\n"
		    "  pyprepctl pool strategy cpu fair\n",
	.more = "A paused pool finishes what runs and starts nothing new.\n"
		"Strategies: priority, fifo, fair (by user), sjf (shortest kind first).\n"
		"For operators.\n",
	.options = pool_options,
	.complete = COMPLETE_WORDS,
	.choices = "resize pause resume strategy",
	.run = pool_run,
};
