/*
 * drain.c - an orderly end of work: of a pool, for maintenance, or of the daemon.
 *
 * A pool that is drained takes no new job.  What attached clients have submitted to it is finished;
 * detached jobs that have not started stay in the store and wait (WAIT_DRAIN) until it is resumed.
 * A daemon that is drained, to end, does not start what is queued: clients are told so.
 */
#include <string.h>

#include "daemon/gate.h"
#include "daemon/request.h"

/* ---- the daemon ---- */

void
drain_cancel_queued(struct broker *b)
{
	for (uint32_t i = 0; (i = jobs_next(&b->jobs, i)) != JOB_NONE; i++)
		if (job_at(&b->jobs, i)->state == JOB_QUEUED &&
		    !(job_at(&b->jobs, i)->flags & JOB_DETACHED))
			job_stop(b, i, CAUSE_CANCELLED);
}

/* What runs is ended; the next daemon tries detached jobs again (drain_lost()). */
static void
end_running(struct broker *b)
{
	for (uint32_t i = 0; (i = jobs_next(&b->jobs, i)) != JOB_NONE; i++) {
		struct job *job = job_at(&b->jobs, i);
		if (!(job->flags & JOB_DETACHED)) {
			job_stop(b, i, CAUSE_CANCELLED);
		} else if (job->state == JOB_RUNNING &&
			   !(job->flags & (JOB_STOPPING | JOB_ENDING))) {
			job->flags |= JOB_STOPPING;
			job->stop = CAUSE_BROKER_LOST;
			ticket_stop(b, crew_of(b, job), job->ticket, CAUSE_CANCELLED);
		}
	}
}

bool
drain_lost(const struct job *job, const struct outcome *outcome)
{
	return (job->flags & JOB_STOPPING) && job->stop == CAUSE_BROKER_LOST &&
	       outcome->state != JOB_SUCCEEDED;
}

void
drain_daemon(struct broker *b, bool hard)
{
	if (!b->draining)
		drain_cancel_queued(b);
	b->draining = true;
	b->drain_hard |= hard;
	if (hard)
		end_running(b);
}

/* ---- a pool ---- */

const char *
pool_state_text(enum pool_state state)
{
	static const char *const texts[] = { "running", "paused", "failed", "draining" };
	return texts[state];
}

bool
pool_starts(const struct pool *p)
{
	return p->state == POOL_RUNNING || p->state == POOL_DRAINING;
}

bool
drain_passes(struct broker *b, uint32_t index)
{
	const struct job *job = job_at(&b->jobs, index);

	if (!b->draining && b->pools[job->pool].state != POOL_DRAINING)
		return true;
	queue_remove(b, index);
	gate_park(b, index, WAIT_DRAIN);
	return false;
}

void
drain_over(struct broker *b, struct pool *p)
{
	for (uint32_t i = 0; (i = jobs_next(&b->jobs, i)) != JOB_NONE; i++) {
		const struct job *job = job_at(&b->jobs, i);
		if (job->pool == p->index && (job->flags & JOB_PARKED) &&
		    job->more->waits == WAIT_DRAIN)
			gate_enter(b, i);
	}
}

/* Jobs of the pool that have to end before it is empty. */
static uint64_t
left_in(struct broker *b, const struct pool *p)
{
	uint64_t left = p->running;

	for (uint32_t i = 0; (i = jobs_next(&b->jobs, i)) != JOB_NONE; i++) {
		const struct job *job = job_at(&b->jobs, i);
		left += job->pool == p->index && job->state == JOB_QUEUED &&
			!(job->flags & JOB_DETACHED);
	}
	return left;
}

/* Begin, or tell how far it is: asked again until nothing is left. */
void
verb_drain(struct broker *b, const struct request *r)
{
	const msgpack_object *name = request_field(r, "pool");
	struct pool *only = NULL;
	uint64_t left = 0;
	struct reply a;

	if (name != NULL && (only = request_pool(b, r)) == NULL)
		return;
	for (unsigned i = 0; i < b->pool_count; i++) {
		struct pool *p = &b->pools[i];
		if ((only != NULL && p != only) || p->state == POOL_FAILED)
			continue;
		if (p->state != POOL_DRAINING)
			pool_set_state(b, p, POOL_DRAINING);
		left += left_in(b, p);
	}
	reply_begin(&a, 2);
	reply_text(&a, "pool", only != NULL ? only->config->name : "");
	reply_uint(&a, "left", left);
	reply_send(b, r, &a, 0);
}
