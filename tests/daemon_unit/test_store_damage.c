/*
 * test_store_damage.c - bytes that a disk has changed or lost: told at open, when they are read, or
 * by a check; never a crash, never a job that is missing in silence.  Control arms show what the
 * guards are for.
 *
 * STORE_STEP=N looks at every Nth byte (1: at all of them).
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store_claims.h"
#include "ipc/clock.h"
#include "tests/daemon_unit/store_faults.h"
#include "tests/daemon_unit/store_fixture.h"
#include "tests/daemon_unit/store_images.h"
#include "tests/process.h"

static void
setup(void)
{
	faults_setup();
	store_setup();
}

static void
teardown(void)
{
	forget_images();
	store_teardown();
}

TestSuite(store_damage, .init = setup, .fini = teardown, .timeout = 280);

static size_t
step(size_t fallback)
{
	const char *text = getenv("STORE_STEP");
	return text != NULL ? strtoul(text, NULL, 10) : fallback;
}

/* ---- everything that is in the store, as text ---- */

static char *all;
static size_t all_size;
static FILE *out;

static void
print_bytes(const struct bytes *b)
{
	for (size_t i = 0; i < b->length; i++)
		fprintf(out, "%02x", ((const unsigned char *)b->at)[i]);
	fputc(' ', out);
}

static int
print_row(void *context, const struct store_row *row)
{
	const struct store_job *j = &row->job;
	(void)context;
	fprintf(out, "%llu %d %d %s %s %s %llu %lld %u %u %d %u %u %u ", (unsigned long long)j->id,
		row->ended, row->attached, j->kind, j->pool, j->key != NULL ? j->key : "-",
		(unsigned long long)j->submitted_ns, (long long)j->item_high, j->uid, j->gid,
		j->priority, j->flags, j->attempt, j->crashes);
	struct bytes token = { j->token, STORE_TOKEN };
	print_bytes(&token);
	print_bytes(&j->params);
	print_bytes(&j->policy);
	print_bytes(&j->context);
	print_bytes(&row->end.result);
	print_bytes(&row->end.message);
	fprintf(out, "%u %u %llu %llu\n", row->end.receipt.outcome.state, row->end.receipt.attempt,
		(unsigned long long)row->end.ended_ns, (unsigned long long)row->output_bytes[1]);
	return 0;
}

static int
print_output(void *context, uint32_t stream, uint64_t offset, const void *bytes, size_t length)
{
	(void)context;
	struct bytes b = { bytes, length };
	fprintf(out, "%u %llu ", stream, (unsigned long long)offset);
	print_bytes(&b);
	return 0;
}

static int
print_tally(void *context, uint32_t day, const char *kind, const char *pool, const void *figures,
	    size_t length)
{
	(void)context;
	struct bytes b = { figures, length };
	fprintf(out, "%u %s %s ", day, kind, pool);
	print_bytes(&b);
	return 0;
}

/* Read all there is.  0, or the first error. */
static int
read_all(uint64_t last)
{
	struct store_filter any = { .uid = UINT32_MAX };
	uint64_t from[3] = { 0 };
	free(all);
	out = open_memstream(&all, &all_size);
	int r = store_ops->load(store, 0, 100000, false, print_row, NULL);
	if (r == 0)
		r = store_ops->list(store, &any, print_row, NULL);
	for (uint64_t id = 1; id <= last && r == 0; id++) {
		r = store_ops->attempts(store, id, print_row, NULL);
		if (r == 0)
			r = store_ops->output(store, id, 0, from, print_output, NULL);
	}
	if (r == 0)
		r = store_ops->tallies(store, 0, print_tally, NULL);
	fclose(out);
	return r;
}

static int
try_open(struct store_problem *why)
{
	why->message[0] = '\0';
	return store_ops->open(&store, &store_options, why);
}

/* ---- the database ---- */

/* A byte of the database is changed: is it told when it is opened, or when all is read?  Nothing
 * that is read may differ. */
static void
flip_database(size_t every, bool noticed_change)
{
	char *good;
	unsigned at_open = 0, at_read = 0, unread = 0;
	struct store_problem why;

	fill_store();
	store_ops->close(store);
	store = NULL;
	take_images();
	cr_assert_eq(wal.length, 0);
	cr_assert_eq(try_open(&why), 0);
	cr_assert_eq(read_all(STORE_JOBS), 0);
	good = strdup(all);
	store_ops->close(store);
	store = NULL;
	take_images();
	for (size_t at = 0; at < database.length; at += every) {
		put_images();
		flip_byte("store.db", &database, at, (unsigned char)(1u << at % 8));
		if (noticed_change)
			cr_assert_eq(utimensat(AT_FDCWD, store_path("store.db"), NULL, 0), 0);
		int r = try_open(&why);
		cr_assert(r == 0 || r == -EBADMSG, "byte %zu: %s: %s", at, strerror(-r),
			  why.message);
		if (r < 0) {
			cr_assert_not_null(strstr(why.message, "store.db"), "%s", why.message);
			at_open++;
			continue;
		}
		r = read_all(STORE_JOBS);
		cr_assert(r == 0 || r == -EBADMSG, "byte %zu: %s", at, strerror(-r));
		if (r == 0) {
			cr_assert_str_eq(all, good, "byte %zu: read, and different", at);
			unread++;
		} else {
			at_read++;
		}
		store_ops->close(store);
		store = NULL;
	}
	fprintf(stderr,
		"%zu bytes of the database, one in %zu changed: told at open %u, when "
		"read %u, not read %u\n",
		database.length, every, at_open, at_read, unread);
	cr_assert_gt(at_open + at_read, 0);
	if (noticed_change)
		cr_assert_eq(at_read + unread, 0, "the file was changed: all of it is looked at");
	free(good);
}

Test(store_damage, a_changed_byte_of_the_database_is_told_when_it_is_read)
{
	flip_database(step(499), false);
}

Test(store_damage, a_database_that_somebody_has_written_is_looked_at_in_full)
{
	flip_database(step(211), true);
}

/* A page that the disk has lost, or put somewhere else. */
Test(store_damage, a_lost_or_misplaced_page_is_told)
{
	struct store_problem why;
	fill_store();
	store_ops->close(store);
	store = NULL;
	take_images();
	struct image good = database;
	for (size_t page = 0; page < good.length / 4096; page++)
		for (int other = 0; other < 2; other++) {
			database.bytes = malloc(good.length);
			memcpy(database.bytes, good.bytes, good.length);
			if (other != 0)
				memcpy(database.bytes + page * 4096,
				       good.bytes + (page + 1) % (good.length / 4096) * 4096, 4096);
			else
				memset(database.bytes + page * 4096, 0, 4096);
			put_images();
			cr_assert_eq(utimensat(AT_FDCWD, store_path("store.db"), NULL, 0), 0);
			cr_assert_eq(try_open(&why), -EBADMSG, "page %zu", page + 1);
			free(database.bytes);
		}
	database = good;
}

Test(store_damage, a_database_that_was_cut_is_told)
{
	struct store_problem why;
	fill_store();
	store_ops->close(store);
	store = NULL;
	take_images();
	for (size_t length = 1; length < database.length; length += step(4999)) {
		put_images();
		write_image("store.db", &database, length);
		int r = try_open(&why);
		if (r == 0) { /* all that is there is whole; what is not there is told */
			r = read_all(STORE_JOBS);
			store_ops->close(store);
			store = NULL;
		}
		cr_assert_eq(r, -EBADMSG, "cut at %zu: %s", length, strerror(-r));
	}
}

/* ---- the log ---- */

#define COMMITS 25u

/* Where the log ended when each commit was acknowledged. */
static size_t acknowledged[COMMITS + 1];

/* A writer that is killed: its files are what it leaves.  Commit i adds job i. */
static void
leave_log(void)
{
	struct stat st;
	store_reopen(); /* the schema is in the database */
	for (uint64_t id = 1; id <= COMMITS; id++) {
		struct store_change c = new_job(id);
		static unsigned char params[5000];
		c.job.params = (struct bytes){ params, id % 5 == 0 ? 5000 : 50 };
		cr_assert_eq(apply(&c), 0);
		cr_assert_eq(stat(store_path("store.db-wal"), &st), 0);
		acknowledged[id] = (size_t)st.st_size;
	}
	take_images();
	store_ops->close(store);
	store = NULL;
	put_images();
}

static int
is_next(void *context, const struct store_row *row)
{
	uint64_t *next = context;
	return row->job.id == ++*next ? 0 : -EPROTO;
}

/* The jobs that are there: 1 to how many, each once. */
static uint64_t
count_jobs(void)
{
	uint64_t count = 0;
	cr_assert_eq(store_ops->load(store, 0, 1000, false, is_next, &count), 0);
	cr_assert_eq(count, count_rows());
	return count;
}

Test(store_damage, a_log_cut_at_any_byte_loses_nothing_before_the_cut)
{
	struct store_problem why;
	leave_log();
	unsigned cuts = 0;
	for (size_t length = wal.length + 1; length-- > 0;) {
		bool edge = false;
		uint64_t expected = 0;
		for (uint64_t id = 1; id <= COMMITS; id++) {
			expected += acknowledged[id] <= length;
			edge = edge || length + 1 == acknowledged[id] || length == acknowledged[id];
		}
		if (!edge && length % step(4999) != 0)
			continue;
		put_images();
		write_image("store.db-wal", &wal, length);
		int r = try_open(&why);
		cr_assert_eq(r, 0, "cut at %zu: %s: %s", length, strerror(-r), why.message);
		cr_assert_eq(count_jobs(), expected, "cut at %zu", length);
		struct store_stats stats;
		cr_assert_eq(store_ops->stats(store, &stats), 0);
		/* What is left of the header counts, too, when it is whole. */
		size_t kept = expected > 0 ? acknowledged[expected] : length < 32 ? 0 : 32;
		cr_assert_eq(stats.repaired_bytes, length - kept, "cut at %zu: %llu", length,
			     (unsigned long long)stats.repaired_bytes);
		cr_assert_eq(stats.lost_frames > 0, expected < COMMITS);
		/* It works: and nothing of what was cut comes back. */
		add_job(1000);
		store_reopen();
		cr_assert_eq(count_rows(), expected + 1);
		store_ops->close(store);
		store = NULL;
		cuts++;
	}
	fprintf(stderr, "%u cuts of a log of %zu bytes\n", cuts, wal.length);
}

/* Every byte of the log was acknowledged: a changed one is damage, wherever it is. */
static unsigned
flip_log(size_t every, bool noted, unsigned *ret_silent)
{
	struct store_problem why;
	unsigned told = 0;

	*ret_silent = 0;
	for (size_t at = 0; at < wal.length; at += every) {
		put_images();
		if (!noted) { /* the note is gone with the power */
			int fd = open(store_path("claims"), O_RDWR | O_CLOEXEC);
			uint64_t nothing[2] = { 0 };
			cr_assert_eq(pwrite(fd, nothing, sizeof(nothing), 16),
				     (ssize_t)sizeof(nothing));
			close(fd);
		}
		flip_byte("store.db-wal", &wal, at, (unsigned char)(1u << at % 8));
		int r = try_open(&why);
		cr_assert(r == 0 || r == -EBADMSG, "byte %zu: %s: %s", at, strerror(-r),
			  why.message);
		if (r == -EBADMSG) {
			told++;
			cr_assert_not_null(strstr(why.message, "store.db-wal"), "%s", why.message);
			continue;
		}
		uint64_t jobs = count_jobs();
		if (jobs < COMMITS) {
			*ret_silent += 1;
			cr_assert_geq(at, acknowledged[jobs], "byte %zu: %llu jobs", at,
				      (unsigned long long)jobs);
			cr_assert_geq(jobs, COMMITS - 1,
				      "byte %zu: only the last commit may seem "
				      "torn",
				      at);
		}
		store_ops->close(store);
		store = NULL;
	}
	return told;
}

Test(store_damage, a_changed_byte_of_the_log_is_told)
{
	unsigned silent, told;
	leave_log();
	told = flip_log(step(61), true, &silent);
	fprintf(stderr, "a log of %zu bytes: told %u, silent %u\n", wal.length, told, silent);
	cr_assert_eq(silent, 0);
	cr_assert_eq(told, (wal.length + step(61) - 1) / step(61));
}

/* The control arm: without the note of what was acknowledged, the last commit looks torn; and no
 * commit before it does. */
Test(store_damage, without_the_note_a_damaged_last_commit_looks_torn)
{
	unsigned silent, told;
	leave_log();
	told = flip_log(step(307), false, &silent);
	fprintf(stderr, "without the note: told %u, silent %u\n", told, silent);
	cr_assert_gt(silent, 0);
	cr_assert_gt(told, silent);
}

Test(store_damage, a_log_that_is_gone_is_told)
{
	struct store_problem why;
	struct store_stats stats;
	leave_log();
	unlink(store_path("store.db-wal"));
	cr_assert_eq(try_open(&why), 0);
	cr_assert_eq(store_ops->stats(store, &stats), 0);
	cr_assert_gt(stats.lost_frames, 0);
}

/* ---- claims ---- */

Test(store_damage, a_torn_claim_is_none)
{
	struct store_problem why;
	uint64_t fence[4];
	for (uint64_t id = 1; id <= 3; id++) {
		add_job(id);
		cr_assert_eq(store_ops->claim(store, id, 1, &fence[id]), 0);
	}
	take_images();
	store_ops->close(store);
	store = NULL;
	/* The second slot, any byte of its fence, id, attempt and check. */
	for (size_t at = 4096 + 32; at < 4096 + 32 + 24; at++) {
		put_images();
		flip_byte("claims", &claims, at, 0x10);
		cr_assert_eq(try_open(&why), 0, "%s", why.message);
		struct kept *k = load(0, 10, false);
		cr_assert_eq(k->row.job.attempt, 1);
		cr_assert_eq(k->next->row.job.attempt, 0, "byte %zu", at);
		cr_assert_eq(k->next->row.fence, 0);
		cr_assert_eq(k->next->next->row.job.attempt, 1);
		store_ops->close(store);
		store = NULL;
	}
	/* All of the file is noise: it says nothing, and nothing breaks. */
	for (size_t i = 0; i < claims.length; i++)
		claims.bytes[i] = (unsigned char)(i * 2654435761u >> 13);
	put_images();
	cr_assert_eq(try_open(&why), 0, "%s", why.message);
	cr_assert_eq(load(0, 10, false)->row.job.attempt, 0);
}

/* ---- other programs ---- */

/* The daemon was killed, and somebody looks with sqlite3: closing, the shell copies the log into
 * the database, without our checksums.  The next daemon takes it as it is. */
Test(store_damage, a_log_that_another_program_has_copied_is_fine)
{
	struct store_problem why;
	leave_log();
	struct command_result r =
		run_command("sqlite3 '%s/store.db' 'SELECT count(*) FROM job'", store_dir);
	cr_assert_str_eq(r.output, "25\n", "%s", r.errors);
	command_free(&r);
	cr_assert_eq(access(store_path("store.db-wal"), F_OK), -1, "it did copy it");
	cr_assert_eq(try_open(&why), 0, "%s", why.message);
	cr_assert_eq(count_jobs(), COMMITS);
	store_ops->close(store);
	store = NULL;
	/* From now on all pages are sealed again. */
	take_images();
	put_images();
	flip_byte("store.db", &database, 5 * 4096 + 4000, 1);
	cr_assert_eq(utimensat(AT_FDCWD, store_path("store.db"), NULL, 0), 0);
	cr_assert_eq(try_open(&why), -EBADMSG);
}
