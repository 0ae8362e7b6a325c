/*
 * slots_start.c - one worker is started: with a spare or by a fork, on a link of its own, and bound
 * to a CPU when it sleeps; and what the broker is told of it.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/slots.h"
#include "ipc/clock.h"
#include "shm/segment.h"

#define BIND_AFTER_NS (10 * NS_PER_MS)
#define FILL_AGAIN_NS NS_PER_S

const char *
slot_pool(const struct slot *slot)
{
	return slot->pool->config->name;
}

struct timeval
slot_timeval(uint64_t ns)
{
	return (struct timeval){ .tv_sec = (time_t)(ns / NS_PER_S),
				 .tv_usec = (suseconds_t)(ns % NS_PER_S / NS_PER_US) };
}

/* Jobs this incarnation ever started.  Read from its link without mapping it. */
uint64_t
slot_jobs(const struct slot *slot)
{
	uint64_t claims = 0;
	ssize_t n = pread(slot->link.memfd, &claims, sizeof(claims),
			  offsetof(struct link_shared, claims));

	return n == sizeof(claims) ? claims : 0;
}

uint64_t
slots_jobs(const struct pool_slots *p)
{
	uint64_t sum = p->jobs_of_dead;

	for (unsigned i = 0; i < p->slot_count; i++) {
		if (p->slots[i] != NULL && p->slots[i]->pid != 0)
			sum += slot_jobs(p->slots[i]);
		if (p->aside[i] != NULL && p->aside[i]->pid != 0)
			sum += slot_jobs(p->aside[i]);
	}
	return sum;
}

/* ---- telling the broker ---- */

void
slot_tell_up(const struct slot *slot, bool adopted)
{
	struct worker_up_body up = {
		.pool = (uint16_t)slot->pool->index,
		.slot = (uint16_t)slot->number,
		.pid = (uint32_t)slot->pid,
		.generation = slot->generation,
		.restarts = slot->restarts,
		.adopted = adopted,
		.leaving = slot->part == SLOT_LEAVES,
	};
	int fds[FRAME_FDS_MAX];
	int count = link_fds_for(&slot->link, true, fds);

	tell_broker(slot->pool->supervisor, MSG_WORKER_UP, &up, sizeof(up), fds, count);
}

static uint64_t
time_ns(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * NS_PER_S + (uint64_t)t->tv_usec * NS_PER_US;
}

void
slot_tell_down(const struct slot *slot, int status, const struct rusage *usage)
{
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !slot->ordered;
	struct worker_down_body down = {
		.pool = (uint16_t)slot->pool->index,
		.slot = (uint16_t)slot->number,
		.pid = (uint32_t)slot->pid,
		.generation = slot->generation,
		.status = status,
		.ordered = slot->ordered,
		.oom = killed && cgroup_oom(&slot->pool->supervisor->cgroup),
		.memory_peak = (uint64_t)usage->ru_maxrss * 1024,
		.user_ns = time_ns(&usage->ru_utime),
		.system_ns = time_ns(&usage->ru_stime),
		.lived_ns = clock_now() - slot->started_ns,
		.jobs = slot_jobs(slot),
	};
	tell_broker(slot->pool->supervisor, MSG_WORKER_DOWN, &down, sizeof(down), NULL, 0);
}

void
slots_tell_pool(const struct pool_slots *p, uint32_t flags)
{
	struct pool_body body = {
		.pool = (uint16_t)p->index,
		.state = p->failed     ? POOL_FAILED
			 : p->paused   ? POOL_PAUSED
			 : p->draining ? POOL_DRAINING
				       : POOL_RUNNING,
		.workers = p->wanted,
		.strategy = p->strategy,
		.flags = flags,
		.ageing_ns = p->config->ageing_ns,
	};
	tell_broker(p->supervisor, MSG_POOL, &body, sizeof(body), NULL, 0);
}

/* ---- starting ---- */

/*
 * The n-th worker of a pool goes to the n-th CPU this daemon may use, from the second pool on
 * shifted by one.  Left to itself the scheduler wakes two workers on one core, and a job of less
 * than a millisecond is over before it moves one of them: 4 x sumsq took 2.6 ms on two
 * CPUs, bound 1.3 ms.  A command starts on its worker's CPU and is free from there.  Other
 * processes are moved away from a bound one by the kernel.  A worker for whom there is no CPU
 * left floats; so does the only worker of a pool.  Done some time after the worker is ready,
 * when it sleeps: to move a process that runs onto a CPU that sleeps was seen to take
 * 0.5 to 0.9 ms, more than all the rest of its start.
 */
static void
bind_to_cpu(const struct slot *slot)
{
	const struct pool_config *pool = slot->pool->config;
	cpu_set_t usable, one;

	if (!pool->bind || !pool->executor->one_cpu || pool->workers < 2 ||
	    sched_getaffinity(0, sizeof(usable), &usable) < 0)
		return;
	unsigned count = (unsigned)CPU_COUNT(&usable);
	unsigned nth = (slot->number + slot->pool->index) % count;
	if (slot->number >= count)
		return;
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &usable) || nth-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		/* Where it is forbidden (a seccomp filter), the worker floats. */
		(void)sched_setaffinity(slot->pid, sizeof(one), &one);
		return;
	}
}

void
slot_close_control(struct slot *slot)
{
	if (slot->control_event != NULL)
		event_free(slot->control_event);
	slot->control_event = NULL;
	if (slot->control >= 0)
		close(slot->control);
	slot->control = -1;
}

/* A worker of it is ready: after a failure that is news. */
static void
pool_recovered(struct pool_slots *p)
{
	if (!p->recovering || p->failed)
		return;
	p->recovering = false;
	log_event(LOG_LEVEL_INFO, LOG_POOL_RECOVERED, ABOUT(.pool = p->config->name),
		  "pool %s runs again", p->config->name);
}

static void
on_control(evutil_socket_t fd, short what, void *context)
{
	static struct frame_in in;
	struct slot *slot = context;
	const char *why = "";
	int r;

	(void)what;
	while ((r = frame_recv(fd, &in, &why)) == 0) {
		frame_close_fds(&in);
		if (in.type == MSG_LITTER)
			sweeper_start(slot->pool->supervisor);
		if (in.type != MSG_READY || slot->state != SLOT_STARTING)
			continue;
		slot->state = SLOT_READY;
		pool_recovered(slot->pool);
		struct timeval later = slot_timeval(BIND_AFTER_NS);
		event_add(slot->timer, &later);
		if (slot->part == SLOT_HEIR)
			heir_ready(slot);
		else if (slot->spent) /* the order came before this word of it */
			heirs_begin(slot->pool);
		supervisor_progress(slot->pool->supervisor);
	}
	if (frame_is_end(r)) /* end of file: its death is handled when it is reaped */
		event_del(slot->control_event);
}

int
slot_start(struct slot *slot)
{
	struct supervisor *s = slot->pool->supervisor;
	struct birth birth = s->birth;

	slot->link = (struct link_fds)LINK_NO_FDS;
	slot->started_ns = clock_now();
	slot->ordered = slot->spent = false;
	slot->generation++;
	int r = spare_link(s, slot->pool->config->link, &slot->link);
	if (r == 0 && (r = spare_assign(slot)) == 0) {
		birth.listener = birth.lane_listener = -1;
		birth.pool = slot->pool->index;
		birth.slot = slot->number;
		birth.link = slot->link;
		r = spawn(ROLE_WORKER, &birth, &slot->control);
	}
	if (r < 0) {
		log_error("cannot start worker %s/%u: %s", slot_pool(slot), slot->number,
			  strerror(-r));
		link_discard(&slot->link);
		return r;
	}
	slot->pid = r;
	slot->state = SLOT_STARTING;
	slot->control_event =
		event_new(s->base, slot->control, EV_READ | EV_PERSIST, on_control, slot);
	if (slot->control_event == NULL || event_add(slot->control_event, NULL) < 0) {
		log_error("no memory to watch worker %s/%u; it is replaced", slot_pool(slot),
			  slot->number);
		kill(slot->pid, SIGKILL); /* when it is reaped it has made no progress */
	}
	return 0;
}

static void
launch(struct slot *slot)
{
	if (slot_start(slot) < 0)
		slot_fail_attempt(slot);
	else
		slot_tell_up(slot, false);
}

static void
on_timer(evutil_socket_t fd, short what, void *context)
{
	struct slot *slot = context;

	(void)fd;
	(void)what;
	if (slot->state == SLOT_BACKOFF)
		launch(slot);
	else if (slot->state == SLOT_READY)
		bind_to_cpu(slot);
}

struct slot *
slot_new(struct pool_slots *p, unsigned number)
{
	struct slot *slot = calloc(1, sizeof(*slot));
	if (slot == NULL)
		return NULL;
	slot->pool = p;
	slot->number = number;
	slot->control = -1;
	slot->link = (struct link_fds)LINK_NO_FDS;
	slot->timer = evtimer_new(p->supervisor->base, on_timer, slot);
	if (slot->timer == NULL) {
		free(slot);
		return NULL;
	}
	return slot;
}

void
slot_free(struct slot *slot)
{
	if (slot == NULL)
		return;
	slot_close_control(slot);
	link_discard(&slot->link);
	event_free(slot->timer);
	free(slot);
}

static struct slot *
get_slot(struct pool_slots *p, unsigned number)
{
	if (p->slots[number] != NULL)
		return p->slots[number];
	struct slot *slot = slot_new(p, number);
	if (slot == NULL)
		return NULL;
	p->slots[number] = slot;
	if (number >= p->slot_count)
		p->slot_count = number + 1;
	return slot;
}

static void
slots_fill_later(struct pool_slots *p, unsigned number)
{
	struct timeval later = slot_timeval(FILL_AGAIN_NS);

	log_error("out of memory for worker %s/%u; trying again in %llu ms", p->config->name,
		  number, (unsigned long long)(FILL_AGAIN_NS / NS_PER_MS));
	event_add(p->heirs_again, &later);
}

void
slots_fill(struct pool_slots *p)
{
	for (unsigned i = 0; i < p->wanted; i++) {
		struct slot *slot = get_slot(p, i);
		if (slot == NULL)
			slots_fill_later(p, i);
		else if (slot->state == SLOT_EMPTY || slot->state == SLOT_FAILED)
			launch(slot);
	}
}
