/*
 * usage.h - what a run used: on-CPU, run-queue and blocked time, user and system
 * time, peak memory, faults and context switches.
 *
 * Sources: /proc/thread-self/schedstat (time on a CPU and time ready but waiting, ns),
 * getrusage(RUSAGE_THREAD) (user and system time, faults, switches), VmHWM of
 * /proc/self/status after "5" was written to /proc/self/clear_refs (ru_maxrss never
 * falls and starts as the parent's: wrong for a job).
 *
 * That costs tens of microseconds with the memory, a few without: memory is read again only
 * after a page fault, since nothing else lets it grow.  A kind whose runs take less is measured
 * lightly: two clock reads; every 64th run is measured in full, and a surprise is estimated.
 */
#ifndef PYPREP_DAEMON_USAGE_H
#define PYPREP_DAEMON_USAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/receipt.h"

#define USAGE_LIGHT_NS   20000u /* a run below this is "tiny" */
#define USAGE_TINY_RUNS  8      /* in a row make a kind tiny */
#define USAGE_FULL_EVERY 64     /* runs of a tiny kind */
#define USAGE_GUESSES    64

/* One per thread that runs jobs. */
struct usage_meter {
	int schedstat; /* open descriptor of this thread's, or -1 */
	int status;    /* /proc/self/status */
	int clear_refs;
	bool whole_process;      /* alone in its process: peak memory is the job's */
	uint64_t memory_last;    /* what the process held when it was last read */
	uint64_t anonymous_last; /* ... of which nobody else has: RssAnon; 0: not known */
	int64_t growth;          /* of that, in the last run that was measured in full */
	uint64_t memory_faults;  /* page faults of the thread by then: none since, no growth */
	bool peak_stale;         /* the kernel's peak is above memory_last */
	struct usage_snapshot {
		uint64_t oncpu_ns, runqueue_ns;
		uint64_t user_ns, system_ns;
		uint64_t faults_minor, faults_major;
		uint64_t switches_voluntary, switches_involuntary;
	} base;
	uint64_t light_ns; /* run time of light runs since base */
	struct usage_guess {
		uint8_t tiny_in_row;
		uint8_t since_full;
	} guesses[USAGE_GUESSES]; /* by kind index */
	bool full;                /* how the present run is measured */
};

/* Open the meter on the thread that will run jobs.  Never fails: what /proc does not give
 * stays zero and the receipt says USAGE_LIGHT. */
void usage_open(struct usage_meter *m, bool whole_process);
void usage_close(struct usage_meter *m);

/* Will the next run of this kind be measured in full? */
static inline bool
usage_is_due(const struct usage_meter *m, unsigned kind)
{
	const struct usage_guess *g = &m->guesses[kind % USAGE_GUESSES];

	return g->tiny_in_row < USAGE_TINY_RUNS || g->since_full + 1 >= USAGE_FULL_EVERY;
}

/* Call right before outcome->started_ns is taken, and right after ended_ns is. */
void usage_begin(struct usage_meter *m, unsigned kind);
void usage_end(struct usage_meter *m, unsigned kind, struct outcome *outcome);

#endif
