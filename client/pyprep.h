/*
 * pyprep.h - libpyprep: submit jobs to a pyprepd and get their receipts.
 *
 *	struct pyprep *p;
 *	struct pyprep_problem why;
 *	if (pyprep_connect(NULL, &p, &why) < 0)
 *		errx(1, "%s", why.message);
 *	const char *params[] = { "n=1000000", NULL };
 *	struct pyprep_job job = { .kind = "sumsq", .params = params };
 *	pyprep_submit(p, &job, &tag, &why);
 *	struct pyprep_event event;
 *	while (pyprep_next(p, -1, &event) == 1)
 *		if (event.type == PYPREP_RECEIPT) ...
 *	pyprep_close(p);
 *
 * A connection belongs to one thread at a time.  Jobs are attached to it: closing it
 * cancels what has not ended.  Nothing here prints, forks, installs signal handlers or
 * exits.  Times are nanoseconds of CLOCK_MONOTONIC, memory is bytes.
 *
 * Functions return 0 (or what they say) or a negative errno; with `why` not NULL they also
 * leave a stable word and a sentence there.  Common to all: -EPIPE the daemon is gone
 * (jobs not yet ended get a receipt with cause "broker_lost" from pyprep_next()), -EPROTO
 * it does not speak our protocol, -EINTR a signal came while waiting: call again.
 */
#ifndef PYPREP_H
#define PYPREP_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PYPREP_API __attribute__((visibility("default")))

struct pyprep; /* one connection */
struct pyprep_prepared; /* a job with its names resolved and parameters packed */

struct pyprep_problem {
	char code[32]; /* stable word: "unknown_kind", "unreachable", "queue_full", ... */
	char message[480]; /* a sentence: what was wrong, expected, and what to do next */
	int exit_status; /* what pyprepctl exits with: 2, 3, 69, 75, 77, 125 */
};

/* Connect to the daemon of `runtime_dir` (NULL: $PYPREP_RUNTIME_DIR, else /run/pyprep for
 * root, $XDG_RUNTIME_DIR/pyprep for a user; when that has no daemon, /run/pyprep).
 * The caller owns *ret and ends it with pyprep_close().
 * -ENOENT, -ECONNREFUSED: no daemon there.  -EACCES: not allowed. */
PYPREP_API int pyprep_connect(const char *runtime_dir, struct pyprep **ret,
			      struct pyprep_problem *why);

/* The same on a lane of your choice: how jobs and results travel.
 *   "shm"   rings in memory shared with the daemon: the fastest; what pyprep_connect() takes
 *   "unix"  frames on its unix socket, nothing shared
 *   "zmq"   frames through ZeroMQ (a daemon with zmq_lane = yes, and libzmq5 installed)
 * NULL: $PYPREP_LANE, else "shm"; so pyprep_connect() follows that variable too.  Every call works
 * on every lane; parameters are a little shorter on unix and zmq (65,476 bytes, not 65,536), and a
 * receipt's result above 64 KiB is left out there (truncated is set, and the error text says so).
 * -EINVAL: there is no such lane.  -ENOENT: the daemon has no zmq lane.  -ELIBACC: no libzmq. */
PYPREP_API int pyprep_connect_lane(const char *runtime_dir, const char *lane, struct pyprep **ret,
				   struct pyprep_problem *why);

/* The lane of a connection: "shm", "unix" or "zmq". */
PYPREP_API const char *pyprep_lane(const struct pyprep *p);

/* Cancels what has not ended, and frees all.  NULL is fine. */
PYPREP_API void pyprep_close(struct pyprep *p);

/* A descriptor for poll(): readable when pyprep_next(p, 0, ...) may have something, after
 * pyprep_arm() returned 0.  It is the connection's: do not read or close it. */
PYPREP_API int pyprep_fd(const struct pyprep *p);

/* Ask for the descriptor to become readable.  1: something is there already, do not
 * sleep; 0: sleep on pyprep_fd().  Any other call on the connection undoes it: arm again. */
PYPREP_API int pyprep_arm(struct pyprep *p);

/* When and how often a job runs.  All zero asks for nothing: 0 and NULL are the defaults. */
struct pyprep_after {
	uint64_t id; /* of the job that is waited for */
	int any;     /* 0: it must succeed; 1: it must end */
};
struct pyprep_rate {
	const char *group; /* "kind:NAME", "key:NAME"; NULL: this job's kind */
	uint32_t count;    /* starts ... */
	uint64_t window_ns; /* ... within any time so long */
};
struct pyprep_need {
	const char *name; /* a resource of the daemon's configuration */
	uint64_t count;
};
struct pyprep_policy {
	unsigned retries;    /* attempts after the first, at most 10000 */
	const char *backoff; /* "exp": each wait twice the last; "const".  NULL: "exp" */
	uint64_t backoff_first_ns, backoff_most_ns; /* first and longest wait; 0: 1 s, 5 min */
	const char *jitter; /* "full": a random part of the wait; "none".  NULL: full with exp */
	/* Which ends are followed by another attempt: "exit:75", "exit", "signal", "timeout",
	 * "worker_died", "oom", "error"; NULL at the end.  NULL: all of them. */
	const char *const *retry_on;
	uint64_t delay_ns; /* start that much later ... */
	uint64_t at_ns;    /* ... or not before this time of CLOCK_REALTIME */
	const struct pyprep_after *after;
	size_t after_count; /* at most 256 */
	int hold;           /* wait for `release` */
	const char *key;    /* at most one job with this key that has not ended */
	const char *if_exists; /* then: "reject", "return" (the id of that one), "replace" it */
	uint64_t cache_ns; /* a result of the same kind and parameters will do that is not older */
	uint64_t keep_ns; /* a detached job's record, after its end; 0: as store_keep says */
	const struct pyprep_rate *rates;
	size_t rate_count; /* at most 16 */
	const struct pyprep_need *needs;
	size_t need_count;         /* at most 16 */
	uint64_t memory_bytes;     /* it is ended when it takes more */
	int nice;                  /* 0 .. 19 */
	const char *const *labels; /* "name=value", at most 16, NULL at the end */
	unsigned crash_limit;      /* workers it may kill before it is put aside; 0: 3 */
};

struct pyprep_job {
	const char *kind;
	const char *pool; /* NULL: the first pool that runs such kinds */
	const char *const *params; /* "name=value", NULL at the end; NULL: none */
	const char *const *argv; /* kind exec: the command, NULL at the end */
	int priority; /* -100 .. 100, higher first */
	uint64_t timeout_ns; /* of the run; 0: none */
	int64_t item_low, item_high; /* array job over low .. high-1 when low < high */
	unsigned flags; /* PYPREP_NO_WAIT, PYPREP_DETACH */
	const struct pyprep_policy *policy; /* NULL: once, at once */
};
#define PYPREP_NO_WAIT 1u /* no room in the daemon: refuse (queue_full), do not wait */
/* The job lives in the daemon's store: it ends though this connection, the daemon or the machine go
 * down meanwhile.  Its one event is PYPREP_ACCEPTED, when that is so; or a receipt that says
 * "refused", or "broker_lost": then nobody knows, and it is submitted again with the same token. */
#define PYPREP_DETACH 2u
#define PYPREP_TOKEN  16

/* Resolve names with the daemon (one round trip) and pack the parameters, for submitting
 * many times.  The caller owns *ret; end it with pyprep_prepared_free() before the
 * connection.  -EINVAL with `why`: unknown kind or pool, or the kind does not run there.
 * (Parameters are checked by the daemon at submit: a bad one gives a refused receipt.) */
PYPREP_API int pyprep_prepare(struct pyprep *p, const struct pyprep_job *job,
			      struct pyprep_prepared **ret, struct pyprep_problem *why);
PYPREP_API void pyprep_prepared_free(struct pyprep_prepared *prepared);
PYPREP_API const char *pyprep_prepared_pool(const struct pyprep_prepared *prepared);
PYPREP_API const char *pyprep_prepared_executor(const struct pyprep_prepared *prepared);

/* Put one job on its way.  *ret_tag (may be NULL) comes back in its events.  `user` too.
 * Waits while the ring is full, keeping events that arrive meanwhile for pyprep_next().
 * -EAGAIN with PYPREP_NO_WAIT: the ring is full.  -EMSGSIZE: parameters too long. */
PYPREP_API int pyprep_submit_prepared(struct pyprep *p, const struct pyprep_prepared *prepared,
				      void *user, uint64_t *ret_tag);

/* The same for a PYPREP_DETACH one with a token of your own: 16 bytes that no other job has.  As
 * often as the same token is submitted, by whomever and whenever, it is one job.
 * pyprep_submit_prepared() makes one up.  -EINVAL: it is not PYPREP_DETACH. */
PYPREP_API int pyprep_submit_token(struct pyprep *p, const struct pyprep_prepared *prepared,
				   const unsigned char token[PYPREP_TOKEN], void *user,
				   uint64_t *ret_tag);

/* pyprep_prepare, submit and free in one. */
PYPREP_API int pyprep_submit(struct pyprep *p, const struct pyprep_job *job, void *user,
			     uint64_t *ret_tag, struct pyprep_problem *why);

struct pyprep_receipt {
	uint64_t id; /* the daemon's number of the job; 0 when it was refused */
	uint64_t tag;
	const char *kind, *pool, *executor; /* valid as long as the connection */
	const char *state; /* succeeded failed cancelled timed_out refused */
	const char *cause; /* none error exit signal timeout worker_died cancelled ... */
	int cause_value; /* exit status or signal */
	const char *error_code; /* "none", or a stable word */
	const char *error_message; /* "" when there is none; valid until the next call */
	const void *result; /* one msgpack value; valid until the next call */
	size_t result_length;
	unsigned attempt;
	int slot; /* -1: never reached a worker */
	int worker_pid;
	int truncated; /* a command's output was longer than the cap */
	int cached; /* did not run: the result of one like it (--cache) */
	int bystander; /* died of another job's deed on the same worker */
	uint64_t items, items_failed; /* array jobs */
	int exit_status; /* what `pyprepctl run` exits with */

	/* The way, in ns.  submit + store + queue + dispatch + run + return + residual = total */
	uint64_t submit_ns, store_ns, queue_ns, dispatch_ns, run_ns, return_ns;
	uint64_t total_ns;
	int64_t residual_ns;
	uint64_t submitted_ns, ended_ns; /* the clock's own values, to order receipts by */
	uint64_t ended_wall_ns; /* CLOCK_REALTIME when it ended, as the daemon read it; 0: not yet */

	/* The run.  oncpu + runqueue + blocked = run */
	const char *method; /* how it was measured: none light thread loop tree */
	uint64_t oncpu_ns, runqueue_ns, blocked_ns, user_ns, system_ns;
	uint64_t peak_memory_bytes;
	uint32_t switches_voluntary, switches_involuntary;
	uint32_t faults_minor, faults_major;
	const char *memory_limit; /* what held its limit: "cgroup", "process"; "none": it has none */
};

enum pyprep_event_type {
	PYPREP_RECEIPT = 1, /* the job has ended */
	PYPREP_OUTPUT, /* a command wrote to stdout (stream 1) or stderr (2) */
	PYPREP_ITEMS, /* results of an array job: items first .. first+count-1 */
	PYPREP_ACCEPTED, /* a detached job is durable; nothing more comes of it here */
};

struct pyprep_event {
	enum pyprep_event_type type;
	uint64_t tag;
	void *user;
	struct pyprep_receipt receipt; /* PYPREP_RECEIPT */
	int stream; /* PYPREP_OUTPUT */
	const void *bytes; /* OUTPUT: bytes; ITEMS: int64_t; valid until the next call */
	size_t length; /* in bytes */
	int64_t first;
	uint32_t count;
	uint64_t id; /* PYPREP_ACCEPTED */
	int known; /* PYPREP_ACCEPTED: it was there before, by its token or its key */
};

/* The next event.  1: *ret is set; 0: none within `timeout_ms` (-1: for ever), or nothing
 * is outstanding. */
PYPREP_API int pyprep_next(struct pyprep *p, int timeout_ms, struct pyprep_event *ret);

/* Jobs submitted whose receipt pyprep_next() has not given yet. */
PYPREP_API uint64_t pyprep_outstanding(const struct pyprep *p);

/* Cancel one job of this connection, or all of them.  Receipts still come.  Returns how many
 * were told to end. */
PYPREP_API int pyprep_cancel(struct pyprep *p, uint64_t tag);
PYPREP_API int pyprep_cancel_all(struct pyprep *p);

/* A control request of docs/protocol.md: `map` is one msgpack map {"verb": ..., ...}.
 * `reply` is called once per reply map and may return non-zero to stop listening (that
 * value is returned); it must not use the connection.  `timeout_ms` -1: for ever; else
 * -ETIMEDOUT.
 * An error reply is returned as -EREMOTEIO with its code and message in `why`. */
typedef int (*pyprep_reply_fn)(void *context, const void *map, size_t length);
PYPREP_API int pyprep_request(struct pyprep *p, const void *map, size_t length, int timeout_ms,
			      pyprep_reply_fn reply, void *context, struct pyprep_problem *why);

/* Fill `ret` from the bytes of a "receipt" field of a reply (verbs show, ls, wait).  The
 * result points into `bytes`; error_message is valid until this thread's next call; kind,
 * pool and executor are left NULL.  -EPROTO: these bytes are no receipt. */
PYPREP_API int pyprep_receipt_decode(const void *bytes, size_t length,
				     struct pyprep_receipt *ret);

/* ---- counters and locks ----
 *
 * The daemon keeps named counters (int64_t, up to 4,096; adding wraps at the ends) as long as it
 * lives.  There are two ways to the same ones, and both at once stay exact:
 *
 *   atomic   the table is mapped here, an add is one atomic instruction.  For counters that many
 *            add to often.  No permission beyond that to attach: whoever may submit jobs may
 *            change every value.
 *   manager  a request to the daemon's manager process, over ZeroMQ (libzmq5 must be there).  An
 *            add costs two messages, but requests may be pipelined, and there are locks.
 *
 * Names are 1 to 63 letters, digits and . _ - : / , not beginning with a dash. */

/* The atomic way.  A table may be used by any number of threads; a handle is good as long as the
 * table is attached. */
struct pyprep_counters;
struct pyprep_counter { /* a handle; a copy is as good */
	int64_t *value; /* in the table: for the functions below */
	const uint32_t *generation_now;
	uint32_t generation;
};

/* Map the daemon's table.  It stays when the connection is closed, and lives on without its
 * daemon.  Not over the zmq lane.  The caller owns *ret. */
PYPREP_API int pyprep_counters_attach(struct pyprep *p, struct pyprep_counters **ret,
				      struct pyprep_problem *why);
PYPREP_API void pyprep_counters_detach(struct pyprep_counters *c); /* NULL is fine */

/* Find a counter; with `make`, make it when there is none.  -ENOENT, -EINVAL: not a name,
 * -ENOSPC: 4,096 are there, -EBUSY: another process changes the table for too long. */
PYPREP_API int pyprep_counter_open(struct pyprep_counters *c, const char *name, int make,
				   struct pyprep_counter *ret, struct pyprep_problem *why);
PYPREP_API int pyprep_counter_remove(struct pyprep_counters *c, const char *name,
				     struct pyprep_problem *why);
typedef int (*pyprep_counter_fn)(void *context, const char *name, int64_t value);
/* Each counter, until `each` returns non-zero, which is returned. */
PYPREP_API int pyprep_counter_each(struct pyprep_counters *c, pyprep_counter_fn each,
				   void *context);

/* Here, since a call would cost half of what an add does.  All of them: -ESTALE when the counter was removed; find it again.  *ret_value (may be NULL where
 * that makes sense) is the value afterwards.  cas -EAGAIN: it was not `expected` but *ret_value. */

static inline int
pyprep_counter_is_stale(const struct pyprep_counter *c)
{
	return __atomic_load_n(c->generation_now, __ATOMIC_RELAXED) != c->generation;
}

static inline int
pyprep_counter_add(const struct pyprep_counter *c, int64_t delta, int64_t *ret_value)
{
	if (pyprep_counter_is_stale(c))
		return -ESTALE;
	int64_t after = __atomic_add_fetch(c->value, delta, __ATOMIC_ACQ_REL);
	if (ret_value)
		*ret_value = after;
	return 0;
}

static inline int
pyprep_counter_get(const struct pyprep_counter *c, int64_t *ret_value)
{
	if (pyprep_counter_is_stale(c))
		return -ESTALE;
	*ret_value = __atomic_load_n(c->value, __ATOMIC_ACQUIRE);
	return 0;
}

static inline int
pyprep_counter_set(const struct pyprep_counter *c, int64_t value)
{
	if (pyprep_counter_is_stale(c))
		return -ESTALE;
	__atomic_store_n(c->value, value, __ATOMIC_RELEASE);
	return 0;
}

static inline int
pyprep_counter_cas(const struct pyprep_counter *c, int64_t expected, int64_t value,
		   int64_t *ret_value)
{
	if (pyprep_counter_is_stale(c))
		return -ESTALE;
	int done = __atomic_compare_exchange_n(c->value, &expected, value, 0, __ATOMIC_ACQ_REL,
					       __ATOMIC_ACQUIRE);
	if (ret_value)
		*ret_value = done ? value : expected;
	return done ? 0 : -EAGAIN;
}

/* The manager's way: a proxy.  It belongs to one thread at a time, and to the process that
 * connected it (not to its forked children).
 *
 * The manager may be killed at any moment; a new one goes on with all values and locks.  A proxy
 * notices, and sends again what was not answered; each request is applied once.  Two things
 * show: a set or cas that a kill fell into while others changed the same counter may be
 * answered with -EREMOTEIO (it may or may not have been made: look, and try again); and an add
 * that a kill fell into, while others added by the atomic way, may be taken for made when it was
 * not: a counter is then one add too low for that kill, never too high.
 *
 * Errors: -ENOENT no such counter, -EINVAL not a name, -ENOSPC no room, -EBUSY the table is being
 * changed by somebody who does not end, -EACCES not allowed, -ETIMEDOUT the manager is gone and does
 * not come back, -EINTR a signal came (what was under way may have been done), -EAGAIN 256
 * requests are under way: collect some, -ELIBACC libzmq is missing. */
struct pyprep_manager;

PYPREP_API int pyprep_manager_connect(const char *runtime_dir, struct pyprep_manager **ret,
				      struct pyprep_problem *why);
PYPREP_API void pyprep_manager_close(struct pyprep_manager *m); /* its locks become free */

PYPREP_API int pyprep_manager_add(struct pyprep_manager *m, const char *name, int64_t delta,
				  int64_t *ret_value, struct pyprep_problem *why);
PYPREP_API int pyprep_manager_get(struct pyprep_manager *m, const char *name, int64_t *ret_value,
				  struct pyprep_problem *why);
PYPREP_API int pyprep_manager_set(struct pyprep_manager *m, const char *name, int64_t value,
				  struct pyprep_problem *why);
/* -ECANCELED: it was not `expected` but *ret_value. */
PYPREP_API int pyprep_manager_cas(struct pyprep_manager *m, const char *name, int64_t expected,
				  int64_t value, int64_t *ret_value, struct pyprep_problem *why);
PYPREP_API int pyprep_manager_remove(struct pyprep_manager *m, const char *name,
				     struct pyprep_problem *why);
PYPREP_API int pyprep_manager_each(struct pyprep_manager *m, pyprep_counter_fn each, void *context,
				   struct pyprep_problem *why);

/* Pipelined: submit many, collect the answers, in the order in which they come.  Requests of one
 * proxy are applied in the order of their submits. */
enum pyprep_manager_op { PYPREP_ADD = 16, PYPREP_GET, PYPREP_SET, PYPREP_CAS, PYPREP_REMOVE };

struct pyprep_ask {
	enum pyprep_manager_op op;
	const char *name;
	int64_t value; /* to add, or to set */
	int64_t expected; /* PYPREP_CAS */
	void *user;
};

struct pyprep_answer {
	enum pyprep_manager_op op;
	int result; /* 0 or an errno as above */
	int64_t value; /* afterwards */
	void *user;
};

/* -EAGAIN: 256 are under way or not collected: call pyprep_manager_next() first. */
PYPREP_API int pyprep_manager_submit(struct pyprep_manager *m, const struct pyprep_ask *ask,
				     struct pyprep_problem *why);
/* 1: *ret is set.  0: none within `timeout_ms` (-1: for ever), or nothing is under way. */
PYPREP_API int pyprep_manager_next(struct pyprep_manager *m, int timeout_ms,
				   struct pyprep_answer *ret, struct pyprep_problem *why);

/* Locks.  A lock is held by a proxy for `lease_ns` (0: 10 s) and renewed in the proxy's calls: who
 * makes none for long calls pyprep_manager_tend() when pyprep_manager_due() says so.  It becomes
 * free by unlock, when its lease ends, and at once when the process dies or the proxy is
 * closed.  *ret_fence is higher with each grant: give it along with what is written under the
 * lock, and a holder whose lease has ended can be told from its successor.
 * `timeout_ms` 0: do not wait; -1: for ever.  Who waits longer comes first, while the manager
 * lives.  -ETIMEDOUT: held by somebody else.  -EALREADY: by this proxy.  -EINTR: not held. */
PYPREP_API int pyprep_manager_lock(struct pyprep_manager *m, const char *name, int timeout_ms,
				   uint64_t lease_ns, int64_t *ret_fence,
				   struct pyprep_problem *why);
/* -ENOLCK: it was not held any more. */
PYPREP_API int pyprep_manager_unlock(struct pyprep_manager *m, const char *name,
				     struct pyprep_problem *why);
/* Milliseconds until pyprep_manager_tend() is to be called; -1: no need. */
PYPREP_API int pyprep_manager_due(const struct pyprep_manager *m);
/* Renew what is due.  -ENOLCK: a lock was lost, and `why` says which. */
PYPREP_API int pyprep_manager_tend(struct pyprep_manager *m, struct pyprep_problem *why);

struct pyprep_lock {
	const char *name;
	int64_t fence;
	int holder_pid;
	uint64_t lease_ns; /* what is left */
	unsigned waiters;
};
typedef int (*pyprep_lock_fn)(void *context, const struct pyprep_lock *lock);
PYPREP_API int pyprep_manager_locks(struct pyprep_manager *m, pyprep_lock_fn each, void *context,
				    struct pyprep_problem *why);

PYPREP_API const char *pyprep_version(void);

#ifdef __cplusplus
}
#endif
#endif
