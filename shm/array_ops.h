/*
 * array_ops.h - arithmetic over arrays in place, by ranges of elements.
 *
 * Any range may be done by any process, in any order; the caller sees to it that nobody else
 * writes to it meanwhile.  Ranges are low .. high-1, counted in elements, and must lie in
 * the array (nothing here checks).  Work is split into blocks of ARRAY_BLOCK elements, always
 * at the same places, and partial sums are added in the order of the blocks: so a sum has
 * the same bits however the blocks were shared out.
 *
 * Sums of integers are exact, in 128 bits.  Sums of floats are pairwise within a block, as
 * numpy's are (8 running sums over 128 elements, halves above that; relative error about
 * log2(n) ulp for numbers of one sign), and compensated between blocks (A. Neumaier, 1974);
 * f32 is summed as f64.
 */
#ifndef PYPREP_SHM_ARRAY_OPS_H
#define PYPREP_SHM_ARRAY_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/array.h"

#define ARRAY_BLOCK UINT64_C(32768) /* elements; 256 KiB of f64: tens of microseconds */

static inline uint64_t
array_blocks(const struct array *a)
{
	return (a->count + ARRAY_BLOCK - 1) / ARRAY_BLOCK;
}

/* The end of the block that begins at `low`. */
static inline uint64_t
array_block_end(const struct array *a, uint64_t low)
{
	return a->count - low < ARRAY_BLOCK ? a->count : low + ARRAY_BLOCK;
}

void array_fill(const struct array *a, uint64_t low, uint64_t high, union array_value value);

/* Multiply.  Integers: the product is rounded to the nearest and kept within the type;
 * returns how many did not fit and hold the type's end.  (64-bit integers times a whole
 * factor below 2^63 are exact, times another factor in 64 bits of mantissa.)  Floats: 0.
 * The factor is finite. */
uint64_t array_scale(const struct array *a, uint64_t low, uint64_t high, double factor);

/* Element i is number i of the sequence that `seed` names: 64 bits of SplitMix64 (G. Steele,
 * D. Lea, C. Flood: Fast splittable pseudorandom number generators, OOPSLA 2014; constants
 * of S. Vigna's splitmix64.c), which computes any of them from its index alone.  Floats are
 * uniform in [0, 1), integers in all of their type.  Not for secrets. */
void array_random(const struct array *a, uint64_t low, uint64_t high, uint64_t seed);
uint64_t array_random_bits(uint64_t seed, uint64_t index);

/* A sum, or part of one. */
struct array_sum {
	bool real;     /* which of the two below counts */
	bool overflow; /* beyond 127 bits: only dot of 64-bit integers can */
	__int128 whole;
	double part, lost; /* part + lost: the sum, and what rounding took from it */
};

/* The sum of one range, at most 2^30 elements; dot: of a[i] * b[i], types alike. */
struct array_sum array_sum(const struct array *a, uint64_t low, uint64_t high);
struct array_sum array_dot(const struct array *a, const struct array *b, uint64_t low,
			   uint64_t high);

/* total += part, in the order of the blocks.  Begin with array_sum_zero(). */
struct array_sum array_sum_zero(enum array_type type);
void array_sum_add(struct array_sum *total, const struct array_sum *part);

/* The part of one block as words, to travel as results of as many items: one for floats (the
 * bits of a double; nothing is `lost` within a block), two for integers. */
static inline unsigned
array_sum_words(enum array_type type)
{
	return array_type_is_real(type) ? 1 : 2;
}
void array_sum_pack(const struct array_sum *sum, int64_t words[2]);
struct array_sum array_sum_unpack(enum array_type type, const int64_t *words);

double array_sum_real(const struct array_sum *sum);
void array_sum_print(const struct array_sum *sum, char *buffer, size_t size); /* "overflow" too */

/* The least and the greatest element, and how many are not a number (and do not count). */
struct array_extent {
	union array_value least, greatest;
	uint64_t numbers, nans;
};
void array_extent(const struct array *a, uint64_t low, uint64_t high, struct array_extent *ret);

/* How many elements of the range fall into each of `bins` equal parts of least .. greatest;
 * added to counts[].  Both ends finite; what lies beyond falls into the first or the last. */
void array_histogram(const struct array *a, uint64_t low, uint64_t high, double least,
		     double greatest, unsigned bins, uint64_t *counts);

#endif
