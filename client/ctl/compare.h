/*
 * compare.h - what the files of `pyprepctl compare` share.
 *
 *   compare.c        the command: which pools, how much work, the sentence at the end
 *   compare_run.c    the same jobs one way: submit, hear the receipts, add them up
 *   compare_print.c  the ways as a table or as JSON
 */
#ifndef PYPREP_CTL_COMPARE_H
#define PYPREP_CTL_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/pyprep.h"

#define COMPARE_WORKERS 256 /* processes that are told apart for their memory */

/* The work: `count` equal jobs. */
struct work {
	const char *name; /* cpu or io */
	const char *kind;
	const char *params[2]; /* NULL at the end */
	uint64_t count;
	char text[64]; /* "8 x sumsq n=1000000" */
};

/* One way to do it, and what came of it. */
struct way {
	const char *name;     /* sequential, process, thread, event */
	const char *executor; /* of the pool it needs */
	bool one_by_one;      /* the next job only after the last receipt */

	char pool[32];    /* "" while none was found */
	uint64_t at_once; /* jobs that may run there at once */
	uint64_t wall_ns, oncpu_ns, runqueue_ns, blocked_ns;
	uint64_t memory_bytes; /* peaks of the processes that ran jobs, added up; 0: unknown */
	uint64_t ended, failed;
	bool done;
	char problem[480]; /* why it was not done */
};

/* Do the work.  0, or the exit status of an interruption.  A refusal is in way->problem. */
int compare_run(struct pyprep *p, const struct work *work, struct way *way);

/* The run time of one job of `kind` in `pool`, ns.  0 or an exit status, said. */
int compare_time_one(struct pyprep *p, const char *kind, const char *param, const char *pool,
		     uint64_t *ret_ns);

void compare_print(const struct work *work, const struct way *ways, unsigned count);

#endif
