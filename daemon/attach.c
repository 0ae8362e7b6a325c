/*
 * attach.c - clients that map a piece of the daemon's memory: MSG_ATTACH, answered with its
 * descriptor.  Whoever may submit may attach; what they write there is their word (the
 * counters' table: shm/counter.h says what that means).
 */
#include <string.h>

#include "daemon/broker.h"
#include "ipc/message.h"
#include "shm/counter.h"

static void
refuse(struct client *c, struct attached_body *body, enum job_error error, const char *text)
{
	body->error = error;
	if (c->lane_ops->send(c, MSG_ATTACHED, body, text, strlen(text)) < 0)
		client_doom(c);
}

void
client_attach(struct broker *b, struct client *c, const struct attach_body *ask)
{
	struct attached_body body = {
		.number = ask->number,
		.what = ask->what,
		.bytes = sizeof(struct counter_table),
	};
	int fd = b->birth->counters_memfd;

	if (ask->what != ATTACH_COUNTERS)
		refuse(c, &body, ERR_BAD_REQUEST, "there is no such memory to attach to");
	else if (c->fd < 0)
		refuse(c, &body, ERR_BAD_REQUEST,
		       "descriptors do not travel on this lane; connect to the daemon's socket");
	else if (frame_send(c->fd, MSG_ATTACHED, &body, NULL, 0, &fd, 1) < 0)
		client_doom(c); /* it does not read */
	else
		c->frames_out++;
}
