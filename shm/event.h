/*
 * event.h - something that has happened or has not, for all who wait for it, between processes.
 *
 * One word holds all: whether it is set, and how often it was.  A wait ends when the event is
 * set, or was set at least once since the wait began: a set followed at once by a clear wakes
 * everybody who waited.
 *
 * Nobody holds anything, so no death needs repair.  A setter killed before its store has done
 * nothing, one killed between it and the wake makes sleepers up to 100 ms late.
 *
 * It lies in any memory that all share; one makes it, all others attach.
 */
#ifndef PYPREP_SHM_EVENT_H
#define PYPREP_SHM_EVENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/sleepers.h"

struct event {
	uint32_t magic;
	struct sleepers sleepers;
	_Atomic uint64_t word; /* times set << 1 | is set */
};

void event_init(struct event *e);
int event_attach(const struct event *e); /* -EINVAL: there is none */

void event_set(struct event *e); /* and wake all; nothing when it is set */
void event_clear(struct event *e);

/* 0, or -ETIMEDOUT.  timeout_ms -1: for ever. */
int event_wait(struct event *e, int timeout_ms);

static inline bool
event_is_set(const struct event *e)
{
	return atomic_load_explicit(&e->word, memory_order_acquire) & 1;
}

/* How often it went from clear to set. */
static inline uint64_t
event_times(const struct event *e)
{
	return atomic_load_explicit(&e->word, memory_order_acquire) >> 1;
}

#endif
