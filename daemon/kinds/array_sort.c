/*
 * array_sort.c - sorting a named shared array: runs, and merges of runs (array_sort.h).
 *
 * As an array job, item i of array_sort is the run of `run` elements that begins at i * run,
 * written to the array `to`; item i of array_merge is block i of the merged result.  Both
 * leave what they read as it is when `to` is another array, so an item whose worker died can
 * be done again.  As a plain job, array_sort sorts the whole array on one worker.
 */
#include <string.h>

#include "daemon/kind.h"
#include "daemon/kinds/array_views.h"
#include "shm/array_ops.h"
#include "shm/array_sort.h"

enum { NAME, TO, LENGTH }; /* LENGTH: of a run */

struct pair {
	struct array_view *from, *to;
};

static bool
begin(struct pair *pair, struct call *call)
{
	const char *name = args_text(call->args, NAME, NULL);
	const char *to = args_text(call->args, TO, NULL);

	*pair = (struct pair){ 0 };
	if (to[0] == '\0')
		to = name;
	bool same = strcmp(name, to) == 0;
	pair->from = array_view_take(call, name, same);
	if (pair->from != NULL)
		pair->to = array_view_take(call, to, true);
	if (pair->to != NULL && pair->from->array->type == pair->to->array->type &&
	    pair->from->array->count == pair->to->array->count)
		return true;
	if (pair->to != NULL)
		call_fail(call, "arrays \"%s\" and \"%s\" are not alike", name, to);
	array_view_give(pair->from);
	array_view_give(pair->to);
	return false;
}

static void
end(struct pair *pair)
{
	array_view_give(pair->from);
	array_view_give(pair->to);
}

static bool
item_exists(struct call *call, const struct array *a, int64_t item, uint64_t length)
{
	if (item >= 0 && (uint64_t)item < (a->count + length - 1) / length)
		return true;
	call_fail(call, "array \"%s\" has no item %lld of work: was it made anew?", a->name,
		  (long long)item);
	return false;
}

/* ---- runs ---- */

static uint32_t
sort_range(struct call *call, int64_t first, uint32_t count, int64_t *ret)
{
	struct pair pair;
	uint32_t done = 0;

	if (!begin(&pair, call))
		return 0;
	const struct array *a = pair.from->array;
	uint64_t length = (uint64_t)args_int(call->args, LENGTH);
	for (; done < count; done++) {
		if (!item_exists(call, a, first + done, length))
			break;
		uint64_t low = (uint64_t)(first + done) * length;
		uint64_t high = a->count - low < length ? a->count : low + length;
		if (array_sort_run(a, pair.to->array, low, high) < 0) {
			call_no_memory(call, "no memory to sort %llu elements of array \"%s\"",
				  (unsigned long long)(high - low), a->name);
			break;
		}
		ret[done] = (int64_t)(high - low);
	}
	end(&pair);
	return done;
}

static void
sort_run(struct call *call)
{
	struct pair pair;

	if (!begin(&pair, call))
		return;
	const struct array *a = pair.from->array;
	if (array_sort_run(a, pair.to->array, 0, a->count) < 0)
		call_no_memory(call, "no memory to sort array \"%s\" in one piece", a->name);
	else
		call_result_int(call, (int64_t)a->count);
	end(&pair);
}

const struct kind kind_array_sort = {
	.name = "array_sort",
	.class = KIND_CPU,
	.keeps = true,
	.help = "sort a shared array, or, as an array job, runs of it",
	.params = {
		[NAME] = { .name = "name", .type = PARAM_TEXT, .low = 1, .high = NAMED_MAX,
			   .help = "the array's name" },
		[TO] = { .name = "to", .type = PARAM_TEXT, .low = 0, .high = NAMED_MAX,
			 .fallback = "", .help = "where the result goes; empty: in place" },
		[LENGTH] = { .name = "run", .type = PARAM_INT, .low = 1, .high = INT64_C(1) << 46,
			     .fallback = "32768", .help = "elements of a run (array jobs)" },
	},
	.run = sort_run,
	.range = sort_range,
};

/* ---- merges ---- */

static bool
merge_begin(struct pair *pair, struct call *call)
{
	if (!begin(pair, call))
		return false;
	if (pair->from != pair->to && args_int(call->args, LENGTH) % (int64_t)ARRAY_BLOCK == 0)
		return true;
	call_fail(call, "merging goes from one array to another, by runs of a multiple of %d",
		  (int)ARRAY_BLOCK);
	end(pair);
	return false;
}

static uint32_t
merge_range(struct call *call, int64_t first, uint32_t count, int64_t *ret)
{
	struct pair pair;
	uint32_t done = 0;

	if (!merge_begin(&pair, call))
		return 0;
	const struct array *a = pair.from->array;
	uint64_t width = (uint64_t)args_int(call->args, LENGTH);
	for (; done < count && item_exists(call, a, first + done, ARRAY_BLOCK); done++) {
		uint64_t low = (uint64_t)(first + done) * ARRAY_BLOCK;
		uint64_t high = array_block_end(a, low);
		array_sort_merge(a, pair.to->array, width, low, high);
		ret[done] = (int64_t)(high - low);
	}
	end(&pair);
	return done;
}

static void
merge_run(struct call *call)
{
	struct pair pair;

	if (!merge_begin(&pair, call))
		return;
	const struct array *a = pair.from->array;
	uint64_t width = (uint64_t)args_int(call->args, LENGTH);
	for (uint64_t low = 0; low < a->count; low += ARRAY_BLOCK)
		array_sort_merge(a, pair.to->array, width, low, array_block_end(a, low));
	call_result_int(call, (int64_t)a->count);
	end(&pair);
}

const struct kind kind_array_merge = {
	.name = "array_merge",
	.class = KIND_CPU,
	.keeps = true,
	.help = "merge each two sorted runs of a shared array into another one",
	.params = {
		[NAME] = { .name = "name", .type = PARAM_TEXT, .low = 1, .high = NAMED_MAX,
			   .help = "the array that consists of sorted runs" },
		[TO] = { .name = "to", .type = PARAM_TEXT, .low = 1, .high = NAMED_MAX,
			 .help = "where the result goes: another array" },
		[LENGTH] = { .name = "run", .type = PARAM_INT, .low = ARRAY_BLOCK,
			     .high = INT64_C(1) << 46, .help = "elements of a run" },
	},
	.run = merge_run,
	.range = merge_range,
};
