/* gate.c - the two gates on a job's way, and waiting for `release`.  See gate.h. */
#include "daemon/gate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/cache.h"
#include "daemon/gate_parts.h"
#include "daemon/policy.h"
#include "daemon/quarantine.h"

const char *
wait_word(unsigned wait)
{
	static const char *const words[] = {
#define X(name, word) word,
		WAITS(X)
#undef X
	};
	return wait < WAIT_COUNT ? words[wait] : "unknown";
}

/* ---- parking ---- */

void
gate_park(struct broker *b, uint32_t index, enum wait wait)
{
	struct job *job = job_at(&b->jobs, index);

	if (job->more->gate != NULL)
		limits_unoffer(b, job->more->gate);
	job->flags |= JOB_PARKED;
	job->more->waits = (uint8_t)wait;
	job->more->waits_since_ns = b->now_ns;
	job->more->place = HEAP_NONE;
}

void
gate_unpark(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	enum wait waits = job->more->waits;

	job->flags &= (uint16_t)~JOB_PARKED;
	job->more->waits = WAIT_NOTHING;
	if (waits == WAIT_TIME || waits == WAIT_BACKOFF)
		time_unpark(b, index);
	else if (waits == WAIT_NEED || waits == WAIT_RATE)
		limits_unpark(b, job->more->gate);
	else if (waits == WAIT_AFTER)
		after_spare(b, job->more->gate);
	else if (waits == WAIT_ALONE)
		quarantine_drop(b, index);
	else if (waits == WAIT_CACHE)
		cache_unpark(b, index);
}

/* ---- the first gate ---- */

void
gate_enter(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	struct job_more *more = job->more;

	if (more == NULL) {
		queue_push(b, index);
		return;
	}
	if (job->flags & JOB_PARKED)
		gate_unpark(b, index);
	if (more->gate != NULL && (more->gate->open > 0 || more->gate->failed)) {
		gate_park(b, index, WAIT_AFTER);
		if (more->gate->failed)
			after_doom(b, more->gate);
	} else if (more->flags & STORE_JOB_HELD) {
		gate_park(b, index, WAIT_HELD);
	} else if (more->wake_ns > b->now_ns) {
		time_park(b, index);
	} else {
		more->wake_ns = 0;
		if (!cache_enter(b, index))
			queue_push(b, index);
	}
}

/* ---- the second gate ---- */

bool
gate_pass(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	if (job->flags & JOB_PASSED) /* an array job, with its next range */
		return true;
	if (job->more->gate != NULL && !limits_take(b, job->more->gate))
		return false;
	job->flags |= JOB_PASSED;
	return true;
}

static void
give_back(struct broker *b, uint32_t index, bool ran, uint64_t started_ns)
{
	struct job *job = job_at(&b->jobs, index);
	struct gate_job *gj = job->more->gate;
	bool passed = job->flags & JOB_PASSED;

	job->flags &= (uint16_t)~JOB_PASSED;
	if (gj == NULL)
		return;
	if (passed)
		limits_give(b, gj, ran, started_ns);
	else
		limits_unoffer(b, gj);
}

void
gate_unpass(struct broker *b, uint32_t index)
{
	if (job_at(&b->jobs, index)->state ==
	    JOB_QUEUED) /* else other ranges of an array job run */
		give_back(b, index, false, 0);
}

void
gate_leave(struct broker *b, uint32_t index, uint64_t started_ns)
{
	const struct gate_job *gj = job_at(&b->jobs, index)->more->gate;

	give_back(b, index, true, started_ns);
	if (gj != NULL && gj->keyed) /* a submit may wait for its end */
		b->room_made = true;
}

/* ---- beginning and end ---- */

struct job *
job_of(const struct broker *b, const struct gate_job *gj)
{
	return job_at(&b->jobs, gj->index);
}

static struct gate_job *
gate_job_new(uint32_t index, const struct policy *p)
{
	size_t claims = p->rate_count + p->need_count;
	struct gate_job *gj = calloc(1, sizeof(*gj) + p->parent_count * sizeof(struct edge) +
						claims * sizeof(struct claim));
	if (gj == NULL)
		return NULL;
	gj->index = index;
	gj->edges = (struct edge *)(gj + 1);
	gj->claims = (struct claim *)(gj->edges + p->parent_count);
	return gj;
}

static enum job_error
bind_policy(struct broker *b, uint32_t index, bool loaded, char *why, size_t size)
{
	struct job *job = job_at(&b->jobs, index);
	const struct policy *p = job->more->policy;

	if (p == NULL ||
	    (p->parent_count == 0 && p->rate_count == 0 && p->need_count == 0 && p->key[0] == '\0'))
		return ERR_NONE;
	struct gate_job *gj = gate_job_new(index, p);
	if (gj == NULL) {
		snprintf(why, size, "the daemon is out of memory");
		return ERR_QUEUE_FULL;
	}
	job->more->gate = gj;
	enum job_error error = limits_bind(b, gj, p, loaded, why, size);
	if (error == ERR_NONE)
		error = after_bind(b, gj, loaded, why, size);
	if (error == ERR_NONE) {
		key_bind(b, gj, p->key);
		return ERR_NONE;
	}
	limits_unbind(b, gj);
	after_unbind(b, gj);
	job->more->gate = NULL;
	free(gj);
	return error;
}

enum job_error
gate_bind(struct broker *b, uint32_t index, bool loaded, char *why, size_t size)
{
	struct gate *g = b->gate;
	struct job *job = job_at(&b->jobs, index);

	if (heap_reserve(&g->times, (uint32_t)g->bound + 1) < 0) {
		snprintf(why, size, "the daemon is out of memory");
		return ERR_QUEUE_FULL;
	}
	enum job_error error = bind_policy(b, index, loaded, why, size);
	if (error != ERR_NONE)
		return error;
	if (after_is_parent(g, job->id))
		job->flags |= JOB_PARENT;
	g->bound++;
	return ERR_NONE;
}

void
gate_adopt(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	job->flags |= JOB_PASSED;
	if (job->more->gate != NULL)
		limits_take_anyhow(b, job->more->gate);
}

void
gate_ended(struct broker *b, uint32_t index, unsigned state)
{
	struct job *job = job_at(&b->jobs, index);

	if (job->flags & JOB_PARENT)
		after_ended(b, job->id, state);
	if (job->more == NULL)
		return;
	if (job->flags & JOB_PARKED)
		gate_unpark(b, index);
	b->gate->bound--;
	struct gate_job *gj = job->more->gate;
	if (gj == NULL)
		return;
	limits_unbind(b, gj);
	after_unbind(b, gj);
	key_unbind(b, gj);
	job->more->gate = NULL;
	free(gj);
}

unsigned
gate_turn(struct broker *b)
{
	b->gate_due = false;
	limits_look_again(b);
	return after_turn(b);
}

/* ---- hold and release ---- */

/* A plain job gets what one with policies has. */
static int
give_more(struct broker *b, struct job *job, uint32_t index)
{
	char why[200];

	if ((job->more = calloc(1, sizeof(*job->more))) == NULL)
		return -ENOMEM;
	if (gate_bind(b, index, false, why, sizeof(why)) == ERR_NONE)
		return 0;
	free(job->more);
	job->more = NULL;
	return -ENOMEM;
}

int
gate_hold(struct broker *b, uint32_t index, bool held)
{
	struct job *job = job_at(&b->jobs, index);

	if (job->state != JOB_QUEUED || (job->flags & (JOB_ENDING | JOB_STOPPING)))
		return -EBUSY;
	if (job->more == NULL && !held)
		return 0;
	if (job->more == NULL && give_more(b, job, index) < 0)
		return -ENOMEM;
	struct job_more *more = job->more;
	if (held == ((more->flags & STORE_JOB_HELD) != 0))
		return 0;
	more->flags ^= STORE_JOB_HELD;
	/* What is not durable yet, or waits for a worker of its own, is held when it is. */
	if (more->waits == WAIT_STORE || more->waits == WAIT_ALONE)
		return 0;
	queue_remove(b, index);
	gate_enter(b, index);
	return 0;
}

/* ---- life ---- */

int
gate_open(struct broker *b)
{
	b->gate = calloc(1, sizeof(*b->gate));
	if (b->gate == NULL)
		return -ENOMEM;
	TAILQ_INIT(&b->gate->asks);
	if (times_open(b) < 0 || after_open(b->gate) < 0 || limits_open(b) < 0 ||
	    index_open(&b->gate->keys) < 0)
		return -ENOMEM;
	return 0;
}

/* The jobs' own parts go with the table. */
void
gate_close(struct broker *b)
{
	struct gate *g = b->gate;

	after_close(g);
	limits_close(b);
	asks_close(g);
	index_close(&g->keys);
	times_close(g);
	free(g);
	b->gate = NULL;
}
