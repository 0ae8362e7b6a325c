/*
 * store_vfs.h - the pages of the database carry a checksum: SQLite itself has none, and would
 * hand out what a disk made of it.
 *
 * An SQLite VFS over the system's own.  Of each page of 4096 bytes the last 8 are reserved
 * (sqlite3_file_control, SQLITE_FCNTL_RESERVE_BYTES): a checksum of the others and of the page's
 * number goes there when the page is written into the database, and is compared when it is read.
 * Only the database: the log has checksums of SQLite's own.
 *
 * Other programs, such as the sqlite3 shell, read the file as ever.  When one of them copies the
 * log into the database, as the last one to close it does, those pages come without a checksum:
 * 0 there is let through, unless the whole page is zeros.  store_pages_check() gives them theirs.
 */
#ifndef PYPREP_DAEMON_STORE_VFS_H
#define PYPREP_DAEMON_STORE_VFS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/sqlite.h"

#define STORE_VFS     "pyprep"
#define PAGE_BYTES    4096u
#define PAGE_RESERVED 8

/* Make the VFS known to SQLite, once; sqlite_load() has been called.  An SQLite code. */
int store_vfs_register(void);

/* What the system said when a call on a file last failed in this thread, as errno; 0: none did.
 * Reading clears it.  SQLite remembers it less well: other calls come in between. */
int store_vfs_errno(void);

/* The page that this thread last met with a wrong checksum; 0: none.  Reading clears it. */
uint32_t store_vfs_damage(void);

/* PLAIN: without a checksum. */
enum page_state { PAGE_GOOD, PAGE_PLAIN, PAGE_DAMAGED };
/* A page as it stands in the database; `number` from 1. */
enum page_state store_page_state(const unsigned char *page, uint32_t number);

/* What store_pages_check() found. */
struct pages {
	uint32_t count;
	uint32_t damaged, first_damaged; /* first: its number, from 1 */
	uint32_t plain;                  /* without a checksum */
};

/* Look at every page of an open database that this VFS has opened, but those for which `skip`
 * says true (pages that stand in the log, too: their copies here may be half written).  With
 * `seal`, pages without a checksum get theirs.  An SQLite code: SQLITE_OK whatever was found. */
int store_pages_check(sqlite3 *db, bool seal, bool (*skip)(const void *context, uint32_t page),
		      const void *context, struct pages *ret);

#endif
