/*
 * durable_load.c - a new broker takes over what the store says is open.
 *
 * Jobs that stood claimed come first, before the first worker is told of: a worker of an earlier
 * broker may still run them (durable_adopt).  All others are read in the background, a chunk at a
 * time, while attached jobs run.
 */
#include "daemon/durable_load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/context.h"
#include "daemon/gate.h"
#include "daemon/log.h"
#include "daemon/policy.h"
#include "daemon/retry.h"
#include "daemon/rows.h"
#include "ipc/clock.h"

#define CHUNK_ROWS 1024u

struct load {
	struct question question;
	uint64_t after_id;
	size_t count;
	int result;
	struct row_list rows;
};

static void ask_for_more(struct broker *b, uint64_t after_id);

/* ---- a row becomes a job ---- */

static struct pool *
pool_of(struct broker *b, const char *name)
{
	for (unsigned i = 0; i < b->pool_count; i++)
		if (strcmp(b->pools[i].config->name, name) == 0)
			return &b->pools[i];
	return NULL;
}

/* From CLOCK_REALTIME to CLOCK_MONOTONIC; what was before the machine started is at its start. */
static uint64_t
monotonic(const struct broker *b, uint64_t wall_ns)
{
	return wall_ns > b->wall_offset_ns ? wall_ns - b->wall_offset_ns : 1;
}

static struct shared_context *
context_of(struct broker *b, const struct bytes *context)
{
	struct durable *d = b->durable;
	struct shared_context *last = d->last_context;

	if (context->length == 0)
		return NULL;
	if (last == NULL || last->length != context->length ||
	    memcmp(last->bytes, context->at, context->length) != 0) {
		shared_context_drop(last);
		d->last_context = last = shared_context_new(context->at, (uint32_t)context->length);
	}
	return last != NULL ? shared_context_use(last) : NULL;
}

static struct job_more *
more_of(struct broker *b, const struct store_row *row, char *why, size_t size)
{
	struct job_more *more = calloc(1, sizeof(*more));

	if (more == NULL)
		return NULL;
	if (row->job.policy.length > 0 &&
	    policy_read(row->job.policy.at, (uint32_t)row->job.policy.length, clock_wall(),
			&more->policy, why, size) != ERR_NONE)
		log_warn("job %llu: its policies cannot be read (%s); it runs without them",
			 (unsigned long long)row->job.id, why);
	more->context = context_of(b, &row->job.context);
	more->crashes = row->job.crashes;
	more->flags = row->job.flags & (STORE_JOB_HELD | STORE_JOB_SUSPECT);
	more->forgiven = (uint16_t)(row->job.flags >> STORE_JOB_FORGIVEN_SHIFT);
	more->fence = row->fence;
	if (row->job.not_before_ns > clock_wall())
		more->wake_ns = monotonic(b, row->job.not_before_ns);
	return more;
}

/* Its kind or pool is not there any more: it stays in the store for a daemon that has them. */
static void
strand(struct broker *b, const struct store_row *row, const char *what, const char *name)
{
	if (b->durable->stranded++ == 0)
		log_warn("job %llu needs %s \"%s\", which is not there: it stays in the store, "
			 "queued; add it and restart, or `pyprepctl rm %llu`",
			 (unsigned long long)row->job.id, what, name,
			 (unsigned long long)row->job.id);
}

/* JOB_NONE: no room, or it cannot be run (told). */
static uint32_t
add_row(struct broker *b, const struct store_row *row)
{
	const struct store_job *from = &row->job;
	struct pool *p = pool_of(b, from->pool);
	unsigned kind_number = 0;
	const struct kind *kind = kind_by_name(from->kind, &kind_number);
	char why[400] = "";

	if (kind == NULL || p == NULL || !executor_runs(p->config->executor, kind)) {
		strand(b, row, kind == NULL ? "the kind" : "a pool that runs it, named",
		       kind == NULL ? from->kind : from->pool);
		return JOB_NONE;
	}
	enum job_error error = args_pack(kind, from->params.at, (uint32_t)from->params.length,
					 &b->args, why, sizeof(why));
	if (error != ERR_NONE) {
		log_warn("job %llu: this daemon's %s does not take its parameters: %s",
			 (unsigned long long)from->id, from->kind, why);
		strand(b, row, "other parameters of", from->kind);
		return JOB_NONE;
	}
	struct job_more *more = more_of(b, row, why, sizeof(why));
	uint32_t index = more == NULL ? JOB_NONE
				      : jobs_add(&b->jobs, from->id, b->args.bytes, b->args.length);
	if (index == JOB_NONE) {
		job_more_free(more);
		return JOB_NONE;
	}
	struct job *job = job_at(&b->jobs, index);
	job->more = more;
	job->submitted_ns = job->received_ns = monotonic(b, from->submitted_ns);
	job->timeout_ns = from->timeout_ns;
	job->kind = (uint16_t)kind_number;
	job->pool = (uint8_t)p->index;
	job->priority = (int8_t)from->priority;
	job->uid = from->uid;
	job->gid = from->gid;
	job->flags = JOB_DETACHED | JOB_NO_CLIENT;
	if (gate_bind(b, index, true, why, sizeof(why)) != ERR_NONE) {
		log_error("job %llu: %s; it stays in the store", (unsigned long long)from->id, why);
		jobs_remove(&b->jobs, index);
		return JOB_NONE;
	}
	job->attempt = row->fence != 0 ? from->attempt : (uint16_t)(from->attempt + 1);
	gate_token(b, index, from->token);
	job->client = JOB_NONE;
	if (from->flags & STORE_JOB_DROP)
		job->flags |= JOB_DROP;
	job_enter(b, job);
	b->durable->recovered++;
	return index;
}

/* ---- in the background ---- */

static int
keep_row(void *context, const struct store_row *row)
{
	struct load *l = context;
	struct kept_row *k = row_keep(row);

	if (k == NULL)
		return -ENOMEM;
	STAILQ_INSERT_TAIL(&l->rows, k, link);
	l->count++;
	return 0;
}

static void
ask_rows(const struct store_ops *ops, struct store *s, struct question *q)
{
	struct load *l = (struct load *)q;

	l->result = ops->load(s, l->after_id, CHUNK_ROWS, false, keep_row, l);
}

static void
loaded(struct broker *b)
{
	struct durable *d = b->durable;

	d->loaded = true;
	free(d->taken);
	d->taken = NULL;
	d->taken_count = d->taken_room = 0;
	b->room_made = true; /* submits with a key wait for it */
	shared_context_drop(d->last_context);
	d->last_context = NULL;
	requests_loaded(b);
	if (d->recovered + d->stranded == 0)
		return;
	log_info("%llu detached jobs taken over from the store in %llu ms%s",
		 (unsigned long long)d->recovered,
		 (unsigned long long)((clock_now() - d->load_from_ns) / NS_PER_MS),
		 d->stranded > 0 ? "; others cannot run here, see above" : "");
}

/* A job that was loaded by itself may have ended since the background's row was read: it must not
 * come again, and run again. */
static void
note_taken(struct broker *b, uint64_t id)
{
	struct durable *d = b->durable;

	if (d->loaded)
		return;
	if (d->taken_count == d->taken_room) {
		size_t room = d->taken_room * 2 + 256;
		uint64_t *larger = realloc(d->taken, room * sizeof(*larger));
		if (larger == NULL) {
			log_error(
				"out of memory while jobs are loaded; the supervisor tries again");
			b->end = true;
			return;
		}
		d->taken = larger;
		d->taken_room = room;
	}
	size_t place = d->taken_count++; /* in order; most come so */
	for (; place > 0 && d->taken[place - 1] > id; place--)
		d->taken[place] = d->taken[place - 1];
	d->taken[place] = id;
}

static bool
is_taken(const struct durable *d, uint64_t id)
{
	size_t low = 0, high = d->taken_count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (d->taken[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return id >= d->first_new_id || (low < d->taken_count && d->taken[low] == id);
}

/* True when it is done with: in the table, or not for us. */
static bool
take_row(struct broker *b, const struct store_row *row)
{
	if (jobs_find(&b->jobs, row->job.id) != JOB_NONE)
		return true;
	if (!jobs_have_room(&b->jobs, (uint32_t)row->job.params.length + 64))
		return false;
	uint32_t index = add_row(b, row);
	if (index != JOB_NONE)
		gate_enter(b, index);
	return true;
}

static void
on_rows(struct broker *b, struct question *q)
{
	struct load *l = (struct load *)q;
	uint64_t after_id = l->after_id;
	bool full = false;
	struct kept_row *k;

	while ((k = STAILQ_FIRST(&l->rows)) != NULL) {
		STAILQ_REMOVE_HEAD(&l->rows, link);
		if (b != NULL && !full &&
		    (is_taken(b->durable, k->row.job.id) || take_row(b, &k->row)))
			after_id = k->row.job.id;
		else
			full = true;
		free(k);
	}
	if (b != NULL && l->result < 0) {
		log_error(
			"the store cannot be read after job %llu: %s; jobs after it are not taken "
			"over; put back a copy of the store",
			(unsigned long long)after_id, strerror(-l->result));
		loaded(b);
	} else if (b != NULL && full) {
		b->durable->load_after_id = after_id; /* goes on when there is room */
		b->durable->load_waits = true;
	} else if (b != NULL && l->count == CHUNK_ROWS) {
		ask_for_more(b, after_id);
	} else if (b != NULL) {
		loaded(b);
	}
	free(l);
}

static void
ask_for_more(struct broker *b, uint64_t after_id)
{
	struct load *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		b->durable->load_after_id = after_id;
		b->durable->load_waits = true;
		return;
	}
	STAILQ_INIT(&l->rows);
	l->after_id = after_id;
	l->question.ask = ask_rows;
	l->question.answered = on_rows;
	writer_ask(b->durable->writer, &l->question);
}

bool
durable_loaded(const struct broker *b)
{
	return b->durable->loaded;
}

static void
ask_one(const struct store_ops *ops, struct store *s, struct question *q)
{
	struct load *l = (struct load *)q;

	l->result = ops->load(s, l->after_id, 1, false, keep_row, l);
}

static void
on_one(struct broker *b, struct question *q)
{
	struct load *l = (struct load *)q;
	struct kept_row *k = STAILQ_FIRST(&l->rows);

	if (b != NULL && l->result < 0)
		log_error("job %llu is queued again, and cannot be read: %s; it starts when "
			  "the daemon is started again",
			  (unsigned long long)l->after_id + 1, strerror(-l->result));
	else if (b != NULL && k != NULL && k->row.job.id == l->after_id + 1) {
		note_taken(b, k->row.job.id);
		(void)take_row(b, &k->row);
	}
	rows_free(&l->rows);
	free(l);
}

void
durable_reload(struct broker *b, uint64_t id)
{
	struct load *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return; /* it is queued again after the next start */
	STAILQ_INIT(&l->rows);
	l->after_id = id - 1;
	l->question.ask = ask_one;
	l->question.answered = on_one;
	writer_ask(b->durable->writer, &l->question);
}

void
durable_load_go_on(struct broker *b)
{
	struct durable *d = b->durable;

	if (!d->load_waits || !jobs_have_room(&b->jobs, 4096))
		return;
	d->load_waits = false;
	ask_for_more(b, d->load_after_id);
}

/* ---- claimed jobs ---- */

static int
take_claimed(void *context, const struct store_row *row)
{
	struct broker *b = context;
	uint32_t index = add_row(b, row);

	note_taken(b, row->job.id);
	if (index == JOB_NONE)
		return 0;
	gate_park(b, index, WAIT_STORE);
	gate_adopt(b, index); /* it may still run */
	return 0;
}

int
durable_load_begin(struct broker *b)
{
	b->durable->load_from_ns = clock_now();
	b->durable->first_new_id = atomic_load(&b->board->next_id);
	int r = writer_load_claimed(b->durable->writer, take_claimed, b);
	if (r < 0)
		return r;
	ask_for_more(b, 0);
	return 0;
}

/* The job that stands claimed and was run by an earlier broker's worker, or JOB_NONE. */
static uint32_t
claimed_job(struct broker *b, uint64_t id)
{
	uint32_t index = jobs_find(&b->jobs, id);

	if (index == JOB_NONE)
		return JOB_NONE;
	const struct job *job = job_at(&b->jobs, index);
	return (job->flags & JOB_DETACHED) && job->state == JOB_QUEUED && job->more->fence != 0
		       ? index
		       : JOB_NONE;
}

uint32_t
durable_adopt(struct broker *b, struct crew *w, uint32_t ticket, uint64_t id)
{
	uint32_t index = claimed_job(b, id);

	if (index == JOB_NONE)
		return JOB_NONE;
	struct job *job = job_at(&b->jobs, index);
	job->flags = (uint16_t)((job->flags & ~JOB_PARKED) | JOB_ADOPTED);
	job->more->waits = WAIT_NOTHING;
	job->place = w->place;
	job->ticket = (uint16_t)ticket;
	/* When it was handed out nobody knows any more; it was not after it began. */
	uint64_t claimed_ns = atomic_load(&w->link.shared->tickets[ticket].claimed_ns);
	job->handed_ns = claimed_ns != 0 && claimed_ns < b->now_ns ? claimed_ns : b->now_ns;
	job_change(b, job, JOB_RUNNING);
	if (job->timeout_ns > 0)
		deadline_at(b, b->now_ns);
	return index;
}

void
durable_not_started(struct broker *b, uint64_t id)
{
	uint32_t index = claimed_job(b, id);

	if (index == JOB_NONE)
		return;
	durable_unclaim(b, index);
	gate_unpass(b, index);
	durable_go_on(b, index);
}

void
durable_lost(struct broker *b, uint32_t index)
{
	static const char message[] =
		"the daemon lost this attempt: its broker or all of it was killed";
	struct job *job = job_at(&b->jobs, index);
	struct receipt receipt;

	if (job->state == JOB_RUNNING)
		job_change(b, job, JOB_QUEUED);
	gate_leave(b, index, job->handed_ns);
	job->flags &= (uint16_t)~JOB_ADOPTED;
	if (job->stop == CAUSE_BROKER_LOST) /* the daemon ends, not the job */
		job->flags &= (uint16_t)~JOB_STOPPING;
	receipt_of(b, job, &receipt);
	receipt.outcome = (struct outcome){
		.state = JOB_FAILED,
		.cause = CAUSE_BROKER_LOST,
		.error = ERR_BROKER_LOST,
		.message_length = sizeof(message) - 1,
	};
	receipt.returned_ns = b->now_ns;
	receipt.ended_wall_ns = b->now_ns + b->wall_offset_ns;
	job->more->forgiven++;
	retry_remember(job, &receipt);
	durable_retry(b, index, &receipt, NULL, message);
	job->attempt++;
	durable_go_on(b, index);
}

void
durable_settled(struct broker *b)
{
	if (b->durable->settled)
		return;
	b->durable->settled = true;
	for (uint32_t i = 0; (i = jobs_next(&b->jobs, i)) != JOB_NONE; i++)
		if (claimed_job(b, job_at(&b->jobs, i)->id) == i)
			durable_lost(b, i);
}
