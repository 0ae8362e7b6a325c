/*
 * test_store.c - what daemon/store.h promises of every engine.  TEST_STORE names the engine.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store.h"
#include "ipc/clock.h"
#include "tests/daemon_unit/store_fixture.h"

TestSuite(store, .init = store_setup, .fini = store_teardown, .timeout = 120);

/* ---- adding ---- */

Test(store, a_job_is_read_back_as_it_was_added)
{
	unsigned char params[300], policy[] = "\x81\xa6labels\x91\x92\xa1k\xa1v";
	for (unsigned i = 0; i < sizeof(params); i++)
		params[i] = (unsigned char)i;
	struct store_change c = new_job(7);
	c.job.params = (struct bytes){ params, sizeof(params) };
	c.job.policy = (struct bytes){ policy, sizeof(policy) - 1 };
	c.job.context = (struct bytes){ "022\0/\0A=b", 9 };
	c.job.key = "nightly";
	c.job.timeout_ns = 5 * NS_PER_S;
	c.job.item_low = -3;
	c.job.item_high = 12;
	c.job.not_before_ns = 17;
	c.job.uid = 1000;
	c.job.gid = 4294967294;
	c.job.priority = -100;
	c.job.flags = STORE_JOB_HELD | STORE_JOB_DROP;
	cr_assert_eq(apply(&c), 0);
	cr_assert_eq(c.ret_id, 7);
	for (int again = 0; again < 2; again++) {
		struct kept *k = read_job(7);
		cr_assert_not_null(k);
		cr_assert(!k->row.ended && !k->row.attached && k->row.end.id == 0);
		const struct store_job *job = &k->row.job;
		cr_assert_eq(memcmp(job->token, c.job.token, STORE_TOKEN), 0);
		cr_assert_str_eq(job->kind, "sleep");
		cr_assert_str_eq(job->pool, "io");
		cr_assert_str_eq(job->key, "nightly");
		cr_assert(same_bytes(&job->params, &c.job.params));
		cr_assert(same_bytes(&job->policy, &c.job.policy));
		cr_assert(same_bytes(&job->context, &c.job.context));
		cr_assert_eq(job->timeout_ns, 5 * NS_PER_S);
		cr_assert_eq(job->item_low, -3);
		cr_assert_eq(job->item_high, 12);
		cr_assert_eq(job->submitted_ns, c.job.submitted_ns);
		cr_assert_eq(job->not_before_ns, 17);
		cr_assert_eq(job->uid, 1000);
		cr_assert_eq(job->gid, 4294967294);
		cr_assert_eq(job->priority, -100);
		cr_assert_eq(job->flags, STORE_JOB_HELD | STORE_JOB_DROP);
		cr_assert_eq(job->attempt, 0);
		store_reopen();
	}
}

Test(store, a_token_is_one_job)
{
	struct store_change first = new_job(1), again = new_job(1), other = new_job(2);
	cr_assert_eq(apply(&first), 0);
	again.job.id = 9;
	cr_assert_eq(apply(&again), -EEXIST);
	cr_assert_eq(again.ret_id, 1);
	cr_assert_eq(apply(&other), 0);
	/* Also when it has ended, and after a restart. */
	end_job(1, JOB_SUCCEEDED);
	store_reopen();
	cr_assert_eq(apply(&again), -EEXIST);
	cr_assert_eq(again.ret_id, 1);
	cr_assert_eq(count_rows(), 2);
}

Test(store, a_token_is_one_job_within_one_commit)
{
	struct store_change c[2] = { new_job(1), new_job(1) };
	c[1].job.id = 2;
	cr_assert_eq(store_ops->apply(store, c, 2), 0);
	cr_assert_eq(c[0].result, 0);
	cr_assert_eq(c[1].result, -EEXIST);
	cr_assert_eq(c[1].ret_id, 1);
}

Test(store, an_id_is_one_job)
{
	struct store_change first = new_job(1), other = new_job(2);
	cr_assert_eq(apply(&first), 0);
	other.job.id = 1;
	cr_assert_eq(apply(&other), -EINVAL);
	cr_assert_eq(count_rows(), 1);
}

Test(store, a_key_is_one_open_job)
{
	struct store_change first = new_job(1), second = new_job(2);
	first.job.key = second.job.key = "k";
	cr_assert_eq(apply(&first), 0);
	cr_assert_eq(apply(&second), -ESTALE);
	cr_assert_eq(second.ret_id, 1);
	end_job(1, JOB_FAILED);
	cr_assert_eq(apply(&second), 0);
	/* The first one cannot come back while the second one has the key. */
	struct store_change reopen = { .type = CHANGE_REOPEN, .job.id = 1 };
	cr_assert_eq(apply(&reopen), -ESTALE);
	cr_assert_eq(reopen.ret_id, 2);
	end_job(2, JOB_SUCCEEDED);
	cr_assert_eq(apply(&reopen), 0);
}

Test(store, the_known_token_comes_before_the_key)
{
	struct store_change first = new_job(1), again = new_job(1);
	first.job.key = again.job.key = "k";
	cr_assert_eq(apply(&first), 0);
	again.job.id = 2;
	cr_assert_eq(apply(&again), -EEXIST);
}

/* ---- ending ---- */

Test(store, an_end_is_read_back_as_it_was_given)
{
	add_job(3);
	struct store_change c = new_end(3, JOB_FAILED);
	c.end.result = (struct bytes){ "\x2a", 1 };
	c.end.message = (struct bytes){ "it broke", 8 };
	c.end.autopsy = (struct bytes){ "\x80", 1 };
	c.end.executor = "process";
	struct receipt *r = &c.end.receipt;
	r->submitted_ns = 1000;
	r->received_ns = 1100;
	r->stored_ns = 1150;
	r->handed_ns = 1200;
	r->outcome.started_ns = 1300;
	r->outcome.ended_ns = 1400;
	r->returned_ns = 1500;
	r->outcome.cause = CAUSE_WORKER_DIED;
	r->outcome.cause_value = -9;
	r->outcome.error = ERR_WORKER_DIED;
	r->outcome.method = USAGE_TREE;
	r->outcome.usage = (struct usage){ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
	r->items = 100;
	r->items_failed = 3;
	r->worker_pid = 4321;
	r->slot = 5;
	r->flags = RECEIPT_TRUNCATED;
	cr_assert_eq(store_ops->claim(store, 3, 1, &c.end.fence), 0);
	cr_assert_eq(apply(&c), 0);
	for (int again = 0; again < 2; again++) {
		struct kept *k = read_job(3);
		const struct store_end *end = &k->row.end;
		const struct receipt *got = &end->receipt;
		cr_assert(k->row.ended);
		cr_assert_eq(end->id, 3);
		cr_assert(same_bytes(&end->result, &c.end.result));
		cr_assert(same_bytes(&end->message, &c.end.message));
		cr_assert(same_bytes(&end->autopsy, &c.end.autopsy));
		cr_assert_eq(got->outcome.result_length, 1);
		cr_assert_eq(got->outcome.message_length, 8);
		cr_assert_str_eq(end->executor, "process");
		cr_assert_str_eq(end->kind, "sleep");
		cr_assert_eq(end->ended_ns, c.end.ended_ns);
		cr_assert_eq(got->submitted_ns, 1000);
		cr_assert_eq(got->received_ns, 1100);
		cr_assert_eq(got->stored_ns, 1150);
		cr_assert_eq(got->handed_ns, 1200);
		cr_assert_eq(got->outcome.started_ns, 1300);
		cr_assert_eq(got->outcome.ended_ns, 1400);
		cr_assert_eq(got->returned_ns, 1500);
		cr_assert_eq(got->outcome.state, JOB_FAILED);
		cr_assert_eq(got->outcome.cause, CAUSE_WORKER_DIED);
		cr_assert_eq(got->outcome.cause_value, -9);
		cr_assert_eq(got->outcome.error, ERR_WORKER_DIED);
		cr_assert_eq(got->outcome.method, USAGE_TREE);
		cr_assert_eq(memcmp(&got->outcome.usage, &r->outcome.usage, sizeof(struct usage)),
			     0);
		cr_assert_eq(got->items, 100);
		cr_assert_eq(got->items_failed, 3);
		cr_assert_eq(got->worker_pid, 4321);
		cr_assert_eq(got->slot, 5);
		cr_assert_eq(got->flags, RECEIPT_TRUNCATED);
		cr_assert_eq(got->attempt, 1);
		cr_assert_eq(k->row.job.attempt, 1);
		store_reopen();
	}
}

Test(store, a_job_ends_once)
{
	add_job(1);
	struct store_change c = new_end(1, JOB_SUCCEEDED);
	cr_assert_eq(apply(&c), 0);
	cr_assert_eq(apply(&c), -ESTALE);
	c = new_end(2, JOB_SUCCEEDED);
	cr_assert_eq(apply(&c), -ENOENT);
	struct store_stats stats;
	cr_assert_eq(store_ops->stats(store, &stats), 0);
	cr_assert_eq(stats.open, 0);
	cr_assert_eq(stats.ended, 1);
}

Test(store, an_end_counts_while_its_claim_stands)
{
	uint64_t fence;
	add_job(1);
	cr_assert_eq(store_ops->claim(store, 1, 1, &fence), 0);
	struct store_change c = new_end(1, JOB_SUCCEEDED);
	c.end.fence = fence + STORE_CLAIMS; /* of the same slot, and wrong */
	cr_assert_eq(apply(&c), -ESTALE);
	c.end.fence = fence;
	c.end.receipt.attempt = 2;
	cr_assert_eq(apply(&c), -ESTALE);
	c.end.receipt.attempt = 1;
	store_ops->unclaim(store, 1, fence);
	cr_assert_eq(apply(&c), -ESTALE);
	cr_assert_eq(store_ops->claim(store, 1, 1, &c.end.fence), 0);
	cr_assert_neq(c.end.fence, fence);
	cr_assert_eq(apply(&c), 0);
	store_ops->unclaim(store, 1, c.end.fence);
}

Test(store, a_retry_ends_the_attempt_and_not_the_job)
{
	struct store_change c = new_job(1);
	c.job.flags = STORE_JOB_DROP;
	cr_assert_eq(apply(&c), 0);
	for (uint16_t attempt = 1; attempt <= 3; attempt++) {
		c = new_end(1, JOB_FAILED);
		c.type = CHANGE_RETRY;
		c.end.receipt.attempt = attempt;
		c.end.receipt.worker_pid = attempt;
		c.end.next.not_before_ns = 1000 + attempt;
		c.end.next.crashes = attempt;
		c.end.next.flags = STORE_JOB_SUSPECT;
		uint64_t fence;
		cr_assert_eq(store_ops->claim(store, 1, attempt, &fence), 0);
		c.end.fence = fence;
		cr_assert_eq(apply(&c), 0);
		cr_assert_eq(apply(&c), -ESTALE, "the same attempt ended twice");
		store_ops->unclaim(store, 1, fence);
		struct kept *k = read_job(1);
		cr_assert(!k->row.ended);
		cr_assert_eq(k->row.job.attempt, attempt);
		cr_assert_eq(k->row.job.not_before_ns, 1000u + attempt);
		cr_assert_eq(k->row.job.crashes, attempt);
		cr_assert_eq(k->row.job.flags, STORE_JOB_DROP | STORE_JOB_SUSPECT,
			     "a command goes on running as its user");
		cr_assert_eq(k->row.end.receipt.attempt, attempt);
	}
	store_reopen();
	struct kept *list = read_attempts(1);
	for (uint16_t attempt = 1; attempt <= 3; attempt++, list = list->next) {
		cr_assert_not_null(list);
		cr_assert_eq(list->row.end.receipt.attempt, attempt);
		cr_assert_eq(list->row.end.receipt.worker_pid, attempt);
	}
	cr_assert_null(list);
}

Test(store, an_ended_job_is_queued_again)
{
	add_job(1);
	end_job(1, JOB_CANCELLED); /* without an attempt */
	struct store_change reopen = { .type = CHANGE_REOPEN, .job.id = 1 };
	cr_assert_eq(apply(&reopen), 0);
	cr_assert_eq(apply(&reopen), 0, "twice is once");
	cr_assert_eq(read_job(1)->row.job.attempt, 0);
	cr_assert_null(read_attempts(1));
	run_job(1, 1, JOB_DEAD);
	cr_assert_eq(apply(&reopen), 0);
	cr_assert_eq(read_job(1)->row.job.attempt, 1);
	cr_assert_eq(read_job(1)->row.end.receipt.attempt, 1);
	run_job(1, 2, JOB_SUCCEEDED);
	struct kept *k = read_job(1);
	cr_assert(k->row.ended);
	cr_assert_eq(k->row.job.attempt, 2);
	cr_assert_eq(k->row.end.receipt.outcome.state, JOB_SUCCEEDED);
	reopen.job.id = 2;
	cr_assert_eq(apply(&reopen), -ENOENT);
}

Test(store, an_open_job_is_edited)
{
	struct store_change c = new_job(1);
	c.job.flags = STORE_JOB_DROP | STORE_JOB_HELD;
	cr_assert_eq(apply(&c), 0);
	struct store_change edit = { .type = CHANGE_EDIT,
				     .job = { .id = 1, .priority = 5, .not_before_ns = 99 } };
	cr_assert_eq(apply(&edit), 0);
	const struct store_job *job = &read_job(1)->row.job;
	cr_assert_eq(job->flags, STORE_JOB_DROP);
	cr_assert_eq(job->priority, 5);
	cr_assert_eq(job->not_before_ns, 99);
	end_job(1, JOB_SUCCEEDED);
	cr_assert_eq(apply(&edit), -ENOENT);
	edit.job.id = 2;
	cr_assert_eq(apply(&edit), -ENOENT);
}

Test(store, an_ended_job_is_removed_with_all_of_it)
{
	add_job(1);
	add_job(2);
	write_output(1, 1, 1, 0, "abc");
	struct store_change c = { .type = CHANGE_REMOVE, .job.id = 1 };
	cr_assert_eq(apply(&c), -EBUSY);
	run_job(1, 1, JOB_SUCCEEDED);
	cr_assert_eq(apply(&c), 0);
	cr_assert_eq(apply(&c), -ENOENT);
	cr_assert_null(read_job(1));
	uint64_t from[3] = { 0 };
	cr_assert_eq(store_ops->output(store, 1, 0, from, NULL, NULL), -ENOENT);
	cr_assert_eq(store_ops->attempts(store, 1, NULL, NULL), -ENOENT);
	/* Its token is free again, its number is not given twice. */
	run_job(2, 1, JOB_SUCCEEDED);
	c.job.id = 2;
	cr_assert_eq(apply(&c), 0);
	store_reopen();
	struct store_stats stats;
	cr_assert_eq(store_ops->stats(store, &stats), 0);
	cr_assert_eq(stats.max_id, 2);
	cr_assert_eq(stats.ended, 0);
}

Test(store, history_of_attached_jobs)
{
	struct store_change c = new_end(5, JOB_SUCCEEDED);
	c.type = CHANGE_HISTORY;
	c.end.kind = "fib";
	c.end.pool = "cpu";
	c.end.submitted_ns = 123;
	c.end.receipt.uid = 1000;
	c.end.receipt.priority = 7;
	cr_assert_eq(apply(&c), 0);
	cr_assert_eq(apply(&c), 0, "twice is once");
	store_reopen();
	struct kept *k = read_job(5);
	cr_assert(k->row.ended && k->row.attached);
	cr_assert_str_eq(k->row.job.kind, "fib");
	cr_assert_str_eq(k->row.end.pool, "cpu");
	cr_assert_eq(k->row.job.submitted_ns, 123);
	cr_assert_eq(k->row.job.uid, 1000);
	cr_assert_eq(k->row.end.receipt.priority, 7);
	cr_assert_eq(k->row.end.receipt.attempt, 1);
	cr_assert_eq(count_rows(), 1);
	struct store_change reopen = { .type = CHANGE_REOPEN, .job.id = 5 };
	cr_assert_eq(apply(&reopen), -ENOENT, "nobody knows how it was submitted");
	add_job(6);
	c.end.id = 6;
	cr_assert_eq(apply(&c), -EEXIST);
	c = (struct store_change){ .type = CHANGE_REMOVE, .job.id = 5 };
	cr_assert_eq(apply(&c), 0);
	cr_assert_eq(count_rows(), 1);
}

/* ---- output ---- */

Test(store, output_is_kept_in_order_and_once)
{
	add_job(1);
	cr_assert_eq(write_output(1, 1, 1, 0, "one "), 0);
	cr_assert_eq(write_output(1, 1, 2, 0, "err "), 0);
	cr_assert_eq(write_output(1, 1, 1, 4, "two "), 0);
	cr_assert_eq(write_output(1, 1, 1, 4, "two "), 0, "at the same offset twice is once");
	cr_assert_eq(write_output(1, 1, 1, 0, "one two three "), 0, "only what is new");
	cr_assert_eq(write_output(9, 1, 1, 0, "x"), -ENOENT);
	store_reopen();
	cr_assert_str_eq(read_output(1, 1, 0, 0), "1:one 2:err 1:two 1:three ");
	cr_assert_str_eq(read_output(1, 0, 5, 4), "1:wo 1:three ");
	const struct kept *k = read_job(1);
	cr_assert_eq(k->row.output_bytes[1], 14);
	cr_assert_eq(k->row.output_bytes[2], 4);
	run_job(1, 1, JOB_SUCCEEDED);
	cr_assert_str_eq(read_output(1, 0, 5, 4), "1:wo 1:three ", "also when it has ended");
}

Test(store, each_attempt_has_its_output)
{
	add_job(1);
	write_output(1, 1, 1, 0, "first");
	struct store_change c = new_end(1, JOB_FAILED);
	c.type = CHANGE_RETRY;
	cr_assert_eq(apply(&c), 0);
	cr_assert_str_eq(read_output(1, 0, 0, 0), "1:first");
	write_output(1, 2, 1, 0, "second");
	cr_assert_str_eq(read_output(1, 0, 0, 0), "1:second");
	cr_assert_str_eq(read_output(1, 1, 0, 0), "1:first");
	cr_assert_eq(read_job(1)->row.output_bytes[1], 6);
}

/* ---- claims ---- */

Test(store, claims_that_stood_are_counted_in_by_the_next_one)
{
	uint64_t fence[5];
	for (uint64_t id = 1; id <= 4; id++) {
		add_job(id);
		cr_assert_eq(store_ops->claim(store, id, 1, &fence[id]), 0);
	}
	struct store_change c = new_end(2, JOB_SUCCEEDED); /* durable, and still claimed */
	c.end.fence = fence[2];
	cr_assert_eq(apply(&c), 0);
	store_ops->unclaim(store, 3, fence[3]); /* never started */
	store_reopen();
	struct kept *k = load(0, 100, false);
	cr_assert_eq(k->row.job.id, 1);
	cr_assert_eq(k->row.job.attempt, 1);
	cr_assert_eq(k->row.fence, fence[1]);
	k = k->next;
	cr_assert_eq(k->row.job.id, 3);
	cr_assert_eq(k->row.job.attempt, 0);
	cr_assert_eq(k->row.fence, 0);
	k = k->next;
	cr_assert_eq(k->row.job.id, 4);
	cr_assert_null(k->next);
	k = load(1, 100, true);
	cr_assert_eq(k->row.job.id, 4);
	cr_assert_null(k->next);
	/* It may still be running: its end counts.  Or nobody runs it: it is queued again. */
	c = new_end(4, JOB_SUCCEEDED);
	c.end.fence = fence[4];
	cr_assert_eq(apply(&c), 0);
	store_ops->unclaim(store, 4, fence[4]);
	store_ops->unclaim(store, 1, fence[1]);
	store_reopen();
	k = load(0, 100, false);
	cr_assert_eq(k->row.job.id, 1);
	cr_assert_eq(k->row.job.attempt, 1, "that it was begun is not forgotten");
	cr_assert_eq(k->row.fence, 0);
	cr_assert_null(load(0, 100, true));
	run_job(1, 2, JOB_SUCCEEDED);
}

Test(store, claims_are_bounded_and_come_back)
{
	uint64_t *fence = malloc(STORE_CLAIMS * sizeof(*fence)), more;
	for (uint64_t i = 0; i < STORE_CLAIMS; i++)
		cr_assert_eq(store_ops->claim(store, i + 1, 1, &fence[i]), 0);
	cr_assert_eq(store_ops->claim(store, 99999, 1, &more), -EAGAIN);
	store_ops->unclaim(store, 5, fence[4]);
	cr_assert_eq(store_ops->claim(store, 99999, 1, &more), 0);
	cr_assert_neq(more, fence[4]);
	free(fence);
}

/* ---- reading ---- */

Test(store, open_jobs_are_loaded_in_pages)
{
	for (uint64_t id = 1; id <= 10; id++)
		add_job(id);
	end_job(4, JOB_SUCCEEDED);
	uint64_t after = 0, expected = 1;
	for (struct kept *k; (k = load(after, 3, false)) != NULL;)
		for (; k != NULL; k = k->next, expected++) {
			expected += expected == 4;
			cr_assert_eq(k->row.job.id, expected);
			after = expected;
		}
	cr_assert_eq(expected, 11);
}

Test(store, rows_are_listed_newest_first_by_any_filter)
{
	static unsigned char policy[] = "\x82\xa7retries\x03\xa6labels\x91\x92\xa3who\xa3me!";
	for (uint64_t id = 1; id <= 6; id++) {
		struct store_change c = new_job(id);
		c.job.uid = id % 2 ? 1000 : 1001;
		c.job.kind = id < 4 ? "sleep" : "fib";
		c.job.pool = id < 4 ? "io" : "cpu";
		c.job.key = id == 2 ? "two" : NULL;
		if (id == 5)
			c.job.policy = (struct bytes){ policy, sizeof(policy) - 1 };
		cr_assert_eq(apply(&c), 0);
	}
	run_job(1, 1, JOB_SUCCEEDED);
	run_job(3, 1, JOB_FAILED);
	uint64_t middle = clock_wall();
	run_job(6, 1, JOB_TIMED_OUT);
	cr_assert_str_eq(ids(&(struct store_filter){ .uid = UINT32_MAX }), "6 5 4 3 2 1");
	cr_assert_str_eq(ids(&(struct store_filter){ .uid = UINT32_MAX, .id = 3 }), "3");
	cr_assert_str_eq(ids(&(struct store_filter){ .uid = 1000 }), "5 3 1");
	cr_assert_str_eq(ids(&(struct store_filter){ .uid = UINT32_MAX, .kind = "fib" }), "6 5 4");
	cr_assert_str_eq(ids(&(struct store_filter){ .uid = UINT32_MAX, .pool = "io" }), "3 2 1");
	cr_assert_str_eq(ids(&(struct store_filter){ .uid = UINT32_MAX, .key = "two" }), "2");
	cr_assert_str_eq(ids(&(struct store_filter){ .uid = UINT32_MAX, .before_id = 4 }), "3 2 1");
	cr_assert_str_eq(ids(&(struct store_filter){ .uid = UINT32_MAX, .limit = 2 }), "6 5");
	cr_assert_str_eq(
		ids(&(struct store_filter){ .uid = UINT32_MAX, .states = 1u << JOB_QUEUED }),
		"5 4 2");
	cr_assert_str_eq(
		ids(&(struct store_filter){ .uid = UINT32_MAX,
					    .states = 1u << JOB_FAILED | 1u << JOB_TIMED_OUT }),
		"6 3");
	cr_assert_str_eq(ids(&(struct store_filter){ .uid = UINT32_MAX, .since_ns = middle }), "6");
	struct store_filter f = { .uid = UINT32_MAX, .label_name = "who" };
	cr_assert_str_eq(ids(&f), "5");
	f.label_value = "me!";
	cr_assert_str_eq(ids(&f), "5");
	f.label_value = "you";
	cr_assert_str_eq(ids(&f), "");
}

Test(store, a_reader_sees_what_was_committed)
{
	struct store *reader;
	struct store_options options = { .state_dir = store_dir, .read_only = true };
	struct store_problem why;
	add_job(1);
	cr_assert_eq(store_ops->open(&reader, &options, &why), 0);
	struct store *writer = store;
	for (uint64_t id = 2; id < 50; id++) {
		add_job(id);
		store = reader;
		cr_assert_eq(count_rows(), id);
		store = writer;
	}
	store_ops->close(reader);
}

Test(store, tallies_are_replaced)
{
	struct store_change c = { .type = CHANGE_TALLY,
				  .tally = { 20000, "fib", "cpu", { "one", 3 } } };
	cr_assert_eq(apply(&c), 0);
	c.tally.day = 20001;
	cr_assert_eq(apply(&c), 0);
	c.tally.figures = (struct bytes){ "three", 5 };
	cr_assert_eq(apply(&c), 0);
	store_reopen();
	cr_assert_str_eq(read_tallies(0), "20000 fib cpu one, 20001 fib cpu three, ");
	cr_assert_str_eq(read_tallies(20001), "20001 fib cpu three, ");
}

/* ---- one writer, pruning ---- */

Test(store, two_daemons_do_not_write_one_store)
{
	struct store *second = NULL;
	struct store_options options = { .state_dir = store_dir };
	struct store_problem why = { "" };
	cr_assert_eq(store_ops->open(&second, &options, &why), -EBUSY);
	cr_assert_neq(why.message[0], '\0');
	cr_assert_null(second);
	store_reopen(); /* it is let go with the handle */
}

Test(store, the_oldest_ended_jobs_are_pruned)
{
	store_options.keep_ns = 3600 * NS_PER_S;
	store_reopen();
	for (uint64_t id = 1; id <= 10; id++)
		add_job(id);
	for (uint64_t id = 2; id <= 8; id++) { /* 2..6 two hours ago, 7 and 8 now */
		struct store_change c = new_end(id, JOB_SUCCEEDED);
		if (id <= 6)
			c.end.ended_ns -= 7200 * NS_PER_S;
		cr_assert_eq(apply(&c), 0);
	}
	cr_assert_eq(store_ops->prune(store, 3), 3);
	cr_assert_eq(store_ops->prune(store, 3), 2);
	cr_assert_eq(store_ops->prune(store, 3), 0);
	cr_assert_str_eq(ids(&(struct store_filter){ .uid = UINT32_MAX }), "10 9 8 7 1");
	struct store_stats stats;
	cr_assert_eq(store_ops->stats(store, &stats), 0);
	cr_assert_eq(stats.pruned, 5);
	cr_assert_eq(stats.open, 3);
	cr_assert_eq(stats.ended, 2);
}

/* Ended `ago` hours ago, and kept for `keep` hours: 0, as all are. */
static void
end_kept(uint64_t id, uint64_t ago, uint64_t keep)
{
	struct store_change c = new_end(id, JOB_SUCCEEDED);

	c.end.ended_ns -= ago * 3600 * NS_PER_S;
	c.end.next.not_before_ns = keep == 0 ? 0 : c.end.ended_ns + keep * 3600 * NS_PER_S;
	cr_assert_eq(apply(&c), 0);
}

Test(store, jobs_are_kept_as_long_as_they_ask_for)
{
	const struct store_filter all = { .uid = UINT32_MAX };

	store_options.keep_ns = 3 * 3600 * NS_PER_S;
	store_reopen();
	for (uint64_t id = 1; id <= 8; id++)
		add_job(id);
	end_kept(1, 10, 1);
	/* One that is queued again has no such time, until it ends again. */
	struct store_change c = { .type = CHANGE_REOPEN, .job.id = 1 };
	cr_assert_eq(apply(&c), 0);
	cr_assert_eq(read_job(1)->row.job.not_before_ns, 0);
	end_kept(1, 10, 20);
	end_kept(2, 9, 20);
	end_kept(3, 8, 0);
	end_kept(4, 7, 5);
	end_kept(5, 2, 1);
	end_kept(6, 1, 0);
	end_kept(7, 0, 1);
	while (store_ops->prune(store, 1) > 0)
		;
	cr_assert_str_eq(ids(&all), "8 7 6 2 1");
}

Test(store, a_store_that_keeps_all_removes_what_asks_for_it)
{
	for (uint64_t id = 1; id <= 2; id++)
		add_job(id);
	end_kept(1, 100000, 0);
	end_kept(2, 2, 1);
	cr_assert_eq(store_ops->prune(store, 10), 1);
	cr_assert_str_eq(ids(&(struct store_filter){ .uid = UINT32_MAX }), "1");
}

Test(store, a_store_that_is_too_large_is_pruned_and_open_jobs_stay)
{
	static char large[20000];
	store_options.keep_bytes = 1 << 20;
	store_reopen();
	for (uint64_t id = 1; id <= 200; id++) {
		struct store_change c = new_job(id);
		c.job.params = (struct bytes){ large, sizeof(large) };
		cr_assert_eq(apply(&c), 0);
		if (id > 20)
			end_job(id, JOB_SUCCEEDED);
	}
	int pruned = 0, n;
	while ((n = store_ops->prune(store, 10)) > 0) {
		cr_assert_leq(n, 10);
		pruned += n;
	}
	cr_assert_eq(n, 0);
	cr_assert_geq(pruned, 100);
	cr_assert_lt(pruned, 180);
	struct kept *k = load(0, 1000, false);
	for (uint64_t id = 1; id <= 20; id++, k = k->next)
		cr_assert_eq(k->row.job.id, id);
	cr_assert_null(k);
	cr_assert_not_null(read_job(200));
	cr_assert_null(read_job(21));
}

Test(store, an_unknown_engine_has_no_row_in_the_table)
{
	cr_assert_eq(store_engine_by_name("sqlite"), &store_sqlite);
	cr_assert_eq(store_engine_by_name("memory"), &store_memory);
	cr_assert_null(store_engine_by_name("paper"));
}
