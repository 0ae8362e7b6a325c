/*
 * helpers.h - a private pyprepd for a test: its own runtime and state directory, started and
 * stopped by the test, gone with it.  All waiting is for states, never for a while.
 *
 *	static struct test_daemon d;
 *	static void setup(void) { daemon_begin(&d, NULL); }
 *	static void teardown(void) { daemon_end(&d); }
 *	TestSuite(name, .init = setup, .fini = teardown, .timeout = 30);
 *
 * daemon_begin() and the other helpers that a test cannot go on without print what was wrong
 * and abort() on failure, so that a test reads as its story.
 */
#ifndef PYPREP_TESTS_HELPERS_H
#define PYPREP_TESTS_HELPERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/pyprep.h"
#include "tests/files.h"
#include "tests/process.h"

struct test_daemon {
	char root[96];     /* the temporary directory */
	char runtime[112]; /* root/run: PYPREP_RUNTIME_DIR of the test from now on */
	char config[128];  /* root/pyprepd.conf, or "" */
	char log[128];     /* root/log: stderr of the daemon */
	pid_t pid;         /* the supervisor; 0: not running */
};

/* Make the directory, write `config` (NULL: none), start pyprepd and wait until it runs and
 * every worker of every pool that has not failed is idle.  Also makes the test the reaper of
 * its orphans, so that daemon_end() sees all that is left. */
void daemon_begin(struct test_daemon *d, const char *config);

/* The same in steps.  daemon_launch() only starts the process; daemon_prepare() only makes
 * directories. */
void daemon_prepare(struct test_daemon *d, const char *config);
void daemon_launch(struct test_daemon *d);
bool daemon_wait_ready(struct test_daemon *d, unsigned ms);

/* SIGTERM, and wait at most `ms`.  The status as waitpid gives it, or -ETIMEDOUT. */
int daemon_stop(struct test_daemon *d, unsigned ms);

/* Stop what still runs, and remove the directory.  Aborts, naming them, when processes of the
 * daemon outlive it.  Fine after daemon_stop(), and on a zeroed struct. */
void daemon_end(struct test_daemon *d);

/* Does `text` stand in the daemon's log? */
bool daemon_logged(const struct test_daemon *d, const char *text);

/* ---- status ---- */

#define STATUS_POOLS   8
#define STATUS_WORKERS 64

struct status_worker {
	unsigned slot;
	pid_t pid;
	char state[16];
	uint64_t jobs;
	uint64_t restarts;
};

struct status_pool {
	char name[32];
	char executor[16];
	char state[16];
	uint64_t size, queued, running, done;
	uint64_t able, able_least, recycled;
	unsigned worker_count;
	struct status_worker workers[STATUS_WORKERS];
};

struct test_status {
	char state[16];
	pid_t supervisor, broker, manager; /* manager 0: none now */
	char manager_state[16];
	uint64_t clients;
	uint64_t jobs_queued, jobs_running;
	uint64_t table_jobs, table_bytes;
	unsigned pool_count;
	struct status_pool pools[STATUS_POOLS];
};

/* Connect, ask, close.  0 or -errno. */
int daemon_status(const struct test_daemon *d, struct test_status *ret);

/* NULL when there is none. */
struct status_pool *status_pool(struct test_status *status, const char *name);

/* The pid of a worker that is up, or 0. */
pid_t daemon_worker(const struct test_daemon *d, const char *pool, unsigned slot);
pid_t daemon_broker(const struct test_daemon *d);

/* SIGKILL to it, once it is up; or abort.  (A pid of 0 would be the test's own group.) */
void daemon_kill_worker(const struct test_daemon *d, const char *pool, unsigned slot);

/* Connect, or abort. */
struct pyprep *daemon_connect(const struct test_daemon *d);

/* Submit one job with parameters in words ("n=1000 method=memo", NULL: none), wait at most
 * `ms` for its receipt; its items and output are dropped.  0, or -errno of the step
 * that failed (-ETIMEDOUT: no receipt).  Texts of *ret are valid until the next call on `p`. */
int run_job(struct pyprep *p, const char *kind, const char *pool, const char *params, unsigned ms,
	    struct pyprep_receipt *ret);

/* The receipt's result as an integer; aborts when it is none. */
int64_t receipt_int(const struct pyprep_receipt *receipt);

#endif
