/* test_ipc_wake.c - ipc/wake.h: no wake-up is lost between two processes. */
#include <criterion/criterion.h>
#include <sched.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/wake.h"
#include "tests/process.h"

#ifdef __SANITIZE_ADDRESS__
#define ROUNDS 50000u
#else
#define ROUNDS 200000u
#endif
#define ROUNDS_MAX 50000000u /* when a mistake is not seen */
#define LOST_MS    30000

struct side {
	_Alignas(128) struct wake wake;
	_Alignas(128) _Atomic uint32_t number; /* written by the other side */
};

static struct side *sides; /* [0] the test's, [1] the child's */
static int bells[2];

static void
setup(void)
{
	sides = mmap(NULL, 2 * sizeof(*sides), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	cr_assert_neq((void *)sides, MAP_FAILED);
	bells[0] = bell_create();
	bells[1] = bell_create();
	cr_assert(bells[0] >= 0 && bells[1] >= 0);
}

static void
teardown(void)
{
	munmap(sides, 2 * sizeof(*sides));
	close(bells[0]);
	close(bells[1]);
}

TestSuite(ipc_wake, .init = setup, .fini = teardown, .timeout = 600);

static void
send_number(int to, uint32_t number)
{
	atomic_store_explicit(&sides[to].number, number, memory_order_release);
	if (wake_needed(&sides[to].wake))
		bell_ring(bells[to]);
}

static bool
has_number(int me, uint32_t number)
{
	return atomic_load_explicit(&sides[me].number, memory_order_acquire) >= number;
}

/* Wait for `number` by the policy, after `looks` looks; false when no bell came.  With
 * `look_again` false the second look after arming is left out: the mistake the policy is
 * there against. */
static bool
wait_number(int me, uint32_t number, unsigned looks, bool look_again, int lost_ms)
{
	for (unsigned i = 0; i < looks; i++) {
		if (has_number(me, number))
			return true;
		sched_yield();
	}
	while (!has_number(me, number)) {
		if (number % 64 == 0)
			sched_yield(); /* be preempted at the worst place: looked, not armed */
		wake_arm(&sides[me].wake);
		if (look_again && has_number(me, number))
			break;
		struct pollfd p = { .fd = bells[me], .events = POLLIN };
		if (poll(&p, 1, lost_ms) == 0)
			return false;
		bell_clear(bells[me]);
	}
	wake_disarm(&sides[me].wake);
	return true;
}

/* Returns the round whose wake-up was lost, or 0. */
static uint32_t
play(int me, uint32_t rounds, bool look_again, int lost_ms)
{
	for (uint32_t i = 1; i <= rounds; i++) {
		unsigned looks = i * 7 % 4; /* arm at many distances from the other's publish */
		if (me == 0)
			send_number(1, i);
		if (!wait_number(me, i, looks, look_again, lost_ms))
			return i;
		if (me == 1)
			send_number(0, i);
	}
	return 0;
}

Test(ipc_wake, loses_no_wake_up_in_200000_round_trips)
{
	pid_t child = test_fork();
	if (child == 0)
		_exit(play(1, ROUNDS, true, LOST_MS) == 0 ? 0 : 1);
	uint32_t lost = play(0, ROUNDS, true, LOST_MS);
	cr_assert_eq(lost, 0, "no bell in round %u", lost);
	cr_assert_eq(wait_exit(child, LOST_MS), 0);
}

/* One word after the other, as it may come: looked, published, armed. */
Test(ipc_wake, what_is_published_between_look_and_arming_rings_no_bell)
{
	struct pollfd p = { .fd = bells[0], .events = POLLIN };

	cr_assert_not(has_number(0, 1));
	send_number(0, 1);
	wake_arm(&sides[0].wake);
	cr_expect_eq(poll(&p, 1, 0), 0, "without the second look this is for ever");
	cr_expect(has_number(0, 1));
}

/* Proof that the round trips above can fail: they go on until the mistake is seen. */
Test(ipc_wake, would_lose_one_without_the_second_look)
{
	pid_t child = test_fork();
	if (child == 0) {
		play(1, ROUNDS_MAX, false, 200);
		_exit(0);
	}
	uint32_t lost = play(0, ROUNDS_MAX, false, 200);
	kill_and_wait(child, SIGKILL);
	cr_assert_neq(lost, 0, "the mistake was not seen in %u rounds", ROUNDS_MAX);
}

Test(ipc_wake, tells_one_waker_of_a_burst_and_none_when_nobody_sleeps)
{
	cr_assert_not(wake_needed(&sides[0].wake));
	wake_arm(&sides[0].wake);
	cr_assert(wake_needed(&sides[0].wake));
	cr_assert_not(wake_needed(&sides[0].wake));
	wake_arm(&sides[0].wake);
	wake_disarm(&sides[0].wake);
	cr_assert_not(wake_needed(&sides[0].wake));
}

Test(ipc_wake, bell_never_blocks_and_counts_many_rings_as_one)
{
	struct pollfd p = { .fd = bells[0], .events = POLLIN };
	bell_clear(bells[0]); /* silent: returns at once */
	for (int i = 0; i < 1000; i++)
		bell_ring(bells[0]);
	cr_assert_eq(poll(&p, 1, 0), 1);
	bell_clear(bells[0]);
	cr_assert_eq(poll(&p, 1, 0), 0);
}
