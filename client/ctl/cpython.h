/*
 * cpython.h - CPython's own implementation, run beside ours.
 *
 * The programs lie in client/ctl/python, one file per topic, and are built into pyprepctl;
 * they need the standard library only.  common.py and ways.py stand before each of them.  One
 * topic is tried by hand like this:
 *
 *	cat client/ctl/python/{common,ways,queue}.py | python3 -I - queue x- messages=1000
 *
 * The interpreter is $PYPREP_PYTHON, else python3 in PATH.  It runs under a keeper, a
 * process of ours (cpython_keeper.c) that ends the whole tree of it: at the time limit,
 * when its main process has ended, and when the caller dies, also by kill -9.  What it named
 * in /dev/shm and its temporary files are removed then.
 *
 * Common figures: "seconds" (of the work alone: not the interpreter's start, not the forks),
 * "rate_per_s", "messages", "bytes" (of one), "cpu_seconds" (of all its processes during the
 * work), "p50_ns", "p99_ns".  Children are forked unless said otherwise.  Values in
 * brackets are the defaults.
 *
 * version  -> version "CPython 3.11.2", numpy (text or null)
 *
 * queue    mode=rate: producers[1] consumers[1] bytes[64] messages[20000] maxsize[0]
 *            kind=[Queue]|SimpleQueue|JoinableQueue -> seconds rate_per_s messages bytes
 *            cpu_seconds.  Each consumer takes its equal share and ends.
 *          mode=roundtrip: bytes messages[2000] kind -> p50_ns p99_ns rate_per_s seconds
 *          mode=full: maxsize[10] wait_ms[200] -> accepted full waited_s
 *          mode=killed: wait_ms[1000] kind -> wedged waited_s: of two consumers the one
 *            that waits in get() is killed; does the other get the next message?
 * pipe     mode=roundtrip: bytes[64] messages[5000] how=[bytes]|object cpus[0]|1|2 ->
 *            p50_ns p99_ns rate_per_s seconds (send_bytes(), or send(), which pickles; both
 *            sides bound to one CPU or to one each)
 *          mode=rate: the same, one way -> rate_per_s seconds messages bytes cpu_seconds
 *          mode=sum: bytes[8388608] messages[10] -> p50_ns p99_ns rate_per_s seconds: u64
 *            numbers are sent, their sum comes back
 *          mode=eof: -> eof (bool) waited_s: the other side is killed while we wait; from the
 *            kill on
 * shm      mode=work: bytes[8388608] rounds[20] touch[0] -> whole_seconds (create, fill,
 *            sum) create_ns attach_ns (medians, to the first byte read; with touch=1 one
 *            of every page) fill_seconds sum_seconds sum elements by ("numpy" or
 *            "memoryview")
 *          mode=attach: name= offset[0] value[7] tracked[0] -> size before after first:
 *            opens a segment that somebody else made, changes one byte, closes.  tracked=1
 *            leaves it to Python's resource tracker, which unlinks it at the end
 *          mode=lost: adds[200000] processes[2] -> expected without_lock with_lock lost
 *            seconds (without) locked_seconds
 * value    adds[100000] processes[2] -> expected without_lock with_lock lost seconds
 *            locked_seconds rate_per_s (locked)
 * manager  adds[1000] processes[1] lock[1] -> expected value exact rate_per_s seconds
 *            cpu_seconds; with lock=0 updates get lost
 *          mode=get: rounds[2000] -> p50_ns p99_ns rate_per_s
 * locks    mode=killed: kind=[Lock]|RLock|Semaphore wait_ms[1000] -> acquired waited_s: the
 *            owner is killed, then another process tries
 *          mode=free: rounds[100000] kind -> p50_ns (acquire and release, nobody else)
 * cpu      way=[sequential]|threading|multiprocessing|threadpool|processpool|asyncio
 *            jobs[8] n[200000] workers[2] -> seconds cpu_seconds total (sums of squares)
 * io       the same ways: jobs[200] ms[10] workers[2] -> seconds cpu_seconds
 * map      way=sequential|[multiprocessing]|processpool|threadpool count[1000000]
 *            chunksize[4096] workers[2] -> seconds rate_per_s total cpu_seconds
 * call     mode=[latency]|rate way=sequential|[multiprocessing]|processpool|threadpool|asyncio
 *            calls[2000] workers[2] -> seconds rate_per_s p50_ns p99_ns; or all at once ->
 *            seconds rate_per_s cpu_seconds: calls that do nothing
 * exec     way=[threadpool]|asyncio count[200] workers[2] -> seconds rate_per_s: /bin/true
 * batching count[20000] workers[2] -> one_by_one_per_s batched_per_s: Pool.map with
 *            chunksize 1, and 64
 * start    method=[fork]|spawn|forkserver rounds[20] -> p50_ns p99_ns rate_per_s: a Process
 *            that does nothing, start() and join()
 */
#ifndef PYPREP_CTL_CPYTHON_H
#define PYPREP_CTL_CPYTHON_H

#include <jansson.h>
#include <stddef.h>

/* CPython's version text ("CPython 3.11.2") into `ret`; -ENOENT: there is no python3 (or no
 * $PYPREP_PYTHON); -EIO: it does not run our programs.  Asked once per process. */
int cpython_version(char *ret, size_t size);

/* Run one topic with "name=value" parameters, NULL at the end (or `params` NULL).  The JSON
 * object it printed, owned by the caller (json_decref), or NULL with a sentence in `why`, without
 * its full stop.  Killed after timeout_ms with its whole tree, and so when a signal's handler
 * interrupts the wait. */
json_t *cpython_run(const char *topic, const char *const *params, int timeout_ms, char *why,
		    size_t why_size);

/* One figure of what cpython_run() answers; NAN when there is none. */
double cpython_figure(const char *topic, const char *const *params, int timeout_ms,
		      const char *key);

/* The program of a topic, what stands before it included; NULL when there is none.  Caller frees.
 */
char *cpython_program(const char *topic);

#endif
