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
 * each pool so many are offered as there is room for, and who is handed out first has it; the
 * others come back.  As long as another pool has a worker for a better one, what is on offer to
 * that is left to it.  And nobody passes a better one by that waits for more than there is, or one
 * that needs much would never see it together.  Better is priority, then age.
 *
 * One that needs several resources could find now this, now that one short for ever, and one of a
 * busy pool could always come too late.  Who had an offer and a worker and found something short
 * becomes the keeper, one at a time, the best of them: what it needs is kept for it as it comes
 * free.
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
	for (unsigned i = 0; i < b->pool_count; i++) {
		heap_free(&l->lines[i].waiters);
		heap_free(&l->lines[i].offered);
	}
	if (l->left)
		LIST_REMOVE(l, in_left);
	free(l);
}

uint64_t
limit_room(struct broker *b, struct limit *l)
{
	if (l->type == WAIT_RATE)
		return rate_room(b, l);
	return l->most > l->used ? l->most - l->used : 0;
}

/* Would a job of this pool run if it were next? */
static bool
can_run(const struct broker *b, unsigned pool)
{
	const struct pool *p = &b->pools[pool];
	return pool_starts(p) && p->running < (uint64_t)p->wanted * p->config->concurrency;
}

/* What of it is kept for the keeper, from those that come after it. */
static uint64_t
kept_from(const struct broker *b, const struct limit *l, const struct gate_job *gj)
{
	const struct gate_job *keeper = b->gate->keeper;

	if (keeper == NULL || !is_better(&b->jobs, keeper->index, gj->index) ||
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
claim_of_first(const struct broker *b, const struct heap *heap)
{
	return job_at(&b->jobs, heap_first(heap))->more->gate->waits_at;
}

/* Does a better one wait here, for which there is not enough? */
static bool
would_pass_by(struct broker *b, struct limit *l, const struct gate_job *gj)
{
	for (uint32_t left = l->pools; left != 0; left &= left - 1) {
		unsigned pool = (unsigned)__builtin_ctz(left);
		const struct claim *first = claim_of_first(b, &l->lines[pool].waiters);
		if (pool_starts(&b->pools[pool]) &&
		    is_better(&b->jobs, first->job->index, gj->index) &&
		    first->count > room_for(b, l, first->job))
			return true;
	}
	return false;
}

/* What is on offer to better ones of other pools. */
static uint64_t
offered_to_better(const struct broker *b, const struct limit *l, const struct gate_job *gj)
{
	uint64_t sum = 0;

	for (uint32_t left = l->offered & ~(1u << job_of(b, gj)->pool); left != 0;
	     left &= left - 1) {
		unsigned pool = (unsigned)__builtin_ctz(left);
		const struct claim *first = claim_of_first(b, &l->lines[pool].offered);
		if (can_run(b, pool) && is_better(&b->jobs, first->job->index, gj->index))
			sum += first->count;
	}
	return sum;
}

/* Whoever stands back has to be looked at again: the other may not take it after all. */
static bool
stands_back(struct broker *b, struct limit *l, const struct claim *claim, uint64_t room)
{
	if (claim->count + offered_to_better(b, l, claim->job) <= room)
		return false;
	if (!l->left) {
		l->left = true;
		LIST_INSERT_HEAD(&b->gate->left, l, in_left);
	}
	b->gate_due = true;
	return true;
}

static bool
must_wait(struct broker *b, const struct claim *claim)
{
	struct limit *l = claim->limit;
	uint64_t room = room_for(b, l, claim->job);

	return claim->count > room || would_pass_by(b, l, claim->job) ||
	       stands_back(b, l, claim, room);
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
enter_heap(struct broker *b, struct heap *heap, uint32_t *pools, const struct gate_job *gj)
{
	heap_push(heap, &by_rank, &b->jobs, gj->index);
	*pools |= 1u << job_of(b, gj)->pool;
}

static void
leave_heap(struct broker *b, struct heap *heap, uint32_t *pools, const struct gate_job *gj)
{
	heap_remove(heap, &by_rank, &b->jobs, gj->index);
	if (heap->count == 0)
		*pools &= ~(1u << job_of(b, gj)->pool);
}

static struct line *
line_of(const struct broker *b, const struct gate_job *gj)
{
	return &gj->waits_at->limit->lines[job_of(b, gj)->pool];
}

static void
line_up(struct broker *b, struct claim *claim)
{
	struct limit *l = claim->limit;

	gate_park(b, claim->job->index, l->type);
	claim->job->waits_at = claim;
	enter_heap(b, &line_of(b, claim->job)->waiters, &l->pools, claim->job);
	l->waiting++;
	if (l->type == WAIT_RATE && l->due_ns == 0)
		set_due(b, l);
}

static void
leave_line(struct broker *b, const struct gate_job *gj)
{
	struct limit *l = gj->waits_at->limit;

	leave_heap(b, &line_of(b, gj)->waiters, &l->pools, gj);
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
	struct line *line = line_of(b, gj);

	leave_line(b, gj);
	job->flags &= (uint16_t)~JOB_PARKED;
	job->more->waits = WAIT_NOTHING;
	gj->offered = true;
	enter_heap(b, &line->offered, &l->offered, gj);
	line->promised += gj->waits_at->count;
	queue_put_back(b, gj->index);
}

/* The claim that was on offer, NULL: none was. */
static struct claim *
end_offer(struct broker *b, struct gate_job *gj)
{
	struct claim *at = gj->waits_at;

	if (!gj->offered)
		return NULL;
	struct line *line = line_of(b, gj);
	leave_heap(b, &line->offered, &at->limit->offered, gj);
	line->promised -= at->count;
	gj->offered = false;
	gj->waits_at = NULL;
	return at;
}

/* To others of its pool; what is kept for the keeper is no room of this job's anyway. */
static uint64_t
promised_before(const struct broker *b, struct limit *l, const struct gate_job *gj)
{
	const struct gate_job *keeper = b->gate->keeper;
	uint64_t promised = line_of(b, gj)->promised;

	if (keeper == NULL || !keeper->offered || keeper->waits_at->limit != l ||
	    job_of(b, keeper)->pool != job_of(b, gj)->pool)
		return promised;
	return promised - kept_from(b, l, gj);
}

void
limit_offer(struct broker *b, struct limit *l)
{
	uint32_t done = 0; /* pools where nobody else gets an offer now */

	while ((l->pools & ~done) != 0) {
		unsigned pool = best_pool(b, l, l->pools & ~done);
		const struct claim *first = claim_of_first(b, &l->lines[pool].waiters);
		uint64_t room = room_for(b, l, first->job);
		if (first->count > room && pool_starts(&b->pools[pool]))
			break; /* nobody passes it by */
		if (first->count <= room &&
		    promised_before(b, l, first->job) <= room - first->count &&
		    !stands_back(b, l, first, room))
			offer(b, l, first->job);
		else
			done |= 1u << pool;
	}
	if (l->type == WAIT_RATE && l->waiting > 0)
		set_due(b, l);
}

void
limits_look_again(struct broker *b)
{
	struct limits now = b->gate->left;
	struct limit *l;

	LIST_INIT(&b->gate->left);
	if (LIST_FIRST(&now) != NULL)
		LIST_FIRST(&now)->in_left.le_prev = &LIST_FIRST(&now);
	while ((l = LIST_FIRST(&now)) != NULL) {
		LIST_REMOVE(l, in_left);
		l->left = false;
		limit_offer(b, l);
	}
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

void
keep_no_more(struct broker *b, const struct gate_job *gj)
{
	if (b->gate->keeper == gj)
		keep_for(b, NULL);
}

void
limits_unoffer(struct broker *b, struct gate_job *gj)
{
	struct claim *at = end_offer(b, gj);

	if (at == NULL)
		return;
	keep_no_more(b, gj);
	limit_offer(b, at->limit);
}

/* It had an offer, and finds something short. */
static void
note_bounce(struct broker *b, struct gate_job *gj, const struct claim *from)
{
	const struct gate_job *keeper = b->gate->keeper;

	if (from == NULL || from->limit->type != WAIT_NEED)
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

/* Those who wait where there was room for all have to be woken now. */
static void
take_start(struct broker *b, struct claim *claim)
{
	struct limit *l;

	rate_begin(claim);
	LIST_FOREACH (l, &claim->limit->log->limits, in_log)
		if (l->waiting > 0 && l->due_ns == 0)
			set_due(b, l);
}

void
limits_take_anyhow(struct broker *b, struct gate_job *gj)
{
	for (uint32_t i = 0; i < gj->claim_count; i++) {
		struct claim *claim = &gj->claims[i];
		if (claim->limit->type == WAIT_NEED)
			claim->limit->used += claim->count;
		else if (claim->counts)
			take_start(b, claim);
	}
}

bool
limits_take(struct broker *b, struct gate_job *gj)
{
	struct claim *to = first_short(b, gj);
	struct claim *from = end_offer(b, gj);

	if (to == NULL) {
		limits_take_anyhow(b, gj);
		if (b->gate->keeper == gj) /* it has what was kept for it */
			b->gate->keeper = NULL;
		return true;
	}
	queue_remove(b, gj->index);
	line_up(b, to);
	if (to->limit->type == WAIT_RATE)
		keep_no_more(b, gj);
	else
		note_bounce(b, gj, from);
	if (from != NULL) /* what was promised to it others may have */
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

void
limit_unused(struct broker *b, struct limit *l)
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
			limit_unused(b, l);
	}
	return 0;
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
