/*
 * barrier.h - N processes wait for each other, round after round; a dead one breaks it.
 *
 * Each party has a seat, signed by its process (owner.h), from barrier_join() to barrier_leave().
 * So a party that dies is missed wherever it was: before it came, or waiting.  The others learn
 * of it within 100 ms: the barrier is broken, as in Python's BrokenBarrierError, and stays so for
 * everybody until barrier_reset().
 *
 * A round's end is not counted but seen: a party marks its seat, then looks whether all are marked.
 * So each who waits can end the round, and nobody's death leaves a count half way.  What all
 * agree on is one word that only a compare-and-swap moves: the round, the last round that ended
 * whole, and whether it is broken.
 *
 * A seat that nobody has joined yet is waited for, as long as timeouts allow.
 * It lies in memory of barrier_bytes() that all share; one makes it, all others attach.
 */
#ifndef PYPREP_SHM_BARRIER_H
#define PYPREP_SHM_BARRIER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/sleepers.h"

#define BARRIER_MAX 1024u /* parties */

struct barrier_seat {
	_Atomic uint64_t party;   /* owner.h */
	_Atomic uint64_t arrived; /* the round it waits in, plus one */
};

struct barrier {
	uint32_t magic;
	uint32_t parties;
	struct sleepers sleepers;
	_Alignas(64) _Atomic uint64_t word; /* barrier.c */
	_Atomic uint64_t rounds;            /* ended whole, ever */
	_Atomic uint64_t deaths;            /* times it was broken by one */
	struct barrier_seat seats[];
};

size_t barrier_bytes(uint32_t parties);
int barrier_init(struct barrier *b, uint32_t parties);     /* -EINVAL: not 1 to BARRIER_MAX */
int barrier_attach(const struct barrier *b, size_t bytes); /* -EINVAL: there is none */

/* Take a seat for this process; a thread may take one of its own.  -EUSERS: all are taken.
 * -EOWNERDEAD: all are taken, one by a dead party; the barrier is broken now, reset it. */
int barrier_join(struct barrier *b, uint32_t *ret_seat);

/* Give it back.  -EPERM: it is not ours. */
int barrier_leave(struct barrier *b, uint32_t seat);

/* Wait until all have come.  timeout_ms -1: for ever.
 *   0            all are here
 *   -EOWNERDEAD  broken: a party died
 *   -ECANCELED   broken: a party's time was over, barrier_abort(), or barrier_reset() meanwhile
 *   -ETIMEDOUT   our own time is over; that breaks it for the others
 *   -EPERM       the seat is not ours */
int barrier_wait(struct barrier *b, uint32_t seat, int timeout_ms);

/* Break it: all who wait, and come, get -ECANCELED. */
void barrier_abort(struct barrier *b);

/* Begin afresh: who still waits gets -ECANCELED; seats of the dead are freed for others to join. */
void barrier_reset(struct barrier *b);

/* The same when it is broken, nothing when it is whole: what every survivor may call, without
 * undoing the other's. */
void barrier_mend(struct barrier *b);

/* 0, or -EOWNERDEAD or -ECANCELED when it is broken. */
int barrier_state(const struct barrier *b);

/* How many wait now, for those who look on. */
uint32_t barrier_waiting(const struct barrier *b);

#endif
