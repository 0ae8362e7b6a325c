/*
 * slots.h - what slots.c, slots_start.c and heirs.c share: one worker's place, and the processes
 * that may stand in it.
 *
 *   SLOT_OF_POOL   the worker of that number; the broker gives it jobs
 *   SLOT_HEIR      its successor, which is starting while the worker goes on
 *   SLOT_LEAVES    the worker after its successor got ready: it finishes what it has
 *
 * pool_slots.slots[] holds the first, aside[] one of the others.
 */
#ifndef PYPREP_DAEMON_SLOTS_H
#define PYPREP_DAEMON_SLOTS_H

#include "daemon/supervisor.h"

/* Both, of all pools. */
#define FOR_EACH_SLOT(s, slot)                                                   \
	for (unsigned i_ = 0; i_ < (s)->pool_count; i_++)                        \
		for (unsigned n_ = 0; n_ < 2 * (s)->pools[i_].slot_count; n_++)  \
			if (((slot) = n_ % 2 == 0 ? (s)->pools[i_].slots[n_ / 2] \
						  : (s)->pools[i_].aside[n_ / 2]) != NULL)

/* slots_start.c */
const char *slot_pool(const struct slot *slot); /* its name */
struct timeval slot_timeval(uint64_t ns);
uint64_t slot_jobs(const struct slot *slot); /* that this incarnation ever started */
uint64_t slots_jobs(const struct pool_slots *p);
void slot_tell_up(const struct slot *slot, bool adopted);
void slot_tell_down(const struct slot *slot, int status, const struct rusage *usage);
void slots_tell_pool(const struct pool_slots *p, uint32_t flags);
void slot_close_control(struct slot *slot);
struct slot *slot_new(struct pool_slots *p, unsigned number); /* NULL: no memory */
void slot_free(struct slot *slot);                            /* NULL is fine */
int slot_start(struct slot *slot);                            /* 0 or -errno; tells nobody */
void slots_fill(struct pool_slots *p);

/* slots.c: a start that came to nothing. */
void slot_fail_attempt(struct slot *slot);

/* heirs.c */
/* Start successors of workers that are spent: of one at a time. */
void heirs_begin(struct pool_slots *p);
void heir_ready(struct slot *heir);
/* The worker has died: its heir, if there is one, is the worker now. */
bool heir_takes_over(struct slot *dead);
/* The process of aside[number] has ended. */
void aside_gone(struct pool_slots *p, unsigned number, const struct slot *dead);
/* End the heirs of slots from `from` on. */
void heirs_drop(struct pool_slots *p, unsigned from);

#endif
