/*
 * request_wait.c - verb wait: tell a client when jobs, anybody's it may see, have ended.
 */
#include <stdlib.h>

#include "daemon/request.h"

#define WAIT_MOST 4096u

static void
tell(struct broker *b, struct watcher *w, const struct history_entry *e, bool last)
{
	struct request r = { .client = w->client, .number = w->request };
	struct reply a;

	msgpack_sbuffer_init(&a.bytes);
	msgpack_packer_init(&a.pack, &a.bytes, msgpack_sbuffer_write);
	reply_ended(&a, e);
	reply_send(b, &r, &a, last ? 0 : REPLY_MORE);
}

static void
end_watcher(struct watcher *w)
{
	LIST_REMOVE(w, link);
	free(w);
}

void
watchers_tell(struct broker *b, uint64_t id)
{
	const struct history_entry *e = history_find(&b->history, id);
	struct watcher *w, *next;

	for (w = LIST_FIRST(&b->watchers); w != NULL && e != NULL; w = next) {
		next = LIST_NEXT(w, link);
		for (uint32_t i = 0; i < w->count; i++) {
			if (w->ids[i] != id)
				continue;
			w->ids[i] = w->ids[--w->count];
			bool last = w->any || w->count == 0;
			tell(b, w, e, last);
			if (last)
				end_watcher(w);
			break;
		}
	}
}

void
watchers_drop(struct broker *b, struct client *c)
{
	struct watcher *w, *next;

	for (w = LIST_FIRST(&b->watchers); w != NULL; w = next) {
		next = LIST_NEXT(w, link);
		if (w->client == c)
			end_watcher(w);
	}
}

/* 0 when the job is there and theirs; else the error is sent. */
static bool
may_wait(struct broker *b, const struct request *r, uint64_t id)
{
	uint32_t index = id == 0 ? JOB_NONE : jobs_find(&b->jobs, id);
	const struct history_entry *e =
		index == JOB_NONE && id != 0 ? history_find(&b->history, id) : NULL;

	if (index == JOB_NONE && e == NULL) {
		request_error(b, r, ERR_NO_SUCH_JOB, "there is no job %llu",
			      (unsigned long long)id);
		return false;
	}
	uint32_t uid = e != NULL ? e->receipt.uid : job_at(&b->jobs, index)->uid;
	if (r->client->access < ACCESS_OPERATE && uid != r->client->who.uid) {
		request_error(b, r, ERR_NOT_ALLOWED, "job %llu belongs to another user",
			      (unsigned long long)id);
		return false;
	}
	return true;
}

static bool
contains(const struct watcher *w, uint64_t id)
{
	for (uint32_t i = 0; i < w->count; i++)
		if (w->ids[i] == id)
			return true;
	return false;
}

void
verb_wait(struct broker *b, const struct request *r)
{
	const msgpack_object *ids = request_field(r, "ids");
	char mode[8] = "all";

	(void)request_text(r, "mode", mode, sizeof(mode));
	if (ids == NULL || ids->type != MSGPACK_OBJECT_ARRAY || ids->via.array.size == 0 ||
	    ids->via.array.size > WAIT_MOST) {
		request_error(b, r, ERR_BAD_REQUEST, "wait needs between 1 and %u ids", WAIT_MOST);
		return;
	}
	struct watcher *w = calloc(1, sizeof(*w) + ids->via.array.size * sizeof(w->ids[0]));
	if (w == NULL) {
		request_error(b, r, ERR_INTERNAL, "out of memory");
		return;
	}
	w->client = r->client;
	w->request = r->number;
	w->any = mode[0] == 'a' && mode[1] == 'n';
	for (uint32_t i = 0; i < ids->via.array.size; i++) {
		const msgpack_object *o = &ids->via.array.ptr[i];
		uint64_t id = o->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? o->via.u64 : 0;
		if (!may_wait(b, r, id)) {
			free(w);
			return;
		}
		if (!contains(w, id))
			w->ids[w->count++] = id;
	}
	LIST_INSERT_HEAD(&b->watchers, w, link);
	/* Those that have ended already answer at once; `w` may end here. */
	uint64_t first[WAIT_MOST];
	uint32_t count = w->count;
	for (uint32_t i = 0; i < count; i++)
		first[i] = w->ids[i];
	bool any = w->any;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t index = jobs_find(&b->jobs, first[i]);
		if (index != JOB_NONE) {
			job_at(&b->jobs, index)->flags |= JOB_WATCHED;
			continue;
		}
		watchers_tell(b, first[i]);
		if (any)
			return;
	}
}
