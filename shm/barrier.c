/*
 * barrier.c - see barrier.h
 *
 * The word: round << 33 | last round that ended whole << 2 | state.  A party that waits in round
 * r is through when r has ended whole: no later round can, since each needs that party to come.
 * Both numbers have 31 bits and are only compared for equality.
 */
#include "shm/barrier.h"

#include <errno.h>
#include <string.h>

#include "shm/owner.h"

#define BARRIER_MAGIC 0x72726162u /* "barr" */
#define ROUND_MASK    UINT64_C(0x7fffffff)

enum state { WHOLE, BROKEN_BY_DEATH, BROKEN };

static uint64_t
word_of(uint64_t round, uint64_t ended, enum state state)
{
	return (round & ROUND_MASK) << 33 | (ended & ROUND_MASK) << 2 | state;
}

static uint64_t
round_of(uint64_t word)
{
	return word >> 33;
}

static uint64_t
ended_of(uint64_t word)
{
	return word >> 2 & ROUND_MASK;
}

static int
error_of(uint64_t word)
{
	static const int errors[] = { 0, -EOWNERDEAD, -ECANCELED, -ECANCELED };
	return errors[word & 3];
}

size_t
barrier_bytes(uint32_t parties)
{
	return sizeof(struct barrier) + parties * sizeof(struct barrier_seat);
}

int
barrier_init(struct barrier *b, uint32_t parties)
{
	if (parties == 0 || parties > BARRIER_MAX)
		return -EINVAL;
	memset(b, 0, barrier_bytes(parties));
	b->parties = parties;
	b->word = word_of(1, 0, WHOLE);
	b->magic = BARRIER_MAGIC;
	return 0;
}

int
barrier_attach(const struct barrier *b, size_t bytes)
{
	if (bytes < sizeof(*b) || b->magic != BARRIER_MAGIC || b->parties == 0 ||
	    b->parties > BARRIER_MAX || bytes < barrier_bytes(b->parties))
		return -EINVAL;
	return 0;
}

/* ---- what all agree on ---- */

/* Move the word on from `word`; false when another did. */
static bool
move(struct barrier *b, uint64_t word, uint64_t next)
{
	if (!atomic_compare_exchange_strong(&b->word, &word, next))
		return false;
	sleepers_wake(&b->sleepers, INT_MAX);
	return true;
}

static void
break_round(struct barrier *b, uint64_t round, enum state state)
{
	uint64_t word = atomic_load(&b->word);

	if (round_of(word) != round || error_of(word) != 0)
		return;
	if (move(b, word, word_of(round, ended_of(word), state)) && state == BROKEN_BY_DEATH)
		atomic_fetch_add(&b->deaths, 1);
}

static bool
somebody_died(const struct barrier *b)
{
	uint64_t lives = owner_self();

	for (uint32_t i = 0; i < b->parties; i++) {
		uint64_t party = atomic_load(&b->seats[i].party);
		if (party == OWNER_NOBODY || party == lives)
			continue;
		if (!owner_alive(party) && atomic_load(&b->seats[i].party) == party)
			return true;
		lives = party;
	}
	return false;
}

/* ---- seats ---- */

int
barrier_join(struct barrier *b, uint32_t *ret_seat)
{
	uint64_t self = owner_self();

	for (uint32_t i = 0; i < b->parties; i++) {
		uint64_t nobody = OWNER_NOBODY;
		if (atomic_compare_exchange_strong(&b->seats[i].party, &nobody, self)) {
			*ret_seat = i;
			return 0;
		}
	}
	/* Nobody takes a dead one's seat before the others know of the death. */
	if (!somebody_died(b))
		return -EUSERS;
	break_round(b, round_of(atomic_load(&b->word)), BROKEN_BY_DEATH);
	return -EOWNERDEAD;
}

int
barrier_leave(struct barrier *b, uint32_t seat)
{
	uint64_t self = owner_self();

	if (seat >= b->parties)
		return -EPERM;
	/* No mark of ours may count for the next in this seat: it has not come. */
	if (atomic_load(&b->seats[seat].party) == self)
		atomic_store(&b->seats[seat].arrived, 0);
	return atomic_compare_exchange_strong(&b->seats[seat].party, &self, OWNER_NOBODY) ? 0
											  : -EPERM;
}

/* ---- rounds ---- */

static bool
all_came(const struct barrier *b, uint64_t round)
{
	for (uint32_t i = 0; i < b->parties; i++)
		if (atomic_load(&b->seats[i].arrived) != round + 1)
			return false;
	return true;
}

/* One look of a party in `round`: 0 when all came, an error when it is over otherwise, or -EAGAIN.
 * Ends the round if it finds all here. */
static int
look(struct barrier *b, uint64_t round)
{
	uint64_t word = atomic_load(&b->word);

	if (round_of(word) == round && error_of(word) == 0) {
		if (!all_came(b, round))
			return -EAGAIN;
		if (move(b, word, word_of(round + 1, round, WHOLE)))
			atomic_fetch_add(&b->rounds, 1);
		word = atomic_load(&b->word); /* ours, or of whom was first */
	}
	if (ended_of(word) == round)
		return 0;
	return round_of(word) == round ? error_of(word) : -ECANCELED;
}

static int
wait_asleep(struct barrier *b, uint64_t round, struct patience *patience)
{
	for (;;) {
		uint32_t turn = sleepers_arm(&b->sleepers);
		int r = look(b, round);
		if (r != -EAGAIN)
			return r;
		r = sleepers_wait(&b->sleepers, turn, patience);
		if (r == 1 && somebody_died(b))
			break_round(b, round, BROKEN_BY_DEATH);
		if (r != -ETIMEDOUT)
			continue;
		r = look(b, round);
		if (r != -EAGAIN)
			return r;
		break_round(b, round, BROKEN);
		r = look(b, round); /* they may all have come just now */
		return r == 0 ? 0 : -ETIMEDOUT;
	}
}

int
barrier_wait(struct barrier *b, uint32_t seat, int timeout_ms)
{
	struct patience patience = patience_begin(timeout_ms);
	uint64_t word = atomic_load(&b->word), round = round_of(word);

	if (seat >= b->parties || atomic_load(&b->seats[seat].party) != owner_self())
		return -EPERM;
	if (error_of(word) != 0)
		return error_of(word);
	atomic_store(&b->seats[seat].arrived, round + 1);
	do {
		int r = look(b, round);
		if (r != -EAGAIN)
			return r;
	} while (patience_looks(&patience));
	return wait_asleep(b, round, &patience);
}

void
barrier_abort(struct barrier *b)
{
	break_round(b, round_of(atomic_load(&b->word)), BROKEN);
}

/* Seats of the dead are free again. */
static void
free_dead_seats(struct barrier *b)
{
	for (uint32_t i = 0; i < b->parties; i++) {
		uint64_t party = atomic_load(&b->seats[i].party);
		if (party == OWNER_NOBODY || owner_alive(party))
			continue;
		/* Its old mark stays, and counts for no round to come. */
		atomic_compare_exchange_strong(&b->seats[i].party, &party, OWNER_NOBODY);
	}
}

static void
begin_afresh(struct barrier *b, bool only_broken)
{
	uint64_t word;

	free_dead_seats(b);
	do {
		word = atomic_load(&b->word);
		if (only_broken && error_of(word) == 0)
			return;
	} while (!move(b, word, word_of(round_of(word) + 1, ended_of(word), WHOLE)));
}

void
barrier_reset(struct barrier *b)
{
	begin_afresh(b, false);
}

void
barrier_mend(struct barrier *b)
{
	begin_afresh(b, true);
}

int
barrier_state(const struct barrier *b)
{
	return error_of(atomic_load(&b->word));
}

uint32_t
barrier_waiting(const struct barrier *b)
{
	uint64_t round = round_of(atomic_load(&b->word));
	uint32_t count = 0;

	for (uint32_t i = 0; i < b->parties; i++)
		count += atomic_load(&b->seats[i].arrived) == round + 1;
	return count;
}
