/*
 * jobs.h - the broker's job table: what is queued or running, in about 160 bytes a job.
 *
 * Only the broker touches it.  Jobs are numbered places in chunks that never move, so a
 * place is four bytes in every list; a chunk whose jobs are all gone is given back (one is
 * kept, so that a table that breathes across a chunk's edge does not fault its pages anew).
 * Finding a job by its id is one hash look-up.
 */
#ifndef PYPREP_DAEMON_JOBS_H
#define PYPREP_DAEMON_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#define JOB_NONE   UINT32_MAX
#define JOB_INLINE 40u /* packed arguments up to this stay in the job */

#define JOB_WATCHED   1u   /* somebody waits for it by id */
#define JOB_HELD      2u   /* its client does not read: in the client's held list */
#define JOB_STOPPING  4u   /* its end has been ordered; job->stop says why */
#define JOB_NO_CLIENT 8u   /* its client is gone, or it never had one */
#define JOB_DETACHED  16u  /* it lives in the store; JOB_NO_CLIENT, too */
#define JOB_PARKED    32u  /* queued, and in no queue: more->waits says what for (gate.h) */
#define JOB_PASSED    64u  /* it has what gate_pass() gave it */
#define JOB_DROP      128u /* a command runs as its uid */

#define JOB_ENDING    256u /* detached, over, and not yet durably so (durable.h) */
#define JOB_PARENT    512u /* other jobs wait for its end (gate.h) */

#define JOB_ADOPTED   1024u /* detached, started by an earlier broker */

#define JOB_RETURNED  2048u /* in its queue, come back to it: see schedule.h */

/* An array job's progress; see array.c. */
struct array_job;
void array_free(struct array_job *array); /* NULL is fine */

/* What few jobs have: detached ones, and those with policies.  One allocation, the job's. */
struct policy;
struct gate_job;
struct shared_context;
struct past; /* retry.c */
struct job_more {
	struct policy *policy;          /* policy.h; NULL: a plain one */
	struct gate_job *gate;          /* the gate's: parents, limits, key; NULL: none */
	struct shared_context *context; /* of a detached command (context.h); a reference */
	struct past *past;              /* its earlier attempts; NULL: none */
	uint64_t stored_ns;             /* when it was durable; CLOCK_MONOTONIC, 0: not known */
	uint64_t fence;                 /* of its claim, while a detached job runs */
	uint64_t waits_since_ns;
	const struct bytes *autopsy; /* how its worker died, while that is told; NULL: it did not */
	uint64_t wake_ns;   /* WAIT_TIME, WAIT_BACKOFF; CLOCK_MONOTONIC */
	uint64_t output[2]; /* bytes of stdout and stderr given to the store, of this attempt */
	uint32_t cache_entry; /* whose result it makes while it runs; see cache.h */
	uint32_t place;     /* the gate's: where in its heap or list */
	uint16_t crashes;   /* workers it killed */
	uint16_t forgiven;  /* attempts that another job ended: they use up no retry */
	uint8_t waits;      /* enum wait (gate.h) */
	uint8_t flags;      /* STORE_JOB_HELD, STORE_JOB_SUSPECT */
};
void job_more_free(struct job_more *more); /* NULL is fine */

struct job {
	uint64_t id;
	uint64_t tag;
	uint64_t submitted_ns;
	uint64_t received_ns;
	uint64_t handed_ns;
	uint64_t timeout_ns;
	uint32_t hash_next;
	uint32_t prev, next; /* in its pool's queue, or its client's held list */
	uint32_t client;     /* index; JOB_NO_CLIENT when it is gone */
	uint32_t client_prev, client_next;
	uint32_t uid, gid;
	uint32_t args_length;
	uint32_t ticket : 12; /* of LINK_TICKETS */
	uint32_t place : 12;  /* of the worker that has it, in its pool's crew: of CREW_MAX */
	uint32_t kind : 8;    /* of KINDS_MAX */
	uint8_t pool;
	uint8_t state;  /* enum job_state */
	uint16_t flags; /* JOB_* */
	int8_t priority;
	uint8_t stop;            /* enum job_cause */
	uint16_t attempt;        /* from 1 */
	uint64_t queued_ns;      /* when it came into its queue; no two jobs have the same */
	struct array_job *array; /* NULL: not an array job */
	struct job_more *more;   /* NULL: an attached job without policies */
	union {
		unsigned char args_inline[JOB_INLINE];
		unsigned char *args_heap;
	};
};

_Static_assert(sizeof(struct job) <= 160, "bytes per queued job are a published figure");

struct jobs {
	struct job_chunk **chunks;
	uint32_t chunk_count; /* chunk pointers in use */
	uint32_t chunk_capacity;
	uint32_t open_chunk; /* lowest chunk that may have a free place */
	struct job_chunk *spare;
	uint32_t *buckets;
	uint32_t bucket_mask;
	uint64_t count;
	uint64_t heap_bytes; /* arguments outside of jobs */
	uint64_t max_jobs;
	uint64_t max_bytes;
};

int jobs_init(struct jobs *t, uint64_t max_jobs, uint64_t max_bytes);
void jobs_done(struct jobs *t);

/* Is there room for one job with `args_length` bytes? */
bool jobs_have_room(const struct jobs *t, uint32_t args_length);

/* A new job with its arguments copied, state queued and all links JOB_NONE.  The caller fills
 * the rest.  JOB_NONE when memory is out. */
uint32_t jobs_add(struct jobs *t, uint64_t id, const void *args, uint32_t args_length);
void jobs_remove(struct jobs *t, uint32_t index);

struct job *job_at(const struct jobs *t, uint32_t index);
uint32_t jobs_find(const struct jobs *t, uint64_t id); /* JOB_NONE: not there */
const void *job_args(const struct job *job);

/* Places in the chunks there are now, taken and free. */
uint64_t jobs_places(const struct jobs *t);

/* Bytes the table holds now, all told. */
uint64_t jobs_bytes(const struct jobs *t);

/* The next job at or after place `from`, or JOB_NONE: for walks. */
uint32_t jobs_next(const struct jobs *t, uint32_t from);

#endif
