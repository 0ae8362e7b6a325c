/*
 * kills.h - random kills of workers while clients work: what tests/daemon does a hundred times
 * and tests/fault/kill_workers as often as it is told.
 */
#ifndef PYPREP_TESTS_DAEMON_KILLS_H
#define PYPREP_TESTS_DAEMON_KILLS_H

#include "tests/helpers.h"

struct kills_report {
	unsigned kills;
	uint64_t jobs;            /* submitted */
	uint64_t succeeded, died; /* receipts: all of them, and those of worker_died */
	uint64_t lost;            /* of those: had ended, but the link lost its result */
	uint64_t wrong;           /* receipts of any other kind, or with a wrong signal */
	uint64_t duplicates;      /* second receipts of one job */
	uint64_t missing;         /* jobs without a receipt */
	unsigned ready_us[3];     /* p50, p90, most: from the kill to the replacement being ready */
	char leak[200];           /* what was left over, or "" */
};

/* Two clients keep mixed jobs (noop, and sleep of 1 ms) in flight on pool "cpu" while a random
 * worker is killed `kills` times.  With `spoil` things go wrong on purpose, for the checks to be
 * seen at work: one receipt is counted twice, one not at all, and a connection stays open. */
void kill_workers(struct test_daemon *d, unsigned kills, unsigned seed, bool spoil,
		  struct kills_report *ret);

#endif
