/* stats.c - percentiles of many values: sorted while few, a histogram beyond. */
#include "client/ctl/stats.h"

#include <stdlib.h>
#include <string.h>

#include "client/ctl/report.h"

static void
pour_into_histogram(struct samples *s)
{
	for (uint64_t i = 0; i < s->count; i++)
		if (!histogram_add(&s->histogram, s->values[i], 1))
			ctl_no_memory();
	free(s->values);
	s->values = NULL;
	s->poured = true;
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
	if (!s->poured && s->count == SAMPLES_EXACT)
		pour_into_histogram(s);
	if (!s->poured)
		keep_value(s, value);
	else if (!histogram_add(&s->histogram, value, 1))
		ctl_no_memory();
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
	if (s->poured)
		return histogram_nth(&s->histogram, rank);
	if (!s->sorted)
		qsort(s->values, s->count, sizeof *s->values, compare_values);
	s->sorted = true;
	return s->values[rank - 1];
}

bool
samples_exact(const struct samples *s)
{
	return !s->poured;
}

void
samples_free(struct samples *s)
{
	free(s->values);
	histogram_free(&s->histogram);
	memset(s, 0, sizeof *s);
}
