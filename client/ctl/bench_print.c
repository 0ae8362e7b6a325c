/* bench_print.c - a row of `pyprepctl bench`, for people and as JSON (pyprep.bench/1). */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "client/ctl/bench.h"
#include "client/ctl/command.h"
#include "client/ctl/print_table.h"

#define DIGITS 6 /* significant ones, in JSON */

double
bench_ratio(const struct bench_result *result)
{
	return result->floor > 0 ? result->value / result->floor : NAN;
}

bool
bench_met(const struct bench_row *row, const struct bench_result *result)
{
	double ratio = bench_ratio(result);

	switch (row->goal_is) {
	case RATIO_AT_MOST:
		return ratio <= row->goal;
	case RATIO_AT_LEAST:
		return ratio >= row->goal;
	case VALUE_AT_MOST:
		return result->value <= row->goal;
	case VALUE_AT_LEAST:
		return result->value >= row->goal;
	}
	return false;
}

double
bench_gain(const struct bench_row *row, const struct bench_result *result)
{
	bool less_is_better = row->goal_is == RATIO_AT_MOST || row->goal_is == VALUE_AT_MOST;

	return less_is_better ? result->python / result->value : result->value / result->python;
}

static bool
is_whole(double value)
{
	return fabs(value) < 1e15 && value == (double)(int64_t)value;
}

/* Grouped by thousands from 1,000 on, else three figures. */
static struct unit_text
figure(double value, const char *unit)
{
	struct unit_text out;

	if (isnan(value)) {
		snprintf(out.text, sizeof out.text, "-");
	} else if (fabs(value) >= 1000) {
		char digits[32], grouped[32];
		int length = snprintf(digits, sizeof digits, "%.0f", fabs(value)), at = 0;
		for (int i = 0; i < length && at < 30; i++) {
			if (i > 0 && (length - i) % 3 == 0)
				grouped[at++] = ',';
			grouped[at++] = digits[i];
		}
		grouped[at] = '\0';
		snprintf(out.text, sizeof out.text, "%s%.20s%s%.8s", value < 0 ? "-" : "", grouped,
			 unit[0] ? " " : "", unit);
	} else {
		int decimals = fabs(value) >= 100 || is_whole(value) ? 0
			       : fabs(value) >= 10                   ? 1
								     : 2;
		snprintf(out.text, sizeof out.text, "%.*f%s%.8s", decimals, value,
			 unit[0] ? " " : "", unit);
	}
	return out;
}

/* "ratio <= 1.5", ">= 2,000,000" */
static void
goal_text(const struct bench_row *row, char *buffer, size_t size)
{
	bool ratio = row->goal_is == RATIO_AT_MOST || row->goal_is == RATIO_AT_LEAST;
	bool most = row->goal_is == RATIO_AT_MOST || row->goal_is == VALUE_AT_MOST;

	snprintf(buffer, size, "%s%s %s", ratio ? "ratio " : "",
		 most ? "<=" : ">=", figure(row->goal, ratio ? "" : row->unit).text);
}

/* ---- for people ---- */

static struct table table;
static bool with_python;
#define COLUMNS_FIRST                                                          \
	{ "row", COLUMN_TEXT, 17 }, { "value", COLUMN_NUMBER, 19 },            \
		{ "floor", COLUMN_NUMBER, 21 }, { "ratio", COLUMN_NUMBER, 6 }, \
		{ "goal", COLUMN_NUMBER, 22 },                                 \
	{                                                                      \
		"met", COLUMN_TEXT, 3                                          \
	}
#define COLUMNS_LAST                                                                              \
	{ "p50", COLUMN_NUMBER, 11 }, { "p99", COLUMN_NUMBER, 9 }, { "p99.9", COLUMN_NUMBER, 9 }, \
	{                                                                                         \
		"more", COLUMN_TEXT, 0                                                            \
	}
/* clang-format off */
static const struct column columns[] = { COLUMNS_FIRST, COLUMNS_LAST };
static const struct column python_columns[] = {
	COLUMNS_FIRST,
	{ "CPython", COLUMN_NUMBER, 17 }, { "gain", COLUMN_NUMBER, 7 },
	COLUMNS_LAST,
};
/* clang-format on */

static void
print_machine(const struct machine *m)
{
	printf("machine   %s, %u CPU%s, %s, load %.2f\n", m->model, m->cpus,
	       m->cpus == 1 ? "" : "s", m->kernel, m->load);
	if (isnan(m->hop_ns))
		printf("distance  one CPU only: nothing runs side by side\n");
	else
		printf("distance  a cache line from CPU to CPU: %.0f ns (%s)\n", m->hop_ns,
		       machine_near(m) ? "near"
				       : "far: rings between CPUs are 3 to 4 times slower");
	if (machine_noisy(m))
		printf("%swarning   other work kept %.0f %% of the CPUs busy just now: times are "
		       "too long; trust the ratios more%s\n",
		       colour_begin(COLOUR_WARN), m->busy_percent, colour_end(COLOUR_WARN));
	putchar('\n');
}

void
bench_print_begin(const struct machine *machine, bool python)
{
	with_python = python;
	if (ctl.json)
		return;
	print_machine(machine);
	if (python)
		table_begin(&table, python_columns,
			    sizeof python_columns / sizeof python_columns[0], true);
	else
		table_begin(&table, columns, sizeof columns / sizeof columns[0], true);
}

static void
print_extras(const struct bench_result *result, char *buffer, size_t size)
{
	size_t at = 0;

	buffer[0] = '\0';
	for (unsigned i = 0; i < result->extra_count && at < size; i++)
		at += (size_t)snprintf(buffer + at, size - at, "%s%s %s", i > 0 ? ", " : "",
				       result->extras[i].name,
				       figure(result->extras[i].value, "").text);
}

static void
print_people(const struct bench_row *row, const struct bench_result *result)
{
	bool met = bench_met(row, result);
	char goal[64], extras[256];

	if (!result->done) {
		printf("%-17s  %snot measured: %s%s\n", row->name, colour_begin(COLOUR_BAD),
		       result->error, colour_end(COLOUR_BAD));
		return;
	}
	goal_text(row, goal, sizeof goal);
	print_extras(result, extras, sizeof extras);
	table_text(&table, COLOUR_NONE, "%s", row->name);
	table_text(&table, COLOUR_NONE, "%s", figure(result->value, row->unit).text);
	table_text(&table, COLOUR_NONE, "%s", figure(result->floor, row->unit).text);
	table_text(&table, COLOUR_NONE, "%s", figure(bench_ratio(result), "").text);
	table_text(&table, COLOUR_NONE, "%s", goal);
	table_text(&table, met ? COLOUR_GOOD : COLOUR_BAD, "%s", met ? "yes" : "no");
	if (with_python) {
		table_text(&table, COLOUR_NONE, "%s", figure(result->python, row->unit).text);
		table_text(&table, COLOUR_NONE, "%s", figure(bench_gain(row, result), "").text);
	}
	table_text(&table, COLOUR_NONE, "%s", figure(result->p50, "").text);
	table_text(&table, COLOUR_NONE, "%s", figure(result->p99, "").text);
	table_text(&table, COLOUR_NONE, "%s", figure(result->p999, "").text);
	table_text(&table, COLOUR_DIM, "%s", extras);
}

/* ---- JSON ---- */

/* Whole numbers as such; null where there is nothing to say. */
static json_t *
json_number_of(double value)
{
	if (isnan(value) || isinf(value))
		return json_null();
	if (is_whole(value) || fabs(value) >= 1e5)
		return json_integer((json_int_t)(value < 0 ? value - 0.5 : value + 0.5));
	return json_real(value);
}

static json_t *
json_of_row(const struct bench_row *row, const struct bench_result *r, const struct machine *m)
{
	char goal[64];

	goal_text(row, goal, sizeof goal);
	json_t *json =
		json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "schema",
			  "pyprep.bench/1", "name", row->name, "unit", row->unit, "value",
			  json_number_of(r->value), "p50", json_number_of(r->p50), "p99",
			  json_number_of(r->p99), "p999", json_number_of(r->p999), "floor",
			  json_number_of(r->floor), "ratio", json_number_of(bench_ratio(r)), "goal",
			  json_number_of(row->goal), "met", bench_met(row, r));
	json_t *more = json_pack(
		"{s:s, s:o, s:o, s:s, s:s, s:s, s:I, s:o, s:o, s:o}", "group", row->group, "python",
		json_number_of(r->python), "gain", json_number_of(bench_gain(row, r)), "goal_text",
		goal, "what", row->what, "floor_text", row->least, "n", (json_int_t)r->n, "hop_ns",
		json_number_of(m->hop_ns), "load", json_number_of(m->load), "busy_percent",
		json_number_of(m->busy_percent));
	json_object_update(json, more);
	json_decref(more);
	for (unsigned i = 0; i < r->extra_count; i++)
		json_object_set_new(json, r->extras[i].name, json_number_of(r->extras[i].value));
	return json;
}

static void
print_json(const struct bench_row *row, const struct bench_result *result,
	   const struct machine *machine)
{
	json_t *json = result->done
			       ? json_of_row(row, result, machine)
			       : json_pack("{s:s, s:s, s:s, s:n, s:b, s:s}", "schema",
					   "pyprep.bench/1", "name", row->name, "unit", row->unit,
					   "value", "met", false, "error", result->error);
	json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS));
	putchar('\n');
	json_decref(json);
}

void
bench_print_row(const struct bench_row *row, const struct bench_result *result,
		const struct machine *machine)
{
	if (ctl.json)
		print_json(row, result, machine);
	else
		print_people(row, result);
	fflush(stdout);
}
