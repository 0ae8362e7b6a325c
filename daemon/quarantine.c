/*
 * quarantine.c - jobs that kill their worker, again and again.
 *
 * A detached job whose worker died is run again; that uses up none of its retries.  After
 * crash_limit deaths it is suspect: it runs alone next, on a worker that has run nothing before.
 * If that one dies, too, the job is the cause: it is put aside (JOB_DEAD) until `retry`.  If it
 * does not, others were to blame, and the job is done.
 *
 * A suspect waits (WAIT_ALONE) outside of its pool's queue until there is a fresh worker: an idle
 * one is ended for it, since a successor is always ready.
 */
#include "daemon/quarantine.h"

#include <stdio.h>
#include <string.h>

#include "daemon/gate.h"
#include "daemon/log.h"
#include "daemon/policy.h"
#include "daemon/retry.h"

static unsigned
limit_of(const struct job *job)
{
	const struct policy *policy = job->more->policy;

	return policy != NULL && policy->crash_limit > 0 ? policy->crash_limit : CRASH_LIMIT;
}

static bool
is_suspect(const struct job *job)
{
	return job->more != NULL && (job->more->flags & STORE_JOB_SUSPECT) != 0;
}

/* ---- judging ---- */

/* Its submitter said what is tried again, and this is not in it. */
static bool
is_excluded(const struct policy *policy, const struct outcome *o)
{
	uint32_t bit = o->cause == CAUSE_OOM ? POLICY_RETRY_OOM : POLICY_RETRY_WORKER_DIED;

	return policy != NULL && policy->retries > 0 && (policy->retry_on & bit) == 0;
}

enum verdict
quarantine_judge(struct job *job, const struct receipt *receipt)
{
	struct job_more *more = job->more;

	if (!(job->flags & JOB_DETACHED) || receipt->outcome.error != ERR_WORKER_DIED ||
	    (receipt->flags & RECEIPT_BYSTANDER) != 0 ||
	    is_excluded(more->policy, &receipt->outcome) || job->attempt == UINT16_MAX)
		return VERDICT_NONE;
	more->crashes++;
	if (is_suspect(job))
		return VERDICT_DEAD;
	if (more->crashes >= limit_of(job))
		more->flags |= STORE_JOB_SUSPECT;
	return VERDICT_AGAIN;
}

bool
quarantine_is_dead(const struct job *job, const struct receipt *receipt)
{
	return (job->flags & JOB_DETACHED) && is_suspect(job) &&
	       receipt->outcome.error == ERR_WORKER_DIED && !(receipt->flags & RECEIPT_BYSTANDER) &&
	       !(job->flags & JOB_STOPPING);
}

void
quarantine_sentence(const struct job *job, struct receipt *receipt, const void *message, char *text,
		    size_t size)
{
	int n = snprintf(
		text, size,
		"it killed its worker %u times, the last time alone on a fresh one, and is put "
		"aside; `pyprepctl retry %llu` tries it again. The last time: %.*s",
		job->more->crashes, (unsigned long long)job->id,
		(int)receipt->outcome.message_length, message != NULL ? (const char *)message : "");
	receipt->outcome.state = JOB_DEAD;
	receipt->outcome.error = ERR_DEAD;
	receipt->outcome.message_length = (uint32_t)(n < (int)size ? n : (int)size - 1);
}

/* ---- waiting for a fresh worker ---- */

bool
quarantine_takes(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	if (!is_suspect(job))
		return false;
	struct pool *p = &b->pools[job->pool];
	queue_remove(b, index);
	gate_park(b, index, WAIT_ALONE);
	job->prev = p->alone_tail;
	job->next = JOB_NONE;
	if (p->alone_tail != JOB_NONE)
		job_at(&b->jobs, p->alone_tail)->next = index;
	else
		p->alone_head = index;
	p->alone_tail = index;
	b->alone |= 1u << p->index;
	return true;
}

void
quarantine_drop(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	struct pool *p = &b->pools[job->pool];

	if (job->prev != JOB_NONE)
		job_at(&b->jobs, job->prev)->next = job->next;
	else
		p->alone_head = job->next;
	if (job->next != JOB_NONE)
		job_at(&b->jobs, job->next)->prev = job->prev;
	else
		p->alone_tail = job->prev;
	job->prev = job->next = JOB_NONE;
	if (p->alone_head == JOB_NONE)
		b->alone &= ~(1u << p->index);
}

static bool
is_idle(const struct crew *w)
{
	return w != NULL && w->up && !w->retiring && !w->leaving && w->outstanding == 0 &&
	       atomic_load(&w->link.shared->worker_ready) != 0;
}

/* A worker that has run nothing; if there is none, an idle one has to make room for its
 * successor, which is one.  NULL: not yet. */
static struct crew *
fresh_worker(struct broker *b, struct pool *p)
{
	struct crew *idle = NULL;

	for (unsigned slot = 0; slot < p->crew_count; slot++) {
		struct crew *w = p->crew[slot];
		if (w != NULL && w->up && w->leaving)
			return NULL; /* its successor is on its way */
		if (!is_idle(w))
			continue;
		if (atomic_load(&w->link.shared->claims) == 0)
			return w;
		idle = w;
	}
	if (idle != NULL) {
		log_info("killing worker %s/%u (pid %u), which is idle: a job that is suspected of "
			 "killing workers runs on a fresh one",
			 p->config->name, idle->slot, idle->pid);
		crew_kill(b, idle);
	}
	return NULL;
}

static void
try_pool(struct broker *b, struct pool *p)
{
	uint32_t index = p->alone_head;

	if (!pool_starts(p))
		return;
	struct crew *w = fresh_worker(b, p);
	if (w == NULL)
		return;
	gate_unpark(b, index);
	queue_push(b, index); /* where dispatch_one() takes it from */
	if (dispatch_one(b, p, w, index))
		w->alone = true;
}

void
quarantine_dispatch(struct broker *b)
{
	for (uint32_t left = b->alone; left != 0; left &= left - 1)
		try_pool(b, &b->pools[__builtin_ctz(left)]);
}
