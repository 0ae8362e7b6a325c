/* request_hold.c - verbs hold and release: queued jobs that are not to start for the time being. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/durable.h"
#include "daemon/gate.h"
#include "daemon/request.h"
#include "daemon/rows.h"

enum fate { FATE_DONE, FATE_MISSING, FATE_NOT_ALLOWED, FATE_RUNNING, FATE_COUNT };
static const char *const fate_key[FATE_COUNT] = { NULL, "missing", "not_allowed", "running" };

/* A request under way: it is answered when what it changed is durable. */
struct holding {
	uint32_t client, number;
	uint64_t since_ns;
	bool held;
	uint32_t under_way; /* changes that are being written */
	int error;          /* of the store */
	unsigned count[FATE_COUNT];
	msgpack_sbuffer ids[FATE_COUNT];
};

static void
reply_held(struct broker *b, const struct request *r, const struct holding *h)
{
	struct reply a;

	reply_begin(&a, FATE_COUNT);
	reply_uint(&a, h->held ? "held" : "released", h->count[FATE_DONE]);
	for (enum fate f = FATE_MISSING; f < FATE_COUNT; f++) {
		reply_key(&a, fate_key[f]);
		msgpack_pack_array(&a.pack, h->count[f]);
		msgpack_sbuffer_write(&a.bytes, h->ids[f].data, h->ids[f].size);
	}
	reply_send(b, r, &a, 0);
}

static void
finish(struct broker *b, struct holding *h)
{
	struct request r = { .number = h->number };

	if (--h->under_way > 0)
		return;
	r.client = client_still(b, h->client, h->since_ns);
	if (r.client != NULL && h->error != 0)
		request_error(b, &r, ERR_STORE_FAILED,
			      "%s now, but the store cannot be written (%s): it is written as "
			      "soon as it can be, and forgotten if the daemon dies before",
			      h->held ? "held" : "released", strerror(-h->error));
	else if (r.client != NULL)
		reply_held(b, &r, h);
	for (enum fate f = 0; f < FATE_COUNT; f++)
		msgpack_sbuffer_destroy(&h->ids[f]);
	free(h);
}

static void
on_durable(struct broker *b, void *context, int result)
{
	struct holding *h = context;

	if (result < 0)
		h->error = result;
	finish(b, h);
}

static enum fate
hold_one(struct broker *b, const struct client *c, uint64_t id, struct holding *h)
{
	uint32_t index = id == 0 ? JOB_NONE : jobs_find(&b->jobs, id);

	if (index == JOB_NONE || (job_at(&b->jobs, index)->flags & JOB_ENDING))
		return FATE_MISSING;
	const struct job *job = job_at(&b->jobs, index);
	if (c->access < ACCESS_OPERATE && c->who.uid != job->uid)
		return FATE_NOT_ALLOWED;
	int r = gate_hold(b, index, h->held);
	if (r == -EBUSY)
		return FATE_RUNNING;
	if (r == 0 && (job->flags & JOB_DETACHED))
		r = durable_edit(b, index, on_durable, h);
	if (r < 0)
		h->error = r;
	else if (job->flags & JOB_DETACHED)
		h->under_way++;
	return FATE_DONE;
}

static void
note(struct holding *h, enum fate fate, uint64_t id)
{
	msgpack_packer pack;

	msgpack_packer_init(&pack, &h->ids[fate], msgpack_sbuffer_write);
	msgpack_pack_uint64(&pack, id);
	h->count[fate]++;
}

static void
hold_many(struct broker *b, const struct request *r, bool held)
{
	const msgpack_object *ids = request_field(r, "ids");

	if (ids == NULL || ids->type != MSGPACK_OBJECT_ARRAY || ids->via.array.size == 0) {
		request_error(b, r, ERR_BAD_REQUEST, "%s needs a list of ids",
			      held ? "hold" : "release");
		return;
	}
	struct holding *h = calloc(1, sizeof(*h));
	if (h == NULL) {
		request_error(b, r, ERR_INTERNAL, "out of memory");
		return;
	}
	h->client = r->client->index;
	h->since_ns = r->client->since_ns;
	h->number = r->number;
	h->held = held;
	h->under_way = 1; /* ours, until all are looked at */
	for (enum fate f = 0; f < FATE_COUNT; f++)
		msgpack_sbuffer_init(&h->ids[f]);
	for (uint32_t i = 0; i < ids->via.array.size; i++) {
		const msgpack_object *o = &ids->via.array.ptr[i];
		uint64_t id = o->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? o->via.u64 : 0;
		note(h, hold_one(b, r->client, id, h), id);
	}
	finish(b, h);
}

void
verb_hold(struct broker *b, const struct request *r)
{
	hold_many(b, r, true);
}

void
verb_release(struct broker *b, const struct request *r)
{
	hold_many(b, r, false);
}
