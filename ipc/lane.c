/* lane.c - see lane.h */
#include "ipc/lane.h"

size_t
lane_footprint(uint64_t capacity)
{
	return sizeof(struct lane_shared) + 2 * ring_footprint(capacity);
}

int
lane_attach(struct lane *lane, void *base, uint64_t capacity, enum lane_side side)
{
	struct lane_shared *shared = base;
	unsigned char *submit = shared->rings;
	unsigned char *back = shared->rings + ring_footprint(capacity);
	struct lane view = { .shared = shared, .capacity = capacity };

	int r = ring_attach_consumer(&view.in, side == LANE_BROKER ? submit : back, capacity);
	if (r == 0)
		r = ring_attach_producer(&view.out, side == LANE_BROKER ? back : submit, capacity);
	if (r == 0)
		*lane = view;
	return r;
}
