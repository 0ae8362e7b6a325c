/*
 * store_sqlite.h - what the files of the engine `sqlite` share.
 *
 *   store_sqlite.c        opening, closing, commits, errors
 *   store_sqlite_files.c  the log and the database as files: what is damaged, what is cut
 *   store_sqlite_apply.c  the changes
 *   store_sqlite_read.c   rows, output, tallies
 *   store_sqlite_prune.c  what is too old, figures
 *   store_schema.c        tables and views
 *   store_claims.c        claims
 */
#ifndef PYPREP_DAEMON_STORE_SQLITE_H
#define PYPREP_DAEMON_STORE_SQLITE_H

#include <limits.h>

#include "daemon/sqlite.h"
#include "daemon/store.h"
#include "daemon/store_vfs.h"
#include "daemon/store_wal.h"

#define STORE_FILE "store.db"
#define NEW_FILE   STORE_FILE ".making" /* until it is whole */

/* Of a repair (store_check.h): the new one, whole, that is to take the place of the old one, which
 * is kept under the other name. */
#define REPAIRED_FILE STORE_FILE ".repaired"
#define DAMAGED_FILE  STORE_FILE ".damaged"

struct claims;

/* The statements that are kept: prepared when they are first used, bound by number. */
#define JOB_COLUMNS                                                                         \
	"j.id, j.state, j.ended, j.attempt, j.crashes, j.flags, j.priority, j.not_before, " \
	"j.last, j.token, j.kind, j.pool, j.key, j.uid, j.gid, j.timeout, j.item_low, "     \
	"j.item_high, j.submitted, j.context, j.policy, j.params"
#define ATTEMPT_COLUMNS                                                                          \
	"a.n, a.state, a.cause, a.cause_value, a.error, a.ended, a.executor, a.worker_pid, "     \
	"a.slot, a.flags, a.clock, a.received, a.stored, a.handed, a.started, a.finished, "      \
	"a.returned, "                                                                           \
	"a.method, a.oncpu, a.runqueue, a.blocked, a.user, a.system, a.memory, a.faults_minor, " \
	"a.faults_major, a.switches_voluntary, a.switches_involuntary, a.items, "                \
	"a.items_failed, a.autopsy, a.message, a.result"
#define ROW  "SELECT " JOB_COLUMNS ", " ATTEMPT_COLUMNS " FROM job j "
#define LAST "LEFT JOIN attempt a ON a.n = (j.id << 16 | j.last) "
#define FILTER                                                             \
	"AND (?2 = 0 OR ?2 >> j.state & 1) AND (?3 < 0 OR j.uid = ?3) "    \
	"AND (?4 IS NULL OR j.kind = ?4) AND (?5 IS NULL OR j.pool = ?5) " \
	"AND (?6 IS NULL OR j.key = ?6) AND (?7 = 0 OR j.ended >= ?7) "

#define STATEMENTS(X)                                                                              \
	X(SQL_BEGIN, "BEGIN IMMEDIATE")                                                            \
	X(SQL_COMMIT, "COMMIT")                                                                    \
	X(SQL_ROLLBACK, "ROLLBACK")                                                                \
	X(SQL_ADD, "INSERT OR IGNORE INTO job VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, "    \
		   "?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)")             \
	X(SQL_BY_TOKEN, "SELECT id FROM job WHERE token = ?1")                                     \
	X(SQL_BY_KEY, "SELECT id FROM job WHERE key = ?1 AND state = 0")                           \
	X(SQL_LOOK, "SELECT state, ended, attempt, crashes, flags, priority, not_before, last, "   \
		    "sum, token IS NULL, key FROM job WHERE id = ?1")                              \
	X(SQL_ATTEMPT, "INSERT INTO attempt VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, " \
		       "?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, "    \
		       "?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34)")                             \
	X(SQL_CHANGE, "UPDATE job SET state = ?2, ended = ?3, attempt = ?4, crashes = ?5, flags "  \
		      "= ?6, priority = ?7, not_before = ?8, last = ?9, sum = ?10 WHERE id = ?1")  \
	X(SQL_LAST_ATTEMPT, "SELECT n & 65535 FROM attempt WHERE n > ?1 << 16 "                    \
			    "AND n <= (?1 << 16 | 65535) ORDER BY n DESC LIMIT 1")                 \
	X(SQL_REMOVE_JOB, "DELETE FROM job WHERE id = ?1")                                         \
	X(SQL_REMOVE_ATTEMPTS, "DELETE FROM attempt WHERE n BETWEEN ?1 << 16 AND (?1 << 16 | ?2)") \
	X(SQL_REMOVE_CONTEXTS, "DELETE FROM context WHERE n IN (SELECT n FROM context c WHERE "    \
			       "NOT EXISTS (SELECT 1 FROM job WHERE context = c.n) LIMIT 64)")     \
	X(SQL_REMOVE_OUTPUT, "DELETE FROM output WHERE job = ?1")                                  \
	X(SQL_HIGHEST, "UPDATE meta SET value = ?1 WHERE name = 'max_id' AND value < ?1")          \
	X(SQL_OUTPUT, "INSERT INTO output VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")                     \
	X(SQL_OUTPUT_END, "SELECT offset + length(bytes) FROM output WHERE job = ?1 "              \
			  "AND attempt = ?2 AND stream = ?3 ORDER BY offset DESC LIMIT 1")         \
	X(SQL_OUTPUT_LAST, "SELECT attempt FROM output WHERE job = ?1 "                            \
			   "ORDER BY attempt DESC LIMIT 1")                                        \
	X(SQL_TALLY, "INSERT INTO tally VALUES(?1, ?2, ?3, ?4, ?5, ?6)")                           \
	X(SQL_TALLY_REMOVE, "DELETE FROM tally WHERE day = ?1 AND kind = ?2 AND pool = ?3")        \
	X(SQL_NEXT_TALLY, "SELECT ifnull(max(n), 0) + 1 FROM tally")                               \
	X(SQL_NEXT_OUTPUT, "SELECT ifnull(max(n), 0) + 1 FROM output")                             \
	X(SQL_NEXT_CONTEXT, "SELECT ifnull(max(n), 0) + 1 FROM context")                           \
	X(SQL_CONTEXT_FIND, "SELECT n, bytes FROM context WHERE hash = ?1")                        \
	X(SQL_CONTEXT_ADD, "INSERT INTO context VALUES(?1, ?2, ?3, ?4)")                           \
	X(SQL_CONTEXT, "SELECT bytes FROM context WHERE n = ?1")                                   \
	X(SQL_LOAD, ROW LAST "WHERE j.state = 0 AND j.id > ?1 ORDER BY j.id LIMIT ?2")             \
	X(SQL_ROW, ROW LAST "WHERE j.id = ?1 " FILTER)                                             \
	X(SQL_LIST, ROW LAST "WHERE j.id < ?1 " FILTER "ORDER BY j.id DESC")                       \
	X(SQL_LIST_OPEN, ROW LAST "WHERE j.state = 0 AND j.id < ?1 " FILTER "ORDER BY j.id DESC")  \
	X(SQL_ATTEMPTS, ROW "JOIN attempt a ON a.n BETWEEN ?1 << 16 AND (?1 << 16 | 65535) "       \
			    "WHERE j.id = ?1 ORDER BY a.n & 65535 = 0, a.n")                       \
	X(SQL_READ_OUTPUT, "SELECT stream, offset, bytes FROM output WHERE n IN (SELECT n FROM "   \
			   "output WHERE job = ?1 AND attempt = ?2) ORDER BY n")                   \
	X(SQL_TALLIES, "SELECT day, kind, pool, figures FROM tally WHERE day >= ?1 "               \
		       "ORDER BY day, kind, pool")                                                 \
	X(SQL_COUNT_OPEN, "SELECT count(*) FROM job WHERE state = 0")                              \
	X(SQL_COUNT_ENDED, "SELECT count(*) FROM job WHERE state <> 0")                            \
	X(SQL_MAX_ID, "SELECT max(value, (SELECT ifnull(max(id), 0) FROM job)) FROM meta "         \
		      "WHERE name = 'max_id'")                                                     \
	X(SQL_PAGES, "PRAGMA page_count")                                                          \
	X(SQL_FREE_PAGES, "PRAGMA freelist_count")                                                 \
	X(SQL_OLDEST, "SELECT id, ended FROM job WHERE state <> 0 ORDER BY ended LIMIT 1")          \
	X(SQL_OLDEST_PLAIN, "SELECT id, ended FROM job WHERE state <> 0 AND ended >= ?1 AND "       \
			    "not_before <= ended ORDER BY ended LIMIT 1")                           \
	X(SQL_KEPT, "SELECT id, not_before FROM job WHERE state <> 0 AND not_before > ended "       \
		    "ORDER BY not_before LIMIT 1")

enum statement {
#define X(name, sql) name,
	STATEMENTS(X)
#undef X
		STATEMENT_COUNT
};

struct store {
	sqlite3 *db;
	struct claims *claims;
	sqlite3_stmt *statement[STATEMENT_COUNT];
	struct store_options options;
	char state_dir[PATH_MAX];
	int error;                 /* -errno: this call has failed, and cannot go on */
	struct store_problem why;  /* of the last call that failed */
	uint64_t context, removed; /* removed: the highest id, in this transaction */
	uint64_t next_output, next_context, next_tally; /* rows; 0: not known */
	unsigned char *context_bytes; /* of context number `context`: the last one met */
	size_t context_length;
	uint64_t pruned, repaired_bytes;
	uint64_t prune_from; /* ended; all ended jobs before are kept by their own wish */
	uint32_t lost_frames; /* of the log, when it was opened: acknowledged, and not there */
	bool whole;           /* of the writer: looked at, and ready */
	bool damaged;         /* -EBADMSG was met */
	bool plain_pages;     /* there are pages without a checksum */
	bool orphans;         /* jobs were removed: contexts may be nobody's */
	bool suspect;         /* the disk failed: opened anew before it is used again */
	int log_fd;
	struct wal_mark log; /* how far it is committed */
};

/* ---- statements ---- */

/* The statement, with no bindings; NULL with s->error when it cannot be prepared. */
sqlite3_stmt *sql_get(struct store *s, enum statement which);
void sql_int(sqlite3_stmt *st, int number, uint64_t value);
void sql_text(sqlite3_stmt *st, int number, const char *text); /* NULL is fine */
void sql_bytes(sqlite3_stmt *st, int number, const void *at, size_t length);

/* true: a row is there.  false: there is none more, or s->error is set. */
bool sql_step(struct store *s, sqlite3_stmt *st);
void sql_done(sqlite3_stmt *st); /* the statement is at rest again */
/* Run it to its end.  false: s->error is set. */
bool sql_run(struct store *s, sqlite3_stmt *st);

/* This call has failed. */
void sqlite_fail(struct store *s, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Take the error of the connection down: s->error, and s->why. */
void sql_failed(struct store *s, const char *what);
/* SQLite's word for what went wrong, as -errno; `number`: the system's. */
int sql_errno(sqlite3 *db, int number);

/* ---- opening ---- */

/* A handle of the writer's or a reader's with the claims open, and no database yet.  0, or -errno
 * with `why`. */
int sqlite_handle(struct store **ret, const struct store_options *options,
		  struct store_problem *why);
/* Make a new database as NEW_FILE; `fill` puts rows into it, within a transaction, when it is not
 * NULL.  false: s->error. */
typedef void (*sqlite_fill_fn)(struct store *s, void *context);
bool sqlite_make(struct store *s, sqlite_fill_fn fill, void *context);
/* Statements of one SQL text.  false: s->error. */
bool sql_exec(struct store *s, const char *sql);

/* ---- commits ---- */

bool sqlite_begin(struct store *s);
/* 0, or -errno: nothing of it was made. */
int sqlite_commit(struct store *s);
int sqlite_rollback(struct store *s); /* s->error */

/* ---- files: of the writer's handle ---- */

bool files_exist(const struct store *s); /* is there a database? */
/* An empty file to make a new one in.  false: s->error. */
bool files_begin_new(struct store *s);
/* It is whole, and closed: now it is the database. */
void files_finish_new(struct store *s);
void files_drop_log(struct store *s); /* there is no database, so its log is nobody's */
/* It is whole, and closed: it takes the place of the damaged one, which is kept.  false: s->error.
 */
bool files_put_repaired(struct store *s);
/* A repair that died on its last steps makes them.  false: s->error. */
bool files_finish_repair(struct store *s);
/* The database has been opened, and nothing read of it: look at the log and the pages. */
void files_check(struct store *s);
/* It works: pages without a checksum get theirs, if they are whole. */
void files_seal(struct store *s);
/* The log is there: note from now on how far it goes. */
void files_watch(struct store *s);
void files_committed(struct store *s);
void files_failed(struct store *s); /* the commit: none of it stays in the log */
void files_closed(struct store *s);

/* ---- the operations ---- */

int sqlite_apply(struct store *s, struct store_change *changes, size_t count);
int sqlite_load_rows(struct store *s, uint64_t after_id, size_t most, bool claimed,
		     store_row_fn each, void *context);
int sqlite_list(struct store *s, const struct store_filter *filter, store_row_fn each,
		void *context);
int sqlite_output(struct store *s, uint64_t id, uint16_t attempt, uint64_t from[3],
		  store_output_fn each, void *context);
int sqlite_attempts(struct store *s, uint64_t id, store_row_fn each, void *context);
int sqlite_tallies(struct store *s, uint32_t since_day, store_tally_fn each, void *context);
int sqlite_prune(struct store *s, unsigned most);
int sqlite_stats(struct store *s, struct store_stats *ret);

/* Of a change: an ended job and all of it goes.  false: s->error. */
bool sqlite_remove(struct store *s, uint64_t id);
/* The claims that stand when the store is opened: those of attempts that are not over are counted
 * in, durably; the others are let go.  0 or -errno. */
int sqlite_count_claims(struct store *s);
void sqlite_forget_context(struct store *s);
/* Keep a copy of the context with this number.  false: no memory. */
bool sqlite_keep_context(struct store *s, uint64_t number, const void *bytes, size_t length);

#endif
