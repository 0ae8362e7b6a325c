/*
 * endings.h - jobs that are ended, by a cancel or by their timeout, at random moments and under
 * load: how long it takes until their client knows, and until nothing of them is left.
 *
 *   obedient   a tree of processes (children, sessions of their own, forked twice) that stands
 *   growing    the same, ended while it was still being made
 *   stubborn   some or all of it ignore TERM, or go on forking: it takes the pool's grace
 *   computing  in a worker of a process pool, which dies for it
 *
 * Every process of a tree holds one pipe and one lock by descriptors that it inherits.  When the
 * pipe is at its end, all are gone; while the lock is held, something of the job runs.
 */
#ifndef PYPREP_TESTS_DAEMON_ENDINGS_H
#define PYPREP_TESTS_DAEMON_ENDINGS_H

#include "tests/helpers.h"

#define ENDINGS_GRACE_MS 100

enum ending { ENDING_OBEDIENT, ENDING_GROWING, ENDING_STUBBORN, ENDING_COMPUTING, ENDINGS };
enum ended_by { ENDED_BY_CANCEL, ENDED_BY_TIMEOUT, ENDED_BYS };
extern const char *const ending_names[ENDINGS];
extern const char *const ended_by_names[ENDED_BYS];

struct ending_times {
	unsigned n;
	double receipt_ms[3]; /* p50, p99, most; from the cancel, or from the deadline */
	double gone_ms[3];    /* ... until nothing is left of it */
};

struct endings_report {
	unsigned rounds;
	unsigned unstarted; /* ended before anything of them ran */
	unsigned retried;   /* timed out, tried again, and timed out again */
	unsigned early;     /* receipts that came while something of the job was left */
	struct ending_times times[ENDED_BYS][ENDINGS];
	uint64_t begun;      /* attempts, as they say themselves */
	uint64_t twice;      /* ... that said so twice */
	uint64_t at_once;    /* ... while something of an earlier one was left */
	unsigned left;       /* processes of jobs, in the end */
	uint64_t load_jobs;  /* of the client beside them ... */
	uint64_t load_wrong; /* ... that did not succeed */
	unsigned seconds;
	char text[300]; /* the first that was wrong, or "" */
};

void end_jobs(struct test_daemon *d, unsigned rounds, unsigned seed, struct endings_report *ret);

/* The worker of one large tree is killed `deaths` times, and the job tried again after each.  Of
 * the report: begun, twice, at_once, left, text. */
void end_by_death(struct test_daemon *d, unsigned deaths, struct endings_report *ret);

/* The supervisor is killed, with a large tree's worker stopped; it goes on when the next daemon has
 * had the time to start, which it must not use. */
void end_by_daemons_death(struct test_daemon *d, struct endings_report *ret);

/* The control arm: a supervisor that kills the leader of such a tree only, and starts the job
 * again.  What the judge looks at must show both. */
struct naive_report {
	bool stood;   /* the tree was there */
	bool left;    /* the pipe was open after the leader's death */
	bool at_once; /* the second attempt found the lock held */
	bool gone;    /* and at its end when all are dead */
};
void end_naively(struct naive_report *ret);

/* The script of a tree, written to `directory`: see endings_tree.c. */
void tree_script(const char *directory);
enum tree_kind { TREE_OBEDIENT, TREE_STUBBORN, TREE_FAITHLESS, TREE_FORKING, TREE_KINDS };
extern const char *const tree_kinds[TREE_KINDS];
#define TREE_UP 6u /* bytes in its pipe when it stands: "up\n" twice */

/* What attempts wrote to directory/trace: begun, twice, at_once. */
void tree_trace(const char *directory, struct endings_report *ret);

/* Processes of jobs (PYPREP_JOB) of the daemon whose directory this is. */
unsigned tree_processes(const char *directory);

#endif
