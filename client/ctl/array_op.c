/* array_op.c - pyprepctl array fill, scale, random, sum, dot: one piece of work each. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/array.h"
#include "client/ctl/print_json.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "shm/array_ops.h"

#define PARAM_TEXT_MAX (NAMED_MAX + 80)

struct op {
	const char *verb;
	struct array_stat stat;
	char name_param[PARAM_TEXT_MAX], value_param[PARAM_TEXT_MAX];
	struct array_work work;
};

static int
begin(struct op *op, const char *verb, const char *kind, const char *name)
{
	int status = array_find(name, &op->stat);
	if (status != 0)
		return status;
	op->verb = verb;
	snprintf(op->name_param, sizeof op->name_param, "name=%s", name);
	op->work = (struct array_work){
		.kind = kind,
		.params = { op->name_param },
		.items = (op->stat.count + ARRAY_BLOCK - 1) / ARRAY_BLOCK,
		.names = { op->stat.name },
	};
	return 0;
}

/* A finished operation: `text` is its result in words, `result` the same for JSON (may be NULL),
 * `bare` what -q prints. */
static void
say(const struct op *op, const char *text, json_t *result, const char *bare)
{
	char way[160];

	if (ctl.json) {
		json_t *object = json_pack("{s:s, s:s, s:s, s:o}", "schema", "pyprep.array_op/1",
					   "operation", op->verb, "name", op->stat.name, "count",
					   json_of_u64(op->stat.count));
		if (result)
			json_object_set_new(object, "result", result);
		array_work_json(&op->work, object);
		json_print_line(object);
		return;
	}
	json_decref(result);
	if (ctl.quiet) {
		if (bare)
			printf("%s\n", bare);
		return;
	}
	array_work_print(&op->work, way, sizeof way);
	printf("%s: %s; %s elements, %s\n", op->stat.name, text, unit_count(op->stat.count).text,
	       way);
}

static void
block_of(const struct array *a, uint64_t item, uint64_t *low, uint64_t *high)
{
	*low = item * ARRAY_BLOCK;
	*high = array_block_end(a, *low);
}

/* ---- fill ---- */

static int
fill_piece(struct array_work *work, uint64_t item, int64_t *ret)
{
	uint64_t low, high;

	block_of(work->arrays[0], item, &low, &high);
	array_fill(work->arrays[0], low, high, work->value);
	*ret = (int64_t)(high - low);
	return 0;
}

int
array_verb_fill(char **word, const struct words *words)
{
	struct op op;
	char text[PARAM_TEXT_MAX + 16];

	(void)words;
	int status = begin(&op, "fill", "array_fill", word[0]);
	if (status != 0)
		return status;
	if (array_value_parse(op.stat.type, word[1], &op.work.value) < 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"an element of array '%s' cannot be %s: expected %s %s", word[0],
				word[1],
				array_type_is_real(op.stat.type) ? "a decimal number, as 2.5, for"
								 : "a whole number that fits",
				array_type_name(op.stat.type));
	snprintf(op.value_param, sizeof op.value_param, "value=%.60s", word[1]);
	op.work.params[1] = op.value_param;
	op.work.piece = fill_piece;
	op.work.writes = true;
	status = array_work_do(&op.work);
	snprintf(text, sizeof text, "filled with %s", word[1]);
	if (status == 0)
		say(&op, text, array_value_json(op.stat.type, op.work.value), NULL);
	array_work_end(&op.work);
	return status;
}

/* ---- scale ---- */

static int
scale_piece(struct array_work *work, uint64_t item, int64_t *ret)
{
	uint64_t low, high;

	block_of(work->arrays[0], item, &low, &high);
	*ret = (int64_t)array_scale(work->arrays[0], low, high, work->value.f);
	return 0;
}

/* Blocks without a result were under a worker's hands when it died: they hold old elements and
 * new ones. */
static int
say_half_scaled(const struct op *op, int status)
{
	uint64_t first = 0, last = op->work.items;

	while (first < last && op->work.done[first])
		first++;
	while (last > first && op->work.done[last - 1])
		last--;
	uint64_t end = last * ARRAY_BLOCK < op->stat.count ? last * ARRAY_BLOCK : op->stat.count;
	return ctl_fail(status, "half_scaled",
			"%" PRIu64 " of %" PRIu64 " blocks of array '%s' have no result: among "
			"elements %" PRIu64 "..%" PRIu64 " some are scaled and some are not; "
			"fill the array anew",
			op->work.missing, op->work.items, op->stat.name, first * ARRAY_BLOCK, end);
}

static int
read_factor(const struct op *op, const char *text, double *ret)
{
	char *end;
	double factor = strtod(text, &end);

	(void)op;
	if (end == text || *end != '\0' || strspn(text, "0123456789+-.eE") != strlen(text) ||
	    fabs(factor) > 0x1p53)
		return ctl_fail(EXIT_USAGE, "usage",
				"the factor is a decimal number between -2^53 and 2^53, not '%s'",
				text);
	*ret = factor;
	return 0;
}

int
array_verb_scale(char **word, const struct words *words)
{
	struct op op;
	char text[160];
	uint64_t unfit = 0;

	(void)words;
	int status = begin(&op, "scale", "array_scale", word[0]);
	if (status == 0)
		status = read_factor(&op, word[1], &op.work.value.f);
	if (status != 0)
		return status;
	snprintf(op.value_param, sizeof op.value_param, "factor=%.60s", word[1]);
	op.work.params[1] = op.value_param;
	op.work.piece = scale_piece;
	op.work.writes = op.work.once = true;
	status = array_work_do(&op.work);
	for (uint64_t i = 0; i < op.work.items; i++)
		unfit += op.work.done[i] ? (uint64_t)op.work.results[i] : 0;
	snprintf(text, sizeof text, "scaled by %s%s", word[1],
		 unfit > 0 ? ", some kept at an end of the type" : "");
	if (unfit > 0)
		ctl_note("%" PRIu64 " elements did not fit %s and hold its end", unfit,
			 array_type_name(op.stat.type));
	if (status != 0 && op.work.torn)
		status = say_half_scaled(&op, status);
	else if (status == 0)
		say(&op, text,
		    json_pack("{s:f, s:o}", "factor", op.work.value.f, "did_not_fit",
			      json_of_u64(unfit)),
		    NULL);
	array_work_end(&op.work);
	return status;
}

/* ---- random ---- */

static int
random_piece(struct array_work *work, uint64_t item, int64_t *ret)
{
	uint64_t low, high;

	block_of(work->arrays[0], item, &low, &high);
	array_random(work->arrays[0], low, high, work->number);
	*ret = (int64_t)(high - low);
	return 0;
}

int
array_verb_random(char **word, const struct words *words)
{
	struct op op;
	char text[80];

	(void)words;
	int status = begin(&op, "random", "array_random", word[0]);
	if (status != 0)
		return status;
	op.work.number = (uint64_t)array_options.seed;
	snprintf(op.value_param, sizeof op.value_param, "seed=%" PRIu64, op.work.number);
	op.work.params[1] = op.value_param;
	op.work.piece = random_piece;
	op.work.writes = true;
	status = array_work_do(&op.work);
	snprintf(text, sizeof text, "random numbers of seed %" PRIu64, op.work.number);
	if (status == 0)
		say(&op, text, json_pack("{s:o}", "seed", json_of_u64(op.work.number)), NULL);
	array_work_end(&op.work);
	return status;
}

/* ---- sum and dot ---- */

/* As the kinds have it: an item for each word of a block's part. */
static int
sum_piece(struct array_work *work, uint64_t item, int64_t *ret)
{
	uint64_t low, high;
	int64_t words[2];
	const unsigned size = array_sum_words(work->arrays[0]->type);

	if (size == 2 && item % 2 == 1 && work->second_item == item) {
		*ret = work->second_word;
		return 0;
	}
	block_of(work->arrays[0], item / size, &low, &high);
	struct array_sum part = work->arrays[1]
					? array_dot(work->arrays[0], work->arrays[1], low, high)
					: array_sum(work->arrays[0], low, high);
	array_sum_pack(&part, words);
	*ret = words[item % size];
	work->second_word = words[1];
	work->second_item = size == 2 && item % 2 == 0 ? item + 1 : 0;
	return 0;
}

static struct array_sum
total_of(const struct op *op)
{
	struct array_sum total = array_sum_zero(op->stat.type);

	for (uint64_t i = 0; i < op->work.items; i += array_sum_words(op->stat.type)) {
		struct array_sum part = array_sum_unpack(op->stat.type, op->work.results + i);
		array_sum_add(&total, &part);
	}
	return total;
}

/* Numbers that JSON and its readers keep; else text. */
static json_t *
sum_json(const struct array_sum *sum, const char *text)
{
	double real = array_sum_real(sum);

	if (sum->real && isfinite(real))
		return json_real(real);
	if (!sum->real && !sum->overflow && fabs(real) < 0x1p53)
		return json_integer((json_int_t)sum->whole);
	return json_string(text);
}

static int
sum_up(struct op *op, const char *what)
{
	char digits[64], text[100];

	op->work.items *= array_sum_words(op->stat.type);
	op->work.piece = sum_piece;
	int status = array_work_do(&op->work);
	if (status == 0) {
		struct array_sum total = total_of(op);
		array_sum_print(&total, digits, sizeof digits);
		snprintf(text, sizeof text, "%s %s", what, digits);
		if (total.overflow)
			status = ctl_fail(EXIT_SOME_FAILED, "overflow",
					  "the %s of '%s' is beyond 127 bits", what, op->stat.name);
		else
			say(op, text, sum_json(&total, digits), digits);
	}
	array_work_end(&op->work);
	return status;
}

int
array_verb_sum(char **word, const struct words *words)
{
	struct op op;

	(void)words;
	int status = begin(&op, "sum", "array_sum", word[0]);
	return status != 0 ? status : sum_up(&op, "sum");
}

int
array_verb_dot(char **word, const struct words *words)
{
	struct op op;
	struct array_stat other;

	(void)words;
	int status = begin(&op, "dot", "array_dot", word[0]);
	if (status == 0)
		status = array_find(word[1], &other);
	if (status != 0)
		return status;
	if (other.type != op.stat.type || other.count != op.stat.count)
		return ctl_fail(EXIT_USAGE, "usage",
				"'%s' (%s, %" PRIu64 " elements) and '%s' (%s, %" PRIu64
				") are not alike",
				word[0], array_type_name(op.stat.type), op.stat.count, word[1],
				array_type_name(other.type), other.count);
	snprintf(op.value_param, sizeof op.value_param, "other=%s", word[1]);
	op.work.params[1] = op.value_param;
	op.work.names[1] = other.name;
	return sum_up(&op, "dot product");
}
