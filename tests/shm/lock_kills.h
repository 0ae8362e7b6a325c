/*
 * lock_kills.h - random kill -9 of processes that use a lock, a semaphore or a barrier, and what
 * must hold then; and one kill before each single instruction of an operation.
 */
#ifndef PYPREP_TESTS_LOCK_KILLS_H
#define PYPREP_TESTS_LOCK_KILLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum locks_kind { LOCKS_LOCK, LOCKS_SEMAPHORE, LOCKS_BARRIER };

struct lock_kills {
	unsigned kills;       /* done */
	uint64_t operations;  /* of all workers */
	uint64_t deaths_seen; /* told to the others */
	uint64_t wrong;       /* broken invariants */
	bool stalled;         /* nobody got on for `patience_ms` */
};

/* Workers use one object while one of them after the other is killed and replaced, `kills` times
 * and then on until a death was seen.  `robust` false: the control arm, the same with
 * pthread_mutex_t, sem_t or pthread_barrier_t, on until it goes wrong: a stall, or a plain barrier
 * that takes a dead party for one that came.  Stops at a stall. */
void kill_locks(enum locks_kind kind, bool robust, unsigned kills, unsigned seed,
		unsigned patience_ms, struct lock_kills *ret);

/* Memory shared with children. */
void *shared_memory(size_t bytes);

/* Run `warm` in a child (so that symbols are bound and our owner word is known), then `act` one
 * instruction at a time, and kill it before instruction `steps`.
 * 0: killed there; 1: `act` had ended before (its process is killed, too); -errno: cannot be
 * traced. */
int step_and_kill(void (*warm)(void), void (*act)(void), unsigned steps);

#endif
