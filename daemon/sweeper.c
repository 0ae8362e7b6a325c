/*
 * sweeper.c - scratch directories from the supervisor's side, and the role that removes what takes
 * long: the trash of workers, and what dead daemons left.
 *
 * A sweeper is forked when there is something to remove, and ends when all is gone.  Should
 * it die, the rest waits for the next one.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/supervisor.h"
#include "ipc/clock.h"

#define CLOSE_NS NS_PER_S /* at the end of the daemon */

int
sweeper_main(const struct birth *birth)
{
	log_open("sweeper", LOG_LEVEL_INFO);
	(void)setpriority(PRIO_PROCESS, 0, 19);
	scratch_sweep(birth->scratch_dir, birth->scratch_home);
	return EXIT_SUCCESS;
}

void
sweeper_open(struct supervisor *s)
{
	struct sweeper *w = &s->sweeper;

	if (s->config->scratch_dir[0] != '\0')
		snprintf(w->directory, sizeof(w->directory), "%s", s->config->scratch_dir);
	else
		snprintf(w->directory, sizeof(w->directory), "%s/scratch", s->runtime_dir);
	int r = scratch_home_open(&w->home, w->directory);
	if (r < 0) {
		log_warn("no scratch directories for jobs: cannot make one in %s: %s; see "
			 "scratch_dir in pyprepd.conf(5)",
			 w->directory, strerror(-r));
		return;
	}
	s->birth.scratch_dir = w->directory;
	s->birth.scratch_home = w->home.path;
}

void
sweeper_start(struct supervisor *s)
{
	struct birth birth = s->birth;

	if (s->phase != RUN || s->birth.scratch_home == NULL)
		return;
	if (s->sweeper.pid != 0) {
		s->sweeper.again = true;
		return;
	}
	birth.listener = birth.lane_listener = -1;
	birth.link = (struct link_fds)LINK_NO_FDS;
	s->sweeper.again = false;
	pid_t pid = spawn(ROLE_SWEEPER, &birth, &s->sweeper.control);
	if (pid < 0)
		log_warn("cannot fork a sweeper: %s; the next one removes what waits",
			 strerror(-pid));
	else
		s->sweeper.pid = pid;
}

void
sweeper_begin(struct supervisor *s)
{
	if (s->birth.scratch_home != NULL &&
	    scratch_has_litter(s->sweeper.directory, s->sweeper.home.path))
		sweeper_start(s);
}

bool
sweeper_reaped(struct supervisor *s, pid_t pid)
{
	if (pid != s->sweeper.pid)
		return false;
	s->sweeper.pid = 0;
	close(s->sweeper.control);
	if (s->sweeper.again)
		sweeper_start(s);
	return true;
}

void
sweeper_stop(struct supervisor *s)
{
	if (s->sweeper.pid != 0)
		kill(s->sweeper.pid, SIGKILL);
}

void
sweeper_close(struct supervisor *s)
{
	scratch_home_close(&s->sweeper.home, CLOSE_NS);
	if (s->config->scratch_dir[0] == '\0')
		(void)rmdir(s->sweeper.directory);
}
