/*
 * queue.h - bounded queue in shared memory: many producers, many consumers, any processes.
 *
 * A message is 0 to `message_max` bytes, copied in and copied out whole.  Messages come out in
 * the order in which they were put (one that a dead consumer gave back comes late).  The queue
 * has a name (/dev/shm/pyprep.queue.NAME) or lies in memory that the caller gives: a segment.
 *
 * Any member may be killed -9 between any two instructions:
 *   a producer that dies in put   its message is in the queue whole, or nowhere;
 *   a consumer that dies in get   its message is given to another, or it had taken it whole and
 *                                 the message died with it.
 * Whoever meets the dead one's slot, or sleeps for a slice (FUTEX_SLICE_NS), frees it: others
 * wait at most about that long.  The living are never recovered from, however slow: a stopped
 * producer in the middle of a put holds up the consumers, a stopped consumer in the middle of a
 * get the producers (when they come round to its slot).
 *
 * A handle (`struct queue`) is one member of the queue and is used by one thread at a time.
 * After fork() the child uses the same handle as a member of its own: it joins at its first
 * call.  Members must share a pid namespace (shm/owner.h) and trust each other: who may write
 * to the memory may spoil messages and block the queue, though not make others touch memory
 * outside it.
 *
 * Without waiting and waking, nothing here calls the kernel or allocates, but for attaching.
 * Functions return 0 or a negative errno and leave outputs alone on failure; nothing logs.
 *
 * Method: D. Vyukov's bounded MPMC queue (1024cores.net, 2010), with the claim of a slot and the
 * claimer's signature in one compare-and-swap, and head and tail that anybody helps on.
 */
#ifndef PYPREP_IPC_QUEUE_H
#define PYPREP_IPC_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "shm/named.h"

#define QUEUE_PREFIX      NAMED_PREFIX "queue."
#define QUEUE_MAGIC       0x51505050u /* "PPPQ" */
#define QUEUE_VERSION     1u
#define QUEUE_MEMBERS_MAX 256u

#define QUEUE_NO_WAIT UINT64_C(0)
#define QUEUE_FOREVER UINT64_MAX

struct queue; /* one member's handle; not itself shared */

struct queue_options {
	uint32_t capacity;    /* messages, 1 to 2^24; the bound is exact */
	uint32_t message_max; /* bytes, 1 to 2^30 */
	uint32_t members_max; /* handles attached at once, 1 to QUEUE_MEMBERS_MAX; 0: 64 */
	mode_t mode;          /* of a named queue's file; 0: 0600 */
};

/* Bytes of memory a queue takes; 0 when `options` are out of bounds. */
size_t queue_footprint(const struct queue_options *options);

/* Make a queue with a name and attach to it.  -EINVAL: bad name or options.  -EEXIST: the name
 * is taken.  -ENOSPC: /dev/shm is too small. */
int queue_create(const char *name, const struct queue_options *options, struct queue **ret);

/* Attach to a named queue.  -ENOENT: there is none.  -EACCES.  -EPROTO: that file is no queue of
 * this version.  -EUSERS: as many living handles are attached as it has places. */
int queue_open(const char *name, struct queue **ret);

/* Remove the name; who is attached goes on.  -ENOENT. */
int queue_unlink(const char *name);

/* Make a queue in `bytes` of shared memory at `memory`, aligned to 128.  -EINVAL: not aligned,
 * too small, or bad options. */
int queue_init(void *memory, size_t bytes, const struct queue_options *options);

/* Attach to the queue at `memory`, which must stay mapped until queue_detach().  -EPROTO,
 * -EUSERS as above. */
int queue_attach(void *memory, size_t bytes, struct queue **ret);

/* Leave; ends the handle.  Always returns NULL; NULL is fine.  Messages that were got through
 * it and are not done count as lost (queue_join).  In a forked child: the child's membership,
 * never the parent's. */
struct queue *queue_detach(struct queue *q);

/* Put a copy of `length` bytes.  Waits up to `timeout_ns` for room (QUEUE_NO_WAIT,
 * QUEUE_FOREVER).  -EAGAIN: no room, and no wait asked.  -ETIMEDOUT.  -EPIPE: closed.
 * -EMSGSIZE: longer than the queue's limit. */
int queue_put(struct queue *q, const void *message, uint32_t length, uint64_t timeout_ns);

/* Get the next message into `message`, room for `max` bytes.  -EAGAIN: none now, and no wait
 * asked.  -ETIMEDOUT.  -ENODATA: closed, and nothing will ever come again.  -EMSGSIZE: it is
 * longer than `max`; it stays in the queue and *ret_length is its length. */
int queue_get(struct queue *q, void *message, uint32_t max, uint32_t *ret_length,
	      uint64_t timeout_ns);

/* No more puts, by anybody, for ever.  Consumers drain what is there and then get -ENODATA: each
 * message whose put returned 0 is got before that.  Closing twice is fine. */
int queue_close(struct queue *q);
bool queue_is_closed(const struct queue *q);

/* Messages in the queue, as seen at one moment of the call. */
uint64_t queue_size(const struct queue *q);

uint32_t queue_capacity(const struct queue *q);
uint32_t queue_message_max(const struct queue *q);

/* A message got through this handle is done.  -EINVAL: more often than messages were got. */
int queue_task_done(struct queue *q);

/* Wait until every message that was put is done, or lost: got by a member that left or died
 * before it was done.  *ret_lost (may be NULL) counts those of the queue's whole life.
 * -ETIMEDOUT; -EAGAIN with QUEUE_NO_WAIT. */
int queue_join(struct queue *q, uint64_t timeout_ns, uint64_t *ret_lost);

/* Look for dead members now and free what they held.  Returns how many were dead, or -EAGAIN
 * when somebody else is at it. */
int queue_recover(struct queue *q);

struct queue_member {
	pid_t pid;
	bool alive;
	uint64_t joined_ns; /* CLOCK_REALTIME */
	/* Since it joined.  A member killed inside a call may lack that call's message. */
	uint64_t puts, gets, done;
};

struct queue_stat {
	uint32_t capacity, message_max, members_max;
	bool closed;
	uint64_t bytes;      /* of memory */
	pid_t creator;       /* pid; it may be long gone */
	uint64_t created_ns; /* CLOCK_REALTIME */
	uint64_t depth;      /* messages in it */
	uint64_t high_water; /* the largest depth seen; beyond 16 only each 16th put looks */
	/* Exact when nobody is inside a call.  puts = gets + depth then. */
	uint64_t puts, gets;
	uint64_t unfinished; /* put, and neither done nor lost */
	uint64_t lost;       /* got by a member that left or died before it was done */
	uint64_t bytes_in, bytes_out;
	uint64_t waits_for_room, waits_for_messages; /* calls that did not succeed at once */
	uint64_t skipped;  /* slots freed of a dead producer: never a message */
	uint64_t returned; /* messages given back by a dead consumer's get */
	uint32_t attached; /* members; the first QUEUE_MEMBERS_MAX of them below */
	struct queue_member members[QUEUE_MEMBERS_MAX];
};

void queue_stat(const struct queue *q, struct queue_stat *ret);

/* The same from outside: `memory` may be mapped read-only, and nothing is joined or changed.
 * -EPROTO: this is no queue of this version. */
int queue_stat_memory(const void *memory, size_t bytes, struct queue_stat *ret);
int queue_stat_named(const char *name, struct queue_stat *ret);

/* The same from a descriptor of a named queue's file, which is read and never mapped. */
int queue_look(int fd, struct queue_stat *ret);

#endif
