/*
 * events.c - the next event: from the backlog, from the return ring in place, or made
 * up here for a job whose broker is gone; and waiting for it.
 *
 * A record given to the caller stays in the ring until the next call.  Whether the
 * broker waits for room is checked when a good part of the ring has been given back,
 * and always before we find nothing more to do: so it is never forgotten, and costs
 * nothing per event.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"
#include "ipc/clock.h"

void
held_release(struct pyprep *p)
{
	if (p->held == NULL)
		return;
	p->released += p->held->size;
	ring_release(&p->lane.in, p->held);
	p->held = NULL;
	if (p->released > p->lane.capacity / 4)
		bell_if_needed(p);
}

int
return_ring_empty(struct pyprep *p)
{
	int moved = 0;

	held_release(p);
	for (;;) {
		const struct ring_record *record = ring_peek(&p->lane.in);
		if (record == NULL)
			break;
		struct event_record event = { record->type, record->length, record->body,
					      clock_now() };
		int r = backlog_put(&p->backlog, &event);
		if (r < 0)
			return r;
		p->held = record;
		held_release(p);
		moved++;
	}
	if (p->released > 0)
		bell_if_needed(p);
	return moved;
}

int
return_ring_save(struct pyprep *p)
{
	int moved = return_ring_empty(p);

	while (moved >= 0 && p->lane_ops->pull != NULL && p->lane_ops->pull(p)) {
		int more = return_ring_empty(p);
		moved = more < 0 ? more : moved + more;
	}
	return moved;
}

/* ---- records to events ---- */

/* The text with a NUL at its end, in the connection's buffer. */
static const char *
keep_message(struct pyprep *p, const char *text, size_t length)
{
	if (length + 1 > p->message_size) {
		char *larger = realloc(p->message, length + 1);
		if (larger == NULL)
			return "";
		p->message = larger;
		p->message_size = length + 1;
	}
	memcpy(p->message, text, length);
	p->message[length] = '\0';
	return p->message;
}

static void
name_receipt(struct pyprep_receipt *r, const struct target *target)
{
	r->kind = target->kind;
	r->pool = target->pool;
	r->executor = target->executor;
}

static int
receipt_event(struct pyprep *p, const struct event_record *record, struct pyprep_event *ret)
{
	const struct receipt *r = record->body;
	const char *text;
	size_t text_length;

	if (record->length < sizeof(*r))
		return -EPROTO;
	struct entry *entry = table_find(&p->table, r->tag);
	if (entry == NULL)
		return 0;
	ret->type = PYPREP_RECEIPT;
	ret->tag = r->tag;
	ret->user = entry->user;
	ret->stream = 0;
	ret->bytes = NULL;
	ret->length = 0;
	ret->first = 0;
	ret->count = 0;
	receipt_fill(r, record->returned_ns, entry->target->command, &ret->receipt);
	if (receipt_open(r, r + 1, record->length - sizeof(*r), &text, &text_length,
			 &ret->receipt) < 0)
		return -EPROTO;
	if (text_length > 0)
		ret->receipt.error_message = keep_message(p, text, text_length);
	name_receipt(&ret->receipt, entry->target);
	table_release(&p->table, entry);
	return 1;
}

static int
output_event(struct pyprep *p, const struct event_record *record, struct pyprep_event *ret)
{
	const struct output_body *body = record->body;

	if (record->length < sizeof(*body))
		return -EPROTO;
	struct entry *entry = table_find(&p->table, body->tag);
	if (entry == NULL)
		return 0;
	*ret = (struct pyprep_event){
		.type = PYPREP_OUTPUT,
		.tag = body->tag,
		.user = entry->user,
		.stream = (int)body->stream,
		.bytes = body + 1,
		.length = record->length - sizeof(*body),
	};
	return 1;
}

static int
items_event(struct pyprep *p, const struct event_record *record, struct pyprep_event *ret)
{
	const struct items_body *body = record->body;

	if (record->length < sizeof(*body) ||
	    (record->length - sizeof(*body)) / sizeof(int64_t) < body->count)
		return -EPROTO;
	struct entry *entry = table_find(&p->table, body->tag);
	if (entry == NULL)
		return 0;
	*ret = (struct pyprep_event){
		.type = PYPREP_ITEMS,
		.tag = body->tag,
		.user = entry->user,
		.bytes = body + 1,
		.length = body->count * sizeof(int64_t),
		.first = body->first,
		.count = body->count,
	};
	return 1;
}

static int
accepted_event(struct pyprep *p, const struct event_record *record, struct pyprep_event *ret)
{
	const struct accepted_body *body = record->body;

	if (record->length < sizeof(*body))
		return -EPROTO;
	struct entry *entry = table_find(&p->table, body->tag);
	if (entry == NULL)
		return 0;
	*ret = (struct pyprep_event){
		.type = PYPREP_ACCEPTED,
		.tag = body->tag,
		.user = entry->user,
		.id = body->id,
		.known = (body->flags & ACCEPTED_KNOWN) != 0,
	};
	table_release(&p->table, entry);
	return 1;
}

/* 1: *ret is set; 0: of a job that is not ours any more; -EPROTO. */
static int
to_event(struct pyprep *p, const struct event_record *record, struct pyprep_event *ret)
{
	switch (record->type) {
	case MSG_RECEIPT:
		return receipt_event(p, record, ret);
	case MSG_OUTPUT:
		return output_event(p, record, ret);
	case MSG_ACCEPTED:
		return accepted_event(p, record, ret);
	case MSG_ITEMS:
		return items_event(p, record, ret);
	default:
		return -EPROTO;
	}
}

/* A receipt for one job whose broker is gone; -EPIPE when there is none left. */
static int
lost_event(struct pyprep *p, struct pyprep_event *ret)
{
	struct table *t = &p->table;

	while (t->lost_cursor < t->capacity && t->entries[t->lost_cursor].target == NULL)
		t->lost_cursor++;
	if (t->lost_cursor == t->capacity)
		return -EPIPE;
	struct entry *entry = &t->entries[t->lost_cursor];
	struct pyprep_problem why;
	struct receipt r = {
		.tag = table_tag(t, entry),
		.submitted_ns = entry->submitted_ns,
		.outcome.state = JOB_FAILED,
		.outcome.cause = CAUSE_BROKER_LOST,
		.outcome.error = ERR_BROKER_LOST,
	};
	*ret = (struct pyprep_event){ .type = PYPREP_RECEIPT, .tag = r.tag, .user = entry->user };
	receipt_fill(&r, clock_now(), entry->target->command, &ret->receipt);
	(void)problem_lost(p, &why);
	ret->receipt.error_message = keep_message(p, why.message, strlen(why.message));
	name_receipt(&ret->receipt, entry->target);
	table_release(t, entry);
	return 1;
}

/* What is there now: 1, 0, or a negative errno. */
static int
take_event(struct pyprep *p, struct pyprep_event *ret)
{
	struct event_record event;
	int r = 0;

	while (r == 0 && backlog_get(&p->backlog, &event))
		r = to_event(p, &event, ret);
	while (r == 0) {
		const struct ring_record *record = ring_peek(&p->lane.in);
		if (record == NULL && p->lane_ops->pull != NULL && p->lane_ops->pull(p))
			record = ring_peek(&p->lane.in);
		if (record == NULL)
			return p->lost ? lost_event(p, ret) : 0;
		event = (struct event_record){ record->type, record->length, record->body,
					       clock_now() };
		r = to_event(p, &event, ret);
		p->held = record;
		if (r == 0)
			held_release(p);
	}
	return r;
}

/* ---- waiting ---- */

/* Sleep until the broker rings, dies, or the deadline: 0, or -EINTR. */
static int
sleep_on_socket(struct pyprep *p, uint64_t deadline_ns)
{
	int r = 0;

	wake_arm(&p->lane.shared->client);
	if (ring_is_empty(&p->lane.in))
		r = socket_wait(p, POLLIN, deadline_ns);
	wake_disarm(&p->lane.shared->client);
	if (r != 0)
		socket_drain(p);
	return r == -EINTR ? r : 0;
}

static int
wait_event(struct pyprep *p, int timeout_ms, struct pyprep_event *ret)
{
	uint64_t deadline = deadline_after(timeout_ms);
	int r;

	for (int looks = 0; looks < WAKE_LOOKS; looks++) {
		bool cheap = yield_cheaply();
		r = take_event(p, ret);
		if (r != 0)
			return r;
		if (!cheap)
			break;
	}
	for (;;) {
		r = sleep_on_socket(p, deadline);
		if (r < 0)
			return r;
		r = take_event(p, ret);
		if (r != 0)
			return r;
		if (deadline != UINT64_MAX && clock_now() >= deadline)
			return 0;
	}
}

int
pyprep_next(struct pyprep *p, int timeout_ms, struct pyprep_event *ret)
{
	held_release(p);
	int r = take_event(p, ret);
	if (r != 0)
		return r;
	if (p->released > 0)
		bell_if_needed(p);
	if (timeout_ms == 0 || p->table.count == 0) {
		/* Bells that have been heard would keep the descriptor readable. */
		socket_drain(p);
		return take_event(p, ret);
	}
	return wait_event(p, timeout_ms, ret);
}

int
pyprep_arm(struct pyprep *p)
{
	held_release(p);
	if (p->released > 0)
		bell_if_needed(p);
	if (p->lost || !backlog_is_empty(&p->backlog))
		return 1;
	wake_arm(&p->lane.shared->client);
	if (p->lane_ops->pull != NULL && (p->lane_ops->pull(p) || p->lost))
		return 1;
	if (ring_is_empty(&p->lane.in))
		return 0;
	wake_disarm(&p->lane.shared->client);
	return 1;
}
