/*
 * test_schedule.c - each strategy beside a model that looks through all jobs; nobody starves;
 * changing the strategy keeps jobs and order; no memory.
 *
 * The broker here is only its tables: nothing runs, and time is a number.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/broker.h"
#include "ipc/clock.h"

#define MODEL_JOBS 400
#define ROUNDS     40000

/* ---- memory that may be out ---- */

void *__real_malloc(size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_calloc(size_t count, size_t size);
static bool no_memory;

void *
__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

void *
__wrap_realloc(void *old, size_t size)
{
	return no_memory ? NULL : __real_realloc(old, size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	return no_memory ? NULL : __real_calloc(count, size);
}

/* ---- a broker with one pool ---- */

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
	cr_assert_eq(jobs_init(&broker.jobs, 2000000, 1 << 20), 0);
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
	pool_queue_close(p);
	jobs_done(&broker.jobs);
}

static uint32_t
add(unsigned kind, uint32_t uid, int priority)
{
	uint32_t index = jobs_add(&b->jobs, next_id++, NULL, 0);
	cr_assert_neq(index, JOB_NONE);
	struct job *job = job_at(&b->jobs, index);
	job->kind = (uint8_t)kind;
	job->uid = uid;
	job->priority = (int8_t)priority;
	job->flags = JOB_NO_CLIENT;
	queue_push(b, index);
	return index;
}

/* As dispatch.c hands one out. */
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

static void
settle(uint32_t index)
{
	if (p->strategy->settled != NULL)
		p->strategy->settled(p, job_at(&b->jobs, index));
}

static void
finish(uint32_t index, uint64_t run_ns)
{
	const struct job *job = job_at(&b->jobs, index);

	settle(index);
	if (p->strategy->ran != NULL)
		p->strategy->ran(p, job, run_ns);
	p->estimate_ns[job->kind] = p->estimate_ns[job->kind] == 0
					    ? run_ns
					    : (p->estimate_ns[job->kind] * 7 + run_ns) / 8;
	jobs_remove(&b->jobs, index);
}

static void
put_back(uint32_t index)
{
	settle(index);
	queue_put_back(b, index);
}

static uint64_t
random_below(uint64_t n)
{
	static uint64_t state = 88172645463325252u;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % n;
}

/* ---- the model: all that wait, looked through each time ---- */

static uint32_t waiting[MODEL_JOBS], out[MODEL_JOBS];
static unsigned waiting_count, out_count;

#define USERS 7
static struct {
	uint64_t spent_ns, run_ns, served;
	unsigned under_way;
} users[USERS];
static uint64_t fair_now_ns, fair_served;

static __int128
user_turn(uint32_t uid)
{
	uint64_t run_ns = users[uid].run_ns != 0 ? users[uid].run_ns : NS_PER_MS;
	return (__int128)users[uid].spent_ns + users[uid].under_way * run_ns;
}

static unsigned
user_waits(uint32_t uid)
{
	unsigned n = 0;
	for (unsigned i = 0; i < waiting_count; i++)
		n += job_at(&b->jobs, waiting[i])->uid == uid;
	return n;
}

/* How high a job stands after waiting until now, times ageing. */
static __int128
height(const struct job *job)
{
	uint64_t waited_ns = b->now_ns + NS_PER_S - job->queued_ns;

	if (p->strategy == &strategy_fifo)
		return waited_ns;
	if (p->ageing_ns == 0)
		return job->priority * ((__int128)1 << 64) + waited_ns;
	return (__int128)job->priority * p->ageing_ns + waited_ns;
}

/* In one line: does x go before y? */
static bool
stands_before(const struct job *x, const struct job *y)
{
	if (height(x) != height(y))
		return height(x) > height(y);
	return x->priority > y->priority;
}

static bool
same_line(const struct job *x, const struct job *y)
{
	if (p->strategy == &strategy_fair)
		return x->uid == y->uid;
	return p->strategy != &strategy_sjf || x->kind == y->kind;
}

/* Between the first of two lines. */
static bool
line_before(const struct job *x, const struct job *y)
{
	uint64_t run_x = p->estimate_ns[x->kind], run_y = p->estimate_ns[y->kind];

	if (p->strategy == &strategy_fair) {
		if (user_turn(x->uid) != user_turn(y->uid))
			return user_turn(x->uid) < user_turn(y->uid);
		return users[x->uid].served < users[y->uid].served;
	}
	if (p->ageing_ns == 0)
		return run_x != run_y ? run_x < run_y : x->queued_ns < y->queued_ns;
	/* x goes first unless y came so much earlier that it will not be passed any more. */
	__int128 lead = (__int128)y->queued_ns - x->queued_ns;
	__int128 longer = ((__int128)run_x - run_y) * 10;
	return lead != longer ? lead > longer : run_x < run_y;
}

/* Of users that are equal in every way, any: so the choice is compared, not the index. */
static bool
equal_choice(const struct job *x, const struct job *y)
{
	return p->strategy == &strategy_fair && x->uid != y->uid &&
	       user_turn(x->uid) == user_turn(y->uid) &&
	       users[x->uid].served == users[y->uid].served;
}

static uint32_t
model_first(void)
{
	const struct job *firsts[MODEL_JOBS];
	uint32_t index_of[MODEL_JOBS];
	unsigned lines = 0, best = 0;

	for (unsigned i = 0; i < waiting_count; i++) {
		const struct job *job = job_at(&b->jobs, waiting[i]);
		unsigned l = 0;
		while (l < lines && !same_line(job, firsts[l]))
			l++;
		if (l == lines || stands_before(job, firsts[l])) {
			firsts[l] = job;
			index_of[l] = waiting[i];
			lines += l == lines;
		}
	}
	for (unsigned l = 1; l < lines; l++)
		if (line_before(firsts[l], firsts[best]))
			best = l;
	return lines > 0 ? index_of[best] : JOB_NONE;
}

static void
drop(uint32_t *list, unsigned *count, unsigned i)
{
	list[i] = list[--*count];
}

static void
model_push(uint32_t index)
{
	uint32_t uid = job_at(&b->jobs, index)->uid;

	if (user_waits(uid) == 0 && users[uid].under_way == 0 && users[uid].spent_ns < fair_now_ns)
		users[uid].spent_ns = fair_now_ns;
	waiting[waiting_count++] = index;
}

static void
model_handed(uint32_t index)
{
	uint32_t uid = job_at(&b->jobs, index)->uid;

	if (user_turn(uid) > fair_now_ns)
		fair_now_ns = (uint64_t)user_turn(uid);
	users[uid].under_way++;
	users[uid].served = ++fair_served;
}

static void
model_ran(uint32_t index, uint64_t run_ns)
{
	uint32_t uid = job_at(&b->jobs, index)->uid;

	run_ns = run_ns < NS_PER_US ? NS_PER_US : run_ns;
	users[uid].run_ns = users[uid].run_ns == 0 ? run_ns : (users[uid].run_ns * 7 + run_ns) / 8;
	users[uid].spent_ns += run_ns;
}

/* A strategy that is new knows nothing but what is under way. */
static void
model_switch(void)
{
	for (unsigned i = 0; i < USERS; i++)
		users[i].spent_ns = users[i].run_ns = users[i].served = users[i].under_way = 0;
	fair_now_ns = fair_served = 0;
}

/* ---- one step of a random story, in both ---- */

static void
step_push(void)
{
	if (waiting_count + out_count == MODEL_JOBS)
		return;
	int priority = random_below(3) == 0 ? (int)random_below(201) - 100 : 0;
	model_push(add((unsigned)random_below(5), (uint32_t)random_below(USERS), priority));
}

static void
step_take(void)
{
	uint32_t expected = model_first(), got = queue_peek(b, p);
	unsigned i = 0;

	if (expected == JOB_NONE) {
		cr_assert_eq(got, JOB_NONE);
		return;
	}
	cr_assert_neq(got, JOB_NONE);
	if (got != expected) {
		const struct job *x = job_at(&b->jobs, got), *y = job_at(&b->jobs, expected);
		cr_assert(equal_choice(x, y),
			  "%s: job %ju (kind %u uid %u priority %d), expected %ju (%u %u %d)",
			  p->strategy->name, (uintmax_t)x->id, x->kind, x->uid, x->priority,
			  (uintmax_t)y->id, y->kind, y->uid, y->priority);
	}
	cr_assert_eq(take(), got);
	while (waiting[i] != got)
		i++;
	model_handed(got);
	drop(waiting, &waiting_count, i);
	out[out_count++] = got;
}

static void
step_back(void)
{
	if (out_count == 0)
		return;
	unsigned i = (unsigned)random_below(out_count);
	users[job_at(&b->jobs, out[i])->uid].under_way--;
	put_back(out[i]);
	model_push(out[i]);
	drop(out, &out_count, i);
}

static void
step_finish(void)
{
	if (out_count == 0)
		return;
	unsigned i = (unsigned)random_below(out_count);
	uint64_t run_ns = random_below(20 * NS_PER_MS) * (1 + job_at(&b->jobs, out[i])->kind);
	users[job_at(&b->jobs, out[i])->uid].under_way--;
	model_ran(out[i], run_ns);
	finish(out[i], run_ns);
	drop(out, &out_count, i);
}

static void
step_cancel(void)
{
	if (waiting_count == 0)
		return;
	unsigned i = (unsigned)random_below(waiting_count);
	queue_remove(b, waiting[i]);
	jobs_remove(&b->jobs, waiting[i]);
	drop(waiting, &waiting_count, i);
}

static void
random_story(void)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		b->now_ns += random_below(4) == 0 ? random_below(NS_PER_S) : 0;
		switch (random_below(8)) {
		case 0:
		case 1:
		case 2:
			step_push();
			break;
		case 3:
		case 4:
			step_take();
			break;
		case 5:
			step_back();
			break;
		case 6:
			step_finish();
			break;
		default:
			if (random_below(3) == 0)
				step_cancel();
		}
		if (p->strategy == &strategy_fair && round % 1000 == 999)
			continue;
		if (random_below(2000) == 0)
			pool_queue_ageing(b, p, random_below(3) * NS_PER_S / 2);
	}
	while (waiting_count > 0)
		step_take();
	cr_assert_eq(queue_peek(b, p), JOB_NONE);
	cr_expect_eq(p->line.count, 0u);
}

TestSuite(schedule, .fini = close_pool, .timeout = 300);

Test(schedule, priority_is_what_a_look_through_all_jobs_says)
{
	open_pool(&strategy_priority, NS_PER_S);
	random_story();
}

Test(schedule, fifo_is_what_a_look_through_all_jobs_says)
{
	open_pool(&strategy_fifo, NS_PER_S);
	random_story();
}

Test(schedule, fair_is_what_a_look_through_all_jobs_says)
{
	open_pool(&strategy_fair, NS_PER_S);
	random_story();
}

Test(schedule, sjf_is_what_a_look_through_all_jobs_says)
{
	open_pool(&strategy_sjf, NS_PER_S);
	random_story();
}

/* ---- changing ---- */

/* What its workers have is told to a strategy through the busy crews. */
static struct crew crew;

static void
put_on_worker(void)
{
	for (unsigned t = 0; t < LINK_TICKETS; t++)
		crew.tickets[t] = t < out_count ? out[t] : JOB_NONE;
}

static void
tell_model_of_worker(void)
{
	model_switch();
	for (unsigned i = 0; i < out_count; i++)
		model_handed(out[i]);
}

Test(schedule, a_change_while_jobs_wait_keeps_every_job_and_goes_on_by_the_new_order)
{
	open_pool(&strategy_priority, NS_PER_S);
	crew = (struct crew){ 0 };
	TAILQ_INSERT_TAIL(&b->busy, &crew, busy_link);
	for (unsigned change = 0; change < 60; change++) {
		for (unsigned i = 0; i < 300; i++) {
			b->now_ns += random_below(NS_PER_MS);
			unsigned what = (unsigned)random_below(7);
			if (what < 3)
				step_push();
			else if (what == 3)
				step_take();
			else if (what == 4)
				step_back();
			else if (what == 5)
				step_finish();
			else
				step_cancel();
		}
		put_on_worker();
		const struct strategy *next = strategies[random_below(4)];
		bool same = next == p->strategy;
		cr_assert_eq(pool_queue_switch(b, p, next), 0);
		cr_assert_eq(p->strategy, next);
		if (!same)
			tell_model_of_worker();
		/* Users begin anew, at the virtual time of who is first. */
		for (unsigned i = 0; !same && i < USERS; i++)
			if (user_waits(i) > 0 && users[i].under_way == 0 &&
			    users[i].spent_ns < fair_now_ns)
				users[i].spent_ns = fair_now_ns;
	}
	unsigned left = waiting_count;
	for (; waiting_count > 0; left--)
		step_take();
	cr_expect_eq(left, 0u);
	cr_assert_eq(queue_peek(b, p), JOB_NONE);
	TAILQ_REMOVE(&b->busy, &crew, busy_link);
}

Test(schedule, the_order_of_coming_survives_every_change)
{
	uint32_t expected[200];

	open_pool(&strategy_fifo, NS_PER_S);
	for (unsigned i = 0; i < 200; i++)
		expected[i] = add((unsigned)random_below(5), (uint32_t)random_below(USERS),
				  (int)random_below(201) - 100);
	/* Some have been with a worker. */
	uint32_t were_out[50];
	for (unsigned i = 0; i < 50; i++)
		were_out[i] = take();
	for (unsigned i = 0; i < 50; i += 2)
		put_back(were_out[i]);
	for (unsigned i = 1; i < 50; i += 2)
		put_back(were_out[i]);
	for (unsigned i = 0; i < 40; i++)
		cr_assert_eq(pool_queue_switch(b, p, strategies[random_below(4)]), 0);
	cr_assert_eq(pool_queue_switch(b, p, &strategy_fifo), 0);
	for (unsigned i = 0; i < 200; i++)
		cr_assert_eq(take(), expected[i], "at %u", i);
}

/* ---- nobody starves ---- */

/* One job of low priority, and a new one of high priority for each that is taken, one a second:
 * after how many seconds does the low one start?  0: not within the limit. */
static unsigned
seconds_until_low_starts(uint64_t ageing_ns, unsigned limit)
{
	open_pool(&strategy_priority, ageing_ns);
	uint32_t low = add(0, 1, -100);
	add(0, 2, 100);
	for (unsigned second = 1; second <= limit; second++) {
		b->now_ns += NS_PER_S;
		add(0, 2, 100);
		uint32_t got = take();
		if (got == low)
			return second;
		finish(got, NS_PER_S);
	}
	return 0;
}

Test(schedule, waiting_raises_a_job_above_all_that_come_later)
{
	/* 200 priorities at 10 s each: those that come in the first 2,000 s go before it. */
	unsigned seconds = seconds_until_low_starts(10 * NS_PER_S, 10000);
	cr_expect(seconds >= 2000 && seconds <= 2003, "after %u s", seconds);
	close_pool();
	/* The control arm: without ageing it never starts. */
	cr_expect_eq(seconds_until_low_starts(0, 10000), 0u);
}

static unsigned
seconds_until_long_starts(uint64_t ageing_ns, unsigned limit)
{
	open_pool(&strategy_sjf, ageing_ns);
	p->estimate_ns[0] = NS_PER_S;
	p->estimate_ns[1] = 61 * NS_PER_S;
	uint32_t slow = add(1, 1, 0);
	for (unsigned second = 1; second <= limit; second++) {
		b->now_ns += NS_PER_S;
		add(0, 2, 0);
		add(0, 2, 0); /* they come faster than they are done */
		uint32_t got = take();
		if (got == slow)
			return second;
		finish(got, NS_PER_S);
	}
	return 0;
}

Test(schedule, short_jobs_that_keep_coming_do_not_keep_a_long_one_out)
{
	/* 60 s longer: those that come within 600 s go before it, two a second, one done a second.
	 */
	unsigned seconds = seconds_until_long_starts(NS_PER_S, 10000);
	cr_expect(seconds >= 1199 && seconds <= 1202, "after %u s", seconds);
	close_pool();
	cr_expect_eq(seconds_until_long_starts(0, 10000), 0u);
}

/* Users with jobs of different length on some workers: what does the pool spend on each? */
static void
share(const struct strategy *strategy, unsigned workers, uint64_t spent_ns[3])
{
	static const uint64_t runs_ns[3] = { 1 * NS_PER_MS, 10 * NS_PER_MS, 100 * NS_PER_MS };
	struct {
		uint32_t index;
		uint64_t until_ns;
	} running[8];
	uint64_t end_ns;

	open_pool(strategy, 60 * NS_PER_S);
	end_ns = b->now_ns + 100 * NS_PER_S;
	for (unsigned u = 0; u < 3; u++)
		for (unsigned i = 0; i < 2000; i++)
			add(0, u, 0);
	for (unsigned w = 0; w < workers; w++)
		running[w].index = JOB_NONE;
	spent_ns[0] = spent_ns[1] = spent_ns[2] = 0;
	while (b->now_ns < end_ns) {
		uint64_t next_ns = UINT64_MAX;
		for (unsigned w = 0; w < workers; w++) {
			if (running[w].index != JOB_NONE && running[w].until_ns <= b->now_ns) {
				uint32_t uid = job_at(&b->jobs, running[w].index)->uid;
				finish(running[w].index, runs_ns[uid]);
				spent_ns[uid] += runs_ns[uid];
				add(0, uid, 0);
				running[w].index = JOB_NONE;
			}
			if (running[w].index == JOB_NONE) {
				running[w].index = take();
				running[w].until_ns =
					b->now_ns +
					runs_ns[job_at(&b->jobs, running[w].index)->uid];
			}
			if (running[w].until_ns < next_ns)
				next_ns = running[w].until_ns;
		}
		b->now_ns = next_ns;
	}
}

Test(schedule, fair_gives_each_user_the_same_time_whatever_their_jobs_take)
{
	uint64_t spent_ns[3];

	for (unsigned workers = 1; workers <= 8; workers *= 2) {
		share(&strategy_fair, workers, spent_ns);
		/* The difference is bounded by what can be under way when it is noticed. */
		uint64_t most_ns = (2 * workers + 1) * 100 * NS_PER_MS;
		for (unsigned u = 0; u < 3; u++) {
			uint64_t ideal_ns = workers * 100 * NS_PER_S / 3;
			uint64_t off_ns = spent_ns[u] > ideal_ns ? spent_ns[u] - ideal_ns
								 : ideal_ns - spent_ns[u];
			cr_expect(off_ns <= most_ns, "%u workers: user %u has %ju of %ju ms",
				  workers, u, (uintmax_t)(spent_ns[u] / NS_PER_MS),
				  (uintmax_t)(ideal_ns / NS_PER_MS));
		}
		close_pool();
	}
	/* The control arm: by order of coming the user with the longest jobs has nearly all. */
	share(&strategy_fifo, 2, spent_ns);
	cr_expect(spent_ns[2] > 50 * spent_ns[0]);
}

Test(schedule, fair_gives_nothing_for_time_away)
{
	open_pool(&strategy_fair, 0);
	/* One user works alone for long. */
	for (unsigned i = 0; i < 1000; i++) {
		add(0, 1, 0);
		finish(take(), 10 * NS_PER_MS);
	}
	for (unsigned i = 0; i < 100; i++) {
		add(0, 1, 0);
		add(0, 2, 0);
	}
	/* From now on both get the same, whoever was here before. */
	unsigned of_two = 0;
	for (unsigned i = 0; i < 50; i++) {
		uint32_t index = take();
		of_two += job_at(&b->jobs, index)->uid == 2;
		finish(index, 10 * NS_PER_MS);
	}
	cr_expect(of_two >= 24 && of_two <= 26, "%u of 50", of_two);
}

Test(schedule, fair_forgets_users_who_have_gone)
{
	unsigned lines = 0;

	open_pool(&strategy_fair, 0);
	for (uint32_t uid = 0; uid < 20000; uid++) {
		add(0, uid, 0);
		add(0, uid, 0);
		finish(take(), NS_PER_MS);
		finish(take(), NS_PER_MS);
	}
	while (p->strategy->line_at(p, lines) != NULL)
		lines++;
	cr_expect(lines < 100, "%u users are remembered", lines);
}

/* ---- no memory ---- */

Test(schedule, without_memory_what_comes_back_still_finds_its_place)
{
	uint32_t jobs[64];

	open_pool(&strategy_priority, 0);
	for (unsigned i = 0; i < 64; i++)
		jobs[i] = add(0, 0, i % 4 == 0 ? 5 : 0);
	for (unsigned i = 0; i < 32; i++)
		cr_assert_neq(take(), JOB_NONE);
	no_memory = true;
	/* Out are the 16 of priority 5 and the first 16 others. */
	for (unsigned i = 0; i < 64; i++) {
		unsigned other = (i * 37) % 64;
		unsigned before = other - other / 4 - 1; /* others of its priority before it */
		if (other % 4 == 0 || before < 16)
			put_back(jobs[other]);
	}
	no_memory = false;
	uint64_t last = 0;
	for (unsigned i = 0; i < 64; i++) {
		const struct job *job = job_at(&b->jobs, take());
		cr_assert_eq(job->priority, i < 16 ? 5 : 0, "at %u", i);
		cr_assert(i == 16 || job->queued_ns > last, "at %u", i);
		last = job->queued_ns;
	}
}

Test(schedule, without_memory_users_share_a_line_and_no_job_is_lost)
{
	unsigned taken = 0;

	open_pool(&strategy_fair, 0);
	add(0, 1, 0);
	no_memory = true;
	for (uint32_t uid = 1; uid < 100; uid++)
		add(0, uid, 0);
	no_memory = false;
	for (uint32_t uid = 1; uid < 200; uid++)
		add(0, uid, 0);
	for (uint32_t index; (index = take()) != JOB_NONE; taken++)
		finish(index, NS_PER_MS);
	cr_expect_eq(taken, 1u + 99 + 199);
	/* When that line is empty, each has one again. */
	add(0, 50, 0);
	add(0, 51, 0);
	cr_expect_neq(p->strategy->line_of(p, job_at(&b->jobs, take())),
		      p->strategy->line_of(p, job_at(&b->jobs, take())));
}

Test(schedule, without_memory_a_pool_keeps_its_strategy)
{
	open_pool(&strategy_priority, 0);
	uint32_t first = add(0, 1, 0), high = add(0, 2, 7);
	no_memory = true;
	cr_expect_eq(pool_queue_switch(b, p, &strategy_fair), -ENOMEM);
	cr_expect_eq(pool_queue_switch(b, p, &strategy_sjf), -ENOMEM);
	no_memory = false;
	cr_expect_eq(p->strategy, &strategy_priority);
	cr_expect_eq(take(), high);
	cr_expect_eq(take(), first);
}
