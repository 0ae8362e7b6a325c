/*
 * store_wal.h - the log of the database, looked at before SQLite does.
 *
 * SQLite cuts its log at the first frame whose checksum is wrong, and says nothing.  That is
 * right for the torn end of a commit that was never acknowledged, and wrong for damage in front
 * of commits that were.  These can be told apart: a commit is synced before the next one is
 * begun, so behind a torn one there is no other; and the writer notes, in mapped memory, how many
 * frames it has acknowledged (struct wal_mark), which a power cut can make older but not newer.
 */
#ifndef PYPREP_DAEMON_STORE_WAL_H
#define PYPREP_DAEMON_STORE_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How far the log goes: of the log with this salt so many frames were acknowledged.  SQLite changes
 * the salt whenever it begins the log anew, which it does when all of it is in the database. */
struct wal_mark {
	uint32_t salt, frames;
};

struct wal {
	bool there;          /* it has a header that counts */
	struct wal_mark end; /* its salt, and the frames up to the last whole commit */
	uint64_t bytes;      /* up to there */
	uint64_t torn;       /* bytes behind it that belong to no whole commit */
	uint32_t lost;       /* frames that were acknowledged: the file ends before them */
	bool damaged;        /* acknowledged commits lie behind bytes that have changed, ... */
	uint64_t at;         /* ... these */
	uint32_t *pages;     /* that the frames hold, sorted; the caller frees them (wal_done()) */
	size_t page_count;
};

/* Read the log at `path`.  0 (also when there is none), or -errno. */
int wal_read(const char *path, const struct wal_mark *mark, struct wal *ret);
void wal_done(struct wal *w);
/* Is this page in the log?  `wal`: a struct wal. */
bool wal_has_page(const void *wal, uint32_t page);

/* A page as it stands in the log. */
struct wal_frame {
	uint32_t page;
	uint64_t at; /* byte of the file where the page begins */
	bool sure;   /* it is as it was written */
};

/* The frames up to the last commit, first first: also those behind damage, and damaged ones, which
 * may be useless or hold good rows.  *ret_pages: how long the database is with them, 0: unknown.
 * The caller frees *ret.  0 (also when there is no log: no frames), or -errno. */
int wal_frames(const char *path, struct wal_frame **ret, size_t *ret_count, uint32_t *ret_pages);

/* Cut what lies behind the acknowledged frames: a commit that failed, or was torn, is never seen
 * again.  0 or -errno: then nothing was cut, as when it cannot be read which log it is. */
int wal_cut(const char *path, const struct wal_mark *mark);

/* The salt in the header of the log that is open as `fd`; *ret is 0 when there is no header.  0 or
 * -errno. */
int wal_salt(int fd, uint32_t *ret);

#endif
