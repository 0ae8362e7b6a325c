/*
 * watch.h - one running command, from its start until nothing of it is left.
 *
 * The worker is a subreaper, so all that the command forks ends up as its child, however often it
 * forked and whatever session it made.  The command is over when its main process has exited; what
 * is left of its tree then is killed.  A MSG_STOP sends SIGTERM to the whole tree, and SIGKILL
 * once the pool's grace is over, again and again until nothing is left.
 *
 * While a command runs the worker sleeps in one poll() over its signals, the link's bell, the
 * control socket and the two pipes.  All signals stay blocked; SIGCHLD and SIGTERM come through a
 * signalfd, so that the command starts with clean handlers and nothing is interrupted.
 */
#ifndef PYPREP_DAEMON_EXECUTORS_WATCH_H
#define PYPREP_DAEMON_EXECUTORS_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/cgroup.h"
#include "daemon/context.h"
#include "daemon/executor.h"
#include "daemon/executors/aside.h"
#include "daemon/executors/output.h"
#include "daemon/executors/program.h"
#include "daemon/scratch.h"

/* The worker process, between and during commands. */
struct runner {
	struct worker *worker;
	struct starter starter;
	struct aside aside;
	struct context context; /* of a command whose client gave none */
	pid_t supervisor;
	struct scratch scratch;  /* home NULL: there is none */
	struct cgroup_run group; /* of the command that runs, if it has one */
	int signals; /* signalfd: SIGCHLD, SIGTERM */
	int devnull;
	bool ordered_out; /* the supervisor wants this worker gone */
	bool spoilt;      /* something could not be killed: this worker can run no more */
};

enum run_phase { RUN_GOING, RUN_TERMINATING, RUN_KILLING };

/* One command. */
struct run {
	struct runner *runner;
	const struct run_body *body;
	pid_t pid; /* of the main process */
	struct output outputs[2];
	enum run_phase phase;
	uint64_t deadline_ns;   /* TERMINATING: SIGKILL follows; KILLING: we give up */
	unsigned stop_reason;   /* enum job_cause; 0: nobody ordered its end */
	bool exited;            /* the main process has been reaped */
	bool childless;         /* nothing of the tree is left */
	int status;             /* as wait4() gives it */
	size_t left;            /* processes that lived on when it had ended by itself */
	struct outcome outcome; /* started_ns by the caller; ended_ns and usage by watch() */
};

/* Stay with a command that has just been started until nothing of it is left and its output
 * has been handed on. */
void watch(struct run *c);

/* Take all requests: a MSG_RUN goes to the backlog, a MSG_STOP ends `c` if it is meant
 * (NULL: no command runs). */
void watch_requests(struct runner *r, struct run *c);

/* Wait until the results have room for a body of `length`. */
void watch_room(struct runner *r, uint32_t length);

#endif
