/*
 * heap.h - a binary heap of numbers that know their place in it, so that each can be taken out
 * or moved when its key changes.
 *
 * The caller says which of two numbers comes first, and where a number's place is kept.  Room is
 * reserved beforehand: after that no operation can fail.
 */
#ifndef PYPREP_DAEMON_HEAP_H
#define PYPREP_DAEMON_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#define HEAP_NONE UINT32_MAX

struct heap {
	uint32_t *at; /* at[0] comes first */
	uint32_t count, capacity;
};

struct heap_ops {
	bool (*before)(const void *context, uint32_t a, uint32_t b); /* a strict order */
	uint32_t *(*place)(const void *context, uint32_t item);
};

int heap_reserve(struct heap *h, uint32_t items); /* room for so many in all; -ENOMEM */
void heap_free(struct heap *h);                   /* also of one that is all zeroes */

void heap_push(struct heap *h, const struct heap_ops *ops, const void *context, uint32_t item);
/* Its place is HEAP_NONE afterwards. */
void heap_remove(struct heap *h, const struct heap_ops *ops, const void *context, uint32_t item);
/* Its key has changed. */
void heap_moved(struct heap *h, const struct heap_ops *ops, const void *context, uint32_t item);

/* Many keys have changed. */
void heap_order(struct heap *h, const struct heap_ops *ops, const void *context);

static inline uint32_t
heap_first(const struct heap *h)
{
	return h->count > 0 ? h->at[0] : HEAP_NONE;
}

#endif
