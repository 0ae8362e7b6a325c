/* lock.c - see lock.h */
#include "shm/lock.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "shm/owner.h"
#include "shm/sleepers.h"

#define LOCK_MAGIC 0x6b636f6cu /* "lock" */

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

/* Sleep for it, in slices: kernels before 5.5 could lose the wake of an unlocker that was killed
 * between its store and its wake. */
static int
take_asleep(struct lock *l, const struct patience *patience)
{
	struct timespec until;
	int r;

	do {
		clock_gettime(CLOCK_MONOTONIC, &until);
		uint64_t now = (uint64_t)until.tv_sec * 1000000000u + (uint64_t)until.tv_nsec;
		uint64_t end = now + FUTEX_SLICE_NS;
		if (patience->deadline_ns != 0 && end > patience->deadline_ns)
			end = patience->deadline_ns;
		if (end <= now)
			return ETIMEDOUT;
		until.tv_sec = (time_t)(end / 1000000000u);
		until.tv_nsec = (long)(end % 1000000000u);
		r = pthread_mutex_clocklock(&l->mutex, CLOCK_MONOTONIC, &until);
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

int
lock_take(struct lock *l, int timeout_ms)
{
	int r = pthread_mutex_trylock(&l->mutex);
	bool contended = r == EBUSY;

	if (contended)
		r = take_patiently(l, timeout_ms);
	if (r != 0 && r != EOWNERDEAD)
		return -r;
	atomic_store_explicit(&l->holder, owner_self(), memory_order_relaxed);
	add_one(&l->taken);
	if (contended)
		add_one(&l->contended);
	if (r == EOWNERDEAD) {
		add_one(&l->recovered);
		atomic_store_explicit(&l->uncertain, 1, memory_order_relaxed);
	}
	return -r;
}

/* `holder` goes first: after the unlock it is the next one's. */
static int
unlock(struct lock *l)
{
	uint64_t holder = atomic_load_explicit(&l->holder, memory_order_relaxed);

	if (holder != owner_self())
		return -EPERM;
	atomic_store_explicit(&l->holder, OWNER_NOBODY, memory_order_relaxed);
	int r = pthread_mutex_unlock(&l->mutex);
	uint64_t nobody = OWNER_NOBODY;
	if (r != 0) /* another thread of ours holds it */
		atomic_compare_exchange_strong(&l->holder, &nobody, holder);
	return -r;
}

int
lock_release(struct lock *l)
{
	return unlock(l);
}

int
lock_repaired(struct lock *l)
{
	if (lock_holder(l) != owner_self())
		return -EINVAL;
	int r = -pthread_mutex_consistent(&l->mutex);
	if (r == 0)
		atomic_store_explicit(&l->uncertain, 0, memory_order_relaxed);
	return r;
}

int
lock_broken(struct lock *l)
{
	if (atomic_load_explicit(&l->uncertain, memory_order_relaxed) == 0)
		return -EINVAL;
	return unlock(l);
}

uint64_t
lock_holder(const struct lock *l)
{
	return atomic_load_explicit(&l->holder, memory_order_relaxed);
}
