/* test_shm_event.c - shm/event.h between real processes. */
#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/event.h"
#include "tests/process.h"
#include "tests/shm/lock_kills.h"

#define WAIT_MS 120000

static struct event *events; /* two of them */

static void
setup(void)
{
	events = shared_memory(2 * sizeof(*events));
	cr_assert_not_null(events);
	event_init(&events[0]);
	event_init(&events[1]);
}

static void
teardown(void)
{
	munmap(events, 2 * sizeof(*events));
}

TestSuite(event, .init = setup, .fini = teardown, .timeout = 600);

Test(event, is_clear_then_set_then_clear)
{
	struct event nothing = { 0 };
	cr_expect_eq(event_attach(events), 0);
	cr_expect_eq(event_attach(&nothing), -EINVAL);
	cr_expect(!event_is_set(events));
	cr_expect_eq(event_wait(events, 0), -ETIMEDOUT);
	cr_expect_eq(event_wait(events, 20), -ETIMEDOUT);
	event_set(events);
	event_set(events);
	cr_expect(event_is_set(events));
	cr_expect_eq(event_times(events), 1);
	cr_expect_eq(event_wait(events, 0), 0);
	event_clear(events);
	event_clear(events);
	cr_expect(!event_is_set(events));
	cr_expect_eq(event_wait(events, 0), -ETIMEDOUT);
}

/* `count` children that sleep for the event. */
static void
start_waiters(pid_t *children, int count)
{
	for (int i = 0; i < count; i++)
		if ((children[i] = test_fork()) == 0)
			_exit(event_wait(events, WAIT_MS) == 0 ? 0 : 1);
	for (int i = 0; i < count; i++)
		cr_assert(wait_until(WAIT_MS, process_state(children[i]) == 'S'));
}

Test(event, wakes_all_who_wait)
{
	pid_t children[5];

	start_waiters(children, 5);
	event_set(events);
	for (int i = 0; i < 5; i++)
		cr_expect_eq(wait_exit(children[i], WAIT_MS), 0);
}

Test(event, one_that_is_cleared_at_once_still_wakes_all_who_waited)
{
	pid_t children[5];

	start_waiters(children, 5);
	for (int i = 0; i < 5; i++) { /* they look only when it is clear again */
		kill(children[i], SIGSTOP);
		cr_assert(wait_until(WAIT_MS, process_state(children[i]) == 'T'));
	}
	event_set(events);
	event_clear(events);
	for (int i = 0; i < 5; i++)
		kill(children[i], SIGCONT);
	for (int i = 0; i < 5; i++)
		cr_expect_eq(wait_exit(children[i], WAIT_MS), 0);
}

Test(event, loses_no_wake_up_between_two_processes)
{
	const int rounds = 20000;
	pid_t child = test_fork();
	if (child == 0) {
		for (int i = 0; i < rounds; i++) {
			if (event_wait(&events[0], WAIT_MS) < 0)
				_exit(1);
			event_clear(&events[0]);
			event_set(&events[1]);
		}
		_exit(0);
	}
	for (int i = 0; i < rounds; i++) {
		event_set(&events[0]);
		cr_assert_eq(event_wait(&events[1], WAIT_MS), 0, "round %d", i);
		event_clear(&events[1]);
	}
	cr_expect_eq(wait_exit(child, WAIT_MS), 0);
	cr_expect_eq(event_times(&events[0]), (uint64_t)rounds);
}

static void
set_another(void)
{
	event_set(&events[1]);
}

static void
set_it(void)
{
	event_set(events);
}

/* Killed before its store it has done nothing, after it everything: a sleeper wakes, at the end
 * of its slice if the wake itself was lost. */
Test(event, a_setter_killed_at_each_instruction_hangs_nobody)
{
	unsigned set = 0, not_set = 0;
	int ended = 0;

	for (unsigned steps = 0; ended == 0; steps++) {
		/* Every 16th with a sleeper: a lost wake costs a slice. */
		pid_t waiter = 0;
		if (steps % 16 == 0)
			start_waiters(&waiter, 1);
		ended = step_and_kill(set_another, set_it, steps);
		cr_assert_geq(ended, 0, "ptrace: %d", ended);
		bool is_set = event_is_set(events);
		if (is_set && waiter != 0)
			cr_assert_eq(wait_exit(waiter, WAIT_MS), 0, "instruction %u", steps);
		else if (waiter != 0)
			kill_and_wait(waiter, SIGKILL);
		is_set ? set++ : not_set++;
		event_clear(events);
	}
	cr_expect_gt(set, 1u);
	cr_expect_gt(not_set, 5u);
}
