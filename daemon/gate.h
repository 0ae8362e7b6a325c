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
#include <stddef.h>
#include <stdint.h>

#include "ipc/receipt.h"

struct broker;
struct job;
struct gate;

/*      name             word          what it waits for */
#define WAITS(X)                                                    \
	X(WAIT_NOTHING, "nothing")                                  \
	X(WAIT_STORE, "store")      /* to be durable */             \
	X(WAIT_TIME, "time")        /* --delay, --at */             \
	X(WAIT_BACKOFF, "backoff")  /* the next attempt */          \
	X(WAIT_AFTER, "dependency") /* other jobs */                \
	X(WAIT_HELD, "held")        /* `release` */                 \
	X(WAIT_NEED, "resource")    /* a named resource */          \
	X(WAIT_RATE, "rate")        /* room in a sliding window */  \
	X(WAIT_DRAIN, "drain")      /* its pool is being drained */ \
	X(WAIT_CACHE, "cache")      /* the result of one like it (cache.h) */ \
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

/* What a submit with policies is told before it becomes a job. */
enum gate_verdict {
	GATE_GO,   /* make it a job: gate_bind() comes next */
	GATE_WAIT, /* the store is asked, or the job it replaces is being ended: the record waits,
		      and is admitted again when b->room_made */
	GATE_REFUSED, /* as error and why say */
};
struct gate_answer {
	enum job_error error;
	char why[400];
};
struct client;
struct policy;
/* Are its parents there, may it have its key?  `token`: of a detached one, else NULL. */
enum gate_verdict gate_check(struct broker *b, struct client *c, const struct policy *p,
			     const unsigned char *token, struct gate_answer *ret);

/* The job was just put into the table with its job->more: what it will need is found and reserved,
 * so that nothing here fails later.  ERR_NONE, or why it cannot be a job: the caller removes it.
 * `loaded`: it was accepted before, by an earlier broker. */
enum job_error gate_bind(struct broker *b, uint32_t index, bool loaded, char *why, size_t size);
/* The token of a detached job: who submits it twice does not replace it by itself. */
void gate_token(struct broker *b, uint32_t index, const unsigned char *token);

/* The job is new, or back for another attempt: into its pool's queue, or parked.  It may not start
 * before more->wake_ns, nor while STORE_JOB_HELD is in more->flags: whoever makes or loads a job
 * sets both (from policy->at_ns and ->held, or from its row). */
void gate_enter(struct broker *b, uint32_t index);
/* It stands first: may it be handed out now?  If so it has what it needs (given back at its end);
 * if not, it has been parked. */
bool gate_pass(struct broker *b, uint32_t index);
/* It was not sent after all, came back unstarted, or leaves its queue for another reason: what
 * gate_pass() gave is given back, and others may go before it. */
void gate_unpass(struct broker *b, uint32_t index);
/* An attempt is over: what it had is given back.  `started_ns`: when it had started, 0: never. */
void gate_leave(struct broker *b, uint32_t index, uint64_t started_ns);
/* It ends while parked: out of whatever list it is in. */
void gate_unpark(struct broker *b, uint32_t index);
/* A job with job->more or JOB_PARENT is over for good, and about to leave the table: those that
 * wait for it go on, or end with it, in the turn that follows. */
void gate_ended(struct broker *b, uint32_t index, unsigned state);
/* The job runs already, for an earlier broker: it has what it needs, whatever there is. */
void gate_adopt(struct broker *b, uint32_t index);
/* When b->gate_due: jobs whose parents have ended go on, or end; how many. */
unsigned gate_turn(struct broker *b);
/* A pool was paused, resumed, or has failed: others may have what its jobs wait for. */
void gate_pools_changed(struct broker *b);
/* A resource of the new configuration, after a reload: with the last one they hold. */
struct resource_body;
void gate_resource(struct broker *b, const struct resource_body *body);

/* `hold` and `release` of a queued job.  0, -EBUSY it runs, -ENOMEM. */
int gate_hold(struct broker *b, uint32_t index, bool held);

/* Park a job that is in no queue for a reason that is not this file's (WAIT_STORE, WAIT_ALONE);
 * gate_enter() lets it go on. */
void gate_park(struct broker *b, uint32_t index, enum wait wait);

/* One thing that a job waits for. */
#define GATE_IDS 8u
struct gate_reason {
	enum wait wait;
	uint64_t since_ns;      /* CLOCK_MONOTONIC */
	uint64_t until_ns;      /* it goes on then, CLOCK_MONOTONIC; 0: nobody knows */
	const char *name;       /* NEED: the resource; RATE: the group; else NULL */
	uint64_t asked;         /* NEED: units */
	uint64_t used, limit;   /* NEED: units; RATE: starts within the window */
	uint64_t window_ns;     /* RATE */
	uint64_t ahead;         /* NEED, RATE: jobs that come before it */
	uint64_t ids[GATE_IDS]; /* AFTER: jobs that have not ended; NEED: who has units */
	uint64_t id_count;      /* of them all; ids[] has the first */
};
/* What holds a queued job back, first what more->waits says; how many were put into `ret`.  0: it
 * stands in its pool's queue, or runs. */
unsigned gate_reasons(struct broker *b, uint32_t index, struct gate_reason *ret, unsigned most);

/* Two entries of the reply to "status": "resources" and "rates". */
struct reply;
void gate_reply(struct broker *b, struct reply *a);

#endif
