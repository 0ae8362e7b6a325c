/*
 * frames.h - a lane without shared memory: records between rings of one's own and frames.
 *
 * A lane (lane.h) is two rings.  Where the other side cannot map them, each side has a pair in its
 * private memory, and this moves records from one to the other as frames of a socket:
 *
 *   lane.out -> frames_next() -> the socket -> frames_take() -> the other side's lane.in
 *
 * So everything that works on a lane's rings works on both sorts.  A record travels as a frame of
 * its own, or with others in a MSG_RECORDS, which holds them as they stand in the ring.
 *
 * What is under way is bounded by the receiver's word, not by its memory: the broker says in
 * MSG_WELCOME how many bytes of records a client may be ahead of the last MSG_TAKEN, and has
 * room for twice as many, since a ring wastes its end before it wraps.
 */
#ifndef PYPREP_IPC_FRAMES_H
#define PYPREP_IPC_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/lane.h"
#include "ipc/message.h"

#define FRAMES_RING_BYTES LANE_BYTES_MIN
#define FRAMES_WINDOW     (FRAMES_RING_BYTES / 2)
/* The broker says what it has taken when it was this much since it last did.  What is left of the
 * window then holds any record: nobody waits for a word that does not come. */
#define FRAMES_TELL (FRAMES_WINDOW / 4)

/* Parameters of one job: with header, tag and the rest they fill a frame. */
#define FRAMES_PAYLOAD_MAX (FRAME_RECORD_MAX - (uint32_t)sizeof(struct submit_body))

struct frames {
	struct ring fill;  /* the producer's view of lane.in: what has come */
	struct ring drain; /* the consumer's view of lane.out: what is to go */
	uint64_t filled;   /* bytes of records ever put into lane.in */
	void *base;
};

/* Make `lane` of private memory, touched as it is used.  End with frames_close(). */
int frames_open(struct frames *f, struct lane *lane, enum lane_side side);
void frames_close(struct frames *f); /* fine on a zeroed one */

/* Is `type` a record or a bundle of them? */
bool frames_carry(unsigned type);

/* Put the records of a received frame into lane.in.  -EPROTO: it is not what it says.
 * -ENOBUFS: there is no room (some may have been put). */
int frames_take(struct frames *f, const struct frame_in *in);

/* Bytes of records of lane.in that its consumer has taken; never more than that. */
uint64_t frames_taken(const struct frames *f);

/* The next frame of what stands in lane.out; it points there until frames_sent() with `bytes`.
 * `bundles`: as many records as fit.  false: nothing to send. */
struct frame_out {
	unsigned type;
	const void *body;
	const void *tail;
	uint32_t tail_length;
	uint64_t bytes;
};
bool frames_next(struct frames *f, bool bundles, struct frame_out *ret);
void frames_sent(struct frames *f, const struct frame_out *out);

#endif
