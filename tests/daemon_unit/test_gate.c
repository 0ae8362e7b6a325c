/*
 * test_gate.c - the second gate in a broker without processes: thousands of random jobs that need
 * resources and rates, over several pools, against what must hold after every step.  The gate, the
 * queues and the table are the real ones; workers are records of this file, time is a number.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker.h"
#include "daemon/gate.h"
#include "daemon/gate_parts.h"
#include "daemon/policy.h"
#include "ipc/clock.h"

#define POOLS     3u
#define RESOURCES 4u
#define JOBS_MOST 4000u
#define STARTS    8192u

static struct broker b;
static struct config config;
static struct crew crew[POOLS];
static uint64_t next_id;
static uint64_t shift_ns; /* from hand-out to start */

/* Starts of one group, as they were. */
static uint64_t starts[STARTS];
static unsigned start_count;

static void
setup(void)
{
	memset(&b, 0, sizeof(b));
	memset(&config, 0, sizeof(config));
	config.pool_count = b.pool_count = POOLS;
	config.resource_count = RESOURCES;
	for (unsigned i = 0; i < RESOURCES; i++) {
		snprintf(config.resources[i].name, sizeof(config.resources[i].name), "r%u", i);
		config.resources[i].limit = i + 1;
	}
	for (unsigned i = 0; i < POOLS; i++) {
		snprintf(config.pools[i].name, sizeof(config.pools[i].name), "p%u", i);
		config.pools[i].concurrency = 1;
		b.pools[i].config = &config.pools[i];
		b.pools[i].index = i;
		b.pools[i].wanted = i + 1;
		config.pools[i].strategy = &strategy_priority;
		cr_assert_eq(pool_queue_open(&b.pools[i]), 0);
		crew[i].link.shared = calloc(1, sizeof(*crew[i].link.shared));
		b.pools[i].crew[0] = &crew[i];
		b.pools[i].crew_count = 1;
	}
	b.config = &config;
	b.now_ns = 1000 * NS_PER_S;
	b.base = event_base_new();
	next_id = 1;
	start_count = 0;
	shift_ns = 0;
	cr_assert_eq(jobs_init(&b.jobs, 100000, 1 << 20), 0);
	cr_assert_eq(gate_open(&b), 0);
}

static void
teardown(void)
{
	gate_close(&b);
	for (unsigned i = 0; i < POOLS; i++)
		pool_queue_close(&b.pools[i]);
	jobs_done(&b.jobs);
	event_base_free(b.base);
	for (unsigned i = 0; i < POOLS; i++)
		free(crew[i].link.shared);
}

TestSuite(gate, .init = setup, .fini = teardown, .timeout = 240);

/* ---- jobs ---- */

static struct policy *
policy_of(unsigned needs, unsigned rates)
{
	struct policy *p = calloc(1, sizeof(*p) + needs * sizeof(struct policy_need) +
					     rates * sizeof(struct policy_rate));
	p->needs = (struct policy_need *)(p + 1);
	p->rates = (struct policy_rate *)(p->needs + needs);
	p->key = "";
	return p;
}

static void
add_need(struct policy *p, unsigned resource, uint64_t count)
{
	struct policy_need *n = &p->needs[p->need_count++];
	snprintf(n->name, sizeof(n->name), "r%u", resource);
	n->count = count;
}

static void
add_rate(struct policy *p, const char *group, uint32_t count, uint64_t window_ns)
{
	struct policy_rate *r = &p->rates[p->rate_count++];
	snprintf(r->group, sizeof(r->group), "%s", group);
	r->count = count;
	r->window_ns = window_ns;
}

static uint32_t
enter(unsigned pool, int priority, struct policy *p)
{
	char why[400];
	uint32_t index = jobs_add(&b.jobs, next_id++, NULL, 0);
	struct job *job = job_at(&b.jobs, index);

	job->pool = (uint8_t)pool;
	job->priority = (int8_t)priority;
	job->flags = JOB_NO_CLIENT;
	job->more = calloc(1, sizeof(*job->more));
	job->more->policy = p;
	cr_assert_eq(gate_bind(&b, index, false, why, sizeof(why)), ERR_NONE, "%s", why);
	job_enter(&b, job);
	gate_enter(&b, index);
	return index;
}

static void
leave_table(uint32_t index)
{
	gate_ended(&b, index, JOB_SUCCEEDED);
	jobs_remove(&b.jobs, index);
}

/* ---- workers ---- */

static uint32_t running[JOBS_MOST];
static unsigned running_count;

static bool
has_worker(unsigned pool)
{
	return b.pools[pool].state == POOL_RUNNING && b.pools[pool].running < b.pools[pool].wanted;
}

static void
hand_out(uint32_t index)
{
	struct job *job = job_at(&b.jobs, index);

	queue_remove(&b, index);
	job_change(&b, job, JOB_RUNNING);
	job->ticket = (uint16_t)(job->id % LINK_TICKETS);
	atomic_store(&crew[job->pool].link.shared->tickets[job->ticket].claimed_ns,
		     shift_ns == 0 ? b.now_ns : 0);
	running[running_count++] = index;
}

/* As the broker does it: pool after pool, turn after turn, until nothing moves. */
static void
settle(void)
{
	for (unsigned quiet = 0; quiet < 3;) {
		unsigned moved = gate_turn(&b);
		for (unsigned pool = 0; pool < POOLS; pool++) {
			uint32_t index;
			while (has_worker(pool) &&
			       (index = queue_peek(&b, &b.pools[pool])) != JOB_NONE) {
				moved++;
				if (gate_pass(&b, index))
					hand_out(index);
			}
		}
		quiet = moved > 0 ? 0 : quiet + 1;
	}
}

static void
end(unsigned which, uint64_t started_ns)
{
	uint32_t index = running[which];

	running[which] = running[--running_count];
	gate_leave(&b, index, started_ns);
	job_change(&b, job_at(&b.jobs, index), JOB_SUCCEEDED);
	leave_table(index);
}

static void
take_back(unsigned which)
{
	uint32_t index = running[which];

	running[which] = running[--running_count];
	job_change(&b, job_at(&b.jobs, index), JOB_QUEUED);
	gate_unpass(&b, index);
	queue_put_back(&b, index);
}

static void
cancel(uint32_t index)
{
	queue_remove(&b, index);
	gate_leave(&b, index, 0);
	job_change(&b, job_at(&b.jobs, index), JOB_CANCELLED);
	leave_table(index);
}

/* ---- what must hold ---- */

static void
never_above_the_limit(void)
{
	uint64_t used[RESOURCES] = { 0 };

	for (unsigned i = 0; i < running_count; i++) {
		const struct policy *p = job_at(&b.jobs, running[i])->more->policy;
		for (unsigned k = 0; k < p->need_count; k++)
			used[p->needs[k].name[1] - '0'] += p->needs[k].count;
	}
	for (unsigned i = 0; i < RESOURCES; i++) {
		cr_assert_eq(used[i], b.gate->resources[i]->used, "r%u", i);
		cr_assert_leq(used[i], config.resources[i].limit, "r%u", i);
	}
}

static bool
fits(const struct job *job)
{
	const struct policy *p = job->more->policy;

	for (unsigned k = 0; k < p->need_count; k++) {
		const struct limit *l = b.gate->resources[p->needs[k].name[1] - '0'];
		if (l->used + p->needs[k].count > l->most)
			return false;
	}
	return true;
}

static bool
is_ahead(const struct job *x, const struct job *y)
{
	return x->priority != y->priority ? x->priority > y->priority : x->id < y->id;
}

static const struct jobs *ranked;

static int
by_rank(const void *x, const void *y)
{
	const struct job *a = job_at(ranked, *(const uint32_t *)x);
	const struct job *c = job_at(ranked, *(const uint32_t *)y);
	return is_ahead(a, c) ? -1 : 1;
}

/* From the best on: who has a worker runs, if what it needs is there.  One that has none lets
 * others go first; one for which there is not enough may hold up those behind it. */
static void
nobody_waits_in_vain(void)
{
	uint32_t waiting[JOBS_MOST];
	unsigned count = 0;

	for (uint32_t i = 0; (i = jobs_next(&b.jobs, i)) != JOB_NONE; i++) {
		const struct job *job = job_at(&b.jobs, i);
		if (job->state == JOB_QUEUED && !(job->more->flags & STORE_JOB_HELD) &&
		    b.pools[job->pool].state == POOL_RUNNING)
			waiting[count++] = i;
	}
	ranked = &b.jobs;
	qsort(waiting, count, sizeof(waiting[0]), by_rank);
	for (unsigned i = 0; i < count; i++) {
		const struct job *job = job_at(&b.jobs, waiting[i]);
		if (!fits(job) || (job->more->gate != NULL && job->more->gate == b.gate->keeper))
			return;
		cr_assert_not(has_worker(job->pool), "job %llu could run and waits for %s",
			      (unsigned long long)job->id, wait_word(job->more->waits));
	}
}

/* ---- resources ---- */

static unsigned
draw(unsigned below)
{
	return (unsigned)rand() % below;
}

static struct policy *
random_needs(void)
{
	struct policy *p = policy_of(RESOURCES, 0);

	for (unsigned i = 0; i < RESOURCES; i++)
		if (draw(3) == 0)
			add_need(p, i, 1 + draw(i + 1));
	return p;
}

static uint32_t
some_job(void)
{
	uint32_t index = jobs_next(&b.jobs, draw(64));
	return index != JOB_NONE ? index : jobs_next(&b.jobs, 0);
}

static void
random_step(void)
{
	uint32_t index;

	switch (draw(12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		if (b.jobs.count < 60)
			(void)enter(draw(POOLS), draw(8) == 0 ? (int)draw(5) - 2 : 0,
				    random_needs());
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		if (running_count > 0)
			end(draw(running_count), b.now_ns);
		break;
	case 8:
		if (running_count > 0)
			take_back(draw(running_count));
		break;
	case 9:
		index = some_job();
		if (index != JOB_NONE && job_at(&b.jobs, index)->state == JOB_QUEUED)
			cancel(index);
		break;
	case 10:
		index = some_job();
		if (index != JOB_NONE && job_at(&b.jobs, index)->state == JOB_QUEUED)
			(void)gate_hold(&b, index,
					!(job_at(&b.jobs, index)->more->flags & STORE_JOB_HELD));
		break;
	default:
		index = draw(POOLS);
		b.pools[index].state = draw(2) ? POOL_RUNNING : POOL_PAUSED;
		gate_pools_changed(&b);
	}
}

static void
let_all_end(void)
{
	for (unsigned i = 0; i < POOLS; i++)
		b.pools[i].state = POOL_RUNNING;
	gate_pools_changed(&b);
	for (uint32_t i = 0; (i = jobs_next(&b.jobs, i)) != JOB_NONE; i++)
		if (job_at(&b.jobs, i)->state == JOB_QUEUED)
			(void)gate_hold(&b, i, false);
	settle();
	while (running_count > 0) {
		never_above_the_limit();
		end(draw(running_count), b.now_ns);
		settle();
	}
	cr_expect_eq(b.jobs.count, 0u, "%llu jobs wait for ever", (unsigned long long)b.jobs.count);
}

Test(gate, resources_are_never_above_their_limit_and_nobody_waits_in_vain)
{
	for (unsigned seed = 1; seed <= 40; seed++) {
		srand(seed);
		for (unsigned step = 0; step < 2500; step++) {
			random_step();
			settle();
			never_above_the_limit();
			nobody_waits_in_vain();
		}
		let_all_end();
	}
}

Test(gate, one_that_needs_much_is_not_passed_by_for_ever)
{
	struct policy *p = policy_of(1, 0);

	add_need(p, 3, 4); /* all there is */
	for (unsigned i = 0; i < 3; i++) {
		struct policy *small = policy_of(1, 0);
		add_need(small, 3, 1);
		(void)enter(2, 0, small);
	}
	settle();
	cr_assert_eq(running_count, 3u);
	uint32_t big = enter(1, 0, p);
	for (unsigned i = 0; i < 3; i++) {
		struct policy *small = policy_of(1, 0);
		add_need(small, 3, 1);
		(void)enter(2, 0, small);
		settle();
		cr_assert_eq(job_at(&b.jobs, big)->state, JOB_QUEUED);
		cr_assert_eq(running_count, 3u - i, "a younger one passed it by");
		end(0, b.now_ns);
	}
	settle();
	cr_expect_eq(job_at(&b.jobs, big)->state, JOB_RUNNING);
	let_all_end();
}

/* Others that need one of the two things come all the time. */
Test(gate, one_that_needs_two_things_gets_them)
{
	struct policy *p = policy_of(2, 0);
	unsigned rounds = 0;

	srand(5);
	add_need(p, 0, 1);
	add_need(p, 1, 2);
	for (unsigned i = 0; i < 6; i++) {
		struct policy *one = policy_of(1, 0);
		add_need(one, i % 2, 1 + i % 2);
		(void)enter(2, 0, one);
	}
	settle();
	uint32_t both = enter(1, 0, p);
	settle();
	for (; job_at(&b.jobs, both)->state == JOB_QUEUED && rounds < 1000; rounds++) {
		for (unsigned i = 0; i < 2; i++) {
			struct policy *one = policy_of(1, 0);
			add_need(one, i, 1 + i);
			(void)enter(2, 0, one);
		}
		end(draw(running_count), b.now_ns);
		settle();
	}
	cr_expect_lt(rounds, 40u, "it starved");
	let_all_end();
}

Test(gate, a_better_one_of_another_pool_goes_first)
{
	for (int turn = 0; turn < 20; turn++) {
		struct policy *first = policy_of(1, 0);
		add_need(first, 0, 1);
		(void)enter(0, 0, first);
		settle();
		struct policy *worse = policy_of(1, 0), *better = policy_of(1, 0);
		add_need(worse, 0, 1);
		add_need(better, 0, 1);
		/* The pools are dispatched in the order of their numbers. */
		uint32_t w = enter(turn % 2 ? 1 : 2, 0, worse);
		uint32_t x = enter(turn % 2 ? 2 : 1, 5, better);
		settle();
		end(0, b.now_ns);
		settle();
		cr_assert_eq(job_at(&b.jobs, x)->state, JOB_RUNNING);
		cr_assert_eq(job_at(&b.jobs, w)->state, JOB_QUEUED);
		let_all_end();
	}
}

Test(gate, what_a_pool_cannot_use_another_one_takes)
{
	struct policy *first = policy_of(1, 0), *stuck = policy_of(1, 0), *other = policy_of(1, 0);

	add_need(first, 0, 1);
	add_need(stuck, 0, 1);
	add_need(other, 0, 1);
	(void)enter(1, 0, first);
	settle();
	uint32_t s = enter(0, 9, stuck), o = enter(1, 0, other);
	settle();
	b.pools[0].state = POOL_PAUSED;
	gate_pools_changed(&b);
	end(0, b.now_ns);
	settle();
	cr_expect_eq(job_at(&b.jobs, o)->state, JOB_RUNNING);
	cr_expect_eq(job_at(&b.jobs, s)->state, JOB_QUEUED);
	let_all_end();
}

/* ---- rates ---- */

/* The jobs that are on their way start now. */
static void
start_now(void)
{
	for (unsigned i = 0; i < running_count; i++) {
		struct job *job = job_at(&b.jobs, running[i]);
		struct ticket *t = &crew[job->pool].link.shared->tickets[job->ticket];
		if (atomic_load(&t->claimed_ns) != 0)
			continue;
		atomic_store(&t->claimed_ns, b.now_ns);
	}
}

static uint64_t
started_at(uint32_t index)
{
	const struct job *job = job_at(&b.jobs, index);
	return atomic_load(&crew[job->pool].link.shared->tickets[job->ticket].claimed_ns);
}

static void
end_started(void)
{
	for (unsigned i = 0; i < running_count;) {
		uint64_t at = started_at(running[i]);
		if (at == 0 || draw(3) > 0) {
			i++;
			continue;
		}
		cr_assert_lt(start_count, STARTS);
		starts[start_count++] = at;
		end(i, at);
	}
}

static int
by_number(const void *a, const void *b_)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b_;
	return x < y ? -1 : x > y;
}

/* No window so long, wherever it begins, has more than `count` starts. */
static void
check_windows(unsigned count, uint64_t window_ns)
{
	qsort(starts, start_count, sizeof(starts[0]), by_number);
	for (unsigned i = count; i < start_count; i++)
		cr_assert_geq(starts[i] - starts[i - count], window_ns, "start %u of %u", i,
			      start_count);
}

/* Time goes on to the next thing that is due, or a little. */
static void
pass_time(void)
{
	uint64_t due_ns = limits_due(&b);

	b.now_ns = due_ns > b.now_ns && draw(2) ? due_ns : b.now_ns + draw(3) * NS_PER_MS;
	(void)limits_due(&b);
}

Test(gate, no_window_has_more_starts_than_the_rate_allows)
{
	for (unsigned seed = 1; seed <= 20; seed++) {
		srand(seed);
		start_count = 0;
		shift_ns = seed % 2; /* odd: jobs start some time after they were handed out */
		for (unsigned step = 0; step < 3000; step++) {
			if (b.jobs.count < 40) {
				struct policy *p = policy_of(0, 1);
				add_rate(p, "key:x", 7, 20 * NS_PER_MS);
				(void)enter(draw(POOLS), (int)draw(3) - 1, p);
			}
			settle();
			if (draw(6) == 0 && running_count > 0 && started_at(running[0]) == 0)
				take_back(0);
			pass_time();
			if (draw(2))
				start_now();
			end_started();
		}
		cr_assert_gt(start_count, 100u);
		check_windows(7, 20 * NS_PER_MS);
		for (uint32_t i = 0; (i = jobs_next(&b.jobs, i)) != JOB_NONE; i++)
			if (job_at(&b.jobs, i)->state == JOB_QUEUED)
				cancel(i);
		while (running_count > 0)
			end(0, b.now_ns);
		b.now_ns += NS_PER_S;
		(void)limits_due(&b);
		cr_expect_eq(b.gate->logs.count, 0u, "a rate nobody uses is kept");
	}
}

/* With nothing else in the way, the next one starts at the very instant a place comes free. */
Test(gate, a_place_in_a_window_is_used_when_it_comes_free)
{
	uint64_t begin_ns = b.now_ns;

	b.pools[2].wanted = 1000;
	for (unsigned i = 0; i < 1000; i++) {
		struct policy *p = policy_of(0, 1);
		add_rate(p, "kind:noop", 10, NS_PER_S);
		(void)enter(2, 0, p);
	}
	settle();
	for (unsigned second = 0; second < 100; second++) {
		cr_assert_eq(b.now_ns, begin_ns + second * NS_PER_S);
		cr_assert_eq(running_count, 10u * (second + 1));
		uint64_t due_ns = limits_due(&b);
		if (second < 99)
			cr_assert_eq(due_ns, b.now_ns + NS_PER_S);
		b.now_ns += NS_PER_S;
		(void)limits_due(&b);
		settle();
	}
	while (running_count > 0)
		end(0, begin_ns);
}

Test(gate, jobs_of_one_group_may_bring_different_rates)
{
	b.pools[2].wanted = 1000;
	for (unsigned i = 0; i < 6; i++) {
		struct policy *p = policy_of(0, 1);
		add_rate(p, "key:x", i % 2 ? 2 : 5, NS_PER_S);
		(void)enter(2, 0, p);
	}
	settle(); /* 1 and 2 start; 4 and 6 may not be the third; 3 and 5 may */
	cr_assert_eq(running_count, 4u);
	b.now_ns += NS_PER_S;
	(void)limits_due(&b);
	settle();
	cr_expect_eq(running_count, 6u);
	while (running_count > 0)
		end(0, b.now_ns);
}

Test(gate, two_rates_of_one_job_both_hold)
{
	b.pools[2].wanted = 1000;
	for (unsigned i = 0; i < 30; i++) {
		struct policy *p = policy_of(0, 2);
		add_rate(p, "key:x", 3, NS_PER_S);
		add_rate(p, "key:x", 10, 60 * NS_PER_S);
		(void)enter(2, 0, p);
	}
	uint64_t begin_ns = b.now_ns;
	for (unsigned tick = 0; tick < 2000 && running_count < 30; tick++) {
		settle();
		b.now_ns += 100 * NS_PER_MS;
		(void)limits_due(&b);
	}
	cr_assert_eq(running_count, 30u);
	for (unsigned i = 0; i < 30; i++)
		starts[start_count++] = started_at(running[i]);
	check_windows(3, NS_PER_S);
	check_windows(10, 60 * NS_PER_S);
	cr_expect_leq(starts[29] - begin_ns, 124 * NS_PER_S, "later than needed");
	while (running_count > 0)
		end(0, begin_ns);
}

/* ---- times ---- */

static uint32_t
enter_at(uint64_t at_ns)
{
	struct policy *p = policy_of(0, 0);

	p->at_ns = at_ns;
	uint32_t index = jobs_add(&b.jobs, next_id++, NULL, 0);
	struct job *job = job_at(&b.jobs, index);
	char why[400];
	job->flags = JOB_NO_CLIENT;
	job->more = calloc(1, sizeof(*job->more));
	job->more->policy = p;
	job->more->wake_ns = at_ns - b.wall_offset_ns;
	cr_assert_eq(gate_bind(&b, index, false, why, sizeof(why)), ERR_NONE, "%s", why);
	job_enter(&b, job);
	gate_enter(&b, index);
	return index;
}

Test(gate, a_clock_that_is_set_moves_the_times_that_people_named)
{
	uint32_t index[100];

	b.wall_offset_ns = 5000 * NS_PER_S;
	for (unsigned i = 0; i < 100; i++)
		index[i] = enter_at(b.now_ns + b.wall_offset_ns + (1 + i * 37 % 100) * NS_PER_S);
	b.wall_offset_ns += 50 * NS_PER_S; /* 50 s forward: those within have come */
	times_clock_set(&b);
	for (unsigned i = 0; i < 100; i++) {
		const struct job *job = job_at(&b.jobs, index[i]);
		uint64_t at_s = 1 + i * 37 % 100;
		cr_assert_eq((job->flags & JOB_PARKED) != 0, at_s > 50, "%llu s",
			     (unsigned long long)at_s);
		cr_assert(at_s <= 50 || job->more->wake_ns == b.now_ns + (at_s - 50) * NS_PER_S);
	}
	b.wall_offset_ns -= 1000 * NS_PER_S; /* back: the others wait that much longer */
	times_clock_set(&b);
	cr_assert_eq(b.gate->times.count, 50u);
	for (unsigned i = 0; i < 100; i++)
		cancel(index[i]);
}

/* ---- parents ---- */

/* Only a damaged store could say so. */
Test(gate, jobs_cannot_wait_for_each_other)
{
	struct policy_parent parents[] = { { 1, AFTER_OK }, { 2, AFTER_OK } };
	char why[400];

	next_id = 3;
	for (uint64_t parent = 1; parent <= 3; parent++) {
		struct policy *p = policy_of(0, 0);
		uint32_t index = jobs_add(&b.jobs, 2, NULL, 0);
		struct job *job = job_at(&b.jobs, index);
		parents[0].id = parent;
		p->parents = parents;
		p->parent_count = 1;
		job->more = calloc(1, sizeof(*job->more));
		job->more->policy = p;
		if (parent >= 2)
			cr_expect_eq(gate_bind(&b, index, true, why, sizeof(why)), ERR_CYCLE);
		jobs_remove(&b.jobs, index);
	}
	cr_expect_eq(b.gate->parents.count, 0u);
}

/* ---- what holds a job back ---- */

Test(gate, says_what_a_job_waits_for_who_has_it_and_until_when)
{
	struct policy *all = policy_of(1, 0), *one = policy_of(1, 0), *two = policy_of(1, 0);
	struct gate_reason r[4];

	add_need(all, 3, 4);
	add_need(one, 3, 1);
	add_need(two, 3, 2);
	uint32_t has = enter(2, 0, all);
	settle();
	uint32_t first = enter(2, 1, one), second = enter(2, 0, two);
	settle();
	cr_assert_eq(gate_reasons(&b, has, r, 4), 0u, "it runs");
	cr_assert_eq(gate_reasons(&b, second, r, 4), 1u);
	cr_expect_eq(r[0].wait, WAIT_NEED);
	cr_expect_str_eq(r[0].name, "r3");
	cr_expect_eq(r[0].asked, 2u);
	cr_expect_eq(r[0].used, 4u);
	cr_expect_eq(r[0].limit, 4u);
	cr_expect_eq(r[0].ahead, 1u);
	cr_expect_eq(r[0].id_count, 1u);
	cr_expect_eq(r[0].ids[0], job_at(&b.jobs, has)->id);
	cr_expect_eq(r[0].since_ns, b.now_ns);
	cr_expect_eq(r[0].until_ns, 0u);
	cr_assert_eq(gate_hold(&b, first, true), 0);
	cr_assert_eq(gate_reasons(&b, first, r, 4), 1u);
	cr_expect_eq(r[0].wait, WAIT_HELD);
	let_all_end();
}

Test(gate, says_when_a_window_has_room_again)
{
	struct gate_reason r[4];
	uint32_t index[3];

	b.pools[2].wanted = 10;
	for (unsigned i = 0; i < 3; i++) {
		struct policy *p = policy_of(0, 1);
		add_rate(p, "key:x", 1, 60 * NS_PER_S);
		index[i] = enter(2, 0, p);
	}
	settle();
	cr_assert_eq(gate_reasons(&b, index[2], r, 4), 1u);
	cr_expect_eq(r[0].wait, WAIT_RATE);
	cr_expect_str_eq(r[0].name, "key:x");
	cr_expect_eq(r[0].used, 1u);
	cr_expect_eq(r[0].limit, 1u);
	cr_expect_eq(r[0].window_ns, 60 * NS_PER_S);
	cr_expect_eq(r[0].until_ns, b.now_ns + 60 * NS_PER_S);
	cr_expect_eq(r[0].ahead, 1u);
	cancel(index[1]);
	cancel(index[2]);
	end(0, b.now_ns);
}

Test(gate, says_all_that_holds_a_job_back)
{
	struct gate_reason r[4];
	uint32_t index = enter_at(b.now_ns + b.wall_offset_ns + NS_PER_S);

	cr_assert_eq(gate_reasons(&b, index, r, 4), 1u);
	cr_expect_eq(r[0].wait, WAIT_TIME);
	cr_expect_eq(r[0].until_ns, b.now_ns + NS_PER_S);
	cr_assert_eq(gate_hold(&b, index, true), 0);
	cr_assert_eq(gate_reasons(&b, index, r, 4), 2u);
	cr_expect_eq(r[0].wait, WAIT_HELD);
	cr_expect_eq(r[1].wait, WAIT_TIME);
	cr_assert_eq(gate_reasons(&b, index, r, 1), 1u, "no room for more");
	cancel(index);
}
