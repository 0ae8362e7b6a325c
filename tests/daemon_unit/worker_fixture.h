/*
 * worker_fixture.h - one worker in a process of its own, driven through a link as the broker
 * drives it; for tests that look at what happens around a run.
 */
#ifndef PYPREP_TESTS_WORKER_FIXTURE_H
#define PYPREP_TESTS_WORKER_FIXTURE_H

#include "daemon/cgroup.h"
#include "daemon/config.h"
#include "daemon/executor.h"
#include "ipc/link.h"

/* Set before start_worker(); the worker's. */
extern struct pool_config pool;
extern struct cgroup cgroup;         /* version CGROUP_NONE: none */
extern const char *scratch_home;     /* NULL: none */
extern bool (*worker_prepare)(void); /* called in the worker first; false: it ends.  May be NULL */

extern pid_t worker;
extern int control; /* the supervisor's end */

/* What came back for the last request. */
extern struct got {
	struct result_body result; /* ticket 0: none yet */
	char message[512];
	char out[4096];
	unsigned lefts;
	struct left_body left; /* the last one */
} got;

void start_worker(const char *executor, unsigned concurrency);
void stop_worker(void); /* in good order, with status 0 */

/* Send it: the ticket's index.  `run` says what else there is but the kind. */
int send_kind(const char *kind, struct run_body run, const int64_t *words, unsigned count);
int send_shell(const char *script, struct run_body run);

void receive(void); /* wait for the result of the last request */

/* Send and wait. */
void run_kind(const char *kind, struct run_body run, const int64_t *words, unsigned count);
void run_shell(const char *script, struct run_body run);

/* Wait until the ticket has been claimed. */
void wait_claimed(int index);

/* Has a frame of this type come from the worker to its supervisor? */
bool control_says(unsigned type);

#endif
