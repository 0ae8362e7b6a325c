/*
 * manager.h - what proxies and the manager say to each other, over ZeroMQ (docs/protocol.md).
 *
 * A client is a DEALER, the manager a ROUTER at RUNTIME_DIR/manager.sock.  One ZeroMQ message
 * of one part is a head and any number of requests (or answers), each a fixed struct with what
 * belongs to it, sizes in multiples of 8; integers are little-endian, of this machine.
 *
 * A client has a session: a token of its choice, its owner word (shm/owner.h), and the number of
 * the last request that was applied.  It numbers its requests 1, 2, 3, ...  The manager applies
 * each number once and in order, and remembers the last MANAGER_WINDOW results: whatever was not
 * answered may be sent again.  So a client has at most MANAGER_WINDOW requests unanswered.  The
 * session survives the manager; it ends with MANAGER_GOODBYE or with the client's process.
 *
 * HELLO, GOODBYE and the two lists change nothing that matters twice and are not numbered: their
 * `sequence` only comes back.
 *
 * Reading never trusts a length: what does not hold together is -EPROTO, and nothing of the message
 * is applied.
 */
#ifndef PYPREP_IPC_MANAGER_H
#define PYPREP_IPC_MANAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MANAGER_SOCKET      "manager.sock"
#define MANAGER_MAGIC       0x314d5950u /* "PYM1" */
#define MANAGER_VERSION     1u
#define MANAGER_MESSAGE_MAX 65536u
#define MANAGER_WINDOW      256u /* unanswered requests of a session */
#define MANAGER_NAME_MAX    63u
#define MANAGER_ENTRIES_MAX 128u /* of one answer to a list */

#define MANAGER_LEASE_DEFAULT_NS 10000000000ull
#define MANAGER_LEASE_MIN_NS     10000000ull
#define MANAGER_LEASE_MAX_NS     86400000000000ull
#define MANAGER_WAIT_MAX_NS      86400000000000ull

/*        op               value  numbered  value, expected -> answer's value */
#define MANAGER_OPS(X)                                                                     \
	X(MANAGER_HELLO, 1, false)   /* base of a new session, - -> last applied        */ \
	X(MANAGER_GOODBYE, 2, false) /* the session ends                                */ \
	X(MANAGER_LIST, 3, false)    /* where to begin, - -> where to go on, -1: end    */ \
	X(MANAGER_LOCKS, 4, false)   /* the same, of locks that are held                */ \
	X(MANAGER_ADD, 16, true)     /* how much, - -> what it is now; made when new    */ \
	X(MANAGER_GET, 17, true)     /* -, - -> what it is                              */ \
	X(MANAGER_SET, 18, true)     /* to what, - -> what it is now; made when new     */ \
	X(MANAGER_CAS, 19, true)     /* to what, if it is -> what it is now             */ \
	X(MANAGER_REMOVE, 20, true)  /* -, -                                            */ \
	X(MANAGER_LOCK, 21, true)    /* wait ns, lease ns -> fencing number             */ \
	X(MANAGER_UNLOCK, 22, true)  /* fencing number, or 0 and the LOCK's sequence    */ \
	X(MANAGER_RENEW, 23, true)   /* fencing number, lease ns                        */

enum manager_op {
#define X(name, value, numbered) name = value,
	MANAGER_OPS(X)
#undef X
};

/*        status                 word                exit  what it means */
#define MANAGER_STATUSES(X)                                                                    \
	X(MANAGER_OK, "none", 0)                    /* done */                                 \
	X(MANAGER_NO_COUNTER, "no_such_counter", 3) /* get, cas, remove: no such name */       \
	X(MANAGER_DIFFERS, "differs", 1)            /* cas: it is `value`, not `expected` */   \
	X(MANAGER_NO_ROOM, "no_room", 75)           /* 4,096 counters, all locks, ... */       \
	X(MANAGER_BUSY, "busy", 75)                 /* somebody else changes the table */      \
	X(MANAGER_BAD_REQUEST, "bad_request", 2)    /* a name or value that cannot be */       \
	X(MANAGER_NOT_ALLOWED, "not_allowed", 77)   /* this user, or not this process */       \
	X(MANAGER_NO_SESSION, "no_session", 75)     /* say hello (again) */                    \
	X(MANAGER_GAP, "gap", 75)                   /* requests from `value` on are missing */ \
	X(MANAGER_UNSURE, "unsure", 75)             /* set, cas: the manager died in it */     \
	X(MANAGER_LOCKED, "locked", 124)            /* lock: held by pid `value` */            \
	X(MANAGER_LOCK_LOST, "lock_lost", 3)        /* unlock, renew: not held any more */     \
	X(MANAGER_ALREADY, "already", 2)            /* lock: this session holds it */          \
	X(MANAGER_PENDING, "pending", 75)           /* lock: waits; never sent */

enum manager_status {
#define X(name, word, exit_status) name,
	MANAGER_STATUSES(X)
#undef X
		MANAGER_STATUS_COUNT
};

const char *manager_status_text(unsigned status);
int manager_status_exit(unsigned status); /* what pyprepctl exits with */
bool manager_op_is_numbered(unsigned op);

struct manager_head {
	uint32_t magic;
	uint16_t version;
	uint16_t count; /* requests or answers that follow */
	uint64_t token; /* the session's; never 0 */
	uint64_t owner; /* request: of the client.  Answer: of the manager */
};

struct manager_ask {
	uint16_t size; /* of all, name included */
	uint8_t op;
	uint8_t name_length; /* the name follows, and zeroes up to `size` */
	uint32_t reserved;
	uint64_t sequence;
	int64_t value;
	int64_t expected;
};

struct manager_answer {
	uint16_t size; /* of all, entries included */
	uint8_t op;
	uint8_t status;
	uint32_t entries; /* that follow */
	uint64_t sequence;
	int64_t value;
};

struct manager_entry { /* one row of a list */
	char name[MANAGER_NAME_MAX + 1];
	int64_t value;     /* counter: its value.  Lock: the fencing number */
	uint64_t lease_ns; /* lock: what is left */
	uint32_t pid;      /* lock: of the holder */
	uint32_t waiters;
};

/* ---- reading ---- */

struct manager_reader {
	const unsigned char *at, *end;
	unsigned left;
};

/* Check all of a message of requests.  0 or -EPROTO, with *why a sentence for the sender. */
int manager_check_asks(const void *bytes, size_t size, const char **why);

/* The head; then the parts one by one: 1, 0 at the end, -EPROTO.  `ret_name` has room for
 * MANAGER_NAME_MAX + 1 and is ended. */
int manager_read(struct manager_reader *r, const void *bytes, size_t size,
		 struct manager_head *ret);
int manager_read_ask(struct manager_reader *r, struct manager_ask *ret, char *ret_name);
int manager_read_answer(struct manager_reader *r, struct manager_answer *ret,
			const unsigned char **ret_entries);

/* ---- writing ---- */

struct manager_writer {
	unsigned char *bytes;
	size_t room, used; /* used 0: nothing begun */
	unsigned count;
};

void manager_write(struct manager_writer *w, void *buffer, size_t room, uint64_t token,
		   uint64_t owner);
/* -ENOSPC: it does not fit; what is there stays whole. */
int manager_write_ask(struct manager_writer *w, const struct manager_ask *ask, const char *name);
int manager_write_answer(struct manager_writer *w, const struct manager_answer *answer,
			 const struct manager_entry *entries);

#endif
