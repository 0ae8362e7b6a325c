/*
 * attached.h - jobs that live with this process: hears their events, cancels them on
 * SIGINT or SIGTERM, shows progress.
 *
 * The first signal cancels and the receipts are still awaited; the second ends the process
 * at once (the daemon then cancels, because the connection is gone).
 */
#ifndef PYPREP_CTL_ATTACHED_H
#define PYPREP_CTL_ATTACHED_H

#include <stdbool.h>

#include "client/ctl/progress.h"
#include "client/pyprep.h"

struct attached;
typedef void (*event_fn)(struct attached *attached, const struct pyprep_event *event);

struct attached {
	struct pyprep *p;
	struct progress progress;
	event_fn event;
	void *context;
	int signal;            /* that interrupted us; 0: none */
	int cancelled;         /* jobs told to end */
	uint64_t signal_ns;    /* when we first saw it */
	uint64_t cancelled_ns; /* when, last */
	bool gone;             /* no further event will come */
	bool broken;           /* because of an error of the connection */
};

/* Install the signal handlers.  The connection stays the caller's. */
void attached_begin(struct attached *attached, struct pyprep *p, event_fn event, void *context);

/* Hear what has come; with `wait`, sleep until something does (or progress is due). */
void attached_turn(struct attached *attached, bool wait);

/* Hear what has come; else sleep until something does or `fd` can be read.  Can it? */
bool attached_readable(struct attached *attached, int fd);

/* Turn until every job has ended. */
void attached_finish(struct attached *attached);

/* No further job is to be submitted: interrupted, daemon gone, or stdout is. */
bool attached_stopped(const struct attached *attached);

/* After the end: say what was cancelled.  Returns 128 + the signal when one came, 125 when
 * the connection broke with jobs on it, else `status`. */
int attached_end(struct attached *attached, int status);

#endif
