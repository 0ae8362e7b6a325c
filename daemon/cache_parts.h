/*
 * cache_parts.h - what the files of the cache (cache.h) share.  Nobody else includes it.
 *
 *   cache.c        results by key: kept, used, expired, evicted
 *   cache_jobs.c   jobs that ask, wait and are answered
 */
#ifndef PYPREP_DAEMON_CACHE_PARTS_H
#define PYPREP_DAEMON_CACHE_PARTS_H

#include <sys/queue.h>

#include "daemon/broker.h"
#include "daemon/cache.h"
#include "daemon/heap.h"
#include "daemon/index.h"
#include "daemon/siphash.h"

/* What a command wrote, piece by piece: struct piece and its bytes, again and again. */
struct piece {
	uint32_t stream, length;
};

struct recording {
	unsigned char *bytes;
	size_t length, capacity;
	bool given_up; /* too long, or no memory */
};

/* What a kept result is. */
struct kept {
	uint64_t id; /* of the job that ran */
	uint64_t made_ns, expires_ns;
	struct outcome outcome;
	uint32_t flags;        /* RECEIPT_* */
	unsigned char *result; /* NULL: nothing is kept */
	struct recording output;
	size_t size; /* all in all */
};

struct key {
	uint32_t uid, gid, kind;
	uint32_t length;
	const void *args;
	struct digest context; /* of a command; else zeroes */
};

/* One key: something is kept, or runs, or waits. */
struct entry {
	struct index_node by_key; /* first */
	TAILQ_ENTRY(entry) used;  /* kept: by last use */
	TAILQ_ENTRY(entry) due;   /* ready: in the cache's list */
	uint32_t number;
	uint32_t place;             /* kept: in the heap by expiry */
	bool ready;                 /* those that wait are to be looked at */
	uint64_t runner;            /* id of the job that runs; 0: none */
	struct recording recording; /* of it */
	uint32_t first, last;       /* jobs that wait, by prev and next; or JOB_NONE */
	struct kept kept;
	struct key key; /* args behind */
	unsigned char args[];
};
TAILQ_HEAD(entries, entry);

struct cache {
	struct index keys;
	struct entry **entries; /* by number; NULL: free */
	uint32_t count, capacity;
	uint32_t hint;      /* no free number is below */
	struct heap expiry; /* numbers of those that are kept */
	struct entries used, due;
	uint64_t secret[2];
	uint64_t recording_bytes;
	struct cache_stats stats;
};

struct key key_of(struct broker *b, const struct job *job);
struct entry *entry_find(struct cache *c, const struct key *key); /* NULL: there is none */
struct entry *entry_get(struct cache *c, const struct key *key);  /* NULL: no memory */
/* It is freed when nothing is kept, runs or waits there. */
void entry_settle(struct cache *c, struct entry *e);
/* Is something kept that is not older than this?  Then it counts as used. */
bool entry_fresh(struct broker *b, struct entry *e, uint64_t ttl_ns);
void entry_drop(struct cache *c, struct entry *e); /* what is kept */
void entry_keep(struct broker *b, struct entry *e, struct kept *k);
void cache_expire(struct broker *b);

void recording_add(struct broker *b, struct recording *r, uint32_t stream, const void *bytes,
		   uint32_t length);
/* What was recorded, in no more memory than it takes; the caller's. */
struct recording recording_take(struct cache *c, struct recording *r);
void recording_free(struct cache *c, struct recording *r);

#endif
