/*
 * request_wait.c - verb wait: tell a client when jobs, anybody's it may see, have ended.
 *
 * Jobs that are in the table are watched; those that ended lately are in the history; for all
 * others the store is asked first.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/rows.h"

#define WAIT_MOST 4096u

static void
tell(struct broker *b, struct watcher *w, const struct history_entry *e, bool last)
{
	struct request r = { .client = w->client, .number = w->request };
	struct reply a;

	reply_start(&a);
	reply_ended(&a, e);
	reply_send(b, &r, &a, last ? 0 : REPLY_MORE);
}

static void
end_watcher(struct watcher *w)
{
	LIST_REMOVE(w, link);
	free(w);
}

/* One of its jobs has ended and was told.  True: it was the last it waits for. */
static bool
watcher_done(struct watcher *w, uint32_t place)
{
	w->ids[place] = w->ids[--w->count];
	return w->any || w->count == 0;
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
			bool last = watcher_done(w, i);
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

/* ---- what has ended already ---- */

/* Tell of those that have ended, watch the others; `w` may end here. */
static void
begin(struct broker *b, struct watcher *w)
{
	uint64_t first[WAIT_MOST];
	uint32_t count = w->count;
	bool any = w->any;

	LIST_INSERT_HEAD(&b->watchers, w, link);
	memcpy(first, w->ids, count * sizeof(first[0]));
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

/* The place of job `id` among those it waits for; w->count: it does not. */
static uint32_t
place_of(const struct watcher *w, uint64_t id)
{
	uint32_t i = 0;

	while (i < w->count && w->ids[i] != id)
		i++;
	return i;
}

static const struct kept_row *
row_of(const struct recall *c, uint64_t id)
{
	const struct kept_row *k;

	STAILQ_FOREACH (k, &c->rows, link)
		if (k->row.job.id == id)
			return k;
	return NULL;
}

static bool
may_wait(struct broker *b, const struct request *r, const struct recall *c, uint64_t id)
{
	const struct kept_row *k = row_of(c, id);

	if (k != NULL)
		return request_may_see(b, r, id, k->row.job.uid);
	if (jobs_find(&b->jobs, id) != JOB_NONE || history_find(&b->history, id) != NULL)
		return true; /* was looked at before the store was asked, or came from there since
			      */
	request_error(b, r, ERR_NO_SUCH_JOB, "there is no job %llu (any more)",
		      (unsigned long long)id);
	return false;
}

/* The store has said what it knows of those that were not here. */
static void
on_rows(struct broker *b, const struct request *r, struct recall *c)
{
	struct watcher *w = c->context;
	const struct kept_row *k;

	if (recall_failed(b, r, c))
		return;
	for (uint32_t i = 0; i < c->id_count; i++)
		if (!may_wait(b, r, c, c->ids[i]))
			return;
	STAILQ_FOREACH (k, &c->rows, link) {
		uint32_t place = place_of(w, k->row.job.id);
		struct reply a;
		if (!k->row.ended || place == w->count ||
		    jobs_find(&b->jobs, k->row.job.id) != JOB_NONE)
			continue;
		bool last = watcher_done(w, place);
		reply_start(&a);
		reply_row(b, &a, &k->row, NULL);
		reply_send(b, r, &a, last ? 0 : REPLY_MORE);
		if (last)
			return;
	}
	c->context = NULL; /* the watcher is on its own now */
	begin(b, w);
}

static void
ask_store(struct broker *b, const struct request *r, struct watcher *w, uint64_t *ids,
	  uint32_t count)
{
	struct recall *c = recall_new(r, on_rows);

	if (c == NULL) {
		free(ids);
		free(w);
		return;
	}
	c->ids = ids;
	c->id_count = count;
	c->context = w;
	recall_ask(b, c);
}

/* ---- the request ---- */

/* 1: it is here, and theirs; 0: the store has to be asked; -1: the error is sent. */
static int
look(struct broker *b, const struct request *r, uint64_t id)
{
	uint32_t index = id == 0 ? JOB_NONE : jobs_find(&b->jobs, id);
	const struct history_entry *e =
		index == JOB_NONE && id != 0 ? history_find(&b->history, id) : NULL;

	if (index == JOB_NONE && e == NULL)
		return 0;
	uint32_t uid = e != NULL ? e->receipt.uid : job_at(&b->jobs, index)->uid;
	return request_may_see(b, r, id, uid) ? 1 : -1;
}

/* Fill `w` from the request, and `unknown` with those the store must be asked for; false: the error
 * is sent. */
static bool
read_ids(struct broker *b, const struct request *r, const msgpack_object_array *ids,
	 struct watcher *w, uint64_t *unknown, uint32_t *ret_unknown)
{
	*ret_unknown = 0;
	for (uint32_t i = 0; i < ids->size; i++) {
		const msgpack_object *o = &ids->ptr[i];
		uint64_t id = o->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? o->via.u64 : 0;
		if (place_of(w, id) < w->count)
			continue;
		int here = look(b, r, id);
		if (here < 0)
			return false;
		if (here == 0)
			unknown[(*ret_unknown)++] = id;
		w->ids[w->count++] = id;
	}
	return true;
}

void
verb_wait(struct broker *b, const struct request *r)
{
	const msgpack_object *ids = request_field(r, "ids");
	char mode[8] = "all";
	uint32_t unknown_count;

	(void)request_text(r, "mode", mode, sizeof(mode));
	if (ids == NULL || ids->type != MSGPACK_OBJECT_ARRAY || ids->via.array.size == 0 ||
	    ids->via.array.size > WAIT_MOST) {
		request_error(b, r, ERR_BAD_REQUEST, "wait needs between 1 and %u ids", WAIT_MOST);
		return;
	}
	size_t size = ids->via.array.size * sizeof(uint64_t);
	struct watcher *w = calloc(1, sizeof(*w) + size);
	uint64_t *unknown = malloc(size);
	if (w == NULL || unknown == NULL) {
		free(w);
		free(unknown);
		request_error(b, r, ERR_INTERNAL, "out of memory");
		return;
	}
	w->client = r->client;
	w->request = r->number;
	w->any = mode[0] == 'a' && mode[1] == 'n';
	if (!read_ids(b, r, &ids->via.array, w, unknown, &unknown_count)) {
		free(w);
		free(unknown);
	} else if (unknown_count > 0) {
		ask_store(b, r, w, unknown, unknown_count);
	} else {
		free(unknown);
		begin(b, w);
	}
}
