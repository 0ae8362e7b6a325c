/*
 * backlog.c - events that came while a submit waited for room, in order, until
 * pyprep_next() asks for them.  Copies in large chunks: one allocation holds about
 * a thousand receipts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"

#define CHUNK_BYTES (256u * 1024)

struct saved {
	uint64_t returned_ns;
	uint32_t type;
	uint32_t length;
	unsigned char body[];
};
_Static_assert(sizeof(struct saved) == RING_ALIGN, "bodies keep their alignment");

struct backlog_chunk {
	struct backlog_chunk *next;
	size_t size; /* of `data` */
	size_t written;
	size_t read;
	_Alignas(RING_ALIGN) unsigned char data[];
};

static size_t
saved_size(uint32_t length)
{
	size_t size = sizeof(struct saved) + (size_t)length;
	return (size + RING_ALIGN - 1) / RING_ALIGN * RING_ALIGN;
}

static struct backlog_chunk *
chunk_new(struct backlog *b, size_t need)
{
	size_t size = need > CHUNK_BYTES ? need : CHUNK_BYTES;
	struct backlog_chunk *c = b->spare;

	if (c != NULL && c->size >= need) {
		b->spare = NULL;
	} else {
		c = malloc(sizeof(*c) + size);
		if (c == NULL)
			return NULL;
		c->size = size;
	}
	c->next = NULL;
	c->written = c->read = 0;
	return c;
}

int
backlog_put(struct backlog *b, const struct event_record *record)
{
	size_t size = saved_size(record->length);

	if (b->last == NULL || b->last->size - b->last->written < size) {
		struct backlog_chunk *c = chunk_new(b, size);
		if (c == NULL)
			return -ENOMEM;
		if (b->last != NULL)
			b->last->next = c;
		else
			b->first = c;
		b->last = c;
	}
	struct saved *s = (struct saved *)(b->last->data + b->last->written);
	s->returned_ns = record->returned_ns;
	s->type = record->type;
	s->length = record->length;
	memcpy(s->body, record->body, record->length);
	b->last->written += size;
	return 0;
}

bool
backlog_is_empty(const struct backlog *b)
{
	for (const struct backlog_chunk *c = b->first; c != NULL; c = c->next)
		if (c->read < c->written)
			return false;
	return true;
}

bool
backlog_get(struct backlog *b, struct event_record *ret)
{
	/* The chunk of the last record goes now, and not with it: the caller still read it. */
	while (b->first != NULL && b->first->read == b->first->written) {
		struct backlog_chunk *c = b->first;
		b->first = c->next;
		if (b->first == NULL)
			b->last = NULL;
		free(b->spare);
		b->spare = c;
	}
	if (b->first == NULL)
		return false;
	struct saved *s = (struct saved *)(b->first->data + b->first->read);
	b->first->read += saved_size(s->length);
	*ret = (struct event_record){ s->type, s->length, s->body, s->returned_ns };
	return true;
}

void
backlog_free(struct backlog *b)
{
	while (b->first != NULL) {
		struct backlog_chunk *c = b->first;
		b->first = c->next;
		free(c);
	}
	free(b->spare);
}
