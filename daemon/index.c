/* index.c - see index.h */
#include "daemon/index.h"

#include <errno.h>
#include <stdlib.h>

#define BUCKETS_LEAST 64u

int
index_open(struct index *x)
{
	x->buckets = calloc(BUCKETS_LEAST, sizeof(struct index_node *));
	x->mask = BUCKETS_LEAST - 1;
	x->count = 0;
	return x->buckets == NULL ? -ENOMEM : 0;
}

void
index_close(struct index *x)
{
	free(x->buckets);
	*x = (struct index){ 0 };
}

static void
put(struct index *x, struct index_node *node)
{
	struct index_node **bucket = &x->buckets[node->hash & x->mask];
	node->next = *bucket;
	*bucket = node;
}

static void
grow(struct index *x)
{
	struct index_node **old = x->buckets, *node, *next;
	uint32_t size = x->mask + 1;
	struct index_node **bigger = calloc((size_t)size * 2, sizeof(struct index_node *));

	if (bigger == NULL)
		return; /* chains get longer, nothing breaks */
	x->buckets = bigger;
	x->mask = size * 2 - 1;
	for (uint32_t i = 0; i < size; i++)
		for (node = old[i]; node != NULL; node = next) {
			next = node->next;
			put(x, node);
		}
	free(old);
}

void
index_add(struct index *x, struct index_node *node, uint64_t hash)
{
	node->hash = hash;
	put(x, node);
	if (++x->count > x->mask && x->mask < UINT32_MAX / 2)
		grow(x);
}

void
index_remove(struct index *x, struct index_node *node)
{
	struct index_node **link = &x->buckets[node->hash & x->mask];

	while (*link != node)
		link = &(*link)->next;
	*link = node->next;
	x->count--;
}

static struct index_node *
with_hash(struct index_node *node, uint64_t hash)
{
	while (node != NULL && node->hash != hash)
		node = node->next;
	return node;
}

struct index_node *
index_first(const struct index *x, uint64_t hash)
{
	return with_hash(x->buckets[hash & x->mask], hash);
}

struct index_node *
index_next(const struct index_node *node)
{
	return with_hash(node->next, node->hash);
}

/* The end of MurmurHash3 (A. Appleby): every bit of the number touches every bit of the hash. */
uint64_t
hash_number(uint64_t number)
{
	number = (number ^ number >> 33) * UINT64_C(0xff51afd7ed558ccd);
	number = (number ^ number >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return number ^ number >> 33;
}

/* FNV-1a (G. Fowler, L. C. Noll, K.-P. Vo). */
uint64_t
hash_text(const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *text != '\0'; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return hash_number(hash);
}
