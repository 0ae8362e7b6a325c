/*
 * why.h - when a job will start, as far as it can be told; for the verb `why` (request_why.c).
 */
#ifndef PYPREP_DAEMON_WHY_H
#define PYPREP_DAEMON_WHY_H

#include "daemon/ahead.h"
#include "daemon/forecast.h"
#include "daemon/gate.h"

/* A pool as it is now: its workers' places, and who goes before a job. */
struct pool_now {
	unsigned workers; /* ready, and to stay */
	uint64_t places;  /* theirs */
	uint64_t free;
	uint64_t sent; /* jobs that a worker has and has not begun */
	struct under_way *busy;
	uint32_t busy_count;
	struct runs
		runs[KINDS_MAX + 1]; /* what its kinds took; the last: a range of an array job */
};

/* The caller frees it with pool_now_free(); NULL: no memory. */
struct pool_now *pool_now(const struct broker *b, const struct pool *p);
void pool_now_free(struct pool_now *now);

/* Who would go before it: for one that is parked, if it came to its queue now. */
void why_ahead(const struct broker *b, uint32_t index, struct ahead *ret);

/* Why there is no range, or the range. */
enum unknown {
	START_KNOWN,
	START_NO_HISTORY, /* `kind` has never ended on its pool */
	START_OVERDUE,    /* what runs takes longer than all before */
	START_GATE,       /* it waits for something that nobody can foretell: `wait` */
	START_PAUSED,     /* the pool is paused, has failed or is drained */
	START_NO_WORKERS,
	START_CLIENT, /* its client does not read */
	START_NO_MEMORY,
};
struct start {
	enum unknown unknown;
	enum wait wait;
	unsigned kind;
	struct range range; /* from now */
	uint64_t runs;      /* measured, behind it: of the kind with the fewest */
};
void why_start(struct broker *b, uint32_t index, struct start *ret);

#endif
