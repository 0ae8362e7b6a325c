/*
 * test_store_sqlite.c - what the engine `sqlite` promises beyond daemon/store.h: a schema for
 * people, room, files that stay bounded.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/store_vfs.h"
#include "daemon/store_wal.h"
#include "ipc/clock.h"
#include "tests/daemon_unit/store_fixture.h"
#include "tests/process.h"

TestSuite(store_sqlite, .init = store_setup, .fini = store_teardown, .timeout = 120);

static uint64_t
file_bytes(const char *name)
{
	char path[300];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", store_dir, name);
	return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* What the sqlite3 shell says. */
static const char *
ask(const char *sql)
{
	static char text[4096];
	struct command_result r =
		run_command("sqlite3 -readonly '%s/store.db' \"%s\" 2>&1", store_dir, sql);

	snprintf(text, sizeof(text), "%s", r.output);
	command_free(&r);
	return text;
}

/* Change it as the daemon would. */
static void
change_store(const char *sql)
{
	char path[300];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/store.db", store_dir);
	if (sqlite.open_v2(path, &db, SQLITE_OPEN_READWRITE, STORE_VFS) != SQLITE_OK ||
	    sqlite.exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		abort();
	(void)sqlite.close(db);
}

/* ---- for people ---- */

Test(store_sqlite, history_is_in_words_for_the_sqlite3_shell)
{
	struct store_change c = new_job(1);
	c.job.key = "nightly";
	c.job.submitted_ns = 1700000000123456789;
	cr_assert_eq(apply(&c), 0);
	add_job(2);
	c = new_end(1, JOB_TIMED_OUT);
	c.end.ended_ns = 1700000001000000000;
	c.end.message = (struct bytes){ "too slow", 8 };
	c.end.receipt.submitted_ns = 100;
	c.end.receipt.received_ns = 200;
	c.end.receipt.handed_ns = 200 + 3 * NS_PER_MS;
	c.end.receipt.outcome.started_ns = 200 + 4 * NS_PER_MS;
	c.end.receipt.outcome.ended_ns = 200 + 10 * NS_PER_MS;
	c.end.receipt.outcome.cause = CAUSE_TIMEOUT;
	c.end.receipt.outcome.error = ERR_TIMED_OUT;
	cr_assert_eq(apply(&c), 0);
	/* While the daemon has it, and when it is gone. */
	for (int again = 0; again < 2; again++) {
		cr_assert_str_eq(ask("SELECT id, state, kind, pool, key, how, submitted, ended, "
				     "cause, error, message, queue_ms, run_ms FROM history "
				     "WHERE state <> 'open'"),
				 "1|timed_out|sleep|io|nightly|detached|2023-11-14T22:13:20.123Z|"
				 "2023-11-14T22:13:21.000Z|timeout|timed_out|too slow|3.0|6.0\n");
		cr_assert_str_eq(ask("SELECT id, state, ended FROM history WHERE id = 2"),
				 "2|open|\n");
		cr_assert_str_eq(ask("SELECT job, state, cause FROM attempts"),
				 "1|timed_out|timeout\n");
		store_ops->close(store);
		store = NULL;
	}
}

/* ---- room ---- */

Test(store_sqlite, contexts_go_with_their_last_job)
{
	for (uint64_t id = 1; id <= 20; id++) {
		struct store_change c = new_job(id);
		c.job.context = (struct bytes){ id % 2 ? "022\0/one\0" : "022\0/two\0", 9 };
		cr_assert_eq(apply(&c), 0);
	}
	cr_assert_str_eq(ask("SELECT count(*) FROM context"), "2\n");
	for (uint64_t id = 1; id <= 19; id += 2) {
		struct store_change c = { .type = CHANGE_REMOVE, .job.id = id };
		end_job(id, JOB_SUCCEEDED);
		cr_assert_eq(apply(&c), 0);
	}
	cr_assert_eq(store_ops->prune(store, 10), 0);
	cr_assert_str_eq(ask("SELECT count(*) FROM context"), "1\n");
	cr_assert_str_eq((const char *)read_job(2)->row.job.context.at + 4, "/two");
	add_job(30);
	struct store_change c = new_job(31);
	c.job.context = (struct bytes){ "022\0/one\0", 9 };
	cr_assert_eq(apply(&c), 0);
	cr_assert_str_eq((const char *)read_job(31)->row.job.context.at + 4, "/one");
}

Test(store_sqlite, a_queued_job_takes_at_most_512_bytes)
{
	static unsigned char params[128];
	static struct store_change c[500];
	uint64_t jobs = 20000;
	for (uint64_t id = 1; id <= jobs;) {
		size_t n = 0;
		for (; n < 500; n++, id++) {
			c[n] = new_job(id);
			c[n].job.params = (struct bytes){ params, sizeof(params) };
		}
		cr_assert_eq(store_ops->apply(store, c, n), 0);
	}
	store_reopen();
	uint64_t bytes = file_bytes("store.db") + file_bytes("store.db-wal");
	cr_assert_leq(bytes / jobs, 512, "%llu bytes a job", (unsigned long long)(bytes / jobs));
	/* The claims are of one size, however many jobs there are. */
	cr_assert_leq(file_bytes("claims"), STORE_CLAIMS * 32 + 8192);
}

Test(store_sqlite, the_log_is_bounded_and_goes_when_it_is_closed)
{
	static unsigned char params[3000];
	uint64_t most = 0;
	for (uint64_t id = 1; id <= 12000; id += 100) {
		static struct store_change c[100];
		for (unsigned i = 0; i < 100; i++) {
			c[i] = new_job(id + i);
			c[i].job.params = (struct bytes){ params, sizeof(params) };
		}
		cr_assert_eq(store_ops->apply(store, c, 100), 0);
		if (file_bytes("store.db-wal") > most)
			most = file_bytes("store.db-wal");
	}
	cr_assert_geq(file_bytes("store.db"), 12000 * 3000);
	cr_assert_leq(most, 16 << 20, "%llu bytes", (unsigned long long)most);
	store_ops->close(store);
	store = NULL;
	cr_assert_eq(file_bytes("store.db-wal"), 0);
}

Test(store_sqlite, room_of_pruned_jobs_is_given_back)
{
	static unsigned char params[3000];
	store_options.keep_ns = 1;
	store_reopen();
	for (uint64_t id = 1; id <= 5000; id++) {
		struct store_change c[2] = { new_job(id), new_end(id, JOB_SUCCEEDED) };
		c[0].job.params = (struct bytes){ params, sizeof(params) };
		cr_assert_eq(store_ops->apply(store, c, 2), 0);
	}
	for (int n = 1; n > 0;)
		n = store_ops->prune(store, 1000);
	cr_assert_eq(count_rows(), 0);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(store_ops->prune(store, 1000), 0);
	store_ops->close(store);
	store = NULL;
	cr_assert_leq(file_bytes("store.db"), 4 << 20);
}

/* ---- versions ---- */

Test(store_sqlite, a_store_of_a_newer_version_is_refused_and_left_alone)
{
	struct store_problem why;
	add_job(1);
	store_ops->close(store);
	store = NULL;
	change_store("PRAGMA user_version = 99");
	cr_assert_eq(store_ops->open(&store, &store_options, &why), -EPROTO);
	cr_assert_not_null(strstr(why.message, "version 99"), "%s", why.message);
	cr_assert_str_eq(ask("SELECT count(*) FROM job"), "1\n");
}

Test(store_sqlite, a_reader_of_an_empty_directory_finds_nothing)
{
	struct store *reader;
	struct store_problem why = { "" };
	struct store_options options = { .state_dir = "/nonexistent/pyprep", .read_only = true };
	cr_assert_eq(store_ops->open(&reader, &options, &why), -ENOENT, "%s", why.message);
}

/* "It cannot be read" is not "it is another log": that one is cut to nothing. */
Test(store_sqlite, a_log_that_cannot_be_told_is_not_cut)
{
	struct wal_mark mark = { .salt = 1, .frames = 1 }, untold = { .salt = 0, .frames = 1 };
	char path[300];

	cr_assert_eq(wal_cut("/proc/self/mem", &mark), -EIO); /* nothing is mapped at 0 */
	add_job(1);
	uint64_t before = file_bytes("store.db-wal");
	cr_assert_gt(before, 0);
	snprintf(path, sizeof(path), "%s/store.db-wal", store_dir);
	cr_assert_eq(wal_cut(path, &untold), -EIO);
	cr_assert_eq(file_bytes("store.db-wal"), before);
	/* The control: another log's salt. */
	cr_assert_eq(wal_cut(path, &mark), 0);
	cr_assert_eq(file_bytes("store.db-wal"), 0);
}
