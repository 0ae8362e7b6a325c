/*
 * lane_frames.c - what the lanes without shared memory have in common: frames fill and empty the
 * rings of ipc/frames.h, and the client is told how far the broker has come.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/broker.h"

#define PIECE_BYTES (32u * 1024) /* of output or items longer than a frame */

int
lane_frames_open(struct client *c)
{
	return frames_open(&c->frames, &c->lane, LANE_BROKER);
}

void
lane_frames_take(struct broker *b, struct client *c, const void *frame_in)
{
	int r = frames_take(&c->frames, frame_in);

	if (r == -ENOBUFS)
		client_broke_rules(c, "it sent more records than lane_bytes beyond MSG_TAKEN");
	else if (r < 0)
		client_broke_rules(c, "a MSG_RECORDS does not hold together");
	else
		client_activate(b, c);
}

/* Say how far we are, when it is a good part of the window since we last did. */
static int
tell_taken(struct client *c)
{
	struct taken_body taken = { .bytes = frames_taken(&c->frames) };

	if (taken.bytes < c->told_bytes + FRAMES_TELL)
		return 0;
	int r = c->lane_ops->send(c, MSG_TAKEN, &taken, NULL, 0);
	if (r == 0)
		c->told_bytes = taken.bytes;
	return r;
}

void
lane_frames_flush(struct client *c)
{
	struct frame_out out;
	int r = c->blocked ? -EAGAIN : tell_taken(c);

	while (r == 0 && frames_next(&c->frames, c->bundles, &out)) {
		r = c->lane_ops->send(c, out.type, out.body, out.tail, out.tail_length);
		if (r == 0)
			frames_sent(&c->frames, &out);
	}
	if (r == -EAGAIN && !c->blocked) {
		c->blocked = true;
		if (c->lane_ops->listen != NULL)
			c->lane_ops->listen(c->broker, c);
	} else if (r < 0 && r != -EAGAIN) {
		client_doom(c);
	}
}

/* ---- what is longer than a frame ---- */

static void
put_output(struct broker *b, struct client *c, const struct part *parts)
{
	const unsigned char *at = parts[1].bytes;

	for (uint32_t left = parts[1].length; left > 0;) {
		uint32_t n = left < PIECE_BYTES ? left : PIECE_BYTES;
		struct part piece[] = { parts[0], { at, n } };
		client_put(b, c, MSG_OUTPUT, piece, 2);
		at += n;
		left -= n;
	}
}

static void
put_items(struct broker *b, struct client *c, const struct part *parts)
{
	const unsigned char *at = parts[1].bytes;
	struct items_body items;

	memcpy(&items, parts[0].bytes, sizeof(items));
	for (uint32_t left = items.count; left > 0;) {
		uint32_t most = PIECE_BYTES / sizeof(int64_t);
		items.count = left < most ? left : most;
		uint32_t bytes = items.count * (uint32_t)sizeof(int64_t);
		struct part piece[] = { { &items, sizeof(items) }, { at, bytes } };
		client_put(b, c, MSG_ITEMS, piece, 2);
		items.first += items.count;
		left -= items.count;
		at += bytes;
	}
}

/* A result is one msgpack value: a part of it is none. */
static void
put_receipt(struct broker *b, struct client *c, const struct part *parts)
{
	struct receipt receipt;
	char text[160];

	memcpy(&receipt, parts[0].bytes, sizeof(receipt));
	snprintf(text, sizeof(text),
		 "the result (%u bytes) is longer than a frame of the lane %s; it was left out: "
		 "submit on the lane shm",
		 receipt.outcome.result_length, c->lane_ops->name);
	receipt.outcome.result_length = 0;
	receipt.outcome.message_length = (uint32_t)strlen(text);
	receipt.flags |= RECEIPT_TRUNCATED;
	struct part pieces[] = { { &receipt, sizeof(receipt) },
				 { text, receipt.outcome.message_length } };
	client_put(b, c, MSG_RECEIPT, pieces, 2);
}

void
lane_frames_put_long(struct broker *b, struct client *c, unsigned type, const struct part *parts)
{
	if (type == MSG_RECEIPT)
		put_receipt(b, c, parts);
	else if (type == MSG_ITEMS)
		put_items(b, c, parts);
	else
		put_output(b, c, parts);
}
