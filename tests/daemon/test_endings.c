/*
 * test_endings.c - jobs ended at random moments, few: tests/fault/kill_latency has them by the
 * thousand and prints how long they take.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/daemon/endings.h"

#define ROUNDS 96u
#define DEATHS 10u

static struct test_daemon d;

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(endings, .fini = teardown, .timeout = 300);

static unsigned
seed_of_test(void)
{
	const char *given = getenv("SEED");
	unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

	fprintf(stderr, "seed %u\n", seed);
	return seed;
}

Test(endings, leave_nothing_and_let_nothing_run_twice_at_once)
{
	struct endings_report r;

	end_jobs(&d, ROUNDS, seed_of_test(), &r);
	cr_expect_str_empty(r.text);
	cr_expect_eq(r.rounds, ROUNDS);
	cr_expect_eq(r.left, 0);
	cr_expect_eq(r.twice, 0);
	cr_expect_eq(r.at_once, 0);
	cr_expect_eq(r.load_wrong, 0);
	cr_expect_gt(r.load_jobs, 0);
	cr_expect_gt(r.begun, 0);
}

/* What a killed worker's command left is gone before the broker hears of the death: else the next
 * attempt meets it (a tree of 200 takes a while to end). */
Test(endings, by_a_workers_death_are_over_before_the_next_attempt)
{
	struct endings_report r;

	end_by_death(&d, DEATHS, &r);
	cr_expect_str_empty(r.text);
	cr_expect_eq(r.begun, DEATHS + 1);
	cr_expect_eq(r.at_once, 0);
}

Test(endings, by_the_daemons_death_are_over_before_the_next_one_starts)
{
	struct endings_report r;

	end_by_daemons_death(&d, &r);
	cr_expect_str_empty(r.text);
	cr_expect_eq(r.begun, 2);
	cr_expect_eq(r.at_once, 0);
}

/* The control arm. */
Test(endings, of_the_leader_alone_are_seen)
{
	struct naive_report r;

	end_naively(&r);
	cr_expect(r.stood, "the tree did not come");
	cr_expect(r.left, "the pipe was at its end though the tree lived on");
	cr_expect(r.at_once, "the second attempt did not meet the first");
	cr_expect(r.gone, "the pipe was open though all were dead");
}
