/* lock.c - see lock.h */
#include "shm/lock.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "shm/owner.h"
#include "shm/sleepers.h"

#define LOCK_MAGIC 0x6b636f6cu /* "lock" */

enum state {
	WHOLE,
	UNCERTAIN, /* its holder was told of a death, and has not said what came of it */
	BROKEN,    /* for ever */
};

int
lock_init(struct lock *l)
{
	pthread_mutexattr_t how;
	int r = pthread_mutexattr_init(&how);

	if (r != 0)
		return -r;
	memset(l, 0, sizeof(*l));
	pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
	/* Taking it twice is an error that is told, not a hang. */
	pthread_mutexattr_settype(&how, PTHREAD_MUTEX_ERRORCHECK);
	r = pthread_mutex_init(&l->mutex, &how);
	pthread_mutexattr_destroy(&how);
	if (r == 0)
		l->magic = LOCK_MAGIC;
	return -r;
}

int
lock_attach(const struct lock *l)
{
	return l->magic == LOCK_MAGIC ? 0 : -EINVAL;
}

static void
add_one(_Atomic uint64_t *count)
{
	/* The holder alone writes. */
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static int
take_until(pthread_mutex_t *mutex, const struct timespec *until)
{
#ifdef __SANITIZE_THREAD__
	/* TSan of GCC 12 does not see what this takes, and finds races in what it guards. */
	int r = pthread_mutex_trylock(mutex);
	(void)until;
	if (r == EBUSY)
		sched_yield();
	return r == EBUSY ? ETIMEDOUT : r; /* the caller looks again */
#else
	return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, until);
#endif
}

/* Sleep for it, in slices: kernels before 5.5 could lose the wake of an unlocker that was killed
 * between its store and its wake. */
static int
take_asleep(struct lock *l, const struct patience *patience)
{
	int r;

	do {
		uint64_t now = futex_now_ns(), end = now + FUTEX_SLICE_NS;
		if (patience->deadline_ns != 0 && end > patience->deadline_ns)
			end = patience->deadline_ns;
		if (end <= now)
			return ETIMEDOUT;
		struct timespec until = { .tv_sec = (time_t)(end / 1000000000u),
					  .tv_nsec = (long)(end % 1000000000u) };
		r = take_until(&l->mutex, &until);
	} while (r == ETIMEDOUT);
	return r;
}

static int
take_patiently(struct lock *l, int timeout_ms)
{
	struct patience patience = patience_begin(timeout_ms);

	while (patience_looks(&patience)) {
		int r = pthread_mutex_trylock(&l->mutex);
		if (r != EBUSY)
			return r;
	}
	return patience.none ? ETIMEDOUT : take_asleep(l, &patience);
}

static enum state
state_of(const struct lock *l)
{
	return (enum state)atomic_load_explicit(&l->state, memory_order_relaxed);
}

/* Which thread of this process: another one may call by mistake, and must change nothing. */
static uint64_t
this_thread(void)
{
	static _Thread_local char here;
	return (uint64_t)(uintptr_t)&here;
}

static bool
is_mine(const struct lock *l)
{
	return atomic_load_explicit(&l->holder, memory_order_acquire) == owner_self() &&
	       atomic_load_explicit(&l->thread, memory_order_relaxed) == this_thread();
}

/* The mutex is ours, by `r` 0 or EOWNERDEAD: so is the lock, or it is broken. */
static int
begin_hold(struct lock *l, int r, bool contended)
{
	if (r == EOWNERDEAD)
		pthread_mutex_consistent(&l->mutex); /* if we die, the next is told again */
	if (state_of(l) == BROKEN) {
		pthread_mutex_unlock(&l->mutex);
		return -ENOTRECOVERABLE;
	}
	atomic_store_explicit(&l->thread, this_thread(), memory_order_relaxed);
	atomic_store_explicit(&l->holder, owner_self(), memory_order_release);
	add_one(&l->taken);
	if (contended)
		add_one(&l->contended);
	if (r == EOWNERDEAD) {
		add_one(&l->recovered);
		atomic_store_explicit(&l->state, UNCERTAIN, memory_order_relaxed);
	}
	return -r;
}

int
lock_take(struct lock *l, int timeout_ms)
{
	int r = pthread_mutex_trylock(&l->mutex);
	bool contended = r == EBUSY;

	if (contended)
		r = take_patiently(l, timeout_ms);
	return r == 0 || r == EOWNERDEAD ? begin_hold(l, r, contended) : -r;
}

/* The mutex alone knows which thread holds it; `holder` goes first, as after the unlock it is the
 * next one's. */
static int
end_hold(struct lock *l)
{
	uint64_t self = owner_self(), nobody = OWNER_NOBODY;

	if (!is_mine(l))
		return -EPERM;
	atomic_store_explicit(&l->holder, OWNER_NOBODY, memory_order_relaxed);
	int r = pthread_mutex_unlock(&l->mutex);
	if (r != 0) /* it was an ended thread's, in whose place ours lies */
		atomic_compare_exchange_strong(&l->holder, &nobody, self);
	return -r;
}

/* Leave UNCERTAIN; -EINVAL when it is not that, or not ours. */
static int
decide(struct lock *l, enum state state)
{
	if (!is_mine(l) || state_of(l) != UNCERTAIN)
		return -EINVAL;
	atomic_store_explicit(&l->state, state, memory_order_relaxed);
	return 0;
}

int
lock_release(struct lock *l)
{
	(void)decide(l, BROKEN);
	return end_hold(l);
}

int
lock_repaired(struct lock *l)
{
	return decide(l, WHOLE);
}

int
lock_broken(struct lock *l)
{
	int r = decide(l, BROKEN);
	return r < 0 ? r : end_hold(l);
}

uint64_t
lock_holder(const struct lock *l)
{
	return atomic_load_explicit(&l->holder, memory_order_relaxed);
}
