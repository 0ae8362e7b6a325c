/*
 * test_crowd.c - crowds of bad clients, small: tests/fault/bad_clients has them large.  And what
 * one of them could take from the others: the table, memory, descriptors.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "tests/daemon/crowd.h"
#include "tests/daemon/jobs.h"
#include "tests/daemon/raw.h"

#define MIB (1024.0 * 1024)

static struct test_daemon d;

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(crowd, .fini = teardown, .timeout = 300);

/* Its allocator keeps what was freed: memory says nothing there. */
#if defined(__SANITIZE_ADDRESS__)
static const struct crowd_limits limits = { .left_bytes = 0 };
#else
/* Few clients: what the broker allocates by the way weighs more for each. */
static const struct crowd_limits limits = {
	.broker_bytes = { 65536, 262144, 4 * MIB, 65536 },
	.left_bytes = 16 * MIB,
};
#endif

static const unsigned counts[CROWD_SORTS] = { 60, 30, 24, 30 };

static unsigned
seed_of_test(void)
{
	const char *given = getenv("SEED");
	unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

	fprintf(stderr, "seed %u\n", seed);
	return seed;
}

Test(crowd, of_each_sort_hurts_itself_only_and_leaves_nothing)
{
	struct crowd_report r;

	crowd_run(&d, counts, 200, 20000, &limits, seed_of_test(), false, &r);
	cr_expect_str_empty(r.text);
	cr_expect_eq(r.among.jobs, 200);
	cr_expect_eq(r.churn.jobs, 200);
	for (int i = 0; i < CROWD_SORTS; i++)
		cr_expect_eq(r.cost[i].connected, counts[i], "%s: %u came", crowd_names[i],
			     r.cost[i].connected);
}

Test(crowd, that_does_not_go_is_seen)
{
	static const unsigned few[CROWD_SORTS] = { 3, 0, 0, 0 };
	struct crowd_report r;

	crowd_run(&d, few, 10, 1000, &limits, seed_of_test(), true, &r);
	cr_expect(strstr(r.text, "3 clients and") != NULL, "\"%s\"", r.text);
}

/* ---- the table ---- */

/* How many jobs the table has, when all that could be submitted was. */
static uint64_t
jobs_after(struct raw *r, uint16_t kind, uint16_t pool, const void *params, uint32_t length)
{
	struct test_status status = { 0 };

	while (raw_submit(r, 1, kind, pool, params, length) == 0)
		;
	return daemon_status(&d, &status) == 0 ? status.table_jobs : 0;
}

static void
expect_room_for(struct pyprep *good)
{
	struct pyprep_receipt receipt;

	cr_assert_eq(run_job(good, "noop", "cpu", NULL, 20000, &receipt), 0,
		     "the table is full of others' jobs");
	cr_expect_str_eq(receipt.state, "succeeded");
}

/* Of 3,200 places the last 400 are kept: 5 for each of 20 clients, 200 for detached jobs. */
#define GREEDY 12
#define FIRST  2800u
#define PART   5u
#define MOST   3000u /* with detached ones */

/* Detached jobs for a pool that does not start them, until one is refused. */
static void
fill_with_detached(struct pyprep *p)
{
	struct pyprep_job job = { .kind = "noop",
				  .pool = "off",
				  .flags = PYPREP_DETACH | PYPREP_NO_WAIT };
	struct pyprep_prepared *detached;
	struct pyprep_event event;

	cr_assert_eq(pyprep_prepare(p, &job, &detached, NULL), 0);
	do {
		cr_assert_eq(pyprep_submit_prepared(p, detached, NULL, NULL), 0);
		cr_assert_eq(pyprep_next(p, 20000, &event), 1);
	} while (event.type == PYPREP_ACCEPTED);
	cr_assert_eq(event.type, PYPREP_RECEIPT);
	cr_expect_str_eq(event.receipt.state, "refused");
	pyprep_prepared_free(detached);
}

Test(crowd, that_submits_without_end_leaves_room_in_the_table)
{
	struct test_status status;
	struct raw *r[GREEDY];
	uint16_t kind, pool;

	daemon_begin(&d, "[daemon]\nmax_jobs = 3200\nmax_clients = 20\n"
			 "[pool \"cpu\"]\nexecutor = process\nworkers = 1\n"
			 "[pool \"off\"]\nexecutor = process\nworkers = 1\n");
	struct pyprep *good = daemon_connect(&d);
	cr_assert_eq(ask(good, "pause", "pool=off", NULL), 0);
	for (unsigned i = 0; i < GREEDY; i++) {
		uint64_t most = FIRST + PART * i;
		r[i] = raw_open(&d);
		raw_resolve(r[i], "noop", "off", &kind, &pool);
		cr_assert(wait_until(20000, jobs_after(r[i], kind, pool, "\x80", 1) >= most),
			  "client %u gets less", i);
		expect_room_for(good);
		cr_expect_eq(jobs_after(r[i], kind, pool, "\x80", 1), most);
	}
	fill_with_detached(good);
	cr_expect_eq(daemon_status(&d, &status) == 0 ? status.table_jobs : 0, MOST);
	expect_room_for(good);
	/* They get what they wait for when there is room again. */
	raw_close(r[0]);
	cr_expect(wait_until(20000, daemon_status(&d, &status) == 0 && status.table_jobs == FIRST),
		  "%ju jobs", (uintmax_t)status.table_jobs);
	expect_room_for(good);
	for (unsigned i = 1; i < GREEDY; i++)
		raw_close(r[i]);
	pyprep_close(good);
}

/* Of 1 MiB the last eighth is kept, of which each client may have one job, or 128 bytes. */
Test(crowd, that_submits_long_parameters_leaves_bytes_in_the_table)
{
	static unsigned char params[20000] = "\x81\xa5"
					     "bytes\xda";
	struct pyprep_receipt receipt;
	uint16_t kind, pool;
	char text[200] = "bytes=";

	daemon_begin(&d, "[daemon]\nmax_job_bytes = 1M\n"
			 "[pool \"cpu\"]\nexecutor = process\nworkers = 1\n"
			 "[pool \"off\"]\nexecutor = process\nworkers = 1\n");
	struct pyprep *good = daemon_connect(&d);
	cr_assert_eq(ask(good, "pause", "pool=off", NULL), 0);
	uint32_t length = sizeof(params) - 10; /* {"bytes": str16} */
	params[8] = (unsigned char)(length >> 8);
	params[9] = (unsigned char)length;
	memset(params + 10, 'x', length);
	memset(text + 6, 'y', sizeof(text) - 7); /* outside of struct job */
	struct raw *r[3];
	for (unsigned i = 0; i < 3; i++) {
		r[i] = raw_open(&d);
		raw_resolve(r[i], "echo", "off", &kind, &pool);
		cr_assert(wait_until(20000, jobs_after(r[i], kind, pool, params, sizeof(params)) >=
						    45 + i));
		cr_assert_eq(run_job(good, "echo", "cpu", text, 20000, &receipt), 0,
			     "the table is full of another's parameters");
		cr_expect_str_eq(receipt.state, "succeeded");
		cr_expect_eq(jobs_after(r[i], kind, pool, params, sizeof(params)), 45 + i);
	}
	for (unsigned i = 0; i < 3; i++)
		raw_close(r[i]);
	pyprep_close(good);
}

/* ---- memory ---- */

/* What is refused has a receipt, too: they piled up to 64 MiB, and the client was let go. */
Test(crowd, that_reads_no_refusal_is_not_listened_to_until_it_does)
{
	struct receipt receipt;
	uint64_t got = 0;

	daemon_begin(&d, "[pool \"cpu\"]\nexecutor = process\nworkers = 1\n");
	struct pyprep *good = daemon_connect(&d);
	pid_t broker = daemon_broker(&d);
	struct raw *r = raw_open(&d);
	uint64_t before = process_memory(broker, "RssAnon"), sent = 0, taken_ms = test_now_ms();

	while (test_now_ms() - taken_ms < 500)
		if (raw_submit(r, sent, 9999, 0, "\x80", 1) == 0) {
			taken_ms = test_now_ms();
			cr_assert_lt(++sent, 100000, "it is listened to for ever");
		} else {
			test_pause();
		}
	expect_room_for(good);
	uint64_t grown = process_memory(broker, "RssAnon") - before;
	if (limits.left_bytes > 0)
		cr_expect(grown < 8 * (1u << 20), "%ju bytes", (uintmax_t)grown);
	/* It reads after all: one receipt for each. */
	while (got < sent && raw_receipt(r, 20000, &receipt) == 1)
		cr_assert_eq(receipt.tag, got++);
	cr_expect_eq(got, sent);
	cr_expect_eq(daemon_broker(&d), broker);
	raw_close(r);
	pyprep_close(good);
}

/* ---- descriptors ---- */

Test(crowd, may_be_larger_than_the_soft_limit_of_descriptors)
{
	struct rlimit before, low;
	struct pyprep *p[100];

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = 80;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	daemon_begin(&d, "[pool \"cpu\"]\nexecutor = process\nworkers = 1\n"
			 "[pool \"shell\"]\nexecutor = command\nworkers = 1\n");
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (int i = 0; i < 100; i++)
		p[i] = daemon_connect(&d);
	expect_room_for(p[99]);
	/* A command has the limit that the daemon was started with. */
	struct pyprep_receipt receipt;
	receipt_for(p[0], start_shell(p[0], "exit $(ulimit -Sn)", 0), 20000, &receipt);
	cr_expect_eq(receipt.cause_value, 80, "%d", receipt.cause_value);
	for (int i = 0; i < 100; i++)
		pyprep_close(p[i]);
}
