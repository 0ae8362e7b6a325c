/*
 * pipe_take.c - see pipe.h: receiving.
 *
 * A frame of one packet goes straight into the caller's buffer; so does a train that fits it, as
 * long as the call goes on.  Everything else is held in memory of our own.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ipc/pipe.h"
#include "ipc/pipe_parts.h"

/* A frame that is held, or under way. */
struct pipe_held {
	struct pipe_held *next;
	unsigned char *data; /* ours, or the caller's buffer while `borrowed` */
	size_t total, have;
	bool borrowed;
	struct pipe_fds fds;
};

/* Where the caller wants the next frame. */
struct place {
	unsigned char *buffer;
	size_t room;
	bool filled; /* it is there */
	size_t bytes;
	struct pipe_fds fds;
};

static void
close_fds(struct pipe_fds *fds)
{
	while (fds->count > 0)
		close(fds->fd[--fds->count]);
}

static void
free_held(struct pipe_held *h)
{
	if (h == NULL)
		return;
	close_fds(&h->fds);
	if (!h->borrowed)
		free(h->data);
	free(h);
}

static void
drop_partial(struct pipe_end *p)
{
	free_held(p->partial);
	p->partial = NULL;
}

void
pipe_take_end(struct pipe_end *p)
{
	drop_partial(p);
	while (p->held != NULL) {
		struct pipe_held *h = p->held;
		p->held = h->next;
		free_held(h);
	}
	p->held_last = &p->held;
	p->held_bytes = 0;
}

/* Frames of nothing cost memory, too. */
static size_t
cost_of(const struct pipe_held *h)
{
	return h->total + sizeof(*h);
}

static void
hold(struct pipe_end *p, struct pipe_held *h)
{
	*p->held_last = h;
	p->held_last = &h->next;
	p->held_bytes += cost_of(h);
}

static void
count_received(struct pipe_end *p, size_t bytes)
{
	struct pipe_counters *c = p->counters;

	atomic_store_explicit(&c->messages_in,
			      atomic_load_explicit(&c->messages_in, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	atomic_store_explicit(&c->bytes_in,
			      atomic_load_explicit(&c->bytes_in, memory_order_relaxed) + bytes,
			      memory_order_relaxed);
}

/* ---- packets ---- */

static void
get_fds(struct msghdr *message, struct pipe_fds *ret)
{
	ret->count = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		ret->count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(ret->fd, CMSG_DATA(c), ret->count * sizeof(int));
	}
}

/* recvmsg() without waiting; parts[0] is for the head.  Bytes behind the head, or -errno. */
static ssize_t
read_packet(struct pipe_end *p, struct iovec *parts, size_t count, int flags, struct pipe_fds *fds)
{
	union {
		char bytes[CMSG_SPACE(PIPE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };
	ssize_t n;

	if (p->ended)
		return -EPIPE;
	if (fds != NULL) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control);
	}
	do /* a reset stands before what was sent; it is told once */
		n = recvmsg(p->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags);
	while (n < 0 && errno == ECONNRESET);
	if (n < 0)
		return -errno;
	if (fds != NULL)
		get_fds(&message, fds);
	if (n == 0) {
		if (fds != NULL)
			close_fds(fds); /* no end, but a packet of nothing: what no pipe sends */
		p->ended = true;
		drop_partial(p); /* its sender died in the middle */
		return -EPIPE;
	}
	if ((size_t)n >= sizeof(struct pipe_head))
		return n - (ssize_t)sizeof(struct pipe_head);
	if (fds != NULL)
		close_fds(fds);
	return -EPROTO;
}

/* The partial frame is whole: hold it, or tell the caller that it is in his buffer. */
static void
end_partial(struct pipe_end *p, struct place *place)
{
	struct pipe_held *h = p->partial;

	if (h->have < h->total)
		return;
	p->partial = NULL;
	if (!h->borrowed) {
		hold(p, h);
		return;
	}
	place->filled = true;
	place->bytes = h->total;
	place->fds = h->fds;
	free(h);
}

/* The next packet of the frame under way.  -ESTALE: another frame begins instead. */
static int
take_next(struct pipe_end *p, struct place *place)
{
	struct pipe_held *h = p->partial;
	struct pipe_head head;
	struct iovec parts[2] = { { &head, sizeof(head) }, { NULL, 0 } };
	ssize_t n = read_packet(p, parts, 1, MSG_PEEK, NULL);

	if (n < 0)
		return (int)n;
	if (head.offset == 0 || head.offset != h->have || head.total != h->total) {
		drop_partial(p);
		return -ESTALE;
	}
	parts[1] = (struct iovec){ h->data + h->have, h->total - h->have };
	n = read_packet(p, parts, 2, 0, NULL);
	if (n < 0)
		return (int)n;
	h->have += (size_t)n;
	end_partial(p, place);
	return 0;
}

/* The first packet of a frame, in up to two pieces. */
struct packet {
	struct pipe_head head;
	const unsigned char *piece[2];
	size_t length[2];
	struct pipe_fds fds;
};

static void
gather(const struct packet *packet, unsigned char *to)
{
	if (packet->length[0] > 0 && packet->piece[0] != to)
		memcpy(to, packet->piece[0], packet->length[0]);
	if (packet->length[1] > 0)
		memcpy(to + packet->length[0], packet->piece[1], packet->length[1]);
}

/* In one piece, without descriptors: recv() is 0.15 us cheaper than recvmsg(). */
static ssize_t
read_plain(struct pipe_end *p, struct packet *ret)
{
	ssize_t n;

	if (p->ended)
		return -EPIPE;
	do
		n = recv(p->fd, p->spill, PIPE_SPILL, MSG_DONTWAIT);
	while (n < 0 && errno == ECONNRESET);
	if (n < 0)
		return -errno;
	if (n == 0) {
		p->ended = true;
		return -EPIPE;
	}
	if ((size_t)n < sizeof(ret->head))
		return -EPROTO;
	memcpy(&ret->head, p->spill, sizeof(ret->head));
	n -= (ssize_t)sizeof(ret->head);
	*ret = (struct packet){ .head = ret->head,
				.piece[0] = p->spill + sizeof(ret->head),
				.length[0] = (size_t)n };
	return n;
}

/* Straight into the caller's buffer, what is too much into the spill; with descriptors. */
static ssize_t
read_scattered(struct pipe_end *p, const struct place *place, struct packet *ret)
{
	struct iovec parts[3] = { { &ret->head, sizeof(ret->head) },
				  { place->buffer, place->room },
				  { p->spill, PIPE_SPILL } };
	ssize_t n = read_packet(p, parts, 3, 0, &ret->fds);

	if (n < 0)
		return n;
	ret->piece[0] = place->buffer;
	ret->length[0] = (size_t)n < place->room ? (size_t)n : place->room;
	ret->piece[1] = p->spill;
	ret->length[1] = (size_t)n - ret->length[0];
	return n;
}

/* A frame of which `n` bytes are here, and which the caller's buffer is too small for, or which
 * goes on. */
static int
begin_frame(struct pipe_end *p, struct place *place, struct packet *packet, size_t n)
{
	size_t total = packet->head.total;
	struct pipe_held *h = malloc(sizeof(*h));
	bool borrowed = place->buffer != NULL && total <= place->room;
	unsigned char *data = borrowed ? place->buffer : malloc(total > 0 ? total : 1);

	if (h == NULL || data == NULL) {
		free(h);
		if (!borrowed)
			free(data);
		close_fds(&packet->fds);
		return -ENOMEM;
	}
	gather(packet, data);
	*h = (struct pipe_held){
		.data = data, .total = total, .have = n, .borrowed = borrowed, .fds = packet->fds
	};
	p->partial = h;
	end_partial(p, place);
	return 0;
}

static int
take_first(struct pipe_end *p, struct place *place)
{
	struct packet packet = { 0 };
	ssize_t read = p->scatters ? read_scattered(p, place, &packet) : read_plain(p, &packet);

	if (read < 0)
		return (int)read;
	size_t n = (size_t)read, total = packet.head.total;
	p->scatters = n > PIPE_SMALL || packet.head.offset == PIPE_ANNOUNCE;
	if (packet.head.offset != 0 || total < n || total > p->frame_max || (total > n && n == 0)) {
		close_fds(&packet.fds);
		/* Announced descriptors, or the rest of a frame whose beginning nobody has. */
		return packet.head.offset != 0 ? 0 : -EPROTO;
	}
	if (total > n || n > place->room || place->buffer == NULL)
		return begin_frame(p, place, &packet, n);
	gather(&packet, place->buffer);
	place->filled = true;
	place->bytes = n;
	place->fds = packet.fds;
	return 0;
}

/* Take one packet: 0, or -errno.  Then the frame is in `place`, held, or under way. */
static int
take_packet(struct pipe_end *p, struct place *place)
{
	if (p->partial != NULL) {
		int r = take_next(p, place);
		if (r != -ESTALE)
			return r;
	}
	return take_first(p, place);
}

int
pipe_take_in(struct pipe_end *p)
{
	struct place nowhere = { 0 };
	return take_packet(p, &nowhere);
}

/* The call ends before the train in the caller's buffer has: on with memory of our own. */
static int
own_partial(struct pipe_end *p, int error)
{
	struct pipe_held *h = p->partial;

	if (h == NULL || !h->borrowed)
		return error;
	unsigned char *data = malloc(h->total);
	if (data == NULL) {
		drop_partial(p);
		return -ENOMEM;
	}
	memcpy(data, h->data, h->have);
	h->data = data;
	h->borrowed = false;
	return error;
}

/* ---- what callers ask for ---- */

/* Take packets until a frame is in `place` or held; -EAGAIN when none is left before. */
static int
take_frame(struct pipe_end *p, struct place *place)
{
	while (p->held == NULL && !place->filled) {
		int r = take_packet(p, place);
		if (r < 0)
			return r;
	}
	return 0;
}

static int
wait_frame(struct pipe_end *p, struct place *place, int timeout_ms)
{
	struct pipe_wait wait = pipe_wait_begin(timeout_ms);
	int r;

	while ((r = take_frame(p, place)) == -EAGAIN) {
		r = pipe_wait(p, &wait, POLLIN);
		if (r < 0)
			break;
	}
	return r < 0 ? own_partial(p, r) : 0;
}

static struct pipe_held *
unhold(struct pipe_end *p)
{
	struct pipe_held *h = p->held;

	p->held = h->next;
	if (p->held == NULL)
		p->held_last = &p->held;
	p->held_bytes -= cost_of(h);
	count_received(p, h->total);
	return h;
}

/* From the held frames into `place`. */
static int
fill_place(struct pipe_end *p, struct place *place)
{
	if (p->held->total > place->room)
		return -EMSGSIZE;
	struct pipe_held *h = unhold(p);
	if (h->total > 0)
		memcpy(place->buffer, h->data, h->total);
	place->bytes = h->total;
	place->fds = h->fds;
	h->fds.count = 0;
	free_held(h);
	return 0;
}

int
pipe_recv_fds(struct pipe_end *p, void *buffer, size_t room, size_t *ret_bytes,
	      struct pipe_fds *ret_fds, int timeout_ms)
{
	struct place place = { .buffer = buffer, .room = room };
	int r = wait_frame(p, &place, timeout_ms);

	if (r < 0)
		return r;
	if (place.filled)
		count_received(p, place.bytes);
	else if ((r = fill_place(p, &place)) < 0)
		return r;
	*ret_bytes = place.bytes;
	*ret_fds = place.fds;
	return 0;
}

int
pipe_recv(struct pipe_end *p, void *buffer, size_t room, size_t *ret_bytes, int timeout_ms)
{
	struct pipe_fds fds;
	int r = pipe_recv_fds(p, buffer, room, ret_bytes, &fds, timeout_ms);

	if (r == 0)
		close_fds(&fds);
	return r;
}

int
pipe_try_recv(struct pipe_end *p, void *buffer, size_t room, size_t *ret_bytes)
{
	int r = pipe_recv(p, buffer, room, ret_bytes, 0);
	return r == -ETIMEDOUT ? -EAGAIN : r;
}

int
pipe_recv_new(struct pipe_end *p, size_t limit, void **ret, size_t *ret_bytes, int timeout_ms)
{
	struct place nowhere = { 0 };
	int r = wait_frame(p, &nowhere, timeout_ms);

	if (r < 0)
		return r;
	if (p->held->total > limit)
		return -EMSGSIZE;
	struct pipe_held *h = unhold(p);
	*ret = h->data;
	*ret_bytes = h->total;
	h->data = NULL;
	free_held(h);
	return 0;
}

int
pipe_poll(struct pipe_end *p, int timeout_ms)
{
	struct place nowhere = { 0 };
	int r = wait_frame(p, &nowhere, timeout_ms);

	if (r == 0 || r == -EPIPE)
		return 1;
	return r == -ETIMEDOUT ? 0 : r;
}

size_t
pipe_next_bytes(const struct pipe_end *p)
{
	return p->held != NULL ? p->held->total : 0;
}
