/* message.c - names and sizes of the messages; frames on control sockets. */
#include "ipc/message.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct message_row {
	const char *name;
	uint32_t body;
};

/* Indexed by value: a gap is not a message. */
static const struct message_row rows[] = {
#define X(type, value, road, sender, body_type) [value] = { #type, sizeof(body_type) },
	MESSAGES(X)
#undef X
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

const char *
message_name(unsigned type)
{
	return type < ROW_COUNT ? rows[type].name : NULL;
}

uint32_t
message_body(unsigned type)
{
	return type < ROW_COUNT ? rows[type].body : 0;
}

bool
message_fits(unsigned type, uint32_t length)
{
	return message_name(type) != NULL && length >= rows[type].body;
}

int
frame_decode(struct frame_in *in, size_t size, const char **why)
{
	struct frame header;

	if (size < sizeof(header)) {
		*why = "frame is shorter than its header";
		return -EPROTO;
	}
	memcpy(&header, in->buffer, sizeof(header));
	if (header.magic != FRAME_MAGIC) {
		*why = "frame does not begin with PYP1";
		return -EPROTO;
	}
	if (header.length != size - sizeof(header)) {
		*why = "frame length does not match what was sent";
		return -EPROTO;
	}
	if (message_name(header.type) == NULL) {
		*why = "unknown message type";
		return -EPROTO;
	}
	if (!message_fits(header.type, header.length)) {
		*why = "message is shorter than its body";
		return -EPROTO;
	}
	/* Bodies hold 64-bit fields: move them to an aligned place. */
	memmove(in->buffer, in->buffer + sizeof(header), header.length);
	in->type = header.type;
	in->body = in->buffer;
	in->tail = in->buffer + rows[header.type].body;
	in->tail_length = header.length - rows[header.type].body;
	return 0;
}

int
frame_encode(void *buffer, unsigned type, const void *body, const void *tail, size_t tail_length)
{
	struct frame header = {
		.magic = FRAME_MAGIC,
		.type = (uint16_t)type,
		.length = (uint32_t)(rows[type].body + tail_length),
	};

	if (tail_length > FRAME_MAX || sizeof(header) + header.length > FRAME_MAX)
		return -EMSGSIZE;
	unsigned char *at = mempcpy(buffer, &header, sizeof(header));
	at = mempcpy(at, body, rows[type].body);
	if (tail_length > 0)
		memcpy(at, tail, tail_length);
	return (int)(sizeof(header) + header.length);
}

int
frame_send(int fd, unsigned type, const void *body, const void *tail, size_t tail_length,
	   const int *fds, int fd_count)
{
	size_t body_length = rows[type].body;
	struct frame header = {
		.magic = FRAME_MAGIC,
		.type = (uint16_t)type,
		.length = (uint32_t)(body_length + tail_length),
	};
	if (sizeof(header) + body_length + tail_length > FRAME_MAX)
		return -EMSGSIZE;

	struct iovec parts[3] = {
		{ &header, sizeof(header) },
		{ (void *)(uintptr_t)body, body_length },
		{ (void *)(uintptr_t)tail, tail_length },
	};
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(sizeof(int) * FRAME_FDS_MAX)];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = tail_length > 0 ? 3 : 2 };
	if (fd_count > 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)fd_count);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)fd_count);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)fd_count);
	}
	ssize_t n;
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

static void
collect_fds(struct msghdr *msg, struct frame_in *in)
{
	in->fd_count = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (in->fd_count < FRAME_FDS_MAX)
				in->fds[in->fd_count++] = fd;
			else
				close(fd);
		}
	}
}

int
frame_recv(int fd, struct frame_in *in, const char **why)
{
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(sizeof(int) * FRAME_FDS_MAX)];
	} control;
	struct iovec part = { in->buffer, sizeof(in->buffer) };
	struct msghdr msg = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n;
	/* ECONNRESET comes once, before what the other side had sent, when it closed with frames of
	 * ours unread: its last words are still there. */
	bool reset = false;
	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !reset && (reset = true))));
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;

	collect_fds(&msg, in);
	if (n == 0 && in->fd_count == 0)
		return -EPIPE;
	int r;
	if (msg.msg_flags & MSG_TRUNC) {
		*why = "frame is longer than 64 KiB";
		r = -EPROTO;
	} else {
		r = frame_decode(in, (size_t)n, why);
	}
	if (r < 0)
		frame_close_fds(in);
	return r;
}

void
frame_close_fds(struct frame_in *in)
{
	for (int i = 0; i < in->fd_count; i++)
		close(in->fds[i]);
	in->fd_count = 0;
}
