/*
 * fib.c - the n-th Fibonacci number in three ways: by naive recursion (exponential), by
 * recursion with a memo of every value, and with a cache of the least recently used ones.
 *
 * fib(0) = 0, fib(1) = 1.  fib(186) is the last that fits 128 bits.
 */
#include "daemon/kind.h"

enum { N, METHOD };
enum { METHOD_NAIVE, METHOD_MEMO, METHOD_LRU };

#define FIB_MAX   186
#define NAIVE_MAX 50 /* 4 * 10^10 calls */
#define LRU_SIZE  128

typedef unsigned __int128 number;

/* Not inlined, and behind a barrier: the calls are the work. */
static __attribute__((noinline)) uint64_t
fib_naive(unsigned n)
{
	__asm__ volatile("" : "+r"(n));
	if (n < 2)
		return n;
	return fib_naive(n - 1) + fib_naive(n - 2);
}

static number
fib_memo(unsigned n, number *memo)
{
	if (n < 2)
		return n;
	if (memo[n] == 0)
		memo[n] = fib_memo(n - 1, memo) + fib_memo(n - 2, memo);
	return memo[n];
}

/* A bounded cache: entries in a ring of neighbours, the most recently used first.  `where`
 * finds the entry of an argument; 0 is the ring's head, which holds no value. */
struct lru {
	struct entry {
		number value;
		uint16_t argument, newer, older;
	} entries[LRU_SIZE + 1];
	uint16_t where[FIB_MAX + 1];
	uint16_t used;
};

static void
lru_unlink(struct lru *c, uint16_t i)
{
	c->entries[c->entries[i].newer].older = c->entries[i].older;
	c->entries[c->entries[i].older].newer = c->entries[i].newer;
}

static void
lru_put_first(struct lru *c, uint16_t i)
{
	uint16_t first = c->entries[0].older;

	c->entries[i].newer = 0;
	c->entries[i].older = first;
	c->entries[first].newer = i;
	c->entries[0].older = i;
}

static bool
lru_get(struct lru *c, unsigned argument, number *ret)
{
	uint16_t i = c->where[argument];

	if (i == 0)
		return false;
	lru_unlink(c, i);
	lru_put_first(c, i);
	*ret = c->entries[i].value;
	return true;
}

static void
lru_put(struct lru *c, unsigned argument, number value)
{
	uint16_t i;

	if (c->used < LRU_SIZE) {
		i = ++c->used;
	} else {
		i = c->entries[0].newer; /* the least recently used */
		lru_unlink(c, i);
		c->where[c->entries[i].argument] = 0;
	}
	c->entries[i].value = value;
	c->entries[i].argument = (uint16_t)argument;
	c->where[argument] = i;
	lru_put_first(c, i);
}

static number
fib_lru(unsigned n, struct lru *cache)
{
	number value;

	if (lru_get(cache, n, &value))
		return value;
	value = n < 2 ? n : fib_lru(n - 1, cache) + fib_lru(n - 2, cache);
	lru_put(cache, n, value);
	return value;
}

static void
fib_run(struct call *call)
{
	unsigned n = (unsigned)args_int(call->args, N);
	number memo[FIB_MAX + 1] = { 0 };
	struct lru cache = { 0 };

	switch (args_int(call->args, METHOD)) {
	case METHOD_NAIVE:
		if (n > NAIVE_MAX)
			call_fail(call,
				  "n=%u would take ages with method=naive, which goes to %d; "
				  "use method=memo or method=lru",
				  n, NAIVE_MAX);
		else
			call_result_u128(call, fib_naive(n));
		break;
	case METHOD_MEMO:
		call_result_u128(call, fib_memo(n, memo));
		break;
	case METHOD_LRU:
		call_result_u128(call, fib_lru(n, &cache));
		break;
	}
}

const struct kind kind_fib = {
	.name = "fib",
	.class = KIND_CPU,
	.help = "the n-th Fibonacci number, by plain recursion or with a cache",
	.params = {
		[N] = { .name = "n", .type = PARAM_INT, .low = 0, .high = FIB_MAX,
			.help = "which one; with method=naive up to 50" },
		[METHOD] = { .name = "method", .type = PARAM_ENUM, .fallback = "naive",
			     .choices = "naive|memo|lru",
			     .help = "how: every call anew, every value kept, or the last 128" },
	},
	.run = fib_run,
};
