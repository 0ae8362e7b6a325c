/*
 * store_repair.c - a new database from the rows that can be read of a damaged one; see
 * store_check.h.
 *
 * A row may be there twice, when damage brings an older copy of a page back to light.  Of a job the
 * one that is further on counts; rows of the other tables never change once they are written.  A
 * job whose attempts are known better than its own row says has run them: its next attempt counts
 * on.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/store_check.h"
#include "daemon/store_sqlite.h"

#define ROWS_A_COMMIT 20000u
/* Numbers that nobody can read any more may have been given to jobs: later ones begin well above.
 */
#define IDS_SKIPPED     1000u
#define IDS_A_LOST_PAGE 64u

/* Columns of `job`, as they are stored. */
enum { JOB_ID = 1, JOB_STATE = 2, JOB_ATTEMPT = 4, JOB_CONTEXT = 20, JOB_SUM = 23 };

enum insert {
	INTO_JOB = TABLE_JOB,
	INTO_ATTEMPT,
	INTO_OUTPUT,
	INTO_CONTEXT,
	INTO_TALLY,
	HAS_CONTEXT,
	LAST_ATTEMPT,
	KNOWN_JOB,
	DROP_JOB,
	INSERTS
};

static const char *const texts[INSERTS] = {
	[INTO_JOB] = "INSERT OR IGNORE INTO job VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, "
		     "?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
	[INTO_ATTEMPT] =
		"INSERT OR REPLACE INTO attempt VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, "
		"?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, "
		"?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34)",
	[INTO_OUTPUT] = "INSERT OR REPLACE INTO output VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[INTO_CONTEXT] = "INSERT OR REPLACE INTO context VALUES(?1, ?2, ?3, ?4)",
	[INTO_TALLY] = "INSERT OR REPLACE INTO tally VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	[HAS_CONTEXT] = "SELECT 1 FROM context WHERE n = ?1",
	[LAST_ATTEMPT] = "SELECT ifnull(max(n & 65535), 0) FROM attempt "
			 "WHERE n BETWEEN ?1 << 16 AND (?1 << 16 | 65535)",
	[KNOWN_JOB] = "SELECT attempt, state <> 0 FROM job WHERE id = ?1",
	[DROP_JOB] = "DELETE FROM job WHERE id = ?1",
};

struct repair {
	struct store *s;
	struct salvage *g;
	struct store_report *report;
	enum table table; /* that this pass is for */
	uint64_t rows;
	sqlite3_stmt *statement[INSERTS];
};

static sqlite3_stmt *
get(struct repair *r, enum insert which)
{
	if (r->statement[which] == NULL &&
	    sqlite.prepare_v3(r->s->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT,
			      &r->statement[which], NULL) != SQLITE_OK)
		sql_failed(r->s, "prepare a statement");
	return r->statement[which];
}

/* ---- rows ---- */

static void
bind(sqlite3_stmt *st, int column, const struct salvage_value *v)
{
	switch (v->type) {
	case SALVAGE_NULL:
		(void)sqlite.bind_null(st, column);
		break;
	case SALVAGE_INT:
		(void)sqlite.bind_int64(st, column, v->integer);
		break;
	case SALVAGE_TEXT:
		(void)sqlite.bind_text(st, column, (const char *)v->at, (int)v->length,
				       SQLITE_STATIC);
		break;
	case SALVAGE_BYTES:
		(void)sqlite.bind_blob64(st, column, v->at, v->length, SQLITE_STATIC);
		break;
	}
}

/* true: it is in the table now. */
static bool
insert(struct repair *r, const struct salvage_row *row)
{
	sqlite3_stmt *st = get(r, (enum insert)row->table);

	for (int i = 1; i <= row->columns && st != NULL; i++)
		bind(st, i, &row->value[i]);
	return sql_run(r->s, st) && sqlite.changes(r->s->db) > 0;
}

static void
change(struct salvage_row *row, int column, struct salvage_value value)
{
	const struct salvage_value *old = &row->value[column];
	uint32_t sum = (uint32_t)row->value[JOB_SUM].integer;

	sum ^= old->type == SALVAGE_NULL ? sum_null(row->table, column)
					 : sum_int(row->table, column, (uint64_t)old->integer);
	sum ^= value.type == SALVAGE_NULL ? sum_null(row->table, column)
					  : sum_int(row->table, column, (uint64_t)value.integer);
	row->value[column] = value;
	row->value[JOB_SUM].integer = (int32_t)sum;
}

/* The first column of the one row that a question about `number` has; -1: it has none. */
static int64_t
ask(struct repair *r, enum insert question, int64_t number, int64_t *ret_second)
{
	sqlite3_stmt *st = get(r, question);
	int64_t answer = -1;

	if (st == NULL)
		return -1;
	(void)sqlite.bind_int64(st, 1, number);
	if (sql_step(r->s, st)) {
		answer = sqlite.column_int64(st, 0);
		if (ret_second != NULL)
			*ret_second = sqlite.column_int64(st, 1);
	}
	sql_done(st);
	return answer;
}

static void
put_job(struct repair *r, struct salvage_row *row)
{
	const struct salvage_value *v = row->value;
	int64_t id = v[JOB_ID].integer, ended = 0;
	int64_t attempt = ask(r, LAST_ATTEMPT, id, NULL);

	if (v[JOB_CONTEXT].type == SALVAGE_INT &&
	    ask(r, HAS_CONTEXT, v[JOB_CONTEXT].integer, NULL) < 0) {
		if (v[JOB_STATE].integer == 0) {
			/* Its directory and environment are gone: it cannot run as it was meant. */
			report_lost(r->report, (uint64_t)id);
			return;
		}
		change(row, JOB_CONTEXT, (struct salvage_value){ .type = SALVAGE_NULL });
	}
	if (attempt > v[JOB_ATTEMPT].integer)
		change(row, JOB_ATTEMPT,
		       (struct salvage_value){ .type = SALVAGE_INT, .integer = attempt });
	int64_t known = ask(r, KNOWN_JOB, id, &ended);
	if (known > v[JOB_ATTEMPT].integer ||
	    (known == v[JOB_ATTEMPT].integer && ended && v[JOB_STATE].integer == 0))
		return;
	if (known >= 0)
		(void)ask(r, DROP_JOB, id, NULL);
	/* Refused: another open job has its key, and came later. */
	if (!insert(r, row) && r->s->error == 0)
		report_lost(r->report, (uint64_t)id);
}

static int
put_row(void *context, const struct salvage_row *row)
{
	struct repair *r = context;

	if (!row->good || row->table != r->table)
		return 0;
	if (row->table == TABLE_JOB) {
		struct salvage_row copy = *row;
		put_job(r, &copy);
	} else {
		insert(r, row);
	}
	/* The log stays short. */
	if (r->s->error == 0 && ++r->rows % ROWS_A_COMMIT == 0 && sql_exec(r->s, "COMMIT")) {
		(void)sqlite.wal_checkpoint_v2(r->s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL,
					       NULL);
		(void)sql_exec(r->s, "BEGIN");
	}
	return r->s->error;
}

/* ---- what belongs to nothing ---- */

static int
take_lost(void *context, int columns, char **values, char **names)
{
	(void)columns;
	(void)names;
	report_lost(context, strtoull(values[0], NULL, 10));
	return 0;
}

static int
take_counts(void *context, int columns, char **values, char **names)
{
	struct store_report *r = context;
	uint64_t *const to[] = { &r->open,         &r->ended,    &r->attempts, &r->chunks,
				 &r->output_bytes, &r->contexts, &r->tallies };

	(void)names;
	for (int i = 0; i < columns; i++)
		*to[i] = strtoull(values[i], NULL, 10);
	return 0;
}

static void
settle(struct repair *r)
{
	struct store *s = r->s;
	char sql[256];

	/* Known by what they left. */
	if (sqlite.exec(s->db,
			"SELECT DISTINCT job FROM (SELECT n >> 16 AS job FROM attempt "
			"UNION SELECT job FROM output) WHERE NOT EXISTS "
			"(SELECT 1 FROM job j WHERE j.id = job) ORDER BY job",
			take_lost, r->report, NULL) != SQLITE_OK)
		sql_failed(s, "read it");
	snprintf(sql, sizeof(sql),
		 "UPDATE meta SET value = %u + max((SELECT ifnull(max(id), 0) FROM job), "
		 "(SELECT ifnull(max(n) >> 16, 0) FROM attempt)) WHERE name = 'max_id'",
		 IDS_SKIPPED + IDS_A_LOST_PAGE * (r->report->files.damaged_pages +
						  r->report->files.missing_pages));
	if (!sql_exec(s, sql) || !sql_exec(s, "DELETE FROM attempt WHERE NOT EXISTS "
					      "(SELECT 1 FROM job WHERE id = attempt.n >> 16);"
					      "DELETE FROM output WHERE NOT EXISTS "
					      "(SELECT 1 FROM job WHERE id = output.job)"))
		return;
	if (sqlite.exec(s->db,
			"SELECT (SELECT count(*) FROM job WHERE state = 0), "
			"(SELECT count(*) FROM job WHERE state <> 0), "
			"(SELECT count(*) FROM attempt), (SELECT count(*) FROM output), "
			"(SELECT ifnull(sum(length(bytes)), 0) FROM output), "
			"(SELECT count(*) FROM context), (SELECT count(*) FROM tally)",
			take_counts, r->report, NULL) != SQLITE_OK)
		sql_failed(s, "read it");
}

/* A sqlite_fill_fn. */
static void
fill(struct store *s, void *context)
{
	/* Jobs last but output: they are judged by their contexts and attempts. */
	static const enum table order[] = { TABLE_CONTEXT, TABLE_ATTEMPT, TABLE_JOB, TABLE_OUTPUT,
					    TABLE_TALLY };
	struct repair *r = context;

	r->s = s;
	for (size_t i = 0; i < sizeof(order) / sizeof(*order) && s->error == 0; i++) {
		r->table = order[i];
		int error = salvage_rows(r->g, put_row, r);
		if (error < 0 && s->error == 0)
			sqlite_fail(s, error, "the store in %s cannot be read: %s", s->state_dir,
				    strerror(-error));
	}
	if (s->error == 0)
		settle(r);
	for (unsigned i = 0; i < INSERTS; i++)
		(void)sqlite.finalize(r->statement[i]);
}

/* ---- the whole ---- */

static int
rebuild(struct store *s, struct store_report *report)
{
	struct repair r = { .report = report };
	int error = salvage_open(&r.g, s->state_dir);

	report->damage = report->bad_rows = 0;
	if (error == 0) {
		salvage_found(r.g, &report->files);
		error = salvage_rows(r.g, report_row, report);
		if (error == 0 && sqlite_make(s, fill, &r))
			(void)files_put_repaired(s);
		salvage_close(r.g);
	}
	if (error < 0)
		sqlite_fail(s, error, "the store in %s cannot be read: %s", s->state_dir,
			    strerror(-error));
	report->verdict = "repaired";
	report->kept = DAMAGED_FILE;
	return s->error;
}

int
store_rebuild(const char *state_dir, struct store_report *ret, struct store_problem *why)
{
	const struct store_options options = { .state_dir = state_dir };
	struct stat st;
	struct store *s;

	/* The handle would make the directory, and its lock in it. */
	if (stat(state_dir, &st) < 0)
		return store_look(state_dir, ret, why);
	int r = sqlite_handle(&s, &options, why);
	if (r != 0)
		return r;
	if (!files_finish_repair(s)) {
		r = s->error;
		*why = s->why;
	} else {
		r = store_look(state_dir, ret, why);
		if (r == 0 && ret->damage > 0 && (r = rebuild(s, ret)) < 0)
			*why = s->why;
	}
	store_sqlite.close(s);
	return r;
}
