/*
 * print_table.h - tables without borders: numbers to the right, texts to the left.
 *
 * Either all rows are collected and printed with the widths they need (table_print), or
 * each row is printed as soon as it is whole, with the widths the columns declare
 * (`streamed`), for tables that grow while one watches.
 */
#ifndef PYPREP_CTL_PRINT_TABLE_H
#define PYPREP_CTL_PRINT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/ctl/units.h"

/* TIME and BYTES get "_ns" and "_bytes" after their title in base units. */
enum column_type { COLUMN_TEXT, COLUMN_NUMBER, COLUMN_TIME, COLUMN_BYTES };

struct column {
	const char *title;
	enum column_type type;
	int width; /* least width; the exact one when streamed */
};

struct cell {
	char *text;
	enum colour colour;
};

struct table {
	const struct column *columns;
	unsigned column_count;
	bool streamed;
	bool header_printed;
	struct cell *cells; /* row after row */
	size_t count, capacity;
};

void table_begin(struct table *table, const struct column *columns, unsigned count, bool streamed);

/* The next cell, left to right, row after row. */
void table_text(struct table *table, enum colour colour, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void table_number(struct table *table, int64_t value);
void table_time(struct table *table, uint64_t ns);
void table_bytes(struct table *table, uint64_t bytes);

/* Print what is collected to stdout and free it; nothing when there is no row. */
void table_print(struct table *table);

#endif
