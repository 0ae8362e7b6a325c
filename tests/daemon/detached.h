/*
 * detached.h - random kills of workers, broker and supervisor while detached jobs are submitted
 * and run, and a judge that looks at what is left from outside: at the ids that were acknowledged,
 * at a file to which the jobs themselves wrote, and at the store by sqlite3(1).
 */
#ifndef PYPREP_TESTS_DAEMON_DETACHED_H
#define PYPREP_TESTS_DAEMON_DETACHED_H

#include "tests/helpers.h"

struct detached_report {
	unsigned kills, workers, brokers, supervisors; /* who was killed */
	uint64_t submitted, acknowledged, resubmitted;
	uint64_t ended;        /* jobs in the store that have ended, once each */
	uint64_t reruns;       /* attempts beyond the first */
	uint64_t lost;         /* acknowledged, and not in the store, or not ended */
	uint64_t twice;        /* one token, two jobs */
	uint64_t same_attempt; /* one attempt of one job started twice */
	uint64_t overlapping;  /* two attempts of one job ran at once */
	uint64_t unmarked;     /* started more often than its attempt number says */
	unsigned seconds;
	unsigned back_ms[2]; /* supervisor killed to ready again: p50, most */
	char text[300];      /* the first that was wrong, or "" */
};

/* `memory`: the control arm, with a store that forgets. */
void kill_detached(struct test_daemon *d, unsigned kills, unsigned seed, bool memory,
		   struct detached_report *ret);

#endif
