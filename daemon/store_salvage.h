/*
 * store_salvage.h - the store as bytes: what can be read of it where SQLite must give up.
 *
 * The files are only read.  Of each page the newest copy counts, from the log up to its last
 * commit, else from the database.  Rows are found without any tree: every page that holds rows is
 * looked through, and a row counts when its checksum (store_sum.h) fits, whatever became of its
 * page. Pages that are known to be free are left out: what was removed stays removed.
 *
 * For a look from outside, while no daemon uses the store: store_check.h.
 */
#ifndef PYPREP_DAEMON_STORE_SALVAGE_H
#define PYPREP_DAEMON_STORE_SALVAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/store_sum.h"

#define SALVAGE_COLUMNS 34 /* of the widest table */

struct salvage;

struct salvage_value {
	enum { SALVAGE_NULL, SALVAGE_INT, SALVAGE_TEXT, SALVAGE_BYTES } type;
	int64_t integer;
	const unsigned char *at;
	size_t length;
};

/* Columns are counted from 1, as in store_sum.h; the first is the rowid, the last the sum. */
struct salvage_row {
	enum table table; /* 0: of none that is known */
	int columns;
	struct salvage_value value[SALVAGE_COLUMNS + 1];
	bool good; /* its checksum fits */
	uint32_t page;
	bool page_good;
};

struct salvage_found {
	uint64_t bytes;                /* of database and log */
	uint32_t pages, damaged_pages; /* damaged: the newest copy */
	uint32_t missing_pages;        /* behind the end of the file */
	uint32_t free_pages;
	uint32_t frames;   /* of the log, up to its last commit */
	bool free_unknown; /* the list of free pages is damaged: removed rows may come back */
};

/* 0, or -errno: -ENOENT neither file is there, -EIO, -ENOMEM.  `state_dir` outlives it. */
int salvage_open(struct salvage **ret, const char *state_dir);
void salvage_close(struct salvage *g);
void salvage_found(const struct salvage *g, struct salvage_found *ret);

/* Damaged pages, lowest first: the next one after `page`, 0: none; *ret_in_log, *ret_at: which
 * file, and the byte in it. */
uint32_t salvage_next_damaged(const struct salvage *g, uint32_t page, bool *ret_in_log,
			      uint64_t *ret_at);

/* Each row of each page, older pages first; good and bad ones.  Non-zero from `each` stops and is
 * returned; else 0 or -errno.  The row is valid during the call. */
typedef int (*salvage_row_fn)(void *context, const struct salvage_row *row);
int salvage_rows(struct salvage *g, salvage_row_fn each, void *context);

/* ---- between its own two files ---- */

/* The newest copy of page `number`, 4096 bytes.  false: it is not there, or cannot be read. */
bool salvage_page(const struct salvage *g, uint32_t number, unsigned char *page, bool *ret_good);
uint32_t salvage_page_count(const struct salvage *g);
/* Pages in the order in which they are looked through: index from 0; 0: no more. */
uint32_t salvage_page_at(const struct salvage *g, uint32_t index);

#endif
