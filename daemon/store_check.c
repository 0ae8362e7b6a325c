/* store_check.c - is the store whole?  See store_check.h */
#include "daemon/store_check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/store_claims.h"
#include "daemon/store_sqlite.h"
#include "ipc/cleanup.h"

/* Nobody may write meanwhile.  >= 0: holds the lock; -ENOENT: there is nothing to lock. */
static int
lock_store(const char *state_dir)
{
	char path[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/" CLAIMS_FILE, state_dir);
	scoped_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return take_fd(&fd);
}

/* How far the writer says that the log was acknowledged. */
static struct wal_mark
read_mark(const char *state_dir)
{
	struct wal_mark mark = { 0 };
	struct claims *claims;

	if (claims_open(&claims, state_dir, true) == 0) {
		uint64_t note = claims_note(claims, NOTE_LOG);
		mark = (struct wal_mark){ (uint32_t)(note >> 32), (uint32_t)note };
		claims_close(claims);
	}
	return mark;
}

static int
check_log(struct store_report *r)
{
	struct wal_mark mark = read_mark(r->state_dir);
	char path[PATH_MAX + 32];
	struct wal log;

	snprintf(path, sizeof(path), "%s/" STORE_FILE "-wal", r->state_dir);
	int error = wal_read(path, &mark, &log);
	if (error < 0)
		return error;
	r->torn_bytes = log.torn;
	r->lost_frames = log.lost;
	if (log.damaged)
		report_damage(
			r, "the log at byte %" PRIu64 ": jobs that were acknowledged lie behind it",
			log.at);
	wal_done(&log);
	return 0;
}

static void
check_pages(struct store_report *r, const struct salvage *g)
{
	bool in_log;
	uint64_t at;

	for (uint32_t n = 0; (n = salvage_next_damaged(g, n, &in_log, &at)) != 0;)
		report_damage(r, "page %u, at byte %" PRIu64 " of %s", n, at,
			      in_log ? STORE_FILE "-wal" : STORE_FILE);
	if (r->files.missing_pages > 0)
		report_damage(r, "%u pages are missing behind page %u, the last one",
			      r->files.missing_pages, r->files.pages);
	if (r->files.free_unknown)
		report_damage(r, "the list of free pages");
}

/* ---- what only SQLite can say, of files that are whole ---- */

static int
take_finding(void *context, int columns, char **values, char **names)
{
	struct store_report *r = context;

	(void)names;
	if (columns > 0 && values[0] != NULL && strcmp(values[0], "ok") != 0)
		report_damage(r, "%s", values[0]);
	return 0;
}

static const char *const questions[] = {
	"PRAGMA integrity_check(20)",
	"SELECT 'job ' || id || ' is open, and its directory and environment are not there' "
	"FROM job WHERE state = 0 AND context IS NOT NULL "
	"AND NOT EXISTS (SELECT 1 FROM context WHERE n = job.context) LIMIT 20",
	"SELECT 'attempt ' || number || ' of job ' || job || ', which is not there' "
	"FROM attempt WHERE NOT EXISTS (SELECT 1 FROM job WHERE id = attempt.n >> 16) LIMIT 20",
	"SELECT 'output of job ' || job || ', which is not there' FROM output "
	"WHERE NOT EXISTS (SELECT 1 FROM job WHERE id = output.job) GROUP BY job LIMIT 20",
};

static int
ask_sqlite(struct store_report *r, struct store_problem *why)
{
	const struct store_options options = { .state_dir = r->state_dir, .read_only = true };
	struct store *s;
	int error = store_sqlite.open(&s, &options, why);

	if (error < 0)
		return error;
	for (size_t i = 0; i < sizeof(questions) / sizeof(*questions) && error == 0; i++) {
		if (sqlite.exec(s->db, questions[i], take_finding, r, NULL) == SQLITE_OK)
			continue;
		sql_failed(s, "read it");
		error = s->error;
		*why = s->why;
	}
	store_sqlite.close(s);
	return error;
}

int
store_look(const char *state_dir, struct store_report *ret, struct store_problem *why)
{
	struct salvage *g;
	int r = salvage_open(&g, state_dir);

	*ret = (struct store_report){ .state_dir = state_dir };
	if (r == 0) {
		salvage_found(g, &ret->files);
		r = check_log(ret);
		check_pages(ret, g);
		if (r == 0)
			r = salvage_rows(g, report_row, ret);
		salvage_close(g);
	}
	if (r == -ENOENT)
		(void)snprintf(why->message, sizeof(why->message),
			       "%s: there is no store; expected " STORE_FILE
			       " in it: name the directory with --state-dir, or PYPREP_STATE_DIR",
			       state_dir);
	else if (r < 0)
		(void)snprintf(why->message, sizeof(why->message),
			       "the store in %s cannot be read: %s", state_dir, strerror(-r));
	else if (ret->damage == 0)
		r = ask_sqlite(ret, why);
	if (r == -EBADMSG) {
		report_damage(ret, "%s", why->message);
		r = 0;
	}
	ret->verdict = ret->damage > 0 ? "damaged" : "whole";
	return r;
}

/* ---- the two commands ---- */

static int
fail(int error, const struct store_problem *why)
{
	fprintf(stderr, "pyprepd: %s\n", why->message);
	switch (error) {
	case -EBUSY:
	case -ENOSPC:
		return EX_TEMPFAIL;
	case -ENOENT:
		return EX_NOINPUT;
	case -EIO:
	case -EROFS:
		return EX_IOERR;
	case -EACCES:
	case -EPERM:
		return EX_NOPERM;
	default:
		return EXIT_FAILURE;
	}
}

int
store_check_main(const char *state_dir, bool json)
{
	struct store_problem why = { "" };
	struct store_report report;
	scoped_fd lock = lock_store(state_dir);
	int r = 0;

	/* Without that file no daemon uses it. */
	if (lock < 0 && lock != -ENOENT) {
		r = lock;
		snprintf(why.message, sizeof(why.message), "the store in %s: %s", state_dir,
			 r == -EBUSY ? "a daemon uses it; stop it first: pyprepctl stop"
				     : strerror(-r));
	}
	if (r == 0)
		r = store_look(state_dir, &report, &why);
	if (r < 0)
		return fail(r, &why);
	report_print(&report, json, stdout);
	return report.damage > 0 ? EX_DATAERR : EXIT_SUCCESS;
}

int
store_repair_main(const char *state_dir, bool json)
{
	struct store_problem why = { "" };
	struct store_report report;
	int r = store_rebuild(state_dir, &report, &why);

	if (r < 0)
		return fail(r, &why);
	report_print(&report, json, stdout);
	return EXIT_SUCCESS;
}
