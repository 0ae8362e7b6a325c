/*
 * forecast.h - when will a job start, and how long will it run, by what such jobs have taken.
 *
 * Runs of one kind on one pool are 64 quantiles of their histogram.  A start is foretold by playing
 * the pool many times: those that run go on for as long as one of those took that took longer,
 * those ahead take a free place one after the other, each for as long as one of its kind took.  The
 * answer is a range, from the 10th to the 90th percentile of these plays; with thousands of jobs
 * ahead the sum of their means, and of their variances, is enough.  What was never measured, or
 * runs longer than all before, has no end that can be foretold, and what depends on it no start.
 *
 * Nothing here keeps state.
 */
#ifndef PYPREP_DAEMON_FORECAST_H
#define PYPREP_DAEMON_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/histogram.h"

#define RUNS_QUANTILES 64u
#define FORECAST_NEVER UINT64_MAX

struct runs {
	uint64_t n;                 /* runs measured; 0: nothing is known */
	uint64_t q[RUNS_QUANTILES]; /* the middles of 64 equal parts, in ns */
	uint64_t most;
};

/* Of some histograms together (a day each); they may be empty. */
void runs_of(const struct histogram *const *h, unsigned count, struct runs *ret);
uint64_t runs_per_mille(const struct runs *r, unsigned per_mille);

/* A job that runs. */
struct under_way {
	const struct runs *runs;
	uint64_t for_ns;
};

/* Jobs that come first. */
struct in_front {
	const struct runs *runs;
	uint64_t count;
};

struct situation {
	const struct under_way *busy;
	uint32_t busy_count; /* places taken */
	uint64_t free;       /* places not taken */
	const struct in_front *front;
	unsigned front_count;
	uint64_t seed;
};

struct range {
	uint64_t low_ns, mid_ns, high_ns; /* p10, p50, p90; FORECAST_NEVER: not to be foretold */
};

/* When is the next place free, after those in front have had theirs?  0 or -ENOMEM. */
int forecast_start(const struct situation *s, struct range *ret);
/* How much longer will it run? */
struct range forecast_rest(const struct under_way *u);

#endif
