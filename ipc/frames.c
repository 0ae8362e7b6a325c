/* frames.c - see frames.h */
#include "ipc/frames.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int
frames_open(struct frames *f, struct lane *lane, enum lane_side side)
{
	size_t size = lane_footprint(FRAMES_RING_BYTES);
	struct lane other;

	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	/* Ours is one side of it, and fill and drain are the other. */
	int r = lane_attach(lane, base, FRAMES_RING_BYTES, side);
	if (r == 0)
		r = lane_attach(&other, base, FRAMES_RING_BYTES,
				side == LANE_BROKER ? LANE_CLIENT : LANE_BROKER);
	if (r < 0) {
		munmap(base, size);
		return r;
	}
	*f = (struct frames){ .fill = other.out, .drain = other.in, .base = base };
	return 0;
}

void
frames_close(struct frames *f)
{
	if (f->base != NULL)
		munmap(f->base, lane_footprint(FRAMES_RING_BYTES));
	f->base = NULL;
}

static bool
is_record(unsigned type)
{
	return type >= MSG_SUBMIT && type <= MSG_ITEMS;
}

bool
frames_carry(unsigned type)
{
	return type == MSG_RECORDS || is_record(type);
}

static int
put(struct frames *f, unsigned type, const void *bytes, uint32_t length)
{
	void *place = ring_reserve(&f->fill, type, length);

	if (place == NULL)
		return -ENOBUFS;
	memcpy(place, bytes, length);
	ring_commit(&f->fill, length);
	f->filled += ring_record_size(length);
	return 0;
}

int
frames_take(struct frames *f, const struct frame_in *in)
{
	const unsigned char *at = in->tail, *end = at + in->tail_length;
	int r = 0;

	if (is_record(in->type))
		return put(f, in->type, in->body,
			   (uint32_t)(end - (const unsigned char *)in->body));
	if (in->type != MSG_RECORDS || at == end)
		return -EPROTO;
	while (r == 0 && at < end) {
		struct ring_record header;
		if ((size_t)(end - at) < sizeof(header))
			return -EPROTO;
		memcpy(&header, at, sizeof(header));
		if (header.size > (size_t)(end - at) || header.length > FRAME_RECORD_MAX ||
		    header.size != ring_record_size(header.length) || !is_record(header.type) ||
		    !message_fits(header.type, header.length))
			return -EPROTO;
		r = put(f, header.type, at + sizeof(header), header.length);
		at += header.size;
	}
	return r;
}

uint64_t
frames_taken(const struct frames *f)
{
	uint64_t waiting = ring_used(f->fill.shared); /* with filler: rather too much */

	return f->filled > waiting ? f->filled - waiting : 0;
}

bool
frames_next(struct frames *f, bool bundles, struct frame_out *ret)
{
	static const struct records_body several;
	uint64_t bytes;

	const struct ring_record *first = ring_peek(&f->drain);
	if (first == NULL)
		return false;
	if (bundles && first->size < FRAME_RECORDS_MAX) {
		first = ring_peek_run(&f->drain, FRAME_RECORDS_MAX, &bytes);
		if (bytes > first->size) {
			*ret = (struct frame_out){ MSG_RECORDS, &several, first, (uint32_t)bytes,
						   bytes };
			return true;
		}
	}
	uint32_t body = message_body(first->type);
	*ret = (struct frame_out){ first->type, first->body, first->body + body,
				   first->length - body, first->size };
	return true;
}

void
frames_sent(struct frames *f, const struct frame_out *out)
{
	ring_release_run(&f->drain, out->bytes);
}
