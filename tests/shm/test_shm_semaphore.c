/* test_shm_semaphore.c - shm/semaphore.h between real processes. */
#include <criterion/criterion.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/owner.h"
#include "shm/semaphore.h"
#include "tests/process.h"
#include "tests/shm/lock_kills.h"

#define WAIT_MS 120000
#define PERMITS 3u

static struct semaphore *s;
static _Atomic int *inside, *most, *ready;

static void
setup(void)
{
	s = shared_memory(semaphore_bytes(SEMAPHORE_MAX));
	inside = shared_memory(3 * sizeof(*inside));
	cr_assert(s != NULL && inside != NULL);
	most = inside + 1;
	ready = inside + 2;
	cr_assert_eq(semaphore_init(s, PERMITS), 0);
}

static void
teardown(void)
{
	munmap(s, semaphore_bytes(SEMAPHORE_MAX));
	munmap((void *)inside, 3 * sizeof(*inside));
}

TestSuite(semaphore, .init = setup, .fini = teardown, .timeout = 600);

/* A child that has taken `count` permits and waits to be killed. */
static pid_t
start_holder(unsigned count)
{
	atomic_store(ready, 0);
	pid_t child = test_fork();
	if (child == 0) {
		uint32_t permit;
		while (count-- > 0)
			semaphore_take(s, -1, &permit);
		atomic_store(ready, 1);
		for (;;)
			pause();
	}
	cr_assert(wait_until(WAIT_MS, atomic_load(ready) == 1));
	return child;
}

Test(semaphore, is_made_within_its_limits_and_found_whole)
{
	cr_expect_eq(semaphore_init(s, 0), -EINVAL);
	cr_expect_eq(semaphore_init(s, SEMAPHORE_MAX + 1), -EINVAL);
	cr_expect_eq(semaphore_attach(s, semaphore_bytes(PERMITS)), 0);
	cr_expect_eq(semaphore_attach(s, semaphore_bytes(PERMITS) - 1), -EINVAL);
	cr_expect_eq(semaphore_attach(s, 4), -EINVAL);
	s->magic = 0;
	cr_expect_eq(semaphore_attach(s, semaphore_bytes(PERMITS)), -EINVAL);
}

Test(semaphore, gives_each_permit_once_and_takes_it_back_from_its_holder_only)
{
	uint32_t permits[PERMITS], more = 77;

	for (unsigned i = 0; i < PERMITS; i++) {
		cr_assert_eq(semaphore_take(s, 0, &permits[i]), 0);
		for (unsigned j = 0; j < i; j++)
			cr_expect_neq(permits[i], permits[j]);
	}
	cr_expect_eq(semaphore_free(s), 0);
	cr_expect_eq(semaphore_take(s, 0, &more), -ETIMEDOUT);
	cr_expect_eq(semaphore_take(s, 20, &more), -ETIMEDOUT);
	cr_expect_eq(more, 77);
	cr_expect_eq(semaphore_give(s, permits[1]), 0);
	cr_expect_eq(semaphore_give(s, permits[1]), -EPERM);
	cr_expect_eq(semaphore_give(s, PERMITS), -EPERM);
	cr_expect_eq(semaphore_take(s, 0, &more), 0);
	cr_expect_eq(more, permits[1]);
	pid_t child = test_fork();
	if (child == 0)
		_exit(semaphore_give(s, more) == -EPERM ? 0 : 1);
	cr_expect_eq(wait_exit(child, WAIT_MS), 0);
}

static void
enter(uint32_t *ret_permit)
{
	if (semaphore_take(s, WAIT_MS, ret_permit) != 0)
		_exit(1);
	int now = atomic_fetch_add(inside, 1) + 1, before = atomic_load(most);
	while (now > before && !atomic_compare_exchange_weak(most, &before, now))
		;
}

static void
leave(uint32_t permit)
{
	atomic_fetch_sub(inside, 1);
	if (semaphore_give(s, permit) != 0)
		_exit(2);
}

/* No more inside than there are permits, and as many: the first to come wait for each other. */
static void
go_in_and_out(void)
{
	uint32_t permit;

	enter(&permit);
	if (!wait_until(WAIT_MS, atomic_load(most) >= (int)PERMITS))
		_exit(3);
	leave(permit);
	for (int n = 1; n < 5000; n++) {
		enter(&permit);
		if (n % 16 == 0) /* a turn of all others, where there are many */
			sched_yield();
		leave(permit);
	}
	_exit(0);
}

Test(semaphore, lets_as_many_in_as_it_has_permits)
{
	pid_t children[6];

	for (int i = 0; i < 6; i++)
		if ((children[i] = test_fork()) == 0)
			go_in_and_out();
	for (int i = 0; i < 6; i++)
		cr_expect_eq(wait_exit(children[i], WAIT_MS), 0);
	cr_expect_eq(*most, (int)PERMITS);
	cr_expect_eq(semaphore_free(s), PERMITS);
	cr_expect_eq(s->taken, 30000);
	cr_expect_eq(s->recovered, 0);
}

Test(semaphore, permits_of_the_dead_come_back)
{
	uint32_t permit;

	kill_and_wait(start_holder(PERMITS), SIGKILL);
	cr_expect_eq(semaphore_free(s), 0);
	for (unsigned i = 0; i < PERMITS; i++)
		cr_assert_eq(semaphore_take(s, 0, &permit), 0);
	cr_expect_eq(semaphore_take(s, 0, &permit), -ETIMEDOUT);
	cr_expect_eq(s->recovered, PERMITS);
}

Test(semaphore, a_sleeper_gets_a_dead_one_s_permit)
{
	pid_t holder = start_holder(PERMITS);
	pid_t waiter = test_fork();
	if (waiter == 0) {
		uint32_t permit;
		_exit(semaphore_take(s, WAIT_MS, &permit) == 0 ? 0 : 1);
	}
	cr_assert(wait_until(WAIT_MS, process_state(waiter) == 'S'));
	kill_and_wait(holder, SIGKILL);
	cr_expect_eq(wait_exit(waiter, WAIT_MS), 0);
	cr_expect_eq(s->recovered, 1);
}

Test(semaphore, a_stopped_holder_keeps_its_permits)
{
	uint32_t permit;
	pid_t holder = start_holder(PERMITS);

	kill(holder, SIGSTOP);
	cr_assert(wait_until(WAIT_MS, process_state(holder) == 'T'));
	cr_expect_eq(semaphore_take(s, 300, &permit), -ETIMEDOUT);
	kill_and_wait(holder, SIGKILL);
}

Test(semaphore, holds_when_its_users_are_killed_at_random)
{
	struct lock_kills r;
	kill_locks(LOCKS_SEMAPHORE, true, 200, 1, WAIT_MS, &r);
	cr_expect(!r.stalled, "after %u kills", r.kills);
	cr_expect_eq(r.wrong, 0);
	cr_expect_gt(r.deaths_seen, 0u);
}

Test(semaphore, would_stall_if_permits_were_only_counted)
{
	struct lock_kills r;
	kill_locks(LOCKS_SEMAPHORE, false, 1, 1, 1000, &r);
	cr_expect(r.stalled, "%u kills", r.kills);
}

static void
take_and_give(void)
{
	uint32_t permit;

	if (semaphore_take(s, 0, &permit) != 0 || semaphore_give(s, permit) != 0)
		_exit(1);
}

Test(semaphore, a_kill_at_each_instruction_loses_no_permit)
{
	uint32_t permits[PERMITS];
	int ended = 0;
	unsigned steps;

	for (steps = 0; ended == 0; steps++) {
		ended = step_and_kill(take_and_give, take_and_give, steps);
		cr_assert_geq(ended, 0, "ptrace: %d", ended);
		for (unsigned i = 0; i < PERMITS; i++)
			cr_assert_eq(semaphore_take(s, 0, &permits[i]), 0, "instruction %u", steps);
		for (unsigned i = 0; i < PERMITS; i++)
			cr_assert_eq(semaphore_give(s, permits[i]), 0);
	}
	cr_expect_gt(s->recovered, 10u);
	cr_expect_gt(steps, 100u);
}
