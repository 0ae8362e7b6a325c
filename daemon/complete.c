/*
 * complete.c - a job changes its state, and ends: the receipt goes to its client, into the
 * history, and to those who wait for it by id.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker.h"
#include "daemon/cache.h"
#include "daemon/durable.h"
#include "daemon/gate.h"
#include "daemon/log.h"
#include "daemon/quarantine.h"
#include "daemon/request.h"
#include "daemon/retry.h"
#include "daemon/tallies.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"

/* Every change of a job's state passes job_enter() or here: whoever wants to hear of them
 * listens in these two. */
void
job_change(struct broker *b, struct job *job, enum job_state state)
{
	struct pool *p = &b->pools[job->pool];

	if (job->state == JOB_QUEUED)
		p->queued--;
	else if (job->state == JOB_RUNNING)
		p->running--;
	job->state = (uint8_t)state;
	if (job->more != NULL)
		cache_changed(b, job, state);
	if (state == JOB_QUEUED)
		p->queued++;
	else if (state == JOB_RUNNING)
		p->running++;
	else {
		p->ended[state]++;
		b->ended[state]++;
	}
}

void
job_enter(struct broker *b, struct job *job)
{
	job->state = JOB_QUEUED;
	b->pools[job->pool].queued++;
}

void
receipt_of(const struct broker *b, const struct job *job, struct receipt *ret)
{
	*ret = (struct receipt){
		.id = job->id,
		.tag = job->tag,
		.submitted_ns = job->submitted_ns,
		.received_ns = job->received_ns,
		.handed_ns = job->handed_ns,
		.outcome.state = job->state,
		.kind = job->kind,
		.pool = job->pool,
		.attempt = job->attempt,
		.uid = job->uid,
		.priority = job->priority,
		.stored_ns = job->more != NULL ? job->more->stored_ns : 0,
	};
	if (job->array != NULL)
		array_counts(job->array, &ret->items, &ret->items_failed);
	/* Of one that is over and waits for the store, the worker may be another by now. */
	if (job->handed_ns != 0 && job->state != JOB_QUEUED && !(job->flags & JOB_ENDING)) {
		const struct crew *w = b->pools[job->pool].crew[job->place];
		ret->slot = w->slot;
		ret->worker_pid = w->pid;
		if (job->state == JOB_RUNNING && job->array == NULL && w->up)
			ret->outcome.started_ns =
				atomic_load(&w->link.shared->tickets[job->ticket].claimed_ns);
	}
}

static void
remember(struct broker *b, const struct receipt *receipt, const void *result, const void *message)
{
	struct history_entry *e = history_add(&b->history);
	if (e == NULL)
		return;

	uint32_t result_length = receipt->outcome.result_length;
	uint32_t message_length = receipt->outcome.message_length;
	e->receipt = *receipt;
	const struct pool *p = &b->pools[receipt->pool];
	memcpy(e->kind, b->kind_names[receipt->kind], sizeof(e->kind));
	memcpy(e->pool, p->config->name, sizeof(e->pool));
	memcpy(e->executor, p->executor_name, sizeof(e->executor));
	/* A cut msgpack value is none: a result that does not fit is not kept. */
	if (result_length > HISTORY_TAIL)
		result_length = 0;
	if (message_length > HISTORY_TAIL - result_length)
		message_length = HISTORY_TAIL - result_length;
	e->receipt.outcome.result_length = result_length;
	e->receipt.outcome.message_length = message_length;
	if (result != NULL && result_length > 0)
		memcpy(e->tail, result, result_length);
	if (message != NULL && message_length > 0)
		memcpy(e->tail + result_length, message, message_length);
	durable_remembered(b);
}

/* What its submitter may never ask for is said here: a job that did not do what it should. */
static void
say_failure(const struct broker *b, const struct receipt *r, const void *message)
{
	static const struct {
		enum log_event event;
		const char *words;
	} said[JOB_STATE_COUNT] = {
		[JOB_FAILED] = { LOG_JOB_FAILED, "failed" },
		[JOB_TIMED_OUT] = { LOG_JOB_TIMED_OUT, "timed out" },
		[JOB_DEAD] = { LOG_JOB_DEAD, "is dead" },
	};
	const struct outcome *o = &r->outcome;
	enum log_event event = said[o->state].event;
	bool death = o->cause == CAUSE_WORKER_DIED || o->cause == CAUSE_OOM || o->state == JOB_DEAD;
	enum log_level level = death ? LOG_LEVEL_WARN : LOG_LEVEL_INFO;

	if (event == LOG_PLAIN || !log_wants(level))
		return;
	const char *kind = b->kind_names[r->kind], *pool = b->pools[r->pool].config->name;
	bool signalled = o->cause == CAUSE_SIGNAL || (death && o->cause_value > 0);
	log_event(level, event,
		  ABOUT(.job = r->id, .attempt = r->attempt, .kind = kind, .pool = pool,
			.slot = r->slot, .worker_pid = r->worker_pid,
			.cause = job_cause_text(o->cause), .signal = signalled ? o->cause_value : 0,
			.status = o->cause == CAUSE_EXIT ? o->cause_value : 0),
		  "job %llu (%s, pool %s) %s: %.*s", (unsigned long long)r->id, kind, pool,
		  said[o->state].words, (int)o->message_length,
		  o->message_length > 0 ? (const char *)message : "");
}

static void
forget(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	if (!(job->flags & JOB_NO_CLIENT)) {
		struct client *c = b->clients[job->client];
		if (job->client_prev != JOB_NONE)
			job_at(&b->jobs, job->client_prev)->client_next = job->client_next;
		else
			c->first_job = job->client_next;
		if (job->client_next != JOB_NONE)
			job_at(&b->jobs, job->client_next)->client_prev = job->client_prev;
		c->jobs--;
		c->job_bytes -= job->args_length > JOB_INLINE ? job->args_length : 0;
	}
	jobs_remove(&b->jobs, index);
	b->room_made = true;
}

void
job_drop(struct broker *b, uint32_t index)
{
	b->pools[job_at(&b->jobs, index)->pool].queued--;
	if (job_at(&b->jobs, index)->more != NULL)
		gate_ended(b, index, JOB_REFUSED);
	forget(b, index);
}

void
job_ended(struct broker *b, uint32_t index, const struct receipt *receipt, const void *result,
	  const void *message)
{
	struct job *job = job_at(&b->jobs, index);

	job_change(b, job, receipt->outcome.state);
	remember(b, receipt, result, message);
	tallies_job(b, receipt);
	if (receipt->outcome.state != JOB_SUCCEEDED)
		say_failure(b, receipt, message);
	if (!(job->flags & JOB_NO_CLIENT)) {
		struct part parts[] = {
			{ receipt, sizeof(*receipt) },
			{ result, receipt->outcome.result_length },
			{ message, receipt->outcome.message_length },
		};
		client_put(b, b->clients[job->client], MSG_RECEIPT, parts, 3);
	}
	if (job->more != NULL || (job->flags & JOB_PARENT))
		gate_ended(b, index, receipt->outcome.state);
	bool watched = job->flags & JOB_WATCHED;
	uint64_t id = job->id;
	forget(b, index);
	if (watched)
		watchers_tell(b, id);
}

/* A job with job->more is over.  Its last message says of its attempts, too. */
static void
complete_more(struct broker *b, uint32_t index, struct receipt *receipt, const void *result,
	      const void *message)
{
	struct job *job = job_at(&b->jobs, index);
	char sentence[QUARANTINE_TEXT];

	gate_leave(b, index, receipt->outcome.started_ns);
	if ((job->flags & JOB_DETACHED) && drain_lost(job, &receipt->outcome)) {
		durable_lost(b, index);
		return;
	}
	if (quarantine_is_dead(job, receipt)) {
		quarantine_sentence(job, receipt, message, sentence, sizeof(sentence));
		message = sentence;
	}
	scoped_free char *told = retry_message(job, message, receipt->outcome.message_length,
					       &receipt->outcome.message_length);
	if (told != NULL)
		message = told;
	if (job->flags & JOB_DETACHED)
		durable_end(b, index, receipt, result, message);
	else
		job_ended(b, index, receipt, result, message);
}

void
job_complete(struct broker *b, uint32_t index, const struct outcome *outcome, uint32_t flags,
	     const void *result, const void *message)
{
	struct job *job = job_at(&b->jobs, index);
	struct receipt receipt;

	if (job->more != NULL)
		cache_keep(b, job, outcome, flags, result);
	receipt_of(b, job, &receipt);
	receipt.outcome = *outcome;
	receipt.flags = flags | (job->flags & JOB_DETACHED ? RECEIPT_DETACHED : 0);
	receipt.returned_ns = broker_now(b, outcome->ended_ns);
	receipt.ended_wall_ns = receipt.returned_ns + b->wall_offset_ns;
	if (job->more == NULL)
		job_ended(b, index, &receipt, result, message);
	else if (retry_instead(b, index, &receipt, result, message))
		tallies_attempt(b, &receipt);
	else
		complete_more(b, index, &receipt, result, message);
}

void
job_complete_as(struct broker *b, uint32_t index, enum job_state state, enum job_cause cause,
		int32_t value, enum job_error error, uint32_t flags, const char *message)
{
	struct job *job = job_at(&b->jobs, index);
	struct outcome outcome = {
		.cause_value = value,
		.state = (uint8_t)state,
		.cause = (uint8_t)cause,
		.error = (uint8_t)error,
		.message_length = (uint32_t)strlen(message),
	};
	/* It had started: what is known is when, and that it is over now.  Where its time went
	 * nobody can say any more: all of it counts as blocked. */
	if (job->state == JOB_RUNNING && job->array == NULL) {
		const struct crew *w = crew_of(b, job);
		outcome.started_ns =
			w->up ? atomic_load(&w->link.shared->tickets[job->ticket].claimed_ns) : 0;
		if (outcome.started_ns != 0) {
			outcome.ended_ns = clock_now();
			outcome.usage.blocked_ns = outcome.ended_ns - outcome.started_ns;
		}
	}
	job_complete(b, index, &outcome, flags, NULL, message);
}

void
refuse_submit(struct broker *b, struct client *c, const struct submit_body *submit,
	      enum job_error error, const char *message)
{
	enum job_state state = error == ERR_CANCELLED ? JOB_CANCELLED : JOB_REFUSED;
	struct receipt receipt = {
		.tag = submit->tag,
		.submitted_ns = submit->submitted_ns,
		.received_ns = clock_now(),
		.returned_ns = clock_now(),
		.ended_wall_ns = clock_wall(),
		.kind = submit->kind,
		.pool = submit->pool,
		.uid = c->who.uid,
		.outcome = { .state = state,
			     .cause = error == ERR_CANCELLED ? CAUSE_CANCELLED : CAUSE_REFUSED,
			     .error = (uint8_t)error,
			     .message_length = (uint32_t)strlen(message) },
	};
	struct part parts[] = {
		{ &receipt, sizeof(receipt) },
		{ message, receipt.outcome.message_length },
	};
	b->ended[state]++;
	tallies_job(b, &receipt);
	client_put(b, c, MSG_RECEIPT, parts, 2);
}
