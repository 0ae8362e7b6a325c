/*
 * test_broker_death.c - kill -9 of the broker and of the supervisor: who stays, who takes over,
 * what clients are told.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/daemon/jobs.h"

#define POOLS                                                      \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"        \
	"[pool \"threads\"]\nexecutor = thread\nconcurrency = 4\n" \
	"[pool \"io\"]\nexecutor = event\nconcurrency = 256\n"     \
	"[pool \"shell\"]\nexecutor = command\nworkers = 2\ngrace = 50ms\n"

#define CONFIG  "[daemon]\norphan_grace = 1500ms\n" POOLS
#define PATIENT "[daemon]\norphan_grace = 60s\n" POOLS

static struct test_daemon d;

static void
setup(void)
{
	daemon_begin(&d, CONFIG);
}

static void
setup_patient(void)
{
	daemon_end(&d);
	daemon_begin(&d, PATIENT);
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(broker_death, .init = setup, .fini = teardown, .timeout = 240);
TestSuite(supervisor_death, .init = setup, .fini = teardown, .timeout = 240);

/* Connect to whichever broker there is by now. */
static struct pyprep *
connect_again(void)
{
	struct pyprep *p = NULL;

	cr_assert(wait_until(20000, pyprep_connect(d.runtime, &p, NULL) == 0));
	return p;
}

/* Tiny jobs on processes, and every fourth one a sleep on the event loop or on processes. */
static void
start_mixed(struct pyprep *p, int number, const char *nap)
{
	if (number % 4 != 0)
		start(p, "noop", "cpu", NULL, 0);
	else
		start(p, "sleep", number % 8 == 0 ? "io" : "cpu", nap, 0);
}

/* Kill the broker and wait until another one answers; its pid. */
static pid_t
kill_broker(pid_t broker)
{
	struct test_status status = { 0 };

	kill(broker, SIGKILL);
	cr_assert(wait_until(20000, daemon_status(&d, &status) == 0 && status.broker != broker),
		  "no new broker");
	return status.broker;
}

/* Does each pool run a job, with the very workers it had? */
static void
expect_all_work(const struct test_status *before)
{
	static const char *const pools[] = { "cpu", "threads", "io", "shell" };
	struct pyprep *p = connect_again();
	struct pyprep_receipt receipt;
	struct test_status now;

	for (int i = 0; i < 20; i++) {
		cr_assert_eq(run_job(p, "sleep", pools[i % 3], "ms=1", 20000, &receipt), 0,
			     "a job on %s never ended", pools[i % 3]);
		cr_expect_str_eq(receipt.state, "succeeded");
	}
	receipt_for(p, start_shell(p, "exit 0", 0), 20000, &receipt);
	cr_expect_str_eq(receipt.state, "succeeded");
	pyprep_close(p);
	cr_assert_eq(daemon_status(&d, &now), 0);
	cr_expect_eq(now.supervisor, before->supervisor);
	for (unsigned i = 0; i < now.pool_count; i++)
		for (unsigned w = 0; w < now.pools[i].worker_count; w++)
			cr_expect_eq(now.pools[i].workers[w].pid, before->pools[i].workers[w].pid,
				     "worker %s/%u is another one", now.pools[i].name, w);
}

Test(broker_death, leaves_supervisor_and_workers_as_they_are_and_work_goes_on)
{
	struct test_status before;

	cr_assert_eq(daemon_status(&d, &before), 0);
	pid_t next = kill_broker(before.broker);
	cr_expect_neq(next, before.broker);
	expect_all_work(&before);
	cr_expect(wait_until(20000, count_zombies(d.pid) == 0));
}

Test(broker_death, tells_each_attached_client_the_result_or_broker_lost, .init = setup_patient)
{
	struct pyprep *clients[4];
	struct tally t = { 0 };
	struct test_status before;

	cr_assert_eq(daemon_status(&d, &before), 0);
	for (int i = 0; i < 4; i++) {
		clients[i] = daemon_connect(&d);
		start(clients[i], "sleep", "io", "ms=600000", 0); /* not done before the kill */
		for (int j = 0; j < 100; j++)
			start_mixed(clients[i], j, "ms=20");
	}
	kill(before.broker, SIGKILL);
	for (int i = 0; i < 4; i++) {
		cr_expect(finish_all(clients[i], 20000, &t), "client %d waits for ever", i);
		cr_expect_eq(pyprep_outstanding(clients[i]), 0);
		pyprep_close(clients[i]);
	}
	cr_expect_eq(t.receipts, 404);
	cr_expect_eq(t.succeeded + t.broker_lost, 404);
	cr_expect(t.broker_lost >= 4);
	expect_all_work(&before);
}

Test(broker_death, drops_the_result_of_what_ran_and_the_worker_goes_on, .init = setup_patient)
{
	struct test_status before;
	struct tally t = { 0 };
	char nap[16];

	/* They end after the new broker has come, within the grace of orphans.  Where they were
	 * over before the kill they have to be longer. */
	cr_assert_eq(daemon_status(&d, &before), 0);
	for (unsigned ms = 2000; ms <= 32000 && t.broker_lost != 3; ms *= 2) {
		struct pyprep *p = connect_again();
		pid_t broker = daemon_broker(&d);
		unsigned started = 0;
		t = (struct tally){ 0 };
		snprintf(nap, sizeof(nap), "ms=%u", ms);
		start(p, "sleep", "cpu", nap, 0);
		start(p, "sleep", "cpu", nap, 0);
		start(p, "sleep", "threads", nap, 0);
		cr_assert(
			wait_until(60000, (started = jobs_started(p)) == 3 || newest_job(p) == 0));
		kill_broker(broker);
		cr_assert(finish_all(p, 20000, &t));
		cr_assert_eq(t.succeeded + t.broker_lost, 3);
		pyprep_close(p);
		expect_all_work(&before);
	}
	cr_expect_eq(t.broker_lost, 3);
}

/* Within one answer: has another worker, ready for jobs, taken this slot? */
static bool
replaced(struct test_status *before, struct test_status *now, const char *pool, unsigned slot)
{
	const struct status_worker *w = &status_pool(now, pool)->workers[slot];

	return (strcmp(w->state, "idle") == 0 || strcmp(w->state, "busy") == 0) &&
	       w->pid != status_pool(before, pool)->workers[slot].pid;
}

Test(broker_death, ends_orphans_that_outstay_their_grace)
{
	struct pyprep *p = daemon_connect(&d);
	struct test_status before, now;

	cr_assert_eq(daemon_status(&d, &before), 0);
	start(p, "fail", "cpu", "how=hang", 0);
	start(p, "fail", "cpu", "how=hang", 0);
	cr_assert(wait_until(20000, jobs_started(p) == 2));
	kill_broker(before.broker);
	pyprep_close(p);
	cr_assert(wait_until(20000, daemon_status(&d, &now) == 0 &&
					    replaced(&before, &now, "cpu", 0) &&
					    replaced(&before, &now, "cpu", 1)));
	expect_all_work(&now);
}

/* Within one answer: do all workers of the pool wait for jobs, and are they those of `before`? */
static bool
idle_as_before(struct test_status *before, struct test_status *now, const char *pool)
{
	const struct status_pool *old = status_pool(before, pool), *p = status_pool(now, pool);

	for (unsigned i = 0; i < old->worker_count; i++)
		if (i >= p->worker_count || p->workers[i].pid != old->workers[i].pid ||
		    strcmp(p->workers[i].state, "idle") != 0)
			return false;
	return true;
}

/* The grace is longer than the test: who is told of the end ends its job and lives on. */
Test(broker_death, has_orphans_ended_alone_where_a_worker_can, .init = setup_patient)
{
	struct test_status before, now;

	cr_assert_eq(daemon_status(&d, &before), 0);
	for (int i = 0; i < 4; i++) {
		struct pyprep *p = connect_again();
		start(p, "sleep", "io", "ms=600000", 0);
		start_shell(p, "trap '' TERM; sleep 600 & setsid sleep 600", 0);
		cr_assert(wait_until(20000, jobs_started(p) == 2));
		kill_broker(daemon_broker(&d));
		pyprep_close(p);
		cr_assert(wait_until(20000, daemon_status(&d, &now) == 0 &&
						    idle_as_before(&before, &now, "io") &&
						    idle_as_before(&before, &now, "shell")));
	}
	expect_all_work(&before);
}

Test(broker_death, keeps_a_paused_pool_paused)
{
	struct pyprep *p = daemon_connect(&d);
	struct test_status status;

	cr_assert_eq(ask(p, "pause", "pool=cpu", NULL), 0);
	pyprep_close(p);
	kill_broker(daemon_broker(&d));
	cr_assert_eq(daemon_status(&d, &status), 0);
	cr_expect_str_eq(status_pool(&status, "cpu")->state, "paused");
	p = connect_again();
	cr_assert_eq(ask(p, "resume", "pool=cpu", NULL), 0);
	pyprep_close(p);
	kill_broker(status.broker);
	cr_assert_eq(daemon_status(&d, &status), 0);
	cr_expect_str_eq(status_pool(&status, "cpu")->state, "running");
}

/* Twenty kills at random moments, four of each daemon: more than five in ten seconds and the
 * supervisor gives up, as it should. */
Test(broker_death, at_random_moments_under_load_leaves_no_client_waiting, .init = setup_patient)
{
	unsigned seed = getenv("SEED") != NULL ? (unsigned)atoi(getenv("SEED")) : 3;
	struct test_status before;

	srandom(seed);
	for (int kills = 0; kills < 20; kills++) {
		if (kills > 0 && kills % 4 == 0) {
			daemon_end(&d);
			daemon_begin(&d, PATIENT);
		}
		cr_assert_eq(daemon_status(&d, &before), 0);
		int fds = supervisor_fds(&d);
		struct pyprep *p = connect_again();
		struct tally t = { 0 };
		int jobs = 500 + (int)(random() % 500);
		uint64_t until = test_now_ms() + (uint64_t)random() % 10;
		for (int j = 0; j < jobs; j++)
			start_mixed(p, j, "ms=2");
		while (test_now_ms() < until && pyprep_outstanding(p) > 0) {
			struct pyprep_receipt receipt;
			if (next_receipt(p, 1, &receipt) == 1)
				tally_add(&t, &receipt);
		}
		kill_broker(before.broker);
		cr_assert(finish_all(p, 20000, &t), "seed %u, kill %d: %ju of %d never came", seed,
			  kills, (uintmax_t)pyprep_outstanding(p), jobs);
		cr_expect_eq(t.succeeded + t.broker_lost, (uint64_t)jobs);
		pyprep_close(p);
		cr_expect(wait_until(20000, supervisor_fds(&d) == fds));
		expect_all_work(&before);
	}
}

/* Always true. */
static bool
kill_any_broker(void)
{
	pid_t broker = child_with_title(d.pid, "pyprepd: broker");

	if (broker > 0)
		kill(broker, SIGKILL);
	return true;
}

Test(broker_death, too_often_ends_the_daemon_with_a_failure)
{
	/* As soon as there is one, whether it serves already or not: six within ten seconds is too
	 * often, also on a slow machine. */
	cr_assert(wait_until(60000, kill_any_broker() && !process_exists(d.pid)),
		  "the daemon goes on with a broker that dies and dies");
	int status = wait_exit(d.pid, 20000);
	cr_assert(status >= 0);
	d.pid = 0;
	cr_expect(WIFEXITED(status) != 0 && WEXITSTATUS(status) != 0);
	cr_expect(daemon_logged(&d, "giving up"));
}

/* ---- the supervisor ---- */

/* The supervisor is killed: true when all else was gone within a second. */
static bool
kill_supervisor_with_a_tree(void)
{
	char mark[64], script[256];
	struct pyprep *p = daemon_connect(&d);
	struct test_status status;
	struct tally t = { 0 };

	/* A number that only this test sleeps for. */
	snprintf(mark, sizeof(mark), "sleep 7%d", (int)getpid());
	snprintf(script, sizeof(script), "trap '' TERM; setsid %s & (%s &) ; %s", mark, mark, mark);
	start_shell(p, script, 0);
	start(p, "fail", "cpu", "how=hang", 0);
	start(p, "fail", "threads", "how=hang", 0);
	cr_assert(wait_until(20000, count_titled(mark) == 3));
	cr_assert_eq(daemon_status(&d, &status), 0);

	kill_and_wait(d.pid, SIGKILL);
	uint64_t from = test_now_ms();
	bool gone = false;
	for (; !gone && test_now_ms() < from + 60000; test_pause()) {
		gone = !process_exists(status.broker);
		for (unsigned i = 0; i < status.pool_count; i++)
			for (unsigned w = 0; w < status.pools[i].worker_count; w++)
				gone &= !process_exists(status.pools[i].workers[w].pid);
		gone &= count_titled(mark) == 0;
	}
	uint64_t took = test_now_ms() - from;
	cr_expect(gone, "children were there for %ju ms", (uintmax_t)took);
	cr_expect(finish_all(p, 20000, &t));
	cr_expect_eq(t.broker_lost, 3);
	pyprep_close(p);

	daemon_launch(&d);
	cr_assert(daemon_wait_ready(&d, 60000),
		  "a new daemon does not start in the same directory");
	cr_assert_eq(daemon_status(&d, &status), 0);
	expect_all_work(&status);
	return took < 1000;
}

/* Late now and then on a machine that has other work; not each time. */
Test(supervisor_death, takes_every_child_along_within_a_second_also_a_commands_tree)
{
	bool soon = false;

	for (int i = 0; i < 20 && !soon; i++)
		soon = kill_supervisor_with_a_tree();
	cr_expect(soon, "children were there for more than a second each time");
}

/* At once after the kill, when the old broker may still be dying. */
Test(supervisor_death, keeps_job_numbers_going_up)
{
	struct pyprep_receipt receipt;
	uint64_t last = 0;

	for (int i = 0; i < 10; i++) {
		struct pyprep *p = connect_again();
		cr_assert_eq(run_job(p, "noop", "cpu", NULL, 20000, &receipt), 0);
		cr_expect(receipt.id > last, "%ju after %ju", (uintmax_t)receipt.id,
			  (uintmax_t)last);
		last = receipt.id;
		pyprep_close(p);
		kill_and_wait(d.pid, SIGKILL);
		daemon_launch(&d);
		cr_assert(daemon_wait_ready(&d, 60000));
	}
}
