/*
 * test_failing_pool.c - workers that die at start: a bounded number of restarts, then the pool has
 * failed, says so, and costs nothing; the others go on.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/daemon/jobs.h"

#define CONFIG                                                               \
	"[pool \"bad\"]\nexecutor = process\nworkers = 1\nrestart_max = 4\n" \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"

#define GIB (UINT64_C(1) << 30)

static struct test_daemon d;

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(failing_pool, .fini = teardown, .timeout = 120);

/* Kill every worker of pool "bad" as soon as it is there: the child's whole life. */
static pid_t
start_killer(void)
{
	pid_t killer = test_fork();

	while (killer == 0) {
		pid_t children[64];
		char title[64];
		int n = list_children(d.pid, children, 64);
		for (int i = 0; i < n; i++)
			if (process_title(children[i], title, sizeof(title)) &&
			    strncmp(title, "pyprepd: worker bad/", 20) == 0)
				kill(children[i], SIGKILL);
		test_pause();
	}
	return killer;
}

static const char *
pool_state(const char *name)
{
	static struct test_status status;
	return daemon_status(&d, &status) < 0 ? "" : status_pool(&status, name)->state;
}

static uint64_t
cpu_of_all(void)
{
	pid_t children[64];
	int n = list_children(d.pid, children, 64);
	uint64_t sum = cpu_ms(d.pid);

	for (int i = 0; i < n; i++)
		sum += cpu_ms(children[i]);
	return sum;
}

static void
expect_failed_and_quiet(void)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	struct test_status status;

	cr_assert_eq(run_job(p, "noop", "bad", NULL, 20000, &receipt), 0);
	cr_expect_str_eq(receipt.state, "refused");
	cr_expect_str_eq(receipt.error_code, "pool_failed");
	cr_expect_eq(receipt.exit_status, 75);
	cr_expect(strstr(receipt.error_message, "pool resume bad") != NULL, "%s",
		  receipt.error_message);
	cr_assert_eq(run_job(p, "noop", "cpu", NULL, 20000, &receipt), 0);
	cr_expect_str_eq(receipt.state, "succeeded");
	pyprep_close(p);
	cr_assert_eq(daemon_status(&d, &status), 0);
	cr_expect_str_eq(status_pool(&status, "bad")->workers[0].state, "failed");
	cr_expect_str_eq(status_pool(&status, "cpu")->state, "running");
	cr_expect(wait_until(20000, count_zombies(d.pid) == 0));

	/* The figure is the claim here: nothing happens for a second, once all has settled. */
	uint64_t spent = UINT64_MAX;
	for (int i = 0; i < 5 && spent > 20; i++) {
		uint64_t before = cpu_of_all();
		sleep(1);
		spent = cpu_of_all() - before;
	}
	cr_expect(spent <= 20, "%ju ms of CPU in an idle second", (uintmax_t)spent);
}

Test(failing_pool, is_given_up_after_its_restarts_and_others_go_on)
{
	daemon_begin(&d, CONFIG);
	pid_t killer = start_killer();
	cr_assert(wait_until(20000, strcmp(pool_state("bad"), "failed") == 0));
	expect_failed_and_quiet();
	cr_expect(daemon_logged(&d, "pool bad has failed: its workers died 5 times"));
	kill_and_wait(killer, SIGKILL);
}

Test(failing_pool, runs_again_when_it_is_resumed)
{
	struct pyprep_receipt receipt;

	daemon_begin(&d, CONFIG);
	pid_t killer = start_killer();
	cr_assert(wait_until(20000, strcmp(pool_state("bad"), "failed") == 0));
	kill_and_wait(killer, SIGKILL);
	struct pyprep *p = daemon_connect(&d);
	cr_assert_eq(ask(p, "resume", "pool=bad", NULL), 0);
	cr_assert_eq(run_job(p, "noop", "bad", NULL, 20000, &receipt), 0);
	cr_expect_str_eq(receipt.state, "succeeded");
	pyprep_close(p);
}

Test(failing_pool, fails_the_jobs_that_waited_for_it)
{
	struct tally t = { 0 };

	daemon_begin(&d, CONFIG);
	struct pyprep *p = daemon_connect(&d);
	cr_assert_eq(ask(p, "pause", "pool=bad", NULL), 0);
	for (int i = 0; i < 20; i++)
		start(p, "noop", "bad", NULL, 0);
	pid_t killer = start_killer();
	cr_assert(finish_all(p, 20000, &t), "%ju jobs wait for a pool that has failed",
		  (uintmax_t)pyprep_outstanding(p));
	cr_expect_eq(t.failed, 20);
	kill_and_wait(killer, SIGKILL);
	pyprep_close(p);
}

/* A worker that cannot have its limit ends by itself, with a status. */
Test(failing_pool, whose_workers_exit_at_start_never_keeps_the_daemon_from_running)
{
#ifdef __SANITIZE_ADDRESS__
	cr_skip_test("the sanitizer's shadow is larger than any limit");
#endif
	struct rlimit most = { 64 * GIB, 64 * GIB };
	pid_t child = test_fork();

	if (child == 0) {
		struct rlimit more = { 128 * GIB, 128 * GIB };
		setrlimit(RLIMIT_AS, &most);
		_exit(setrlimit(RLIMIT_AS, &more) == 0);
	}
	int status = 0;
	waitpid(child, &status, 0);
	if (status != 0)
		cr_skip_test("this user may raise limits");
	setrlimit(RLIMIT_AS, &most);
	daemon_begin(&d, CONFIG "[pool \"huge\"]\nexecutor = process\nworkers = 2\n"
				"address_space = 128G\n");
	cr_assert(wait_until(20000, strcmp(pool_state("huge"), "failed") == 0));
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	cr_assert_eq(run_job(p, "noop", "cpu", NULL, 20000, &receipt), 0);
	cr_expect_str_eq(receipt.state, "succeeded");
	pyprep_close(p);
	cr_expect(wait_until(20000, count_zombies(d.pid) == 0));
}
