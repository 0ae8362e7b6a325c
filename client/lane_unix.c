/* lane_unix.c - records as frames on the socket; and the socket, which shm has for the rest. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "client/internal.h"

int
lane_socket_open(struct pyprep *p, const char *runtime_dir, struct pyprep_problem *why)
{
	int fd = socket_find(runtime_dir, why);
	if (fd < 0)
		return fd;
	p->fd = fd;
	return 0;
}

int
lane_socket_send(struct pyprep *p, unsigned type, const void *body, const void *tail,
		 size_t tail_length)
{
	return frame_send(p->fd, type, body, tail, tail_length, NULL, 0);
}

int
lane_socket_recv(struct pyprep *p, const char **why)
{
	return frame_recv(p->fd, &p->in, why);
}

int
lane_socket_wait(struct pyprep *p, short events, int timeout_ms)
{
	struct pollfd pfd = { .fd = p->fd, .events = events };
	int n = poll(&pfd, 1, timeout_ms);

	return n < 0 ? -errno : n;
}

static void
hang_up(struct pyprep *p)
{
	if (p->fd >= 0)
		close(p->fd);
	frames_close(&p->frames);
}

const struct client_lane lane_unix = {
	.name = "unix",
	.hello = HELLO_FRAMES | HELLO_BUNDLES,
	.open = lane_socket_open,
	.welcomed = lane_frames_welcomed,
	.send = lane_socket_send,
	.recv = lane_socket_recv,
	.wait = lane_socket_wait,
	.reserve = lane_frames_reserve,
	.commit = lane_frames_commit,
	.pull = lane_frames_pull,
	.close = hang_up,
};
