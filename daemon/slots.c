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
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/supervisor.h"
#include "ipc/clock.h"
#include "shm/segment.h"

#define BACKOFF_FIRST_NS (10 * NS_PER_MS)
#define BACKOFF_MOST_NS  (5 * NS_PER_S)
#define EARLY_NS         NS_PER_S /* a death without a job sooner than this is no progress */
#define BIND_AFTER_NS    (10 * NS_PER_MS)

static const char *
pool_name(const struct slot *slot)
{
	return slot->pool->config->name;
}

static struct timeval
timeval_of(uint64_t ns)
{
	return (struct timeval){ .tv_sec = (time_t)(ns / NS_PER_S),
				 .tv_usec = (suseconds_t)(ns % NS_PER_S / NS_PER_US) };
}

/* Jobs this incarnation ever started.  Read from its link without mapping it. */
static uint64_t
jobs_started(const struct slot *slot)
{
	uint64_t claims = 0;
	ssize_t n = pread(slot->link.memfd, &claims, sizeof(claims),
			  offsetof(struct link_shared, claims));

	return n == sizeof(claims) ? claims : 0;
}

static uint64_t
jobs_started_in(const struct pool_slots *p)
{
	uint64_t sum = p->jobs_of_dead;

	for (unsigned i = 0; i < p->slot_count; i++)
		if (p->slots[i] != NULL && p->slots[i]->pid != 0)
			sum += jobs_started(p->slots[i]);
	return sum;
}

/* ---- telling the broker ---- */

static void
tell_up(const struct slot *slot, bool adopted)
{
	struct worker_up_body up = {
		.pool = (uint16_t)slot->pool->index,
		.slot = (uint16_t)slot->number,
		.pid = (uint32_t)slot->pid,
		.generation = slot->generation,
		.restarts = slot->restarts,
		.adopted = adopted,
	};
	int fds[FRAME_FDS_MAX];
	int count = link_fds_for(&slot->link, true, fds);

	tell_broker(slot->pool->supervisor, MSG_WORKER_UP, &up, sizeof(up), fds, count);
}

static void
tell_down(const struct slot *slot, int status)
{
	struct worker_down_body down = {
		.pool = (uint16_t)slot->pool->index,
		.slot = (uint16_t)slot->number,
		.pid = (uint32_t)slot->pid,
		.generation = slot->generation,
		.status = status,
		.ordered = slot->ordered,
	};
	tell_broker(slot->pool->supervisor, MSG_WORKER_DOWN, &down, sizeof(down), NULL, 0);
}

static void
tell_pool_with(const struct pool_slots *p, uint32_t flags)
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

static void
tell_pool(const struct pool_slots *p)
{
	tell_pool_with(p, 0);
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

static void fail_attempt(struct slot *slot);

static void
close_control(struct slot *slot)
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
		struct timeval later = timeval_of(BIND_AFTER_NS);
		event_add(slot->timer, &later);
		supervisor_progress(slot->pool->supervisor);
	}
	if (r != -EAGAIN) /* end of file: its death is handled when it is reaped */
		event_del(slot->control_event);
}

static void
start_slot(struct slot *slot)
{
	struct supervisor *s = slot->pool->supervisor;
	struct birth birth = s->birth;

	slot->link = (struct link_fds)LINK_NO_FDS;
	slot->started_ns = clock_now();
	slot->ordered = false;
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
		log_error("cannot start worker %s/%u: %s", pool_name(slot), slot->number,
			  strerror(-r));
		link_discard(&slot->link);
		fail_attempt(slot);
		return;
	}
	slot->pid = r;
	slot->state = SLOT_STARTING;
	slot->control_event =
		event_new(s->base, slot->control, EV_READ | EV_PERSIST, on_control, slot);
	event_add(slot->control_event, NULL);
}

static void
launch(struct slot *slot)
{
	start_slot(slot);
	if (slot->pid != 0)
		tell_up(slot, false);
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

static struct slot *
get_slot(struct pool_slots *p, unsigned number)
{
	if (p->slots[number] != NULL)
		return p->slots[number];
	struct slot *slot = calloc(1, sizeof(*slot));
	if (slot == NULL)
		return NULL;
	slot->pool = p;
	slot->number = number;
	slot->control = -1;
	slot->link = (struct link_fds)LINK_NO_FDS;
	slot->timer = evtimer_new(p->supervisor->base, on_timer, slot);
	p->slots[number] = slot;
	if (number >= p->slot_count)
		p->slot_count = number + 1;
	return slot;
}

static void
fill_pool(struct pool_slots *p)
{
	for (unsigned i = 0; i < p->wanted; i++) {
		struct slot *slot = get_slot(p, i);
		if (slot == NULL)
			log_error("out of memory for worker %s/%u; the pool stays smaller",
				  p->config->name, i);
		else if (slot->state == SLOT_EMPTY || slot->state == SLOT_FAILED)
			launch(slot);
	}
}

/* ---- deaths ---- */

/* More than restart_max deaths without progress within restart_window?  A job that any worker of
 * the pool started since the last one begins the count anew: a pool that works is killed from
 * outside, it does not fail. */
static bool
too_many_deaths(struct pool_slots *p)
{
	uint64_t now_ns = clock_now(), window_ns = p->config->restart_window_ns;
	uint64_t jobs = jobs_started_in(p);
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
	tell_pool(p);
	notify_status(p->supervisor);
	supervisor_progress(p->supervisor);
}

/* A start that came to nothing: later again, or never. */
static void
fail_attempt(struct slot *slot)
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
	log_warn("worker %s/%u made no progress; trying again in %llu ms", pool_name(slot),
		 slot->number, (unsigned long long)(delay_ns / NS_PER_MS));
	struct timeval delay = timeval_of(delay_ns);
	event_add(slot->timer, &delay);
}

static void
log_death(const struct slot *slot, int status)
{
	if (slot->ordered || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
		return;
	struct log_about about = { .pool = pool_name(slot),
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
	} else if (!ordered && (!was_ready || !progress)) {
		slot->restarts++;
		fail_attempt(slot);
	} else {
		slot->restarts += !ordered;
		slot->failures = 0;
		start_slot(slot);
	}
}

struct pool_slots *
slots_reap(struct supervisor *s, pid_t pid, int status)
{
	if (spare_reaped(s, pid))
		return NULL;
	for (unsigned i = 0; i < s->pool_count; i++) {
		struct pool_slots *p = &s->pools[i];
		for (unsigned n = 0; n < p->slot_count; n++) {
			struct slot *slot = p->slots[n];
			if (slot == NULL || slot->pid != pid)
				continue;
			bool was_ready = slot->state == SLOT_READY || slot->state == SLOT_STOPPING;
			uint64_t jobs = jobs_started(slot);
			bool progress = jobs > 0 || clock_now() - slot->started_ns > EARLY_NS;
			p->jobs_of_dead += jobs;
			event_del(slot->timer);
			struct slot dead = *slot;
			slot->pid = 0;
			slot->control = -1;
			slot->control_event = NULL;
			slot->link = (struct link_fds)LINK_NO_FDS;
			after_death(slot, was_ready, progress);
			/* What can wait comes after its successor's start. */
			tell_down(&dead, status);
			if (slot->pid != 0)
				tell_up(slot, false);
			close_control(&dead);
			link_discard(&dead.link);
			log_death(&dead, status);
			return p;
		}
	}
	return NULL;
}

/* ---- orders ---- */

static struct slot *
slot_at(struct supervisor *s, unsigned pool, unsigned number)
{
	return pool < s->pool_count && number < s->pools[pool].slot_count
		       ? s->pools[pool].slots[number]
		       : NULL;
}

void
slots_order(struct supervisor *s, const struct worker_kill_body *order)
{
	struct slot *slot = slot_at(s, order->pool, order->slot);

	if (slot == NULL || slot->pid == 0 || slot->generation != order->generation)
		return; /* it died meanwhile: the order is carried out */
	slot->ordered = true;
	if (order->signal != 0) {
		kill(slot->pid, (int)order->signal);
		return;
	}
	slot->state = SLOT_STOPPING;
	close_control(slot);
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
	/* Surplus workers leave when the broker has seen them idle. */
	tell_pool(p);
	if (!p->failed)
		fill_pool(p);
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
	tell_pool(p);
	fill_pool(p);
}

void
slots_reschedule(struct pool_slots *p)
{
	tell_pool_with(p, POOL_RESCHEDULE);
}

/* ---- all of them ---- */

int
slots_open(struct supervisor *s)
{
	if (spares_open(s) < 0)
		return -ENOMEM;
	for (unsigned i = 0; i < s->config->pool_count; i++)
		slots_new_pool(s, i);
	return 0;
}

void
slots_new_pool(struct supervisor *s, unsigned index)
{
	s->pools[index] = (struct pool_slots){
		.supervisor = s,
		.config = &s->config->pools[index],
		.index = index,
		.wanted = s->config->pools[index].workers,
		.strategy = strategy_index(s->config->pools[index].strategy),
	};
	s->pool_count = index + 1;
}

void
slots_start(struct supervisor *s)
{
	for (unsigned i = 0; i < s->pool_count; i++)
		fill_pool(&s->pools[i]);
}

#define FOR_EACH_SLOT(s, slot)                                              \
	for (unsigned i_ = 0; i_ < (s)->pool_count; i_++)                   \
		for (unsigned n_ = 0; n_ < (s)->pools[i_].slot_count; n_++) \
			if (((slot) = (s)->pools[i_].slots[n_]) != NULL)

void
slots_announce(struct supervisor *s)
{
	struct slot *slot;

	for (unsigned i = 0; i < s->pool_count; i++)
		tell_pool(&s->pools[i]);
	FOR_EACH_SLOT(s, slot)
	if (slot->pid != 0)
		tell_up(slot, true);
}

bool
slots_settled(const struct supervisor *s)
{
	struct slot *slot;

	FOR_EACH_SLOT(s, slot)
	if (!slot->pool->failed && slot->number < slot->pool->wanted && slot->state != SLOT_READY &&
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
		close_control(slot);
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
		for (unsigned n = 0; n < s->pools[i].slot_count; n++) {
			struct slot *slot = s->pools[i].slots[n];
			if (slot == NULL)
				continue;
			close_control(slot);
			link_discard(&slot->link);
			event_free(slot->timer);
			free(slot);
		}
	}
	spares_close(s);
}
