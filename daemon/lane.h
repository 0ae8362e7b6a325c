/*
 * lane.h - how a client's records travel between it and the broker.  A lane is one table of
 * operations; what is taken from a lane's rings and put into them (clients.c, outlet.c) is the
 * same for all.
 *
 *   none  requests only
 *   shm   the rings lie in memory that both map; the socket carries bells (lane_shm.c)
 *   unix  the rings are the broker's own; frames on the socket fill and empty them (lane_unix.c)
 *   zmq   the same through one ZeroMQ socket for all clients of this sort (lane_zmq.c)
 *
 * To add a lane: a file with its table, a row in protocol.md, and its name in the suite of
 * tests/daemon/test_lanes.c.
 */
#ifndef PYPREP_DAEMON_LANE_H
#define PYPREP_DAEMON_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct broker;
struct client;

struct lane_ops {
	const char *name;
	/* What has come, into lane.in.  NULL: it is there without our doing. */
	void (*pull)(struct broker *b, struct client *c);
	/* At the end of a turn: what was put into lane.out travels, who sleeps is rung. */
	void (*flush)(struct client *c);
	/* A frame on its control road: 0, -EAGAIN no room now, -EPIPE it is gone, -EMSGSIZE. */
	int (*send)(struct client *c, unsigned type, const void *body, const void *tail,
		    size_t tail_length);
	/* Watch its road for what client.writing and client.blocked say.  NULL: no need. */
	void (*listen)(struct broker *b, struct client *c);
	/* Hang up.  The rings are still there. */
	void (*close)(struct client *c);
};

extern const struct lane_ops lane_none, lane_shm, lane_unix, lane_zmq;

/* lane_shm.c: make the segment; *ret_fd is the memfd for the client.  0 or -errno. */
int lane_shm_open(struct client *c, uint64_t wanted_bytes, int *ret_fd);

/* lane_frames.c: what unix and zmq share. */
int lane_frames_open(struct client *c);
/* The records of a frame, into lane.in; one who breaks the rules is let go. */
void lane_frames_take(struct broker *b, struct client *c, const void *frame_in);
void lane_frames_flush(struct client *c);
/* Put a record longer than any frame: as several, or a receipt without its result, saying so. */
struct part;
void lane_frames_put_long(struct broker *b, struct client *c, unsigned type,
			  const struct part *parts);

/* lane_zmq.c: nothing is loaded and nothing listens unless the configuration says so. */
struct zmq_lane;
int zmq_lane_open(struct broker *b);
void zmq_lane_close(struct broker *b);
unsigned zmq_lane_poll(struct broker *b); /* one look; how many messages came */
bool zmq_lane_pending(struct broker *b);  /* right before sleeping */

/* lane_unix.c: the socket of none, shm and unix. */
int lane_socket_send(struct client *c, unsigned type, const void *body, const void *tail,
		     size_t tail_length);
void lane_socket_listen(struct broker *b, struct client *c);
void lane_socket_close(struct client *c);

#endif
