/* sleep.c - wait for some milliseconds: stands for any waiting, takes no CPU. */
#include <event2/event.h>
#include <stddef.h>

#include "daemon/kind.h"
#include "daemon/kinds/timer.h"

enum { MS };

static void
sleep_over(evutil_socket_t fd, short what, void *arg)
{
	struct io_call *io = arg;

	(void)fd;
	(void)what;
	io_enter(io);
	event_free(io->state);
	io_done(io);
}

static void
sleep_start(struct io_call *io)
{
	io->state = timer_start(io, sleep_over, (uint64_t)args_int(io->call.args, MS));
	if (io->state == NULL)
		io_done(io);
}

static void
sleep_stop(struct io_call *io)
{
	event_free(io->state);
}

const struct kind kind_sleep = {
	.name = "sleep",
	.class = KIND_IO,
	.help = "wait, using no CPU",
	.params = {
		[MS] = { .name = "ms", .type = PARAM_INT, .low = 0, .high = 86400000,
			 .fallback = "10", .help = "how long, in milliseconds" },
	},
	.start = sleep_start,
	.stop = sleep_stop,
};
