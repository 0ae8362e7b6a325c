/*
 * link.h - what the broker and one worker share: a segment with a table of tickets, and two
 * directions for records.
 *
 *   requests  broker -> worker: MSG_RUN, MSG_STOP
 *   results   worker -> broker: MSG_RESULT, MSG_RUN_OUTPUT, MSG_RUN_ITEMS
 *
 * How records travel is the link's way (link_end.h); who has a job is said by its ticket
 * alone, in the segment, whatever the way.  A ticket is the right to run one job.  Its state
 * decides who has the job, whoever dies in between:
 *
 *   FREE -> READY      broker, before it publishes the MSG_RUN that carries the ticket
 *   READY -> CLAIMED   worker, by compare-and-swap, before it starts
 *   READY -> FREE      broker, by compare-and-swap: taken back, so that nothing waits
 *                      behind a long job; the worker then skips the stale record
 *   CLAIMED -> DONE    worker, right after it published the result
 *   DONE -> FREE       broker, when it has read the result
 *
 * After a worker's death the broker first drains the results, then walks the tickets: DONE
 * has been read, CLAIMED is what died with it, READY goes back untouched.  A new broker after
 * the old one's death walks the same table: READY is taken back, CLAIMED is still running, DONE
 * is over; nobody waits for its result, which may have died with the old broker.
 *
 * The word of a ticket is generation << 2 | state, so that a record of an earlier
 * use never matches.  The broker hands out tickets; only it changes `id`.
 *
 * A worker with threads serialises its calls by locks of its own, one for each direction: a
 * direction has one producer and one consumer.
 */
#ifndef PYPREP_IPC_LINK_H
#define PYPREP_IPC_LINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/link_end.h"
#include "ipc/message.h"
#include "ipc/wake.h"

#define LINK_TICKETS 2048u

enum ticket_state { TICKET_FREE, TICKET_READY, TICKET_CLAIMED, TICKET_DONE };

struct ticket {
	_Atomic uint64_t word;       /* generation << 2 | enum ticket_state */
	_Atomic uint64_t claimed_ns; /* worker: when it claimed */
	_Atomic uint64_t id;         /* broker: the job */
	_Atomic uint64_t
		deadline_span_ns; /* broker: timeout of the run, 0 none; for its successor */
};

struct link_shared {
	_Alignas(RING_LINE) struct wake worker; /* the worker sleeps */
	_Atomic uint32_t worker_ready;          /* worker: has said ready, jobs may come */
	_Atomic uint32_t worker_wants_room;     /* worker: sleeps until the results have room */
	_Atomic uint64_t ready_ns;              /* worker: when it was */
	_Atomic uint32_t used; /* broker: something was sent by another way than the ring */
	uint32_t way;          /* supervisor, before anybody maps it: enum link_way */
	char address[LINK_ADDRESS_MAX]; /* the same: where its sockets are bound; "": nowhere */
	_Alignas(RING_LINE) _Atomic uint64_t claims; /* worker: jobs ever claimed */
	_Alignas(RING_LINE) struct ticket tickets[LINK_TICKETS];
	_Alignas(RING_LINE) unsigned char carried[]; /* the way's own: rings, queues */
};

#define BOARD_SPARES 2

/* One memory that all of pyprepd's processes map from birth; the supervisor makes it. */
struct board {
	_Alignas(RING_LINE) struct wake broker; /* the broker sleeps */
	_Atomic uint64_t next_id;               /* broker: the next job's id; outlives it */
	_Atomic uint32_t broker_generation;     /* supervisor */
	_Atomic uint32_t spare_pid;             /* supervisor: the worker without a slot; 0: none */
	_Atomic uint64_t spare_links[BOARD_SPARES]; /* supervisor: inodes of links kept; 0: none */
	_Atomic uint64_t inode;                     /* supervisor: of this memory */
};

#define TICKET_INDEX_BITS 16
/* What travels as `ticket` in messages: generation << 16 | index. */
static inline uint64_t
ticket_name(uint32_t index, uint64_t generation)
{
	return generation << TICKET_INDEX_BITS | index;
}
static inline uint32_t
ticket_index(uint64_t name)
{
	return (uint32_t)(name & ((1u << TICKET_INDEX_BITS) - 1));
}
static inline uint64_t
ticket_generation(uint64_t name)
{
	return name >> TICKET_INDEX_BITS;
}
static inline enum ticket_state
ticket_state(const struct ticket *t)
{
	return (enum ticket_state)(atomic_load_explicit(&t->word, memory_order_acquire) & 3);
}

/* ---- making one: the supervisor's part (link_make.c) ---- */

/* All descriptors of a link; -1: the way has none there.  The supervisor keeps them as long as
 * the worker lives, so that what was sent outlives whoever should read it. */
struct link_fds {
	int memfd;
	int bell;      /* eventfd: wakes the worker */
	int broker[2]; /* what the broker is given beside them */
	int worker[2]; /* ... and the worker */
};
#define LINK_NO_FDS                 \
	{                           \
		-1, -1, { -1, -1 }, \
		{                   \
			-1, -1      \
		}                   \
	}

size_t link_footprint(enum link_way way);

/* `directory` is where sockets are bound, by ways that bind any. 0 or -errno. */
int link_create(enum link_way way, const char *directory, struct link_fds *ret);

/* As they travel with a message, memfd and bell first: at most 4, how many. */
int link_fds_for(const struct link_fds *fds, bool broker, int *ret);
void link_fds_from(struct link_fds *ret, bool broker, const int *fds, int count);

/* Close what is there, remove what was bound, and set all to -1. */
void link_discard(struct link_fds *fds);

/* Remove what a killed supervisor left in `directory`. */
void link_sweep(const char *directory);

/* Map a link's segment, whatever its way.  0 or -errno; unmap with link_unmap(). */
int link_map(int memfd, struct link_shared **ret);
void link_unmap(struct link_shared *shared);

/* ---- the worker's side ---- */

struct link_worker {
	struct link_shared *shared;
	struct board *board;
	struct link_end requests;
	struct link_end results;
	int bell;        /* eventfd the broker rings */
	int broker_bell; /* eventfd that wakes the broker */
};

/* Takes what is in `worker` over, on success; the bells stay the caller's.  0 or -errno. */
int link_worker_attach(struct link_worker *l, struct link_shared *shared, struct board *board,
		       const struct link_fds *fds, int broker_bell);

/* Let go at an orderly end: what was published still gets there, if there is a broker. */
void link_worker_detach(struct link_worker *l);

/* Say ready: from now on the broker sends jobs. */
void link_worker_ready(struct link_worker *l);

/* Is a request there? */
static inline bool
link_has_request(struct link_worker *l)
{
	return !end_is_empty(&l->requests);
}

/* The next request (MSG_RUN or MSG_STOP), or NULL.  A MSG_RUN comes back with its ticket
 * claimed; one that was taken back is skipped.  Valid until link_release(), which must follow
 * before the next call. */
const struct ring_record *link_next(struct link_worker *l);

/* The same, nothing claimed and nothing skipped: for who looks for a MSG_STOP behind. */
static inline const struct ring_record *
link_peek(struct link_worker *l)
{
	return end_peek(&l->requests);
}

static inline void
link_release(struct link_worker *l, const struct ring_record *record)
{
	end_release(&l->requests, record);
}

/* Claim the ticket of a request that link_peek() gave: false when the broker has taken it
 * back. */
bool link_claim(struct link_worker *l, const struct run_body *run);

/* Have the results room for a record of `length`? */
static inline bool
link_has_room(struct link_worker *l, uint32_t length)
{
	return end_has_room(&l->results, length);
}

/* The same; if not, the worker's bell or link_room_fd() tells when to look again. */
bool link_ask_room(struct link_worker *l, uint32_t length);

/* Descriptors to poll for reading beside the bell while one waits for requests, and for room;
 * -1: none.  They stay readable until one has looked by link_has_request(), link_has_room(). */
static inline int
link_request_fd(const struct link_worker *l)
{
	return l->requests.fd;
}
static inline int
link_room_fd(const struct link_worker *l)
{
	return l->results.fd;
}

/* A place for a record of the results; waits while there is no room (the broker, or its
 * successor, drains it).  `length` counts body and tail.  Then link_publish(). */
void *link_reserve(struct link_worker *l, unsigned type, uint32_t length);
void link_publish(struct link_worker *l, uint32_t length);

/* Publish a result and set its ticket done; `result` and `message` may be NULL, their
 * lengths are in body->outcome.  Longer ones than a record can take are cut. */
void link_finish(struct link_worker *l, const struct result_body *body, const void *result,
		 const void *message);

/* Wait for a request by the policy of wake.h, or until `other_fd` (-1: none) is readable.
 * Returns 1 when a request is there, 0 when only other_fd is, -EINTR on a signal. */
int link_wait(struct link_worker *l, int other_fd);

/* The same; -ETIMEDOUT when it has slept for `timeout_ms` (-1: for ever). */
int link_wait_for(struct link_worker *l, int other_fd, int timeout_ms);

/* ---- the broker's side ---- */

struct link_broker {
	struct link_shared *shared;
	struct link_end requests;
	struct link_end results;
	int bell; /* owned: closed by link_broker_detach() */
	uint32_t free_count;
	uint16_t free_list[LINK_TICKETS]; /* indexes of free tickets, a stack */
};

/* Map `memfd` (not kept) and take `bell` and `broker` over.  Tickets that are not free stay so:
 * see the walk of a new broker.  0, or -errno and nothing taken. */
int link_broker_attach(struct link_broker *l, const struct link_fds *fds);
void link_broker_detach(struct link_broker *l);

/* Was nothing ever sent through it?  Then every ticket is free, without looking. */
bool link_is_fresh(const struct link_broker *l);

/* Write one MSG_RUN: fills the body's ticket and lengths, publishes, rings no bell.  Returns the
 * ticket's index, -EAGAIN when there is no ticket or no room, -EMSGSIZE when it never fits.
 * The tail is `args` followed by `context` (which may be NULL). */
int link_send_run(struct link_broker *l, struct run_body *body, const void *args,
		  uint32_t args_length, const void *context, uint32_t context_length);

/* Ask the worker to end a running job.  0 or -EAGAIN. */
int link_send_stop(struct link_broker *l, uint32_t index, enum job_cause reason);

/* Ring the worker if it sleeps. */
void link_wake(struct link_broker *l);

/* Descriptors to watch for reading beside the broker's bell: news of results, and of room or the
 * worker's connection; -1: none.  They stay readable until one has looked, by link_result(),
 * link_has_request_room(). */
static inline int
link_result_fd(const struct link_broker *l)
{
	return l->results.fd;
}
static inline int
link_request_room_fd(const struct link_broker *l)
{
	return l->requests.fd;
}
static inline bool
link_has_request_room(struct link_broker *l)
{
	return end_has_room(&l->requests, 0);
}

/* The next record of the results, or NULL.  Valid until link_result_release(), which must
 * follow before the next call. */
static inline bool
link_has_result(struct link_broker *l)
{
	return !end_is_empty(&l->results);
}
static inline const struct ring_record *
link_result(struct link_broker *l)
{
	return end_peek(&l->results);
}
static inline void
link_result_release(struct link_broker *l, const struct ring_record *record)
{
	end_release(&l->results, record);
}

/* Take a ticket back that the worker has not claimed: true when it is ours again. */
bool link_reclaim(struct link_broker *l, uint32_t index);

/* Give back a ticket whose result has been read, or whose worker is dead. */
void link_free_ticket(struct link_broker *l, uint32_t index);

/* Does `name` name the ticket's present use? */
bool link_ticket_is(struct link_broker *l, uint64_t name);

/* The worker may wait for room: ring it after draining. */
void link_drained(struct link_broker *l);

#endif
