/* request_store.c - verbs about jobs in the store: logs, rm, retry. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/durable_load.h"
#include "daemon/gate.h"
#include "daemon/rows.h"

#define LOGS_A_REPLY (48u * 1024) /* bytes of output in one reply */
#define LOGS_MOST    (1024u * 1024)
#define IDS_MOST     4096u

/* ---- logs ---- */

struct piece {
	STAILQ_ENTRY(piece) link;
	uint32_t stream, length;
	uint64_t offset;
	unsigned char bytes[];
};

struct logs {
	struct question question;
	uint32_t client, number;
	uint64_t since_ns;
	uint64_t id, from[3];
	uint16_t attempt;
	uint32_t uid;
	bool found, ended;
	size_t bytes; /* so far */
	int result;
	STAILQ_HEAD(, piece) pieces;
};

static int
keep_piece(void *context, uint32_t stream, uint64_t offset, const void *bytes, size_t length)
{
	struct logs *l = context;

	if (l->bytes >= LOGS_MOST)
		return 1; /* the client asks for the rest */
	for (size_t at = 0; at < length;) {
		size_t part = length - at < LOGS_A_REPLY ? length - at : LOGS_A_REPLY;
		struct piece *p = malloc(sizeof(*p) + part);
		if (p == NULL)
			return -ENOMEM;
		p->stream = stream;
		p->offset = offset + at;
		p->length = (uint32_t)part;
		memcpy(p->bytes, (const unsigned char *)bytes + at, part);
		STAILQ_INSERT_TAIL(&l->pieces, p, link);
		at += part;
		l->bytes += part;
	}
	return 0;
}

static int
note_job(void *context, const struct store_row *row)
{
	struct logs *l = context;

	l->found = !row->attached;
	l->ended = row->ended;
	l->uid = row->job.uid;
	return 0;
}

static void
ask_logs(const struct store_ops *ops, struct store *s, struct question *q)
{
	struct logs *l = (struct logs *)q;
	struct store_filter one = { .id = l->id, .uid = UINT32_MAX };

	/* In this order: what an ended job wrote is all there. */
	l->result = ops->list(s, &one, note_job, l);
	if (l->result == 0 && l->found)
		l->result = ops->output(s, l->id, l->attempt, l->from, keep_piece, l);
	if (l->result > 0)
		l->result = 0;
}

static void
send_piece(struct broker *b, const struct request *r, const struct piece *p)
{
	struct reply a;

	reply_begin(&a, 3);
	reply_uint(&a, "stream", p->stream);
	reply_uint(&a, "offset", p->offset);
	reply_key(&a, "bytes");
	msgpack_pack_bin(&a.pack, p->length);
	msgpack_pack_bin_body(&a.pack, p->bytes, p->length);
	reply_send(b, r, &a, REPLY_MORE);
}

static void
reply_logs(struct broker *b, const struct request *r, struct logs *l)
{
	const struct piece *p;
	struct reply a;

	if (l->result < 0) {
		request_error(b, r, ERR_STORE_FAILED, "the store cannot be read: %s",
			      strerror(-l->result));
		return;
	}
	if (!l->found) {
		request_error(
			b, r, ERR_NO_SUCH_JOB,
			"there is no detached job %llu (any more); the output of attached ones "
			"is not kept",
			(unsigned long long)l->id);
		return;
	}
	if (!request_may_see(b, r, l->id, l->uid))
		return;
	STAILQ_FOREACH (p, &l->pieces, link)
		send_piece(b, r, p);
	reply_begin(&a, 2);
	reply_flag(&a, "ended", l->ended && jobs_find(&b->jobs, l->id) == JOB_NONE);
	reply_flag(&a, "more", l->bytes >= LOGS_MOST);
	reply_send(b, r, &a, 0);
}

static void
on_logs(struct broker *b, struct question *q)
{
	struct logs *l = (struct logs *)q;
	struct request r = { .number = l->number };
	struct piece *p;

	if (b != NULL && (r.client = client_still(b, l->client, l->since_ns)) != NULL)
		reply_logs(b, &r, l);
	while ((p = STAILQ_FIRST(&l->pieces)) != NULL) {
		STAILQ_REMOVE_HEAD(&l->pieces, link);
		free(p);
	}
	free(l);
}

void
verb_logs(struct broker *b, const struct request *r)
{
	struct logs *l = calloc(1, sizeof(*l));
	int64_t id = 0, attempt = 0, from[2] = { 0, 0 };

	if (l == NULL) {
		request_error(b, r, ERR_INTERNAL, "out of memory");
		return;
	}
	(void)request_int(r, "id", &id);
	(void)request_int(r, "attempt", &attempt);
	(void)request_int(r, "stdout_from", &from[0]);
	(void)request_int(r, "stderr_from", &from[1]);
	STAILQ_INIT(&l->pieces);
	l->question.ask = ask_logs;
	l->question.answered = on_logs;
	l->client = r->client->index;
	l->since_ns = r->client->since_ns;
	l->number = r->number;
	l->id = (uint64_t)id;
	l->attempt = (uint16_t)attempt;
	l->from[1] = (uint64_t)from[0];
	l->from[2] = (uint64_t)from[1];
	writer_ask(b->durable->writer, &l->question);
}

/* ---- rm and retry: one change for each id ---- */

struct changing {
	uint32_t client, number;
	uint64_t since_ns;
	enum store_change_type type;
	uint32_t under_way;
	uint64_t done;
	msgpack_sbuffer missing, refused, busy;
	unsigned missing_count, refused_count, busy_count;
	int error; /* of the store */
};

static void
note(msgpack_sbuffer *list, unsigned *count, uint64_t id)
{
	msgpack_packer pack;

	msgpack_packer_init(&pack, list, msgpack_sbuffer_write);
	msgpack_pack_uint64(&pack, id);
	(*count)++;
}

static void
reply_list(struct reply *a, const char *key, const msgpack_sbuffer *list, unsigned count)
{
	reply_key(a, key);
	msgpack_pack_array(&a->pack, count);
	msgpack_sbuffer_write(&a->bytes, list->data, list->size);
}

/* When the last change is answered. */
static void
finish_change(struct broker *b, struct changing *g)
{
	struct request r = { .number = g->number };
	struct reply a;

	if (--g->under_way > 0)
		return;
	r.client = client_still(b, g->client, g->since_ns);
	if (r.client != NULL && g->error != 0) {
		request_error(b, &r, ERR_STORE_FAILED, "the store cannot be written: %s",
			      strerror(-g->error));
	} else if (r.client != NULL) {
		reply_begin(&a, 4);
		reply_uint(&a, "done", g->done);
		reply_list(&a, "missing", &g->missing, g->missing_count);
		reply_list(&a, "not_allowed", &g->refused, g->refused_count);
		reply_list(&a, "busy", &g->busy, g->busy_count);
		reply_send(b, &r, &a, 0);
	}
	msgpack_sbuffer_destroy(&g->missing);
	msgpack_sbuffer_destroy(&g->refused);
	msgpack_sbuffer_destroy(&g->busy);
	free(g);
}

static void
on_changed(struct broker *b, struct order *o)
{
	struct changing *g = (struct changing *)(uintptr_t)o->number[0];
	uint64_t id = o->change.job.id;
	int r = o->change.result;

	b->durable->under_way--;
	if (r == -ENOENT)
		note(&g->missing, &g->missing_count, id);
	else if (r == -EBUSY)
		note(&g->busy, &g->busy_count, id);
	else if (r < 0)
		g->error = r;
	else
		g->done++;
	if (r == 0 && o->change.type == CHANGE_REMOVE)
		history_forget(&b->history, id);
	if (r == 0 && o->change.type == CHANGE_REOPEN) {
		history_forget(&b->history, id);
		durable_reload(b, id);
	}
	finish_change(b, g);
}

static void
change(struct broker *b, struct changing *g, uint64_t id)
{
	struct order *o = order_new(g->type, 0);

	if (o == NULL) {
		g->error = -ENOMEM;
		return;
	}
	o->change.job.id = id;
	o->number[0] = (uintptr_t)g;
	o->answered = on_changed;
	g->under_way++;
	b->durable->under_way++;
	writer_put(b->durable->writer, o);
}

/* The rows say whose they are. */
static void
on_rows(struct broker *b, const struct request *r, struct recall *c)
{
	struct changing *g = c->context;
	const struct kept_row *k;

	if (recall_failed(b, r, c))
		return;
	c->context = NULL;
	g->under_way = 1; /* ours, until all are put */
	for (uint32_t i = 0; i < c->id_count; i++) {
		uint64_t id = c->ids[i];
		STAILQ_FOREACH (k, &c->rows, link)
			if (k->row.job.id == id)
				break;
		if (k == NULL || (k->row.attached && g->type == CHANGE_REOPEN))
			note(&g->missing, &g->missing_count, id);
		else if (!request_may_touch(r->client, k->row.job.uid))
			note(&g->refused, &g->refused_count, id);
		else if (!k->row.ended || jobs_find(&b->jobs, id) != JOB_NONE)
			note(&g->busy, &g->busy_count, id);
		else
			change(b, g, id);
	}
	finish_change(b, g);
}

static void
change_ids(struct broker *b, const struct request *r, enum store_change_type type)
{
	const msgpack_object *ids = request_field(r, "ids");

	if (ids == NULL || ids->type != MSGPACK_OBJECT_ARRAY || ids->via.array.size == 0 ||
	    ids->via.array.size > IDS_MOST) {
		request_error(b, r, ERR_BAD_REQUEST, "between 1 and %u ids are needed", IDS_MOST);
		return;
	}
	struct recall *c = recall_new(r, on_rows);
	if (c == NULL)
		return;
	struct changing *g = calloc(1, sizeof(*g));
	c->context = g;
	c->ids = calloc(ids->via.array.size, sizeof(c->ids[0]));
	if (g == NULL || c->ids == NULL) {
		free(c->ids);
		free(g);
		free(c);
		request_error(b, r, ERR_INTERNAL, "out of memory");
		return;
	}
	g->client = r->client->index;
	g->number = r->number;
	g->since_ns = r->client->since_ns;
	g->type = type;
	for (uint32_t i = 0; i < ids->via.array.size; i++) {
		const msgpack_object *o = &ids->via.array.ptr[i];
		c->ids[c->id_count++] = o->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? o->via.u64 : 0;
	}
	recall_ask(b, c);
}

void
verb_rm(struct broker *b, const struct request *r)
{
	change_ids(b, r, CHANGE_REMOVE);
}

void
verb_retry(struct broker *b, const struct request *r)
{
	change_ids(b, r, CHANGE_REOPEN);
}
