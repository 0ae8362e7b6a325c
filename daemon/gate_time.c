/*
 * gate_time.c - jobs that wait for a time: one heap of them, and one timer, set to the first.
 *
 * They wait by CLOCK_MONOTONIC.  A time that somebody named (--at; --delay becomes one) is of the
 * clock that people set: when that is set, or the machine has slept, such jobs are reckoned anew.
 */
#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "daemon/gate_parts.h"
#include "daemon/log.h"
#include "ipc/clock.h"

#define TIMER_MOST_NS (3600 * NS_PER_S) /* a later look is set when this one is over */

/* ---- the heap ---- */

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

static void watch_clock(struct broker *b);

void
time_park(struct broker *b, uint32_t index)
{
	const struct job *job = job_at(&b->jobs, index);

	gate_park(b, index, job->attempt > 1 ? WAIT_BACKOFF : WAIT_TIME);
	heap_push(&b->gate->times, &by_time, &b->jobs, index);
	gate_timer_at(b, job->more->wake_ns);
	watch_clock(b);
}

void
time_unpark(struct broker *b, uint32_t index)
{
	heap_remove(&b->gate->times, &by_time, &b->jobs, index);
}

/* ---- the timer ---- */

void
gate_timer_at(struct broker *b, uint64_t when_ns)
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
wake_those_due(struct broker *b)
{
	struct gate *g = b->gate;
	uint32_t index;

	while ((index = heap_first(&g->times)) != HEAP_NONE) {
		uint64_t wake_ns = job_at(&b->jobs, index)->more->wake_ns;
		if (wake_ns > b->now_ns) {
			gate_timer_at(b, wake_ns);
			return;
		}
		gate_enter(b, index);
	}
}

static void
on_timer(evutil_socket_t fd, short what, void *context)
{
	struct broker *b = context;

	(void)fd;
	(void)what;
	b->gate->timer_ns = 0;
	b->now_ns = clock_now();
	wake_those_due(b);
	uint64_t due_ns = limits_due(b);
	if (due_ns != 0)
		gate_timer_at(b, due_ns);
}

/* ---- the clock that people set ---- */

void
times_clock_set(struct broker *b)
{
	struct gate *g = b->gate;

	for (uint32_t i = 0; i < g->times.count; i++) {
		struct job_more *more = job_at(&b->jobs, g->times.at[i])->more;
		uint64_t at_ns = more->policy != NULL ? more->policy->at_ns : 0;
		if (more->waits != WAIT_TIME || at_ns == 0)
			continue;
		more->wake_ns = at_ns > b->wall_offset_ns ? at_ns - b->wall_offset_ns : 1;
	}
	heap_order(&g->times, &by_time, &b->jobs);
	wake_those_due(b);
}

/* Readable when the clock is set, and never for any other reason. */
static int
arm_clock(int fd)
{
	struct itimerspec never = { .it_value.tv_sec = INT32_MAX };

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

static void
on_clock_set(evutil_socket_t fd, short what, void *context)
{
	struct broker *b = context;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0 && errno == EAGAIN)
		return;
	(void)arm_clock(fd);
	broker_clocks(b);
	log_info("the clock was set: %u jobs that wait for a time are reckoned anew",
		 b->gate->times.count);
	times_clock_set(b);
}

/* From the first job on that waits for a time. */
static void
watch_clock(struct broker *b)
{
	struct gate *g = b->gate;

	if (g->clock != NULL)
		return;
	int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (fd < 0)
		return; /* tried again with the next one */
	g->clock = event_new(b->base, fd, EV_READ | EV_PERSIST, on_clock_set, b);
	if (arm_clock(fd) == 0 && g->clock != NULL && event_add(g->clock, NULL) == 0)
		return;
	if (g->clock != NULL)
		event_free(g->clock);
	g->clock = NULL;
	close(fd);
}

/* ---- life ---- */

int
times_open(struct broker *b)
{
	b->gate->timer = evtimer_new(b->base, on_timer, b);
	return b->gate->timer == NULL ? -ENOMEM : 0;
}

void
times_close(struct gate *g)
{
	if (g->clock != NULL) {
		int fd = event_get_fd(g->clock);
		event_free(g->clock);
		close(fd);
	}
	if (g->timer != NULL)
		event_free(g->timer);
	heap_free(&g->times);
}
