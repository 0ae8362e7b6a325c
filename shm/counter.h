/*
 * counter.h - named counters that processes share: a table of 4,096 int64_t in one segment.
 *
 * A counter is found or made once by name; from then on its handle adds with one atomic
 * instruction.  Adding wraps at the ends of int64_t.
 *
 * Only making and removing a counter change the table, and whoever does either holds the
 * table's maker word (shm/owner.h).  Its holder may be killed at any line: who wants the word
 * next sees that its owner is dead, takes it over and clears up.  A slot in the middle of being
 * made or removed carries its maker's owner word instead of COUNTER_LIVE, and becomes free again;
 * one whose removal had only begun stays.
 *
 * Everybody who has mapped the table may write to all of it, so its values and names are as good
 * as those processes are.  What is read from it never leads outside of it.
 *
 * A removed counter's handles answer -ESTALE.  A slot is used again as late as possible (the
 * table goes round), since an add that was between its look at the generation and its
 * instruction lands there.
 *
 * Functions return 0 or a negative errno and leave *ret alone on failure; nothing here logs.
 */
#ifndef PYPREP_SHM_COUNTER_H
#define PYPREP_SHM_COUNTER_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COUNTER_NAME_MAX   63u /* bytes, without the end */
#define COUNTERS_MAX       4096u
#define COUNTER_NAME_WORDS ((COUNTER_NAME_MAX + 1) / 8)

enum { COUNTER_FREE = 0, COUNTER_LIVE = 1 }; /* else: the owner word of its maker */

struct counter_slot {
	_Alignas(64) _Atomic uint64_t name[COUNTER_NAME_WORDS]; /* maker; bytes, zeroes behind */
	_Alignas(64) _Atomic int64_t value;                     /* everybody */
	_Atomic uint64_t state;                                 /* maker */
	_Atomic uint32_t generation; /* maker; one more with each removal */
};

struct counter_table {
	uint32_t magic, version;
	_Atomic uint32_t used;               /* slots that were ever used: 0 .. used-1 */
	uint32_t cursor;                     /* maker: where the next free slot is looked for */
	_Alignas(64) _Atomic uint64_t maker; /* who may change the table now; 0: nobody */
	_Alignas(64) _Atomic uint32_t hash[COUNTERS_MAX]; /* of the name; 0: not to be found */
	struct counter_slot slot[COUNTERS_MAX];
};

struct counter { /* a handle; a copy is as good */
	struct counter_slot *slot;
	uint32_t generation;
};

/* Is `name` one: 1 to 63 letters, digits and . _ - : / , not beginning with a dash? */
bool counter_name_is_valid(const char *name);

/* Make `base`, sizeof(struct counter_table) zeroes, a table without counters. */
void counter_table_init(struct counter_table *t);

/* -EPROTO: no table, or another version's. */
int counter_table_check(const struct counter_table *t);

/* -ENOENT: there is none. */
int counter_find(struct counter_table *t, const char *name, struct counter *ret);

/* The counter of that name, made with value 0 when there is none.  -EINVAL: not a name.  -ENOSPC:
 * COUNTERS_MAX are there.  -EBUSY: another process has been changing the table for `wait_ns`. */
int counter_open(struct counter_table *t, const char *name, uint64_t wait_ns, struct counter *ret);

/* -ENOENT, -EBUSY. */
int counter_remove(struct counter_table *t, const char *name, uint64_t wait_ns);

/* The counter of slot `index`, 0 .. COUNTERS_MAX-1: name and value.  -ENOENT: none lives there. */
int counter_at(struct counter_table *t, uint32_t index, char ret_name[COUNTER_NAME_MAX + 1],
	       int64_t *ret_value);

/* How many there are.  Looks at every slot that was ever used. */
uint32_t counter_count(struct counter_table *t);

static inline bool
counter_is_stale(const struct counter *c)
{
	return atomic_load_explicit(&c->slot->generation, memory_order_relaxed) != c->generation;
}

/* *ret_value (may be NULL): what it was after the add.  -ESTALE: removed meanwhile. */
static inline int
counter_add(const struct counter *c, int64_t delta, int64_t *ret_value)
{
	if (counter_is_stale(c))
		return -ESTALE;
	int64_t before = atomic_fetch_add_explicit(&c->slot->value, delta, memory_order_acq_rel);
	if (ret_value != NULL)
		*ret_value = (int64_t)((uint64_t)before + (uint64_t)delta);
	return 0;
}

static inline int
counter_get(const struct counter *c, int64_t *ret_value)
{
	if (counter_is_stale(c))
		return -ESTALE;
	*ret_value = atomic_load_explicit(&c->slot->value, memory_order_acquire);
	return 0;
}

static inline int
counter_set(const struct counter *c, int64_t value)
{
	if (counter_is_stale(c))
		return -ESTALE;
	atomic_store_explicit(&c->slot->value, value, memory_order_release);
	return 0;
}

/* Make it `value` if it is `expected`.  -EAGAIN: it is *ret_value, and stays so. */
static inline int
counter_cas(const struct counter *c, int64_t expected, int64_t value, int64_t *ret_value)
{
	if (counter_is_stale(c))
		return -ESTALE;
	bool done = atomic_compare_exchange_strong_explicit(
		&c->slot->value, &expected, value, memory_order_acq_rel, memory_order_acquire);
	*ret_value = done ? value : expected;
	return done ? 0 : -EAGAIN;
}

#endif
