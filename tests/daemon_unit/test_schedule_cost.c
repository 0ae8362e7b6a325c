/*
 * test_schedule_cost.c - what an operation on a pool's queue costs with 10 to 1,000,000 jobs in
 * it: jobs looked at, which is the same on every machine, and time, which is printed only.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>

#include "daemon/broker.h"
#include "ipc/clock.h"

#define MOST       1000000u
#define OPS        2000u
#define COST_USERS 50u
#define COST_KINDS 20u

/* ---- counting looks at jobs ---- */

struct job *__real_job_at(const struct jobs *t, uint32_t index);
struct job *__wrap_job_at(const struct jobs *t, uint32_t index);
static uint64_t looks;

struct job *
__wrap_job_at(const struct jobs *t, uint32_t index)
{
	looks++;
	return __real_job_at(t, index);
}

/* ---- a broker with one pool ---- */

static struct pool_config config;
static struct broker broker;
static struct broker *const b = &broker;
static struct pool *const p = &broker.pools[0];
static uint32_t *queued;
static uint32_t queued_count;

static uint32_t
random_below(uint32_t n)
{
	static uint64_t state = 88172645463325252u;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state % n);
}

static void
open_pool(const struct strategy *strategy)
{
	broker = (struct broker){ 0 };
	TAILQ_INIT(&broker.busy);
	cr_assert_eq(jobs_init(&broker.jobs, MOST + OPS, 1 << 20), 0);
	config = (struct pool_config){ .strategy = strategy, .ageing_ns = 60 * NS_PER_S };
	p->config = &config;
	b->pool_count = 1;
	b->now_ns = 1000 * NS_PER_S;
	cr_assert_eq(pool_queue_open(p), 0);
	queued = malloc((MOST + OPS) * sizeof(*queued));
	queued_count = 0;
	for (unsigned kind = 0; kind < COST_KINDS; kind++)
		p->estimate_ns[kind] = (kind + 1) * NS_PER_MS;
}

static void
close_pool(void)
{
	pool_queue_close(p);
	jobs_done(&broker.jobs);
	free(queued);
}

static uint32_t
new_job(void)
{
	static uint64_t id;
	uint32_t index = jobs_add(&b->jobs, ++id, NULL, 0);
	cr_assert_neq(index, JOB_NONE);
	struct job *job = __real_job_at(&b->jobs, index);
	job->kind = (uint8_t)random_below(COST_KINDS);
	job->uid = random_below(COST_USERS);
	job->priority = (int8_t)((int)random_below(201) - 100);
	job->flags = JOB_NO_CLIENT;
	return index;
}

/* ---- the operations ---- */

struct cost {
	uint64_t looks_most, ns, count;
};

static void
measured(struct cost *c, uint64_t looks_before, uint64_t ns_before)
{
	uint64_t n = looks - looks_before;
	c->ns += clock_now() - ns_before;
	c->count++;
	if (n > c->looks_most)
		c->looks_most = n;
}

#define MEASURE(cost, what)                             \
	do {                                            \
		uint64_t ns_ = clock_now(), n_ = looks; \
		what;                                   \
		measured(&(cost), n_, ns_);             \
	} while (0)

enum { PUSH, TAKE, BACK, REMOVE, OPERATIONS };

static void
take_one(uint32_t *ret)
{
	*ret = queue_peek(b, p);
	queue_remove(b, *ret);
	if (p->strategy->handed != NULL)
		p->strategy->handed(p, __real_job_at(&b->jobs, *ret));
}

static void
give_back(uint32_t index)
{
	if (p->strategy->settled != NULL)
		p->strategy->settled(p, __real_job_at(&b->jobs, index));
	queue_put_back(b, index);
}

/* `count` jobs wait; then OPS of each operation, the number staying about the same. */
static void
measure(uint32_t count, struct cost costs[OPERATIONS])
{
	uint32_t batch = count < OPS ? count : OPS, *taken = malloc(batch * sizeof(*taken));

	while (queued_count < count) {
		queued[queued_count] = new_job();
		b->now_ns += random_below(1000);
		queue_push(b, queued[queued_count++]);
	}
	for (uint32_t i = 0; i < OPS; i++) {
		queued[queued_count] = new_job();
		MEASURE(costs[PUSH], queue_push(b, queued[queued_count]));
		queued_count++;
	}
	for (uint32_t done = 0; done < OPS; done += batch) {
		for (uint32_t i = 0; i < batch; i++)
			MEASURE(costs[TAKE], take_one(&taken[i]));
		for (uint32_t i = batch; i-- > 0;)
			MEASURE(costs[BACK], give_back(taken[i]));
	}
	for (uint32_t i = 0; i < OPS; i++) {
		uint32_t n = random_below(queued_count);
		MEASURE(costs[REMOVE], queue_remove(b, queued[n]));
		jobs_remove(&b->jobs, queued[n]);
		queued[n] = queued[--queued_count];
	}
	free(taken);
}

static unsigned
log2_of(uint32_t n)
{
	unsigned log = 0;
	while (n >>= 1)
		log++;
	return log;
}

static void
check_strategy(const struct strategy *strategy)
{
	static const char *const names[OPERATIONS] = { "push", "take", "put back", "remove" };

	open_pool(strategy);
	fprintf(stderr, "%-9s %9s", strategy->name, "jobs");
	for (unsigned i = 0; i < OPERATIONS; i++)
		fprintf(stderr, "  %8s: looks   ns", names[i]);
	fprintf(stderr, "\n");
	for (uint32_t count = 10; count <= MOST; count *= 10) {
		struct cost costs[OPERATIONS] = { 0 };
		measure(count, costs);
		fprintf(stderr, "%-9s %9u", strategy->name, count);
		for (unsigned i = 0; i < OPERATIONS; i++)
			fprintf(stderr, "  %15ju %4ju", (uintmax_t)costs[i].looks_most,
				(uintmax_t)(costs[i].ns / costs[i].count));
		fprintf(stderr, "\n");
		/* What has come back, at most OPS, is in a heap: four looks a step, up and down. */
		uint64_t heap = 4 * (log2_of(OPS) + 1);
		cr_expect_leq(costs[PUSH].looks_most, 4u);
		cr_expect_leq(costs[TAKE].looks_most, 16 + COST_KINDS * 4 + heap);
		cr_expect_leq(costs[BACK].looks_most, 4 + heap);
		cr_expect_leq(costs[REMOVE].looks_most, 8 + heap);
	}
	close_pool();
}

TestSuite(schedule_cost, .timeout = 600);

Test(schedule_cost, of_priority_does_not_grow_with_the_queue)
{
	check_strategy(&strategy_priority);
}

Test(schedule_cost, of_fifo_does_not_grow_with_the_queue)
{
	check_strategy(&strategy_fifo);
}

Test(schedule_cost, of_fair_does_not_grow_with_the_queue)
{
	check_strategy(&strategy_fair);
}

Test(schedule_cost, of_sjf_does_not_grow_with_the_queue)
{
	check_strategy(&strategy_sjf);
}

/* A change of strategy goes through all that wait, once. */
Test(schedule_cost, of_a_change_of_strategy_is_a_few_looks_a_job)
{
	struct cost costs[OPERATIONS] = { 0 };

	open_pool(&strategy_priority);
	measure(MOST, costs);
	for (unsigned i = 1; strategies[i] != NULL; i++) {
		uint64_t ns = clock_now(), n = looks;
		cr_assert_eq(pool_queue_switch(b, p, strategies[i]), 0);
		fprintf(stderr, "to %-8s with %u jobs: %ju ms\n", strategies[i]->name, queued_count,
			(uintmax_t)((clock_now() - ns) / NS_PER_MS));
		cr_expect_leq(looks - n, 8ull * queued_count);
	}
	close_pool();
}
