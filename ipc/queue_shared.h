/*
 * queue_shared.h - what lies in a queue's memory, and the handle.  For the files of the queue
 * (queue*.c) and its tests; users need queue.h alone.
 *
 * A slot's word is position << 16 | state << 12 | member's place.  Position p lives in slot
 * p % capacity and goes through:
 *
 *   EMPTY@p --put claims--> WRITING@p,m --> FULL@p --get claims--> READING@p,m --> EMPTY@p+capacity
 *               m dies: EMPTY@p+capacity         m dies: RETURNED@p --get--> READING@p,n
 *   EMPTY@p --a consumer finds the queue closed and drained--> SEALED@p, for ever
 *
 * A word other than READING never comes twice (until 2^48 messages later), so a compare-and-swap
 * on it cannot be late.  READING@p,m can come twice, after m died and another process took its
 * place: only the holder of the recovery lock takes a slot from a member, and it frees the place
 * last, so no late hand can do it.
 *
 * `tail` is the next position to put at, `head` the next to get from.  Both may lag behind the
 * slots (who claimed was killed, or is slow): whoever sees that helps them on.
 */
#ifndef PYPREP_IPC_QUEUE_SHARED_H
#define PYPREP_IPC_QUEUE_SHARED_H

#include <stdatomic.h>

#include "ipc/queue.h"
#include "shm/owner.h"
#include "shm/ring.h"

#define QUEUE_CAPACITY_MAX (1u << 24)
#define QUEUE_MESSAGE_MAX  (1u << 30)
#define QUEUE_MEMBERS      64u /* when the options say 0 */
#define QUEUE_LIST_WORDS   (QUEUE_MEMBERS_MAX / 64u)

enum slot_state {
	SLOT_EMPTY,
	SLOT_WRITING,
	SLOT_FULL,
	SLOT_READING,
	SLOT_RETURNED, /* a message whose consumer died in get; behind head, or at it */
	SLOT_SEALED,   /* the end of a closed queue */
};

struct queue_slot {
	_Atomic uint64_t word;
	_Atomic uint32_t length; /* written while WRITING */
	uint32_t reserved;
	unsigned char data[]; /* written while WRITING, read while READING */
};

/* One place in the table.  All but owner, bell and lost are written by the member alone, with
 * plain stores; they go on counting under the next member that gets the place. */
struct queue_place {
	_Alignas(RING_LINE) _Atomic uint64_t owner; /* owner.h; 0: free */
	_Atomic uint64_t doing; /* position of the slot claimed last: all that a death can leave */
	_Atomic uint64_t gets_before; /* `gets` as it was when that slot was claimed by a get */
	_Atomic uint64_t puts, gets, done;
	_Atomic uint64_t lost; /* of gets: will never be done.  Set when the place is freed */
	_Atomic uint64_t bytes_in, bytes_out;
	_Atomic uint64_t waits_for_room, waits_for_messages;
	_Atomic uint64_t joined_ns;
	_Atomic uint64_t puts_at_join, gets_at_join, done_at_join;
	_Atomic uint32_t bell; /* futex; wakers add 1 */
};
_Static_assert(sizeof(struct queue_place) == RING_LINE, "a place is one line");

/* Who sleeps: bit m is the member at place m.  Set by the sleeper; cleared by it, by the waker
 * who spends a wake on it, or by whoever finds it dead. */
struct queue_list {
	_Alignas(RING_LINE) _Atomic uint64_t bits[QUEUE_LIST_WORDS];
};

/* What the holder of the recovery lock is about to do, so that its successor can do it again
 * after its death.  `word` is written last and cleared last; 0: nothing under way. */
struct queue_journal {
	_Atomic uint64_t word; /* of the slot, as the dead member left it */
	_Atomic uint64_t position;
	_Atomic uint64_t skipped, returned; /* the counts as they will be */
};

struct queue_shared {
	/* Written once, at birth. */
	struct named_head head;
	uint32_t capacity, message_max, members_max, stride;
	/* Rarely written. */
	_Alignas(RING_LINE) _Atomic uint32_t closed;
	_Atomic uint32_t any_returned; /* set before a slot is RETURNED; see queue.c */
	_Atomic uint64_t high_water;
	_Alignas(RING_LINE) _Atomic uint64_t tail;  /* anybody */
	_Alignas(RING_LINE) _Atomic uint64_t first; /* "head"; anybody */
	struct queue_list for_messages, for_room, for_done;
	/* The recovery lock and what only its holder writes. */
	_Alignas(RING_LINE) _Atomic uint64_t recoverer; /* owner.h; 0: nobody */
	struct queue_journal journal;
	_Atomic uint64_t skipped, returned;
	_Atomic uint64_t checked_ns; /* anybody: when the members were looked at */
	struct queue_place places[]; /* members_max, then the slots */
};

/* One member's handle. */
struct queue {
	struct queue_shared *shared;
	unsigned char *slots;
	uint64_t capacity, mask; /* mask: capacity - 1 when that is a power of two, else 0 */
	uint64_t stride;
	uint32_t message_max, members_max, list_words;
	/* This membership. */
	uint32_t place;
	struct queue_place *me;
	uint64_t self;       /* owner.h */
	unsigned forks;      /* queue_forks when it joined */
	uint64_t first_seen; /* `first` as last read: not ahead of it */
	uint32_t rotor;      /* the place after the one woken last */
	bool ended;          /* closed, drained, and nobody reads any more */
	/* The claimed slot that the last try met in its way; NULL: none. */
	struct queue_slot *blocked_slot;
	uint64_t blocked_word;
	/* A named queue's mapping, else NULL. */
	void *mapping;
	size_t mapping_bytes;
};

static inline uint64_t
slot_word(uint64_t position, enum slot_state state, uint32_t place)
{
	return position << 16 | (uint64_t)state << 12 | place;
}

static inline enum slot_state
word_state(uint64_t word)
{
	return (enum slot_state)(word >> 12 & 15);
}

static inline uint32_t
word_place(uint64_t word)
{
	return (uint32_t)(word & 4095);
}

/* How far the word's position is ahead of `position`, modulo 2^48. */
static inline int64_t
word_ahead(uint64_t word, uint64_t position)
{
	return (int64_t)((word & ~UINT64_C(0xffff)) - (position << 16)) >> 16;
}

static inline bool
word_is_claimed(uint64_t word)
{
	return word_state(word) == SLOT_WRITING || word_state(word) == SLOT_READING;
}

static inline struct queue_slot *
slot_of_index(const struct queue *q, uint64_t index)
{
	return (void *)(q->slots + index * q->stride);
}

static inline struct queue_slot *
slot_at(const struct queue *q, uint64_t position)
{
	return slot_of_index(q, q->mask != 0 ? position & q->mask : position % q->capacity);
}

/* Single-writer counters of a place. */
static inline uint64_t
count_read(const _Atomic uint64_t *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

static inline void
count_add(_Atomic uint64_t *count, uint64_t n)
{
	atomic_store_explicit(count, count_read(count) + n, memory_order_relaxed);
}

/* Help `end` on from `position`, if it is still there.  Did we write it? */
static inline bool
help_on(_Atomic uint64_t *end, uint64_t position)
{
	return atomic_load_explicit(end, memory_order_relaxed) == position &&
	       atomic_compare_exchange_strong(end, &position, position + 1);
}

/* The next position to put at, without the lag of `tail`. */
static inline uint64_t
queue_tail(const struct queue *q)
{
	uint64_t p = atomic_load(&q->shared->tail);

	for (uint64_t n = 0; n < q->capacity; n++, p++) {
		uint64_t word = atomic_load(&slot_at(q, p)->word);
		int64_t ahead = word_ahead(word, p);
		if (ahead < 0 || (ahead == 0 && (word_state(word) == SLOT_EMPTY ||
						 word_state(word) == SLOT_SEALED)))
			break;
	}
	return p;
}

/* ---- queue_memory.c ---- */

/* Is there a queue of this version, all of it?  Its bounds.  -EPROTO. */
int queue_check(const void *memory, size_t bytes, struct queue_options *ret);

/* A handle that has not joined: for looking. */
void queue_view(struct queue *q, void *memory, const struct queue_options *bounds);

/* ---- queue_member.c ---- */

extern unsigned queue_forks; /* forks since this process's ancestor attached first */

/* Join as the process now calling.  -EUSERS. */
int queue_join_members(struct queue *q);
void queue_leave(struct queue *q);

/* The handle's membership is this process's. */
static inline int
queue_enter(struct queue *q)
{
	return q->forks == queue_forks ? 0 : queue_join_members(q);
}

/* The recovery lock, taken from the dead but never waited for; false: another living one has
 * it.  Its taker finishes what the last holder died in. */
bool queue_lock(struct queue *q);
void queue_unlock(struct queue *q);

/* Is the owner of the slot that blocked the last try dead?  Then free what it held. */
bool queue_recover_blocked(struct queue *q);

/* Look for dead members, unless somebody did within FUTEX_SLICE_NS.  Were there any? */
bool queue_check_members(struct queue *q);

/* ---- queue_wait.c ---- */

/* Wake one of those on the list, or all. */
void queue_wake_slow(struct queue *q, struct queue_list *list);
void queue_wake_all(struct queue *q, struct queue_list *list);

/* After publishing by a sequentially consistent operation: wake one sleeper if there is one. */
static inline void
queue_wake(struct queue *q, struct queue_list *list)
{
	uint64_t any = atomic_load(&list->bits[0]);

	for (uint32_t i = 1; i < q->list_words; i++)
		any |= atomic_load(&list->bits[i]);
	if (any != 0)
		queue_wake_slow(q, list);
}

/* Something to be tried until it no longer says -EAGAIN. */
struct queue_try {
	int (*attempt)(struct queue *q, struct queue_try *t);
	struct queue_list *list; /* where to sleep */
	/* After having waited and succeeded: is there more for the next sleeper? */
	bool (*more)(const struct queue *q);
	_Atomic uint64_t *waits;
	const void *in;
	void *out;
	uint32_t length; /* of `in` */
};

/* The first try has said -EAGAIN: wait as `timeout_ns` allows. */
int queue_wait(struct queue *q, struct queue_try *t, uint64_t timeout_ns);

#endif
