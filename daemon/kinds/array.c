/*
 * array.c - arithmetic over a named shared array, in place: nothing is copied.
 *
 * As an array job, item i is block i of ARRAY_BLOCK elements (array_ops.h); for sums of
 * integers, whose parts take two words, items 2i and 2i + 1 are those of block i.  The client
 * asks for all of them and adds the parts in order.  As a plain job, one worker does the whole
 * array.
 *
 * A worker that dies has done some elements of its blocks and not the others.  fill and
 * random can be done again; scale cannot, and its caller is told which blocks have no
 * result.
 */
#include "daemon/kind.h"

#include "daemon/kinds/array_views.h"
#include "shm/array_ops.h"

#define PARAM_ARRAY(its_name, its_help)                                            \
	{                                                                          \
		.name = its_name, .type = PARAM_TEXT, .low = 1, .high = NAMED_MAX, \
		.help = its_help                                                   \
	}
/* What a double holds of integers without a gap; factors beyond it are not numbers one
 * types. */
#define REAL_MOST (INT64_C(1) << 53)

enum { NAME, VALUE };

/* The arrays of one call and what is to be done with them. */
struct work {
	struct call *call;
	struct array_view *view, *other; /* other: dot's second */
	const struct array *a;
	union array_value value;
};

/* What one kind does with elements low .. high-1; the result of that piece. */
typedef int64_t (*piece_fn)(const struct work *work, uint64_t low, uint64_t high);

static bool
begin(struct work *work, struct call *call, bool writable)
{
	*work = (struct work){ .call = call };
	work->view = array_view_take(call, args_text(call->args, NAME, NULL), writable);
	if (work->view == NULL)
		return false;
	work->a = work->view->array;
	return true;
}

static void
end(struct work *work)
{
	array_view_give(work->view);
	array_view_give(work->other);
}

static bool
item_exists(const struct work *work, int64_t item, uint64_t count)
{
	if (item >= 0 && (uint64_t)item < count)
		return true;
	call_fail(work->call, "array \"%s\" has %llu items of work, not %lld: was it made anew?",
		  work->a->name, (unsigned long long)count, (long long)item);
	return false;
}

static uint32_t
do_blocks(const struct work *work, int64_t first, uint32_t count, piece_fn piece, int64_t *ret)
{
	uint32_t done = 0;

	for (; done < count; done++) {
		if (!item_exists(work, first + done, array_blocks(work->a)))
			break;
		uint64_t low = (uint64_t)(first + done) * ARRAY_BLOCK;
		ret[done] = piece(work, low, array_block_end(work->a, low));
	}
	return done;
}

/* ---- fill ---- */

static int64_t
fill_piece(const struct work *work, uint64_t low, uint64_t high)
{
	array_fill(work->a, low, high, work->value);
	return (int64_t)(high - low);
}

/* The value comes as text: no other form holds every number of every type. */
static bool
fill_begin(struct work *work, struct call *call)
{
	const char *text = args_text(call->args, VALUE, NULL);

	if (!begin(work, call, true))
		return false;
	if (array_value_parse(work->a->type, text, &work->value) == 0)
		return true;
	call_fail(call, "an element of array \"%s\" (%s) cannot be %s", work->a->name,
		  array_type_name(work->a->type), text);
	end(work);
	return false;
}

static uint32_t
fill_range(struct call *call, int64_t first, uint32_t count, int64_t *ret)
{
	struct work work;

	if (!fill_begin(&work, call))
		return 0;
	uint32_t done = do_blocks(&work, first, count, fill_piece, ret);
	end(&work);
	return done;
}

static void
fill_run(struct call *call)
{
	struct work work;

	if (!fill_begin(&work, call))
		return;
	call_result_int(call, fill_piece(&work, 0, work.a->count));
	end(&work);
}

const struct kind kind_array_fill = {
	.name = "array_fill",
	.class = KIND_CPU,
	.keeps = true,
	.help = "set every element of a shared array",
	.params = {
		[NAME] = PARAM_ARRAY("name", "the array's name"),
		[VALUE] = { .name = "value", .type = PARAM_TEXT, .low = 1, .high = 60,
			    .help = "the number, one that the array's type can hold" },
	},
	.run = fill_run,
	.range = fill_range,
};

/* ---- scale ---- */

static int64_t
scale_piece(const struct work *work, uint64_t low, uint64_t high)
{
	return (int64_t)array_scale(work->a, low, high, work->value.f);
}

static uint32_t
scale_range(struct call *call, int64_t first, uint32_t count, int64_t *ret)
{
	struct work work;

	if (!begin(&work, call, true))
		return 0;
	work.value.f = args_real(call->args, VALUE);
	uint32_t done = do_blocks(&work, first, count, scale_piece, ret);
	end(&work);
	return done;
}

static void
scale_run(struct call *call)
{
	struct work work;

	if (!begin(&work, call, true))
		return;
	work.value.f = args_real(call->args, VALUE);
	call_result_int(call, scale_piece(&work, 0, work.a->count));
	end(&work);
}

const struct kind kind_array_scale = {
	.name = "array_scale",
	.class = KIND_CPU,
	.keeps = true,
	.help = "multiply every element of a shared array; result: how many did not fit",
	.params = {
		[NAME] = PARAM_ARRAY("name", "the array's name"),
		[VALUE] = { .name = "factor", .type = PARAM_REAL, .low = -REAL_MOST,
			    .high = REAL_MOST, .help = "the number to multiply by" },
	},
	.run = scale_run,
	.range = scale_range,
};

/* ---- random ---- */

static int64_t
random_piece(const struct work *work, uint64_t low, uint64_t high)
{
	array_random(work->a, low, high, work->value.u);
	return (int64_t)(high - low);
}

static uint32_t
random_range(struct call *call, int64_t first, uint32_t count, int64_t *ret)
{
	struct work work;

	if (!begin(&work, call, true))
		return 0;
	work.value.u = (uint64_t)args_int(call->args, VALUE);
	uint32_t done = do_blocks(&work, first, count, random_piece, ret);
	end(&work);
	return done;
}

static void
random_run(struct call *call)
{
	struct work work;

	if (!begin(&work, call, true))
		return;
	work.value.u = (uint64_t)args_int(call->args, VALUE);
	call_result_int(call, random_piece(&work, 0, work.a->count));
	end(&work);
}

const struct kind kind_array_random = {
	.name = "array_random",
	.class = KIND_CPU,
	.keeps = true,
	.help = "fill a shared array with pseudo-random numbers: floats in [0, 1), integers of all sizes",
	.params = {
		[NAME] = PARAM_ARRAY("name", "the array's name"),
		[VALUE] = { .name = "seed", .type = PARAM_INT, .low = 0, .high = INT64_MAX,
			    .fallback = "1", .help = "which sequence; the same for the same seed" },
	},
	.run = random_run,
	.range = random_range,
};

/* ---- sum and dot ---- */

static struct array_sum
part_of(const struct work *work, uint64_t low)
{
	uint64_t high = array_block_end(work->a, low);

	return work->other == NULL ? array_sum(work->a, low, high)
				   : array_dot(work->a, work->other->array, low, high);
}

/* An item for each word of a block.  A range that begins within a block computes it again. */
static uint32_t
sum_words(const struct work *work, int64_t first, uint32_t count, int64_t *ret)
{
	const unsigned size = array_sum_words(work->a->type);
	int64_t words[2] = { 0 };
	uint32_t done = 0;

	for (; done < count; done++) {
		uint64_t item = (uint64_t)(first + done);
		if (!item_exists(work, (int64_t)item, size * array_blocks(work->a)))
			break;
		if (done == 0 || item % size == 0) {
			struct array_sum part = part_of(work, item / size * ARRAY_BLOCK);
			array_sum_pack(&part, words);
		}
		ret[done] = words[item % size];
	}
	return done;
}

static void
sum_whole(const struct work *work)
{
	struct array_sum total = array_sum_zero(work->a->type);
	char text[64];

	for (uint64_t low = 0; low < work->a->count; low += ARRAY_BLOCK) {
		struct array_sum part = part_of(work, low);
		array_sum_add(&total, &part);
	}
	array_sum_print(&total, text, sizeof(text));
	call_result_text(work->call, text);
}

static uint32_t
sum_range(struct call *call, int64_t first, uint32_t count, int64_t *ret)
{
	struct work work;

	if (!begin(&work, call, false))
		return 0;
	uint32_t done = sum_words(&work, first, count, ret);
	end(&work);
	return done;
}

static void
sum_run(struct call *call)
{
	struct work work;

	if (!begin(&work, call, false))
		return;
	sum_whole(&work);
	end(&work);
}

const struct kind kind_array_sum = {
	.name = "array_sum",
	.class = KIND_CPU,
	.keeps = true,
	.help = "the sum of a shared array: exact for integers, compensated for floats",
	.params = {
		[NAME] = PARAM_ARRAY("name", "the array's name"),
	},
	.run = sum_run,
	.range = sum_range,
};

static bool
dot_begin(struct work *work, struct call *call)
{
	if (!begin(work, call, false))
		return false;
	work->other = array_view_take(call, args_text(call->args, VALUE, NULL), false);
	if (work->other == NULL) {
		end(work);
		return false;
	}
	const struct array *a = work->a, *b = work->other->array;
	if (a->type == b->type && a->count == b->count)
		return true;
	call_fail(call, "\"%s\" (%s, %llu elements) and \"%s\" (%s, %llu) are not alike", a->name,
		  array_type_name(a->type), (unsigned long long)a->count, b->name,
		  array_type_name(b->type), (unsigned long long)b->count);
	end(work);
	return false;
}

static uint32_t
dot_range(struct call *call, int64_t first, uint32_t count, int64_t *ret)
{
	struct work work;

	if (!dot_begin(&work, call))
		return 0;
	uint32_t done = sum_words(&work, first, count, ret);
	end(&work);
	return done;
}

static void
dot_run(struct call *call)
{
	struct work work;

	if (!dot_begin(&work, call))
		return;
	sum_whole(&work);
	end(&work);
}

const struct kind kind_array_dot = {
	.name = "array_dot",
	.class = KIND_CPU,
	.keeps = true,
	.help = "the sum of the products of two shared arrays' elements",
	.params = {
		[NAME] = PARAM_ARRAY("name", "the one array's name"),
		[VALUE] = PARAM_ARRAY("other", "the other's, of the same type and length"),
	},
	.run = dot_run,
	.range = dot_range,
};
