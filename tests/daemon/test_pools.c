/*
 * test_pools.c - pools while they work: resize, reload, pause, priorities, a full table; and that
 * there is one daemon per directory.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/daemon/jobs.h"

#define CONFIG                                              \
	"[daemon]\nmax_jobs = 50\n"                         \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\n" \
	"[pool \"one\"]\nexecutor = process\nworkers = 1\n"

static struct test_daemon d;

static void
setup(void)
{
	daemon_begin(&d, CONFIG);
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(pools, .init = setup, .fini = teardown, .timeout = 120);
TestSuite(one_daemon, .fini = teardown, .timeout = 120);

static uint64_t
size_of(const char *pool)
{
	struct test_status status;
	return daemon_status(&d, &status) < 0 ? 0 : status_pool(&status, pool)->size;
}

/* Workers of `pool` that are up. */
static unsigned
workers_up(const char *pool)
{
	struct test_status status;
	if (daemon_status(&d, &status) < 0)
		return 0;
	struct status_pool *found = status_pool(&status, pool);
	unsigned up = 0;
	for (unsigned i = 0; i < found->worker_count; i++)
		up += strcmp(found->workers[i].state, "idle") == 0 ||
		      strcmp(found->workers[i].state, "busy") == 0;
	return found->worker_count == up ? up : 0;
}

Test(pools, can_be_resized_under_load_without_losing_a_job)
{
	static const unsigned sizes[] = { 4, 1, 6, 2, 8, 1, 3, 2 };
	struct pyprep *p = daemon_connect(&d), *operator= daemon_connect(&d);
	struct tally t = { 0 };
	uint64_t sent = 0;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char words[64];
		snprintf(words, sizeof(words), "pool=cpu workers=%u", sizes[i]);
		cr_assert_eq(ask(operator, "resize", words, NULL), 0);
		uint64_t until = test_now_ms() + 50;
		while (test_now_ms() < until) {
			struct pyprep_receipt receipt;
			for (; pyprep_outstanding(p) < 30; sent++)
				start(p, sent % 3 ? "noop" : "sleep", "cpu",
				      sent % 3 ? NULL : "ms=2", 0);
			if (next_receipt(p, 10, &receipt) == 1)
				tally_add(&t, &receipt);
		}
	}
	cr_assert(finish_all(p, 20000, &t), "%ju of %ju never came",
		  (uintmax_t)pyprep_outstanding(p), (uintmax_t)sent);
	cr_expect_eq(t.succeeded, sent);
	cr_expect(wait_until(20000, workers_up("cpu") == 2));
	cr_expect(wait_until(20000, count_zombies(d.pid) == 0));
	pyprep_close(p);
	pyprep_close(operator);
}

static void
rewrite_config(const char *text)
{
	test_write_file(d.root, "pyprepd.conf", text, NULL, 0);
}

Test(pools, take_their_sizes_from_a_reload_by_request_and_by_signal)
{
	struct pyprep *p = daemon_connect(&d);

	rewrite_config("[daemon]\nmax_jobs = 50\n[pool \"cpu\"]\nexecutor = process\nworkers = 3\n"
		       "[pool \"one\"]\nexecutor = process\nworkers = 1\n");
	cr_assert_eq(ask(p, "reload", NULL, NULL), 0);
	cr_expect(strstr(ask_answer, "pool cpu: 2 workers, now 3") != NULL, "%s", ask_answer);
	cr_expect(wait_until(20000, workers_up("cpu") == 3));
	rewrite_config(CONFIG);
	kill(d.pid, SIGHUP);
	cr_expect(wait_until(20000, workers_up("cpu") == 2));
	pyprep_close(p);
}

Test(pools, stay_as_they_are_when_the_new_configuration_is_bad)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_problem why = { 0 };
	struct test_status before, after;

	cr_assert_eq(daemon_status(&d, &before), 0);
	rewrite_config("[pool \"cpu\"]\nexecutor = process\nworker = 7\n");
	cr_expect(ask(p, "reload", NULL, &why) < 0);
	cr_expect(strstr(why.message, "pyprepd.conf:3") != NULL &&
			  strstr(why.message, "workers") != NULL,
		  "%s", why.message);
	kill(d.pid, SIGHUP);
	cr_expect(wait_until(20000, daemon_logged(&d, "reload refused")));
	cr_assert_eq(daemon_status(&d, &after), 0);
	cr_expect_eq(after.pool_count, before.pool_count);
	for (unsigned i = 0; i < before.pool_count; i++) {
		cr_expect_eq(after.pools[i].size, before.pools[i].size);
		cr_expect_eq(after.pools[i].workers[0].pid, before.pools[i].workers[0].pid);
	}
	pyprep_close(p);
}

Test(pools, that_are_paused_keep_their_jobs_until_they_are_resumed)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	struct tally t = { 0 };

	cr_assert_eq(ask(p, "pause", "pool=one", NULL), 0);
	for (int i = 0; i < 10; i++)
		start(p, "noop", "one", NULL, 0);
	cr_assert_eq(run_job(p, "noop", "cpu", NULL, 20000, &receipt), 0);
	cr_expect_str_eq(receipt.pool, "cpu", "a job of a paused pool has run");
	cr_expect_eq(pyprep_outstanding(p), 10);
	cr_assert_eq(ask(p, "resume", "pool=one", NULL), 0);
	cr_assert(finish_all(p, 20000, &t));
	cr_expect_eq(t.succeeded, 10);
	pyprep_close(p);
}

Test(pools, run_higher_priorities_first_and_equal_ones_in_order)
{
	static const int priorities[] = { 0, -100, 50, 0, 100, 50, -100, 0, 100, 50 };
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	uint64_t tags[10];
	int last_priority = 101, last_index = -1;

	cr_assert_eq(ask(p, "pause", "pool=one", NULL), 0);
	for (int i = 0; i < 10; i++) {
		struct pyprep_job job = { .kind = "noop",
					  .pool = "one",
					  .priority = priorities[i] };
		tags[i] = start_job(p, &job);
	}
	cr_assert_eq(ask(p, "resume", "pool=one", NULL), 0);
	for (int n = 0; n < 10; n++) {
		cr_assert_eq(next_receipt(p, 20000, &receipt), 1);
		int i = 0;
		while (tags[i] != receipt.tag)
			i++;
		cr_expect(priorities[i] < last_priority ||
				  (priorities[i] == last_priority && i > last_index),
			  "job %d of priority %d came after job %d of priority %d", i,
			  priorities[i], last_index, last_priority);
		last_priority = priorities[i];
		last_index = i;
	}
	pyprep_close(p);
}

/* Fill the table with jobs that do not run. */
static struct pyprep *
fill_table(unsigned *ret_jobs)
{
	struct pyprep *p = daemon_connect(&d);

	cr_assert_eq(ask(p, "pause", "pool=one", NULL), 0);
	for (unsigned i = 0; i < 50; i++)
		start(p, "noop", "one", NULL, 0);
	struct test_status status;
	cr_assert(wait_until(20000, daemon_status(&d, &status) == 0 && status.table_jobs == 50));
	*ret_jobs = 50;
	return p;
}

enum { SHORT = 40, EARLY = 10 };

/* How many of the early ones came later than two places after their turn. */
static unsigned
passed_by_others(void)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	uint64_t tags[SHORT];
	unsigned passed_by = 0;

	for (int i = 0; i < 30; i++)
		run_job(p, "sleep", "cpu", "ms=0", 20000, &receipt);
	start(p, "sleep", "cpu", "ms=3000", 0);
	for (int i = 0; i < SHORT; i++)
		tags[i] = start(p, "sleep", "cpu", "ms=20", 0);
	for (int seen = 0; seen < SHORT; seen++) {
		cr_assert_eq(next_receipt(p, 20000, &receipt), 1);
		for (int i = 0; i < EARLY; i++)
			passed_by += receipt.tag == tags[i] && seen > i + 2;
	}
	pyprep_close(p);
	return passed_by;
}

/* The long one is taken for short, since all of its kind were: the next is sent ahead of its turn,
 * and must not wait there while later ones run beside it.  Nor does it, unless the machine keeps
 * its worker from the CPU meanwhile. */
Test(pools, let_no_job_wait_behind_a_long_one_while_later_ones_run)
{
	unsigned passed_by = passed_by_others();

	for (int i = 1; i < 10 && passed_by > 0; i++) {
		daemon_end(&d);
		setup();
		passed_by = passed_by_others();
	}
	cr_expect_eq(passed_by, 0, "%u of the first %d were passed by", passed_by, EARLY);
}

Test(pools, with_a_full_table_refuse_who_does_not_want_to_wait)
{
	unsigned jobs;
	struct pyprep *full = fill_table(&jobs), *p = daemon_connect(&d);
	struct pyprep_job job = { .kind = "noop", .pool = "cpu", .flags = PYPREP_NO_WAIT };
	struct pyprep_receipt receipt;

	receipt_for(p, start_job(p, &job), 20000, &receipt);
	cr_expect_str_eq(receipt.state, "refused");
	cr_expect_str_eq(receipt.error_code, "queue_full");
	cr_expect_eq(receipt.exit_status, 75);
	pyprep_close(p);
	pyprep_close(full);
}

Test(pools, with_a_full_table_let_others_wait_until_there_is_room)
{
	unsigned jobs;
	struct pyprep *full = fill_table(&jobs), *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	struct tally t = { 0 };

	for (int i = 0; i < 20; i++)
		start(p, "noop", "cpu", NULL, 0);
	cr_expect_eq(next_receipt(p, 100, &receipt), 0, "there was room");
	/* The broker looks at other things meanwhile, and not at its lane any more. */
	for (int i = 0; i < 20; i++)
		daemon_broker(&d);
	/* Room comes by a cancel, of which no worker says anything. */
	cr_expect_eq(pyprep_cancel_all(full), 50);
	cr_assert(finish_all(p, 20000, &t), "nobody told it that there is room");
	cr_expect_eq(t.succeeded, 20);
	pyprep_close(p);
	pyprep_close(full);
}

Test(pools, with_a_full_table_get_room_when_a_client_leaves)
{
	unsigned jobs;
	struct pyprep *full = fill_table(&jobs), *p = daemon_connect(&d);
	struct tally t = { 0 };

	for (int i = 0; i < 20; i++)
		start(p, "noop", "cpu", NULL, 0);
	for (int i = 0; i < 20; i++)
		daemon_broker(&d);
	pyprep_close(full);
	cr_assert(finish_all(p, 20000, &t));
	cr_expect_eq(t.succeeded, 20);
	pyprep_close(p);
}

Test(pools, with_a_full_table_cancel_also_what_still_waits_for_room)
{
	unsigned jobs;
	struct pyprep *p = fill_table(&jobs);
	struct tally t = { 0 };

	for (int i = 0; i < 100; i++)
		start(p, "noop", "cpu", NULL, 0);
	cr_expect_eq(pyprep_cancel_all(p), 150);
	cr_assert(finish_all(p, 20000, &t));
	cr_expect_eq(t.cancelled, 150, "%ju ran after they had been cancelled",
		     (uintmax_t)t.succeeded);
	pyprep_close(p);
}

Test(pools, are_listed_with_the_sizes_they_have)
{
	cr_expect_eq(size_of("cpu"), 2);
	cr_expect_eq(size_of("one"), 1);
}

/* ---- one daemon per directory ---- */

/* Start eight at once: those that ended, by exit status. */
static void
race(int round)
{
	struct test_daemon racers[8];
	unsigned losers = 0;

	for (int i = 0; i < 8; i++) {
		racers[i] = d;
		daemon_launch(&racers[i]);
	}
	cr_assert(wait_until(20000, ({
				     for (int i = 0; i < 8; i++) {
					     int status = racers[i].pid > 0
								  ? wait_exit(racers[i].pid, 0)
								  : -1;
					     if (status < 0)
						     continue;
					     racers[i].pid = 0;
					     losers++;
					     cr_expect_eq(status, 75 << 8, "round %d: status %#x",
							  round, status);
				     }
				     losers >= 7;
			     })),
		  "round %d: %u of 8 gave way", round, losers);
	for (int i = 0; i < 8; i++)
		if (racers[i].pid > 0)
			d.pid = racers[i].pid;
	cr_assert(daemon_wait_ready(&d, 20000), "round %d: the winner does not run", round);
	cr_expect_eq(losers, 7);
	struct test_status status;
	cr_assert_eq(daemon_status(&d, &status), 0);
	cr_expect_eq(status.supervisor, d.pid);
	cr_expect_eq(daemon_stop(&d, 20000), 0);
}

Test(one_daemon, wins_when_eight_start_at_once)
{
	daemon_prepare(&d, "[pool \"cpu\"]\nexecutor = process\nworkers = 1\n");
	for (int round = 0; round < 20; round++)
		race(round);
}
