/* counter.c - see counter.h */
#include "shm/counter.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

#include "shm/futex.h"
#include "shm/owner.h"
#include "shm/yield.h"

#define TABLE_MAGIC   0x31435950u /* "PYC1" */
#define TABLE_VERSION 1u
#define LOOKS         50    /* for the maker word, before sleeping */
#define NAP_NS        50000 /* between looks after that */

bool
counter_name_is_valid(const char *name)
{
	size_t length = strnlen(name, COUNTER_NAME_MAX + 1);

	if (length == 0 || length > COUNTER_NAME_MAX || name[0] == '-')
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)name[i]) && strchr("._-:/", name[i]) == NULL)
			return false;
	return true;
}

/* A name as it lies in a slot: words, since it may be read while a slot is used again. */
struct words {
	uint64_t word[COUNTER_NAME_WORDS];
};

static struct words
words_of(const char *name)
{
	struct words w = { { 0 } };

	memcpy(w.word, name, strnlen(name, sizeof(w))); /* a name too long matches no slot */
	return w;
}

static struct words
words_in(struct counter_slot *s)
{
	struct words w;

	for (unsigned i = 0; i < COUNTER_NAME_WORDS; i++)
		w.word[i] = atomic_load_explicit(&s->name[i], memory_order_relaxed);
	return w;
}

/* Mixes each word by a multiplication and a shift.  Never 0, which is "nothing here". */
static uint32_t
hash_of(const struct words *w)
{
	uint64_t h = 0;

	for (unsigned i = 0; i < COUNTER_NAME_WORDS; i++) {
		h = (h ^ w->word[i]) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	uint32_t folded = (uint32_t)(h ^ h >> 32);
	return folded != 0 ? folded : 1;
}

void
counter_table_init(struct counter_table *t)
{
	t->version = TABLE_VERSION;
	t->magic = TABLE_MAGIC;
}

int
counter_table_check(const struct counter_table *t)
{
	return t->magic == TABLE_MAGIC && t->version == TABLE_VERSION ? 0 : -EPROTO;
}

static uint32_t
slots_used(struct counter_table *t)
{
	uint32_t used = atomic_load_explicit(&t->used, memory_order_acquire);
	return used < COUNTERS_MAX ? used : COUNTERS_MAX;
}

/* ---- finding ---- */

/* Name and generation of a living slot, whole: 0, or -ENOENT.  A slot's generation changes before
 * its name does, so a name between two looks at one generation is that generation's. */
static int
look(struct counter_slot *s, struct words *ret_name, uint32_t *ret_generation)
{
	uint32_t generation = atomic_load_explicit(&s->generation, memory_order_acquire);

	if (atomic_load_explicit(&s->state, memory_order_acquire) != COUNTER_LIVE)
		return -ENOENT;
	*ret_name = words_in(s);
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&s->generation, memory_order_relaxed) != generation)
		return -ENOENT;
	*ret_generation = generation;
	return 0;
}

static int
find(struct counter_table *t, const struct words *name, struct counter *ret)
{
	uint32_t h = hash_of(name), used = slots_used(t), generation;
	struct words found;

	for (uint32_t i = 0; i < used; i++) {
		if (atomic_load_explicit(&t->hash[i], memory_order_relaxed) != h)
			continue;
		struct counter_slot *s = &t->slot[i];
		if (look(s, &found, &generation) < 0 || memcmp(&found, name, sizeof(found)) != 0)
			continue;
		*ret = (struct counter){ .slot = s, .generation = generation };
		return 0;
	}
	return -ENOENT;
}

int
counter_find(struct counter_table *t, const char *name, struct counter *ret)
{
	struct words w = words_of(name);

	return find(t, &w, ret);
}

int
counter_at(struct counter_table *t, uint32_t index, char ret_name[COUNTER_NAME_MAX + 1],
	   int64_t *ret_value)
{
	struct words w;
	uint32_t generation;

	if (index >= slots_used(t) || look(&t->slot[index], &w, &generation) < 0)
		return -ENOENT;
	memcpy(ret_name, w.word, COUNTER_NAME_MAX);
	ret_name[COUNTER_NAME_MAX] = '\0';
	*ret_value = atomic_load_explicit(&t->slot[index].value, memory_order_acquire);
	return 0;
}

uint32_t
counter_count(struct counter_table *t)
{
	uint32_t used = slots_used(t), n = 0;

	for (uint32_t i = 0; i < used; i++)
		n += atomic_load_explicit(&t->slot[i].state, memory_order_relaxed) == COUNTER_LIVE;
	return n;
}

/* ---- changing the table ---- */

/* After a maker's death: what it left half done is undone. */
static void
clear_up(struct counter_table *t)
{
	uint32_t used = slots_used(t);

	for (uint32_t i = 0; i < used; i++) {
		struct counter_slot *s = &t->slot[i];
		uint64_t state = atomic_load(&s->state);
		if (state == COUNTER_LIVE) {
			/* Its removal had begun, or its making had not quite ended. */
			struct words w = words_in(s);
			atomic_store(&t->hash[i], hash_of(&w));
		} else if (state != COUNTER_FREE) {
			atomic_store(&t->hash[i], 0);
			atomic_fetch_add(&s->generation, 1);
			atomic_store(&s->state, COUNTER_FREE);
		}
	}
}

/* Take the maker word, from a dead owner too. */
static int
maker_take(struct counter_table *t, uint64_t wait_ns)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };
	uint64_t self = owner_self(), start_ns = 0;

	for (unsigned looks = 0;; looks++) {
		uint64_t holder = OWNER_NOBODY;
		if (atomic_compare_exchange_strong(&t->maker, &holder, self))
			return 0;
		if (looks < LOOKS && yield_cheaply())
			continue;
		if (!owner_alive(holder)) {
			if (!atomic_compare_exchange_strong(&t->maker, &holder, self))
				continue;
			clear_up(t);
			return 0;
		}
		if (start_ns == 0)
			start_ns = futex_now_ns();
		if (futex_now_ns() - start_ns >= wait_ns)
			return -EBUSY;
		nanosleep(&nap, NULL);
	}
}

static void
maker_give(struct counter_table *t)
{
	atomic_store(&t->maker, OWNER_NOBODY);
}

/* A free slot: a fresh one while there are, then the one that was free the longest or nearly. */
static int
slot_take(struct counter_table *t, uint32_t *ret)
{
	uint32_t used = slots_used(t);

	if (used < COUNTERS_MAX) {
		atomic_store(&t->used, used + 1);
		*ret = used;
		return 0;
	}
	for (uint32_t n = 0; n < COUNTERS_MAX; n++) {
		uint32_t i = (t->cursor + n) % COUNTERS_MAX;
		if (atomic_load(&t->slot[i].state) != COUNTER_FREE)
			continue;
		t->cursor = i + 1;
		*ret = i;
		return 0;
	}
	return -ENOSPC;
}

/* The maker word is ours.  Killed at any line, the slot is free or a whole counter. */
static int
slot_make(struct counter_table *t, const struct words *name, struct counter *ret)
{
	uint32_t i = 0;
	int r = slot_take(t, &i);

	if (r < 0)
		return r;
	struct counter_slot *s = &t->slot[i];
	atomic_store(&s->state, owner_self());
	for (unsigned n = 0; n < COUNTER_NAME_WORDS; n++)
		atomic_store_explicit(&s->name[n], name->word[n], memory_order_relaxed);
	atomic_store(&s->value, 0);
	*ret = (struct counter){ .slot = s, .generation = atomic_load(&s->generation) };
	atomic_store(&s->state, COUNTER_LIVE);
	atomic_store(&t->hash[i], hash_of(name));
	return 0;
}

int
counter_open(struct counter_table *t, const char *name, uint64_t wait_ns, struct counter *ret)
{
	struct words w = words_of(name);
	int r = find(t, &w, ret);
	if (r == 0)
		return 0;
	if (!counter_name_is_valid(name))
		return -EINVAL;
	r = maker_take(t, wait_ns);
	if (r < 0)
		return r;
	r = find(t, &w, ret); /* made meanwhile, or brought back by clear_up() */
	if (r < 0)
		r = slot_make(t, &w, ret);
	maker_give(t);
	return r;
}

int
counter_remove(struct counter_table *t, const char *name, uint64_t wait_ns)
{
	struct counter c;
	int r = maker_take(t, wait_ns);

	if (r < 0)
		return r;
	r = counter_find(t, name, &c);
	if (r == 0) {
		/* Before the state changes the removal has not happened; after it, it has. */
		atomic_store(&t->hash[c.slot - t->slot], 0);
		atomic_store(&c.slot->state, owner_self());
		atomic_fetch_add(&c.slot->generation, 1);
		atomic_store(&c.slot->state, COUNTER_FREE);
	}
	maker_give(t);
	return r;
}
