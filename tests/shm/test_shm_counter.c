/*
 * test_shm_counter.c - shm/counter.h: found by name, exact between processes, whole after a
 * maker was killed at any line.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/counter.h"
#include "shm/owner.h"
#include "tests/process.h"

#define WAIT_NS     60000000000u
#define PATIENCE_MS 60000

static struct counter_table *table;

static void
setup(void)
{
	table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (table == MAP_FAILED)
		abort();
	counter_table_init(table);
}

TestSuite(shm_counter, .init = setup, .timeout = 600);

/* The owner word of a process that is dead and reaped. */
static uint64_t
dead_owner(void)
{
	int pipes[2];
	uint64_t owner = 0;
	if (pipe(pipes) < 0)
		abort();
	pid_t pid = test_fork();
	if (pid == 0) {
		uint64_t self = owner_self();
		_exit(write(pipes[1], &self, sizeof(self)) == sizeof(self) ? 0 : 1);
	}
	if (read(pipes[0], &owner, sizeof(owner)) != sizeof(owner))
		abort();
	waitpid(pid, NULL, 0);
	close(pipes[0]);
	close(pipes[1]);
	return owner;
}

static int64_t
value_of(const char *name)
{
	struct counter c;
	int64_t value = -1;
	cr_assert_eq(counter_find(table, name, &c), 0);
	cr_assert_eq(counter_get(&c, &value), 0);
	return value;
}

Test(shm_counter, is_made_once_and_found_again)
{
	struct counter a, b;
	int64_t value;
	cr_assert_eq(counter_find(table, "jobs", &a), -ENOENT);
	cr_assert_eq(counter_open(table, "jobs", WAIT_NS, &a), 0);
	cr_assert_eq(counter_open(table, "jobs", WAIT_NS, &b), 0);
	cr_assert_eq(a.slot, b.slot);
	cr_assert_eq(counter_add(&a, 5, &value), 0);
	cr_assert_eq(value, 5);
	cr_assert_eq(counter_add(&b, -2, &value), 0);
	cr_assert_eq(value, 3);
	cr_assert_eq(counter_set(&a, 40), 0);
	cr_assert_eq(counter_cas(&a, 39, 1, &value), -EAGAIN);
	cr_assert_eq(value, 40);
	cr_assert_eq(counter_cas(&a, 40, 41, &value), 0);
	cr_assert_eq(value_of("jobs"), 41);
	cr_assert_eq(counter_count(table), 1);
}

Test(shm_counter, names_are_checked)
{
	struct counter c;
	char longest[COUNTER_NAME_MAX + 2];
	memset(longest, 'x', sizeof(longest));
	longest[COUNTER_NAME_MAX + 1] = '\0';
	cr_assert_eq(counter_open(table, longest, WAIT_NS, &c), -EINVAL);
	cr_assert_eq(counter_open(table, "", WAIT_NS, &c), -EINVAL);
	cr_assert_eq(counter_open(table, "-x", WAIT_NS, &c), -EINVAL);
	cr_assert_eq(counter_open(table, "a b", WAIT_NS, &c), -EINVAL);
	longest[COUNTER_NAME_MAX] = '\0';
	cr_assert_eq(counter_open(table, longest, WAIT_NS, &c), 0);
	cr_assert_eq(counter_find(table, longest, &c), 0);
	longest[COUNTER_NAME_MAX - 1] = '\0';
	cr_assert_eq(counter_find(table, longest, &c), -ENOENT);
}

Test(shm_counter, a_removed_ones_handles_are_stale)
{
	struct counter old, new;
	int64_t value;
	cr_assert_eq(counter_remove(table, "gone", WAIT_NS), -ENOENT);
	cr_assert_eq(counter_open(table, "gone", WAIT_NS, &old), 0);
	cr_assert_eq(counter_add(&old, 7, NULL), 0);
	cr_assert_eq(counter_remove(table, "gone", WAIT_NS), 0);
	cr_assert_eq(counter_find(table, "gone", &new), -ENOENT);
	cr_assert_eq(counter_add(&old, 1, NULL), -ESTALE);
	cr_assert_eq(counter_get(&old, &value), -ESTALE);
	cr_assert_eq(counter_set(&old, 1), -ESTALE);
	cr_assert_eq(counter_cas(&old, 7, 1, &value), -ESTALE);
	cr_assert_eq(counter_open(table, "gone", WAIT_NS, &new), 0);
	cr_assert_eq(value_of("gone"), 0);
	cr_assert_eq(counter_add(&old, 1, NULL), -ESTALE);
}

Test(shm_counter, a_full_table_says_so_and_has_room_again)
{
	struct counter c;
	char name[COUNTER_NAME_MAX + 1];
	for (unsigned i = 0; i < COUNTERS_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		cr_assert_eq(counter_open(table, name, WAIT_NS, &c), 0);
		counter_set(&c, i);
	}
	cr_assert_eq(counter_open(table, "more", WAIT_NS, &c), -ENOSPC);
	for (unsigned i = 0; i < COUNTERS_MAX; i += 97) {
		snprintf(name, sizeof(name), "n%u", i);
		cr_assert_eq(value_of(name), i);
	}
	cr_assert_eq(counter_remove(table, "n4000", WAIT_NS), 0);
	cr_assert_eq(counter_open(table, "more", WAIT_NS, &c), 0);
	cr_assert_eq(counter_count(table), COUNTERS_MAX);
	cr_assert_eq(counter_at(table, COUNTERS_MAX, name, &(int64_t){ 0 }), -ENOENT);
}

Test(shm_counter, adds_of_many_processes_are_exact)
{
	enum { PROCESSES = 8, ADDS = 200000 };
	pid_t pids[PROCESSES];
	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = test_fork();
		if (pids[i] != 0)
			continue;
		struct counter c;
		if (counter_open(table, "sum", WAIT_NS, &c) < 0)
			_exit(1);
		for (int n = 0; n < ADDS; n++)
			counter_add(&c, 1, NULL);
		_exit(0);
	}
	for (int i = 0; i < PROCESSES; i++)
		cr_assert_eq(wait_exit(pids[i], PATIENCE_MS), 0);
	cr_assert_eq(value_of("sum"), PROCESSES * ADDS);
	cr_assert_eq(counter_count(table), 1);
}

/* ---- makers that die ---- */

Test(shm_counter, a_dead_makers_half_made_slot_becomes_free)
{
	struct counter c;
	uint64_t dead = dead_owner();
	cr_assert_eq(counter_open(table, "whole", WAIT_NS, &c), 0);
	counter_set(&c, 9);
	/* What a kill after the first lines of slot_make() leaves. */
	atomic_store(&table->maker, dead);
	atomic_store(&table->used, 2);
	atomic_store(&table->slot[1].state, dead);
	atomic_store(&table->slot[1].name[0], 0x666c6168); /* "half" */
	cr_assert_eq(counter_find(table, "half", &c), -ENOENT);
	cr_assert_eq(counter_open(table, "half", WAIT_NS, &c), 0);
	cr_assert_eq(counter_count(table), 2);
	cr_assert_eq(value_of("whole"), 9);
	cr_assert_eq(value_of("half"), 0);
	cr_assert_eq(atomic_load(&table->slot[1].state), COUNTER_FREE);
	cr_assert_eq(atomic_load(&table->maker), OWNER_NOBODY);
}

Test(shm_counter, a_removal_that_had_only_begun_has_not_happened)
{
	struct counter c;
	cr_assert_eq(counter_open(table, "kept", WAIT_NS, &c), 0);
	counter_set(&c, 3);
	atomic_store(&table->maker, dead_owner());
	atomic_store(&table->hash[0], 0);
	cr_assert_eq(counter_open(table, "kept", WAIT_NS, &c), 0);
	cr_assert_eq(value_of("kept"), 3);
	cr_assert_eq(counter_count(table), 1);
}

Test(shm_counter, a_living_maker_is_waited_for_and_not_for_ever)
{
	struct counter c;
	cr_assert_eq(counter_open(table, "there", WAIT_NS, &c), 0);
	atomic_store(&table->maker, owner_of(getppid()));
	cr_assert_eq(counter_open(table, "new", 1000000, &c), -EBUSY);
	cr_assert_eq(counter_remove(table, "there", 1000000), -EBUSY);
	cr_assert_eq(counter_open(table, "there", 0, &c), 0); /* finding needs nobody */
}

/* Makes, counts and removes until it is killed.  Each round adds 1 to "rounds" (made once) and
 * makes and removes "mine.N". */
static _Noreturn void
churn(unsigned number)
{
	char name[32];
	snprintf(name, sizeof(name), "mine.%u", number);
	for (;;) {
		struct counter c;
		if (counter_open(table, name, WAIT_NS, &c) < 0 || counter_add(&c, 1, NULL) < 0)
			_exit(1);
		int r = counter_remove(table, name, WAIT_NS);
		if (r < 0)
			_exit(2);
	}
}

Test(shm_counter, kills_leave_a_whole_table)
{
	enum { PROCESSES = 4, KILLS = 400 };
	pid_t pids[PROCESSES];
	struct counter kept, c;
	unsigned seed = (unsigned)getpid();
	cr_log_info("seed %u", seed);
	cr_assert_eq(counter_open(table, "kept", WAIT_NS, &kept), 0);
	counter_set(&kept, 77);
	for (unsigned i = 0; i < PROCESSES; i++)
		if ((pids[i] = test_fork()) == 0)
			churn(i);
	for (int n = 0; n < KILLS; n++) {
		unsigned i = (unsigned)rand_r(&seed) % PROCESSES;
		usleep((unsigned)rand_r(&seed) % 1000);
		cr_assert_eq(kill_and_wait(pids[i], SIGKILL), SIGKILL, "an error, not the kill");
		if ((pids[i] = test_fork()) == 0)
			churn(i);
	}
	for (unsigned i = 0; i < PROCESSES; i++)
		cr_assert_eq(kill_and_wait(pids[i], SIGKILL), SIGKILL);
	/* The next to change the table clears up. */
	cr_assert_eq(counter_open(table, "after", WAIT_NS, &c), 0);
	cr_assert_eq(value_of("kept"), 77);
	cr_assert_leq(counter_count(table), PROCESSES + 2);
	for (uint32_t i = 0; i < COUNTERS_MAX; i++) {
		uint64_t state = atomic_load(&table->slot[i].state);
		cr_assert(state == COUNTER_FREE || state == COUNTER_LIVE);
		cr_assert_eq(atomic_load(&table->hash[i]) != 0, state == COUNTER_LIVE, "slot %u",
			     i);
	}
	char name[COUNTER_NAME_MAX + 1], other[COUNTER_NAME_MAX + 1];
	int64_t value;
	for (uint32_t i = 0; i < COUNTERS_MAX; i++) /* no name twice */
		for (uint32_t j = 0; counter_at(table, i, name, &value) == 0 && j < i; j++)
			cr_assert(counter_at(table, j, other, &value) != 0 ||
				  strcmp(name, other) != 0);
}

/* Whoever has mapped the table may write anything into it; nobody reads outside of it. */
Test(shm_counter, nonsense_in_the_table_leads_nowhere)
{
	struct counter c;
	char name[COUNTER_NAME_MAX + 1];
	int64_t value;
	memset(table, 0xff, sizeof(*table));
	cr_assert_eq(counter_table_check(table), -EPROTO);
	cr_assert_eq(counter_find(table, "x", &c), -ENOENT);
	cr_assert_leq(counter_count(table), COUNTERS_MAX);
	for (uint32_t i = 0; i < COUNTERS_MAX; i++) {
		atomic_store(&table->slot[i].state, COUNTER_LIVE);
		cr_assert_eq(counter_at(table, i, name, &value), 0);
		cr_assert_eq(strlen(name), COUNTER_NAME_MAX);
	}
	cr_assert_eq(counter_open(table, "x", 1000000, &c), -ENOSPC);
}
