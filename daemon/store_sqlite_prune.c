/* store_sqlite_prune.c - what is too old or too much goes; figures of the engine `sqlite`. */
#include <stdio.h>
#include <sys/stat.h>

#include "daemon/store_claims.h"
#include "daemon/store_sqlite.h"
#include "ipc/clock.h"

#define VACUUM_PAGES 512
#define LATE_NS      (3600 * NS_PER_S)
#define VACUUM       "PRAGMA incremental_vacuum(512)"

/* One number, of a pragma or a count. */
static uint64_t
get_one(struct store *s, enum statement which)
{
	sqlite3_stmt *st = sql_get(s, which);
	uint64_t value = 0;

	if (sql_step(s, st))
		value = (uint64_t)sqlite.column_int64(st, 0);
	sql_done(st);
	return value;
}

static bool
is_large(struct store *s)
{
	return s->options.keep_bytes != 0 &&
	       (get_one(s, SQL_PAGES) - get_one(s, SQL_FREE_PAGES)) * PAGE_BYTES >
		       s->options.keep_bytes;
}

/* The first job of a list, and its time; 0: there is none. */
static uint64_t
first_of(struct store *s, enum statement which, uint64_t from, uint64_t *ret_ns)
{
	sqlite3_stmt *st = sql_get(s, which);
	uint64_t id = 0;

	if (which == SQL_OLDEST_PLAIN)
		sql_int(st, 1, from);
	if (sql_step(s, st)) {
		id = (uint64_t)sqlite.column_int64(st, 0);
		*ret_ns = (uint64_t)sqlite.column_int64(st, 1);
	}
	sql_done(st);
	return s->error == 0 ? id : 0;
}

/* An ended job that has to go: it is too old, its time is over, or there is too much. */
static uint64_t
find_oldest(struct store *s, uint64_t now)
{
	uint64_t ns = 0, id = first_of(s, SQL_KEPT, 0, &ns);

	if (id != 0 && ns < now)
		return id;
	if (s->options.keep_ns != 0 &&
	    (id = first_of(s, SQL_OLDEST_PLAIN, s->prune_from, &ns)) != 0) {
		/* Those before it are kept by their own wish, and not looked at again; what
		 * attached jobs leave comes late. */
		s->prune_from = ns > LATE_NS ? ns - LATE_NS : 0;
		if (ns + s->options.keep_ns < now)
			return id;
	}
	return is_large(s) ? first_of(s, SQL_OLDEST, 0, &ns) : 0;
}

/* Pages that rows have left are used again; when they are more than a quarter of the file, some of
 * its end are given back.  Bounded: the last pages are moved into the free ones. */
static void
give_back(struct store *s)
{
	uint64_t pages = get_one(s, SQL_PAGES), unused = get_one(s, SQL_FREE_PAGES);

	if (s->error != 0 || unused <= VACUUM_PAGES || unused <= pages / 4)
		return;
	if (sqlite.exec(s->db, VACUUM, NULL, NULL, NULL) == SQLITE_OK) {
		files_committed(s);
	} else {
		sql_failed(s, "give room back");
		(void)sqlite_rollback(s);
	}
}

/* Some contexts that no job has any more; false: there were none, or s->error. */
static bool
remove_contexts(struct store *s)
{
	return sql_run(s, sql_get(s, SQL_REMOVE_CONTEXTS)) && sqlite.changes(s->db) > 0;
}

/* One transaction. */
static int
remove_some(struct store *s, unsigned most, uint64_t now)
{
	uint64_t id;
	int removed = 0;

	if (!sqlite_begin(s))
		return s->error;
	while ((unsigned)removed < most && (id = find_oldest(s, now)) != 0 && sqlite_remove(s, id))
		removed++;
	if (s->error == 0 && s->orphans)
		s->orphans = remove_contexts(s);
	sqlite_forget_context(s);
	int r = s->error == 0 ? sqlite_commit(s) : sqlite_rollback(s);
	if (r < 0)
		return r;
	s->pruned += (unsigned)removed;
	return removed;
}

int
sqlite_prune(struct store *s, unsigned most)
{
	uint64_t now = clock_wall();
	int removed = 0;

	s->error = 0;
	if (s->orphans || find_oldest(s, now) != 0)
		removed = remove_some(s, most, now);
	if (removed >= 0 && s->error == 0)
		give_back(s);
	return s->error < 0 ? s->error : removed;
}

static uint64_t
bytes_of(const struct store *s, const char *name)
{
	char path[PATH_MAX + 32];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", s->state_dir, name);
	return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

int
sqlite_stats(struct store *s, struct store_stats *ret)
{
	s->error = 0;
	*ret = (struct store_stats){
		.open = get_one(s, SQL_COUNT_OPEN),
		.ended = get_one(s, SQL_COUNT_ENDED),
		.bytes = bytes_of(s, STORE_FILE) + bytes_of(s, STORE_FILE "-wal") +
			 bytes_of(s, STORE_FILE "-shm") + bytes_of(s, CLAIMS_FILE),
		.pruned = s->pruned,
		.max_id = get_one(s, SQL_MAX_ID),
		.repaired_bytes = s->repaired_bytes,
		.lost_frames = s->lost_frames,
	};
	return s->error;
}
