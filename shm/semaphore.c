/* semaphore.c - see semaphore.h */
#include "shm/semaphore.h"

#include <errno.h>
#include <string.h>

#include "shm/owner.h"

#define SEMAPHORE_MAGIC 0x616d6573u /* "sema" */

size_t
semaphore_bytes(uint32_t permits)
{
	return sizeof(struct semaphore) + permits * sizeof(_Atomic uint64_t);
}

int
semaphore_init(struct semaphore *s, uint32_t permits)
{
	if (permits == 0 || permits > SEMAPHORE_MAX)
		return -EINVAL;
	memset(s, 0, semaphore_bytes(permits));
	s->permits = permits;
	s->magic = SEMAPHORE_MAGIC;
	return 0;
}

int
semaphore_attach(const struct semaphore *s, size_t bytes)
{
	if (bytes < sizeof(*s) || s->magic != SEMAPHORE_MAGIC || s->permits == 0 ||
	    s->permits > SEMAPHORE_MAX || bytes < semaphore_bytes(s->permits))
		return -EINVAL;
	return 0;
}

/* One look for a free permit: its number, or -EAGAIN. */
static int
take_free(struct semaphore *s, uint64_t self)
{
	uint32_t start = atomic_load_explicit(&s->hint, memory_order_relaxed) % s->permits;

	for (uint32_t i = 0; i < s->permits; i++) {
		uint32_t at = start + i < s->permits ? start + i : start + i - s->permits;
		uint64_t nobody = OWNER_NOBODY;
		if (atomic_load_explicit(&s->holders[at], memory_order_relaxed) == OWNER_NOBODY &&
		    atomic_compare_exchange_strong(&s->holders[at], &nobody, self)) {
			atomic_store_explicit(&s->hint, at + 1, memory_order_relaxed);
			return (int)at;
		}
	}
	return -EAGAIN;
}

/* Take over a permit whose holder is dead: its number, or -EAGAIN.  Several processes may walk at
 * once; the compare-and-swap from the dead word gives it to one. */
static int
take_over(struct semaphore *s, uint64_t self)
{
	uint64_t lives = self; /* the last one found alive: holders of many are asked once */

	for (uint32_t at = 0; at < s->permits; at++) {
		uint64_t holder = atomic_load(&s->holders[at]);
		if (holder == lives || (holder != OWNER_NOBODY && owner_alive(holder))) {
			lives = holder;
			continue;
		}
		if (!atomic_compare_exchange_strong(&s->holders[at], &holder, self))
			continue;
		if (holder != OWNER_NOBODY)
			atomic_fetch_add_explicit(&s->recovered, 1, memory_order_relaxed);
		return (int)at;
	}
	return -EAGAIN;
}

static int
take_patiently(struct semaphore *s, uint64_t self, int timeout_ms)
{
	struct patience patience = patience_begin(timeout_ms);
	int r, slept = patience.none; /* 1: look for dead ones, too */

	while (patience_looks(&patience))
		if ((r = take_free(s, self)) >= 0)
			return r;
	for (;;) {
		if (slept == 1 && (r = take_over(s, self)) >= 0)
			return r;
		uint32_t turn = sleepers_arm(&s->sleepers);
		if ((r = take_free(s, self)) >= 0)
			return r;
		slept = sleepers_wait(&s->sleepers, turn, &patience);
		if (slept < 0)
			return slept;
	}
}

int
semaphore_take(struct semaphore *s, int timeout_ms, uint32_t *ret_permit)
{
	uint64_t self = owner_self();
	int r = take_free(s, self);

	if (r < 0) {
		r = take_patiently(s, self, timeout_ms);
		if (r < 0)
			return r;
		atomic_fetch_add_explicit(&s->contended, 1, memory_order_relaxed);
	}
	atomic_fetch_add_explicit(&s->taken, 1, memory_order_relaxed);
	*ret_permit = (uint32_t)r;
	return 0;
}

int
semaphore_give(struct semaphore *s, uint32_t permit)
{
	if (permit >= s->permits || atomic_load(&s->holders[permit]) != owner_self())
		return -EPERM;
	atomic_store_explicit(&s->hint, permit, memory_order_relaxed);
	atomic_store(&s->holders[permit], OWNER_NOBODY);
	sleepers_wake(&s->sleepers, 1);
	return 0;
}

uint32_t
semaphore_free(const struct semaphore *s)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < s->permits; i++)
		count += atomic_load_explicit(&s->holders[i], memory_order_relaxed) == OWNER_NOBODY;
	return count;
}
