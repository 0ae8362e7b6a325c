/* test_ipc_pipe.c - ipc/pipe.h between real processes. */
#include <criterion/criterion.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/pipe.h"
#include "tests/process.h"

#define MIB     (1u << 20)
#define WAIT_MS 120000

static struct pipe_end ours, theirs;
static unsigned char *big; /* 8 MiB of a pattern */
#define BIG (8u * MIB)

static void
setup(void)
{
	cr_assert_eq(pipe_create(&ours, &theirs), 0);
	big = malloc(BIG);
	for (size_t i = 0; i < BIG; i++)
		big[i] = (unsigned char)(i * 31 + (i >> 12));
}

static void
teardown(void)
{
	pipe_close(&ours);
	pipe_close(&theirs);
	free(big);
}

TestSuite(pipe, .init = setup, .fini = teardown, .timeout = 600);

/* Send back all that comes, until the end. */
static void
echo(struct pipe_end *p)
{
	void *frame;
	size_t bytes;

	while (pipe_recv_new(p, BIG, &frame, &bytes, WAIT_MS) == 0) {
		if (pipe_send(p, frame, bytes, WAIT_MS) < 0)
			_exit(1);
		free(frame);
	}
	_exit(0);
}

static pid_t
start_echo(void)
{
	pid_t child = test_fork();
	if (child == 0) {
		pipe_close(&ours);
		echo(&theirs);
	}
	pipe_close(&theirs);
	return child;
}

Test(pipe, frames_of_every_size_come_back_whole_and_in_order)
{
	static const size_t sizes[] = { 0,
					1,
					64,
					4096,
					PIPE_WHOLE_MAX - 1,
					PIPE_WHOLE_MAX,
					PIPE_WHOLE_MAX + 1,
					3 * PIPE_WHOLE_MAX,
					BIG };
	pid_t child = start_echo();
	unsigned char *buffer = malloc(BIG);
	size_t bytes;

	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			cr_assert_eq(pipe_send(&ours, big + round,
					       sizes[i] - (sizes[i] > 8) * round, WAIT_MS),
				     0);
			cr_assert_eq(pipe_recv(&ours, buffer, BIG, &bytes, WAIT_MS), 0);
			cr_assert_eq(bytes, sizes[i] - (sizes[i] > 8) * round);
			cr_assert_eq(memcmp(buffer, big + round, bytes), 0, "%zu", bytes);
		}
	pipe_close(&ours);
	cr_assert_eq(wait_exit(child, WAIT_MS), 0);
	free(buffer);
}

/* Send `count` large frames, then receive as many. */
static int
send_then_receive(struct pipe_end *p, unsigned count, int timeout_ms)
{
	unsigned char *buffer = malloc(BIG);
	size_t bytes;
	int r = 0;

	for (unsigned i = 0; i < count && r == 0; i++)
		r = pipe_send(p, big, BIG, timeout_ms);
	for (unsigned i = 0; i < count && r == 0; i++) {
		r = pipe_recv(p, buffer, BIG, &bytes, timeout_ms);
		if (r == 0 && (bytes != BIG || memcmp(buffer, big, BIG) != 0))
			r = -EBADMSG;
	}
	free(buffer);
	return r;
}

Test(pipe, both_sides_may_send_large_frames_at_once)
{
	pid_t child = test_fork();
	if (child == 0) {
		pipe_close(&ours);
		_exit(send_then_receive(&theirs, 4, WAIT_MS) == 0 ? 0 : 1);
	}
	pipe_close(&theirs);
	cr_expect_eq(send_then_receive(&ours, 4, WAIT_MS), 0);
	cr_expect_eq(wait_exit(child, WAIT_MS), 0);
}

/* Proof that the test above can fail: with nothing taken in while waiting, both wait. */
Test(pipe, would_deadlock_if_a_waiting_sender_took_nothing_in)
{
	ours.held_max = theirs.held_max = 0;
	pid_t child = test_fork();
	if (child == 0) {
		pipe_close(&ours);
		send_then_receive(&theirs, 1, WAIT_MS);
		_exit(0);
	}
	pipe_close(&theirs);
	cr_expect_eq(send_then_receive(&ours, 1, 500), -ETIMEDOUT);
	kill_and_wait(child, SIGKILL);
}

Test(pipe, one_side_holding_its_most_still_lets_the_other_pass)
{
	ours.held_max = 1; /* one frame and no more */
	pid_t child = test_fork();
	if (child == 0) {
		pipe_close(&ours);
		_exit(send_then_receive(&theirs, 4, WAIT_MS) == 0 ? 0 : 1);
	}
	pipe_close(&theirs);
	cr_expect_eq(send_then_receive(&ours, 4, WAIT_MS), 0);
	cr_expect_eq(wait_exit(child, WAIT_MS), 0);
}

Test(pipe, the_end_comes_after_what_was_sent)
{
	char text[16];
	size_t bytes;

	/* Both have unread frames when one closes: the reset must not hide what was sent. */
	cr_assert_eq(pipe_send(&ours, "unread", 6, 0), 0);
	cr_assert_eq(pipe_send(&theirs, "one", 3, 0), 0);
	cr_assert_eq(pipe_send(&theirs, "two", 3, 0), 0);
	pipe_close(&theirs);
	cr_expect_eq(pipe_poll(&ours, 0), 1);
	cr_expect_eq(pipe_recv(&ours, text, sizeof(text), &bytes, 0), 0);
	cr_expect_arr_eq(text, "one", 3);
	cr_expect_eq(pipe_recv(&ours, text, sizeof(text), &bytes, 0), 0);
	cr_expect_arr_eq(text, "two", 3);
	cr_expect_eq(pipe_recv(&ours, text, sizeof(text), &bytes, -1), -EPIPE);
	cr_expect_eq(pipe_poll(&ours, -1), 1);
	cr_expect_eq(pipe_try_recv(&ours, text, sizeof(text), &bytes), -EPIPE);
	cr_expect_eq(pipe_send(&ours, "x", 1, -1), -EPIPE);
}

Test(pipe, a_send_to_one_who_died_with_frames_unread_is_the_end_too)
{
	cr_assert_eq(pipe_send(&ours, "unread", 6, 0), 0);
	pipe_close(&theirs);
	cr_expect_eq(pipe_send(&ours, "x", 1, -1), -EPIPE);
	cr_expect_eq(pipe_try_send(&ours, "x", 1), -EPIPE);
}

/* Frames of one number, repeated, and of a length that follows from it. */
static size_t
number_frame(uint32_t number, uint32_t *ret)
{
	size_t count = 1 + number * 7919u % (3 * PIPE_WHOLE_MAX / 4) * 2;
	for (size_t i = 0; i < count; i++)
		ret[i] = number;
	return count * sizeof(*ret);
}

static bool
is_number_frame(const uint32_t *frame, size_t bytes, uint32_t number)
{
	size_t count = 1 + number * 7919u % (3 * PIPE_WHOLE_MAX / 4) * 2;
	if (bytes != count * sizeof(*frame))
		return false;
	for (size_t i = 0; i < count; i++)
		if (frame[i] != number)
			return false;
	return true;
}

/* Take `count` frames, kill the sender, take what is left.  0, or the number of the torn one. */
static uint32_t
take_and_kill(struct pipe_end *p, pid_t sender, unsigned count)
{
	uint32_t next = 1;
	void *frame;
	size_t bytes;

	for (;; next++) {
		if (next == count + 1)
			kill(sender, SIGKILL);
		int r = pipe_recv_new(p, 2 * MIB, &frame, &bytes, WAIT_MS);
		if (r == -EPIPE)
			return next > count ? 0 : next;
		if (r < 0 || !is_number_frame(frame, bytes, next))
			return next;
		free(frame);
	}
}

Test(pipe, a_sender_killed_in_the_middle_of_a_frame_leaves_none_torn)
{
	uint32_t *frame = malloc(2 * MIB);
	unsigned cut = 0;

	for (unsigned round = 0; round < 150; round++) {
		struct pipe_end a, b;
		cr_assert_eq(pipe_create(&a, &b), 0);
		pid_t child = test_fork();
		if (child == 0) {
			pipe_close(&a);
			for (uint32_t i = 1;; i++)
				if (pipe_send(&b, frame, number_frame(i, frame), -1) < 0)
					_exit(1);
		}
		pipe_close(&b);
		cr_assert_eq(take_and_kill(&a, child, round % 17), 0, "round %u", round);
		int status = 0;
		waitpid(child, &status, 0);
		cut += WIFSIGNALED(status);
		pipe_close(&a);
	}
	cr_expect_gt(cut, 140u);
	free(frame);
}

Test(pipe, a_successor_of_a_sender_that_was_killed_begins_a_frame_of_its_own)
{
	char text[16];
	size_t bytes;

	pid_t child = test_fork();
	if (child == 0) {
		pipe_try_send(&theirs, big, BIG); /* as much as the socket takes */
		pause();
		_exit(0);
	}
	struct pollfd readable = { .fd = pipe_fd(&ours), .events = POLLIN };
	cr_assert_eq(poll(&readable, 1, WAIT_MS), 1);
	cr_assert_eq(pipe_poll(&ours, 20), 0); /* a part is here */
	kill_and_wait(child, SIGKILL);
	cr_assert_eq(pipe_poll(&ours, 50), 0);
	cr_assert_eq(pipe_send(&theirs, "after", 5, WAIT_MS), 0); /* by the same descriptor */
	cr_assert_eq(pipe_recv(&ours, text, sizeof(text), &bytes, WAIT_MS), 0);
	cr_expect_eq(bytes, 5);
	cr_expect_arr_eq(text, "after", 5);
}

Test(pipe, a_send_that_ran_out_of_time_has_sent_nothing)
{
	char text[16];
	size_t bytes;

	cr_assert_eq(pipe_send(&theirs, big, BIG, 20), -ETIMEDOUT);
	cr_expect_eq(pipe_recv(&ours, text, sizeof(text), &bytes, 20), -ETIMEDOUT);
	cr_assert_eq(pipe_send(&theirs, "after", 5, WAIT_MS), 0);
	cr_assert_eq(pipe_recv(&ours, text, sizeof(text), &bytes, WAIT_MS), 0);
	cr_expect_arr_eq(text, "after", 5);
}

Test(pipe, a_receive_that_ran_out_of_time_in_the_middle_goes_on_later)
{
	unsigned char *buffer = calloc(1, BIG);
	size_t bytes;

	cr_assert_eq(pipe_try_send(&theirs, big, BIG), 0);
	cr_assert_gt(pipe_unsent(&theirs), 0u);
	cr_expect_eq(pipe_recv(&ours, buffer, BIG, &bytes, 20), -ETIMEDOUT);
	memset(buffer, 0, BIG); /* what had come must not be only here */
	while (pipe_flush(&theirs) == -EAGAIN)
		cr_assert_eq(pipe_poll(&ours, 0), 0);
	cr_assert_eq(pipe_recv(&ours, buffer, BIG, &bytes, WAIT_MS), 0);
	cr_assert_eq(bytes, BIG);
	cr_expect_eq(memcmp(buffer, big, BIG), 0);
	free(buffer);
}

Test(pipe, a_frame_too_long_for_the_buffer_stays_the_next)
{
	char text[16];
	size_t bytes = 99;
	void *frame;

	cr_assert_eq(pipe_send(&theirs, "0123456789", 10, 0), 0);
	cr_assert_eq(pipe_send(&theirs, "next", 4, 0), 0);
	cr_expect_eq(pipe_recv(&ours, text, 4, &bytes, 0), -EMSGSIZE);
	cr_expect_eq(bytes, 99, "an output was touched");
	cr_expect_eq(pipe_next_bytes(&ours), 10);
	cr_expect_eq(pipe_recv_new(&ours, 9, &frame, &bytes, 0), -EMSGSIZE);
	cr_assert_eq(pipe_recv(&ours, text, 10, &bytes, 0), 0);
	cr_expect_arr_eq(text, "0123456789", 10);
	cr_assert_eq(pipe_recv(&ours, text, 4, &bytes, 0), 0);
	cr_expect_arr_eq(text, "next", 4);
	cr_expect_eq(pipe_next_bytes(&ours), 0);
}

Test(pipe, a_frame_above_the_limit_is_refused_on_both_sides)
{
	char text[16];
	size_t bytes;

	ours.frame_max = 100;
	cr_expect_eq(pipe_send(&ours, big, 101, 0), -EMSGSIZE);
	cr_expect_eq(pipe_try_send(&ours, big, 101), -EMSGSIZE);
	cr_assert_eq(pipe_try_send(&theirs, big, 2 * PIPE_WHOLE_MAX), 0);
	cr_expect_eq(pipe_recv(&ours, text, sizeof(text), &bytes, 100), -EPROTO);
	do
		cr_expect_eq(pipe_poll(&ours, 0), 0); /* the rest of it is passed over */
	while (pipe_flush(&theirs) == -EAGAIN);
	cr_assert_eq(pipe_send(&theirs, "next", 4, 0), 0);
	cr_assert_eq(pipe_recv(&ours, text, sizeof(text), &bytes, WAIT_MS), 0);
	cr_expect_arr_eq(text, "next", 4);
}

/* Send a fresh pipe(2)'s reading end; returns its writing end. */
static int
send_reader(struct pipe_end *p)
{
	int fds[2];
	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(pipe_send_fds(p, "take", 4, &fds[0], 1, 0), 0);
	close(fds[0]);
	return fds[1];
}

Test(pipe, descriptors_travel_with_their_frame)
{
	char text[16];
	size_t bytes;
	struct pipe_fds fds;

	int writer = send_reader(&theirs);
	cr_assert_eq(pipe_send(&theirs, "none", 4, 0), 0);
	for (unsigned held = 0; held < 2; held++) {
		cr_assert_eq(pipe_recv_fds(&ours, text, sizeof(text), &bytes, &fds, 0), 0);
		cr_assert_eq(fds.count, 1);
		cr_assert_eq(write(writer, "hello", 5), 5);
		cr_expect_eq(read(fds.fd[0], text, sizeof(text)), 5);
		cr_expect_arr_eq(text, "hello", 5);
		close(fds.fd[0]);
		close(writer);
		cr_assert_eq(pipe_recv_fds(&ours, text, sizeof(text), &bytes, &fds, 0), 0);
		cr_expect_eq(fds.count, 0);
		writer = send_reader(&theirs);
		cr_assert_eq(pipe_send(&theirs, "none", 4, 0), 0);
		cr_assert_eq(pipe_poll(&ours, 0), 1); /* now it is held */
	}
	close(writer);
	int many[PIPE_FDS_MAX + 1] = { 0 };
	cr_expect_eq(pipe_send_fds(&ours, "x", 1, many, PIPE_FDS_MAX + 1, 0), -EINVAL);
	cr_expect_eq(pipe_send_fds(&ours, "x", 1, many, PIPE_FDS_MAX, 0), 0);
	cr_assert_eq(pipe_recv_fds(&theirs, text, sizeof(text), &bytes, &fds, 0), 0);
	cr_expect_eq(fds.count, PIPE_FDS_MAX);
	while (fds.count > 0)
		close(fds.fd[--fds.count]);
}

Test(pipe, no_descriptor_stays_open_that_nobody_asked_for)
{
	char text[16];
	size_t bytes;
	int before = count_fds(getpid());

	close(send_reader(&theirs));
	cr_assert_eq(pipe_recv(&ours, text, sizeof(text), &bytes, 0), 0);
	cr_expect_eq(count_fds(getpid()), before);
	close(send_reader(&theirs));
	cr_assert_eq(pipe_poll(&ours, 0), 1);
	pipe_close(&ours);
	cr_expect_eq(count_fds(getpid()), before - 1);
}

/* One turn of an event loop that has `left` frames to send: without waiting for anything. */
static int
turn(struct pipe_end *p, unsigned *left, unsigned *got, unsigned char *buffer)
{
	size_t bytes;
	int r = *left > 0 ? pipe_try_send(p, big, BIG) : pipe_flush(p);

	if (r == 0 && *left > 0)
		--*left;
	if (r < 0 && r != -EAGAIN)
		return r;
	while ((r = pipe_try_recv(p, buffer, BIG, &bytes)) == 0)
		*got += bytes == BIG && memcmp(buffer, big, BIG) == 0;
	return r == -EAGAIN ? 0 : r;
}

Test(pipe, two_event_loops_exchange_large_frames_without_waiting)
{
	unsigned left[2] = { 3, 3 }, got[2] = { 0, 0 };
	unsigned char *buffer = malloc(BIG);

	while (got[0] < 3 || got[1] < 3) {
		cr_assert_eq(turn(&ours, &left[0], &got[0], buffer), 0);
		cr_assert_eq(turn(&theirs, &left[1], &got[1], buffer), 0);
		struct pollfd polled = {
			.fd = pipe_fd(&ours),
			.events = (short)(POLLIN | (pipe_unsent(&ours) > 0 ? POLLOUT : 0))
		};
		if (got[0] < 3)
			cr_assert_eq(poll(&polled, 1, WAIT_MS), 1);
	}
	cr_expect_eq(left[0] + left[1], 0);
	cr_expect_eq(pipe_unsent(&ours) + pipe_unsent(&theirs), 0);
	free(buffer);
}

Test(pipe, a_full_pipe_says_so_and_takes_nothing)
{
	char text[PIPE_WHOLE_MAX];
	unsigned sent = 0, got = 0;
	size_t bytes;
	int r;

	while ((r = pipe_try_send(&ours, big, 1000)) == 0)
		sent++;
	cr_expect_eq(r, -EAGAIN);
	cr_expect_gt(sent, 50u);
	cr_expect_eq(pipe_unsent(&ours), 0);
	cr_expect_eq(pipe_send(&ours, big, 1000, 0), -ETIMEDOUT);
	while (pipe_try_recv(&theirs, text, sizeof(text), &bytes) == 0)
		got++;
	cr_expect_eq(got, sent);
}

Test(pipe, counts_what_went_through_and_the_most_that_waited)
{
	char text[200];
	size_t bytes;

	for (int i = 0; i < 3; i++)
		cr_assert_eq(pipe_send(&ours, big, 100, 0), 0);
	cr_expect_eq(pipe_depth_bytes(&ours), 300);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pipe_recv(&theirs, text, sizeof(text), &bytes, 0), 0);
	cr_assert_eq(pipe_send(&ours, big, 50, 0), 0);
	cr_expect_eq(pipe_depth_bytes(&ours), 50);
	cr_expect_eq(ours.counters->messages_out, 4);
	cr_expect_eq(ours.counters->bytes_out, 350);
	cr_expect_eq(ours.counters->high_bytes, 300);
	cr_expect_eq(theirs.counters->messages_in, 3);
	cr_expect_eq(theirs.counters->bytes_in, 300);
	cr_expect_gt(theirs.counters->created_ns, 0u);
	/* A successor goes on counting. */
	struct pipe_counters kept = { .messages_out = 7, .created_ns = 1 };
	pipe_count_in(&ours, &kept, NULL);
	cr_assert_eq(pipe_send(&ours, big, 1, 0), 0);
	cr_expect_eq(kept.messages_out, 8);
	cr_expect_eq(kept.created_ns, 1);
}

Test(pipe, leaves_no_descriptor_and_no_memory_behind)
{
	int before = count_fds(getpid());
	uint64_t mapped = process_memory(getpid(), "VmSize");

	for (int i = 0; i < 300; i++) {
		struct pipe_end a, b;
		cr_assert_eq(pipe_create(&a, &b), 0);
		cr_assert_eq(pipe_send(&a, "x", 1, 0), 0);
		pipe_close(&a);
		pipe_close(&b);
	}
	cr_expect_eq(count_fds(getpid()), before);
#ifndef __SANITIZE_ADDRESS__
	cr_expect_lt(process_memory(getpid(), "VmSize"), mapped + 8 * MIB);
#else
	(void)mapped;
#endif
}

/* ---- a side that does what no pipe does ---- */

Test(pipe, a_packet_of_nothing_is_the_end_and_leaves_no_descriptor_open)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct msghdr message = { .msg_control = control.bytes,
				  .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	int passed = STDERR_FILENO, before = count_fds(getpid());
	char text[16];
	size_t bytes;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &passed, sizeof(int));
	cr_assert_eq(sendmsg(theirs.fd, &message, 0), 0);
	cr_expect_eq(pipe_recv(&ours, text, sizeof(text), &bytes, 0), -EPIPE);
	cr_expect_eq(count_fds(getpid()), before);
}

Test(pipe, frames_of_nothing_count_towards_what_is_held)
{
	pid_t child = test_fork();
	unsigned held = 0;
	char text[16];
	size_t bytes;

	if (child == 0) { /* never reads */
		theirs.held_max = 2 * BIG;
		pipe_close(&ours);
		for (;;)
			(void)pipe_send(&theirs, "", 0, WAIT_MS);
	}
	ours.held_max = 4096;
	while (pipe_send(&ours, big, BIG, 1000) == 0)
		; /* until it holds its most, and we ours */
	kill_and_wait(child, SIGKILL);
	while (pipe_try_recv(&ours, text, sizeof(text), &bytes) == 0)
		held++;
	/* ... and those in the socket: at most a few hundred by its buffer. */
	cr_expect_lt(held, 2000, "%u frames were held", held);
}
