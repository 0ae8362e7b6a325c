/*
 * manager.h - the manager: its state, shared by the files of that process.
 *
 *   manager.c          role: the loop, ZeroMQ, requests in and answers out
 *   manager_session.c  clients: who they are, when they die
 *   manager_apply.c    counters
 *   manager_locks.c    locks: holders, waiters, leases
 *   manager_store.c    what outlives this process
 *
 * One thread, besides libzmq's own.  Killed at any line it loses nothing but the waiters for
 * locks, who ask again.  All that clients send is checked here; they can end nobody's work but
 * their own.
 */
#ifndef PYPREP_DAEMON_MANAGER_H
#define PYPREP_DAEMON_MANAGER_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "daemon/manager_store.h"
#include "daemon/roles.h"
#include "ipc/zmq.h"

#define ROUTE_MAX           16u /* bytes of a ROUTER's client id; libzmq makes 5 */
#define WAITERS_MAX         4096u
#define SESSIONS_OF_PROCESS 16u /* more is not a proxy */

struct route {
	unsigned char bytes[ROUTE_MAX];
	size_t length; /* 0: not connected since this manager began */
};

struct manager;

/* A session's side that does not outlive this process. */
struct live {
	struct manager *manager;
	struct event *death; /* of the client: its pidfd is readable; NULL: the slot is free */
	int pidfd;
	struct route route;
	unsigned waiting; /* its waiters */
};

/* Somebody who wants a lock. */
struct waiter {
	TAILQ_ENTRY(waiter) link;
	unsigned session;
	struct manager_ask ask;
	uint64_t until_ns;
	char name[MANAGER_NAME_MAX + 1];
};

struct manager {
	const struct birth *birth;
	struct event_base *base;
	struct event *control, *knock, *readable, *alarm;
	struct zmq_end *end; /* NULL: nobody has come yet */
	struct counter_table *table;
	struct manager_store *store;
	uint64_t tokens[SESSIONS_MAX]; /* of the stored sessions, close together */
	struct live live[SESSIONS_MAX];
	TAILQ_HEAD(waiters, waiter) waiters; /* of all locks, in the order they came */
	unsigned waiter_count;
	int exit_status;
};

/* What a request is answered with; MANAGER_PENDING: later. */
struct outcome_of {
	enum manager_status status;
	int64_t value;
};

/* ---- manager.c ---- */

/* An answer that was not ready when its request came. */
void manager_answer_later(struct manager *m, unsigned session, const struct manager_ask *ask,
			  enum manager_status status, int64_t value);

/* ---- manager_session.c ---- */

/* Watch the clients of a dead manager's sessions; end those whose client is gone. */
void sessions_open(struct manager *m);
void sessions_close(struct manager *m);
/* The session of a message, or its status: the token's, by the same process as ever.  `hello` may
 * make it, with `base` as the last number that counts as applied. */
enum manager_status session_of(struct manager *m, const struct manager_head *head,
			       struct zmq_message *message, bool hello, uint64_t base,
			       unsigned *ret);
void session_end(struct manager *m, unsigned index);

/* ---- manager_apply.c ---- */

struct outcome_of apply_counter(struct manager *m, struct stored_session *session,
				const struct manager_ask *ask, const char *name);
/* At most MANAGER_ENTRIES_MAX rows from `from` on; *ret_next is where to go on, or -1. */
unsigned apply_list(struct manager *m, int64_t from, struct manager_entry *rows, int64_t *ret_next);

/* ---- manager_locks.c ---- */

void locks_open(struct manager *m);
void locks_close(struct manager *m);
struct outcome_of locks_ask(struct manager *m, unsigned session, const struct manager_ask *ask,
			    const char *name);
/* The session ends: its locks are free, its waiters gone. */
void locks_drop(struct manager *m, unsigned session);
unsigned locks_list(struct manager *m, int64_t from, struct manager_entry *rows, int64_t *ret_next);

#endif
