/* ls.c - pyprepctl ls: the jobs the daemon knows. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/jobmap.h"
#include "client/ctl/number.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_table.h"
#include "client/ctl/report.h"

#define ROWS_A_PERSON_READS 50
#define ROWS_MOST           100000 /* what the daemon gives at the most */

static struct {
	const char *state, *kind, *pool, *key, *label;
	int64_t limit;
	int64_t shown;
} arg;

static const struct option_row options[] = {
	{ "state", 's', OPTION_TEXT, &arg.state, "STATES",
	  "only such jobs, as queued,running,succeeded,failed,cancelled,timed_out,dead; finished: "
	  "all "
	  "that ended; all (else queued,running)",
	  0, 0 },
	{ "kind", 'k', OPTION_TEXT, &arg.kind, "K", "only of this kind", 0, 0 },
	{ "pool", 'p', OPTION_TEXT, &arg.pool, "P", "only of this pool", 0, 0 },
	{ "key", 0, OPTION_TEXT, &arg.key, "K", "only with this key", 0, 0 },
	{ "filter", 'f', OPTION_TEXT, &arg.label, "LABEL[=VALUE]", "only with this label", 0, 0 },
	{ "limit", 'l', OPTION_INT, &arg.limit, "N",
	  "at most N jobs (else 50 in a table, all with --json or -q)", 1, ROWS_MOST },
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "only ids, one a line", 0, 0 },
	OPTION_ROW_END,
};

static const struct column columns[] = {
	{ "id", COLUMN_NUMBER, 0 },  { "state", COLUMN_TEXT, 0 }, { "kind", COLUMN_TEXT, 0 },
	{ "pool", COLUMN_TEXT, 0 },  { "user", COLUMN_TEXT, 0 },  { "age", COLUMN_TIME, 0 },
	{ "total", COLUMN_TIME, 0 }, { "job", COLUMN_TEXT, 0 },
};

static bool
is_over(const struct pyprep_receipt *r)
{
	return strcmp(r->state, "queued") != 0 && strcmp(r->state, "running") != 0;
}

static void
add_row(struct table *table, const struct jobmap *job, const struct pyprep_receipt *r)
{
	table_text(table, COLOUR_NONE, "%" PRIu64, r->id);
	table_text(table, colour_of_state(r->state), "%s", r->state);
	table_text(table, COLOUR_NONE, "%s", job->kind ? job->kind : "?");
	if (r->slot >= 0)
		table_text(table, COLOUR_NONE, "%s/%d", job->pool ? job->pool : "?", r->slot);
	else
		table_text(table, COLOUR_NONE, "%s", job->pool ? job->pool : "?");
	table_text(table, COLOUR_NONE, "%s", job->user ? job->user : "?");
	table_time(table, job->age_ns);
	if (is_over(r))
		table_time(table, r->total_ns);
	else
		table_text(table, COLOUR_NONE, "-");
	table_text(table, COLOUR_NONE, "%.60s", job->args ? job->args : "");
}

static int
got_job(struct table *table, const msgpack_object *map)
{
	struct pyprep_receipt receipt;
	struct jobmap job;

	if (jobmap_read(map, &job) < 0)
		return -EPROTO;
	if (ctl.json)
		json_print_line(json_of_jobmap(&job));
	else if (jobmap_receipt(&job, &receipt) == 0 && ctl.quiet)
		printf("%" PRIu64 "\n", receipt.id);
	else
		add_row(table, &job, &receipt);
	jobmap_free(&job);
	arg.shown++;
	return 0;
}

static int
got_jobs(void *context, const msgpack_object *map)
{
	const msgpack_object *job;
	int r = 0;

	unsigned count = field_list(map, "jobs", &job);
	for (unsigned i = 0; i < count && r == 0; i++)
		r = got_job(context, &job[i]);
	return r;
}

static int
check_states(void)
{
	static const char states[] =
		"queued|running|succeeded|failed|cancelled|timed_out|dead|finished|all";
	char word[24];

	for (const char *at = arg.state; at != NULL && *at != '\0'; at += *at == ',') {
		size_t length = strcspn(at, ",");
		snprintf(word, sizeof word, "%.*s", (int)length, at);
		if (length == 0 || length >= sizeof word || !choice_has(states, word))
			return ctl_fail(EXIT_USAGE, "usage",
					"--state wants one of %s, or several "
					"with commas between them, not '%s'",
					states, arg.state);
		at += length;
	}
	return 0;
}

static int
ls_run(const struct words *words)
{
	struct request request;
	struct table table;

	if (words->count > 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"ls takes no words, not '%s'; 'pyprepctl show ID' shows one job",
				words->word[0]);
	if (check_states() != 0)
		return EXIT_USAGE;
	bool cut = arg.limit == 0 && !ctl.json && !ctl.quiet;
	if (arg.limit == 0)
		arg.limit = cut ? ROWS_A_PERSON_READS : ROWS_MOST;
	table_begin(&table, columns, sizeof columns / sizeof columns[0], false);
	const struct {
		const char *name, *value;
	} fields[] = { { "state", arg.state },
		       { "kind", arg.kind },
		       { "pool", arg.pool },
		       { "key", arg.key },
		       { "label", arg.label } };
	unsigned given = 0;
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		given += fields[i].value != NULL;
	request_begin(&request, "ls", given + 1);
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		if (fields[i].value)
			request_text(&request, fields[i].name, fields[i].value);
	request_u64(&request, "limit", (uint64_t)arg.limit);
	int status = request_once(&request, got_jobs, &table);
	table_print(&table);
	if (cut && arg.shown == arg.limit)
		fprintf(stderr, "pyprepctl: %d jobs shown; --limit N shows more\n",
			ROWS_A_PERSON_READS);
	return status;
}

extern const struct command command_ls;
const struct command command_ls = {
	.name = "ls",
	.args = "[--state S] [--filter LABEL=VALUE] [--limit N] [--json]",
	.summary = "list jobs",
	.examples = "  pyprepctl ls\n"
		    "  pyprepctl ls --state finished --limit 20\n"
		    "  pyprepctl ls -q | xargs pyprepctl cancel\n",
	.options = options,
	.run = ls_run,
};
