/*
 * primes.c - count the primes below a limit: the sieve of Eratosthenes, one segment of
 * odd numbers at a time, so that memory stays in the cache whatever the limit.
 */
#include "daemon/kind.h"

#include <stdlib.h>
#include <string.h>

enum { LIMIT };

#define LIMIT_MAX 1000000000
#define ROOT_MAX  31623        /* above the square root of LIMIT_MAX */
#define SEGMENT   (128 * 1024) /* odd numbers, one byte each */

/* The odd primes up to `root`, and for each the next odd multiple to strike out. */
struct sieve {
	unsigned char composite[SEGMENT];
	unsigned char small[ROOT_MAX + 1];
	struct {
		uint32_t prime;
		uint64_t next; /* as an index of odd numbers: (multiple - 1) / 2 */
	} primes[3500];        /* there are 3,400 odd primes below ROOT_MAX */
	unsigned count;
};

static void
find_small_primes(struct sieve *s, uint64_t limit)
{
	for (uint32_t p = 3; (uint64_t)p * p < limit; p += 2) {
		if (s->small[p])
			continue;
		s->primes[s->count].prime = p;
		s->primes[s->count].next = ((uint64_t)p * p - 1) / 2;
		s->count++;
		for (uint64_t m = (uint64_t)p * p; m <= ROOT_MAX; m += 2 * (uint64_t)p)
			s->small[m] = 1;
	}
}

/* Primes among the odd numbers with index low .. high-1. */
static uint64_t
sieve_segment(struct sieve *s, uint64_t low, uint64_t high)
{
	uint64_t count = 0;

	memset(s->composite, 0, high - low);
	for (unsigned i = 0; i < s->count; i++) {
		uint64_t next = s->primes[i].next;
		for (; next < high; next += s->primes[i].prime)
			s->composite[next - low] = 1;
		s->primes[i].next = next;
	}
	for (uint64_t i = 0; i < high - low; i++)
		count += s->composite[i] == 0;
	return count;
}

static void
primes_run(struct call *call)
{
	uint64_t limit = (uint64_t)args_int(call->args, LIMIT);
	uint64_t odds = limit / 2;  /* 1, 3, 5, ... below limit */
	uint64_t count = limit > 2; /* the prime 2 */

	struct sieve *s = calloc(1, sizeof(*s));
	if (s == NULL) {
		call_no_memory(call, "no memory for the sieve");
		return;
	}
	find_small_primes(s, limit);
	for (uint64_t low = 1; low < odds; low += SEGMENT) /* index 0 is 1, no prime */
		count += sieve_segment(s, low, low + SEGMENT < odds ? low + SEGMENT : odds);
	free(s);
	call_result_int(call, (int64_t)count);
}

const struct kind kind_primes = {
	.name = "primes",
	.class = KIND_CPU,
	.help = "how many primes are below a limit, by a segmented sieve",
	.params = {
		[LIMIT] = { .name = "limit", .type = PARAM_INT, .low = 0, .high = LIMIT_MAX,
			    .help = "numbers below this" },
	},
	.run = primes_run,
};
