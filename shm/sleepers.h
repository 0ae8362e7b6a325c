/*
 * sleepers.h - those who sleep until somebody changes something in shared memory, and who wakes
 * them: the futex under the semaphore, the event and the barrier.
 *
 * A waiter does, in this order: sleepers_arm(), look once more, sleepers_wait().  Who changed
 * something does then sleepers_wake(): a fence and a load when nobody sleeps.
 *
 * Nothing is counted, so nobody can die and leave a count wrong.  `armed` is set by every waiter
 * before each sleep.  A waker takes it, moves `turn`, wakes, and sets it again when it found a
 * sleeper: there may be more.  A waiter that armed before the waker's exchange has read a turn
 * from before its step, so it does not fall asleep; one that armed after it leaves `armed` set
 * for the next waker.  A waker killed on the way costs the sleepers the rest of their slice.
 */
#ifndef PYPREP_SHM_SLEEPERS_H
#define PYPREP_SHM_SLEEPERS_H

#include <stdbool.h>

#include "shm/futex.h"
#include "shm/yield.h"

#define SLEEPERS_LOOKS 50 /* with yield_cheaply(), before one sleeps: as in ipc/wake.h */

struct sleepers {
	_Atomic uint32_t turn; /* the word slept on */
	_Atomic uint32_t armed;
};

/* The turn to sleep in. */
static inline uint32_t
sleepers_arm(struct sleepers *s)
{
	uint32_t turn = atomic_load(&s->turn);
	atomic_store(&s->armed, 1); /* seq_cst: before the look that follows */
	return turn;
}

/* Wake at most `count`, after a change was published. */
static inline void
sleepers_wake(struct sleepers *s, int count)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&s->armed, memory_order_relaxed) == 0 ||
	    atomic_exchange(&s->armed, 0) == 0)
		return;
	atomic_fetch_add(&s->turn, 1);
	if (futex_wake(&s->turn, count) > 0)
		atomic_store(&s->armed, 1);
}

/* How long a call still waits. */
struct patience {
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: for ever */
	unsigned looks;
	bool none; /* do not wait at all */
};

/* timeout_ms as everywhere: -1 for ever, 0 not at all. */
struct patience patience_begin(int timeout_ms);

/* Sleep in `turn` until woken, for a slice at most.  0: look again.  1: a whole slice has passed,
 * look for dead ones too.  -ETIMEDOUT. */
int sleepers_wait(struct sleepers *s, uint32_t turn, struct patience *patience);

/* Shall the caller look again without sleeping?  Gives the CPU away before it says so. */
static inline bool
patience_looks(struct patience *p)
{
	if (p->none || p->looks >= SLEEPERS_LOOKS)
		return false;
	p->looks++;
	return yield_cheaply();
}

#endif
