/*
 * test_store_repair.c - a damaged store is looked at and repaired: every row that was not hit is
 * there again, as it was; no row is there that was not; a repair that is killed is made again.
 *
 * STORE_STEP=N damages every Nth place, and kills at every Nth system call (1: at all of them).
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/store_check.h"
#include "tests/daemon_unit/store_fixture.h"
#include "tests/daemon_unit/store_images.h"
#include "tests/files.h"
#include "tests/process.h"

static struct store_report report;
static struct store_problem why;

static void
teardown(void)
{
	forget_images();
	store_teardown();
}

TestSuite(store_repair, .init = store_setup, .fini = teardown, .timeout = 600);

static size_t
step(size_t fallback)
{
	const char *text = getenv("STORE_STEP");
	return text != NULL ? strtoul(text, NULL, 10) : fallback;
}

static void
close_store(void)
{
	store_ops->close(store);
	store = NULL;
}

static int
open_store(void)
{
	return store_ops->open(&store, &store_options, &why);
}

/* Fill it; its files as the last handle leaves them, or, with `killed`, as a dead writer does. */
static void
fill_and_take(bool killed)
{
	if (!killed) {
		fill_store();
		close_store();
		take_images();
		return;
	}
	close_store();
	pid_t child = test_fork();
	if (child == 0) {
		if (open_store() < 0)
			_exit(1);
		fill_store();
		kill(getpid(), SIGKILL);
	}
	cr_assert_eq(WTERMSIG(wait_exit(child, 60000)), SIGKILL);
	take_images();
	cr_assert_gt(wal.length, 100000u);
}

/* ---- the jobs as they were ---- */

static struct kept *before[STORE_JOBS + 1];

static void
keep_jobs(void)
{
	cr_assert_eq(open_store(), 0, "%s", why.message);
	for (uint64_t id = 1; id <= STORE_JOBS; id++)
		before[id] = read_job(id);
	close_store();
}

static bool
is_lost(uint64_t id)
{
	for (uint64_t i = 0; i < report.lost && i < REPORT_LINES; i++)
		if (report.lost_id[i] == id)
			return true;
	return false;
}

/* What is there is what was there; returns how many jobs are not. */
static unsigned
compare_jobs(const char *what, size_t at)
{
	unsigned missing = 0;

	cr_assert_eq(open_store(), 0, "%s %zu: %s", what, at, why.message);
	for (uint64_t id = 1; id <= STORE_JOBS; id++) {
		const struct kept *old = before[id], *now = read_job(id);
		if (now == NULL) {
			missing++;
			continue;
		}
		const struct store_job *x = &old->row.job, *y = &now->row.job;
		cr_assert(!is_lost(id), "%s %zu: job %ju is said to be lost", what, at,
			  (uintmax_t)id);
		cr_assert_str_eq(x->kind, y->kind);
		cr_assert(same_bytes(&x->params, &y->params), "%s %zu: job %ju", what, at,
			  (uintmax_t)id);
		cr_assert_eq(memcmp(x->token, y->token, STORE_TOKEN), 0);
		cr_assert_eq(old->row.ended, now->row.ended, "%s %zu: job %ju", what, at,
			     (uintmax_t)id);
		cr_assert(now->row.ended || same_bytes(&x->context, &y->context), "%s %zu", what,
			  at);
	}
	/* No number is given twice. */
	struct store_stats stats;
	cr_assert_eq(store_ops->stats(store, &stats), 0);
	cr_assert_geq(stats.max_id, STORE_JOBS);
	close_store();
	return missing;
}

/* ---- damage ---- */

static struct sum {
	unsigned rounds, missing, worst;
} sum;

/* The store is damaged at `at`: it is told, repaired, and told to be whole. */
static void
repair_and_compare(const char *what, size_t at)
{
	cr_assert_eq(store_look(store_dir, &report, &why), 0, "%s %zu: %s", what, at, why.message);
	cr_assert_gt(report.damage, 0, "%s %zu: nothing was found", what, at);
	cr_assert_str_eq(report.verdict, "damaged");
	cr_assert_eq(store_rebuild(store_dir, &report, &why), 0, "%s %zu: %s", what, at,
		     why.message);
	cr_assert_str_eq(report.verdict, "repaired");
	unsigned missing = compare_jobs(what, at);
	/* A job goes with its own row, or with its directory and environment. */
	uint64_t pages = report.files.damaged_pages + report.files.missing_pages;
	cr_assert_leq(missing, report.bad_rows + report.lost + 30 * pages,
		      "%s %zu: %u jobs are missing", what, at, missing);
	sum.rounds++;
	sum.missing += missing;
	if (missing > sum.worst)
		sum.worst = missing;
	struct store_report again;
	cr_assert_eq(store_look(store_dir, &again, &why), 0);
	cr_assert_str_eq(again.verdict, "whole", "%s %zu: %s", what, at, again.line[0]);
	cr_assert_eq(access(store_path("store.db.damaged"), F_OK), 0);
	unlink(store_path("store.db.damaged"));
	unlink(store_path("store.db.damaged-wal"));
}

static void
say_sum(const char *what)
{
	fprintf(stderr, "%s: %u rounds, %.1f of %u jobs lost in each, %u at worst\n", what,
		sum.rounds, (double)sum.missing / sum.rounds, STORE_JOBS, sum.worst);
}

Test(store_repair, a_whole_store_is_left_alone)
{
	fill_and_take(false);
	cr_assert_eq(store_look(store_dir, &report, &why), 0);
	cr_assert_str_eq(report.verdict, "whole");
	cr_assert_eq(report.open + report.ended, STORE_JOBS);
	cr_assert_eq(report.ended, STORE_JOBS / 3);
	cr_assert_eq(report.attempts, STORE_JOBS / 3);
	cr_assert_eq(report.contexts, 2);
	cr_assert_eq(report.tallies, 9);
	cr_assert_eq(report.bad_rows, 0);
	cr_assert_eq(store_rebuild(store_dir, &report, &why), 0);
	cr_assert_str_eq(report.verdict, "whole");
	cr_assert_null(report.kept);
	struct image old = database;
	database = (struct image){ 0 };
	take_images();
	cr_assert_eq(old.length, database.length);
	cr_assert_eq(memcmp(old.bytes, database.bytes, old.length), 0);
	free(old.bytes);
}

Test(store_repair, a_writer_that_was_killed_leaves_a_whole_store)
{
	fill_and_take(true);
	cr_assert_eq(store_look(store_dir, &report, &why), 0);
	cr_assert_str_eq(report.verdict, "whole");
	cr_assert_eq(report.open + report.ended, STORE_JOBS);
	cr_assert_gt(report.files.frames, 100);
}

Test(store_repair, a_changed_byte_of_the_database_costs_the_rows_that_it_hit)
{
	fill_and_take(false);
	keep_jobs();
	take_images();
	for (size_t at = 0; at < database.length; at += step(1499)) {
		put_images();
		flip_byte("store.db", &database, at, (unsigned char)(1u << at % 8));
		repair_and_compare("byte", at);
	}
	say_sum("a byte changed");
	cr_assert_lt(sum.missing, sum.rounds * 4);
}

Test(store_repair, a_page_that_the_disk_has_lost_costs_its_rows)
{
	fill_and_take(false);
	keep_jobs();
	take_images();
	for (size_t page = 0; page < database.length / 4096; page++) {
		struct image spoilt = { malloc(database.length), database.length,
					database.changed };
		memcpy(spoilt.bytes, database.bytes, database.length);
		memset(spoilt.bytes + page * 4096, 0, 4096);
		put_images();
		write_image("store.db", &spoilt, spoilt.length);
		free(spoilt.bytes);
		repair_and_compare("page", page + 1);
	}
	say_sum("a page of zeros");
}

Test(store_repair, a_database_that_was_cut_gives_what_is_left)
{
	fill_and_take(false);
	keep_jobs();
	take_images();
	for (size_t length = 4096; length < database.length; length += step(9999)) {
		put_images();
		write_image("store.db", &database, length);
		repair_and_compare("length", length);
	}
	say_sum("the database cut");
	cr_assert_lt(sum.missing, sum.rounds * STORE_JOBS);
}

/* The jobs behind the damage were acknowledged: nearly all of them are there again. */
Test(store_repair, a_changed_byte_of_the_log_costs_little)
{
	fill_and_take(true);
	put_images();
	keep_jobs();
	for (size_t at = 0; at < wal.length; at += step(7919)) {
		put_images();
		flip_byte("store.db-wal", &wal, at, (unsigned char)(1u << at % 8));
		cr_assert_eq(store_look(store_dir, &report, &why), 0);
		if (report.damage == 0)
			continue; /* behind the last commit, or a field that says nothing */
		repair_and_compare("byte of the log", at);
	}
	say_sum("a byte of the log changed");
	cr_assert_gt(sum.rounds, 20);
	cr_assert_lt(sum.missing, sum.rounds);
}

/* The control arm: by the log's own rules it ends at the damage. */
Test(store_repair, without_rows_that_know_themselves_all_behind_the_damage_is_lost)
{
	unsigned lost = 0;

	fill_and_take(true);
	put_images();
	keep_jobs();
	put_images();
	write_image("store.db-wal", &wal, wal.length / 2);
	unlink(store_path("claims")); /* which note how far it went */
	cr_assert_eq(open_store(), 0, "%s", why.message);
	for (uint64_t id = 1; id <= STORE_JOBS; id++) {
		const struct kept *now = read_job(id);
		lost += now == NULL || now->row.ended != before[id]->row.ended;
	}
	close_store();
	cr_assert_gt(lost, STORE_JOBS / 4);
}

/* ---- what people ask for in vain ---- */

Test(store_repair, one_in_use_is_left_alone)
{
	fill_store();
	cr_assert_eq(store_rebuild(store_dir, &report, &why), -EBUSY);
	cr_assert_not_null(strstr(why.message, "another daemon uses the store"));
}

Test(store_repair, where_there_is_none_nothing_is_made)
{
	char none[300];

	snprintf(none, sizeof(none), "%s/none", store_dir);
	cr_assert_eq(store_look(none, &report, &why), -ENOENT);
	cr_assert_eq(store_rebuild(none, &report, &why), -ENOENT);
	cr_assert_not_null(strstr(why.message, "there is no store"));
	cr_assert_neq(access(none, F_OK), 0);
}

/* ---- killed ---- */

/* Repair in a child that is killed instead of its system call number `at`.  true: it was. */
static bool
repair_killed_at(size_t at)
{
	pid_t child = test_fork();
	int status;

	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(store_rebuild(store_dir, &report, &why) == 0 ? 0 : 1);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	for (size_t calls = 0; calls < 2 * at;) {
		cr_assert_eq(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
		cr_assert_eq(waitpid(child, &status, 0), child);
		if (WIFEXITED(status)) {
			cr_assert_eq(WEXITSTATUS(status), 0);
			return false;
		}
		calls++; /* once before the call, once behind it */
	}
	kill_and_wait(child, SIGKILL);
	return true;
}

Test(store_repair, killed_at_any_system_call_it_is_made_again)
{
	size_t at = 1, kept = 0, open_before = 0;

	fill_and_take(false);
	keep_jobs();
	take_images();
	for (;; at += step(7)) {
		put_images();
		flip_byte("store.db", &database, 20000, 0x10);
		if (!repair_killed_at(at))
			break;
		/* The next daemon refuses the old one, or has the new one. */
		int r = open_store();
		cr_assert(r == 0 || r == -EBADMSG, "call %zu: %s", at, why.message);
		if (r == 0) {
			kept++;
			open_before += count_rows() > 0;
			close_store();
		}
		cr_assert_eq(store_rebuild(store_dir, &report, &why), 0, "call %zu: %s", at,
			     why.message);
		unsigned missing = compare_jobs("call", at);
		cr_assert_lt(missing, STORE_JOBS / 2, "call %zu: %u missing", at, missing);
		cr_assert_eq(access(store_path("store.db.damaged"), F_OK), 0, "call %zu", at);
		unlink(store_path("store.db.damaged"));
		unlink(store_path("store.db.damaged-wal"));
	}
	fprintf(stderr, "%zu system calls, one in %zu struck; after %zu the new one was there\n",
		at, step(7), kept);
	cr_assert_gt(at, 100);
	cr_assert_eq(open_before, kept);
}
