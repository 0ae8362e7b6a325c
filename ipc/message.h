/*
 * message.h - every message of pyprep.  The enum, message_name(), the size check of
 * the decoder and docs/protocol.md follow this one list.  Values are on the wire:
 * changing a value or a body raises PROTOCOL_VERSION, which HELLO compares.
 *
 * Three roads:
 *   control  a SOCK_SEQPACKET unix socket, one frame per message: struct frame, body, tail.
 *   lane     how a client's records travel.  shm: two rings it shares with the broker; ring
 *            record type, body, tail.  unix, zmq: frames on its control road, one record
 *            each, or several in a MSG_RECORDS.
 *   link     the two rings the broker shares with a worker: the same.
 * A body is a fixed struct; the tail is what follows it (msgpack, text or bytes) and
 * ends with the message.  All integers are little-endian, of this machine.
 */
#ifndef PYPREP_IPC_MESSAGE_H
#define PYPREP_IPC_MESSAGE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/receipt.h"

#define PROTOCOL_VERSION 1u
#define FRAME_MAGIC      0x31505950u /* "PYP1" */
#define FRAME_MAX        65536u /* a whole frame, header included */
#define FRAME_FDS_MAX    4

/* ---- bodies ---- */

struct empty_body {
	uint32_t reserved;
};

struct hello_body { /* the first frame of a client */
	uint32_t version;
	uint32_t flags; /* HELLO_* */
	uint64_t lane_bytes; /* wanted capacity of each ring; 0: the broker's choice */
};
#define HELLO_LANE    1u /* wants the shared-memory lane; without any lane only requests */
#define HELLO_FRAMES  2u /* records come and go as frames, like requests */
#define HELLO_BUNDLES 4u /* ... and several of the broker's may come in one MSG_RECORDS */

struct welcome_body { /* carries the lane's memfd when HELLO_LANE was asked */
	uint32_t version;
	uint32_t client; /* the broker's number for this client */
	uint64_t lane_bytes; /* capacity of each of the two rings; with HELLO_FRAMES how far a
				client may be ahead of taken_body.bytes; 0: no lane */
	uint32_t payload_max; /* longest parameters of one job, bytes */
	uint32_t broker_pid;
};

struct refused_body { /* tail: the text of the error */
	uint32_t error; /* enum job_error */
	uint32_t reserved;
};

struct request_body { /* tail: one msgpack map, {"verb": ..., ...} */
	uint32_t number; /* echoed in the replies */
	uint32_t flags;
};

struct reply_body { /* tail: one msgpack map */
	uint32_t number;
	uint32_t flags; /* REPLY_* */
};
#define REPLY_MORE  1u /* further replies to this request follow */
#define REPLY_ERROR 2u /* the map is {"code": word, "message": text} */

/* Several records in one frame.  Tail: records as they stand in a ring (shm/ring.h: size, type,
 * length, reserved, body and tail, to a multiple of 16). */
struct records_body {
	uint32_t reserved[4]; /* keeps what follows aligned */
};

/* How many bytes of records the broker has taken since the welcome.  A record counts with its
 * size in a ring: 16 bytes of header, body and tail, to a multiple of 16.  A client may be at
 * most lane_bytes ahead of it. */
struct taken_body {
	uint64_t bytes;
};

/* tail, in this order: with SUBMIT_DETACH a token, with SUBMIT_POLICY the policies; then the
 * parameters, one msgpack map {name: value} */
struct submit_body {
	uint64_t tag; /* comes back in the receipt */
	uint64_t submitted_ns;
	uint64_t timeout_ns; /* of the run; 0: none */
	int64_t item_low; /* array job: items low .. high-1 */
	int64_t item_high; /* equal to low: not an array job */
	uint16_t kind; /* from the "resolve" request */
	uint16_t pool;
	int16_t priority; /* -100 .. 100, higher first */
	uint16_t flags; /* SUBMIT_* */
};
#define SUBMIT_NO_WAIT 1u /* refuse with queue_full instead of waiting for room */
#define SUBMIT_DETACH  2u /* it lives in the store: MSG_ACCEPTED when it is durable, no receipt.  The
			   * tail begins with SUBMIT_TOKEN bytes that the submitter chose, no two
			   * jobs the same: sent again, it is the same job */
#define SUBMIT_POLICY  4u /* in the tail a uint32_t, the length of a msgpack map of policies
			   * (daemon/policy.h), and that map */
#define SUBMIT_TOKEN   16u
#define PRIORITY_MAX   100

struct accepted_body { /* a detached job is durable: it will be run, whatever dies */
	uint64_t tag; /* the submitter's */
	uint64_t id;
	uint32_t flags; /* ACCEPTED_* */
	uint32_t reserved;
};
#define ACCEPTED_KNOWN 1u /* it was there before: the same token, or the same key */

struct output_body { /* tail: bytes a command wrote */
	uint64_t tag; /* lane: the submitter's tag; link: the ticket */
	uint32_t stream; /* 1 or 2 */
	uint32_t reserved;
};

struct items_body { /* tail: `count` int64_t, results of items first .. first+count-1 */
	uint64_t tag; /* lane: the submitter's tag; link: the ticket */
	int64_t first;
	uint32_t count;
	uint32_t reserved;
};

struct run_body { /* tail: arguments, as args.h packs them, then the client's context */
	uint64_t id;
	uint64_t ticket; /* see link.h */
	uint64_t timeout_ns;
	int64_t item_low;
	int64_t item_high;
	uint64_t memory_bytes; /* the most this run may take; 0: no limit */
	uint32_t uid; /* of the submitter */
	uint32_t gid;
	uint16_t kind;
	uint16_t attempt;
	int32_t nice; /* so much lower than the daemon's priority: 0 .. 19 */
	uint32_t flags; /* RUN_* */
	uint32_t args_length; /* of the tail's two parts; link_send_run() fills them */
	uint32_t context_length; /* see daemon/context.h; 0: none */
	uint32_t reserved;
};
#define RUN_DROP_TO_USER 1u /* a command changes to uid and gid before it starts */

struct stop_body { /* end a running job */
	uint64_t ticket;
	uint32_t reason; /* enum job_cause: CAUSE_TIMEOUT or CAUSE_CANCELLED */
	uint32_t reserved;
};

struct result_body { /* tail: result, error text; see struct outcome */
	uint64_t ticket;
	struct outcome outcome;
	uint32_t flags; /* RECEIPT_*, RESULT_* */
	int32_t growth_kib; /* memory that the worker holds more than before; where measured */
};
#define RESULT_MEASURED 0x40000000u /* growth_kib is a figure */
#define RESULT_HALTED   0x20000000u /* the worker runs nothing more */
#define RESULT_SPENT    0x80000000u /* the worker asks to be replaced */
#define RESULT_FLAGS    (RESULT_MEASURED | RESULT_HALTED | RESULT_SPENT)

/* What a job left behind in its worker; comes before its result. */
struct left_body {
	uint64_t ticket; /* 0: of one of several short runs before, which one is not known */
	uint16_t kind; /* LEFT_KINDS: of several kinds */
	uint16_t reserved;
	uint32_t descriptors; /* still open */
	uint32_t segments; /* names in /dev/shm; removed */
	uint32_t processes; /* killed */
	uint64_t files, bytes; /* in its scratch directory; removed */
	uint32_t flags; /* LEFT_* */
	uint32_t reserved_too;
};
#define LEFT_KINDS UINT16_MAX
#define LEFT_MORE  1u /* files and bytes are what was counted, and there were more */

/* Supervisor and its children. */
struct ready_body {
	uint32_t pid;
	uint32_t reserved;
};

struct worker_up_body { /* carries the link: memfd, the worker's bell */
	uint16_t pool;
	uint16_t slot;
	uint32_t pid;
	uint32_t generation; /* counts the starts of this slot */
	uint32_t restarts; /* starts that followed a death nobody ordered */
	uint32_t adopted; /* 1: it ran before this broker was born */
	uint32_t leaving; /* 1: its successor is ready: it gets no more jobs */
};

struct worker_down_body {
	uint16_t pool;
	uint16_t slot;
	uint32_t pid;
	uint32_t generation;
	int32_t status; /* as waitpid gives it */
	uint32_t ordered; /* 1: stop, resize or a kill the broker asked for */
	uint32_t oom; /* 1: the kernel killed it, since its cgroup had no memory left */
	uint64_t memory_peak; /* bytes; this and the following of its whole life, wait4(2) */
	uint64_t user_ns, system_ns;
	uint64_t lived_ns; /* 0: not known */
	uint64_t jobs; /* begun */
};

struct worker_kill_body { /* broker asks; the supervisor is the only one who kills */
	uint16_t pool;
	uint16_t slot;
	uint32_t generation;
	uint32_t signal;
	uint32_t unusable; /* the broker could not take it up: no progress, so its successor waits */
};

struct pool_body { /* both ways: the pool as it is; as it shall be */
	uint16_t pool;
	uint16_t state; /* enum pool_state */
	uint32_t workers;
	uint32_t strategy;  /* its number (daemon/schedule.h) */
	uint32_t flags;     /* POOL_* */
	uint64_t ageing_ns; /* waiting that counts as one priority; 0: not at all */
};
#define POOL_RESCHEDULE 1u /* supervisor: strategy and ageing are an order (a reload), not what
			    * the broker said last */

struct assign_body { /* a spare becomes this worker; carries the link: memfd, bell */
	uint16_t pool;
	uint16_t slot;
	uint32_t reserved;
};

struct beat_body {
	uint64_t number;
};

struct manager_body { /* the manager as it is */
	uint32_t pid; /* 0: none */
	uint32_t state; /* enum manager_state */
	uint32_t restarts; /* deaths that nobody ordered */
	uint32_t reserved;
	uint64_t store_inode, store_bytes; /* of its memory; 0: not made yet */
};

struct resource_body { /* one resource of the configuration */
	char name[64];
	uint64_t limit;
	uint32_t number, count; /* this is the first (0) ... of so many; of none: one without a name */
};

struct attach_body { /* asks for a piece of the daemon's memory */
	uint32_t number; /* the client's; comes back */
	uint32_t what; /* ATTACH_* */
};
#define ATTACH_COUNTERS 1u /* the table of counters (shm/counter.h) */

struct attached_body { /* carries the memfd; tail: the text of the error */
	uint32_t number;
	uint32_t what;
	uint32_t error; /* enum job_error; ERR_NONE: the memfd is there */
	uint32_t reserved;
	uint64_t bytes; /* to be mapped */
};

/* ---- the list ---- */
/*        type                value road     sender      body  */
#define MESSAGES(X)                                                            \
	X(MSG_HELLO,          1,  CONTROL, CLIENT,     struct hello_body)      \
	X(MSG_WELCOME,        2,  CONTROL, BROKER,     struct welcome_body)    \
	X(MSG_REFUSED,        3,  CONTROL, BROKER,     struct refused_body)    \
	X(MSG_REQUEST,        4,  CONTROL, CLIENT,     struct request_body)    \
	X(MSG_REPLY,          5,  CONTROL, BROKER,     struct reply_body)      \
	X(MSG_BELL,           6,  CONTROL, EITHER,     struct empty_body)      \
	X(MSG_RECORDS,        7,  CONTROL, EITHER,     struct records_body)    \
	X(MSG_TAKEN,          8,  CONTROL, BROKER,     struct taken_body)      \
	X(MSG_BYE,            9,  CONTROL, CLIENT,     struct empty_body)      \
	X(MSG_ATTACH,         10, CONTROL, CLIENT,     struct attach_body)     \
	X(MSG_ATTACHED,       11, CONTROL, BROKER,     struct attached_body)   \
	X(MSG_SUBMIT,         16, LANE,    CLIENT,     struct submit_body)     \
	X(MSG_RECEIPT,        17, LANE,    BROKER,     struct receipt)         \
	X(MSG_OUTPUT,         18, LANE,    BROKER,     struct output_body)     \
	X(MSG_ITEMS,          19, LANE,    BROKER,     struct items_body)      \
	X(MSG_ACCEPTED,       20, LANE,    BROKER,     struct accepted_body)   \
	X(MSG_RUN,            32, LINK,    BROKER,     struct run_body)        \
	X(MSG_STOP,           33, LINK,    BROKER,     struct stop_body)       \
	X(MSG_RESULT,         34, LINK,    WORKER,     struct result_body)     \
	X(MSG_RUN_OUTPUT,     35, LINK,    WORKER,     struct output_body)     \
	X(MSG_RUN_ITEMS,      36, LINK,    WORKER,     struct items_body)      \
	X(MSG_RUN_LEFT,       37, LINK,    WORKER,     struct left_body)       \
	X(MSG_READY,          48, CONTROL, CHILD,      struct ready_body)      \
	X(MSG_WORKER_UP,      49, CONTROL, SUPERVISOR, struct worker_up_body)  \
	X(MSG_WORKER_DOWN,    50, CONTROL, SUPERVISOR, struct worker_down_body)\
	X(MSG_WORKER_KILL,    51, CONTROL, BROKER,     struct worker_kill_body)\
	X(MSG_POOL,           52, CONTROL, EITHER,     struct pool_body)       \
	X(MSG_DRAIN,          53, CONTROL, SUPERVISOR, struct empty_body)      \
	X(MSG_DRAINED,        54, CONTROL, BROKER,     struct empty_body)      \
	X(MSG_BEAT,           55, CONTROL, EITHER,     struct beat_body)       \
	X(MSG_RELOAD,         56, CONTROL, EITHER,     struct request_body)    \
	X(MSG_STOP_DAEMON,    57, CONTROL, BROKER,     struct empty_body)      \
	X(MSG_ASSIGN,         58, CONTROL, SUPERVISOR, struct assign_body)     \
	X(MSG_MANAGER,        59, CONTROL, SUPERVISOR, struct manager_body)    \
	X(MSG_RESOURCE,       60, CONTROL, SUPERVISOR, struct resource_body)    \
	X(MSG_LITTER,         61, CONTROL, CHILD,      struct empty_body)      \
	X(MSG_RECYCLE,        62, CONTROL, BROKER,     struct worker_kill_body)

enum message_type {
#define X(name, value, road, sender, body) name = value,
	MESSAGES(X)
#undef X
};

/* NULL for a value that is no message. */
const char *message_name(unsigned type);

/* Bytes of the body of `type`; 0 for a value that is no message. */
uint32_t message_body(unsigned type);

/* Is `length` enough for the body of `type`, and `type` a message of the list? */
bool message_fits(unsigned type, uint32_t length);

/* ---- frames on control sockets ---- */

struct frame {
	uint32_t magic;
	uint16_t type;
	uint16_t reserved;
	uint32_t length; /* of what follows: body and tail */
};

/* A received frame.  Pointers go into `buffer`; descriptors are the receiver's. */
struct frame_in {
	unsigned type;
	const void *body;
	const unsigned char *tail;
	uint32_t tail_length;
	int fds[FRAME_FDS_MAX];
	int fd_count;
	_Alignas(16) unsigned char buffer[FRAME_MAX];
};

/* Check `size` bytes of `in->buffer` as one frame and set type, body and tail.  Never
 * trusts a length.  -EPROTO with *why set to a sentence for the sender. */
int frame_decode(struct frame_in *in, size_t size, const char **why);

/* The longest record that fits a frame of its own. */
#define FRAME_RECORD_MAX (FRAME_MAX - (uint32_t)sizeof(struct frame))
/* Bytes of records that fit a MSG_RECORDS, a multiple of 16. */
#define FRAME_RECORDS_MAX ((FRAME_RECORD_MAX - (uint32_t)sizeof(struct records_body)) & ~15u)

/* Write one frame to `buffer` (FRAME_MAX bytes): its length, or -EMSGSIZE. */
int frame_encode(void *buffer, unsigned type, const void *body, const void *tail,
		 size_t tail_length);

/* Send one frame: body (its size by type) and tail, with descriptors.  Never blocks when
 * `fd` is non-blocking.  -EAGAIN: no room now.  -EPIPE: the other side is gone.
 * -EMSGSIZE: longer than FRAME_MAX. */
int frame_send(int fd, unsigned type, const void *body, const void *tail, size_t tail_length,
	       const int *fds, int fd_count);

/* Receive one frame; `in->fds` are close-on-exec and the caller's to close, also on
 * failure none is left open.  0 or: -EAGAIN nothing there, -EPIPE end of file, -EPROTO
 * not a frame (*why says what was wrong), -ENOMEM, and it is still there. */
int frame_recv(int fd, struct frame_in *in, const char **why);

/* Has the conversation ended?  No: there is nothing now, or no memory to take it. */
static inline bool
frame_is_end(int r)
{
	return r < 0 && r != -EAGAIN && r != -ENOMEM && r != -ENOBUFS;
}

void frame_close_fds(struct frame_in *in);

#endif
