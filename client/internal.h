/*
 * internal.h - what the files of libpyprep share and nobody else sees.
 *
 *   session.c   connect, greet, close; problems in words
 *   lane.c      which lane; lane_*.c how records and frames travel on each
 *   request.c   the control road: requests, bells, the broker's end
 *   prepare.c   names to indexes (asked once per connection), parameters to msgpack
 *   policy.c    when and how often a job runs, to msgpack
 *   context.c   where and how commands run: directory, environment, umask
 *   table.c     jobs on their way: tag -> who asked
 *   submit.c    a job into the submit ring
 *   backlog.c   events that came while a submit waited for room
 *   events.c    the next event, from backlog or return ring; waiting
 *   decode.c    struct receipt -> struct pyprep_receipt
 *   counter.c   the table of counters, mapped; manager*.c: proxies of the manager (manager.h)
 *
 * A connection belongs to one thread at a time: nothing here is locked.
 */
#ifndef PYPREP_CLIENT_INTERNAL_H
#define PYPREP_CLIENT_INTERNAL_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/pyprep.h"
#include "ipc/frames.h"
#include "ipc/lane.h"
#include "ipc/message.h"

#define REQUEST_TIMEOUT_MS 30000 /* the library's own requests */
#define CANCEL_TIMEOUT_MS  2000  /* who cancels wants to be gone */

/* Names resolved by the daemon; lives as long as its connection. */
struct target {
	struct target *next;
	char *asked_kind;
	char *asked_pool; /* NULL: none was named */
	bool asked_array;
	char *kind, *pool, *executor;
	char *paths; /* names of its parameters that are paths, each between commas */
	bool command; /* the kind's class */
	uint16_t kind_index, pool_index;
};

struct pyprep_prepared {
	const struct target *target;
	uint32_t length; /* of `record` */
	bool no_wait;
	bool detach; /* a token stands right behind the body */
	uint32_t policy_offset; /* in `record`: the length of its policies; 0: it has none */
	/* What goes into the ring, but for tag and time: struct submit_body, a detached job's token,
	 * with policies their length and they themselves, parameters. */
	_Alignas(RING_ALIGN) unsigned char record[];
};

/* One job on its way.  Its tag is generation << 32 | index in the table. */
struct entry {
	void *user;
	const struct target *target; /* NULL: free */
	uint64_t submitted_ns;
	uint32_t generation; /* of the present or the next use; never 0 */
	uint32_t next_free;  /* index, or ENTRY_NONE */
};
#define ENTRY_NONE UINT32_MAX

struct table {
	struct entry *entries;
	uint32_t capacity;
	uint32_t first_free;
	uint32_t count;       /* in use */
	uint32_t lost_cursor; /* where lost_event() goes on */
};

/* A record on its way to the caller, wherever it lies. */
struct event_record {
	unsigned type; /* MSG_RECEIPT, MSG_OUTPUT, MSG_ITEMS, MSG_ACCEPTED */
	uint32_t length;
	const void *body;     /* aligned to RING_ALIGN */
	uint64_t returned_ns; /* when the client had it */
};

struct backlog_chunk;
struct backlog {
	struct backlog_chunk *first, *last;
	struct backlog_chunk *spare; /* one emptied chunk, kept */
};

/*
 * How frames and records travel to the broker.  The rest of the library works on p->lane's rings,
 * whose memory is shared (shm) or our own (unix, zmq: ipc/frames.h).
 */
struct client_lane {
	const char *name;
	uint32_t hello; /* flags of MSG_HELLO */
	/* Find the daemon, and a way to it: p->fd is set. */
	int (*open)(struct pyprep *p, const char *runtime_dir, struct pyprep_problem *why);
	/* The welcome is in p->in: p->lane is ready. */
	int (*welcomed)(struct pyprep *p, const struct welcome_body *welcome,
			struct pyprep_problem *why);
	/* One frame: 0, -EAGAIN no room now, -EPIPE, -EMSGSIZE. */
	int (*send)(struct pyprep *p, unsigned type, const void *body, const void *tail,
		    size_t tail_length);
	/* One frame into p->in: 0, -EAGAIN, -EPIPE, -EPROTO. */
	int (*recv)(struct pyprep *p, const char **why);
	/* Until frames can be received or sent, or it is over: 1, 0 at the end of the time, -EINTR. */
	int (*wait)(struct pyprep *p, short events, int timeout_ms);
	/* A place for a submit's record, NULL without room; and publish it: 0, or it was not sent:
	 * -EAGAIN with `no_wait`, -EINTR, -EPIPE. */
	void *(*reserve)(struct pyprep *p, uint32_t length);
	int (*commit)(struct pyprep *p, uint32_t length, bool no_wait);
	/* Bring records that have come into lane.in: is there one?  NULL: they come by themselves. */
	bool (*pull)(struct pyprep *p);
	void (*close)(struct pyprep *p); /* also when open() failed half way */
};
extern const struct client_lane lane_shm, lane_unix, lane_zmq;

struct zmq_way; /* lane_zmq.c */

struct pyprep {
	struct lane lane;
	const struct client_lane *lane_ops;
	const struct ring_record *held; /* given to the caller, not yet released */
	uint64_t released; /* bytes given back since the broker's flag was last checked */
	struct table table;
	struct backlog backlog;
	int fd;
	bool lost; /* the broker is gone, or has shut us out */
	bool attaching; /* the descriptor of a MSG_ATTACHED is waited for */
	bool context_sent;
	uint32_t payload_max;
	uint32_t number; /* of the last request */
	uint64_t token_count; /* detached jobs submitted: makes their tokens differ */
	struct target *targets;
	void *base; /* shm: the lane's segment */
	size_t base_size;
	struct frames frames; /* unix, zmq: what moves the rings */
	uint64_t window, sent_bytes, taken_bytes; /* ... how far we may be ahead; we; the broker */
	struct zmq_way *zmq;
	char *message; /* the last receipt's error text, NUL-terminated */
	size_t message_size;
	struct pyprep_problem shut_out; /* why the broker closed on us; code "" if it did not say */
	struct frame_in in;             /* last: its buffer is large and seldom touched */
};

/* ---- session.c ---- */

/* Fill `why` (may be NULL) and return `r`. */
int problem_set(struct pyprep_problem *why, int r, const char *code, int exit_status,
		const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The broker is gone: -EPIPE, with its own reason when it gave one. */
int problem_lost(const struct pyprep *p, struct pyprep_problem *why);
int problem_memory(struct pyprep_problem *why);
/* Fill `why` from a MSG_REFUSED. */
void problem_refused(const struct frame_in *in, struct pyprep_problem *why);

/* A connected socket of the daemon of `runtime_dir` (NULL: the usual places), or -errno. */
int socket_find(const char *runtime_dir, struct pyprep_problem *why);
/* Its directories, in the order to try them; `own` (sun_path's size) is room for a built one. */
int candidate_dirs(const char *given, char *own, size_t own_size, const char *ret[2]);
int connect_problem(struct pyprep_problem *why, int error, const char *path);
int version_problem(struct pyprep_problem *why, const char *what);

/* ---- lane.c ---- */

/* The lane of this name (NULL: $PYPREP_LANE, else shm); NULL with `why`: there is none. */
const struct client_lane *lane_choose(const char *name, struct pyprep_problem *why);

/* lane_unix.c: what shm and unix share. */
int lane_socket_open(struct pyprep *p, const char *runtime_dir, struct pyprep_problem *why);
int lane_socket_send(struct pyprep *p, unsigned type, const void *body, const void *tail,
		     size_t tail_length);
int lane_socket_recv(struct pyprep *p, const char **why);
int lane_socket_wait(struct pyprep *p, short events, int timeout_ms);

/* lane_frames.c: what unix and zmq share. */
int lane_frames_welcomed(struct pyprep *p, const struct welcome_body *welcome,
			 struct pyprep_problem *why);
void *lane_frames_reserve(struct pyprep *p, uint32_t length);
int lane_frames_commit(struct pyprep *p, uint32_t length, bool no_wait);
bool lane_frames_pull(struct pyprep *p);
/* The frame in p->in, when it carries records or says how far the broker is.  -EPROTO, -ENOMEM. */
int lane_frames_note(struct pyprep *p);

/* ---- request.c ---- */

/* When `timeout_ms` from now is (-1: never). */
uint64_t deadline_after(int timeout_ms);
/* Wait until the socket is ready for `events` (or closed): 1; 0 at the deadline; -EINTR. */
int socket_wait(struct pyprep *p, short events, uint64_t deadline_ns);
/* One frame without waiting: 0 with p->in set, -EAGAIN, or -EPIPE with p->lost set.  Records in it
 * have gone into lane.in. */
int socket_take(struct pyprep *p);
/* Take what is on the socket without waiting: bells, late replies, the end; on a lane of frames
 * only until there is a record. */
void socket_drain(struct pyprep *p);
/* Ring the broker's bell if it sleeps.  Call after publishing or releasing. */
void bell_if_needed(struct pyprep *p);

/* The value of `key` in a msgpack map, or NULL. */
const msgpack_object *map_get(const msgpack_object *map, const char *key);
/* Send what `map` holds, and hand the one reply to `reply`. */
int request_packed(struct pyprep *p, const msgpack_sbuffer *map, pyprep_reply_fn reply,
		   void *context, struct pyprep_problem *why);
/* Ask for a piece of the daemon's memory (ATTACH_*): MSG_ATTACHED with its descriptor, or without
 * when it was refused, is in p->in; the caller closes it. */
int request_attach(struct pyprep *p, uint32_t what, struct pyprep_problem *why);
void pack_text(msgpack_packer *pk, const char *text);

/* ---- prepare.c ---- */

void targets_free(struct target *first);

/* ---- policy.c ---- */

/* Check `policy` and append its map to `out`.  `kind`: what a rate without a group counts.
 * -EINVAL, -ENOMEM. */
int policy_pack(const struct pyprep_policy *policy, const char *kind, msgpack_sbuffer *out,
		struct pyprep_problem *why);

/* ---- context.c ---- */

/* Tell the broker where and how this process's commands run, once per connection. */
int context_send(struct pyprep *p, struct pyprep_problem *why);

/* ---- table.c ---- */

/* A free entry, the table grown if needed; NULL: no memory.  It is in use once
 * its target is set by table_use(). */
struct entry *table_reserve(struct table *t);
/* Put the entry of table_reserve() to use; returns its tag. */
uint64_t table_use(struct table *t, struct entry *e, const struct target *target, void *user,
		   uint64_t submitted_ns);
/* The job of `tag`, or NULL when it is not on its way. */
struct entry *table_find(const struct table *t, uint64_t tag);
uint64_t table_tag(const struct table *t, const struct entry *e);
void table_release(struct table *t, struct entry *e);

/* ---- submit.c ---- */

/* Wait a moment for the broker to take what stands in the submit ring: requests travel
 * on another road and would overtake it. */
void submits_settle(struct pyprep *p);

/* ---- backlog.c ---- */

/* Keep a copy of `record`.  -ENOMEM. */
int backlog_put(struct backlog *b, const struct event_record *record);
/* The oldest record, in place until the next backlog_get(); false: empty. */
bool backlog_get(struct backlog *b, struct event_record *ret);
bool backlog_is_empty(const struct backlog *b);
void backlog_free(struct backlog *b);

/* ---- events.c ---- */

/* Give the last event's record back to the ring. */
void held_release(struct pyprep *p);
/* Move all records that have come to the backlog: how many, or -ENOMEM; and only those that
 * stand in the ring. */
int return_ring_save(struct pyprep *p);
int return_ring_empty(struct pyprep *p);

/* ---- decode.c ---- */

/* The fixed part of a receipt; texts are "" and result is empty.  `returned_ns` 0: the
 * job has not come back.  `command`: the kind is of the class command. */
void receipt_fill(const struct receipt *r, uint64_t returned_ns, bool command,
		  struct pyprep_receipt *ret);
/* The tails after the fixed part: sets ret->result, and the error text, which is not
 * NUL-terminated.  -EPROTO: longer by the receipt's word than they are. */
int receipt_open(const struct receipt *r, const void *tails, size_t length, const char **text,
		 size_t *text_length, struct pyprep_receipt *ret);

#endif
