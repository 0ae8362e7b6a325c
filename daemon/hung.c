/*
 * hung.c - workers that have been stopped (SIGSTOP, a terminal's doing): with jobs on them they are
 * killed and replaced, or those jobs would wait for ever.
 *
 * Only busy workers are looked at, once a second.  One that a debugger holds is in another state,
 * and left alone; so is one that computes: how long a job may take is what its timeout says.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/broker.h"
#include "daemon/log.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"

/* The state in /proc/PID/stat: 'T' when it is stopped; 0: unknown. */
static char
state_of(uint32_t pid)
{
	char path[48], text[256];

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	scoped_fd fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	const char *end = strrchr(text, ')'); /* of the name, which may hold anything */
	return end != NULL && end[1] == ' ' ? end[2] : 0;
}

uint64_t
hung_look(struct broker *b, struct crew *w)
{
	if (w->outstanding == 0 || w->leaving) {
		w->looked_ns = w->stopped_ns = 0;
		return 0;
	}
	if (w->looked_ns != 0 && b->now_ns - w->looked_ns < HUNG_LOOK_NS)
		return w->looked_ns + HUNG_LOOK_NS;
	w->looked_ns = b->now_ns;
	if (state_of(w->pid) != 'T') {
		w->stopped_ns = 0;
	} else if (w->stopped_ns == 0) {
		w->stopped_ns = b->now_ns;
	} else {
		log_event(LOG_LEVEL_WARN, LOG_WORKER_KILLED,
			  ABOUT(.pool = b->pools[w->pool].config->name, .slot = w->slot,
				.worker_pid = w->pid),
			  "killing worker %s/%u (pid %u): it has been stopped for a second with %u "
			  "jobs on it; it will be replaced",
			  b->pools[w->pool].config->name, w->slot, w->pid, w->outstanding);
		crew_take_back(b, w);
		crew_kill(b, w);
		return 0;
	}
	return w->looked_ns + HUNG_LOOK_NS;
}
