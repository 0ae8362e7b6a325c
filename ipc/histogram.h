/*
 * histogram.h - how often each value came, in little memory: log-linear.
 *
 * Values below 128 have a bucket each; above, each power of two is cut into 128 buckets of the same
 * width.  A value read back is the middle of its bucket: off by 1/256 of itself (0.4 %) at most,
 * and never beyond the least and the most that came, which are kept as they are.  Any uint64_t
 * fits.  Memory: 496 bytes, and 1 KiB for each power of two that was seen, so 58 KiB at the very
 * most; some KiB for times of jobs.
 *
 * Histograms add up: the sum of two is the histogram of all their values.  Percentiles do not,
 * which is why these are kept.
 *
 * A percentile is the nearest rank: the least value that at least so many of the values do not
 * exceed.
 */
#ifndef PYPREP_IPC_HISTOGRAM_H
#define PYPREP_IPC_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/varint.h"

#define HISTOGRAM_BITS    7
#define HISTOGRAM_STEPS   (1u << HISTOGRAM_BITS) /* buckets of a power of two */
#define HISTOGRAM_OCTAVES (64u - HISTOGRAM_BITS + 1u)
#define HISTOGRAM_BUCKETS (HISTOGRAM_OCTAVES * HISTOGRAM_STEPS)
#define HISTOGRAM_ERROR   (100.0 / (2 * HISTOGRAM_STEPS)) /* percent of the value, at most */

/* A zeroed struct is an empty one. */
struct histogram {
	uint64_t n;     /* values, by their weight */
	uint64_t taken; /* adds: of how many values that is a sample */
	uint64_t least, most;
	uint64_t *octaves[HISTOGRAM_OCTAVES]; /* HISTOGRAM_STEPS counts each, or NULL */
};

/* Buckets in the order of their values. */
static inline unsigned
histogram_bucket(uint64_t value)
{
	if (value < HISTOGRAM_STEPS)
		return (unsigned)value;
	unsigned exponent = 63 - (unsigned)__builtin_clzll(value);
	unsigned step = (unsigned)(value >> (exponent - HISTOGRAM_BITS)) & (HISTOGRAM_STEPS - 1);
	return (exponent - HISTOGRAM_BITS + 1) * HISTOGRAM_STEPS + step;
}

/* The value that stands for all of a bucket. */
uint64_t histogram_middle(unsigned bucket);

/* For an octave that was not seen before: its counts, or NULL, no memory. */
uint64_t *histogram_grow(struct histogram *h, unsigned octave);

/* Add a value that stands for `weight` of them.  false: no memory, and nothing was added. */
static inline bool
histogram_add(struct histogram *h, uint64_t value, uint64_t weight)
{
	unsigned bucket = histogram_bucket(value);
	uint64_t *steps = h->octaves[bucket / HISTOGRAM_STEPS];

	if (steps == NULL && (steps = histogram_grow(h, bucket / HISTOGRAM_STEPS)) == NULL)
		return false;
	steps[bucket % HISTOGRAM_STEPS] += weight;
	if (h->n == 0 || value < h->least)
		h->least = value;
	if (value > h->most)
		h->most = value;
	h->n += weight;
	h->taken++;
	return true;
}

/* Add all of `from` to `to`.  false: no memory, and `to` has a part of it. */
bool histogram_merge(struct histogram *to, const struct histogram *from);

/* The `rank`th value from below, from 1; 0 when there are none. */
uint64_t histogram_nth(const struct histogram *h, uint64_t rank);
/* 500: the median.  0 when there are none. */
uint64_t histogram_per_mille(const struct histogram *h, unsigned per_mille);
/* The nearest rank of a percentile, given in thousandths, among n values; 1 at least. */
uint64_t histogram_rank(uint64_t n, unsigned per_mille);

void histogram_free(struct histogram *h); /* and it is empty again */

/* As bytes: n, taken, least, most, and the buckets that are not empty, each by its distance from
 * the one before. */
void histogram_write(const struct histogram *h, struct varint_out *to);
/* Add what stands there to `h`.  0; -EPROTO: it is no histogram; -ENOMEM.  After an error `h` may
 * have a part of it. */
int histogram_read(struct histogram *h, struct varint_in *from);

#endif
