/*
 * policies.h - jobs with policies, attached and detached, in few words; what a test cannot go on
 * without aborts with a sentence, as in helpers.h.
 */
#ifndef PYPREP_TESTS_DAEMON_POLICIES_H
#define PYPREP_TESTS_DAEMON_POLICIES_H

#include "tests/daemon/jobs.h"

/* Attached; the tag. */
uint64_t start_with(struct pyprep *p, const char *kind, const char *pool, const char *params,
		    const struct pyprep_policy *policy);

/* Detached; its id, when it is accepted.  0: it is refused, then *ret is the receipt (may be
 * NULL). */
uint64_t detach(struct pyprep *p, const char *kind, const char *params,
		const struct pyprep_policy *policy, struct pyprep_receipt *ret);
/* ... that waits for `parent`, to end in any way or to succeed. */
uint64_t detach_after(struct pyprep *p, const char *kind, uint64_t parent, bool any);
uint64_t detach_held(struct pyprep *p, const char *kind);

/* How a job ended that is not of this connection; waits at most `ms`, then aborts.  Texts are
 * good until the next call. */
void end_of(struct pyprep *p, uint64_t id, unsigned ms, struct pyprep_receipt *ret);
bool ended_as(struct pyprep *p, uint64_t id, const char *state);

void hold(struct pyprep *p, uint64_t id);
void release(struct pyprep *p, uint64_t id);

/* When it started on a worker; 0: it never did. */
uint64_t started_ns(const struct pyprep_receipt *r);

/* Close the connection, kill the broker (the whole daemon), wait for the next one; a connection to
 * it. */
struct pyprep *replace_broker(struct test_daemon *d, struct pyprep *p);
struct pyprep *replace_daemon(struct test_daemon *d, struct pyprep *p);

#endif
