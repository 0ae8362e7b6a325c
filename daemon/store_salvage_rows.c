/* store_salvage_rows.c - the rows in the pages of a store; see store_salvage.h.  Formats:
 * https://sqlite.org/fileformat.html, "B-tree Pages" and "Record Format" */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store_salvage.h"
#include "daemon/store_vfs.h"

#define TABLE_LEAF     0x0d
#define FILE_HEADER    100u /* in page 1 */
#define LEAF_HEADER    8u
#define USABLE         (PAGE_BYTES - PAGE_RESERVED)
#define OVERFLOW_BYTES (USABLE - 4)
#define LOCAL_MOST     (USABLE - 35)
#define LOCAL_LEAST    ((USABLE - 12) * 32 / 255 - 23)
#define SCHEMA_COLUMNS 5 /* SQLite's own table of tables */

/* One scan. */
struct scan {
	struct salvage *g;
	unsigned char page[PAGE_BYTES];
	unsigned char *payload;
	size_t capacity;
	struct salvage_row row;
};

/* Columns that are stored, which tell the tables apart. */
static const int columns_of[] = {
	[TABLE_JOB] = 23,    [TABLE_ATTEMPT] = 34, [TABLE_OUTPUT] = 7,
	[TABLE_CONTEXT] = 4, [TABLE_TALLY] = 6,
};

static unsigned
short_at(const unsigned char *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

/* Bytes it took; 0: it does not end before `end`. */
static size_t
read_varint(const unsigned char *at, const unsigned char *end, uint64_t *ret)
{
	uint64_t value = 0;

	for (size_t i = 0; i < 9 && at + i < end; i++) {
		if (i == 8) {
			*ret = value << 8 | at[i];
			return 9;
		}
		value = value << 7 | (at[i] & 0x7f);
		if ((at[i] & 0x80) == 0) {
			*ret = value;
			return i + 1;
		}
	}
	return 0;
}

/* ---- the bytes of a record ---- */

static size_t
local_bytes(uint64_t length)
{
	if (length <= LOCAL_MOST)
		return (size_t)length;
	size_t local = LOCAL_LEAST + (size_t)((length - LOCAL_LEAST) % OVERFLOW_BYTES);
	return local <= LOCAL_MOST ? local : LOCAL_LEAST;
}

/* The rest of a long record, page by page. */
static bool
read_overflow(struct scan *s, uint32_t page, size_t from, size_t length)
{
	unsigned char bytes[PAGE_BYTES];
	bool good;

	for (; from < length; from += OVERFLOW_BYTES) {
		size_t part = length - from < OVERFLOW_BYTES ? length - from : OVERFLOW_BYTES;
		if (!salvage_page(s->g, page, bytes, &good))
			return false;
		memcpy(s->payload + from, bytes + 4, part);
		page = (uint32_t)short_at(bytes) << 16 | short_at(bytes + 2);
	}
	return true;
}

/* The record at `at`; NULL: it is not one.  *ret: 0 or -ENOMEM. */
static const unsigned char *
read_record(struct scan *s, const unsigned char *at, size_t *ret_length, uint64_t *ret_rowid,
	    int *ret)
{
	const unsigned char *end = s->page + USABLE;
	uint64_t length = 0;
	size_t n = read_varint(at, end, &length);
	size_t m = n > 0 ? read_varint(at + n, end, ret_rowid) : 0;

	if (m == 0 || length > (uint64_t)salvage_page_count(s->g) * PAGE_BYTES)
		return NULL;
	at += n + m;
	size_t local = local_bytes(length);
	*ret_length = (size_t)length;
	if (local == length)
		return local <= (size_t)(end - at) ? at : NULL;
	if (local + 4 > (size_t)(end - at))
		return NULL;
	if (s->capacity < length) {
		unsigned char *more = realloc(s->payload, (size_t)length);
		if (more == NULL) {
			*ret = -ENOMEM;
			return NULL;
		}
		s->payload = more;
		s->capacity = (size_t)length;
	}
	memcpy(s->payload, at, local);
	uint32_t next = (uint32_t)short_at(at + local) << 16 | short_at(at + local + 2);
	return read_overflow(s, next, local, (size_t)length) ? s->payload : NULL;
}

/* ---- its columns ---- */

static int64_t
read_integer(const unsigned char *at, unsigned bytes)
{
	uint64_t value = bytes > 0 && (at[0] & 0x80) ? UINT64_MAX : 0;

	for (unsigned i = 0; i < bytes; i++)
		value = value << 8 | at[i];
	return (int64_t)value;
}

/* A value of `type` at `at`; false: it is none of ours, or too long. */
static bool
read_value(uint64_t type, const unsigned char *at, size_t left, struct salvage_value *v,
	   size_t *ret_bytes)
{
	static const unsigned char widths[] = { 0, 1, 2, 3, 4, 6, 8 };

	*v = (struct salvage_value){ .type = type == 0 ? SALVAGE_NULL : SALVAGE_INT };
	*ret_bytes = 0;
	if (type < sizeof(widths)) {
		*ret_bytes = widths[type];
		if (*ret_bytes > left)
			return false;
		v->integer = read_integer(at, widths[type]);
	} else if (type == 8 || type == 9) {
		v->integer = type == 9;
	} else if (type >= 12) {
		if ((type - 12) / 2 > left)
			return false;
		v->type = type % 2 ? SALVAGE_TEXT : SALVAGE_BYTES;
		v->at = at;
		v->length = *ret_bytes = (size_t)((type - 12) / 2);
	} else {
		return false;
	}
	return true;
}

static bool
read_columns(struct salvage_row *row, const unsigned char *record, size_t length)
{
	const unsigned char *end = record + length;
	uint64_t header, type;
	size_t n = read_varint(record, end, &header), bytes;

	row->columns = 0;
	if (n == 0 || header < n || header > length)
		return false;
	const unsigned char *types = record + n, *body = record + header;
	while (types < record + header) {
		n = read_varint(types, record + header, &type);
		if (n == 0 || row->columns == SALVAGE_COLUMNS ||
		    !read_value(type, body, (size_t)(end - body), &row->value[row->columns + 1],
				&bytes))
			return false;
		row->columns++;
		types += n;
		body += bytes;
	}
	return true;
}

static uint32_t
sum_of(const struct salvage_row *row)
{
	uint32_t sum = 0;

	for (int i = 1; i < row->columns; i++) {
		const struct salvage_value *v = &row->value[i];
		if (v->type == SALVAGE_NULL)
			sum ^= sum_null(row->table, i);
		else if (v->type == SALVAGE_INT)
			sum ^= sum_int(row->table, i, (uint64_t)v->integer);
		else
			sum ^= sum_bytes(row->table, i, v->at, v->length);
	}
	return sum;
}

static void
judge(struct salvage_row *row, uint64_t rowid)
{
	row->table = 0;
	row->good = false;
	for (unsigned t = TABLE_JOB; t <= TABLE_TALLY; t++)
		if (columns_of[t] == row->columns)
			row->table = t;
	if (row->table == 0)
		return;
	/* The record has NULL where the rowid is. */
	row->value[1] = (struct salvage_value){ .type = SALVAGE_INT, .integer = (int64_t)rowid };
	const struct salvage_value *sum = &row->value[row->columns];
	row->good = sum->type == SALVAGE_INT && (uint32_t)sum->integer == sum_of(row);
}

/* ---- pages ---- */

static int
scan_cell(struct scan *s, unsigned offset, salvage_row_fn each, void *context)
{
	uint64_t rowid = 0;
	size_t length = 0;
	int r = 0;
	const unsigned char *record =
		offset < USABLE ? read_record(s, s->page + offset, &length, &rowid, &r) : NULL;

	if (r < 0)
		return r;
	s->row.columns = 0;
	if (record == NULL || !read_columns(&s->row, record, length)) {
		s->row.table = 0;
		s->row.good = false;
		s->row.columns = 0;
	} else if (s->row.columns == SCHEMA_COLUMNS) {
		return 0;
	} else {
		judge(&s->row, rowid);
	}
	return each(context, &s->row);
}

static int
scan_page(struct scan *s, uint32_t number, salvage_row_fn each, void *context)
{
	unsigned header = number == 1 ? FILE_HEADER : 0;
	bool good;

	if (!salvage_page(s->g, number, s->page, &good) || s->page[header] != TABLE_LEAF)
		return 0;
	s->row.page = number;
	s->row.page_good = good;
	unsigned cells = short_at(s->page + header + 3), most = (USABLE - header - LEAF_HEADER) / 4;
	int r = 0;
	for (unsigned i = 0; i < cells && i < most && r == 0; i++)
		r = scan_cell(s, short_at(s->page + header + LEAF_HEADER + 2 * (size_t)i), each,
			      context);
	return r;
}

int
salvage_rows(struct salvage *g, salvage_row_fn each, void *context)
{
	struct scan *s = calloc(1, sizeof(*s));
	uint32_t number;
	int r = 0;

	if (s == NULL)
		return -ENOMEM;
	s->g = g;
	for (uint32_t i = 0; r == 0 && (number = salvage_page_at(g, i)) != 0; i++)
		r = scan_page(s, number, each, context);
	free(s->payload);
	free(s);
	return r;
}
