/*
 * limits.h - what one run in a worker may take: memory, and its share of the CPU.
 *
 * Memory: RLIMIT_DATA, the private writable memory of the process.  What the worker holds before
 * the run is added, so that the limit is the job's own.  Memory that processes share (arrays by
 * name) and files that are mapped to be read do not count: they are not the job's.  A kind whose
 * allocation fails ends with call_no_memory().  The limit is the whole process's, so only a
 * worker that runs one job at a time can keep it.
 *
 * Priority: the niceness of the thread that runs.
 *
 * A run without either costs two comparisons.
 */
#ifndef PYPREP_DAEMON_LIMITS_H
#define PYPREP_DAEMON_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "ipc/message.h"

struct limits {
	bool memory, niced;
	struct rlimit data; /* as it was */
	int nice;           /* as it was */
};

const char *limits_set(struct limits *l, const struct run_body *run, bool alone);
bool limits_undo(struct limits *l);

/* Set them for the calling thread's run.  NULL, or why the job cannot run here.  What was set
 * must be undone by limits_end(). */
static inline const char *
limits_begin(struct limits *l, const struct run_body *run, bool alone)
{
	l->memory = l->niced = false;
	return run->memory_bytes == 0 && run->nice == 0 ? NULL : limits_set(l, run, alone);
}

/* Back to what was.  false: the thread's priority could not be raised again (that takes a
 * privilege, or RLIMIT_NICE): it should run nothing else. */
static inline bool
limits_end(struct limits *l)
{
	return (!l->memory && !l->niced) || limits_undo(l);
}

/* May this process undo a raised niceness? */
bool limits_can_undo_nice(void);

#endif
