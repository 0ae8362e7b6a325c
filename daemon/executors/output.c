/* output.c - see output.h */
#include "daemon/executors/output.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DROP_BYTES (1u << 20)

int
output_open(struct output *o, uint32_t stream, uint64_t cap, int *ret_child_end)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*o = (struct output){ .fd = ends[0], .stream = stream, .left = cap };
	*ret_child_end = ends[1];
	return 0;
}

void
output_close(struct output *o)
{
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
}

static uint32_t
chunk(const struct output *o)
{
	return o->left < OUTPUT_CHUNK ? (uint32_t)o->left : OUTPUT_CHUNK;
}

bool
output_has_room(const struct output *o, struct link_worker *l)
{
	return o->left == 0 || link_ask_room(l, (uint32_t)sizeof(struct output_body) + chunk(o));
}

static ssize_t
keep(struct output *o, struct link_worker *l, uint64_t ticket)
{
	uint32_t length = (uint32_t)sizeof(struct output_body) + chunk(o);
	struct output_body *place = link_reserve(l, MSG_RUN_OUTPUT, length);
	ssize_t n = read(o->fd, place + 1, chunk(o));

	if (n <= 0)
		return n; /* what was reserved is dropped by the next one who reserves */
	*place = (struct output_body){ .tag = ticket, .stream = o->stream };
	link_publish(l, (uint32_t)(sizeof(*place) + (size_t)n));
	o->left -= (uint64_t)n;
	return n;
}

void
output_move(struct output *o, struct link_worker *l, uint64_t ticket, int devnull)
{
	ssize_t n;

	if (o->left > 0) {
		n = keep(o, l, ticket);
	} else {
		n = splice(o->fd, NULL, devnull, NULL, DROP_BYTES, SPLICE_F_NONBLOCK);
		if (n > 0)
			o->truncated = true;
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		output_close(o);
}

uint32_t
output_waiting(const struct output *o)
{
	int n = 0;

	return o->fd >= 0 && ioctl(o->fd, FIONREAD, &n) == 0 ? (uint32_t)n : 0;
}
