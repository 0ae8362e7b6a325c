/*
 * admit.c - a submit from a client's lane becomes a job, or is refused by name.
 *
 * The record was copied out of the client's memory before anything here looks at it;
 * every field is checked against this process's own tables.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker.h"
#include "daemon/cache.h"
#include "daemon/context.h"
#include "daemon/durable.h"
#include "daemon/gate.h"
#include "daemon/policy.h"
#include "ipc/clock.h"

/* What follows a submit's body.  The parameters are the rest. */
struct tail {
	const unsigned char *token; /* NULL: attached */
	struct bytes policy;        /* empty: none */
	struct bytes params;
};

#define PIECES_MAX (INT64_C(1) << 40) /* items of a range() */
#define KEPT       8u                 /* see has_room() */

/* -EPROTO when it is not what the flags say. */
static int
split_tail(const struct submit_body *s, const unsigned char *at, uint32_t length, struct tail *ret)
{
	uint32_t policy;

	*ret = (struct tail){ 0 };
	if (s->flags & SUBMIT_DETACH) {
		if (length < SUBMIT_TOKEN)
			return -EPROTO;
		ret->token = at;
		at += SUBMIT_TOKEN;
		length -= SUBMIT_TOKEN;
	}
	if (s->flags & SUBMIT_POLICY) {
		if (length < sizeof(policy))
			return -EPROTO;
		memcpy(&policy, at, sizeof(policy));
		at += sizeof(policy);
		length -= (uint32_t)sizeof(policy);
		if (policy > length)
			return -EPROTO;
		ret->policy = (struct bytes){ at, policy };
		at += policy;
		length -= policy;
	}
	ret->params = (struct bytes){ at, length };
	return 0;
}

static enum job_error
check_items(const struct kind *k, const struct submit_body *s, char *why, size_t size)
{
	bool named = k->item != NULL; /* the items are values of the first parameter */
	const char *name = named ? k->params[0].name : "items";
	int64_t low = named ? k->params[0].low : 0, high = named ? k->params[0].high : PIECES_MAX;

	if (s->item_low == s->item_high)
		return ERR_NONE;
	if (!kind_has_items(k)) {
		snprintf(why, size, "kind \"%s\" has no array form", k->name);
		return ERR_BAD_REQUEST;
	}
	if (s->item_low <= s->item_high && s->item_low >= low && s->item_high - 1 <= high)
		return ERR_NONE;
	snprintf(why, size, "%s must be between %lld and %lld, got %lld..%lld", name,
		 (long long)low, (long long)high, (long long)s->item_low, (long long)s->item_high);
	return ERR_OUT_OF_RANGE;
}

/* What can be said without looking at the parameters. */
static enum job_error
check_fields(const struct broker *b, const struct client *c, const struct submit_body *s,
	     uint32_t tail_length, char *why, size_t size)
{
	const struct kind *k = kind_by_index(s->kind);

	if (k == NULL || s->pool >= b->pool_count) {
		snprintf(why, size, "kind %u or pool %u does not exist: resolve the names first",
			 s->kind, s->pool);
		return ERR_BAD_REQUEST;
	}
	const struct pool *p = &b->pools[s->pool];
	if (!executor_runs(p->config->executor, k)) {
		snprintf(why, size, "pool \"%s\" (executor %s) does not run kind \"%s\"",
			 p->config->name, p->config->executor->name, k->name);
		return ERR_WRONG_POOL;
	}
	if (s->priority < -PRIORITY_MAX || s->priority > PRIORITY_MAX) {
		snprintf(why, size, "priority must be between -%d and %d, got %d", PRIORITY_MAX,
			 PRIORITY_MAX, s->priority);
		return ERR_OUT_OF_RANGE;
	}
	if (tail_length > PAYLOAD_MAX) {
		snprintf(why, size,
			 "parameters take %u bytes; at most %u are taken: put them into a "
			 "file and submit its path",
			 tail_length, PAYLOAD_MAX);
		return ERR_TOO_LARGE;
	}
	enum job_error error = check_items(k, s, why, size);
	if (error != ERR_NONE)
		return error;
	if (b->draining) {
		snprintf(why, size, "the daemon is shutting down; submit again when it is back");
		return ERR_SHUTTING_DOWN;
	}
	if (p->state == POOL_FAILED) {
		snprintf(why, size,
			 "pool \"%s\" has failed: its workers die at start; see the log, "
			 "then `pyprepctl pool resume %s`",
			 p->config->name, p->config->name);
		return ERR_POOL_FAILED;
	}
	if (p->state == POOL_DRAINING) {
		snprintf(why, size,
			 "pool \"%s\" is being drained and takes no jobs; take another pool, or "
			 "`pyprepctl pool resume %s`",
			 p->config->name, p->config->name);
		return ERR_DRAINING;
	}
	if (!c->may_submit || (c->commands_only && k->class != KIND_COMMAND)) {
		snprintf(why, size, "this daemon runs as root and takes %s of other users",
			 b->config->drop_to_client ? "only commands (exec)" : "no jobs");
		return ERR_NOT_ALLOWED;
	}
	return ERR_NONE;
}

/* What only detached jobs have to be asked. */
static enum job_error
check_detached(const struct broker *b, const struct submit_body *s, char *why, size_t size)
{
	enum job_error error;

	if (s->item_low != s->item_high) {
		snprintf(why, size, "array jobs cannot be detached; submit without --detach");
		return ERR_BAD_REQUEST;
	}
	if (durable_ready(b, &error))
		return ERR_NONE;
	snprintf(why, size,
		 "the store cannot be written (%s): detached jobs are not taken now; try again "
		 "later, or submit attached (without --detach)",
		 durable_trouble(b));
	return error;
}

/* An array job over item() brings no value for its items; the parameters are checked with one
 * of them.  One over range() brings its arguments. */
static enum job_error
pack_args(struct broker *b, const struct submit_body *s, const unsigned char *tail,
	  uint32_t tail_length, char *why, size_t size)
{
	const struct kind *k = kinds[s->kind];

	if (s->item_low == s->item_high || k->range != NULL)
		return args_pack(k, tail, tail_length, &b->args, why, size);
	msgpack_sbuffer map;
	msgpack_packer pack;
	msgpack_sbuffer_init(&map);
	msgpack_packer_init(&pack, &map, msgpack_sbuffer_write);
	msgpack_pack_map(&pack, 1);
	msgpack_pack_str(&pack, strlen(k->params[0].name));
	msgpack_pack_str_body(&pack, k->params[0].name, strlen(k->params[0].name));
	msgpack_pack_int64(&pack, s->item_low);
	enum job_error error = args_pack(k, map.data, map.size, &b->args, why, size);
	msgpack_sbuffer_destroy(&map);
	return error;
}

/* A command travels with its client's context: both have to fit the way to the worker. */
static enum job_error
check_length(const struct broker *b, const struct client *c, const struct submit_body *s, char *why,
	     size_t size)
{
	uint32_t context_length = kinds[s->kind]->class == KIND_COMMAND && c->context != NULL
					  ? c->context->length
					  : 0;
	uint32_t most = LINK_BODY_MAX - (uint32_t)sizeof(struct run_body);

	if (b->args.length + context_length <= most)
		return ERR_NONE;
	snprintf(why, size,
		 "arguments (%u bytes) and environment (%u bytes) are too long: at most %u bytes "
		 "together; put the arguments into a file, or clear the environment (env -i)",
		 b->args.length, context_length, most);
	return ERR_TOO_LARGE;
}

static void
link_to_client(struct broker *b, struct client *c, struct job *job, uint32_t index)
{
	job->client = c->index;
	job->client_next = c->first_job;
	if (c->first_job != JOB_NONE)
		job_at(&b->jobs, c->first_job)->client_prev = index;
	c->first_job = index;
	c->jobs++;
	c->job_bytes += job->args_length > JOB_INLINE ? job->args_length : 0;
}

/* A detached job's, or one with policies'; NULL: no memory. */
static struct job_more *
more_of(const struct broker *b, const struct client *c, const struct submit_body *s,
	struct policy *policy)
{
	struct job_more *more = calloc(1, sizeof(*more));

	if (more == NULL)
		return NULL;
	more->policy = policy;
	if (policy != NULL && policy->at_ns > b->now_ns + b->wall_offset_ns)
		more->wake_ns = policy->at_ns - b->wall_offset_ns;
	if (policy != NULL && policy->held)
		more->flags |= STORE_JOB_HELD;
	if ((s->flags & SUBMIT_DETACH) && kinds[s->kind]->class == KIND_COMMAND &&
	    c->context != NULL)
		more->context = shared_context_use(c->context);
	return more;
}

static void
fill_job(struct broker *b, const struct client *c, const struct submit_body *s, struct job *job)
{
	uint64_t now_ns = broker_now(b, s->submitted_ns);

	job->tag = s->tag;
	job->received_ns = now_ns;
	/* The client's clock is the machine's; one that claims the future is cut. */
	job->submitted_ns = s->submitted_ns <= now_ns ? s->submitted_ns : now_ns;
	job->timeout_ns = s->timeout_ns;
	job->kind = s->kind;
	job->pool = (uint8_t)s->pool;
	job->priority = (int8_t)s->priority;
	job->uid = c->who.uid;
	job->gid = c->who.gid;
	job->flags = c->commands_only ? JOB_DROP : 0;
}

/* Into the table; not queued yet.  `policy` is the job's, or freed when there is none. */
static enum job_error
make_job(struct broker *b, struct client *c, const struct submit_body *s, struct policy *policy,
	 uint32_t *ret, char *why, size_t size)
{
	struct array_job *array = NULL;
	struct job_more *more = NULL;
	uint32_t index = JOB_NONE;

	bool has_more = policy != NULL || (s->flags & SUBMIT_DETACH);
	if ((!has_more || (more = more_of(b, c, s, policy)) != NULL) &&
	    (s->item_low == s->item_high ||
	     (array = array_new(s->item_low, s->item_high)) != NULL)) {
		uint64_t id =
			atomic_fetch_add_explicit(&b->board->next_id, 1, memory_order_relaxed);
		index = jobs_add(&b->jobs, id, b->args.bytes, b->args.length);
	}
	if (index == JOB_NONE) {
		if (more == NULL)
			policy_free(policy);
		job_more_free(more);
		array_free(array);
		snprintf(why, size, "the daemon is out of memory");
		return ERR_QUEUE_FULL;
	}
	struct job *job = job_at(&b->jobs, index);
	fill_job(b, c, s, job);
	job->array = array;
	job->more = more;
	enum job_error error = more != NULL ? gate_bind(b, index, false, why, size) : ERR_NONE;
	if (error != ERR_NONE)
		jobs_remove(&b->jobs, index);
	*ret = index;
	return error;
}

static enum job_error
add_job(struct broker *b, struct client *c, const struct submit_body *s, const struct tail *tail,
	struct policy *policy, char *why, size_t size)
{
	uint32_t index;

	enum job_error error = make_job(b, c, s, policy, &index, why, size);
	if (error != ERR_NONE)
		return error;
	struct job *job = job_at(&b->jobs, index);
	job_enter(b, job);
	if (tail->token == NULL) {
		link_to_client(b, c, job, index);
		if (job->more == NULL)
			queue_push(b, index); /* a plain job passes no gate */
		else
			gate_enter(b, index);
		return ERR_NONE;
	}
	job->client = JOB_NONE;
	job->flags |= JOB_DETACHED | JOB_NO_CLIENT;
	gate_token(b, index, tail->token);
	gate_park(b, index, WAIT_STORE);
	if (durable_add(b, c, index, tail->token, &tail->params) == 0)
		return ERR_NONE;
	job_drop(b, index);
	snprintf(why, size, "the daemon is out of memory");
	return ERR_QUEUE_FULL;
}

static enum job_error
no_retries(char *why, size_t size)
{
	snprintf(why, size,
		 "an array job is not tried again: submit its items as jobs of their own, or leave "
		 "the retries out");
	return ERR_BAD_REQUEST;
}

/* ERR_NONE: *ret is read, NULL when there is none. */
static enum job_error
read_policy(struct broker *b, const struct submit_body *s, const struct tail *tail,
	    struct policy **ret, char *why, size_t size)
{
	*ret = NULL;
	if (tail->policy.length == 0)
		return ERR_NONE;
	enum job_error error =
		policy_read(tail->policy.at, (uint32_t)tail->policy.length,
			    broker_now(b, s->submitted_ns) + b->wall_offset_ns, ret, why, size);
	if (error != ERR_NONE)
		*ret = NULL;
	else if ((*ret)->retries > 0 && s->item_low != s->item_high)
		error = no_retries(why, size);
	else if ((*ret)->cache_ns > 0 &&
		 (error = cache_check(s->item_low != s->item_high, why, size)) != ERR_NONE)
		;
	else
		error = admit_limits(b, &b->pools[s->pool], kinds[s->kind], *ret, why, size);
	if (error != ERR_NONE || policy_is_plain(*ret)) {
		policy_free(*ret);
		*ret = NULL;
	}
	return error;
}

/* What is kept of the table for those who have little in it: see has_room(). */
static bool
has_part(const struct broker *b, const struct client *c, uint32_t length, bool detached)
{
	const struct jobs *t = &b->jobs;
	uint64_t kept = t->max_jobs / KEPT, left = t->max_jobs - t->count - 1;
	uint64_t parts = 4 * (uint64_t)b->config->max_clients;

	if (left < kept && kept >= parts && (detached ? left < kept / 2 : c->jobs >= kept / parts))
		return false;
	kept = t->max_bytes / KEPT;
	left = t->max_bytes - t->heap_bytes - length;
	if (length <= JOB_INLINE || left >= kept)
		return true;
	/* One job always: it may be longer than a part. */
	return detached ? left >= kept / 2
			: c->job_bytes == 0 || c->job_bytes + length <= kept / parts;
}

/* Is there room in the table, and for this client?  The last eighth of it, of jobs and of bytes, is
 * for attached jobs of clients that have few, and half of it for detached ones: each place of
 * max_clients has its part of a quarter of it.  So those that submit and never read cannot take all
 * of it, however many they are.  (Of a table too small for a job for each nothing is kept.) */
static bool
has_room(const struct broker *b, const struct client *c, uint32_t length, bool detached)
{
	const struct jobs *t = &b->jobs;

	if (!jobs_have_room(t, length) || c->jobs >= b->config->max_client_jobs)
		return false;
	if (t->max_jobs - t->count > t->max_jobs / KEPT &&
	    t->max_bytes - t->heap_bytes >= t->max_bytes / KEPT + length)
		return true;
	return has_part(b, c, length, detached);
}

bool
admit_goes_on(const struct broker *b, const struct client *c)
{
	return has_room(b, c, 0, false);
}

int
admit_record(struct broker *b, struct client *c, unsigned type, const unsigned char *body,
	     uint32_t length)
{
	struct submit_body submit;
	struct policy *policy = NULL;
	struct tail tail;
	char why[400];

	if (type != MSG_SUBMIT || !message_fits(type, length))
		return -EPROTO;
	memcpy(&submit, body, sizeof(submit));
	if (split_tail(&submit, body + sizeof(submit), length - (uint32_t)sizeof(submit), &tail) <
	    0)
		return -EPROTO;

	enum job_error error =
		check_fields(b, c, &submit, (uint32_t)tail.params.length, why, sizeof(why));
	if (error == ERR_NONE && tail.token != NULL)
		error = check_detached(b, &submit, why, sizeof(why));
	if (error == ERR_NONE)
		error = pack_args(b, &submit, tail.params.at, (uint32_t)tail.params.length, why,
				  sizeof(why));
	if (error == ERR_NONE)
		error = check_length(b, c, &submit, why, sizeof(why));
	if (error == ERR_NONE && !has_room(b, c, b->args.length, tail.token != NULL)) {
		if (!(submit.flags & SUBMIT_NO_WAIT))
			return -EAGAIN;
		snprintf(why, sizeof(why), "the table is full: %llu jobs, %llu of this client",
			 (unsigned long long)b->jobs.count, (unsigned long long)c->jobs);
		error = ERR_QUEUE_FULL;
	}
	if (error == ERR_NONE)
		error = read_policy(b, &submit, &tail, &policy, why, sizeof(why));
	if (error == ERR_NONE && policy != NULL) {
		struct gate_answer answer;
		enum gate_verdict v = gate_check(b, c, policy, tail.token, &answer);
		if (v != GATE_GO)
			policy_free(policy);
		if (v == GATE_WAIT)
			return -EAGAIN;
		if (v == GATE_REFUSED) {
			refuse_submit(b, c, &submit, answer.error, answer.why);
			return 0;
		}
	}
	if (error == ERR_NONE)
		error = add_job(b, c, &submit, &tail, policy, why, sizeof(why));
	if (error != ERR_NONE)
		refuse_submit(b, c, &submit, error, why);
	return 0;
}
