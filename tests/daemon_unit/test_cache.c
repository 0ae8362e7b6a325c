/*
 * test_cache.c - kept results beside a model that looks through a list: hits, age, least recently
 * used, bounds; what makes two jobs the same; jobs that wait for one that runs; SipHash by the
 * vectors of its authors.
 *
 * The broker here is only its tables; job_complete() is wrapped and tells what a job was answered.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cache_parts.h"
#include "daemon/context.h"
#include "daemon/gate.h"
#include "daemon/policy.h"
#include "ipc/clock.h"

static struct config config;
static struct broker broker;
static struct broker *const b = &broker;
static struct pool *const p = &broker.pools[0];
static uint64_t next_id;

/* ---- what jobs are answered ---- */

static struct {
	unsigned count;
	uint64_t id;
	uint32_t flags;
	struct outcome outcome;
	unsigned char result[70000];
	char message[100];
} answered;

void __wrap_job_complete(struct broker *of, uint32_t index, const struct outcome *outcome,
			 uint32_t flags, const void *result, const void *message);
void
__wrap_job_complete(struct broker *of, uint32_t index, const struct outcome *outcome,
		    uint32_t flags, const void *result, const void *message)
{
	answered.count++;
	answered.id = job_at(&of->jobs, index)->id;
	answered.flags = flags;
	answered.outcome = *outcome;
	memcpy(answered.result, result, outcome->result_length);
	snprintf(answered.message, sizeof(answered.message), "%.*s", (int)outcome->message_length,
		 (const char *)message);
	job_change(of, job_at(&of->jobs, index), outcome->state);
	jobs_remove(&of->jobs, index);
}

/* ---- jobs ---- */

static void
setup(void)
{
	memset(&broker, 0, sizeof(broker));
	memset(&config, 0, sizeof(config));
	memset(&answered, 0, sizeof(answered));
	config.cache_entries = 10;
	config.cache_bytes = 1 << 20;
	config.pools[0].strategy = &strategy_priority;
	b->config = &config;
	p->config = &config.pools[0];
	b->pool_count = 1;
	b->now_ns = 1000 * NS_PER_S;
	next_id = 1;
	TAILQ_INIT(&b->busy);
	cr_assert_eq(jobs_init(&b->jobs, 10000, 64 << 20), 0);
	cr_assert_eq(pool_queue_open(p), 0);
	cr_assert_eq(cache_open(b), 0);
}

static void
teardown(void)
{
	cache_close(b);
	pool_queue_close(p);
	jobs_done(&b->jobs);
}

TestSuite(cache, .init = setup, .fini = teardown, .timeout = 120);

static unsigned kind_plain, kind_command;

static void
find_kinds(void)
{
	for (unsigned i = 0; i < kind_count; i++)
		*(kinds[i]->class == KIND_COMMAND ? &kind_command : &kind_plain) = i;
}

struct wanted {
	uint32_t uid, gid;
	unsigned kind;
	const char *args, *context;
	uint64_t ttl_ns;
};

static uint32_t
new_job(const struct wanted *w)
{
	const char *args = w->args != NULL ? w->args : "";
	uint32_t index = jobs_add(&b->jobs, next_id++, args, (uint32_t)strlen(args));
	cr_assert_neq(index, JOB_NONE);
	struct job *job = job_at(&b->jobs, index);
	job->uid = w->uid;
	job->gid = w->gid;
	job->kind = (uint8_t)w->kind;
	job->flags = JOB_NO_CLIENT;
	job->more = calloc(1, sizeof(*job->more));
	job->more->policy = calloc(1, sizeof(struct policy));
	job->more->policy->cache_ns = w->ttl_ns;
	if (w->context != NULL)
		job->more->context = shared_context_new(w->context, (uint32_t)strlen(w->context));
	job_enter(b, job);
	return index;
}

static bool
is_answered(uint64_t id)
{
	unsigned before = answered.count;

	cache_turn(b);
	return answered.count == before + 1 && answered.id == id;
}

/* As the dispatcher does it, until it would be sent; false: it was answered, or waits. */
static bool
begin(uint32_t index)
{
	if (cache_enter(b, index))
		return false;
	queue_push(b, index);
	if (!cache_passes(b, index))
		return false;
	queue_remove(b, index);
	job_change(b, job_at(&b->jobs, index), JOB_RUNNING);
	return true;
}

static void
end(uint32_t index, enum job_state state, const void *result, uint32_t length)
{
	struct outcome outcome = { .state = (uint8_t)state,
				   .started_ns = b->now_ns - 5,
				   .ended_ns = b->now_ns,
				   .usage.oncpu_ns = 5,
				   .method = USAGE_THREAD,
				   .result_length = length };
	struct job *job = job_at(&b->jobs, index);

	cache_keep(b, job, &outcome, 0, result);
	job_change(b, job, state);
	jobs_remove(&b->jobs, index);
}

/* A job is answered with this, or runs and makes `result`. */
static bool
hit(const struct wanted *w, const char *result)
{
	uint32_t index = new_job(w);
	uint64_t id = job_at(&b->jobs, index)->id;

	if (begin(index)) {
		end(index, JOB_SUCCEEDED, result, (uint32_t)strlen(result));
		return false;
	}
	cr_assert(is_answered(id));
	return true;
}

static const struct wanted plain = { .uid = 7, .args = "n=5", .ttl_ns = NS_PER_S };

/* ---- what is answered ---- */

Test(cache, the_second_of_two_gets_the_result_of_the_first)
{
	cr_expect_not(hit(&plain, "eight"));
	b->now_ns += NS_PER_MS;
	cr_expect(hit(&plain, "nine"));
	cr_expect_eq(answered.outcome.state, JOB_SUCCEEDED);
	cr_expect_eq(answered.outcome.result_length, 5);
	cr_expect(memcmp(answered.result, "eight", 5) == 0);
	cr_expect_eq(answered.flags, RECEIPT_CACHED);
	cr_expect_str_eq(answered.message, "the result of job 1, 0.001 s old");
	/* It did not run. */
	cr_expect_eq(answered.outcome.started_ns, 0);
	cr_expect_eq(answered.outcome.ended_ns, 0);
	cr_expect_eq(answered.outcome.usage.oncpu_ns, 0);
	cr_expect_eq(answered.outcome.method, USAGE_NONE);
}

Test(cache, nothing_is_answered_that_is_not_the_same)
{
	find_kinds();
	const struct wanted base = { .uid = 7,
				     .gid = 8,
				     .kind = kind_plain,
				     .args = "n=5",
				     .context = NULL,
				     .ttl_ns = NS_PER_S };
	struct wanted other;

	cr_expect_not(hit(&base, "first"));
	other = base, other.uid = 9;
	cr_expect_not(hit(&other, "of another user"));
	other = base, other.gid = 9;
	cr_expect_not(hit(&other, "of another group"));
	other = base, other.args = "n=6";
	cr_expect_not(hit(&other, "of another number"));
	other = base, other.args = "n=5 ";
	cr_expect_not(hit(&other, "longer"));
	other = base, other.args = NULL;
	cr_expect_not(hit(&other, "without any"));
	other = base, other.kind = kind_plain == 0 ? 1 : 0;
	cr_expect_not(hit(&other, "of another kind"));
	/* Only a command stands anywhere. */
	other = base, other.context = "022\0/tmp";
	cr_expect(hit(&other, ""));
	cr_expect(memcmp(answered.result, "first", 5) == 0);
	other = base, other.kind = kind_command, other.context = "022 /tmp A=1";
	cr_expect_not(hit(&other, "a command"));
	cr_expect(hit(&other, ""));
	other.context = "022 /tmp A=2";
	cr_expect_not(hit(&other, "in another environment"));
	cr_expect(hit(&base, ""));
	cr_expect(memcmp(answered.result, "first", 5) == 0);
}

Test(cache, only_what_succeeded_is_kept)
{
	static const enum job_state states[] = { JOB_FAILED, JOB_CANCELLED, JOB_TIMED_OUT,
						 JOB_DEAD };

	for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		uint32_t index = new_job(&plain);
		cr_assert(begin(index));
		end(index, states[i], "bad", 3);
	}
	cr_expect_not(hit(&plain, "good"));
	cr_expect(hit(&plain, ""));
}

Test(cache, those_who_did_not_ask_neither_take_nor_leave_a_result)
{
	struct wanted other = plain;

	other.ttl_ns = 0;
	cr_expect_not(hit(&other, "not kept"));
	cr_expect_not(hit(&plain, "kept"));
	cr_expect_not(hit(&other, "runs"));
	cr_expect(hit(&plain, ""));
	cr_expect(memcmp(answered.result, "kept", 4) == 0);
}

Test(cache, each_job_says_how_old_a_result_may_be)
{
	struct wanted patient = plain, strict = plain;
	struct cache_stats s;

	patient.ttl_ns = 10 * NS_PER_S;
	strict.ttl_ns = NS_PER_S / 2;
	cr_expect_not(hit(&plain, "one"));
	b->now_ns += NS_PER_S * 6 / 10;
	cr_expect(hit(&patient, "")); /* and now it is kept for 10 s */
	b->now_ns += NS_PER_S;
	cr_expect_not(hit(&strict, "two"));
	cr_expect(hit(&plain, ""));
	cr_expect(memcmp(answered.result, "two", 3) == 0);
	/* Kept for the half second of who made it, then for the second of who asked. */
	cache_stats(b, &s);
	cr_expect_eq(s.next_expiry, NS_PER_S);
	b->now_ns += NS_PER_S;
	cache_stats(b, &s);
	cr_expect_eq(s.entries, 0);
	cr_expect_eq(s.bytes, 0);
	cr_expect_eq(s.expired, 1);
	cr_expect_not(hit(&patient, "three"));
}

/* ---- a long story beside a model ---- */

#define KEYS 40

static struct model {
	bool kept;
	uint64_t made_ns, expires_ns, used, size, value;
} model[KEYS];

static uint64_t
random_below(uint64_t n)
{
	static uint64_t state = 88172645463325252u;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % n;
}

static uint64_t
model_bytes(unsigned *ret_entries)
{
	uint64_t bytes = 0;

	*ret_entries = 0;
	for (unsigned i = 0; i < KEYS; i++) {
		bytes += model[i].kept ? model[i].size : 0;
		*ret_entries += model[i].kept;
	}
	return bytes;
}

static void
model_expire(uint64_t *expired)
{
	for (unsigned i = 0; i < KEYS; i++)
		if (model[i].kept && model[i].expires_ns <= b->now_ns) {
			model[i].kept = false;
			(*expired)++;
		}
}

static void
model_keep(unsigned key, const struct model *new, uint64_t *evicted)
{
	unsigned entries, oldest;

	model[key].kept = false;
	if (new->size > config.cache_bytes / 4)
		return;
	while (model_bytes(&entries) + new->size > config.cache_bytes ||
	       entries >= config.cache_entries) {
		oldest = KEYS;
		for (unsigned i = 0; i < KEYS; i++)
			if (model[i].kept && (oldest == KEYS || model[i].used < model[oldest].used))
				oldest = i;
		model[oldest].kept = false;
		(*evicted)++;
	}
	model[key] = *new;
}

static unsigned char made[70000];

static void
one_of_the_story(uint64_t *hits, uint64_t *expired, uint64_t *evicted)
{
	unsigned key = (unsigned)random_below(KEYS);
	char args[20];
	uint64_t now_ns = b->now_ns, ttl_ns = (1 + random_below(20)) * NS_PER_S;
	struct wanted w = { .uid = 1, .args = args, .ttl_ns = ttl_ns };
	static uint64_t used, value;

	snprintf(args, sizeof(args), "key %u", key);
	struct model *m = &model[key];
	bool expected = m->kept && now_ns - m->made_ns <= ttl_ns;
	uint32_t index = new_job(&w);
	uint64_t id = job_at(&b->jobs, index)->id;
	bool got = !begin(index);
	cr_assert_eq(got, expected, "key %u: %s", key, got ? "answered" : "ran");
	if (got) {
		cr_assert(is_answered(id));
		cr_assert_eq(memcmp(answered.result, &m->value, sizeof(m->value)), 0);
		m->used = ++used;
		if (m->made_ns + ttl_ns > m->expires_ns)
			m->expires_ns = m->made_ns + ttl_ns;
		(*hits)++;
		return;
	}
	uint32_t length = 8 + (uint32_t)random_below(random_below(8) == 0 ? 60000 : 2000);
	value++;
	memcpy(made, &value, sizeof(value));
	end(index, JOB_SUCCEEDED, made, length);
	model_expire(expired);
	struct model new = { .kept = true,
			     .made_ns = now_ns,
			     .expires_ns = now_ns + ttl_ns,
			     .used = ++used,
			     .size = sizeof(struct entry) + strlen(args) + length + 1,
			     .value = value };
	model_keep(key, &new, evicted);
}

Test(cache, keeps_what_a_look_through_a_list_would_keep)
{
	uint64_t hits = 0, expired = 0, evicted = 0;
	struct cache_stats s;
	unsigned entries;

	config.cache_entries = 20;
	config.cache_bytes = 160000;
	for (unsigned i = 0; i < 30000; i++) {
		b->now_ns += random_below(NS_PER_S / 2);
		one_of_the_story(&hits, &expired, &evicted);
		cr_assert_leq(b->cache->stats.bytes, config.cache_bytes);
		cr_assert_leq(b->cache->stats.entries, config.cache_entries);
	}
	cache_stats(b, &s);
	model_expire(&expired);
	cr_expect_eq(s.hits, hits);
	cr_expect_eq(s.misses, 30000 - hits);
	cr_expect_eq(s.bytes, model_bytes(&entries));
	cr_expect_eq(s.entries, entries);
	cr_expect_eq(s.expired, expired);
	cr_expect_eq(s.evicted, evicted);
	cr_expect(hits > 1000 && expired > 100 && evicted > 1000 && s.too_large > 100);
	/* Nothing else is left behind. */
	cr_expect_eq(b->cache->count, s.entries);
	cr_expect_eq(b->cache->recording_bytes, 0);
}

/* ---- waiting for one that runs ---- */

Test(cache, one_runs_and_the_others_wait_for_it)
{
	uint32_t leader = new_job(&plain), followers[5];
	uint64_t leader_id = job_at(&b->jobs, leader)->id;

	cr_assert(begin(leader));
	for (unsigned i = 0; i < 5; i++) {
		followers[i] = new_job(&plain);
		cr_assert_not(begin(followers[i]));
		cr_expect_eq(cache_waits_for(b, job_at(&b->jobs, followers[i])), leader_id);
	}
	cr_expect_eq(cache_turn(b), 0, "somebody was answered before there is a result");
	cr_expect_eq(b->cache->stats.waiting, 5);
	/* One is cancelled meanwhile. */
	queue_remove(b, followers[2]);
	job_change(b, job_at(&b->jobs, followers[2]), JOB_CANCELLED);
	jobs_remove(&b->jobs, followers[2]);
	end(leader, JOB_SUCCEEDED, "eight", 5);
	cr_expect_eq(cache_turn(b), 4);
	cr_expect_eq(answered.count, 4);
	cr_expect_eq(b->cache->stats.waiting, 0);
	cr_expect_eq(b->jobs.count, 0);
}

/* What does the pool's queue hold? */
static unsigned
queued_now(uint32_t *ret)
{
	unsigned n = 0;
	for (uint32_t index; (index = queue_peek(b, p)) != JOB_NONE; n++) {
		ret[n] = index;
		queue_remove(b, index);
	}
	return n;
}

Test(cache, when_it_fails_or_is_taken_back_the_next_one_runs)
{
	uint32_t leader = new_job(&plain), followers[3], back[4];

	cr_assert(begin(leader));
	for (unsigned i = 0; i < 3; i++) {
		followers[i] = new_job(&plain);
		cr_assert_not(begin(followers[i]));
	}
	end(leader, JOB_FAILED, "", 0);
	cr_expect_eq(cache_turn(b), 3);
	cr_expect_eq(answered.count, 0);
	cr_assert_eq(queued_now(back), 3);
	for (unsigned i = 0; i < 3; i++)
		cr_expect_eq(back[i], followers[i], "they are not in their order");

	/* The next: sent, but taken back before it started. */
	queue_put_back(b, back[1]);
	queue_put_back(b, back[0]);
	cr_assert(cache_passes(b, back[0]));
	queue_remove(b, back[0]);
	job_change(b, job_at(&b->jobs, back[0]), JOB_RUNNING);
	cr_expect_not(cache_passes(b, back[1]));
	job_change(b, job_at(&b->jobs, back[0]), JOB_QUEUED);
	queue_put_back(b, back[0]);
	cr_expect_eq(cache_turn(b), 1);
	cr_assert_eq(queued_now(back), 2);
}

Test(cache, a_result_that_is_gone_before_it_is_given_lets_the_job_run)
{
	uint32_t back[2];

	cr_expect_not(hit(&plain, "kept"));
	uint32_t index = new_job(&plain);
	cr_assert(cache_enter(b, index));
	struct key key = key_of(b, job_at(&b->jobs, index));
	entry_drop(b->cache, entry_find(b->cache, &key));
	cr_expect_eq(cache_turn(b), 1);
	cr_expect_eq(answered.count, 0);
	cr_assert_eq(queued_now(back), 1);
	cr_expect_eq(back[0], index);
	cr_expect_eq(b->cache->count, 0);
}

/* ---- what a command wrote ---- */

Test(cache, output_beyond_a_quarter_of_the_memory_is_not_kept)
{
	static char bytes[16384];
	struct cache_stats s;

	config.cache_bytes = 1 << 18;
	for (unsigned pieces = 1; pieces <= 8; pieces++) {
		char args[20];
		struct wanted w = plain;
		snprintf(args, sizeof(args), "pieces %u", pieces);
		w.args = args;
		uint32_t index = new_job(&w);
		cr_assert(begin(index));
		for (unsigned i = 0; i < pieces; i++)
			cache_output(b, job_at(&b->jobs, index), 1 + i % 2, bytes, sizeof(bytes));
		end(index, JOB_SUCCEEDED, "", 0);
		cr_expect_eq(b->cache->recording_bytes, 0);
		index = new_job(&w);
		uint64_t id = job_at(&b->jobs, index)->id;
		bool ran = begin(index);
		cr_expect_eq(ran, pieces > 3, "%u pieces of a quarter of a quarter", pieces);
		if (ran)
			end(index, JOB_FAILED, "", 0);
		else
			cr_expect(is_answered(id));
	}
	cache_stats(b, &s);
	cr_expect_eq(s.too_large, 5);
	cr_expect_leq(s.bytes, config.cache_bytes);
}

Test(cache, with_no_room_for_any_each_job_runs)
{
	config.cache_entries = 0;
	cr_expect_not(hit(&plain, "one"));
	cr_expect_not(hit(&plain, "two"));
	cr_expect_eq(b->cache->count, 0);
	cr_expect_eq(b->cache->stats.too_large, 0);
}

/* ---- the hash ---- */

/* Of the reference implementation: key 00 01 .. 0f, input 00 01 .. (length - 1). */
Test(cache, siphash_is_that_of_its_authors)
{
	static const struct {
		unsigned length;
		uint64_t half[2];
	} vectors[] = {
		{ 0, { 0xe6a825ba047f81a3u, 0x930255c71472f66du } },
		{ 1, { 0x44af996bd8c187dau, 0x45fc229b11597634u } },
		{ 8, { 0x61f55862baa9623bu, 0xb49714f364e2830fu } },
		{ 15, { 0x11a8b03399e99354u, 0xd9c3cf970fec087eu } },
	};
	uint64_t key[2] = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u };
	unsigned char input[64];

	for (unsigned i = 0; i < sizeof(input); i++)
		input[i] = (unsigned char)i;
	for (unsigned i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct digest d = siphash(key, input, vectors[i].length);
		cr_expect_eq(d.half[0], vectors[i].half[0], "%u: %016llx", vectors[i].length,
			     (unsigned long long)d.half[0]);
		cr_expect_eq(d.half[1], vectors[i].half[1], "%u: %016llx", vectors[i].length,
			     (unsigned long long)d.half[1]);
	}
}
