/* link_stage.c - the ways that are not the ring: one record stands in private memory. */
#include <errno.h>
#include <stdlib.h>

#include "ipc/link_end.h"

int
stage_open(struct link_end *e, const struct link_carrier *carrier, void *carried, int fd)
{
	struct ring_record *staged = malloc(sizeof(*staged) + LINK_BODY_MAX);

	if (staged == NULL)
		return -ENOMEM;
	*e = (struct link_end){
		.carrier = carrier,
		.fd = fd,
		.staged = staged,
		.carried = carried,
	};
	return 0;
}

void
stage_close(struct link_end *e)
{
	if (e->carrier == NULL)
		return;
	e->carrier->close(e);
	free(e->staged);
	*e = (struct link_end){ .fd = -1 };
}

void *
stage_reserve(struct link_end *e, uint32_t type, uint32_t length)
{
	if (!stage_has_room(e, length))
		return NULL;
	*e->staged = (struct ring_record){ .type = type, .length = length };
	return e->staged->body;
}

int
stage_commit(struct link_end *e, uint32_t length)
{
	e->staged->length = length;
	e->staged->size = (uint32_t)sizeof(*e->staged) + length;
	int r = e->carrier->send(e, e->staged, e->staged->size);
	if (r == 0) {
		e->records++;
		e->bytes += e->staged->size;
	}
	return r;
}

bool
stage_has_room(struct link_end *e, uint32_t length)
{
	return length <= LINK_BODY_MAX &&
	       e->carrier->has_room(e, (uint32_t)sizeof(*e->staged) + length);
}

const struct ring_record *
stage_peek(struct link_end *e)
{
	if (!e->full) {
		int n = e->carrier->receive(e, e->staged,
					    (uint32_t)sizeof(*e->staged) + LINK_BODY_MAX);
		if (n < (int)sizeof(*e->staged))
			return NULL;
		e->full = true;
		e->records++;
		e->bytes += (uint32_t)n;
	}
	return e->staged;
}
