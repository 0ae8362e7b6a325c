/* heap.c - see heap.h */
#include "daemon/heap.h"

#include <errno.h>
#include <stdlib.h>

#define HEAP_LEAST 16u

int
heap_reserve(struct heap *h, uint32_t items)
{
	if (items <= h->capacity)
		return 0;
	uint32_t capacity = h->capacity < HEAP_LEAST ? HEAP_LEAST : h->capacity;
	while (capacity < items)
		capacity = capacity > UINT32_MAX / 2 ? UINT32_MAX : capacity * 2;
	uint32_t *more = realloc(h->at, capacity * sizeof(*more));
	if (more == NULL)
		return -ENOMEM;
	h->at = more;
	h->capacity = capacity;
	return 0;
}

void
heap_free(struct heap *h)
{
	free(h->at);
	*h = (struct heap){ 0 };
}

static void
put(struct heap *h, const struct heap_ops *ops, const void *context, uint32_t place, uint32_t item)
{
	h->at[place] = item;
	*ops->place(context, item) = place;
}

static void
rise(struct heap *h, const struct heap_ops *ops, const void *context, uint32_t place, uint32_t item)
{
	while (place > 0 && ops->before(context, item, h->at[(place - 1) / 2])) {
		put(h, ops, context, place, h->at[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	put(h, ops, context, place, item);
}

static void
sink(struct heap *h, const struct heap_ops *ops, const void *context, uint32_t place, uint32_t item)
{
	for (;;) {
		uint32_t child = 2 * place + 1;
		if (child >= h->count)
			break;
		if (child + 1 < h->count && ops->before(context, h->at[child + 1], h->at[child]))
			child++;
		if (!ops->before(context, h->at[child], item))
			break;
		put(h, ops, context, place, h->at[child]);
		place = child;
	}
	put(h, ops, context, place, item);
}

/* `item` belongs at or above `place`, or below it. */
static void
settle(struct heap *h, const struct heap_ops *ops, const void *context, uint32_t place,
       uint32_t item)
{
	if (place > 0 && ops->before(context, item, h->at[(place - 1) / 2]))
		rise(h, ops, context, place, item);
	else
		sink(h, ops, context, place, item);
}

void
heap_push(struct heap *h, const struct heap_ops *ops, const void *context, uint32_t item)
{
	rise(h, ops, context, h->count++, item);
}

void
heap_remove(struct heap *h, const struct heap_ops *ops, const void *context, uint32_t item)
{
	uint32_t place = *ops->place(context, item);
	uint32_t last = h->at[--h->count];

	if (last != item)
		settle(h, ops, context, place, last);
	*ops->place(context, item) = HEAP_NONE;
}

void
heap_moved(struct heap *h, const struct heap_ops *ops, const void *context, uint32_t item)
{
	settle(h, ops, context, *ops->place(context, item), item);
}

void
heap_order(struct heap *h, const struct heap_ops *ops, const void *context)
{
	for (uint32_t i = h->count / 2; i-- > 0;)
		sink(h, ops, context, i, h->at[i]);
}
