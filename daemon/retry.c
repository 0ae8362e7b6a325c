/*
 * retry.c - an attempt of a job is over: is the job?
 *
 * A job whose policy asks for another attempt goes back before its gate.  Its client hears of the
 * last attempt only; what became of the earlier ones stands in the text of its receipt.
 */
#include "daemon/retry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/broker.h"
#include "daemon/durable.h"
#include "daemon/gate.h"
#include "daemon/log.h"
#include "daemon/policy.h"
#include "daemon/quarantine.h"
#include "ipc/clock.h"

#define PAST_KEPT 8u /* rows of ends that are remembered */

/* How attempts ended, one after the other in the same way. */
struct past_end {
	int32_t value;
	uint16_t first, last; /* attempts */
	uint8_t cause;        /* enum job_cause */
	bool bystander;
};

struct past {
	uint32_t count; /* of all; the last ones are in ends[count % PAST_KEPT], ... */
	struct past_end ends[PAST_KEPT];
};

/* ---- earlier attempts ---- */

void
retry_remember(struct job *job, const struct receipt *receipt)
{
	struct job_more *more = job->more;

	if (more->past == NULL && (more->past = calloc(1, sizeof(*more->past))) == NULL)
		return; /* only a text */
	struct past *past = more->past;
	struct past_end end = {
		.value = receipt->outcome.cause_value,
		.first = receipt->attempt,
		.last = receipt->attempt,
		.cause = receipt->outcome.cause,
		.bystander = (receipt->flags & RECEIPT_BYSTANDER) != 0,
	};
	struct past_end *last = past->count > 0 ? &past->ends[(past->count - 1) % PAST_KEPT] : NULL;
	if (last != NULL && last->value == end.value && last->cause == end.cause &&
	    last->bystander == end.bystander && last->last + 1 == end.first)
		last->last = end.last;
	else
		past->ends[past->count++ % PAST_KEPT] = end;
}

static int
end_text(const struct past_end *end, char *buffer, size_t size)
{
	switch (end->cause) {
	case CAUSE_EXIT:
		return snprintf(buffer, size, "exit %d", end->value);
	case CAUSE_SIGNAL:
		return snprintf(buffer, size, "signal %d", end->value);
	case CAUSE_TIMEOUT:
		return snprintf(buffer, size, "timed out");
	case CAUSE_WORKER_DIED:
		if (end->bystander)
			return snprintf(buffer, size, "its worker died of another job's deed");
		if (end->value > 0)
			return snprintf(buffer, size, "its worker died of signal %d", end->value);
		return snprintf(buffer, size, "its worker exited with %d", -end->value);
	case CAUSE_BROKER_LOST:
		return snprintf(buffer, size, "the daemon was killed");
	case CAUSE_OOM:
		return snprintf(buffer, size, "out of memory");
	default:
		return snprintf(buffer, size, "%s", job_cause_text(end->cause));
	}
}

size_t
retry_past_text(const struct job *job, char *buffer, size_t size)
{
	const struct past *past = job->more != NULL ? job->more->past : NULL;
	size_t used = 0;

	buffer[0] = '\0';
	if (past == NULL)
		return 0;
	uint32_t first = past->count > PAST_KEPT ? past->count - PAST_KEPT : 0;
	if (first > 0)
		used = (size_t)snprintf(buffer, size, "... ");
	for (uint32_t i = first; i < past->count && used < size; i++) {
		const struct past_end *end = &past->ends[i % PAST_KEPT];
		const char *comma = i > first ? ", " : "";
		if (end->first < end->last)
			used += (size_t)snprintf(buffer + used, size - used,
						 "%sattempts %u-%u: ", comma, end->first,
						 end->last);
		else
			used += (size_t)snprintf(buffer + used, size - used,
						 "%sattempt %u: ", comma, end->first);
		if (used < size)
			used += (size_t)end_text(end, buffer + used, size - used);
	}
	return used < size ? used : size - 1;
}

char *
retry_message(const struct job *job, const void *message, uint32_t length, uint32_t *ret_length)
{
	char past[PAST_TEXT_MAX];
	size_t more = retry_past_text(job, past, sizeof(past));

	if (more == 0)
		return NULL;
	char *text = malloc(length + more + 4);
	if (text == NULL)
		return NULL;
	if (length > 0)
		memcpy(text, message, length);
	size_t used = length;
	used += (size_t)sprintf(text + used, length > 0 ? " (%s)" : "%s", past);
	*ret_length = (uint32_t)used;
	return text;
}

/* ---- another attempt ---- */

static uint64_t
random_number(void)
{
	uint64_t number;

	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) == (ssize_t)sizeof(number))
		return number;
	return clock_now() * UINT64_C(0x9e3779b97f4a7c15); /* better than all at once */
}

/* Is there anybody, or the store, that wants it to be tried again? */
static bool
is_wanted(const struct broker *b, const struct job *job)
{
	if (job->state != JOB_RUNNING || job->array != NULL || job->more == NULL)
		return false;
	if ((job->flags & JOB_STOPPING) && job->stop != CAUSE_TIMEOUT)
		return false; /* cancelled, or the daemon ends (drain.c) */
	if (job->flags & JOB_DETACHED)
		return true;
	/* A client that waits for a daemon which shuts down is better told how it failed. */
	return !(job->flags & JOB_NO_CLIENT) && !b->draining;
}

/* Another job's deed is no attempt of this one. */
static bool
is_forgiven(const struct job *job, const struct receipt *receipt)
{
	const struct policy *policy = job->more->policy;

	return (receipt->flags & RECEIPT_BYSTANDER) != 0 &&
	       receipt->outcome.error == ERR_WORKER_DIED &&
	       ((policy != NULL && policy->retries > 0) || (job->flags & JOB_DETACHED) != 0) &&
	       job->attempt < UINT16_MAX;
}

static bool
asks_again(struct job *job, const struct receipt *receipt, uint64_t *ret_wait_ns)
{
	struct job_more *more = job->more;

	*ret_wait_ns = 0;
	if (is_forgiven(job, receipt) || quarantine_judge(job, receipt) == VERDICT_AGAIN) {
		more->forgiven++;
		return true;
	}
	if (more->flags & STORE_JOB_SUSPECT && receipt->outcome.error == ERR_WORKER_DIED)
		return false; /* alone, and dead again */
	unsigned attempt = job->attempt > more->forgiven ? job->attempt - more->forgiven : 1;
	return more->policy != NULL && job->attempt < UINT16_MAX &&
	       policy_retries(more->policy, attempt, &receipt->outcome, random_number(),
			      ret_wait_ns);
}

static void
say_again(const struct broker *b, const struct receipt *r, const void *message, uint64_t wait_ns)
{
	const struct outcome *o = &r->outcome;
	const char *kind = b->kind_names[r->kind], *pool = b->pools[r->pool].config->name;
	bool signalled =
		o->cause_value > 0 && (o->cause == CAUSE_SIGNAL || o->cause == CAUSE_WORKER_DIED);

	if (!log_wants(LOG_LEVEL_INFO))
		return;
	log_event(LOG_LEVEL_INFO, LOG_JOB_RETRIED,
		  ABOUT(.job = r->id, .attempt = r->attempt, .kind = kind, .pool = pool,
			.slot = r->slot, .worker_pid = r->worker_pid,
			.cause = job_cause_text(o->cause), .signal = signalled ? o->cause_value : 0,
			.status = o->cause == CAUSE_EXIT ? o->cause_value : 0),
		  "job %llu (%s, pool %s) is tried again in %.3f s: attempt %u failed: %.*s",
		  (unsigned long long)r->id, kind, pool, (double)wait_ns / 1e9, r->attempt,
		  (int)o->message_length, o->message_length > 0 ? (const char *)message : "");
}

static void
go_back(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	job_change(b, job, JOB_QUEUED);
	job->attempt++;
	job->handed_ns = 0;
	job->flags &= (uint16_t) ~(JOB_STOPPING | JOB_ADOPTED);
	job->stop = CAUSE_NONE;
	gate_enter(b, index);
}

bool
retry_instead(struct broker *b, uint32_t index, const struct receipt *receipt, const void *result,
	      const void *message)
{
	struct job *job = job_at(&b->jobs, index);
	uint64_t wait_ns;

	if (!is_wanted(b, job) || !asks_again(job, receipt, &wait_ns))
		return false;
	say_again(b, receipt, message, wait_ns);
	retry_remember(job, receipt);
	gate_leave(b, index, receipt->outcome.started_ns);
	job->more->wake_ns = wait_ns > 0 ? receipt->returned_ns + wait_ns : 0;
	if (job->flags & JOB_DETACHED)
		durable_retry(b, index, receipt, result, message);
	go_back(b, index);
	return true;
}
