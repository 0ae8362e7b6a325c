/*
 * test_ipc_frames.c - ipc/frames.h: records from one side's ring to the other's as frames, whole,
 * in order, alone and in bundles.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/frames.h"

struct side {
	struct frames frames;
	struct lane lane;
};

static struct side client, broker;
static struct frame_in in;

static void
setup(void)
{
	cr_assert_eq(frames_open(&client.frames, &client.lane, LANE_CLIENT), 0);
	cr_assert_eq(frames_open(&broker.frames, &broker.lane, LANE_BROKER), 0);
}

static void
teardown(void)
{
	frames_close(&client.frames);
	frames_close(&broker.frames);
	frames_close(&broker.frames);
}

TestSuite(ipc_frames, .init = setup, .fini = teardown, .timeout = 600);

/* A record whose bytes follow from its number; false: no room. */
static bool
put(struct ring *out, unsigned type, uint32_t number, uint32_t length)
{
	unsigned char *place = ring_reserve(out, type, length);

	if (place == NULL)
		return false;
	memset(place, (int)number, length);
	ring_commit(out, length);
	return true;
}

/* Everything that stands in `from`, as frames through bytes, to `to`; how many frames. */
static unsigned
carry(struct side *from, struct side *to, bool bundles)
{
	struct frame_out out;
	unsigned frames = 0;
	const char *why = "";

	while (frames_next(&from->frames, bundles, &out)) {
		int n = frame_encode(in.buffer, out.type, out.body, out.tail, out.tail_length);
		cr_assert_gt(n, 0);
		cr_assert_eq(frame_decode(&in, (size_t)n, &why), 0, "%s", why);
		cr_assert_eq(frames_take(&to->frames, &in), 0);
		frames_sent(&from->frames, &out);
		frames++;
	}
	return frames;
}

static void
expect_next(struct ring *from, unsigned type, uint32_t number, uint32_t length)
{
	const struct ring_record *record = ring_peek(from);

	cr_assert_not_null(record);
	cr_assert_eq(record->type, type);
	cr_assert_eq(record->length, length, "record %u: %u bytes", number, record->length);
	for (uint32_t i = 0; i < length; i++)
		cr_assert_eq(record->body[i], (unsigned char)number);
	ring_release(from, record);
}

Test(ipc_frames, carry_records_of_all_lengths_in_order_over_many_wraps)
{
	uint32_t sent = 0, got = 0, lengths[8], total = 0;

	for (int round = 0; round < 2000; round++) {
		unsigned n = 0;
		while (n < 8) {
			lengths[n] = (uint32_t)sizeof(struct receipt) +
				     (uint32_t)random() % (round % 5 ? 300 : 60000);
			if (!put(&broker.lane.out, MSG_RECEIPT, sent + n, lengths[n]))
				break;
			n++;
		}
		cr_assert_gt(n, 0);
		unsigned frames = carry(&broker, &client, round % 2);
		cr_expect(round % 2 ? frames <= n : frames == n);
		for (unsigned i = 0; i < n; i++, got++) {
			expect_next(&client.lane.in, MSG_RECEIPT, got, lengths[i]);
			total += (uint32_t)ring_record_size(lengths[i]);
		}
		sent += n;
		cr_expect_null(ring_peek(&client.lane.in));
	}
	cr_expect_eq((uint32_t)client.frames.filled, total);
	cr_expect_eq(frames_taken(&client.frames), client.frames.filled);
}

Test(ipc_frames, put_as_many_records_as_fit_into_one_frame)
{
	const uint32_t fit = FRAME_RECORDS_MAX / (uint32_t)ring_record_size(sizeof(struct receipt));

	for (uint32_t i = 0; i < fit; i++)
		cr_assert(put(&broker.lane.out, MSG_RECEIPT, i, sizeof(struct receipt)));
	cr_expect_eq(carry(&broker, &client, true), 1);
	for (uint32_t i = 0; i < fit; i++)
		expect_next(&client.lane.in, MSG_RECEIPT, i, sizeof(struct receipt));
	for (uint32_t i = 0; i < fit + 100; i++)
		cr_assert(put(&broker.lane.out, MSG_RECEIPT, i, sizeof(struct receipt)));
	cr_expect_eq(carry(&broker, &client, true), 2);
}

Test(ipc_frames, carry_the_longest_record_and_say_when_the_receiver_is_full)
{
	struct frame_out out;
	const char *why;
	int r = 0, taken = 0;

	cr_assert(put(&client.lane.out, MSG_SUBMIT, 7, FRAME_RECORD_MAX));
	cr_expect_eq(carry(&client, &broker, true), 1);
	expect_next(&broker.lane.in, MSG_SUBMIT, 7, FRAME_RECORD_MAX);
	/* Nobody takes: a window's worth fits at least, wherever the ring stands. */
	for (int i = 0; r == 0; i++) {
		cr_assert(put(&client.lane.out, MSG_SUBMIT, 7, FRAME_RECORD_MAX));
		cr_assert(frames_next(&client.frames, true, &out));
		int n = frame_encode(in.buffer, out.type, out.body, out.tail, out.tail_length);
		cr_assert_eq(frame_decode(&in, (size_t)n, &why), 0);
		r = frames_take(&broker.frames, &in);
		frames_sent(&client.frames, &out);
		taken += r == 0;
	}
	cr_expect_eq(r, -ENOBUFS);
	cr_expect_geq(taken, 1);
	cr_expect_eq(broker.frames.filled,
		     (uint64_t)(taken + 1) * ring_record_size(FRAME_RECORD_MAX));
	/* What waits counts with the filler before it: rather too little is said to be taken. */
	cr_expect_leq(frames_taken(&broker.frames), ring_record_size(FRAME_RECORD_MAX));
}

Test(ipc_frames, never_leave_a_sender_without_room_for_a_record)
{
	/* All but what need not be told yet has been told, and the longest record still fits. */
	cr_expect_geq(FRAMES_WINDOW - FRAMES_TELL, ring_record_size(FRAME_RECORD_MAX));
	/* What a ring wastes before its wrap is less than one record. */
	cr_expect_geq(FRAMES_RING_BYTES, FRAMES_WINDOW + ring_record_size(FRAME_RECORD_MAX));
}
