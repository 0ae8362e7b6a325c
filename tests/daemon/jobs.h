/*
 * jobs.h - jobs of a test, many at once, and control requests in words; through libpyprep.
 * What a test cannot go on without aborts with a sentence, as in helpers.h.
 */
#ifndef PYPREP_TESTS_DAEMON_JOBS_H
#define PYPREP_TESTS_DAEMON_JOBS_H

#include "tests/helpers.h"

#define MS UINT64_C(1000000) /* in ns */

/* Submit, or abort; the tag. */
uint64_t start_job(struct pyprep *p, const struct pyprep_job *job);

/* Kind, pool (NULL: the default) and parameters in words ("n=5 method=memo", NULL: none);
 * `timeout_ms` 0: none. */
uint64_t start(struct pyprep *p, const char *kind, const char *pool, const char *params,
	       unsigned timeout_ms);

/* sh -c `script` as an exec job. */
uint64_t start_shell(struct pyprep *p, const char *script, unsigned timeout_ms);

/* The next receipt, whatever else comes before it: 1; 0 after `ms`; or -errno. */
int next_receipt(struct pyprep *p, unsigned ms, struct pyprep_receipt *ret);

/* The receipt of `tag`; those of others that come first are dropped.  Aborts after `ms`. */
void receipt_for(struct pyprep *p, uint64_t tag, unsigned ms, struct pyprep_receipt *ret);

struct tally {
	uint64_t receipts, succeeded, failed, cancelled, timed_out, refused;
	uint64_t worker_died, broker_lost, bystanders; /* of the failed */
};
void tally_add(struct tally *t, const struct pyprep_receipt *receipt);

/* Take receipts until none is outstanding, at most `ms`.  false: some never came. */
bool finish_all(struct pyprep *p, unsigned ms, struct tally *t);

/* A control request: `words` are "key=value ..."; a value of digits is an integer, true and
 * false are booleans, "1,2,3" or "7," is a list of integers, the rest is text.  0, or -errno with
 * `why` (may be NULL).  Its replies stand in ask_answer, each as {"key"=>value, ...}, until the
 * next call. */
int ask(struct pyprep *p, const char *verb, const char *words, struct pyprep_problem *why);
extern char ask_answer[65536];

/* Is the state of job `id` this one? */
bool job_is(struct pyprep *p, uint64_t id, const char *state);
unsigned job_attempt(struct pyprep *p, uint64_t id); /* its last; 0: there is no such job */

/* CPU time of a process so far, user and system, in ms; 0 when it is gone. */
uint64_t cpu_ms(pid_t pid);

/* Open descriptors of a process when their number has stood still for 20 ms and it sleeps:
 * connections are closed a little after their time. */
int settled_fds(pid_t pid);

/* ... of the supervisor when it has all that it keeps ready: spare links, then a spare worker. */
int supervisor_fds(const struct test_daemon *d);

/* The id of the only (or newest) job of this user that the daemon lists as queued or running;
 * 0: none. */
uint64_t newest_job(struct pyprep *p);

/* How many of this user's jobs have been started by their workers and have not ended. */
unsigned jobs_started(struct pyprep *p);

#endif
