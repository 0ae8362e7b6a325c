/*
 * orphans.c - what dead command workers left behind.
 *
 * The supervisor is a subreaper: when a command worker is killed, the processes its command
 * had started become the supervisor's children.  They belong to a job that is over; the broker
 * hears of the death when they are gone, or it would start the job again beside them.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/supervisor.h"
#include "ipc/cleanup.h"

/* One that the kernel cannot end is not waited for any longer. */
#define HOLD_MOST_S 10

/* Kill every child that is neither broker, manager nor a worker; how many there were. */
static unsigned
kill_strangers(struct supervisor *s)
{
	char path[64];
	unsigned n = 0;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return 0;
	while (fscanf(f, "%d", &pid) == 1) {
		if (pid == s->broker_pid || pid == s->minder.pid || pid == s->sweeper.pid ||
		    slots_owns(s, pid))
			continue;
		kill(pid, SIGKILL);
		n++;
	}
	fclose(f);
	return n;
}

static void
release(struct supervisor *s)
{
	s->orphans_held = false;
	evtimer_del(s->orphans_patience);
	outbox_flush(s);
}

static void
on_patience(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;

	(void)fd;
	(void)what;
	log_error("%u processes of a dead worker's command cannot be killed: its job may be "
		  "started again beside them",
		  kill_strangers(s));
	release(s);
}

int
orphans_open(struct supervisor *s)
{
	s->orphans_patience = evtimer_new(s->base, on_patience, s);
	return s->orphans_patience != NULL ? 0 : -ENOMEM;
}

void
orphans_close(struct supervisor *s)
{
	event_free(s->orphans_patience);
}

void
orphans_hold(struct supervisor *s)
{
	static const struct timeval patience = { .tv_sec = HOLD_MOST_S };
	unsigned n = kill_strangers(s);

	if (n == 0)
		return;
	log_info("killed %u processes that a dead worker's command left behind", n);
	/* Without a limit nobody is held. */
	s->orphans_held = evtimer_add(s->orphans_patience, &patience) == 0;
}

void
orphans_end(struct supervisor *s)
{
	unsigned n = kill_strangers(s);

	/* Their children come to us when they are reaped, and SIGCHLD calls again. */
	if (n > 0 && !s->orphans_held)
		log_info("killed %u processes that a dead worker's command left behind", n);
	else if (n == 0 && s->orphans_held)
		release(s);
}
