/* test_ipc_figures.c - what jobs came to: what is counted, that it adds up, that it comes back. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/figures.h"

static uint64_t state = 88172645463325252ull;

static uint64_t
next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static struct receipt
receipt(enum job_state how, enum job_cause cause, uint8_t method)
{
	struct receipt r = {
		.submitted_ns = 1000 + next() % 1000,
		.outcome = { .state = (uint8_t)how, .cause = (uint8_t)cause, .method = method }
	};

	r.received_ns = r.submitted_ns + 100;
	r.handed_ns = r.received_ns + 200;
	r.outcome.started_ns = r.handed_ns + 300;
	r.outcome.ended_ns = r.outcome.started_ns + 4000;
	r.returned_ns = r.outcome.ended_ns + 500;
	r.outcome.usage = (struct usage){ .oncpu_ns = 3000,
					  .runqueue_ns = 600,
					  .blocked_ns = 400,
					  .user_ns = 2000,
					  .system_ns = 500,
					  .peak_memory_bytes = 1 << 20 };
	return r;
}

static void
add(struct figures *f, const struct receipt *r)
{
	figures_count(f, r);
	figures_measure(f, r, 1);
}

TestSuite(figures, .timeout = 60);

Test(figures, a_job_that_ran_is_in_all_of_them)
{
	struct receipt r = receipt(JOB_SUCCEEDED, CAUSE_NONE, USAGE_THREAD);
	struct figures f = { 0 };

	add(&f, &r);
	cr_assert_eq(f.jobs, 1u);
	cr_assert_eq(f.started, 1u);
	cr_assert_eq(f.attempts, 1u);
	cr_assert_eq(f.run_ns, 4000u);
	cr_assert_eq(f.cpu_ns, 3000u);
	cr_assert_eq(f.user_ns, 2000u);
	cr_assert_eq(f.system_ns, 500u);
	cr_assert_eq(f.outcomes[JOB_SUCCEEDED][CAUSE_NONE], 1u);
	cr_assert_eq(figures_state(&f, JOB_SUCCEEDED), 1u);
	static const uint64_t expected[FIGURE_COUNT] = {
		[FIGURE_SUBMIT] = 100,     [FIGURE_QUEUE] = 200,    [FIGURE_DISPATCH] = 300,
		[FIGURE_RUN] = 4000,       [FIGURE_RETURN] = 500,   [FIGURE_TOTAL] = 5100,
		[FIGURE_ONCPU] = 3000,     [FIGURE_RUNQUEUE] = 600, [FIGURE_BLOCKED] = 400,
		[FIGURE_MEMORY] = 1 << 20,
	};
	for (unsigned i = 0; i < FIGURE_COUNT; i++) {
		cr_assert_eq(f.stages[i].n, expected[i] != 0, "%s", figure_words[i]);
		cr_assert_eq(histogram_per_mille(&f.stages[i], 500), expected[i], "%s",
			     figure_words[i]);
	}
	figures_free(&f);
}

Test(figures, only_a_detached_job_waits_for_the_store)
{
	struct receipt r = receipt(JOB_SUCCEEDED, CAUSE_NONE, USAGE_THREAD);
	struct figures f = { 0 };

	add(&f, &r);
	cr_assert_eq(f.stages[FIGURE_STORE].n, 0u);
	r.stored_ns = r.received_ns + 50;
	add(&f, &r);
	cr_assert_eq(f.stages[FIGURE_STORE].n, 1u);
	cr_assert_eq(f.stages[FIGURE_STORE].most, 50u);
	cr_assert_eq(f.stages[FIGURE_QUEUE].least, 150u);
	figures_free(&f);
}

Test(figures, a_job_that_never_started_has_an_outcome_and_no_times)
{
	struct receipt r = receipt(JOB_CANCELLED, CAUSE_CANCELLED, USAGE_NONE);
	struct figures f = { 0 };

	r.outcome.started_ns = r.outcome.ended_ns = r.handed_ns = 0;
	add(&f, &r);
	cr_assert_eq(f.jobs, 1u);
	cr_assert_eq(f.started, 0u);
	cr_assert_eq(f.attempts, 0u);
	cr_assert_eq(f.run_ns, 0u);
	cr_assert_eq(figures_state(&f, JOB_CANCELLED), 1u);
	for (unsigned i = 0; i < FIGURE_COUNT; i++)
		cr_assert_eq(f.stages[i].n, 0u);
	figures_free(&f);
}

/* What a method does not tell is left out: a zero would be a lie. */
Test(figures, usage_that_was_not_measured_is_not_there)
{
	static const struct {
		uint8_t method;
		bool oncpu, runqueue, blocked, memory;
	} rows[] = {
		{ USAGE_NONE, false, false, false, false },
		{ USAGE_LIGHT, true, false, false, false },
		{ USAGE_THREAD, true, true, true, true },
		{ USAGE_LOOP, true, false, true, false },
		{ USAGE_TREE, true, true, true, true },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct receipt r = receipt(JOB_SUCCEEDED, CAUSE_NONE, rows[i].method);
		struct figures f = { 0 };
		add(&f, &r);
		cr_assert_eq(f.stages[FIGURE_RUN].n, 1u);
		cr_assert_eq(f.stages[FIGURE_ONCPU].n, rows[i].oncpu, "method %u", i);
		cr_assert_eq(f.stages[FIGURE_RUNQUEUE].n, rows[i].runqueue, "method %u", i);
		cr_assert_eq(f.stages[FIGURE_BLOCKED].n, rows[i].blocked, "method %u", i);
		cr_assert_eq(f.stages[FIGURE_MEMORY].n, rows[i].memory, "method %u", i);
		figures_free(&f);
	}
}

Test(figures, a_command_with_children_used_more_than_its_first_process)
{
	struct receipt r = receipt(JOB_SUCCEEDED, CAUSE_EXIT, USAGE_TREE);
	struct figures f = { 0 };

	r.outcome.usage.user_ns = 9000;
	figures_count(&f, &r);
	cr_assert_eq(f.cpu_ns, 9500u);
	figures_free(&f);
}

Test(figures, an_attempt_that_is_tried_again_costs_and_does_not_count_as_a_job)
{
	struct receipt r = receipt(JOB_FAILED, CAUSE_EXIT, USAGE_TREE);
	struct figures f = { 0 };

	figures_attempt(&f, &r);
	figures_attempt(&f, &r);
	add(&f, &r);
	cr_assert_eq(f.jobs, 1u);
	cr_assert_eq(f.started, 1u);
	cr_assert_eq(f.attempts, 3u);
	cr_assert_eq(f.run_ns, 12000u);
	cr_assert_eq(f.stages[FIGURE_RUN].n, 1u);
	figures_free(&f);
}

/* ---- many ---- */

static unsigned char bytes[2][1 << 20];

static void
some(struct figures *f, unsigned jobs)
{
	for (unsigned i = 0; i < jobs; i++) {
		struct receipt r =
			receipt((enum job_state)(JOB_SUCCEEDED + next() % 6),
				(enum job_cause)(next() % JOB_CAUSE_COUNT), (uint8_t)(next() % 5));
		r.outcome.ended_ns += next() >> (1 + next() % 63);
		r.returned_ns = r.outcome.ended_ns + next() % 100000;
		r.items = next() % 3;
		figures_count(f, &r);
		figures_measure(f, &r, 1 + next() % 2 * 63);
	}
}

static void
assert_same(const struct figures *a, const struct figures *b)
{
	size_t length = figures_write(a, bytes[0], sizeof(bytes[0]));

	cr_assert_leq(length, sizeof(bytes[0]));
	cr_assert_eq(figures_write(b, bytes[1], sizeof(bytes[1])), length);
	cr_assert_eq(memcmp(bytes[0], bytes[1], length), 0);
}

Test(figures, bytes_come_back_and_add_up)
{
	struct figures sum = { 0 }, read_sum = { 0 };

	for (unsigned round = 0; round < 20; round++) {
		struct figures part = { 0 }, back = { 0 };
		some(&part, (unsigned)(next() % 300));
		size_t length = figures_write(&part, bytes[0], sizeof(bytes[0]));
		cr_assert_eq(figures_read(&back, bytes[0], length), 0);
		cr_assert_eq(figures_read(&read_sum, bytes[0], length), 0, "it adds");
		assert_same(&part, &back);
		cr_assert(figures_merge(&sum, &part));
		figures_free(&part);
		figures_free(&back);
	}
	assert_same(&sum, &read_sum);
	cr_assert_gt(sum.jobs, 100u);
	figures_free(&sum);
	figures_free(&read_sum);
}

Test(figures, a_day_of_one_kind_is_some_kilobytes)
{
	struct figures f = { 0 };

	for (unsigned i = 0; i < 200000; i++) {
		struct receipt r = receipt(JOB_SUCCEEDED, CAUSE_NONE, USAGE_THREAD);
		r.handed_ns += next() % 50000;
		r.outcome.started_ns = r.handed_ns + next() % 9000;
		r.outcome.ended_ns = r.outcome.started_ns + 1000000 + next() % 1000000;
		r.returned_ns = r.outcome.ended_ns + next() % 9000;
		add(&f, &r);
	}
	size_t length = figures_write(&f, NULL, 0);
	cr_assert_lt(length, 16384u, "%zu", length);
	figures_free(&f);
}

Test(figures, what_a_later_version_adds_is_skipped)
{
	struct figures f = { 0 }, back = { 0 };
	struct receipt r = receipt(JOB_SUCCEEDED, CAUSE_NONE, USAGE_LIGHT);

	add(&f, &r);
	size_t length = figures_write(&f, bytes[0], sizeof(bytes[0]));
	static const unsigned char unknown[] = { 77, 3, 1, 2, 3 };
	memcpy(bytes[0] + length, unknown, sizeof(unknown));
	cr_assert_eq(figures_read(&back, bytes[0], length + sizeof(unknown)), 0);
	assert_same(&f, &back);
	bytes[0][0] = FIGURES_VERSION + 1; /* but another version is another thing */
	cr_assert_eq(figures_read(&back, bytes[0], length), -EPROTO);
	figures_free(&f);
	figures_free(&back);
}

Test(figures, spoiled_bytes_do_no_harm)
{
	struct figures f = { 0 };
	unsigned refused = 0;

	some(&f, 50);
	size_t length = figures_write(&f, bytes[0], sizeof(bytes[0]));
	for (unsigned round = 0; round < 20000; round++) {
		struct figures back = { 0 };
		size_t cut = round % 2 ? length : next() % length;
		memcpy(bytes[1], bytes[0], length);
		for (unsigned n = (unsigned)(next() % 4); n > 0; n--)
			bytes[1][next() % length] = (unsigned char)next();
		refused += figures_read(&back, bytes[1], cut) < 0;
		figures_free(&back);
	}
	cr_assert_gt(refused, 1000u);
	figures_free(&f);
}
