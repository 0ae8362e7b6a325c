/*
 * orphans.c - what dead command workers left behind.
 *
 * The supervisor is a subreaper: when a command worker is killed, the processes its command
 * had started become the supervisor's children.  They belong to a job that is over.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/supervisor.h"
#include "ipc/cleanup.h"

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

void
orphans_end(struct supervisor *s)
{
	unsigned n = kill_strangers(s);

	/* Their children come to us when they are reaped, and SIGCHLD calls again. */
	if (n > 0)
		log_info("killed %u processes that a dead worker's command left behind", n);
}
