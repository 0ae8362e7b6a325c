/*
 * zmq.h - ZeroMQ sockets; zmq.c is the one file that knows libzmq.
 *
 * libzmq.so.5 is opened at first use and never linked: it brings 17 libraries, which a
 * process that sends nothing over ZeroMQ does not pay for.  Where it is missing, the first call
 * says so (-ELIBACC; zmq_problem() is the sentence) and all else works.
 *
 * libzmq's threads do not survive fork().  So the context belongs to the process that made
 * it (a child gets its own at first use), and the supervisor, which forks, never calls this.
 *
 * Endpoints are unix sockets (ipc://PATH).  The listening socket may be made by somebody else
 * (zmq_end_listen): then its name and the clients waiting to be accepted survive the process
 * that serves it.
 *
 * Sends and receives never wait.  In an event loop, watch zmq_end_fd() for reading, always: it
 * is edge-triggered and says only that zmq_end_events() may have changed.  After every wake, and
 * after every send, receive until -EAGAIN or ask zmq_end_events() again: who stops early, or
 * only sends, sleeps over what is there.
 *
 * One thread at a time per socket.  Functions return 0 or a negative errno and leave *ret
 * alone on failure; nothing here logs.
 */
#ifndef PYPREP_IPC_ZMQ_H
#define PYPREP_IPC_ZMQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Open the library, once per process.  -ELIBACC: it is missing or too old. */
int zmq_load(void);

/* Why zmq_load() failed: what is missing and which package has it. */
const char *zmq_problem(void);

struct zmq_end; /* one socket */

enum zmq_kind {
	ZMQ_END_PAIR,   /* one to one */
	ZMQ_END_DEALER, /* a client of a ROUTER; many requests under way */
	ZMQ_END_ROUTER, /* many clients; the first part of a message is the client's id */
};

/* What one peer may make us keep.  0: libzmq's default (1,000 messages; no bound on bytes). */
struct zmq_limits {
	int messages_in,
		messages_out;  /* queued, per peer; beyond it a ROUTER drops, others -EAGAIN */
	int64_t message_bytes; /* a longer message ends its connection */
	bool mandatory; /* a ROUTER says -EAGAIN, and -EHOSTUNREACH for one that is gone */
	int linger_ms;  /* what is unsent at zmq_end_close() may take so long; 0: it is dropped */
};

/* A socket of this process's context.  Nothing unsent outlives it, unless linger_ms lets it.  The caller owns *ret and ends
 * it with zmq_end_close().  -ELIBACC, -EMFILE. */
int zmq_end_open(enum zmq_kind kind, const struct zmq_limits *limits, struct zmq_end **ret);
void zmq_end_close(struct zmq_end *e); /* NULL is fine */

/* Before this process ends, all ends closed: wait for what linger_ms allows to be sent still.  The
 * library's threads would end with the process. */
void zmq_finish(void);

/* Serve `path`.  `listener`: a listening unix stream socket bound there already; it is copied, the
 * name is not touched, and closing the end leaves it listening.  -1: bind it here. */
int zmq_end_listen(struct zmq_end *e, const char *path, int listener);

/* Connect in the background, and again whenever the other side is lost: what was under way is
 * then gone without a word. */
int zmq_end_connect(struct zmq_end *e, const char *path);

int zmq_end_fd(const struct zmq_end *e);

/* What can be done now: POLLIN, POLLOUT. */
short zmq_end_events(struct zmq_end *e);

/* Sleep until `events` are there, at most `timeout_ms` (-1: for ever).  1, 0 at the end of the
 * time, -EINTR. */
int zmq_end_wait(struct zmq_end *e, short events, int timeout_ms);

/* Send `count` parts as one message; they are copied.  -EAGAIN: the queue is full, or nobody is
 * connected.  A ROUTER drops what is for a client that is gone: 0 (-EHOSTUNREACH: mandatory). */
int zmq_end_send(struct zmq_end *e, const struct iovec *parts, unsigned count);

#define ZMQ_PARTS_MAX 4

/* A received message.  The parts are libzmq's memory until zmq_message_free(). */
struct zmq_message {
	unsigned count;
	struct iovec part[ZMQ_PARTS_MAX];
	struct {
		_Alignas(8) unsigned char bytes[64];
	} held[ZMQ_PARTS_MAX]; /* zmq_msg_t */
};

/* The next message.  -EAGAIN: none.  -EMSGSIZE: it had more than ZMQ_PARTS_MAX parts, and is
 * dropped. */
int zmq_end_recv(struct zmq_end *e, struct zmq_message *ret);
void zmq_message_free(struct zmq_message *m); /* and empties it: twice is fine */

/* Who sent it, by the kernel's word (SO_PEERCRED of the unix socket).  -ENODATA: not known. */
struct zmq_peer {
	uid_t uid;
	gid_t gid;
	pid_t pid;
};
int zmq_message_peer(struct zmq_message *m, struct zmq_peer *ret);

#endif
