/*
 * request_why.c - the verb `why`: what a job waits for, since when, when it will start, and what
 * would make it start now; of a running one where it runs and how long such jobs take.
 *
 * What has ended is not told here: a receipt says it (the verb `show`).
 */
#include <string.h>

#include "daemon/cache.h"
#include "daemon/durable.h"
#include "daemon/gate.h"
#include "daemon/policy.h"
#include "daemon/request.h"
#include "daemon/why.h"

#define REASONS   8u
#define BUSY_TOLD 4u

/* The list of reasons under construction: its length is not known before it is made. */
struct why {
	struct broker *b;
	uint32_t index;
	const struct job *job;
	struct pool *pool;
	struct pool_now *now;
	struct reply reasons;
	unsigned count;
};

static void
reply_since(struct why *w, struct reply *a, const char *key, uint64_t since_ns)
{
	reply_key(a, key);
	if (since_ns == 0)
		msgpack_pack_nil(&a->pack);
	else
		msgpack_pack_uint64(&a->pack,
				    w->b->now_ns > since_ns ? w->b->now_ns - since_ns : 0);
}

/* A reason with `fields` of its own, which the caller adds.  `since_ns`: 0, not known. */
static struct reply *
reason(struct why *w, const char *word, uint64_t since_ns, unsigned fields)
{
	struct reply *a = &w->reasons;

	w->count++;
	msgpack_pack_map(&a->pack, 2 + fields);
	reply_text(a, "reason", word);
	reply_since(w, a, "for_ns", since_ns);
	return a;
}

/* Another job, as it is now. */
static void
reply_other(struct why *w, struct reply *a, uint64_t id)
{
	uint32_t index = jobs_find(&w->b->jobs, id);
	const struct job *job = index != JOB_NONE ? job_at(&w->b->jobs, index) : NULL;

	msgpack_pack_map(&a->pack, 4);
	reply_uint(a, "id", id);
	reply_text(a, "state", job == NULL ? "" : job_state_text(job->state));
	reply_text(a, "kind", job == NULL ? "" : kinds[job->kind]->name);
	reply_since(w, a, "for_ns",
		    job == NULL                 ? 0
		    : job->state == JOB_RUNNING ? job->handed_ns
						: job->received_ns);
}

/* ---- the gates ---- */

static void
reply_ids(struct why *w, struct reply *a, const char *key, const struct gate_reason *r)
{
	unsigned count = r->id_count < GATE_IDS ? (unsigned)r->id_count : GATE_IDS;

	reply_key(a, key);
	msgpack_pack_array(&a->pack, count);
	for (unsigned i = 0; i < count; i++)
		reply_other(w, a, r->ids[i]);
	reply_uint(a, "count", r->id_count);
}

static uint64_t
until(const struct why *w, uint64_t at_ns)
{
	return at_ns > w->b->now_ns ? at_ns - w->b->now_ns : 0;
}

static void
gate_reason(struct why *w, const struct gate_reason *r)
{
	const char *word = wait_word(r->wait);
	struct reply *a;

	switch (r->wait) {
	case WAIT_TIME:
	case WAIT_BACKOFF:
		a = reason(w, word, r->since_ns, 2);
		reply_uint(a, "in_ns", until(w, r->until_ns));
		reply_uint(a, "attempt", w->job->attempt);
		break;
	case WAIT_AFTER:
		a = reason(w, word, r->since_ns, 2);
		reply_ids(w, a, "jobs", r);
		break;
	case WAIT_NEED:
		a = reason(w, word, r->since_ns, 7);
		reply_text(a, "name", r->name);
		reply_uint(a, "asked", r->asked);
		reply_uint(a, "used", r->used);
		reply_uint(a, "limit", r->limit);
		reply_uint(a, "ahead", r->ahead);
		reply_ids(w, a, "holders", r);
		break;
	case WAIT_RATE:
		a = reason(w, word, r->since_ns, 6);
		reply_text(a, "group", r->name);
		reply_uint(a, "used", r->used);
		reply_uint(a, "limit", r->limit);
		reply_uint(a, "window_ns", r->window_ns);
		reply_uint(a, "ahead", r->ahead);
		reply_uint(a, "in_ns", until(w, r->until_ns));
		break;
	case WAIT_STORE:
		a = reason(w, word, r->since_ns, 1);
		enum job_error error;
		reply_text(a, "trouble", durable_ready(w->b, &error) ? "" : durable_trouble(w->b));
		break;
	default:
		reason(w, word, r->since_ns, 0);
	}
}

static void
gate_reasons_of(struct why *w)
{
	struct gate_reason reasons[REASONS];

	if (!(w->job->flags & JOB_PARKED))
		return;
	unsigned count = gate_reasons(w->b, w->index, reasons, REASONS);
	for (unsigned i = 0; i < count; i++)
		gate_reason(w, &reasons[i]);
	if (w->job->more->waits == WAIT_CACHE) {
		struct reply *a = reason(w, wait_word(WAIT_CACHE), w->job->more->waits_since_ns, 1);
		reply_key(a, "job");
		reply_other(w, a, cache_waits_for(w->b, w->job));
	} else if (count == 0) {
		reason(w, wait_word(w->job->more->waits), w->job->more->waits_since_ns, 0);
	}
}

/* ---- the pool and its queue ---- */

static void
pool_reasons(struct why *w)
{
	const struct pool *p = w->pool;
	bool drained = w->job->flags & JOB_DETACHED;

	if (w->job->flags & JOB_HELD)
		reason(w, "client", 0, 0);
	if (p->state == POOL_PAUSED || p->state == POOL_FAILED ||
	    (p->state == POOL_DRAINING && drained && !(w->job->flags & JOB_PARKED)))
		reason(w, pool_state_text(p->state), 0, 0);
}

/* How many workers there would have to be for it to start now; 0: more than a pool can have. */
static uint64_t
workers_needed(const struct why *w, const struct ahead *ahead)
{
	uint64_t at_once = w->pool->config->concurrency;
	uint64_t wanted = ahead->jobs + w->now->sent + 1;
	uint64_t missing = wanted > w->now->free ? wanted - w->now->free : 0;
	uint64_t needed = w->now->workers + (missing + at_once - 1) / at_once;

	return needed <= WORKERS_MAX ? needed : 0;
}

static void
reply_busy(struct why *w, struct reply *a)
{
	unsigned told = 0;
	msgpack_sbuffer list;
	struct reply one;

	msgpack_sbuffer_init(&list);
	msgpack_packer_init(&one.pack, &list, msgpack_sbuffer_write);
	for (unsigned slot = 0; slot < w->pool->crew_count && told < BUSY_TOLD; slot++) {
		const struct crew *crew = w->pool->crew[slot];
		if (crew == NULL || !crew->up)
			continue;
		for (uint32_t t = 0; t < LINK_TICKETS && told < BUSY_TOLD; t++) {
			if (crew->tickets[t] >= ORPHAN ||
			    atomic_load(&crew->link.shared->tickets[t].claimed_ns) == 0)
				continue;
			reply_other(w, &one, job_at(&w->b->jobs, crew->tickets[t])->id);
			told++;
		}
	}
	reply_key(a, "running");
	msgpack_pack_array(&a->pack, told);
	msgpack_sbuffer_write(&a->bytes, list.data, list.size);
	msgpack_sbuffer_destroy(&list);
}

static void
queue_reasons(struct why *w)
{
	const struct pool *p = w->pool;
	struct ahead ahead;
	struct reply *a;

	why_ahead(w->b, w->index, &ahead);
	if (ahead.jobs > 0) {
		a = reason(w, "ahead", w->job->flags & JOB_PARKED ? 0 : w->job->queued_ns, 5);
		reply_uint(a, "count", ahead.jobs);
		reply_flag(a, "exact", ahead.exact);
		reply_uint(a, "higher", ahead.higher);
		reply_text(a, "strategy", p->strategy->name);
		reply_key(a, "jobs");
		msgpack_pack_array(&a->pack, ahead.id_count);
		for (unsigned i = 0; i < ahead.id_count; i++)
			reply_other(w, a, ahead.ids[i]);
	}
	if (w->now->free > ahead.jobs + w->now->sent)
		return;
	const char *word = p->wanted == 0         ? "no_workers"
			   : w->now->workers == 0 ? "starting"
						  : "busy";
	a = reason(w, word, 0, 6);
	reply_uint(a, "workers", w->now->workers);
	reply_uint(a, "size", p->wanted);
	reply_uint(a, "at_once", p->config->concurrency);
	reply_uint(a, "busy", w->now->busy_count);
	reply_uint(a, "needed", workers_needed(w, &ahead));
	reply_busy(w, a);
}

/* ---- figures ---- */

static void
reply_range(struct reply *a, const struct range *r)
{
	reply_uint(a, "p10_ns", r->low_ns);
	reply_uint(a, "p50_ns", r->mid_ns);
	reply_uint(a, "p90_ns", r->high_ns);
}

static const char *
unknown_word(const struct start *s)
{
	static const char *const words[] = {
		[START_KNOWN] = "",
		[START_NO_HISTORY] = "no_history",
		[START_OVERDUE] = "overdue",
		[START_PAUSED] = "pool",
		[START_NO_WORKERS] = "no_workers",
		[START_CLIENT] = "client",
		[START_NO_MEMORY] = "no_memory",
	};
	return s->unknown == START_GATE ? wait_word(s->wait) : words[s->unknown];
}

/* When it will start. */
static void
reply_forecast(struct why *w, struct reply *a)
{
	struct start s;

	reply_key(a, "start");
	if (w->job->state != JOB_QUEUED) {
		msgpack_pack_nil(&a->pack);
		return;
	}
	why_start(w->b, w->index, &s);
	if (s.unknown != START_KNOWN) {
		msgpack_pack_map(&a->pack, 2);
		reply_text(a, "unknown", unknown_word(&s));
		reply_text(a, "kind", s.unknown == START_NO_HISTORY ? kinds[s.kind]->name : "");
		return;
	}
	msgpack_pack_map(&a->pack, 4);
	reply_range(a, &s.range);
	reply_uint(a, "runs", s.runs != UINT64_MAX ? s.runs : 0);
}

/* How long such jobs take. */
static void
reply_runs(struct why *w, struct reply *a)
{
	const struct runs *runs = &w->now->runs[w->job->kind];

	reply_key(a, "runs");
	if (runs->n == 0) {
		msgpack_pack_nil(&a->pack);
		return;
	}
	struct range r = { runs_per_mille(runs, 100), runs_per_mille(runs, 500),
			   runs_per_mille(runs, 900) };
	msgpack_pack_map(&a->pack, 4);
	reply_range(a, &r);
	reply_uint(a, "count", runs->n);
}

/* Where it runs. */
static void
reply_worker(struct why *w, struct reply *a)
{
	const struct job *job = w->job;
	struct receipt receipt;

	reply_key(a, "worker");
	if (job->state != JOB_RUNNING || (job->flags & JOB_ENDING)) {
		msgpack_pack_nil(&a->pack);
		return;
	}
	receipt_of(w->b, job, &receipt);
	uint64_t started_ns = job->array != NULL ? job->handed_ns : receipt.outcome.started_ns;
	msgpack_pack_map(&a->pack, 5);
	reply_uint(a, "slot", receipt.slot);
	reply_uint(a, "pid", receipt.worker_pid);
	reply_since(w, a, "started_ns", started_ns);
	reply_uint(a, "beside", crew_of(w->b, job)->outstanding - 1);
	reply_flag(a, "stopping", (job->flags & JOB_STOPPING) != 0);
}

/* Would it be in its queue, if somebody said so?  What waits for a time, or for others, will find
 * another queue than today's. */
static bool
only_by_order(const struct why *w)
{
	struct gate_reason reasons[REASONS];
	unsigned count = 0, orders = 0;

	if (!(w->job->flags & JOB_PARKED))
		return true;
	count = gate_reasons(w->b, w->index, reasons, REASONS);
	for (unsigned i = 0; i < count; i++)
		orders += reasons[i].wait == WAIT_HELD;
	return w->job->more->waits == WAIT_DRAIN || (count > 0 && orders == count);
}

static void
reply_why(struct why *w, const struct request *r)
{
	const struct job *job = w->job;
	struct reply a;

	if (job->state == JOB_QUEUED) {
		pool_reasons(w); /* first: what comes into a pool that has failed, fails */
		gate_reasons_of(w);
		if (only_by_order(w) && pool_starts(w->pool))
			queue_reasons(w);
	}
	reply_begin(&a, 15);
	reply_uint(&a, "id", job->id);
	reply_flag(&a, "live", true);
	reply_text(&a, "state", job_state_text(job->state));
	reply_text(&a, "kind", kinds[job->kind]->name);
	reply_text(&a, "pool", w->pool->config->name);
	reply_text(&a, "executor", w->pool->config->executor->name);
	reply_uint(&a, "attempt", job->attempt);
	reply_key(&a, "priority");
	msgpack_pack_int64(&a.pack, job->priority);
	reply_flag(&a, "detached", (job->flags & JOB_DETACHED) != 0);
	reply_flag(&a, "ending", (job->flags & JOB_ENDING) != 0);
	reply_since(w, &a, "for_ns", job->state == JOB_QUEUED ? job->received_ns : job->handed_ns);
	reply_key(&a, "reasons");
	msgpack_pack_array(&a.pack, w->count);
	msgpack_sbuffer_write(&a.bytes, w->reasons.bytes.data, w->reasons.bytes.size);
	reply_forecast(w, &a);
	reply_runs(w, &a);
	reply_worker(w, &a);
	reply_send(w->b, r, &a, 0);
}

void
verb_why(struct broker *b, const struct request *r)
{
	int64_t id = 0;
	struct reply a;

	(void)request_int(r, "id", &id);
	uint32_t index = id > 0 ? jobs_find(&b->jobs, (uint64_t)id) : JOB_NONE;
	if (index == JOB_NONE) {
		reply_begin(&a, 2);
		reply_uint(&a, "id", (uint64_t)id);
		reply_flag(&a, "live", false);
		reply_send(b, r, &a, 0);
		return;
	}
	struct why w = { .b = b, .index = index, .job = job_at(&b->jobs, index) };
	if (!request_may_see(b, r, w.job->id, w.job->uid))
		return;
	w.pool = &b->pools[w.job->pool];
	if ((w.now = pool_now(b, w.pool)) == NULL) {
		request_error(b, r, ERR_INTERNAL, "out of memory");
		return;
	}
	reply_start(&w.reasons);
	reply_why(&w, r);
	msgpack_sbuffer_destroy(&w.reasons.bytes);
	pool_now_free(w.now);
}
