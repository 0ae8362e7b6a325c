/*
 * gate_limit.c - what there is only so much of: units of a named resource, starts of a group
 * within a window.  Who has them, who waits, who is next.
 *
 * A job takes all its claims at once, when it is handed out, or none: nobody holds one thing while
 * waiting for another, so nobody waits for each other.  One that cannot have all leaves its queue
 * and waits in the line of the first limit that is short, until it is among those for whom there
 * is room; then it goes back to its queue ("offered"), where it stands by its age.
 *
 * Lines are kept by pool, for a pool without free workers must not keep what another could use: in
 * each pool so many are offered as there is room for, and whoever is handed out first has it; the
 * others come back.  Within a pool the order is priority, then age.  No job passes a better one of
 * a running pool that waits here for more than there is: or one that needs much would never see it
 * together.
 *
 * One that needs several resources could find now this, now that one short for ever.  Who was
 * offered one and found another short becomes the keeper, one at a time: what it needs is kept for
 * it as it comes free.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/gate_parts.h"

/* ---- order ---- */

static bool
is_better(const struct jobs *jobs, uint32_t a, uint32_t b)
{
	const struct job *x = job_at(jobs, a), *y = job_at(jobs, b);

	return x->priority != y->priority ? x->priority > y->priority : x->id < y->id;
}

static bool
waits_before(const void *context, uint32_t a, uint32_t b)
{
	return is_better(context, a, b);
}

static uint32_t *
place_in_line(const void *context, uint32_t item)
{
	return &job_at(context, item)->more->place;
}

static const struct heap_ops by_rank = { waits_before, place_in_line };

static bool
due_before(const void *context, uint32_t a, uint32_t b)
{
	const struct gate *g = context;
	return g->rates[a]->due_ns < g->rates[b]->due_ns;
}

static uint32_t *
due_place(const void *context, uint32_t item)
{
	return &((const struct gate *)context)->rates[item]->due;
}

static const struct heap_ops by_due = { due_before, due_place };

/* ---- limits ---- */

struct limit *
limit_new(struct broker *b, enum wait type)
{
	struct limit *l = calloc(1, sizeof(*l) + b->pool_count * sizeof(l->lines[0]));

	if (l == NULL)
		return NULL;
	l->type = type;
	l->due = HEAP_NONE;
	return l;
}

void
limit_free(const struct broker *b, struct limit *l)
{
	for (unsigned i = 0; i < b->pool_count; i++)
		heap_free(&l->lines[i].waiters);
	free(l);
}

uint64_t
limit_room(struct broker *b, struct limit *l)
{
	if (l->type == WAIT_RATE)
		return rate_room(b, l);
	return l->most > l->used ? l->most - l->used : 0;
}

/* What of it is kept for the keeper, from anybody else. */
static uint64_t
kept_from(const struct broker *b, const struct limit *l, const struct gate_job *gj)
{
	const struct gate_job *keeper = b->gate->keeper;

	if (keeper == NULL || keeper == gj ||
	    !pool_starts(&b->pools[job_of(b, keeper)->pool]))
		return 0;
	for (uint32_t i = 0; i < keeper->claim_count; i++)
		if (keeper->claims[i].limit == l)
			return keeper->claims[i].count;
	return 0;
}

/* Room for this job: without what is kept for another. */
static uint64_t
room_for(struct broker *b, struct limit *l, const struct gate_job *gj)
{
	uint64_t room = limit_room(b, l), kept = kept_from(b, l, gj);
	return room > kept ? room - kept : 0;
}

static const struct claim *
claim_of_first(const struct broker *b, const struct limit *l, unsigned pool)
{
	return job_at(&b->jobs, heap_first(&l->lines[pool].waiters))->more->gate->waits_at;
}

/* Does a better one of a running pool wait here, for which there is not enough? */
static bool
would_pass_by(struct broker *b, struct limit *l, const struct gate_job *gj)
{
	for (uint32_t left = l->pools; left != 0; left &= left - 1) {
		unsigned pool = (unsigned)__builtin_ctz(left);
		const struct claim *first = claim_of_first(b, l, pool);
		if (pool_starts(&b->pools[pool]) &&
		    is_better(&b->jobs, first->job->index, gj->index) &&
		    first->count > room_for(b, l, first->job))
			return true;
	}
	return false;
}

static bool
must_wait(struct broker *b, const struct claim *claim)
{
	struct limit *l = claim->limit;

	return claim->count > room_for(b, l, claim->job) || would_pass_by(b, l, claim->job);
}

/* ---- lines ---- */

static void
set_due(struct broker *b, struct limit *l)
{
	struct gate *g = b->gate;
	uint64_t when_ns = rate_next(b, l);

	if (l->due != HEAP_NONE)
		heap_remove(&g->due, &by_due, g, l->number);
	l->due_ns = when_ns;
	if (when_ns == 0)
		return;
	heap_push(&g->due, &by_due, g, l->number);
	gate_timer_at(b, when_ns);
}

static void
line_up(struct broker *b, struct claim *claim)
{
	const struct gate_job *gj = claim->job;
	struct limit *l = claim->limit;
	unsigned pool = job_of(b, gj)->pool;

	claim->job->waits_at = claim;
	gate_park(b, gj->index, l->type);
	heap_push(&l->lines[pool].waiters, &by_rank, &b->jobs, gj->index);
	l->pools |= 1u << pool;
	l->waiting++;
	if (l->type == WAIT_RATE && l->due_ns == 0)
		set_due(b, l);
}

static void
leave_line(struct broker *b, struct gate_job *gj)
{
	struct limit *l = gj->waits_at->limit;
	unsigned pool = job_of(b, gj)->pool;

	heap_remove(&l->lines[pool].waiters, &by_rank, &b->jobs, gj->index);
	if (l->lines[pool].waiters.count == 0)
		l->pools &= ~(1u << pool);
	l->waiting--;
}

/* ---- offering ---- */

/* The best of the pools in `pools`. */
static unsigned
best_pool(const struct broker *b, const struct limit *l, uint32_t pools)
{
	unsigned best = (unsigned)__builtin_ctz(pools);

	for (uint32_t left = pools & (pools - 1); left != 0; left &= left - 1) {
		unsigned pool = (unsigned)__builtin_ctz(left);
		if (is_better(&b->jobs, heap_first(&l->lines[pool].waiters),
			      heap_first(&l->lines[best].waiters)))
			best = pool;
	}
	return best;
}

static void
offer(struct broker *b, struct limit *l, struct gate_job *gj)
{
	struct job *job = job_of(b, gj);

	leave_line(b, gj);
	job->flags &= (uint16_t)~JOB_PARKED;
	job->more->waits = WAIT_NOTHING;
	gj->offered = true;
	l->lines[job->pool].promised += gj->waits_at->count;
	queue_put_back(b, gj->index);
}

void
limit_offer(struct broker *b, struct limit *l)
{
	uint32_t done = 0; /* pools where nobody else gets an offer now */

	while ((l->pools & ~done) != 0) {
		unsigned pool = best_pool(b, l, l->pools & ~done);
		struct line *line = &l->lines[pool];
		const struct claim *first = claim_of_first(b, l, pool);
		uint64_t room = room_for(b, l, first->job);
		if (first->count <= room && line->promised <= room - first->count)
			offer(b, l, first->job);
		else if (first->count <= room || !pool_starts(&b->pools[pool]))
			done |= 1u << pool;
		else
			break; /* it waits for more than there is, and nobody passes it by */
	}
	if (l->type == WAIT_RATE && l->waiting > 0)
		set_due(b, l);
}

void
limits_unoffer(struct broker *b, struct gate_job *gj)
{
	struct claim *at = gj->waits_at;

	if (!gj->offered)
		return;
	gj->offered = false;
	gj->waits_at = NULL;
	at->limit->lines[job_of(b, gj)->pool].promised -= at->count;
	limit_offer(b, at->limit);
}

/* ---- the keeper ---- */

static void
keep_for(struct broker *b, struct gate_job *gj)
{
	struct gate_job *before = b->gate->keeper;

	if (before == gj)
		return;
	b->gate->keeper = gj;
	for (uint32_t i = 0; before != NULL && i < before->claim_count; i++)
		limit_offer(b, before->claims[i].limit);
}

static void
keep_no_more(struct broker *b, const struct gate_job *gj)
{
	if (b->gate->keeper == gj)
		keep_for(b, NULL);
}

/* It was offered one resource and finds another short. */
static void
note_bounce(struct broker *b, struct gate_job *gj, const struct claim *from, const struct claim *to)
{
	const struct gate_job *keeper = b->gate->keeper;

	if (from == NULL || from == to || from->limit->type != WAIT_NEED)
		return;
	if (keeper == NULL || is_better(&b->jobs, gj->index, keeper->index))
		keep_for(b, gj);
}

/* ---- taking and giving ---- */

static struct claim *
first_short(struct broker *b, struct gate_job *gj)
{
	for (uint32_t i = 0; i < gj->claim_count; i++)
		if (must_wait(b, &gj->claims[i]))
			return &gj->claims[i];
	return NULL;
}

static void
take(struct claim *claim)
{
	if (claim->limit->type == WAIT_NEED)
		claim->limit->used += claim->count;
	else if (claim->counts)
		rate_begin(claim);
}

void
limits_take_anyhow(struct gate_job *gj)
{
	for (uint32_t i = 0; i < gj->claim_count; i++)
		take(&gj->claims[i]);
}

bool
limits_take(struct broker *b, struct gate_job *gj)
{
	struct claim *from = gj->offered ? gj->waits_at : NULL;
	struct claim *to = first_short(b, gj);

	if (from != NULL)
		from->limit->lines[job_of(b, gj)->pool].promised -= from->count;
	gj->offered = false;
	gj->waits_at = NULL;
	if (to == NULL) {
		limits_take_anyhow(gj);
		if (b->gate->keeper == gj) /* it has what was kept for it */
			b->gate->keeper = NULL;
		return true;
	}
	queue_remove(b, gj->index);
	line_up(b, to);
	if (to->limit->type == WAIT_RATE)
		keep_no_more(b, gj);
	else
		note_bounce(b, gj, from, to);
	if (from != NULL && from != to)
		limit_offer(b, from->limit);
	return false;
}

static void
give(struct broker *b, struct claim *claim, bool ran, uint64_t started_ns)
{
	struct limit *l = claim->limit;

	if (l->type == WAIT_NEED) {
		l->used -= claim->count;
		limit_offer(b, l);
	} else if (claim->counts && ran && started_ns != 0) {
		rate_started(claim, started_ns);
	} else if (claim->counts) {
		rate_void(claim);
		struct limit *other;
		LIST_FOREACH (other, &l->log->limits, in_log)
			limit_offer(b, other);
	}
}

void
limits_give(struct broker *b, struct gate_job *gj, bool ran, uint64_t started_ns)
{
	for (uint32_t i = 0; i < gj->claim_count; i++)
		give(b, &gj->claims[i], ran, started_ns);
}

/* It leaves its line for another reason than an offer. */
void
limits_unpark(struct broker *b, struct gate_job *gj)
{
	struct limit *l = gj->waits_at->limit;

	leave_line(b, gj);
	gj->waits_at = NULL;
	keep_no_more(b, gj);
	limit_offer(b, l);
}

/* Nobody uses this rate.  It is kept as long as a start lies within its window. */
static void
retire(struct broker *b, struct limit *l)
{
	struct gate *g = b->gate;
	uint64_t until_ns = rate_last(b, l);

	if (l->due != HEAP_NONE)
		heap_remove(&g->due, &by_due, g, l->number);
	l->due_ns = until_ns;
	if (until_ns == 0) {
		rate_forget(b, l);
		return;
	}
	heap_push(&g->due, &by_due, g, l->number);
	gate_timer_at(b, until_ns);
}

void
gate_pools_changed(struct broker *b)
{
	struct gate *g = b->gate;

	for (unsigned i = 0; i < g->resource_count; i++)
		limit_offer(b, g->resources[i]);
	for (uint32_t i = 0; i < g->rate_count; i++)
		if (g->rates[i] != NULL && g->rates[i]->waiting > 0)
			limit_offer(b, g->rates[i]);
}

uint64_t
limits_due(struct broker *b)
{
	struct gate *g = b->gate;
	uint32_t number;

	while ((number = heap_first(&g->due)) != HEAP_NONE) {
		struct limit *l = g->rates[number];
		if (l->due_ns > b->now_ns)
			return l->due_ns;
		heap_remove(&g->due, &by_due, g, number);
		l->due_ns = 0;
		limit_offer(b, l);
		if (l->users == 0)
			retire(b, l);
	}
	return 0;
}

/* ---- binding ---- */

static bool
add_claim(struct broker *b, struct gate_job *gj, struct limit *l, uint64_t count)
{
	struct line *line = &l->lines[job_of(b, gj)->pool];

	if (heap_reserve(&line->waiters, line->bound + 1) < 0)
		return false;
	struct claim *claim = &gj->claims[gj->claim_count];
	*claim = (struct claim){ .limit = l, .count = count, .job = gj };
	claim->counts = l->type == WAIT_RATE;
	for (uint32_t i = 0; i < gj->claim_count; i++) {
		if (gj->claims[i].limit == l)
			return true; /* said twice */
		if (l->type == WAIT_RATE && gj->claims[i].limit->log == l->log)
			claim->counts = false;
	}
	gj->claim_count++;
	line->bound++;
	l->users++;
	return true;
}

enum job_error
limits_bind(struct broker *b, struct gate_job *gj, const struct policy *p, bool loaded, char *why,
	    size_t size)
{
	enum job_error error = ERR_QUEUE_FULL;

	snprintf(why, size, "the daemon is out of memory");
	for (unsigned i = 0; i < p->rate_count; i++) {
		struct limit *l = rate_find(b, &p->rates[i]);
		if (l == NULL || !add_claim(b, gj, l, 1)) {
			if (l != NULL && l->users == 0)
				retire(b, l);
			return error;
		}
	}
	for (unsigned i = 0; i < p->need_count; i++) {
		struct limit *l = resource_find(b, &p->needs[i], loaded, &error, why, size);
		if (l == NULL || !add_claim(b, gj, l, p->needs[i].count))
			return error;
	}
	return ERR_NONE;
}

void
limits_unbind(struct broker *b, struct gate_job *gj)
{
	unsigned pool = job_of(b, gj)->pool;

	keep_no_more(b, gj);
	for (uint32_t i = 0; i < gj->claim_count; i++) {
		struct limit *l = gj->claims[i].limit;
		l->lines[pool].bound--;
		if (--l->users == 0 && l->type == WAIT_RATE)
			retire(b, l);
	}
	gj->claim_count = 0;
}

/* ---- life ---- */

int
limits_open(struct broker *b)
{
	if (index_open(&b->gate->logs) < 0)
		return -ENOMEM;
	return resources_open(b);
}

void
limits_close(struct broker *b)
{
	struct gate *g = b->gate;

	for (unsigned i = 0; i < g->resource_count; i++)
		limit_free(b, g->resources[i]);
	for (uint32_t i = 0; i < g->rate_count; i++)
		if (g->rates[i] != NULL)
			rate_forget(b, g->rates[i]);
	free(g->rates);
	heap_free(&g->due);
	index_close(&g->logs);
}
