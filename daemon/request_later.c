/*
 * request_later.c - requests that came too early: a new broker serves clients while the jobs of an
 * earlier one still come out of the store.  What is asked about one that is not there yet is
 * answered when all of them are.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/durable.h"
#include "daemon/rows.h"

#define LATER_MOST 1024u /* of all clients */

struct later {
	STAILQ_ENTRY(later) link;
	uint32_t client, number;
	uint64_t since_ns;
	uint32_t length;
	unsigned char map[];
};

static bool
is_unknown(struct broker *b, const msgpack_object *id)
{
	return id->type == MSGPACK_OBJECT_POSITIVE_INTEGER && id->via.u64 != 0 &&
	       jobs_find(&b->jobs, id->via.u64) == JOB_NONE &&
	       history_find(&b->history, id->via.u64) == NULL;
}

/* Does it name a job that may still come, or all jobs? */
static bool
is_early(struct broker *b, const struct request *r)
{
	const msgpack_object *id = request_field(r, "id"), *ids = request_field(r, "ids");

	if (durable_loaded(b))
		return false;
	if (request_field(r, "all") != NULL || (id != NULL && is_unknown(b, id)))
		return true;
	for (uint32_t i = 0;
	     ids != NULL && ids->type == MSGPACK_OBJECT_ARRAY && i < ids->via.array.size; i++)
		if (is_unknown(b, &ids->via.array.ptr[i]))
			return true;
	return false;
}

bool
request_later(struct broker *b, const struct request *r)
{
	if (!is_early(b, r) || b->later_count == LATER_MOST)
		return false;
	struct later *l = malloc(sizeof(*l) + r->length);
	if (l == NULL)
		return false;
	l->client = r->client->index;
	l->since_ns = r->client->since_ns;
	l->number = r->number;
	l->length = r->length;
	memcpy(l->map, r->bytes, r->length);
	STAILQ_INSERT_TAIL(&b->later, l, link);
	b->later_count++;
	return true;
}

void
requests_loaded(struct broker *b)
{
	struct later *l;

	while ((l = STAILQ_FIRST(&b->later)) != NULL) {
		const struct request_body body = { .number = l->number };
		struct client *c = client_still(b, l->client, l->since_ns);
		STAILQ_REMOVE_HEAD(&b->later, link);
		b->later_count--;
		if (c != NULL)
			request_handle(b, c, &body, l->map, l->length);
		free(l);
	}
}
