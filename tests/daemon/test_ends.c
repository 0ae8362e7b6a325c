/*
 * test_ends.c - jobs that are ended: by their timeout, by a cancel, by their client's going, by
 * the daemon's stop; and that nothing of them is left.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/daemon/jobs.h"

#define POOLS                                                               \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"                 \
	"[pool \"threads\"]\nexecutor = thread\nconcurrency = 4\n"          \
	"[pool \"io\"]\nexecutor = event\nconcurrency = 256\ngrace = 20s\n" \
	"[pool \"shell\"]\nexecutor = command\nworkers = 2\ngrace = 200ms\n"

#define CONFIG  "[daemon]\ndrain_deadline = 500ms\n" POOLS
#define PATIENT "[daemon]\ndrain_deadline = 60s\n" POOLS

/* What is promised to be soon is late now and then on a machine that has other work; one that
 * is slow by itself is late each time. */
#define TRIES 15

/* A tree of three that ignores TERM: a child, one in a session of its own, one forked twice. */
#define STUBBORN "trap '' TERM; %s & setsid %s & (%s &) ; wait; wait; sleep 60"

static struct test_daemon d;
static char mark[64]; /* a command line that only this test runs */

static void
setup(void)
{
	snprintf(mark, sizeof(mark), "sleep 6%d", (int)getpid());
	daemon_begin(&d, CONFIG);
}

static void
begin_again(const char *config)
{
	daemon_end(&d);
	daemon_begin(&d, config);
}

static void
setup_patient(void)
{
	snprintf(mark, sizeof(mark), "sleep 6%d", (int)getpid());
	begin_again(PATIENT);
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(timeouts, .init = setup, .fini = teardown, .timeout = 120);
TestSuite(cancels, .init = setup, .fini = teardown, .timeout = 120);
TestSuite(stops, .init = setup, .fini = teardown, .timeout = 120);

static int
marked(void)
{
	struct command_result found = run_command("pgrep -fxc '%s'", mark);
	int n = atoi(found.output);
	command_free(&found);
	return n;
}

static uint64_t
submit_tree(struct pyprep *p, unsigned timeout_ms)
{
	char script[512];

	snprintf(script, sizeof(script), STUBBORN, mark, mark, mark);
	return start_shell(p, script, timeout_ms);
}

/* Start the stubborn tree and wait until it is there. */
static uint64_t
start_tree(struct pyprep *p)
{
	uint64_t tag = submit_tree(p, 0);
	cr_assert(wait_until(20000, marked() == 3));
	return tag;
}

/* ---- timeouts ---- */

/* Within one answer: the worker in slot 0, if it waits for jobs. */
static pid_t
idle_worker(const char *pool)
{
	struct test_status status;

	if (daemon_status(&d, &status) < 0)
		return 0;
	const struct status_worker *w = &status_pool(&status, pool)->workers[0];
	return w->slot == 0 && strcmp(w->state, "idle") == 0 ? w->pid : 0;
}

/* A hung job is ended: within 200 ms of its timeout? */
static bool
hang(const char *pool, bool replaced)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	pid_t before = daemon_worker(&d, pool, 0), again = 0;
	uint64_t from = test_now_ms();

	receipt_for(p, start(p, "fail", pool, "how=hang", 1000), 20000, &receipt);
	uint64_t took = test_now_ms() - from;
	cr_expect(took >= 1000, "%s: gone after %ju ms", pool, (uintmax_t)took);
	cr_expect_str_eq(receipt.state, "timed_out");
	cr_expect_str_eq(receipt.cause, "timeout");
	cr_expect_eq(receipt.exit_status, 124);
	cr_expect(receipt.run_ns >= 1000 * MS, "%s: run %ju ns", pool, (uintmax_t)receipt.run_ns);
	bool soon = took < 1200 && receipt.run_ns < 1200 * MS;
	cr_assert(wait_until(20000, (again = idle_worker(pool)) > 0));
	if (receipt.slot == 0)
		cr_expect_eq(again != before, replaced, "%s: worker %d, now %d", pool, before,
			     again);
	cr_assert_eq(run_job(p, "sleep", pool, "ms=1", 20000, &receipt), 0);
	cr_expect_str_eq(receipt.state, "succeeded");
	pyprep_close(p);
	return soon;
}

static void
expect_hang(const char *pool, bool replaced)
{
	bool soon = false;

	for (int i = 0; i < TRIES && !soon; i++)
		soon = hang(pool, replaced);
	cr_expect(soon, "%s: never within 200 ms of the timeout", pool);
}

Test(timeouts, of_a_hung_job_replace_its_process)
{
	expect_hang("cpu", true);
}

Test(timeouts, of_a_hung_job_replace_a_process_of_threads)
{
	expect_hang("threads", true);
}

Test(timeouts, of_a_hung_job_leave_an_event_loop_as_it_is)
{
	expect_hang("io", false);
}

Test(timeouts, of_a_thread_name_the_others_bystanders)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	struct tally t = { 0 };

	start(p, "sleep", "threads", "ms=20000", 0);
	cr_assert(wait_until(20000, jobs_started(p) == 1));
	uint64_t hung = start(p, "fail", "threads", "how=hang", 200);
	while (pyprep_outstanding(p) > 0) {
		cr_assert_eq(next_receipt(p, 20000, &receipt), 1);
		tally_add(&t, &receipt);
		cr_expect_eq(receipt.bystander, receipt.tag != hung);
	}
	cr_expect_eq(t.timed_out, 1);
	cr_expect_eq(t.worker_died, 1);
	pyprep_close(p);
}

Test(timeouts, do_not_count_the_time_in_the_queue)
{
	struct pyprep *p = daemon_connect(&d);
	struct tally t = { 0 };

	for (int i = 0; i < 20; i++) /* two at a time: the last waits 4.5 s and runs 0.5 */
		start(p, "sleep", "cpu", "ms=500", 4000);
	cr_assert(finish_all(p, 60000, &t));
	cr_expect_eq(t.succeeded, 20);
	pyprep_close(p);
}

/* false: the tree was not there in time, or was ended late. */
static bool
tree_times_out(struct pyprep *p)
{
	struct pyprep_receipt receipt;

	uint64_t tag = submit_tree(p, 3000);
	bool there = wait_until(2500, marked() == 3);
	receipt_for(p, tag, 20000, &receipt);
	cr_expect_str_eq(receipt.state, "timed_out");
	cr_expect_eq(receipt.exit_status, 124);
	cr_expect_eq(marked(), 0, "%d of the tree are left", marked());
	return there && receipt.run_ns < 3500 * MS;
}

Test(timeouts, of_a_command_end_its_whole_tree_that_ignores_TERM)
{
	struct pyprep *p = daemon_connect(&d);
	bool soon = false;

	for (int i = 0; i < TRIES && !soon; i++)
		soon = tree_times_out(p);
	cr_expect(soon, "grace and all: never within 500 ms of the timeout");
	pyprep_close(p);
}

/* ---- cancels ---- */

/* A running loop is cancelled: within half a second? */
static bool
cancel_loop(struct pyprep *p)
{
	struct pyprep_receipt receipt;

	uint64_t tag = start(p, "sumsq", "cpu", "n=1000000000000", 0);
	cr_assert(wait_until(20000, jobs_started(p) == 1));
	uint64_t from = test_now_ms();
	cr_expect_eq(pyprep_cancel(p, tag), 1);
	receipt_for(p, tag, 20000, &receipt);
	bool soon = test_now_ms() - from < 500;
	cr_expect_str_eq(receipt.state, "cancelled");
	cr_expect_str_eq(receipt.cause, "cancelled");
	cr_expect(daemon_wait_ready(&d, 20000));
	return soon;
}

Test(cancels, end_a_running_loop_and_replace_its_worker)
{
	struct pyprep *p = daemon_connect(&d);
	bool soon = false;

	for (int i = 0; i < TRIES && !soon; i++)
		soon = cancel_loop(p);
	cr_expect(soon, "never within 500 ms");
	pyprep_close(p);
}

Test(cancels, end_a_queued_job_that_never_started)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;

	cr_assert_eq(ask(p, "pause", "pool=cpu", NULL), 0);
	uint64_t tag = start(p, "noop", "cpu", NULL, 0), other = start(p, "noop", "cpu", NULL, 0);
	cr_expect_eq(pyprep_cancel(p, tag), 1);
	receipt_for(p, tag, 20000, &receipt);
	cr_expect_str_eq(receipt.state, "cancelled");
	cr_expect_eq(receipt.slot, -1);
	cr_expect_eq(receipt.run_ns, 0);
	cr_assert_eq(ask(p, "resume", "pool=cpu", NULL), 0);
	receipt_for(p, other, 20000, &receipt);
	cr_expect_str_eq(receipt.state, "succeeded");
	pyprep_close(p);
}

/* One of many on a worker is ended: the others there go on, also after all patience.  false: it
 * was not seen to run, or its end came so late that its worker was ended for it. */
static bool
cancelled_alone(struct pyprep *p, const char *pool, unsigned others)
{
	pid_t before = daemon_worker(&d, pool, 0);
	struct tally t = { 0 };

	for (unsigned i = 0; i < others; i++)
		start(p, "sleep", pool, "ms=2500", 0);
	bool caught = wait_until(2000, jobs_started(p) == others);
	/* Cancelled while it runs, it ends by itself before the patience does. */
	uint64_t tag = start(p, "sleep", pool, "ms=50", 0);
	caught &= wait_until(40, jobs_started(p) == others + 1) && pyprep_cancel(p, tag) == 1;
	cr_assert(finish_all(p, 20000, &t));
	cr_expect(daemon_wait_ready(&d, 20000));
	return caught && t.succeeded + t.cancelled == others + 1 && t.succeeded >= others &&
	       daemon_worker(&d, pool, 0) == before;
}

static void
cancel_one_of_many(const char *pool, unsigned others)
{
	struct pyprep *p = daemon_connect(&d);
	bool alone = false;

	for (int i = 0; i < 20 && !alone; i++)
		alone = cancelled_alone(p, pool, others);
	cr_expect(alone, "the others never went on");
	pyprep_close(p);
}

Test(cancels, of_one_job_on_an_event_loop_leave_the_others_alone)
{
	cancel_one_of_many("io", 100);
}

Test(cancels, of_a_thread_that_ends_by_itself_leave_the_others_alone)
{
	cancel_one_of_many("threads", 3);
}

Test(cancels, end_a_commands_whole_tree)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;

	uint64_t tag = start_tree(p);
	cr_expect_eq(pyprep_cancel(p, tag), 1);
	receipt_for(p, tag, 20000, &receipt);
	cr_expect_str_eq(receipt.state, "cancelled");
	cr_expect_eq(marked(), 0);
	pyprep_close(p);
}

Test(cancels, of_what_a_closed_connection_had_submitted)
{
	struct pyprep *p = daemon_connect(&d), *watch = daemon_connect(&d);
	struct test_status status;

	start_tree(p);
	start(p, "sumsq", "cpu", "n=1000000000000", 0);
	start(p, "sleep", "io", "ms=60000", 0);
	start(p, "fail", "threads", "how=hang", 0);
	for (int i = 0; i < 20; i++)
		start(p, "sleep", "cpu", "ms=60000", 0);
	cr_assert(wait_until(20000, jobs_started(watch) >= 4));
	pyprep_close(p);
	cr_expect(wait_until(20000, daemon_status(&d, &status) == 0 && status.table_jobs == 0));
	cr_expect_eq(marked(), 0);
	cr_expect(daemon_wait_ready(&d, 20000));
	pyprep_close(watch);
}

Test(cancels, of_all_reach_what_the_daemon_has_not_read_yet)
{
	struct pyprep *p = daemon_connect(&d);
	struct tally t = { 0 };

	struct pyprep_job job = { .kind = "noop", .pool = "cpu" };
	struct pyprep_prepared *prepared;
	pid_t broker = daemon_broker(&d);

	cr_assert_eq(ask(p, "pause", "pool=cpu", NULL), 0);
	cr_assert_eq(pyprep_prepare(p, &job, &prepared, NULL), 0);
	kill(broker, SIGSTOP);
	for (int i = 0; i < 500; i++)
		cr_assert_eq(pyprep_submit_prepared(p, prepared, NULL, NULL), 0);
	pid_t waker = test_fork(); /* the cancel waits 2 s for an answer */
	if (waker == 0) {
		usleep(100000);
		kill(broker, SIGCONT);
		_exit(0);
	}
	cr_expect_eq(pyprep_cancel_all(p), 500);
	waitpid(waker, NULL, 0);
	cr_assert_eq(ask(p, "resume", "pool=cpu", NULL), 0);
	cr_assert(finish_all(p, 20000, &t));
	cr_expect_eq(t.cancelled, 500);
	pyprep_prepared_free(prepared);
	pyprep_close(p);
}

/* ---- the daemon's stop ---- */

Test(stops, wait_for_what_runs_and_cancel_what_is_queued, .init = setup_patient)
{
	struct pyprep *p = daemon_connect(&d);
	struct tally t = { 0 };

	for (int i = 0; i < 6; i++)
		start(p, "sleep", "cpu", "ms=3000", 0);
	cr_assert(wait_until(20000, jobs_started(p) == 2));
	cr_assert_eq(ask(p, "stop", NULL, NULL), 0);
	cr_assert(finish_all(p, 20000, &t));
	cr_expect_eq(t.succeeded, 2);
	cr_expect_eq(t.cancelled, 4);
	cr_expect_eq(wait_exit(d.pid, 20000), 0);
	d.pid = 0;
	pyprep_close(p);
}

Test(stops, refuse_new_jobs_meanwhile, .init = setup_patient)
{
	struct pyprep *p = daemon_connect(&d), *other = daemon_connect(&d);
	struct pyprep_receipt receipt;

	uint64_t tag = start(p, "sleep", "cpu", "ms=600000", 0);
	cr_assert(wait_until(20000, jobs_started(p) == 1));
	cr_assert_eq(ask(p, "stop", NULL, NULL), 0);
	/* The supervisor has been told; the broker hears it from there. */
	cr_assert(wait_until(20000,
			     run_job(other, "noop", "cpu", NULL, 20000, &receipt) == 0 &&
				     strcmp(receipt.error_code, "shutting_down") == 0));
	cr_expect_eq(receipt.exit_status, 75);
	cr_expect_eq(pyprep_cancel(p, tag), 1);
	cr_assert_eq(next_receipt(p, 20000, &receipt), 1);
	cr_expect_str_eq(receipt.state, "cancelled");
	cr_expect_eq(wait_exit(d.pid, 20000), 0);
	d.pid = 0;
	pyprep_close(p);
	pyprep_close(other);
}

/* The deadline is 500 ms. */
static bool
stop_at_deadline(void)
{
	struct pyprep *p = daemon_connect(&d);
	struct tally t = { 0 };

	start_tree(p);
	start(p, "fail", "cpu", "how=hang", 0);
	start(p, "fail", "io", "how=hang", 0);
	cr_assert(wait_until(20000, jobs_started(p) == 3));
	uint64_t from = test_now_ms();
	kill(d.pid, SIGTERM);
	int status = wait_exit(d.pid, 20000);
	uint64_t took = test_now_ms() - from;
	cr_expect_eq(status, 0);
	d.pid = 0;
	cr_expect(took >= 500, "stopped after %ju ms", (uintmax_t)took);
	cr_expect_eq(marked(), 0);
	cr_expect(finish_all(p, 20000, &t));
	cr_expect_eq(t.cancelled, 3, "%ju died, %ju were lost", (uintmax_t)t.worker_died,
		     (uintmax_t)t.broker_lost);
	pyprep_close(p);
	return took < 2000;
}

Test(stops, end_at_their_deadline_what_goes_on_and_ignores_TERM)
{
	bool soon = stop_at_deadline();

	for (int i = 1; i < TRIES && !soon; i++) {
		begin_again(CONFIG);
		soon = stop_at_deadline();
	}
	cr_expect(soon, "never within 1.5 s of the deadline");
}

/* At once, by a second signal or on request: jobs are cancelled, nothing stays. */
static bool
stop_at_once(bool by_signal)
{
	struct pyprep *p = daemon_connect(&d);
	struct tally t = { 0 };

	start_tree(p);
	start(p, "fail", "cpu", "how=hang", 0);
	start(p, "sleep", "io", "ms=60000", 0);
	cr_assert(wait_until(20000, jobs_started(p) == 3));
	if (by_signal) {
		kill(d.pid, SIGTERM);
		cr_assert(wait_until(20000, daemon_logged(&d, "draining")));
		kill(d.pid, SIGTERM);
	} else {
		cr_assert_eq(ask(p, "stop", "now=true", NULL), 0);
	}
	uint64_t from = test_now_ms();
	cr_expect_eq(wait_exit(d.pid, 20000), 0);
	d.pid = 0;
	uint64_t took = test_now_ms() - from;
	cr_expect_eq(marked(), 0);
	cr_expect(finish_all(p, 20000, &t));
	cr_expect_eq(t.cancelled, 3, "%ju died, %ju were lost", (uintmax_t)t.worker_died,
		     (uintmax_t)t.broker_lost);
	pyprep_close(p);
	return took < 450;
}

static void
expect_stop_at_once(bool by_signal)
{
	bool soon = stop_at_once(by_signal);

	for (int i = 1; i < TRIES && !soon; i++) {
		begin_again(PATIENT);
		soon = stop_at_once(by_signal);
	}
	cr_expect(soon, "never within 450 ms");
}

Test(stops, happen_at_once_by_a_second_signal, .init = setup_patient)
{
	expect_stop_at_once(true);
}

Test(stops, happen_at_once_on_request, .init = setup_patient)
{
	expect_stop_at_once(false);
}
