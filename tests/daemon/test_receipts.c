/*
 * test_receipts.c - the figures of receipts: stages that sum to what the client waited, a run
 * that sums to where its time went, memory that is the job's own.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/daemon/jobs.h"

static struct test_daemon d;

static void
setup(void)
{
	daemon_begin(&d, "[pool \"cpu\"]\nexecutor = process\nworkers = 1\n"
			 "[pool \"threads\"]\nexecutor = thread\nconcurrency = 2\n"
			 "[pool \"io\"]\nexecutor = event\nconcurrency = 64\n"
			 "[pool \"shell\"]\nexecutor = command\nworkers = 1\n");
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(receipts, .init = setup, .fini = teardown, .timeout = 120);

static uint64_t
now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* `around_ns`: what the test itself saw from before the submit to after the receipt. */
static void
expect_sums(const struct pyprep_receipt *r, const char *what, uint64_t around_ns)
{
	uint64_t stages = r->submit_ns + r->store_ns + r->queue_ns + r->dispatch_ns + r->run_ns +
			  r->return_ns;
	uint64_t residual = (uint64_t)llabs((long long)r->residual_ns);

	cr_expect_str_eq(r->state, "succeeded", "%s: %s", what, r->error_message);
	cr_expect_eq((int64_t)stages + r->residual_ns, (int64_t)r->total_ns, "%s", what);
	cr_expect(residual * 100 <= r->total_ns, "%s: residual %ju of %ju ns", what,
		  (uintmax_t)residual, (uintmax_t)r->total_ns);
	cr_expect(r->total_ns > 0 && r->total_ns <= around_ns, "%s: total %ju ns, the test saw %ju",
		  what, (uintmax_t)r->total_ns, (uintmax_t)around_ns);
	cr_expect_eq(r->store_ns, 0, "%s is attached: nothing is stored", what);
	cr_expect_eq(r->oncpu_ns + r->runqueue_ns + r->blocked_ns, r->run_ns,
		     "%s: %ju on-CPU + %ju run-queue + %ju blocked, run %ju", what,
		     (uintmax_t)r->oncpu_ns, (uintmax_t)r->runqueue_ns, (uintmax_t)r->blocked_ns,
		     (uintmax_t)r->run_ns);
}

Test(receipts, sum_to_the_total_and_the_run_on_every_executor)
{
	static const struct {
		const char *kind, *pool, *params;
	} rows[] = {
		{ "noop", "cpu", NULL },
		{ "sumsq", "cpu", "n=1000000" },
		{ "sleep", "cpu", "ms=20" },
		{ "noop", "threads", NULL },
		{ "sumsq", "threads", "n=1000000" },
		{ "sleep", "threads", "ms=20" },
		{ "sleep", "io", "ms=20" },
		{ "sleep", "io", "ms=0" },
	};
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;
	char what[64];

	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			snprintf(what, sizeof(what), "%s on %s", rows[i].kind, rows[i].pool);
			uint64_t from = now_ns();
			cr_assert_eq(
				run_job(p, rows[i].kind, rows[i].pool, rows[i].params, 20000, &r),
				0);
			expect_sums(&r, what, now_ns() - from);
		}
		uint64_t from = now_ns();
		receipt_for(p, start_shell(p, "exit 0", 0), 20000, &r);
		expect_sums(&r, "exec", now_ns() - from);
	}
	pyprep_close(p);
}

Test(receipts, sum_also_when_hundreds_are_in_flight)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;
	uint64_t from = now_ns(), n = 0;

	for (int i = 0; i < 2000; i++)
		start(p, i % 5 ? "noop" : "sleep", i % 5 ? "cpu" : "io", i % 5 ? NULL : "ms=3", 0);
	while (pyprep_outstanding(p) > 0 && next_receipt(p, 20000, &r) == 1) {
		expect_sums(&r, r.kind, now_ns() - from);
		n++;
	}
	cr_expect_eq(n, 2000);
	pyprep_close(p);
}

Test(receipts, say_where_the_time_of_a_run_went)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;

	cr_assert_eq(run_job(p, "sumsq", "cpu", "n=100000000", 20000, &r), 0);
	cr_expect(r.blocked_ns * 10 < r.run_ns, "a loop was blocked for %ju of %ju ns",
		  (uintmax_t)r.blocked_ns, (uintmax_t)r.run_ns);
	cr_expect(r.oncpu_ns > 10 * MS);
	cr_expect(r.user_ns + r.system_ns > r.oncpu_ns / 2);
	static const char *const pools[] = { "cpu", "threads", "io" };
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(run_job(p, "sleep", pools[i], "ms=100", 20000, &r), 0);
		cr_expect(r.run_ns >= 100 * MS);
		cr_expect(r.blocked_ns > 90 * MS, "%s: a sleep was blocked for %ju ns", pools[i],
			  (uintmax_t)r.blocked_ns);
		cr_expect(r.oncpu_ns < 20 * MS);
	}
	pyprep_close(p);
}

Test(receipts, give_the_time_in_the_queue_to_the_queue)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;

	cr_assert_eq(ask(p, "pause", "pool=cpu", NULL), 0); /* they begin together */
	start(p, "sleep", "cpu", "ms=2000", 0);
	uint64_t second = start(p, "sleep", "cpu", "ms=1", 0);
	cr_assert_eq(ask(p, "resume", "pool=cpu", NULL), 0);
	receipt_for(p, second, 20000, &r);
	cr_expect(r.queue_ns + r.dispatch_ns > 1000 * MS && r.queue_ns > 500 * MS,
		  "queue %ju, dispatch %ju ns", (uintmax_t)r.queue_ns, (uintmax_t)r.dispatch_ns);
	cr_expect(r.run_ns < 1000 * MS);
	pyprep_close(p);
}

/* ---- memory ---- */

static uint64_t
peak_of(struct pyprep *p, const char *params)
{
	struct pyprep_receipt r;

	cr_assert_eq(run_job(p, "touch", "cpu", params, 20000, &r), 0);
	cr_assert_str_eq(r.state, "succeeded", "%s", r.error_message);
	return r.peak_memory_bytes;
}

/* 64 MiB more than a job that touches next to none, give or take 10 %. */
static void
expect_64_mib_more(uint64_t much, uint64_t little)
{
	double mib = ((double)much - (double)little) / (1 << 20);
	cr_expect(mib > 57.6 && mib < 70.4, "%.1f MiB more", mib);
}

Test(receipts, tell_the_memory_that_a_job_touched)
{
	struct pyprep *p = daemon_connect(&d);
	uint64_t little = peak_of(p, "bytes=4096"), much = peak_of(p, "bytes=67108864");

	expect_64_mib_more(much, little);
	pyprep_close(p);
}

Test(receipts, tell_it_also_after_a_larger_job_in_the_same_worker)
{
	struct pyprep *p = daemon_connect(&d);
	pid_t worker = daemon_worker(&d, "cpu", 0);

	peak_of(p, "bytes=268435456");
	uint64_t little = peak_of(p, "bytes=4096");
	peak_of(p, "bytes=268435456");
	uint64_t much = peak_of(p, "bytes=67108864");
	expect_64_mib_more(much, little);
	cr_expect_eq(daemon_worker(&d, "cpu", 0), worker);
	pyprep_close(p);
}
