/*
 * test_array_ops.c - arithmetic on shared arrays by a real daemon's workers: what a result
 * means, and what a worker's death leaves behind.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/array.h"
#include "shm/array_ops.h"
#include "tests/daemon/jobs.h"

#define BLOCKS 600 /* 19.7 million elements: long enough for a kill to come in the middle */

static struct test_daemon d;
static char name[64], name_param[80];
static struct array *a;

static void
setup(void)
{
	struct array_shape shape = { .dimensions = 1, .length = { BLOCKS * ARRAY_BLOCK - 5 } };

	daemon_begin(&d, "[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"
			 "[pool \"threads\"]\nexecutor = thread\nconcurrency = 4\n");
	snprintf(name, sizeof(name), "test-ops-%d", (int)getpid());
	snprintf(name_param, sizeof(name_param), "name=%s", name);
	cr_assert_eq(array_create(name, ARRAY_u8, &shape, 0, 0, &a), 0);
}

static void
teardown(void)
{
	(void)array_unlink(name);
	array_close(a);
	daemon_end(&d);
}

TestSuite(array_ops, .init = setup, .fini = teardown, .timeout = 120);

struct outcome_seen {
	bool came[2 * BLOCKS];
	int64_t value[2 * BLOCKS];
	uint64_t count, outside, twice;
	char state[32], cause[32], message[300];
};

static void
take(struct outcome_seen *seen, const struct pyprep_event *event)
{
	const int64_t *values = event->bytes;

	for (uint32_t i = 0; i < event->count; i++) {
		int64_t item = event->first + i;
		if (item < 0 || item >= 2 * BLOCKS) {
			seen->outside++;
			continue;
		}
		seen->twice += seen->came[item];
		seen->came[item] = true;
		seen->value[item] = values[i];
		seen->count++;
	}
}

/* One array job to its end; with `kill_pool`, that pool's worker 0 is killed at the first
 * result. */
static void
run_op(const char *kind, const char *pool, const char *param, int64_t items, const char *kill_pool,
       struct outcome_seen *ret)
{
	const char *params[] = { name_param, param, NULL };
	struct pyprep_job job = {
		.kind = kind, .pool = pool, .params = params, .item_high = items
	};
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_event event = { 0 };
	uint64_t deadline = test_now_ms() + 60000;

	memset(ret, 0, sizeof(*ret));
	start_job(p, &job);
	while (event.type != PYPREP_RECEIPT && test_now_ms() < deadline) {
		if (pyprep_next(p, 1000, &event) != 1 || event.type != PYPREP_ITEMS)
			continue;
		take(ret, &event);
		if (kill_pool != NULL)
			daemon_kill_worker(&d, kill_pool, 0);
		kill_pool = NULL;
	}
	cr_assert_eq(event.type, PYPREP_RECEIPT, "%s did not end", kind);
	snprintf(ret->state, sizeof(ret->state), "%s", event.receipt.state);
	snprintf(ret->cause, sizeof(ret->cause), "%s", event.receipt.cause);
	snprintf(ret->message, sizeof(ret->message), "%s", event.receipt.error_message);
	cr_expect_eq(ret->outside + ret->twice, 0);
	pyprep_close(p);
}

/* How many of a block's elements have `value`, and how many any other but `old`. */
static void
look_at_block(uint64_t block, uint8_t value, uint8_t old, uint64_t *new_count, uint64_t *strange)
{
	const uint8_t *at = a->data;
	uint64_t low = block * ARRAY_BLOCK;

	*new_count = *strange = 0;
	for (uint64_t i = low; i < array_block_end(a, low); i++) {
		*new_count += at[i] == value;
		*strange += at[i] != value && at[i] != old;
	}
}

static void
fill_and_sum_on(const char *pool)
{
	struct outcome_seen seen;
	struct array_sum total = array_sum_zero(ARRAY_u8);

	run_op("array_fill", pool, "value=3", BLOCKS, NULL, &seen);
	cr_expect_str_eq(seen.state, "succeeded", "%s", seen.message);
	cr_expect_eq(seen.count, BLOCKS);
	cr_expect_eq(seen.value[0], (int64_t)ARRAY_BLOCK);
	cr_expect_eq(seen.value[BLOCKS - 1], (int64_t)ARRAY_BLOCK - 5);
	cr_expect_eq(((uint8_t *)a->data)[a->count - 1], 3);
	run_op("array_sum", pool, NULL, 2 * BLOCKS, NULL, &seen);
	cr_expect_eq(seen.count, 2 * BLOCKS);
	for (unsigned i = 0; i < 2 * BLOCKS; i += 2) {
		struct array_sum part = array_sum_unpack(ARRAY_u8, &seen.value[i]);
		array_sum_add(&total, &part);
	}
	cr_expect(total.whole == 3 * (__int128)a->count);
}

Test(array_ops, work_on_processes_and_on_threads)
{
	fill_and_sum_on("cpu");
	fill_and_sum_on("threads");
}

Test(array_ops, arguments_are_checked_and_items_belong_to_the_array)
{
	struct outcome_seen seen;
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	struct pyprep_job nameless = { .kind = "array_sum", .item_high = 4 };
	const char *params[] = { name_param, NULL };
	struct pyprep_job below = {
		.kind = "array_sum", .params = params, .item_low = -1, .item_high = 4
	};

	receipt_for(p, start_job(p, &nameless), 20000, &receipt);
	cr_expect_str_eq(receipt.error_code, "missing_parameter");
	receipt_for(p, start_job(p, &below), 20000, &receipt);
	cr_expect_str_eq(receipt.error_code, "out_of_range", "%s", receipt.error_message);
	pyprep_close(p);
	run_op("array_fill", NULL, "value=1", BLOCKS + 1, NULL, &seen);
	cr_expect_str_eq(seen.state, "failed");
	cr_expect_eq(seen.count, BLOCKS, "those that exist are done");
	cr_expect_not_null(strstr(seen.message, "items of work"), "%s", seen.message);
	run_op("array_fill", NULL, "value=256", BLOCKS, NULL, &seen);
	cr_expect_str_eq(seen.state, "failed");
	cr_expect_eq(seen.count, 0);
	cr_expect_not_null(strstr(seen.message, "(u8) cannot be 256"), "%s", seen.message);
}

/* A result says that its block is done; a block without one may be anything in between, and
 * done again it is right. */
Test(array_ops, a_killed_workers_blocks_have_no_results_and_can_be_filled_again)
{
	struct outcome_seen seen;
	uint64_t filled, strange;

	for (int round = 1; round <= 5; round++) {
		uint8_t value = (uint8_t)round;
		char param[32];
		snprintf(param, sizeof(param), "value=%d", round);
		run_op("array_fill", "cpu", param, BLOCKS, "cpu", &seen);
		for (unsigned b = 0; b < BLOCKS; b++) {
			look_at_block(b, value, (uint8_t)(round - 1), &filled, &strange);
			cr_assert_eq(strange, 0);
			if (seen.came[b])
				cr_assert_eq((int64_t)filled, seen.value[b], "block %u", b);
		}
		if (seen.count < BLOCKS)
			cr_expect_str_eq(seen.cause, "worker_died");
		fprintf(stderr, "round %d: %ju of %d blocks have no result\n", round,
			(uintmax_t)(BLOCKS - seen.count), BLOCKS);
		cr_assert(daemon_wait_ready(&d, 20000));
		run_op("array_fill", "cpu", param, BLOCKS, NULL, &seen);
		cr_assert_eq(seen.count, BLOCKS, "%s", seen.message);
		for (unsigned b = 0; b < BLOCKS; b++) {
			look_at_block(b, value, value, &filled, &strange);
			cr_assert_eq(strange, 0);
		}
	}
}

/* Never twice: what has a result is scaled once, what has none once or not at all. */
Test(array_ops, a_killed_worker_scales_no_element_twice)
{
	struct outcome_seen seen;
	uint64_t scaled, strange;

	for (int round = 0; round < 5; round++) {
		array_fill(a, 0, a->count, (union array_value){ .u = 3 });
		run_op("array_scale", "cpu", "factor=2", BLOCKS, "cpu", &seen);
		for (unsigned b = 0; b < BLOCKS; b++) {
			look_at_block(b, 6, 3, &scaled, &strange);
			cr_assert_eq(strange, 0, "block %u", b);
			if (seen.came[b])
				cr_assert_eq(scaled,
					     array_block_end(a, b * ARRAY_BLOCK) - b * ARRAY_BLOCK);
		}
		cr_assert(daemon_wait_ready(&d, 20000));
	}
}

/* The workers keep what they have mapped: but only as long as the name means it. */
Test(array_ops, another_array_of_the_name_is_what_the_next_job_works_on)
{
	struct outcome_seen seen;

	for (int i = 1; i <= 20; i++) {
		char param[32];
		snprintf(param, sizeof(param), "value=%d", i);
		run_op("array_fill", "cpu", param, 4, NULL, &seen);
		cr_assert_eq(((uint8_t *)a->data)[4 * ARRAY_BLOCK - 1], i);
		struct array_shape shape = { .dimensions = 1, .length = { 4 * ARRAY_BLOCK } };
		cr_assert_eq(array_unlink(name), 0);
		array_close(a);
		cr_assert_eq(array_create(name, ARRAY_u8, &shape, 0, 0, &a), 0);
	}
}
