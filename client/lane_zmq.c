/*
 * lane_zmq.c - records as frames through ZeroMQ: a DEALER that speaks to the broker's ROUTER.
 *
 * libzmq connects again by itself and does not say that the broker has died, and the next broker
 * knows nothing of us.  So we watch the broker's process, whose pid is in the welcome; should we
 * send something first, the next broker answers that we have not said hello.
 *
 * The user polls one descriptor: an epoll with libzmq's and the broker's pidfd in it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/internal.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"
#include "ipc/zmq.h"

#define QUEUE         1000 /* messages, each way */
#define LINGER_MS     1000 /* for the last word */
#define LAST_WORDS_MS 50   /* once, when the broker has died */
#define NAP_MS        5    /* libzmq does not say when a full queue has room */

struct zmq_way {
	struct zmq_end *end;
	int broker; /* pidfd; -1: not yet */
};

/* ---- finding it ---- */

/* libzmq connects to anything, later: ask the kernel first whether somebody listens. */
static int
probe(const char *dir, char *path, size_t size, struct pyprep_problem *why)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = snprintf(path, size, "%s/lane.sock", dir);

	if (n >= (int)sizeof(address.sun_path) || n >= (int)size)
		return problem_set(why, -ENAMETOOLONG, "unreachable", 69,
				   "the runtime directory %.200s is too long for a unix socket",
				   dir);
	memcpy(address.sun_path, path, (size_t)n + 1);
	scoped_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return connect_problem(why, errno, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN)
		return 0;
	int error = errno;
	if (error == EACCES || error == EPERM)
		return problem_set(
			why, -EACCES, "not_allowed", job_error_exit(ERR_NOT_ALLOWED),
			"not allowed to use %s: the lane zmq is for the daemon's own user; "
			"take the lane unix or shm",
			path);
	if (error != ENOENT)
		return connect_problem(why, error, path);
	return problem_set(
		why, -ENOENT, "unreachable", 69,
		"no pyprepd has a zmq lane at %s; start one with \"zmq_lane = yes\" in the "
		"[daemon] section of its configuration, or take the lane unix or shm",
		path);
}

static int
find(const char *runtime_dir, char *path, size_t size, struct pyprep_problem *why)
{
	char own[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *dirs[2];
	int count = candidate_dirs(runtime_dir, own, sizeof(own), dirs);
	int r = probe(dirs[0], path, size, why);

	if (count == 2 && (r == -ENOENT || r == -ECONNREFUSED)) {
		char other[200];
		if (probe(dirs[1], other, sizeof(other), NULL) == 0) {
			snprintf(path, size, "%s", other);
			return 0;
		}
	}
	return r;
}

static int
watch(struct pyprep *p, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(p->fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int
open_way(struct pyprep *p, const char *runtime_dir, struct pyprep_problem *why)
{
	static const struct zmq_limits limits = {
		.messages_in = QUEUE,
		.messages_out = QUEUE,
		.message_bytes = FRAME_MAX,
		.linger_ms = LINGER_MS,
	};
	char path[200];
	int r = find(runtime_dir, path, sizeof(path), why);

	if (r < 0)
		return r;
	p->zmq = calloc(1, sizeof(*p->zmq));
	if (p->zmq == NULL)
		return problem_memory(why);
	p->zmq->broker = -1;
	r = zmq_end_open(ZMQ_END_DEALER, &limits, &p->zmq->end);
	if (r == 0)
		r = zmq_end_connect(p->zmq->end, path);
	if (r == 0 && (p->fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
		r = -errno;
	if (r == 0)
		r = watch(p, zmq_end_fd(p->zmq->end));
	if (r == -ELIBACC)
		return problem_set(why, r, "unreachable", 69, "%s", zmq_problem());
	if (r < 0)
		return problem_set(why, r, "internal", job_error_exit(ERR_INTERNAL),
				   "cannot open a ZeroMQ socket: %s", strerror(-r));
	return 0;
}

static int
welcomed(struct pyprep *p, const struct welcome_body *welcome, struct pyprep_problem *why)
{
	int r = lane_frames_welcomed(p, welcome, why);

	if (r < 0)
		return r;
	p->zmq->broker = (int)syscall(SYS_pidfd_open, (pid_t)welcome->broker_pid, 0);
	if (p->zmq->broker < 0 || watch(p, p->zmq->broker) < 0)
		return problem_set(
			why, -EPIPE, "broker_lost", job_error_exit(ERR_BROKER_LOST),
			"the daemon's broker (pid %u) cannot be watched; try again, or take "
			"the lane unix from another pid namespace",
			welcome->broker_pid);
	return 0;
}

/* ---- frames ---- */

static bool
broker_died(const struct pyprep *p)
{
	struct pollfd pfd = { .fd = p->zmq->broker, .events = POLLIN };

	return p->zmq->broker >= 0 && poll(&pfd, 1, 0) > 0;
}

static int
send_frame(struct pyprep *p, unsigned type, const void *body, const void *tail, size_t tail_length)
{
	unsigned char frame[FRAME_MAX];
	int n = frame_encode(frame, type, body, tail, tail_length);

	if (n < 0)
		return n;
	struct iovec part = { frame, (size_t)n };
	return zmq_end_send(p->zmq->end, &part, 1);
}

static int
recv_frame(struct pyprep *p, const char **why)
{
	struct zmq_message m;
	int r = zmq_end_recv(p->zmq->end, &m);

	/* What it said before it died comes first, and may still be on its way through libzmq's
	 * thread. */
	if (r == -EAGAIN && broker_died(p)) {
		(void)zmq_end_wait(p->zmq->end, POLLIN, LAST_WORDS_MS);
		r = zmq_end_recv(p->zmq->end, &m);
		if (r == -EAGAIN)
			return -EPIPE;
	}
	if (r == -EAGAIN)
		return r;
	*why = "a message is one frame";
	if (r < 0)
		return -EPROTO;
	size_t size = m.part[0].iov_len;
	r = m.count == 1 && size <= sizeof(p->in.buffer) ? 0 : -EPROTO;
	if (r == 0) {
		memcpy(p->in.buffer, m.part[0].iov_base, size);
		r = frame_decode(&p->in, size, why);
	}
	zmq_message_free(&m);
	return r;
}

/* libzmq's descriptor is edge-triggered: what is there is asked before each sleep. */
static int
wait_way(struct pyprep *p, short events, int timeout_ms)
{
	struct pollfd pfd = { .fd = p->fd, .events = POLLIN };
	uint64_t end = clock_now() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * NS_PER_MS;

	for (;;) {
		if ((zmq_end_events(p->zmq->end) & events) != 0 || broker_died(p))
			return 1;
		uint64_t now = clock_now();
		if (timeout_ms >= 0 && now >= end)
			return 0;
		int left = timeout_ms < 0 ? -1 : (int)((end - now + NS_PER_MS - 1) / NS_PER_MS);
		if ((events & POLLOUT) && (left < 0 || left > NAP_MS))
			left = NAP_MS;
		if (poll(&pfd, 1, left) < 0)
			return -errno;
	}
}

static void
hang_up(struct pyprep *p)
{
	struct empty_body empty = { 0 };

	if (p->zmq != NULL) {
		if (p->zmq->broker >= 0) {
			if (!p->lost)
				(void)send_frame(p, MSG_BYE, &empty, NULL, 0);
			close(p->zmq->broker);
		}
		zmq_end_close(p->zmq->end);
		free(p->zmq);
	}
	if (p->fd >= 0)
		close(p->fd);
	frames_close(&p->frames);
}

const struct client_lane lane_zmq = {
	.name = "zmq",
	.hello = HELLO_FRAMES | HELLO_BUNDLES,
	.open = open_way,
	.welcomed = welcomed,
	.send = send_frame,
	.recv = recv_frame,
	.wait = wait_way,
	.reserve = lane_frames_reserve,
	.commit = lane_frames_commit,
	.pull = lane_frames_pull,
	.close = hang_up,
};
