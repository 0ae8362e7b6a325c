/* store_sqlite_apply.c - the changes of the engine `sqlite`, each a few statements. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store_claims.h"
#include "daemon/store_sqlite.h"

#define ID_MAX (UINT64_MAX >> 17) /* attempt.n is id * 65536 + number, and has a sign */

/* What a change has to know of a job. */
struct look {
	bool ended, attached, has_last;
	uint16_t attempt, last, crashes;
	uint32_t flags;
};

/* false: it is not there, or s->error. */
static bool
look(struct store *s, uint64_t id, struct look *ret)
{
	sqlite3_stmt *st = sql_get(s, SQL_LOOK);

	sql_int(st, 1, id);
	bool found = sql_step(s, st);
	if (found)
		*ret = (struct look){
			.ended = sqlite.column_int64(st, 0) != 0,
			.attempt = (uint16_t)sqlite.column_int64(st, 1),
			.has_last = sqlite.column_type(st, 2) != SQLITE_NULL,
			.last = (uint16_t)sqlite.column_int64(st, 2),
			.crashes = (uint16_t)sqlite.column_int64(st, 3),
			.flags = (uint32_t)sqlite.column_int64(st, 4),
			.attached = sqlite.column_int64(st, 5) != 0,
		};
	sql_done(st);
	return found;
}

/* ---- contexts ---- */

static uint64_t
hash(const struct bytes *b)
{
	const unsigned char *at = b->at;
	uint64_t h = 0xcbf29ce484222325ull; /* FNV-1a */

	for (size_t i = 0; i < b->length; i++)
		h = (h ^ at[i]) * 0x100000001b3ull;
	return h;
}

/* The number of the context with these bytes, found or new.  0: s->error. */
static uint64_t
context_number(struct store *s, const struct bytes *b)
{
	if (s->context != 0 && s->context_length == b->length &&
	    memcmp(s->context_bytes, b->at, b->length) == 0)
		return s->context;
	uint64_t number = 0, h = hash(b);
	sqlite3_stmt *st = sql_get(s, SQL_CONTEXT_FIND);
	sql_int(st, 1, h);
	while (number == 0 && sql_step(s, st))
		if ((size_t)sqlite.column_bytes(st, 1) == b->length &&
		    memcmp(sqlite.column_blob(st, 1), b->at, b->length) == 0)
			number = (uint64_t)sqlite.column_int64(st, 0);
	sql_done(st);
	if (number == 0 && s->error == 0) {
		st = sql_get(s, SQL_CONTEXT_ADD);
		sql_int(st, 1, h);
		sql_bytes(st, 2, b->at, b->length);
		if (sql_step(s, st))
			number = (uint64_t)sqlite.column_int64(st, 0);
		sql_done(st);
	}
	if (number != 0)
		(void)sqlite_keep_context(s, number, b->at, b->length);
	return number;
}

/* ---- new jobs ---- */

/* Which job has this token, or this key?  0: none. */
static uint64_t
find_job(struct store *s, enum statement which, const struct store_job *job)
{
	sqlite3_stmt *st = sql_get(s, which);
	uint64_t id = 0;

	if (which == SQL_BY_TOKEN)
		sql_bytes(st, 1, job->token, STORE_TOKEN);
	else
		sql_text(st, 1, job->key);
	if (sql_step(s, st))
		id = (uint64_t)sqlite.column_int64(st, 0);
	sql_done(st);
	return id;
}

/* One row of `job`; false: s->error, or something of it is there already (`ret_new`). */
static bool
insert_job(struct store *s, const struct store_job *job, const unsigned char *token,
	   const struct store_end *end, bool *ret_new)
{
	uint64_t context = job->context.length > 0 ? context_number(s, &job->context) : 0;
	sqlite3_stmt *st = s->error == 0 ? sql_get(s, SQL_ADD) : NULL;

	if (st == NULL)
		return false;
	sql_int(st, 1, job->id);
	sql_int(st, 2, end != NULL ? end->receipt.outcome.state : 0);
	sql_int(st, 3, end != NULL ? end->ended_ns : 0);
	sql_int(st, 4, job->attempt);
	sql_int(st, 5, job->crashes);
	sql_int(st, 6, job->flags);
	sql_int(st, 7, (uint64_t)(int64_t)job->priority);
	sql_int(st, 8, job->not_before_ns);
	if (end != NULL)
		sql_int(st, 9, 0);
	else
		(void)sqlite.bind_null(st, 9);
	sql_bytes(st, 10, token, token != NULL ? STORE_TOKEN : 0);
	sql_text(st, 11, job->kind);
	sql_text(st, 12, job->pool);
	sql_text(st, 13, job->key);
	sql_int(st, 14, job->uid);
	sql_int(st, 15, job->gid);
	sql_int(st, 16, job->timeout_ns);
	sql_int(st, 17, (uint64_t)job->item_low);
	sql_int(st, 18, (uint64_t)job->item_high);
	sql_int(st, 19, job->submitted_ns);
	if (context != 0)
		sql_int(st, 20, context);
	else
		(void)sqlite.bind_null(st, 20);
	sql_bytes(st, 21, job->policy.at, job->policy.length);
	sql_bytes(st, 22, job->params.at, job->params.length);
	bool done = sql_run(s, st);
	*ret_new = done && sqlite.changes(s->db) == 1;
	return *ret_new;
}

static int
apply_add(struct store *s, struct store_change *c)
{
	const struct store_job *job = &c->job;
	bool new;

	if (job->id == 0 || job->id > ID_MAX || job->kind == NULL || job->pool == NULL)
		return -EINVAL;
	if (insert_job(s, job, job->token, NULL, &new)) {
		c->ret_id = job->id;
		return 0;
	}
	if (s->error != 0)
		return s->error;
	if ((c->ret_id = find_job(s, SQL_BY_TOKEN, job)) != 0)
		return -EEXIST;
	if (job->key != NULL && (c->ret_id = find_job(s, SQL_BY_KEY, job)) != 0)
		return -ESTALE;
	return -EINVAL; /* the id is another job's */
}

/* ---- ended attempts ---- */

/* A time of the way, counted from the submit; NULL: it was not reached. */
static void
put_time(sqlite3_stmt *st, int number, uint64_t clock, uint64_t when)
{
	if (when == 0)
		(void)sqlite.bind_null(st, number);
	else
		sql_int(st, number, when - clock);
}

static void
bind_usage(sqlite3_stmt *st, int n, const struct usage *u)
{
	const uint64_t values[] = { u->oncpu_ns,           u->runqueue_ns,
				    u->blocked_ns,         u->user_ns,
				    u->system_ns,          u->peak_memory_bytes,
				    u->faults_minor,       u->faults_major,
				    u->switches_voluntary, u->switches_involuntary };

	for (unsigned i = 0; i < sizeof(values) / sizeof(*values); i++)
		sql_int(st, n++, values[i]);
}

/* One row of `attempt`.  false: s->error. */
static bool
insert_attempt(struct store *s, const struct store_end *end, uint16_t number)
{
	const struct receipt *r = &end->receipt;
	const struct outcome *o = &r->outcome;
	sqlite3_stmt *st = sql_get(s, SQL_ATTEMPT);

	if (st == NULL)
		return false;
	sql_int(st, 1, end->id << 16 | number);
	sql_int(st, 2, o->state);
	sql_int(st, 3, o->cause);
	sql_int(st, 4, (uint64_t)(int64_t)o->cause_value);
	sql_int(st, 5, o->error);
	sql_int(st, 6, end->ended_ns);
	sql_text(st, 7, end->executor);
	sql_int(st, 8, r->worker_pid);
	sql_int(st, 9, r->slot);
	sql_int(st, 10, r->flags);
	sql_int(st, 11, r->submitted_ns);
	put_time(st, 12, r->submitted_ns, r->received_ns);
	put_time(st, 13, r->submitted_ns, r->handed_ns);
	put_time(st, 14, r->submitted_ns, o->started_ns);
	put_time(st, 15, r->submitted_ns, o->ended_ns);
	put_time(st, 16, r->submitted_ns, r->returned_ns);
	sql_int(st, 17, o->method);
	bind_usage(st, 18, &o->usage);
	sql_int(st, 28, r->items);
	sql_int(st, 29, r->items_failed);
	sql_bytes(st, 30, end->autopsy.at, end->autopsy.length);
	(void)sqlite.bind_text(st, 31, end->message.at, (int)end->message.length, SQLITE_STATIC);
	sql_bytes(st, 32, end->result.at, end->result.length);
	return sql_run(s, st);
}

/* May this end count?  The attempt must not have ended before, and its claim must stand. */
static int
check_end(struct store *s, const struct store_end *end, bool retry, struct look *job)
{
	uint16_t number = end->receipt.attempt;

	if (!look(s, end->id, job))
		return s->error != 0 ? s->error : -ENOENT;
	if (job->attached)
		return -ENOENT;
	if (job->ended)
		return -ESTALE;
	if (end->fence != 0 && !claims_stand(s->claims, end->id, number, end->fence))
		return -ESTALE;
	bool known = job->has_last && number <= job->last;
	return known && (retry || end->fence != 0) ? -ESTALE : 0;
}

static int
apply_retry(struct store *s, const struct store_end *end)
{
	struct look job;
	int r = check_end(s, end, true, &job);

	if (r < 0)
		return r;
	if (!insert_attempt(s, end, end->receipt.attempt))
		return s->error;
	sqlite3_stmt *st = sql_get(s, SQL_RETRY);
	sql_int(st, 1, end->id);
	sql_int(st, 2, end->receipt.attempt);
	sql_int(st, 3, end->next.not_before_ns);
	sql_int(st, 4, end->next.crashes);
	sql_int(st, 5, (job.flags & STORE_JOB_DROP) | (end->next.flags & ~STORE_JOB_DROP));
	return sql_run(s, st) ? 0 : s->error;
}

static int
apply_end(struct store *s, const struct store_end *end)
{
	struct look job;
	int r = check_end(s, end, false, &job);

	if (r < 0)
		return r;
	/* One that was not running ends as attempt 0: it may be queued again (CHANGE_REOPEN), and
	 * then goes on counting. */
	uint16_t number = end->fence != 0 ? end->receipt.attempt : 0;
	if (!insert_attempt(s, end, number))
		return s->error;
	sqlite3_stmt *st = sql_get(s, SQL_END);
	sql_int(st, 1, end->id);
	sql_int(st, 2, end->receipt.outcome.state);
	sql_int(st, 3, end->ended_ns);
	sql_int(st, 4, number > job.attempt ? number : job.attempt);
	sql_int(st, 5, number);
	sql_int(st, 6, end->next.crashes > job.crashes ? end->next.crashes : job.crashes);
	return sql_run(s, st) ? 0 : s->error;
}

static int
apply_history(struct store *s, const struct store_end *end)
{
	struct store_job job = { .id = end->id,
				 .kind = end->kind,
				 .pool = end->pool,
				 .submitted_ns = end->submitted_ns,
				 .uid = end->receipt.uid,
				 .priority = end->receipt.priority,
				 .attempt = end->receipt.attempt };
	struct look known;
	bool new;

	if (end->id == 0 || end->id > ID_MAX || end->kind == NULL || end->pool == NULL)
		return -EINVAL;
	if (insert_job(s, &job, NULL, end, &new))
		return insert_attempt(s, end, 0) ? 0 : s->error;
	if (s->error != 0)
		return s->error;
	if (!look(s, end->id, &known))
		return s->error != 0 ? s->error : -EINVAL;
	return known.attached ? 0 : -EEXIST;
}

/* ---- output ---- */

/* Where a stream of an attempt ends. */
static uint64_t
stream_end(struct store *s, uint64_t id, uint16_t attempt, uint32_t stream)
{
	sqlite3_stmt *st = sql_get(s, SQL_OUTPUT_END);
	uint64_t end = 0;

	sql_int(st, 1, id);
	sql_int(st, 2, attempt);
	sql_int(st, 3, stream);
	if (sql_step(s, st))
		end = (uint64_t)sqlite.column_int64(st, 0);
	sql_done(st);
	return end;
}

static int
apply_output(struct store *s, const struct store_change *c)
{
	const struct bytes *bytes = &c->output.bytes;
	uint64_t id = c->output.id, skip = 0;
	struct look job;

	if (!look(s, id, &job) || job.attached)
		return s->error != 0 ? s->error : -ENOENT;
	if (c->output.stream < 1 || c->output.stream > 2)
		return -EINVAL;
	uint64_t end = stream_end(s, id, c->output.attempt, c->output.stream);
	if (c->output.offset < end)
		skip = end - c->output.offset;
	if (s->error != 0 || skip >= bytes->length)
		return s->error;
	sqlite3_stmt *st = sql_get(s, SQL_OUTPUT);
	sql_int(st, 1, id);
	sql_int(st, 2, c->output.attempt);
	sql_int(st, 3, c->output.stream);
	sql_int(st, 4, c->output.offset + skip);
	sql_bytes(st, 5, (const unsigned char *)bytes->at + skip, bytes->length - skip);
	return sql_run(s, st) ? 0 : s->error;
}

/* ---- the rest ---- */

static int
apply_edit(struct store *s, const struct store_job *wanted)
{
	struct look job;

	if (!look(s, wanted->id, &job) || job.ended)
		return s->error != 0 ? s->error : -ENOENT;
	sqlite3_stmt *st = sql_get(s, SQL_EDIT);
	sql_int(st, 1, wanted->id);
	sql_int(st, 2, (job.flags & STORE_JOB_DROP) | (wanted->flags & ~STORE_JOB_DROP));
	sql_int(st, 3, (uint64_t)(int64_t)wanted->priority);
	sql_int(st, 4, wanted->not_before_ns);
	return sql_run(s, st) ? 0 : s->error;
}

/* Does another open job have the key of this ended one? */
static uint64_t
key_holder(struct store *s, uint64_t id)
{
	sqlite3_stmt *st = sql_get(s, SQL_LOOK), *by_key = sql_get(s, SQL_BY_KEY);
	uint64_t holder = 0;

	sql_int(st, 1, id);
	if (by_key != NULL && sql_step(s, st) && sqlite.column_type(st, 6) != SQLITE_NULL) {
		(void)sqlite.bind_value(by_key, 1, sqlite.column_value(st, 6));
		if (sql_step(s, by_key))
			holder = (uint64_t)sqlite.column_int64(by_key, 0);
		sql_done(by_key);
	}
	sql_done(st);
	return holder;
}

static int
apply_reopen(struct store *s, struct store_change *c)
{
	uint64_t id = c->job.id;
	struct look job;

	if (!look(s, id, &job) || job.attached)
		return s->error != 0 ? s->error : -ENOENT;
	if (!job.ended)
		return 0;
	if ((c->ret_id = key_holder(s, id)) != 0)
		return -ESTALE;
	/* The end that was no attempt's is undone. */
	sqlite3_stmt *st = sql_get(s, SQL_REMOVE_ATTEMPTS);
	sql_int(st, 1, id);
	sql_int(st, 2, 0);
	if (!sql_run(s, st))
		return s->error;
	sqlite3_stmt *last = sql_get(s, SQL_LAST_ATTEMPT);
	st = sql_get(s, SQL_REOPEN);
	if (last == NULL || st == NULL)
		return s->error;
	sql_int(last, 1, id);
	if (sql_step(s, last))
		sql_int(st, 2, (uint64_t)sqlite.column_int64(last, 0));
	else
		(void)sqlite.bind_null(st, 2);
	sql_done(last);
	sql_int(st, 1, id);
	sql_int(st, 3, job.flags & STORE_JOB_DROP);
	return s->error == 0 && sql_run(s, st) ? 0 : s->error;
}

bool
sqlite_remove(struct store *s, uint64_t id)
{
	static const enum statement all[] = { SQL_REMOVE_OUTPUT, SQL_REMOVE_ATTEMPTS,
					      SQL_REMOVE_JOB };

	for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
		sqlite3_stmt *st = sql_get(s, all[i]);
		sql_int(st, 1, id);
		if (all[i] == SQL_REMOVE_ATTEMPTS)
			sql_int(st, 2, UINT16_MAX);
		if (!sql_run(s, st))
			return false;
	}
	if (id > s->removed)
		s->removed = id;
	return true;
}

static int
apply_remove(struct store *s, uint64_t id)
{
	struct look job;

	if (!look(s, id, &job))
		return s->error != 0 ? s->error : -ENOENT;
	if (!job.ended)
		return -EBUSY;
	return sqlite_remove(s, id) ? 0 : s->error;
}

static int
apply_tally(struct store *s, const struct store_change *c)
{
	sqlite3_stmt *st = sql_get(s, SQL_TALLY);

	sql_int(st, 1, c->tally.day);
	sql_text(st, 2, c->tally.kind);
	sql_text(st, 3, c->tally.pool);
	(void)sqlite.bind_blob64(st, 4, c->tally.figures.length > 0 ? c->tally.figures.at : "",
				 c->tally.figures.length, SQLITE_STATIC);
	return sql_run(s, st) ? 0 : s->error;
}

static int
apply_one(struct store *s, struct store_change *c)
{
	switch (c->type) {
	case CHANGE_ADD:
		return apply_add(s, c);
	case CHANGE_RETRY:
		return apply_retry(s, &c->end);
	case CHANGE_END:
		return apply_end(s, &c->end);
	case CHANGE_OUTPUT:
		return apply_output(s, c);
	case CHANGE_EDIT:
		return apply_edit(s, &c->job);
	case CHANGE_REOPEN:
		return apply_reopen(s, c);
	case CHANGE_REMOVE:
		return apply_remove(s, c->job.id);
	case CHANGE_HISTORY:
		return apply_history(s, &c->end);
	case CHANGE_TALLY:
		return apply_tally(s, c);
	}
	return -EINVAL;
}

int
sqlite_apply(struct store *s, struct store_change *changes, size_t count)
{
	if (!sqlite_begin(s))
		return s->error;
	for (size_t i = 0; i < count && s->error == 0; i++)
		changes[i].result = apply_one(s, &changes[i]);
	return s->error == 0 ? sqlite_commit(s) : sqlite_rollback(s);
}

/* ---- claims that a broker left behind ---- */

/* Is the attempt over, or begun and not ended?  Then it is counted in. */
static bool
count_claim(struct store *s, const struct claim *claim)
{
	struct look job;

	if (!look(s, claim->id, &job) || job.ended || job.attached ||
	    claim->attempt < job.attempt || (job.has_last && job.last >= claim->attempt))
		return false;
	sqlite3_stmt *st = sql_get(s, SQL_CLAIMED);
	sql_int(st, 1, claim->id);
	sql_int(st, 2, claim->attempt);
	return claim->attempt == job.attempt || sql_run(s, st);
}

int
sqlite_count_claims(struct store *s)
{
	struct claim *list = NULL;
	size_t count = 0;
	int r = claims_list(s->claims, &list, &count);

	if (r < 0 || count == 0)
		return s->error = r;
	if (!sqlite_begin(s)) {
		free(list);
		return s->error;
	}
	/* The highest attempt of a job is its last in the list; older ones of it are over. */
	for (size_t i = 0; i < count && s->error == 0; i++) {
		bool older = i + 1 < count && list[i + 1].id == list[i].id;
		if (!older && count_claim(s, &list[i]))
			list[i].fence = 0; /* stays */
	}
	r = s->error == 0 ? sqlite_commit(s) : sqlite_rollback(s);
	for (size_t i = 0; r == 0 && i < count; i++)
		if (list[i].fence != 0)
			claims_drop(s->claims, list[i].id, list[i].fence);
	free(list);
	return r;
}
