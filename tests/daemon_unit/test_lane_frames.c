/*
 * test_lane_frames.c - daemon/lane_frames.c: what is longer than a frame comes as several, or
 * says that it did not.
 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/broker.h"

static struct broker broker;
static struct client client;
static struct frame_in in;
static int other; /* the client's end of its socket */

static void
setup(void)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	other = pair[1];
	TAILQ_INIT(&broker.active);
	client = (struct client){ .broker = &broker, .fd = pair[0], .lane_ops = &lane_unix };
	STAILQ_INIT(&client.backlog);
	STAILQ_INIT(&client.replies);
	cr_assert_eq(lane_frames_open(&client), 0);
}

static void
teardown(void)
{
	frames_close(&client.frames);
	close(client.fd);
	close(other);
}

TestSuite(lane_frames, .init = setup, .fini = teardown, .timeout = 600);

/* The next frame of this type. */
static void
expect_frame(unsigned type)
{
	const char *why = "nothing came";

	client_ring(&client);
	cr_assert_eq(frame_recv(other, &in, &why), 0, "%s", why);
	cr_assert_eq(in.type, type);
}

static void
put_receipt(uint32_t result, uint32_t message)
{
	struct receipt receipt = { .tag = 5, .outcome.state = JOB_SUCCEEDED };
	struct part parts[] = { { &receipt, sizeof(receipt) },
				{ calloc(1, result + 1), result },
				{ calloc(1, message + 1), message } };

	receipt.outcome.result_length = result;
	receipt.outcome.message_length = message;
	client_put(&broker, &client, MSG_RECEIPT, parts, 3);
	free((void *)(uintptr_t)parts[1].bytes);
	free((void *)(uintptr_t)parts[2].bytes);
}

Test(lane_frames, bring_a_result_that_just_fits_and_say_that_a_longer_one_was_left_out)
{
	uint32_t fits = FRAME_RECORD_MAX - (uint32_t)sizeof(struct receipt);
	struct receipt receipt;

	put_receipt(fits, 0);
	expect_frame(MSG_RECEIPT);
	memcpy(&receipt, in.body, sizeof(receipt));
	cr_expect_eq(receipt.outcome.result_length, fits);
	cr_expect_eq(in.tail_length, fits);
	put_receipt(fits + 1, 0);
	expect_frame(MSG_RECEIPT);
	memcpy(&receipt, in.body, sizeof(receipt));
	cr_expect_eq(receipt.tag, 5);
	cr_expect_eq(receipt.outcome.state, JOB_SUCCEEDED);
	cr_expect_eq(receipt.outcome.result_length, 0);
	cr_expect(receipt.flags & RECEIPT_TRUNCATED);
	cr_assert_eq(in.tail_length, receipt.outcome.message_length);
	cr_expect(memmem(in.tail, in.tail_length, "lane shm", 8) != NULL);
	cr_expect_not(client.doomed);
}

Test(lane_frames, cut_long_output_and_long_lists_of_items_without_a_gap)
{
	static unsigned char bytes[100000];
	static int64_t values[20000];
	struct output_body output = { .tag = 7, .stream = 2 };
	struct items_body items = { .tag = 8, .first = 100, .count = 20000 };
	struct part of_output[] = { { &output, sizeof(output) }, { bytes, sizeof(bytes) } };
	struct part of_items[] = { { &items, sizeof(items) }, { values, sizeof(values) } };
	size_t came = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 7);
	for (int64_t i = 0; i < 20000; i++)
		values[i] = i;
	client_put(&broker, &client, MSG_OUTPUT, of_output, 2);
	while (came < sizeof(bytes)) {
		expect_frame(MSG_OUTPUT);
		memcpy(&output, in.body, sizeof(output));
		cr_expect(output.tag == 7 && output.stream == 2);
		cr_assert_leq(came + in.tail_length, sizeof(bytes));
		cr_expect_eq(memcmp(in.tail, bytes + came, in.tail_length), 0);
		came += in.tail_length;
	}
	client_put(&broker, &client, MSG_ITEMS, of_items, 2);
	for (int64_t next = 0; next < 20000; next += items.count) {
		expect_frame(MSG_ITEMS);
		memcpy(&items, in.body, sizeof(items));
		cr_assert_eq(items.first, 100 + next);
		cr_assert_eq(in.tail_length, items.count * sizeof(int64_t));
		cr_expect_eq(memcmp(in.tail, values + next, in.tail_length), 0);
	}
}
