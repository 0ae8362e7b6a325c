/*
 * request_ls.c - verb ls: the table first, then what ended last (the history), then the store.
 *
 * Attached jobs come into the store some time after their end, so the last of them are told from
 * the history, and not again from the store; nor are detached ones that end while the store is read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/durable.h"
#include "daemon/gate.h"
#include "daemon/policy.h"
#include "daemon/rows.h"

#define JOBS_A_REPLY 64u
#define LS_MOST      100000
#define LIVE_STATES  (1u << JOB_QUEUED | 1u << JOB_RUNNING)
#define ALL_STATES   ((1u << JOB_STATE_COUNT) - 1)

struct wanted {
	uint32_t states; /* bit per enum job_state */
	char kind[STORE_NAME_MAX + 1], pool[STORE_NAME_MAX + 1];
	char key[STORE_KEY_MAX + 1];
	char label[POLICY_NAME_MAX + 1], value[POLICY_TEXT_MAX + 1];
	bool has_value;
};

struct listing {
	struct broker *b;
	const struct request *r;
	unsigned in_open;
	msgpack_sbuffer maps; /* jobs of the next reply, before their count is known */
	int64_t left;
	uint64_t *listed; /* ids that the store may tell of, too */
	size_t listed_count, listed_room;
};

/* ---- replies ---- */

static void
send_jobs(struct listing *l, uint32_t flags)
{
	struct reply open;

	reply_begin(&open, 1);
	reply_key(&open, "jobs");
	msgpack_pack_array(&open.pack, l->in_open);
	msgpack_sbuffer_write(&open.bytes, l->maps.data, l->maps.size);
	reply_send(l->b, l->r, &open, flags);
	msgpack_sbuffer_clear(&l->maps);
	l->in_open = 0;
}

/* A reply whose map goes to the end of l->maps. */
static void
add_begin(struct reply *one)
{
	msgpack_sbuffer_init(&one->bytes);
	msgpack_packer_init(&one->pack, &one->bytes, msgpack_sbuffer_write);
}

static void
add_end(struct listing *l, struct reply *one)
{
	msgpack_sbuffer_write(&l->maps, one->bytes.data, one->bytes.size);
	msgpack_sbuffer_destroy(&one->bytes);
	l->left--;
	if (++l->in_open == JOBS_A_REPLY)
		send_jobs(l, REPLY_MORE);
}

/* ---- which ---- */

static bool
has_label(const struct job *job, const struct wanted *w)
{
	const struct policy *p = job->more != NULL ? job->more->policy : NULL;

	for (unsigned i = 0; p != NULL && i < p->label_count; i++)
		if (strcmp(p->labels[i].name, w->label) == 0 &&
		    (!w->has_value || strcmp(p->labels[i].value, w->value) == 0))
			return true;
	return false;
}

static bool
job_wanted(struct broker *b, const struct job *job, const struct wanted *w)
{
	const struct policy *p = job->more != NULL ? job->more->policy : NULL;

	return (w->states & 1u << job->state) != 0 &&
	       (w->kind[0] == '\0' || strcmp(kinds[job->kind]->name, w->kind) == 0) &&
	       (w->pool[0] == '\0' || strcmp(b->pools[job->pool].config->name, w->pool) == 0) &&
	       (w->key[0] == '\0' || (p != NULL && strcmp(p->key, w->key) == 0)) &&
	       (w->label[0] == '\0' || has_label(job, w));
}

/* Keys and labels of attached jobs are not in the history. */
static bool
entry_wanted(const struct history_entry *e, const struct wanted *w)
{
	return (w->states & 1u << e->receipt.outcome.state) != 0 &&
	       (w->kind[0] == '\0' || strcmp(e->kind, w->kind) == 0) &&
	       (w->pool[0] == '\0' || strcmp(e->pool, w->pool) == 0) && w->key[0] == '\0' &&
	       w->label[0] == '\0';
}

/* ---- the three places ---- */

/* Without memory it may be told twice. */
static void
note_listed(struct listing *l, uint64_t id)
{
	if (l->listed_count == l->listed_room) {
		size_t room = l->listed_room * 2 + 256;
		uint64_t *more = reallocarray(l->listed, room, sizeof(*more));
		if (more == NULL)
			return;
		l->listed = more;
		l->listed_room = room;
	}
	l->listed[l->listed_count++] = id;
}

static void
list_live(struct listing *l, const struct wanted *w)
{
	struct jobs *jobs = &l->b->jobs;
	struct reply one;

	if ((w->states & LIVE_STATES) == 0)
		return;
	for (uint32_t i = 0; l->left > 0 && (i = jobs_next(jobs, i)) != JOB_NONE; i++) {
		const struct job *job = job_at(jobs, i);
		if (!request_may_touch(l->r->client, job->uid) || !job_wanted(l->b, job, w))
			continue;
		if ((job->flags & JOB_DETACHED) && (w->states & ~LIVE_STATES) != 0)
			note_listed(l, job->id);
		add_begin(&one);
		reply_job(l->b, &one, job);
		add_end(l, &one);
	}
}

static void
list_history(struct listing *l, const struct wanted *w)
{
	const struct history *h = &l->b->history;
	uint64_t unsaved = durable_unsaved(l->b);
	const struct history_entry *e;
	struct reply one;

	for (uint64_t back = 0;
	     l->left > 0 && back < unsaved && (e = history_newest(h, back)) != NULL; back++) {
		if (e->receipt.id == 0 || (e->receipt.flags & RECEIPT_DETACHED) ||
		    !request_may_touch(l->r->client, e->receipt.uid) || !entry_wanted(e, w))
			continue;
		note_listed(l, e->receipt.id);
		add_begin(&one);
		reply_ended(&one, e);
		add_end(l, &one);
	}
}

static int
by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool
was_listed(const struct recall *c, uint64_t id)
{
	return c->listed_count > 0 &&
	       bsearch(&id, c->listed, c->listed_count, sizeof(c->listed[0]), by_id) != NULL;
}

static void
on_rows(struct broker *b, const struct request *r, struct recall *c)
{
	struct listing l = { .b = b, .r = r, .left = (int64_t)c->filter.limit };
	const struct kept_row *k;
	struct reply one;

	if (recall_failed(b, r, c))
		return;
	msgpack_sbuffer_init(&l.maps);
	STAILQ_FOREACH (k, &c->rows, link) {
		if (!k->row.ended || was_listed(c, k->row.job.id))
			continue;
		add_begin(&one);
		reply_row(b, &one, &k->row, NULL);
		add_end(&l, &one);
	}
	send_jobs(&l, 0);
	msgpack_sbuffer_destroy(&l.maps);
}

static void
list_store(struct listing *l, const struct wanted *w)
{
	const struct client *client = l->r->client;
	struct recall *c = recall_new(l->r, on_rows);

	if (c == NULL) {
		free(l->listed);
		return;
	}
	if (l->listed_count > 0)
		qsort(l->listed, l->listed_count, sizeof(l->listed[0]), by_id);
	c->listed = l->listed;
	c->listed_count = l->listed_count;
	c->filter.states = w->states & ~LIVE_STATES;
	c->filter.limit = (uint64_t)l->left;
	if (client->access < ACCESS_OPERATE)
		c->filter.uid = client->who.uid;
	c->filter.kind = w->kind[0] != '\0' ? recall_text(c, w->kind) : NULL;
	c->filter.pool = w->pool[0] != '\0' ? recall_text(c, w->pool) : NULL;
	c->filter.key = w->key[0] != '\0' ? recall_text(c, w->key) : NULL;
	c->filter.label_name = w->label[0] != '\0' ? recall_text(c, w->label) : NULL;
	c->filter.label_value = w->has_value ? recall_text(c, w->value) : NULL;
	recall_ask(l->b, c);
}

/* ---- the request ---- */

/* "queued,dead", "finished", "all"; what it does not know is refused. */
static bool
read_states(struct broker *b, const struct request *r, uint32_t *ret)
{
	char text[160] = "", *save = NULL;

	*ret = LIVE_STATES;
	if (!request_text(r, "state", text, sizeof(text)) || text[0] == '\0')
		return true;
	*ret = 0;
	for (char *word = strtok_r(text, ",", &save); word != NULL;
	     word = strtok_r(NULL, ",", &save)) {
		uint32_t states = 0;
		if (strcmp(word, "all") == 0)
			states = ALL_STATES;
		else if (strcmp(word, "finished") == 0)
			states = ALL_STATES & ~LIVE_STATES;
		for (unsigned s = 0; s < JOB_STATE_COUNT; s++)
			if (strcmp(word, job_state_text(s)) == 0)
				states = 1u << s;
		if (states == 0) {
			request_error(
				b, r, ERR_BAD_REQUEST,
				"there is no state \"%s\": queued, running, succeeded, failed, "
				"cancelled, timed_out, dead, finished (all that ended) or all",
				word);
			return false;
		}
		*ret |= states;
	}
	return true;
}

static bool
read_wanted(struct broker *b, const struct request *r, struct wanted *w)
{
	char label[sizeof(w->label) + sizeof(w->value)] = "";

	*w = (struct wanted){ 0 };
	if (!read_states(b, r, &w->states))
		return false;
	(void)request_text(r, "kind", w->kind, sizeof(w->kind));
	(void)request_text(r, "pool", w->pool, sizeof(w->pool));
	(void)request_text(r, "key", w->key, sizeof(w->key));
	(void)request_text(r, "label", label, sizeof(label));
	char *equals = strchr(label, '=');
	if (equals != NULL) {
		*equals = '\0';
		w->has_value = true;
		snprintf(w->value, sizeof(w->value), "%s", equals + 1);
	}
	snprintf(w->label, sizeof(w->label), "%.*s", (int)sizeof(w->label) - 1, label);
	return true;
}

void
verb_ls(struct broker *b, const struct request *r)
{
	struct listing l = { .b = b, .r = r, .left = 1000 };
	struct wanted w;

	if (!read_wanted(b, r, &w))
		return;
	(void)request_int(r, "limit", &l.left);
	if (l.left <= 0 || l.left > LS_MOST)
		l.left = LS_MOST;
	msgpack_sbuffer_init(&l.maps);
	list_live(&l, &w);
	bool ended = (w.states & ~LIVE_STATES) != 0;
	if (ended)
		list_history(&l, &w);
	ended &= l.left > 0;
	send_jobs(&l, ended ? REPLY_MORE : 0);
	msgpack_sbuffer_destroy(&l.maps);
	if (ended)
		list_store(&l, &w);
	else
		free(l.listed);
}
