/* pipe.c - see pipe.h: ends, sending, waiting.  Receiving is in pipe_take.c. */
#include "ipc/pipe.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/clock.h"
#include "ipc/pipe_parts.h"
#include "ipc/wake.h"

/* ---- ends ---- */

int
pipe_pair(int ret_fds[2])
{
	int fds[2], least = PIPE_WHOLE_MAX + 1024;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		int has;
		socklen_t length = sizeof(has);
		/* A packet must fit; the usual default is 208 KiB, and more gains nothing. */
		if (getsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &has, &length) == 0 && has < least)
			(void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
	}
	ret_fds[0] = fds[0];
	ret_fds[1] = fds[1];
	return 0;
}

int
pipe_attach(struct pipe_end *ret, int fd)
{
	unsigned char *spill = malloc(PIPE_SPILL); /* pages come when they are touched */

	if (spill == NULL)
		return -ENOMEM;
	*ret = (struct pipe_end){
		.fd = fd, .spill = spill, .frame_max = PIPE_FRAME_MAX, .held_max = PIPE_HELD_MAX
	};
	ret->held_last = &ret->held;
	pipe_count_in(ret, &ret->own, NULL);
	return 0;
}

void
pipe_count_in(struct pipe_end *p, struct pipe_counters *mine, const struct pipe_counters *others)
{
	if (atomic_load_explicit(&mine->created_ns, memory_order_relaxed) == 0)
		atomic_store_explicit(&mine->created_ns, clock_now(), memory_order_relaxed);
	p->counters = mine;
	p->others = others;
}

/* Both ends write while the other reads: a cache line or two for each. */
struct both_counters {
	struct {
		_Alignas(128) struct pipe_counters end;
	} of[2];
};

/* A page with the counters of both, mapped once for each end, so that each can let go of it. */
static int
share_counters(struct pipe_end *ends[2])
{
	size_t bytes = sizeof(struct both_counters);
	scoped_fd fd = memfd_create("pipe", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (base == MAP_FAILED)
			return -errno;
		struct both_counters *both = base;
		ends[i]->shared = base;
		pipe_count_in(ends[i], &both->of[i].end, &both->of[!i].end);
	}
	return 0;
}

int
pipe_create(struct pipe_end *ret_a, struct pipe_end *ret_b)
{
	struct pipe_end *ends[2] = { ret_a, ret_b };
	int fds[2] = { -1, -1 }, r = pipe_pair(fds);

	if (r < 0)
		return r;
	*ret_a = *ret_b = (struct pipe_end){ .fd = -1 };
	for (int i = 0; i < 2 && r == 0; i++) {
		r = pipe_attach(ends[i], fds[i]);
		if (r < 0)
			close(fds[i]);
		if (r < 0 && i == 0)
			close(fds[1]);
	}
	if (r == 0)
		r = share_counters(ends);
	if (r < 0) {
		pipe_close(ret_a);
		pipe_close(ret_b);
	}
	return r;
}

void
pipe_close(struct pipe_end *p)
{
	pipe_take_end(p);
	free(p->spill);
	free(p->unsent);
	if (p->shared != NULL)
		munmap(p->shared, sizeof(struct both_counters));
	if (p->fd >= 0)
		close(p->fd);
	*p = (struct pipe_end){ .fd = -1 };
}

/* ---- waiting ---- */

struct pipe_wait
pipe_wait_begin(int timeout_ms)
{
	struct pipe_wait wait = { .never = timeout_ms == 0 };

	if (timeout_ms > 0)
		wait.deadline_ns = clock_now() + (uint64_t)timeout_ms * NS_PER_MS;
	return wait;
}

int
pipe_wait(struct pipe_end *p, struct pipe_wait *wait, short events)
{
	int ms = -1;

	if (wait->never)
		return -ETIMEDOUT;
	if (wait->looks++ < WAKE_LOOKS && yield_cheaply())
		return 0;
	if (wait->deadline_ns != 0) {
		uint64_t now = clock_now();
		if (now >= wait->deadline_ns)
			return -ETIMEDOUT;
		ms = (int)((wait->deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS);
	}
	struct pollfd polled = { .fd = p->fd, .events = events };
	if (poll(&polled, 1, ms) < 0)
		return -errno;
	wait->looks = 0;
	return 0;
}

/* ---- sending ---- */

static void
count_sent(struct pipe_end *p, size_t bytes)
{
	struct pipe_counters *c = p->counters;

	/* One writer: no locked instruction. */
	atomic_store_explicit(&c->messages_out,
			      atomic_load_explicit(&c->messages_out, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	atomic_store_explicit(&c->bytes_out,
			      atomic_load_explicit(&c->bytes_out, memory_order_relaxed) + bytes,
			      memory_order_relaxed);
	uint64_t depth = pipe_depth_bytes(p);
	if (depth > atomic_load_explicit(&c->high_bytes, memory_order_relaxed))
		atomic_store_explicit(&c->high_bytes, depth, memory_order_relaxed);
}

uint64_t
pipe_depth_bytes(const struct pipe_end *p)
{
	if (p->others == NULL)
		return 0;
	uint64_t taken = atomic_load_explicit(&p->others->bytes_in, memory_order_relaxed);
	uint64_t sent = atomic_load_explicit(&p->counters->bytes_out, memory_order_relaxed);
	return sent > taken ? sent - taken : 0;
}

/* Room for descriptors beside a packet. */
union control {
	char bytes[CMSG_SPACE(PIPE_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

static void
put_fds(struct msghdr *message, union control *control, const int *fds, unsigned count)
{
	memset(control, 0, sizeof(*control));
	message->msg_control = control->bytes;
	message->msg_controllen = CMSG_SPACE(count * sizeof(int));
	struct cmsghdr *c = CMSG_FIRSTHDR(message);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(c), fds, count * sizeof(int));
}

/* A frame on its way out. */
struct train {
	const unsigned char *data; /* of the whole frame, or what is left from `at` on */
	size_t total, at;
	const int *fds;
	unsigned count;
	bool announced; /* that descriptors come */
};

#define PIPE_STAGED 1024u

/* A small packet is built in one piece: send() is 0.15 us cheaper than sendmsg() with parts. */
static ssize_t
send_staged(struct pipe_end *p, const struct pipe_head *head, const void *data, size_t length)
{
	unsigned char whole[sizeof(*head) + PIPE_STAGED];

	memcpy(whole, head, sizeof(*head));
	if (length > 0)
		memcpy(whole + sizeof(*head), data, length);
	return send(p->fd, whole, sizeof(*head) + length, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static ssize_t
send_parts(struct pipe_end *p, struct pipe_head *head, const struct train *t, size_t length)
{
	struct iovec parts[2] = { { head, sizeof(*head) }, { (void *)t->data, length } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	union control control;

	if (t->count > 0 && t->at == 0)
		put_fds(&message, &control, t->fds, t->count);
	return sendmsg(p->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* errno of a send; a reset: gone, and ours unread. */
static int
send_error(void)
{
	return errno == ECONNRESET ? -EPIPE : -errno;
}

static int
announce(struct pipe_end *p, struct train *t)
{
	const struct pipe_head head = { .offset = PIPE_ANNOUNCE };

	if (send(p->fd, &head, sizeof(head), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return send_error();
	t->announced = true;
	return 0;
}

/* Send the next packet: 1 when it was the last, 0, -EAGAIN, -EPIPE, another -errno. */
static int
send_packet(struct pipe_end *p, struct train *t)
{
	if (t->count > 0 && !t->announced)
		return announce(p, t);
	size_t left = t->total - t->at, length = left < PIPE_WHOLE_MAX ? left : PIPE_WHOLE_MAX;
	struct pipe_head head = { .total = (uint32_t)t->total, .offset = (uint32_t)t->at };
	bool staged = length <= PIPE_STAGED && t->count == 0;
	ssize_t n =
		staged ? send_staged(p, &head, t->data, length) : send_parts(p, &head, t, length);

	if (n < 0)
		return send_error();
	t->at += length;
	t->data += length;
	if (t->at < t->total)
		return 0;
	count_sent(p, t->total);
	return 1;
}

/* Wait until the socket may have room.  What arrives is taken in: the other side may be waiting
 * for room, too. */
static int
wait_for_room(struct pipe_end *p, struct pipe_wait *wait)
{
	bool takes = p->held_bytes < p->held_max || p->partial != NULL;

	if (takes) {
		int r = pipe_take_in(p);
		if (r != -EAGAIN)
			return r;
	}
	return pipe_wait(p, wait, takes ? POLLIN | POLLOUT : POLLOUT);
}

int
pipe_send_fds(struct pipe_end *p, const void *data, size_t bytes, const int *fds, unsigned count,
	      int timeout_ms)
{
	struct train train = { .data = data, .total = bytes, .fds = fds, .count = count };
	struct pipe_wait wait = pipe_wait_begin(timeout_ms);
	int r;

	if (bytes > p->frame_max || bytes > PIPE_FRAME_MAX)
		return -EMSGSIZE;
	if (count > PIPE_FDS_MAX)
		return -EINVAL;
	do {
		r = pipe_unsent(p) > 0 ? pipe_flush(p) : send_packet(p, &train);
		if (r == -EAGAIN)
			r = wait_for_room(p, &wait);
	} while (r == 0);
	return r < 0 ? r : 0;
}

int
pipe_send(struct pipe_end *p, const void *data, size_t bytes, int timeout_ms)
{
	return pipe_send_fds(p, data, bytes, NULL, 0, timeout_ms);
}

/* Copy what the socket did not take of a train that has begun. */
static int
keep_unsent(struct pipe_end *p, const struct train *train)
{
	size_t left = train->total - train->at;
	unsigned char *copy = malloc(left);

	if (copy == NULL)
		return -ENOMEM;
	memcpy(copy, train->data, left);
	free(p->unsent);
	p->unsent = copy;
	p->unsent_bytes = left;
	p->unsent_at = 0;
	p->unsent_total = train->total;
	return 0;
}

int
pipe_try_send(struct pipe_end *p, const void *data, size_t bytes)
{
	struct train train = { .data = data, .total = bytes };
	int r;

	if (bytes > p->frame_max || bytes > PIPE_FRAME_MAX)
		return -EMSGSIZE;
	if (pipe_unsent(p) > 0 && (r = pipe_flush(p)) < 0)
		return r;
	do
		r = send_packet(p, &train);
	while (r == 0);
	if (r == -EAGAIN && train.at > 0)
		return keep_unsent(p, &train);
	return r < 0 ? r : 0;
}

int
pipe_flush(struct pipe_end *p)
{
	int r = 0;

	while (pipe_unsent(p) > 0 && r == 0) {
		struct train train = { .data = p->unsent + p->unsent_at,
				       .total = p->unsent_total,
				       .at = p->unsent_total - pipe_unsent(p) };
		size_t before = train.at;
		r = send_packet(p, &train);
		p->unsent_at += train.at - before;
	}
	if (pipe_unsent(p) > 0)
		return r;
	free(p->unsent);
	p->unsent = NULL;
	p->unsent_bytes = p->unsent_at = 0;
	return 0;
}
