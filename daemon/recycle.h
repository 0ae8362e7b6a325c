/*
 * recycle.h - when a worker asks to be replaced: after so many jobs (recycle_jobs), when it has
 * grown (recycle_growth), or when something is wrong with it that only its end mends.
 *
 * It asks by a flag on its results (RESULT_SPENT), from then on with each one, and goes on working
 * until the supervisor ends it: its successor is ready by then.
 */
#ifndef PYPREP_DAEMON_RECYCLE_H
#define PYPREP_DAEMON_RECYCLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pool_config;

struct recycle {
	_Atomic bool on;       /* there is something to look at */
	_Atomic bool due;      /* it asks */
	uint64_t jobs_most;    /* 0: any number */
	_Atomic uint64_t jobs; /* since the start */
	uint64_t memory_most;  /* 0: any */
	_Atomic uint64_t look_ns;
};

/* At the worker's start.  Jobs are up to a tenth more than configured, at random, so that workers
 * that started together do not end together. */
void recycle_open(struct recycle *r, const struct pool_config *pool);

/* It has to go, whatever the configuration says. */
void recycle_now(struct recycle *r);

bool recycle_look(struct recycle *r, uint64_t now_ns);

/* One more job has ended: does the worker ask? */
static inline bool
recycle_job(struct recycle *r, uint64_t now_ns)
{
	return atomic_load_explicit(&r->on, memory_order_relaxed) && recycle_look(r, now_ns);
}

#endif
