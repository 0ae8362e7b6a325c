/*
 * receipt.h - what is known about one job when it is over: state, cause, the
 * stages of its time, and what it used.  The same struct is in the worker's
 * result, in the client's ring and in the history.
 *
 * Times are CLOCK_MONOTONIC in nanoseconds; memory is in bytes.  The times
 * of the way telescope, so the stages sum to the total by construction; a
 * process that reported a time out of order is cut to its neighbours and the
 * difference shows as the residual.
 */
#ifndef PYPREP_IPC_RECEIPT_H
#define PYPREP_IPC_RECEIPT_H

#include <stdint.h>

/*       name        text          what it means */
#define JOB_STATES(X)                                                                     \
	X(JOB_QUEUED,    "queued")    /* in the broker's table, not with a worker */      \
	X(JOB_RUNNING,   "running")   /* handed to a worker */                            \
	X(JOB_SUCCEEDED, "succeeded")                                                     \
	X(JOB_FAILED,    "failed")                                                        \
	X(JOB_CANCELLED, "cancelled")                                                     \
	X(JOB_TIMED_OUT, "timed_out")                                                     \
	X(JOB_REFUSED,   "refused")   /* never was a job */                               \
	X(JOB_DEAD,      "dead")      /* in quarantine: it killed worker after worker */

/* Why a job ended as it did; `cause_value` says how. */
#define JOB_CAUSES(X)                                                                     \
	X(CAUSE_NONE,        "none")                                                      \
	X(CAUSE_ERROR,       "error")       /* the kind said no: see the error */         \
	X(CAUSE_EXIT,        "exit")        /* a command's exit status */                 \
	X(CAUSE_SIGNAL,      "signal")      /* a command's fatal signal */                \
	X(CAUSE_TIMEOUT,     "timeout")     /* its --timeout passed */                    \
	X(CAUSE_WORKER_DIED, "worker_died") /* value: signal, or -status if it exited */  \
	X(CAUSE_CANCELLED,   "cancelled")                                                 \
	X(CAUSE_BROKER_LOST, "broker_lost") /* the daemon lost it: fate unknown */        \
	X(CAUSE_REFUSED,     "refused")                                                   \
	X(CAUSE_OOM,         "oom")         /* out of memory: its limit, its cgroup */    \
	X(CAUSE_DEPENDENCY,  "dependency")  /* a job it waited for did not end as asked */

/* Error codes of refused and failed jobs and of refused requests: stable words for scripts. */
/*       name                 word                  exit code of pyprepctl */
#define JOB_ERRORS(X)                                                                     \
	X(ERR_NONE,           "none",            0)                                       \
	X(ERR_UNKNOWN_KIND,   "unknown_kind",    2)                                       \
	X(ERR_UNKNOWN_POOL,   "unknown_pool",    2)                                       \
	X(ERR_UNKNOWN_PARAM,  "unknown_parameter", 2)                                     \
	X(ERR_MISSING_PARAM,  "missing_parameter", 2)                                     \
	X(ERR_BAD_TYPE,       "bad_type",        2)                                       \
	X(ERR_OUT_OF_RANGE,   "out_of_range",    2)                                       \
	X(ERR_BAD_REQUEST,    "bad_request",     2)                                       \
	X(ERR_WRONG_POOL,     "wrong_pool",      2)                                       \
	X(ERR_TOO_LARGE,      "too_large",       2)                                       \
	X(ERR_NO_SUCH_JOB,    "no_such_job",     3)                                       \
	X(ERR_QUEUE_FULL,     "queue_full",      75)                                      \
	X(ERR_POOL_FAILED,    "pool_failed",     75)                                      \
	X(ERR_SHUTTING_DOWN,  "shutting_down",   75)                                      \
	X(ERR_TOO_MANY,       "too_many_clients", 75)                                     \
	X(ERR_NOT_ALLOWED,    "not_allowed",     77)                                      \
	X(ERR_RUN,            "run_failed",      1) /* the kind's own error, with its text */ \
	X(ERR_WORKER_DIED,    "worker_died",     1)                                       \
	X(ERR_TIMED_OUT,      "timed_out",       124)                                     \
	X(ERR_CANCELLED,      "cancelled",       1)                                       \
	X(ERR_BROKER_LOST,    "broker_lost",     125)                                     \
	X(ERR_INTERNAL,       "internal",        125)                                     \
	X(ERR_STORE_FULL,     "store_full",      75)  /* the disk has no room */          \
	X(ERR_STORE_FAILED,   "store_failed",    75)  /* the store cannot be written */   \
	X(ERR_KEY_EXISTS,     "key_exists",      1)                                       \
	X(ERR_CYCLE,          "cycle",           2)   /* jobs that wait for each other */ \
	X(ERR_DEPENDENCY,     "dependency_failed", 1)                                     \
	X(ERR_OOM,            "out_of_memory",   137)                                     \
	X(ERR_DEAD,           "dead",            1)   /* in quarantine */                 \
	X(ERR_DRAINING,       "draining",        75)  /* its pool takes no jobs now */

#define RECEIPT_ENUM(name, ...) name,
enum job_state { JOB_STATES(RECEIPT_ENUM) JOB_STATE_COUNT };
enum job_cause { JOB_CAUSES(RECEIPT_ENUM) JOB_CAUSE_COUNT };
enum job_error { JOB_ERRORS(RECEIPT_ENUM) JOB_ERROR_COUNT };
#undef RECEIPT_ENUM

/* Out-of-range values give "unknown". */
const char *job_state_text(unsigned state);
const char *job_cause_text(unsigned cause);
const char *job_error_text(unsigned error);
int job_error_exit(unsigned error);

/* How the `run` part was measured (docs: pyprep-timings). */
enum usage_method {
	USAGE_NONE, /* did not run */
	USAGE_LIGHT, /* a job of microseconds: on-CPU is its run time, the rest not sampled */
	USAGE_THREAD, /* the thread's schedstat and rusage, VmHWM of the process */
	USAGE_LOOP, /* one of many in an event loop: on-CPU is the time of its callbacks */
	USAGE_TREE, /* a command: wait4 and /proc of its main process */
};

/* What the run used.  Filled by the worker. */
struct usage {
	uint64_t oncpu_ns; /* on a CPU */
	uint64_t runqueue_ns; /* ready, waiting for a CPU */
	uint64_t blocked_ns; /* the rest of the run: sleeping, waiting for I/O */
	uint64_t user_ns;
	uint64_t system_ns;
	uint64_t peak_memory_bytes;
	uint32_t faults_minor;
	uint32_t faults_major;
	uint32_t switches_voluntary;
	uint32_t switches_involuntary;
};

/* What the worker says about a run. */
struct outcome {
	uint64_t started_ns;
	uint64_t ended_ns;
	struct usage usage;
	int32_t cause_value; /* exit status, or signal */
	uint8_t state; /* enum job_state */
	uint8_t cause; /* enum job_cause */
	uint8_t error; /* enum job_error */
	uint8_t method; /* enum usage_method */
	uint32_t result_length; /* bytes of msgpack after the struct */
	uint32_t message_length; /* bytes of error text after the result */
};

/* The receipt: fixed part.  Result bytes and error text follow it, as
 * outcome.result_length and outcome.message_length say. */
struct receipt {
	uint64_t id;
	uint64_t tag; /* the submitter's own mark */
	uint64_t submitted_ns; /* client: before it wrote the submit */
	uint64_t received_ns; /* broker: has it */
	uint64_t handed_ns; /* broker: handed to a worker */
	uint64_t returned_ns; /* broker: sent it back; the client puts its own time here */
	uint64_t ended_wall_ns; /* CLOCK_REALTIME, for display */
	struct outcome outcome;
	uint64_t items; /* array jobs: items asked for; else 0 */
	uint64_t items_failed;
	uint32_t worker_pid; /* 0: never reached one */
	uint16_t kind;
	uint16_t pool;
	uint16_t slot;
	uint16_t attempt;
	uint32_t flags; /* RECEIPT_* */
	uint32_t uid; /* of the submitter */
	int32_t priority;
	uint64_t stored_ns; /* broker: a detached job was durable; 0: attached, or not known */
};

/* The way in its stages.  They sum to the total but for the residual: a time out of order cuts its
 * stage to zero, and the residual says by how much. */
struct stages {
	uint64_t submitted_ns, ended_ns; /* moments */
	uint64_t submit_ns, store_ns, queue_ns, dispatch_ns, run_ns, return_ns, total_ns;
	int64_t residual_ns;
};
/* `returned_ns`: of the receipt, or when the client took it. */
void receipt_stages(const struct receipt *r, uint64_t returned_ns, struct stages *ret);

#define RECEIPT_TRUNCATED 1u /* stdout or stderr was longer than the cap */
#define RECEIPT_DETACHED 4u  /* it lived in the store */
#define RECEIPT_CACHED 32u   /* did not run: the result of one like it (--cache) */
#define RECEIPT_BYSTANDER 2u /* died of another job's deed on the same worker */
/* What held its memory limit, if it has one: */
#define RECEIPT_LIMIT_PROCESS 8u  /* limits of each process (rlimits) */
#define RECEIPT_LIMIT_CGROUP  16u /* a cgroup around all its processes */

#endif
