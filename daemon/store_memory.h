/*
 * store_memory.h - what the two files of the engine `memory` share.
 */
#ifndef PYPREP_DAEMON_STORE_MEMORY_H
#define PYPREP_DAEMON_STORE_MEMORY_H

#include <pthread.h>
#include <sys/queue.h>

#include "daemon/store.h"

struct claims;

/* An ended attempt; number 0: the end of a job that had no attempt left to end. */
struct attempt {
	uint16_t number;
	struct store_end end; /* its bytes and texts lie behind it */
};

struct chunk {
	STAILQ_ENTRY(chunk) link;
	uint64_t offset;
	uint32_t stream;
	uint16_t attempt;
	size_t length;
	unsigned char bytes[];
};

struct record {
	struct store_job job; /* its bytes and texts lie behind it */
	bool ended, attached;
	struct attempt **attempts;
	unsigned attempt_count;
	struct attempt *last; /* one of them; NULL: none has ended */
	STAILQ_HEAD(, chunk) output;
	uint16_t output_attempt; /* the last one that wrote, and where its streams end */
	uint64_t output_end[3];
};

struct tally {
	STAILQ_ENTRY(tally) link;
	uint32_t day;
	const char *kind, *pool;
	struct bytes figures;
};

struct memory {
	LIST_ENTRY(memory) link;
	char *state_dir;
	unsigned handles;
	bool written; /* a handle may write */
	pthread_mutex_t lock;
	struct claims *claims;
	struct record **rows; /* by id; NULL: removed */
	size_t row_count, row_capacity, holes;
	void *tokens, *keys; /* trees of records (tsearch) */
	STAILQ_HEAD(, tally) tallies;
	uint64_t open, ended, bytes, pruned, max_id;
};

struct store {
	struct memory *m;
	struct store_options options;
};

/* The first place whose row has `id` or a higher one; row_count: none. */
size_t memory_place(const struct memory *m, uint64_t id);
struct record *memory_find(const struct memory *m, uint64_t id); /* NULL: not there */
/* Remove the ended job at this place, and all of it. */
void memory_remove(struct memory *m, size_t place);
void memory_free(struct memory *m);

int memory_apply(struct store *s, struct store_change *changes, size_t count);

#endif
