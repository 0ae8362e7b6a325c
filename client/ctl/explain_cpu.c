/* explain_cpu.c - gil, and threads-vs-processes. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/explain.h"
#include "client/ctl/floor.h"
#include "client/ctl/stats.h"
#include "ipc/clock.h"

#define SIDES 2u /* threads or processes at once */

/* ---- gil ---- */

static double
python_seconds(struct demo *d, const char *way)
{
	char way_param[40], n_param[40];
	const char *params[] = { way_param, "jobs=4", n_param, "workers=2", NULL };

	snprintf(way_param, sizeof way_param, "way=%s", way);
	snprintf(n_param, sizeof n_param, "n=%d", demo_quick(d) ? 100000 : 500000);
	json_t *answer = demo_python(d, "cpu", params);
	double seconds = demo_number(answer, "seconds");
	json_decref(answer);
	return seconds;
}

static void
say_gil(struct demo *d, double one, double threads, double processes, double c_threads)
{
	double by_threads = one / threads, by_processes = one / processes;

	if (isnan(by_threads)) {
		demo_conclude(d,
			      "Without python3 only C was measured: its two threads did the "
			      "work of one in %.2f of the time.",
			      1 / c_threads);
		return;
	}
	demo_conclude(d,
		      "CPython's threads computed %.2f times as fast as one after another, its "
		      "processes %.2f times, C's threads %.2f times.",
		      by_threads, by_processes, c_threads);
	if (c_threads < 1.2)
		demo_conclude(d, "But C gained no more here: this machine has one free CPU, or is "
				 "busy, and tells nothing about the lock.");
	else if (by_threads < 1.2)
		demo_conclude(d, "No: one interpreter runs one thread at a time (the global "
				 "interpreter lock). For computing use processes, or leave the "
				 "interpreter; threads serve waiting.");
	else
		demo_conclude(d, "Yes, with this interpreter: it has no global lock in the way.");
}

/* Seconds of the same work, done three ways. */
struct three_ways {
	double one, threads, processes;
};

static void
keep_least(double *least, double seconds)
{
	if (isnan(*least) || seconds < *least)
		*least = seconds;
}

static void
show_gil(struct demo *d, const struct three_ways *c, const struct three_ways *python)
{
	demo_figure(d, "one_after_another_ns", c->one * 1e9, "ns",
		    "one after another (C and Python: each its own loop)");
	demo_figure(d, "threads_ns", c->threads * 1e9, "ns", "the same work by 2 threads");
	demo_figure(d, "processes_ns", c->processes * 1e9, "ns", "the same work by 2 processes");
	demo_figure(d, "speed_up_threads", c->one / c->threads, "x", "faster by 2 threads");
	demo_figure(d, "speed_up_processes", c->one / c->processes, "x", "faster by 2 processes");
	demo_python_figure(d, "one_after_another_ns", python->one * 1e9);
	demo_python_figure(d, "threads_ns", python->threads * 1e9);
	demo_python_figure(d, "processes_ns", python->processes * 1e9);
	demo_python_figure(d, "speed_up_threads", python->one / python->threads);
	demo_python_figure(d, "speed_up_processes", python->one / python->processes);
}

/* By turns, the least of three: what disturbs a run only makes it longer. */
int
explain_gil(struct demo *d)
{
	struct three_ways c = { NAN, NAN, NAN }, python = c;
	uint64_t rounds = demo_quick(d) ? 20000 : 100000;

	for (unsigned turn = 0; turn < (demo_quick(d) ? 1 : 3); turn++) {
		demo_live(d, "turn %u", turn + 1);
		keep_least(&c.one, measure_loop_threads(1, SIDES * rounds));
		keep_least(&c.threads, measure_loop_threads(SIDES, rounds));
		keep_least(&c.processes, measure_loop_processes(SIDES, rounds));
		keep_least(&python.one, python_seconds(d, "sequential"));
		keep_least(&python.threads, python_seconds(d, "threading"));
		keep_least(&python.processes, python_seconds(d, "multiprocessing"));
	}
	show_gil(d, &c, &python);
	say_gil(d, python.one, python.threads, python.processes, c.one / c.threads);
	return 0;
}

/* ---- threads-vs-processes ---- */

static void *
nothing(void *context)
{
	return context;
}

static double
thread_start_ns(unsigned rounds)
{
	struct samples samples = { 0 };
	pthread_t thread;

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t begun = clock_now();
		if (pthread_create(&thread, NULL, nothing, NULL) != 0)
			break;
		pthread_join(thread, NULL);
		samples_add(&samples, clock_now() - begun);
	}
	double p50 = (double)samples_percentile(&samples, 50);
	samples_free(&samples);
	return p50;
}

static double
process_start_ns(unsigned rounds)
{
	struct samples samples = { 0 };

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t begun = clock_now();
		pid_t pid = floor_fork();
		if (pid == 0)
			_exit(0);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		samples_add(&samples, clock_now() - begun);
	}
	double p50 = (double)samples_percentile(&samples, 50);
	samples_free(&samples);
	return p50;
}

static void *
crash(void *context)
{
	raise(SIGSEGV);
	return context;
}

/* A process whose neighbour crashes: as a thread of it, or as a child.  1: it lived on. */
static int
neighbour(void *context)
{
	bool thread = *(bool *)context;
	pthread_t other;

	signal(SIGSEGV, SIG_DFL);
	if (thread && pthread_create(&other, NULL, crash, NULL) == 0)
		pthread_join(other, NULL);
	pid_t pid = thread ? 0 : floor_fork();
	if (!thread && pid == 0)
		crash(NULL);
	if (!thread)
		waitpid(pid, NULL, 0);
	return 1;
}

static bool
survives(struct demo *d, bool thread)
{
	pid_t pid = demo_actor(d, neighbour, &thread);
	return pid > 0 && demo_wait(d, pid, 60000) == 1;
}

static double
python_start(struct demo *d)
{
	json_t *answer = demo_python(d, "start", (const char *const[]){ "method=fork", NULL });
	double p50 = demo_number(answer, "p50_ns");

	json_decref(answer);
	return p50;
}

int
explain_threads(struct demo *d)
{
	unsigned rounds = demo_quick(d) ? 200 : 2000;
	struct trip threads, processes;
	int a, b;

	measure_cpus(&a, &b);
	double thread_ns = thread_start_ns(rounds);
	double process_ns = process_start_ns(rounds);
	int r = measure_trip(WAIT_POLICY, false, a, b, rounds * 5, &threads);
	if (r == 0)
		r = measure_trip(WAIT_POLICY, true, a, b, rounds * 5, &processes);
	if (r < 0)
		return demo_fail(d, "no round trips could be made: %s", strerror(-r));
	bool by_thread = survives(d, true), by_process = survives(d, false);

	demo_figure(d, "thread_start_ns", thread_ns, "ns", "a thread: start and join (p50)");
	demo_figure(d, "process_start_ns", process_ns, "ns", "a process: fork and wait (p50)");
	demo_python_figure(d, "process_start_ns", python_start(d));
	demo_figure(d, "thread_trip_ns", threads.p50_ns, "ns", "round trip between threads");
	demo_figure(d, "process_trip_ns", processes.p50_ns, "ns",
		    "round trip between processes, by shared memory");
	demo_figure(d, "survives_thread", by_thread, "yes", "lives on when a thread of it crashes");
	demo_figure(d, "survives_process", by_process, "yes",
		    "lives on when a child of it crashes");
	demo_check(d, !by_thread && by_process,
		   "a crashed thread ends its process, a crashed child does not end its parent");
	demo_conclude(d,
		      "A thread starts %s as fast (%s against %s). Once started, both pass a "
		      "message through memory in about the same time (%s and %s).",
		      measure_times(process_ns / thread_ns), measure_ns(thread_ns),
		      measure_ns(process_ns), measure_ns(threads.p50_ns),
		      measure_ns(processes.p50_ns));
	demo_conclude(d, "A process keeps its own fate: when a thread crashed, all of its process "
			 "was gone; when a child crashed, its parent went on. So keep processes, "
			 "share memory, and start them before the work comes.");
	return 0;
}
