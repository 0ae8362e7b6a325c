/* aside.c - see aside.h */
#include "daemon/executors/aside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void
aside_init(struct aside *b)
{
	b->first = NULL;
	b->last = &b->first;
}

void
aside_free(struct aside *b)
{
	struct run_request *r;
	while ((r = aside_pop(b)) != NULL)
		free(r);
}

int
aside_push(struct aside *b, const struct run_body *run, uint32_t length)
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
aside_pop(struct aside *b)
{
	struct run_request *r = b->first;

	if (r != NULL) {
		b->first = r->next;
		if (b->first == NULL)
			b->last = &b->first;
	}
	return r;
}
