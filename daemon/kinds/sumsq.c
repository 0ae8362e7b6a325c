/*
 * sumsq.c - the sum of i*i for i in 0 .. n-1: plain arithmetic whose time grows with n.
 *
 * The sum is kept in 128 bits, so it is exact for every n that is allowed (the largest sum,
 * for n = 10^12, is 3.3 * 10^35) and equals what Python's unbounded integers give.
 */
#include "daemon/kind.h"

enum { N };

static void
sumsq_run(struct call *call)
{
	uint64_t n = (uint64_t)args_int(call->args, N);
	unsigned __int128 sum = 0;

	for (uint64_t i = 0; i < n; i++) {
		/* Compilers know the closed formula and would use it: make `i` a value they
		 * know nothing about, at no cost in instructions. */
		uint64_t x = i;
		__asm__ volatile("" : "+r"(x));
		sum += (unsigned __int128)x * x;
	}
	call_result_u128(call, sum);
}

const struct kind kind_sumsq = {
	.name = "sumsq",
	.class = KIND_CPU,
	.help = "sum of the squares of 0 .. n-1, exact",
	.params = {
		[N] = { .name = "n", .type = PARAM_INT, .low = 0, .high = 1000000000000,
			.help = "how many numbers" },
	},
	.run = sumsq_run,
};
