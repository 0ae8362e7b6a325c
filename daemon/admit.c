/*
 * admit.c - a submit from a client's lane becomes a job, or is refused by name.
 *
 * The record was copied out of the client's memory before anything here looks at it;
 * every field is checked against this process's own tables.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/broker.h"
#include "daemon/gate.h"
#include "ipc/clock.h"

#define PIECES_MAX (INT64_C(1) << 40) /* items of a range() */

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
	if (!c->may_submit || (c->commands_only && k->class != KIND_COMMAND)) {
		snprintf(why, size, "this daemon runs as root and takes %s of other users",
			 b->config->drop_to_client ? "only commands (exec)" : "no jobs");
		return ERR_NOT_ALLOWED;
	}
	return ERR_NONE;
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
	uint32_t context_length = kinds[s->kind]->class == KIND_COMMAND ? c->context_length : 0;
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
}

static int
add_job(struct broker *b, struct client *c, const struct submit_body *s)
{
	struct array_job *array = NULL;

	if (s->item_low != s->item_high && (array = array_new(s->item_low, s->item_high)) == NULL)
		return -ENOMEM;
	uint64_t id = atomic_fetch_add_explicit(&b->board->next_id, 1, memory_order_relaxed);
	uint32_t index = jobs_add(&b->jobs, id, b->args.bytes, b->args.length);
	if (index == JOB_NONE) {
		array_free(array);
		return -ENOMEM;
	}
	struct job *job = job_at(&b->jobs, index);
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
	job->array = array;
	link_to_client(b, c, job, index);
	job_enter(b, job);
	gate_enter(b, index);
	return 0;
}

int
admit_record(struct broker *b, struct client *c, unsigned type, const unsigned char *body,
	     uint32_t length)
{
	struct submit_body submit;
	char why[400];

	if (type != MSG_SUBMIT || !message_fits(type, length))
		return -EPROTO;
	memcpy(&submit, body, sizeof(submit));
	const unsigned char *tail = body + sizeof(submit);
	uint32_t tail_length = length - (uint32_t)sizeof(submit);

	enum job_error error = check_fields(b, c, &submit, tail_length, why, sizeof(why));
	if (error == ERR_NONE)
		error = pack_args(b, &submit, tail, tail_length, why, sizeof(why));
	if (error == ERR_NONE)
		error = check_length(b, c, &submit, why, sizeof(why));
	if (error != ERR_NONE) {
		refuse_submit(b, c, &submit, error, why);
		return 0;
	}
	if (!jobs_have_room(&b->jobs, b->args.length) || c->jobs >= b->config->max_client_jobs) {
		if (!(submit.flags & SUBMIT_NO_WAIT))
			return -EAGAIN;
		snprintf(why, sizeof(why), "the table is full: %llu jobs, %llu of this client",
			 (unsigned long long)b->jobs.count, (unsigned long long)c->jobs);
		refuse_submit(b, c, &submit, ERR_QUEUE_FULL, why);
		return 0;
	}
	if (add_job(b, c, &submit) < 0)
		refuse_submit(b, c, &submit, ERR_QUEUE_FULL, "the daemon is out of memory");
	return 0;
}
