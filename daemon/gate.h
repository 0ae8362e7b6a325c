/*
 * gate.h - jobs that may not start yet: what each waits for, and what lets it go.
 *
 * A job passes two gates.  gate_enter(): before it comes into its pool's queue it may have to wait
 * for a time (delay, backoff), for other jobs, or for `release`.  gate_pass(): when it stands first
 * in that queue, it may have to wait for a named resource or for room in a rate.  A job that waits
 * is in no queue: it is JOB_PARKED, and more->waits says for what.
 *
 * Only the broker touches this.  Every operation takes the time of what it moves, not of what
 * waits.
 */
#ifndef PYPREP_DAEMON_GATE_H
#define PYPREP_DAEMON_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct broker;
struct job;
struct gate;

/*      name             word          what it waits for */
#define WAITS(X)                                                   \
	X(WAIT_NOTHING, "nothing")                                 \
	X(WAIT_STORE, "store")      /* to be durable */            \
	X(WAIT_TIME, "time")        /* --delay, --at */            \
	X(WAIT_BACKOFF, "backoff")  /* the next attempt */         \
	X(WAIT_AFTER, "dependency") /* other jobs */               \
	X(WAIT_HELD, "held")        /* `release` */                \
	X(WAIT_NEED, "resource")    /* a named resource */         \
	X(WAIT_RATE, "rate")        /* room in a sliding window */ \
	X(WAIT_ALONE, "alone")      /* a fresh worker of its own (quarantine) */

enum wait {
#define X(name, word) name,
	WAITS(X)
#undef X
		WAIT_COUNT
};

const char *wait_word(unsigned wait);

int gate_open(struct broker *b); /* -ENOMEM; needs the event base */
void gate_close(struct broker *b);

/* The job is new, or back for another attempt: into its pool's queue, or parked. */
void gate_enter(struct broker *b, uint32_t index);
/* It stands first: may it be handed out now?  If so it has what it needs (given back at its end);
 * if not, it has been parked. */
bool gate_pass(struct broker *b, uint32_t index);
/* It was not sent after all: what gate_pass() gave is given back, its place in the queue is kept.
 */
void gate_unpass(struct broker *b, uint32_t index);
/* An attempt is over: what it had is given back. */
void gate_leave(struct broker *b, uint32_t index);
/* It ends while parked: out of whatever list it is in. */
void gate_unpark(struct broker *b, uint32_t index);
/* A job has ended for good: those that wait for it go on, or end with it. */
void gate_ended(struct broker *b, uint64_t id, unsigned state);
/* `hold` and `release` of a queued job; false: it runs, or has ended. */
bool gate_hold(struct broker *b, uint32_t index, bool held);

#endif
