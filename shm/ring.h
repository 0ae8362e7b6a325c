/*
 * ring.h - byte ring in shared memory: one producer, one consumer, whole records.
 *
 * Positions count bytes since the ring was made and never wrap; the producer
 * writes `tail`, the consumer writes `head`, nobody writes both.  A record is
 * published by one store of `tail`: a producer killed before it has published
 * nothing, one killed after it has published all.  A consumer that dies leaves
 * `head` where it was, and its successor reads the record again.
 *
 * Each side works through a private `struct ring` that remembers its own
 * position, so the other side cannot move it.  A consumer that does not trust
 * its producer uses ring_copy() alone: it copies first and checks the copy, and a
 * record header that is out of bounds is -EPROTO, never a read outside the ring.
 *
 * Lengths are in bytes; capacities are powers of two.  Functions return 0 or a
 * negative errno; nothing here blocks, allocates, logs or calls the kernel.
 * Method: Lamport's single-producer single-consumer queue with cached opposite
 * index (see M. Torquati, "Single-Producer/Single-Consumer Queues on Shared
 * Cache Multi-Core Systems", 2010).
 */
#ifndef PYPREP_SHM_RING_H
#define PYPREP_SHM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_LINE      128 /* two cache lines: x86 prefetches them in pairs */
#define RING_ALIGN     16u /* every record starts and ends on this boundary */
#define RING_SIZE_MIN  4096u
#define RING_TYPE_SKIP 0u /* record type of the filler before the wrap */

/* What lies in shared memory. */
struct ring_shared {
	_Alignas(RING_LINE) _Atomic uint64_t head; /* consumer writes: bytes consumed */
	_Alignas(RING_LINE) _Atomic uint64_t tail; /* producer writes: bytes published */
	_Alignas(RING_LINE) unsigned char data[];
};

/* Header of each record, in the ring. */
struct ring_record {
	uint32_t size; /* header, body and padding; a multiple of RING_ALIGN */
	uint32_t type; /* the caller's; RING_TYPE_SKIP is taken */
	uint32_t length; /* of the body */
	uint32_t reserved;
	unsigned char body[];
};

/* One side's private view; never itself in shared memory. */
struct ring {
	struct ring_shared *shared;
	uint64_t capacity; /* bytes of data, a power of two */
	uint64_t mine; /* own position: head for a consumer, tail for a producer */
	uint64_t theirs; /* last known position of the other side */
	uint64_t pending; /* producer: bytes reserved and not committed */
	uint64_t began; /* own position when this view was made */
	uint64_t records; /* put or taken through this view, ever */
	uint64_t high; /* most bytes seen in use: a consumer at each look, a producer at ring_mark() */
};

/* Bytes a ring of `capacity` takes in shared memory. */
static inline size_t
ring_footprint(size_t capacity)
{
	return sizeof(struct ring_shared) + capacity;
}

/* The longest body that always fits an empty ring of `capacity`, whatever its
 * position: half of it, since a record does not wrap. */
static inline uint32_t
ring_body_max(uint64_t capacity)
{
	return (uint32_t)(capacity / 2 - sizeof(struct ring_record) - RING_ALIGN);
}

/* Attach as the producer or the consumer, at the position the shared part says.
 * -EINVAL: capacity is not a power of two or below RING_SIZE_MIN.
 * -EPROTO: the shared positions contradict each other. */
int ring_attach_producer(struct ring *r, void *shared, uint64_t capacity);
int ring_attach_consumer(struct ring *r, void *shared, uint64_t capacity);

/* Producer: a place for a body of `length` bytes, to be filled and then published
 * by ring_commit(), or dropped by reserving again.  NULL: no room now (or ever,
 * when `length` is above ring_body_max()). */
void *ring_reserve(struct ring *r, uint32_t type, uint32_t length);

/* Producer: publish what was reserved, with its body cut to `length` (which may
 * not be above what was reserved). */
void ring_commit(struct ring *r, uint32_t length);

/* Producer: is there room for a body of `length`? */
bool ring_has_room(struct ring *r, uint32_t length);

/* Consumer that trusts its producer: the next record in place, or NULL.  It stays
 * valid until ring_release(). */
const struct ring_record *ring_peek(struct ring *r);
void ring_release(struct ring *r, const struct ring_record *record);

/* ... or several at once: the records that stand one behind the other in place, whole ones of at
 * most `most` bytes together; NULL when there is none, or the first alone is larger (its size is
 * then in *ret_bytes).  *ret_bytes, headers and padding included, are given back together. */
const struct ring_record *ring_peek_run(struct ring *r, uint64_t most, uint64_t *ret_bytes);
void ring_release_run(struct ring *r, uint64_t bytes);

/* Bytes a record with a body of `length` takes in a ring. */
static inline uint64_t
ring_record_size(uint32_t length)
{
	return (sizeof(struct ring_record) + (uint64_t)length + RING_ALIGN - 1) / RING_ALIGN *
	       RING_ALIGN;
}

/* Consumer that does not: copy the next record's body to `body` (at most `max`
 * bytes) and consume it.  Returns 1 with *type and *length set, 0 when the ring is
 * empty, -EPROTO when the producer broke the rules, -EMSGSIZE when the body is
 * longer than `max` (it is not consumed). */
int ring_copy(struct ring *r, void *body, uint32_t max, uint32_t *type, uint32_t *length);

/* Consumer: is anything there?  One load when the cache says no. */
static inline bool
ring_is_empty(struct ring *r)
{
	if (r->mine != r->theirs)
		return false;
	r->theirs = atomic_load_explicit(&r->shared->tail, memory_order_acquire);
	if (r->theirs - r->mine > r->high)
		r->high = r->theirs - r->mine;
	return r->mine == r->theirs;
}

/* Producer: look how full it is now, for `high`; once after a burst.  Costs a look at the other
 * side's line only when this might be a new mark. */
static inline void
ring_mark(struct ring *r)
{
	if (r->mine - r->theirs <= r->high)
		return;
	uint64_t head = atomic_load_explicit(&r->shared->head, memory_order_acquire);
	if (r->mine - head > r->capacity)
		return; /* cannot be true */
	r->theirs = head;
	if (r->mine - head > r->high)
		r->high = r->mine - head;
}

/* Bytes published and not consumed, as either side sees it. */
uint64_t ring_used(const struct ring_shared *shared);

/* Records published and not consumed, counted by walking them, on either side's view; trusts
 * nobody: a header that cannot be true ends the walk. */
uint64_t ring_waiting(const struct ring *r);

#endif
