/* explain_measure.c - round trips, loops and starts; see explain.h */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/explain.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"
#include "shm/futex.h"
#include "shm/ring.h"

/* ---- loops ---- */

uint64_t
measure_loop(uint64_t rounds)
{
	uint64_t x = 88172645463325252u;

	/* xorshift: each step needs the last one, so nothing is folded or vectorised */
	for (uint64_t i = 0; i < rounds * 500; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	__asm__ volatile("" : : "r"(x));
	return x;
}

static void *
loop_thread(void *context)
{
	measure_loop(*(const uint64_t *)context);
	return NULL;
}

double
measure_loop_threads(unsigned count, uint64_t rounds_each)
{
	pthread_t *threads = ctl_alloc(count, sizeof *threads);
	uint64_t begun = clock_now();
	unsigned made = 0;

	while (made < count && pthread_create(&threads[made], NULL, loop_thread, &rounds_each) == 0)
		made++;
	for (unsigned i = 0; i < made; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	return made < count ? NAN : (double)(clock_now() - begun) / (double)NS_PER_S;
}

double
measure_loop_processes(unsigned count, uint64_t rounds_each)
{
	pid_t *pids = ctl_alloc(count, sizeof *pids);
	uint64_t begun = clock_now();
	bool failed = false;

	for (unsigned i = 0; i < count; i++) {
		pids[i] = floor_fork();
		if (pids[i] == 0) {
			measure_loop(rounds_each);
			_exit(0);
		}
		failed |= pids[i] < 0;
	}
	for (unsigned i = 0; i < count; i++)
		while (pids[i] > 0 && waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
			;
	free(pids);
	return failed ? NAN : (double)(clock_now() - begun) / (double)NS_PER_S;
}

/* ---- round trips ---- */

struct trip_shared {
	_Alignas(RING_LINE) _Atomic uint32_t ball; /* odd: the other's turn */
	_Alignas(RING_LINE) _Atomic uint32_t sleeping[2];
	int out[2], back[2]; /* pipes */
};

/* Until ball == wanted, as `by` says; `me` is 0 or 1. */
static void
await(struct trip_shared *s, enum wait_by by, unsigned me, uint32_t wanted)
{
	char byte;

	if (by == WAIT_PIPE) {
		(void)!read(me == 0 ? s->back[0] : s->out[0], &byte, 1);
		return;
	}
	unsigned looks = by == WAIT_POLICY ? WAKE_LOOKS : 0;
	for (;;) {
		uint32_t ball = atomic_load_explicit(&s->ball, memory_order_acquire);
		if (ball == wanted)
			return;
		if (by == WAIT_SPIN)
			continue;
		if (looks > 0) {
			looks = yield_cheaply() ? looks - 1 : 0;
			continue;
		}
		atomic_store(&s->sleeping[me], 1);
		ball = atomic_load(&s->ball);
		if (ball != wanted)
			(void)futex_wait(&s->ball, ball, FUTEX_SLICE_NS);
		atomic_store(&s->sleeping[me], 0);
	}
}

static void
pass(struct trip_shared *s, enum wait_by by, unsigned me, uint32_t value)
{
	atomic_store(&s->ball, value);
	if (by == WAIT_PIPE)
		(void)!write(me == 0 ? s->out[1] : s->back[1], "x", 1);
	else if (by != WAIT_SPIN && atomic_load(&s->sleeping[1 - me]) != 0)
		futex_wake(&s->ball, 1);
}

struct other_side {
	struct trip_shared *shared;
	enum wait_by by;
	int cpu;
	unsigned rounds;
};

static void *
answer(void *context)
{
	const struct other_side *o = context;

	(void)floor_bind(0, o->cpu);
	for (unsigned i = 0; i < o->rounds; i++) {
		await(o->shared, o->by, 1, 2 * i + 1);
		pass(o->shared, o->by, 1, 2 * i + 2);
	}
	return NULL;
}

static uint64_t
own_switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return (uint64_t)usage.ru_nvcsw;
}

static void
play(const struct other_side *o, int cpu, struct trip *ret)
{
	struct samples samples = { 0 };
	uint64_t switches = own_switches();

	(void)floor_bind(0, cpu);
	for (unsigned i = 0; i < o->rounds; i++) {
		uint64_t begun = clock_now();
		pass(o->shared, o->by, 0, 2 * i + 1);
		await(o->shared, o->by, 0, 2 * i + 2);
		if (i >= o->rounds / 10) /* the first tenth warms up */
			samples_add(&samples, clock_now() - begun);
	}
	ret->switches = (double)(own_switches() - switches) / o->rounds;
	ret->p50_ns = (double)samples_percentile(&samples, 50);
	ret->p99_ns = (double)samples_percentile(&samples, 99);
	samples_free(&samples);
}

static int
with_thread(struct other_side *o, int cpu, struct trip *ret)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, answer, o) != 0)
		return -EAGAIN;
	play(o, cpu, ret);
	pthread_join(thread, NULL);
	return 0;
}

static int
with_process(struct other_side *o, int cpu, struct trip *ret)
{
	pid_t pid = floor_fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		answer(o);
		_exit(0);
	}
	play(o, cpu, ret);
	floor_kill(pid);
	return 0;
}

int
measure_trip(enum wait_by by, bool process, int cpu_a, int cpu_b, unsigned rounds, struct trip *ret)
{
	struct trip_shared *s = floor_share(sizeof *s);
	struct other_side o = { .shared = s, .by = by, .cpu = cpu_b, .rounds = rounds };
	cpu_set_t before;

	if (!s)
		return -ENOMEM;
	if (pipe(s->out) < 0 || pipe(s->back) < 0) {
		munmap(s, sizeof *s);
		return -EMFILE;
	}
	sched_getaffinity(0, sizeof before, &before);
	int r = process ? with_process(&o, cpu_a, ret) : with_thread(&o, cpu_a, ret);
	sched_setaffinity(0, sizeof before, &before);
	for (int i = 0; i < 2; i++) {
		close(s->out[i]);
		close(s->back[i]);
	}
	munmap(s, sizeof *s);
	return r;
}

void
measure_cpus(int *ret_a, int *ret_b)
{
	int second = floor_cpu(1);

	*ret_a = floor_cpu(0);
	*ret_b = second < 0 ? *ret_a : second;
}

/* ---- words ---- */

static char *
next_text(void)
{
	static char texts[8][32];
	static unsigned at;

	return texts[at++ % 8];
}

const char *
measure_times(double ratio)
{
	char *text = next_text();

	if (isnan(ratio))
		snprintf(text, 32, "? times");
	else if (ratio >= 1000)
		snprintf(text, 32, "%.24s times", unit_count_human((uint64_t)(ratio + 0.5)).text);
	else
		snprintf(text, 32, "%.*f times", ratio >= 100 ? 0 : ratio >= 10 ? 1 : 2, ratio);
	return text;
}

const char *
measure_ns(double ns)
{
	char *text = next_text();

	if (isnan(ns))
		snprintf(text, 32, "?");
	else
		snprintf(text, 32, "%s", unit_time_human((uint64_t)(ns + 0.5)).text);
	return text;
}

const char *
measure_count(uint64_t count)
{
	char *text = next_text();

	snprintf(text, 32, "%s", unit_count_human(count).text);
	return text;
}
