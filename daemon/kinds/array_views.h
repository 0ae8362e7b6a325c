/*
 * array_views.h - the arrays a worker has mapped, kept from range to range.
 *
 * A range takes about a millisecond and mapping an array anew may take as long.  So views
 * are kept, looked at before each use (another array may have the name by now), and closed
 * when the worker has been idle for a second: a sleeping worker holds no memory.  They are
 * not counted as holders: who submits the job is one, if anybody.
 *
 * One cache per worker process; its threads share it.
 */
#ifndef PYPREP_DAEMON_ARRAY_VIEWS_H
#define PYPREP_DAEMON_ARRAY_VIEWS_H

#include "daemon/kind.h"
#include "shm/array.h"

struct array_view {
	struct array *array;
	unsigned users; /* threads that work on it now */
	bool gone;      /* its name means another array: closed by its last user */
};

/* The array of that name, to be given back.  NULL: the call has failed and says why. */
struct array_view *array_view_take(struct call *call, const char *name, bool writable);
void array_view_give(struct array_view *view); /* NULL is fine */

/* How long a worker that has nothing to do may sleep before array_views_close_idle() has
 * something to close, in ms; -1: it has not. */
int array_views_patience_ms(void);
void array_views_close_idle(void);

#endif
