/* histogram.c - see histogram.h */
#include "ipc/histogram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint64_t
histogram_middle(unsigned bucket)
{
	if (bucket < HISTOGRAM_STEPS)
		return bucket;
	unsigned shift = bucket / HISTOGRAM_STEPS - 1;
	uint64_t low = (uint64_t)(HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS) << shift;
	return low + ((1ull << shift) >> 1);
}

uint64_t *
histogram_grow(struct histogram *h, unsigned octave)
{
	return h->octaves[octave] = calloc(HISTOGRAM_STEPS, sizeof(*h->octaves[octave]));
}

static void
widen(struct histogram *h, uint64_t least, uint64_t most)
{
	if (h->n == 0 || least < h->least)
		h->least = least;
	if (most > h->most)
		h->most = most;
}

bool
histogram_merge(struct histogram *to, const struct histogram *from)
{
	if (from->n == 0)
		return true;
	for (unsigned octave = 0; octave < HISTOGRAM_OCTAVES; octave++) {
		const uint64_t *theirs = from->octaves[octave];
		uint64_t *ours = to->octaves[octave];
		if (theirs == NULL)
			continue;
		if (ours == NULL && (ours = histogram_grow(to, octave)) == NULL)
			return false;
		for (unsigned i = 0; i < HISTOGRAM_STEPS; i++)
			ours[i] += theirs[i];
	}
	widen(to, from->least, from->most);
	to->n += from->n;
	to->taken += from->taken;
	return true;
}

uint64_t
histogram_rank(uint64_t n, unsigned per_mille)
{
	/* Not n * per_mille, which may not fit. */
	uint64_t rank = n / 1000 * per_mille + (n % 1000 * per_mille + 999) / 1000;

	return rank > 0 ? rank : 1;
}

uint64_t
histogram_nth(const struct histogram *h, uint64_t rank)
{
	uint64_t seen = 0;

	if (rank <= 1)
		return h->least; /* 0 when there are none */
	if (rank >= h->n)
		return h->most;
	for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		const uint64_t *steps = h->octaves[bucket / HISTOGRAM_STEPS];
		if (steps == NULL) {
			bucket |= HISTOGRAM_STEPS - 1;
			continue;
		}
		seen += steps[bucket % HISTOGRAM_STEPS];
		if (seen >= rank) {
			uint64_t value = histogram_middle(bucket);
			return value < h->least ? h->least : value > h->most ? h->most : value;
		}
	}
	return h->most;
}

uint64_t
histogram_per_mille(const struct histogram *h, unsigned per_mille)
{
	return histogram_nth(h, histogram_rank(h->n, per_mille));
}

void
histogram_free(struct histogram *h)
{
	for (unsigned octave = 0; octave < HISTOGRAM_OCTAVES; octave++)
		free(h->octaves[octave]);
	*h = (struct histogram){ 0 };
}

/* ---- as bytes ---- */

void
histogram_write(const struct histogram *h, struct varint_out *to)
{
	unsigned next = 0;

	varint_put(to, h->n);
	varint_put(to, h->taken);
	varint_put(to, h->least);
	varint_put(to, h->most);
	for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		const uint64_t *steps = h->octaves[bucket / HISTOGRAM_STEPS];
		if (steps == NULL) {
			bucket |= HISTOGRAM_STEPS - 1;
			continue;
		}
		uint64_t count = steps[bucket % HISTOGRAM_STEPS];
		if (count == 0)
			continue;
		varint_put(to, bucket - next);
		varint_put(to, count);
		next = bucket + 1;
	}
}

/* Buckets until `n` values are there: nothing says how many buckets. */
static int
read_buckets(struct histogram *h, struct varint_in *from, uint64_t n)
{
	uint64_t seen = 0, bucket = 0;

	while (seen < n) {
		uint64_t gap = varint_get(from), count = varint_get(from);
		if (from->failed || gap >= HISTOGRAM_BUCKETS || count == 0 || count > n - seen)
			return -EPROTO;
		bucket += gap;
		if (bucket >= HISTOGRAM_BUCKETS)
			return -EPROTO;
		unsigned octave = (unsigned)(bucket / HISTOGRAM_STEPS);
		uint64_t *steps = h->octaves[octave];
		if (steps == NULL && (steps = histogram_grow(h, octave)) == NULL)
			return -ENOMEM;
		steps[bucket % HISTOGRAM_STEPS] += count;
		seen += count;
		bucket++;
	}
	return 0;
}

int
histogram_read(struct histogram *h, struct varint_in *from)
{
	uint64_t n = varint_get(from), taken = varint_get(from);
	uint64_t least = varint_get(from), most = varint_get(from);

	if (from->failed || least > most || taken > n || (n > 0 && taken == 0) ||
	    n > UINT64_MAX - h->n)
		return -EPROTO;
	int r = read_buckets(h, from, n);
	if (r < 0 || n == 0)
		return r;
	widen(h, least, most);
	h->n += n;
	h->taken += taken;
	return 0;
}
