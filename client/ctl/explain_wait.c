/* explain_wait.c - wake-up-cost, and when-asyncio. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/explain.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

/* ---- wake-up-cost ---- */

struct wait_row {
	enum wait_by by;
	bool two_cpus;
	const char *key, *switches_key, *what;
};
static const struct wait_row wait_rows[] = {
	{ WAIT_FUTEX, true, "futex_two_cpus_ns", "futex_two_cpus_switches",
	  "asleep in the kernel (futex), on two CPUs" },
	{ WAIT_PIPE, true, "pipe_two_cpus_ns", "pipe_two_cpus_switches",
	  "asleep in read() of a pipe, on two CPUs" },
	{ WAIT_FUTEX, false, "futex_one_cpu_ns", "futex_one_cpu_switches",
	  "asleep in the kernel (futex), on one CPU" },
	{ WAIT_POLICY, true, "policy_two_cpus_ns", "policy_two_cpus_switches",
	  "50 looks with sched_yield first, on two CPUs" },
	{ WAIT_POLICY, false, "policy_one_cpu_ns", "policy_one_cpu_switches",
	  "50 looks with sched_yield first, on one CPU" },
	{ WAIT_SPIN, true, "spin_two_cpus_ns", "spin_two_cpus_switches",
	  "never sleeps, on two CPUs" },
};
#define WAIT_ROWS (sizeof wait_rows / sizeof wait_rows[0])

static double
python_trip(struct demo *d)
{
	json_t *answer = demo_python(
		d, "pipe", (const char *const[]){ "mode=roundtrip", "bytes=1", "cpus=2", NULL });
	double p50 = demo_number(answer, "p50_ns");

	json_decref(answer);
	return p50;
}

int
explain_wake(struct demo *d)
{
	unsigned rounds = demo_quick(d) ? 1000 : 10000;
	struct trip trips[WAIT_ROWS];
	int a, b;

	measure_cpus(&a, &b);
	demo_say(d, "Two processes pass a word back and forth; what differs is how they wait.");
	for (size_t i = 0; i < WAIT_ROWS; i++) {
		const struct wait_row *row = &wait_rows[i];
		trips[i] = (struct trip){ NAN, NAN, NAN };
		if (a == b && row->two_cpus)
			continue;
		int r = measure_trip(row->by, true, a, row->two_cpus ? b : a, rounds, &trips[i]);
		if (r < 0)
			return demo_fail(d, "no round trips could be made: %s", strerror(-r));
		demo_figure(d, row->key, trips[i].p50_ns, "ns", row->what);
	}
	for (size_t i = 0; i < WAIT_ROWS; i++)
		if (!isnan(trips[i].switches) && wait_rows[i].by == WAIT_FUTEX)
			demo_figure(d, wait_rows[i].switches_key, trips[i].switches, "x",
				    wait_rows[i].two_cpus ? "switches per round trip, two CPUs"
							  : "switches per round trip, one CPU");
	if (a != b)
		demo_python_figure(d, "pipe_two_cpus_ns", python_trip(d));
	if (a == b) {
		demo_conclude(d,
			      "This process may use one CPU only; asleep, a round trip costs %s.",
			      measure_ns(trips[2].p50_ns));
		return 0;
	}
	double asleep = trips[0].p50_ns, policy = trips[3].p50_ns, spin = trips[5].p50_ns;
	demo_conclude(
		d,
		"The message itself costs %s there and back (two CPUs that never sleep); with "
		"two sleepers on two CPUs it is %s, %s as long: that is the price of waking.",
		measure_ns(spin), measure_ns(asleep), measure_times(asleep / spin));
	demo_conclude(
		d,
		"Looking 50 times with sched_yield before sleeping takes it to %s on two CPUs "
		"and %s on one, without keeping a CPU from others that want it: this is how "
		"every process of pyprep waits.",
		measure_ns(policy), measure_ns(trips[4].p50_ns));
	demo_conclude(d,
		      "On one CPU a wake is a switch (%s a round trip): cheap, but nobody "
		      "computes meanwhile.",
		      measure_ns(trips[2].p50_ns));
	return 0;
}

/* ---- when-asyncio ---- */

static void *
nap(void *context)
{
	const unsigned *ms = context;
	nanosleep(&(struct timespec){ .tv_nsec = (long)(*ms * NS_PER_MS) }, NULL);
	return NULL;
}

/* `count` threads that sleep `ms` each, all at once: ns. */
static double
sleeping_threads(unsigned count, unsigned ms)
{
	pthread_t *threads = ctl_alloc(count, sizeof *threads);
	pthread_attr_t small;
	uint64_t begun = clock_now();
	unsigned made = 0;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	while (made < count && pthread_create(&threads[made], &small, nap, &ms) == 0)
		made++;
	for (unsigned i = 0; i < made; i++)
		pthread_join(threads[i], NULL);
	pthread_attr_destroy(&small);
	free(threads);
	return made < count ? NAN : (double)(clock_now() - begun);
}

/* A loop with a timer every millisecond, that also computes for `busy_ms`: how late was it? */
static double
latest_tick(unsigned busy_ms)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct itimerspec each = { .it_interval.tv_nsec = (long)NS_PER_MS,
				   .it_value.tv_nsec = (long)NS_PER_MS };
	uint64_t begun = clock_now(), worst = 0, last = begun, expired;

	if (fd < 0 || timerfd_settime(fd, 0, &each, NULL) < 0)
		return NAN;
	for (unsigned tick = 0; tick < 40; tick++) {
		if (read(fd, &expired, sizeof expired) != sizeof expired)
			break;
		uint64_t now = clock_now();
		worst = now - last > worst ? now - last : worst;
		last = now;
		while (tick == 20 && clock_now() - now < busy_ms * NS_PER_MS)
			measure_loop(10);
	}
	close(fd);
	return (double)worst;
}

static double
python_io(struct demo *d, const char *way, unsigned count)
{
	char jobs[32], workers[32];

	snprintf(jobs, sizeof jobs, "jobs=%u", count);
	snprintf(workers, sizeof workers, "workers=%u", count);
	json_t *answer =
		demo_python(d, "io", (const char *const[]){ way, jobs, "ms=10", workers, NULL });
	double seconds = demo_number(answer, "seconds");

	json_decref(answer);
	return seconds * 1e9;
}

int
explain_asyncio(struct demo *d)
{
	unsigned count = demo_quick(d) ? 200 : 1000;

	double loop = (double)floor_timers(count, 10), threads = sleeping_threads(count, 10);
	demo_figure(d, "waits", count, "", "waits of 10 ms, all at once");
	demo_figure(d, "loop_ns", loop, "ns", "by one event loop, until the last has ended");
	demo_python_figure(d, "loop_ns", python_io(d, "way=asyncio", count));
	demo_figure(d, "threads_ns", threads, "ns", "by as many threads");
	demo_python_figure(d, "threads_ns", python_io(d, "way=threading", count));
	double calm = latest_tick(0), busy = latest_tick(50);
	demo_figure(d, "tick_calm_ns", calm, "ns",
		    "longest gap of a 1 ms timer, nothing else to do");
	demo_figure(d, "tick_busy_ns", busy, "ns", "the same when one callback computes for 50 ms");
	demo_check(d, busy >= 45e6, "one callback that computes holds up all others of its loop");
	demo_conclude(d,
		      "%u waits of 10 ms took one loop %s and as many threads %s: an event loop "
		      "waits for many at the price of one stack.",
		      count, measure_ns(loop), measure_ns(threads));
	demo_conclude(d,
		      "But it does one thing at a time: a timer due every millisecond came %s late "
		      "at worst beside a callback that computed for 50 ms (%s without). Use a loop "
		      "for many waits, processes for computing, and never compute in the loop.",
		      measure_ns(busy), measure_ns(calm));
	return 0;
}
