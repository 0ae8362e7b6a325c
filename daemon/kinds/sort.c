/*
 * sort.c - sort n pseudo-random integers by a chosen algorithm, counting comparisons.
 *
 * The numbers are those of the seed (splitmix64), so every algorithm gets the same ones and
 * must come to the same checksum.
 */
#include "daemon/kind.h"

#include <stdlib.h>
#include <string.h>

enum { N, ALGORITHM, SEED };
enum { ALGORITHM_BUBBLE, ALGORITHM_QUICK, ALGORITHM_MERGE };

#define N_MAX      10000000
#define BUBBLE_MAX 100000 /* half a minute */

static uint64_t
splitmix64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static void
swap(int64_t *a, int64_t *b)
{
	int64_t t = *a;

	*a = *b;
	*b = t;
}

static uint64_t
sort_bubble(int64_t *v, size_t n)
{
	uint64_t comparisons = 0;

	for (size_t end = n; end > 1;) {
		size_t last = 0; /* behind the last swap all is in order */
		for (size_t i = 1; i < end; i++) {
			if (v[i - 1] > v[i]) {
				swap(&v[i - 1], &v[i]);
				last = i;
			}
		}
		comparisons += end - 1;
		end = last;
	}
	return comparisons;
}

/* Hoare's partition around the median of three.  Goes down into the smaller part only, so
 * the stack stays within log2(n) frames. */
static uint64_t
sort_quick(int64_t *v, size_t n)
{
	uint64_t comparisons = 0;

	while (n > 1) {
		int64_t *mid = &v[n / 2], *end = &v[n - 1];
		if (*mid < *v)
			swap(mid, v);
		if (*end < *v)
			swap(end, v);
		if (*end < *mid)
			swap(end, mid);
		comparisons += 3;
		if (n <= 3)
			break;
		int64_t pivot = *mid;
		size_t i = 0, j = n - 1;
		for (;; i++, j--) {
			for (; v[i] < pivot; i++)
				comparisons++;
			for (; v[j] > pivot; j--)
				comparisons++;
			comparisons += 2;
			if (i >= j)
				break;
			swap(&v[i], &v[j]);
		}
		size_t left = j + 1;
		if (left <= n - left) {
			comparisons += sort_quick(v, left);
			v += left;
			n -= left;
		} else {
			comparisons += sort_quick(v + left, n - left);
			n = left;
		}
	}
	return comparisons;
}

/* Bottom-up: runs of 1, 2, 4, ... are merged from one array into the other. */
static uint64_t
merge_pass(const int64_t *from, int64_t *to, size_t n, size_t width)
{
	uint64_t comparisons = 0;

	for (size_t low = 0; low < n; low += 2 * width) {
		size_t mid = low + width < n ? low + width : n;
		size_t high = low + 2 * width < n ? low + 2 * width : n;
		size_t i = low, j = mid, k = low;
		while (i < mid && j < high) {
			comparisons++;
			to[k++] = from[j] < from[i] ? from[j++] : from[i++];
		}
		memcpy(&to[k], &from[i], (mid - i) * sizeof(*to));
		memcpy(&to[k + (mid - i)], &from[j], (high - j) * sizeof(*to));
	}
	return comparisons;
}

static uint64_t
sort_merge(int64_t *v, int64_t *other, size_t n)
{
	uint64_t comparisons = 0;
	int64_t *from = v, *to = other;

	for (size_t width = 1; width < n; width *= 2) {
		comparisons += merge_pass(from, to, n, width);
		int64_t *t = from;
		from = to;
		to = t;
	}
	if (from != v)
		memcpy(v, from, n * sizeof(*v));
	return comparisons;
}

static void
say(struct call *call, const int64_t *v, size_t n, uint64_t comparisons)
{
	bool sorted = true;
	uint64_t checksum = 0;

	for (size_t i = 0; i < n; i++) {
		checksum = checksum * 31 + (uint64_t)v[i];
		sorted = sorted && (i == 0 || v[i - 1] <= v[i]);
	}
	msgpack_packer p = call_packer(call);
	msgpack_pack_map(&p, 3);
	msgpack_pack_str_with_body(&p, "sorted", 6);
	sorted ? msgpack_pack_true(&p) : msgpack_pack_false(&p);
	msgpack_pack_str_with_body(&p, "checksum", 8);
	msgpack_pack_uint64(&p, checksum);
	msgpack_pack_str_with_body(&p, "comparisons", 11);
	msgpack_pack_uint64(&p, comparisons);
}

static void
sort_run(struct call *call)
{
	size_t n = (size_t)args_int(call->args, N);
	int64_t algorithm = args_int(call->args, ALGORITHM);
	uint64_t state = (uint64_t)args_int(call->args, SEED);
	uint64_t comparisons = 0;

	if (algorithm == ALGORITHM_BUBBLE && n > BUBBLE_MAX) {
		call_fail(call,
			  "n=%zu would take ages with algorithm=bubble, which goes to %d; "
			  "use algorithm=quick or algorithm=merge",
			  n, BUBBLE_MAX);
		return;
	}
	size_t arrays = algorithm == ALGORITHM_MERGE ? 2 : 1;
	int64_t *v = malloc((n + 1) * arrays * sizeof(*v));
	if (v == NULL) {
		call_no_memory(call, "no memory for %zu numbers", n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		v[i] = (int64_t)splitmix64(&state);
	if (algorithm == ALGORITHM_BUBBLE)
		comparisons = sort_bubble(v, n);
	else if (algorithm == ALGORITHM_QUICK)
		comparisons = sort_quick(v, n);
	else
		comparisons = sort_merge(v, v + n, n);
	say(call, v, n, comparisons);
	free(v);
}

const struct kind kind_sort = {
	.name = "sort",
	.class = KIND_CPU,
	.help = "sort n pseudo-random integers and count the comparisons",
	.params = {
		[N] = { .name = "n", .type = PARAM_INT, .low = 0, .high = N_MAX,
			.help = "how many; with algorithm=bubble up to 100000" },
		[ALGORITHM] = { .name = "algorithm", .type = PARAM_ENUM, .fallback = "quick",
				.choices = "bubble|quick|merge", .help = "how to sort" },
		[SEED] = { .name = "seed", .type = PARAM_INT, .low = 0, .high = INT64_MAX,
			   .fallback = "1", .help = "which numbers" },
	},
	.run = sort_run,
};
