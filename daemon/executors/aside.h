/*
 * aside.h - requests that arrived while a command runs.
 *
 * The worker reads its ring then too, for a MSG_STOP; a MSG_RUN in front of it is put aside
 * here, not claimed: the broker may still take it back, and it is not charged with the worker's
 * death.
 */
#ifndef PYPREP_DAEMON_EXECUTORS_ASIDE_H
#define PYPREP_DAEMON_EXECUTORS_ASIDE_H

#include <stdint.h>

#include "ipc/message.h"

/* A request of the worker's own: the ring's place is free again. */
struct run_request {
	struct run_request *next;
	struct run_body run;
	_Alignas(16) unsigned char tail[]; /* arguments, context */
};

struct aside {
	struct run_request *first;
	struct run_request **last;
};

void aside_init(struct aside *b);
void aside_free(struct aside *b);

/* Put a MSG_RUN aside; `length` counts body and tail.  0; -EPROTO: its lengths contradict each
 * other; -ENOMEM. */
int aside_push(struct aside *b, const struct run_body *run, uint32_t length);

/* The oldest, the caller's to free(), or NULL. */
struct run_request *aside_pop(struct aside *b);

#endif
