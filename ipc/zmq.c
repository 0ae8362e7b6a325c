/* zmq.c - see zmq.h */
#include "ipc/zmq.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#define LIBRARY      "libzmq.so.5"
#define HANDSHAKE_MS 2000 /* silence after which a connection loses its place */
#define AGAIN_MS     10   /* after a lost connection */

_Static_assert(sizeof(zmq_msg_t) == 64, "struct zmq_message holds zmq_msg_t");

/* The functions used.  Their types are those of zmq.h.  They report in errno. */
#define FUNCTIONS(X)  \
	X(ctx_new)    \
	X(ctx_term)   \
	X(socket)     \
	X(close)      \
	X(setsockopt) \
	X(getsockopt) \
	X(bind)       \
	X(connect)    \
	X(send)       \
	X(msg_init)   \
	X(msg_recv)   \
	X(msg_data)   \
	X(msg_size)   \
	X(msg_more)   \
	X(msg_close)  \
	X(msg_gets)
static struct {
#define X(name) __typeof__(zmq_##name) *name;
	FUNCTIONS(X)
#undef X
} lib;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows, and of `lib` */
static void *library;
static void *context;
static pid_t context_owner;
static char problem[256];

struct zmq_end {
	void *socket;
	int fd;
};

/* ---- the library ---- */

static int
find_functions(void *handle)
{
#define X(name)                                                                                 \
	*(void **)&lib.name = dlsym(handle, "zmq_" #name);                                      \
	if (lib.name == NULL) {                                                                 \
		snprintf(problem, sizeof(problem),                                              \
			 LIBRARY " has no zmq_" #name "; install libzmq5 4.3 (Debian: apt-get " \
				 "install libzmq5)");                                           \
		return -ELIBACC;                                                                \
	}
	FUNCTIONS(X)
#undef X
	return 0;
}

static int
load_locked(void)
{
	if (library != NULL)
		return 0;
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL) {
		snprintf(problem, sizeof(problem),
			 "ZeroMQ is not there (%.140s); install its package: apt-get install "
			 "libzmq5",
			 dlerror());
		return -ELIBACC;
	}
	int r = find_functions(handle);
	if (r < 0)
		dlclose(handle);
	else
		library = handle;
	return r;
}

int
zmq_load(void)
{
	pthread_mutex_lock(&lock);
	int r = load_locked();
	pthread_mutex_unlock(&lock);
	return r;
}

const char *
zmq_problem(void)
{
	return problem;
}

/* This process's context.  One that came by fork() has no threads: it is left as it is. */
static int
get_context(void **ret)
{
	int r;

	pthread_mutex_lock(&lock);
	r = load_locked();
	if (r == 0 && (context == NULL || context_owner != getpid())) {
		context = lib.ctx_new();
		context_owner = getpid();
		if (context == NULL)
			r = -errno;
	}
	*ret = context;
	pthread_mutex_unlock(&lock);
	return r;
}

/* ---- sockets ---- */

static int
set_int(struct zmq_end *e, int option, int value)
{
	return lib.setsockopt(e->socket, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int
set_limits(struct zmq_end *e, const struct zmq_limits *limits)
{
	int r = 0;

	if (limits->messages_in > 0)
		r = set_int(e, ZMQ_RCVHWM, limits->messages_in);
	if (r == 0 && limits->messages_out > 0)
		r = set_int(e, ZMQ_SNDHWM, limits->messages_out);
	if (r == 0 && limits->message_bytes > 0 &&
	    lib.setsockopt(e->socket, ZMQ_MAXMSGSIZE, &limits->message_bytes,
			   sizeof(limits->message_bytes)) < 0)
		r = -errno;
	if (r == 0 && limits->mandatory)
		r = set_int(e, ZMQ_ROUTER_MANDATORY, 1);
	if (r == 0 && limits->linger_ms > 0)
		r = set_int(e, ZMQ_LINGER, limits->linger_ms);
	return r;
}

/* Both sides of a PAIR are the daemon's own: patience costs nothing there.  A process that stood
 * still in the middle of the handshake would give up a connection on which the other one, which
 * is through with it, has sent records already; they would be lost between two living ones. */
static int
handshake_ms(enum zmq_kind kind)
{
	return kind == ZMQ_END_PAIR ? 0 : HANDSHAKE_MS; /* 0: for ever */
}

static int
set_up(struct zmq_end *e, enum zmq_kind kind, const struct zmq_limits *limits)
{
	size_t size = sizeof(e->fd);
	int r = set_int(e, ZMQ_LINGER, 0);

	if (r == 0)
		r = set_int(e, ZMQ_HANDSHAKE_IVL, handshake_ms(kind));
	if (r == 0)
		r = set_int(e, ZMQ_RECONNECT_IVL, AGAIN_MS);
	if (r == 0 && limits != NULL)
		r = set_limits(e, limits);
	if (r == 0 && lib.getsockopt(e->socket, ZMQ_FD, &e->fd, &size) < 0)
		r = -errno;
	return r;
}

int
zmq_end_open(enum zmq_kind kind, const struct zmq_limits *limits, struct zmq_end **ret)
{
	static const int types[] = {
		[ZMQ_END_PAIR] = ZMQ_PAIR,
		[ZMQ_END_DEALER] = ZMQ_DEALER,
		[ZMQ_END_ROUTER] = ZMQ_ROUTER,
	};
	void *ctx = NULL;
	int r = get_context(&ctx);

	if (r < 0)
		return r;
	struct zmq_end *e = calloc(1, sizeof(*e));
	if (e == NULL)
		return -ENOMEM;
	e->socket = lib.socket(ctx, types[kind]);
	r = e->socket == NULL ? -errno : set_up(e, kind, limits);
	if (r < 0) {
		zmq_end_close(e);
		return r;
	}
	*ret = e;
	return 0;
}

void
zmq_end_close(struct zmq_end *e)
{
	if (e == NULL)
		return;
	if (e->socket != NULL)
		lib.close(e->socket);
	free(e);
}

void
zmq_finish(void)
{
	pthread_mutex_lock(&lock);
	if (context != NULL && context_owner == getpid()) {
		while (lib.ctx_term(context) < 0 && errno == EINTR)
			;
		context = NULL;
	}
	pthread_mutex_unlock(&lock);
}

static int
endpoint(const char *path, char *buffer, size_t size)
{
	return snprintf(buffer, size, "ipc://%s", path) >= (int)size ? -ENAMETOOLONG : 0;
}

int
zmq_end_listen(struct zmq_end *e, const char *path, int listener)
{
	char address[160];
	int r = endpoint(path, address, sizeof(address));

	if (r < 0)
		return r;
	int copy = -1; /* libzmq closes the one that it is given */
	if (listener >= 0) {
		copy = fcntl(listener, F_DUPFD_CLOEXEC, 3);
		if (copy < 0)
			return -errno;
		r = set_int(e, ZMQ_USE_FD, copy);
	}
	if (r == 0 && lib.bind(e->socket, address) < 0)
		r = -errno;
	if (r < 0 && copy >= 0)
		close(copy);
	return r;
}

int
zmq_end_connect(struct zmq_end *e, const char *path)
{
	char address[160];
	int r = endpoint(path, address, sizeof(address));

	if (r == 0 && lib.connect(e->socket, address) < 0)
		r = -errno;
	return r;
}

int
zmq_end_fd(const struct zmq_end *e)
{
	return e->fd;
}

short
zmq_end_events(struct zmq_end *e)
{
	int events = 0;
	size_t size = sizeof(events);

	if (lib.getsockopt(e->socket, ZMQ_EVENTS, &events, &size) < 0)
		return 0;
	return (short)((events & ZMQ_POLLIN ? POLLIN : 0) | (events & ZMQ_POLLOUT ? POLLOUT : 0));
}

static uint64_t
now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int
zmq_end_wait(struct zmq_end *e, short events, int timeout_ms)
{
	uint64_t end = timeout_ms < 0 ? 0 : now_ms() + (uint64_t)timeout_ms;
	struct pollfd pfd = { .fd = e->fd, .events = POLLIN };

	for (;;) {
		if (zmq_end_events(e) & events)
			return 1;
		int left = -1;
		if (timeout_ms >= 0) {
			uint64_t now = now_ms();
			left = now < end ? (int)(end - now) : 0;
		}
		int n = poll(&pfd, 1, left);
		if (n < 0)
			return -errno;
		if (n == 0)
			return zmq_end_events(e) & events ? 1 : 0;
	}
}

/* ---- messages ---- */

int
zmq_end_send(struct zmq_end *e, const struct iovec *parts, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		int flags = ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0);
		int n;
		do
			n = lib.send(e->socket, parts[i].iov_base, parts[i].iov_len, flags);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			return -errno;
	}
	return 0;
}

/* One more part into `m`.  1: others follow; 0: it was the last. */
static int
recv_part(struct zmq_end *e, struct zmq_message *m)
{
	zmq_msg_t *msg = (zmq_msg_t *)&m->held[m->count];
	int n;

	lib.msg_init(msg);
	do
		n = lib.msg_recv(msg, e->socket, ZMQ_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		int r = -errno;
		lib.msg_close(msg);
		return r;
	}
	m->part[m->count++] = (struct iovec){ lib.msg_data(msg), lib.msg_size(msg) };
	return lib.msg_more(msg) != 0;
}

/* The parts that do not fit. */
static int
drop_rest(struct zmq_end *e)
{
	struct zmq_message one = { 0 };
	int r;

	do {
		r = recv_part(e, &one);
		zmq_message_free(&one);
	} while (r == 1);
	return r < 0 ? r : -EMSGSIZE;
}

int
zmq_end_recv(struct zmq_end *e, struct zmq_message *ret)
{
	int r;

	ret->count = 0;
	while ((r = recv_part(e, ret)) == 1) {
		if (ret->count < ZMQ_PARTS_MAX)
			continue;
		r = drop_rest(e);
		break;
	}
	if (r < 0)
		zmq_message_free(ret);
	return r;
}

void
zmq_message_free(struct zmq_message *m)
{
	while (m->count > 0)
		lib.msg_close((zmq_msg_t *)&m->held[--m->count]);
}

int
zmq_message_peer(struct zmq_message *m, struct zmq_peer *ret)
{
	unsigned uid, gid;
	int pid;

	if (m->count == 0)
		return -ENODATA;
	/* "localhost:UID:GID:PID" on a unix socket. */
	const char *text = lib.msg_gets((zmq_msg_t *)&m->held[m->count - 1], "Peer-Address");
	if (text == NULL || (text = strchr(text, ':')) == NULL ||
	    sscanf(text, ":%u:%u:%d", &uid, &gid, &pid) != 3)
		return -ENODATA;
	*ret = (struct zmq_peer){ .uid = uid, .gid = gid, .pid = pid };
	return 0;
}
