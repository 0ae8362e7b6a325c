/*
 * outlet.c - what goes to a client: records into its ring, frames onto its control road, and
 * what waits while it does not read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker.h"
#include "daemon/log.h"

#define REPLIES_MAX (4u * 1024 * 1024) /* unread reply bytes */

/* ---- records ---- */

bool
client_is_held(const struct client *c)
{
	return c->backlog_bytes > BACKLOG_HOLD;
}

void
client_doom(struct client *c)
{
	c->doomed = true;
	c->broker->someone_doomed = true;
}

void
client_ring(struct client *c)
{
	c->bell_due = false;
	ring_mark(&c->lane.out);
	c->lane_ops->flush(c);
}

static uint32_t
parts_length(const struct part *parts, unsigned count)
{
	uint32_t length = 0;
	for (unsigned i = 0; i < count; i++)
		length += parts[i].length;
	return length;
}

static void
gather(unsigned char *to, const struct part *parts, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (parts[i].length > 0)
			memcpy(to, parts[i].bytes, parts[i].length);
		to += parts[i].length;
	}
}

struct parked *
client_park(uint32_t type, const struct part *parts, unsigned count)
{
	uint32_t length = parts_length(parts, count);
	struct parked *p = malloc(sizeof(*p) + length);

	if (p == NULL)
		return NULL;
	p->type = type;
	p->length = length;
	gather(p->body, parts, count);
	return p;
}

void
client_activate(struct broker *b, struct client *c)
{
	c->quiet_turns = 0;
	if (c->active || c->lane.shared == NULL)
		return;
	c->active = true;
	wake_disarm(&c->lane.shared->broker);
	TAILQ_INSERT_TAIL(&b->active, c, active_link);
}

void
client_deactivate(struct broker *b, struct client *c)
{
	if (!c->active)
		return;
	c->active = false;
	TAILQ_REMOVE(&b->active, c, active_link);
}

void
client_put(struct broker *b, struct client *c, unsigned type, const struct part *parts,
	   unsigned count)
{
	uint32_t length = parts_length(parts, count);

	if (c->lane.shared == NULL || c->doomed)
		return;
	if (length > FRAME_RECORD_MAX && c->frames.base != NULL) {
		lane_frames_put_long(b, c, type, parts);
		return;
	}
	if (STAILQ_EMPTY(&c->backlog)) {
		void *place = ring_reserve(&c->lane.out, type, length);
		if (place != NULL) {
			gather(place, parts, count);
			ring_commit(&c->lane.out, length);
			c->bell_due = true;
			client_activate(b, c);
			return;
		}
	}
	struct parked *p = client_park(type, parts, count);
	if (p == NULL || c->backlog_bytes + length > BACKLOG_LIMIT) {
		free(p);
		log_warn("client %u (pid %d, uid %u) does not read its results; letting it go",
			 c->index, (int)c->who.pid, c->who.uid);
		client_doom(c);
		return;
	}
	STAILQ_INSERT_TAIL(&c->backlog, p, link);
	c->backlog_bytes += length + sizeof(*p);
	client_activate(b, c);
}

unsigned
client_flush_backlog(struct broker *b, struct client *c)
{
	bool held = client_is_held(c);
	struct parked *p;
	unsigned n = 0;

	while ((p = STAILQ_FIRST(&c->backlog)) != NULL) {
		void *place = ring_reserve(&c->lane.out, p->type, p->length);
		if (place == NULL)
			break;
		memcpy(place, p->body, p->length);
		ring_commit(&c->lane.out, p->length);
		c->bell_due = true;
		STAILQ_REMOVE_HEAD(&c->backlog, link);
		c->backlog_bytes -= p->length + sizeof(*p);
		free(p);
		n++;
	}
	if (held && !client_is_held(c))
		queue_release_held(b, c);
	return n;
}

void
client_unblock(struct broker *b, struct client *c)
{
	c->blocked = false;
	client_ring(c);
	if (!c->blocked && c->lane_ops->listen != NULL)
		c->lane_ops->listen(b, c);
	client_activate(b, c);
}

/* ---- frames ---- */

static void
wait_for_reader(struct broker *b, struct client *c, bool waiting)
{
	c->writing = waiting;
	if (c->lane_ops->listen != NULL)
		c->lane_ops->listen(b, c);
}

static void
send_or_park(struct broker *b, struct client *c, unsigned type, const struct part *parts,
	     unsigned count)
{
	unsigned char frame[FRAME_MAX];
	size_t body = parts[0].length;
	int r = -EAGAIN;

	if (c->doomed || parts_length(parts, count) + sizeof(struct frame) > sizeof(frame))
		return;
	gather(frame, parts, count);
	if (STAILQ_EMPTY(&c->replies))
		r = c->lane_ops->send(c, type, frame, frame + body,
				      parts_length(parts, count) - body);
	if (r == 0)
		return;
	struct parked *p = r == -EAGAIN ? client_park(type, parts, count) : NULL;
	if (p == NULL) {
		client_doom(c);
		return;
	}
	p->type = type;
	STAILQ_INSERT_TAIL(&c->replies, p, link);
	c->backlog_bytes += p->length;
	if (c->backlog_bytes > REPLIES_MAX + BACKLOG_LIMIT)
		client_doom(c);
	if (!c->writing)
		wait_for_reader(b, c, true);
}

void
client_flush_replies(struct broker *b, struct client *c)
{
	struct parked *p;

	while ((p = STAILQ_FIRST(&c->replies)) != NULL) {
		/* Only MSG_REPLY is parked. */
		size_t body = sizeof(struct reply_body);
		int r = c->lane_ops->send(c, p->type, p->body, p->body + body, p->length - body);
		if (r == -EAGAIN)
			return;
		if (r < 0)
			client_doom(c);
		STAILQ_REMOVE_HEAD(&c->replies, link);
		c->backlog_bytes -= p->length;
		free(p);
	}
	if (!client_is_held(c))
		queue_release_held(b, c);
	wait_for_reader(b, c, false);
}

void
client_reply(struct broker *b, struct client *c, uint32_t request, uint32_t flags, const void *map,
	     size_t length)
{
	/* {"code": "too_large", "message": ...} */
	static const char too_long[] = "\x82\xa4"
				       "code\xa9too_large\xa7message\xbf"
				       "the answer does not fit a frame";
	struct reply_body body = { .number = request, .flags = flags };
	struct part parts[] = { { &body, sizeof(body) }, { map, (uint32_t)length } };

	if (sizeof(struct frame) + sizeof(body) + length > FRAME_MAX) {
		body.flags = REPLY_ERROR;
		parts[1] = (struct part){ too_long, sizeof(too_long) - 1 };
	}
	send_or_park(b, c, MSG_REPLY, parts, 2);
}

void
client_refuse(struct client *c, enum job_error error, const char *text)
{
	struct refused_body body = { .error = error };

	(void)c->lane_ops->send(c, MSG_REFUSED, &body, text, strlen(text));
	client_doom(c);
}
