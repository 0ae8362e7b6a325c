/*
 * stats.h - percentiles of many values.
 *
 * Up to SAMPLES_EXACT values are kept and sorted: exact.  Beyond, they go into a
 * log-linear histogram (ipc/histogram.h): a percentile is then off by 0.4 % of itself at
 * most, and memory stays below 60 KiB.  Percentiles are the nearest rank: the least
 * value that at least p % of the values do not exceed.
 */
#ifndef PYPREP_CTL_STATS_H
#define PYPREP_CTL_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/histogram.h"

#define SAMPLES_EXACT 65536

struct samples {
	uint64_t count;
	uint64_t sum, least, most;
	uint64_t *values; /* while count <= SAMPLES_EXACT */
	uint64_t capacity;
	bool sorted;
	bool poured; /* afterwards: they are in ... */
	struct histogram histogram;
};

/* A zeroed struct is an empty one. */
void samples_add(struct samples *samples, uint64_t value);
uint64_t samples_percentile(struct samples *samples, double percent); /* 0 when empty */
bool samples_exact(const struct samples *samples);
void samples_free(struct samples *samples);

#endif
