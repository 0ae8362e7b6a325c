/*
 * durable_history.c - attached jobs that have ended go into the store, too: some time later, many
 * at once, and never more than HISTORY_A_ROUND a round, so that whoever runs millions of them pays
 * nothing for it.  What is left out still counts in `report`.
 *
 * They are taken from the history (history.h), which keeps the last ones whatever dies; it also
 * keeps how far they have come.  A job put twice is one row.
 */
#include <string.h>

#include "daemon/durable_load.h"
#include "ipc/clock.h"

#define ROUND_S         1
#define HISTORY_A_ROUND 1000u

static void
on_saved(struct broker *b, struct order *o)
{
	struct durable *d = b->durable;

	d->under_way--;
	d->history_way--;
	if (o->change.result < 0)
		d->history_failed = true;
	else if (!d->history_failed && history_saved(&b->history) < o->number[0])
		history_set_saved(&b->history, o->number[0]);
	if (d->history_way > 0)
		return;
	if (d->history_failed)
		d->history_put = history_saved(&b->history); /* again, with the next round */
	d->history_failed = false;
	durable_remembered(b);
}

/* `number` counts the entries ever made, from 0. */
static bool
save(struct broker *b, uint64_t number, const struct history_entry *e)
{
	size_t result = e->receipt.outcome.result_length;
	size_t message = e->receipt.outcome.message_length;
	size_t names = sizeof(e->kind) + sizeof(e->pool) + sizeof(e->executor);

	struct order *o = order_new(CHANGE_HISTORY, names + result + message);
	if (o == NULL)
		return false;
	unsigned char *at = o->bytes;
	struct store_end *end = &o->change.end;
	end->id = e->receipt.id;
	end->receipt = e->receipt;
	end->kind = memcpy(at, e->kind, sizeof(e->kind));
	at += sizeof(e->kind);
	end->pool = memcpy(at, e->pool, sizeof(e->pool));
	at += sizeof(e->pool);
	end->executor = memcpy(at, e->executor, sizeof(e->executor));
	at += sizeof(e->executor);
	end->result = (struct bytes){ memcpy(at, e->tail, result), result };
	end->message = (struct bytes){ memcpy(at + result, e->tail + result, message), message };
	end->ended_ns = e->receipt.ended_wall_ns;
	end->submitted_ns = e->receipt.submitted_ns + b->wall_offset_ns;
	o->number[0] = number + 1;
	o->answered = on_saved;
	o->lazy = true;
	b->durable->history_way++;
	b->durable->under_way++;
	writer_put(b->durable->writer, o);
	return true;
}

void
durable_on_history(evutil_socket_t fd, short what, void *context)
{
	struct broker *b = context;
	struct durable *d = b->durable;
	uint64_t added = history_added(&b->history);

	(void)fd;
	(void)what;
	d->save_armed = false;
	if (!durable_ready(b, NULL) || d->history_way > 0)
		return; /* when that is over, or the next job ends */
	if (d->history_put < history_saved(&b->history))
		d->history_put = history_saved(&b->history);
	if (added - d->history_put > HISTORY_A_ROUND)
		d->history_put = added - HISTORY_A_ROUND;
	for (; d->history_put < added; d->history_put++) {
		const struct history_entry *e =
			history_newest(&b->history, added - 1 - d->history_put);
		if (e == NULL || e->receipt.id == 0 || (e->receipt.flags & RECEIPT_DETACHED))
			continue;
		if (!save(b, d->history_put, e))
			return;
	}
	if (d->history_way == 0) /* all of them were detached */
		history_set_saved(&b->history, d->history_put);
}

void
durable_remembered(struct broker *b)
{
	struct timeval later = { .tv_sec = ROUND_S };
	struct durable *d = b->durable;

	if (d == NULL || d->save_armed || d->history_way > 0)
		return;
	if (history_added(&b->history) == d->history_put)
		return;
	d->save_armed = true;
	evtimer_add(d->save, &later);
}

uint64_t
durable_unsaved(const struct broker *b)
{
	return history_added(&b->history) - history_saved(&b->history);
}
