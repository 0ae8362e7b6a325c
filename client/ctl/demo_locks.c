/* demo_locks.c - demo locks: what is lost without one, and what happens when a holder dies. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/demo.h"
#include "client/ctl/floor.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"
#include "shm/barrier.h"
#include "shm/event.h"
#include "shm/lock.h"
#include "shm/owner.h"
#include "shm/semaphore.h"

#define PATIENCE     60000 /* ms */
#define ADD_PATIENCE 300000
#define STALL_MS     500
#define PARTIES      3

/* Shared by the story and its actors. */
struct table {
	pthread_mutex_t plain;
	struct lock lock;
	struct event ready;    /* an actor is where it is to be killed; both are, to begin */
	_Atomic unsigned here; /* of two that begin together */
	volatile uint64_t bare, locked;
	_Atomic uint64_t atomic;
	uint64_t adds;
	_Atomic uint64_t got_ns; /* when the waiter had what it waited for */
	_Atomic int got;         /* how it was told */
	_Alignas(64) unsigned char semaphore[1024];
	_Alignas(64) unsigned char barrier[1024];
};

static struct semaphore *
semaphore_of(struct table *t)
{
	return (struct semaphore *)t->semaphore;
}

static struct barrier *
barrier_of(struct table *t)
{
	return (struct barrier *)t->barrier;
}

static void
hold_until_killed(struct table *t)
{
	event_set(&t->ready);
	for (;;)
		pause();
}

/* Start `act`, which holds something, and wait until it does. */
static pid_t
start_holder(struct demo *demo, struct table *t, int (*act)(void *))
{
	event_init(&t->ready);
	pid_t pid = demo_actor(demo, act, t);
	(void)event_wait(&t->ready, PATIENCE);
	return pid;
}

static void
got(struct table *t, int how)
{
	atomic_store(&t->got_ns, clock_now());
	atomic_store(&t->got, how);
}

/* Kill `holder` while `waiter` waits: ns until that one was told, 0 when it was not. */
static uint64_t
kill_before_waiter(struct demo *demo, struct table *t, pid_t holder, pid_t waiter)
{
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL); /* it is asleep by now */
	uint64_t killed = clock_now();
	demo_kill(demo, holder);
	if (demo_wait(demo, waiter, PATIENCE) == 0)
		return atomic_load(&t->got_ns) - killed;
	demo_kill(demo, waiter);
	return 0;
}

/* ---- one number, two processes ---- */

/* Each of two, before it adds: else the first may be done before the second is there. */
static bool
begin_together(struct table *t)
{
	unsigned which = atomic_fetch_add(&t->here, 1);

	demo_apart(which);
	if (which == 1)
		event_set(&t->ready);
	return event_wait(&t->ready, PATIENCE) == 0;
}

static int
add_bare(void *context)
{
	struct table *t = context;
	if (!begin_together(t))
		return 1;
	for (uint64_t i = 0; i < t->adds; i++)
		t->bare = t->bare + 1;
	return 0;
}

static int
add_locked(void *context)
{
	struct table *t = context;
	if (!begin_together(t))
		return 1;
	for (uint64_t i = 0; i < t->adds; i++) {
		if (lock_take(&t->lock, PATIENCE) != 0)
			return 1;
		t->locked = t->locked + 1;
		lock_release(&t->lock);
	}
	return 0;
}

static int
add_atomic(void *context)
{
	struct table *t = context;
	if (!begin_together(t))
		return 1;
	for (uint64_t i = 0; i < t->adds; i++)
		atomic_fetch_add(&t->atomic, 1);
	return 0;
}

/* Two processes do it, `adds` each; adds in a second, NAN when they did not come to their end. */
static double
both(struct demo *demo, struct table *t, int (*act)(void *), uint64_t adds)
{
	t->adds = adds;
	event_init(&t->ready);
	atomic_store(&t->here, 0);
	uint64_t begun = clock_now();
	pid_t one = demo_actor(demo, act, t), two = demo_actor(demo, act, t);
	bool ended = demo_wait(demo, one, ADD_PATIENCE) == 0;
	ended &= demo_wait(demo, two, ADD_PATIENCE) == 0;
	if (!ended)
		return NAN;
	return 2.0 * (double)t->adds * NS_PER_S / (double)(clock_now() - begun);
}

static int
tell_adds(struct demo *demo, struct table *t)
{
	const uint64_t guarded = demo_quick(demo) ? 500000 : 5000000;
	const uint64_t plain = 10 * guarded; /* long enough to meet on a busy machine, too */
	const uint64_t expected = 2 * guarded;

	demo_chapter(demo, "Two processes add to one number");
	double bare = both(demo, t, add_bare, plain), locked = both(demo, t, add_locked, guarded),
	       atomic = both(demo, t, add_atomic, guarded);
	if (isnan(bare) || isnan(locked) || isnan(atomic))
		return demo_fail(demo, "the processes that add did not end as they should");
	uint64_t lost = 2 * plain - t->bare;
	demo_say(demo, "Each adds 1 %s times.  With nothing between them %s of %s adds are lost.",
		 unit_count(plain).text, unit_count(lost).text, unit_count(2 * plain).text);
	demo_check(demo, t->locked == expected, "with the lock none is lost");
	demo_check(demo, t->atomic == expected, "with an atomic none is lost");
	demo_figure(demo, "lost_percent_without", 100.0 * (double)lost / (double)(2 * plain), "",
		    "adds lost without a lock, %");
	demo_figure(demo, "bare_adds_per_s", bare, "/s", "adds without a lock");
	demo_figure(demo, "locked_adds_per_s", locked, "/s", "adds with the lock");
	demo_figure(demo, "atomic_adds_per_s", atomic, "/s", "adds with an atomic");
	return 0;
}

/* ---- the holder of a lock ---- */

static int
hold_plain(void *context)
{
	pthread_mutex_lock(&((struct table *)context)->plain);
	hold_until_killed(context);
	return 0;
}

static int
hold_lock(void *context)
{
	lock_take(&((struct table *)context)->lock, -1);
	hold_until_killed(context);
	return 0;
}

static int
wait_lock(void *context)
{
	struct table *t = context;
	got(t, lock_take(&t->lock, PATIENCE));
	if (t->got != -EOWNERDEAD || lock_repaired(&t->lock) != 0)
		return 1;
	return -lock_release(&t->lock);
}

static void
tell_plain(struct demo *demo, struct table *t)
{
	pthread_mutexattr_t how;
	struct timespec until;

	pthread_mutexattr_init(&how);
	pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&t->plain, &how);
	demo_kill(demo, start_holder(demo, t, hold_plain));
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += STALL_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	int r = pthread_mutex_clocklock(&t->plain, CLOCK_MONOTONIC, &until);
	demo_say(demo, "A plain mutex whose holder was killed: %s",
		 r == ETIMEDOUT ? "not to be had within 0.5 s, nor ever again."
				: "was taken, which nobody can rely on.");
}

static void
tell_holder(struct demo *demo, struct table *t)
{
	demo_chapter(demo, "A lock's holder is killed");
	tell_plain(demo, t);
	pid_t holder = start_holder(demo, t, hold_lock);
	bool named = owner_pid(lock_holder(&t->lock)) == holder;
	uint64_t ns = kill_before_waiter(demo, t, holder, demo_actor(demo, wait_lock, t));
	demo_say(demo,
		 "The robust lock said who had it (%d); killed, it went to the one who waited "
		 "after %s, with EOWNERDEAD.",
		 (int)holder, unit_time_human(ns).text);
	demo_check(demo, named && ns > 0 && atomic_load(&t->got) == -EOWNERDEAD,
		   "the next taker is told of the holder's death");
	int r = lock_take(&t->lock, 0);
	demo_check(demo, r == 0, "after lock_repaired() the lock is as before");
	(void)lock_release(&t->lock);
	demo_figure(demo, "lock_recovered_ns", (double)ns, "ns",
		    "from a lock holder's death to the next taker");
}

static void
tell_price(struct demo *demo, struct table *t)
{
	unsigned rounds = demo_quick(demo) ? 200000 : 2000000;
	uint64_t begun = clock_now();

	for (unsigned i = 0; i < rounds; i++) {
		(void)lock_take(&t->lock, 0);
		(void)lock_release(&t->lock);
	}
	demo_figure(demo, "lock_pair_ns", (double)(clock_now() - begun) / rounds, "ns",
		    "take and release, nobody else");
}

/* ---- permits ---- */

static int
hold_permits(void *context)
{
	uint32_t permit;

	semaphore_take(semaphore_of(context), -1, &permit);
	semaphore_take(semaphore_of(context), -1, &permit);
	hold_until_killed(context);
	return 0;
}

static int
wait_permit(void *context)
{
	struct table *t = context;
	uint32_t permit;

	got(t, semaphore_take(semaphore_of(t), PATIENCE, &permit));
	return t->got == 0 ? 0 : 1;
}

static void
tell_semaphore(struct demo *demo, struct table *t)
{
	uint32_t permit;

	demo_chapter(demo, "A semaphore's holder is killed");
	semaphore_init(semaphore_of(t), 2);
	pid_t holder = start_holder(demo, t, hold_permits);
	bool full = semaphore_take(semaphore_of(t), 0, &permit) == -ETIMEDOUT;
	uint64_t ns = kill_before_waiter(demo, t, holder, demo_actor(demo, wait_permit, t));
	demo_say(demo, "It had both permits; the one who waited took over one of them after %s.",
		 unit_time_human(ns).text);
	bool back = true;
	for (int i = 0; i < 2; i++)
		back &= semaphore_take(semaphore_of(t), 0, &permit) == 0;
	demo_check(demo, full && ns > 0 && back, "permits of the dead come back, each once");
	demo_figure(demo, "permit_recovered_ns", (double)ns, "ns",
		    "from a permit holder's death to the next taker");
}

/* ---- parties ---- */

static int
join_and_hold(void *context)
{
	uint32_t seat;

	barrier_join(barrier_of(context), &seat);
	hold_until_killed(context);
	return 0;
}

static int
wait_at_barrier(void *context)
{
	struct table *t = context;
	uint32_t seat;

	if (barrier_join(barrier_of(t), &seat) != 0)
		return 1;
	int r = barrier_wait(barrier_of(t), seat, PATIENCE);
	got(t, r);
	return r == -EOWNERDEAD ? 0 : 2;
}

static void
tell_barrier(struct demo *demo, struct table *t)
{
	demo_chapter(demo, "A barrier's party is killed before it comes");
	barrier_init(barrier_of(t), PARTIES);
	pid_t missing = start_holder(demo, t, join_and_hold);
	pid_t first = demo_actor(demo, wait_at_barrier, t);
	pid_t second = demo_actor(demo, wait_at_barrier, t);
	while (barrier_waiting(barrier_of(t)) < PARTIES - 1)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	uint64_t ns = kill_before_waiter(demo, t, missing, first);
	bool told = demo_wait(demo, second, PATIENCE) == 0;
	demo_say(demo, "Two of three waited.  Both were told after %s: the barrier is broken.",
		 unit_time_human(ns).text);
	demo_check(demo, ns > 0 && told && barrier_state(barrier_of(t)) == -EOWNERDEAD,
		   "a dead party breaks the barrier for the others, and nobody waits for ever");
	barrier_reset(barrier_of(t));
	demo_check(demo, barrier_state(barrier_of(t)) == 0, "after barrier_reset() it is whole");
	demo_figure(demo, "barrier_told_ns", (double)ns, "ns",
		    "from a party's death to the others' knowing");
}

/* ---- CPython ---- */

static void
tell_python_death(struct demo *demo, const char *kind)
{
	char kind_is[32] = "kind=";
	const char *params[] = { "mode=killed", strcat(kind_is, kind), "wait_ms=1000", NULL };
	json_t *answer = demo_python(demo, "locks", params);

	if (answer != NULL)
		demo_say(demo, "multiprocessing.%s, its holder killed: %s", kind,
			 json_is_true(json_object_get(answer, "acquired"))
				 ? "the next taker got it."
				 : "not to be had within a second; nothing says why.");
	json_decref(answer);
}

static void
tell_python(struct demo *demo)
{
	const char *adds[] = { demo_quick(demo) ? "adds=20000" : "adds=200000", NULL };
	const char *price[] = { "mode=free", NULL };
	json_t *answer = demo_python(demo, "value", adds);

	if (answer == NULL)
		return;
	double expected = demo_number(answer, "expected");
	demo_python_figure(demo, "lost_percent_without",
			   100.0 * demo_number(answer, "lost") / expected);
	demo_python_figure(demo, "bare_adds_per_s", expected / demo_number(answer, "seconds"));
	demo_python_figure(demo, "locked_adds_per_s",
			   expected / demo_number(answer, "locked_seconds"));
	json_decref(answer);
	answer = demo_python(demo, "locks", price);
	demo_python_figure(demo, "lock_pair_ns", demo_number(answer, "p50_ns"));
	json_decref(answer);
	tell_python_death(demo, "Lock");
	tell_python_death(demo, "Semaphore");
}

static int
tell_locks(struct demo *demo)
{
	struct table *t = floor_share(sizeof *t);

	if (t == NULL || semaphore_bytes(2) > sizeof t->semaphore ||
	    barrier_bytes(PARTIES) > sizeof t->barrier)
		return demo_fail(demo, "no memory to share");
	int r = lock_init(&t->lock);
	if (r < 0)
		return demo_fail(demo, "cannot make a lock: %s", strerror(-r));
	if (tell_adds(demo, t) < 0)
		return -1;
	tell_price(demo, t);
	tell_holder(demo, t);
	tell_semaphore(demo, t);
	tell_barrier(demo, t);
	demo_chapter(demo, "The same in CPython");
	tell_python(demo);
	return 0;
}

extern const struct demo_row demo_locks;
const struct demo_row demo_locks = {
	.name = "locks",
	.summary = "updates lost without one; holders of a lock, a permit, a seat are killed",
	.tell = tell_locks,
};
