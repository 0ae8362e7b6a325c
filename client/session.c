/*
 * session.c - one connection to a pyprepd: find its socket, greet, close; and problems in
 * words.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "client/internal.h"
#include "ipc/cleanup.h"
#include "shm/owner.h"

#define CONNECT_TIMEOUT_MS 10000 /* a broker that restarts answers within milliseconds */
#define SYSTEM_RUNTIME_DIR "/run/pyprep"
#define EXIT_UNREACHABLE   69
#define EXIT_INTERNAL      125

int
problem_set(struct pyprep_problem *why, int r, const char *code, int exit_status,
	    const char *format, ...)
{
	if (why == NULL)
		return r;
	memset(why, 0, sizeof(*why));
	snprintf(why->code, sizeof(why->code), "%s", code);
	why->exit_status = exit_status;
	va_list args;
	va_start(args, format);
	vsnprintf(why->message, sizeof(why->message), format, args);
	va_end(args);
	return r;
}

int
problem_lost(const struct pyprep *p, struct pyprep_problem *why)
{
	if (p->shut_out.code[0] == '\0')
		return problem_set(why, -EPIPE, "broker_lost", job_error_exit(ERR_BROKER_LOST),
				   "the daemon ended this connection; connect again "
				   "(pyprepctl status tells whether it is back)");
	if (why != NULL)
		*why = p->shut_out;
	return -EPIPE;
}

int
problem_memory(struct pyprep_problem *why)
{
	return problem_set(why, -ENOMEM, "internal", EXIT_INTERNAL,
			   "this process is out of memory");
}

void
problem_refused(const struct frame_in *in, struct pyprep_problem *why)
{
	struct refused_body body;

	memcpy(&body, in->body, sizeof(body));
	problem_set(why, 0, job_error_text(body.error), job_error_exit(body.error), "%.*s",
		    (int)in->tail_length, (const char *)in->tail);
	if (why != NULL && why->message[0] == '\0')
		snprintf(why->message, sizeof(why->message),
			 "the daemon refused this connection (%s)", why->code);
}

/* ---- finding the socket ---- */

/* The directories to try, in order; `own` is room for a built one.  Returns how many. */
int
candidate_dirs(const char *given, char *own, size_t own_size, const char *ret[2])
{
	if (given == NULL || given[0] == '\0')
		given = getenv("PYPREP_RUNTIME_DIR");
	if (given != NULL && given[0] != '\0') {
		ret[0] = given;
		return 1;
	}
	int n = 0;
	const char *user_dir = getenv("XDG_RUNTIME_DIR");
	if (geteuid() != 0 && user_dir != NULL && user_dir[0] == '/' &&
	    snprintf(own, own_size, "%s/pyprep", user_dir) < (int)own_size)
		ret[n++] = own;
	ret[n++] = SYSTEM_RUNTIME_DIR;
	return n;
}

int
connect_problem(struct pyprep_problem *why, int error, const char *path)
{
	if (error == EACCES || error == EPERM)
		return problem_set(why, -EACCES, "not_allowed", job_error_exit(ERR_NOT_ALLOWED),
				   "not allowed to use the pyprepd at %s; become a member of its "
				   "group (usermod -aG pyprep USER, then log in again) or start "
				   "your own: pyprepd",
				   path);
	return problem_set(why, -error, "unreachable", EXIT_UNREACHABLE,
			   "no pyprepd answers at %s (%s); start one with \"pyprepd\" or "
			   "\"systemctl start pyprepd\", or name its directory in "
			   "PYPREP_RUNTIME_DIR",
			   path, strerror(error));
}

/* A connected socket, or -errno with `why`. */
static int
socket_connect(const char *dir, struct pyprep_problem *why)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/pyprepd.sock", dir);
	if (n >= (int)sizeof(address.sun_path))
		return problem_set(why, -ENAMETOOLONG, "unreachable", EXIT_UNREACHABLE,
				   "the runtime directory %.200s is too long for a unix socket "
				   "(at most %zu bytes); choose a shorter one",
				   dir, sizeof(address.sun_path) - sizeof("/pyprepd.sock"));

	scoped_fd fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return connect_problem(why, errno, address.sun_path);
	/* Bounds the wait for a place in the listen queue. */
	struct timeval limit = { .tv_sec = CONNECT_TIMEOUT_MS / 1000 };
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return connect_problem(why, errno == EAGAIN ? ETIMEDOUT : errno, address.sun_path);
	/* From here on every wait is a poll(). */
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return connect_problem(why, errno, address.sun_path);
	return take_fd(&fd);
}

int
socket_find(const char *runtime_dir, struct pyprep_problem *why)
{
	char own[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *dirs[2];
	int count = candidate_dirs(runtime_dir, own, sizeof(own), dirs);
	int fd = socket_connect(dirs[0], why);

	if (fd < 0 && count == 2 && (fd == -ENOENT || fd == -ECONNREFUSED)) {
		/* Neither there: the problem that counts is the user's own daemon. */
		int second = socket_connect(dirs[1], NULL);
		if (second >= 0 || second == -EACCES)
			fd = second >= 0 ? second : socket_connect(dirs[1], why);
	}
	return fd;
}

/* ---- the greeting ---- */

static int
refused_errno(const struct frame_in *in)
{
	struct refused_body body;

	memcpy(&body, in->body, sizeof(body));
	switch (body.error) {
	case ERR_NOT_ALLOWED:
		return -EACCES;
	case ERR_TOO_MANY:
	case ERR_QUEUE_FULL:
		return -EAGAIN;
	case ERR_SHUTTING_DOWN:
		return -ECONNREFUSED;
	default:
		return -EPROTO;
	}
}

int
version_problem(struct pyprep_problem *why, const char *what)
{
	return problem_set(why, -EPROTO, "protocol_mismatch", EXIT_UNREACHABLE,
			   "the daemon does not speak protocol %u as libpyprep " PYPREP_VERSION
			   " does (%s); restart pyprepd from the same version",
			   PROTOCOL_VERSION, what);
}

/* The broker's first frame, received: welcome or refusal. */
static int
welcome_take(struct pyprep *p, struct pyprep_problem *why)
{
	int r;

	if (p->in.type == MSG_WELCOME) {
		struct welcome_body welcome;
		memcpy(&welcome, p->in.body, sizeof(welcome));
		r = welcome.version != PROTOCOL_VERSION
			    ? version_problem(why, "its version differs")
			    : p->lane_ops->welcomed(p, &welcome, why);
		p->payload_max = welcome.payload_max;
	} else if (p->in.type == MSG_REFUSED) {
		problem_refused(&p->in, why);
		r = refused_errno(&p->in);
	} else {
		r = version_problem(why, message_name(p->in.type));
	}
	frame_close_fds(&p->in);
	return r;
}

static int
greet(struct pyprep *p, struct pyprep_problem *why)
{
	struct hello_body hello = { .version = PROTOCOL_VERSION, .flags = p->lane_ops->hello };
	uint64_t self = owner_self();
	uint64_t deadline = deadline_after(CONNECT_TIMEOUT_MS);
	const char *reason = "";
	/* A broker that refuses may have closed already: its reason is still to be read. */
	int sent = p->lane_ops->send(p, MSG_HELLO, &hello, &self, sizeof(self));
	int r;

	while ((r = p->lane_ops->recv(p, &reason)) == -EAGAIN) {
		r = socket_wait(p, POLLIN, deadline);
		if (r == 0)
			return problem_set(why, -ETIMEDOUT, "unreachable", EXIT_UNREACHABLE,
					   "the daemon took the connection and does not answer "
					   "(%d s); see its log, or restart it",
					   CONNECT_TIMEOUT_MS / 1000);
		if (r < 0)
			return problem_set(why, r, "interrupted", EXIT_INTERNAL,
					   "a signal came while connecting");
	}
	if (r == 0)
		return welcome_take(p, why);
	if (r == -EPROTO)
		return version_problem(why, reason);
	return problem_set(why, sent < 0 ? sent : r, "unreachable", EXIT_UNREACHABLE,
			   "the daemon closed the connection before it answered; try again");
}

/* ---- what the user calls ---- */

int
pyprep_connect_lane(const char *runtime_dir, const char *lane, struct pyprep **ret,
		    struct pyprep_problem *why)
{
	const struct client_lane *lane_ops = lane_choose(lane, why);
	if (lane_ops == NULL)
		return -EINVAL;

	struct pyprep *p = malloc(sizeof(*p));
	if (p == NULL)
		return problem_memory(why);
	/* The frame buffer stays untouched until a frame comes. */
	memset(p, 0, offsetof(struct pyprep, in));
	p->in.fd_count = 0;
	p->fd = -1;
	p->lane_ops = lane_ops;
	p->table.first_free = ENTRY_NONE;
	int r = lane_ops->open(p, runtime_dir, why);
	if (r == 0)
		r = greet(p, why);
	if (r < 0) {
		pyprep_close(p);
		return r;
	}
	*ret = p;
	return 0;
}

int
pyprep_connect(const char *runtime_dir, struct pyprep **ret, struct pyprep_problem *why)
{
	return pyprep_connect_lane(runtime_dir, NULL, ret, why);
}

const char *
pyprep_lane(const struct pyprep *p)
{
	return p->lane_ops->name;
}

void
pyprep_close(struct pyprep *p)
{
	if (p == NULL)
		return;
	/* The broker sees the end of it and cancels what has not ended. */
	p->lane_ops->close(p);
	backlog_free(&p->backlog);
	targets_free(p->targets);
	free(p->table.entries);
	free(p->message);
	free(p);
}

int
pyprep_fd(const struct pyprep *p)
{
	return p->fd;
}

uint64_t
pyprep_outstanding(const struct pyprep *p)
{
	return p->table.count;
}

const char *
pyprep_version(void)
{
	return PYPREP_VERSION;
}
