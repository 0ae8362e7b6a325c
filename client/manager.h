/*
 * manager.h - a proxy of the manager, inside libpyprep.
 *
 *   manager.c       the road: batches, answers, silence and what follows it
 *   manager_ask.c   what users call: counters, one at a time and pipelined; lists
 *   manager_lock.c  locks and their leases
 *
 * Requests are numbered and stay in the window until they are answered.  When nothing is heard,
 * or the manager says that numbers are missing, the proxy says hello again and sends all that is
 * unanswered once more: the manager applies each number once.
 */
#ifndef PYPREP_CLIENT_MANAGER_H
#define PYPREP_CLIENT_MANAGER_H

#include <stdbool.h>

#include "client/pyprep.h"
#include "ipc/manager.h"
#include "ipc/zmq.h"

#define BATCH_BYTES 16384u
#define BATCH_MOST  64u /* requests of one message */
#define HELD_MAX    64u /* locks of one proxy */

enum asked_state { ASKED_FREE, ASKED_WAITS, ASKED_DONE };

struct asked {
	enum asked_state state;
	bool collected; /* by the call that asked, not by pyprep_manager_next() */
	bool given_up;  /* that call has ended without the answer */
	struct manager_ask ask;
	char name[MANAGER_NAME_MAX + 1];
	void *user;
	enum manager_status status;
	int64_t value;
};

struct held_lock {
	char name[MANAGER_NAME_MAX + 1];
	int64_t fence; /* 0: free place */
	uint64_t lease_ns, renew_ns;
	uint64_t renewing; /* the RENEW under way; 0: none */
	bool lost;
};

struct pyprep_manager {
	struct zmq_end *end;
	char path[108];
	uint64_t token, owner;
	uint64_t first, next; /* unanswered are among first .. next-1 */
	struct asked window[MANAGER_WINDOW];
	uint16_t done[MANAGER_WINDOW]; /* answered, not collected: a ring of places in window */
	unsigned done_head, done_count;
	struct manager_writer out;
	unsigned char out_bytes[BATCH_BYTES];
	bool greeting; /* a HELLO is unanswered: nothing else is sent */
	uint64_t hello;
	unsigned greetings;          /* ... since something was heard */
	enum manager_status welcome; /* what the last HELLO was answered with */
	uint64_t heard_ns;           /* when something was heard last, or began to be waited for */
	uint64_t silence_ns;         /* ... since when nothing came at all */
	uint64_t asked_ns;           /* when the broker was asked about it last */
	uint64_t resent;             /* requests sent again, ever */
	bool forgetful; /* tests: a new session at each greeting; doubles what was in flight */
	struct held_lock held[HELD_MAX];
	unsigned held_count;
	/* a list under way */
	struct manager_ask list;
	bool list_waits;
	int64_t list_next;
	unsigned list_count;
	struct manager_entry list_rows[MANAGER_ENTRIES_MAX];
};

/* ---- manager.c ---- */

/* Number the request and put it into the window and the batch.  -EAGAIN: the window is full. */
int proxy_ask(struct pyprep_manager *m, const struct manager_ask *ask, const char *name, void *user,
	      bool collected, uint64_t *ret_number);
struct asked *proxy_asked(struct pyprep_manager *m, uint64_t number);
/* Send the batch. */
void proxy_flush(struct pyprep_manager *m);
/* Take what has come; wait for something at most until `deadline_ns` (0: not).  0; -EINTR;
 * -ETIMEDOUT: the manager has been silent for too long; -EACCES, -ENOSPC: it will not have us. */
int proxy_pump(struct pyprep_manager *m, uint64_t deadline_ns, struct pyprep_problem *why);
/* Wait for the answer to request `number`, and free its place. */
int proxy_finish(struct pyprep_manager *m, uint64_t number, enum manager_status *ret_status,
		 int64_t *ret_value, struct pyprep_problem *why);
/* Send a request that is not numbered. */
int proxy_send_plain(struct pyprep_manager *m, const struct manager_ask *ask);

/* ---- manager_ask.c ---- */

/* 0 or -errno, and `why`, for an answer about counter or lock `name`. */
int proxy_result(enum manager_status status, const char *name, int64_t value,
		 struct pyprep_problem *why);
/* One request, waited for. */
int proxy_call(struct pyprep_manager *m, const struct manager_ask *ask, const char *name,
	       int64_t *ret_value, struct pyprep_problem *why);

/* ---- manager_lock.c ---- */

void held_renew(struct pyprep_manager *m, uint64_t now_ns);
uint64_t held_next_ns(const struct pyprep_manager *m); /* when a lease is to be renewed */
void held_renewed(struct pyprep_manager *m, struct asked *a);

#endif
