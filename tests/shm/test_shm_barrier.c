/* test_shm_barrier.c - shm/barrier.h between real processes. */
#include <criterion/criterion.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/barrier.h"
#include "shm/owner.h"
#include "tests/process.h"
#include "tests/shm/lock_kills.h"

#define WAIT_MS 120000
#define PARTIES 3u

static struct barrier *b;
static _Atomic uint64_t *came;

static void
setup(void)
{
	b = shared_memory(barrier_bytes(BARRIER_MAX));
	came = shared_memory(PARTIES * sizeof(*came));
	cr_assert(b != NULL && came != NULL);
	cr_assert_eq(barrier_init(b, PARTIES), 0);
}

static void
teardown(void)
{
	munmap(b, barrier_bytes(BARRIER_MAX));
	munmap((void *)came, PARTIES * sizeof(*came));
}

TestSuite(barrier, .init = setup, .fini = teardown, .timeout = 600);

static uint32_t
join(void)
{
	uint32_t seat = 99;
	cr_assert_eq(barrier_join(b, &seat), 0);
	return seat;
}

/* A child that joins and waits once; its exit status is the error, or 0. */
static pid_t
start_party(int timeout_ms)
{
	pid_t child = test_fork();
	if (child == 0) {
		uint32_t seat;
		if (barrier_join(b, &seat) != 0)
			_exit(255);
		_exit(-barrier_wait(b, seat, timeout_ms));
	}
	return child;
}

static int
status_of(pid_t child)
{
	return WEXITSTATUS(wait_exit(child, WAIT_MS));
}

static uint32_t
joined(void)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < PARTIES; i++)
		count += atomic_load(&b->seats[i].party) != OWNER_NOBODY;
	return count;
}

Test(barrier, is_made_within_its_limits_and_found_whole)
{
	cr_expect_eq(barrier_init(b, 0), -EINVAL);
	cr_expect_eq(barrier_init(b, BARRIER_MAX + 1), -EINVAL);
	cr_expect_eq(barrier_attach(b, barrier_bytes(PARTIES)), 0);
	cr_expect_eq(barrier_attach(b, barrier_bytes(PARTIES) - 1), -EINVAL);
	b->magic = 0;
	cr_expect_eq(barrier_attach(b, barrier_bytes(PARTIES)), -EINVAL);
}

Test(barrier, has_a_seat_for_each_party)
{
	uint32_t seats[PARTIES], more;

	for (unsigned i = 0; i < PARTIES; i++)
		seats[i] = join();
	cr_expect_eq(barrier_join(b, &more), -EUSERS);
	cr_expect_eq(barrier_leave(b, seats[1]), 0);
	cr_expect_eq(barrier_leave(b, seats[1]), -EPERM);
	cr_expect_eq(barrier_leave(b, PARTIES), -EPERM);
	cr_expect_eq(barrier_wait(b, seats[1], 0), -EPERM);
	cr_expect_eq(join(), seats[1]);
}

/* Come to `rounds` rounds, and see that all had come to each. */
static void
play(uint64_t rounds)
{
	uint32_t seat;

	if (barrier_join(b, &seat) != 0)
		_exit(1);
	for (uint64_t round = 1; round <= rounds; round++) {
		atomic_store(&came[seat], round);
		if (barrier_wait(b, seat, WAIT_MS) != 0)
			_exit(2);
		for (unsigned i = 0; i < PARTIES; i++)
			if (atomic_load(&came[i]) < round)
				_exit(3);
	}
	barrier_leave(b, seat);
	_exit(0);
}

Test(barrier, lets_nobody_through_before_all_have_come)
{
	pid_t children[PARTIES];

	for (unsigned i = 0; i < PARTIES; i++)
		if ((children[i] = test_fork()) == 0)
			play(5000);
	for (unsigned i = 0; i < PARTIES; i++)
		cr_expect_eq(status_of(children[i]), 0);
	cr_expect_eq(b->rounds, 5000);
	cr_expect_eq(b->deaths, 0);
	cr_expect_eq(barrier_waiting(b), 0);
}

Test(barrier, a_party_that_dies_while_it_waits_breaks_it_for_the_others)
{
	uint32_t seat = join();
	pid_t dies = start_party(-1), other = start_party(-1);

	cr_assert(wait_until(WAIT_MS, barrier_waiting(b) == 2));
	kill_and_wait(dies, SIGKILL);
	cr_expect_eq(status_of(other), EOWNERDEAD);
	cr_expect_eq(barrier_wait(b, seat, -1), -EOWNERDEAD, "and stays broken");
	cr_expect_eq(barrier_state(b), -EOWNERDEAD);
	cr_expect_eq(b->deaths, 1);
}

Test(barrier, a_party_that_dies_before_it_comes_breaks_it_too)
{
	pid_t dies = test_fork();
	if (dies == 0) {
		uint32_t seat;
		barrier_join(b, &seat);
		for (;;)
			pause();
	}
	cr_assert(wait_until(WAIT_MS, joined() == 1));
	pid_t others[2] = { start_party(-1), start_party(-1) };
	cr_assert(wait_until(WAIT_MS, barrier_waiting(b) == 2));
	kill_and_wait(dies, SIGKILL);
	cr_expect_eq(status_of(others[0]), EOWNERDEAD);
	cr_expect_eq(status_of(others[1]), EOWNERDEAD);
}

Test(barrier, nobody_takes_a_dead_one_s_seat_before_the_others_know)
{
	uint32_t seat = join(), more;

	join();
	pid_t dies = start_party(-1);
	cr_assert(wait_until(WAIT_MS, barrier_waiting(b) == 1));
	kill_and_wait(dies, SIGKILL);
	cr_expect_eq(barrier_join(b, &more), -EOWNERDEAD);
	cr_expect_eq(barrier_wait(b, seat, -1), -EOWNERDEAD);
}

Test(barrier, a_time_that_is_over_breaks_it_for_the_others)
{
	join();
	pid_t patient = start_party(-1);
	cr_assert(wait_until(WAIT_MS, barrier_waiting(b) == 1));
	pid_t hasty = start_party(30);
	cr_expect_eq(status_of(hasty), ETIMEDOUT);
	cr_expect_eq(status_of(patient), ECANCELED);
	cr_expect_eq(barrier_state(b), -ECANCELED);
}

Test(barrier, works_again_after_a_reset)
{
	kill_and_wait(start_party(-1), SIGKILL);
	uint32_t seat = join();
	if (joined() == 2) { /* it had come that far */
		join();
		cr_assert_eq(barrier_wait(b, seat, -1), -EOWNERDEAD);
	}
	barrier_reset(b);
	while (joined() > 1)
		for (uint32_t i = 0; i < PARTIES; i++)
			if (i != seat)
				barrier_leave(b, i);
	cr_expect_eq(barrier_state(b), 0);
	pid_t others[2] = { start_party(-1), start_party(-1) };
	cr_expect_eq(barrier_wait(b, seat, -1), 0);
	cr_expect_eq(status_of(others[0]), 0);
	cr_expect_eq(status_of(others[1]), 0);
}

Test(barrier, a_reset_sends_those_who_wait_away)
{
	join();
	pid_t waits = start_party(-1);
	cr_assert(wait_until(WAIT_MS, barrier_waiting(b) == 1));
	barrier_mend(b); /* it is whole */
	cr_expect_eq(barrier_waiting(b), 1);
	barrier_reset(b);
	cr_expect_eq(status_of(waits), ECANCELED);
	cr_expect_eq(barrier_state(b), 0);
}

Test(barrier, an_abort_breaks_it_and_mending_makes_it_whole)
{
	uint32_t seat = join();
	pid_t waits = start_party(-1);
	cr_assert(wait_until(WAIT_MS, barrier_waiting(b) == 1));
	barrier_abort(b);
	cr_expect_eq(status_of(waits), ECANCELED);
	cr_expect_eq(barrier_wait(b, seat, -1), -ECANCELED);
	barrier_mend(b);
	cr_expect_eq(barrier_state(b), 0);
}

Test(barrier, holds_when_its_parties_are_killed_at_random)
{
	struct lock_kills r;
	kill_locks(LOCKS_BARRIER, true, 500, 1, WAIT_MS, &r);
	cr_expect(!r.stalled, "after %u kills", r.kills);
	cr_expect_eq(r.wrong, 0);
	cr_expect_gt(r.deaths_seen, 0u);
}

/* Proof that the tests above can fail: who only counts lets two through where three must come. */
Test(barrier, a_plain_barrier_takes_a_dead_party_for_one_that_came)
{
	pthread_barrier_t *plain = shared_memory(sizeof(*plain));
	pthread_barrierattr_t how;
	pid_t children[2];

	pthread_barrierattr_init(&how);
	pthread_barrierattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(plain, &how, PARTIES);
	for (unsigned i = 0; i < 2; i++) {
		if ((children[i] = test_fork()) == 0) {
			atomic_store(&came[i], 1);
			pthread_barrier_wait(plain);
			_exit(0);
		}
		cr_assert(wait_until(WAIT_MS, atomic_load(&came[i]) == 1 &&
						      process_state(children[i]) == 'S'));
	}
	kill_and_wait(children[0], SIGKILL);
	pthread_barrier_wait(plain);
	cr_expect_eq(status_of(children[1]), 0);
}

Test(barrier, would_let_some_through_alone_if_it_only_counted)
{
	struct lock_kills r;
	kill_locks(LOCKS_BARRIER, false, 1, 1, 1000, &r);
	cr_expect(r.stalled || r.wrong > 0, "%u kills", r.kills);
}

/* The party that makes a round whole, killed at each instruction: the other, who waits, is through
 * or told of the death, and never left. */
static uint32_t seats[2];

static void
come_to_another(void)
{
	static struct {
		struct barrier barrier;
		struct barrier_seat seats[1];
	} alone;
	uint32_t seat;

	if (barrier_init(&alone.barrier, 1) != 0 || barrier_join(&alone.barrier, &seat) != 0 ||
	    barrier_wait(&alone.barrier, seat, -1) != 0)
		_exit(1);
}

static void
come_last(void)
{
	uint32_t seat;

	if (barrier_join(b, &seat) != 0 || barrier_wait(b, seat, -1) != 0)
		_exit(1);
}

Test(barrier, the_last_to_come_killed_at_each_instruction_leaves_nobody_waiting)
{
	unsigned whole = 0, broken = 0, steps;
	int ended = 0;

	/* Its partner's seat is ours, and comes after the kill: each look must find what is true.
	 */
	for (steps = 0; ended == 0; steps++) {
		cr_assert_eq(barrier_init(b, 2), 0);
		cr_assert_eq(barrier_join(b, &seats[0]), 0);
		uint64_t round = b->word >> 33;
		atomic_store(&b->seats[seats[0]].arrived, round + 1); /* we wait */
		ended = step_and_kill(come_to_another, come_last, steps);
		cr_assert_geq(ended, 0, "ptrace: %d", ended);
		/* A look only: a whole wait would cost a slice for each instruction before it came.
		 */
		if (barrier_waiting(b) == 2 || b->word >> 33 != round) {
			uint64_t now = b->word >> 33;
			int r = now != round ? 0 : barrier_wait(b, seats[0], -1);
			cr_assert_eq(r, 0, "instruction %u", steps);
			whole++;
		} else
			broken++;
	}
	cr_expect_gt(whole, 10u);
	cr_expect_gt(broken, 10u);
	cr_expect_gt(steps, 100u);
}
