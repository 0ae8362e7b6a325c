/*
 * sqlite.h - libsqlite3, loaded when a store is opened.
 *
 * Linked, it would cost every process of the daemon: measured with four children, 270 KiB of Pss
 * in all, and a millisecond of each start.  Only the broker, and a look at a store from outside,
 * need it.
 */
#ifndef PYPREP_DAEMON_SQLITE_H
#define PYPREP_DAEMON_SQLITE_H

#include <sqlite3.h>
#include <stddef.h>

/* The functions used, without their prefix.  Their types are those of sqlite3.h. */
#define SQLITE_FUNCTIONS(X)  \
	X(bind_blob64)       \
	X(bind_int64)        \
	X(bind_null)         \
	X(bind_text)         \
	X(busy_timeout)      \
	X(changes)           \
	X(close)             \
	X(column_blob)       \
	X(column_bytes)      \
	X(column_count)      \
	X(column_int64)      \
	X(column_name)       \
	X(column_text)       \
	X(column_type)       \
	X(column_value)      \
	X(bind_value)        \
	X(config)            \
	X(db_release_memory) \
	X(errmsg)            \
	X(errstr)            \
	X(exec)              \
	X(extended_errcode)  \
	X(file_control)      \
	X(finalize)          \
	X(initialize)        \
	X(libversion_number) \
	X(open_v2)           \
	X(prepare_v3)        \
	X(reset)             \
	X(step)              \
	X(system_errno)      \
	X(vfs_find)          \
	X(vfs_register)      \
	X(wal_checkpoint_v2) \
	X(wal_hook)

struct sqlite_library {
#define X(name) __typeof__(sqlite3_##name) *name;
	SQLITE_FUNCTIONS(X)
#undef X
};
extern struct sqlite_library sqlite; /* valid once sqlite_load() returned 0 */

/* From any thread, as often as one likes.  0, or -ELIBACC with a sentence in `problem`. */
int sqlite_load(char *problem, size_t size);

#endif
