/*
 * test_client_decode.c - what the daemon's receipt becomes in the user's hands: stages
 * that sum to the total whatever the times are, and one exit status per way to end.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/pyprep.h"
#include "ipc/receipt.h"

TestSuite(client_decode, .timeout = 600);

static struct pyprep_receipt
decode(const struct receipt *r)
{
	struct pyprep_receipt ret;
	cr_assert(eq(int, pyprep_receipt_decode(r, sizeof(*r), &ret), 0));
	return ret;
}

static int64_t
sum_of_stages(const struct pyprep_receipt *r)
{
	return (int64_t)(r->submit_ns + r->store_ns + r->queue_ns + r->dispatch_ns + r->run_ns +
			 r->return_ns);
}

static struct receipt
receipt_with(uint64_t submitted, uint64_t received, uint64_t handed, uint64_t started,
	     uint64_t ended, uint64_t returned)
{
	return (struct receipt){
		.submitted_ns = submitted,
		.received_ns = received,
		.handed_ns = handed,
		.returned_ns = returned,
		.outcome = { .started_ns = started, .ended_ns = ended, .state = JOB_SUCCEEDED },
	};
}

Test(client_decode, stages_are_the_spans_between_the_times)
{
	struct receipt r = receipt_with(1000, 1003, 1010, 1030, 1100, 1250);
	struct pyprep_receipt got = decode(&r);

	cr_expect(eq(u64, got.submit_ns, 3));
	cr_expect(eq(u64, got.store_ns, 0));
	cr_expect(eq(u64, got.queue_ns, 7));
	cr_expect(eq(u64, got.dispatch_ns, 20));
	cr_expect(eq(u64, got.run_ns, 70));
	cr_expect(eq(u64, got.return_ns, 150));
	cr_expect(eq(u64, got.total_ns, 250));
	cr_expect(eq(i64, got.residual_ns, 0));
	cr_expect(eq(u64, got.submitted_ns, 1000));
	cr_expect(eq(u64, got.ended_ns, 1100));
}

Test(client_decode, a_detached_job_waits_for_the_store_before_its_queue)
{
	struct receipt r = receipt_with(1000, 1003, 1010, 1030, 1100, 1250);

	r.stored_ns = 1008;
	struct pyprep_receipt got = decode(&r);
	cr_expect(eq(u64, got.store_ns, 5));
	cr_expect(eq(u64, got.queue_ns, 2));
	cr_expect(eq(i64, got.residual_ns, 0));
	cr_expect(eq(i64, sum_of_stages(&got), 250));
	/* cancelled while it was queued */
	r.handed_ns = r.outcome.started_ns = r.outcome.ended_ns = 0;
	got = decode(&r);
	cr_expect(eq(u64, got.store_ns, 5));
	cr_expect(eq(i64, sum_of_stages(&got), 250));
}

/* Any of the times after the first may be missing. */
Test(client_decode, times_in_order_leave_no_residual)
{
	srand(1);
	for (int n = 0; n < 100000; n++) {
		uint64_t t[6] = { 1 + (uint64_t)rand() };
		for (int i = 1; i < 6; i++)
			t[i] = t[i - 1] + (uint64_t)rand() % 1000000;
		uint64_t last = t[0];
		for (int i = 1; i < 6; i++) {
			if (rand() % 4 == 0)
				t[i] = 0;
			else
				last = t[i];
		}
		struct receipt r = receipt_with(t[0], t[1], t[2], t[3], t[4], t[5]);
		struct pyprep_receipt got = decode(&r);
		cr_assert(eq(u64, got.total_ns, last - t[0]));
		cr_assert(eq(i64, got.residual_ns, 0));
		cr_assert(eq(i64, sum_of_stages(&got), (int64_t)got.total_ns));
	}
}

Test(client_decode, stages_and_residual_sum_to_the_total_whatever_the_times_are)
{
	srand(2);
	for (int n = 0; n < 100000; n++) {
		uint64_t t[6];
		for (int i = 0; i < 6; i++)
			t[i] = rand() % 8 == 0 ? 0 : (uint64_t)rand() * (uint64_t)rand() >> 4;
		struct receipt r = receipt_with(t[0], t[1], t[2], t[3], t[4], t[5]);
		struct pyprep_receipt got = decode(&r);
		cr_assert(eq(i64, sum_of_stages(&got) + got.residual_ns, (int64_t)got.total_ns));
	}
}

Test(client_decode, a_time_out_of_order_shows_as_residual)
{
	struct receipt r = receipt_with(1000, 1100, 1080, 1200, 1300, 1400);
	struct pyprep_receipt got = decode(&r);

	cr_expect(eq(u64, got.queue_ns, 0));
	cr_expect(eq(u64, got.total_ns, 400));
	cr_expect(eq(i64, got.residual_ns, -20));
}

Test(client_decode, a_job_that_never_started_spent_its_time_in_the_queue)
{
	struct receipt r = receipt_with(1000, 1100, 0, 0, 0, 1500);
	struct pyprep_receipt got = decode(&r);

	cr_expect(eq(u64, got.submit_ns, 100));
	cr_expect(eq(u64, got.queue_ns, 400));
	cr_expect(eq(u64, got.run_ns + got.dispatch_ns + got.return_ns, 0));
	cr_expect(eq(int, got.slot, -1));
}

Test(client_decode, a_running_job_has_the_stages_it_has_passed)
{
	struct receipt r = receipt_with(1000, 1100, 1150, 1160, 0, 0);
	r.outcome.state = JOB_RUNNING;
	r.worker_pid = 77;
	r.slot = 3;
	struct pyprep_receipt got = decode(&r);

	cr_expect(eq(u64, got.total_ns, 160));
	cr_expect(eq(u64, got.dispatch_ns, 10));
	cr_expect(eq(u64, got.run_ns, 0));
	cr_expect(eq(int, got.slot, 3));
	cr_expect(eq(str, (char *)got.state, "running"));
}

Test(client_decode, every_way_to_end_has_its_exit_status)
{
	static const struct {
		uint8_t state, cause, error, method;
		int value, expected;
	} rows[] = {
		{ JOB_SUCCEEDED, CAUSE_NONE, ERR_NONE, USAGE_LIGHT, 0, 0 },
		{ JOB_SUCCEEDED, CAUSE_EXIT, ERR_NONE, USAGE_TREE, 0, 0 },
		{ JOB_FAILED, CAUSE_EXIT, ERR_RUN, USAGE_TREE, 3, 3 },
		{ JOB_FAILED, CAUSE_EXIT, ERR_RUN, USAGE_TREE, 126, 126 },
		{ JOB_FAILED, CAUSE_EXIT, ERR_RUN, USAGE_TREE, 127, 127 },
		{ JOB_FAILED, CAUSE_SIGNAL, ERR_RUN, USAGE_TREE, 9, 137 },
		{ JOB_FAILED, CAUSE_SIGNAL, ERR_RUN, USAGE_TREE, 15, 143 },
		{ JOB_FAILED, CAUSE_ERROR, ERR_RUN, USAGE_LIGHT, 0, 1 },
		{ JOB_FAILED, CAUSE_ERROR, ERR_INTERNAL, USAGE_NONE, 0, 125 },
		{ JOB_FAILED, CAUSE_WORKER_DIED, ERR_WORKER_DIED, USAGE_NONE, 9, 1 },
		{ JOB_FAILED, CAUSE_WORKER_DIED, ERR_WORKER_DIED, USAGE_NONE, -3, 1 },
		{ JOB_FAILED, CAUSE_WORKER_DIED, ERR_WORKER_DIED, USAGE_TREE, 9, 137 },
		{ JOB_FAILED, CAUSE_BROKER_LOST, ERR_BROKER_LOST, USAGE_NONE, 0, 125 },
		{ JOB_FAILED, CAUSE_NONE, ERR_NONE, USAGE_NONE, 0, 1 },
		{ JOB_TIMED_OUT, CAUSE_TIMEOUT, ERR_TIMED_OUT, USAGE_TREE, 15, 124 },
		{ JOB_CANCELLED, CAUSE_CANCELLED, ERR_CANCELLED, USAGE_NONE, 0, 1 },
		{ JOB_REFUSED, CAUSE_REFUSED, ERR_OUT_OF_RANGE, USAGE_NONE, 0, 2 },
		{ JOB_REFUSED, CAUSE_REFUSED, ERR_QUEUE_FULL, USAGE_NONE, 0, 75 },
		{ JOB_REFUSED, CAUSE_REFUSED, ERR_NOT_ALLOWED, USAGE_NONE, 0, 77 },
		{ JOB_REFUSED, CAUSE_REFUSED, ERR_NONE, USAGE_NONE, 0, 1 },
		{ 200, CAUSE_NONE, ERR_NONE, 99, 0, 125 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct receipt r = receipt_with(1, 2, 3, 4, 5, 6);
		r.outcome.state = rows[i].state;
		r.outcome.cause = rows[i].cause;
		r.outcome.error = rows[i].error;
		r.outcome.method = rows[i].method;
		r.outcome.cause_value = rows[i].value;
		struct pyprep_receipt got = decode(&r);
		cr_expect(eq(int, got.exit_status, rows[i].expected), "row %zu: %s, %s", i,
			  got.state, got.cause);
	}
}

Test(client_decode, result_and_error_text_follow_the_fixed_part)
{
	struct receipt r = receipt_with(1, 2, 3, 4, 5, 6);
	unsigned char bytes[1 + sizeof(r) + 8];
	unsigned char *at = bytes + 1; /* not aligned */
	struct pyprep_receipt got;

	r.outcome.state = JOB_FAILED;
	r.outcome.error = ERR_RUN;
	r.outcome.result_length = 2;
	r.outcome.message_length = 6;
	memcpy(at, &r, sizeof(r));
	memcpy(at + sizeof(r), "\xcc\xffno way", 8);
	cr_assert(eq(int, pyprep_receipt_decode(at, sizeof(r) + 8, &got), 0));
	cr_expect(eq(ptr, (void *)got.result, at + sizeof(r)));
	cr_expect(eq(sz, got.result_length, 2));
	cr_expect(eq(str, (char *)got.error_message, "no way"));
	cr_expect(eq(str, (char *)got.error_code, "run_failed"));
	cr_expect(eq(ptr, (void *)got.kind, NULL));
}

Test(client_decode, lengths_that_are_not_true_are_refused)
{
	struct receipt r = receipt_with(1, 2, 3, 4, 5, 6);
	struct pyprep_receipt got;

	cr_expect(eq(int, pyprep_receipt_decode(&r, sizeof(r) - 1, &got), -EPROTO));
	cr_expect(eq(int, pyprep_receipt_decode(&r, 0, &got), -EPROTO));
	r.outcome.result_length = UINT32_MAX;
	cr_expect(eq(int, pyprep_receipt_decode(&r, sizeof(r), &got), -EPROTO));
	r.outcome.result_length = 0;
	r.outcome.message_length = 1;
	cr_expect(eq(int, pyprep_receipt_decode(&r, sizeof(r), &got), -EPROTO));
}
