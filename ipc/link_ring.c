/* link_ring.c - a link over two rings in its segment: records are written and read in place. */
#include "ipc/link.h"

size_t
link_ring_footprint(void)
{
	size_t requests = ring_footprint(LINK_REQUEST_BYTES);

	return requests + ring_footprint(LINK_RESULT_BYTES);
}

int
link_ring_open(struct link_shared *shared, const struct link_fds *fds, bool broker,
	       struct link_end *requests, struct link_end *results)
{
	unsigned char *request_ring = shared->carried;
	unsigned char *result_ring = shared->carried + ring_footprint(LINK_REQUEST_BYTES);
	int r;

	(void)fds;
	*requests = *results = (struct link_end){ .fd = -1 };
	if (broker) {
		r = ring_attach_producer(&requests->ring, request_ring, LINK_REQUEST_BYTES);
		if (r == 0)
			r = ring_attach_consumer(&results->ring, result_ring, LINK_RESULT_BYTES);
	} else {
		r = ring_attach_consumer(&requests->ring, request_ring, LINK_REQUEST_BYTES);
		if (r == 0)
			r = ring_attach_producer(&results->ring, result_ring, LINK_RESULT_BYTES);
	}
	return r;
}
