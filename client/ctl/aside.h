/*
 * aside.h - a part of a command in a process of its own, and nothing of it left afterwards.
 *
 * bench, demo and explain start daemons, kill processes and make named memory.  Each such part
 * runs in a child: one that fails, hangs or is interrupted takes nothing with it.  The child's
 * own children die with it (floor_fork) or come to us, the subreaper; the directory goes, and so
 * does named memory (shm/named.h) whose name begins with `label`.
 */
#ifndef PYPREP_CTL_ASIDE_H
#define PYPREP_CTL_ASIDE_H

#include <stdbool.h>

struct aside {
	char directory[64]; /* for the part's files and daemons */
	char label[40];     /* "demo-4711": what its named memory begins with */
};

/* Make the directory, become the subreaper, and take SIGINT, SIGTERM and SIGHUP as something to
 * wait for.  0, or the exit status, said. */
int aside_open(struct aside *aside, const char *what);
void aside_close(struct aside *aside);

enum aside_end {
	ASIDE_ENDED,       /* value: what it returned, 0 to 255 */
	ASIDE_DIED,        /* value: the signal */
	ASIDE_LATE,        /* it was killed after its time */
	ASIDE_INTERRUPTED, /* value: the signal that we got; it was killed */
};
struct aside_result {
	enum aside_end how;
	int value;
};

/* Run `part` in a child, at most `patience_s`. */
struct aside_result aside_run(const struct aside *aside, int (*part)(void *context), void *context,
			      unsigned patience_s);

#endif
