/*
 * link_end.h - one side of one direction of a link: the ring, or one of the other ways that
 * records can travel between the same two processes.
 *
 * All ways have the ring's interface: a place is reserved, filled and committed; the next record
 * is looked at and released.  The ring does that in place.  The others (link_stage.c) have a
 * record of their own on each side, in private memory, and a struct link_carrier that sends and
 * receives it whole.  What the receiver holds there has left the transport: it dies with the
 * receiver.  Tickets (link.h) say what that means for its job.
 *
 * A record is 0 to LINK_BODY_MAX bytes of body.  The ring's calls are inline: one comparison is
 * what it costs that there are others.  One thread at a time may use an end.
 */
#ifndef PYPREP_IPC_LINK_END_H
#define PYPREP_IPC_LINK_END_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/ring.h"

#define LINK_REQUEST_BYTES (256u * 1024) /* of the rings */
#define LINK_RESULT_BYTES  (256u * 1024)
#define LINK_BODY_MAX      (LINK_RESULT_BYTES / 2 - 32) /* ring_body_max() of both */
#define LINK_ADDRESS_MAX   100

enum link_way { LINK_RING, LINK_PIPE, LINK_QUEUE, LINK_ZMQ, LINK_WAY_COUNT };

struct link_end;

/* What a carrier knows of itself, for those who list it. */
#define LINK_NOT_KNOWN UINT64_MAX
struct link_look {
	int fd;                                                   /* the socket; -1: none */
	uint64_t bytes;                                           /* of memory */
	uint64_t in, out, bytes_in, bytes_out, depth, depth_high; /* messages, bytes */
};

/* How a staged record travels.  Nothing here waits. */
struct link_carrier {
	/* All of it or nothing: 0, or -EAGAIN when there is no room. */
	int (*send)(struct link_end *e, const void *record, uint32_t size);
	/* Its size, or -EAGAIN when there is none. */
	int (*receive)(struct link_end *e, void *record, uint32_t room);
	bool (*has_room)(struct link_end *e, uint32_t size);
	/* Bytes under way now, as this end sees it.  NULL: not known. */
	uint64_t (*used)(struct link_end *e);
	void (*close)(struct link_end *e);
	void (*look)(const struct link_end *e, struct link_look *ret); /* NULL: nothing is known */
};

struct link_end {
	const struct link_carrier *carrier; /* NULL: the ring */
	int fd; /* readable when there may be something or room; -1: the bells tell */
	struct ring ring;
	/* The others: */
	struct ring_record *staged; /* LINK_BODY_MAX long */
	bool full;                  /* receiver: a record stands in `staged` */
	void *carried;              /* the carrier's own */
	uint64_t records, bytes;    /* sent or received through this end, with their heads */
	uint64_t high;              /* most bytes seen under way; 0: not known */
};

/* link_stage.c */
int stage_open(struct link_end *e, const struct link_carrier *carrier, void *carried, int fd);
void stage_close(struct link_end *e);
void *stage_reserve(struct link_end *e, uint32_t type, uint32_t length);
int stage_commit(struct link_end *e, uint32_t length);
bool stage_has_room(struct link_end *e, uint32_t length);
const struct ring_record *stage_peek(struct link_end *e);

/* Sender: a place for a body of `length` bytes, or NULL: no room now. */
static inline void *
end_reserve(struct link_end *e, uint32_t type, uint32_t length)
{
	return e->carrier == NULL ? ring_reserve(&e->ring, type, length)
				  : stage_reserve(e, type, length);
}

/* Sender: send what was reserved, cut to `length`.  0; never the ring: -EAGAIN, there was no room
 * after all; it may be committed again, or dropped by reserving again. */
static inline int
end_commit(struct link_end *e, uint32_t length)
{
	if (e->carrier != NULL)
		return stage_commit(e, length);
	ring_commit(&e->ring, length);
	return 0;
}

static inline bool
end_has_room(struct link_end *e, uint32_t length)
{
	return e->carrier == NULL ? ring_has_room(&e->ring, length) : stage_has_room(e, length);
}

/* Receiver: the next record, or NULL.  Valid until end_release(). */
static inline const struct ring_record *
end_peek(struct link_end *e)
{
	return e->carrier == NULL ? ring_peek(&e->ring) : stage_peek(e);
}

static inline void
end_release(struct link_end *e, const struct ring_record *record)
{
	if (e->carrier == NULL)
		ring_release(&e->ring, record);
	else
		e->full = false;
}

/* Receiver: is nothing there? */
static inline bool
end_is_empty(struct link_end *e)
{
	return e->carrier == NULL ? ring_is_empty(&e->ring) : stage_peek(e) == NULL;
}

/* ---- the ways: one row each, in link_make.c ---- */

struct link_shared;
struct link_fds;

struct link_row {
	const char *name; /* as in the config: link = name */
	const char *help;
	bool loses;                /* what its sender published may die with the sender */
	size_t (*footprint)(void); /* of link_shared.carried */
	/* Supervisor: make what lies in the segment, mapped for that.  NULL: zeros will do. */
	int (*init)(void *carried);
	/* Supervisor: make the descriptors beside memfd and bell; `address` is to be filled by
	 * ways that bind sockets in `directory`.  NULL: there is nothing to make. */
	int (*make)(struct link_fds *fds, const char *directory, char *address);
	/* Supervisor: remove what was bound; the descriptors are closed after.  NULL: nothing. */
	void (*discard)(struct link_fds *fds);
	/* Attach one side; takes the side's descriptors over on success. */
	int (*open)(struct link_shared *shared, const struct link_fds *fds, bool broker,
		    struct link_end *requests, struct link_end *results);
};
extern const struct link_row link_rows[LINK_WAY_COUNT];

/* false: there is none of that name. */
bool link_way_by_name(const char *name, enum link_way *ret);

/* The rows' functions. */
size_t link_ring_footprint(void);
int link_ring_open(struct link_shared *shared, const struct link_fds *fds, bool broker,
		   struct link_end *requests, struct link_end *results);
size_t link_pipe_footprint(void);
int link_pipe_make(struct link_fds *fds, const char *directory, char *address);
int link_pipe_open(struct link_shared *shared, const struct link_fds *fds, bool broker,
		   struct link_end *requests, struct link_end *results);
size_t link_queue_footprint(void);
int link_queue_init(void *carried);
int link_queue_open(struct link_shared *shared, const struct link_fds *fds, bool broker,
		    struct link_end *requests, struct link_end *results);
size_t link_zmq_footprint(void);
int link_zmq_make(struct link_fds *fds, const char *directory, char *address);
void link_zmq_discard(struct link_fds *fds);
int link_zmq_open(struct link_shared *shared, const struct link_fds *fds, bool broker,
		  struct link_end *requests, struct link_end *results);

#endif
