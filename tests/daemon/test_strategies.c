/*
 * test_strategies.c - which job is next in a real daemon: each strategy's order, changed while
 * jobs come and go, kept for the next broker, taken from a reload.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/daemon/jobs.h"

#define POOLS                                                              \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\nstrategy = %s\n" \
	"[pool \"one\"]\nexecutor = process\nworkers = 1\nageing = %s\n"   \
	"[pool \"shell\"]\nexecutor = command\nworkers = 2\n"

static struct test_daemon d;
static char config[1024];

static const char *
config_with(const char *strategy, const char *ageing)
{
	snprintf(config, sizeof(config), POOLS, strategy, ageing);
	return config;
}

static void
setup(void)
{
	daemon_begin(&d, config_with("priority", "1m"));
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(strategies, .init = setup, .fini = teardown, .timeout = 240);

static void
set_strategy(struct pyprep *operator, const char * pool, const char *strategy)
{
	char words[100];

	snprintf(words, sizeof(words), "pool=%s strategy=%s", pool, strategy);
	cr_assert_eq(ask(operator, "strategy", words, NULL), 0, "%s", ask_answer);
}

/* Does pool `name` stand there with this strategy? */
static bool
strategy_is(struct pyprep *p, const char *name, const char *strategy)
{
	char text[100];

	if (ask(p, "status", NULL, NULL) < 0)
		return false;
	snprintf(text, sizeof(text), "\"name\"=>\"%s\"", name);
	const char *pool = strstr(ask_answer, text);
	cr_assert_neq(pool, NULL, "no %s in %s", text, ask_answer);
	snprintf(text, sizeof(text), "\"strategy\"=>\"%s\"", strategy);
	const char *found = strstr(pool, text);
	const char *next = strstr(pool + 1, "\"name\"=>");
	return found != NULL && (next == NULL || found < next);
}

/* Submit jobs of these kinds to the pool "one" while it is paused, run them, and say in which order
 * they ended: "201" is the third, the first, the second. */
struct wish {
	const char *kind, *params;
	int priority;
};

static void
order_of(struct pyprep *p, const struct wish *wishes, unsigned count, const char *last_strategy,
	 char *ret)
{
	uint64_t tags[10];

	cr_assert_eq(ask(p, "pause", "pool=one", NULL), 0);
	for (unsigned i = 0; i < count; i++) {
		const char *params[] = { wishes[i].params, NULL };
		struct pyprep_job job = { .kind = wishes[i].kind,
					  .pool = "one",
					  .params = params,
					  .priority = wishes[i].priority };
		tags[i] = start_job(p, &job);
		/* Not in one turn of the broker with the one before it. */
		struct test_status status;
		cr_assert(wait_until(20000, daemon_status(&d, &status) == 0 &&
						    status_pool(&status, "one")->queued == i + 1));
	}
	if (last_strategy != NULL)
		set_strategy(p, "one", last_strategy);
	cr_assert_eq(ask(p, "resume", "pool=one", NULL), 0);
	for (unsigned n = 0; n < count; n++) {
		struct pyprep_receipt receipt;
		unsigned i = 0;
		cr_assert_eq(next_receipt(p, 20000, &receipt), 1);
		cr_assert_str_eq(receipt.state, "succeeded");
		while (tags[i] != receipt.tag)
			i++;
		ret[n] = (char)('0' + i);
	}
	ret[count] = '\0';
}

Test(strategies, order_jobs_that_waited_before_they_were_chosen)
{
	static const struct wish wishes[] = {
		{ "sleep", "ms=30", 0 }, { "noop", NULL, 0 },    { "sleep", "ms=30", 50 },
		{ "noop", NULL, 50 },    { "noop", NULL, -100 },
	};
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	char order[10];

	/* What they take has to be known to sjf. */
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(run_job(p, "sleep", "one", "ms=30", 20000, &receipt), 0);
		cr_assert_eq(run_job(p, "noop", "one", NULL, 20000, &receipt), 0);
	}
	order_of(p, wishes, 5, NULL, order);
	cr_expect_str_eq(order, "23014", "priority");
	order_of(p, wishes, 5, "fifo", order);
	cr_expect_str_eq(order, "01234", "fifo");
	order_of(p, wishes, 5, "sjf", order);
	cr_expect_str_eq(order, "31420", "sjf: noops first, each kind by priority");
	order_of(p, wishes, 5, "fair", order);
	cr_expect_str_eq(order, "23014", "fair: one user's jobs go by priority");
	order_of(p, wishes, 5, "priority", order);
	cr_expect_str_eq(order, "23014", "priority again");
	pyprep_close(p);
}

/* Each job writes its number: a second run, or none, shows in the file. */
static void
expect_each_once(const char *path, unsigned count)
{
	unsigned char *seen = calloc(count, 1);
	FILE *file = fopen(path, "re");
	unsigned number, lines = 0;

	cr_assert(seen != NULL && file != NULL);
	while (fscanf(file, "%u", &number) == 1) {
		cr_assert(number < count);
		cr_expect_eq(seen[number]++, 0, "job %u ran twice", number);
		lines++;
	}
	cr_expect_eq(lines, count);
	fclose(file);
	free(seen);
}

static uint64_t
jobs_of_workers(const char *pool)
{
	struct test_status status;
	uint64_t jobs = 0;

	cr_assert_eq(daemon_status(&d, &status), 0);
	struct status_pool *found = status_pool(&status, pool);
	for (unsigned i = 0; i < found->worker_count; i++)
		jobs += found->workers[i].jobs;
	return jobs;
}

Test(strategies, changed_under_load_lose_no_job_and_run_none_twice)
{
	enum { ROUNDS = 300 };
	static const char *const names[] = { "fair", "sjf", "fifo", "priority" };
	struct pyprep *p = daemon_connect(&d), *operator= daemon_connect(&d);
	struct tally t = { 0 };
	uint64_t sent = 0;
	char path[160];

	snprintf(path, sizeof(path), "%s/ran", d.root);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct pyprep_receipt receipt;
		char script[240];
		/* Some always wait, of several kinds and priorities. */
		for (; pyprep_outstanding(p) < 200; sent++) {
			const char *params[] = { "ms=1", NULL };
			struct pyprep_job job = { .kind = sent % 10 == 0 ? "sleep" : "noop",
						  .pool = "cpu",
						  .params = sent % 10 == 0 ? params : NULL,
						  .priority = (int)(sent % 7) - 3 };
			start_job(p, &job);
		}
		snprintf(script, sizeof(script), "echo %u >>%s", round, path);
		start_shell(p, script, 0);
		set_strategy(operator, "cpu", names[round % 4]);
		set_strategy(operator, "shell", names[(round + 1) % 4]);
		while (pyprep_outstanding(p) > 100 && next_receipt(p, 20000, &receipt) == 1)
			tally_add(&t, &receipt);
	}
	cr_assert(finish_all(p, 60000, &t), "%ju never came", (uintmax_t)pyprep_outstanding(p));
	cr_expect_eq(t.receipts, sent + ROUNDS);
	cr_expect_eq(t.succeeded, sent + ROUNDS);
	expect_each_once(path, ROUNDS);
	cr_expect_eq(jobs_of_workers("cpu"), sent, "workers ran %ju jobs of %ju",
		     (uintmax_t)jobs_of_workers("cpu"), (uintmax_t)sent);
	pyprep_close(p);
	pyprep_close(operator);
}

Test(strategies, outlive_the_broker)
{
	struct pyprep *p = daemon_connect(&d);
	struct test_status before, now;

	set_strategy(p, "cpu", "sjf");
	set_strategy(p, "one", "fair");
	cr_assert_eq(daemon_status(&d, &before), 0);
	kill(before.broker, SIGKILL);
	cr_assert(wait_until(20000, daemon_status(&d, &now) == 0 && now.broker != before.broker));
	pyprep_close(p);
	p = daemon_connect(&d);
	cr_expect(wait_until(20000, strategy_is(p, "cpu", "sjf")));
	cr_expect(strategy_is(p, "one", "fair"));
	cr_expect(strategy_is(p, "shell", "priority"));
	pyprep_close(p);
}

Test(strategies, and_ageing_follow_a_reload)
{
	struct pyprep *p = daemon_connect(&d);

	set_strategy(p, "shell", "fair"); /* not in the file: a reload brings the file's back */
	test_write_file(d.root, "pyprepd.conf", config_with("fifo", "0"), NULL, 0);
	cr_assert_eq(ask(p, "reload", NULL, NULL), 0);
	cr_expect(strstr(ask_answer, "pool cpu: strategy priority, now fifo") != NULL, "%s",
		  ask_answer);
	cr_expect(strstr(ask_answer, "pool one: ageing 1m, now 0s") != NULL, "%s", ask_answer);
	cr_expect(wait_until(20000, strategy_is(p, "cpu", "fifo")));
	cr_expect(wait_until(20000, strategy_is(p, "shell", "priority")));
	cr_assert_eq(ask(p, "status", NULL, NULL), 0);
	const char *one = strstr(ask_answer, "\"name\"=>\"one\"");
	cr_assert_neq(one, NULL);
	cr_expect(strstr(one, "\"ageing_ns\"=>0,") != NULL, "%s", one);
	pyprep_close(p);
}

/* Ageing of a microsecond: the one that came first by more than 200 of them goes first. */
Test(strategies, priority_yields_to_those_who_have_waited)
{
	static const struct wish wishes[] = { { "noop", NULL, -100 },
					      { "sleep", "ms=0", 0 },
					      { "square", "x=3", 100 } };
	struct pyprep *p = daemon_connect(&d);
	char order[10];

	order_of(p, wishes, 3, NULL, order);
	cr_expect_str_eq(order, "210", "a minute each");
	test_write_file(d.root, "pyprepd.conf", config_with("priority", "1ns"), NULL, 0);
	cr_assert_eq(ask(p, "reload", NULL, NULL), 0);
	order_of(p, wishes, 3, NULL, order);
	cr_expect_str_eq(order, "012", "a nanosecond each");
	pyprep_close(p);
}
