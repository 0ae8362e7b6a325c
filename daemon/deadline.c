/*
 * deadline.c - ending jobs that run: timeouts, cancels, and workers that do not obey.
 *
 * A job ends by its worker when the executor can end one job alone (a command, a job on an
 * event loop), else by its worker's death.  One timer is set to the earliest thing that may be
 * due; when it fires the running jobs are looked through, so that arming and forgetting
 * costs nothing per job.
 */
#include "daemon/broker.h"
#include "daemon/gate.h"
#include "daemon/log.h"
#include "ipc/clock.h"

/* A job that is cancelled gets this long to end by itself before its worker is killed. */
#define CANCEL_PATIENCE_NS (100 * NS_PER_MS)
/* What an executor that ends jobs alone may take beyond the grace of TERM. */
#define STOP_SLACK_NS (1 * NS_PER_S)
/* A stop that found no room on its way is tried again after this long. */
#define STOP_AGAIN_NS (10 * NS_PER_MS)

static uint64_t
earlier(uint64_t a, uint64_t b)
{
	return b == 0 || (a != 0 && a < b) ? a : b;
}

/* When does this ticket's timeout strike, at the earliest?  0: it has none. */
static uint64_t
timeout_of(const struct broker *b, const struct crew *w, uint32_t t)
{
	const struct ticket *ticket = &w->link.shared->tickets[t];
	uint64_t span_ns = atomic_load(&ticket->deadline_span_ns);
	uint64_t claimed_ns = atomic_load(&ticket->claimed_ns);

	if (span_ns == 0)
		return 0;
	/* A ticket of an array job is one range of many: the job's time began with the first. */
	if (w->tickets[t] != ORPHAN && job_at(&b->jobs, w->tickets[t])->array != NULL)
		return job_at(&b->jobs, w->tickets[t])->handed_ns + span_ns;
	return (claimed_ns != 0 ? claimed_ns : b->now_ns) + span_ns;
}

static uint64_t
look_at_ticket(struct broker *b, struct crew *w, uint32_t t)
{
	uint32_t index = w->tickets[t];
	uint64_t due_ns = timeout_of(b, w, t);

	if (due_ns == 0 || due_ns > b->now_ns)
		return due_ns;
	if (index == ORPHAN)
		w->stop_by_ns = b->now_ns;
	else if (!(job_at(&b->jobs, index)->flags & JOB_STOPPING))
		job_stop(b, index, CAUSE_TIMEOUT);
	return 0;
}

void
crew_stop(struct broker *b, struct crew *w, uint32_t ticket, enum job_cause reason)
{
	if (w->stop_due[ticket] == 0)
		w->stops_due++;
	w->stop_due[ticket] = (uint8_t)reason;
	crew_send_stops(b, w);
}

/* Whatever finds no room stays due: the link is full; or, over ZeroMQ, the worker has not yet
 * connected to this broker. */
void
crew_send_stops(struct broker *b, struct crew *w)
{
	for (uint32_t t = 0; w->stops_due > 0 && t < LINK_TICKETS; t++) {
		if (w->stop_due[t] == 0)
			continue;
		if (link_send_stop(&w->link, t, (enum job_cause)w->stop_due[t]) < 0) {
			deadline_at(b, clock_now() + STOP_AGAIN_NS);
			return;
		}
		w->stop_due[t] = 0;
		w->stops_due--;
		crew_touch(b, w);
	}
}

static uint64_t
look_at_crew(struct broker *b, struct crew *w)
{
	uint64_t next_ns = 0;
	unsigned seen = 0, out = w->outstanding;

	crew_send_stops(b, w);
	for (uint32_t t = 0; t < LINK_TICKETS && seen < out; t++) {
		if (w->tickets[t] == JOB_NONE)
			continue;
		seen++;
		next_ns = earlier(next_ns, look_at_ticket(b, w, t));
	}
	next_ns = earlier(next_ns, hung_look(b, w));
	if (w->stop_by_ns == 0 || w->leaving)
		return next_ns;
	if (w->stop_by_ns > b->now_ns)
		return earlier(next_ns, w->stop_by_ns);
	const char *pool = b->pools[w->pool].config->name;
	log_event(LOG_LEVEL_INFO, LOG_WORKER_KILLED,
		  ABOUT(.pool = pool, .slot = w->slot, .worker_pid = w->pid),
		  "killing worker %s/%u (pid %u) to end what it runs; it will be replaced", pool,
		  w->slot, w->pid);
	crew_kill(b, w);
	return next_ns;
}

static void
on_deadline(evutil_socket_t fd, short what, void *context)
{
	struct broker *b = context;
	uint64_t next_ns = 0;

	(void)fd;
	(void)what;
	b->deadline_ns = 0;
	b->now_ns = clock_now();
	for (unsigned i = 0; i < b->pool_count; i++) {
		struct pool *p = &b->pools[i];
		for (unsigned slot = 0; slot < p->crew_count; slot++)
			if (p->crew[slot] != NULL && p->crew[slot]->up)
				next_ns = earlier(next_ns, look_at_crew(b, p->crew[slot]));
	}
	if (next_ns != 0)
		deadline_at(b, next_ns);
}

void
deadline_open(struct broker *b)
{
	b->deadline = evtimer_new(b->base, on_deadline, b);
}

void
deadline_at(struct broker *b, uint64_t when_ns)
{
	if (b->deadline_ns != 0 && b->deadline_ns <= when_ns)
		return;
	uint64_t now_ns = clock_now();
	uint64_t wait_ns = when_ns > now_ns ? when_ns - now_ns : 0;
	struct timeval tv = {
		.tv_sec = (time_t)(wait_ns / NS_PER_S),
		.tv_usec = (suseconds_t)(wait_ns % NS_PER_S / NS_PER_US) + 1,
	};
	b->deadline_ns = when_ns;
	evtimer_add(b->deadline, &tv);
}

void
ticket_stop(struct broker *b, struct crew *w, uint32_t ticket, enum job_cause reason)
{
	const struct pool_config *pool = b->pools[w->pool].config;
	uint64_t patience_ns = reason == CAUSE_TIMEOUT ? 0 : CANCEL_PATIENCE_NS;

	w->stopping++;
	if (ticket_taken_back(b, w, ticket))
		return;
	if (pool->executor->stops_alone) {
		crew_stop(b, w, ticket, reason);
		patience_ns = pool->grace_ns + STOP_SLACK_NS;
	}
	w->stop_by_ns = earlier(w->stop_by_ns, b->now_ns + patience_ns);
	deadline_at(b, w->stop_by_ns);
}

void
job_stop(struct broker *b, uint32_t index, enum job_cause reason)
{
	struct job *job = job_at(&b->jobs, index);
	bool timeout = reason == CAUSE_TIMEOUT;

	if (job->flags & (JOB_STOPPING | JOB_ENDING))
		return;
	/* On its way into the store, or not known yet whether a worker runs it. */
	if ((job->flags & JOB_PARKED) && job->more->waits == WAIT_STORE) {
		job->flags |= JOB_STOPPING;
		job->stop = (uint8_t)reason;
		return;
	}
	if (job->array != NULL) {
		array_stop(b, index, reason);
		return;
	}
	if (job->state == JOB_QUEUED) {
		queue_remove(b, index);
		job_complete_as(b, index, timeout ? JOB_TIMED_OUT : JOB_CANCELLED, reason, 0,
				timeout ? ERR_TIMED_OUT : ERR_CANCELLED, 0,
				"cancelled before it started");
		return;
	}
	job->flags |= JOB_STOPPING;
	job->stop = (uint8_t)reason;
	ticket_stop(b, crew_of(b, job), job->ticket, reason);
}
