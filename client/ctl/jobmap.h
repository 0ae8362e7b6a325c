/* jobmap.h - the job maps of the daemon's replies (verbs ls, show, wait). */
#ifndef PYPREP_CTL_JOBMAP_H
#define PYPREP_CTL_JOBMAP_H

#include <jansson.h>

#include "client/ctl/reply.h"

/* A copy of one job map; all of it is the struct's own. */
struct jobmap {
	char *kind, *pool, *executor, *user, *args;
	uint64_t age_ns;
	void *bytes; /* of the receipt */
	size_t length;
	json_t *more; /* detached, and where they are told: key, labels, waits, attempts */
};

/* 0, or -EPROTO: there is no receipt in it, and nothing to free. */
int jobmap_read(const msgpack_object *map, struct jobmap *ret);
void jobmap_free(struct jobmap *job);

/* Decode the receipt; it points into `job`, its error text is valid until the next call. */
int jobmap_receipt(const struct jobmap *job, struct pyprep_receipt *ret);

/* The receipt with user, args and age_ns. */
json_t *json_of_jobmap(const struct jobmap *job);

#endif
