/*
 * slots.c - the workers of each pool: starting them, their deaths, and what then.
 *
 * A worker that dies having run jobs is replaced at once: its last job may be to blame, its
 * pool is not.  One that dies before it was ready, or soon after without a job, made no
 * progress: it is started again with growing delay, and more than restart_max such deaths
 * within restart_window, while no other worker of the pool started a job either, put the pool
 * into `failed` (restart intensity as in Erlang/OTP).
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/executor.h"
#include "daemon/kind.h"
#include "daemon/log.h"
#include "daemon/slots.h"
#include "ipc/clock.h"

#define BACKOFF_FIRST_NS (10 * NS_PER_MS)
#define BACKOFF_MOST_NS  (5 * NS_PER_S)
#define EARLY_NS         NS_PER_S /* a death without a job sooner than this is no progress */

/* ---- deaths ---- */

/* More than restart_max deaths without progress within restart_window?  A job that any worker of
 * the pool started since the last one begins the count anew: a pool that works is killed from
 * outside, it does not fail. */
static bool
too_many_deaths(struct pool_slots *p)
{
	uint64_t now_ns = clock_now(), window_ns = p->config->restart_window_ns;
	uint64_t jobs = slots_jobs(p);
	unsigned recent = 0, kept;

	if (jobs != p->jobs_at_death)
		p->death_count = 0;
	p->jobs_at_death = jobs;
	p->deaths_ns[p->death_count++ % DEATHS_KEPT] = now_ns;
	kept = p->death_count < DEATHS_KEPT ? p->death_count : DEATHS_KEPT;
	for (unsigned i = 0; i < kept; i++)
		recent += now_ns - p->deaths_ns[i] <= window_ns;
	return recent > p->config->restart_max || recent == DEATHS_KEPT;
}

static void
fail_pool(struct pool_slots *p)
{
	log_event(LOG_LEVEL_ERROR, LOG_POOL_FAILED, ABOUT(.pool = p->config->name),
		  "pool %s has failed: its workers died %u times without running a job; other "
		  "pools go on; mend the cause, then `pyprepctl pool resume %s`",
		  p->config->name, p->config->restart_max + 1, p->config->name);
	p->failed = p->recovering = true;
	heirs_drop(p, 0);
	for (unsigned i = 0; i < p->slot_count; i++) {
		struct slot *slot = p->slots[i];
		if (slot == NULL)
			continue;
		if (slot->state == SLOT_STARTING || slot->state == SLOT_READY) {
			slot->ordered = true;
			kill(slot->pid, SIGKILL);
		} else if (slot->state == SLOT_BACKOFF || slot->state == SLOT_EMPTY) {
			event_del(slot->timer);
			slot->state = SLOT_FAILED;
		}
	}
	slots_tell_pool(p, 0);
	notify_status(p->supervisor);
	supervisor_progress(p->supervisor);
}

/* A start that came to nothing: later again, or never. */
void
slot_fail_attempt(struct slot *slot)
{
	unsigned shift = slot->failures < 16 ? slot->failures : 16;
	uint64_t delay_ns = BACKOFF_FIRST_NS << shift;

	slot->failures++;
	slot->state = SLOT_BACKOFF;
	if (too_many_deaths(slot->pool)) {
		if (!slot->pool->failed)
			fail_pool(slot->pool);
		return;
	}
	if (delay_ns > BACKOFF_MOST_NS)
		delay_ns = BACKOFF_MOST_NS;
	log_warn("worker %s/%u made no progress; trying again in %llu ms", slot_pool(slot),
		 slot->number, (unsigned long long)(delay_ns / NS_PER_MS));
	struct timeval delay = slot_timeval(delay_ns);
	event_add(slot->timer, &delay);
}

static void
log_death(const struct slot *slot, int status)
{
	if (slot->ordered || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
		return;
	struct log_about about = { .pool = slot_pool(slot),
				   .slot = slot->number,
				   .worker_pid = (uint32_t)slot->pid };
	if (WIFSIGNALED(status)) {
		about.signal = WTERMSIG(status);
		log_event(LOG_LEVEL_WARN, LOG_WORKER_DIED, &about,
			  "worker %s/%u (pid %d) died of signal %d (%s)", about.pool, about.slot,
			  (int)slot->pid, about.signal, strsignal(about.signal));
	} else {
		about.status = WEXITSTATUS(status);
		log_event(LOG_LEVEL_WARN, LOG_WORKER_DIED, &about,
			  "worker %s/%u (pid %d) exited with status %d", about.pool, about.slot,
			  (int)slot->pid, about.status);
	}
}

static void
after_death(struct slot *slot, bool was_ready, bool progress)
{
	struct pool_slots *p = slot->pool;
	bool ordered = slot->ordered;

	if (p->supervisor->phase != RUN || slot->number >= p->wanted) {
		slot->state = SLOT_EMPTY;
	} else if (p->failed) {
		slot->state = SLOT_FAILED;
	} else if (heir_takes_over(slot)) {
		return;
	} else if (!ordered && (!was_ready || !progress)) {
		slot->restarts++;
		slot_fail_attempt(slot);
	} else {
		slot->restarts += !ordered;
		slot->failures = 0;
		if (slot_start(slot) < 0)
			slot_fail_attempt(slot);
	}
}

/* Its process has ended.  What can wait comes after its successor's start. */
static void
reap(struct slot *slot, int status, const struct rusage *usage)
{
	struct pool_slots *p = slot->pool;
	unsigned number = slot->number;
	bool was_ready = slot->state == SLOT_READY || slot->state == SLOT_STOPPING;
	uint64_t jobs = slot_jobs(slot);
	bool progress = jobs > 0 || clock_now() - slot->started_ns > EARLY_NS;

	p->jobs_of_dead += jobs;
	event_del(slot->timer);
	struct slot dead = *slot;
	slot->pid = 0;
	slot->control = -1;
	slot->control_event = NULL;
	slot->link = (struct link_fds)LINK_NO_FDS;
	if (slot->part == SLOT_OF_POOL)
		after_death(slot, was_ready, progress);
	if (p->config->executor->classes & 1u << KIND_COMMAND)
		orphans_hold(p->supervisor);
	if (dead.part != SLOT_HEIR) /* the broker never knew of one */
		slot_tell_down(&dead, status, usage);
	if (dead.part == SLOT_OF_POOL && p->slots[number]->pid != 0)
		slot_tell_up(p->slots[number], false);
	slot_close_control(&dead);
	link_discard(&dead.link);
	log_death(&dead, status);
	if (dead.part != SLOT_OF_POOL)
		aside_gone(p, number, &dead);
}

void
slots_reap(struct supervisor *s, pid_t pid, int status, const struct rusage *usage)
{
	struct slot *slot;

	if (spare_reaped(s, pid))
		return;
	FOR_EACH_SLOT(s, slot)
	if (slot->pid == pid) {
		reap(slot, status, usage);
		return;
	}
}

/* ---- orders ---- */

/* NULL: it died meanwhile. */
static struct slot *
slot_of_order(struct supervisor *s, const struct worker_kill_body *order)
{
	struct slot *slot;

	FOR_EACH_SLOT(s, slot)
	if (slot->pool->index == order->pool && slot->number == order->slot && slot->pid != 0 &&
	    slot->generation == order->generation)
		return slot;
	return NULL;
}

void
slots_order(struct supervisor *s, const struct worker_kill_body *order)
{
	struct slot *slot = slot_of_order(s, order);

	if (slot == NULL)
		return; /* the order is carried out */
	slot->ordered = order->unusable == 0;
	if (order->signal != 0) {
		kill(slot->pid, (int)order->signal);
		return;
	}
	slot->state = SLOT_STOPPING;
	slot_close_control(slot);
}

void
slots_recycle(struct supervisor *s, const struct worker_kill_body *order)
{
	struct slot *slot = slot_of_order(s, order);

	if (slot == NULL || slot->part != SLOT_OF_POOL)
		return;
	slot->spent = true;
	heirs_begin(slot->pool);
}

void
slots_resize(struct pool_slots *p, unsigned workers)
{
	if (workers == p->wanted)
		return;
	log_event(LOG_LEVEL_INFO, LOG_POOL_RESIZED, ABOUT(.pool = p->config->name),
		  "pool %s: %u workers, now %u", p->config->name, p->wanted, workers);
	p->wanted = workers;
	for (unsigned i = workers; i < p->slot_count; i++) {
		if (p->slots[i] != NULL && p->slots[i]->state == SLOT_BACKOFF) {
			event_del(p->slots[i]->timer);
			p->slots[i]->state = SLOT_EMPTY;
		}
	}
	heirs_drop(p, workers);
	/* Surplus workers leave when the broker has seen them idle. */
	slots_tell_pool(p, 0);
	if (!p->failed)
		slots_fill(p);
	notify_status(p->supervisor);
}

void
slots_resume(struct pool_slots *p)
{
	if (!p->failed)
		return;
	log_info("pool %s: trying its workers again", p->config->name);
	p->failed = false;
	p->death_count = 0;
	for (unsigned i = 0; i < p->slot_count; i++)
		if (p->slots[i] != NULL)
			p->slots[i]->failures = 0;
	slots_tell_pool(p, 0);
	slots_fill(p);
}

void
slots_reschedule(struct pool_slots *p)
{
	slots_tell_pool(p, POOL_RESCHEDULE);
}

/* ---- all of them ---- */

static int
new_pool(struct supervisor *s, unsigned index)
{
	s->pools[index] = (struct pool_slots){
		.supervisor = s,
		.config = &s->config->pools[index],
		.index = index,
		.wanted = s->config->pools[index].workers,
		.strategy = strategy_index(s->config->pools[index].strategy),
		.heirs_again = evtimer_new(s->base, heirs_on_timer, &s->pools[index]),
	};
	s->pool_count = index + 1;
	return s->pools[index].heirs_again == NULL ? -ENOMEM : 0;
}

int
slots_open(struct supervisor *s)
{
	if (spares_open(s) < 0)
		return -ENOMEM;
	for (unsigned i = 0; i < s->config->pool_count; i++)
		if (new_pool(s, i) < 0)
			return -ENOMEM;
	return 0;
}

void
slots_start(struct supervisor *s)
{
	for (unsigned i = 0; i < s->pool_count; i++)
		slots_fill(&s->pools[i]);
}

void
slots_announce(struct supervisor *s)
{
	struct slot *slot;

	for (unsigned i = 0; i < s->pool_count; i++)
		slots_tell_pool(&s->pools[i], 0);
	FOR_EACH_SLOT(s, slot)
	if (slot->pid != 0 && slot->part != SLOT_HEIR)
		slot_tell_up(slot, true);
}

bool
slots_settled(const struct supervisor *s)
{
	struct slot *slot;

	FOR_EACH_SLOT(s, slot)
	if (slot->part == SLOT_OF_POOL && !slot->pool->failed &&
	    slot->number < slot->pool->wanted && slot->state != SLOT_READY &&
	    slot->state != SLOT_STOPPING)
		return false;
	return true;
}

unsigned
slots_count(const struct supervisor *s)
{
	struct slot *slot;
	unsigned n = 0;

	FOR_EACH_SLOT(s, slot)
	n += slot->pid != 0;
	return n;
}

bool
slots_gone(const struct supervisor *s)
{
	return slots_count(s) == 0;
}

bool
slots_owns(const struct supervisor *s, pid_t pid)
{
	struct slot *slot;

	if (pid == s->spare_pid || pid == s->spare_ended)
		return true;
	FOR_EACH_SLOT(s, slot)
	if (slot->pid == pid)
		return true;
	return false;
}

void
slots_stop(struct supervisor *s)
{
	struct slot *slot;

	spares_stop(s);
	FOR_EACH_SLOT(s, slot)
	{
		event_del(slot->timer);
		if (slot->pid == 0)
			continue;
		slot->ordered = true;
		slot->state = SLOT_STOPPING;
		slot_close_control(slot);
	}
}

void
slots_kill(struct supervisor *s, int signal)
{
	struct slot *slot;

	FOR_EACH_SLOT(s, slot)
	if (slot->pid != 0) {
		slot->ordered = true;
		kill(slot->pid, signal);
	}
}

void
slots_close(struct supervisor *s)
{
	for (unsigned i = 0; i < s->pool_count; i++) {
		struct pool_slots *p = &s->pools[i];
		for (unsigned n = 0; n < p->slot_count; n++) {
			slot_free(p->slots[n]);
			slot_free(p->aside[n]);
		}
		event_free(p->heirs_again);
	}
	spares_close(s);
}
