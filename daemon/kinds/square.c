/* square.c - x*x: the smallest item of an array job. */
#include "daemon/kind.h"

enum { X_ };

/* The largest x whose square fits int64_t. */
#define SQUARE_MAX 3037000499

static int64_t
square_item(int64_t x)
{
	return x * x;
}

static void
square_items(int64_t first, uint32_t count, int64_t *ret)
{
	for (uint32_t i = 0; i < count; i++) {
		int64_t x = first + (int64_t)i;
		ret[i] = x * x;
	}
}

static void
square_run(struct call *call)
{
	call_result_int(call, square_item(args_int(call->args, X_)));
}

const struct kind kind_square = {
	.name = "square",
	.class = KIND_CPU,
	.help = "x times x; the example of an array job",
	.params = {
		[X_] = { .name = "x", .type = PARAM_INT, .low = -SQUARE_MAX, .high = SQUARE_MAX,
			 .help = "the number" },
	},
	.run = square_run,
	.item = square_item,
	.items = square_items,
};
