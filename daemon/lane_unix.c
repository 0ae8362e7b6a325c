/*
 * lane_unix.c - records as frames on the client's socket; and that socket itself, which the lanes
 * none and shm use for requests and bells.
 *
 * The broker looks at the socket of a client that has just been busy each turn, as it looks at a
 * ring, and leaves it to libevent when nothing came for a while.
 */
#include <unistd.h>

#include "daemon/broker.h"

int
lane_socket_send(struct client *c, unsigned type, const void *body, const void *tail,
		 size_t tail_length)
{
	int r = frame_send(c->fd, type, body, tail, tail_length, NULL, 0);

	c->frames_out += r == 0;
	return r;
}

/* Who has replies to read is not listened to meanwhile: so unread replies are bounded by what one
 * request answers.  Records are bounded otherwise (client_is_held). */
void
lane_socket_listen(struct broker *b, struct client *c)
{
	short what = c->writing ? EV_WRITE : c->blocked ? EV_READ | EV_WRITE : EV_READ;

	event_del(c->readable);
	event_assign(c->readable, b->base, c->fd, (short)(EV_PERSIST | what), client_on_socket, c);
	if (event_add(c->readable, NULL) < 0)
		client_doom(c); /* it would never be heard again */
}

void
lane_socket_close(struct client *c)
{
	if (c->readable != NULL)
		event_free(c->readable);
	close(c->fd);
}

static void
hang_up(struct client *c)
{
	lane_socket_close(c);
	frames_close(&c->frames);
}

static void
pull(struct broker *b, struct client *c)
{
	if (!c->writing)
		client_read(b, c);
}

const struct lane_ops lane_none = {
	.name = "none",
	.send = lane_socket_send,
	.listen = lane_socket_listen,
	.close = lane_socket_close,
};

const struct lane_ops lane_unix = {
	.name = "unix",
	.pull = pull,
	.flush = lane_frames_flush,
	.send = lane_socket_send,
	.listen = lane_socket_listen,
	.close = hang_up,
};
