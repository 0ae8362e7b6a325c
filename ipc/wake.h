/*
 * wake.h - how a process of pyprep waits, and how another wakes it.  One policy
 * for all of them:
 *
 *   look, yield, look, ... about 50 times, unless others want the core
 *   (shm/yield.h); then say "sleeping", look once more, and sleep in the kernel.
 *
 * Looking and yielding keeps a lone core from halting (a wake across cores
 * costs 15-20 us on virtual machines) and gives the core away at once where
 * somebody else can run.  Spinning on `pause` does neither.
 *
 * The waker publishes its data, then calls wake_needed(): one fence and one load;
 * only a sleeper costs a system call, once for a whole burst.  How to ring the
 * bell is the caller's: an eventfd between our own processes; a socket message
 * towards clients, since whoever shares an eventfd can make it block.
 *
 * `struct wake` lies in shared memory.  Its sleeper alone sets it; any waker clears it.
 */
#ifndef PYPREP_IPC_WAKE_H
#define PYPREP_IPC_WAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/yield.h"

#define WAKE_LOOKS 50

struct wake {
	_Atomic uint32_t sleeping;
};

/* Waker, after publishing: must the bell be rung?  Claims the ring: of many
 * wakers one is told so. */
static inline bool
wake_needed(struct wake *w)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&w->sleeping, memory_order_relaxed) == 0)
		return false;
	return atomic_exchange_explicit(&w->sleeping, 0, memory_order_acq_rel) != 0;
}

/* Sleeper: from now on wakers ring.  Look once more after this, then sleep. */
static inline void
wake_arm(struct wake *w)
{
	atomic_store_explicit(&w->sleeping, 1, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
}

static inline void
wake_disarm(struct wake *w)
{
	atomic_store_explicit(&w->sleeping, 0, memory_order_relaxed);
}

/* An eventfd bell: non-blocking, close-on-exec.  Returns a descriptor or -errno. */
int bell_create(void);
void bell_ring(int fd);
void bell_clear(int fd);

#endif
