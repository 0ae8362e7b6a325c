/* cache.c - results by key: kept, used, expired, evicted.  See cache.h. */
#include "daemon/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/cache_parts.h"
#include "daemon/context.h"
#include "daemon/request.h"

#define CAPACITY_FIRST 16u
#define SHARE          4u /* no result takes more than a quarter of all */

/* ---- expiry ---- */

static bool
expires_before(const void *context, uint32_t a, uint32_t b)
{
	const struct cache *c = context;
	return c->entries[a]->kept.expires_ns < c->entries[b]->kept.expires_ns;
}

static uint32_t *
place_of(const void *context, uint32_t item)
{
	const struct cache *c = context;
	return &c->entries[item]->place;
}

static const struct heap_ops by_expiry = { expires_before, place_of };

/* ---- entries ---- */

static uint64_t
hash_of(const struct cache *c, const struct key *key)
{
	uint64_t words[] = {
		(uint64_t)key->uid << 32 | key->gid,
		key->kind,
		key->context.half[0],
		key->context.half[1],
		siphash(c->secret, key->args, key->length).half[0],
	};
	return siphash(c->secret, words, sizeof(words)).half[0];
}

static bool
same_key(const struct key *a, const struct key *b)
{
	return a->uid == b->uid && a->gid == b->gid && a->kind == b->kind &&
	       a->length == b->length && a->context.half[0] == b->context.half[0] &&
	       a->context.half[1] == b->context.half[1] &&
	       (a->length == 0 || memcmp(a->args, b->args, a->length) == 0);
}

static const struct shared_context *
context_of(struct broker *b, const struct job *job)
{
	if (job->more != NULL && job->more->context != NULL)
		return job->more->context;
	return job->flags & JOB_NO_CLIENT ? NULL : b->clients[job->client]->context;
}

/* What shells change at every turn by themselves, and what says nothing of where a command stands.
 */
static bool
is_bookkeeping(const char *variable)
{
	static const char *const names[] = { "_=", "SHLVL=", "OLDPWD=" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(variable, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static struct digest
digest_of(const struct cache *c, const struct shared_context *context)
{
	static unsigned char bytes[CONTEXT_BYTES_MAX];
	uint32_t length = 0, end = context != NULL ? context->length : 0;

	if (end > sizeof(bytes)) /* context_pack() makes none so long */
		return siphash(c->secret, context->bytes, end);
	for (uint32_t at = 0, size; at < end; at += size) {
		const char *text = (const char *)context->bytes + at;
		size = (uint32_t)strnlen(text, end - at - 1) + 1;
		if (is_bookkeeping(text))
			continue;
		memcpy(bytes + length, text, size);
		length += size;
	}
	return siphash(c->secret, bytes, length);
}

struct key
key_of(struct broker *b, const struct job *job)
{
	struct key key = { .uid = job->uid,
			   .gid = job->gid,
			   .kind = job->kind,
			   .length = job->args_length,
			   .args = job_args(job) };

	if (kinds[job->kind]->class == KIND_COMMAND)
		key.context = digest_of(b->cache, context_of(b, job));
	return key;
}

static struct entry *
find(struct cache *c, const struct key *key, uint64_t hash)
{
	struct index_node *node = index_first(&c->keys, hash);

	while (node != NULL && !same_key(&((struct entry *)node)->key, key))
		node = index_next(node);
	return (struct entry *)node;
}

struct entry *
entry_find(struct cache *c, const struct key *key)
{
	return find(c, key, hash_of(c, key));
}

static bool
has_room(struct cache *c)
{
	if (c->count < c->capacity)
		return true;
	uint32_t bigger = c->capacity == 0 ? CAPACITY_FIRST : 2 * c->capacity;
	struct entry **more = realloc(c->entries, bigger * sizeof(struct entry *));
	if (more == NULL)
		return false;
	c->entries = more;
	if (heap_reserve(&c->expiry, bigger) < 0)
		return false;
	memset(more + c->capacity, 0, (bigger - c->capacity) * sizeof(struct entry *));
	c->capacity = bigger;
	return true;
}

struct entry *
entry_get(struct cache *c, const struct key *key)
{
	uint64_t hash = hash_of(c, key);
	struct entry *e = find(c, key, hash);

	if (e != NULL)
		return e;
	if (!has_room(c) || (e = calloc(1, sizeof(*e) + key->length)) == NULL)
		return NULL;
	while (c->entries[c->hint] != NULL)
		c->hint++;
	e->number = c->hint;
	e->first = e->last = JOB_NONE;
	e->place = HEAP_NONE;
	e->key = *key;
	e->key.args = e->args;
	if (key->length > 0)
		memcpy(e->args, key->args, key->length);
	c->entries[e->number] = e;
	c->count++;
	index_add(&c->keys, &e->by_key, hash);
	return e;
}

void
entry_settle(struct cache *c, struct entry *e)
{
	if (e->kept.result != NULL || e->runner != 0 || e->first != JOB_NONE || e->ready)
		return;
	index_remove(&c->keys, &e->by_key);
	c->entries[e->number] = NULL;
	c->count--;
	if (e->number < c->hint)
		c->hint = e->number;
	recording_free(c, &e->recording);
	free(e);
}

/* ---- what is kept ---- */

void
entry_drop(struct cache *c, struct entry *e)
{
	heap_remove(&c->expiry, &by_expiry, c, e->number);
	TAILQ_REMOVE(&c->used, e, used);
	c->stats.entries--;
	c->stats.bytes -= e->kept.size;
	free(e->kept.result);
	free(e->kept.output.bytes);
	e->kept = (struct kept){ 0 };
}

void
cache_expire(struct broker *b)
{
	struct cache *c = b->cache;
	uint32_t number;

	while ((number = heap_first(&c->expiry)) != HEAP_NONE &&
	       c->entries[number]->kept.expires_ns <= b->now_ns) {
		struct entry *e = c->entries[number];
		entry_drop(c, e);
		entry_settle(c, e);
		c->stats.expired++;
	}
}

bool
entry_fresh(struct broker *b, struct entry *e, uint64_t ttl_ns)
{
	struct cache *c = b->cache;

	if (e->kept.result == NULL || b->now_ns - e->kept.made_ns > ttl_ns)
		return false;
	if (e->kept.made_ns + ttl_ns > e->kept.expires_ns) {
		e->kept.expires_ns = e->kept.made_ns + ttl_ns;
		heap_moved(&c->expiry, &by_expiry, c, e->number);
	}
	TAILQ_REMOVE(&c->used, e, used);
	TAILQ_INSERT_TAIL(&c->used, e, used);
	return true;
}

/* `e` takes what `k` has over. */
void
entry_keep(struct broker *b, struct entry *e, struct kept *k)
{
	struct cache *c = b->cache;

	if (e->kept.result != NULL)
		entry_drop(c, e);
	k->size += sizeof(*e) + e->key.length;
	if (b->config->cache_entries == 0 || k->size > b->config->cache_bytes / SHARE) {
		c->stats.too_large += b->config->cache_entries > 0;
		free(k->result);
		free(k->output.bytes);
		return;
	}
	while (c->stats.entries >= b->config->cache_entries ||
	       c->stats.bytes + k->size > b->config->cache_bytes) {
		struct entry *oldest = TAILQ_FIRST(&c->used);
		entry_drop(c, oldest);
		entry_settle(c, oldest);
		c->stats.evicted++;
	}
	e->kept = *k;
	c->stats.entries++;
	c->stats.bytes += k->size;
	TAILQ_INSERT_TAIL(&c->used, e, used);
	heap_push(&c->expiry, &by_expiry, c, e->number);
}

/* ---- what a command writes ---- */

static void
give_up(struct cache *c, struct recording *r)
{
	recording_free(c, r);
	r->given_up = true;
}

void
recording_add(struct broker *b, struct recording *r, uint32_t stream, const void *bytes,
	      uint32_t length)
{
	struct cache *c = b->cache;
	struct piece piece = { stream, length };
	size_t needed = r->length + sizeof(piece) + length;

	if (r->given_up)
		return;
	if (needed > r->capacity) {
		size_t bigger = 2 * needed, more = bigger - r->capacity;
		unsigned char *to = NULL;
		if (needed <= b->config->cache_bytes / SHARE &&
		    c->recording_bytes + more <= b->config->cache_bytes)
			to = realloc(r->bytes, bigger);
		if (to == NULL) {
			give_up(c, r);
			return;
		}
		r->bytes = to;
		r->capacity = bigger;
		c->recording_bytes += more;
	}
	memcpy(r->bytes + r->length, &piece, sizeof(piece));
	memcpy(r->bytes + r->length + sizeof(piece), bytes, length);
	r->length = needed;
}

struct recording
recording_take(struct cache *c, struct recording *r)
{
	struct recording taken = *r;

	c->recording_bytes -= r->capacity;
	*r = (struct recording){ 0 };
	unsigned char *fitting = taken.length > 0 ? realloc(taken.bytes, taken.length) : NULL;
	if (fitting != NULL) {
		taken.bytes = fitting;
		taken.capacity = taken.length;
	}
	return taken;
}

void
recording_free(struct cache *c, struct recording *r)
{
	c->recording_bytes -= r->capacity;
	free(r->bytes);
	*r = (struct recording){ 0 };
}

/* ---- life ---- */

int
cache_open(struct broker *b)
{
	struct cache *c = b->cache = calloc(1, sizeof(*c));

	if (c == NULL || index_open(&c->keys) < 0)
		return -ENOMEM;
	if (getrandom(c->secret, sizeof(c->secret), 0) != (ssize_t)sizeof(c->secret))
		return -EIO;
	TAILQ_INIT(&c->used);
	TAILQ_INIT(&c->due);
	return 0;
}

void
cache_close(struct broker *b)
{
	struct cache *c = b->cache;

	if (c == NULL)
		return;
	for (uint32_t i = 0; i < c->capacity; i++) {
		struct entry *e = c->entries[i];
		if (e == NULL)
			continue;
		free(e->kept.result);
		free(e->kept.output.bytes);
		free(e->recording.bytes);
		free(e);
	}
	index_close(&c->keys);
	heap_free(&c->expiry);
	free(c->entries);
	free(c);
	b->cache = NULL;
}

/* ---- looking ---- */

void
cache_stats(struct broker *b, struct cache_stats *ret)
{
	struct cache *c = b->cache;

	cache_expire(b);
	*ret = c->stats;
	ret->entries_most = b->config->cache_entries;
	ret->bytes_most = b->config->cache_bytes;
	uint32_t first = heap_first(&c->expiry);
	if (first != HEAP_NONE)
		ret->next_expiry = c->entries[first]->kept.expires_ns - b->now_ns;
}

void
cache_reply(struct broker *b, struct reply *a)
{
	struct cache_stats s;

	cache_stats(b, &s);
	reply_key(a, "cache");
	msgpack_pack_map(&a->pack, 11);
	reply_uint(a, "entries", s.entries);
	reply_uint(a, "max_entries", s.entries_most);
	reply_uint(a, "bytes", s.bytes);
	reply_uint(a, "max_bytes", s.bytes_most);
	reply_uint(a, "hits", s.hits);
	reply_uint(a, "misses", s.misses);
	reply_uint(a, "expired", s.expired);
	reply_uint(a, "evicted", s.evicted);
	reply_uint(a, "too_large", s.too_large);
	reply_uint(a, "waiting", s.waiting);
	reply_uint(a, "next_expiry_ns", s.next_expiry);
}
