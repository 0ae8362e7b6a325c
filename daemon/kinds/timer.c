/* timer.c - see timer.h */
#include "daemon/kinds/timer.h"

struct event *
timer_start(struct io_call *io, event_callback_fn over, uint64_t ms)
{
	struct timeval after = { .tv_sec = (time_t)(ms / 1000),
				 .tv_usec = (suseconds_t)(ms % 1000 * 1000) };
	struct event *timer = evtimer_new(io->base, over, io);

	if (timer != NULL && evtimer_add(timer, &after) == 0)
		return timer;
	if (timer != NULL)
		event_free(timer);
	call_no_memory(&io->call, "no memory for a timer");
	return NULL;
}
