/*
 * durable.h - detached jobs in the broker: what is put into the store, and when.
 *
 *   admitted ──ADD──▶ durable: accepted, gate_enter() ──claim──▶ sent to a worker
 *        ──RETRY──▶ gate_enter() again          ──END──▶ durable: out of the table, told to all
 *
 * A job that is over stays in the table, JOB_ENDING, until that is durable: nobody hears of an end
 * that a restart could undo.  While the store cannot be written no detached job is taken or
 * started; attached ones go on, and what is to be written waits here.
 *
 * After a broker's death the next one takes jobs that still run over with their worker's ticket:
 * they are not run again.  After the daemon's death there is nobody left who could run them: they
 * are queued again, with the next attempt number.
 */
#ifndef PYPREP_DAEMON_DURABLE_H
#define PYPREP_DAEMON_DURABLE_H

#include "daemon/broker.h"
#include "daemon/store.h"

/* Opens the store of the configuration and begins to load what is open in it.  0, or -errno with a
 * sentence in `why`; -EBADMSG: damaged, the daemon must not start. */
int durable_open(struct broker *b, struct store_problem *why);
void durable_close(struct broker *b);

/* Is everything that was put written? */
bool durable_idle(const struct broker *b);

/* Each turn: answers of the store.  How many came. */
unsigned durable_take(struct broker *b);
bool durable_pending(struct broker *b);

/* For `status`: a map of how the store is. */
struct reply;
void durable_reply(struct broker *b, struct reply *a);

/* May detached jobs be taken and started?  If not, *ret_error says how to refuse one. */
bool durable_ready(const struct broker *b, enum job_error *ret_error);
const char *durable_trouble(const struct broker *b); /* in words: "No space left on device" */

/* The job was just admitted and is parked (WAIT_STORE): make it durable, then tell `c`. */
int durable_add(struct broker *b, struct client *c, uint32_t index, const unsigned char *token,
		const struct bytes *params);

/* It is next in its queue: may it be sent?  If not, it waits for the store. */
bool durable_may_start(struct broker *b, uint32_t index);
/* Right before it is sent to a worker: 0, or -EAGAIN (not now).  And when it was not sent, or came
 * back unstarted. */
int durable_claim(struct broker *b, uint32_t index);
void durable_unclaim(struct broker *b, uint32_t index);

void durable_output(struct broker *b, uint32_t index, unsigned stream, const void *bytes,
		    uint32_t length);

/* An attempt is over, the job is not: wake_ns, crashes and flags of job->more hold for the next. */
void durable_retry(struct broker *b, uint32_t index, const struct receipt *receipt,
		   const void *result, const void *message);
/* The job is over: job_ended() (broker.h) is called when that is durable. */
void durable_end(struct broker *b, uint32_t index, const struct receipt *receipt,
		 const void *result, const void *message);
/* An entry of the history was made. */
void durable_remembered(struct broker *b);
/* How many of the newest entries of the history are not in the store yet. */
uint64_t durable_unsaved(const struct broker *b);
/* Its flags, priority or time have changed (held, released, ...).  `then` is called when that is
 * durable, or with the error of a store that cannot be written: it is written as soon as it can
 * be.  -ENOMEM: it is not called. */
int durable_edit(struct broker *b, uint32_t index,
		 void (*then)(struct broker *b, void *context, int result), void *context);

/* A worker of an earlier broker runs job `id` on this ticket: is it one of ours?  Then it goes on
 * as a running job, and its place is returned; else JOB_NONE. */
uint32_t durable_adopt(struct broker *b, struct crew *w, uint32_t ticket, uint64_t id);
/* It was with such a worker, and had not started. */
void durable_not_started(struct broker *b, uint64_t id);
/* This attempt's end will never be known: it is queued for the next one. */
void durable_lost(struct broker *b, uint32_t index);
/* Is all that was open at the start in the table? */
bool durable_loaded(const struct broker *b);
/* There may be room in the table again: go on loading. */
void durable_load_go_on(struct broker *b);
/* The supervisor has told of every worker there is: what nobody runs is queued again. */
void durable_settled(struct broker *b);

#endif
