/* lane_shm.c - records in rings that we share with the broker; bells and requests by socket. */
#include <string.h>
#include <unistd.h>

#include "client/internal.h"
#include "shm/segment.h"

static int
welcomed(struct pyprep *p, const struct welcome_body *welcome, struct pyprep_problem *why)
{
	if (p->in.fd_count < 1 || welcome->lane_bytes < RING_SIZE_MIN ||
	    welcome->lane_bytes > LANE_BYTES_MAX)
		return version_problem(why, "its welcome carries no lane");

	size_t size = lane_footprint(welcome->lane_bytes);
	int r = segment_map(p->in.fds[0], size, &p->base);
	if (r == 0) {
		p->base_size = size;
		r = lane_attach(&p->lane, p->base, welcome->lane_bytes, LANE_CLIENT);
	}
	if (r < 0)
		return problem_set(why, r, "internal", job_error_exit(ERR_INTERNAL),
				   "cannot map the shared memory the daemon sent: %s",
				   strerror(-r));
	return 0;
}

static void *
reserve(struct pyprep *p, uint32_t length)
{
	return ring_reserve(&p->lane.out, MSG_SUBMIT, length);
}

static int
commit(struct pyprep *p, uint32_t length, bool no_wait)
{
	(void)no_wait;
	ring_commit(&p->lane.out, length);
	bell_if_needed(p);
	return 0;
}

static void
hang_up(struct pyprep *p)
{
	if (p->fd >= 0)
		close(p->fd);
	segment_unmap(p->base, p->base_size);
}

const struct client_lane lane_shm = {
	.name = "shm",
	.hello = HELLO_LANE,
	.open = lane_socket_open,
	.welcomed = welcomed,
	.send = lane_socket_send,
	.recv = lane_socket_recv,
	.wait = lane_socket_wait,
	.reserve = reserve,
	.commit = commit,
	.close = hang_up,
};
