/* test_shm_lock.c - shm/lock.h between real processes. */
#include <criterion/criterion.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/lock.h"
#include "shm/owner.h"
#include "tests/process.h"
#include "tests/shm/lock_kills.h"

#define WAIT_MS 120000

static struct shared {
	struct lock lock;
	volatile uint64_t left, right;
	_Atomic int result;
} * s;

static void
setup(void)
{
	s = shared_memory(sizeof(*s));
	cr_assert_not_null(s);
	cr_assert_eq(lock_init(&s->lock), 0);
}

static void
teardown(void)
{
	munmap(s, sizeof(*s));
}

TestSuite(lock, .init = setup, .fini = teardown, .timeout = 600);

/* A child that has taken the lock and waits to be killed. */
static pid_t
start_holder(void)
{
	pid_t child = test_fork();
	if (child == 0) {
		lock_take(&s->lock, -1);
		atomic_store(&s->result, 1);
		for (;;)
			pause();
	}
	cr_assert(wait_until(WAIT_MS, atomic_load(&s->result) == 1));
	return child;
}

Test(lock, is_found_where_it_was_made_only)
{
	struct lock nothing = { 0 };
	cr_expect_eq(lock_attach(&s->lock), 0);
	cr_expect_eq(lock_attach(&nothing), -EINVAL);
}

Test(lock, lets_one_in_at_a_time)
{
	pid_t children[4];

	for (int i = 0; i < 4; i++)
		if ((children[i] = test_fork()) == 0) {
			for (int n = 0; n < 20000; n++) {
				if (lock_take(&s->lock, -1) != 0)
					_exit(1);
				s->left = s->left + 1;
				lock_release(&s->lock);
			}
			_exit(0);
		}
	for (int i = 0; i < 4; i++)
		cr_expect_eq(wait_exit(children[i], WAIT_MS), 0);
	cr_expect_eq(s->left, 80000);
	cr_expect_eq(s->lock.taken, 80000);
	cr_expect_eq(s->lock.recovered, 0);
	cr_expect_eq(lock_holder(&s->lock), OWNER_NOBODY);
}

Test(lock, tells_who_holds_it_and_refuses_others)
{
	pid_t child = start_holder();
	cr_expect_eq(owner_pid(lock_holder(&s->lock)), child);
	cr_expect_eq(lock_take(&s->lock, 0), -ETIMEDOUT);
	cr_expect_eq(lock_take(&s->lock, 20), -ETIMEDOUT);
	cr_expect_eq(lock_release(&s->lock), -EPERM);
	cr_expect_eq(lock_repaired(&s->lock), -EINVAL);
	cr_expect_eq(lock_broken(&s->lock), -EINVAL);
	kill_and_wait(child, SIGKILL);
}

Test(lock, taking_it_twice_is_an_error_and_no_hang)
{
	cr_assert_eq(lock_take(&s->lock, -1), 0);
	cr_expect_eq(lock_take(&s->lock, -1), -EDEADLK);
	cr_expect_eq(lock_take(&s->lock, 0), -EDEADLK);
	cr_expect_eq(lock_repaired(&s->lock), -EINVAL, "nobody died");
	cr_expect_eq(lock_broken(&s->lock), -EINVAL, "nobody died");
	cr_expect_eq(lock_release(&s->lock), 0);
	cr_expect_eq(lock_release(&s->lock), -EPERM);
}

Test(lock, the_next_taker_is_told_of_its_holder_s_death)
{
	kill_and_wait(start_holder(), SIGKILL);
	cr_assert_eq(lock_take(&s->lock, -1), -EOWNERDEAD);
	cr_expect_eq(lock_take(&s->lock, 0), -EDEADLK, "it is held");
	cr_expect_eq(lock_repaired(&s->lock), 0);
	cr_expect_eq(lock_release(&s->lock), 0);
	cr_expect_eq(lock_take(&s->lock, 0), 0);
	cr_expect_eq(s->lock.recovered, 1);
}

Test(lock, is_broken_for_all_when_it_is_not_repaired)
{
	kill_and_wait(start_holder(), SIGKILL);
	cr_assert_eq(lock_take(&s->lock, -1), -EOWNERDEAD);
	cr_expect_eq(lock_broken(&s->lock), 0);
	cr_expect_eq(lock_take(&s->lock, -1), -ENOTRECOVERABLE);
	cr_expect_eq(lock_take(&s->lock, 0), -ENOTRECOVERABLE);
	cr_expect_eq(lock_init(&s->lock), 0);
	cr_expect_eq(lock_take(&s->lock, 0), 0);
}

Test(lock, a_release_that_repaired_nothing_breaks_it)
{
	kill_and_wait(start_holder(), SIGKILL);
	cr_assert_eq(lock_take(&s->lock, -1), -EOWNERDEAD);
	cr_expect_eq(lock_release(&s->lock), 0);
	cr_expect_eq(lock_take(&s->lock, -1), -ENOTRECOVERABLE);
}

Test(lock, a_repairer_that_dies_leaves_the_word_to_the_next)
{
	kill_and_wait(start_holder(), SIGKILL);
	atomic_store(&s->result, 0);
	kill_and_wait(start_holder(), SIGKILL);
	cr_expect_eq(lock_take(&s->lock, -1), -EOWNERDEAD);
	cr_expect_eq(s->lock.recovered, 2);
}

Test(lock, one_who_sleeps_for_it_gets_it_at_the_death)
{
	pid_t holder = start_holder();
	pid_t waiter = test_fork();
	if (waiter == 0)
		_exit(lock_take(&s->lock, WAIT_MS) == -EOWNERDEAD ? 0 : 1);
	cr_assert(wait_until(WAIT_MS, process_state(waiter) == 'S'));
	kill_and_wait(holder, SIGKILL);
	cr_expect_eq(wait_exit(waiter, WAIT_MS), 0);
}

static void *
take_and_end(void *unused)
{
	lock_take(&s->lock, -1);
	return unused;
}

Test(lock, a_thread_that_ends_with_it_counts_as_dead)
{
	pthread_t thread;
	cr_assert_eq(pthread_create(&thread, NULL, take_and_end, NULL), 0);
	pthread_join(thread, NULL);
	cr_expect_eq(lock_take(&s->lock, 0), -EOWNERDEAD);
}

/* Proof that the tests above can fail. */
Test(lock, a_plain_mutex_stays_locked_for_ever)
{
	pthread_mutex_t *plain = shared_memory(sizeof(*plain));
	pthread_mutexattr_t how;
	struct timespec soon;

	pthread_mutexattr_init(&how);
	pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(plain, &how);
	pid_t child = test_fork();
	if (child == 0) {
		pthread_mutex_lock(plain);
		_exit(0);
	}
	cr_assert_eq(wait_exit(child, WAIT_MS), 0);
	clock_gettime(CLOCK_MONOTONIC, &soon);
	soon.tv_sec++;
	cr_expect_eq(pthread_mutex_clocklock(plain, CLOCK_MONOTONIC, &soon), ETIMEDOUT);
}

Test(lock, holds_when_its_users_are_killed_at_random)
{
	struct lock_kills r;
	kill_locks(LOCKS_LOCK, true, 500, 1, WAIT_MS, &r);
	cr_expect(!r.stalled, "after %u kills", r.kills);
	cr_expect_eq(r.wrong, 0);
	cr_expect_gt(r.deaths_seen, 0u);
}

Test(lock, would_stall_if_it_were_a_plain_mutex)
{
	struct lock_kills r;
	kill_locks(LOCKS_LOCK, false, 1, 1, 1000, &r);
	cr_expect(r.stalled, "%u kills", r.kills);
}

static void
change_under_lock(void)
{
	if (lock_take(&s->lock, -1) != 0)
		_exit(1);
	s->left = s->left + 1;
	s->right = s->right + 1;
	lock_release(&s->lock);
}

Test(lock, a_kill_at_each_instruction_is_told_or_harmless)
{
	unsigned steps, told = 0, r;

	for (steps = 0;; steps++) {
		int ended = step_and_kill(change_under_lock, change_under_lock, steps);
		cr_assert_geq(ended, 0, "ptrace: %d", ended);
		int taken = lock_take(&s->lock, 2000);
		if (taken == -EOWNERDEAD) {
			told++;
			s->right = s->left;
			cr_assert_eq(lock_repaired(&s->lock), 0);
		} else
			cr_assert_eq(taken, 0, "instruction %u", steps);
		cr_assert_eq(s->left, s->right, "instruction %u", steps);
		cr_assert_eq(lock_release(&s->lock), 0);
		if (ended == 1)
			break;
	}
	r = steps;
	cr_log_info("%u instructions, %u of them with the lock", r, told);
	cr_expect_gt(told, 10u);
	cr_expect_gt(steps, 100u);
}

/* ---- a thread that releases what another one holds ---- */

static _Atomic int over;

static void
stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set); /* without a second one the test is weaker */
}

static void *
release_what_is_not_mine(void *unused)
{
	(void)unused;
	stay_on(1);
	while (!atomic_load(&over))
		if (lock_release(&s->lock) != -EPERM)
			return "it released a lock of another thread's";
	return NULL;
}

Test(lock, a_wrong_release_by_another_thread_does_not_spoil_the_right_one)
{
	pthread_t thread;
	void *said;

	cr_assert_eq(pthread_create(&thread, NULL, release_what_is_not_mine, NULL), 0);
	stay_on(0);
	for (int i = 0; i < 1000000; i++) {
		cr_assert_eq(lock_take(&s->lock, WAIT_MS), 0, "take %d", i);
		cr_assert_eq(lock_release(&s->lock), 0, "release %d", i);
	}
	atomic_store(&over, 1);
	pthread_join(thread, &said);
	cr_expect_null(said, "%s", (const char *)said);
}

static void *
release_once(void *unused)
{
	(void)unused;
	return (void *)(intptr_t)lock_release(&s->lock);
}

Test(lock, a_wrong_release_while_another_thread_repairs_does_not_break_it)
{
	pthread_t thread;
	void *said;

	kill_and_wait(start_holder(), SIGKILL);
	cr_assert_eq(lock_take(&s->lock, WAIT_MS), -EOWNERDEAD);
	cr_assert_eq(pthread_create(&thread, NULL, release_once, NULL), 0);
	pthread_join(thread, &said);
	cr_expect_eq((int)(intptr_t)said, -EPERM);
	cr_expect_eq(lock_repaired(&s->lock), 0);
	cr_expect_eq(lock_release(&s->lock), 0);
	cr_expect_eq(lock_take(&s->lock, WAIT_MS), 0);
	cr_expect_eq(lock_release(&s->lock), 0);
}
