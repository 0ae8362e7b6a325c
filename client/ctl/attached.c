/* attached.c - jobs that live with this process. */
#include "client/ctl/attached.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/command.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

#define CANCEL_AGAIN_MS 100
#define LAST_WORDS_S    20   /* patience for the receipts of what we cancelled */
#define TURN_EVENTS     4096 /* most events of one turn, so that submitting goes on, too */

static volatile sig_atomic_t caught; /* the signal; written by the handler */

static void
on_signal(int number)
{
	if (caught != 0)
		_exit(EXIT_SIGNALLED + number);
	caught = number;
}

void
attached_begin(struct attached *a, struct pyprep *p, event_fn event, void *context)
{
	struct sigaction action = { .sa_handler = on_signal };

	*a = (struct attached){ .p = p, .event = event, .context = context };
	a->progress.off = true;
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	/* a terminal that closes ends us; unlike the two above it asks for no last words */
}

bool
attached_stopped(const struct attached *a)
{
	return a->signal != 0 || caught != 0 || a->gone || output_broken();
}

/* What asks us to end, if anything does: a signal, or a reader of stdout that has gone. */
static void
look_for_end(struct attached *a)
{
	if (a->signal == 0 && caught != 0)
		a->signal = caught;
	else if (a->signal == 0 && output_broken())
		a->signal = SIGPIPE;
}

/* Again and again while jobs remain: a submit may still be on its way into the daemon. */
static void
cancel_rest(struct attached *a)
{
	uint64_t now;

	look_for_end(a);
	if (a->signal == 0 || a->gone || pyprep_outstanding(a->p) == 0)
		return;
	now = clock_now();
	if (a->cancelled_ns != 0 && now - a->cancelled_ns < CANCEL_AGAIN_MS * NS_PER_MS)
		return;
	a->cancelled_ns = now;
	if (a->signal_ns == 0)
		a->signal_ns = now;
	if (now - a->signal_ns > LAST_WORDS_S * NS_PER_S) {
		ctl_note("the daemon did not end all jobs within %d s; leaving it to that",
			 LAST_WORDS_S);
		a->gone = true;
		return;
	}
	(void)pyprep_cancel_all(a->p); /* what it cannot say now, the receipts will */
}

static void
lose(struct attached *a, const char *why)
{
	progress_clear(&a->progress);
	ctl_note("the connection to the daemon broke: %s", why);
	a->gone = a->broken = true;
}

void
attached_turn(struct attached *a, bool wait)
{
	struct pyprep_event event;
	int r = 0;

	cancel_rest(a);
	int timeout = !wait            ? 0
		      : a->signal != 0 ? CANCEL_AGAIN_MS
				       : progress_patience(&a->progress);
	/* what is printed must not stay in a buffer while we sleep */
	if (wait && __fpending(stdout) > 0 && (r = pyprep_next(a->p, 0, &event)) == 0)
		fflush(stdout);
	if (r == 0)
		r = pyprep_next(a->p, timeout, &event);
	for (int i = 0; r == 1; i++) {
		if (event.type == PYPREP_RECEIPT && strcmp(event.receipt.state, "cancelled") == 0)
			a->cancelled++;
		a->event(a, &event);
		if (i >= TURN_EVENTS)
			break;
		r = pyprep_next(a->p, 0, &event);
	}
	if (r == -EPIPE)
		a->gone = true; /* what it had has got its receipt: broker_lost */
	else if (r < 0 && r != -EINTR)
		lose(a, strerror(-r));
	cancel_rest(a);
	progress_show(&a->progress);
}

bool
attached_readable(struct attached *a, int fd)
{
	struct pollfd polled[2] = { { .fd = fd, .events = POLLIN }, { .events = POLLIN } };

	attached_turn(a, false);
	if (attached_stopped(a))
		return false;
	int timeout = pyprep_arm(a->p) != 0 ? 0 : progress_patience(&a->progress);
	if (timeout > 0)
		fflush(stdout);
	polled[1].fd = pyprep_fd(a->p);
	if (poll(polled, 2, timeout) <= 0)
		return false;
	return polled[0].revents != 0;
}

void
attached_finish(struct attached *a)
{
	while (!a->gone && pyprep_outstanding(a->p) > 0)
		attached_turn(a, true);
}

int
attached_end(struct attached *a, int status)
{
	progress_clear(&a->progress);
	if (a->signal == SIGPIPE)
		return status;
	if (a->signal != 0) {
		ctl_note("%s: cancelled %u job%s",
			 a->signal == SIGINT ? "interrupted" : "terminated", a->cancelled,
			 a->cancelled == 1 ? "" : "s");
		return EXIT_SIGNALLED + a->signal;
	}
	return a->broken ? EXIT_OURS : status;
}
