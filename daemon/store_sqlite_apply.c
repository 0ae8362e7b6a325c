/* store_sqlite_apply.c - the changes of the engine `sqlite`, each a few statements. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store_claims.h"
#include "daemon/store_row.h"

#define ID_MAX (UINT64_MAX >> 17) /* attempt.n is id * 65536 + number, and has a sign */

/* What of a job may change. */
struct look {
	uint64_t state; /* 0: open */
	uint64_t ended_ns, not_before_ns;
	uint16_t attempt, last, crashes;
	uint32_t flags, sum;
	int32_t priority;
	bool has_last, attached;
};

/* ---- jobs as they are ---- */

/* false: it is not there, or s->error. */
static bool
look(struct store *s, uint64_t id, struct look *ret)
{
	sqlite3_stmt *st = sql_get(s, SQL_LOOK);

	sql_int(st, 1, id);
	bool found = sql_step(s, st);
	if (found)
		*ret = (struct look){
			.state = (uint64_t)sqlite.column_int64(st, 0),
			.ended_ns = (uint64_t)sqlite.column_int64(st, 1),
			.attempt = (uint16_t)sqlite.column_int64(st, 2),
			.crashes = (uint16_t)sqlite.column_int64(st, 3),
			.flags = (uint32_t)sqlite.column_int64(st, 4),
			.priority = (int32_t)sqlite.column_int64(st, 5),
			.not_before_ns = (uint64_t)sqlite.column_int64(st, 6),
			.has_last = sqlite.column_type(st, 7) != SQLITE_NULL,
			.last = (uint16_t)sqlite.column_int64(st, 7),
			.sum = (uint32_t)sqlite.column_int64(st, 8),
			.attached = sqlite.column_int64(st, 9) != 0,
		};
	sql_done(st);
	return found;
}

/* The columns of `job` that change, 2 to 9. */
static void
bind_look(struct row *row, const struct look *job)
{
	row_int(row, job->state);
	row_int(row, job->ended_ns);
	row_int(row, job->attempt);
	row_int(row, job->crashes);
	row_int(row, job->flags);
	row_int(row, (uint64_t)(int64_t)job->priority);
	row_int(row, job->not_before_ns);
	if (job->has_last)
		row_int(row, job->last);
	else
		row_null(row);
}

/* false: s->error. */
static bool
change(struct store *s, uint64_t id, const struct look *old, const struct look *new)
{
	struct row before = row_begin(NULL, TABLE_JOB),
		   after = row_begin(sql_get(s, SQL_CHANGE), TABLE_JOB);

	sql_int(after.st, 1, id);
	before.column = after.column = 1;
	bind_look(&before, old);
	bind_look(&after, new);
	after.sum ^= before.sum ^ old->sum;
	return row_run(s, &after);
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
		number = row_number(s, SQL_NEXT_CONTEXT, &s->next_context);
		struct row row = row_begin(sql_get(s, SQL_CONTEXT_ADD), TABLE_CONTEXT);
		row_int(&row, number);
		row_int(&row, h);
		row_bytes(&row, b);
		if (!row_run(s, &row))
			number = 0;
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

/* One row of `job`.  false: s->error, or something of it is there already. */
static bool
insert_job(struct store *s, const struct store_job *job, const struct bytes *token,
	   const struct store_end *end)
{
	struct look now = { .attempt = job->attempt,
			    .crashes = job->crashes,
			    .flags = job->flags,
			    .priority = job->priority,
			    .not_before_ns = job->not_before_ns };
	uint64_t context = job->context.length > 0 ? context_number(s, &job->context) : 0;

	if (s->error != 0)
		return false;
	if (end != NULL) {
		now.state = end->receipt.outcome.state;
		now.ended_ns = end->ended_ns;
		now.has_last = true; /* as attempt 0 */
	}
	struct row row = row_begin(sql_get(s, SQL_ADD), TABLE_JOB);
	row_int(&row, job->id);
	bind_look(&row, &now);
	row_bytes(&row, token);
	row_string(&row, job->kind);
	row_string(&row, job->pool);
	row_string(&row, job->key);
	row_int(&row, job->uid);
	row_int(&row, job->gid);
	row_int(&row, job->timeout_ns);
	row_int(&row, (uint64_t)job->item_low);
	row_int(&row, (uint64_t)job->item_high);
	row_int(&row, job->submitted_ns);
	if (context != 0)
		row_int(&row, context);
	else
		row_null(&row);
	row_bytes(&row, &job->policy);
	row_bytes(&row, &job->params);
	return row_run(s, &row) && sqlite.changes(s->db) == 1;
}

static int
apply_add(struct store *s, struct store_change *c)
{
	const struct store_job *job = &c->job;
	const struct bytes token = { job->token, STORE_TOKEN };

	if (job->id == 0 || job->id > ID_MAX || job->kind == NULL || job->pool == NULL)
		return -EINVAL;
	if (insert_job(s, job, &token, NULL)) {
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
row_time(struct row *row, uint64_t clock, uint64_t when)
{
	if (when == 0)
		row_null(row);
	else
		row_int(row, when - clock);
}

static void
bind_usage(struct row *row, const struct usage *u)
{
	row_int(row, u->oncpu_ns);
	row_int(row, u->runqueue_ns);
	row_int(row, u->blocked_ns);
	row_int(row, u->user_ns);
	row_int(row, u->system_ns);
	row_int(row, u->peak_memory_bytes);
	row_int(row, u->faults_minor);
	row_int(row, u->faults_major);
	row_int(row, u->switches_voluntary);
	row_int(row, u->switches_involuntary);
}

/* One row of `attempt`.  false: s->error. */
static bool
insert_attempt(struct store *s, const struct store_end *end, uint16_t number)
{
	const struct receipt *r = &end->receipt;
	const struct outcome *o = &r->outcome;
	struct row row = row_begin(sql_get(s, SQL_ATTEMPT), TABLE_ATTEMPT);

	if (row.st == NULL)
		return false;
	row_int(&row, end->id << 16 | number);
	row_int(&row, o->state);
	row_int(&row, o->cause);
	row_int(&row, (uint64_t)(int64_t)o->cause_value);
	row_int(&row, o->error);
	row_int(&row, end->ended_ns);
	row_string(&row, end->executor);
	row_int(&row, r->worker_pid);
	row_int(&row, r->slot);
	row_int(&row, r->flags);
	row_int(&row, r->submitted_ns);
	row_time(&row, r->submitted_ns, r->received_ns);
	row_time(&row, r->submitted_ns, r->stored_ns);
	row_time(&row, r->submitted_ns, r->handed_ns);
	row_time(&row, r->submitted_ns, o->started_ns);
	row_time(&row, r->submitted_ns, o->ended_ns);
	row_time(&row, r->submitted_ns, r->returned_ns);
	row_int(&row, o->method);
	bind_usage(&row, &o->usage);
	row_int(&row, r->items);
	row_int(&row, r->items_failed);
	row_bytes(&row, &end->autopsy);
	row_text(&row, end->message.at, end->message.length);
	row_bytes(&row, &end->result);
	return row_run(s, &row);
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
	if (job->state != 0)
		return -ESTALE;
	if (end->fence != 0 && !claims_stand(s->claims, end->id, number, end->fence))
		return -ESTALE;
	bool known = job->has_last && number <= job->last;
	return known && (retry || end->fence != 0) ? -ESTALE : 0;
}

static uint32_t
new_flags(const struct look *job, uint32_t flags)
{
	return (job->flags & STORE_JOB_DROP) | (flags & ~STORE_JOB_DROP);
}

static int
apply_retry(struct store *s, const struct store_end *end)
{
	struct look job, next;
	int r = check_end(s, end, true, &job);

	if (r != 0)
		return r;
	next = job;
	next.attempt = next.last = end->receipt.attempt;
	next.has_last = true;
	next.not_before_ns = end->next.not_before_ns;
	next.crashes = end->next.crashes;
	next.flags = new_flags(&job, end->next.flags);
	return insert_attempt(s, end, next.last) && change(s, end->id, &job, &next) ? 0 : s->error;
}

static int
apply_end(struct store *s, const struct store_end *end)
{
	struct look job, over;
	int r = check_end(s, end, false, &job);

	if (r != 0)
		return r;
	over = job;
	/* One that was not running ends as attempt 0: it may be queued again (CHANGE_REOPEN), and
	 * then goes on counting. */
	over.last = end->fence != 0 ? end->receipt.attempt : 0;
	over.has_last = true;
	if (over.last > job.attempt)
		over.attempt = over.last;
	if (end->next.crashes > job.crashes)
		over.crashes = end->next.crashes;
	over.state = end->receipt.outcome.state;
	over.ended_ns = end->ended_ns;
	over.not_before_ns = end->next.not_before_ns;
	return insert_attempt(s, end, over.last) && change(s, end->id, &job, &over) ? 0 : s->error;
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
	const struct bytes none = { 0 };
	struct look known;

	if (end->id == 0 || end->id > ID_MAX || end->kind == NULL || end->pool == NULL)
		return -EINVAL;
	if (insert_job(s, &job, &none, end))
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
	struct row row = row_begin(sql_get(s, SQL_OUTPUT), TABLE_OUTPUT);
	row_int(&row, row_number(s, SQL_NEXT_OUTPUT, &s->next_output));
	row_int(&row, id);
	row_int(&row, c->output.attempt);
	row_int(&row, c->output.stream);
	row_int(&row, c->output.offset + skip);
	struct bytes new = { (const unsigned char *)bytes->at + skip, bytes->length - skip };
	row_bytes(&row, &new);
	return s->error == 0 && row_run(s, &row) ? 0 : s->error;
}

/* ---- the rest ---- */

static int
apply_edit(struct store *s, const struct store_job *wanted)
{
	struct look job, edited;

	if (!look(s, wanted->id, &job) || job.state != 0)
		return s->error != 0 ? s->error : -ENOENT;
	edited = job;
	edited.flags = new_flags(&job, wanted->flags);
	edited.priority = wanted->priority;
	edited.not_before_ns = wanted->not_before_ns;
	return change(s, wanted->id, &job, &edited) ? 0 : s->error;
}

/* Does another open job have the key of this ended one? */
static uint64_t
key_holder(struct store *s, uint64_t id)
{
	sqlite3_stmt *st = sql_get(s, SQL_LOOK), *by_key = sql_get(s, SQL_BY_KEY);
	uint64_t holder = 0;

	sql_int(st, 1, id);
	if (by_key != NULL && sql_step(s, st) && sqlite.column_type(st, 10) != SQLITE_NULL) {
		(void)sqlite.bind_value(by_key, 1, sqlite.column_value(st, 10));
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
	struct look job, open;

	if (!look(s, id, &job) || job.attached)
		return s->error != 0 ? s->error : -ENOENT;
	if (job.state == 0)
		return 0;
	if ((c->ret_id = key_holder(s, id)) != 0)
		return -ESTALE;
	/* The end that was no attempt's is undone. */
	sqlite3_stmt *st = sql_get(s, SQL_REMOVE_ATTEMPTS);
	sql_int(st, 1, id);
	sql_int(st, 2, 0);
	if (s->error != 0 || !sql_run(s, st))
		return s->error;
	/* Its attempts go on counting, and its retries begin anew. */
	open = (struct look){ .attempt = job.attempt,
			      .priority = job.priority,
			      .flags = (job.flags & STORE_JOB_DROP) |
				       (uint32_t)job.attempt << STORE_JOB_FORGIVEN_SHIFT };
	st = sql_get(s, SQL_LAST_ATTEMPT);
	sql_int(st, 1, id);
	open.has_last = sql_step(s, st);
	if (open.has_last)
		open.last = (uint16_t)sqlite.column_int64(st, 0);
	sql_done(st);
	return s->error == 0 && change(s, id, &job, &open) ? 0 : s->error;
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
	s->orphans = true;
	return true;
}

static int
apply_remove(struct store *s, uint64_t id)
{
	struct look job;

	if (!look(s, id, &job))
		return s->error != 0 ? s->error : -ENOENT;
	if (job.state == 0)
		return -EBUSY;
	return sqlite_remove(s, id) ? 0 : s->error;
}

static int
apply_tally(struct store *s, const struct store_change *c)
{
	sqlite3_stmt *st = sql_get(s, SQL_TALLY_REMOVE);

	if (c->tally.figures.length == 0)
		return -EINVAL;
	sql_int(st, 1, c->tally.day);
	sql_text(st, 2, c->tally.kind);
	sql_text(st, 3, c->tally.pool);
	if (st == NULL || !sql_run(s, st))
		return s->error;
	struct row row = row_begin(sql_get(s, SQL_TALLY), TABLE_TALLY);
	row_int(&row, row_number(s, SQL_NEXT_TALLY, &s->next_tally));
	row_int(&row, c->tally.day);
	row_string(&row, c->tally.kind);
	row_string(&row, c->tally.pool);
	row_bytes(&row, &c->tally.figures);
	return s->error == 0 && row_run(s, &row) ? 0 : s->error;
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
	struct look job, counted;

	if (!look(s, claim->id, &job) || job.state != 0 || job.attached ||
	    claim->attempt < job.attempt || (job.has_last && job.last >= claim->attempt))
		return false;
	counted = job;
	counted.attempt = claim->attempt;
	return claim->attempt == job.attempt || change(s, claim->id, &job, &counted);
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
