/* leaks.c - pyprepctl leaks: what jobs left behind in their workers, by kind and by job. */
#include <inttypes.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/leaks.h"
#include "client/ctl/number.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_table.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"

static const struct option_row options[] = {
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

static const struct column kind_columns[] = {
	{ "kind", COLUMN_TEXT, 0 },          { "jobs", COLUMN_NUMBER, 0 },
	{ "descriptors", COLUMN_NUMBER, 0 }, { "segments", COLUMN_NUMBER, 0 },
	{ "processes", COLUMN_NUMBER, 0 },   { "files", COLUMN_NUMBER, 0 },
	{ "bytes", COLUMN_BYTES, 0 },        { "runs measured", COLUMN_NUMBER, 0 },
	{ "growth", COLUMN_TEXT, 0 },        { "last", COLUMN_TEXT, 0 },
};

static const struct column job_columns[] = {
	{ "job", COLUMN_TEXT, 0 },           { "kind", COLUMN_TEXT, 0 },
	{ "descriptors", COLUMN_NUMBER, 0 }, { "segments", COLUMN_NUMBER, 0 },
	{ "processes", COLUMN_NUMBER, 0 },   { "files", COLUMN_NUMBER, 0 },
	{ "bytes", COLUMN_BYTES, 0 },        { "when", COLUMN_TEXT, 0 },
};

static void
add_numbers(struct table *table, const msgpack_object *map)
{
	table_number(table, (int64_t)field_u64(map, "descriptors"));
	table_number(table, (int64_t)field_u64(map, "segments"));
	table_number(table, (int64_t)field_u64(map, "processes"));
	table_number(table, (int64_t)field_u64(map, "files"));
	table_bytes(table, field_u64(map, "bytes"));
}

static void
print_kinds(const msgpack_object *map)
{
	const msgpack_object *kind;
	struct table table;
	unsigned count = field_list(map, "kinds", &kind);

	table_begin(&table, kind_columns, sizeof kind_columns / sizeof kind_columns[0], false);
	for (unsigned i = 0; i < count; i++) {
		int64_t growth = field_i64(&kind[i], "growth_bytes");
		uint64_t size = (uint64_t)(growth < 0 ? -growth : growth);
		bool left = field_u64(&kind[i], "jobs") > 0;
		table_text(&table, left ? COLOUR_WARN : COLOUR_NONE, "%.*s",
			   FIELD_TEXT(&kind[i], "kind"));
		table_number(&table, (int64_t)field_u64(&kind[i], "jobs"));
		add_numbers(&table, &kind[i]);
		table_number(&table, (int64_t)field_u64(&kind[i], "measured"));
		table_text(&table, COLOUR_NONE, "%s%s", growth < 0 ? "-" : "",
			   unit_bytes(size).text);
		table_text(&table, COLOUR_NONE, "%s%s",
			   left ? unit_time_human(field_u64(&kind[i], "age_ns")).text : "-",
			   left ? " ago" : "");
	}
	table_print(&table);
}

static void
print_jobs(const msgpack_object *map)
{
	const msgpack_object *job;
	struct table table;
	unsigned count = field_list(map, "jobs", &job);

	table_begin(&table, job_columns, sizeof job_columns / sizeof job_columns[0], false);
	for (unsigned i = 0; i < count; i++) {
		uint64_t id = field_u64(&job[i], "id");
		if (id != 0)
			table_text(&table, COLOUR_NONE, "%" PRIu64, id);
		else
			table_text(&table, COLOUR_DIM, "a short one");
		table_text(&table, COLOUR_NONE, "%.*s", FIELD_TEXT(&job[i], "kind"));
		add_numbers(&table, &job[i]);
		table_text(&table, COLOUR_NONE, "%s ago",
			   unit_time_human(field_u64(&job[i], "age_ns")).text);
	}
	if (count > 0 && !ctl.json)
		putchar('\n');
	table_print(&table);
}

struct answer {
	uint64_t id; /* 0: not asked for */
	const char *kind;
	bool found;
};

static int
got_leaks(void *context, const msgpack_object *map)
{
	struct answer *answer = context;
	const msgpack_object *list;

	answer->found = field_list(map, "kinds", &list) + field_list(map, "jobs", &list) > 0;
	if (ctl.json) {
		json_t *json = json_of_object(map);
		json_object_set_new(json, "schema", json_string("pyprep.leaks/1"));
		json_print_line(json);
		return 0;
	}
	if (answer->id == 0)
		print_kinds(map);
	print_jobs(map);
	return 0;
}

static bool
is_id(const char *word)
{
	return word[0] != '\0' && strspn(word, "0123456789") == strlen(word);
}

static int
leaks_run(const struct words *words)
{
	struct answer answer = { 0 };
	struct request request;

	if (words->count > 1)
		return ctl_fail(EXIT_USAGE, "usage", "leaks takes one kind or one id, not %d words",
				words->count);
	if (words->count == 1 && is_id(words->word[0])) {
		if (number_u64(words->word[0], &answer.id) < 0)
			return ctl_fail(EXIT_USAGE, "usage", "'%s' is no job's number",
					words->word[0]);
	} else if (words->count == 1) {
		answer.kind = words->word[0];
	}
	request_begin(&request, "leaks", answer.id != 0 || answer.kind != NULL);
	if (answer.id != 0)
		request_u64(&request, "id", answer.id);
	if (answer.kind != NULL)
		request_text(&request, "kind", answer.kind);
	int status = request_once(&request, got_leaks, &answer);
	if (status != 0 || answer.found || ctl.json)
		return status;
	if (answer.id != 0)
		printf("job %" PRIu64 " left nothing behind that is known\n", answer.id);
	else if (answer.kind != NULL)
		printf("jobs of kind %s left nothing behind that is known\n", answer.kind);
	else
		printf("no job has left anything behind\n");
	return 0;
}

/* ---- for `show` ---- */

static int
got_left(void *context, const msgpack_object *map)
{
	const msgpack_object *job;

	if (field_list(map, "jobs", &job) > 0)
		*(json_t **)context = json_of_object(&job[0]);
	return 0;
}

json_t *
leaks_of_job(uint64_t id)
{
	struct pyprep_problem why;
	struct request request;
	json_t *left = NULL;
	struct pyprep *p;

	if (pyprep_connect_lane(ctl.runtime_dir, ctl.lane, &p, &why) < 0)
		return NULL;
	request_begin(&request, "leaks", 1);
	request_u64(&request, "id", id);
	(void)request_ask(&request, p, -1, got_left, &left, &why);
	pyprep_close(p);
	if (left != NULL) {
		json_object_del(left, "id");
		json_object_del(left, "kind");
		json_object_del(left, "age_ns");
	}
	return left;
}

extern const struct command command_leaks;
const struct command command_leaks = {
	.name = "leaks",
	.args = "[KIND | ID] [--json]",
	.summary = "show what jobs left behind in their workers, by kind and by job",
	.examples = "  pyprepctl leaks\n"
		    "  pyprepctl leaks exec\n"
		    "  pyprepctl leaks --json | jq '.kinds[]|select(.descriptors>0).kind'\n",
	.more = "Open descriptors (their worker was replaced), names in /dev/shm (removed), "
		"processes\n"
		"(killed) and files in scratch directories (removed), looked for after each run "
		"on\n"
		"pools of executor process and command that was measured in full; and by how much\n"
		"workers grew in the runs of each kind.  The sums are kept over restarts.\n",
	.options = options,
	.complete = COMPLETE_KIND,
	.run = leaks_run,
};
