/*
 * test_why.c - who goes before a job, beside what really goes before it; starts foretold, beside
 * starts that came: by hand where all is certain, by many plays where it is not.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>

#include "daemon/ahead.h"
#include "daemon/forecast.h"
#include "ipc/clock.h"

static uint64_t
random_next(void)
{
	static uint64_t state = 88172645463325252u;
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static uint64_t
random_below(uint64_t n)
{
	return random_next() % n;
}

/* ---- ahead ---- */

static struct pool_config config;
static struct broker broker;
static struct broker *const b = &broker;
static struct pool *const p = &broker.pools[0];
static uint64_t next_id;

static void
open_pool(const struct strategy *strategy, uint64_t ageing_ns)
{
	broker = (struct broker){ 0 };
	TAILQ_INIT(&broker.busy);
	cr_assert_eq(jobs_init(&broker.jobs, 200000, 1 << 20), 0);
	config = (struct pool_config){ .strategy = strategy, .ageing_ns = ageing_ns };
	p->config = &config;
	b->pool_count = 1;
	b->now_ns = 1000 * NS_PER_S;
	next_id = 1;
	cr_assert_eq(pool_queue_open(p), 0);
}

static void
close_pool(void)
{
	if (p->config == NULL)
		return;
	pool_queue_close(p);
	jobs_done(&broker.jobs);
	p->config = NULL;
}

TestSuite(ahead, .fini = close_pool, .timeout = 120);

static uint32_t
add(unsigned kind, uint32_t uid, int priority)
{
	uint32_t index = jobs_add(&b->jobs, next_id++, NULL, 0);
	struct job *job = job_at(&b->jobs, index);
	job->kind = (uint8_t)kind;
	job->uid = uid;
	job->priority = (int8_t)priority;
	job->flags = JOB_NO_CLIENT;
	b->now_ns += random_below(NS_PER_S / 20);
	queue_push(b, index);
	return index;
}

static uint32_t
take(void)
{
	uint32_t index = queue_peek(b, p);
	if (index == JOB_NONE)
		return JOB_NONE;
	queue_remove(b, index);
	if (p->strategy->handed != NULL)
		p->strategy->handed(p, job_at(&b->jobs, index));
	return index;
}

/* How many does the pool take before this one, when nothing comes or ends meanwhile? */
static unsigned
taken_before(uint32_t index)
{
	unsigned n = 0;
	while (take() != index)
		n++;
	return n;
}

/* A queue of `count` jobs, some of which had been taken and came back. */
static uint32_t
fill(unsigned count, unsigned kinds_used, int priorities, uint32_t *back, unsigned back_count)
{
	uint32_t chosen = JOB_NONE;

	for (unsigned kind = 0; kind < kinds_used; kind++)
		p->estimate_ns[kind] = (kind + 1) * NS_PER_S / 10;
	for (unsigned i = 0; i < count; i++) {
		int priority =
			priorities == 0 ? 0 : (int)random_below(2 * priorities + 1) - priorities;
		uint32_t index = add((unsigned)random_below(kinds_used), 1, priority);
		if (random_below(i + 1) == 0)
			chosen = index;
	}
	for (unsigned i = 0; i < back_count; i++)
		back[i] = take();
	for (unsigned i = 0; i < back_count; i++) {
		queue_put_back(b, back[i]);
		if (random_below(4 * back_count) == 0)
			chosen = back[i];
	}
	return chosen;
}

static void
compare(const struct strategy *strategy, uint64_t ageing_ns, unsigned kinds_used, int priorities)
{
	uint32_t back[20];

	for (unsigned round = 0; round < 60; round++) {
		open_pool(strategy, ageing_ns);
		uint32_t index = fill(300, kinds_used, priorities, back, 20);
		const struct job *job = job_at(&b->jobs, index);
		int priority = job->priority;
		struct ahead a;
		ahead_of(b, p, job, &a);
		unsigned higher = 0, before = 0;
		for (uint32_t got; (got = take()) != index; before++)
			higher += job_at(&b->jobs, got)->priority > priority;
		cr_assert_eq(a.jobs, before, "%s, round %u: said %ju, were %u", strategy->name,
			     round, (uintmax_t)a.jobs, before);
		cr_assert(a.exact);
		cr_assert_eq(a.seen, before);
		if (strategy == &strategy_priority)
			cr_assert_eq(a.higher, higher);
		close_pool();
	}
}

Test(ahead, of_priority_is_what_is_taken_before)
{
	compare(&strategy_priority, 0, 3, 5);
	compare(&strategy_priority, NS_PER_S / 2, 3, 5);
	compare(&strategy_priority, 100 * NS_PER_S, 3, 100);
}

Test(ahead, of_fifo_is_what_is_taken_before)
{
	compare(&strategy_fifo, NS_PER_S, 3, 100);
}

/* Of one priority: what a line holds back for a higher one of its own is not seen. */
Test(ahead, of_sjf_is_what_is_taken_before)
{
	compare(&strategy_sjf, 0, 5, 0);
	compare(&strategy_sjf, NS_PER_S, 5, 0);
}

Test(ahead, of_fair_is_about_what_is_taken_before)
{
	open_pool(&strategy_fair, 0);
	for (unsigned i = 0; i < 200; i++)
		add(0, 1, 0);
	uint32_t index = JOB_NONE;
	for (unsigned i = 0; i < 20; i++)
		index = add(0, 2, 0);
	struct ahead a;
	ahead_of(b, p, job_at(&b->jobs, index), &a);
	unsigned before = taken_before(index);
	/* 19 of its own, and about as many of the other. */
	cr_expect(before >= 38 && before <= 40, "%u", before);
	cr_expect(a.jobs + 2 >= before && a.jobs <= before + 2, "said %ju, were %u",
		  (uintmax_t)a.jobs, before);
	cr_expect_not(a.exact);
}

Test(ahead, in_a_long_queue_is_counted_without_looking_at_all)
{
	uint32_t index = JOB_NONE, near_end = JOB_NONE;
	struct ahead a;

	open_pool(&strategy_priority, 0);
	for (unsigned i = 0; i < 100000; i++) {
		uint32_t added = add(0, 1, i % 2 == 0 ? 10 : 0);
		index = i == 50001 ? added : index;
		near_end = i == 99001 ? added : near_end;
	}
	/* All of the higher priority, and those before it: its place is between the ends. */
	ahead_of(b, p, job_at(&b->jobs, index), &a);
	cr_expect_eq(a.higher, 50000);
	cr_expect(a.jobs > 74000 && a.jobs < 76000, "%ju", (uintmax_t)a.jobs);
	cr_expect_not(a.exact);
	cr_expect_leq(a.seen, AHEAD_LOOKS);
	/* Near the end it is counted from there. */
	ahead_of(b, p, job_at(&b->jobs, near_end), &a);
	cr_expect_eq(a.jobs, 50000 + 49500);
}

/* ---- forecast ---- */

TestSuite(forecast, .timeout = 120);

static struct runs
runs_that_take(uint64_t ns)
{
	struct histogram h = { 0 };
	const struct histogram *list[] = { &h };
	struct runs r;

	for (unsigned i = 0; i < 10; i++)
		histogram_add(&h, ns, 1);
	runs_of(list, 1, &r);
	histogram_free(&h);
	return r;
}

static bool
is_near(uint64_t got, uint64_t expected)
{
	return got + expected / 100 >= expected && got <= expected + expected / 100;
}

Test(forecast, adds_up_what_is_certain)
{
	struct runs ms100 = runs_that_take(100 * NS_PER_MS), ms10 = runs_that_take(10 * NS_PER_MS);
	struct under_way busy[] = { { &ms100, 30 * NS_PER_MS }, { &ms100, 90 * NS_PER_MS } };
	struct in_front front[] = { { &ms10, 3 }, { &ms100, 0 } };
	struct situation s = { busy, 1, 0, front, 2, 7 };
	struct range r;

	/* One place: the rest of who is there, then three. */
	cr_assert_eq(forecast_start(&s, &r), 0);
	cr_expect(is_near(r.low_ns, 100 * NS_PER_MS) && is_near(r.high_ns, 100 * NS_PER_MS),
		  "%ju .. %ju", (uintmax_t)r.low_ns, (uintmax_t)r.high_ns);
	/* Two: the second is free after 10 ms, and takes all three. */
	s.busy_count = 2;
	cr_assert_eq(forecast_start(&s, &r), 0);
	cr_expect(is_near(r.mid_ns, 40 * NS_PER_MS), "%ju", (uintmax_t)r.mid_ns);
	/* More free places than jobs: at once. */
	s.free = 4;
	cr_assert_eq(forecast_start(&s, &r), 0);
	cr_expect_eq(r.high_ns, 0);
	s.free = 3;
	cr_assert_eq(forecast_start(&s, &r), 0);
	cr_expect(is_near(r.mid_ns, 10 * NS_PER_MS), "%ju", (uintmax_t)r.mid_ns);
	struct range rest = forecast_rest(&busy[0]);
	cr_expect(is_near(rest.mid_ns, 70 * NS_PER_MS));
}

Test(forecast, of_what_was_never_measured_or_is_overdue_is_never)
{
	struct runs none = { 0 }, ms10 = runs_that_take(10 * NS_PER_MS);
	struct under_way unknown = { &none, 0 }, overdue = { &ms10, 20 * NS_PER_MS };
	struct in_front front = { &none, 1 };
	struct range r;

	struct situation s = { &unknown, 1, 0, NULL, 0, 1 };
	cr_assert_eq(forecast_start(&s, &r), 0);
	cr_expect_eq(r.low_ns, FORECAST_NEVER);
	s.busy = &overdue;
	cr_assert_eq(forecast_start(&s, &r), 0);
	cr_expect_eq(r.high_ns, FORECAST_NEVER);
	cr_expect_eq(forecast_rest(&overdue).low_ns, FORECAST_NEVER);
	/* But not when there is another place. */
	struct under_way both[] = { { &none, 0 }, { &ms10, 4 * NS_PER_MS } };
	s.busy = both;
	s.busy_count = 2;
	cr_assert_eq(forecast_start(&s, &r), 0);
	cr_expect(is_near(r.mid_ns, 6 * NS_PER_MS), "%ju", (uintmax_t)r.mid_ns);
	s.front = &front;
	s.front_count = 1;
	cr_assert_eq(forecast_start(&s, &r), 0);
	cr_expect_eq(r.high_ns, FORECAST_NEVER);
}

/* Times of a lopsided kind: mostly short, some long. */
static uint64_t
some_time(void)
{
	return random_below(10) == 0 ? (50 + random_below(100)) * NS_PER_MS
				     : (1 + random_below(10)) * NS_PER_MS;
}

static int
compare_times(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, c = *(const uint64_t *)y;
	return (a > c) - (a < c);
}

/* A pool of `places` with `front` jobs before ours, played with fresh times: when does it start? */
static uint64_t
real_start(unsigned places, const uint64_t *rest_ns, unsigned front)
{
	uint64_t free_ns[16];

	for (unsigned i = 0; i < places; i++)
		free_ns[i] = rest_ns[i];
	for (unsigned i = 0;; i++) {
		qsort(free_ns, places, sizeof(free_ns[0]), compare_times);
		if (i == front)
			return free_ns[0];
		free_ns[0] += some_time();
	}
}

Test(forecast, ranges_hold_as_often_as_they_say)
{
	enum { CASES = 600, PLACES = 3 };
	struct histogram h = { 0 };
	const struct histogram *list[] = { &h };
	unsigned below = 0, above = 0, under_mid = 0;
	struct runs runs;

	for (unsigned i = 0; i < 5000; i++)
		histogram_add(&h, some_time(), 1);
	runs_of(list, 1, &runs);
	histogram_free(&h);
	for (unsigned i = 0; i < CASES; i++) {
		struct under_way busy[PLACES];
		uint64_t rest_ns[PLACES];
		unsigned front = (unsigned)random_below(12);
		for (unsigned w = 0; w < PLACES; w++) {
			/* Who looks at any time finds long ones more often, at any point of
			 * their time. */
			uint64_t whole_ns;
			do
				whole_ns = some_time();
			while (random_below(150 * NS_PER_MS) >= whole_ns);
			uint64_t for_ns = random_below(whole_ns);
			busy[w] = (struct under_way){ &runs, for_ns };
			rest_ns[w] = whole_ns - for_ns;
		}
		struct in_front in_front = { &runs, front };
		struct situation s = { busy, PLACES, 0, &in_front, 1, random_next() };
		struct range r;
		cr_assert_eq(forecast_start(&s, &r), 0);
		cr_assert(r.low_ns <= r.mid_ns && r.mid_ns <= r.high_ns);
		uint64_t came_ns = real_start(PLACES, rest_ns, front);
		below += came_ns < r.low_ns;
		above += came_ns > r.high_ns;
		under_mid += came_ns <= r.mid_ns;
	}
	/* A tenth each, give or take; the seed is fixed. */
	cr_expect(below >= CASES / 25 && below <= CASES / 5, "%u of %u came before", below, CASES);
	cr_expect(above >= CASES / 25 && above <= CASES / 5, "%u of %u came after", above, CASES);
	cr_expect(under_mid >= CASES * 4 / 10 && under_mid <= CASES * 6 / 10, "%u of %u", under_mid,
		  CASES);
}

Test(forecast, of_a_long_queue_agrees_with_plays)
{
	struct histogram h = { 0 };
	const struct histogram *list[] = { &h };
	struct runs runs;
	struct range played, summed;

	for (unsigned i = 0; i < 5000; i++)
		histogram_add(&h, some_time(), 1);
	runs_of(list, 1, &runs);
	histogram_free(&h);
	struct in_front front = { &runs, 2000 };
	struct situation s = { NULL, 0, 4, &front, 1, 99 };
	cr_assert_eq(forecast_start(&s, &played), 0);
	front.count = 2001;
	cr_assert_eq(forecast_start(&s, &summed), 0);
	cr_expect(summed.mid_ns > played.mid_ns * 95 / 100 &&
			  summed.mid_ns < played.mid_ns * 105 / 100,
		  "%ju and %ju", (uintmax_t)summed.mid_ns, (uintmax_t)played.mid_ns);
	cr_expect(summed.low_ns < summed.mid_ns && summed.mid_ns < summed.high_ns);
	cr_expect(summed.high_ns - summed.low_ns < summed.mid_ns / 5);
	/* A million takes no longer to foretell, and five hundred times as long to come. */
	front.count = 1000000;
	cr_assert_eq(forecast_start(&s, &played), 0);
	cr_expect(played.mid_ns > summed.mid_ns * 490 && played.mid_ns < summed.mid_ns * 510);
}

Test(forecast, quantiles_are_those_of_the_values)
{
	struct histogram days[2] = { 0 };
	const struct histogram *list[] = { &days[0], &days[1] };
	struct runs r;

	for (unsigned i = 1; i <= 1000; i++)
		histogram_add(&days[i % 2], i * NS_PER_US, 1);
	runs_of(list, 2, &r);
	cr_expect_eq(r.n, 1000);
	cr_expect_eq(r.most, 1000 * NS_PER_US);
	for (unsigned per_mille = 50; per_mille < 1000; per_mille += 50) {
		uint64_t got = runs_per_mille(&r, per_mille), expected = per_mille * NS_PER_US;
		cr_expect(got + 20 * NS_PER_US >= expected && got <= expected + 20 * NS_PER_US,
			  "%u: %ju", per_mille, (uintmax_t)got);
	}
	histogram_free(&days[0]);
	histogram_free(&days[1]);
	runs_of(list, 2, &r);
	cr_expect_eq(r.n, 0);
	cr_expect_eq(runs_per_mille(&r, 500), FORECAST_NEVER);
}
