/*
 * fail_point.h - one point: a daemon in which one call fails, a script of jobs, and the judgement.
 *
 * A place is a directory with a daemon of its own, used for one point after another by one process,
 * which must be the only one that has children there.
 */
#ifndef PYPREP_FAIL_POINT_H
#define PYPREP_FAIL_POINT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/fault/fail_calls.h"

struct fail_place {
	char dir[128];
	char log[160];   /* what both daemons of a point said */
	char trace[160]; /* commands write here that they ran */
	struct fail_control *control;
	unsigned patience_ms; /* a command that takes longer hangs */
	/* That were made as long as calls could fail, in the last run. */
	uint64_t calls[FAIL_ROLE_COUNT][FAIL_CLASS_COUNT];
	const char *store;  /* the engine; NULL: the default */
	bool own_shm;       /* /dev/shm is this process's alone */
	int descriptors[2]; /* of supervisor and broker, when nothing failed; 0: not known */
};

struct fail_point {
	enum fail_role role;
	enum fail_class class;
	uint32_t error;
	enum fail_when when;
	uint64_t at;     /* 0: nothing fails */
	bool when_ready; /* count from when the daemon is ready */
};

struct fail_outcome {
	bool hit;     /* the call was made */
	bool refused; /* the daemon did not start, or ended by itself: with a word and a status */
	unsigned errors; /* commands that were told of one */
	unsigned acknowledged;
	unsigned aborted;  /* managers that libzmq ended */
	char problem[700]; /* "": all is well */
};

/* Make the directory, in a namespace of its own where that is allowed. */
void fail_place_open(struct fail_place *p);
void fail_place_close(struct fail_place *p);

/* What a clean run counts: p->calls, p->descriptors. */
void fail_learn(struct fail_place *p, struct fail_outcome *ret);

/* Who made the first call that failed: functions, innermost first; after fail_run(). */
const char *fail_where(const struct fail_place *p);

void fail_run(struct fail_place *p, const struct fail_point *point, struct fail_outcome *ret);

#endif
