/*
 * table.c - jobs on their way: a tag leads to its entry in one step, and a tag of an
 * earlier use never matches.  Free entries are a stack, so that few are in the cache.
 */
#include <stdlib.h>

#include "client/internal.h"

#define TABLE_FIRST 256u

static bool
grow(struct table *t)
{
	uint64_t capacity = t->capacity > 0 ? 2ull * t->capacity : TABLE_FIRST;
	if (capacity >= ENTRY_NONE)
		return false;
	struct entry *entries = realloc(t->entries, capacity * sizeof(*entries));
	if (entries == NULL)
		return false;
	for (uint32_t i = (uint32_t)capacity; i-- > t->capacity;) {
		entries[i] = (struct entry){ .generation = 1, .next_free = t->first_free };
		t->first_free = i;
	}
	t->entries = entries;
	t->capacity = (uint32_t)capacity;
	return true;
}

struct entry *
table_reserve(struct table *t)
{
	if (t->first_free == ENTRY_NONE && !grow(t))
		return NULL;
	return &t->entries[t->first_free];
}

uint64_t
table_use(struct table *t, struct entry *e, const struct target *target, void *user,
	  uint64_t submitted_ns)
{
	t->first_free = e->next_free;
	t->count++;
	e->target = target;
	e->user = user;
	e->submitted_ns = submitted_ns;
	return table_tag(t, e);
}

uint64_t
table_tag(const struct table *t, const struct entry *e)
{
	return (uint64_t)e->generation << 32 | (uint64_t)(e - t->entries);
}

struct entry *
table_find(const struct table *t, uint64_t tag)
{
	uint32_t index = (uint32_t)tag;

	if (index >= t->capacity)
		return NULL;
	struct entry *e = &t->entries[index];
	return e->target != NULL && e->generation == tag >> 32 ? e : NULL;
}

void
table_release(struct table *t, struct entry *e)
{
	e->target = NULL;
	if (++e->generation == 0)
		e->generation = 1;
	e->next_free = t->first_free;
	t->first_free = (uint32_t)(e - t->entries);
	t->count--;
}
