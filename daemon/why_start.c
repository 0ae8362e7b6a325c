/*
 * why_start.c - when a job will start: what holds it back, the workers' places, the jobs ahead, and
 * how long such jobs have taken.  See why.h and forecast.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/policy.h"
#include "daemon/tallies.h"
#include "daemon/why.h"
#include "ipc/clock.h"

#define OTHERS_MOST 24u /* jobs that wait for jobs that wait ...: so many are looked at */
#define REASONS     8u
#define RANGE_NS    NS_PER_MS /* of an array job, as array.c sizes them */

/* ---- what kinds took ---- */

struct found {
	unsigned pool;
	const struct histogram *h[KINDS_MAX][TALLY_DAYS];
	unsigned count[KINDS_MAX];
};

static int
find_runs(void *context, uint32_t day, unsigned pool, unsigned kind, const struct figures *f)
{
	struct found *found = context;

	(void)day;
	if (pool == found->pool && kind < KINDS_MAX && found->count[kind] < TALLY_DAYS)
		found->h[kind][found->count[kind]++] = &f->stages[FIGURE_RUN];
	return 0;
}

static void
read_runs(const struct broker *b, const struct pool *p, struct runs *runs)
{
	struct found found = { .pool = p->index };
	struct runs *range = &runs[AHEAD_ARRAY];

	(void)tallies_each(b, find_runs, &found);
	for (unsigned kind = 0; kind < kind_count; kind++)
		runs_of(found.h[kind], found.count[kind], &runs[kind]);
	*range = (struct runs){ .n = UINT64_MAX, .most = RANGE_NS };
	for (unsigned i = 0; i < RUNS_QUANTILES; i++)
		range->q[i] = RANGE_NS;
}

/* ---- the workers ---- */

static bool
counts(const struct crew *w)
{
	return w != NULL && w->up && !w->retiring && !w->leaving &&
	       atomic_load(&w->link.shared->worker_ready) != 0;
}

/* A place that a job of an earlier broker has: nobody knows which. */
static const struct runs unknown_runs = { 0 };

static void
look_at_tickets(const struct broker *b, const struct pool *p, const struct crew *w,
		struct pool_now *now)
{
	uint64_t taken = 0;

	for (uint32_t t = 0, seen = 0; t < LINK_TICKETS && seen < w->outstanding; t++) {
		uint32_t index = w->tickets[t];
		if (index == JOB_NONE)
			continue;
		seen++;
		uint64_t claimed_ns = atomic_load(&w->link.shared->tickets[t].claimed_ns);
		if (claimed_ns == 0) {
			now->sent++;
			continue;
		}
		struct under_way *u = &now->busy[now->busy_count++];
		u->for_ns = b->now_ns > claimed_ns ? b->now_ns - claimed_ns : 0;
		u->runs = &unknown_runs;
		if (index != ORPHAN) {
			const struct job *job = job_at(&b->jobs, index);
			u->runs = &now->runs[job->array != NULL ? AHEAD_ARRAY : job->kind];
		}
		taken++;
	}
	if (taken < p->config->concurrency)
		now->free += p->config->concurrency - taken;
}

struct pool_now *
pool_now(const struct broker *b, const struct pool *p)
{
	struct pool_now *now = calloc(1, sizeof(*now));
	uint64_t outstanding = 0;

	if (now == NULL)
		return NULL;
	for (unsigned slot = 0; slot < p->crew_count; slot++)
		if (counts(p->crew[slot])) {
			now->workers++;
			outstanding += p->crew[slot]->outstanding;
		}
	now->places = (uint64_t)now->workers * p->config->concurrency;
	now->busy = calloc(outstanding + 1, sizeof(*now->busy));
	if (now->busy == NULL) {
		free(now);
		return NULL;
	}
	read_runs(b, p, now->runs);
	for (unsigned slot = 0; slot < p->crew_count; slot++)
		if (counts(p->crew[slot]))
			look_at_tickets(b, p, p->crew[slot], now);
	return now;
}

void
pool_now_free(struct pool_now *now)
{
	if (now != NULL)
		free(now->busy);
	free(now);
}

/* ---- the queue ---- */

void
why_ahead(const struct broker *b, uint32_t index, struct ahead *ret)
{
	const struct job *job = job_at(&b->jobs, index);
	struct pool *p = &((struct broker *)b)->pools[job->pool];

	if (!(job->flags & (JOB_PARKED | JOB_HELD))) {
		ahead_of(b, p, job, ret);
		return;
	}
	struct job as_if = *job;
	as_if.queued_ns = b->now_ns > b->queued_ns ? b->now_ns : b->queued_ns + 1;
	as_if.prev = as_if.next = JOB_NONE;
	ahead_of(b, p, &as_if, ret);
}

static void
is_unknown(struct start *s, enum unknown unknown)
{
	if (s->unknown == START_KNOWN)
		s->unknown = unknown;
}

/* The first kind that stands in the way and was never measured, or else one that is overdue. */
static void
blame(const struct broker *b, const struct pool_now *now, const struct in_front *front,
      struct start *s)
{
	is_unknown(s, START_OVERDUE);
	for (unsigned kind = 0; kind < kind_count; kind++) {
		bool in_way = front[kind].count > 0;
		for (uint32_t i = 0; i < now->busy_count; i++)
			in_way |= now->busy[i].runs == &now->runs[kind];
		if (!in_way || now->runs[kind].n > 0)
			continue;
		s->unknown = START_NO_HISTORY;
		s->kind = kind;
		return;
	}
	(void)b;
}

static void
note_runs(const struct pool_now *now, const struct in_front *front, struct start *s)
{
	for (unsigned kind = 0; kind < kind_count; kind++)
		if (front[kind].count > 0 && now->runs[kind].n < s->runs)
			s->runs = now->runs[kind].n;
	for (uint32_t i = 0; i < now->busy_count; i++)
		if (now->busy[i].runs->n > 0 && now->busy[i].runs->n < s->runs)
			s->runs = now->busy[i].runs->n;
}

/* Places, those in front, and chance. */
static void
start_by_queue(struct broker *b, uint32_t index, const struct pool_now *now, struct start *s)
{
	const struct job *job = job_at(&b->jobs, index);
	struct in_front front[KINDS_MAX + 1];
	struct ahead ahead;

	why_ahead(b, index, &ahead);
	for (unsigned kind = 0; kind <= KINDS_MAX; kind++) {
		/* Those that were not looked at are like those that were. */
		double share = ahead.seen > 0 ? (double)ahead.kinds[kind] / (double)ahead.seen : 0;
		front[kind].runs = &now->runs[kind];
		front[kind].count = ahead.jobs == ahead.seen
					    ? ahead.kinds[kind]
					    : (uint64_t)(share * (double)ahead.jobs + 0.5);
	}
	/* What was sent ahead is of a kind that is short; which one is not told. */
	front[job->kind].count += now->sent;
	struct situation situation = { .busy = now->busy,
				       .busy_count = now->busy_count,
				       .free = now->free,
				       .front = front,
				       .front_count = KINDS_MAX + 1,
				       .seed = b->now_ns ^ job->id << 32 };
	if (forecast_start(&situation, &s->range) < 0)
		is_unknown(s, START_NO_MEMORY);
	else if (s->range.high_ns == FORECAST_NEVER)
		blame(b, now, front, s);
	else if (s->range.high_ns > 0)
		note_runs(now, front, s);
}

/* ---- what holds it back ---- */

static uint64_t
sum(uint64_t a, uint64_t b)
{
	return b < FORECAST_NEVER - a ? a + b : FORECAST_NEVER;
}

static struct range
range_sum(struct range a, struct range b)
{
	return (struct range){ sum(a.low_ns, b.low_ns), sum(a.mid_ns, b.mid_ns),
			       sum(a.high_ns, b.high_ns) };
}

static uint64_t
most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void start_of(struct broker *b, uint32_t index, unsigned *others, struct start *ret);

/* When will this job have ended? */
static struct range
end_of(struct broker *b, uint64_t id, unsigned *others)
{
	static const struct range never = { FORECAST_NEVER, FORECAST_NEVER, FORECAST_NEVER };
	uint32_t index = jobs_find(&b->jobs, id);

	if (index == JOB_NONE || *others == 0 || job_at(&b->jobs, index)->array != NULL)
		return never;
	(*others)--;
	const struct job *job = job_at(&b->jobs, index);
	struct pool_now *now = pool_now(b, &b->pools[job->pool]);
	if (now == NULL)
		return never;
	struct under_way u = { &now->runs[job->kind], 0 };
	struct start start = { 0 };
	if (job->state == JOB_RUNNING) {
		struct receipt receipt;
		receipt_of(b, job, &receipt);
		uint64_t started_ns = receipt.outcome.started_ns;
		u.for_ns = started_ns != 0 && b->now_ns > started_ns ? b->now_ns - started_ns : 0;
	} else {
		start_of(b, index, others, &start);
	}
	struct range r = range_sum(start.range, forecast_rest(&u));
	pool_now_free(now);
	return start.unknown == START_KNOWN ? r : never;
}

/* All of these have to end. */
static struct range
end_of_all(struct broker *b, const struct gate_reason *r, unsigned *others)
{
	struct range all = { 0, 0, 0 };

	if (r->id_count > GATE_IDS)
		all.high_ns = FORECAST_NEVER;
	for (unsigned i = 0; i < r->id_count && i < GATE_IDS; i++) {
		struct range one = end_of(b, r->ids[i], others);
		all.low_ns = most(all.low_ns, one.low_ns);
		all.mid_ns = most(all.mid_ns, one.mid_ns);
		all.high_ns = most(all.high_ns, one.high_ns);
	}
	return all;
}

static uint64_t
units_of(const struct broker *b, uint64_t id, const char *name)
{
	uint32_t index = jobs_find(&b->jobs, id);
	const struct job *job = index != JOB_NONE ? job_at(&b->jobs, index) : NULL;
	const struct policy *p = job != NULL && job->more != NULL ? job->more->policy : NULL;

	for (unsigned i = 0; p != NULL && i < p->need_count; i++)
		if (strcmp(p->needs[i].name, name) == 0)
			return p->needs[i].count;
	return 0;
}

/* Enough of those that have units have to end, the soonest ones; each figure by itself. */
static uint64_t
enough(const struct gate_reason *r, const uint64_t *ends_ns, const uint64_t *units)
{
	uint64_t have = r->limit > r->used ? r->limit - r->used : 0, at_ns = 0;
	bool gone[GATE_IDS] = { false };

	while (have < r->asked) {
		unsigned first = GATE_IDS;
		for (unsigned i = 0; i < r->id_count && i < GATE_IDS; i++)
			if (!gone[i] && (first == GATE_IDS || ends_ns[i] < ends_ns[first]))
				first = i;
		if (first == GATE_IDS)
			return FORECAST_NEVER;
		gone[first] = true;
		have += units[first];
		at_ns = ends_ns[first];
	}
	return at_ns;
}

static struct range
units_free(struct broker *b, const struct gate_reason *r, unsigned *others)
{
	uint64_t low[GATE_IDS], mid[GATE_IDS], high[GATE_IDS], units[GATE_IDS];
	struct range never = { FORECAST_NEVER, FORECAST_NEVER, FORECAST_NEVER };

	if (r->ahead > 0 || r->asked > r->limit)
		return never;
	for (unsigned i = 0; i < r->id_count && i < GATE_IDS; i++) {
		struct range one = end_of(b, r->ids[i], others);
		low[i] = one.low_ns;
		mid[i] = one.mid_ns;
		high[i] = one.high_ns;
		units[i] = units_of(b, r->ids[i], r->name);
	}
	return (struct range){ enough(r, low, units), enough(r, mid, units),
			       enough(r, high, units) };
}

/* Room comes as starts leave the window; those ahead take it first. */
static uint64_t
rate_opens(const struct broker *b, const struct gate_reason *r)
{
	uint64_t first_ns = r->until_ns > b->now_ns ? r->until_ns - b->now_ns : 0;
	return r->limit > 0 ? sum(first_ns, r->ahead / r->limit * r->window_ns) : FORECAST_NEVER;
}

static struct range
gate_opens(struct broker *b, const struct gate_reason *r, unsigned *others)
{
	uint64_t at_ns = FORECAST_NEVER;

	switch (r->wait) {
	case WAIT_AFTER:
		return end_of_all(b, r, others);
	case WAIT_NEED:
		return units_free(b, r, others);
	case WAIT_TIME:
	case WAIT_BACKOFF:
		at_ns = r->until_ns > b->now_ns ? r->until_ns - b->now_ns : 0;
		break;
	case WAIT_RATE:
		at_ns = rate_opens(b, r);
		break;
	default:
		break;
	}
	return (struct range){ at_ns, at_ns, at_ns };
}

static struct range
gates_open(struct broker *b, uint32_t index, unsigned *others, struct start *s)
{
	struct gate_reason reasons[REASONS];
	struct range all = { 0, 0, 0 };

	unsigned count = gate_reasons(b, index, reasons, REASONS);
	for (unsigned i = 0; i < count; i++) {
		struct range r = gate_opens(b, &reasons[i], others);
		all.low_ns = most(all.low_ns, r.low_ns);
		all.mid_ns = most(all.mid_ns, r.mid_ns);
		all.high_ns = most(all.high_ns, r.high_ns);
		if (r.high_ns == FORECAST_NEVER && s->unknown == START_KNOWN) {
			s->unknown = START_GATE;
			s->wait = reasons[i].wait;
		}
	}
	return all;
}

static void
start_of(struct broker *b, uint32_t index, unsigned *others, struct start *ret)
{
	const struct job *job = job_at(&b->jobs, index);
	const struct pool *p = &b->pools[job->pool];
	bool parked = job->flags & JOB_PARKED;

	*ret = (struct start){ .runs = UINT64_MAX };
	if (job->flags & JOB_HELD)
		is_unknown(ret, START_CLIENT);
	if (p->state == POOL_PAUSED || p->state == POOL_FAILED ||
	    (p->state == POOL_DRAINING && (job->flags & JOB_DETACHED)))
		is_unknown(ret, START_PAUSED);
	struct range gate = { 0, 0, 0 };
	if (parked)
		gate = gates_open(b, index, others, ret);
	if (ret->unknown != START_KNOWN)
		return;
	if (parked && job->more->waits == WAIT_CACHE) { /* it is answered, and does not start */
		ret->unknown = START_GATE;
		ret->wait = WAIT_CACHE;
		return;
	}
	struct pool_now *now = pool_now(b, p);
	if (now == NULL) {
		is_unknown(ret, START_NO_MEMORY);
		return;
	}
	if (now->places == 0)
		is_unknown(ret, START_NO_WORKERS);
	else
		start_by_queue(b, index, now, ret);
	ret->range = range_sum(gate, ret->range);
	pool_now_free(now);
}

void
why_start(struct broker *b, uint32_t index, struct start *ret)
{
	unsigned others = OTHERS_MOST;
	start_of(b, index, &others, ret);
}
