/* print_table.c - tables without borders. */
#include "client/ctl/print_table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/report.h"

#define COLUMNS_MAX 24
#define GAP         2 /* spaces between columns */

void
table_begin(struct table *table, const struct column *columns, unsigned count, bool streamed)
{
	*table = (struct table){ .columns = columns, .column_count = count, .streamed = streamed };
}

static struct unit_text
title_of(const struct column *column)
{
	struct unit_text out;
	const char *unit = "";

	if (!units_human() && column->type == COLUMN_TIME)
		unit = "_ns";
	if (!units_human() && column->type == COLUMN_BYTES)
		unit = "_bytes";
	snprintf(out.text, sizeof out.text, "%s%s", column->title, unit);
	return out;
}

/* `last`: nothing follows, so no padding to the right. */
static void
print_cell(const struct column *column, int width, const char *text, enum colour colour, bool last)
{
	int padding = width - (int)strlen(text);

	if (padding < 0)
		padding = 0;
	if (column->type != COLUMN_TEXT)
		printf("%*s", padding, "");
	printf("%s%s%s", colour_begin(colour), text, colour_end(colour));
	if (column->type == COLUMN_TEXT && !last)
		printf("%*s", padding, "");
	if (last)
		putchar('\n');
	else
		printf("%*s", GAP, "");
}

static void
print_header(const struct table *table, const int *widths)
{
	for (unsigned i = 0; i < table->column_count; i++) {
		struct unit_text title = title_of(&table->columns[i]);
		print_cell(&table->columns[i], widths[i], title.text, COLOUR_DIM,
			   i + 1 == table->column_count);
	}
}

static void
print_row(const struct table *table, const struct cell *row, const int *widths)
{
	for (unsigned i = 0; i < table->column_count; i++)
		print_cell(&table->columns[i], widths[i], row[i].text, row[i].colour,
			   i + 1 == table->column_count);
}

static void
least_widths(const struct table *table, int *widths)
{
	for (unsigned i = 0; i < table->column_count; i++) {
		struct unit_text title = title_of(&table->columns[i]);
		int length = (int)strlen(title.text);
		widths[i] = length > table->columns[i].width ? length : table->columns[i].width;
	}
}

static void
free_cells(struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i].text);
	table->count = 0;
}

/* A whole row of a streamed table. */
static void
stream_row(struct table *table)
{
	int widths[COLUMNS_MAX];

	least_widths(table, widths);
	if (!table->header_printed)
		print_header(table, widths);
	table->header_printed = true;
	print_row(table, table->cells, widths);
	free_cells(table);
}

static void
add_cell(struct table *table, char *text, enum colour colour)
{
	if (table->count == table->capacity) {
		table->capacity = table->capacity ? 2 * table->capacity : 64;
		table->cells = ctl_realloc(table->cells, table->capacity * sizeof *table->cells);
	}
	table->cells[table->count++] = (struct cell){ .text = text, .colour = colour };
	if (table->streamed && table->count == table->column_count)
		stream_row(table);
}

void
table_text(struct table *table, enum colour colour, const char *format, ...)
{
	va_list list;
	char *text;

	va_start(list, format);
	int length = vasprintf(&text, format, list);
	va_end(list);
	if (length < 0)
		text = ctl_alloc(1, 1);
	/* what a job or another user wrote must not steer this terminal */
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	add_cell(table, text, colour);
}

void
table_number(struct table *table, int64_t value)
{
	if (value >= 0)
		table_text(table, COLOUR_NONE, "%s", unit_count((uint64_t)value).text);
	else
		table_text(table, COLOUR_NONE, "%" PRId64, value);
}

void
table_time(struct table *table, uint64_t ns)
{
	table_text(table, COLOUR_NONE, "%s", unit_time(ns).text);
}

void
table_bytes(struct table *table, uint64_t bytes)
{
	table_text(table, COLOUR_NONE, "%s", unit_bytes(bytes).text);
}

void
table_print(struct table *table)
{
	int widths[COLUMNS_MAX];
	unsigned columns = table->column_count;

	least_widths(table, widths);
	for (size_t i = 0; i < table->count; i++) {
		int length = (int)strlen(table->cells[i].text);
		if (length > widths[i % columns])
			widths[i % columns] = length;
	}
	if (table->count > 0)
		print_header(table, widths);
	for (size_t i = 0; i + columns <= table->count; i += columns)
		print_row(table, table->cells + i, widths);
	free_cells(table);
	free(table->cells);
	table->cells = NULL;
	table->capacity = 0;
}
