/*
 * fuzz_frame.c - bytes of a stranger: as a frame on the control socket, as parameters of every
 * kind, and (the other way round) as a receipt that a client is given.
 *
 * The first byte chooses: 0xff a receipt, 0xfe a whole frame, 0xfd a frame that brings records on
 * a lane of frames, 0xfc the tail of a MSG_RECORDS, else the kind whose parameters the rest is.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/pyprep.h"
#include "daemon/kind.h"
#include "ipc/frames.h"
#include "ipc/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; /* what is read must be read */

static void
read_bytes(const void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sink += ((const unsigned char *)bytes)[i];
}

/* Read every argument as its kind would. */
static void
read_args(const struct kind *kind, const void *packed)
{
	char words[64];
	for (unsigned i = 0; i < kind_param_count(kind); i++) {
		uint32_t n = 0;
		switch (kind->params[i].type) {
		case PARAM_TEXT: {
			const char *text = args_text(packed, i, &n);
			read_bytes(text, (size_t)n + 1);
			break;
		}
		case PARAM_LIST:
			for (const char *s = args_list(packed, i, &n); n > 0; n--) {
				size_t length = strlen(s);
				read_bytes(s, length + 1);
				s += length + 1;
			}
			break;
		default:
			sink += (uint64_t)args_int(packed, i);
		}
	}
	args_print(kind, packed, words, sizeof(words));
}

static void
fuzz_args(const struct kind *kind, const uint8_t *data, size_t size)
{
	struct args_buffer out = { 0 };
	char why[200] = "";
	uint8_t *exact = malloc(size + 1); /* so that one byte too far is seen */
	memcpy(exact, data, size);
	enum job_error error = args_pack(kind, exact, size, &out, why, sizeof(why));
	if (error == ERR_NONE) {
		/* Packed bytes travel: read them from a copy of their own length. */
		uint8_t *copy = aligned_alloc(16, (out.length + 31) / 16 * 16);
		if (out.length > 0)
			memcpy(copy, out.bytes, out.length);
		read_args(kind, copy);
		free(copy);
	} else if (why[0] == '\0') {
		abort(); /* every refusal has a reason */
	}
	args_buffer_free(&out);
	free(exact);
}

static void
fuzz_frame(const uint8_t *data, size_t size)
{
	static struct frame_in in;
	const char *why = NULL;
	if (size > sizeof(in.buffer))
		return;
	memcpy(in.buffer, data, size);
	if (frame_decode(&in, size, &why) == 0) {
		if (!message_fits(in.type, (uint32_t)(size - sizeof(struct frame))) ||
		    in.tail < in.buffer || in.tail + in.tail_length > in.buffer + size)
			abort();
		read_bytes(in.body, (size_t)(in.tail - in.buffer) + in.tail_length);
	} else if (why == NULL) {
		abort();
	}
}

/* What came in frames is taken from the ring, each record whole and of the size it had. */
static void
take_all(struct lane *lane)
{
	static unsigned char body[FRAMES_RING_BYTES];
	uint32_t type, length;
	int r;

	while ((r = ring_copy(&lane->in, body, sizeof(body), &type, &length)) == 1) {
		if (!frames_carry(type) || !message_fits(type, length) || length > FRAME_RECORD_MAX)
			abort();
		read_bytes(body, length);
	}
	if (r < 0)
		abort();
}

static void
fuzz_records(const uint8_t *data, size_t size, bool bundle)
{
	static struct frame_in in;
	static struct frames frames;
	static struct lane lane;
	static const struct records_body several;
	const char *why;
	int n = (int)size;

	if (frames.base == NULL && frames_open(&frames, &lane, LANE_BROKER) < 0)
		abort();
	if (size > sizeof(in.buffer) - 64)
		return;
	if (bundle)
		n = frame_encode(in.buffer, MSG_RECORDS, &several, data, size);
	else
		memcpy(in.buffer, data, size);
	if (frame_decode(&in, (size_t)n, &why) < 0 || !frames_carry(in.type))
		return;
	uint64_t before = frames.filled;
	if (frames_take(&frames, &in) == 0 && frames.filled == before)
		abort(); /* taken, and nothing came */
	take_all(&lane);
	if (frames_taken(&frames) != frames.filled)
		abort();
}

static void
fuzz_receipt(const uint8_t *data, size_t size)
{
	struct pyprep_receipt receipt;
	uint8_t *exact = malloc(size + 1);
	memcpy(exact, data, size);
	if (pyprep_receipt_decode(exact, size, &receipt) == 0) {
		read_bytes(receipt.state, strlen(receipt.state));
		read_bytes(receipt.cause, strlen(receipt.cause));
		read_bytes(receipt.error_code, strlen(receipt.error_code));
		read_bytes(receipt.error_message, strlen(receipt.error_message));
		read_bytes(receipt.result, receipt.result_length);
	}
	free(exact);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] == 0xff)
		fuzz_receipt(data + 1, size - 1);
	else if (data[0] == 0xfe)
		fuzz_frame(data + 1, size - 1);
	else if (data[0] == 0xfd || data[0] == 0xfc)
		fuzz_records(data + 1, size - 1, data[0] == 0xfc);
	else
		fuzz_args(kinds[data[0] % kind_count], data + 1, size - 1);
	return 0;
}
