/* lane_shm.c - a lane of shared memory: a sealed memfd with two rings (ipc/lane.h). */
#include <errno.h>

#include "daemon/broker.h"
#include "ipc/cleanup.h"
#include "shm/segment.h"

static uint64_t
capacity_for(uint64_t wanted)
{
	uint64_t capacity = LANE_BYTES_MIN;

	while (capacity < wanted && capacity < LANE_BYTES_MAX)
		capacity *= 2;
	return capacity;
}

int
lane_shm_open(struct client *c, uint64_t wanted_bytes, int *ret_fd)
{
	uint64_t capacity = capacity_for(wanted_bytes != 0 ? wanted_bytes : LANE_BYTES_DEFAULT);
	scoped_fd fd = -1;
	void *base = NULL;

	int r = segment_create("pyprep-lane", lane_footprint(capacity), &fd);
	if (r == 0)
		r = segment_map(fd, lane_footprint(capacity), &base);
	if (r < 0)
		return r;
	r = lane_attach(&c->lane, base, capacity, LANE_BROKER);
	if (r < 0) {
		segment_unmap(base, lane_footprint(capacity));
		return r;
	}
	c->lane_ops = &lane_shm;
	c->lane_inode = segment_inode(fd);
	wake_arm(&c->lane.shared->broker);
	*ret_fd = take_fd(&fd);
	return 0;
}

static void
flush(struct client *c)
{
	struct empty_body empty = { 0 };

	if (!wake_needed(&c->lane.shared->client))
		return;
	int r = lane_socket_send(c, MSG_BELL, &empty, NULL, 0);
	/* A full socket means that it has enough to wake up for.  Else it would sleep on. */
	if (r < 0 && r != -EAGAIN)
		client_doom(c);
}

static void
hang_up(struct client *c)
{
	lane_socket_close(c);
	segment_unmap(c->lane.shared, lane_footprint(c->lane.capacity));
}

const struct lane_ops lane_shm = {
	.name = "shm",
	.flush = flush,
	.send = lane_socket_send,
	.listen = lane_socket_listen,
	.close = hang_up,
};
