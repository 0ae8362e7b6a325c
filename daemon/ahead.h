/*
 * ahead.h - which jobs of a pool's queue go before one that waits in it, by its strategy.
 *
 * For `why`.  Jobs are looked at one by one, AHEAD_LOOKS at most; where more wait, how many they
 * are still comes from the counts of whole priorities and from when the job came between the first
 * and the last of its own.
 */
#ifndef PYPREP_DAEMON_AHEAD_H
#define PYPREP_DAEMON_AHEAD_H

#include "daemon/broker.h"

#define AHEAD_LOOKS 20000u
#define AHEAD_IDS   4u
#define AHEAD_ARRAY KINDS_MAX /* in kinds[]: array jobs, of whatever kind */

struct ahead {
	uint64_t jobs;                 /* that go before it */
	uint64_t higher;               /* of which have a higher priority */
	bool exact;                    /* else `jobs` is an estimate */
	uint64_t kinds[KINDS_MAX + 1]; /* those that were looked at */
	uint64_t seen;                 /* their sum */
	uint64_t ids[AHEAD_IDS];       /* some of them */
	unsigned id_count;
	uint32_t looks; /* left */
};

/* The job stands in its pool's queue, or comes to it now. */
void ahead_of(const struct broker *b, struct pool *p, const struct job *job, struct ahead *ret);

/* For strategies with several lines. */
/* Jobs of the line that came before that time. */
void ahead_older(const struct broker *b, const struct pool *p, const struct pool_line *l,
		 uint64_t queued_ns, const struct job *job, struct ahead *a);
/* So many of the line, those that are first in it. */
void ahead_some(const struct broker *b, const struct pool_line *l, uint64_t jobs, struct ahead *a);

#endif
