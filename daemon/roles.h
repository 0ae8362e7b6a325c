/*
 * roles.h - the processes of pyprepd.  A role is a file with one *_main() and a row
 * in spawn.c; what each is given at birth stands here.
 *
 * Children are forked from the supervisor, never exec'ed: a start costs a fork of a small
 * process.  A child keeps the descriptors of its struct and nothing else.
 */
#ifndef PYPREP_DAEMON_ROLES_H
#define PYPREP_DAEMON_ROLES_H

#include <sys/types.h>

#include "daemon/config.h"
#include "ipc/link.h"

struct birth {
	const struct config *config;
	struct board *board; /* mapped by all */
	int control;         /* socket to the supervisor; its end of file: the supervisor is gone */
	int broker_bell;     /* eventfd: wakes the broker */
	/* broker */
	int lock;     /* of the runtime directory: held as long as it lives (directory.c); also by
			 workers that run commands */
	int listener; /* the client socket, listening */
	int lane_listener; /* that of the zmq lane; -1: none */
	const char *lane_path; /* its name; NULL: none */
	const char *state_dir;
	int counters_memfd; /* the manager's too */
	/* manager */
	int manager_listener; /* listening at manager_path */
	const char *manager_path;
	int store_memfd;
	/* worker */
	const struct cgroup *cgroup; /* the broker tells of it */
	const char *scratch_dir, *scratch_home; /* scratch.h; NULL: there are none */
	unsigned pool, slot;
	struct link_fds link;
};

enum role { ROLE_BROKER, ROLE_WORKER, ROLE_SPARE, ROLE_MANAGER, ROLE_SWEEPER };

/* Each runs its process to the end and returns the exit status. */
int supervisor_main(struct config *config, const char *config_path, const char *runtime_dir,
		    const char *state_dir);
int broker_main(const struct birth *birth);
int worker_main(const struct birth *birth);
int spare_main(const struct birth *birth);
int manager_main(const struct birth *birth);
int sweeper_main(const struct birth *birth);

/* Fork a child of `role`.  *ret_control is the supervisor's end of its control socket,
 * non-blocking and close-on-exec.  Returns the pid or -errno. */
pid_t spawn(enum role role, struct birth *birth, int *ret_control);

/* As MSG_MANAGER says it. */
enum manager_state {
	MANAGER_OFF, /* not started yet, or ended with the daemon */
	MANAGER_STARTING,
	MANAGER_RUNNING,
	MANAGER_BACKOFF,
	MANAGER_FAILED,
};

enum pool_state { POOL_RUNNING, POOL_PAUSED, POOL_FAILED, POOL_DRAINING };

#endif
