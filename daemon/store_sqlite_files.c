/*
 * store_sqlite_files.c - the files of the engine `sqlite`: what is known of them, and what was
 * found when they were opened.
 *
 *   what                          found when
 *   torn end of the log           at open: cut, counted (repaired_bytes)
 *   damage in the log             at open: -EBADMSG
 *   damage in the database        of a page: when it is read.  At open all pages are read when the
 *                                 file was changed since the writer last noted it: by a kill in a
 *                                 checkpoint, or by somebody else
 *   pages without a checksum      at open, for the same reason: PRAGMA quick_check, then sealed
 *
 * What is relied on when a commit fails.  A sync that failed is never taken for success: SQLite
 * gives the commit up, and its frames are written again, in full, by the next one, so the kernel
 * has them dirty again and must write them; a checkpoint whose sync failed copies all of its
 * pages again.  But frames of the commit that failed may stand whole in the log, as far as the
 * page cache goes, and the next process would take them for a commit: they are cut off at once.
 * (When the power fails after a failed sync, the disk may have them all the same: then the commit
 * is there, whole, and whoever made it asks again with the same token.)  After an error of the
 * disk the database is closed and opened, so that nothing SQLite has in memory is trusted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store_claims.h"
#include "daemon/store_sqlite.h"
#include "ipc/cleanup.h"

#define CHECKPOINT_FRAMES 2000 /* 8 MiB */

static const char *
path_of(const struct store *s, const char *name, char *buffer, size_t size)
{
	snprintf(buffer, size, "%s/%s", s->state_dir, name);
	return buffer;
}

static const char *
log_path(const struct store *s, char *buffer, size_t size)
{
	return path_of(s, STORE_FILE "-wal", buffer, size);
}

/* ---- notes ---- */

/* One number for when the database was last changed and how long it is; 0: it is not there, or
 * that cannot be known: errno says which. */
static uint64_t
changed(const struct store *s, off_t *ret_size)
{
	char path[PATH_MAX + 32];
	struct stat st;

	snprintf(path, sizeof(path), "%s/" STORE_FILE, s->state_dir);
	bool there = stat(path, &st) == 0;
	if (ret_size != NULL)
		*ret_size = there ? st.st_size : 0;
	if (!there)
		return 0;
	uint64_t when = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
	return (when ^ (uint64_t)st.st_size) * 0x9e3779b97f4a7c15ull | 1;
}

static void
note_log(struct store *s)
{
	/* Without syncs nothing is known of what the disk has. */
	if (!s->options.no_sync)
		claims_set_note(s->claims, NOTE_LOG, (uint64_t)s->log.salt << 32 | s->log.frames);
}

static int
take_frames(void *store, sqlite3 *db, const char *name, int frames)
{
	struct store *s = store;

	(void)db;
	(void)name;
	s->log.frames = (uint32_t)frames;
	/* The commit stands all the same.  Of a log without a salt nothing is cut. */
	if (wal_salt(s->log_fd, &s->log.salt) < 0)
		s->log.salt = 0;
	return SQLITE_OK;
}

void
files_watch(struct store *s)
{
	char path[PATH_MAX + 32];

	s->log_fd = open(log_path(s, path, sizeof(path)), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (s->log_fd < 0) {
		sqlite_fail(s, -errno, "%s: cannot open it: %s", path, strerror(errno));
		return;
	}
	(void)sqlite.wal_hook(s->db, take_frames, s);
	int r = s->log.frames == 0 ? wal_salt(s->log_fd, &s->log.salt) : 0;
	if (r < 0) {
		sqlite_fail(s, r, "%s: cannot read it: %s", path, strerror(-r));
		return;
	}
	note_log(s);
}

/* ---- commits ---- */

void
files_committed(struct store *s)
{
	note_log(s);
	if (s->log.frames <= CHECKPOINT_FRAMES)
		return;
	/* The commit is durable whatever becomes of this; what was not copied is the next one's. */
	(void)sqlite.wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	claims_set_note(s->claims, NOTE_CHANGED, changed(s, NULL));
}

void
files_failed(struct store *s)
{
	char path[PATH_MAX + 32];

	if (wal_cut(log_path(s, path, sizeof(path)), &s->log) < 0 || s->error == -EIO)
		s->suspect = true;
}

void
files_closed(struct store *s)
{
	char path[PATH_MAX + 32];

	if (s->log_fd >= 0)
		close(s->log_fd);
	s->log_fd = -1;
	if (!s->whole)
		return;
	s->whole = false;
	/* The last one to close has copied the log and removed it. */
	if (access(log_path(s, path, sizeof(path)), F_OK) < 0 && errno == ENOENT)
		claims_set_note(s->claims, NOTE_LOG, 0);
	/* Where damage was met, the next one looks at everything. */
	claims_set_note(s->claims, NOTE_CHANGED, s->damaged ? 0 : changed(s, NULL));
}

/* ---- a new one ---- */

bool
files_exist(const struct store *s)
{
	char path[PATH_MAX + 32];
	return access(path_of(s, STORE_FILE, path, sizeof(path)), F_OK) == 0;
}

/* What lies about of one that was removed must not be taken for its log. */
void
files_drop_log(struct store *s)
{
	char path[PATH_MAX + 32];

	(void)unlink(path_of(s, STORE_FILE "-wal", path, sizeof(path)));
	(void)unlink(path_of(s, STORE_FILE "-shm", path, sizeof(path)));
}

/* Of one that was not finished. */
static const char *const leftovers[] = { NEW_FILE, NEW_FILE "-wal", NEW_FILE "-shm",
					 NEW_FILE "-journal" };

bool
files_begin_new(struct store *s)
{
	char path[PATH_MAX + 32];

	for (size_t i = 0; i < sizeof(leftovers) / sizeof(*leftovers); i++)
		(void)unlink(path_of(s, leftovers[i], path, sizeof(path)));
	/* Nobody else's to read: SQLite would make it 0644.  Its other files take after it. */
	int fd = open(path_of(s, NEW_FILE, path, sizeof(path)),
		      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		sqlite_fail(s, errno == EDQUOT ? -ENOSPC : -errno, "%s: cannot make it: %s", path,
			    strerror(errno));
		return false;
	}
	close(fd);
	return true;
}

/* Rename it, durably; `missing`: it need not be there.  false: s->error. */
static bool
move(struct store *s, const char *from, const char *to, bool missing)
{
	char old[PATH_MAX + 32], new[PATH_MAX + 32];
	scoped_fd dir = open(s->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool done =
		rename(path_of(s, from, old, sizeof(old)), path_of(s, to, new, sizeof(new))) == 0 ||
		(missing && errno == ENOENT);

	if (!done || dir < 0 || fsync(dir) < 0)
		sqlite_fail(s, errno == EDQUOT ? -ENOSPC : -errno, "%s: cannot make it: %s", new,
			    strerror(errno));
	return s->error == 0;
}

static void
note_new(struct store *s)
{
	claims_set_note(s->claims, NOTE_LOG, 0);
	claims_set_note(s->claims, NOTE_CHANGED, changed(s, NULL));
}

void
files_finish_new(struct store *s)
{
	if (move(s, NEW_FILE, STORE_FILE, false))
		note_new(s);
}

bool
files_finish_repair(struct store *s)
{
	char path[PATH_MAX + 32];

	if (access(path_of(s, REPAIRED_FILE, path, sizeof(path)), F_OK) < 0)
		return s->error == 0;
	/* Each step may have been made before; the last one is what says that all are. */
	if (move(s, STORE_FILE "-wal", DAMAGED_FILE "-wal", true) &&
	    move(s, STORE_FILE, DAMAGED_FILE, true)) {
		files_drop_log(s);
		if (move(s, REPAIRED_FILE, STORE_FILE, false))
			note_new(s);
	}
	return s->error == 0;
}

bool
files_put_repaired(struct store *s)
{
	char older[32], path[PATH_MAX + 32];
	unsigned n = 1;

	/* What an earlier repair has kept stays. */
	if (access(path_of(s, DAMAGED_FILE, path, sizeof(path)), F_OK) == 0) {
		do
			snprintf(older, sizeof(older), DAMAGED_FILE ".%u", n++);
		while (access(path_of(s, older, path, sizeof(path)), F_OK) == 0);
		if (!move(s, DAMAGED_FILE, older, false))
			return false;
		strcat(older, "-wal");
		if (!move(s, DAMAGED_FILE "-wal", older, true))
			return false;
	}
	return move(s, NEW_FILE, REPAIRED_FILE, false) && files_finish_repair(s);
}

/* ---- opening ---- */

#define WHAT_NEXT                                                                             \
	"; nothing was changed.  See: pyprepctl store check; what can be saved is saved by: " \
	"pyprepctl store repair"

static void
check_log(struct store *s, struct wal *log)
{
	uint64_t note = claims_note(s->claims, NOTE_LOG);
	struct wal_mark mark = { (uint32_t)(note >> 32), (uint32_t)note };
	char path[PATH_MAX + 32];
	int r = wal_read(log_path(s, path, sizeof(path)), &mark, log);

	if (r < 0) {
		sqlite_fail(s, r, "%s: cannot read it: %s", path, strerror(-r));
		return;
	}
	if (log->damaged) {
		sqlite_fail(s, -EBADMSG,
			    "%s is damaged at byte %llu: jobs that were acknowledged lie "
			    "behind it" WHAT_NEXT,
			    path, (unsigned long long)log->at);
		return;
	}
	s->log = log->end;
	s->repaired_bytes = log->torn;
	s->lost_frames = log->lost;
	if (log->torn == 0)
		return;
	r = wal_cut(path, &log->end);
	if (r < 0)
		sqlite_fail(s, r, "%s: cannot cut its torn end: %s", path, strerror(-r));
}

/* true: some of them have no checksum. */
static bool
check_pages(struct store *s, const struct wal *log)
{
	struct pages pages;
	int r = store_pages_check(s->db, false, wal_has_page, log, &pages);

	if (r != SQLITE_OK)
		sql_failed(s, "read it");
	else if (pages.damaged > 0)
		sqlite_fail(s, -EBADMSG,
			    "%s/" STORE_FILE " is damaged: %u of its %u pages, the first at byte "
			    "%llu" WHAT_NEXT,
			    s->state_dir, pages.damaged, pages.count,
			    (unsigned long long)(pages.first_damaged - 1) * PAGE_BYTES);
	return pages.plain > 0;
}

void
files_check(struct store *s)
{
	struct wal log;
	off_t size;
	uint64_t now = changed(s, &size);

	if (now == 0 && errno != ENOENT) {
		sqlite_fail(s, -errno, "%s/" STORE_FILE ": cannot look at it: %s", s->state_dir,
			    strerror(errno));
		return;
	}
	/* SQLite would take what is shorter than a page for a new database. */
	if (size < (off_t)PAGE_BYTES) {
		sqlite_fail(s, -EBADMSG,
			    "%s/" STORE_FILE
			    " is damaged: all but %lld bytes of it are gone" WHAT_NEXT,
			    s->state_dir, (long long)size);
		return;
	}
	check_log(s, &log);
	/* Known to be as the writer left it: a page is checked when it is read. */
	if (s->error == 0 && now != claims_note(s->claims, NOTE_CHANGED))
		s->plain_pages = check_pages(s, &log);
	wal_done(&log);
}

static int
take_text(void *context, int columns, char **values, char **names)
{
	(void)columns;
	(void)names;
	char *first = context;
	if (first[0] == '\0')
		snprintf(first, 200, "%s", values[0] != NULL ? values[0] : "");
	return 0;
}

static bool
none(const void *context, uint32_t page)
{
	(void)context;
	(void)page;
	return false;
}

void
files_seal(struct store *s)
{
	struct pages pages;
	char said[200] = "";

	if (!s->plain_pages) {
		s->whole = true;
	} else if (sqlite.exec(s->db, "PRAGMA quick_check(1)", take_text, said, NULL) !=
		   SQLITE_OK) {
		sql_failed(s, "check it");
	} else if (strcmp(said, "ok") != 0) {
		sqlite_fail(s, -EBADMSG, "%s/" STORE_FILE " is damaged: %s" WHAT_NEXT, s->state_dir,
			    said);
	} else if (store_pages_check(s->db, true, none, NULL, &pages) == SQLITE_OK) {
		s->plain_pages = false;
		s->whole = true;
	} else {
		sql_failed(s, "write it");
	}
	if (s->whole)
		claims_set_note(s->claims, NOTE_CHANGED, changed(s, NULL));
}
