/* test_usage.c - what a run used: the parts sum to the run, and peak memory is the job's own. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/usage.h"
#include "ipc/clock.h"

#define MIB (1024.0 * 1024.0)

static struct usage_meter meter;
static struct outcome outcome;
static uint64_t spent_ns; /* of CPU time, by the thread's own clock */

static void
setup(void)
{
	usage_open(&meter, true);
}

static void
teardown(void)
{
	usage_close(&meter);
}

TestSuite(usage, .init = setup, .fini = teardown, .timeout = 600);

static uint64_t
thread_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void
measure(unsigned kind, void (*work)(size_t), size_t amount)
{
	memset(&outcome, 0, sizeof(outcome));
	usage_begin(&meter, kind);
	outcome.started_ns = clock_now();
	uint64_t before_ns = thread_ns();
	work(amount);
	spent_ns = thread_ns() - before_ns;
	outcome.ended_ns = clock_now();
	usage_end(&meter, kind, &outcome);

	const struct usage *u = &outcome.usage;
	cr_assert_eq(u->oncpu_ns + u->runqueue_ns + u->blocked_ns,
		     outcome.ended_ns - outcome.started_ns);
	cr_assert_leq(u->user_ns + u->system_ns, u->oncpu_ns);
}

static void
idle(size_t nothing)
{
	(void)nothing;
}

static void
compute(size_t rounds)
{
	for (size_t i = 0; i < rounds; i++)
		__asm__ volatile("" : "+r"(i));
}

static void
pause_us(size_t us)
{
	usleep((useconds_t)us);
}

static void
touch(size_t bytes)
{
	char *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(memory, MAP_FAILED);
	for (size_t i = 0; i < bytes; i += 4096)
		*(volatile char *)&memory[i] = 1;
	munmap(memory, bytes);
}

/* Through malloc, in blocks below and above its bound for mapping. */
static __attribute__((unused)) void
allocate(size_t bytes)
{
	enum { BLOCKS = 64 };
	void *blocks[BLOCKS];

	for (int i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(bytes / BLOCKS);
		memset(blocks[i], 1, bytes / BLOCKS);
	}
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
}

static bool
was_tiny(void)
{
	return outcome.ended_ns - outcome.started_ns < USAGE_LIGHT_NS;
}

/* Run `kind` until it is measured lightly; somebody else on the CPU makes that longer. */
static void
become_tiny(unsigned kind)
{
	do
		measure(kind, idle, 0);
	while (outcome.method != USAGE_LIGHT || !was_tiny());
}

static double
peak_mib(void (*work)(size_t), size_t amount)
{
	measure(0, work, amount);
	return (double)outcome.usage.peak_memory_bytes / MIB;
}

Test(usage, computing_is_on_the_cpu_and_sleeping_is_blocked)
{
	measure(0, compute, 20000000);
	cr_expect_gt(outcome.usage.oncpu_ns, outcome.usage.blocked_ns);
	cr_expect_eq(outcome.method, USAGE_THREAD);
	measure(0, pause_us, 300000); /* long: what a host steals counts as computing */
	cr_expect_gt(outcome.usage.blocked_ns + outcome.usage.runqueue_ns, 250 * NS_PER_MS);
	cr_expect_lt(outcome.usage.oncpu_ns, 50 * NS_PER_MS);
	cr_expect_geq(outcome.usage.switches_voluntary, 1);
}

Test(usage, a_job_that_touches_64_mib_shows_64_mib_more)
{
	become_tiny(1);
	double none = (double)outcome.usage.peak_memory_bytes / MIB;
	cr_expect_float_eq(peak_mib(touch, 64 << 20) - none, 64, 6.4);
	cr_expect_float_eq(peak_mib(idle, 0), none, 2);
	become_tiny(1); /* the 64th would be full */
	cr_expect_float_eq((double)outcome.usage.peak_memory_bytes / MIB, none, 2);
}

Test(usage, a_larger_job_before_leaves_no_trace)
{
	double none = peak_mib(idle, 0);

	cr_expect_gt(peak_mib(touch, 200 << 20), none + 180);
	cr_expect_float_eq(peak_mib(touch, 64 << 20) - none, 64, 6.4);
#if !defined(__SANITIZE_ADDRESS__) /* its malloc keeps what is freed, to watch it */
	cr_expect_gt(peak_mib(allocate, 16 << 20), none + 14); /* blocks of 256 KiB */
	cr_expect_float_eq(peak_mib(idle, 0), none, 2);
	cr_expect_gt(peak_mib(allocate, 150 << 20), none + 140); /* larger ones */
	cr_expect_gt(peak_mib(allocate, 150 << 20), none + 140);
	cr_expect_float_eq(peak_mib(touch, 64 << 20) - peak_mib(idle, 0), 64, 6.4);
#endif
	cr_expect_float_eq(peak_mib(idle, 0), none, 2);
}

Test(usage, tiny_kinds_are_measured_lightly_but_for_every_64th_run)
{
	int full = 0, runs = 0;

	for (int i = 0; i < 8; i++) {
		measure(3, idle, 0);
		cr_expect_eq(outcome.method, USAGE_THREAD);
	}
	/* Somebody else on the CPU may make a run long, and then full ones follow: until there are
	 * so many without one. */
	become_tiny(3);
	while (runs < 640) {
		measure(3, idle, 0);
		runs++;
		full += outcome.method == USAGE_THREAD;
		if (!was_tiny()) {
			become_tiny(3);
			runs = full = 0;
		}
	}
	cr_expect_eq(full, 10);
}

Test(usage, a_surprise_of_a_tiny_kind_is_shared_out_and_the_next_run_is_full)
{
	become_tiny(4);
	measure(4, compute, 20000000);
	cr_expect_eq(outcome.method, USAGE_LIGHT);
	cr_expect_gt(outcome.usage.oncpu_ns, spent_ns / 2);
	measure(4, idle, 0);
	cr_expect_eq(outcome.method, USAGE_THREAD);
}
