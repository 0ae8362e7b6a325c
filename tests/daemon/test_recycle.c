/*
 * test_recycle.c - workers are replaced while they work: the pool is never short of one, no job is
 * lost or run twice, whoever dies meanwhile.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/daemon/jobs.h"
#include "tests/daemon/kills.h"

#define CONFIG                                                                     \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 3\nrecycle_jobs = 50\n"     \
	"[pool \"threads\"]\nexecutor = thread\nworkers = 2\nconcurrency = 2\n"    \
	"recycle_jobs = 50\n"                                                      \
	"[pool \"io\"]\nexecutor = event\nworkers = 2\nrecycle_jobs = 50\n"        \
	"[pool \"shell\"]\nexecutor = command\nworkers = 2\nrecycle_jobs = 5\n"    \
	"[pool \"grows\"]\nexecutor = process\nworkers = 1\nrecycle_growth = 4M\n" \
	"[pool \"one\"]\nexecutor = process\nworkers = 1\nrecycle_jobs = 50\n"     \
	"[pool \"plain\"]\nexecutor = process\nworkers = 1\n"

static struct test_daemon d;

static void
setup(void)
{
	daemon_begin(&d, CONFIG);
	/* They come a little after all else. */
	cr_assert(wait_until(20000, child_with_title(d.pid, "pyprepd: spare") != 0 &&
					    child_with_title(d.pid, "pyprepd: manager") != 0));
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(recycle, .init = setup, .fini = teardown, .timeout = 300);

static struct status_pool
look(const char *pool)
{
	static struct test_status status;

	cr_assert_eq(daemon_status(&d, &status), 0);
	struct status_pool *p = status_pool(&status, pool);
	cr_assert_not_null(p);
	return *p;
}

static unsigned
children(void)
{
	pid_t list[64];

	return (unsigned)list_children(d.pid, list, 64);
}

/* Keep `flight` jobs under way until the pool has recycled `times` workers; how many were run. */
static unsigned
load_until_recycled(const char *kind, const char *pool, const char *params, unsigned flight,
		    uint64_t times)
{
	enum { MOST = 200000 };
	struct pyprep *p = daemon_connect(&d);
	struct tally t = { 0 };
	struct pyprep_receipt receipt;
	unsigned sent = 0;
	bool enough = false;

	while (!enough || pyprep_outstanding(p) > 0) {
		while (!enough && pyprep_outstanding(p) < flight) {
			start(p, kind, pool, params, 0);
			sent++;
		}
		cr_assert_eq(next_receipt(p, 20000, &receipt), 1);
		tally_add(&t, &receipt);
		if (!enough && t.receipts % 50 == 0)
			enough = look(pool).recycled >= times;
		cr_assert_lt(sent, MOST, "only %ju of %ju workers were replaced",
			     (uintmax_t)look(pool).recycled, (uintmax_t)times);
	}
	cr_expect_eq(t.receipts, sent, "%ju receipts of %u jobs", (uintmax_t)t.receipts, sent);
	cr_expect_eq(t.succeeded, sent, "%ju of %u succeeded", (uintmax_t)t.succeeded, sent);
	pyprep_close(p);
	return sent;
}

static void
expect_whole(const char *pool)
{
	struct status_pool now = look(pool);

	cr_expect_eq(now.able_least, now.size, "pool %s had only %ju workers of %ju for a while",
		     pool, (uintmax_t)now.able_least, (uintmax_t)now.size);
	cr_expect(wait_until(20000, look(pool).able == now.size));
}

Test(recycle, never_leaves_a_pool_short_of_a_worker)
{
	static const struct {
		const char *kind, *pool, *params;
		unsigned flight;
		uint64_t times;
	} rows[] = {
		{ "sleep", "cpu", "ms=1", 16, 12 },    { "noop", "cpu", NULL, 200, 24 },
		{ "sleep", "threads", "ms=1", 16, 8 }, { "sleep", "io", "ms=1", 50, 8 },
		{ "noop", "one", NULL, 4, 6 },
	};
	unsigned before = children();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		load_until_recycled(rows[i].kind, rows[i].pool, rows[i].params, rows[i].flight,
				    rows[i].times);
		expect_whole(rows[i].pool);
	}
	/* The spare is back, the old ones are gone. */
	cr_expect(wait_until(20000, children() == before), "%u children, %u before", children(),
		  before);
	cr_expect_eq(look("plain").recycled, 0);
}

/* The figure that the test above believes does fall when a worker is missing. */
Test(recycle, the_count_of_able_workers_sees_one_that_is_missing)
{
	cr_assert(wait_until(20000, look("cpu").able_least == 3));
	daemon_kill_worker(&d, "cpu", 1);
	cr_expect(wait_until(20000, look("cpu").able_least == 2));
	cr_expect(wait_until(20000, look("cpu").able == 3));
	cr_expect_eq(look("cpu").recycled, 0);
}

Test(recycle, runs_each_command_once)
{
	struct pyprep *p = daemon_connect(&d);
	struct tally t = { 0 };
	char script[200];

	snprintf(script, sizeof(script), "echo $PYPREP_JOB >>%s/ran", d.root);
	for (int i = 0; i < 200; i++)
		start_shell(p, script, 0);
	cr_assert(finish_all(p, 60000, &t));
	cr_expect_eq(t.succeeded, 200);
	struct command_result lines = run_command("wc -l <%s/ran", d.root);
	struct command_result unique = run_command("sort -u %s/ran | wc -l", d.root);
	cr_expect_eq(atoi(lines.output), 200);
	cr_expect_eq(atoi(unique.output), 200);
	command_free(&lines);
	command_free(&unique);
	cr_expect_gt(look("shell").recycled, 5);
	expect_whole("shell");
	pyprep_close(p);
}

/* ---- what it is for ---- */

static void
run(const char *pool, const char *params)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;

	cr_assert_eq(run_job(p, params != NULL ? "fail" : "noop", pool, params, 20000, &receipt),
		     0);
	cr_assert_str_eq(receipt.state, "succeeded", "%s", receipt.error_message);
	pyprep_close(p);
}

Test(recycle, mends_a_worker_that_has_grown)
{
	pid_t before = daemon_worker(&d, "grows", 0);

	for (int i = 0; i < 3; i++)
		run("grows", "how=leak_memory bytes=1048576");
	cr_expect_eq(daemon_worker(&d, "grows", 0), before);
	unsigned more = 0;
	while (look("grows").recycled == 0 && more < 200) {
		run("grows", "how=leak_memory bytes=1048576");
		more++;
	}
	cr_expect_leq(more, 100, "%u MiB more",
		      more); /* the first look may be late, not that late */
	cr_expect(wait_until(20000, daemon_worker(&d, "grows", 0) != before));
	expect_whole("grows");
}

Test(recycle, mends_a_worker_with_descriptors_left_open)
{
	pid_t before = daemon_worker(&d, "plain", 0);

	run("plain", "how=leak_child");
	run("plain", "how=leak_segment");
	cr_expect_eq(daemon_worker(&d, "plain", 0), before);
	run("plain", "how=leak_fd");
	cr_expect(wait_until(20000, look("plain").recycled == 1));
	cr_expect(wait_until(20000,
			     daemon_worker(&d, "plain", 0) != before && !process_exists(before)));
	expect_whole("plain");
}

/* ---- deaths ---- */

/* Stop the process that will be the next heir, so that it is not ready before we say so. */
static pid_t
stop_next_heir(void)
{
	pid_t spare = 0;

	cr_assert(wait_until(20000, (spare = child_with_title(d.pid, "pyprepd: spare")) != 0));
	kill(spare, SIGSTOP);
	cr_assert(wait_until(20000, process_state(spare) == 'T'));
	return spare;
}

/* Processes that call themselves spare: one that is stopped does so when it is none any more. */
static unsigned
spares(void)
{
	pid_t list[64];
	char title[64];
	unsigned n = 0;
	int count = list_children(d.pid, list, 64);

	for (int i = 0; i < count; i++)
		n += process_title(list[i], title, sizeof(title)) &&
		     strncmp(title, "pyprepd: spare", 14) == 0;
	return n;
}

/* Run jobs until the spare is the heir; the worker has not changed. */
static void
make_heir(pid_t spare)
{
	pid_t worker = daemon_worker(&d, "one", 0);

	for (int i = 0; i < 60; i++)
		run("one", NULL);
	/* Another spare is made when this one has been taken. */
	cr_assert(wait_until(20000, spares() == 2), "no heir was started");
	for (int i = 0; i < 20; i++)
		run("one", NULL);
	cr_expect_eq(daemon_worker(&d, "one", 0), worker,
		     "the worker left before its heir was ready");
	cr_expect_eq(look("one").recycled, 0);
	cr_expect_eq(process_state(spare), 'T');
}

Test(recycle, waits_for_an_heir_and_survives_its_death)
{
	pid_t spare = stop_next_heir(), worker = daemon_worker(&d, "one", 0);

	make_heir(spare);
	kill(spare, SIGKILL);
	cr_expect(wait_until(20000, look("one").recycled == 1), "no other heir was started");
	cr_expect(wait_until(20000, daemon_worker(&d, "one", 0) != worker));
	run("one", NULL);
	expect_whole("one");
}

/* Also of one that is not ready. */
static pid_t
pid_in(const char *pool)
{
	return look(pool).workers[0].pid;
}

Test(recycle, an_heir_takes_over_from_a_worker_that_dies)
{
	pid_t spare = stop_next_heir(), worker = daemon_worker(&d, "one", 0);

	make_heir(spare);
	kill(worker, SIGKILL);
	cr_expect(wait_until(20000, pid_in("one") == spare), "another was started");
	kill(spare, SIGCONT);
	run("one", NULL);
	cr_expect_eq(daemon_worker(&d, "one", 0), spare);
	cr_expect(wait_until(20000, look("one").able == 1));
}

Test(recycle, an_heir_of_a_pool_that_shrinks_is_dropped)
{
	pid_t spare = stop_next_heir();
	struct pyprep *p = daemon_connect(&d);

	make_heir(spare);
	cr_assert_eq(ask(p, "resize", "pool=one workers=0", NULL), 0);
	cr_expect(wait_until(20000, !process_exists(spare)));
	cr_assert_eq(ask(p, "resize", "pool=one workers=1", NULL), 0);
	cr_expect(wait_until(20000, look("one").able == 1));
	run("one", NULL);
	pyprep_close(p);
}

Test(recycle, goes_on_when_brokers_die)
{
	unsigned before = children();

	for (int i = 0; i < 4; i++) {
		struct pyprep *p = daemon_connect(&d);
		pid_t broker = daemon_broker(&d);
		struct tally t = { 0 };
		for (int n = 0; n < 400; n++)
			start(p, "noop", n % 2 ? "cpu" : "one", NULL, 0);
		cr_assert(wait_until(20000, look("cpu").recycled > 0));
		kill(broker, SIGKILL);
		cr_assert(finish_all(p, 20000, &t));
		pyprep_close(p);
		cr_assert(wait_until(60000, daemon_broker(&d) != broker && daemon_broker(&d) != 0));
	}
	cr_expect(wait_until(20000, look("cpu").able == 3 && look("one").able == 1));
	load_until_recycled("noop", "cpu", NULL, 20, look("cpu").recycled + 3);
	cr_expect(wait_until(20000, children() == before), "%u children, %u before", children(),
		  before);
	cr_expect(wait_until(20000, count_zombies(d.pid) == 0));
}

Test(recycle, sixty_random_kills_meanwhile_lose_nothing_and_leak_nothing)
{
	struct kills_report r;

	kill_workers(&d, 60, 4, false, &r);
	cr_expect_eq(r.kills, 60);
	cr_expect(r.died <= r.kills);
	cr_expect_eq(r.wrong, 0);
	cr_expect_eq(r.missing, 0);
	cr_expect_eq(r.duplicates, 0);
	cr_expect_str_eq(r.leak, "");
	cr_expect_gt(look("cpu").recycled, 0);
	cr_expect(wait_until(20000, look("cpu").able == 3));
}
