/*
 * test_bad_clients.c - clients that send garbage, scribble over their lane, do not read, die, or
 * come in crowds: they hurt themselves only.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/daemon/jobs.h"
#include "tests/daemon/raw.h"

#define GARBAGE_FRAMES 10000

static struct test_daemon d;
static pid_t broker;

static void
setup(void)
{
	daemon_begin(&d, "[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"
			 "[pool \"two\"]\nexecutor = process\nworkers = 1\n");
	broker = daemon_broker(&d);
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(bad_clients, .init = setup, .fini = teardown, .timeout = 120);

static unsigned
seed_of_test(unsigned otherwise)
{
	const char *given = getenv("SEED");
	unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : otherwise;

	srandom(seed);
	return seed;
}

/* The good client: a job, soon; late now and then on a machine that has other work. */
static void
expect_good(struct pyprep *good)
{
	struct pyprep_receipt receipt;
	uint64_t took = UINT64_MAX;

	for (int i = 0; i < 5 && took >= 1000; i++) {
		uint64_t from = test_now_ms();
		cr_assert_eq(run_job(good, "noop", "cpu", NULL, 20000, &receipt), 0);
		cr_expect_str_eq(receipt.state, "succeeded");
		took = test_now_ms() - from;
	}
	cr_expect(took < 1000, "a noop took %ju ms, and those before it more than 1000",
		  (uintmax_t)took);
}

static void
expect_same_broker(int fds)
{
	cr_expect_eq(daemon_broker(&d), broker, "the broker was replaced");
	cr_expect(wait_until(20000, count_fds(broker) == fds), "descriptors: %d, now %d", fds,
		  count_fds(broker));
}

/* ---- garbage ---- */

static void
send_bytes(int fd, const void *bytes, size_t length, int descriptors)
{
	struct iovec part = { (void *)(uintptr_t)bytes, length };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 64)];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };

	if (descriptors > 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)descriptors);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)descriptors);
		for (int i = 0; i < descriptors; i++)
			memcpy(CMSG_DATA(c) + (size_t)i * sizeof(int), &fd, sizeof(int));
	}
	(void)!sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void
fill_random(unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = (unsigned char)random();
}

/* A frame whose header is right but for what `shape` spoils. */
static size_t
spoilt_frame(unsigned char *bytes, unsigned shape)
{
	size_t tail = (size_t)random() % 200;
	struct frame head = {
		.magic = FRAME_MAGIC,
		.type = (uint16_t)(random() % 60),
		.length = (uint32_t)tail,
	};

	fill_random(bytes + sizeof(head), tail);
	switch (shape) {
	case 0: /* wrong magic */
		head.magic = (uint32_t)random();
		break;
	case 1: /* a length that is not true, also a huge one */
		head.length = random() % 2 ? (uint32_t)random() : UINT32_MAX;
		break;
	case 2: /* no such type */
		head.type = (uint16_t)(random() % 60000 + 100);
		break;
	case 3: /* a request whose map is none */
		head.type = MSG_REQUEST;
		break;
	default: /* any message, in any order: those of workers and of the supervisor too */
		break;
	}
	memcpy(bytes, &head, sizeof(head));
	return sizeof(head) + (shape == 4 ? (size_t)random() % (tail + 1) : tail);
}

static void
send_garbage(int fd)
{
	static unsigned char bytes[FRAME_MAX + 4096];
	size_t length;

	switch (random() % 8) {
	case 0:
		length = (size_t)random() % 300;
		fill_random(bytes, length);
		send_bytes(fd, bytes, length, 0);
		break;
	case 1:
		send_bytes(fd, bytes, FRAME_MAX + (size_t)random() % 4096, 0);
		break;
	case 2:
		length = spoilt_frame(bytes, (unsigned)random() % 6);
		send_bytes(fd, bytes, length, 1 + (int)(random() % 64));
		break;
	default:
		length = spoilt_frame(bytes, (unsigned)random() % 6);
		send_bytes(fd, bytes, length, 0);
	}
}

Test(bad_clients, that_send_ten_thousand_garbage_frames_disturb_nobody)
{
	struct hello_body hello = { .version = PROTOCOL_VERSION };
	unsigned seed = seed_of_test(11);
	struct pyprep *good = daemon_connect(&d);
	int fds = settled_fds(broker);

	fprintf(stderr, "seed %u\n", seed);
	for (int i = 0; i < GARBAGE_FRAMES; i++) {
		int fd = raw_connect(&d);
		cr_assert(fd >= 0, "frame %d: %s", i, strerror(-fd));
		if (random() % 2)
			frame_send(fd, MSG_HELLO, &hello, NULL, 0, NULL, 0);
		send_garbage(fd);
		close(fd);
		if (i % 250 == 0)
			expect_good(good);
	}
	expect_good(good);
	expect_same_broker(fds);
	pyprep_close(good);
}

Test(bad_clients, are_told_why_they_are_sent_away)
{
	static const struct {
		struct frame frame;
		const char *word;
	} rows[] = {
		{ { 0x12345678, MSG_HELLO, 0, sizeof(struct hello_body) }, "begin with PYP1" },
		{ { FRAME_MAGIC, 9999, 0, sizeof(struct hello_body) }, "type" },
		{ { FRAME_MAGIC, MSG_HELLO, 0, 77777 }, "length" },
		{ { FRAME_MAGIC, MSG_REQUEST, 0, sizeof(struct hello_body) }, "hello" },
		{ { FRAME_MAGIC, MSG_STOP_DAEMON, 0, sizeof(struct hello_body) }, "hello" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned char bytes[sizeof(struct frame) + sizeof(struct hello_body)] = { 0 };
		struct raw *r = calloc(1, sizeof(*r));
		char text[200];

		r->fd = raw_connect(&d);
		memcpy(bytes, &rows[i].frame, sizeof(rows[i].frame));
		/* Twice: the second one is unread when the broker closes. */
		send_bytes(r->fd, bytes, sizeof(bytes), 0);
		send_bytes(r->fd, bytes, sizeof(bytes), 0);
		cr_assert_eq(raw_frame(r, 20000), 0, "row %zu: no word of farewell", i);
		cr_assert_eq(r->in.type, MSG_REFUSED);
		snprintf(text, sizeof(text), "%.*s", (int)r->in.tail_length,
			 (const char *)r->in.tail);
		cr_expect(strcasestr(text, rows[i].word) != NULL, "row %zu: \"%s\"", i, text);
		cr_expect(raw_is_dropped(r, 20000));
		raw_close(r);
	}
}

/* A client that checks nothing: the broker does, by name. */
Test(bad_clients, that_submit_nonsense_get_it_refused_and_stay)
{
	static const struct {
		const char *kind, *params;
		uint32_t length;
		enum job_error error;
	} rows[] = {
		{ "sumsq", "\x81\xa1m\x05", 4, ERR_UNKNOWN_PARAM },
		{ "sumsq", "\x80", 1, ERR_MISSING_PARAM },
		{ "sumsq",
		  "\x81\xa1n\xa3"
		  "abc",
		  7, ERR_BAD_TYPE },
		{ "sumsq", "\x81\xa1n\xff", 4, ERR_OUT_OF_RANGE },
		{ "lines", "\x81\xa4path\xa1x", 8, ERR_OUT_OF_RANGE },
		{ "sumsq", "\xdf\xff\xff\xff\xff\xa1n\x05", 8, ERR_BAD_REQUEST },
		{ "sumsq", "\x81\xa1n", 3, ERR_BAD_REQUEST },
		{ "noop", "", 0, ERR_NONE },
	};
	static char large[PAYLOAD_MAX + 100];
	struct raw *r = raw_open(&d);
	struct receipt receipt;
	uint16_t kind, pool;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		raw_resolve(r, rows[i].kind, "cpu", &kind, &pool);
		cr_assert_eq(raw_submit(r, i, kind, pool, rows[i].params, rows[i].length), 0);
		cr_assert_eq(raw_receipt(r, 30000, &receipt), 1, "row %zu", i);
		cr_expect_eq(receipt.tag, i);
		cr_expect_eq(receipt.outcome.error, rows[i].error, "row %zu: %s, not %s", i,
			     job_error_text(receipt.outcome.error), job_error_text(rows[i].error));
		cr_expect_eq(receipt.outcome.state == JOB_REFUSED, rows[i].error != ERR_NONE);
	}
	static const struct {
		uint16_t kind, pool;
	} nowhere[] = { { 9999, 0 }, { 0, 9999 }, { UINT16_MAX, UINT16_MAX } };
	for (int i = 0; i < 3; i++) {
		raw_submit(r, 7, nowhere[i].kind, nowhere[i].pool, "\x80", 1);
		cr_assert_eq(raw_receipt(r, 30000, &receipt), 1);
		cr_expect_eq(receipt.outcome.error, ERR_BAD_REQUEST);
	}
	raw_resolve(r, "noop", "cpu", &kind, &pool);
	raw_submit(r, 8, kind, pool, large, sizeof(large));
	cr_assert_eq(raw_receipt(r, 30000, &receipt), 1);
	cr_expect_eq(receipt.outcome.error, ERR_TOO_LARGE);
	raw_submit(r, 9, kind, pool, "\x80", 1);
	cr_assert_eq(raw_receipt(r, 30000, &receipt), 1, "the connection has ended");
	cr_expect_eq(receipt.outcome.state, JOB_SUCCEEDED);
	raw_close(r);
}

/* `map`, with its length before it and no parameters after it. */
static int
submit_policy(struct raw *r, uint64_t tag, uint16_t kind, uint16_t pool, int64_t items,
	      const char *map, uint32_t length)
{
	unsigned char tail[256];

	memcpy(tail, &length, sizeof(length));
	memcpy(tail + sizeof(length), map, length);
	return raw_submit_flags(r, tag, kind, pool, SUBMIT_POLICY, items, tail,
				(uint32_t)sizeof(length) + length);
}

Test(bad_clients, that_submit_nonsense_as_policies_get_it_refused_and_stay)
{
	static const struct {
		const char *map;
		uint32_t length;
		int64_t items;
		enum job_error error;
	} rows[] = {
		{ "\x81\xa7retrxes\x01", 10, 0, ERR_UNKNOWN_PARAM },
		{ "\x81\xa4nice\xa1x", 8, 0, ERR_BAD_TYPE },
		{ "\x81\xa4nice\x14", 7, 0, ERR_OUT_OF_RANGE },
		{ "\x82\xa4nice\x01\xa4nice\x01", 13, 0, ERR_BAD_REQUEST },
		{ "\xdf\xff\xff\xff\xff\xa4nice\x01", 11, 0, ERR_BAD_REQUEST },
		{ "\x80\x80", 2, 0, ERR_BAD_REQUEST },
		{ "\x81\xa7retries\x01", 10, 10, ERR_BAD_REQUEST },
		{ "\x81\xa7retries\x01", 10, 0, ERR_NONE },
		{ "\x80", 1, 0, ERR_NONE },
		{ "", 0, 0, ERR_NONE },
	};
	struct raw *r = raw_open(&d);
	struct receipt receipt;
	uint16_t kind, pool;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		raw_resolve(r, rows[i].items > 0 ? "square" : "noop", "cpu", &kind, &pool);
		cr_assert_eq(
			submit_policy(r, i, kind, pool, rows[i].items, rows[i].map, rows[i].length),
			0);
		cr_assert_eq(raw_receipt(r, 30000, &receipt), 1, "row %zu", i);
		cr_expect_eq(receipt.tag, i);
		cr_expect_eq(receipt.outcome.error, rows[i].error, "row %zu: %s, not %s", i,
			     job_error_text(receipt.outcome.error), job_error_text(rows[i].error));
	}
	raw_close(r);
}

/* A length that goes past the record's end: nobody knows what such a client says next. */
Test(bad_clients, whose_policies_are_longer_than_their_record_are_let_go)
{
	static const uint32_t lengths[] = { 2, 0x7fffffff, UINT32_MAX };
	uint16_t kind, pool;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		unsigned char tail[5] = { 0, 0, 0, 0, 0x80 };
		struct raw *r = raw_open(&d);
		memcpy(tail, &lengths[i], sizeof(lengths[i]));
		raw_resolve(r, "noop", "cpu", &kind, &pool);
		cr_assert_eq(raw_submit_flags(r, 1, kind, pool, SUBMIT_POLICY, 0, tail, 5), 0);
		cr_expect(raw_is_dropped(r, 30000));
		raw_close(r);
		r = raw_open(&d);
		raw_resolve(r, "noop", "cpu", &kind, &pool);
		cr_assert_eq(raw_submit_flags(r, 1, kind, pool, SUBMIT_POLICY, 0, tail, 3), 0);
		cr_expect(raw_is_dropped(r, 30000));
		raw_close(r);
	}
}

/* ---- scribbling ---- */

/* Write nonsense over the lane until the broker has had enough. */
static bool
scribble(struct raw *r, uint64_t until_ms)
{
	unsigned char *bytes = r->base;

	while (test_now_ms() < until_ms) {
		for (int i = 0; i < 64; i++) {
			size_t at = (size_t)random() % (r->size - 8);
			/* Positions and the first records are where it hurts. */
			if (random() % 2)
				at %= 4096;
			uint64_t value = random() % 2
						 ? (uint64_t)random() << 32 ^ (uint64_t)random()
						 : (uint64_t)random() % 8192;
			memcpy(bytes + at, &value, sizeof(value));
		}
		struct empty_body empty = { 0 };
		if (frame_send(r->fd, MSG_BELL, &empty, NULL, 0, NULL, 0) == -EPIPE)
			return true;
	}
	return false;
}

Test(bad_clients, that_scribble_over_their_lane_are_dropped_alone)
{
	unsigned seed = seed_of_test(12), dropped = 0;
	struct pyprep *good = daemon_connect(&d);
	int fds = settled_fds(broker);
	uint64_t until = test_now_ms() + 2000;

	for (int round = 0; test_now_ms() < until || (dropped == 0 && round < 100); round++) {
		pid_t child = test_fork();
		if (child == 0) {
			srandom(seed + (unsigned)round);
			struct raw *r = raw_open(&d);
			_exit(r != NULL && scribble(r, test_now_ms() + 200) ? 0 : 1);
		}
		expect_good(good);
		int status = wait_exit(child, 20000);
		dropped += status == 0;
		expect_good(good);
	}
	cr_expect(dropped > 0, "seed %u: nobody was dropped", seed);
	fprintf(stderr, "seed %u: %u scribblers dropped\n", seed, dropped);
	expect_same_broker(fds);
	pyprep_close(good);
}

/* ---- not reading ---- */

Test(bad_clients, that_never_read_get_their_jobs_held_and_the_memory_stays_bounded)
{
	const uint32_t jobs = 50000;
	struct pyprep *good = daemon_connect(&d);
	struct raw *r = raw_open(&d);
	uint16_t kind, pool;
	struct receipt receipt;
	struct test_status status;
	uint64_t before = process_memory(broker, "VmRSS");

	raw_resolve(r, "noop", "cpu", &kind, &pool);
	for (uint32_t sent = 0; sent < jobs;) {
		if (raw_submit(r, sent, kind, pool, "\x80", 1) == 0)
			sent++;
		else
			test_pause();
	}
	expect_good(good);
	/* What it would get and does not take: about two megabytes, then its jobs wait. */
	cr_expect(wait_until(20000, daemon_status(&d, &status) == 0 && status.jobs_queued > 30000 &&
					    status.jobs_running == 0),
		  "%ju queued", (uintmax_t)status.jobs_queued);
	uint64_t queued = status.jobs_queued;
	for (int i = 0; i < 100; i++)
		expect_good(good);
	cr_assert_eq(daemon_status(&d, &status), 0);
	cr_expect_eq(status.jobs_queued, queued, "held jobs ran on");
	uint64_t grown = process_memory(broker, "VmRSS") - before;
	cr_expect(grown < (16u << 20), "the broker grew by %ju bytes", (uintmax_t)grown);

	/* It reads after all: everything comes. */
	uint32_t got = 0;
	while (got < jobs && raw_receipt(r, 30000, &receipt) == 1)
		got += receipt.outcome.state == JOB_SUCCEEDED;
	cr_expect_eq(got, jobs);
	raw_close(r);
	pyprep_close(good);
}

/* Each answer is about two megabytes: the history is full. */
Test(bad_clients, that_do_not_read_their_replies_are_not_listened_to_until_they_do)
{
	/* {"verb": "ls", "state": "all", "limit": 65535} */
	static const char list[] = "\x83\xa4verb\xa2ls\xa5state\xa3"
				   "all"
				   "\xa5limit\xcd\xff\xff";
	struct request_body body = { .number = 1 };
	struct pyprep *good = daemon_connect(&d);
	struct raw *r = raw_open(&d);
	uint16_t kind, pool;
	struct receipt receipt;
	struct tally t = { 0 };

	char path[160] = "path=/";
	memset(path + 6, 'x', sizeof(path) - 7); /* a long error text */
	for (int i = 0; i < 4200; i++)
		start(good, "read", "cpu", path, 0);
	cr_assert(finish_all(good, 20000, &t));
	cr_assert_eq(ask(good, "pause", "pool=two", NULL), 0);
	raw_resolve(r, "noop", "two", &kind, &pool);
	cr_assert_eq(raw_submit(r, 7, kind, pool, "\x80", 1), 0);
	uint64_t before = process_memory(broker, "VmRSS");
	for (int i = 0; i < 24; i++) {
		frame_send(r->fd, MSG_REQUEST, &body, list, sizeof(list) - 1, NULL, 0);
		cr_assert_eq(ask(good, "ping", NULL, NULL), 0); /* it has looked at its sockets */
	}
	bool too_much = wait_until(300, process_memory(broker, "VmRSS") > before + (8u << 20));
#if defined(__SANITIZE_ADDRESS__)
	too_much = false; /* its allocator keeps what was freed: memory says nothing there */
#endif
	cr_expect(!too_much, "unread replies pile up in the broker");
	/* A job that is held because of the unread replies runs once those are read. */
	cr_assert_eq(ask(good, "resume", "pool=two", NULL), 0);
	for (int i = 0; i < 20; i++)
		expect_good(good);
	cr_assert_eq(raw_receipt(r, 30000, &receipt), 1);
	cr_expect_eq(receipt.tag, 7);
	cr_expect_eq(daemon_broker(&d), broker);
	raw_close(r);
	pyprep_close(good);
}

/* ---- dying ---- */

Test(bad_clients, that_are_killed_leave_no_job_and_no_descriptor)
{
	struct pyprep *good = daemon_connect(&d);
	struct test_status status;
	int fds = settled_fds(broker);

	for (int round = 0; round < 20; round++) {
		pid_t child = test_fork();
		if (child == 0) {
			struct pyprep *p;
			if (pyprep_connect(d.runtime, &p, NULL) < 0)
				_exit(1);
			for (int i = 0;; i++)
				start(p, i % 50 ? "noop" : "sleep", "cpu", i % 50 ? NULL : "ms=1",
				      0);
		}
		wait_until(20, false);
		kill_and_wait(child, SIGKILL);
		expect_good(good);
	}
	cr_expect(wait_until(20000, daemon_status(&d, &status) == 0 && status.table_jobs == 0));
	expect_same_broker(fds);
	pyprep_close(good);
}

/* ---- crowds ---- */

Test(bad_clients, in_crowds_are_refused_politely_and_the_first_ones_work_on)
{
	struct pyprep *crowd[300] = { 0 };
	struct pyprep_problem why;
	unsigned in = 0, refused = 0;

	settled_fds(broker); /* the test's own earlier connections are gone */
	for (int i = 0; i < 300; i++) {
		int r = pyprep_connect(d.runtime, &crowd[i], &why);
		in += r == 0;
		if (r == 0)
			continue;
		crowd[i] = NULL;
		refused++;
		cr_expect_eq(why.exit_status, 75, "%s (%s)", why.message, why.code);
		cr_expect_str_eq(why.code, "too_many_clients");
	}
	cr_assert_eq(in, 256, "%u are in, %u refused", in, refused);
	cr_expect_eq(refused, 44);
	expect_good(crowd[0]);
	expect_good(crowd[255]);
	pyprep_close(crowd[7]);
	crowd[7] = NULL;
	cr_expect(wait_until(20000, pyprep_connect(d.runtime, &crowd[7], NULL) == 0),
		  "the place of one that left is not given away");
	expect_good(crowd[7]);
	for (int i = 0; i < 300; i++)
		pyprep_close(crowd[i]);
}

Test(bad_clients, that_say_nothing_lose_their_places_to_those_who_do)
{
	int silent[256];
	struct pyprep *p = NULL;

	for (int i = 0; i < 256; i++)
		silent[i] = raw_connect(&d);
	cr_assert(wait_until(20000, pyprep_connect(d.runtime, &p, NULL) == 0));
	expect_good(p);
	pyprep_close(p);
	for (int i = 0; i < 256; i++)
		close(silent[i]);
}
