/*
 * test_store_crash.c - the writer dies, the power fails, the disk fails: at every call that changes
 * a file.  What was acknowledged is there, once; what failed is not.  Control arms: a writer that
 * acknowledges too early, one that does not sync.
 *
 * STORE_STEP=N strikes at every Nth call (1: at all of them), STORE_SEED=N repeats power cuts.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/daemon_unit/store_faults.h"
#include "tests/daemon_unit/store_fixture.h"
#include "tests/files.h"

static void
setup(void)
{
	test_dir_make(store_dir, 256);
	faults_setup();
}

static void
teardown(void)
{
	test_dir_remove(store_dir);
}

TestSuite(store_crash, .init = setup, .fini = teardown, .timeout = 280);

static uint64_t
step(uint64_t fallback)
{
	const char *text = getenv("STORE_STEP");
	return text != NULL ? strtoull(text, NULL, 10) : fallback;
}

static uint64_t
count_calls(bool syncs_only)
{
	struct script s;
	faults_run(&(struct faults){ .syncs_only = syncs_only }, &s);
	cr_assert(s.finished && s.failures == 0 && s.opened == 0);
	const char *wrong = faults_check(&s, true);
	cr_assert_null(wrong, "%s", wrong);
	return s.calls;
}

/* Strike at each call in turn; how many times something was wrong. */
static unsigned
strike(struct faults f, uint64_t every, bool must_hold)
{
	uint64_t total = count_calls(f.syncs_only);
	unsigned bad = 0, strikes = 0;
	for (f.at = 1; f.at <= total; f.at += every, strikes++) {
		struct script s;
		f.seed += f.at;
		faults_run(&f, &s);
		const char *wrong = faults_check(&s, f.fault != FAULT_CUT);
		if (wrong != NULL && must_hold)
			cr_assert_fail("call %llu of %llu: %s", (unsigned long long)f.at,
				       (unsigned long long)total, wrong);
		bad += wrong != NULL;
	}
	fprintf(stderr, "%u strikes at %llu calls, %u bad\n", strikes, (unsigned long long)total,
		bad);
	return bad;
}

Test(store_crash, killed_before_any_call_that_changes_a_file)
{
	strike((struct faults){ .fault = FAULT_KILL }, step(5), true);
}

Test(store_crash, killed_in_the_middle_of_any_write)
{
	strike((struct faults){ .fault = FAULT_KILL_HALF }, step(5), true);
}

/* The control arm of the two above. */
Test(store_crash, acknowledging_early_loses)
{
	unsigned bad =
		strike((struct faults){ .fault = FAULT_KILL, .early = true }, step(5), false);
	cr_assert_gt(bad, 0);
}

static uint64_t
seed(void)
{
	const char *text = getenv("STORE_SEED");
	uint64_t s = text != NULL ? strtoull(text, NULL, 10) : (uint64_t)time(NULL);
	fprintf(stderr, "STORE_SEED=%llu\n", (unsigned long long)s);
	return s;
}

Test(store_crash, the_power_fails_at_any_call)
{
	strike((struct faults){ .fault = FAULT_CUT, .seed = seed() }, step(3), true);
}

/* Its control arm: chance decides what the disk has, so it goes on until something is lost. */
Test(store_crash, without_syncs_a_power_cut_loses)
{
	uint64_t s = seed();
	unsigned bad = 0;
	for (int round = 0; round < 20 && bad == 0; round++)
		bad = strike((struct faults){ .fault = FAULT_CUT,
					      .seed = s + (uint64_t)round * 1000003,
					      .no_sync = true },
			     step(3) * 4, false);
	cr_assert_gt(bad, 0);
}

Test(store_crash, no_room_at_any_call_once)
{
	struct faults f = { .fault = FAULT_FULL };
	uint64_t total = count_calls(false), every = step(5);
	for (f.at = 1; f.at <= total; f.at += every) {
		struct script s;
		f.until = f.at;
		faults_run(&f, &s);
		const char *wrong = faults_check(&s, true);
		cr_assert_null(wrong, "call %llu: %s", (unsigned long long)f.at, wrong);
		cr_assert(s.opened == 0 || s.opened == -ENOSPC, "%d", s.opened);
		cr_assert(s.failures == 0 || s.error == -ENOSPC, "call %llu: %d",
			  (unsigned long long)f.at, s.error);
	}
}

Test(store_crash, no_room_from_any_call_on)
{
	struct faults f = { .fault = FAULT_FULL, .until = UINT64_MAX };
	strike(f, step(7), true);
}

Test(store_crash, the_disk_fails_at_any_call_once)
{
	struct faults f = { .fault = FAULT_IO };
	uint64_t total = count_calls(false), every = step(5);
	for (f.at = 1; f.at <= total; f.at += every) {
		struct script s;
		f.until = f.at;
		faults_run(&f, &s);
		const char *wrong = faults_check(&s, true);
		cr_assert_null(wrong, "call %llu: %s", (unsigned long long)f.at, wrong);
		cr_assert(s.failures == 0 || s.error == -EIO, "%d", s.error);
	}
}

/* A sync that failed is not taken for success, though the page cache has all of it. */
Test(store_crash, a_sync_that_failed_is_a_commit_that_failed)
{
	struct faults f = { .fault = FAULT_IO, .syncs_only = true };
	uint64_t total = count_calls(true);
	unsigned failures = 0;
	for (f.at = 1; f.at <= total; f.at++) {
		struct script s;
		f.until = f.at + 1;
		faults_run(&f, &s);
		const char *wrong = faults_check(&s, true);
		cr_assert_null(wrong, "sync %llu: %s", (unsigned long long)f.at, wrong);
		failures += s.failures;
	}
	cr_assert_gt(failures, 10);
}
