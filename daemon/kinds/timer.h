/* timer.h - a timer of an I/O kind. */
#ifndef PYPREP_DAEMON_KINDS_TIMER_H
#define PYPREP_DAEMON_KINDS_TIMER_H

#include <event2/event.h>

#include "daemon/kind.h"

/* Call `over` with `io` in `ms` milliseconds, from the loop.  The caller ends the timer by
 * event_free(), before or after it fired.  NULL: failed, and call_fail() has said why. */
struct event *timer_start(struct io_call *io, event_callback_fn over, uint64_t ms);

#endif
