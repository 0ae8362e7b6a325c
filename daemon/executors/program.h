/*
 * program.h - start a program the fast way: clone(CLONE_VM | CLONE_VFORK) and execve.
 *
 * The child shares the parent's memory until it has executed, so nothing is copied, however
 * large the parent; the parent sleeps meanwhile.  The child makes system calls only, on a
 * stack of its own, and writes nothing but its report.
 *
 * A child that becomes another user gets a copy of the memory instead: a process of that user
 * must not share memory with a privileged one for an instant.
 */
#ifndef PYPREP_DAEMON_EXECUTORS_PROGRAM_H
#define PYPREP_DAEMON_EXECUTORS_PROGRAM_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/executors/account.h"

/* Where a start can fail. */
enum start_step {
	START_CLONE,
	START_GROUP,
	START_SESSION,
	START_ACCOUNT,
	START_CWD,
	START_STDIO,
	START_LIMIT,
	START_EXEC
};

struct start_failure {
	enum start_step step;
	int error; /* errno; 0: it did not fail */
};

struct program {
	const char *path; /* as program_find() gives it */
	char *const *argv;
	char *const *envp;
	const char *cwd;
	mode_t umask;
	const cpu_set_t *cpus;         /* where it may run; NULL: as we */
	int stdio[3];                  /* above 2 */
	const struct account *account; /* become it; NULL: stay who we are */
	int group;                     /* cgroup.procs of the cgroup to be in; -1: ours */
	uint64_t address_space;        /* RLIMIT_AS of each of its processes; 0: as ours */
	int nice;                      /* added to our niceness */
};

/* One per process; not for two threads at once. */
struct starter {
	void *stack;
	struct start_failure *report; /* shared with a child that has its own memory too */
};

int starter_open(struct starter *s); /* 0 or -errno */
void starter_close(struct starter *s);

/* Start a program in its own session, with signals at their defaults and unblocked (the caller
 * ignores and handles none), every descriptor above 2 closed, and SIGKILL when the caller dies.
 * Returns its pid, or -1 with *failure set and nothing left behind. */
pid_t program_start(struct starter *s, const struct program *program,
		    struct start_failure *failure);

/* Find `name` as a shell does: itself when it has a slash, else the first executable file in
 * `path` (NULL: the usual directories).  Relative directories count from `cwd`.
 * 0, -ENOENT, -EACCES (found, not executable), -ENAMETOOLONG. */
int program_find(const char *name, const char *path, const char *cwd, char *buffer, size_t size);

#endif
