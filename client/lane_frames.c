/*
 * lane_frames.c - records as frames: what the lanes unix and zmq share.
 *
 * A submit leaves at once: a job does not wait for its submitter's next call.  Records that come
 * back are put into a ring of our own, where events.c finds them as if the broker had written
 * them there.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "client/internal.h"

int
lane_frames_welcomed(struct pyprep *p, const struct welcome_body *welcome,
		     struct pyprep_problem *why)
{
	if (welcome->lane_bytes < FRAME_MAX + RING_ALIGN || welcome->lane_bytes > LANE_BYTES_MAX)
		return version_problem(why, "its welcome carries no lane");
	p->window = welcome->lane_bytes;
	int r = frames_open(&p->frames, &p->lane, LANE_CLIENT);
	return r == 0 ? 0 : problem_memory(why);
}

void *
lane_frames_reserve(struct pyprep *p, uint32_t length)
{
	if (p->sent_bytes + ring_record_size(length) > p->taken_bytes + p->window)
		return NULL;
	return ring_reserve(&p->lane.out, MSG_SUBMIT, length);
}

/* Until the road takes frames again.  What comes meanwhile is kept: the broker may not listen to
 * one who does not read. */
static int
wait_for_road(struct pyprep *p)
{
	int moved = return_ring_save(p);

	if (moved < 0)
		return moved;
	if (p->lost)
		return -EPIPE;
	int r = p->lane_ops->wait(p, POLLIN | POLLOUT, -1);
	return r < 0 ? r : 0;
}

int
lane_frames_commit(struct pyprep *p, uint32_t length, bool no_wait)
{
	struct frame_out out;
	int r;

	ring_commit(&p->lane.out, length);
	if (!frames_next(&p->frames, false, &out))
		return -EPROTO;
	do
		r = p->lane_ops->send(p, out.type, out.body, out.tail, out.tail_length);
	while (r == -EAGAIN && !no_wait && (r = wait_for_road(p)) == 0);
	/* Sent or given up: the ring is empty again. */
	frames_sent(&p->frames, &out);
	if (r == 0)
		p->sent_bytes += ring_record_size(length);
	else if (r == -EPIPE)
		socket_drain(p); /* its reason, if it gave one */
	return r;
}

int
lane_frames_note(struct pyprep *p)
{
	struct taken_body taken;

	if (p->in.type == MSG_TAKEN) {
		memcpy(&taken, p->in.body, sizeof(taken));
		if (taken.bytes > p->sent_bytes || taken.bytes < p->taken_bytes)
			return -EPROTO;
		p->taken_bytes = taken.bytes;
	}
	if (!frames_carry(p->in.type))
		return 0;
	/* A frame always fits an empty ring. */
	int r = ring_is_empty(&p->lane.in) ? 0 : return_ring_empty(p);
	if (r < 0)
		return r;
	return frames_take(&p->frames, &p->in) < 0 ? -EPROTO : 0;
}

bool
lane_frames_pull(struct pyprep *p)
{
	while (ring_is_empty(&p->lane.in))
		if (p->lost || socket_take(p) < 0)
			return false;
	return true;
}
