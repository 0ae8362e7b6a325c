/*
 * gate.c - the two gates on a job's way, and waiting for a time or for `release`.  See gate.h.
 *
 * Jobs that wait for a time stand in one heap; one timer is set to the first of them.
 */
#include "daemon/gate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/gate_parts.h"
#include "daemon/policy.h"
#include "ipc/clock.h"

#define TIMER_MOST_NS (3600 * NS_PER_S) /* a later look is set when this one is over */

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

/* ---- waiting for a time ---- */

static bool
wakes_before(const void *context, uint32_t a, uint32_t b)
{
	const struct jobs *jobs = context;
	const struct job *x = job_at(jobs, a), *y = job_at(jobs, b);

	if (x->more->wake_ns != y->more->wake_ns)
		return x->more->wake_ns < y->more->wake_ns;
	return x->id < y->id;
}

static uint32_t *
place_of(const void *context, uint32_t item)
{
	return &job_at(context, item)->more->place;
}

static const struct heap_ops by_time = { wakes_before, place_of };

static void
set_timer(struct broker *b, uint64_t when_ns)
{
	struct gate *g = b->gate;
	uint64_t now_ns = clock_now();
	uint64_t wait_ns = when_ns > now_ns ? when_ns - now_ns : 0;

	if (g->timer_ns != 0 && g->timer_ns <= when_ns)
		return;
	if (wait_ns > TIMER_MOST_NS)
		wait_ns = TIMER_MOST_NS;
	struct timeval tv = {
		.tv_sec = (time_t)(wait_ns / NS_PER_S),
		.tv_usec = (suseconds_t)(wait_ns % NS_PER_S / NS_PER_US) + 1,
	};
	g->timer_ns = now_ns + wait_ns;
	evtimer_add(g->timer, &tv);
}

static void
on_timer(evutil_socket_t fd, short what, void *context)
{
	struct broker *b = context;
	struct gate *g = b->gate;
	uint32_t index;

	(void)fd;
	(void)what;
	g->timer_ns = 0;
	b->now_ns = clock_now();
	while ((index = heap_first(&g->times)) != HEAP_NONE) {
		if (job_at(&b->jobs, index)->more->wake_ns > b->now_ns) {
			set_timer(b, job_at(&b->jobs, index)->more->wake_ns);
			break;
		}
		gate_unpark(b, index);
		gate_enter(b, index);
	}
}

/* ---- parking ---- */

void
gate_park(struct broker *b, uint32_t index, enum wait wait)
{
	struct job *job = job_at(&b->jobs, index);

	job->flags |= JOB_PARKED;
	job->more->waits = (uint8_t)wait;
	job->more->waits_since_ns = b->now_ns;
	job->more->place = HEAP_NONE;
}

void
gate_unwait(struct job *job)
{
	job->flags &= (uint16_t)~JOB_PARKED;
	job->more->waits = WAIT_NOTHING;
}

void
gate_unpark(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	if (job->more->waits == WAIT_TIME || job->more->waits == WAIT_BACKOFF)
		heap_remove(&b->gate->times, &by_time, &b->jobs, index);
	gate_unwait(job);
}

/* ---- the first gate ---- */

static void
park_until(struct broker *b, uint32_t index)
{
	const struct job *job = job_at(&b->jobs, index);

	gate_park(b, index, job->attempt > 1 ? WAIT_BACKOFF : WAIT_TIME);
	heap_push(&b->gate->times, &by_time, &b->jobs, index);
	set_timer(b, job->more->wake_ns);
}

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
	if (more->flags & STORE_JOB_HELD) {
		gate_park(b, index, WAIT_HELD);
	} else if (more->wake_ns > b->now_ns) {
		park_until(b, index);
	} else {
		more->wake_ns = 0;
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
	job->flags |= JOB_PASSED;
	return true;
}

void
gate_unpass(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	if (job->state == JOB_QUEUED) /* else other ranges of an array job run */
		job->flags &= (uint16_t)~JOB_PASSED;
}

void
gate_leave(struct broker *b, uint32_t index, uint64_t started_ns)
{
	(void)started_ns;
	job_at(&b->jobs, index)->flags &= (uint16_t)~JOB_PASSED;
}

/* ---- beginning and end ---- */

enum job_error
gate_bind(struct broker *b, uint32_t index, bool loaded, char *why, size_t size)
{
	struct gate *g = b->gate;

	(void)index;
	(void)loaded;
	if (heap_reserve(&g->times, (uint32_t)g->bound + 1) < 0) {
		snprintf(why, size, "the daemon is out of memory");
		return ERR_QUEUE_FULL;
	}
	g->bound++;
	return ERR_NONE;
}

void
gate_ended(struct broker *b, uint32_t index, unsigned state)
{
	(void)state;
	if (job_at(&b->jobs, index)->more != NULL)
		b->gate->bound--;
}

/* ---- hold and release ---- */

static int
give_more(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
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

	if (job->state != JOB_QUEUED)
		return -EBUSY;
	if (job->more == NULL && (!held || give_more(b, index) < 0))
		return held ? -ENOMEM : 0;
	if (held == ((job->more->flags & STORE_JOB_HELD) != 0))
		return 0;
	job->more->flags ^= STORE_JOB_HELD;
	/* What is not durable yet, or waits for a worker of its own, is held when it is. */
	if (job->more->waits == WAIT_STORE || job->more->waits == WAIT_ALONE)
		return 0;
	queue_remove(b, index);
	gate_enter(b, index);
	return 0;
}

/* ---- looking ---- */

unsigned
gate_reasons(struct broker *b, uint32_t index, struct gate_reason *ret, unsigned most)
{
	const struct job *job = job_at(&b->jobs, index);

	if (!(job->flags & JOB_PARKED) || most == 0)
		return 0;
	ret[0] = (struct gate_reason){
		.wait = job->more->waits,
		.since_ns = job->more->waits_since_ns,
	};
	if (job->more->waits == WAIT_TIME || job->more->waits == WAIT_BACKOFF)
		ret[0].until_ns = job->more->wake_ns;
	return 1;
}

/* ---- life ---- */

int
gate_open(struct broker *b)
{
	b->gate = calloc(1, sizeof(*b->gate));
	if (b->gate == NULL)
		return -ENOMEM;
	b->gate->timer = evtimer_new(b->base, on_timer, b);
	return b->gate->timer == NULL ? -ENOMEM : 0;
}

void
gate_close(struct broker *b)
{
	heap_free(&b->gate->times);
	event_free(b->gate->timer);
	free(b->gate);
	b->gate = NULL;
}
