/*
 * queue.c - put, get, close and join; see queue.h, and queue_shared.h for the slots.
 *
 * What each store means to the others, should it be the last one:
 *
 *   put: doing = p                    nothing: the slot's word does not name us yet
 *        EMPTY -> WRITING@p,m         p is ours; without us it is skipped
 *        length, data                 nobody reads them while WRITING
 *        WRITING -> FULL              the message is put
 *        tail                         only a hint: others help it on
 *        counts, wake                 sleepers look by themselves within a slice
 *   get: doing = p, gets_before       nothing
 *        FULL -> READING@p,m          ours; without us RETURNED, and `gets` is set back
 *        gets                         see above
 *        READING -> EMPTY@p+capacity  the message is got, and dies with us
 *        head                         only a hint
 *        wake                         as above
 */
#include "ipc/queue.h"

#include <errno.h>
#include <string.h>

#include "ipc/queue_shared.h"

/* What stands in the way of position `p` is somebody's unfinished call, or nobody's. */
static int
not_now(struct queue *q, struct queue_slot *slot, uint64_t word)
{
	q->blocked_slot = word_is_claimed(word) ? slot : NULL;
	q->blocked_word = word;
	return -EAGAIN;
}

/* ---- put ---- */

static void
raise_high_water(struct queue *q, uint64_t depth)
{
	_Atomic uint64_t *mark = &q->shared->high_water;
	uint64_t most = atomic_load_explicit(mark, memory_order_relaxed);

	while (depth > most && !atomic_compare_exchange_weak(mark, &most, depth))
		;
}

/* The largest depth, without reading the consumers' line each time: `first` as last seen makes
 * the depth look larger at most; only when that is a new mark it is read anew, and beyond small
 * depths at every 16th put only. */
static void
note_depth(struct queue *q, uint64_t tail)
{
	struct queue_shared *s = q->shared;
	uint64_t most = atomic_load_explicit(&s->high_water, memory_order_relaxed);

	if (tail - q->first_seen <= most || (most > 16 && tail % 16 != 0))
		return;
	q->first_seen = atomic_load_explicit(&s->first, memory_order_relaxed);
	uint64_t depth = tail - q->first_seen;
	if (depth > most && (int64_t)depth > 0) /* below: consumers passed a skipped slot */
		raise_high_water(q, depth < q->capacity ? depth : q->capacity);
}

/* Publish `word` at `position`, whose end (`tail` or `first`) comes next.  After this a look at the
 * sleepers cannot come before the publishing: the compare-and-swap of the end orders them (as any
 * locked instruction does on x86), and costs no more than the fence it saves. */
static void
publish(struct queue_slot *slot, uint64_t word, _Atomic uint64_t *end, uint64_t position)
{
	atomic_store_explicit(&slot->word, word, memory_order_release);
	if (!help_on(end, position))
		atomic_thread_fence(memory_order_seq_cst);
#if !defined(__x86_64__) || defined(__SANITIZE_THREAD__)
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* The slot is WRITING by us. */
static void
fill(struct queue *q, struct queue_slot *slot, uint64_t position, const void *message,
     uint32_t length)
{
	atomic_store_explicit(&slot->length, length, memory_order_relaxed);
	memcpy(slot->data, message, length);
	publish(slot, slot_word(position, SLOT_FULL, 0), &q->shared->tail, position);
	count_add(&q->me->puts, 1);
	count_add(&q->me->bytes_in, length);
	note_depth(q, position + 1);
	queue_wake(q, &q->shared->for_messages);
}

static int
try_put(struct queue *q, const void *message, uint32_t length)
{
	struct queue_shared *s = q->shared;

	if (atomic_load_explicit(&s->closed, memory_order_acquire))
		return -EPIPE;
	for (;;) {
		uint64_t p = atomic_load_explicit(&s->tail, memory_order_acquire);
		struct queue_slot *slot = slot_at(q, p);
		uint64_t word = atomic_load_explicit(&slot->word, memory_order_acquire);
		if (word == slot_word(p, SLOT_EMPTY, 0)) {
			atomic_store_explicit(&q->me->doing, p, memory_order_relaxed);
			if (!atomic_compare_exchange_strong(&slot->word, &word,
							    slot_word(p, SLOT_WRITING, q->place)))
				continue;
			fill(q, slot, p, message, length);
			return 0;
		}
		int64_t ahead = word_ahead(word, p);
		if (ahead < 0)
			return not_now(q, slot, word);
		if (ahead == 0 && word_state(word) == SLOT_SEALED)
			return -EPIPE;
		(void)help_on(&s->tail, p);
	}
}

static bool
has_room(const struct queue *q)
{
	uint64_t p = atomic_load(&q->shared->tail);
	return atomic_load(&slot_at(q, p)->word) == slot_word(p, SLOT_EMPTY, 0);
}

static int
put_again(struct queue *q, struct queue_try *t)
{
	return try_put(q, t->in, t->length);
}

static int
put_later(struct queue *q, const void *message, uint32_t length, uint64_t timeout_ns)
{
	struct queue_try t = { .attempt = put_again,
			       .list = &q->shared->for_room,
			       .more = has_room,
			       .waits = &q->me->waits_for_room,
			       .in = message,
			       .length = length };
	raise_high_water(q, queue_size(q));
	return queue_wait(q, &t, timeout_ns);
}

int
queue_put(struct queue *q, const void *message, uint32_t length, uint64_t timeout_ns)
{
	int r = queue_enter(q);

	if (r < 0)
		return r;
	if (length > q->message_max)
		return -EMSGSIZE;
	r = try_put(q, message, length);
	return r == -EAGAIN ? put_later(q, message, length, timeout_ns) : r;
}

/* ---- get ---- */

static uint32_t
length_of(const struct queue *q, const struct queue_slot *slot)
{
	uint32_t length = atomic_load_explicit(&slot->length, memory_order_relaxed);
	return length < q->message_max ? length : q->message_max;
}

/* Where a message goes: room for `max` bytes. */
struct target {
	void *message;
	uint32_t max;
	uint32_t *ret_length;
};

/* The slot is READING by us. */
static int
take(struct queue *q, struct queue_slot *slot, uint64_t position, uint32_t length,
     const struct target *t)
{
	memcpy(t->message, slot->data, length);
	*t->ret_length = length;
	count_add(&q->me->bytes_out, length);
	/* `gets` before the slot is let go: a death in between sets it back to gets_before. */
	count_add(&q->me->gets, 1);
	publish(slot, slot_word(position + q->capacity, SLOT_EMPTY, 0), &q->shared->first,
		position);
	queue_wake(q, &q->shared->for_room);
	return 0;
}

/* Claim a slot whose word was seen as `word`.  0, or -EMSGSIZE with its length, or -EAGAIN:
 * somebody else was faster. */
static int
claim(struct queue *q, struct queue_slot *slot, uint64_t position, uint64_t word,
      const struct target *t, uint32_t *ret_length)
{
	uint32_t length = length_of(q, slot);

	if (length > t->max) {
		/* Is it that message's length, or already the next one's? */
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&slot->word, memory_order_relaxed) != word)
			return -EAGAIN;
		*t->ret_length = length;
		return -EMSGSIZE;
	}
	atomic_store_explicit(&q->me->doing, position, memory_order_relaxed);
	atomic_store_explicit(&q->me->gets_before, count_read(&q->me->gets), memory_order_relaxed);
	if (!atomic_compare_exchange_strong(&slot->word, &word,
					    slot_word(position, SLOT_READING, q->place)))
		return -EAGAIN;
	*ret_length = length;
	return 0;
}

/* The first slot whose state is in `states` (a bit each); NULL: none. */
static struct queue_slot *
find_slot(const struct queue *q, unsigned states)
{
	for (uint64_t i = 0; i < q->capacity; i++) {
		struct queue_slot *slot = slot_of_index(q, i);
		if (states & 1u << word_state(atomic_load(&slot->word)))
			return slot;
	}
	return NULL;
}

/* Messages that dead consumers gave back are found by looking at all slots, since head is past
 * them.  Under the recovery lock nobody adds one, so the flag can be cleared when there is
 * none.  -EAGAIN: none, or somebody else is at it. */
static int
try_returned(struct queue *q, const struct target *t)
{
	uint64_t position = 0;
	uint32_t length = 0;
	int r = -EAGAIN;

	if (!queue_lock(q))
		return -EAGAIN;
	struct queue_slot *slot = find_slot(q, 1u << SLOT_RETURNED);
	if (slot == NULL) {
		atomic_store(&q->shared->any_returned, 0);
	} else {
		uint64_t word = atomic_load(&slot->word);
		uint64_t first = atomic_load(&q->shared->first);
		position = first + (uint64_t)word_ahead(word, first);
		r = claim(q, slot, position, word, t, &length);
	}
	queue_unlock(q);
	return r == 0 ? take(q, slot, position, length, t) : r;
}

/* Closed, and nothing to get at position `p`, whose word is `word`.  The end comes when no
 * producer can put there any more, and no consumer holds a message that might come back.
 * -ENODATA, or -EAGAIN. */
static int
try_end(struct queue *q, struct queue_slot *slot, uint64_t p, uint64_t word)
{
	if (word_ahead(word, p) < 0) /* a slow consumer has still the round before */
		return not_now(q, slot, word);
	if (word_state(word) == SLOT_EMPTY &&
	    !atomic_compare_exchange_strong(&slot->word, &word, slot_word(p, SLOT_SEALED, 0)))
		return not_now(q, slot, word);
	slot = find_slot(q, 1u << SLOT_READING | 1u << SLOT_RETURNED);
	if (slot != NULL)
		return not_now(q, slot, atomic_load(&slot->word));
	q->ended = true;
	queue_wake_all(q, &q->shared->for_messages);
	queue_wake_all(q, &q->shared->for_room);
	return -ENODATA;
}

static int
try_first(struct queue *q, const struct target *t)
{
	struct queue_shared *s = q->shared;
	uint32_t length;

	for (;;) {
		uint64_t p = atomic_load_explicit(&s->first, memory_order_acquire);
		struct queue_slot *slot = slot_at(q, p);
		uint64_t word = atomic_load_explicit(&slot->word, memory_order_acquire);
		int64_t ahead = word_ahead(word, p);
		enum slot_state state = word_state(word);
		if (ahead == 0 && state == SLOT_FULL) {
			int r = claim(q, slot, p, word, t, &length);
			if (r == -EAGAIN)
				continue;
			return r < 0 ? r : take(q, slot, p, length, t);
		}
		if (ahead < 0 || (ahead == 0 && (state == SLOT_EMPTY || state == SLOT_SEALED))) {
			if (atomic_load_explicit(&s->closed, memory_order_acquire))
				return try_end(q, slot, p, word);
			return not_now(q, slot, word);
		}
		if (ahead == 0 && state == SLOT_WRITING)
			return not_now(q, slot, word);
		(void)help_on(&s->first, p);
	}
}

static int
try_get(struct queue *q, const struct target *t)
{
	if (q->ended)
		return -ENODATA;
	if (atomic_load_explicit(&q->shared->any_returned, memory_order_acquire)) {
		int r = try_returned(q, t);
		if (r != -EAGAIN)
			return r;
	}
	return try_first(q, t);
}

static bool
has_message(const struct queue *q)
{
	uint64_t p = atomic_load(&q->shared->first);
	uint64_t word = atomic_load(&slot_at(q, p)->word);
	return word == slot_word(p, SLOT_FULL, 0) || atomic_load(&q->shared->any_returned);
}

static int
get_again(struct queue *q, struct queue_try *t)
{
	return try_get(q, t->out);
}

static int
get_later(struct queue *q, struct target *target, uint64_t timeout_ns)
{
	struct queue_try t = { .attempt = get_again,
			       .list = &q->shared->for_messages,
			       .more = has_message,
			       .waits = &q->me->waits_for_messages,
			       .out = target };
	return queue_wait(q, &t, timeout_ns);
}

int
queue_get(struct queue *q, void *message, uint32_t max, uint32_t *ret_length, uint64_t timeout_ns)
{
	int r = queue_enter(q);

	if (r < 0)
		return r;
	struct target t = { .message = message, .max = max, .ret_length = ret_length };
	r = try_get(q, &t);
	return r == -EAGAIN ? get_later(q, &t, timeout_ns) : r;
}

/* ---- close ---- */

int
queue_close(struct queue *q)
{
	int r = queue_enter(q);

	if (r < 0)
		return r;
	atomic_store(&q->shared->closed, 1);
	queue_wake_all(q, &q->shared->for_room);
	queue_wake_all(q, &q->shared->for_messages);
	return 0;
}

bool
queue_is_closed(const struct queue *q)
{
	return atomic_load(&q->shared->closed) != 0;
}

/* ---- tasks ---- */

int
queue_task_done(struct queue *q)
{
	int r = queue_enter(q);

	if (r < 0)
		return r;
	struct queue_place *me = q->me;
	if (count_read(&me->done) + count_read(&me->lost) >= count_read(&me->gets))
		return -EINVAL;
	atomic_store(&me->done, count_read(&me->done) + 1);
	queue_wake(q, &q->shared->for_done);
	return 0;
}

/* `done`, `lost` and `skipped` only grow, and count positions that were claimed before.  The tail,
 * read after them and taken as far as slots are claimed (it may lag), makes the rest look larger,
 * never smaller, so zero is true. */
static uint64_t
unfinished(const struct queue *q, uint64_t *ret_lost)
{
	const struct queue_shared *s = q->shared;
	uint64_t done = atomic_load(&s->skipped), lost = 0;

	for (uint32_t i = 0; i < q->members_max; i++) {
		done += atomic_load(&s->places[i].done);
		lost += atomic_load(&s->places[i].lost);
	}
	if (ret_lost != NULL)
		*ret_lost = lost;
	return queue_tail(q) - done - lost;
}

static int
try_join(struct queue *q, struct queue_try *t)
{
	uint64_t lost;

	q->blocked_slot = NULL;
	if ((int64_t)unfinished(q, &lost) > 0)
		return -EAGAIN;
	if (t->out != NULL)
		*(uint64_t *)t->out = lost;
	return 0;
}

static bool
is_joined(const struct queue *q)
{
	return (int64_t)unfinished(q, NULL) <= 0;
}

int
queue_join(struct queue *q, uint64_t timeout_ns, uint64_t *ret_lost)
{
	int r = queue_enter(q);

	if (r < 0)
		return r;
	struct queue_try t = { .attempt = try_join,
			       .list = &q->shared->for_done,
			       .more = is_joined,
			       .out = ret_lost };
	r = try_join(q, &t);
	return r == -EAGAIN ? queue_wait(q, &t, timeout_ns) : r;
}
