/*
 * semaphore.h - a counting semaphore between processes, whose permits come back from the dead.
 *
 * Each permit is a word: free, or signed by the process that has it (owner.h).  Taking one is one
 * compare-and-swap, giving it back one store, so a process killed at any instruction has it or
 * has not.  Who finds none free looks every 100 ms of its sleep, and before it gives up, whether a
 * holder is dead, and takes that permit over.
 *
 * A permit is taken and given back by number, by the same process (any thread of it): it is a
 * bounded semaphore.  At most SEMAPHORE_MAX permits; looking for a free one is a walk over them
 * from where the last was given back, so it is short unless nearly all are taken.
 *
 * It lies in memory of semaphore_bytes() that all share; one makes it, all others attach.
 * Waiting is that of ipc/wake.h.  Not fair.
 */
#ifndef PYPREP_SHM_SEMAPHORE_H
#define PYPREP_SHM_SEMAPHORE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/sleepers.h"

#define SEMAPHORE_MAX 4096u

struct semaphore {
	uint32_t magic;
	uint32_t permits;
	struct sleepers sleepers;
	_Atomic uint32_t hint;                   /* where a free permit may be */
	_Atomic uint64_t taken;                  /* times */
	_Atomic uint64_t contended;              /* of them, not at the first look */
	_Atomic uint64_t recovered;              /* of them, from a dead holder */
	_Alignas(64) _Atomic uint64_t holders[]; /* owner.h, one for each permit */
};

size_t semaphore_bytes(uint32_t permits);

/* -EINVAL: not 1 to SEMAPHORE_MAX permits. */
int semaphore_init(struct semaphore *s, uint32_t permits);

/* 0, or -EINVAL: there is none in these `bytes`. */
int semaphore_attach(const struct semaphore *s, size_t bytes);

/* Take a permit; its number into *ret_permit.  timeout_ms -1: for ever, 0: do not wait.
 * -ETIMEDOUT. */
int semaphore_take(struct semaphore *s, int timeout_ms, uint32_t *ret_permit);

/* -EPERM: this process does not have it. */
int semaphore_give(struct semaphore *s, uint32_t permit);

/* How many are free; those of the dead count as taken until somebody needs one. */
uint32_t semaphore_free(const struct semaphore *s);

#endif
