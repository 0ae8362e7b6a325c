/* compare_print.c - a work's ways as a table or as JSON (pyprep.compare/2), and sentences. */
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/compare.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_table.h"
#include "ipc/clock.h"

#define SPEED_UP 6 /* its column */
static const struct column columns[] = {
	{ "by", COLUMN_TEXT, 0 },         { "way", COLUMN_TEXT, 0 },
	{ "at once", COLUMN_NUMBER, 0 },  { "median", COLUMN_NUMBER, 0 },
	{ "spread", COLUMN_NUMBER, 0 },   { "CPU time", COLUMN_NUMBER, 0 },
	{ "speed-up", COLUMN_NUMBER, 0 }, { "pyprep is", COLUMN_NUMBER, 0 },
};

#define COLUMNS (sizeof columns / sizeof columns[0])

/* ---- for people ---- */

void
compare_print_begin(const struct compare *c)
{
	const struct machine *m = c->machine;

	if (ctl.json)
		return;
	printf("%s, %u CPUs, %s\n", m->model, m->cpus, m->kernel);
	printf("pyprep %s, %s; median of %u, by turns\n", pyprep_version(),
	       c->python ? c->python : "no CPython", c->repeats);
	if (machine_noisy(m))
		printf("%sOther programs used %.0f %% of the CPUs just before: figures vary.%s\n",
		       colour_begin(COLOUR_WARN), m->busy_percent, colour_end(COLOUR_WARN));
	if (!c->python)
		printf("%sThere is no python3 in PATH ($PYPREP_PYTHON names another one): "
		       "CPython's "
		       "side is missing.%s\n",
		       colour_begin(COLOUR_WARN), colour_end(COLOUR_WARN));
}

static struct unit_text
figure_text(enum unit unit, double value)
{
	struct unit_text text;

	if (isnan(value))
		snprintf(text.text, sizeof text.text, "-");
	else if (unit == UNIT_NS)
		text = unit_time((uint64_t)(value + 0.5));
	else if (unit == UNIT_PER_S)
		snprintf(text.text, sizeof text.text, "%.26s/s", unit_rate(value).text);
	else
		snprintf(text.text, sizeof text.text, "%.26s/s",
			 unit_bytes((uint64_t)(value + 0.5)).text);
	return text;
}

/* How far the least and the most are from the median, as a share of it. */
static void
add_spread(struct table *table, const struct way *way)
{
	double least, most, middle = way_median(way);

	way_spread(way, &least, &most);
	if (way->count < 2 || !(middle > 0))
		table_text(table, COLOUR_DIM, "-");
	else
		table_text(table, COLOUR_DIM, "-%.0f +%.0f %%", 100 * (middle - least) / middle,
			   100 * (most - middle) / middle);
}

static void
add_ratio(struct table *table, double ratio, const char *behind)
{
	if (isnan(ratio))
		table_text(table, COLOUR_NONE, "-");
	else
		table_text(table, COLOUR_NONE, ratio < 10 ? "%.2f x%s" : "%.0f x%s", ratio, behind);
}

static void
add_row(struct table *table, const struct work *work, const struct way *way)
{
	double cpu_s = way_cpu_s(way);

	table_text(table, COLOUR_NONE, "%s", way->python ? "CPython" : "pyprep");
	table_text(table, COLOUR_NONE, "%s", way->name);
	if (way->at_once > 0)
		table_number(table, way->at_once);
	else
		table_text(table, COLOUR_NONE, "-");
	table_text(table, COLOUR_NONE, "%s", figure_text(work->unit, way_median(way)).text);
	add_spread(table, way);
	if (isnan(cpu_s))
		table_text(table, COLOUR_NONE, "-");
	else
		table_time(table, (uint64_t)(cpu_s * 1e9));
	if (work->speed_ups)
		add_ratio(table, work_speed_up(work, way), "");
	add_ratio(table, way->peer ? work_ratio(work, way->peer, way) : NAN, " as fast");
}

static void
print_table(const struct compare *c, const struct work *work)
{
	struct column shown[COLUMNS];
	unsigned count = 0;
	struct table table;

	for (unsigned i = 0; i < COLUMNS; i++)
		if (work->speed_ups || i != SPEED_UP)
			shown[count++] = columns[i];
	printf("\n%s, %s: %s\n\n", work->topic, work->name, work->text);
	table_begin(&table, shown, count, false);
	for (unsigned i = 0; i < work->count; i++)
		if (way_done(&work->ways[i]))
			add_row(&table, work, &work->ways[i]);
	table_print(&table);
	for (unsigned i = 0; i < work->count; i++) {
		const struct way *way = &work->ways[i];
		if (!way_done(way) && !(way->python && !c->python))
			printf("%s%s%s: %s\n", colour_begin(COLOUR_WARN), way->name,
			       colour_end(COLOUR_WARN), way->problem);
	}
}

/* ---- JSON ---- */

static json_t *
real(double value)
{
	return isnan(value) ? json_null() : json_real(value);
}

static json_t *
machine_json(const struct compare *c)
{
	const struct machine *m = c->machine;

	return json_pack("{s:s, s:s, s:i, s:f, s:f}", "model", m->model, "kernel", m->kernel,
			 "cpus", (int)m->cpus, "load", m->load, "busy_percent", m->busy_percent);
}

static void
print_way(const struct compare *c, const struct work *work, const struct way *way)
{
	static const char *const units[] = { "ns", "/s", "bytes/s" };
	json_t *values = json_array();
	double least, most;

	for (unsigned i = 0; i < way->count; i++)
		json_array_append_new(values, json_real(way->values[i]));
	way_spread(way, &least, &most);
	json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s?, s:s}", "schema",
				 "pyprep.compare/2", "topic", work->topic, "work", work->name,
				 "work_text", work->text, "by", way->python ? "CPython" : "pyprep",
				 "way", way->name, "done", way_done(way), "problem",
				 way_done(way) ? NULL : way->problem, "unit", units[work->unit]);
	json_object_set_new(json, "at_once", json_of_u64(way->at_once));
	json_object_set_new(json, "value", real(way_median(way)));
	json_object_set_new(json, "least", real(least));
	json_object_set_new(json, "most", real(most));
	json_object_set_new(json, "values", values);
	json_object_set_new(json, "cpu_seconds", real(way_cpu_s(way)));
	json_object_set_new(json, "speed_up", real(work_speed_up(work, way)));
	json_object_set_new(json, "pyprep_times_as_fast",
			    real(way->peer ? work_ratio(work, way->peer, way) : NAN));
	json_object_set(json, "last", way->more ? way->more : json_null());
	json_object_set_new(json, "machine", machine_json(c));
	json_object_set_new(json, "pyprep", json_string(pyprep_version()));
	json_object_set_new(json, "python", c->python ? json_string(c->python) : json_null());
	json_print_line(json);
}

void
compare_print_work(const struct compare *c, const struct work *work)
{
	if (!ctl.json) {
		print_table(c, work);
		return;
	}
	for (unsigned i = 0; i < work->count; i++)
		print_way(c, work, &work->ways[i]);
}

/* ---- sentences ---- */

void
compare_say(struct compare *c, const char *format, ...)
{
	va_list list;

	if (c->said_count == COMPARE_SAID_MAX)
		return;
	va_start(list, format);
	vsnprintf(c->said[c->said_count++], sizeof c->said[0], format, list);
	va_end(list);
}

void
compare_say_ratio(struct compare *c, const struct work *work, const struct way *python)
{
	const struct way *ours = python->peer;
	double ratio = work_ratio(work, ours, python);
	bool behind = ratio < 1;

	if (isnan(ratio))
		return;
	if (behind)
		ratio = 1 / ratio;
	if (way_overlaps(ours, python))
		compare_say(c,
			    "%s, %s: neither is clearly faster, pyprep's %s or CPython's %s: their "
			    "turns overlap (medians %.2f to 1 for %s).",
			    work->topic, work->name, ours->name, python->name, ratio,
			    behind ? "CPython" : "pyprep");
	else
		compare_say(c, "%s, %s: %s's %s is %.*f times as fast as %s's %s.", work->topic,
			    work->name, behind ? "CPython" : "pyprep",
			    behind ? python->name : ours->name, ratio < 10 ? 1 : 0, ratio,
			    behind ? "pyprep" : "CPython", behind ? ours->name : python->name);
}

void
compare_print_said(struct compare *c, const char *topic)
{
	json_t *lines = json_array();

	if (!ctl.json && c->said_count > 0)
		putchar('\n');
	for (unsigned i = 0; i < c->said_count; i++) {
		if (ctl.json)
			json_array_append_new(lines, json_string(c->said[i]));
		else
			printf("%s\n", c->said[i]);
	}
	if (ctl.json)
		json_print_line(json_pack("{s:s, s:s, s:o}", "schema", "pyprep.compare-said/1",
					  "topic", topic, "said", lines));
	else
		json_decref(lines);
	c->said_count = 0;
}
