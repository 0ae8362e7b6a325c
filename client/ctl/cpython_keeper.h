/*
 * cpython_keeper.h - a process that keeps one Python and all that it starts.
 *
 * The keeper is forked from pyprepctl, holds the reading end of a lifeline, and is the
 * subreaper of what it runs.  It ends when Python's tree is gone, and sees to it that it is:
 * at the time limit, when the lifeline is cut (its starter died, or has had enough), and
 * when Python's main process has ended.  It then sweeps what the tree named.
 */
#ifndef PYPREP_CTL_CPYTHON_KEEPER_H
#define PYPREP_CTL_CPYTHON_KEEPER_H

#include <stdbool.h>
#include <sys/types.h>

/* Files and shared memory that a Python may make begin with this and the keeper's pid. */
#define KEEPER_PREFIX "pyprep-python-"

struct keeper_order {
	const char *interpreter; /* a path, or a name to be found in PATH */
	const char *const *params;
	const char *topic;
	int program, out, err; /* descriptors: its stdin, stdout and stderr */
	int lifeline;          /* reading end */
	int timeout_ms;
};

/* In memory shared with the keeper, which writes it; zeroed before. */
struct keeper_outcome {
	int exec_errno; /* the interpreter could not be started */
	int wait_status;
	bool timed_out, cut; /* why it was killed, if it was */
	bool strays;         /* some lived on long after the main process: killed */
	bool done;           /* the rest is true */
};

/* As fork(): the keeper's pid, or -errno.  There is no return in the keeper.  It keeps no
 * descriptor but those of the order, so none of the lifeline's other end. */
pid_t keeper_start(const struct keeper_order *order, struct keeper_outcome *outcome);

#endif
