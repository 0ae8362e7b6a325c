/* compare_print.c - the ways as a table or as JSON (pyprep.compare/1). */
#include <inttypes.h>
#include <jansson.h>

#include "client/ctl/command.h"
#include "client/ctl/compare.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_table.h"

static const struct column columns[] = {
	{ "way", COLUMN_TEXT, 0 },           { "pool", COLUMN_TEXT, 0 },
	{ "at once", COLUMN_NUMBER, 0 },     { "wall", COLUMN_TIME, 0 },
	{ "speed-up", COLUMN_NUMBER, 0 },    { "on-CPU", COLUMN_TIME, 0 },
	{ "waits for CPU", COLUMN_TIME, 0 }, { "blocked", COLUMN_TIME, 0 },
	{ "memory", COLUMN_BYTES, 0 },
};

/* Against the first way; 0: unknown. */
static double
speed_up(const struct way *ways, const struct way *way)
{
	if (!ways[0].done || !way->done || way->wall_ns == 0)
		return 0;
	return (double)ways[0].wall_ns / (double)way->wall_ns;
}

static void
add_row(struct table *table, const struct way *ways, const struct way *way)
{
	double faster = speed_up(ways, way);

	table_text(table, COLOUR_NONE, "%s", way->name);
	table_text(table, COLOUR_NONE, "%s", way->pool);
	table_number(table, (int64_t)way->at_once);
	table_time(table, way->wall_ns);
	if (faster > 0)
		table_text(table, COLOUR_NONE, "%.2f", faster);
	else
		table_text(table, COLOUR_NONE, "-");
	table_time(table, way->oncpu_ns);
	table_time(table, way->runqueue_ns);
	table_time(table, way->blocked_ns);
	if (way->memory_bytes > 0)
		table_bytes(table, way->memory_bytes);
	else
		table_text(table, COLOUR_NONE, "-");
}

static void
print_json(const struct work *work, const struct way *ways, const struct way *way)
{
	double faster = speed_up(ways, way);
	json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:I, s:b, s:s?}", "schema",
				 "pyprep.compare/1", "work", work->name, "jobs_text", work->text,
				 "way", way->name, "jobs", (json_int_t)work->count, "done",
				 way->done, "problem", way->done ? NULL : way->problem);

	json_object_set_new(json, "pool", way->pool[0] ? json_string(way->pool) : json_null());
	if (way->done) {
		json_object_set_new(json, "at_once", json_of_u64(way->at_once));
		json_object_set_new(json, "wall_ns", json_of_u64(way->wall_ns));
		json_object_set_new(json, "speed_up", faster > 0 ? json_real(faster) : json_null());
		json_object_set_new(json, "oncpu_ns", json_of_u64(way->oncpu_ns));
		json_object_set_new(json, "runqueue_ns", json_of_u64(way->runqueue_ns));
		json_object_set_new(json, "blocked_ns", json_of_u64(way->blocked_ns));
		json_object_set_new(json, "memory_bytes",
				    way->memory_bytes > 0 ? json_of_u64(way->memory_bytes)
							  : json_null());
	}
	json_print_line(json);
}

void
compare_print(const struct work *work, const struct way *ways, unsigned count)
{
	struct table table;

	if (ctl.json) {
		for (unsigned i = 0; i < count; i++)
			print_json(work, ways, &ways[i]);
		return;
	}
	printf("%s, each way in turn\n\n", work->text);
	table_begin(&table, columns, sizeof columns / sizeof columns[0], false);
	for (unsigned i = 0; i < count; i++)
		if (ways[i].done)
			add_row(&table, ways, &ways[i]);
	table_print(&table);
	for (unsigned i = 0; i < count; i++)
		if (!ways[i].done)
			printf("%s%s%s: %s\n", colour_begin(COLOUR_WARN), ways[i].name,
			       colour_end(COLOUR_WARN), ways[i].problem);
}
