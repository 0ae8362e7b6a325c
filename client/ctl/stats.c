/* stats.c - percentiles of many values: sorted while few, a histogram beyond. */
#include "client/ctl/stats.h"

#include <stdlib.h>
#include <string.h>

#include "client/ctl/report.h"

#define STEP_BITS 7
#define STEPS     (1u << STEP_BITS)
#define BUCKETS   ((64 - STEP_BITS + 1) * STEPS)

/* Values below STEPS have a bucket each; above, STEPS buckets per power of two. */
static unsigned
bucket_of(uint64_t value)
{
	if (value < STEPS)
		return (unsigned)value;
	unsigned exponent = 63 - (unsigned)__builtin_clzll(value);
	unsigned step = (unsigned)(value >> (exponent - STEP_BITS)) & (STEPS - 1);
	return (exponent - STEP_BITS + 1) * STEPS + step;
}

/* The middle of a bucket. */
static uint64_t
value_of(unsigned bucket)
{
	if (bucket < STEPS)
		return bucket;
	unsigned shift = bucket / STEPS - 1;
	uint64_t low = (uint64_t)(STEPS + bucket % STEPS) << shift;
	return low + ((1ull << shift) >> 1);
}

static void
pour_into_buckets(struct samples *s)
{
	s->buckets = ctl_alloc(BUCKETS, sizeof *s->buckets);
	for (uint64_t i = 0; i < s->count; i++)
		s->buckets[bucket_of(s->values[i])]++;
	free(s->values);
	s->values = NULL;
}

static void
keep_value(struct samples *s, uint64_t value)
{
	if (s->count == s->capacity) {
		s->capacity = s->capacity ? 2 * s->capacity : 64;
		s->values = ctl_realloc(s->values, s->capacity * sizeof *s->values);
	}
	s->values[s->count] = value;
	s->sorted = false;
}

void
samples_add(struct samples *s, uint64_t value)
{
	if (!s->buckets && s->count == SAMPLES_EXACT)
		pour_into_buckets(s);
	if (s->buckets)
		s->buckets[bucket_of(value)]++;
	else
		keep_value(s, value);
	s->least = s->count == 0 || value < s->least ? value : s->least;
	s->most = value > s->most ? value : s->most;
	s->sum += value;
	s->count++;
}

static int
compare_values(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static uint64_t
nth_of_buckets(const struct samples *s, uint64_t rank)
{
	uint64_t seen = 0;

	for (unsigned i = 0; i < BUCKETS; i++) {
		seen += s->buckets[i];
		if (seen >= rank) {
			uint64_t value = value_of(i);
			return value < s->least ? s->least : value > s->most ? s->most : value;
		}
	}
	return s->most;
}

uint64_t
samples_percentile(struct samples *s, double percent)
{
	if (s->count == 0)
		return 0;
	double exact = percent / 100.0 * (double)s->count;
	uint64_t rank = (uint64_t)exact;
	if ((double)rank < exact || rank == 0)
		rank++;
	if (rank > s->count)
		rank = s->count;
	if (s->buckets)
		return nth_of_buckets(s, rank);
	if (!s->sorted)
		qsort(s->values, s->count, sizeof *s->values, compare_values);
	s->sorted = true;
	return s->values[rank - 1];
}

bool
samples_exact(const struct samples *s)
{
	return s->buckets == NULL;
}

void
samples_free(struct samples *s)
{
	free(s->values);
	free(s->buckets);
	memset(s, 0, sizeof *s);
}
