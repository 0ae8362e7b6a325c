/*
 * queue_member.c - joining a queue, leaving it, and freeing what the dead held.
 *
 * Everything done to a dead member is done under the recovery lock, whose word is its holder's
 * owner word: it is taken from a dead holder by compare-and-swap and never from a living one.
 * The member's place is freed last, so while anybody works on it no other process can have it,
 * and each step can be done again by the next holder: the slot by the journal, the rest because
 * it stores the same values once more.
 */
#include <errno.h>
#include <pthread.h>

#include "ipc/clock.h"
#include "ipc/queue_shared.h"
#include "shm/futex.h"

unsigned queue_forks = 1;

static void
note_fork(void)
{
	queue_forks++;
}

static void
watch_forks(void)
{
	pthread_atfork(NULL, NULL, note_fork);
}

/* ---- the recovery lock ---- */

/* The slot as the journal says, then the counts.  Doing it twice is the same as once. */
static void
apply_journal(struct queue *q)
{
	struct queue_shared *s = q->shared;
	struct queue_journal *j = &s->journal;
	uint64_t word = atomic_load(&j->word), after;
	uint64_t position = atomic_load(&j->position);

	if (word == 0)
		return;
	if (word_state(word) == SLOT_WRITING) {
		after = slot_word(position + q->capacity, SLOT_EMPTY, 0);
	} else {
		after = slot_word(position, SLOT_RETURNED, 0);
		atomic_store(&s->any_returned, 1);
	}
	atomic_compare_exchange_strong(&slot_at(q, position)->word, &word, after);
	atomic_store(&s->skipped, atomic_load(&j->skipped));
	atomic_store(&s->returned, atomic_load(&j->returned));
	atomic_store(&j->word, 0);
}

bool
queue_lock(struct queue *q)
{
	_Atomic uint64_t *lock = &q->shared->recoverer;
	uint64_t holder = atomic_load(lock);

	if (holder == q->self || (holder != OWNER_NOBODY && owner_alive(holder)))
		return false;
	if (!atomic_compare_exchange_strong(lock, &holder, q->self))
		return false;
	apply_journal(q);
	return true;
}

void
queue_unlock(struct queue *q)
{
	atomic_store(&q->shared->recoverer, OWNER_NOBODY);
}

/* ---- the dead ---- */

/* Free the slot that the dead member had claimed, if it had: its last one only can be. */
static void
free_slot(struct queue *q, uint32_t place)
{
	struct queue_shared *s = q->shared;
	struct queue_place *p = &s->places[place];
	uint64_t position = atomic_load(&p->doing);
	uint64_t word = atomic_load(&slot_at(q, position)->word);
	bool was_get = word_state(word) == SLOT_READING;

	if (!word_is_claimed(word) || word_place(word) != place || word_ahead(word, position) != 0)
		return;
	if (was_get)
		atomic_store(&p->gets, atomic_load(&p->gets_before));
	atomic_store(&s->journal.position, position);
	atomic_store(&s->journal.skipped, atomic_load(&s->skipped) + !was_get);
	atomic_store(&s->journal.returned, atomic_load(&s->returned) + was_get);
	atomic_store(&s->journal.word, word);
	apply_journal(q);
}

static void
clear_bit(struct queue_list *list, uint32_t place)
{
	atomic_fetch_and(&list->bits[place / 64], ~(UINT64_C(1) << place % 64));
}

/* The place is dead, or its member leaves: what was got there and is not done never will be. */
static void
free_place(struct queue *q, uint32_t place)
{
	struct queue_shared *s = q->shared;
	struct queue_place *p = &s->places[place];

	clear_bit(&s->for_messages, place);
	clear_bit(&s->for_room, place);
	clear_bit(&s->for_done, place);
	atomic_store(&p->lost, atomic_load(&p->gets) - atomic_load(&p->done));
	atomic_store(&p->owner, OWNER_NOBODY);
}

/* Free what the dead `owner` held at `place`.  False: somebody else is at it, or has done it. */
static bool
bury(struct queue *q, uint32_t place, uint64_t owner)
{
	struct queue_shared *s = q->shared;

	if (!queue_lock(q))
		return false;
	bool buried = atomic_load(&s->places[place].owner) == owner;
	if (buried) {
		free_slot(q, place);
		free_place(q, place);
	}
	queue_unlock(q);
	queue_wake(q, &s->for_messages);
	queue_wake(q, &s->for_room);
	queue_wake_all(q, &s->for_done);
	return buried;
}

bool
queue_recover_blocked(struct queue *q)
{
	struct queue_slot *slot = q->blocked_slot;

	if (slot == NULL || atomic_load(&slot->word) != q->blocked_word)
		return false;
	uint32_t place = word_place(q->blocked_word);
	if (place >= q->members_max)
		return false;
	uint64_t owner = atomic_load(&q->shared->places[place].owner);
	if (owner == OWNER_NOBODY || owner == q->self || owner_alive(owner))
		return false;
	return bury(q, place, owner);
}

/* How many dead were found; `*ret_buried` of them are buried now. */
static int
check_all(struct queue *q, int *ret_buried)
{
	int dead = 0, buried = 0;

	atomic_store(&q->shared->checked_ns, clock_now());
	for (uint32_t i = 0; i < q->members_max; i++) {
		uint64_t owner = atomic_load(&q->shared->places[i].owner);
		if (owner == OWNER_NOBODY || owner == q->self || owner_alive(owner))
			continue;
		dead++;
		buried += bury(q, i, owner);
	}
	*ret_buried = buried;
	return dead;
}

bool
queue_check_members(struct queue *q)
{
	uint64_t last = atomic_load(&q->shared->checked_ns);
	int buried;

	return clock_now() - last >= FUTEX_SLICE_NS && check_all(q, &buried) > 0;
}

int
queue_recover(struct queue *q)
{
	int buried, r = queue_enter(q);

	if (r < 0)
		return r;
	int dead = check_all(q, &buried);
	if (queue_lock(q)) /* what a holder of the lock died in is finished now */
		queue_unlock(q);
	return buried < dead ? -EAGAIN : buried;
}

/* ---- joining and leaving ---- */

static void
begin_membership(struct queue *q, uint32_t place)
{
	struct queue_place *p = &q->shared->places[place];

	q->place = place;
	q->me = p;
	q->forks = queue_forks;
	q->rotor = place + 1;
	q->ended = false;
	q->blocked_slot = NULL;
	q->first_seen = atomic_load(&q->shared->first);
	atomic_store(&p->puts_at_join, atomic_load(&p->puts));
	atomic_store(&p->gets_at_join, atomic_load(&p->gets));
	atomic_store(&p->done_at_join, atomic_load(&p->done));
	atomic_store(&p->joined_ns, clock_wall());
}

static bool
find_place(struct queue *q)
{
	for (uint32_t i = 0; i < q->members_max; i++) {
		uint64_t nobody = OWNER_NOBODY;
		if (atomic_load(&q->shared->places[i].owner) == OWNER_NOBODY &&
		    atomic_compare_exchange_strong(&q->shared->places[i].owner, &nobody, q->self)) {
			begin_membership(q, i);
			return true;
		}
	}
	return false;
}

int
queue_join_members(struct queue *q)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int buried;

	pthread_once(&once, watch_forks);
	q->self = owner_self();
	if (q->self == OWNER_NOBODY)
		return -ESRCH; /* no /proc */
	/* A newcomer looks for the dead: a program that calls once and ends must not miss what
	 * only a dead one holds. */
	(void)check_all(q, &buried);
	return find_place(q) ? 0 : -EUSERS;
}

void
queue_leave(struct queue *q)
{
	if (q->forks == queue_forks)
		free_place(q, q->place);
	queue_wake_all(q, &q->shared->for_done);
}
