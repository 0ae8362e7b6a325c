/*
 * link_zmq.c - a link over two pairs of ZeroMQ sockets (zmq.h), one for each direction.
 *
 * The broker serves, on listening sockets that the supervisor has bound and keeps; the worker
 * connects, and again to the next broker.  So a connection ends only with one of its two
 * processes, and no record between two living ones is lost.
 *
 * What a process has published stands in its own memory until ZeroMQ's thread has written
 * it: it may die with the process although its ticket says DONE (link_row.loses).  The broker
 * charges such a job to the worker's death.  A worker that ends in good order stays until the
 * broker has read its last result.
 *
 * Each direction has a descriptor that tells of news (edge-triggered: zmq.h): who sleeps polls
 * it, and looks at the end afterwards.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/link.h"
#include "ipc/zmq.h"

#define NAME_PREFIX "link-"
#define KEPT        256 /* kept on each side, beside what the sockets hold */

static const char *const suffix[2] = { "requests", "results" };

/* ---- the carrier ---- */

static int
carry_send(struct link_end *e, const void *record, uint32_t size)
{
	struct iovec part = { (void *)(uintptr_t)record, size };

	return zmq_end_send(e->carried, &part, 1) < 0 ? -EAGAIN : 0;
}

static int
carry_receive(struct link_end *e, void *record, uint32_t room)
{
	struct zmq_message message;

	if (zmq_end_recv(e->carried, &message) < 0)
		return -EAGAIN;
	int size = -EAGAIN;
	if (message.count == 1 && message.part[0].iov_len <= room) {
		size = (int)message.part[0].iov_len;
		memcpy(record, message.part[0].iov_base, (size_t)size);
	}
	zmq_message_free(&message);
	return size;
}

static bool
carry_has_room(struct link_end *e, uint32_t size)
{
	(void)size;
	return (zmq_end_events(e->carried) & POLLOUT) != 0;
}

static void
carry_close(struct link_end *e)
{
	zmq_end_close(e->carried);
}

static const struct link_carrier carrier = {
	.send = carry_send,
	.receive = carry_receive,
	.has_room = carry_has_room,
	.close = carry_close,
};

/* ---- opening ---- */

static int
path_of(const char *address, int direction, char *buffer, size_t size)
{
	int n = snprintf(buffer, size, "%s.%s", address, suffix[direction]);

	return n >= (int)size ? -ENAMETOOLONG : 0;
}

/* `listener` -1: connect. */
static int
open_end(struct link_end *e, const char *address, int direction, int listener)
{
	static const struct zmq_limits limits = { .messages_in = KEPT, .messages_out = KEPT };
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct zmq_end *end;
	int r = path_of(address, direction, path, sizeof(path));

	if (r == 0)
		r = zmq_end_open(ZMQ_END_PAIR, &limits, &end);
	if (r < 0)
		return r;
	if (listener >= 0)
		r = zmq_end_listen(end, path, listener);
	else
		r = zmq_end_connect(end, path);
	if (r == 0)
		r = stage_open(e, &carrier, end, zmq_end_fd(end));
	if (r < 0)
		zmq_end_close(end);
	return r;
}

size_t
link_zmq_footprint(void)
{
	return 0;
}

int
link_zmq_open(struct link_shared *shared, const struct link_fds *fds, bool broker,
	      struct link_end *requests, struct link_end *results)
{
	int r = open_end(requests, shared->address, 0, broker ? fds->broker[0] : -1);

	if (r < 0)
		return r;
	r = open_end(results, shared->address, 1, broker ? fds->broker[1] : -1);
	if (r < 0) {
		stage_close(requests);
		return r;
	}
	for (int i = 0; broker && i < 2; i++) /* ZeroMQ has copies */
		close(fds->broker[i]);
	return 0;
}

/* ---- making ---- */

/* For this user alone, whoever may look into the directory. */
static int
bind_at(const char *path, int *ret)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	scoped_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	unlink(path);
	mode_t before = umask(0077);
	int bound = bind(fd, (struct sockaddr *)&at, sizeof(at));
	umask(before);
	if (bound < 0 || listen(fd, 8) < 0)
		return -errno;
	*ret = take_fd(&fd);
	return 0;
}

int
link_zmq_make(struct link_fds *fds, const char *directory, char *address)
{
	static unsigned count;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int r = 0;

	if (snprintf(address, LINK_ADDRESS_MAX, "%s/" NAME_PREFIX "%d-%u", directory, (int)getpid(),
		     count++) >= LINK_ADDRESS_MAX)
		return -ENAMETOOLONG;
	for (int i = 0; i < 2 && r == 0; i++) {
		r = path_of(address, i, path, sizeof(path));
		if (r == 0)
			r = bind_at(path, &fds->broker[i]);
	}
	return r;
}

void
link_zmq_discard(struct link_fds *fds)
{
	struct sockaddr_un at = { 0 };

	for (int i = 0; i < 2; i++) {
		socklen_t length = sizeof(at);
		if (fds->broker[i] >= 0 &&
		    getsockname(fds->broker[i], (struct sockaddr *)&at, &length) == 0 &&
		    at.sun_family == AF_UNIX && length > sizeof(sa_family_t) &&
		    at.sun_path[0] == '/')
			unlink(at.sun_path);
	}
}

void
link_sweep(const char *directory)
{
	DIR *d = opendir(directory);
	struct dirent *entry;

	while (d != NULL && (entry = readdir(d)) != NULL)
		if (entry->d_type == DT_SOCK &&
		    strncmp(entry->d_name, NAME_PREFIX, strlen(NAME_PREFIX)) == 0)
			unlinkat(dirfd(d), entry->d_name, 0);
	if (d != NULL)
		closedir(d);
}
