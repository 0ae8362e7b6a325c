/*
 * executor.h - how a worker runs jobs: one row and one function per way.
 *
 * To add an executor: write executors/NAME.c with its run function, add its row to
 * executors/table.c, and a test.
 */
#ifndef PYPREP_DAEMON_EXECUTOR_H
#define PYPREP_DAEMON_EXECUTOR_H

#include <sched.h>
#include <stdbool.h>

#include "daemon/kind.h"
#include "daemon/recycle.h"
#include "ipc/link.h"

struct cgroup;
struct pool_config;

/* What a worker process has when its executor starts. */
struct worker {
	const struct pool_config *pool;
	unsigned slot;
	struct link_worker link;
	cpu_set_t usable; /* the CPUs of the daemon, before the supervisor bound the worker to one;
			     for the programs it starts */
	const struct cgroup *cgroup; /* for commands with a memory limit; NULL: none */
	const char *scratch_home; /* scratch.h; NULL: none */
	struct recycle recycle;
	int control; /* socket to the supervisor; readable (end of file) is the order to stop */
};

struct executor {
	const char *name; /* as in the config: executor = name */
	const char *help;
	unsigned classes; /* 1u << KIND_CPU | ...: the classes it can run */
	unsigned workers; /* default number of workers; 0: one per usable CPU */
	unsigned concurrency; /* default jobs at once per worker; 0: one per usable CPU */
	unsigned concurrency_max;
	bool shares_fate; /* many jobs in one process: its death is charged to all of them */
	bool one_cpu; /* one job at a time: a worker may be bound to a CPU, and have a short job ahead */
	bool stops_alone; /* can end one running job by MSG_STOP and live on; else the worker is
			     killed to end a job */
	/* Take requests from w->link until the supervisor says stop.  Returns the exit status.
	 * Calls link_worker_ready() when it is. */
	int (*run)(struct worker *w);
};

extern const struct executor executors[];
extern const unsigned executor_count;
const struct executor *executor_by_name(const char *name);

static inline bool
executor_runs(const struct executor *e, const struct kind *k)
{
	return (e->classes & 1u << k->class) != 0;
}

/* The run functions of the rows, one file each under executors/. */
int process_run(struct worker *w);
int thread_run(struct worker *w);
int event_run(struct worker *w);
int command_run(struct worker *w);

/* ---- common to executors: daemon/run.c ---- */

/* This process is `w`: call_scratch() finds its directory by that. */
void run_open(struct worker *w);

/* Prepare `call` for `run`; free with call_end(). */
void call_begin(struct call *call, const struct run_body *run, const void *args);
void call_end(struct call *call);

/* Run one KIND_CPU job or range, or one KIND_IO on a loop of its own, on this thread, with
 * full or light measurement (usage.h), and publish its result through `publish_lock`
 * (a pthread_mutex_t, or NULL when the worker has one thread).  false: the thread cannot
 * go back to what it was before, and must run nothing else. */
bool run_one(struct worker *w, const struct run_body *run, const void *args, void *publish_lock);

/* Kinds keep things from job to job (array_views.h).  A worker without work waits this long,
 * in ms (-1: for ever), and then calls run_idle(). */
int run_patience_ms(void);
void run_idle(void);

/* The calling thread runs no more jobs: end what run_one() keeps for it. */
void run_close(void);

/* Make the event loop of a worker: timers exact to the microsecond, and no cached time, so
 * that a timer set late in a long callback does not fire early.  NULL: no memory. */
struct event_base *run_loop_new(void);

/* Publish what a job left behind, before its result.  The caller holds the publishing lock, if
 * there is one. */
void run_tell_left(struct worker *w, const struct left_body *left);

/* The flags of a result: those of the receipt, and whether the worker asks to be replaced. */
uint32_t run_result_flags(struct worker *w, uint32_t flags, uint64_t now_ns);

/* The calling thread may run nothing any more: wait for the order to end. */
void worker_wait_for_end(const struct worker *w);

/* There is trash to remove: tell the supervisor (sweeper.c). */
void worker_litters(const struct worker *w);

/* Publish the outcome of `call`, which call_end() has not freed yet. */
void run_publish(struct worker *w, struct call *call, uint64_t ticket, void *publish_lock);

#endif
