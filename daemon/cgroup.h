/*
 * cgroup.h - memory limits for whole process trees: a control group for each command that has
 * one, below the daemon's own.
 *
 *   version 1   OURS/pyprepd-PID-START/WORKER          where the daemon may make directories
 *   version 2   OURS/pyprepd-PID-START/WORKER          where its cgroup is delegated to it
 *               OURS/pyprepd-PID-START.daemon          where the daemon itself goes, since a
 *                                                      group with children may hold no process
 *
 * OURS is the group the daemon was started in.  Nothing is made in version 1 before the first
 * command with a limit.  WORKER is POOL-SLOT-PID.  Who makes a group removes it: the worker after
 * its command; the supervisor after a worker's death; the worker again when the supervisor
 * is dead; and the next daemon that starts in OURS removes what bears a dead daemon's name (pid
 * and start time, as in shm/owner.h).
 *
 * Where there is no such group, `why` says what is missing.
 */
#ifndef PYPREP_DAEMON_CGROUP_H
#define PYPREP_DAEMON_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CGROUP_PATH 600

enum cgroup_version { CGROUP_NONE, CGROUP_V1, CGROUP_V2 };

struct cgroup {
	enum cgroup_version version;
	char ours[CGROUP_PATH - 100];
	char base[CGROUP_PATH];            /* of this daemon, below ours */
	char why[240];                     /* CGROUP_NONE: the reason, and what to do about it */
	char group[CGROUP_PATH + 16];      /* where the daemon's own processes are ... */
	enum cgroup_version group_version; /* ... CGROUP_NONE: not known */
	uint64_t oom_kills;                /* of processes in there, when it was last looked at */
};

/* ---- the supervisor's part ---- */

/* Find out, before anything is forked: version 2 moves this process.  With `wanted` false there
 * is none, by the configuration. */
void cgroup_open(struct cgroup *c, bool wanted);

/* Remove what dead daemons left in ours. */
void cgroup_sweep(const struct cgroup *c);

/* Remove what dead workers left; what is still in there is killed.  Called again and again, since
 * a group can be removed only once its last process has been reaped. */
void cgroup_tidy(const struct cgroup *c);

/* Has the kernel killed a process of the daemon's own group for want of memory, since the last
 * call?  Known in a container, too, where no groups can be made. */
bool cgroup_oom(struct cgroup *c);

/* The daemon ends: remove all of its own that is empty. */
void cgroup_close(struct cgroup *c);

/* "cgroup v1", "cgroup v2" or "rlimit": what limits the memory of a command. */
const char *cgroup_method(const struct cgroup *c);

/* ---- a command's ---- */

struct cgroup_run {
	const struct cgroup *cgroup; /* NULL: none */
	char path[CGROUP_PATH + 64];
	int procs; /* a process that writes "0" here is in the group */
	uint64_t oom_before;
};

/* Make the group of this worker, with a limit for all that will be in it.  0 or -errno, with
 * nothing left behind. */
int cgroup_run_open(struct cgroup_run *r, const struct cgroup *c, const char *worker,
		    uint64_t bytes);

/* How many of its processes the kernel has killed for want of memory. */
uint64_t cgroup_run_oom(const struct cgroup_run *r);

/* Remove it; its processes have been reaped.  On one without a group: nothing. */
void cgroup_run_close(struct cgroup_run *r);

/* The same, and the daemon's own directory if it is the last in there: the supervisor is dead. */
void cgroup_run_close_last(struct cgroup_run *r);

#endif
