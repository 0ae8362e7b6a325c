/*
 * dispatch.c - which worker gets a job, and what comes back from it.
 *
 * Credit: a worker has as many jobs as it can run at once.  Only jobs of a kind that was
 * measured to be tiny are sent ahead, up to CREDIT_NS of estimated work, and one of a kind
 * that takes less than AHEAD_NS to a worker of a process pool, so that nothing waits behind a
 * long job; and what was sent ahead is taken back as soon as another
 * worker is idle (tickets, see ipc/link.h).
 *
 * Waking: a job goes to a worker that is awake and nearly free if there is one; a sleeper
 * is woken when the awake ones have a backlog, each once per turn.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "daemon/broker.h"
#include "daemon/cache.h"
#include "daemon/context.h"
#include "daemon/durable.h"
#include "daemon/gate.h"
#include "daemon/policy.h"
#include "daemon/quarantine.h"
#include "ipc/clock.h"

#define AWAKE_BACKLOG_NS 20000u /* an awake worker with less than this gets the next job */
#define AHEAD_NS         (5 * NS_PER_MS)
#define RESULTS_A_TURN   512u
/* Over a way that may lose results: how long one of an earlier broker's time may be under way. */
#define ADOPTED_PATIENCE_NS (1 * NS_PER_S)

/* ---- choosing ---- */

static uint64_t
estimate_of(const struct pool *p, const struct job *job)
{
	uint64_t known = p->estimate_ns[job->kind];
	return known > 0 && job->array == NULL ? known : CREDIT_NS;
}

static bool
is_ready(const struct crew *w)
{
	return atomic_load_explicit(&w->link.shared->worker_ready, memory_order_acquire) != 0;
}

static bool
has_credit(const struct pool *p, const struct crew *w, const struct job *job, uint64_t estimate)
{
	if (!w->up || w->retiring || w->leaving || w->halted || w->alone || !is_ready(w))
		return false;
	if (w->outstanding < p->config->concurrency)
		return true;
	if (w->overran) /* what it runs takes longer than was thought */
		return false;
	if (job->array != NULL) /* a second range, so that no worker waits between two */
		return w->outstanding < 2 * p->config->concurrency;
	/* One job ahead of a worker that does nothing else: between two jobs of a millisecond it
	 * would wait for the broker to wake. */
	if (p->config->executor->one_cpu && w->outstanding == 1 && p->estimate_ns[job->kind] > 0 &&
	    estimate < AHEAD_NS)
		return true;
	return estimate < TINY_NS && w->estimate_ns + estimate <= CREDIT_NS &&
	       w->outstanding < CREDIT_JOBS;
}

static struct crew *
choose(struct pool *p, const struct job *job, uint64_t estimate)
{
	struct crew *sleeper = NULL, *loaded = NULL;

	for (unsigned i = 0; i < p->crew_count; i++) {
		struct crew *w = p->crew[(p->turn + i) % p->crew_count];
		if (w == NULL || !has_credit(p, w, job, estimate))
			continue;
		bool asleep = atomic_load_explicit(&w->link.shared->worker.sleeping,
						   memory_order_relaxed) != 0;
		bool room = w->outstanding < p->config->concurrency;
		if (!asleep && w->estimate_ns < AWAKE_BACKLOG_NS && (room || estimate < TINY_NS))
			return w;
		if (room && (sleeper == NULL || w->outstanding < sleeper->outstanding))
			sleeper = w;
		if (!room && (loaded == NULL || w->estimate_ns < loaded->estimate_ns))
			loaded = w;
	}
	return sleeper != NULL ? sleeper : loaded;
}

/* ---- handing out ---- */

void
run_limits(const struct job *job, struct run_body *run)
{
	if (job->more == NULL || job->more->policy == NULL)
		return;
	run->memory_bytes = job->more->policy->memory_bytes;
	run->nice = job->more->policy->nice;
}

/* 0; -EAGAIN: no room on the way there; -EMSGSIZE: it never fits, and is completed. */
static int
send_job(struct broker *b, struct crew *w, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	struct client *c = job->flags & JOB_NO_CLIENT ? NULL : b->clients[job->client];
	bool command = kinds[job->kind]->class == KIND_COMMAND;
	const struct shared_context *context = NULL;
	struct run_body run = {
		.id = job->id,
		.timeout_ns = job->timeout_ns,
		.uid = job->uid,
		.gid = job->gid,
		.kind = job->kind,
		.attempt = job->attempt,
		.flags = job->flags & JOB_DROP ? RUN_DROP_TO_USER : 0,
	};
	run_limits(job, &run);
	if (command && job->more != NULL && job->more->context != NULL)
		context = job->more->context;
	else if (command && c != NULL)
		context = c->context;
	if ((job->flags & JOB_DETACHED) && durable_claim(b, index) < 0)
		return -EAGAIN;
	/* Before it is published: the worker may have started when we are back. */
	job->handed_ns = b->now_ns;
	int ticket = link_send_run(&w->link, &run, job_args(job), job->args_length,
				   context != NULL ? context->bytes : NULL,
				   context != NULL ? context->length : 0);
	if (ticket < 0 && (job->flags & JOB_DETACHED))
		durable_unclaim(b, index);
	if (ticket == -EMSGSIZE) { /* its client's context has grown since it was admitted */
		queue_remove(b, index);
		job_complete_as(b, index, JOB_FAILED, CAUSE_ERROR, 0, ERR_TOO_LARGE, 0,
				"arguments and environment of the command are too long together");
	}
	if (ticket < 0)
		return ticket;
	w->tickets[ticket] = index;
	job->place = w->place;
	job->ticket = (uint16_t)ticket;
	queue_remove(b, index);
	job_change(b, job, JOB_RUNNING);
	return 0;
}

static int
send_range(struct broker *b, struct crew *w, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	uint64_t handed_ns = b->now_ns;
	if (!array_hand_out(b, w, index))
		return -EAGAIN;
	queue_remove(b, index);
	if (array_has_more(job))
		queue_push(b, index);
	if (job->state == JOB_QUEUED) {
		job->place = w->place;
		job->handed_ns = handed_ns;
		job_change(b, job, JOB_RUNNING);
	}
	return 0;
}

/* To this worker.  1: it is on its way; 0: it is no longer first in its queue; -1: not now. */
static int
hand_out(struct broker *b, struct pool *p, struct crew *w, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	uint64_t timeout_ns = job->timeout_ns, estimate = estimate_of(p, job);

	if (job->more != NULL && !gate_pass(b, index))
		return 0;
	int r = job->array != NULL ? send_range(b, w, index) : send_job(b, w, index);
	if (r == -EMSGSIZE)
		return 0;
	if (r < 0) { /* its link is full: when a result comes we are here again */
		if (job->more != NULL)
			gate_unpass(b, index);
		return -1;
	}
	if (p->strategy->handed != NULL)
		p->strategy->handed(p, job);
	crew_took(b, w);
	crew_touch(b, w);
	if (b->deadline_ns == 0)
		deadline_at(b, b->now_ns + HUNG_LOOK_NS);
	w->estimate_ns += estimate;
	if (timeout_ns > 0)
		deadline_at(b, b->now_ns + timeout_ns);
	return 1;
}

bool
dispatch_one(struct broker *b, struct pool *p, struct crew *w, uint32_t index)
{
	return hand_out(b, p, w, index) > 0;
}

/* May a detached job be started? */
static bool
may_start(struct broker *b, uint32_t index)
{
	return durable_may_start(b, index) && drain_passes(b, index) && !quarantine_takes(b, index);
}

static void
dispatch_pool(struct broker *b, struct pool *p)
{
	uint32_t index;

	if (p->state == POOL_FAILED)
		pool_failed(b, p); /* what came back from its last workers */
	while (pool_starts(p) && (index = queue_peek(b, p)) != JOB_NONE) {
		struct job *job = job_at(&b->jobs, index);
		if ((job->flags & JOB_DETACHED) && !may_start(b, index))
			continue;
		if (job->more != NULL && !cache_passes(b, index))
			continue;
		struct crew *w = choose(p, job, estimate_of(p, job));
		if (w == NULL || hand_out(b, p, w, index) < 0)
			return;
	}
}

void
dispatch_jobs(struct broker *b)
{
	if (b->alone != 0)
		quarantine_dispatch(b);
	for (uint32_t left = b->waiting; left != 0; left &= left - 1)
		dispatch_pool(b, &b->pools[__builtin_ctz(left)]);
}

void
dispatch_wake(struct broker *b)
{
	struct crew *w;

	while ((w = b->touched) != NULL) {
		b->touched = w->next_touched;
		w->touched = false;
		if (w->up) {
			link_wake(&w->link);
			if (w->link.requests.carrier == NULL)
				ring_mark(&w->link.requests.ring);
		}
	}
}

/* ---- results ---- */

struct crew *
crew_of(struct broker *b, const struct job *job)
{
	return b->pools[job->pool].crew[job->place];
}

void
crew_took(struct broker *b, struct crew *w)
{
	w->sent++;
	if (w->outstanding++ == 0)
		TAILQ_INSERT_TAIL(&b->busy, w, busy_link);
	if (w->outstanding > w->outstanding_high)
		w->outstanding_high = w->outstanding;
}

void
crew_touch(struct broker *b, struct crew *w)
{
	if (w->touched)
		return;
	w->touched = true;
	w->next_touched = b->touched;
	b->touched = w;
}

/* The ticket is no longer out. */
void
crew_settle(struct broker *b, struct crew *w, uint32_t ticket)
{
	struct pool *p = &b->pools[w->pool];
	uint32_t index = w->tickets[ticket];

	w->tickets[ticket] = JOB_NONE;
	w->stops_due -= w->stop_due[ticket] != 0;
	w->stop_due[ticket] = 0;
	if (--w->outstanding == 0) {
		TAILQ_REMOVE(&b->busy, w, busy_link);
		w->alone = false;
	}
	const struct job *job = index == ORPHAN ? NULL : job_at(&b->jobs, index);
	uint64_t estimate = job == NULL ? 0 : estimate_of(p, job);
	if (job != NULL && p->strategy->settled != NULL)
		p->strategy->settled(p, job);
	w->orphans -= job == NULL;
	w->adopted -= job != NULL && (job->flags & JOB_ADOPTED) != 0;
	w->estimate_ns =
		w->outstanding == 0 || estimate > w->estimate_ns ? 0 : w->estimate_ns - estimate;
	/* What had to end has ended: the others on this worker are left in peace. */
	if ((job == NULL || (job->flags & JOB_STOPPING)) && --w->stopping == 0)
		w->stop_by_ns = 0;
}

static void
learn(struct pool *p, const struct job *job, const struct outcome *outcome)
{
	uint64_t run_ns = outcome->ended_ns - outcome->started_ns + 1;
	uint64_t *known = &p->estimate_ns[job->kind];

	if (p->strategy->ran != NULL)
		p->strategy->ran(p, job, run_ns);
	if (job->array != NULL) /* a range: it is as long as it was made */
		return;
	*known = *known == 0 ? run_ns : (*known * 7 + run_ns) / 8;
}

static void
take_result(struct broker *b, struct crew *w, const struct result_body *result)
{
	uint32_t ticket = ticket_index(result->ticket);
	if (!link_ticket_is(&w->link, result->ticket) || w->tickets[ticket] == JOB_NONE)
		return; /* of an earlier use: its job has been dealt with */

	uint32_t index = w->tickets[ticket];
	const unsigned char *tail = (const unsigned char *)(result + 1);
	const void *message = tail + result->outcome.result_length;
	crew_settle(b, w, ticket);
	link_free_ticket(&w->link, ticket);
	w->overran = false;
	w->jobs++;
	if (index == ORPHAN)
		return;
	if (result->flags & RESULT_MEASURED)
		ledger_grew(&b->ledger, kinds[job_at(&b->jobs, index)->kind]->name,
			    (int64_t)result->growth_kib * 1024);
	struct job *job = job_at(&b->jobs, index);
	learn(&b->pools[w->pool], job, &result->outcome);
	if (job->array != NULL) {
		array_range_ended(b, w, index, result, message);
		return;
	}
	job_complete(b, index, &result->outcome, result->flags & ~RESULT_FLAGS, tail, message);
}

static void
take_output(struct broker *b, struct crew *w, const struct ring_record *record)
{
	const struct output_body *output = (const void *)record->body;
	uint32_t index = link_ticket_is(&w->link, output->tag)
				 ? w->tickets[ticket_index(output->tag)]
				 : JOB_NONE;
	if (index == JOB_NONE || index == ORPHAN)
		return;
	struct job *job = job_at(&b->jobs, index);
	if (job->more != NULL)
		cache_output(b, job, output->stream, output + 1,
			     record->length - (uint32_t)sizeof(*output));
	if (job->flags & JOB_DETACHED)
		durable_output(b, index, output->stream, output + 1,
			       record->length - (uint32_t)sizeof(*output));
	if (job->flags & JOB_NO_CLIENT)
		return;
	struct output_body body = *output;
	body.tag = job->tag;
	struct part parts[] = {
		{ &body, sizeof(body) },
		{ output + 1, record->length - (uint32_t)sizeof(body) },
	};
	client_put(b, b->clients[job->client], MSG_OUTPUT, parts, 2);
}

static void
take_items(struct broker *b, struct crew *w, const struct ring_record *record)
{
	const struct items_body *items = (const void *)record->body;
	uint32_t index = link_ticket_is(&w->link, items->tag) ? w->tickets[ticket_index(items->tag)]
							      : JOB_NONE;
	if (index != JOB_NONE && index != ORPHAN && job_at(&b->jobs, index)->array != NULL)
		array_items(b, w, index, items, items + 1);
}

static void
take_left(struct broker *b, struct crew *w, const struct left_body *left)
{
	uint32_t index = left->ticket != 0 && link_ticket_is(&w->link, left->ticket)
				 ? w->tickets[ticket_index(left->ticket)]
				 : JOB_NONE;
	const struct job *job = index < ORPHAN ? job_at(&b->jobs, index) : NULL;
	const struct kind *kind = kind_by_index(left->kind);

	ledger_add(&b->ledger, kind != NULL ? kind->name : NULL, job != NULL ? job->id : 0,
		   job != NULL ? job->uid : UINT32_MAX, left, b->now_ns + b->wall_offset_ns);
}

unsigned
crew_drain(struct broker *b, struct crew *w, unsigned most)
{
	const struct ring_record *record;
	unsigned n = 0;

	while (n < most && (record = link_result(&w->link)) != NULL) {
		if (record->type == MSG_RESULT) {
			const struct result_body *result = (const void *)record->body;
			uint32_t flags = result->flags & (RESULT_SPENT | RESULT_HALTED);
			take_result(b, w, result);
			if (flags != 0)
				crew_spent(b, w, flags);
		}
		else if (record->type == MSG_RUN_OUTPUT)
			take_output(b, w, record);
		else if (record->type == MSG_RUN_ITEMS)
			take_items(b, w, record);
		else if (record->type == MSG_RUN_LEFT)
			take_left(b, w, (const void *)record->body);
		link_result_release(&w->link, record);
		n++;
	}
	w->got += n;
	if (n > 0)
		link_drained(&w->link);
	return n;
}

/* An orphan is over when its ticket says so: the broker that waited for its result may have
 * taken it from the link before it died. */
static void
settle_orphans(struct broker *b, struct crew *w)
{
	for (uint32_t t = 0; w->orphans > 0 && t < LINK_TICKETS; t++) {
		if (w->tickets[t] != ORPHAN ||
		    ticket_state(&w->link.shared->tickets[t]) != TICKET_DONE)
			continue;
		crew_settle(b, w, t);
		link_free_ticket(&w->link, t);
	}
}

/* The same for detached jobs that an earlier broker had started: whether the end of this one was
 * recorded nobody knows, so it is run again.  A result may still be on its way. */
static void
settle_adopted(struct broker *b, struct crew *w)
{
	bool loses = link_rows[w->link.shared->way].loses;

	for (uint32_t t = 0; w->adopted > 0 && t < LINK_TICKETS; t++) {
		uint32_t index = w->tickets[t];
		if (index >= ORPHAN || !(job_at(&b->jobs, index)->flags & JOB_ADOPTED) ||
		    ticket_state(&w->link.shared->tickets[t]) != TICKET_DONE)
			continue;
		if (crew_drain(b, w, RESULTS_A_TURN) > 0)
			return;
		if (loses && b->now_ns - w->since_ns < ADOPTED_PATIENCE_NS)
			continue;
		crew_settle(b, w, t);
		link_free_ticket(&w->link, t);
		durable_lost(b, index);
	}
}

unsigned
dispatch_results(struct broker *b)
{
	struct crew *w, *next;
	unsigned n = 0;

	for (w = TAILQ_FIRST(&b->busy); w != NULL; w = next) {
		next = TAILQ_NEXT(w, busy_link);
		unsigned got = crew_drain(b, w, RESULTS_A_TURN);
		if (got > 0)
			b->pools[w->pool].turn++;
		else if (w->orphans > 0)
			settle_orphans(b, w);
		if (got == 0 && w->adopted > 0)
			settle_adopted(b, w);
		if (w->retiring && w->outstanding == 0)
			crew_retire(b, w);
		n += got;
	}
	return n;
}

/* Has a worker got ready since jobs were last handed out? */
static bool
news_of_ready(struct broker *b)
{
	bool news = false;

	for (unsigned i = 0; b->unready > 0 && i < b->pool_count; i++) {
		struct pool *p = &b->pools[i];
		for (unsigned slot = 0; slot < p->crew_count; slot++) {
			struct crew *w = p->crew[slot];
			if (w == NULL || !w->up || w->seen_ready || !is_ready(w))
				continue;
			w->seen_ready = true;
			b->unready--;
			pool_note_able(p);
			news = true;
		}
	}
	return news;
}

bool
dispatch_pending(struct broker *b)
{
	struct crew *w;

	TAILQ_FOREACH (w, &b->busy, busy_link)
		if (link_has_result(&w->link))
			return true;
	return news_of_ready(b);
}

/* ---- taking back ---- */

static void
back_to_queue(struct broker *b, struct crew *w, uint32_t ticket)
{
	uint32_t index = w->tickets[ticket];
	struct job *job = job_at(&b->jobs, index);

	crew_settle(b, w, ticket);
	if (job->array != NULL) {
		array_range_back(b, w, index, ticket);
		return;
	}
	job_change(b, job, JOB_QUEUED);
	if (job->flags & JOB_DETACHED)
		durable_unclaim(b, index);
	if (job->flags & JOB_STOPPING) {
		job_complete_as(
			b, index, job->stop == CAUSE_TIMEOUT ? JOB_TIMED_OUT : JOB_CANCELLED,
			job->stop, 0, job->stop == CAUSE_TIMEOUT ? ERR_TIMED_OUT : ERR_CANCELLED, 0,
			"ended before it started");
		return;
	}
	if (job->more != NULL)
		gate_unpass(b, index);
	queue_put_back(b, index);
}

bool
ticket_taken_back(struct broker *b, struct crew *w, uint32_t ticket)
{
	if (!link_reclaim(&w->link, ticket))
		return false;
	back_to_queue(b, w, ticket);
	return true;
}

/* Take back all that `w` has not started; later ones first, so that the queue keeps its order. */
unsigned
crew_take_back(struct broker *b, struct crew *w)
{
	unsigned n = 0;

	if (w->outstanding == 0)
		return 0;
	for (;;) {
		uint32_t newest = JOB_NONE;
		uint64_t newest_ns = 0;
		for (uint32_t t = 0; t < LINK_TICKETS; t++) {
			if (w->tickets[t] == JOB_NONE || w->tickets[t] == ORPHAN ||
			    ticket_state(&w->link.shared->tickets[t]) != TICKET_READY)
				continue;
			uint64_t handed_ns = job_at(&b->jobs, w->tickets[t])->handed_ns;
			if (newest == JOB_NONE || handed_ns >= newest_ns) {
				newest = t;
				newest_ns = handed_ns;
			}
		}
		if (newest == JOB_NONE)
			return n;
		if (link_reclaim(&w->link, newest)) {
			back_to_queue(b, w, newest);
			n++;
		}
	}
}

/* Since when does the worker run what it runs, when it also has jobs it has not started?
 * 0: nothing to take back. */
static uint64_t
blocks_others_since(const struct crew *w)
{
	uint64_t since = UINT64_MAX;
	unsigned seen = 0, unstarted = 0;

	for (uint32_t t = 0; t < LINK_TICKETS && seen < w->outstanding; t++) {
		if (w->tickets[t] == JOB_NONE)
			continue;
		seen++;
		const struct ticket *ticket = &w->link.shared->tickets[t];
		uint64_t claimed_ns = atomic_load(&ticket->claimed_ns);
		if (ticket_state(ticket) == TICKET_READY)
			unstarted++;
		else if (claimed_ns != 0 && claimed_ns < since)
			since = claimed_ns;
	}
	return unstarted > 0 && since != UINT64_MAX ? since : 0;
}

static bool
has_idle(const struct pool *p)
{
	for (unsigned slot = 0; slot < p->crew_count; slot++) {
		const struct crew *w = p->crew[slot];
		if (w != NULL && w->up && !w->retiring && !w->leaving && !w->halted &&
		    w->outstanding < p->config->concurrency)
			return true;
	}
	return false;
}

bool
dispatch_rebalance(struct broker *b, uint64_t *ret_look_in_ns)
{
	bool moved = false;
	uint64_t now_ns = clock_now();

	*ret_look_in_ns = 0;
	for (unsigned i = 0; i < b->pool_count; i++) {
		struct pool *p = &b->pools[i];
		if (p->crew_count < 2 || p->running == 0)
			continue;
		/* Without an idle worker too, or later jobs would pass it on the other workers. */
		uint64_t patience_ns = has_idle(p) ? CREDIT_NS : AHEAD_NS;
		for (unsigned slot = 0; slot < p->crew_count; slot++) {
			struct crew *w = p->crew[slot];
			if (w == NULL || !w->up || w->outstanding <= p->config->concurrency)
				continue;
			uint64_t since_ns = blocks_others_since(w);
			if (since_ns == 0)
				continue;
			if (now_ns - since_ns >= patience_ns) {
				w->overran = true;
				moved |= crew_take_back(b, w) > 0;
				continue;
			}
			uint64_t left_ns = patience_ns - (now_ns - since_ns);
			if (*ret_look_in_ns == 0 || left_ns < *ret_look_in_ns)
				*ret_look_in_ns = left_ns;
		}
	}
	return moved;
}
