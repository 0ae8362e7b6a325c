/* cache_jobs.c - jobs that ask for a kept result: they wait, and are answered.  See cache.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cache_parts.h"
#include "daemon/durable.h"
#include "daemon/gate.h"
#include "daemon/policy.h"

static uint64_t
ttl_of(const struct job *job)
{
	return job->more != NULL && job->more->policy != NULL ? job->more->policy->cache_ns : 0;
}

enum job_error
cache_check(bool array, char *why, size_t size)
{
	if (!array)
		return ERR_NONE;
	snprintf(why, size,
		 "an array job has no single result to keep: submit it without --cache, or its "
		 "items as jobs of their own");
	return ERR_BAD_REQUEST;
}

/* ---- waiting ---- */

static void
make_ready(struct cache *c, struct entry *e)
{
	if (e->ready || e->first == JOB_NONE)
		return;
	e->ready = true;
	TAILQ_INSERT_TAIL(&c->due, e, due);
}

static void
park(struct broker *b, struct entry *e, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	gate_park(b, index, WAIT_CACHE);
	job->more->place = e->number;
	job->next = JOB_NONE;
	job->prev = e->last;
	if (e->last != JOB_NONE)
		job_at(&b->jobs, e->last)->next = index;
	else
		e->first = index;
	e->last = index;
	b->cache->stats.waiting++;
}

static void
unlink_from(struct broker *b, struct entry *e, struct job *job)
{
	if (job->prev != JOB_NONE)
		job_at(&b->jobs, job->prev)->next = job->next;
	else
		e->first = job->next;
	if (job->next != JOB_NONE)
		job_at(&b->jobs, job->next)->prev = job->prev;
	else
		e->last = job->prev;
	job->prev = job->next = JOB_NONE;
	b->cache->stats.waiting--;
}

void
cache_unpark(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	struct entry *e = b->cache->entries[job->more->place];

	unlink_from(b, e, job);
	entry_settle(b->cache, e);
}

/* ---- asking ---- */

bool
cache_enter(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	uint64_t ttl_ns = ttl_of(job);

	if (ttl_ns == 0)
		return false;
	struct key key = key_of(b, job);
	struct entry *e = entry_find(b->cache, &key);
	if (e == NULL || !entry_fresh(b, e, ttl_ns))
		return false;
	job->queued_ns = 0; /* it has no place to go back to */
	park(b, e, index);
	make_ready(b->cache, e);
	return true;
}

bool
cache_passes(struct broker *b, uint32_t index)
{
	uint64_t ttl_ns = ttl_of(job_at(&b->jobs, index));

	if (ttl_ns == 0)
		return true;
	struct key key = key_of(b, job_at(&b->jobs, index));
	struct entry *e = entry_find(b->cache, &key);
	if (e == NULL)
		return true;
	bool fresh = entry_fresh(b, e, ttl_ns);
	if (!fresh && e->runner == 0)
		return true;
	queue_remove(b, index);
	park(b, e, index);
	if (fresh)
		make_ready(b->cache, e);
	return false;
}

/* ---- the one that runs ---- */

static struct entry *
run_by(struct broker *b, const struct job *job)
{
	if (ttl_of(job) == 0)
		return NULL;
	struct cache *c = b->cache;
	uint32_t number = job->more->cache_entry;
	struct entry *e = number < c->capacity ? c->entries[number] : NULL;
	return e != NULL && e->runner == job->id ? e : NULL;
}

void
cache_changed(struct broker *b, const struct job *job, enum job_state state)
{
	struct cache *c = b->cache;
	struct entry *e;

	if (ttl_of(job) == 0 || job->array != NULL)
		return;
	if (state != JOB_RUNNING) {
		if ((e = run_by(b, job)) == NULL)
			return;
		e->runner = 0;
		recording_free(c, &e->recording);
		make_ready(c, e);
		entry_settle(c, e);
		return;
	}
	struct key key = key_of(b, job);
	c->stats.misses++;
	e = entry_get(c, &key);
	if (e == NULL || e->runner != 0)
		return;
	e->runner = job->id;
	job->more->cache_entry = e->number;
}

void
cache_output(struct broker *b, const struct job *job, uint32_t stream, const void *bytes,
	     uint32_t length)
{
	struct entry *e = run_by(b, job);

	if (e != NULL)
		recording_add(b, &e->recording, stream, bytes, length);
}

void
cache_keep(struct broker *b, const struct job *job, const struct outcome *outcome, uint32_t flags,
	   const void *result)
{
	struct entry *e = run_by(b, job);
	struct cache *c = b->cache;

	if (e == NULL || outcome->state != JOB_SUCCEEDED)
		return;
	if (e->recording.given_up) {
		c->stats.too_large++;
		return;
	}
	struct kept k = {
		.id = job->id,
		.made_ns = b->now_ns,
		.expires_ns = b->now_ns + ttl_of(job),
		.outcome = *outcome,
		.flags = flags,
		.result = malloc(outcome->result_length + 1u),
		.output = recording_take(c, &e->recording),
	};
	if (k.result == NULL) {
		free(k.output.bytes);
		return;
	}
	k.size = outcome->result_length + 1u + k.output.capacity;
	if (outcome->result_length > 0)
		memcpy(k.result, result, outcome->result_length);
	cache_expire(b);
	entry_keep(b, e, &k);
	make_ready(c, e);
}

/* ---- answering ---- */

static void
tell_output(struct broker *b, uint32_t index, const struct recording *output)
{
	const struct job *job = job_at(&b->jobs, index);
	struct piece piece;

	for (size_t at = 0; at < output->length; at += sizeof(piece) + piece.length) {
		memcpy(&piece, output->bytes + at, sizeof(piece));
		const unsigned char *bytes = output->bytes + at + sizeof(piece);
		if (job->flags & JOB_DETACHED)
			durable_output(b, index, piece.stream, bytes, piece.length);
		if (job->flags & JOB_NO_CLIENT)
			continue;
		struct output_body body = { .tag = job->tag, .stream = piece.stream };
		struct part parts[] = { { &body, sizeof(body) }, { bytes, piece.length } };
		client_put(b, b->clients[job->client], MSG_OUTPUT, parts, 2);
	}
}

/* The result without what the run cost: this job did not run. */
static void
answer(struct broker *b, uint32_t index, const struct kept *k)
{
	struct outcome outcome = k->outcome;
	char text[80];

	outcome.message_length = (uint32_t)snprintf(
		text, sizeof(text), "the result of job %llu, %.3f s old", (unsigned long long)k->id,
		(double)(b->now_ns - k->made_ns) / 1e9);
	outcome.started_ns = outcome.ended_ns = 0;
	outcome.usage = (struct usage){ 0 };
	outcome.method = USAGE_NONE;
	b->cache->stats.hits++;
	tell_output(b, index, &k->output);
	job_complete(b, index, &outcome, k->flags | RECEIPT_CACHED, k->result, text);
}

/* One that waited: its result, or back to its queue. */
static void
go_on(struct broker *b, struct entry *e, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	bool held = !(job->flags & JOB_NO_CLIENT) && client_is_held(b->clients[job->client]);

	unlink_from(b, e, job);
	job->flags &= (uint16_t)~JOB_PARKED;
	job->more->waits = WAIT_NOTHING;
	if (!held && entry_fresh(b, e, ttl_of(job)))
		answer(b, index, &e->kept);
	else if (job->queued_ns == 0)
		queue_push(b, index);
	else
		queue_put_back(b, index);
}

unsigned
cache_turn(struct broker *b)
{
	struct cache *c = b->cache;
	struct entry *e;
	unsigned n = 0;

	while ((e = TAILQ_FIRST(&c->due)) != NULL) {
		/* It stays as long as it stands here, whatever ends meanwhile. */
		for (; e->first != JOB_NONE; n++)
			go_on(b, e, e->first);
		TAILQ_REMOVE(&c->due, e, due);
		e->ready = false;
		entry_settle(c, e);
	}
	return n;
}

bool
cache_pending(const struct broker *b)
{
	return !TAILQ_EMPTY(&b->cache->due);
}

uint64_t
cache_waits_for(const struct broker *b, const struct job *job)
{
	if (!(job->flags & JOB_PARKED) || job->more->waits != WAIT_CACHE)
		return 0;
	return b->cache->entries[job->more->place]->runner;
}
