/*
 * store.h - where detached jobs live until they are done, and where history is kept: one table
 * of operations, one row an engine (store_table.c).
 *
 *   memory   nothing outlives the broker; for tests, and for machines without a disk
 *   sqlite   one file in the state directory; WAL, synchronous=FULL
 *
 * Rules that hold for every engine:
 *  - Changes come as vectors: one call of apply() is one durable commit, whole or not at all.
 *    A change that apply() has answered with 0 survives whatever dies, a power cut included.
 *  - Every change is idempotent: who does not know whether a call was done makes it again.
 *  - A job is known by a token that its submitter chose (16 bytes): adding a token twice is one
 *    job.  The daemon's number of it, its id, is for people and for everything else.  Tokens that
 *    begin with the time, as UUIDs of version 7 do, are indexed side by side: with random ones
 *    each job changes a page of its own.
 *  - A claim is the right to run one attempt.  It has a random token, the fence: the end of an
 *    attempt counts only while its claim stands, so each job ends once.
 *  - A handle belongs to one thread; open several.  claim() and unclaim() of the writer's are
 *    another thread's, which runs the jobs: they touch nothing but the claims.
 *
 * Numbers are the machine's; times are CLOCK_REALTIME in nanoseconds, since they outlive boots.
 */
#ifndef PYPREP_DAEMON_STORE_H
#define PYPREP_DAEMON_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/receipt.h"

#define STORE_TOKEN    16u
#define STORE_NAME_MAX 31u
#define STORE_KEY_MAX  127u
#define STORE_CLAIMS   32768u /* at once */

struct store; /* one open handle; each engine its own */

struct bytes {
	const void *at;
	size_t length;
};

/* What was submitted.  Strings end with NUL and outlive the call only. */
struct store_job {
	uint64_t id;
	unsigned char token[STORE_TOKEN];
	const char *kind, *pool;
	struct bytes params;  /* one msgpack map, as it was submitted */
	struct bytes policy;  /* one msgpack map (policy.h); empty: none */
	struct bytes context; /* of a command (context.h); the same one is kept once */
	const char *key;      /* NULL: none; unique among jobs that have not ended */
	uint64_t timeout_ns;
	int64_t item_low, item_high;
	uint64_t submitted_ns, not_before_ns;
	uint32_t uid, gid;
	int32_t priority;
	uint32_t flags;   /* STORE_JOB_* */
	uint16_t attempt; /* begun so far: 0 for a new one */
	uint16_t crashes; /* workers it killed */
};
#define STORE_JOB_HELD    1u /* until `release` */
#define STORE_JOB_DROP    2u /* a command runs as its uid */
#define STORE_JOB_SUSPECT 4u /* runs alone next, on a fresh worker */
/* Above the flags: attempts that use up no retry: the daemon's death or another job's deed ended
 * them, or they were before CHANGE_REOPEN. */
#define STORE_JOB_FORGIVEN_SHIFT 16

/* An ended attempt, or an ended job. */
struct store_end {
	uint64_t id;
	uint64_t fence;         /* of its claim; 0: it ended without one (cancelled, ...) */
	struct receipt receipt; /* its lengths are those of result and message */
	struct bytes result, message;
	struct bytes autopsy; /* one msgpack map (autopsy.h); empty: nothing to tell */
	const char *kind, *pool, *executor; /* for attached jobs, which have no row yet */
	uint64_t submitted_ns, ended_ns;
	struct { /* CHANGE_RETRY: what holds for the next attempt */
		uint64_t not_before_ns; /* CHANGE_END: it is kept until then; 0: as keep_ns says */
		uint32_t flags; /* STORE_JOB_* */
		uint16_t crashes;
	} next;
};

enum store_change_type {
	CHANGE_ADD,     /* job: -EEXIST when the token is known, ret_id says as what; -ESTALE when
			   another open job has the key, ret_id says which; -EINVAL: the id is
			   another job's */
	CHANGE_RETRY,   /* end: the attempt is over, the job is not; end.next holds for the next one
			 */
	CHANGE_END,     /* end: the job is over; -ESTALE when it was already, or the fence is old */
	CHANGE_OUTPUT,  /* output: what a detached job wrote, appended; at the same offset twice is
			   once */
	CHANGE_EDIT,    /* job.id: its flags, priority, not_before_ns as in `job`; -ENOENT: there is
			   no such open job.  STORE_JOB_DROP stays as it was submitted, always */
	CHANGE_REOPEN,  /* job.id: an ended job is queued again, neither held nor suspect, with no
			   crashes; attempts go on counting; -ENOENT; -ESTALE when another open job
			   has its key, ret_id says which */
	CHANGE_REMOVE,  /* job.id: an ended job and all of it; -EBUSY when it is open */
	CHANGE_HISTORY, /* end: an attached job has ended; kept for reading only */
	CHANGE_TALLY,   /* tally: figures of a day, replaced (report.h) */
};

struct store_change {
	enum store_change_type type;
	union {
		struct store_job job;
		struct store_end end;
		struct {
			uint64_t id, offset; /* in bytes of this stream of this attempt */
			uint32_t stream;     /* 1 or 2 */
			uint16_t attempt;
			struct bytes bytes;
		} output;
		struct {
			uint32_t day; /* since 1970-01-01, UTC */
			const char *kind, *pool;
			struct bytes figures;
		} tally;
	};
	int result;      /* out: 0 or -errno of this change alone */
	uint64_t ret_id; /* out: see CHANGE_ADD */
};

/* One row when it is read back.  Everything is valid until the reading function returns. */
struct store_row {
	struct store_job job;
	uint64_t fence; /* of a claim that stands; 0: none */
	bool ended;
	bool attached;            /* known from history only */
	struct store_end end;     /* of an ended job; of an open one its last attempt, id 0: none */
	uint64_t output_bytes[3]; /* of the last attempt, by stream */
};

struct store_filter {
	uint64_t id;     /* 0: any */
	uint32_t states; /* bit per enum job_state; 0: any.  Open ones are JOB_QUEUED here */
	uint32_t uid;    /* UINT32_MAX: any */
	const char *kind, *pool, *key; /* NULL: any */
	const char *label_name, *label_value;
	uint64_t before_id; /* only ids below; 0: from the newest */
	uint64_t since_ns;  /* ended then or later; 0: any */
	uint64_t limit;     /* 0: none */
};

typedef int (*store_row_fn)(void *context, const struct store_row *row); /* non-zero stops */
typedef int (*store_output_fn)(void *context, uint32_t stream, uint64_t offset, const void *bytes,
			       size_t length);
typedef int (*store_tally_fn)(void *context, uint32_t day, const char *kind, const char *pool,
			      const void *figures, size_t length);

struct store_options {
	const char *state_dir;
	bool read_only;
	bool no_sync;        /* for the control arm of tests: commits are not synced */
	uint64_t keep_ns;    /* ended jobs are kept so long, 0: for ever ... */
	uint64_t keep_bytes; /* ... and as long as the store is smaller */
};

struct store_stats {
	uint64_t open, ended;    /* jobs */
	uint64_t bytes;          /* on disk */
	uint64_t pruned;         /* since it was opened */
	uint64_t max_id;         /* ever given */
	uint64_t repaired_bytes; /* a torn tail that was cut when it was opened */
	uint64_t lost_frames;    /* ... and pages that were acknowledged, and are not there: the
				  * disk lost what it said was durable, or somebody cut the log */
};

/* Why it could not be opened, or what is damaged. */
struct store_problem {
	char message[400]; /* what, where, and what to type next */
};

struct store_ops {
	const char *name;
	/* 0, or with `why`: -ENOSPC, -EROFS, -EACCES, -EIO, -EBUSY another daemon has it,
	 * -EBADMSG damaged in the middle (refuse to start), -EPROTO of another version. */
	int (*open)(struct store **ret, const struct store_options *options,
		    struct store_problem *why);
	void (*close)(struct store *s);
	/* Make the changes durable.  0: each change's result says how it went.  -ENOSPC, -EROFS,
	 * -EIO, ...: none was made, and none is there after a restart. */
	int (*apply)(struct store *s, struct store_change *changes, size_t count);
	/* The right to run attempt `attempt` of job `id`; survives every kill -9 once it returned,
	 * a power cut maybe not.  Does not block: the broker's thread calls it right before the job
	 * is sent to a worker.  0, -EAGAIN: STORE_CLAIMS are out. */
	int (*claim)(struct store *s, uint64_t id, uint16_t attempt, uint64_t *ret_fence);
	/* The claim is over: its end is durable, or it never started. */
	void (*unclaim)(struct store *s, uint64_t id, uint64_t fence);
	/* Open jobs above `after_id`, lowest id first, at most `most`: for a restart.  open() has
	 * counted the claims that stood into job.attempt, durably; row->fence says of which jobs
	 * the last attempt may still be running (their claim stands until unclaim()); `claimed`
	 * asks for those only. */
	int (*load)(struct store *s, uint64_t after_id, size_t most, bool claimed,
		    store_row_fn each, void *context);
	/* Rows, newest first. */
	int (*list)(struct store *s, const struct store_filter *filter, store_row_fn each,
		    void *context);
	/* What job `id` wrote in attempt `attempt` (0: its last), from `from` on in each stream. */
	int (*output)(struct store *s, uint64_t id, uint16_t attempt, uint64_t from[3],
		      store_output_fn each, void *context);
	/* The ended attempts of a job, first first: row->end is the attempt's. */
	int (*attempts)(struct store *s, uint64_t id, store_row_fn each, void *context);
	int (*tallies)(struct store *s, uint32_t since_day, store_tally_fn each, void *context);
	/* Remove at most `most` rows that are older or more than the options allow; how many. */
	int (*prune)(struct store *s, unsigned most);
	int (*stats)(struct store *s, struct store_stats *ret);
};

extern const struct store_ops store_memory, store_sqlite;
extern const struct store_ops *const store_engines[];           /* NULL at the end */
const struct store_ops *store_engine_by_name(const char *name); /* NULL: none */

#endif
