/*
 * test_bad_frames.c - clients of the lanes of frames (unix, zmq) that break the rules: each ends
 * its own connection, and nobody else notices.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/zmq.h"
#include "shm/owner.h"
#include "shm/ring.h"
#include "tests/daemon/jobs.h"
#include "tests/daemon/raw.h"

static struct test_daemon d;
static struct pyprep *good;
static pid_t broker;

static void
setup(void)
{
	daemon_begin(&d, "[daemon]\nzmq_lane = yes\nzmq_idle = 1500ms\n"
			 "[pool \"cpu\"]\nexecutor = process\nworkers = 2\n");
	broker = daemon_broker(&d);
	good = daemon_connect(&d);
}

static void
teardown(void)
{
	pyprep_close(good);
	daemon_end(&d);
}

TestSuite(bad_frames, .init = setup, .fini = teardown, .timeout = 120);

static void
expect_good(void)
{
	struct pyprep_receipt receipt;

	cr_assert_eq(run_job(good, "noop", "cpu", NULL, 20000, &receipt), 0);
	cr_expect_str_eq(receipt.state, "succeeded");
	cr_expect_eq(daemon_broker(&d), broker, "the broker was replaced");
}

/* ---- a client of either lane, frame by frame ---- */

struct way {
	int fd;              /* unix */
	struct zmq_end *end; /* zmq */
	struct frame_in in;
	struct welcome_body welcome;
};

static struct way *
way_new(bool zmq)
{
	static const struct zmq_limits limits = { .linger_ms = 1000 };
	struct way *w = calloc(1, sizeof(*w));
	char path[160];

	w->fd = -1;
	if (!zmq) {
		w->fd = raw_connect(&d);
		cr_assert(w->fd >= 0);
		return w;
	}
	snprintf(path, sizeof(path), "%s/lane.sock", d.runtime);
	cr_assert_eq(zmq_end_open(ZMQ_END_DEALER, &limits, &w->end), 0, "%s", zmq_problem());
	cr_assert_eq(zmq_end_connect(w->end, path), 0);
	return w;
}

static void
way_close(struct way *w)
{
	if (w->fd >= 0)
		close(w->fd);
	zmq_end_close(w->end);
	free(w);
}

static int
way_bytes(struct way *w, const void *bytes, size_t length)
{
	struct iovec part = { (void *)(uintptr_t)bytes, length };

	if (w->end != NULL)
		return zmq_end_send(w->end, &part, 1);
	return send(w->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int
way_send(struct way *w, unsigned type, const void *body, const void *tail, size_t tail_length)
{
	static unsigned char frame[FRAME_MAX];
	int n = frame_encode(frame, type, body, tail, tail_length);

	return n < 0 ? n : way_bytes(w, frame, (size_t)n);
}

/* The next frame within `ms`: 0 with w->in set, -EAGAIN, -EPIPE. */
static int
way_recv(struct way *w, unsigned ms)
{
	uint64_t deadline = test_now_ms() + ms;
	struct zmq_message m;
	const char *why = "";

	for (;;) {
		int r = w->end == NULL ? frame_recv(w->fd, &w->in, &why) : zmq_end_recv(w->end, &m);
		uint64_t now = test_now_ms();
		if (r == 0 && w->end != NULL) {
			cr_assert_eq(m.count, 1);
			memcpy(w->in.buffer, m.part[0].iov_base, m.part[0].iov_len);
			r = frame_decode(&w->in, m.part[0].iov_len, &why);
			zmq_message_free(&m);
		}
		if (r != -EAGAIN || now >= deadline)
			return r;
		if (w->end != NULL)
			zmq_end_wait(w->end, POLLIN, (int)(deadline - now));
		else
			poll(&(struct pollfd){ .fd = w->fd, .events = POLLIN }, 1,
			     (int)(deadline - now));
	}
}

static void
say_hello(struct way *w, uint32_t flags, uint64_t owner)
{
	struct hello_body hello = { .version = PROTOCOL_VERSION, .flags = flags };

	cr_assert_eq(way_send(w, MSG_HELLO, &hello, &owner, sizeof(owner)), 0);
	cr_assert_eq(way_recv(w, 30000), 0);
	cr_assert_eq(w->in.type, MSG_WELCOME, "%.*s", (int)w->in.tail_length,
		     (const char *)w->in.tail);
	memcpy(&w->welcome, w->in.body, sizeof(w->welcome));
}

/* A word of farewell with `word` in it; on unix also the end. */
static void
expect_refused(struct way *w, const char *word)
{
	char text[300];
	int r;

	while ((r = way_recv(w, 30000)) == 0 && w->in.type != MSG_REFUSED)
		;
	cr_assert_eq(r, 0, "no word of farewell (%s)", word);
	snprintf(text, sizeof(text), "%.*s", (int)w->in.tail_length, (const char *)w->in.tail);
	cr_expect(strstr(text, word) != NULL, "\"%s\" says nothing of \"%s\"", text, word);
	if (w->end == NULL)
		cr_expect_eq(way_recv(w, 30000), -EPIPE);
}

#define ON_BOTH_LANES(what)              \
	static void what(bool zmq);      \
	Test(bad_frames, what##_on_unix) \
	{                                \
		what(false);             \
	}                                \
	Test(bad_frames, what##_on_zmq)  \
	{                                \
		what(true);              \
	}                                \
	static void what(bool zmq)

/* ---- rules ---- */

ON_BOTH_LANES(who_does_not_say_hello_first_is_told_so)
{
	struct submit_body submit = { 0 };
	struct way *w = way_new(zmq);

	way_send(w, MSG_SUBMIT, &submit, "\x80", 1);
	expect_refused(w, "hello");
	way_close(w);
	expect_good();
}

ON_BOTH_LANES(bundles_that_do_not_hold_together_end_their_client)
{
	const uint32_t whole = sizeof(struct ring_record) + sizeof(struct submit_body);
	const struct ring_record heads[] = {
		{ 0, MSG_SUBMIT, 0, 0 },
		{ 0, MSG_SUBMIT, sizeof(struct submit_body), 0 },
		{ whole, MSG_SUBMIT, 5000, 0 }, /* longer than the frame */
		{ 8, MSG_SUBMIT, 0, 0 },
		{ 16, MSG_SUBMIT, 0, 0 },             /* shorter than a submit */
		{ whole, MSG_SUBMIT, UINT32_MAX, 0 }, /* longer than it is */
		{ UINT32_MAX & ~15u, MSG_SUBMIT, whole, 0 },
		{ whole, MSG_SUBMIT, sizeof(struct submit_body) - 1, 0 },
		{ whole, MSG_RUN, sizeof(struct submit_body), 0 },
		{ whole, RING_TYPE_SKIP, sizeof(struct submit_body), 0 },
		{ whole, 777, sizeof(struct submit_body), 0 },
	};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		unsigned char tail[128] = { 0 };
		struct records_body body = { 0 };
		struct way *w = way_new(zmq);

		say_hello(w, HELLO_FRAMES, owner_self());
		memcpy(tail, &heads[i], sizeof(heads[i]));
		way_send(w, MSG_RECORDS, &body, tail, whole);
		expect_refused(w, "hold together");
		way_close(w);
		expect_good();
	}
}

ON_BOTH_LANES(records_that_only_the_broker_may_send_end_their_client)
{
	static const unsigned char bytes[sizeof(struct receipt)];
	static const unsigned types[] = { MSG_RECEIPT, MSG_OUTPUT, MSG_ITEMS, MSG_RUN, MSG_TAKEN };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct way *w = way_new(zmq);
		say_hello(w, HELLO_FRAMES, owner_self());
		way_send(w, types[i], bytes, NULL, 0);
		expect_refused(w, "");
		way_close(w);
		expect_good();
	}
}

/* Submits into a paused pool are taken into the table until that is full; then they pile up. */
ON_BOTH_LANES(who_sends_more_than_the_window_is_let_go)
{
	static char params[60000];
	struct submit_body submit = { .kind = UINT16_MAX };
	struct way *w = way_new(zmq);

	say_hello(w, HELLO_FRAMES, owner_self());
	cr_expect_eq(w->welcome.lane_bytes, 128 * 1024);
	cr_expect_eq(w->welcome.payload_max, 65476);
	/* ZeroMQ's thread may bring them one by one, each taken before the next: then once more.
	 * A socket holds less than a window and a half: there nothing can pile up. */
	for (int round = 0; round < 60 && w->in.type != MSG_REFUSED; round++) {
		kill(broker, SIGSTOP); /* so that nothing is taken meanwhile */
		for (int i = 0, r = 0; i < 8 && r == 0; i++)
			r = way_send(w, MSG_SUBMIT, &submit, params, sizeof(params));
		kill(broker, SIGCONT);
		if (!zmq)
			break;
		while (w->in.type != MSG_REFUSED && way_recv(w, 500) == 0)
			;
	}
	if (zmq) {
		cr_assert_eq(w->in.type, MSG_REFUSED, "no word of farewell");
		cr_expect_not_null(memmem(w->in.tail, w->in.tail_length, "lane_bytes", 10));
	}
	way_close(w);
	expect_good();
}

ON_BOTH_LANES(garbage_of_ten_thousand_frames_disturbs_nobody)
{
	static unsigned char bytes[FRAME_MAX + 100];
	unsigned seed = getenv("SEED") != NULL ? (unsigned)atoi(getenv("SEED")) : 21;
	int fds = settled_fds(broker);

	srandom(seed);
	fprintf(stderr, "seed %u\n", seed);
	for (int round = 0; round < 500; round++) {
		struct way *w = way_new(zmq);
		if (round % 2)
			say_hello(w, HELLO_FRAMES | HELLO_BUNDLES, owner_self());
		for (int i = 0; i < 20; i++) {
			size_t length = (size_t)random() % (i == 19 ? sizeof(bytes) : 300);
			struct frame head = {
				.magic = FRAME_MAGIC,
				.type = (uint16_t)(random() % 60),
				.length = (uint32_t)(length - sizeof(head)),
			};
			for (size_t k = 0; k < length; k++)
				bytes[k] = (unsigned char)random();
			if (length >= sizeof(head) && random() % 4 != 0)
				memcpy(bytes, &head, sizeof(head));
			way_bytes(w, bytes, length);
		}
		way_close(w);
		if (round % 100 == 0)
			expect_good();
	}
	expect_good();
	cr_expect(wait_until(20000, count_fds(broker) == fds), "descriptors: %d, now %d", fds,
		  count_fds(broker));
}

/* ---- frames as the page says ---- */

ON_BOTH_LANES(without_the_flag_every_record_comes_as_a_frame_of_its_own)
{
	struct submit_body submit = { .kind = UINT16_MAX };
	struct way *w = way_new(zmq);

	say_hello(w, HELLO_FRAMES, owner_self());
	for (uint64_t i = 0; i < 100; i++) {
		submit.tag = i;
		cr_assert_eq(way_send(w, MSG_SUBMIT, &submit, "\x80", 1), 0);
	}
	for (uint64_t i = 0; i < 100; i++) {
		cr_assert_eq(way_recv(w, 30000), 0);
		cr_assert_eq(w->in.type, MSG_RECEIPT);
		struct receipt receipt;
		memcpy(&receipt, w->in.body, sizeof(receipt));
		cr_expect_eq(receipt.tag, i);
		cr_expect_eq(receipt.outcome.error, ERR_BAD_REQUEST);
	}
	way_close(w);
}

/* 50 submits in one frame; their receipts come in fewer frames than they are. */
ON_BOTH_LANES(many_records_share_a_frame_both_ways)
{
	static unsigned char tail[50 * 96];
	struct records_body several = { 0 };
	struct way *w = way_new(zmq);
	size_t at = 0;
	unsigned frames = 0, records = 0;

	say_hello(w, HELLO_FRAMES | HELLO_BUNDLES, owner_self());
	for (uint64_t i = 0; i < 50; i++) {
		struct submit_body submit = { .tag = i, .kind = UINT16_MAX };
		struct ring_record head = {
			.size = (uint32_t)ring_record_size(sizeof(submit) + 1),
			.type = MSG_SUBMIT,
			.length = sizeof(submit) + 1,
		};
		memcpy(tail + at, &head, sizeof(head));
		memcpy(tail + at + sizeof(head), &submit, sizeof(submit));
		tail[at + sizeof(head) + sizeof(submit)] = 0x80;
		at += head.size;
	}
	cr_assert_eq(way_send(w, MSG_RECORDS, &several, tail, at), 0);
	while (records < 50) {
		cr_assert_eq(way_recv(w, 30000), 0);
		frames++;
		records += w->in.type == MSG_RECEIPT;
		for (uint32_t i = 0; w->in.type == MSG_RECORDS && i < w->in.tail_length;) {
			struct ring_record head;
			memcpy(&head, w->in.tail + i, sizeof(head));
			cr_expect_eq(head.type, MSG_RECEIPT);
			records++;
			i += head.size;
		}
	}
	cr_expect_eq(records, 50);
	cr_expect(frames < 50, "%u frames", frames);
	way_close(w);
}

/* ---- who cannot be seen to die ---- */

static uint64_t
clients(void)
{
	struct test_status status;

	return daemon_status(&d, &status) == 0 ? status.clients : UINT64_MAX;
}

Test(bad_frames, a_silent_client_without_a_process_is_let_go_and_one_that_speaks_stays)
{
	static const uint64_t words[] = { OWNER_NOBODY, 1, UINT64_MAX };
	struct empty_body empty = { 0 };
	uint64_t before = clients();
	struct way *speaks = way_new(true), *named = way_new(true);

	say_hello(speaks, HELLO_FRAMES, OWNER_NOBODY);
	say_hello(named, HELLO_FRAMES, owner_self());
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct way *w = way_new(true);
		say_hello(w, HELLO_FRAMES, words[i]);
		uint64_t deadline = test_now_ms() + 20000;
		int r;
		while ((r = way_recv(w, 50)) == -EAGAIN && test_now_ms() < deadline)
			way_send(speaks, MSG_BELL, &empty, NULL, 0);
		cr_assert_eq(r, 0, "word %zu: it is still there", i);
		cr_expect_eq(w->in.type, MSG_REFUSED);
		way_close(w);
	}
	cr_expect_eq(clients(), before + 2);
	way_close(speaks);
	cr_expect(wait_until(20000, clients() == before + 1), "nobody missed the silent one");
	way_close(named);
	expect_good();
}

/* init never dies: one that names it would never be let go. */
Test(bad_frames, a_client_that_names_anothers_process_is_not_believed)
{
	struct way *w = way_new(true);

	say_hello(w, HELLO_FRAMES, owner_of(d.pid));
	expect_refused(w, "names no process");
	way_close(w);
}

Test(bad_frames, the_zmq_socket_is_for_the_daemons_user_alone)
{
	struct command_result mode = run_command("stat -c %%a %s/lane.sock", d.runtime);

	cr_expect_str_eq(mode.output, "600\n");
	command_free(&mode);
}

Test(bad_frames, messages_of_many_parts_and_shared_memory_are_refused_on_zmq)
{
	struct hello_body hello = { .version = PROTOCOL_VERSION, .flags = HELLO_LANE };
	struct iovec parts[3] = { { "a", 1 }, { "b", 1 }, { "c", 1 } };
	struct way *w = way_new(true);

	cr_assert_eq(zmq_end_send(w->end, parts, 3), 0);
	expect_refused(w, "one frame");
	cr_assert_eq(way_send(w, MSG_HELLO, &hello, NULL, 0), 0);
	expect_refused(w, "ask for frames");
	way_close(w);
	expect_good();
}
