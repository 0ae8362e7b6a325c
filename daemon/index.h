/*
 * index.h - a hash table of things that carry their own node: nothing is allocated per thing.
 *
 * The caller hashes, and compares what index_first() and index_next() give: all with that hash,
 * and no others.
 */
#ifndef PYPREP_DAEMON_INDEX_H
#define PYPREP_DAEMON_INDEX_H

#include <stdint.h>

struct index_node {
	struct index_node *next;
	uint64_t hash;
};

struct index {
	struct index_node **buckets;
	uint32_t mask; /* buckets - 1 */
	uint32_t count;
};

int index_open(struct index *x);   /* -ENOMEM */
void index_close(struct index *x); /* the things are the caller's */

void index_add(struct index *x, struct index_node *node, uint64_t hash);
void index_remove(struct index *x, struct index_node *node);
struct index_node *index_first(const struct index *x, uint64_t hash); /* or NULL */
struct index_node *index_next(const struct index_node *node);         /* or NULL */

uint64_t hash_number(uint64_t number);
uint64_t hash_text(const char *text);

#endif
