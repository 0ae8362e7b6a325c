/*
 * store_sqlite.c - the engine that keeps jobs in one SQLite database in the state directory.
 *
 * One call of apply() is one transaction, and durable when COMMIT returns: WAL with
 * synchronous=FULL syncs the log before that.  Readers have handles of their own and never wait
 * for the writer, nor it for them.
 */
#include "daemon/store_sqlite.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config.h"
#include "daemon/store_claims.h"
#include "daemon/store_schema.h"

#define BUSY_MS 10000 /* somebody holds the database locked from outside, by sqlite3 say */

/* What is not the default, and why:
 *   page_size, auto_vacuum  of a new file: auto_vacuum lets prune() give pages back bit by bit
 *   journal_mode=WAL        a commit is one sequential write and one sync; readers go on
 *   synchronous=FULL        ... and that sync is made: a commit survives a power cut
 *   wal_autocheckpoint=0    files_committed() does it, and notes it
 *   journal_size_limit      the log is cut to that when it begins anew
 *   secure_delete           Debian's build zeroes what is deleted: we write no secrets twice
 *   temp_store=MEMORY       no files but our own
 *   trusted_schema=OFF      a damaged schema calls no functions
 *   cell_size_check=ON      a damaged page is told when it is read, not when it is used */
static const char new_pragmas[] = "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;";
static const char pragmas[] = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;"
			      "PRAGMA journal_size_limit = 8388608; PRAGMA secure_delete = OFF;"
			      "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;"
			      "PRAGMA cell_size_check = ON; PRAGMA cache_size = -2048;";
static const char reading_pragmas[] =
	"PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;"
	"PRAGMA cell_size_check = ON; PRAGMA cache_size = -512;";

/* ---- errors ---- */

int
sql_errno(sqlite3 *db, int number)
{
	int code = sqlite.extended_errcode(db);

	switch (code & 0xff) {
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		if (code == SQLITE_IOERR_NOMEM)
			return -ENOMEM;
		if (code == SQLITE_IOERR_DATA || code == SQLITE_IOERR_CORRUPTFS)
			return -EBADMSG;
		if (number == ENOSPC || number == EDQUOT || number == EFBIG ||
		    code == SQLITE_IOERR_SHMSIZE)
			return -ENOSPC;
		if (number == EROFS || number == EACCES || number == ENOMEM || number == ENOENT)
			return -number;
		return -EIO;
	default:
		return -EIO;
	}
}

void
sqlite_fail(struct store *s, int error, const char *format, ...)
{
	va_list arguments;

	if (s->error != 0)
		return; /* the first one counts */
	s->error = error;
	s->damaged = s->damaged || error == -EBADMSG;
	va_start(arguments, format);
	(void)vsnprintf(s->why.message, sizeof(s->why.message), format, arguments);
	va_end(arguments);
}

void
sql_failed(struct store *s, const char *what)
{
	int said = store_vfs_errno(), number = said != 0 ? said : sqlite.system_errno(s->db);
	uint32_t page = store_vfs_damage();

	if (page != 0)
		sqlite_fail(s, -EBADMSG,
			    "%s/" STORE_FILE " is damaged: page %u, at byte %llu, is not as it "
			    "was written; see: pyprepctl store check",
			    s->state_dir, page, (unsigned long long)(page - 1) * PAGE_BYTES);
	sqlite_fail(s, sql_errno(s->db, number), "%s/" STORE_FILE ": cannot %s: %s%s%s",
		    s->state_dir, what, sqlite.errmsg(s->db), number != 0 ? ": " : "",
		    number != 0 ? strerror(number) : "");
}

/* ---- statements ---- */

static const char *const statements[] = {
#define X(name, sql) [name] = sql,
	STATEMENTS(X)
#undef X
};

sqlite3_stmt *
sql_get(struct store *s, enum statement which)
{
	if (s->statement[which] == NULL &&
	    sqlite.prepare_v3(s->db, statements[which], -1, SQLITE_PREPARE_PERSISTENT,
			      &s->statement[which], NULL) != SQLITE_OK)
		sql_failed(s, "prepare a statement");
	return s->statement[which];
}

/* Binding fails for want of memory only, and the step that follows then reads NULL where the
 * schema wants a value: it fails. */
void
sql_int(sqlite3_stmt *st, int number, uint64_t value)
{
	(void)sqlite.bind_int64(st, number, (sqlite3_int64)value);
}

void
sql_text(sqlite3_stmt *st, int number, const char *text)
{
	(void)sqlite.bind_text(st, number, text, -1, SQLITE_STATIC);
}

void
sql_bytes(sqlite3_stmt *st, int number, const void *at, size_t length)
{
	if (length == 0)
		(void)sqlite.bind_null(st, number);
	else
		(void)sqlite.bind_blob64(st, number, at, length, SQLITE_STATIC);
}

bool
sql_step(struct store *s, sqlite3_stmt *st)
{
	if (st == NULL)
		return false;
	int r = sqlite.step(st);
	if (r == SQLITE_ROW)
		return true;
	if (r != SQLITE_DONE)
		sql_failed(s, "use it");
	return false;
}

void
sql_done(sqlite3_stmt *st)
{
	(void)sqlite.reset(st); /* its error is the step's, and was taken there */
}

bool
sql_run(struct store *s, sqlite3_stmt *st)
{
	(void)sql_step(s, st);
	sql_done(st);
	return s->error == 0;
}

/* ---- commits ---- */

static void open_database(struct store *s);
static void close_database(struct store *s);

bool
sqlite_begin(struct store *s)
{
	s->error = 0;
	s->removed = 0;
	(void)store_vfs_errno(); /* of an earlier call */
	if (s->suspect) {
		s->suspect = false; /* opening begins transactions, too */
		close_database(s);
		open_database(s);
		s->suspect = s->error != 0;
	}
	return s->error == 0 && sql_run(s, sql_get(s, SQL_BEGIN));
}

int
sqlite_rollback(struct store *s)
{
	int error = s->error;

	/* SQLite may have rolled back by itself; then this one fails, and says nothing new. */
	sqlite3_stmt *st = sql_get(s, SQL_ROLLBACK);
	if (st != NULL) {
		(void)sqlite.step(st);
		sql_done(st);
	}
	sqlite_forget_context(s); /* its number may be of this transaction */
	s->next_output = s->next_context = s->next_tally = 0;
	s->error = error;
	files_failed(s);
	return error;
}

int
sqlite_commit(struct store *s)
{
	if (s->removed != 0) {
		sqlite3_stmt *st = sql_get(s, SQL_HIGHEST);
		sql_int(st, 1, s->removed);
		sql_run(s, st);
	}
	if (s->error == 0 && sql_run(s, sql_get(s, SQL_COMMIT))) {
		files_committed(s);
		return 0;
	}
	return sqlite_rollback(s);
}

void
sqlite_forget_context(struct store *s)
{
	free(s->context_bytes);
	s->context_bytes = NULL;
	s->context = 0;
}

bool
sqlite_keep_context(struct store *s, uint64_t number, const void *bytes, size_t length)
{
	unsigned char *copy = malloc(length + 1);

	if (copy == NULL)
		return false;
	memcpy(copy, bytes, length);
	free(s->context_bytes);
	s->context_bytes = copy;
	s->context_length = length;
	s->context = number;
	return true;
}

/* ---- opening ---- */

static int
take_version(void *context, int columns, char **values, char **names)
{
	(void)columns;
	(void)names;
	*(long *)context = strtol(values[0], NULL, 10);
	return 0;
}

static long
get_number(struct store *s, const char *pragma)
{
	long value = -1;

	if (sqlite.exec(s->db, pragma, take_version, &value, NULL) != SQLITE_OK)
		sql_failed(s, "read it");
	return value;
}

bool
sql_exec(struct store *s, const char *sql)
{
	if (sqlite.exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		sql_failed(s, "set it up");
	return s->error == 0;
}

/* The words may have become more. */
static void
add_words(struct store *s)
{
	if (!sqlite_begin(s))
		return;
	if (schema_words(s->db) != SQLITE_OK)
		sql_failed(s, "write to it");
	if (s->error == 0)
		(void)sqlite_commit(s);
	else
		(void)sqlite_rollback(s);
}

static void
set_up(struct store *s)
{
	if (!sql_exec(s, s->options.read_only ? reading_pragmas : pragmas) ||
	    !sql_exec(s, s->options.no_sync ? "PRAGMA synchronous = OFF"
					    : "PRAGMA synchronous = FULL"))
		return;
	long version = get_number(s, "PRAGMA user_version");
	if (s->error == 0 && version > SCHEMA_VERSION) {
		sqlite_fail(s, -EPROTO,
			    "%s/" STORE_FILE " is of version %ld; this pyprepd knows version %d: "
			    "use the newer pyprepd, or another state directory",
			    s->state_dir, version, SCHEMA_VERSION);
	}
	if (s->error != 0 || s->options.read_only)
		return;
	files_watch(s);
	if (s->error == 0)
		add_words(s);
	if (s->error == 0)
		files_seal(s);
}

/* Connect to the file `name` of the state directory. */
static bool
connect_to(struct store *s, const char *name, int flags)
{
	char path[PATH_MAX + 32];
	int reserved = PAGE_RESERVED; /* of a new file; one that is there has it */

	flags |= SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW;
	snprintf(path, sizeof(path), "%s/%s", s->state_dir, name);
	if (sqlite.open_v2(path, &s->db, flags, STORE_VFS) != SQLITE_OK) {
		if (s->db != NULL)
			sql_failed(s, "open it");
		else
			sqlite_fail(s, -ENOMEM, "no memory to open %s", path);
		return false;
	}
	(void)sqlite.busy_timeout(s->db, BUSY_MS);
	(void)sqlite.file_control(s->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
	return true;
}

/* A new database is made under another name: it appears whole or not at all. */
bool
sqlite_make(struct store *s, sqlite_fill_fn fill, void *context)
{
	if (!files_begin_new(s) || !connect_to(s, NEW_FILE, SQLITE_OPEN_READWRITE))
		return false;
	if (sql_exec(s, new_pragmas) && sql_exec(s, pragmas) &&
	    sql_exec(s, "PRAGMA synchronous = FULL") && sql_exec(s, "BEGIN") &&
	    schema_create(s->db) != SQLITE_OK)
		sql_failed(s, "make its tables");
	if (s->error == 0 && fill != NULL)
		fill(s, context);
	if (s->error == 0 && sql_exec(s, "COMMIT") &&
	    sqlite.wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) !=
		    SQLITE_OK)
		sql_failed(s, "write to it");
	(void)sqlite.close(s->db);
	s->db = NULL;
	return s->error == 0;
}

static void
open_database(struct store *s)
{
	bool writes = !s->options.read_only;

	if (writes && files_finish_repair(s) && !files_exist(s)) {
		files_drop_log(s);
		if (sqlite_make(s, NULL, NULL))
			files_finish_new(s);
	}
	if (s->error != 0 ||
	    !connect_to(s, STORE_FILE, writes ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY))
		return;
	if (writes)
		files_check(s);
	if (s->error == 0)
		set_up(s);
}

static void
open_claims(struct store *s)
{
	int r = claims_open(&s->claims, s->state_dir, s->options.read_only);

	if (r == 0 || (s->options.read_only && r == -ENOENT))
		return;
	if (r == -EBUSY)
		sqlite_fail(
			s, r,
			"another daemon uses the store in %s: stop it, or give this one a state "
			"directory of its own (PYPREP_STATE_DIR)",
			s->state_dir);
	else
		sqlite_fail(s, r, "%s/" CLAIMS_FILE ": cannot open it: %s", s->state_dir,
			    strerror(-r));
}

static void
close_database(struct store *s)
{
	for (unsigned i = 0; i < STATEMENT_COUNT; i++) {
		(void)sqlite.finalize(s->statement[i]);
		s->statement[i] = NULL;
	}
	/* The last one to close copies the log into the database and removes it. */
	if (s->db != NULL)
		(void)sqlite.close(s->db);
	s->db = NULL;
	files_closed(s);
}

static void
sqlite_close(struct store *s)
{
	if (s == NULL)
		return;
	close_database(s);
	claims_close(s->claims);
	free(s->context_bytes);
	free(s);
}

/* A handle that has failed is not handed out. */
static int
keep_or_close(struct store **s, struct store_problem *why)
{
	int r = (*s)->error;

	if (r == 0)
		return 0;
	*why = (*s)->why;
	sqlite_close(*s);
	*s = NULL;
	return r;
}

int
sqlite_handle(struct store **ret, const struct store_options *options, struct store_problem *why)
{
	int r = sqlite_load(why->message, sizeof(why->message));

	if (r < 0)
		return r;
	if (store_vfs_register() != SQLITE_OK) {
		snprintf(why->message, sizeof(why->message), "SQLite has no files here");
		return -ELIBACC;
	}
	struct store *s = calloc(1, sizeof(*s));
	if (s == NULL) {
		snprintf(why->message, sizeof(why->message), "no memory to open the store");
		return -ENOMEM;
	}
	s->options = *options;
	s->log_fd = -1;
	snprintf(s->state_dir, sizeof(s->state_dir), "%s", options->state_dir);
	s->options.state_dir = s->state_dir;
	if (!options->read_only && (r = path_make_dir(s->state_dir, 0700)) < 0) {
		sqlite_fail(s, r, "%s: cannot make it: %s", s->state_dir, strerror(-r));
	}
	if (s->error == 0)
		open_claims(s);
	*ret = s;
	return keep_or_close(ret, why);
}

static int
sqlite_open(struct store **ret, const struct store_options *options, struct store_problem *why)
{
	int r = sqlite_handle(ret, options, why);

	if (r != 0)
		return r;
	open_database(*ret);
	if ((*ret)->error == 0 && !options->read_only)
		(void)sqlite_count_claims(*ret);
	return keep_or_close(ret, why);
}

/* ---- claims: of the thread that runs jobs; nothing else of the handle is touched ---- */

static int
sqlite_claim(struct store *s, uint64_t id, uint16_t attempt, uint64_t *ret_fence)
{
	return claims_take(s->claims, id, attempt, ret_fence);
}

static void
sqlite_unclaim(struct store *s, uint64_t id, uint64_t fence)
{
	claims_drop(s->claims, id, fence);
}

const struct store_ops store_sqlite = {
	.name = "sqlite",
	.open = sqlite_open,
	.close = sqlite_close,
	.apply = sqlite_apply,
	.claim = sqlite_claim,
	.unclaim = sqlite_unclaim,
	.load = sqlite_load_rows,
	.list = sqlite_list,
	.output = sqlite_output,
	.attempts = sqlite_attempts,
	.tallies = sqlite_tallies,
	.prune = sqlite_prune,
	.stats = sqlite_stats,
};
