/* durable.c - see durable.h; durable_load.c has what happens at the start. */
#include "daemon/durable.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/context.h"
#include "daemon/durable_load.h"
#include "daemon/gate.h"
#include "daemon/log.h"
#include "daemon/policy.h"
#include "daemon/request.h"
#include "daemon/writer.h"
#include "ipc/clock.h"

#define AGAIN_MS 200 /* how often a store that fails is looked at */

/* ---- open and close ---- */

static void on_again(evutil_socket_t fd, short what, void *context);

int
durable_open(struct broker *b, struct store_problem *why)
{
	struct store_options options = {
		.state_dir = b->birth->state_dir,
		.keep_ns = b->config->store_keep_ns,
		.keep_bytes = b->config->store_bytes,
	};
	struct durable *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return -ENOMEM;
	STAILQ_INIT(&d->again);
	d->parked_head = d->parked_tail = JOB_NONE;
	d->look = evtimer_new(b->base, on_again, b);
	d->save = evtimer_new(b->base, durable_on_history, b);
	int r = d->look == NULL || d->save == NULL
			? -ENOMEM
			: writer_open(&d->writer, b->config->store, &options, &b->board->broker,
				      b->birth->broker_bell, why);
	if (r < 0) {
		if (d->look != NULL)
			event_free(d->look);
		if (d->save != NULL)
			event_free(d->save);
		free(d);
		return r;
	}
	b->durable = d;
	struct writer_stats stats;
	writer_stats(d->writer, &stats);
	if (stats.store.repaired_bytes > 0)
		log_event(LOG_LEVEL_WARN, LOG_STORE_REPAIRED, NULL,
			  "the store's last %llu bytes were not whole and have been cut: what was "
			  "being written when the machine stopped had not been acknowledged",
			  (unsigned long long)stats.store.repaired_bytes);
	if (stats.store.lost_frames > 0)
		log_event(LOG_LEVEL_ERROR, LOG_STORE_LOST, NULL,
			  "%llu pages that the store had acknowledged are not there: the disk lost "
			  "what "
			  "it said was durable, or somebody cut store.db-wal; jobs submitted last "
			  "may be "
			  "missing",
			  (unsigned long long)stats.store.lost_frames);
	if (atomic_load(&b->board->next_id) <= stats.store.max_id)
		atomic_store(&b->board->next_id, stats.store.max_id + 1);
	return durable_load_begin(b);
}

void
durable_close(struct broker *b)
{
	struct durable *d = b->durable;
	struct order *o;

	if (d == NULL)
		return;
	writer_close(d->writer);
	while ((o = STAILQ_FIRST(&d->again)) != NULL) {
		STAILQ_REMOVE_HEAD(&d->again, link);
		free(o);
	}
	event_free(d->look);
	event_free(d->save);
	free(d->taken);
	free(d);
	b->durable = NULL;
}

unsigned
durable_take(struct broker *b)
{
	return writer_take(b->durable->writer, b);
}

bool
durable_pending(struct broker *b)
{
	return writer_pending(b->durable->writer);
}

bool
durable_idle(const struct broker *b)
{
	return b->durable->under_way == 0 && STAILQ_EMPTY(&b->durable->again);
}

void
durable_reply(struct broker *b, struct reply *a)
{
	const struct durable *d = b->durable;
	enum writer_state state = writer_state(d->writer);
	struct writer_stats stats;

	writer_stats(d->writer, &stats);
	msgpack_pack_map(&a->pack, 13);
	reply_text(a, "engine", writer_engine(d->writer));
	reply_text(a, "state", writer_state_text(state));
	reply_text(a, "error", state == WRITER_OK ? "" : durable_trouble(b));
	reply_flag(a, "loaded", d->loaded);
	reply_uint(a, "recovered", d->recovered);
	reply_uint(a, "stranded", d->stranded);
	reply_uint(a, "open", stats.store.open);
	reply_uint(a, "ended", stats.store.ended);
	reply_uint(a, "bytes", stats.store.bytes);
	reply_uint(a, "waiting", stats.waiting);
	reply_uint(a, "commits", stats.commits);
	reply_uint(a, "commit_p50_ns", stats.commit_ns_p50);
	reply_uint(a, "commit_p99_ns", stats.commit_ns_p99);
}

/* ---- a store that fails ---- */

bool
durable_ready(const struct broker *b, enum job_error *ret_error)
{
	enum writer_state state = writer_state(b->durable->writer);

	if (ret_error != NULL)
		*ret_error = state == WRITER_FULL ? ERR_STORE_FULL : ERR_STORE_FAILED;
	return state == WRITER_OK;
}

const char *
durable_trouble(const struct broker *b)
{
	return strerror(-writer_error(b->durable->writer));
}

static enum job_error
store_error(int error)
{
	return error == -ENOSPC || error == -EDQUOT || error == -EFBIG ? ERR_STORE_FULL
								       : ERR_STORE_FAILED;
}

static void
look_again(struct durable *d)
{
	struct timeval soon = { .tv_usec = AGAIN_MS * 1000 };

	if (!evtimer_pending(d->look, NULL))
		evtimer_add(d->look, &soon);
}

static void
put(struct broker *b, struct order *o)
{
	b->durable->under_way++;
	o->kept = false;
	writer_put(b->durable->writer, o);
}

/* It must be written some day: kept until the store can be written again. */
static void
put_later(struct broker *b, struct order *o)
{
	o->kept = true;
	STAILQ_INSERT_TAIL(&b->durable->again, o, link);
	look_again(b->durable);
}

static uint32_t
row_flags(const struct job *job)
{
	return job->more->flags | (job->flags & JOB_DROP ? STORE_JOB_DROP : 0) |
	       (uint32_t)job->more->forgiven << STORE_JOB_FORGIVEN_SHIFT;
}

/* What of a job is in the store's row, but for params and policy. */
static void
describe(struct broker *b, const struct job *job, struct store_job *ret)
{
	const struct job_more *more = job->more;

	ret->id = job->id;
	ret->timeout_ns = job->timeout_ns;
	ret->submitted_ns = job->submitted_ns + b->wall_offset_ns;
	ret->not_before_ns = more->wake_ns != 0 ? more->wake_ns + b->wall_offset_ns : 0;
	ret->uid = job->uid;
	ret->gid = job->gid;
	ret->priority = (int)job->priority;
	ret->flags = row_flags(job);
	ret->attempt = (uint16_t)(job->attempt - 1);
	ret->crashes = more->crashes;
}

/* A later edit may have been written before this one: it says what holds now. */
static void
renew(struct broker *b, struct order *o)
{
	uint32_t index =
		o->change.type == CHANGE_EDIT ? jobs_find(&b->jobs, o->change.job.id) : JOB_NONE;

	if (index != JOB_NONE && (job_at(&b->jobs, index)->flags & JOB_DETACHED))
		describe(b, job_at(&b->jobs, index), &o->change.job);
}

static void
on_again(evutil_socket_t fd, short what, void *context)
{
	struct broker *b = context;
	struct durable *d = b->durable;
	struct order *o;
	uint32_t index;

	(void)fd;
	(void)what;
	if (!durable_ready(b, NULL)) {
		look_again(d);
		return;
	}
	/* In the order in which they were put: an output before its job's end. */
	while ((o = STAILQ_FIRST(&d->again)) != NULL) {
		STAILQ_REMOVE_HEAD(&d->again, link);
		renew(b, o);
		put(b, o);
	}
	while ((index = d->parked_head) != JOB_NONE) {
		durable_unpark(b, index);
		durable_go_on(b, index);
	}
}

void
durable_go_on(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	job->flags &= (uint16_t)~JOB_PARKED;
	job->more->waits = WAIT_NOTHING;
	if (job->flags & JOB_STOPPING)
		job_complete_as(b, index, JOB_CANCELLED, job->stop, 0, ERR_CANCELLED, 0,
				"cancelled before it started");
	else
		gate_enter(b, index);
}

void
durable_unpark(struct broker *b, uint32_t index)
{
	struct durable *d = b->durable;
	struct job *job = job_at(&b->jobs, index);

	if (job->prev != JOB_NONE)
		job_at(&b->jobs, job->prev)->next = job->next;
	else
		d->parked_head = job->next;
	if (job->next != JOB_NONE)
		job_at(&b->jobs, job->next)->prev = job->prev;
	else
		d->parked_tail = job->prev;
	job->prev = job->next = JOB_NONE;
}

static void
park(struct broker *b, uint32_t index)
{
	struct durable *d = b->durable;
	struct job *job = job_at(&b->jobs, index);

	gate_park(b, index, WAIT_STORE);
	job->prev = d->parked_tail;
	job->next = JOB_NONE;
	if (d->parked_tail != JOB_NONE)
		job_at(&b->jobs, d->parked_tail)->next = index;
	else
		d->parked_head = index;
	d->parked_tail = index;
	look_again(d);
}

/* ---- claims ---- */

bool
durable_may_start(struct broker *b, uint32_t index)
{
	if (durable_ready(b, NULL))
		return true;
	queue_remove(b, index);
	park(b, index);
	return false;
}

int
durable_claim(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	return writer_claim(b->durable->writer, job->id, job->attempt, &job->more->fence);
}

void
durable_unclaim(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	if (job->more->fence != 0)
		writer_unclaim(b->durable->writer, job->id, job->more->fence);
	job->more->fence = 0;
}

/* ---- orders ---- */

/* Copy `length` bytes to the end of what the order has; its view of them. */
static struct bytes
append(struct order *o, size_t *at, const void *from, size_t length)
{
	struct bytes copy = { o->bytes + *at, length };

	if (length > 0)
		memcpy(o->bytes + *at, from, length);
	*at += length;
	return copy;
}

static const char *
append_text(struct order *o, size_t *at, const char *text)
{
	return append(o, at, text, strlen(text) + 1).at;
}

static struct client *
submitter(struct broker *b, const struct order *o)
{
	struct client *c = o->number[1] < b->config->max_clients ? b->clients[o->number[1]] : NULL;

	return c != NULL && c->since_ns == o->number[2] && !c->doomed ? c : NULL;
}

static void
tell_accepted(struct broker *b, struct client *c, uint64_t tag, uint64_t id, uint32_t flags)
{
	struct accepted_body body = { .tag = tag, .id = id, .flags = flags };
	struct part part = { &body, sizeof(body) };

	if (c != NULL)
		client_put(b, c, MSG_ACCEPTED, &part, 1);
}

/* It is not in the store: it never was a job. */
static void
not_added(struct broker *b, struct client *c, uint32_t index, const struct order *o)
{
	struct job *job = job_at(&b->jobs, index);
	struct submit_body submit = {
		.tag = job->tag,
		.submitted_ns = job->submitted_ns,
		.kind = job->kind,
		.pool = job->pool,
	};
	const struct policy *policy = job->more->policy;
	int r = o->change.result;
	char text[300];

	if (r == -EEXIST ||
	    (r == -ESTALE && policy != NULL && policy->if_exists == EXISTS_RETURN)) {
		tell_accepted(b, c, submit.tag, o->change.ret_id, ACCEPTED_KNOWN);
	} else if (c != NULL && r == -ESTALE) {
		snprintf(text, sizeof(text),
			 "job %llu has the key \"%s\" and has not ended; take another key, or "
			 "--if-exists return or replace",
			 (unsigned long long)o->change.ret_id, policy != NULL ? policy->key : "");
		refuse_submit(b, c, &submit, ERR_KEY_EXISTS, text);
	} else if (c != NULL) {
		snprintf(text, sizeof(text),
			 "the store cannot be written (%s): nothing was accepted; try again later, "
			 "or "
			 "submit attached (without --detach)",
			 strerror(-r));
		refuse_submit(b, c, &submit, store_error(r), text);
	}
	job_drop(b, index);
}

static void
on_added(struct broker *b, struct order *o)
{
	struct client *c = submitter(b, o);
	uint32_t index = jobs_find(&b->jobs, o->number[0]);

	b->durable->under_way--;
	if (o->change.result < 0) {
		not_added(b, c, index, o);
		return;
	}
	struct job *job = job_at(&b->jobs, index);
	job->more->stored_ns = b->now_ns;
	tell_accepted(b, c, job->tag, job->id, 0);
	durable_go_on(b, index);
}

int
durable_add(struct broker *b, struct client *c, uint32_t index, const unsigned char *token,
	    const struct bytes *params)
{
	struct job *job = job_at(&b->jobs, index);
	const struct job_more *more = job->more;
	const char *kind = kinds[job->kind]->name, *pool = b->pools[job->pool].config->name;
	const char *key = more->policy != NULL ? more->policy->key : "";
	uint32_t context_length = more->context != NULL ? more->context->length : 0;
	uint32_t policy_length = 0;
	void *policy = NULL;
	size_t at = 0;

	if (more->policy != NULL && policy_write(more->policy, &policy, &policy_length) < 0)
		return -ENOMEM;
	struct order *o =
		order_new(CHANGE_ADD, strlen(kind) + strlen(pool) + strlen(key) + 3 +
					      params->length + policy_length + context_length);
	if (o == NULL) {
		free(policy);
		return -ENOMEM;
	}
	struct store_job *row = &o->change.job;
	describe(b, job, row);
	memcpy(row->token, token, STORE_TOKEN);
	row->kind = append_text(o, &at, kind);
	row->pool = append_text(o, &at, pool);
	row->key = key[0] != '\0' ? append_text(o, &at, key) : NULL;
	row->params = append(o, &at, params->at, params->length);
	row->policy = append(o, &at, policy, policy_length);
	free(policy);
	if (context_length > 0)
		row->context = append(o, &at, more->context->bytes, context_length);
	if (more->policy != NULL)
		row->not_before_ns = more->policy->at_ns;
	o->answered = on_added;
	o->number[0] = job->id;
	o->number[1] = c->index;
	o->number[2] = c->since_ns;
	put(b, o);
	return 0;
}

static void
on_written(struct broker *b, struct order *o)
{
	b->durable->under_way--;
	if (o->change.result == 0 || o->change.result == -ENOENT || o->change.result == -ESTALE)
		return;
	put_later(b, o);
}

static bool
no_memory(const struct order *o, const struct job *job, const char *what)
{
	if (o == NULL)
		log_error("job %llu: out of memory: its %s is not in the store",
			  (unsigned long long)job->id, what);
	return o == NULL;
}

static void
on_edited(struct broker *b, struct order *o)
{
	void (*then)(struct broker *, void *, int) =
		(void (*)(struct broker *, void *, int))(uintptr_t)o->number[0];
	int r = o->change.result;

	b->durable->under_way--;
	if (r == -ENOENT || r == -ESTALE) /* it has ended meanwhile */
		r = 0;
	if (r < 0)
		put_later(b, o);
	o->number[0] = 0;
	if (then != NULL)
		then(b, (void *)(uintptr_t)o->number[1], r);
}

int
durable_edit(struct broker *b, uint32_t index,
	     void (*then)(struct broker *b, void *context, int result), void *context)
{
	struct job *job = job_at(&b->jobs, index);
	struct order *o = order_new(CHANGE_EDIT, 0);

	if (no_memory(o, job, "new state"))
		return -ENOMEM;
	describe(b, job, &o->change.job);
	o->answered = on_edited;
	o->number[0] = (uintptr_t)then;
	o->number[1] = (uintptr_t)context;
	put(b, o);
	return 0;
}

void
durable_output(struct broker *b, uint32_t index, unsigned stream, const void *bytes,
	       uint32_t length)
{
	struct job *job = job_at(&b->jobs, index);
	struct order *o = order_new(CHANGE_OUTPUT, length);
	size_t at = 0;

	if (no_memory(o, job, "output") || stream < 1 || stream > 2) {
		free(o);
		return;
	}
	o->change.output.id = job->id;
	o->change.output.stream = stream;
	o->change.output.attempt = job->attempt;
	o->change.output.offset = job->more->output[stream - 1];
	o->change.output.bytes = append(o, &at, bytes, length);
	o->answered = on_written;
	o->lazy = true;
	job->more->output[stream - 1] += length;
	put(b, o);
}

/* An attempt's end as a change of `type`, with all that it says copied. */
static struct order *
end_order(enum store_change_type type, const struct job *job, const struct receipt *receipt,
	  const void *result, const void *message)
{
	uint32_t result_length = receipt->outcome.result_length;
	uint32_t message_length = receipt->outcome.message_length;
	const struct bytes *autopsy = job->more->autopsy;
	size_t at = 0, told = autopsy != NULL ? autopsy->length : 0;

	struct order *o = order_new(type, result_length + (size_t)message_length + told);
	if (no_memory(o, job, "end"))
		return NULL;
	struct store_end *end = &o->change.end;
	end->id = job->id;
	end->fence = job->more->fence;
	end->receipt = *receipt;
	end->result = append(o, &at, result, result_length);
	end->message = append(o, &at, message, message_length);
	if (told > 0)
		end->autopsy = append(o, &at, autopsy->at, told);
	end->ended_ns = receipt->ended_wall_ns;
	o->number[0] = job->id;
	o->number[1] = job->more->fence;
	return o;
}

static void
on_retried(struct broker *b, struct order *o)
{
	int r = o->change.result;

	b->durable->under_way--;
	if (r < 0 && r != -ENOENT && r != -ESTALE)
		put_later(b, o);
	else if (o->number[1] != 0)
		writer_unclaim(b->durable->writer, o->number[0], o->number[1]);
}

void
durable_retry(struct broker *b, uint32_t index, const struct receipt *receipt, const void *result,
	      const void *message)
{
	struct job *job = job_at(&b->jobs, index);
	struct order *o = end_order(CHANGE_RETRY, job, receipt, result, message);

	/* The claim of this attempt is let go when its end is written; the next has its own. */
	job->more->fence = 0;
	job->more->output[0] = job->more->output[1] = 0;
	if (o == NULL)
		return;
	o->change.end.next.not_before_ns =
		job->more->wake_ns != 0 ? job->more->wake_ns + b->wall_offset_ns : 0;
	o->change.end.next.crashes = job->more->crashes;
	o->change.end.next.flags = row_flags(job);
	o->answered = on_retried;
	put(b, o);
}

static void
on_ended(struct broker *b, struct order *o)
{
	uint32_t index = jobs_find(&b->jobs, o->number[0]);
	const struct store_end *end = &o->change.end;
	int r = o->change.result;

	b->durable->under_way--;
	if (r < 0 && r != -ENOENT && r != -ESTALE) {
		put_later(b, o);
		return;
	}
	if (o->number[1] != 0)
		writer_unclaim(b->durable->writer, o->number[0], o->number[1]);
	if (index != JOB_NONE)
		job_ended(b, index, &end->receipt, end->result.at, end->message.at);
}

void
durable_end(struct broker *b, uint32_t index, const struct receipt *receipt, const void *result,
	    const void *message)
{
	struct job *job = job_at(&b->jobs, index);
	struct order *o = end_order(CHANGE_END, job, receipt, result, message);

	const struct policy *policy = job->more->policy;

	job->flags |= JOB_ENDING;
	if (o != NULL && policy != NULL && policy->keep_ns != 0)
		o->change.end.next.not_before_ns = receipt->ended_wall_ns + policy->keep_ns;
	if (o == NULL) {
		job_ended(b, index, receipt, result, message);
		return;
	}
	o->answered = on_ended;
	put(b, o);
}
