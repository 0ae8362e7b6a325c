/* rows.c - see rows.h */
#include "daemon/rows.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/durable_load.h"

/* ---- copies ---- */

static size_t
text_size(const char *text)
{
	return text != NULL ? strlen(text) + 1 : 0;
}

static const char *
keep_text(unsigned char **at, const char *text)
{
	char *copy = (char *)*at;
	size_t size = text_size(text);

	if (size == 0)
		return NULL;
	memcpy(copy, text, size);
	*at += size;
	return copy;
}

static void
keep_bytes(unsigned char **at, struct bytes *b)
{
	if (b->length > 0)
		memcpy(*at, b->at, b->length);
	b->at = *at;
	*at += b->length;
}

struct kept_row *
row_keep(const struct store_row *row)
{
	const struct store_job *job = &row->job;
	const struct store_end *end = &row->end;
	size_t size = text_size(job->kind) + text_size(job->pool) + text_size(job->key) +
		      job->params.length + job->policy.length + job->context.length +
		      end->result.length + end->message.length + end->autopsy.length +
		      text_size(end->kind) + text_size(end->pool) + text_size(end->executor);
	struct kept_row *k = malloc(sizeof(*k) + size);

	if (k == NULL)
		return NULL;
	k->row = *row;
	unsigned char *at = k->bytes;
	k->row.job.kind = keep_text(&at, job->kind);
	k->row.job.pool = keep_text(&at, job->pool);
	k->row.job.key = keep_text(&at, job->key);
	keep_bytes(&at, &k->row.job.params);
	keep_bytes(&at, &k->row.job.policy);
	keep_bytes(&at, &k->row.job.context);
	keep_bytes(&at, &k->row.end.result);
	keep_bytes(&at, &k->row.end.message);
	keep_bytes(&at, &k->row.end.autopsy);
	k->row.end.kind = keep_text(&at, end->kind);
	k->row.end.pool = keep_text(&at, end->pool);
	k->row.end.executor = keep_text(&at, end->executor);
	return k;
}

void
rows_free(struct row_list *rows)
{
	struct kept_row *k;

	while ((k = STAILQ_FIRST(rows)) != NULL) {
		STAILQ_REMOVE_HEAD(rows, link);
		free(k);
	}
}

/* ---- questions of clients ---- */

struct client *
client_still(struct broker *b, uint32_t index, uint64_t since_ns)
{
	struct client *c = index < b->config->max_clients ? b->clients[index] : NULL;

	return c != NULL && c->since_ns == since_ns && !c->doomed ? c : NULL;
}

static int
keep_in(void *context, const struct store_row *row)
{
	struct row_list *list = context;
	struct kept_row *k = row_keep(row);

	if (k == NULL)
		return -ENOMEM;
	STAILQ_INSERT_TAIL(list, k, link);
	return 0;
}

/* On the reading thread. */
static void
ask_store(const struct store_ops *ops, struct store *s, struct question *q)
{
	struct recall *c = (struct recall *)q;
	struct store_filter one = { .uid = UINT32_MAX };
	const struct kept_row *k;

	if (c->ids == NULL)
		c->result = ops->list(s, &c->filter, keep_in, &c->rows);
	for (uint32_t i = 0; c->result == 0 && i < c->id_count; i++) {
		one.id = c->ids[i];
		c->result = ops->list(s, &one, keep_in, &c->rows);
	}
	if (!c->attempts)
		return;
	STAILQ_FOREACH (k, &c->rows, link)
		if (c->result == 0 && !k->row.attached)
			c->result = ops->attempts(s, k->row.job.id, keep_in, &c->tried);
}

static void
on_answer(struct broker *b, struct question *q)
{
	struct recall *c = (struct recall *)q;
	struct request r = { .number = c->number };

	if (b != NULL && (r.client = client_still(b, c->client, c->since_ns)) != NULL)
		c->answer(b, &r, c);
	rows_free(&c->rows);
	rows_free(&c->tried);
	free(c->ids);
	free(c->listed);
	free(c->context);
	free(c);
}

struct recall *
recall_new(const struct request *r, recall_fn answer)
{
	struct recall *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		request_error(r->client->broker, r, ERR_INTERNAL, "out of memory");
		return NULL;
	}
	STAILQ_INIT(&c->rows);
	STAILQ_INIT(&c->tried);
	c->question.ask = ask_store;
	c->question.answered = on_answer;
	c->client = r->client->index;
	c->since_ns = r->client->since_ns;
	c->number = r->number;
	c->filter.uid = UINT32_MAX;
	c->answer = answer;
	return c;
}

const char *
recall_text(struct recall *c, const char *text)
{
	char *copy = c->texts[c->text_count++ % 5];

	snprintf(copy, sizeof(c->texts[0]), "%s", text);
	return copy;
}

void
recall_ask(struct broker *b, struct recall *c)
{
	writer_ask(b->durable->writer, &c->question);
}

bool
recall_failed(struct broker *b, const struct request *r, const struct recall *c)
{
	if (c->result == 0)
		return false;
	request_error(b, r, ERR_STORE_FAILED,
		      "the store cannot be read: %s; the daemon's log says more",
		      strerror(-c->result));
	return true;
}
