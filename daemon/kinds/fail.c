/*
 * fail.c - go wrong on purpose, for people who want to watch it: say an error, leave the
 * worker, kill it by a signal, or never end.
 *
 * An I/O kind, so that it runs on process, thread and event workers alike.
 */
#include <event2/event.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/kind.h"
#include "daemon/kinds/timer.h"

enum { HOW, AFTER_MS, SIGNAL };
enum { HOW_ERROR, HOW_EXIT, HOW_SIGNAL, HOW_HANG };

#define EXIT_STATUS 3

/* Die of `signal`, whatever this process does with it and whatever this thread blocks; leave
 * no core file, since nothing is to be found in it. */
static void
die_of(int signal_number)
{
	struct rlimit none = { 0, 0 };
	sigset_t set;

	setrlimit(RLIMIT_CORE, &none);
	signal(signal_number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signal_number);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	raise(signal_number);
}

static void
fail_now(evutil_socket_t fd, short what, void *arg)
{
	struct io_call *io = arg;
	int signal_number = (int)args_int(io->call.args, SIGNAL);

	(void)fd;
	(void)what;
	io_enter(io);
	switch (args_int(io->call.args, HOW)) {
	case HOW_ERROR:
		call_fail(&io->call, "failed on purpose");
		break;
	case HOW_EXIT:
		_exit(EXIT_STATUS);
	case HOW_SIGNAL:
		die_of(signal_number);
		call_fail(&io->call, "the worker did not die of signal %d (%s)", signal_number,
			  strsignal(signal_number));
		break;
	case HOW_HANG:
		io_leave(io); /* and nothing will ever happen */
		return;
	}
	event_free(io->state);
	io_done(io);
}

static void
fail_start(struct io_call *io)
{
	io->state = timer_start(io, fail_now, (uint64_t)args_int(io->call.args, AFTER_MS));
	if (io->state == NULL)
		io_done(io);
}

static void
fail_stop(struct io_call *io)
{
	event_free(io->state);
}

const struct kind kind_fail = {
	.name = "fail",
	.class = KIND_IO,
	.help = "go wrong on purpose: an error, an exit or a signal of the worker, or a hang",
	.home = "process", /* the damage stays with one worker */
	.params = {
		[HOW] = { .name = "how", .type = PARAM_ENUM, .fallback = "error",
			  .choices = "error|exit|signal|hang", .help = "what goes wrong" },
		[AFTER_MS] = { .name = "after_ms", .type = PARAM_INT, .low = 0, .high = 86400000,
			       .fallback = "0", .help = "when, in milliseconds" },
		[SIGNAL] = { .name = "signal", .type = PARAM_INT, .low = 1, .high = 31,
			     .fallback = "11", .help = "of how=signal; 11 is SIGSEGV" },
	},
	.start = fail_start,
	.stop = fail_stop,
};
