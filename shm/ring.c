/* ring.c - see ring.h */
#include "shm/ring.h"

#include <errno.h>
#include <string.h>

static struct ring_record *
record_at(struct ring *r, uint64_t position)
{
	return (struct ring_record *)(r->shared->data + (position & (r->capacity - 1)));
}

static int
attach(struct ring *r, void *shared, uint64_t capacity, bool producer)
{
	if (capacity < RING_SIZE_MIN || (capacity & (capacity - 1)) != 0)
		return -EINVAL;

	struct ring_shared *s = shared;
	uint64_t head = atomic_load_explicit(&s->head, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&s->tail, memory_order_acquire);
	if (tail - head > capacity || head % RING_ALIGN != 0 || tail % RING_ALIGN != 0)
		return -EPROTO;
	*r = (struct ring){
		.shared = s,
		.capacity = capacity,
		.mine = producer ? tail : head,
		.theirs = producer ? head : tail,
		.began = producer ? tail : head,
	};
	return 0;
}

int
ring_attach_producer(struct ring *r, void *shared, uint64_t capacity)
{
	return attach(r, shared, capacity, true);
}

int
ring_attach_consumer(struct ring *r, void *shared, uint64_t capacity)
{
	return attach(r, shared, capacity, false);
}

/* Is `need` free?  An index from the other side that cannot be true (a hostile
 * consumer) counts as a full ring: nothing is ever written over it. */
static bool
has_free(struct ring *r, uint64_t need)
{
	if (r->capacity - (r->mine - r->theirs) >= need)
		return true;
	uint64_t head = atomic_load_explicit(&r->shared->head, memory_order_acquire);
	if (r->mine - head > r->capacity)
		return false;
	r->theirs = head;
	return r->capacity - (r->mine - r->theirs) >= need;
}

/* Bytes a record of `size` needs at the current position: itself, and the filler
 * to the end when it would not fit before the wrap. */
static uint64_t
needed(const struct ring *r, uint64_t size)
{
	uint64_t to_end = r->capacity - (r->mine & (r->capacity - 1));
	return size <= to_end ? size : to_end + size;
}

bool
ring_has_room(struct ring *r, uint32_t length)
{
	return has_free(r, needed(r, ring_record_size(length)));
}

void *
ring_reserve(struct ring *r, uint32_t type, uint32_t length)
{
	uint64_t size = ring_record_size(length);
	uint64_t need = needed(r, size);

	if (size > r->capacity || !has_free(r, need))
		return NULL;
	uint64_t filler = need - size;
	if (filler > 0) {
		struct ring_record *skip = record_at(r, r->mine);
		skip->size = (uint32_t)filler;
		skip->type = RING_TYPE_SKIP;
		skip->length = 0;
	}
	struct ring_record *record = record_at(r, r->mine + filler);
	record->size = (uint32_t)size;
	record->type = type;
	record->length = length;
	record->reserved = 0;
	r->pending = need;
	return record->body;
}

void
ring_commit(struct ring *r, uint32_t length)
{
	uint64_t to_end = r->capacity - (r->mine & (r->capacity - 1));
	uint64_t filler = 0;
	struct ring_record *record = record_at(r, r->mine);

	if (r->pending > to_end) {
		filler = to_end;
		record = record_at(r, r->mine + filler);
	}
	record->length = length;
	record->size = (uint32_t)ring_record_size(length);
	r->mine += filler + record->size;
	r->pending = 0;
	r->records++;
	atomic_store_explicit(&r->shared->tail, r->mine, memory_order_release);
}

/* Consumer: what stood there is the producer's to write over. */
static void
pass(struct ring *r, uint32_t size)
{
	r->mine += size;
	atomic_store_explicit(&r->shared->head, r->mine, memory_order_release);
}

const struct ring_record *
ring_peek(struct ring *r)
{
	while (!ring_is_empty(r)) {
		struct ring_record *record = record_at(r, r->mine);
		if (record->type != RING_TYPE_SKIP)
			return record;
		pass(r, record->size);
	}
	return NULL;
}

void
ring_release(struct ring *r, const struct ring_record *record)
{
	r->records++;
	pass(r, record->size);
}

const struct ring_record *
ring_peek_run(struct ring *r, uint64_t most, uint64_t *ret_bytes)
{
	const struct ring_record *first = ring_peek(r);
	uint64_t bytes = 0;

	*ret_bytes = 0;
	if (first == NULL)
		return NULL;
	uint64_t to_end = r->capacity - (r->mine & (r->capacity - 1));
	uint64_t end = r->theirs - r->mine < to_end ? r->theirs - r->mine : to_end;
	while (bytes < end) {
		const struct ring_record *next = record_at(r, r->mine + bytes);
		if (next->type == RING_TYPE_SKIP || (bytes + next->size > most && bytes > 0))
			break;
		bytes += next->size;
		if (bytes > most)
			break;
	}
	*ret_bytes = bytes;
	return bytes <= most ? first : NULL;
}

void
ring_release_run(struct ring *r, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += record_at(r, r->mine + at)->size)
		r->records++;
	pass(r, (uint32_t)bytes);
}

int
ring_copy(struct ring *r, void *body, uint32_t max, uint32_t *type, uint32_t *length)
{
	/* At most one filler stands before a record; two in a row are a trick to
	 * keep us here for ever. */
	for (int fillers = 0; fillers < 2;) {
		if (ring_is_empty(r))
			return 0;
		uint64_t used = r->theirs - r->mine;
		uint64_t to_end = r->capacity - (r->mine & (r->capacity - 1));
		if (used > r->capacity || used < sizeof(struct ring_record))
			return -EPROTO;

		/* One copy of the header: what was checked is what is used. */
		struct ring_record header;
		memcpy(&header, record_at(r, r->mine), sizeof(header));
		if (header.size < sizeof(header) || header.size % RING_ALIGN != 0 ||
		    header.size > used || header.size > to_end)
			return -EPROTO;
		if (header.type == RING_TYPE_SKIP) {
			pass(r, header.size);
			fillers++;
			continue;
		}
		if (header.length > header.size - sizeof(header))
			return -EPROTO;
		if (header.length > max)
			return -EMSGSIZE;
		memcpy(body, record_at(r, r->mine)->body, header.length);
		*type = header.type;
		*length = header.length;
		r->records++;
		pass(r, header.size);
		return 1;
	}
	return -EPROTO;
}

uint64_t
ring_used(const struct ring_shared *shared)
{
	uint64_t head = atomic_load_explicit(&shared->head, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&shared->tail, memory_order_acquire);
	return tail - head;
}

uint64_t
ring_waiting(const struct ring *r)
{
	uint64_t at = atomic_load_explicit(&r->shared->head, memory_order_acquire);
	uint64_t end = atomic_load_explicit(&r->shared->tail, memory_order_acquire);
	uint64_t n = 0;

	while (end - at >= sizeof(struct ring_record) && end - at <= r->capacity) {
		uint64_t to_end = r->capacity - (at & (r->capacity - 1));
		struct ring_record header;

		memcpy(&header, r->shared->data + (at & (r->capacity - 1)), sizeof(header));
		if (header.size < sizeof(header) || header.size % RING_ALIGN != 0 ||
		    header.size > end - at || header.size > to_end)
			break;
		n += header.type != RING_TYPE_SKIP;
		at += header.size;
	}
	return n;
}
