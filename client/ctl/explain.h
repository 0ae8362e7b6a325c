/*
 * explain.h - the topics of `pyprepctl explain`, and what their experiments measure with.
 *
 *   explain.c          the command
 *   explain_measure.c  round trips, loops and starts that several topics need
 *   explain_cpu.c      gil, threads-vs-processes
 *   explain_wait.c     when-asyncio, wake-up-cost
 *   explain_start.c    fork-vs-spawn
 *   explain_share.c    share-data, shared-memory
 *   explain_pass.c     queue-vs-pipe, batching
 *   explain_hold.c     manager-cost, lock-owner-dies
 */
#ifndef PYPREP_CTL_EXPLAIN_H
#define PYPREP_CTL_EXPLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "client/ctl/demo.h"

/* id, name, question, function */
#define TOPICS(X)                                                                                 \
	X(gil, "gil", "do threads make CPython's computing faster?", explain_gil)                 \
	X(threads, "threads-vs-processes", "what do threads save, and what do processes keep?",   \
	  explain_threads)                                                                        \
	X(asyncio, "when-asyncio", "when is an event loop better than threads?", explain_asyncio) \
	X(share, "share-data", "how does a big array get to another process?", explain_share)     \
	X(manager, "manager-cost", "what does a manager's counter cost, beside an atomic?",       \
	  explain_manager)                                                                        \
	X(queue, "queue-vs-pipe", "a queue or a pipe?", explain_queue)                            \
	X(memory, "shared-memory", "is shared memory free, and is it safe?", explain_memory)      \
	X(lock, "lock-owner-dies", "what becomes of a lock whose owner is killed?", explain_lock) \
	X(fork, "fork-vs-spawn", "what does it cost to start a process?", explain_fork)           \
	X(batching, "batching", "what does it save to send many at once?", explain_batching)      \
	X(wake, "wake-up-cost", "what does it cost to wake a process?", explain_wake)

#define X(id, name, question, tell) int tell(struct demo *demo);
TOPICS(X)
#undef X

/* ---- explain_measure.c ---- */

/* Compute for about `rounds` x 1 us; not to be optimised away. */
uint64_t measure_loop(uint64_t rounds);

/* The same work by `count` threads, or processes, at once: seconds.  NAN: it failed. */
double measure_loop_threads(unsigned count, uint64_t rounds_each);
double measure_loop_processes(unsigned count, uint64_t rounds_each);

/* How two sides wait for each other in a round trip. */
enum wait_by { WAIT_FUTEX, WAIT_POLICY, WAIT_PIPE, WAIT_SPIN };
struct trip {
	double p50_ns, p99_ns; /* of a round trip */
	double switches;       /* voluntary context switches of one side, for each */
};
/* `rounds` round trips between this thread and another thread (`process` false) or process, each
 * on the CPU given (-1: free).  0 or -errno. */
int measure_trip(enum wait_by by, bool process, int cpu_a, int cpu_b, unsigned rounds,
		 struct trip *ret);

/* Two CPUs this process may use; equal when it has one only. */
void measure_cpus(int *ret_a, int *ret_b);

/* "3.4 times", "1,200 times", "0.85 times". */
const char *measure_times(double ratio);

/* "4.2 us", "1,234,567".  All three: valid until eight calls later. */
const char *measure_ns(double ns);
const char *measure_count(uint64_t count);

#endif
