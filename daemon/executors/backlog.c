/* backlog.c - see backlog.h */
#include "daemon/executors/backlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void
backlog_init(struct backlog *b)
{
	b->first = NULL;
	b->last = &b->first;
}

void
backlog_free(struct backlog *b)
{
	struct run_request *r;
	while ((r = backlog_pop(b)) != NULL)
		free(r);
}

int
backlog_push(struct backlog *b, const struct run_body *run, uint32_t length)
{
	if (length < sizeof(*run) ||
	    (uint64_t)run->args_length + run->context_length != length - sizeof(*run))
		return -EPROTO;
	size_t tail_length = length - sizeof(*run);
	struct run_request *r = malloc(sizeof(*r) + tail_length);
	if (r == NULL)
		return -ENOMEM;
	r->next = NULL;
	r->run = *run;
	memcpy(r->tail, run + 1, tail_length);
	*b->last = r;
	b->last = &r->next;
	return 0;
}

struct run_request *
backlog_pop(struct backlog *b)
{
	struct run_request *r = b->first;

	if (r != NULL) {
		b->first = r->next;
		if (b->first == NULL)
			b->last = &b->first;
	}
	return r;
}
