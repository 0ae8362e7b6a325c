/*
 * store_row.h - one row to be written: its columns are bound in their order, and summed
 * (store_sum.h).
 */
#ifndef PYPREP_DAEMON_STORE_ROW_H
#define PYPREP_DAEMON_STORE_ROW_H

#include "daemon/store_sqlite.h"
#include "daemon/store_sum.h"

struct row {
	sqlite3_stmt *st; /* NULL: only summed */
	enum table table;
	int column; /* the last one bound */
	uint32_t sum;
};

struct row row_begin(sqlite3_stmt *st, enum table table);
void row_null(struct row *row);
void row_int(struct row *row, uint64_t value);
void row_string(struct row *row, const char *text); /* NULL is fine */
void row_text(struct row *row, const char *text, size_t length);
void row_bytes(struct row *row, const struct bytes *b); /* none are NULL */
/* The sum goes into the column after the last; then the statement is run.  false: s->error. */
bool row_run(struct store *s, struct row *row);

/* The number of the next row of a table, from `*next` or from the table; 0: s->error. */
uint64_t row_number(struct store *s, enum statement which, uint64_t *next);

#endif
