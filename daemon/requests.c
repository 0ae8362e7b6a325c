/*
 * requests.c - control requests: reading them, the table of verbs, and the small ones.
 */
#include "daemon/request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/context.h"
#include "daemon/gate.h"
#include "daemon/log.h"
#include "daemon/unpack.h"
#include "ipc/clock.h"

/* ---- reading ---- */

/* Is this one well-formed msgpack map, whose counts are covered by its bytes?  Only then may
 * msgpack_unpack, which believes counts, see it. */
static bool
is_one_map(const void *bytes, uint32_t length)
{
	struct unpacker u = { bytes, (const unsigned char *)bytes + length };
	struct value v;
	uint64_t expected = 1;

	for (bool first = true; expected > 0; first = false) {
		if (unpack_next(&u, &v) < 0 || (first && v.type != VALUE_MAP))
			return false;
		expected--;
		if (v.type == VALUE_MAP || v.type == VALUE_LIST)
			expected += (uint64_t)v.count * (v.type == VALUE_MAP ? 2 : 1);
		if (expected > (uint64_t)(u.end - u.at))
			return false;
	}
	return u.at == u.end;
}

static bool
is_key(const msgpack_object *o, const char *name)
{
	return o->type == MSGPACK_OBJECT_STR && o->via.str.size == strlen(name) &&
	       memcmp(o->via.str.ptr, name, o->via.str.size) == 0;
}

const msgpack_object *
request_field(const struct request *r, const char *name)
{
	for (uint32_t i = 0; i < r->map->via.map.size; i++)
		if (is_key(&r->map->via.map.ptr[i].key, name))
			return &r->map->via.map.ptr[i].val;
	return NULL;
}

bool
request_int(const struct request *r, const char *name, int64_t *ret)
{
	const msgpack_object *o = request_field(r, name);

	if (o == NULL)
		return false;
	if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		*ret = o->via.i64;
	else if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 <= INT64_MAX)
		*ret = (int64_t)o->via.u64;
	else
		return false;
	return true;
}

bool
request_bool(const struct request *r, const char *name)
{
	const msgpack_object *o = request_field(r, name);
	return o != NULL && o->type == MSGPACK_OBJECT_BOOLEAN && o->via.boolean;
}

bool
request_text(const struct request *r, const char *name, char *buffer, size_t size)
{
	const msgpack_object *o = request_field(r, name);

	if (o == NULL || o->type != MSGPACK_OBJECT_STR || o->via.str.size >= size ||
	    memchr(o->via.str.ptr, '\0', o->via.str.size) != NULL)
		return false;
	memcpy(buffer, o->via.str.ptr, o->via.str.size);
	buffer[o->via.str.size] = '\0';
	return true;
}

/* ---- answering ---- */

void
reply_start(struct reply *a)
{
	msgpack_sbuffer_init(&a->bytes);
	msgpack_packer_init(&a->pack, &a->bytes, msgpack_sbuffer_write);
}

void
reply_begin(struct reply *a, unsigned fields)
{
	reply_start(a);
	msgpack_pack_map(&a->pack, fields);
}

void
reply_string(struct reply *a, const char *value)
{
	size_t length = strlen(value);
	msgpack_pack_str(&a->pack, length);
	msgpack_pack_str_body(&a->pack, value, length);
}

void
reply_key(struct reply *a, const char *key)
{
	reply_string(a, key);
}

void
reply_text(struct reply *a, const char *key, const char *value)
{
	reply_key(a, key);
	reply_string(a, value);
}

void
reply_uint(struct reply *a, const char *key, uint64_t value)
{
	reply_key(a, key);
	msgpack_pack_uint64(&a->pack, value);
}

void
reply_flag(struct reply *a, const char *key, bool value)
{
	reply_key(a, key);
	if (value)
		msgpack_pack_true(&a->pack);
	else
		msgpack_pack_false(&a->pack);
}

void
reply_send(struct broker *b, const struct request *r, struct reply *a, uint32_t flags)
{
	client_reply(b, r->client, r->number, flags, a->bytes.data, a->bytes.size);
	msgpack_sbuffer_destroy(&a->bytes);
}

void
request_error(struct broker *b, const struct request *r, enum job_error error, const char *format,
	      ...)
{
	char text[400];
	struct reply a;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	reply_begin(&a, 2);
	reply_text(&a, "code", job_error_text(error));
	reply_text(&a, "message", text);
	reply_send(b, r, &a, REPLY_ERROR);
}

struct pool *
request_pool(struct broker *b, const struct request *r)
{
	char name[POOL_NAME_MAX + 1] = "";
	const char *names[POOLS_MAX];

	(void)request_text(r, "pool", name, sizeof(name));
	for (unsigned i = 0; i < b->pool_count; i++) {
		names[i] = b->pools[i].config->name;
		if (strcmp(names[i], name) == 0)
			return &b->pools[i];
	}
	const char *near = nearest_name(name, names, b->pool_count);
	request_error(b, r, ERR_UNKNOWN_POOL,
		      "there is no pool \"%s\"%s%s%s `pyprepctl pools` lists them", name,
		      near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : ";");
	return NULL;
}

/* ---- small verbs ---- */

static void
reply_empty(struct broker *b, const struct request *r)
{
	struct reply a;
	reply_begin(&a, 0);
	reply_send(b, r, &a, 0);
}

static void
verb_ping(struct broker *b, const struct request *r)
{
	struct reply a;
	reply_begin(&a, 2);
	reply_uint(&a, "broker_pid", (uint64_t)getpid());
	reply_flag(&a, "ready", crews_settled(b));
	reply_send(b, r, &a, 0);
}

static void
verb_context(struct broker *b, const struct request *r)
{
	char why[200];
	unsigned char *bytes;
	uint32_t length;

	if (context_pack(r->map, &bytes, &length, why, sizeof(why)) < 0) {
		request_error(b, r, ERR_BAD_REQUEST, "%s", why);
		return;
	}
	struct shared_context *context = shared_context_new(bytes, length);
	free(bytes);
	if (context == NULL) {
		request_error(b, r, ERR_INTERNAL, "out of memory");
		return;
	}
	shared_context_drop(r->client->context);
	r->client->context = context;
	reply_empty(b, r);
}

/* The supervisor acts by it, and tells a new broker. */
static void
tell_pool(struct broker *b, const struct pool *p, enum pool_state state)
{
	struct pool_body ask = {
		.pool = (uint16_t)p->index,
		.state = (uint16_t)state,
		.workers = p->wanted,
		.strategy = strategy_index(p->strategy),
		.ageing_ns = p->ageing_ns,
	};
	supervisor_tell(b, MSG_POOL, &ask);
}

static void
verb_resize(struct broker *b, const struct request *r)
{
	struct pool *p = request_pool(b, r);
	int64_t workers;

	if (p == NULL)
		return;
	if (!request_int(r, "workers", &workers) || workers < 0 || workers > WORKERS_MAX) {
		request_error(b, r, ERR_OUT_OF_RANGE, "workers must be between 0 and %d",
			      WORKERS_MAX);
		return;
	}
	p->wanted = (unsigned)workers;
	/* In this order: a worker that leaves while the supervisor wants it is replaced. */
	tell_pool(b, p, p->state);
	for (unsigned i = 0; i < p->crew_count; i++)
		if (p->crew[i] != NULL && p->crew[i]->up && p->crew[i]->slot >= p->wanted)
			crew_retire(b, p->crew[i]);
	struct reply a;
	reply_begin(&a, 2);
	reply_text(&a, "pool", p->config->name);
	reply_uint(&a, "workers", p->wanted);
	reply_send(b, r, &a, 0);
}

void
pool_set_state(struct broker *b, struct pool *p, enum pool_state state)
{
	bool drained = p->state == POOL_DRAINING;

	/* The supervisor tries the workers of a failed pool again. */
	tell_pool(b, p, state);
	if (p->state != state)
		log_event(LOG_LEVEL_INFO, LOG_POOL_STATE, ABOUT(.pool = p->config->name),
			  "pool %s is %s, was %s", p->config->name, pool_state_text(state),
			  pool_state_text(p->state));
	p->state = state;
	gate_pools_changed(b);
	if (drained)
		drain_over(b, p);
}

static void
set_paused(struct broker *b, const struct request *r, enum pool_state state)
{
	struct pool *p = request_pool(b, r);
	if (p == NULL)
		return;
	if (p->state == POOL_FAILED && state == POOL_PAUSED) {
		request_error(b, r, ERR_POOL_FAILED, "pool \"%s\" has failed; resume it first",
			      p->config->name);
		return;
	}
	pool_set_state(b, p, state);
	struct reply a;
	reply_begin(&a, 2);
	reply_text(&a, "pool", p->config->name);
	reply_text(&a, "state", pool_state_text(state));
	reply_send(b, r, &a, 0);
}

static void
verb_pause(struct broker *b, const struct request *r)
{
	set_paused(b, r, POOL_PAUSED);
}

static void
verb_resume(struct broker *b, const struct request *r)
{
	set_paused(b, r, POOL_RUNNING);
}

/* NULL after an error reply. */
static const struct strategy *
request_strategy(struct broker *b, const struct request *r)
{
	char name[32] = "", list[200] = "";
	const char *names[16];
	size_t count = 0, used = 0;

	(void)request_text(r, "strategy", name, sizeof(name));
	const struct strategy *s = strategy_by_name(name);
	if (s != NULL)
		return s;
	for (; count < sizeof(names) / sizeof(names[0]) && strategies[count] != NULL; count++) {
		names[count] = strategies[count]->name;
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
					 count > 0 ? ", " : "", names[count]);
	}
	const char *near = nearest_name(name, names, count);
	request_error(b, r, ERR_BAD_REQUEST,
		      "there is no strategy \"%s\"; expected one of %s%s%s%s", name, list,
		      near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	return NULL;
}

static void
verb_strategy(struct broker *b, const struct request *r)
{
	struct pool *p = request_pool(b, r);
	const struct strategy *s = p != NULL ? request_strategy(b, r) : NULL;

	if (s == NULL)
		return;
	if (pool_queue_switch(b, p, s) < 0) {
		request_error(b, r, ERR_INTERNAL,
			      "no memory to change the strategy of pool \"%s\"; it stays %s",
			      p->config->name, p->strategy->name);
		return;
	}
	tell_pool(b, p, p->state);
	log_info("pool %s: strategy %s", p->config->name, s->name);
	struct reply a;
	reply_begin(&a, 2);
	reply_text(&a, "pool", p->config->name);
	reply_text(&a, "strategy", s->name);
	reply_send(b, r, &a, 0);
}

static void
verb_reload(struct broker *b, const struct request *r)
{
	if (b->reloading != NULL) {
		request_error(b, r, ERR_BAD_REQUEST, "a reload is under way; try again");
		return;
	}
	struct request_body ask = { .number = r->number };
	b->reloading = r->client;
	b->reload_request = r->number;
	supervisor_tell(b, MSG_RELOAD, &ask);
}

void
request_reloaded(struct broker *b, const void *map, uint32_t length, uint32_t flags)
{
	if (b->reloading != NULL)
		client_reply(b, b->reloading, b->reload_request, flags, map, length);
	b->reloading = NULL;
}

static void
verb_stop(struct broker *b, const struct request *r)
{
	struct empty_body stop = { .reserved = request_bool(r, "now") };
	reply_empty(b, r);
	supervisor_tell(b, MSG_STOP_DAEMON, &stop);
}

/* ---- the table ---- */

static const struct verb verbs[] = {
	{ "resolve", ACCESS_SUBMIT, verb_resolve },
	{ "kinds", ACCESS_SUBMIT, verb_kinds },
	{ "status", ACCESS_SUBMIT, verb_status },
	{ "ls", ACCESS_SUBMIT, verb_ls },
	{ "show", ACCESS_SUBMIT, verb_show },
	{ "wait", ACCESS_SUBMIT, verb_wait },
	{ "cancel", ACCESS_SUBMIT, verb_cancel, true },
	{ "context", ACCESS_SUBMIT, verb_context },
	{ "ping", ACCESS_SUBMIT, verb_ping },
	{ "resize", ACCESS_OPERATE, verb_resize },
	{ "pause", ACCESS_OPERATE, verb_pause },
	{ "resume", ACCESS_OPERATE, verb_resume },
	{ "reload", ACCESS_OPERATE, verb_reload },
	{ "stop", ACCESS_OPERATE, verb_stop },
	{ "ipc", ACCESS_SUBMIT, verb_ipc },
	{ "leaks", ACCESS_SUBMIT, verb_leaks },
	{ "doctor", ACCESS_SUBMIT, verb_doctor },
	{ "hold", ACCESS_SUBMIT, verb_hold, true },
	{ "release", ACCESS_SUBMIT, verb_release, true },
	{ "logs", ACCESS_SUBMIT, verb_logs },
	{ "drain", ACCESS_OPERATE, verb_drain },
	{ "rm", ACCESS_SUBMIT, verb_rm },
	{ "retry", ACCESS_SUBMIT, verb_retry },
	{ "strategy", ACCESS_OPERATE, verb_strategy },
	{ "why", ACCESS_SUBMIT, verb_why, true },
	{ "report", ACCESS_SUBMIT, verb_report },
};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

static void
run_verb(struct broker *b, const struct request *r)
{
	char name[32] = "";

	(void)request_text(r, "verb", name, sizeof(name));
	for (size_t i = 0; i < VERB_COUNT; i++) {
		if (strcmp(verbs[i].name, name) != 0)
			continue;
		if (r->client->access < verbs[i].access)
			request_error(b, r, ERR_NOT_ALLOWED,
				      "\"%s\" is for operators: root, the daemon's user, and those "
				      "named in operators of the [daemon] section",
				      name);
		else if (!verbs[i].of_open_jobs || !request_later(b, r))
			verbs[i].run(b, r);
		return;
	}
	request_error(b, r, ERR_BAD_REQUEST, "unknown verb \"%s\"", name);
}

void
request_handle(struct broker *b, struct client *c, const struct request_body *request,
	       const void *map, uint32_t length)
{
	struct request r = {
		.client = c, .number = request->number, .bytes = map, .length = length
	};

	b->now_ns = clock_now(); /* the broker may have slept until this came */
	if (!is_one_map(map, length)) {
		request_error(b, &r, ERR_BAD_REQUEST, "the request is not one msgpack map");
		return;
	}
	msgpack_unpacked u;
	msgpack_unpacked_init(&u);
	msgpack_unpack_return got = msgpack_unpack_next(&u, map, length, NULL);
	if (got == MSGPACK_UNPACK_SUCCESS && u.data.type == MSGPACK_OBJECT_MAP) {
		r.map = &u.data;
		run_verb(b, &r);
	} else if (got == MSGPACK_UNPACK_NOMEM_ERROR) {
		request_error(b, &r, ERR_INTERNAL, "out of memory");
	} else {
		request_error(b, &r, ERR_BAD_REQUEST, "the request is nested too deeply");
	}
	msgpack_unpacked_destroy(&u);
}
