/*
 * test_array.c - array jobs: every item once and right, also when workers die under them.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/daemon/jobs.h"

#define ITEMS 1000000

static struct test_daemon d;

static void
setup(void)
{
	daemon_begin(&d, "[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"
			 "[pool \"threads\"]\nexecutor = thread\nconcurrency = 4\n");
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(array, .init = setup, .fini = teardown, .timeout = 120);

/* What came of the items low .. low+count-1. */
struct items {
	int64_t low;
	uint64_t count;
	unsigned char *times; /* each came */
	uint64_t came, wrong, twice, outside;
};

static struct items
items_new(int64_t low, uint64_t count)
{
	return (struct items){ .low = low, .count = count, .times = calloc(count, 1) };
}

static void
take_items(struct items *it, const struct pyprep_event *event)
{
	const int64_t *values = event->bytes;

	for (uint32_t i = 0; i < event->count; i++) {
		int64_t x = event->first + i;
		uint64_t at = (uint64_t)(x - it->low);
		if (at >= it->count) {
			it->outside++;
			continue;
		}
		it->came++;
		it->twice += it->times[at]++ > 0;
		it->wrong += values[i] != x * x;
	}
}

/* Everything until the receipt of the job; `kill_pool`'s worker 0 dies after the first items. */
static bool
collect(struct pyprep *p, struct items *it, const char *kill_pool, struct pyprep_receipt *ret)
{
	uint64_t deadline = test_now_ms() + 60000;
	struct pyprep_event event;

	while (test_now_ms() < deadline) {
		if (pyprep_next(p, 1000, &event) != 1)
			continue;
		if (event.type == PYPREP_RECEIPT) {
			*ret = event.receipt;
			return true;
		}
		take_items(it, &event);
		if (kill_pool != NULL) {
			daemon_kill_worker(&d, kill_pool, 0);
			kill_pool = NULL;
		}
	}
	return false;
}

static uint64_t
start_squares(struct pyprep *p, const char *pool, int64_t low, int64_t high)
{
	struct pyprep_job job = {
		.kind = "square", .pool = pool, .item_low = low, .item_high = high
	};
	return start_job(p, &job);
}

static void
expect_all(const char *pool, int64_t low, int64_t high)
{
	struct pyprep *p = daemon_connect(&d);
	struct items it = items_new(low, (uint64_t)(high - low));
	struct pyprep_receipt receipt;

	start_squares(p, pool, low, high);
	cr_assert(collect(p, &it, NULL, &receipt));
	cr_expect_str_eq(receipt.state, "succeeded", "%s", receipt.error_message);
	cr_expect_eq(receipt.items, it.count);
	cr_expect_eq(receipt.items_failed, 0);
	cr_expect_eq(it.came, it.count);
	cr_expect_eq(it.twice + it.wrong + it.outside, 0);
	free(it.times);
	pyprep_close(p);
}

Test(array, of_a_million_squares_is_right)
{
	expect_all("cpu", 0, ITEMS);
}

Test(array, of_a_million_squares_is_right_on_threads)
{
	expect_all("threads", 0, ITEMS);
}

Test(array, of_one_item_and_of_negative_ones_is_right)
{
	expect_all("cpu", 7, 8);
	expect_all("cpu", -1000, 1000);
}

Test(array, loses_to_a_workers_death_the_range_it_ran_and_nothing_else)
{
	struct pyprep *p = daemon_connect(&d);
	/* Long enough for the kill to come in the middle. */
	struct items it = items_new(0, 100 * (uint64_t)ITEMS);
	struct pyprep_receipt receipt;

	start_squares(p, "cpu", 0, 100 * (int64_t)ITEMS);
	cr_assert(collect(p, &it, "cpu", &receipt));
	fprintf(stderr, "%ju of %ju items lost: %s\n", (uintmax_t)receipt.items_failed,
		(uintmax_t)receipt.items, receipt.error_message);
	cr_expect_eq(it.came + receipt.items_failed, it.count, "%ju came, %ju failed",
		     (uintmax_t)it.came, (uintmax_t)receipt.items_failed);
	cr_expect_eq(it.twice + it.wrong + it.outside, 0);
	if (receipt.items_failed > 0) {
		cr_expect_str_eq(receipt.state, "failed");
		cr_expect_str_eq(receipt.cause, "worker_died");
		cr_expect(strstr(receipt.error_message, "signal 9") != NULL, "%s",
			  receipt.error_message);
		/* What is missing is one piece. */
		uint64_t holes = 0;
		for (uint64_t i = 1; i < it.count; i++)
			holes += it.times[i] == 0 && it.times[i - 1] != 0;
		cr_expect(holes + (it.times[0] == 0) == 1, "%ju holes", (uintmax_t)holes);
	}
	cr_assert_eq(run_job(p, "noop", "cpu", NULL, 20000, &receipt), 0);
	cr_expect_str_eq(receipt.state, "succeeded");
	free(it.times);
	pyprep_close(p);
}

/* true: it ended within a second. */
static bool
cancel_an_array(struct pyprep *p)
{
	struct items it = items_new(0, 1);
	struct pyprep_receipt receipt;
	struct pyprep_event event;
	pid_t workers[2] = { daemon_worker(&d, "cpu", 0), daemon_worker(&d, "cpu", 1) };

	uint64_t tag = start_squares(p, "cpu", 0, INT64_C(3000000000));
	cr_assert_eq(pyprep_next(p, 20000, &event), 1);
	uint64_t from = test_now_ms();
	cr_expect_eq(pyprep_cancel(p, tag), 1);
	cr_assert(collect(p, &it, NULL, &receipt));
	bool soon = test_now_ms() - from < 1000;
	cr_expect_str_eq(receipt.state, "cancelled");
	cr_expect(receipt.items_failed > 0);
	cr_expect(daemon_wait_ready(&d, 20000));
	for (unsigned i = 0; i < 2; i++)
		cr_expect_eq(daemon_worker(&d, "cpu", i), workers[i]);
	free(it.times);
	return soon;
}

/* Late now and then on a machine that has other work; not each time. */
Test(array, ends_soon_when_it_is_cancelled_and_leaves_its_workers)
{
	struct pyprep *p = daemon_connect(&d);
	bool soon = false;

	for (int i = 0; i < 5 && !soon; i++)
		soon = cancel_an_array(p);
	cr_expect(soon, "never within a second");
	pyprep_close(p);
}

Test(array, does_not_shut_others_out)
{
	struct pyprep *p = daemon_connect(&d), *other = daemon_connect(&d);
	struct pyprep_receipt receipt;
	unsigned soon = 0;

	uint64_t tag = start_squares(p, "cpu", 0, INT64_C(3000000000));
	for (int i = 0; i < 50; i++) {
		uint64_t from = test_now_ms();
		struct pyprep_event event;
		cr_assert_eq(run_job(other, "noop", "cpu", NULL, 20000, &receipt), 0);
		soon += test_now_ms() - from < 200;
		while (pyprep_next(p, 0, &event) == 1)
			;
	}
	/* Late now and then on a machine that has other work. */
	cr_expect(soon >= 25, "%u of 50 noops took less than 200 ms beside an array job", soon);
	pyprep_cancel(p, tag);
	pyprep_close(p);
	pyprep_close(other);
}
