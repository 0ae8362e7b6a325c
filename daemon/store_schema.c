/* store_schema.c - see store_schema.h */
#include "daemon/store_schema.h"

#include <stdio.h>

#include "ipc/receipt.h"

/* What changes stands before what may be long: an update reads no overflow page. */
static const char tables[] =
	"CREATE TABLE job(\n"
	"  id INTEGER PRIMARY KEY,\n"
	"  state INTEGER NOT NULL,      -- 0: it has not ended; else word.n of 'state'\n"
	"  ended INTEGER NOT NULL,      -- ns since 1970; 0: it has not\n"
	"  attempt INTEGER NOT NULL,    -- begun so far\n"
	"  crashes INTEGER NOT NULL,    -- workers it killed\n"
	"  flags INTEGER NOT NULL,      -- 1 held, 2 runs as its user, 4 suspect\n"
	"  priority INTEGER NOT NULL,\n"
	"  not_before INTEGER NOT NULL, -- ns since 1970; has it ended, and is this later: it is kept "
	"until then\n"
	"  last INTEGER,                -- attempt.number of its last end\n"
	"  token BLOB,                  -- chosen by the submitter; NULL: an attached job\n"
	"  kind TEXT NOT NULL,\n"
	"  pool TEXT NOT NULL,\n"
	"  key TEXT,\n"
	"  uid INTEGER NOT NULL,\n"
	"  gid INTEGER NOT NULL,\n"
	"  timeout INTEGER NOT NULL,    -- ns; 0: none\n"
	"  item_low INTEGER NOT NULL,\n"
	"  item_high INTEGER NOT NULL,\n"
	"  submitted INTEGER NOT NULL,  -- ns since 1970\n"
	"  context INTEGER,             -- context.n\n"
	"  policy BLOB,                 -- msgpack\n"
	"  params BLOB,                 -- msgpack\n"
	"  sum INTEGER NOT NULL         -- of the row\n"
	") STRICT;\n"
	"CREATE UNIQUE INDEX job_token ON job(token) WHERE token IS NOT NULL;\n"
	"CREATE UNIQUE INDEX job_key ON job(key) WHERE key IS NOT NULL AND state = 0;\n"
	"CREATE INDEX job_open ON job(state) WHERE state = 0;\n"
	"CREATE INDEX job_ended ON job(ended) WHERE state <> 0;\n"
	"CREATE INDEX job_kept ON job(not_before) WHERE state <> 0 AND not_before > ended;\n"
	"CREATE INDEX job_context ON job(context) WHERE context IS NOT NULL;\n"

	"CREATE TABLE attempt(\n"
	"  n INTEGER PRIMARY KEY,       -- job * 65536 + number\n"
	"  job INTEGER AS (n >> 16),\n"
	"  number INTEGER AS (n & 65535), -- 0: the end of a job that was not running\n"
	"  state INTEGER NOT NULL,\n"
	"  cause INTEGER NOT NULL,\n"
	"  cause_value INTEGER NOT NULL,\n"
	"  error INTEGER NOT NULL,\n"
	"  ended INTEGER NOT NULL,      -- ns since 1970\n"
	"  executor TEXT,\n"
	"  worker_pid INTEGER NOT NULL,\n"
	"  slot INTEGER NOT NULL,\n"
	"  flags INTEGER NOT NULL,      -- 1 output was cut, 2 bystander\n"
	"  clock INTEGER NOT NULL,      -- CLOCK_MONOTONIC when submitted; the times count from "
	"it\n"
	"  received INTEGER,            -- ns; NULL: not reached\n"
	"  stored INTEGER,              -- of a detached job: durable\n"
	"  handed INTEGER,\n"
	"  started INTEGER,\n"
	"  finished INTEGER,\n"
	"  returned INTEGER,\n"
	"  method INTEGER NOT NULL,     -- how the run was measured\n"
	"  oncpu INTEGER NOT NULL,      -- ns\n"
	"  runqueue INTEGER NOT NULL,\n"
	"  blocked INTEGER NOT NULL,\n"
	"  user INTEGER NOT NULL,\n"
	"  system INTEGER NOT NULL,\n"
	"  memory INTEGER NOT NULL,     -- peak, bytes\n"
	"  faults_minor INTEGER NOT NULL,\n"
	"  faults_major INTEGER NOT NULL,\n"
	"  switches_voluntary INTEGER NOT NULL,\n"
	"  switches_involuntary INTEGER NOT NULL,\n"
	"  items INTEGER NOT NULL,\n"
	"  items_failed INTEGER NOT NULL,\n"
	"  autopsy BLOB,                -- msgpack\n"
	"  message TEXT,\n"
	"  result BLOB,                 -- msgpack\n"
	"  sum INTEGER NOT NULL\n"
	") STRICT;\n"

	"CREATE TABLE output(\n"
	"  n INTEGER PRIMARY KEY,       -- in the order in which it came\n"
	"  job INTEGER NOT NULL,\n"
	"  attempt INTEGER NOT NULL,\n"
	"  stream INTEGER NOT NULL,     -- 1 stdout, 2 stderr\n"
	"  offset INTEGER NOT NULL,     -- of its first byte\n"
	"  bytes BLOB NOT NULL,\n"
	"  sum INTEGER NOT NULL\n"
	") STRICT;\n"
	"CREATE UNIQUE INDEX output_at ON output(job, attempt, stream, offset);\n"

	"CREATE TABLE context(\n"
	"  n INTEGER PRIMARY KEY,\n"
	"  hash INTEGER NOT NULL,\n"
	"  bytes BLOB NOT NULL,         -- umask, directory, environment; each ends with NUL\n"
	"  sum INTEGER NOT NULL\n"
	") STRICT;\n"
	"CREATE INDEX context_hash ON context(hash);\n"

	"CREATE TABLE tally(\n"
	"  n INTEGER PRIMARY KEY,\n"
	"  day INTEGER NOT NULL,        -- since 1970-01-01, UTC\n"
	"  kind TEXT NOT NULL,\n"
	"  pool TEXT NOT NULL,\n"
	"  figures BLOB NOT NULL,\n"
	"  sum INTEGER NOT NULL\n"
	") STRICT;\n"
	"CREATE UNIQUE INDEX tally_of ON tally(day, kind, pool);\n"

	"CREATE TABLE word(\n"
	"  what TEXT NOT NULL,          -- state, cause, error\n"
	"  n INTEGER NOT NULL,\n"
	"  text TEXT NOT NULL,\n"
	"  PRIMARY KEY(what, n)\n"
	") STRICT, WITHOUT ROWID;\n"

	"CREATE TABLE meta(\n"
	"  name TEXT PRIMARY KEY,\n"
	"  value INTEGER NOT NULL\n"
	") STRICT, WITHOUT ROWID;\n"
	"INSERT INTO meta VALUES('max_id', 0);\n";

/* Times as text are UTC with milliseconds; durations are milliseconds. */
#define TIME(column) "strftime('%Y-%m-%dT%H:%M:%fZ', " column " / 1e9, 'unixepoch')"
#define MS(from, to) "round((" to " - " from ") / 1e6, 3)"

#define STAGES                                                        \
	"  " MS("a.received", "a.stored") " AS store_ms,\n"           \
	"  " MS("coalesce(a.stored, a.received)", "a.handed") " AS queue_ms,\n" \
	"  " MS("a.handed", "a.started") " AS dispatch_ms,\n"         \
	"  " MS("a.started", "a.finished") " AS run_ms,\n"            \
	"  round(a.oncpu / 1e6, 3) AS cpu_ms, a.memory AS memory_bytes\n"
#define WORDS                                                                  \
	"  LEFT JOIN word c ON c.what = 'cause' AND c.n = a.cause\n"           \
	"  LEFT JOIN word e ON e.what = 'error' AND e.n = a.error;\n"

/* clang-format off */
static const char views[] =
	"CREATE VIEW history AS SELECT\n"
	"  j.id,\n"
	"  CASE WHEN j.state = 0 THEN 'open' ELSE s.text END AS state,\n"
	"  j.kind, j.pool, j.key, j.uid, j.priority,\n"
	"  CASE WHEN j.token IS NULL THEN 'attached' ELSE 'detached' END AS how,\n"
	"  " TIME("j.submitted") " AS submitted,\n"
	"  CASE WHEN j.state <> 0 THEN " TIME("j.ended") " END AS ended,\n"
	"  j.attempt AS attempts, j.crashes,\n"
	"  c.text AS cause, a.cause_value, e.text AS error, a.message,\n"
	"  a.executor, a.worker_pid,\n"
	STAGES
	"FROM job j LEFT JOIN attempt a ON a.n = (j.id << 16 | j.last)\n"
	"  LEFT JOIN word s ON s.what = 'state' AND s.n = j.state\n"
	WORDS

	"CREATE VIEW attempts AS SELECT\n"
	"  a.job, a.number, j.kind, j.pool, s.text AS state, c.text AS cause, a.cause_value,\n"
	"  e.text AS error, a.message, " TIME("a.ended") " AS ended, a.executor, a.worker_pid,\n"
	STAGES
	"FROM attempt a JOIN job j ON j.id = a.n >> 16\n"
	"  LEFT JOIN word s ON s.what = 'state' AND s.n = a.state\n"
	WORDS;
/* clang-format on */

static int
put_words(sqlite3 *db, const char *what, unsigned count, const char *(*text)(unsigned))
{
	char sql[160];

	for (unsigned n = 0; n < count; n++) {
		snprintf(sql, sizeof(sql), "INSERT OR REPLACE INTO word VALUES('%s', %u, '%s')",
			 what, n, text(n));
		int r = sqlite.exec(db, sql, NULL, NULL, NULL);
		if (r != SQLITE_OK)
			return r;
	}
	return SQLITE_OK;
}

static int
count_words(void *context, int columns, char **values, char **names)
{
	(void)columns;
	(void)names;
	return sscanf(values[0], "%u", (unsigned *)context) == 1 ? 0 : 1;
}

int
schema_words(sqlite3 *db)
{
	unsigned count = 0;
	int r = sqlite.exec(db, "SELECT count(*) FROM word", count_words, &count, NULL);

	if (r != SQLITE_OK || count >= JOB_STATE_COUNT + JOB_CAUSE_COUNT + JOB_ERROR_COUNT)
		return r;
	r = put_words(db, "state", JOB_STATE_COUNT, job_state_text);
	if (r == SQLITE_OK)
		r = put_words(db, "cause", JOB_CAUSE_COUNT, job_cause_text);
	if (r == SQLITE_OK)
		r = put_words(db, "error", JOB_ERROR_COUNT, job_error_text);
	return r;
}

int
schema_create(sqlite3 *db)
{
	char version[96];
	int r = sqlite.exec(db, tables, NULL, NULL, NULL);

	if (r == SQLITE_OK)
		r = sqlite.exec(db, views, NULL, NULL, NULL);
	if (r == SQLITE_OK)
		r = schema_words(db);
	snprintf(version, sizeof(version), "PRAGMA application_id = %d; PRAGMA user_version = %d",
		 SCHEMA_APPLICATION_ID, SCHEMA_VERSION);
	if (r == SQLITE_OK)
		r = sqlite.exec(db, version, NULL, NULL, NULL);
	return r;
}
