/*
 * gate_ask.c - what is known of jobs that others are to wait for: by the table, by the history of
 * the last ended ones, and at last by the store, which answers later.
 *
 * A submit whose parents only the store knows waits at the head of its client's lane until the
 * store has answered, and is admitted again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/durable_load.h"
#include "daemon/gate_parts.h"
#include "daemon/log.h"

struct ask {
	struct question question; /* first */
	TAILQ_ENTRY(ask) link;    /* of a client's */
	uint64_t child;           /* the loaded job it is for; 0: for a client's submit */
	uint32_t client;
	uint64_t since_ns; /* ... which came then */
	bool answered;
	int result;
	unsigned count;
	struct found found[];
};

/* ---- near at hand ---- */

static void
found_live(struct found *f, const struct job *job)
{
	f->as = FOUND_OPEN;
	f->uid = job->uid;
}

unsigned
found_look_up(const struct broker *b, struct found *found, unsigned count)
{
	const struct history_entry *h;
	unsigned unknown = 0;

	for (unsigned i = 0; i < count; i++) {
		uint32_t index = jobs_find(&b->jobs, found[i].id);
		if (index != JOB_NONE)
			found_live(&found[i], job_at(&b->jobs, index));
		unknown += found[i].as == FOUND_NOTHING;
	}
	for (uint64_t back = 0; unknown > 0 && (h = history_newest(&b->history, back)) != NULL;
	     back++)
		for (unsigned i = 0; i < count; i++) {
			struct found *f = &found[i];
			if (f->as != FOUND_NOTHING || f->id != h->receipt.id)
				continue;
			f->as = FOUND_OVER;
			f->state = h->receipt.outcome.state;
			f->uid = h->receipt.uid;
			unknown--;
		}
	return unknown;
}

/* ---- in the store ---- */

/* On the reading thread. */
static int
found_row(void *context, const struct store_row *row)
{
	struct found *f = context;

	f->as = row->ended ? FOUND_OVER : FOUND_OPEN;
	f->state = row->end.receipt.outcome.state;
	f->uid = row->attached ? row->end.receipt.uid : row->job.uid;
	return 1;
}

static void
ask_rows(const struct store_ops *ops, struct store *s, struct question *q)
{
	struct ask *a = (struct ask *)q;

	for (unsigned i = 0; i < a->count && a->result >= 0; i++) {
		struct store_filter filter = { .id = a->found[i].id, .uid = UINT32_MAX };
		if (a->found[i].as == FOUND_NOTHING)
			a->result = ops->list(s, &filter, found_row, &a->found[i]);
	}
}

static void
on_answer(struct broker *b, struct question *q)
{
	struct ask *a = (struct ask *)q;

	a->answered = true;
	if (a->child == 0 && b != NULL) {
		b->room_made = true; /* the submit is admitted again, and takes the answer */
		return;
	}
	if (b != NULL && a->result < 0)
		log_error("job %llu: what became of the jobs it waits for cannot be read from the "
			  "store (%s); it waits on, until the daemon starts again",
			  (unsigned long long)a->child, strerror(-a->result));
	else if (b != NULL)
		after_answered(b, a->child, a->found, a->count);
	if (a->child != 0)
		free(a);
}

static struct ask *
ask(struct broker *b, const struct found *found, unsigned count)
{
	struct ask *a = calloc(1, sizeof(*a) + count * sizeof(a->found[0]));

	if (a == NULL)
		return NULL;
	a->question.ask = ask_rows;
	a->question.answered = on_answer;
	a->count = count;
	memcpy(a->found, found, count * sizeof(found[0]));
	writer_ask(b->durable->writer, &a->question);
	return a;
}

int
ask_for_job(struct broker *b, uint64_t child, const struct found *found, unsigned count)
{
	struct ask *a = ask(b, found, count);

	if (a == NULL)
		return -ENOMEM;
	a->child = child;
	return 0;
}

static struct client *
asker(const struct broker *b, const struct ask *a)
{
	struct client *c = b->clients[a->client];
	return c != NULL && c->since_ns == a->since_ns ? c : NULL;
}

/* Of clients that are gone. */
static void
drop_unread(struct broker *b)
{
	struct ask *a, *next;

	for (a = TAILQ_FIRST(&b->gate->asks); a != NULL; a = next) {
		next = TAILQ_NEXT(a, link);
		if (!a->answered || asker(b, a) != NULL)
			continue;
		TAILQ_REMOVE(&b->gate->asks, a, link);
		free(a);
	}
}

/* Take over what the answer says; false: it was about others. */
static bool
take_answer(const struct ask *a, struct found *found, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (found[i].as != FOUND_NOTHING)
			continue;
		unsigned k = 0;
		while (k < a->count && a->found[k].id != found[i].id)
			k++;
		if (k == a->count)
			return false;
		found[i] = a->found[k];
	}
	return true;
}

enum gate_verdict
ask_for_client(struct broker *b, const struct client *c, struct found *found, unsigned count,
	       struct gate_answer *ret)
{
	struct gate *g = b->gate;
	struct ask *a, *next;

	drop_unread(b);
	for (a = TAILQ_FIRST(&g->asks); a != NULL; a = next) {
		next = TAILQ_NEXT(a, link);
		if (a->client != c->index || a->since_ns != c->since_ns)
			continue;
		if (!a->answered)
			return GATE_WAIT;
		int result = a->result;
		bool taken = result >= 0 && take_answer(a, found, count);
		TAILQ_REMOVE(&g->asks, a, link);
		free(a);
		if (taken)
			return GATE_GO;
		if (result < 0) {
			ret->error = ERR_STORE_FAILED;
			snprintf(ret->why, sizeof(ret->why),
				 "after: whether these jobs exist cannot be read from the store "
				 "(%s); try again later",
				 strerror(-result));
			return GATE_REFUSED;
		}
	}
	a = ask(b, found, count);
	if (a == NULL) {
		ret->error = ERR_QUEUE_FULL;
		snprintf(ret->why, sizeof(ret->why), "the daemon is out of memory");
		return GATE_REFUSED;
	}
	a->client = c->index;
	a->since_ns = c->since_ns;
	TAILQ_INSERT_TAIL(&g->asks, a, link);
	return GATE_WAIT;
}

void
asks_close(struct gate *g)
{
	struct ask *a;

	while ((a = TAILQ_FIRST(&g->asks)) != NULL) {
		TAILQ_REMOVE(&g->asks, a, link);
		free(a);
	}
}
