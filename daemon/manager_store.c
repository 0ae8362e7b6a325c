/* manager_store.c - see manager_store.h */
#include "daemon/manager_store.h"

#include <string.h>

#define MAKER_WAIT_NS 1000000u    /* a client may hold the maker word: it is not waited for long */
#define STORE_MAGIC   0x31535950u /* "PYS1" */

void
store_init(struct manager_store *s)
{
	s->magic = STORE_MAGIC;
}

/* ---- sessions ---- */

int
store_find(struct manager_store *s, uint64_t token, unsigned *ret)
{
	for (unsigned i = 0; i < s->sessions_used; i++) {
		if (atomic_load_explicit(&s->sessions[i].token, memory_order_relaxed) != token)
			continue;
		*ret = i;
		return 0;
	}
	return -ENOENT;
}

int
store_new_session(struct manager_store *s, uint64_t token, uint64_t owner, uint32_t uid,
		  uint64_t last, unsigned *ret)
{
	unsigned i = 0;

	if (store_find(s, 0, &i) < 0) {
		if (s->sessions_used == SESSIONS_MAX)
			return -ENOSPC;
		i = s->sessions_used++;
	}
	struct stored_session *session = &s->sessions[i];
	session->owner = owner;
	session->uid = uid;
	memset(session->results, 0, sizeof(session->results));
	atomic_store(&session->last, last);
	atomic_store(&session->token, token);
	*ret = i;
	return 0;
}

void
store_end_session(struct manager_store *s, unsigned index)
{
	atomic_store(&s->sessions[index].token, 0);
}

int
store_seen(const struct stored_session *s, uint64_t sequence, struct stored_result *ret)
{
	uint64_t last = atomic_load_explicit(&s->last, memory_order_relaxed);

	if (sequence == last + 1)
		return 1;
	if (sequence > last)
		return -EAGAIN;
	*ret = s->results[sequence % MANAGER_WINDOW];
	if (sequence == 0 || last - sequence >= MANAGER_WINDOW ||
	    ret->sequence != (uint32_t)sequence)
		*ret = (struct stored_result){ .status = MANAGER_BAD_REQUEST };
	return 0;
}

void
store_result(struct stored_session *s, uint64_t sequence, enum manager_status status, int64_t value)
{
	struct stored_result *r = &s->results[sequence % MANAGER_WINDOW];
	uint64_t last = atomic_load_explicit(&s->last, memory_order_relaxed);

	if (sequence + MANAGER_WINDOW <= last) /* its place is a later one's */
		return;
	*r = (struct stored_result){ .value = value,
				     .sequence = (uint32_t)sequence,
				     .status = status };
	if (sequence == last + 1)
		atomic_store_explicit(&s->last, sequence, memory_order_release);
}

/* ---- what is done in two places ---- */

/* Say what is to be done, before any of it is. */
static struct stored_intent *
intend(struct manager_store *s, const struct stored_session *session, const struct manager_ask *ask,
       uint32_t slot, uint32_t generation)
{
	struct stored_intent *intent = &s->intent;

	intent->op = ask->op;
	intent->token = atomic_load_explicit(&session->token, memory_order_relaxed);
	intent->sequence = ask->sequence;
	intent->slot = slot;
	intent->generation = generation;
	intent->before = intent->after = 0;
	return intent;
}

static void
under_way(struct stored_intent *intent, uint32_t yes)
{
	atomic_store_explicit(&intent->under_way, yes, memory_order_release);
}

static int64_t
wanted(const struct manager_ask *ask, int64_t before)
{
	if (ask->op == MANAGER_ADD)
		return (int64_t)((uint64_t)before + (uint64_t)ask->value);
	return ask->value;
}

enum manager_status
store_change(struct manager_store *s, struct counter_table *t, struct stored_session *session,
	     const struct manager_ask *ask, const struct counter *c, int64_t *ret_value)
{
	struct stored_intent *intent =
		intend(s, session, ask, (uint32_t)(c->slot - t->slot), c->generation);
	int64_t before = atomic_load_explicit(&c->slot->value, memory_order_relaxed), after;

	do {
		if (ask->op == MANAGER_CAS && before != ask->expected) {
			under_way(intent, 0);
			*ret_value = before;
			store_result(session, ask->sequence, MANAGER_DIFFERS, before);
			return MANAGER_DIFFERS;
		}
		after = wanted(ask, before);
		under_way(intent, 0); /* these two are read together */
		intent->before = before;
		intent->after = after;
		under_way(intent, 1);
	} while (!atomic_compare_exchange_weak(&c->slot->value, &before, after));
	store_result(session, ask->sequence, MANAGER_OK, after);
	under_way(intent, 0);
	*ret_value = after;
	return MANAGER_OK;
}

int
store_remove(struct manager_store *s, struct counter_table *t, struct stored_session *session,
	     const struct manager_ask *ask, const char *name)
{
	struct counter c;
	struct stored_intent *intent;
	int r = counter_find(t, name, &c);

	if (r < 0)
		return r;
	intent = intend(s, session, ask, (uint32_t)(c.slot - t->slot), c.generation);
	under_way(intent, 1);
	r = counter_remove(t, name, MAKER_WAIT_NS);
	if (r == 0)
		store_result(session, ask->sequence, MANAGER_OK, 0);
	under_way(intent, 0);
	return r;
}

void
store_unlock(struct manager_store *s, struct stored_session *session, const struct manager_ask *ask,
	     struct stored_lock *lock)
{
	struct stored_intent *intent = intend(s, session, ask, (uint32_t)(lock - s->locks), 0);

	intent->before = (int64_t)atomic_load(&lock->fence);
	under_way(intent, 1);
	store_result(session, ask->sequence, MANAGER_OK, 0);
	atomic_store(&lock->fence, 0);
	under_way(intent, 0);
}

/* ---- a new manager ---- */

/* What became of a change, from the counter as it is now. */
static void
settle_change(struct stored_session *session, const struct stored_intent *intent,
	      struct counter_slot *slot)
{
	int64_t now = atomic_load(&slot->value);
	bool removed = atomic_load(&slot->generation) != intent->generation;

	if (!removed && now == intent->before)
		return; /* not done: it will be sent again */
	if (removed || now == intent->after || intent->op == MANAGER_ADD)
		store_result(session, intent->sequence, MANAGER_OK, intent->after);
	else /* set or cas, and somebody else has changed it before or after */
		store_result(session, intent->sequence, MANAGER_UNSURE, now);
}

static void
settle(struct manager_store *s, struct counter_table *t, struct stored_session *session)
{
	const struct stored_intent *intent = &s->intent;

	if (intent->op != MANAGER_REMOVE)
		settle_change(session, intent, &t->slot[intent->slot]);
	else if (atomic_load(&t->slot[intent->slot].generation) != intent->generation)
		store_result(session, intent->sequence, MANAGER_OK, 0);
}

static void
settle_unlock(struct manager_store *s, struct stored_session *session, bool is_open)
{
	const struct stored_intent *intent = &s->intent;

	if (is_open)
		store_result(session, intent->sequence, MANAGER_OK, 0);
	if (intent->slot < LOCKS_MAX &&
	    (int64_t)atomic_load(&s->locks[intent->slot].fence) == intent->before)
		atomic_store(&s->locks[intent->slot].fence, 0);
}

bool
store_recover(struct manager_store *s, struct counter_table *t)
{
	struct stored_intent *intent = &s->intent;
	struct stored_result seen;
	unsigned i;

	s->managers++;
	if (atomic_load(&intent->under_way) == 0)
		return false;
	if (store_find(s, intent->token, &i) == 0) {
		bool is_open = store_seen(&s->sessions[i], intent->sequence, &seen) == 1;
		if (intent->op == MANAGER_UNLOCK)
			settle_unlock(s, &s->sessions[i], is_open);
		else if (is_open && intent->slot < COUNTERS_MAX)
			settle(s, t, &s->sessions[i]);
	}
	under_way(intent, 0);
	return true;
}
