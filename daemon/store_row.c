/* store_row.c - see store_row.h */
#include "daemon/store_row.h"

#include <string.h>

struct row
row_begin(sqlite3_stmt *st, enum table table)
{
	return (struct row){ .st = st, .table = table };
}

void
row_null(struct row *row)
{
	row->sum ^= sum_null(row->table, ++row->column);
	if (row->st != NULL)
		(void)sqlite.bind_null(row->st, row->column);
}

void
row_int(struct row *row, uint64_t value)
{
	row->sum ^= sum_int(row->table, ++row->column, value);
	if (row->st != NULL)
		sql_int(row->st, row->column, value);
}

void
row_text(struct row *row, const char *text, size_t length)
{
	if (text == NULL) {
		row_null(row);
		return;
	}
	row->sum ^= sum_bytes(row->table, ++row->column, text, length);
	(void)sqlite.bind_text(row->st, row->column, text, (int)length, SQLITE_STATIC);
}

void
row_string(struct row *row, const char *text)
{
	row_text(row, text, text != NULL ? strlen(text) : 0);
}

void
row_bytes(struct row *row, const struct bytes *b)
{
	if (b->length == 0) {
		row_null(row);
		return;
	}
	row->sum ^= sum_bytes(row->table, ++row->column, b->at, b->length);
	sql_bytes(row->st, row->column, b->at, b->length);
}

bool
row_run(struct store *s, struct row *row)
{
	if (row->st == NULL)
		return false;
	/* 32 bits with a sign take less room. */
	sql_int(row->st, row->column + 1, (uint64_t)(int64_t)(int32_t)row->sum);
	return sql_run(s, row->st);
}

uint64_t
row_number(struct store *s, enum statement which, uint64_t *next)
{
	if (*next == 0) {
		sqlite3_stmt *st = sql_get(s, which);
		if (sql_step(s, st))
			*next = (uint64_t)sqlite.column_int64(st, 0);
		sql_done(st);
	}
	return s->error == 0 ? (*next)++ : 0;
}
