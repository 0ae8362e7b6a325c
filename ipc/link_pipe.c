/*
 * link_pipe.c - a link over one framed pipe (pipe.h), requests one way and results the other.
 *
 * A record is one packet: the kernel takes it whole or not at all, so no death leaves half of
 * one.  The supervisor keeps both ends open: what was sent waits there for a successor, and the
 * death of one side is no end of file for the other.  What was read dies with its reader.
 *
 * The two directions are used by two threads of a worker, and a pipe_end by one at a time: each
 * direction has its own, on a copy of the descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/link.h"
#include "ipc/pipe.h"

_Static_assert(sizeof(struct ring_record) + LINK_BODY_MAX <= PIPE_WHOLE_MAX, "one packet a record");

struct piped {
	struct pipe_end end;
	bool sends;
	int buffer_bytes; /* SO_SNDBUF: a packet is taken while less than that is under way */
};

static int
piped_send(struct link_end *e, const void *record, uint32_t size)
{
	struct piped *p = e->carried;

	return pipe_try_send(&p->end, record, size) < 0 ? -EAGAIN : 0;
}

static int
piped_receive(struct link_end *e, void *record, uint32_t room)
{
	struct piped *p = e->carried;
	size_t bytes;

	return pipe_try_recv(&p->end, record, room, &bytes) < 0 ? -EAGAIN : (int)bytes;
}

/* Of the kernel's memory: what is in the packets, and what they cost.  An error counts as full. */
static uint64_t
outgoing(const struct piped *p)
{
	int bytes = 0;

	return ioctl(pipe_fd(&p->end), SIOCOUTQ, &bytes) == 0 ? (uint64_t)bytes
							      : (uint64_t)p->buffer_bytes;
}

static bool
piped_has_room(struct link_end *e, uint32_t size)
{
	struct piped *p = e->carried;
	uint64_t under_way = outgoing(p);

	(void)size;
	if (under_way > e->high)
		e->high = under_way;
	return under_way < (uint64_t)p->buffer_bytes;
}

static uint64_t
piped_used(struct link_end *e)
{
	struct piped *p = e->carried;
	int incoming = 0;

	if (p->sends)
		return outgoing(p);
	return ioctl(pipe_fd(&p->end), FIONREAD, &incoming) == 0 ? (uint64_t)incoming : 0;
}

static void
piped_close(struct link_end *e)
{
	struct piped *p = e->carried;

	pipe_close(&p->end);
	free(p);
}

/* This side's count: of what it sent, or of what it took. */
static void
piped_look(const struct link_end *e, struct link_look *ret)
{
	const struct piped *p = e->carried;
	uint64_t out = atomic_load_explicit(&p->end.counters->messages_out, memory_order_relaxed);
	uint64_t in = atomic_load_explicit(&p->end.counters->messages_in, memory_order_relaxed);

	ret->fd = pipe_fd(&p->end);
	if (out > 0) {
		ret->in = out;
		ret->bytes_in =
			atomic_load_explicit(&p->end.counters->bytes_out, memory_order_relaxed);
	}
	if (in > 0) {
		ret->out = in;
		ret->bytes_out =
			atomic_load_explicit(&p->end.counters->bytes_in, memory_order_relaxed);
	}
}

static const struct link_carrier carrier = {
	.send = piped_send,
	.receive = piped_receive,
	.has_room = piped_has_room,
	.used = piped_used,
	.close = piped_close,
	.look = piped_look,
};

/* Takes `fd` over, on success. */
static int
open_end(struct link_end *e, int fd, bool sends)
{
	struct piped *p = calloc(1, sizeof(*p));
	socklen_t length = sizeof(p->buffer_bytes);
	int r = -ENOMEM;

	if (p == NULL)
		return r;
	p->sends = sends;
	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &p->buffer_bytes, &length) < 0)
		r = -errno;
	else
		r = pipe_attach(&p->end, fd);
	if (r == 0 && (r = stage_open(e, &carrier, p, -1)) < 0) {
		p->end.fd = -1; /* it stays the caller's */
		pipe_close(&p->end);
	}
	if (r < 0)
		free(p);
	return r;
}

size_t
link_pipe_footprint(void)
{
	return 0;
}

int
link_pipe_make(struct link_fds *fds, const char *directory, char *address)
{
	int ends[2], r = pipe_pair(ends);

	(void)directory;
	(void)address;
	if (r < 0)
		return r;
	/* Nobody waits in them: wake.h says who sleeps, and the bells wake. */
	for (int i = 0; i < 2; i++)
		(void)fcntl(ends[i], F_SETFL, O_NONBLOCK);
	fds->broker[0] = ends[0];
	fds->worker[0] = ends[1];
	return 0;
}

int
link_pipe_open(struct link_shared *shared, const struct link_fds *fds, bool broker,
	       struct link_end *requests, struct link_end *results)
{
	int fd = broker ? fds->broker[0] : fds->worker[0];
	scoped_fd copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	(void)shared;
	if (copy < 0)
		return -errno;
	int r = open_end(requests, copy, broker);
	if (r < 0)
		return r;
	(void)take_fd(&copy);
	r = open_end(results, fd, !broker);
	if (r < 0)
		stage_close(requests);
	return r;
}
