/* explain_share.c - share-data, and shared-memory. */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/explain.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"
#include "ipc/pipe.h"
#include "shm/array.h"
#include "shm/lock.h"
#include "shm/ring.h"

#define ARRAY_BYTES (8u * 1024 * 1024)
#define PAGE        4096u

/* ---- share-data ---- */

/* The other side of a pipe: takes frames, sums each, answers with the sum. */
static int
sum_frames(void *context)
{
	struct pipe_end *ends = context;
	uint64_t *numbers = ctl_alloc(1, ARRAY_BYTES);
	size_t bytes;

	pipe_close(&ends[0]);
	while (pipe_recv(&ends[1], numbers, ARRAY_BYTES, &bytes, -1) == 0) {
		uint64_t sum = 0;
		for (size_t i = 0; i < bytes / sizeof *numbers; i++)
			sum += numbers[i];
		if (pipe_send(&ends[1], &sum, sizeof sum, -1) < 0)
			break;
	}
	return 0;
}

/* The array is sent whole, summed there, the sum comes back: ns. */
static double
by_copy(struct demo *d, uint64_t *numbers, unsigned rounds)
{
	struct pipe_end ends[2];
	double times[64] = { 0 };
	uint64_t sum;
	size_t bytes;

	if (pipe_create(&ends[0], &ends[1]) < 0)
		return NAN;
	pid_t pid = demo_actor(d, sum_frames, ends);
	pipe_close(&ends[1]);
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t begun = clock_now();
		if (pipe_send(&ends[0], numbers, ARRAY_BYTES, -1) < 0 ||
		    pipe_recv(&ends[0], &sum, sizeof sum, &bytes, -1) < 0)
			break;
		times[i] = (double)(clock_now() - begun);
	}
	pipe_close(&ends[0]);
	demo_kill(d, pid);
	return bench_median(times, rounds);
}

/* The other side attaches by name once and sums what is there when asked. */
struct asked {
	char name[NAMED_MAX + 1];
	struct pipe_end ends[2];
};

static int
sum_array(void *context)
{
	struct asked *asked = context;
	struct array *array;
	char ask;
	size_t bytes;

	pipe_close(&asked->ends[0]);
	if (array_attach(asked->name, ARRAY_READ_ONLY | ARRAY_POPULATE, &array) < 0)
		return 1;
	while (pipe_recv(&asked->ends[1], &ask, 1, &bytes, -1) == 0) {
		const uint64_t *numbers = array->data;
		uint64_t sum = 0;
		for (uint64_t i = 0; i < array->count; i++)
			sum += numbers[i];
		if (pipe_send(&asked->ends[1], &sum, sizeof sum, -1) < 0)
			break;
	}
	array_close(array);
	return 0;
}

/* Nothing is sent but the question: ns; *ret_first_ns is the first one, with the attaching. */
static double
by_sharing(struct demo *d, const char *name, unsigned rounds, uint64_t expected, bool *ret_right,
	   double *ret_first_ns)
{
	struct asked asked;
	double times[64] = { 0 };
	uint64_t sum = 0;
	size_t bytes;

	memcpy(asked.name, name, sizeof asked.name);
	if (pipe_create(&asked.ends[0], &asked.ends[1]) < 0)
		return NAN;
	pid_t pid = demo_actor(d, sum_array, &asked);
	pipe_close(&asked.ends[1]);
	*ret_right = true;
	for (unsigned i = 0; i <= rounds; i++) {
		uint64_t begun = clock_now();
		if (pipe_send(&asked.ends[0], "?", 1, -1) < 0 ||
		    pipe_recv(&asked.ends[0], &sum, sizeof sum, &bytes, -1) < 0)
			break;
		times[i] = (double)(clock_now() - begun);
		*ret_right &= sum == expected;
	}
	pipe_close(&asked.ends[0]);
	demo_kill(d, pid);
	*ret_first_ns = times[0];
	return bench_median(times + 1, rounds);
}

static double
python_seconds(struct demo *d, const char *topic, const char *mode, const char *rounds,
	       const char *figure)
{
	json_t *answer =
		demo_python(d, topic, (const char *const[]){ mode, "bytes=8388608", rounds, NULL });
	double value = demo_number(answer, figure);

	json_decref(answer);
	return value;
}

int
explain_share(struct demo *d)
{
	unsigned rounds = demo_quick(d) ? 10 : 50;
	struct array_shape shape = { .dimensions = 1,
				     .length = { ARRAY_BYTES / sizeof(uint64_t) } };
	char name[NAMED_MAX + 1];
	struct array *array;
	uint64_t expected = 0;
	bool right = false;
	double first = 0;

	demo_name(d, "numbers", name);
	int r = array_create(name, ARRAY_u64, &shape, 0, 0, &array);
	if (r < 0)
		return demo_fail(d, "8 MiB of shared memory could not be made: %s", strerror(-r));
	uint64_t *numbers = array->data;
	for (uint64_t i = 0; i < array->count; i++)
		expected += numbers[i] = i * i;
	demo_say(d, "Another process is to sum an array of 8 MiB: it gets a copy, or it looks.");
	double shared = by_sharing(d, name, rounds, expected, &right, &first);
	double copied = by_copy(d, numbers, rounds);
	array_close(array);
	(void)array_unlink(name);
	demo_figure(d, "copied_ns", copied, "ns", "sent through a pipe and summed (p50)");
	demo_python_figure(d, "copied_ns",
			   python_seconds(d, "pipe", "mode=sum", "messages=20", "p50_ns"));
	demo_figure(d, "shared_first_ns", first, "ns", "shared: attached by name, and summed");
	demo_figure(d, "shared_ns", shared, "ns", "shared: summed again (p50)");
	demo_python_figure(d, "shared_ns",
			   python_seconds(d, "shm", "mode=work", "rounds=20", "sum_seconds") * 1e9);
	demo_check(d, right, "the other process summed the very bytes that were written here");
	demo_conclude(d,
		      "Sent as a copy it took %s, shared by name %s the first time (the pages are "
		      "mapped) and %s from then on: %s as fast.",
		      measure_ns(copied), measure_ns(first), measure_ns(shared),
		      measure_times(copied / shared));
	demo_conclude(d,
		      "Send small things, share big ones, and keep them attached. Whoever writes "
		      "while others read needs a lock: `pyprepctl explain shared-memory`.");
	return 0;
}

/* ---- shared-memory ---- */

static double
touch_ns_per_page(char *memory, size_t bytes)
{
	uint64_t begun = clock_now(), pages = 0;

	for (size_t at = 0; at < bytes; at += PAGE, pages++)
		((volatile char *)memory)[at] = 1;
	return (double)(clock_now() - begun) / (double)pages;
}

struct tally_shared {
	_Alignas(RING_LINE) struct lock lock;
	_Alignas(RING_LINE) volatile uint64_t plain;
	_Alignas(RING_LINE) uint64_t locked;
	_Alignas(RING_LINE) _Atomic uint64_t atomic;
	_Alignas(RING_LINE) uint64_t adds;
	int cpus[2]; /* each its own: on one CPU they would take turns, and lose little */
	_Atomic uint32_t arrived;
	enum { ADD_PLAIN, ADD_LOCKED, ADD_ATOMIC } how;
};

static int
add_many(void *context)
{
	struct tally_shared *s = context;

	(void)floor_bind(0, s->cpus[atomic_fetch_add(&s->arrived, 1) % 2]);
	while (atomic_load(&s->arrived) < 2)
		sched_yield();
	for (uint64_t i = 0; i < s->adds; i++) {
		if (s->how == ADD_PLAIN) {
			s->plain++;
		} else if (s->how == ADD_ATOMIC) {
			atomic_fetch_add(&s->atomic, 1);
		} else {
			if (lock_take(&s->lock, -1) < 0)
				return 1;
			s->locked++;
			(void)lock_release(&s->lock);
		}
	}
	return 0;
}

/* Two processes add: ns for one add. */
static double
two_add(struct demo *d, struct tally_shared *s, int how)
{
	pid_t pids[2];

	s->how = how;
	atomic_store(&s->arrived, 0);
	uint64_t begun = clock_now();
	for (int i = 0; i < 2; i++)
		pids[i] = demo_actor(d, add_many, s);
	for (int i = 0; i < 2; i++)
		while (pids[i] > 0 && waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
			;
	return (double)(clock_now() - begun) / (double)(2 * s->adds);
}

static void
measure_pages(struct demo *d, double *ret_first, double *ret_again)
{
	char *memory =
		mmap(NULL, ARRAY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	*ret_first = *ret_again = NAN;
	if (memory == MAP_FAILED)
		return;
	*ret_first = touch_ns_per_page(memory, ARRAY_BYTES);
	*ret_again = touch_ns_per_page(memory, ARRAY_BYTES);
	munmap(memory, ARRAY_BYTES);
	demo_figure(d, "first_touch_ns", *ret_first, "ns", "the first touch of each 4 KiB");
	demo_figure(d, "next_touch_ns", *ret_again, "ns", "the next touch");
}

int
explain_memory(struct demo *d)
{
	struct tally_shared *s = floor_share(sizeof *s);
	double first, again;

	if (!s || lock_init(&s->lock) < 0)
		return demo_fail(d, "there is no shared memory");
	s->adds = demo_quick(d) ? 300000 : 3000000;
	measure_cpus(&s->cpus[0], &s->cpus[1]);
	measure_pages(d, &first, &again);
	double plain = two_add(d, s, ADD_PLAIN), locked = two_add(d, s, ADD_LOCKED);
	double atomic = two_add(d, s, ADD_ATOMIC);
	uint64_t all = 2 * s->adds, lost = all - s->plain;
	demo_figure(d, "adds", (double)all, "", "adds by two processes to one number");
	demo_figure(d, "lost_plain", (double)lost, "", "of them lost without a lock");
	demo_figure(d, "lost_locked", (double)(all - s->locked), "", "lost with a lock");
	demo_figure(d, "lost_atomic", (double)(all - atomic_load(&s->atomic)), "",
		    "lost with an atomic");
	demo_figure(d, "plain_ns", plain, "ns", "an add without a lock");
	demo_figure(d, "locked_ns", locked, "ns", "an add under a robust lock");
	demo_figure(d, "atomic_ns", atomic, "ns", "an atomic add");
	json_t *python = demo_python(d, "value", NULL);
	double expected = demo_number(python, "expected");
	double share = demo_number(python, "lost") / expected;
	demo_python_figure(d, "locked_ns", 1e9 / demo_number(python, "rate_per_s"));
	json_decref(python);
	demo_check(d, s->locked == all && atomic_load(&s->atomic) == all,
		   "with the lock and with the atomic no add was lost");
	demo_conclude(d,
		      "Not free: each page costs %s at its first touch, %s later. And not safe by "
		      "itself: of %s adds by two processes %s were lost (%.0f %%).",
		      measure_ns(first), measure_ns(again), measure_count(all), measure_count(lost),
		      100.0 * (double)lost / (double)all);
	if (!isnan(share))
		demo_conclude(d, "CPython's Value without its lock lost %.0f %%.", 100 * share);
	demo_conclude(d,
		      "An atomic keeps all at %s an add, a lock at %s: use atomics for one word, "
		      "a lock where several must agree.",
		      measure_ns(atomic), measure_ns(locked));
	munmap(s, sizeof *s);
	return 0;
}
