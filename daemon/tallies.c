/* tallies.c - see tallies.h; tallies_store.c has the way to the store and back. */
#include "daemon/tallies.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker.h"
#include "daemon/tallies_cell.h"
#include "ipc/clock.h"

/* ---- days and cells ---- */

static void
free_day(struct tally_day *d)
{
	for (unsigned pool = 0; pool < POOLS_MAX; pool++)
		for (unsigned kind = 0; kind < KINDS_MAX; kind++) {
			if (d->cells[pool][kind] == NULL)
				continue;
			figures_free(&d->cells[pool][kind]->figures);
			free(d->cells[pool][kind]);
		}
	free(d);
}

struct tally_day *
tally_day_of(struct tallies *t, uint32_t day)
{
	for (unsigned i = 0; i < TALLY_DAYS; i++)
		if (t->days[i] != NULL && t->days[i]->day == day)
			return t->days[i];
	return NULL;
}

/* Another day has begun (or the clock was set): it becomes the first, the last one goes.  What of
 * it the store has not taken in a whole day is given up. */
static struct tally_day *
turn_to(struct broker *b, uint32_t day)
{
	struct tallies *t = b->tallies;
	struct tally_day *d = tally_day_of(t, day);

	if (d == NULL) {
		d = calloc(1, sizeof(*d));
		if (d == NULL)
			return NULL;
		d->day = day;
		if (t->days[TALLY_DAYS - 1] != NULL) {
			tallies_give_up_day(b, t->days[TALLY_DAYS - 1]);
			free_day(t->days[TALLY_DAYS - 1]);
		}
		t->days[TALLY_DAYS - 1] = d;
		tallies_read_back(b, d);
	}
	unsigned at = 0;
	while (t->days[at] != d)
		at++;
	for (; at > 0; at--)
		t->days[at] = t->days[at - 1];
	t->days[0] = d;
	t->last = NULL;
	t->today_ns = (uint64_t)day * DAY_NS;
	return d;
}

struct tally_cell *
tally_cell_of(struct tally_day *d, unsigned pool, unsigned kind)
{
	struct tally_cell **c = &d->cells[pool][kind];

	if (*c == NULL)
		*c = calloc(1, sizeof(**c));
	return *c;
}

/* The cell of another kind, pool or day than the last one. */
static struct tally_cell *
find_cell(struct broker *b, const struct receipt *r)
{
	struct tallies *t = b->tallies;

	/* A refused submit may name what is not there. */
	if (r->pool >= b->pool_count || r->kind >= kind_count)
		return NULL;
	struct tally_day *d = t->days[0];
	if (d == NULL || r->ended_wall_ns - t->today_ns >= DAY_NS)
		d = turn_to(b, (uint32_t)(r->ended_wall_ns / DAY_NS));
	t->last = d != NULL ? tally_cell_of(d, r->pool, r->kind) : NULL;
	t->last_pool = r->pool;
	t->last_kind = r->kind;
	return t->last;
}

/* Where a job that ended now is counted; NULL: no memory. */
static inline struct tally_cell *
cell_for(struct broker *b, const struct receipt *r)
{
	struct tallies *t = b->tallies;

	if (t == NULL)
		return NULL;
	struct tally_cell *c = t->last;
	if (c == NULL || r->kind != t->last_kind || r->pool != t->last_pool ||
	    r->ended_wall_ns - t->today_ns >= DAY_NS)
		c = find_cell(b, r);
	if (c != NULL && !c->dirty) {
		c->dirty = true;
		tallies_write_soon(b);
	}
	return c;
}

/* ---- counting ---- */

/* xorshift: which of so many is measured must not depend on what the jobs do. */
static uint32_t
chance(struct tallies *t)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 17;
	t->random ^= t->random << 5;
	return t->random;
}

/* For how many jobs does this one stand?  0: another one stands for it. */
static uint64_t
weight_of(struct tallies *t, struct tally_cell *c, uint64_t now_ns)
{
	if (now_ns - c->since_ns >= NS_PER_MS) {
		uint64_t rest_ms = (now_ns - c->since_ns) / NS_PER_MS;
		uint64_t allowed = c->allowed + rest_ms * TALLY_FULL;
		c->allowed = allowed < TALLY_BURST ? (uint32_t)allowed : TALLY_BURST;
		c->since_ns = now_ns;
	}
	if (c->allowed > 0) {
		c->allowed--;
		return 1;
	}
	if (c->place == 0)
		c->chosen = chance(t) % TALLY_SAMPLE;
	bool taken = c->place == c->chosen;
	c->place = (c->place + 1) % TALLY_SAMPLE;
	return taken ? TALLY_SAMPLE : 0;
}

void
tallies_job(struct broker *b, const struct receipt *r)
{
	struct tally_cell *c = cell_for(b, r);

	if (c == NULL)
		return;
	figures_count(&c->figures, r);
	if (r->outcome.started_ns == 0)
		return;
	uint64_t weight = weight_of(b->tallies, c, b->now_ns);
	if (weight > 0)
		figures_measure(&c->figures, r, weight);
}

void
tallies_attempt(struct broker *b, const struct receipt *r)
{
	struct tally_cell *c = cell_for(b, r);

	if (c != NULL)
		figures_attempt(&c->figures, r);
}

/* ---- reading ---- */

int
tallies_each(const struct broker *b, tally_fn each, void *context)
{
	int r = 0;

	for (unsigned i = 0; i < TALLY_DAYS; i++) {
		const struct tally_day *d = b->tallies->days[i];
		for (unsigned pool = 0; d != NULL && pool < b->pool_count; pool++)
			for (unsigned kind = 0; kind < kind_count && r == 0; kind++)
				if (d->cells[pool][kind] != NULL)
					r = each(context, d->day, pool, kind,
						 &d->cells[pool][kind]->figures);
	}
	return r;
}

bool
tallies_names(const struct broker *b, const char *pool, const char *kind, unsigned *ret_pool,
	      unsigned *ret_kind)
{
	for (unsigned i = 0; i < b->pool_count; i++)
		if (strcmp(b->pools[i].config->name, pool) == 0) {
			*ret_pool = i;
			return kind_by_name(kind, ret_kind) != NULL;
		}
	return false;
}

bool
tallies_has(const struct broker *b, uint32_t day, const char *pool, const char *kind)
{
	const struct tally_day *d = tally_day_of(b->tallies, day);
	unsigned p, k;

	return d != NULL && d->state == TALLY_READ && tallies_names(b, pool, kind, &p, &k) &&
	       d->cells[p][k] != NULL;
}

uint32_t
tallies_today(const struct broker *b)
{
	return (uint32_t)((b->now_ns + b->wall_offset_ns) / DAY_NS);
}

uint32_t
tallies_first_day(const struct broker *b)
{
	uint32_t first = tallies_today(b);

	/* It may be any: an idle daemon counts no day, and clocks are set. */
	for (unsigned i = 0; i < TALLY_DAYS; i++) {
		const struct tally_day *d = b->tallies->days[i];
		if (d != NULL && d->day < first)
			first = d->day;
	}
	return first;
}

/* ---- open and close ---- */

int
tallies_open(struct broker *b)
{
	struct tallies *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return -ENOMEM;
	b->tallies = t;
	t->random = (uint32_t)clock_now() | 1;
	int r = tallies_open_store(b);
	if (r == 0 && turn_to(b, tallies_today(b)) == NULL)
		r = -ENOMEM;
	return r;
}

void
tallies_close(struct broker *b)
{
	struct tallies *t = b->tallies;

	for (unsigned i = 0; t != NULL && i < TALLY_DAYS; i++)
		if (t->days[i] != NULL)
			tallies_put_day(b, t->days[i]);
	tallies_free(b);
}

void
tallies_free(struct broker *b)
{
	struct tallies *t = b->tallies;

	if (t == NULL)
		return;
	tallies_close_store(b);
	for (unsigned i = 0; i < TALLY_DAYS; i++)
		if (t->days[i] != NULL)
			free_day(t->days[i]);
	free(t);
	b->tallies = NULL;
}
