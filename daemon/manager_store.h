/*
 * manager_store.h - what the manager must not forget: sessions, results, locks.  In a segment
 * that the supervisor made and holds: a manager is killed at any line, and the next one goes on.
 *
 * Written by the manager alone, one process at a time; the supervisor reads `answered`.  Clients
 * never see it.  Each slot is made whole by the store of one word, its last: the token of a
 * session, the fencing number of a lock.
 *
 * An add through the manager: which store comes first.  (1) the intent: session, sequence, slot,
 * value before and after; (2) the counter, by compare-and-swap; (3) the result; (4) `last`, which
 * makes the request applied; (5) the intent is over.  Killed between (1) and (4), the next
 * manager compares the counter with the intent: still `before`: it was not added, the client
 * sends it again; else: it was, and the result is put down.  With the manager alone adding, that
 * is exact.  When the atomic way adds in the same instant, an add that was not made may be taken
 * for made: a counter is then one add too low, never too high, for that kill.
 */
#ifndef PYPREP_DAEMON_MANAGER_STORE_H
#define PYPREP_DAEMON_MANAGER_STORE_H

#include <stdatomic.h>
#include <stdint.h>

#include "ipc/manager.h"
#include "shm/counter.h"

#define SESSIONS_MAX 256u
#define LOCKS_MAX    1024u

struct stored_result {
	int64_t value;
	uint32_t sequence; /* its low half */
	uint32_t status;
};

struct stored_session {
	_Atomic uint64_t token; /* 0: free */
	uint64_t owner;
	uint32_t uid;
	uint32_t reserved;
	_Atomic uint64_t last; /* the last request that was applied */
	struct stored_result results[MANAGER_WINDOW];
};

struct stored_lock {
	_Atomic uint64_t fence; /* 0: free */
	uint64_t token;         /* the holder's session */
	uint64_t sequence;      /* of its LOCK */
	uint64_t owner;
	uint64_t since_ns, until_ns; /* CLOCK_MONOTONIC */
	char name[MANAGER_NAME_MAX + 1];
};

/* What is being done in two places at once. */
struct stored_intent {
	_Atomic uint32_t under_way;
	uint32_t op;
	uint64_t token;
	uint64_t sequence;
	uint32_t slot, generation; /* of a counter; unlock: the lock, and 0 */
	int64_t before, after;     /* of a counter; unlock: the fencing number, and 0 */
};

struct manager_store {
	uint32_t magic;
	uint32_t managers;         /* how many there were */
	_Atomic uint64_t answered; /* requests, ever */
	uint64_t fence;            /* the last fencing number */
	/* Slots that were ever used: what lies behind is never touched, and costs no page here. */
	uint32_t sessions_used, locks_used;
	struct stored_intent intent;
	struct stored_session sessions[SESSIONS_MAX];
	struct stored_lock locks[LOCKS_MAX];
};

void store_init(struct manager_store *s);

/* -ENOENT: no session of that token. */
int store_find(struct manager_store *s, uint64_t token, unsigned *ret);
/* -ENOSPC. */
int store_new_session(struct manager_store *s, uint64_t token, uint64_t owner, uint32_t uid,
		      uint64_t last, unsigned *ret);
void store_end_session(struct manager_store *s, unsigned index);

/* Is request `sequence` new (1), applied (0: *ret is what came of it), or is one before it
 * missing (-EAGAIN)? */
int store_seen(const struct stored_session *s, uint64_t sequence, struct stored_result *ret);
/* Put down what came of it; the next in order, or one that was pending. */
void store_result(struct stored_session *s, uint64_t sequence, enum manager_status status,
		  int64_t value);

/* Change a counter by `op` (add, set, cas) for one request, so that it is known afterwards whether
 * it was.  The answer's status and value. */
enum manager_status store_change(struct manager_store *s, struct counter_table *t,
				 struct stored_session *session, const struct manager_ask *ask,
				 const struct counter *c, int64_t *ret_value);

/* The same for a removal; -EBUSY as counter_remove(). */
int store_remove(struct manager_store *s, struct counter_table *t, struct stored_session *session,
		 const struct manager_ask *ask, const char *name);

/* Free a lock by its holder's request. */
void store_unlock(struct manager_store *s, struct stored_session *session,
		  const struct manager_ask *ask, struct stored_lock *lock);

/* A manager begins: finish or undo what the last one was killed in.  True: there was something. */
bool store_recover(struct manager_store *s, struct counter_table *t);

#endif
