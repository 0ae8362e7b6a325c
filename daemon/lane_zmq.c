/*
 * lane_zmq.c - records as frames through one ZeroMQ ROUTER for all clients of this sort.
 *
 * A message is one frame behind the peer's id.  A peer becomes a client by its hello.  libzmq
 * hides connections: it connects again by itself and does not say when a peer has gone.  So a
 * client names its process (shm/owner.h) and is let go when that ends; one that names none has to
 * send something now and then (zmq_idle).  The socket's mode lets in nobody but the daemon's own
 * user and root: who is here counts as the daemon's user.
 *
 * Memory of one peer: QUEUE messages each way in libzmq, and what every client may have (rings,
 * backlog).  libzmq does not say when a full queue has room again: it is tried every few ms.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/broker.h"
#include "daemon/log.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"
#include "ipc/zmq.h"
#include "shm/owner.h"

#define QUEUE         64 /* messages of one peer, each way */
#define BUCKETS       256u
#define TAKEN_AT_ONCE 64u /* taken in one look */
#define QUIET_LOOKS   64u
#define AGAIN_MS      5u    /* until a full queue is tried again */
#define SWEEP_MS      1000u /* clients that name no process are looked at this often */
#define LINGER_MS     200   /* for the last receipts, when the daemon stops */
#define UNREAD_MAX    (4u * 1024 * 1024)

struct zmq_client {          /* what a client of this lane has beside the rest */
	struct client *next; /* in its bucket */
	struct event *death; /* its process's pidfd; NULL: it named none */
	int pidfd;
	uint64_t heard_ns;
	uint32_t id_length;
	unsigned char id[255];
};

struct zmq_lane {
	struct zmq_end *end;
	struct event *readable, *again;
	struct client *buckets[BUCKETS];
	uint32_t unnamed;     /* clients that named no process */
	unsigned quiet;       /* looks in a row that found nothing */
	struct zmq_peer peer; /* of the message being looked at; pid 0: not known */
	bool again_soon;
};

/* ---- peers ---- */

static struct client **
bucket_of(struct zmq_lane *z, const struct iovec *id)
{
	const unsigned char *bytes = id->iov_base;
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < id->iov_len; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return &z->buckets[hash % BUCKETS];
}

static struct client *
find(struct zmq_lane *z, const struct iovec *id)
{
	struct client *c = *bucket_of(z, id);

	while (c != NULL && (c->zmq->id_length != id->iov_len ||
			     memcmp(c->zmq->id, id->iov_base, id->iov_len) != 0))
		c = c->zmq->next;
	return c;
}

static int
send_to(struct zmq_lane *z, const struct iovec *id, unsigned type, const void *body,
	const void *tail, size_t tail_length)
{
	static unsigned char frame[FRAME_MAX];
	int n = frame_encode(frame, type, body, tail, tail_length);

	if (n < 0)
		return n;
	struct iovec parts[] = { *id, { frame, (size_t)n } };
	int r = zmq_end_send(z->end, parts, 2);
	return r == -EHOSTUNREACH ? -EPIPE : r;
}

static void
turn_away(struct zmq_lane *z, const struct iovec *id, enum job_error error, const char *text)
{
	struct refused_body body = { .error = error };

	(void)send_to(z, id, MSG_REFUSED, &body, text, strlen(text));
}

static void
schedule(struct broker *b)
{
	struct zmq_lane *z = b->zmq;
	unsigned ms = z->again_soon ? AGAIN_MS : SWEEP_MS;
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	if (z->unnamed > 0 || z->again_soon)
		event_add(z->again, &tv);
}

/* ---- the lane's operations ---- */

static int
send_frame(struct client *c, unsigned type, const void *body, const void *tail, size_t tail_length)
{
	struct iovec id = { c->zmq->id, c->zmq->id_length };
	int r = send_to(c->broker->zmq, &id, type, body, tail, tail_length);

	c->frames_out += r == 0;
	return r;
}

static void
listen_again(struct broker *b, struct client *c)
{
	b->zmq->again_soon |= c->writing || c->blocked;
	schedule(b);
}

static void
hang_up(struct client *c)
{
	struct zmq_lane *z = c->broker->zmq;
	struct iovec id = { c->zmq->id, c->zmq->id_length };
	struct client **at = bucket_of(z, &id);

	while (*at != c)
		at = &(*at)->zmq->next;
	*at = c->zmq->next;
	if (c->zmq->death != NULL) {
		event_free(c->zmq->death);
		close(c->zmq->pidfd);
	} else {
		z->unnamed--;
	}
	free(c->zmq);
	frames_close(&c->frames);
}

const struct lane_ops lane_zmq = {
	.name = "zmq",
	.flush = lane_frames_flush,
	.send = send_frame,
	.listen = listen_again,
	.close = hang_up,
};

/* ---- clients come ---- */

static void
on_death(evutil_socket_t fd, short what, void *context)
{
	(void)fd, (void)what;
	client_doom(context);
}

/* Watch the process that the hello names.  One that is another's, by the kernel's word, or is not
 * there, is none. */
static void
watch_process(struct broker *b, struct client *c, uint64_t owner)
{
	pid_t pid = owner_pid(owner);

	c->zmq->pidfd = -1;
	if (owner == OWNER_NOBODY || (b->zmq->peer.pid != 0 && b->zmq->peer.pid != pid))
		return;
	scoped_fd fd = (int)syscall(SYS_pidfd_open, pid, 0);
	/* After the pidfd: from now on the pid cannot be another's. */
	if (fd < 0 || !owner_alive(owner))
		return;
	c->who.pid = pid;
	c->zmq->death = event_new(b->base, fd, EV_READ, on_death, c);
	if (c->zmq->death == NULL || event_add(c->zmq->death, NULL) < 0)
		return;
	c->zmq->pidfd = take_fd(&fd);
}

static void
admit_peer(struct broker *b, const struct iovec *id, struct frame_in *in)
{
	struct zmq_lane *z = b->zmq;
	struct identity who = { .pid = z->peer.pid, .uid = geteuid(), .gid = getegid() };
	struct zmq_client *extra = calloc(1, sizeof(*extra));
	uint64_t owner = OWNER_NOBODY;

	struct client *c = extra != NULL ? client_new(b, &who, ACCESS_OPERATE) : NULL;
	if (c == NULL) {
		free(extra);
		turn_away(z, id, ERR_TOO_MANY, "too many clients are connected; try again later");
		return;
	}
	c->zmq = extra;
	c->fd = -1;
	c->lane_ops = &lane_zmq;
	extra->id_length = (uint32_t)id->iov_len;
	memcpy(extra->id, id->iov_base, id->iov_len);
	struct client **bucket = bucket_of(z, id);
	extra->next = *bucket;
	*bucket = c;
	if (in->tail_length >= sizeof(owner))
		memcpy(&owner, in->tail, sizeof(owner));
	watch_process(b, c, owner);
	z->unnamed += extra->death == NULL;
	extra->heard_ns = b->now_ns;
	schedule(b);
	client_on_frame(b, c, in);
}

/* ---- messages ---- */

static void
on_message(struct broker *b, struct zmq_message *m)
{
	static struct frame_in in; /* 64 KiB: not on the stack */
	struct zmq_lane *z = b->zmq;
	const struct iovec *id = &m->part[0], *frame = &m->part[m->count - 1];
	struct client *c = find(z, id);
	const char *why = "a message is one frame";

	if (c != NULL && c->doomed)
		return;
	if (zmq_message_peer(m, &z->peer) < 0)
		z->peer = (struct zmq_peer){ 0 };
	int r = m->count == 2 && frame->iov_len <= sizeof(in.buffer) ? 0 : -EPROTO;
	if (r == 0) {
		memcpy(in.buffer, frame->iov_base, frame->iov_len);
		in.fd_count = 0;
		r = frame_decode(&in, frame->iov_len, &why);
	}
	if (r == 0 && c == NULL && in.type == MSG_HELLO && id->iov_len <= sizeof(c->zmq->id))
		admit_peer(b, id, &in);
	else if (c == NULL && (r < 0 || in.type != MSG_BYE))
		turn_away(z, id, ERR_BAD_REQUEST, r < 0 ? why : "say hello first");
	if (c == NULL)
		return;
	c->zmq->heard_ns = b->now_ns;
	if (r < 0)
		client_broke_rules(c, why);
	else if (c->writing && c->backlog_bytes > UNREAD_MAX)
		client_broke_rules(c, "it asks and does not read the replies");
	else
		client_on_frame(b, c, &in);
}

unsigned
zmq_lane_poll(struct broker *b)
{
	struct zmq_lane *z = b->zmq;
	struct zmq_message m;
	unsigned n = 0;

	if (z == NULL || z->quiet >= QUIET_LOOKS)
		return 0;
	while (n < TAKEN_AT_ONCE) {
		int r = zmq_end_recv(z->end, &m);
		if (r == -EAGAIN)
			break;
		n++;
		if (r < 0)
			continue; /* too many parts, and dropped */
		on_message(b, &m);
		zmq_message_free(&m);
	}
	z->quiet = n > 0 ? 0 : z->quiet + 1;
	return n;
}

bool
zmq_lane_pending(struct broker *b)
{
	if (b->zmq == NULL || (zmq_end_events(b->zmq->end) & POLLIN) == 0)
		return false;
	b->zmq->quiet = 0;
	return true;
}

static void
on_readable(evutil_socket_t fd, short what, void *context)
{
	struct broker *b = context;

	(void)fd, (void)what;
	/* Edge-triggered: asking is what makes it quiet. */
	(void)zmq_lane_pending(b);
}

/* Try full queues again; let go of those that named no process and are silent. */
static void
on_again(evutil_socket_t fd, short what, void *context)
{
	struct broker *b = context;
	struct zmq_lane *z = b->zmq;

	(void)fd, (void)what;
	z->again_soon = false;
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (struct client *c = z->buckets[i]; c != NULL; c = c->zmq->next) {
			if (c->doomed)
				continue;
			if (c->writing)
				client_flush_replies(b, c);
			if (c->blocked && !c->doomed)
				client_unblock(b, c);
			if (c->zmq->death == NULL &&
			    b->now_ns > c->zmq->heard_ns + b->config->zmq_idle_ns)
				client_broke_rules(
					c, "it names no process and was silent for zmq_idle");
			z->again_soon |= c->writing || c->blocked;
		}
	}
	schedule(b);
}

/* ---- open and close ---- */

int
zmq_lane_open(struct broker *b)
{
	static const struct zmq_limits limits = {
		.messages_in = QUEUE,
		.messages_out = QUEUE,
		.message_bytes = FRAME_MAX,
		.mandatory = true,
		.linger_ms = LINGER_MS,
	};

	if (b->birth->lane_path == NULL)
		return 0;
	struct zmq_lane *z = calloc(1, sizeof(*z));
	if (z == NULL)
		return -ENOMEM;
	int r = zmq_end_open(ZMQ_END_ROUTER, &limits, &z->end);
	if (r == 0)
		r = zmq_end_listen(z->end, b->birth->lane_path, b->birth->lane_listener);
	if (r < 0) {
		log_error("no zmq lane: %s; clients of the other lanes are served",
			  r == -ELIBACC ? zmq_problem() : strerror(-r));
		zmq_end_close(z->end);
		free(z);
		return 0;
	}
	z->readable = event_new(b->base, zmq_end_fd(z->end), EV_READ | EV_PERSIST, on_readable, b);
	z->again = evtimer_new(b->base, on_again, b);
	b->zmq = z;
	if (z->readable == NULL || z->again == NULL)
		return -ENOMEM;
	return event_add(z->readable, NULL) < 0 ? -ENOMEM : 0;
}

void
zmq_lane_close(struct broker *b)
{
	struct zmq_lane *z = b->zmq;

	if (z == NULL)
		return;
	event_free(z->readable);
	event_free(z->again);
	zmq_end_close(z->end);
	zmq_finish();
	free(z);
	b->zmq = NULL;
}
