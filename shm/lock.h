/*
 * lock.h - a lock between processes whose holder may die.
 *
 * It lies in any memory that all of them share (MAP_SHARED).  One process makes it by lock_init()
 * before the others use it; lock_attach() checks that it was made.
 *
 * When a holder dies, or the thread of it that took the lock ends, the next taker gets the lock
 * and is told so: -EOWNERDEAD.  What the lock guards may be half changed then.  The taker looks
 * at it, puts it right and says lock_repaired(); or it cannot, and says lock_broken(): from then
 * on everybody gets -ENOTRECOVERABLE until somebody calls lock_init() again.  A lock_release()
 * without lock_repaired() is lock_broken().  A taker that dies before it said either leaves
 * -EOWNERDEAD to the next.
 *
 * It is a robust mutex of pthreads, and not a word of our own like the semaphore's permits: the
 * kernel hands the lock on at the very death (a sleeper on a word of our own would learn of it
 * after up to 100 ms), it counts for threads and across pid namespaces, and there is no algorithm
 * to prove.  An own word was tried: 22 ns a pair against 39 with nobody else, and the same 21 to
 * 35 ns with two and four processes.  Never PTHREAD_PRIO_INHERIT: under contention it takes a
 * system call each time (0.08 M/s with four processes against 30).
 *
 * That a lock is broken is a word of ours, since pthread_mutex_trylock() of glibc 2.36 keeps a
 * mutex locked for which it returns ENOTRECOVERABLE.
 *
 * Waiting is that of ipc/wake.h: 50 tries with yields between, then the kernel.
 * Not fair: who comes at the right moment gets it.
 */
#ifndef PYPREP_SHM_LOCK_H
#define PYPREP_SHM_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct lock {
	uint32_t magic;
	_Atomic uint32_t state; /* lock.c; written by the holder only */
	pthread_mutex_t mutex;
	/* For those who look on; written by the holder only. */
	_Atomic uint64_t holder;    /* owner.h; see lock_holder() */
	_Atomic uint64_t taken;     /* times */
	_Atomic uint64_t contended; /* of them, not at the first try */
	_Atomic uint64_t recovered; /* of them, from a dead holder */
	_Atomic uint64_t thread;    /* lock.c: which thread of the holder */
};

/* 0 or -errno. */
int lock_init(struct lock *l);

/* 0, or -EINVAL: no lock was made here. */
int lock_attach(const struct lock *l);

/* Take it.  timeout_ms -1: wait for ever, 0: do not wait.
 *   0                 taken
 *   -EOWNERDEAD       taken, from a dead holder: see above
 *   -ENOTRECOVERABLE  broken, not taken
 *   -ETIMEDOUT        not taken (also with timeout_ms 0)
 *   -EDEADLK          this very thread holds it */
int lock_take(struct lock *l, int timeout_ms);

/* 0, or -EPERM: this thread does not hold it. */
int lock_release(struct lock *l);

/* After -EOWNERDEAD: what it guards is whole again; the lock is still held.  0, or -EINVAL when
 * nobody died. */
int lock_repaired(struct lock *l);

/* After -EOWNERDEAD: what it guards is lost.  Lets go; nobody gets it any more.  0, -EINVAL. */
int lock_broken(struct lock *l);

/* Who holds it: an owner word, perhaps of a dead process; OWNER_NOBODY.  A look from outside: for
 * a few instructions after a take and before a release it is behind. */
uint64_t lock_holder(const struct lock *l);

#endif
