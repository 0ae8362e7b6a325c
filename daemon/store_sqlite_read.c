/* store_sqlite_read.c - what is read from the engine `sqlite`. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store_claims.h"
#include "daemon/store_filter.h"
#include "daemon/store_sqlite.h"

/* ---- columns, in their order ---- */

struct columns {
	sqlite3_stmt *st;
	int at;
};

static uint64_t
next_int(struct columns *c)
{
	return (uint64_t)sqlite.column_int64(c->st, c->at++);
}

static const char *
next_text(struct columns *c)
{
	return (const char *)sqlite.column_text(c->st, c->at++);
}

static struct bytes
next_bytes(struct columns *c)
{
	const void *at = sqlite.column_blob(c->st, c->at); /* before its length: it may convert */
	struct bytes b = { at, (size_t)sqlite.column_bytes(c->st, c->at) };

	c->at++;
	return b;
}

static uint64_t
next_time(struct columns *c, uint64_t clock)
{
	bool none = sqlite.column_type(c->st, c->at) == SQLITE_NULL;
	uint64_t value = next_int(c);
	return none ? 0 : value + clock;
}

static void
read_usage(struct columns *c, struct usage *u)
{
	u->oncpu_ns = next_int(c);
	u->runqueue_ns = next_int(c);
	u->blocked_ns = next_int(c);
	u->user_ns = next_int(c);
	u->system_ns = next_int(c);
	u->peak_memory_bytes = next_int(c);
	u->faults_minor = (uint32_t)next_int(c);
	u->faults_major = (uint32_t)next_int(c);
	u->switches_voluntary = (uint32_t)next_int(c);
	u->switches_involuntary = (uint32_t)next_int(c);
}

/* ATTEMPT_COLUMNS, which may all be NULL. */
static void
read_attempt(struct columns *c, struct store_row *row)
{
	struct store_end *end = &row->end;
	struct receipt *r = &end->receipt;

	if (sqlite.column_type(c->st, c->at) == SQLITE_NULL)
		return;
	uint64_t n = next_int(c);
	end->id = r->id = n >> 16;
	r->attempt = (uint16_t)(n & UINT16_MAX);
	if (r->attempt == 0)
		r->attempt = row->job.attempt;
	r->outcome.state = (uint8_t)next_int(c);
	r->outcome.cause = (uint8_t)next_int(c);
	r->outcome.cause_value = (int32_t)next_int(c);
	r->outcome.error = (uint8_t)next_int(c);
	end->ended_ns = r->ended_wall_ns = next_int(c);
	end->executor = next_text(c);
	r->worker_pid = (uint32_t)next_int(c);
	r->slot = (uint16_t)next_int(c);
	r->flags = (uint32_t)next_int(c);
	r->submitted_ns = next_int(c);
	r->received_ns = next_time(c, r->submitted_ns);
	r->stored_ns = next_time(c, r->submitted_ns);
	r->handed_ns = next_time(c, r->submitted_ns);
	r->outcome.started_ns = next_time(c, r->submitted_ns);
	r->outcome.ended_ns = next_time(c, r->submitted_ns);
	r->returned_ns = next_time(c, r->submitted_ns);
	r->outcome.method = (uint8_t)next_int(c);
	read_usage(c, &r->outcome.usage);
	r->items = next_int(c);
	r->items_failed = next_int(c);
	end->autopsy = next_bytes(c);
	end->message = next_bytes(c);
	end->result = next_bytes(c);
	r->outcome.message_length = (uint32_t)end->message.length;
	r->outcome.result_length = (uint32_t)end->result.length;
	r->uid = row->job.uid;
	r->priority = row->job.priority;
	end->kind = row->job.kind;
	end->pool = row->job.pool;
	end->submitted_ns = row->job.submitted_ns;
}

/* The context with this number, kept for the rows that follow. */
static struct bytes
read_context(struct store *s, uint64_t number)
{
	if (number != 0 && number != s->context) {
		sqlite3_stmt *st = sql_get(s, SQL_CONTEXT);
		sql_int(st, 1, number);
		bool found = sql_step(s, st);
		if (found && !sqlite_keep_context(s, number, sqlite.column_blob(st, 0),
						  (size_t)sqlite.column_bytes(st, 0)))
			s->error = -ENOMEM;
		sql_done(st);
		if (!found && s->error == 0)
			s->error = -EBADMSG; /* a job without what it needs */
	}
	if (number == 0 || s->error != 0)
		return (struct bytes){ 0 };
	return (struct bytes){ s->context_bytes, s->context_length };
}

/* JOB_COLUMNS, ATTEMPT_COLUMNS.  false: s->error. */
static bool
read_row(struct store *s, sqlite3_stmt *st, struct store_row *row)
{
	struct columns c = { st, 0 };
	struct store_job *job = &row->job;

	*row = (struct store_row){ 0 };
	job->id = next_int(&c);
	row->ended = next_int(&c) != 0;
	c.at++; /* ended: the attempt has it, too */
	job->attempt = (uint16_t)next_int(&c);
	job->crashes = (uint16_t)next_int(&c);
	job->flags = (uint32_t)next_int(&c);
	job->priority = (int32_t)next_int(&c);
	job->not_before_ns = next_int(&c);
	c.at++; /* last */
	struct bytes token = next_bytes(&c);
	row->attached = token.length == 0;
	if (token.length == STORE_TOKEN)
		memcpy(job->token, token.at, STORE_TOKEN);
	job->kind = next_text(&c);
	job->pool = next_text(&c);
	job->key = next_text(&c);
	job->uid = (uint32_t)next_int(&c);
	job->gid = (uint32_t)next_int(&c);
	job->timeout_ns = next_int(&c);
	job->item_low = (int64_t)next_int(&c);
	job->item_high = (int64_t)next_int(&c);
	job->submitted_ns = next_int(&c);
	uint64_t context = next_int(&c);
	job->policy = next_bytes(&c);
	job->params = next_bytes(&c);
	read_attempt(&c, row);
	job->context = read_context(s, context);
	return s->error == 0;
}

/* ---- output ---- */

static uint16_t
last_output_attempt(struct store *s, uint64_t id)
{
	sqlite3_stmt *st = sql_get(s, SQL_OUTPUT_LAST);
	uint16_t attempt = 0;

	sql_int(st, 1, id);
	if (sql_step(s, st))
		attempt = (uint16_t)sqlite.column_int64(st, 0);
	sql_done(st);
	return attempt;
}

static void
count_output(struct store *s, struct store_row *row)
{
	uint16_t attempt = row->attached ? 0 : last_output_attempt(s, row->job.id);
	sqlite3_stmt *st =
		attempt != 0 && attempt >= row->job.attempt ? sql_get(s, SQL_OUTPUT_END) : NULL;

	for (int stream = 1; stream <= 2 && st != NULL; stream++) {
		sql_int(st, 1, row->job.id);
		sql_int(st, 2, attempt);
		sql_int(st, 3, (uint64_t)stream);
		if (sql_step(s, st))
			row->output_bytes[stream] = (uint64_t)sqlite.column_int64(st, 0);
		sql_done(st);
	}
}

static uint16_t
job_attempt(struct store *s, uint64_t id)
{
	sqlite3_stmt *st = sql_get(s, SQL_LOOK);
	uint16_t attempt = 0;

	sql_int(st, 1, id);
	if (sql_step(s, st))
		attempt = (uint16_t)sqlite.column_int64(st, 2);
	else if (s->error == 0)
		s->error = -ENOENT;
	sql_done(st);
	return attempt;
}

int
sqlite_output(struct store *s, uint64_t id, uint16_t attempt, uint64_t from[3],
	      store_output_fn each, void *context)
{
	int r = 0;

	s->error = 0;
	uint16_t begun = job_attempt(s, id);
	if (attempt == 0 && s->error == 0) {
		attempt = last_output_attempt(s, id);
		if (attempt < begun)
			attempt = begun;
	}
	sqlite3_stmt *st = s->error == 0 ? sql_get(s, SQL_READ_OUTPUT) : NULL;
	if (st == NULL)
		return s->error;
	sql_int(st, 1, id);
	sql_int(st, 2, attempt);
	while (r == 0 && sql_step(s, st)) {
		struct columns c = { st, 0 };
		uint32_t stream = (uint32_t)next_int(&c);
		uint64_t offset = next_int(&c);
		struct bytes b = next_bytes(&c);
		if (stream < 1 || stream > 2)
			continue;
		uint64_t skip = from[stream] > offset ? from[stream] - offset : 0;
		if (skip < b.length)
			r = each(context, stream, offset + skip, (const unsigned char *)b.at + skip,
				 b.length - skip);
	}
	sql_done(st);
	return r < 0 ? r : s->error;
}

/* ---- rows ---- */

static int
load_all(struct store *s, uint64_t after_id, size_t most, const struct claim *claims, size_t count,
	 store_row_fn each, void *context)
{
	sqlite3_stmt *st = sql_get(s, SQL_LOAD);
	struct store_row row;
	int r = 0;

	sql_int(st, 1, after_id);
	sql_int(st, 2, most);
	while (r == 0 && sql_step(s, st)) {
		if (!read_row(s, st, &row))
			break;
		row.fence = claims_fence_of(claims, count, row.job.id);
		if (row.fence != 0)
			count_output(s, &row);
		if (s->error == 0)
			r = each(context, &row);
	}
	sql_done(st);
	return r;
}

static int
load_claimed(struct store *s, uint64_t after_id, size_t most, const struct claim *claims,
	     size_t count, store_row_fn each, void *context)
{
	sqlite3_stmt *st = sql_get(s, SQL_LOAD);
	struct store_row row;
	int r = 0;

	for (size_t i = 0; i < count && most > 0 && r == 0 && s->error == 0; i++) {
		uint64_t id = claims[i].id;
		bool older = i + 1 < count && claims[i + 1].id == id;
		if (id <= after_id || older)
			continue;
		sql_int(st, 1, id - 1);
		sql_int(st, 2, 1);
		if (sql_step(s, st) && read_row(s, st, &row) && row.job.id == id) {
			row.fence = claims[i].fence;
			count_output(s, &row);
			most--;
			if (s->error == 0)
				r = each(context, &row);
		}
		sql_done(st);
	}
	return r;
}

int
sqlite_load_rows(struct store *s, uint64_t after_id, size_t most, bool claimed, store_row_fn each,
		 void *context)
{
	struct claim *claims = NULL;
	size_t count = 0;

	s->error = 0;
	sqlite_forget_context(s);
	int r = s->claims != NULL ? claims_list(s->claims, &claims, &count) : 0;
	if (r < 0)
		return r;
	r = (claimed ? load_claimed : load_all)(s, after_id, most, claims, count, each, context);
	free(claims);
	return r < 0 ? r : s->error;
}

/* The parameters that all statements with FILTER have. */
static void
bind_filter(sqlite3_stmt *st, const struct store_filter *f)
{
	uint64_t below = f->before_id != 0 ? f->before_id : INT64_MAX;

	sql_int(st, 1, f->id != 0 ? f->id : below);
	sql_int(st, 2, f->states);
	sql_int(st, 3, f->uid != UINT32_MAX ? f->uid : UINT64_MAX);
	sql_text(st, 4, f->kind);
	sql_text(st, 5, f->pool);
	sql_text(st, 6, f->key);
	sql_int(st, 7, f->since_ns);
}

int
sqlite_list(struct store *s, const struct store_filter *filter, store_row_fn each, void *context)
{
	uint64_t left = filter->limit != 0 ? filter->limit : UINT64_MAX;
	enum statement which = SQL_LIST;
	struct store_row row;
	int r = 0;

	s->error = 0;
	sqlite_forget_context(s);
	if (filter->id != 0)
		which = SQL_ROW;
	else if (filter->states == 1u << JOB_QUEUED)
		which = SQL_LIST_OPEN;
	sqlite3_stmt *st = sql_get(s, which);
	if (st == NULL)
		return s->error;
	bind_filter(st, filter);
	while (left > 0 && r == 0 && sql_step(s, st)) {
		if (!read_row(s, st, &row))
			break;
		if (!store_filter_fits(filter, &row))
			continue; /* by label, or before_id beside an id */
		count_output(s, &row);
		left--;
		if (s->error == 0)
			r = each(context, &row);
	}
	sql_done(st);
	return r < 0 ? r : s->error;
}

int
sqlite_attempts(struct store *s, uint64_t id, store_row_fn each, void *context)
{
	struct store_row row;
	int r = 0;

	s->error = 0;
	sqlite_forget_context(s); /* its number may have become another's */
	(void)job_attempt(s, id);
	sqlite3_stmt *st = s->error == 0 ? sql_get(s, SQL_ATTEMPTS) : NULL;
	if (st == NULL)
		return s->error;
	sql_int(st, 1, id);
	while (r == 0 && sql_step(s, st))
		if (read_row(s, st, &row))
			r = each(context, &row);
		else
			break;
	sql_done(st);
	return r < 0 ? r : s->error;
}

int
sqlite_tallies(struct store *s, uint32_t since_day, store_tally_fn each, void *context)
{
	int r = 0;

	s->error = 0;
	sqlite3_stmt *st = sql_get(s, SQL_TALLIES);
	if (st == NULL)
		return s->error;
	sql_int(st, 1, since_day);
	while (r == 0 && sql_step(s, st)) {
		struct columns c = { st, 0 };
		uint32_t day = (uint32_t)next_int(&c);
		const char *kind = next_text(&c), *pool = next_text(&c);
		struct bytes figures = next_bytes(&c);
		r = each(context, day, kind, pool, figures.at, figures.length);
	}
	sql_done(st);
	return r < 0 ? r : s->error;
}
