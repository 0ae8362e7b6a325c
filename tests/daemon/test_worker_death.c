/*
 * test_worker_death.c - kill -9 of workers: who is charged with it, who notices nothing, and
 * what is left behind (nothing).
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/daemon/jobs.h"
#include "tests/daemon/kills.h"
#include "tests/link.h"

#define CONFIG                                              \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\n" \
	"[pool \"one\"]\nexecutor = process\nworkers = 1\n" \
	"[pool \"many\"]\nexecutor = thread\nconcurrency = 4\n"

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

TestSuite(worker_death, .init = setup, .fini = teardown, .timeout = 120);

static uint64_t
running_in(const char *pool)
{
	struct test_status status;
	if (daemon_status(&d, &status) < 0)
		return 0;
	return status_pool(&status, pool)->running;
}

/* Short ones first: then the long one is taken for short, and others are sent ahead.  Its tag; or
 * 0, all is cancelled: some took long, since others had the CPU. */
static uint64_t
run_with_others_sent_ahead(struct pyprep *p)
{
	struct pyprep_receipt receipt;
	struct tally t = { 0 };

	for (int i = 0; i < 40; i++) {
		run_job(p, "sleep", "one", "ms=0", 20000, &receipt);
		run_job(p, "noop", "one", NULL, 20000, &receipt);
	}
	uint64_t victim = start(p, "sleep", "one", "ms=600000", 0);
	for (int i = 0; i < 50; i++)
		start(p, "noop", "one", NULL, 0);
	cr_assert(wait_until(20000, jobs_started(p) == 1));
	if (wait_until(1000, running_in("one") > 5))
		return victim;
	pyprep_cancel_all(p);
	cr_assert(finish_all(p, 20000, &t));
	return 0;
}

Test(worker_death, fails_exactly_the_job_it_ran)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	struct tally t = { 0 };
	uint64_t victim = 0;

	cr_assert(wait_until(60000, (victim = run_with_others_sent_ahead(p)) != 0),
		  "nothing was sent ahead");
	pid_t worker = daemon_worker(&d, "one", 0);
	cr_assert_gt(worker, 0);
	kill(worker, SIGKILL);

	while (pyprep_outstanding(p) > 0) {
		cr_assert(next_receipt(p, 20000, &receipt) == 1, "%ju receipts never came",
			  (uintmax_t)pyprep_outstanding(p));
		tally_add(&t, &receipt);
		if (receipt.tag != victim) {
			cr_expect(receipt.worker_pid != worker, "ran in the dead worker");
			continue;
		}
		cr_expect_str_eq(receipt.state, "failed");
		cr_expect_str_eq(receipt.cause, "worker_died");
		cr_expect_eq(receipt.cause_value, SIGKILL);
		cr_expect_eq(receipt.worker_pid, worker);
		cr_expect(receipt.error_message[0] != '\0');
	}
	cr_expect_eq(t.succeeded, 50);
	cr_expect_eq(t.failed, 1);
	pyprep_close(p);
}

Test(worker_death, is_not_noticed_by_other_clients)
{
	struct pyprep *mine = daemon_connect(&d), *other = daemon_connect(&d);
	struct tally m = { 0 }, o = { 0 };

	start(mine, "sleep", "one", "ms=600000", 0);
	cr_assert(wait_until(20000, jobs_started(mine) == 1));
	for (int i = 0; i < 200; i++)
		start(other, "noop", i % 2 ? "cpu" : "many", NULL, 0);
	daemon_kill_worker(&d, "one", 0);
	for (int i = 0; i < 200; i++)
		start(other, "noop", "one", NULL, 0);
	cr_expect(finish_all(other, 20000, &o));
	cr_expect(finish_all(mine, 20000, &m));
	cr_expect_eq(o.succeeded, 400);
	cr_expect_eq(m.worker_died, 1);
	pyprep_close(mine);
	pyprep_close(other);
}

Test(worker_death, of_threads_is_charged_to_all_that_had_started)
{
	struct pyprep *p = daemon_connect(&d);
	struct tally t = { 0 };

	for (int i = 0; i < 6; i++) /* two more than there are threads */
		start(p, "sleep", "many", i < 4 ? "ms=600000" : "ms=1", 0);
	cr_assert(wait_until(20000, jobs_started(p) == 4));
	daemon_kill_worker(&d, "many", 0);
	cr_assert(finish_all(p, 20000, &t));
	cr_expect_eq(t.worker_died, 4);
	cr_expect_eq(t.bystanders, 0, "nobody knows whose deed it was");
	cr_expect_eq(t.succeeded, 2);
	pyprep_close(p);
}

Test(worker_death, by_its_own_exit_or_signal_is_told_apart)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;

	cr_assert_eq(run_job(p, "fail", "one", "how=exit", 20000, &receipt), 0);
	cr_expect_str_eq(receipt.cause, "worker_died");
	cr_expect(receipt.cause_value < 0, "minus its exit status, not %d", receipt.cause_value);
	cr_assert_eq(run_job(p, "fail", "one", "how=signal signal=6", 20000, &receipt), 0);
	cr_expect_str_eq(receipt.cause, "worker_died");
	cr_expect_eq(receipt.cause_value, SIGABRT);
	cr_assert_eq(run_job(p, "noop", "one", NULL, 20000, &receipt), 0);
	cr_expect_str_eq(receipt.state, "succeeded");
	pyprep_close(p);
}

static void
print_report(unsigned seed, const struct kills_report *r)
{
	fprintf(stderr,
		"seed %u: %u kills, %ju jobs, %ju died; kill to ready p50 %u us, p90 %u us\n", seed,
		r->kills, (uintmax_t)r->jobs, (uintmax_t)r->died, r->ready_us[0], r->ready_us[1]);
}

Test(worker_death, a_hundred_random_kills_under_load_lose_nothing_and_leak_nothing)
{
	const char *given = getenv("SEED");
	unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : 20;
	struct kills_report r;

	kill_workers(&d, 100, seed, false, &r);
	print_report(seed, &r);
	cr_expect_eq(r.kills, 100);
	cr_expect(r.died - r.lost <= r.kills, "%ju jobs died of %u kills", (uintmax_t)r.died,
		  r.kills);
	cr_expect(r.lost == 0 || test_link_is("zmq"), "%ju results were lost", (uintmax_t)r.lost);
	cr_expect(r.died > 0, "no kill hit a job");
	cr_expect_eq(r.wrong, 0);
	cr_expect_eq(r.missing, 0);
	cr_expect_eq(r.duplicates, 0);
	cr_expect_str_eq(r.leak, "");
}

Test(worker_death, the_checker_of_the_random_kills_sees_what_it_looks_for)
{
	struct kills_report r;

	kill_workers(&d, 3, 1, true, &r);
	cr_expect_eq(r.duplicates, 1);
	cr_expect_eq(r.missing, 1);
	cr_expect(strstr(r.leak, "fds") != NULL, "a descriptor that stayed open was not seen");
}
