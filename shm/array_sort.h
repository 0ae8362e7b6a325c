/*
 * array_sort.h - sorting an array in pieces: runs, then merges.
 *
 * Ascending.  Floats stand in the total order of IEEE 754 (-0 before 0); what is not a
 * number goes to the end and loses its sign.  Equal elements have equal bits, so the result
 * does not depend on how the work was split.
 *
 * A run is sorted by its digits (least significant byte first, on keys whose order is that of
 * the elements), in private memory of twice its size.  Merging doubles the length of runs
 * from one array to another; each range of the result finds its place in both runs by
 * bisection (the merge path: O. Green, R. McColl, D. Bader, 2012), so ranges are alike in
 * work and can be done by anyone.  Both read one array and write the other: what is done
 * twice, or begun by one who died and done again, comes out the same.
 */
#ifndef PYPREP_SHM_ARRAY_SORT_H
#define PYPREP_SHM_ARRAY_SORT_H

#include "shm/array.h"

/* Write elements low .. high-1 of `from`, sorted, to the same places of `to`, which may be
 * the same array.  -ENOMEM: `to` is as it was. */
int array_sort_run(const struct array *from, const struct array *to, uint64_t low, uint64_t high);

/* `from` consists of sorted runs of `width` elements (the last may be shorter): write
 * elements low .. high-1 of what merging each two of them gives.  The range must lie within
 * one pair of runs. */
void array_sort_merge(const struct array *from, const struct array *to, uint64_t width,
		      uint64_t low, uint64_t high);

/* Is it in order? */
bool array_sort_is_sorted(const struct array *a);

/* How a sort over workers is cut: runs of *ret_width elements (blocks of ARRAY_BLOCK), and
 * how many merging passes follow.  An odd number of passes: with the runs written to a second
 * array, the last pass ends in the first.  0 passes: too short to be cut. */
unsigned array_sort_plan(uint64_t count, uint64_t *ret_width);

#endif
