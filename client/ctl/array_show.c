/* array_show.c - pyprepctl array show: what is in an array, at a glance. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "client/ctl/array.h"
#include "client/ctl/print_json.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "shm/array_ops.h"

#define ENDS  5 /* elements shown of either end */
#define BINS  10
#define WIDTH 40 /* of the longest bar */

struct look {
	const struct array *a;
	struct array_extent extent;
	struct array_sum sum;
	double least, greatest, mean;
	bool histogram;
	uint64_t counts[BINS];
};

static bool
before(enum array_type type, union array_value a, union array_value b)
{
	if (array_type_is_real(type))
		return a.f < b.f;
	return array_type_is_signed(type) ? a.i < b.i : a.u < b.u;
}

static void
add_extent(struct look *l, const struct array_extent *block)
{
	struct array_extent *all = &l->extent;

	if (block->numbers > 0) {
		if (all->numbers == 0 || before(l->a->type, block->least, all->least))
			all->least = block->least;
		if (all->numbers == 0 || before(l->a->type, all->greatest, block->greatest))
			all->greatest = block->greatest;
	}
	all->numbers += block->numbers;
	all->nans += block->nans;
}

/* Two passes over the data: the bins' ends are the first one's result. */
static void
look_at(struct look *l)
{
	const struct array *a = l->a;
	struct array_extent block;

	l->sum = array_sum_zero(a->type);
	for (uint64_t low = 0; low < a->count; low += ARRAY_BLOCK) {
		uint64_t high = array_block_end(a, low);
		struct array_sum part = array_sum(a, low, high);
		array_extent(a, low, high, &block);
		add_extent(l, &block);
		array_sum_add(&l->sum, &part);
	}
	l->mean = array_sum_real(&l->sum) / (double)a->count;
	l->least = array_value_real(a->type, l->extent.least);
	l->greatest = array_value_real(a->type, l->extent.greatest);
	l->histogram = l->extent.numbers > 0 && isfinite(l->least) && isfinite(l->greatest);
	for (uint64_t low = 0; l->histogram && low < a->count; low += ARRAY_BLOCK)
		array_histogram(a, low, array_block_end(a, low), l->least, l->greatest, BINS,
				l->counts);
}

/* ---- for people ---- */

static void
print_elements(const struct array *a, const char *title, uint64_t low, uint64_t high)
{
	char text[64];

	printf("  %-5s", title);
	for (uint64_t i = low; i < high; i++) {
		union array_value value = array_value_at(a->type, a->data, i);
		if (array_type_is_real(a->type))
			snprintf(text, sizeof text, "%.6g", value.f);
		else
			array_value_print(a->type, value, text, sizeof text);
		printf(" %s", text);
	}
	putchar('\n');
}

static double
edge(const struct look *l, unsigned bin)
{
	return l->least + (l->greatest / BINS - l->least / BINS) * bin;
}

static void
print_histogram(const struct look *l)
{
	uint64_t most = 1;
	unsigned bins = l->least < l->greatest ? BINS : 1; /* all the same: all in the first */

	for (unsigned i = 0; i < bins; i++)
		most = l->counts[i] > most ? l->counts[i] : most;
	printf("  histogram\n");
	for (unsigned i = 0; i < bins; i++) {
		int bar = (int)((double)l->counts[i] / (double)most * WIDTH + 0.5);
		printf("    %12.6g .. %-12.6g %-*.*s %s\n", edge(l, i), edge(l, i + 1), WIDTH, bar,
		       "########################################", unit_count(l->counts[i]).text);
	}
}

static void
print_look(const struct look *l)
{
	const struct array *a = l->a;
	char shape[ARRAY_SHAPE_TEXT], least[64], greatest[64], sum[64];
	uint64_t ends = a->count < ENDS ? a->count : ENDS;

	array_shape_print(&a->shape, shape, sizeof shape);
	array_value_print(a->type, l->extent.least, least, sizeof least);
	array_value_print(a->type, l->extent.greatest, greatest, sizeof greatest);
	array_sum_print(&l->sum, sum, sizeof sum);
	printf("%s: %s, shape %s, %s elements, size %s\n", a->name, array_type_name(a->type), shape,
	       unit_count(a->count).text, unit_bytes(a->bytes).text);
	print_elements(a, "head", 0, ends);
	if (a->count > ENDS)
		print_elements(a, "tail", a->count - ends, a->count);
	if (l->extent.numbers > 0)
		printf("  min   %s\n  max   %s\n", least, greatest);
	printf("  mean  %.10g\n  sum   %s\n", l->mean, sum);
	if (l->extent.nans > 0)
		printf("  %s elements are not a number\n", unit_count(l->extent.nans).text);
	if (l->histogram)
		print_histogram(l);
}

/* ---- for programs ---- */

static json_t *
elements_json(const struct array *a, uint64_t low, uint64_t high)
{
	json_t *list = json_array();

	for (uint64_t i = low; i < high; i++)
		json_array_append_new(
			list, array_value_json(a->type, array_value_at(a->type, a->data, i)));
	return list;
}

static json_t *
histogram_json(const struct look *l)
{
	json_t *counts = json_array();

	for (unsigned i = 0; i < BINS; i++)
		json_array_append_new(counts, json_of_u64(l->counts[i]));
	return json_pack("{s:f, s:f, s:o}", "low", l->least, "high", l->greatest, "counts", counts);
}

static void
print_look_json(const struct look *l)
{
	const struct array *a = l->a;
	uint64_t ends = a->count < ENDS ? a->count : ENDS;
	char sum[64];
	json_t *object = json_pack(
		"{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "schema", "pyprep.array_show/1", "name",
		a->name, "type", array_type_name(a->type), "shape", array_shape_json(&a->shape),
		"count", json_of_u64(a->count), "bytes", json_of_u64(a->bytes), "head",
		elements_json(a, 0, ends), "tail", elements_json(a, a->count - ends, a->count));

	array_sum_print(&l->sum, sum, sizeof sum);
	if (l->extent.numbers > 0) {
		json_object_set_new(object, "min", array_value_json(a->type, l->extent.least));
		json_object_set_new(object, "max", array_value_json(a->type, l->extent.greatest));
	}
	json_object_set_new(object, "mean", isfinite(l->mean) ? json_real(l->mean) : json_null());
	json_object_set_new(object, "sum", json_string(sum));
	json_object_set_new(object, "not_a_number", json_of_u64(l->extent.nans));
	if (l->histogram)
		json_object_set_new(object, "histogram", histogram_json(l));
	json_print_line(object);
}

int
array_verb_show(char **word, const struct words *words)
{
	struct look look = { 0 };
	struct array *a;

	(void)words;
	int status = array_open(word[0], ARRAY_READ_ONLY | ARRAY_POPULATE, &a);
	if (status != 0)
		return status;
	look.a = a;
	look_at(&look);
	if (ctl.json)
		print_look_json(&look);
	else
		print_look(&look);
	array_close(a);
	return 0;
}
