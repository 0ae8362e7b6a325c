/* compare_turns.c - a work and its ways, measured by turns; medians, ratios. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/compare.h"
#include "client/ctl/cpython.h"
#include "client/ctl/progress.h"
#include "ipc/clock.h"

#define PYTHON_MS  120000
#define PARAMS_MAX 12

/* ---- making ---- */

void
work_begin(struct work *work, const char *topic, const char *name, enum unit unit,
	   const char *format, ...)
{
	va_list list;

	*work = (struct work){ .topic = topic, .name = name, .unit = unit };
	va_start(list, format);
	vsnprintf(work->text, sizeof work->text, format, list);
	va_end(list);
}

void
work_end(struct work *work)
{
	for (unsigned i = 0; i < work->count; i++)
		json_decref(work->ways[i].more);
}

static struct way *
add_way(struct work *work, const char *name, unsigned at_once)
{
	if (work->count == COMPARE_WAYS_MAX)
		abort();
	struct way *way = &work->ways[work->count++];

	snprintf(way->name, sizeof way->name, "%s", name);
	way->at_once = at_once;
	return way;
}

struct way *
work_ours(struct work *work, const char *name, unsigned at_once, measure_fn measure, void *context)
{
	struct way *way = add_way(work, name, at_once);

	way->measure = measure;
	way->context = context;
	return way;
}

int
way_problem(struct way *way, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(way->problem, sizeof way->problem, format, list);
	va_end(list);
	return -1;
}

/* ---- CPython's turn ---- */

static unsigned
split(char *params, const char **ret, unsigned most)
{
	unsigned count = 0;
	char *rest = NULL;

	for (char *word = strtok_r(params, " ", &rest); word && count < most;
	     word = strtok_r(NULL, " ", &rest))
		ret[count++] = word;
	ret[count] = NULL;
	return count;
}

/* In the work's unit: what is called seconds is wanted in ns. */
static int
measure_python(struct compare *c, struct way *way, double *ret)
{
	const char *params[PARAMS_MAX + 1];
	char words[sizeof way->params];

	if (!c->python)
		return way_problem(way, "there is no python3");
	memcpy(words, way->params, sizeof words);
	split(words, params, PARAMS_MAX);
	json_t *answer =
		cpython_run(way->topic, params, PYTHON_MS, way->problem, sizeof way->problem);
	if (!answer)
		return -1;
	const json_t *figure = json_object_get(answer, way->figure);
	const json_t *cpu = json_object_get(answer, "cpu_seconds");
	bool seconds = strstr(way->figure, "seconds") != NULL;
	*ret = json_number_value(figure) * (seconds ? (double)NS_PER_S : 1);
	way->cpu_s = json_is_number(cpu) ? json_number_value(cpu) : NAN;
	json_decref(way->more);
	way->more = answer;
	if (!json_is_number(figure))
		return way_problem(way, "Python's %s gave no %s", way->topic, way->figure);
	return 0;
}

struct way *
work_python(struct work *work, const char *name, unsigned at_once, const struct way *peer,
	    const char *topic, const char *figure, const char *format, ...)
{
	struct way *way = add_way(work, name, at_once);
	va_list list;

	way->python = true;
	way->peer = peer;
	way->topic = topic;
	way->figure = figure;
	way->measure = measure_python;
	va_start(list, format);
	vsnprintf(way->params, sizeof way->params, format, list);
	va_end(list);
	return way;
}

/* ---- turns ---- */

static void
take_turn(struct compare *c, struct way *way)
{
	double value;

	if (way->problem[0])
		return;
	way->cpu_s = NAN;
	if (way->measure(c, way, &value) < 0) {
		way->count = 0;
		if (!way->may_fail && !(way->python && !c->python))
			c->failed = true;
		return;
	}
	way->values[way->count] = value;
	way->cpu_values[way->count++] = way->cpu_s;
}

int
work_run(struct compare *c, struct work *work)
{
	struct progress progress;

	progress_begin(&progress, "turns", c->repeats, ctl.quiet || ctl.json);
	for (unsigned turn = 0; turn < c->repeats; turn++) {
		for (unsigned i = 0; i < work->count; i++)
			take_turn(c, &work->ways[i]);
		progress.done = turn + 1;
		progress_show(&progress);
	}
	progress_clear(&progress);
	compare_print_work(c, work);
	return 0;
}

/* ---- figures ---- */

bool
way_done(const struct way *way)
{
	return way->count > 0;
}

static double
median(const double *values, unsigned count)
{
	double sorted[COMPARE_REPEATS_MAX];

	memcpy(sorted, values, count * sizeof *values);
	return bench_median(sorted, count); /* NAN of none */
}

double
compare_p50(const uint64_t *times_ns, uint64_t count)
{
	struct samples samples = { 0 };

	for (uint64_t i = 0; i < count; i++)
		samples_add(&samples, times_ns[i]);
	double p50 = (double)samples_percentile(&samples, 50);
	samples_free(&samples);
	return p50;
}

double
way_median(const struct way *way)
{
	return median(way->values, way->count);
}

double
way_cpu_s(const struct way *way)
{
	for (unsigned i = 0; i < way->count; i++)
		if (isnan(way->cpu_values[i]))
			return NAN;
	return median(way->cpu_values, way->count);
}

void
way_spread(const struct way *way, double *ret_least, double *ret_most)
{
	*ret_least = *ret_most = way->count > 0 ? way->values[0] : NAN;
	for (unsigned i = 1; i < way->count; i++) {
		if (way->values[i] < *ret_least)
			*ret_least = way->values[i];
		if (way->values[i] > *ret_most)
			*ret_most = way->values[i];
	}
}

bool
way_overlaps(const struct way *a, const struct way *b)
{
	double a_least, a_most, b_least, b_most;

	way_spread(a, &a_least, &a_most);
	way_spread(b, &b_least, &b_most);
	return a_least <= b_most && b_least <= a_most;
}

double
work_ratio(const struct work *work, const struct way *fast, const struct way *slow)
{
	double a = way_median(fast), b = way_median(slow);

	return work->unit == UNIT_NS ? b / a : a / b; /* NAN stays NAN */
}

double
work_speed_up(const struct work *work, const struct way *way)
{
	if (!work->speed_ups)
		return NAN;
	for (unsigned i = 0; i < work->count; i++)
		if (work->ways[i].python == way->python)
			return work_ratio(work, way, &work->ways[i]);
	return NAN;
}
