/*
 * gate_parts.h - what the files of the gate (gate.h) share.  Nobody else includes it.
 */
#ifndef PYPREP_DAEMON_GATE_PARTS_H
#define PYPREP_DAEMON_GATE_PARTS_H

#include <event2/event.h>

#include "daemon/broker.h"
#include "daemon/gate.h"
#include "daemon/heap.h"

struct gate {
	struct heap times; /* jobs that wait for a time, by more->wake_ns; more->place */
	uint64_t bound;    /* jobs that may come into it */
	struct event *timer;
	uint64_t timer_ns; /* when it fires; 0: not armed */
};

/* Out of the wait it is in, and not into another. */
void gate_unwait(struct job *job);

#endif
