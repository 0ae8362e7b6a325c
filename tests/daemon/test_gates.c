/*
 * test_gates.c - jobs that wait before they come into their queue: for a time, for `release`, for
 * other jobs.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ipc/clock.h"
#include "tests/daemon/policies.h"

#define POOLS                                               \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\n" \
	"[pool \"one\"]\nexecutor = process\nworkers = 1\n"
#define IN_MEMORY "[daemon]\nstore = memory\n" POOLS

static struct test_daemon d;
static struct pyprep *p;

static void
begin(const char *config)
{
	daemon_begin(&d, config);
	p = daemon_connect(&d);
}

static void
setup(void)
{
	begin(IN_MEMORY);
}

static void
setup_on_disk(void)
{
	begin(POOLS);
}

static void
teardown(void)
{
	pyprep_close(p);
	daemon_end(&d);
}

TestSuite(gate_time, .init = setup, .fini = teardown, .timeout = 600);
TestSuite(gate_after, .init = setup, .fini = teardown, .timeout = 600);
TestSuite(gate_restart, .init = setup_on_disk, .fini = teardown, .timeout = 600);

/* ---- a time, and `release` ---- */

/* CLOCK_REALTIME of a time of CLOCK_MONOTONIC, as it is now; never too late. */
static uint64_t
wall_of(uint64_t mono_ns)
{
	uint64_t now_ns = clock_now();
	return clock_wall() - now_ns + mono_ns;
}

Test(gate_time, lets_jobs_start_in_the_order_of_their_times_and_none_before_it)
{
	static struct {
		uint64_t at_ns, tag, started_ns;
	} job[200];
	uint64_t begin_ns = clock_wall() + 200 * MS, offset_ns = wall_of(0);

	srand(1);
	for (unsigned i = 0; i < 200; i++) {
		job[i].at_ns = begin_ns + (uint64_t)(rand() % 1000) * MS;
		struct pyprep_policy at = { .at_ns = job[i].at_ns };
		job[i].tag = start_with(p, "noop", "one", NULL, &at);
	}
	for (unsigned n = 0; n < 200; n++) {
		struct pyprep_receipt r;
		cr_assert_eq(next_receipt(p, 60000, &r), 1);
		cr_assert_str_eq(r.state, "succeeded");
		for (unsigned i = 0; i < 200; i++)
			if (job[i].tag == r.tag)
				job[i].started_ns = started_ns(&r);
	}
	for (unsigned i = 0; i < 200; i++) {
		cr_expect_geq(job[i].started_ns + offset_ns, job[i].at_ns, "job %u", i);
		for (unsigned k = 0; k < 200; k++)
			cr_expect(job[i].at_ns >= job[k].at_ns ||
					  job[i].started_ns < job[k].started_ns ||
					  /* both had come when the first of them was handed out */
					  job[i].started_ns + offset_ns > job[k].at_ns,
				  "job %u was passed by %u", i, k);
	}
}

Test(gate_time, ends_at_once_when_the_job_is_cancelled)
{
	struct pyprep_policy later = { .delay_ns = 3600 * NS_PER_S }, held = { .hold = 1 };
	struct tally t = { 0 };

	for (unsigned i = 0; i < 50; i++)
		start_with(p, "noop", NULL, NULL, i % 2 ? &later : &held);
	cr_expect_eq(pyprep_cancel_all(p), 50);
	cr_assert(finish_all(p, 20000, &t));
	cr_expect_eq(t.cancelled, 50u);
}

Test(gate_time, held_jobs_wait_until_they_are_released_and_others_pass_them)
{
	struct pyprep_receipt r;
	uint64_t id[20], after;

	for (unsigned i = 0; i < 20; i++)
		id[i] = detach_held(p, "noop");
	after = detach(p, "noop", NULL, NULL, NULL);
	end_of(p, after, 20000, &r);
	uint64_t passed_ns = started_ns(&r);
	for (unsigned i = 0; i < 20; i++)
		cr_expect(job_is(p, id[i], "queued"));
	for (unsigned i = 0; i < 20; i++)
		release(p, id[i]);
	for (unsigned i = 0; i < 20; i++) {
		end_of(p, id[i], 20000, &r);
		cr_expect_str_eq(r.state, "succeeded");
		cr_expect_gt(started_ns(&r), passed_ns);
	}
}

Test(gate_time, any_queued_job_can_be_held_and_what_it_waited_for_still_counts)
{
	struct pyprep_policy later = { .delay_ns = 300 * MS };
	struct pyprep_receipt r;

	uint64_t parent = detach_held(p, "noop");
	uint64_t child = detach_after(p, "noop", parent, false);
	uint64_t delayed = detach(p, "noop", NULL, &later, NULL);
	hold(p, child);
	hold(p, delayed);
	release(p, parent);
	cr_expect(ended_as(p, parent, "succeeded"));
	cr_expect(job_is(p, child, "queued"));
	release(p, child);
	cr_expect(ended_as(p, child, "succeeded"));
	release(p, delayed);
	end_of(p, delayed, 20000, &r);
	cr_expect_geq(started_ns(&r), r.submitted_ns + 300 * MS);
}

Test(gate_time, what_runs_or_has_ended_cannot_be_held)
{
	struct pyprep_policy none = { 0 };
	char words[64];

	uint64_t running = detach(p, "sleep", "ms=60000", &none, NULL);
	cr_assert(wait_until(20000, job_is(p, running, "running")));
	uint64_t ended = detach(p, "noop", NULL, &none, NULL);
	cr_assert(ended_as(p, ended, "succeeded"));
	snprintf(words, sizeof(words), "ids=%ju,%ju", (uintmax_t)running, (uintmax_t)ended);
	cr_assert_eq(ask(p, "hold", words, NULL), 0);
	cr_expect(strstr(ask_answer, "\"held\"=>0"), "%s", ask_answer);
	snprintf(words, sizeof(words), "\"running\"=>[%ju]", (uintmax_t)running);
	cr_expect(strstr(ask_answer, words), "%s", ask_answer);
	snprintf(words, sizeof(words), "\"missing\"=>[%ju]", (uintmax_t)ended);
	cr_expect(strstr(ask_answer, words), "%s", ask_answer);
	snprintf(words, sizeof(words), "ids=%ju,", (uintmax_t)running);
	cr_expect_eq(ask(p, "cancel", words, NULL), 0);
}

/* ---- other jobs ---- */

#define CHAIN 1000

Test(gate_after, a_chain_of_a_thousand_fails_with_its_first)
{
	static uint64_t id[CHAIN + 1];
	char parent[64];

	id[0] = detach_held(p, "fail");
	for (unsigned i = 1; i <= CHAIN; i++)
		id[i] = detach_after(p, "noop", id[i - 1], false);
	release(p, id[0]);
	for (unsigned i = 1; i <= CHAIN; i++) {
		struct pyprep_receipt r;
		end_of(p, id[i], 60000, &r);
		cr_assert_str_eq(r.state, "failed");
		cr_assert_str_eq(r.cause, "dependency");
		cr_assert_str_eq(r.error_code, "dependency_failed");
		snprintf(parent, sizeof(parent), "job %ju,", (uintmax_t)id[i - 1]);
		cr_assert_not_null(strstr(r.error_message, parent), "%s", r.error_message);
		cr_assert_eq(r.slot, -1, "it ran");
	}
}

Test(gate_after, a_chain_of_a_thousand_runs_in_its_order)
{
	static uint64_t id[CHAIN + 1];
	uint64_t last_ns = 0;

	id[0] = detach_held(p, "noop");
	for (unsigned i = 1; i <= CHAIN; i++)
		id[i] = detach_after(p, "noop", id[i - 1], i % 2);
	release(p, id[0]);
	for (unsigned i = 0; i <= CHAIN; i++) {
		struct pyprep_receipt r;
		end_of(p, id[i], 60000, &r);
		cr_assert_str_eq(r.state, "succeeded");
		cr_assert_geq(started_ns(&r), last_ns, "job %u before its parent", i);
		last_ns = r.ended_ns;
	}
}

#define KNOTS   300
#define PARENTS 5

struct knot {
	uint64_t id;
	bool fails, ran, ok; /* as its kind is; as the model says */
	unsigned parent_count;
	struct pyprep_after after[PARENTS];
	unsigned parent[PARENTS];
	uint64_t ended_ns;
};
static struct knot knots[KNOTS];

static bool
is_parent(const struct knot *k, unsigned count, unsigned i)
{
	for (unsigned n = 0; n < count; n++)
		if (k->parent[n] == i)
			return true;
	return false;
}

static void
choose_parents(unsigned i)
{
	struct knot *k = &knots[i];

	k->fails = rand() % 6 == 0;
	k->ran = true;
	k->parent_count = (unsigned)rand() % PARENTS % (i + 1);
	for (unsigned n = 0; n < k->parent_count; n++) {
		do
			k->parent[n] = i - 1 - (unsigned)rand() % (i < 20 ? i : 20);
		while (is_parent(k, n, k->parent[n]));
		k->after[n] =
			(struct pyprep_after){ .id = knots[k->parent[n]].id, .any = rand() % 2 };
		k->ran &= k->after[n].any || knots[k->parent[n]].ok;
	}
	k->ok = k->ran && !k->fails;
}

/* Some parents have ended when their children come, others have not. */
Test(gate_after, any_web_of_jobs_runs_as_it_was_asked)
{
	struct pyprep_receipt r;

	srand(2);
	for (unsigned i = 0; i < KNOTS; i++) {
		struct knot *k = &knots[i];
		choose_parents(i);
		struct pyprep_policy policy = { .after = k->after,
						.after_count = k->parent_count,
						.hold = i % 40 == 0 };
		k->id = detach(p, k->fails ? "fail" : "noop", NULL, &policy, &r);
		cr_assert_neq(k->id, 0u, "%s", r.error_message);
	}
	for (unsigned i = 0; i < KNOTS; i += 40)
		release(p, knots[i].id);
	for (unsigned i = 0; i < KNOTS; i++) {
		struct knot *k = &knots[i];
		end_of(p, k->id, 60000, &r);
		k->ended_ns = r.ended_ns;
		cr_assert_str_eq(r.state, k->ok ? "succeeded" : "failed", "knot %u", i);
		cr_assert_str_eq(r.cause, k->ok ? "none" : k->ran ? "error" : "dependency");
		for (unsigned n = 0; k->ran && n < k->parent_count; n++)
			cr_assert_geq(started_ns(&r), knots[k->parent[n]].ended_ns);
	}
}

Test(gate_after, very_many_children_all_run_when_their_parent_has)
{
	struct pyprep_problem why;
	struct pyprep_prepared *child;
	struct tally t = { 0 };

	uint64_t parent = detach_held(p, "noop");
	struct pyprep_after after = { .id = parent };
	struct pyprep_policy policy = { .after = &after, .after_count = 1 };
	struct pyprep_job job = { .kind = "noop", .policy = &policy };
	cr_assert_eq(pyprep_prepare(p, &job, &child, &why), 0, "%s", why.message);
	for (unsigned i = 0; i < 20000; i++)
		cr_assert_eq(pyprep_submit_prepared(p, child, NULL, NULL), 0);
	pyprep_prepared_free(child);
	struct pyprep *other = daemon_connect(&d);
	struct test_status status;
	cr_assert(
		wait_until(60000, daemon_status(&d, &status) == 0 && status.jobs_queued == 20001));
	release(other, parent);
	cr_assert(finish_all(p, 120000, &t));
	cr_expect_eq(t.succeeded, 20000u);
	pyprep_close(other);
}

Test(gate_after, who_waits_for_a_cancelled_job_ends_with_it_or_goes_on)
{
	char words[64];

	uint64_t parent = detach_held(p, "noop");
	uint64_t strict = detach_after(p, "noop", parent, false);
	uint64_t easy = detach_after(p, "noop", parent, true);
	uint64_t below = detach_after(p, "noop", strict, true);
	snprintf(words, sizeof(words), "ids=%ju,", (uintmax_t)parent);
	cr_assert_eq(ask(p, "cancel", words, NULL), 0);
	cr_expect(ended_as(p, strict, "failed"));
	cr_expect(ended_as(p, easy, "succeeded"));
	cr_expect(ended_as(p, below, "succeeded"));
}

Test(gate_after, a_child_that_is_cancelled_leaves_its_parent_and_siblings_alone)
{
	char words[64];

	uint64_t parent = detach_held(p, "noop");
	uint64_t gone = detach_after(p, "noop", parent, false);
	uint64_t stays = detach_after(p, "noop", parent, false);
	uint64_t below = detach_after(p, "noop", gone, true);
	snprintf(words, sizeof(words), "ids=%ju,", (uintmax_t)gone);
	cr_assert_eq(ask(p, "cancel", words, NULL), 0);
	cr_expect(ended_as(p, gone, "cancelled"));
	cr_expect(ended_as(p, below, "succeeded"));
	release(p, parent);
	cr_expect(ended_as(p, parent, "succeeded"));
	cr_expect(ended_as(p, stays, "succeeded"));
}

Test(gate_after, attached_jobs_are_parents_too_and_end_with_their_client)
{
	struct pyprep *client = daemon_connect(&d);

	start(client, "sleep", "cpu", "ms=60000", 0);
	cr_assert(wait_until(20000, jobs_started(p) == 1));
	uint64_t parent = newest_job(p);
	uint64_t strict = detach_after(p, "noop", parent, false);
	uint64_t easy = detach_after(p, "noop", parent, true);
	pyprep_close(client);
	cr_expect(ended_as(p, strict, "failed"));
	cr_expect(ended_as(p, easy, "succeeded"));
}

static void
expect_refused(const struct pyprep_after *after, size_t count, const char *code, uint64_t named)
{
	struct pyprep_policy policy = { .after = after, .after_count = count };
	struct pyprep_receipt r = { 0 };
	char text[64];

	cr_assert_eq(detach(p, "noop", NULL, &policy, &r), 0u);
	cr_expect_str_eq(r.state, "refused");
	cr_expect_str_eq(r.error_code, code);
	snprintf(text, sizeof(text), "job %ju", (uintmax_t)named);
	cr_expect_not_null(strstr(r.error_message, text), "%s", r.error_message);
	uint64_t tag = start_with(p, "noop", NULL, NULL, &policy);
	receipt_for(p, tag, 20000, &r);
	cr_expect_str_eq(r.state, "refused");
	cr_expect_str_eq(r.error_code, code);
}

/* The number of a job that never was: of a submit that was refused late. */
static uint64_t
number_of_no_job(void)
{
	struct pyprep_need need = { .name = "nothing", .count = 1 };
	struct pyprep_policy policy = { .needs = &need, .need_count = 1 };
	struct pyprep_receipt r;

	uint64_t before = detach(p, "noop", NULL, NULL, NULL);
	cr_assert_eq(detach(p, "noop", NULL, &policy, &r), 0u);
	uint64_t next = detach(p, "noop", NULL, NULL, NULL);
	cr_assert_eq(next, before + 2, "a refused job takes no number any more: find another");
	return before + 1;
}

Test(gate_after, a_parent_that_is_not_there_is_refused_by_its_number)
{
	uint64_t missing = number_of_no_job();
	uint64_t there = detach_held(p, "noop");
	struct pyprep_after future = { .id = 4000000000 };
	struct pyprep_after one = { .id = missing };
	struct pyprep_after two[] = { { .id = there }, { .id = missing } };

	expect_refused(&future, 1, "no_such_job", future.id);
	expect_refused(&one, 1, "no_such_job", missing);
	expect_refused(two, 2, "no_such_job", missing);
	release(p, there);
	cr_expect(ended_as(p, there, "succeeded"));
}

/* The daemon's history has 4,096 places: only the store knows of older ones. */
Test(gate_after, a_parent_that_ended_long_ago_is_found_in_the_store)
{
	struct tally t = { 0 };

	uint64_t good = detach(p, "noop", NULL, NULL, NULL);
	uint64_t bad = detach(p, "fail", NULL, NULL, NULL);
	cr_assert(ended_as(p, good, "succeeded"));
	cr_assert(ended_as(p, bad, "failed"));
	for (unsigned i = 0; i < 4200; i++)
		start(p, "noop", NULL, NULL, 0);
	cr_assert(finish_all(p, 60000, &t));
	cr_expect(ended_as(p, detach_after(p, "noop", good, false), "succeeded"));
	cr_expect(ended_as(p, detach_after(p, "noop", bad, false), "failed"));
	cr_expect(ended_as(p, detach_after(p, "noop", bad, true), "succeeded"));
	struct pyprep_after after = { .id = good };
	struct pyprep_policy policy = { .after = &after, .after_count = 1 };
	for (unsigned i = 0; i < 100; i++)
		start_with(p, "noop", NULL, NULL, &policy);
	t = (struct tally){ 0 };
	cr_assert(finish_all(p, 60000, &t));
	cr_expect_eq(t.succeeded, 100u);
}

/* ---- a new broker, a new daemon ---- */

/* Parents of all sorts: one ends before, one fails before, one after. */
static void
survive(struct pyprep *(*replace)(struct test_daemon *, struct pyprep *))
{
	struct pyprep_receipt r;
	struct pyprep_policy held = { .hold = 1 };
	struct pyprep_policy later = { .delay_ns = 500 * MS };

	uint64_t early = detach(p, "noop", NULL, NULL, NULL);
	uint64_t broken = detach(p, "fail", NULL, NULL, NULL);
	cr_assert(ended_as(p, early, "succeeded"));
	cr_assert(ended_as(p, broken, "failed"));
	uint64_t late = detach(p, "noop", NULL, &held, NULL);
	uint64_t delayed = detach(p, "noop", NULL, &later, NULL);
	struct pyprep_after both[] = { { .id = early }, { .id = late } };
	struct pyprep_after any[] = { { .id = broken, .any = 1 }, { .id = late } };
	struct pyprep_policy two = { .after = both, .after_count = 2 };
	struct pyprep_policy three = { .after = any, .after_count = 2 };
	uint64_t child = detach(p, "noop", NULL, &two, NULL);
	uint64_t other = detach(p, "noop", NULL, &three, NULL);
	uint64_t grandchild = detach_after(p, "noop", child, false);
	p = replace(&d, p);
	cr_assert(ended_as(p, delayed, "succeeded"));
	cr_expect(job_is(p, late, "queued"));
	cr_expect(job_is(p, child, "queued"));
	cr_expect(job_is(p, grandchild, "queued"));
	uint64_t after = detach_after(p, "noop", grandchild, false);
	release(p, late);
	cr_expect(ended_as(p, late, "succeeded"));
	cr_expect(ended_as(p, other, "succeeded"));
	cr_expect(ended_as(p, after, "succeeded"));
	end_of(p, grandchild, 60000, &r);
	cr_expect_str_eq(r.state, "succeeded");
	uint64_t began_ns = started_ns(&r);
	end_of(p, child, 60000, &r);
	cr_expect_geq(began_ns, r.ended_ns);
}

Test(gate_restart, a_new_broker_knows_who_waits_for_what)
{
	survive(replace_broker);
}

Test(gate_restart, a_new_daemon_knows_who_waits_for_what)
{
	survive(replace_daemon);
}

Test(gate_restart, what_is_held_stays_held)
{
	struct pyprep_policy later = { .delay_ns = 1 * MS };

	uint64_t at_submit = detach_held(p, "noop");
	uint64_t by_verb = detach_after(p, "noop", at_submit, true);
	hold(p, by_verb);
	p = replace_daemon(&d, p);
	uint64_t other = detach(p, "noop", NULL, &later, NULL);
	cr_expect(ended_as(p, other, "succeeded"));
	cr_expect(job_is(p, at_submit, "queued"));
	release(p, at_submit);
	cr_expect(ended_as(p, at_submit, "succeeded"));
	p = replace_broker(&d, p);
	cr_expect(job_is(p, by_verb, "queued"));
	release(p, by_verb);
	p = replace_broker(&d, p);
	cr_expect(ended_as(p, by_verb, "succeeded"));
}

/* The failure was stored, its children were still being told: they hear of it after all. */
Test(gate_restart, a_failure_reaches_all_children_although_the_broker_dies_meanwhile)
{
	static uint64_t id[500];

	uint64_t parent = detach_held(p, "fail");
	for (unsigned i = 0; i < 500; i++)
		id[i] = detach_after(p, "noop", i % 3 == 0 ? parent : id[i - 1], false);
	release(p, parent);
	cr_assert(wait_until(20000, !job_is(p, parent, "queued")));
	p = replace_broker(&d, p);
	for (unsigned i = 0; i < 500; i++) {
		struct pyprep_receipt r;
		end_of(p, id[i], 60000, &r);
		cr_assert_str_eq(r.state, "failed", "child %u", i);
		cr_assert_str_eq(r.cause, "dependency");
	}
}
