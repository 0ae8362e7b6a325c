/* test_ipc_message.c - ipc/message.h: every message there and back, and every way to be wrong. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/message.h"
#include "tests/process.h"

struct row {
	const char *name;
	unsigned type;
	uint32_t body;
};

static const struct row messages[] = {
#define X(name, value, road, sender, body) { #name, value, sizeof(body) },
	MESSAGES(X)
#undef X
};
#define MESSAGE_COUNT (sizeof(messages) / sizeof(messages[0]))

static int pair[2];
static struct frame_in in;
static const char *why;

static void
setup(void)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
		     0);
	why = NULL;
}

static void
teardown(void)
{
	close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
}

TestSuite(ipc_message, .init = setup, .fini = teardown, .timeout = 600);

Test(ipc_message, values_are_unique_and_have_names)
{
	for (size_t i = 0; i < MESSAGE_COUNT; i++) {
		cr_assert_str_eq(message_name(messages[i].type), messages[i].name);
		for (size_t k = 0; k < i; k++)
			cr_assert_neq(messages[k].type, messages[i].type);
	}
	cr_assert_null(message_name(0));
	cr_assert_null(message_name(15));
	cr_assert_null(message_name(UINT32_MAX));
}

Test(ipc_message, every_message_comes_out_as_it_went_in)
{
	static unsigned char body[4096], tail[3000];
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (unsigned char)(i * 7 + 1);
	for (size_t i = 0; i < sizeof(tail); i++)
		tail[i] = (unsigned char)(i * 13 + 5);

	for (size_t i = 0; i < MESSAGE_COUNT; i++) {
		const struct row *m = &messages[i];
		for (size_t length = 0; length <= sizeof(tail); length += 1500) {
			cr_assert_eq(frame_send(pair[0], m->type, body, tail, length, NULL, 0), 0);
			cr_assert_eq(frame_recv(pair[1], &in, &why), 0, "%s: %s", m->name, why);
			cr_assert_eq(in.type, m->type);
			cr_assert_eq(in.tail_length, length);
			cr_assert_eq(memcmp(in.body, body, m->body), 0, "%s", m->name);
			cr_assert_eq(memcmp(in.tail, tail, length), 0, "%s", m->name);
			cr_assert_eq(in.fd_count, 0);
		}
	}
}

/* The frame of `m` with a tail of `tail` bytes, as it lies on the wire; its length. */
static size_t
make_frame(const struct row *m, uint32_t tail, unsigned char *bytes)
{
	struct frame header = { .magic = FRAME_MAGIC,
				.type = (uint16_t)m->type,
				.length = m->body + tail };
	memcpy(bytes, &header, sizeof(header));
	memset(bytes + sizeof(header), 0x5a, header.length);
	return sizeof(header) + header.length;
}

/* Decode exactly `size` bytes; a read behind them is seen by the sanitizer, since the rest of
 * the buffer is compared to stay as it was. */
static int
decode(const unsigned char *bytes, size_t size)
{
	why = NULL;
	memset(in.buffer, 0xee, 8192);
	memcpy(in.buffer, bytes, size);
	return frame_decode(&in, size, &why);
}

Test(ipc_message, a_frame_cut_at_any_byte_is_refused_with_a_reason)
{
	static unsigned char bytes[FRAME_MAX];
	for (size_t i = 0; i < MESSAGE_COUNT; i++) {
		size_t size = make_frame(&messages[i], 5, bytes);
		for (size_t cut = 0; cut < size; cut++) {
			cr_assert_eq(decode(bytes, cut), -EPROTO, "%s cut at %zu", messages[i].name,
				     cut);
			cr_assert_not_null(why);
		}
		cr_assert_eq(decode(bytes, size), 0);
	}
}

Test(ipc_message, a_frame_that_tells_its_true_length_needs_its_whole_body)
{
	static unsigned char bytes[FRAME_MAX];
	for (size_t i = 0; i < MESSAGE_COUNT; i++) {
		make_frame(&messages[i], 5, bytes);
		for (uint32_t length = 0; length < messages[i].body + 5; length++) {
			struct frame *header = (struct frame *)bytes;
			header->length = length;
			int r = decode(bytes, sizeof(*header) + length);
			cr_assert_eq(r, length < messages[i].body ? -EPROTO : 0, "%s with %u",
				     messages[i].name, length);
			if (r == 0)
				cr_assert_eq(in.tail_length, length - messages[i].body);
		}
	}
}

Test(ipc_message, wrong_magic_type_or_length_is_refused)
{
	static unsigned char bytes[FRAME_MAX];
	static const struct row bell = { "MSG_BELL", MSG_BELL, sizeof(struct empty_body) };
	size_t size = make_frame(&bell, 0, bytes);
	struct frame *header = (struct frame *)bytes;

	header->magic ^= 1;
	cr_assert_eq(decode(bytes, size), -EPROTO);
	header->magic ^= 1;
	for (unsigned type = 0; type <= UINT16_MAX; type++) {
		header->type = (uint16_t)type;
		if (message_name(type) == NULL)
			cr_assert_eq(decode(bytes, size), -EPROTO, "type %u", type);
	}
	header->type = MSG_BELL;
	header->length = UINT32_MAX;
	cr_assert_eq(decode(bytes, size), -EPROTO);
	header->length = 5;
	cr_assert_eq(decode(bytes, size), -EPROTO);
}

Test(ipc_message, a_datagram_that_is_too_long_is_refused_and_the_next_one_read)
{
	static unsigned char bytes[FRAME_MAX + 100];
	struct empty_body empty = { 0 };
	cr_assert_eq(send(pair[0], bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
	cr_assert_eq(frame_recv(pair[1], &in, &why), -EPROTO);
	cr_assert_not_null(why);
	cr_assert_eq(frame_send(pair[0], MSG_BELL, &empty, NULL, 0, NULL, 0), 0);
	cr_assert_eq(frame_recv(pair[1], &in, &why), 0);
}

Test(ipc_message, a_message_above_64_kib_is_not_sent)
{
	static unsigned char tail[FRAME_MAX];
	struct empty_body empty = { 0 };
	size_t room = FRAME_MAX - sizeof(struct frame) - sizeof(empty);
	cr_assert_eq(frame_send(pair[0], MSG_BELL, &empty, tail, room + 1, NULL, 0), -EMSGSIZE);
	cr_assert_eq(frame_send(pair[0], MSG_BELL, &empty, tail, room, NULL, 0), 0);
	cr_assert_eq(frame_recv(pair[1], &in, &why), 0);
	cr_assert_eq(in.tail_length, room);
}

Test(ipc_message, descriptors_arrive_close_on_exec_and_name_the_same_file)
{
	struct welcome_body body = { .client = 3 };
	int fds[FRAME_FDS_MAX], before = count_fds(getpid());
	for (int i = 0; i < FRAME_FDS_MAX; i++)
		fds[i] = memfd_create("passed", 0); /* not close-on-exec on this side */
	cr_assert_eq(ftruncate(fds[2], 4242), 0);
	cr_assert_eq(frame_send(pair[0], MSG_WELCOME, &body, NULL, 0, fds, FRAME_FDS_MAX), 0);
	cr_assert_eq(frame_recv(pair[1], &in, &why), 0);
	cr_assert_eq(in.fd_count, FRAME_FDS_MAX);
	for (int i = 0; i < FRAME_FDS_MAX; i++)
		cr_assert(fcntl(in.fds[i], F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(lseek(in.fds[2], 0, SEEK_END), 4242);
	frame_close_fds(&in);
	for (int i = 0; i < FRAME_FDS_MAX; i++)
		close(fds[i]);
	cr_assert_eq(count_fds(getpid()), before);
}

/* Send `bytes` with `count` descriptors of /dev/null, past frame_send()'s own checks. */
static void
send_raw(const void *bytes, size_t size, int count)
{
	_Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
	struct iovec part = { (void *)(uintptr_t)bytes, size };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control };
	msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < count; i++)
		memcpy(CMSG_DATA(c) + (size_t)i * sizeof(int), &null, sizeof(int));
	cr_assert_eq(sendmsg(pair[0], &msg, 0), (ssize_t)size);
	close(null);
}

Test(ipc_message, no_descriptor_is_left_open_by_a_frame_that_is_refused)
{
	static unsigned char bytes[FRAME_MAX + 100];
	static const struct row bell = { "MSG_BELL", MSG_BELL, sizeof(struct empty_body) };
	int before = count_fds(getpid());

	send_raw("garbage", 7, 3);
	cr_assert_eq(frame_recv(pair[1], &in, &why), -EPROTO);
	send_raw(bytes, sizeof(bytes), 3); /* too long */
	cr_assert_eq(frame_recv(pair[1], &in, &why), -EPROTO);
	cr_assert_eq(count_fds(getpid()), before);

	size_t size = make_frame(&bell, 0, bytes); /* more than a frame may carry */
	send_raw(bytes, size, 16);
	if (frame_recv(pair[1], &in, &why) == 0) {
		cr_assert_leq(in.fd_count, FRAME_FDS_MAX);
		frame_close_fds(&in);
	}
	cr_assert_eq(count_fds(getpid()), before);
}

Test(ipc_message, nothing_there_and_nobody_there_are_told_apart)
{
	struct empty_body empty = { 0 };
	cr_assert_eq(frame_recv(pair[1], &in, &why), -EAGAIN);
	int r = 0;
	for (int i = 0; i < 100000 && r == 0; i++)
		r = frame_send(pair[0], MSG_BELL, &empty, NULL, 0, NULL, 0);
	cr_assert_eq(r, -EAGAIN, "a full socket must not block");
	close(pair[1]);
	pair[1] = -1;
	cr_assert_eq(frame_send(pair[0], MSG_BELL, &empty, NULL, 0, NULL, 0), -EPIPE);
	cr_assert_eq(frame_recv(pair[0], &in, &why), -EPIPE);
}
