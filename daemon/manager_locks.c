/*
 * manager_locks.c - named locks: one holder with a lease and a fencing number, waiters in the
 * order they came.
 *
 * Holders are in the store and outlive this process; waiters are not, and ask again.  A lock is
 * free when its holder says so, when its lease ends, and at once when its holder's process dies.
 * The fencing number is one more with each grant of any lock: who writes to something else under a
 * lock can show that it is not a holder of yesterday.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "daemon/manager.h"
#include "ipc/clock.h"
#include "shm/owner.h"

static struct stored_session *
stored(struct manager *m, unsigned session)
{
	return &m->store->sessions[session];
}

static bool
is_held(const struct stored_lock *lock)
{
	return atomic_load_explicit(&lock->fence, memory_order_relaxed) != 0;
}

/* The lock of that name, held by somebody, or NULL. */
static struct stored_lock *
find(struct manager *m, const char *name)
{
	for (unsigned i = 0; i < m->store->locks_used; i++) {
		struct stored_lock *lock = &m->store->locks[i];
		if (is_held(lock) && strcmp(lock->name, name) == 0)
			return lock;
	}
	return NULL;
}

static bool
holds(struct manager *m, const struct stored_lock *lock, unsigned session)
{
	return lock != NULL && lock->token == atomic_load(&stored(m, session)->token);
}

/* ---- time ---- */

static uint64_t
earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Wake when the next lease or wait ends. */
static void
set_alarm(struct manager *m)
{
	uint64_t next_ns = UINT64_MAX, now_ns = clock_now();
	struct waiter *w;

	for (unsigned i = 0; i < m->store->locks_used; i++)
		if (is_held(&m->store->locks[i]))
			next_ns = earlier(next_ns, m->store->locks[i].until_ns);
	TAILQ_FOREACH (w, &m->waiters, link)
		next_ns = earlier(next_ns, w->until_ns);
	event_del(m->alarm);
	if (next_ns == UINT64_MAX)
		return;
	uint64_t us = next_ns > now_ns ? (next_ns - now_ns) / NS_PER_US + 1 : 0;
	struct timeval tv = { .tv_sec = (time_t)(us / 1000000),
			      .tv_usec = (suseconds_t)(us % 1000000) };
	event_add(m->alarm, &tv);
}

static uint64_t
lease_of(int64_t asked)
{
	if (asked <= 0)
		return MANAGER_LEASE_DEFAULT_NS;
	if ((uint64_t)asked < MANAGER_LEASE_MIN_NS)
		return MANAGER_LEASE_MIN_NS;
	return earlier((uint64_t)asked, MANAGER_LEASE_MAX_NS);
}

static uint64_t
end_of_wait(int64_t asked)
{
	uint64_t ns =
		asked < 0 ? MANAGER_WAIT_MAX_NS : earlier((uint64_t)asked, MANAGER_WAIT_MAX_NS);

	return clock_now() + ns;
}

/* ---- grants ---- */

/* Make `session` the holder.  The fencing number makes the lock: it is stored last.  NULL: no room.
 */
static struct stored_lock *
grant(struct manager *m, unsigned session, const struct manager_ask *ask, const char *name)
{
	struct stored_lock *lock = NULL;

	for (unsigned i = 0; i < m->store->locks_used && lock == NULL; i++)
		if (!is_held(&m->store->locks[i]))
			lock = &m->store->locks[i];
	if (lock == NULL && m->store->locks_used == LOCKS_MAX)
		return NULL;
	if (lock == NULL)
		lock = &m->store->locks[m->store->locks_used++];
	lock->token = atomic_load(&stored(m, session)->token);
	lock->sequence = ask->sequence;
	lock->owner = stored(m, session)->owner;
	lock->since_ns = clock_now();
	lock->until_ns = lock->since_ns + lease_of(ask->expected);
	memset(lock->name, 0, sizeof(lock->name));
	memcpy(lock->name, name, strlen(name));
	m->store->fence++;
	atomic_store(&lock->fence, m->store->fence);
	return lock;
}

static void
forget_waiter(struct manager *m, struct waiter *w)
{
	TAILQ_REMOVE(&m->waiters, w, link);
	m->live[w->session].waiting--;
	m->waiter_count--;
	free(w);
}

static void
tell_waiter(struct manager *m, struct waiter *w, enum manager_status status, int64_t value)
{
	store_result(stored(m, w->session), w->ask.sequence, status, value);
	manager_answer_later(m, w->session, &w->ask, status, value);
	forget_waiter(m, w);
}

/* The lock of that name is free: the first who waits has it. */
static void
pass_on(struct manager *m, const char *name)
{
	struct waiter *w;

	TAILQ_FOREACH (w, &m->waiters, link)
		if (strcmp(w->name, name) == 0)
			break;
	if (w == NULL)
		return;
	struct stored_lock *lock = grant(m, w->session, &w->ask, w->name);
	if (lock == NULL)
		tell_waiter(m, w, MANAGER_NO_ROOM, 0);
	else
		tell_waiter(m, w, MANAGER_OK, (int64_t)atomic_load(&lock->fence));
}

static void
free_lock(struct manager *m, struct stored_lock *lock)
{
	char name[sizeof(lock->name)];

	memcpy(name, lock->name, sizeof(name));
	atomic_store(&lock->fence, 0);
	pass_on(m, name);
}

static void
on_alarm(evutil_socket_t fd, short what, void *context)
{
	struct manager *m = context;
	struct waiter *w, *next;
	uint64_t now_ns = clock_now();

	(void)fd;
	(void)what;
	for (unsigned i = 0; i < m->store->locks_used; i++)
		if (is_held(&m->store->locks[i]) && m->store->locks[i].until_ns <= now_ns)
			free_lock(m, &m->store->locks[i]);
	for (w = TAILQ_FIRST(&m->waiters); w != NULL; w = next) {
		next = TAILQ_NEXT(w, link);
		const struct stored_lock *lock = find(m, w->name);
		if (w->until_ns <= now_ns)
			tell_waiter(m, w, MANAGER_LOCKED,
				    lock != NULL ? (int64_t)owner_pid(lock->owner) : 0);
	}
	set_alarm(m);
}

/* ---- requests ---- */

static struct waiter *
find_waiter(struct manager *m, unsigned session, uint64_t sequence)
{
	struct waiter *w;

	TAILQ_FOREACH (w, &m->waiters, link)
		if (w->session == session && w->ask.sequence == sequence)
			return w;
	return NULL;
}

static struct outcome_of
wait_for(struct manager *m, unsigned session, const struct manager_ask *ask, const char *name)
{
	struct outcome_of pending = { MANAGER_PENDING, 0 };

	if (find_waiter(m, session, ask->sequence) != NULL)
		return pending;
	struct waiter *w = m->waiter_count < WAITERS_MAX ? calloc(1, sizeof(*w)) : NULL;
	if (w == NULL)
		return (struct outcome_of){ MANAGER_NO_ROOM, 0 };
	w->session = session;
	w->ask = *ask;
	w->until_ns = end_of_wait(ask->value);
	memcpy(w->name, name, sizeof(w->name));
	TAILQ_INSERT_TAIL(&m->waiters, w, link);
	m->live[session].waiting++;
	m->waiter_count++;
	return pending;
}

/* Sent again, it finds what it did the first time. */
static struct outcome_of
lock_it(struct manager *m, unsigned session, const struct manager_ask *ask, const char *name)
{
	struct stored_lock *lock = find(m, name);

	if (lock == NULL) {
		lock = grant(m, session, ask, name);
		if (lock == NULL)
			return (struct outcome_of){ MANAGER_NO_ROOM, 0 };
	} else if (!holds(m, lock, session)) {
		if (ask->value == 0)
			return (struct outcome_of){ MANAGER_LOCKED, owner_pid(lock->owner) };
		return wait_for(m, session, ask, name);
	} else if (lock->sequence != ask->sequence) {
		return (struct outcome_of){ MANAGER_ALREADY, (int64_t)atomic_load(&lock->fence) };
	}
	return (struct outcome_of){ MANAGER_OK, (int64_t)atomic_load(&lock->fence) };
}

/* With a fencing number: that grant ends.  With 0: whatever the LOCK of number `expected` got. */
static struct outcome_of
unlock_it(struct manager *m, unsigned session, const struct manager_ask *ask, const char *name)
{
	struct stored_lock *lock = find(m, name);
	struct outcome_of ok = { MANAGER_OK, 0 };

	bool mine = holds(m, lock, session) &&
		    (ask->value == 0 ? lock->sequence == (uint64_t)ask->expected
				     : (uint64_t)ask->value == atomic_load(&lock->fence));
	if (mine) {
		store_unlock(m->store, stored(m, session), ask, lock);
		pass_on(m, name);
		return ok;
	}
	if (ask->value != 0)
		return (struct outcome_of){ MANAGER_LOCK_LOST, 0 };
	struct waiter *w = find_waiter(m, session, (uint64_t)ask->expected);
	if (w != NULL)
		tell_waiter(m, w, MANAGER_LOCKED, 0);
	return ok;
}

static struct outcome_of
renew_it(struct manager *m, unsigned session, const struct manager_ask *ask, const char *name)
{
	struct stored_lock *lock = find(m, name);

	if (!holds(m, lock, session) || (uint64_t)ask->value != atomic_load(&lock->fence))
		return (struct outcome_of){ MANAGER_LOCK_LOST, 0 };
	lock->until_ns = clock_now() + lease_of(ask->expected);
	return (struct outcome_of){ MANAGER_OK, ask->value };
}

struct outcome_of
locks_ask(struct manager *m, unsigned session, const struct manager_ask *ask, const char *name)
{
	struct outcome_of o = { MANAGER_BAD_REQUEST, 0 };

	if (counter_name_is_valid(name)) {
		if (ask->op == MANAGER_LOCK)
			o = lock_it(m, session, ask, name);
		else if (ask->op == MANAGER_UNLOCK)
			o = unlock_it(m, session, ask, name);
		else
			o = renew_it(m, session, ask, name);
	}
	store_result(stored(m, session), ask->sequence, o.status, o.value);
	set_alarm(m);
	return o;
}

void
locks_drop(struct manager *m, unsigned session)
{
	struct waiter *w, *next;

	for (w = TAILQ_FIRST(&m->waiters); w != NULL && m->live[session].waiting > 0; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->session == session)
			forget_waiter(m, w);
	}
	for (unsigned i = 0; i < m->store->locks_used; i++)
		if (is_held(&m->store->locks[i]) && holds(m, &m->store->locks[i], session))
			free_lock(m, &m->store->locks[i]);
	set_alarm(m);
}

unsigned
locks_list(struct manager *m, int64_t from, struct manager_entry *rows, int64_t *ret_next)
{
	uint64_t now_ns = clock_now();
	unsigned n = 0;
	int64_t i = from < 0 ? 0 : from;

	for (; i < (int64_t)m->store->locks_used && n < MANAGER_ENTRIES_MAX; i++) {
		const struct stored_lock *lock = &m->store->locks[i];
		struct waiter *w;
		if (!is_held(lock))
			continue;
		struct manager_entry *row = &rows[n++];
		*row = (struct manager_entry){
			.value = (int64_t)atomic_load(&lock->fence),
			.lease_ns = lock->until_ns > now_ns ? lock->until_ns - now_ns : 0,
			.pid = (uint32_t)owner_pid(lock->owner),
		};
		memcpy(row->name, lock->name, sizeof(row->name));
		TAILQ_FOREACH (w, &m->waiters, link)
			row->waiters += strcmp(w->name, lock->name) == 0;
	}
	*ret_next = i < (int64_t)m->store->locks_used ? i : -1;
	return n;
}

void
locks_open(struct manager *m)
{
	TAILQ_INIT(&m->waiters);
	m->alarm = evtimer_new(m->base, on_alarm, m);
	if (m->alarm != NULL)
		set_alarm(m);
}

void
locks_close(struct manager *m)
{
	struct waiter *w;

	while ((w = TAILQ_FIRST(&m->waiters)) != NULL)
		forget_waiter(m, w);
	event_free(m->alarm);
}
