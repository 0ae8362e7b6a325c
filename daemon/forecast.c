/* forecast.c - see forecast.h */
#include "daemon/forecast.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MOST  60000u /* of all plays together: about a millisecond */
#define PLAYS_MOST  201u
#define PLAYS_LEAST 21u
#define FRONT_MOST  2000u /* jobs that are played one by one */
#define NORMAL_P90  1.2815515655446004

/* ---- runs ---- */

static uint64_t
count_at(const struct histogram *const *h, unsigned count, unsigned bucket)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < count; i++) {
		const uint64_t *steps = h[i]->octaves[bucket / HISTOGRAM_STEPS];
		n += steps != NULL ? steps[bucket % HISTOGRAM_STEPS] : 0;
	}
	return n;
}

static bool
octave_is_empty(const struct histogram *const *h, unsigned count, unsigned bucket)
{
	for (unsigned i = 0; i < count; i++)
		if (h[i]->octaves[bucket / HISTOGRAM_STEPS] != NULL)
			return false;
	return true;
}

static uint64_t
between(uint64_t least, uint64_t value, uint64_t most)
{
	return value < least ? least : value > most ? most : value;
}

void
runs_of(const struct histogram *const *h, unsigned count, struct runs *ret)
{
	uint64_t seen = 0, least = UINT64_MAX;
	unsigned next = 0;

	*ret = (struct runs){ 0 };
	for (unsigned i = 0; i < count; i++) {
		if (h[i]->n == 0)
			continue;
		ret->n += h[i]->n;
		ret->most = h[i]->most > ret->most ? h[i]->most : ret->most;
		least = h[i]->least < least ? h[i]->least : least;
	}
	for (unsigned bucket = 0; ret->n > 0 && bucket < HISTOGRAM_BUCKETS; bucket++) {
		if (octave_is_empty(h, count, bucket)) {
			bucket |= HISTOGRAM_STEPS - 1;
			continue;
		}
		seen += count_at(h, count, bucket);
		/* The middle of part i is rank (i + 1/2) n / 64. */
		while (next < RUNS_QUANTILES &&
		       (double)seen >= (next + 0.5) * (double)ret->n / RUNS_QUANTILES)
			ret->q[next++] = between(least, histogram_middle(bucket), ret->most);
	}
	while (ret->n > 0 && next < RUNS_QUANTILES)
		ret->q[next++] = ret->most;
}

uint64_t
runs_per_mille(const struct runs *r, unsigned per_mille)
{
	unsigned i = per_mille * RUNS_QUANTILES / 1000;
	return r->n == 0 ? FORECAST_NEVER : r->q[i < RUNS_QUANTILES ? i : RUNS_QUANTILES - 1];
}

/* ---- chance ---- */

static uint64_t
random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The first quantile that is longer than what it has run for. */
static unsigned
first_longer(const struct under_way *u)
{
	unsigned i = 0;

	while (i < RUNS_QUANTILES && u->runs->q[i] <= u->for_ns)
		i++;
	return i;
}

static uint64_t
rest_at(const struct under_way *u, unsigned quantile)
{
	if (quantile < RUNS_QUANTILES)
		return u->runs->q[quantile] - u->for_ns;
	return u->runs->most > u->for_ns ? u->runs->most - u->for_ns : FORECAST_NEVER;
}

static uint64_t
sample_rest(const struct under_way *u, uint64_t *state)
{
	if (u->runs == NULL || u->runs->n == 0)
		return FORECAST_NEVER;
	unsigned first = first_longer(u);
	unsigned choice = first == RUNS_QUANTILES
				  ? 0
				  : (unsigned)(random_next(state) % (RUNS_QUANTILES - first));
	return rest_at(u, first + choice);
}

struct range
forecast_rest(const struct under_way *u)
{
	struct range r = { FORECAST_NEVER, FORECAST_NEVER, FORECAST_NEVER };

	if (u->runs == NULL || u->runs->n == 0)
		return r;
	unsigned first = first_longer(u), left = RUNS_QUANTILES - first;
	r.low_ns = rest_at(u, first + left / 10);
	r.mid_ns = rest_at(u, first + left / 2);
	r.high_ns = rest_at(u, first + left * 9 / 10);
	return r;
}

/* ---- one play ---- */

static uint64_t
later(uint64_t when_ns, uint64_t by_ns)
{
	return by_ns < FORECAST_NEVER - when_ns ? when_ns + by_ns : FORECAST_NEVER;
}

/* places[0] has become later. */
static void
sink(uint64_t *places, uint32_t count)
{
	uint32_t at = 0, below;
	uint64_t value = places[0];

	while ((below = 2 * at + 1) < count) {
		below += below + 1 < count && places[below + 1] < places[below];
		if (places[below] >= value)
			break;
		places[at] = places[below];
		at = below;
	}
	places[at] = value;
}

static int
compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

struct play {
	uint64_t *places; /* when each is free: a heap */
	uint32_t place_count;
	const struct runs **order; /* of those in front */
	uint32_t order_count;
	uint64_t state;
};

static uint64_t
play_once(const struct situation *s, struct play *p)
{
	for (uint32_t i = 0; i < p->place_count; i++)
		p->places[i] = i < s->busy_count ? sample_rest(&s->busy[i], &p->state) : 0;
	qsort(p->places, p->place_count, sizeof(p->places[0]), compare); /* sorted is a heap */
	for (uint32_t i = 0; i < p->order_count; i++) {
		struct under_way new = { p->order[i], 0 };
		p->places[0] = later(p->places[0], sample_rest(&new, &p->state));
		sink(p->places, p->place_count);
	}
	return p->places[0];
}

static void
shuffle(struct play *p)
{
	for (uint32_t i = p->order_count; i > 1; i--) {
		uint32_t other = (uint32_t)(random_next(&p->state) % i);
		const struct runs *swap = p->order[i - 1];
		p->order[i - 1] = p->order[other];
		p->order[other] = swap;
	}
}

static int
play_many(const struct situation *s, uint64_t front, struct range *ret)
{
	uint64_t results[PLAYS_MOST];
	/* More free places than jobs make no difference. */
	uint32_t free_places = (uint32_t)(s->free < front + 1 ? s->free : front + 1);
	struct play p = { .place_count = s->busy_count + free_places,
			  .order_count = (uint32_t)front,
			  .state = s->seed | 1 };
	uint32_t plays = STEPS_MOST / (p.place_count + p.order_count + 1);

	plays = plays < PLAYS_LEAST ? PLAYS_LEAST : plays > PLAYS_MOST ? PLAYS_MOST : plays;
	p.places = malloc((p.place_count + 1u) * sizeof(p.places[0]));
	p.order = malloc((p.order_count + 1u) * sizeof(const struct runs *));
	if (p.places == NULL || p.order == NULL) {
		free(p.places);
		free(p.order);
		return -ENOMEM;
	}
	uint32_t at = 0;
	for (unsigned g = 0; g < s->front_count; g++)
		for (uint64_t i = 0; i < s->front[g].count; i++)
			p.order[at++] = s->front[g].runs;
	shuffle(&p);
	for (uint32_t i = 0; i < plays; i++)
		results[i] = p.place_count > 0 ? play_once(s, &p) : FORECAST_NEVER;
	qsort(results, plays, sizeof(results[0]), compare);
	*ret = (struct range){ results[plays / 10], results[plays / 2], results[plays * 9 / 10] };
	free(p.places);
	free(p.order);
	return 0;
}

/* ---- many in front ---- */

static void
add_moments(const struct runs *r, double count, double *mean, double *variance)
{
	double sum = 0, squares = 0;

	for (unsigned i = 0; i < RUNS_QUANTILES; i++) {
		double q = (double)r->q[i];
		sum += q;
		squares += q * q;
	}
	sum /= RUNS_QUANTILES;
	squares /= RUNS_QUANTILES;
	*mean += count * sum;
	*variance += count * (squares > sum * sum ? squares - sum * sum : 0);
}

static uint64_t
as_ns(double ns)
{
	return ns <= 0 ? 0 : ns < 9e18 ? (uint64_t)ns : FORECAST_NEVER;
}

static void
add_up(const struct situation *s, struct range *ret)
{
	double mean = 0, variance = 0, places = (double)s->free;

	*ret = (struct range){ FORECAST_NEVER, FORECAST_NEVER, FORECAST_NEVER };
	for (uint32_t i = 0; i < s->busy_count; i++) {
		struct range rest = forecast_rest(&s->busy[i]);
		if (rest.mid_ns == FORECAST_NEVER) /* this place does not count */
			continue;
		mean += (double)rest.mid_ns;
		places++;
	}
	for (unsigned g = 0; g < s->front_count; g++) {
		const struct in_front *f = &s->front[g];
		if (f->count == 0)
			continue;
		if (f->runs == NULL || f->runs->n == 0)
			return;
		add_moments(f->runs, (double)f->count, &mean, &variance);
	}
	if (places == 0)
		return;
	double off = NORMAL_P90 * sqrt(variance) / places;
	*ret = (struct range){ as_ns(mean / places - off), as_ns(mean / places),
			       as_ns(mean / places + off) };
}

int
forecast_start(const struct situation *s, struct range *ret)
{
	uint64_t front = 0;

	for (unsigned g = 0; g < s->front_count; g++)
		front += s->front[g].count;
	if (s->free > front) {
		*ret = (struct range){ 0, 0, 0 };
		return 0;
	}
	if (front <= FRONT_MOST)
		return play_many(s, front, ret);
	add_up(s, ret);
	return 0;
}
