/*
 * test_gate_limits.c - what there is only so much of: named resources, and starts within a window.
 * Judged by the receipts: when each job ran.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "tests/daemon/policies.h"

#define JOBS_MOST 5000u
#define CONFIG(daemon, db)                                                      \
	"[daemon]\n" daemon "[pool \"cpu\"]\nexecutor = process\nworkers = 3\n" \
	"[pool \"io\"]\nexecutor = event\n"                                     \
	"[pool \"threads\"]\nexecutor = thread\nconcurrency = 4\n"              \
	"[pool \"shell\"]\nexecutor = command\nworkers = 6\n"                   \
	"[resource \"db\"]\nlimit = " db "\n"                                   \
	"[resource \"gpu\"]\nlimit = 1\n"
#define MEMORY "store = memory\n"

static struct test_daemon d;
static struct pyprep *p;

static void
begin(const char *config)
{
	daemon_begin(&d, config);
	p = daemon_connect(&d);
}

static void
setup(void)
{
	begin(CONFIG(MEMORY, "3"));
}

static void
setup_on_disk(void)
{
	begin(CONFIG("", "3"));
}

static void
teardown(void)
{
	pyprep_close(p);
	daemon_end(&d);
}

TestSuite(resources, .init = setup, .fini = teardown, .timeout = 600);
TestSuite(rates, .init = setup, .fini = teardown, .timeout = 600);
TestSuite(limits_restart, .init = setup_on_disk, .fini = teardown, .timeout = 600);

/* ---- what ran when ---- */

struct run {
	uint64_t tag, count; /* units */
	uint64_t started_ns, ended_ns;
};
static struct run runs[JOBS_MOST];
static unsigned run_count;

static struct run *
run_of(uint64_t tag)
{
	for (unsigned i = 0; i < run_count; i++)
		if (runs[i].tag == tag)
			return &runs[i];
	cr_assert_fail("a receipt of a job that was not submitted");
	return NULL;
}

static void
note_run(uint64_t tag, uint64_t count)
{
	cr_assert_lt(run_count, JOBS_MOST);
	runs[run_count++] = (struct run){ .tag = tag, .count = count };
}

static void
note_end(const struct pyprep_receipt *r)
{
	struct run *run = run_of(r->tag);

	run->started_ns = started_ns(r);
	run->ended_ns = r->ended_ns;
}

struct edge_of_run {
	uint64_t at_ns;
	int64_t change;
};

static int
by_time(const void *a, const void *b)
{
	const struct edge_of_run *x = a, *y = b;

	if (x->at_ns != y->at_ns)
		return x->at_ns < y->at_ns ? -1 : 1;
	return x->change < y->change ? -1 : x->change > y->change; /* ends first */
}

/* The most units that were in use at once. */
static int64_t
most_at_once(void)
{
	static struct edge_of_run edges[2 * JOBS_MOST];
	unsigned n = 0;
	int64_t now = 0, most = 0;

	for (unsigned i = 0; i < run_count; i++) {
		if (runs[i].started_ns == 0)
			continue;
		edges[n++] = (struct edge_of_run){ runs[i].started_ns, (int64_t)runs[i].count };
		edges[n++] = (struct edge_of_run){ runs[i].ended_ns, -(int64_t)runs[i].count };
	}
	qsort(edges, n, sizeof(edges[0]), by_time);
	for (unsigned i = 0; i < n; i++)
		if ((now += edges[i].change) > most)
			most = now;
	return most;
}

/* ---- resources ---- */

static const char *const pools[] = { "cpu", "io", "threads" };

static void
submit_random(bool asks, uint64_t units)
{
	char params[32];
	struct pyprep_need need = { .name = "db", .count = units };
	struct pyprep_policy policy = { .needs = &need, .need_count = asks };

	snprintf(params, sizeof(params), "ms=%d", rand() % 4);
	note_run(start_with(p, "sleep", pools[rand() % 3], params, &policy), units);
}

/* A load over all pools; with kills, a worker dies now and then in the middle of its jobs. */
static void
load(unsigned jobs, bool asks, bool kills)
{
	struct pyprep_receipt r;
	unsigned sent = 0, ended = 0;

	run_count = 0;
	while (ended < jobs) {
		for (; sent < jobs && sent - ended < 60; sent++)
			submit_random(asks, 1 + (uint64_t)rand() % 3);
		cr_assert_eq(next_receipt(p, 60000, &r), 1);
		note_end(&r);
		ended++;
		if (kills && ended % 100 == 0)
			daemon_kill_worker(&d, pools[rand() % 3], 0);
	}
}

Test(resources, are_never_above_their_limit)
{
	srand(3);
	load(1500, true, false);
	cr_expect_leq(most_at_once(), 3);
	cr_expect_geq(most_at_once(), 3, "never used in full: too little to see anything");
}

Test(resources, come_back_from_jobs_whose_worker_was_killed)
{
	srand(4);
	load(1500, true, true);
	cr_expect_leq(most_at_once(), 3);
	struct pyprep_need all = { .name = "db", .count = 3 };
	struct pyprep_policy policy = { .needs = &all, .need_count = 1 };
	struct pyprep_receipt r;
	receipt_for(p, start_with(p, "noop", "cpu", NULL, &policy), 60000, &r);
	cr_expect_str_eq(r.state, "succeeded");
}

/* The same load by jobs that do not ask: the figure of the tests above can tell. */
Test(resources, would_be_above_it_if_nobody_asked)
{
	bool above = false;

	srand(5);
	for (unsigned round = 0; !above && round < 100; round++) {
		load(200, false, false);
		above = most_at_once() > 3;
	}
	cr_expect(above);
}

Test(resources, of_cancelled_and_failing_and_timed_out_jobs_come_back)
{
	struct pyprep_need one = { .name = "gpu", .count = 1 };
	struct pyprep_policy policy = { .needs = &one, .need_count = 1 };
	struct pyprep_receipt r;

	for (unsigned round = 0; round < 5; round++) {
		const char *ms[] = { "ms=60000", NULL };
		struct pyprep_job slow = { .kind = "sleep",
					   .pool = "cpu",
					   .params = ms,
					   .timeout_ns = 20 * MS,
					   .policy = &policy };
		uint64_t fails = start_with(p, "fail", NULL, NULL, &policy);
		uint64_t late = start_job(p, &slow);
		receipt_for(p, fails, 60000, &r);
		cr_expect_str_eq(r.state, "failed");
		receipt_for(p, late, 60000, &r);
		cr_expect_str_eq(r.state, "timed_out");
		slow.timeout_ns = 0;
		uint64_t stopped = start_job(p, &slow);
		struct pyprep *other = daemon_connect(&d);
		cr_assert(wait_until(20000, jobs_started(other) == 1));
		pyprep_close(other);
		pyprep_cancel(p, stopped);
		receipt_for(p, stopped, 60000, &r);
		cr_expect_str_eq(r.state, "cancelled");
	}
	receipt_for(p, start_with(p, "noop", NULL, NULL, &policy), 60000, &r);
	cr_expect_str_eq(r.state, "succeeded");
}

Test(resources, that_are_taken_hold_up_nobody_who_does_not_need_them)
{
	struct pyprep_need one = { .name = "gpu", .count = 1 };
	struct pyprep_policy policy = { .needs = &one, .need_count = 1 };
	struct pyprep_receipt r;

	uint64_t first = start_with(p, "sleep", "cpu", "ms=60000", &policy);
	for (unsigned i = 0; i < 10; i++)
		start_with(p, "noop", "cpu", NULL, &policy);
	receipt_for(p, start(p, "noop", "cpu", NULL, 0), 60000, &r);
	cr_expect_str_eq(r.state, "succeeded");
	pyprep_cancel(p, first);
	struct tally t = { 0 };
	cr_assert(finish_all(p, 60000, &t));
	cr_expect_eq(t.succeeded, 10u);
}

/* Each holds its first while it waits for its second: that is how they would wait for ever. */
Test(resources, needed_together_are_had_together)
{
	struct pyprep_need ab[] = { { "db", 2 }, { "gpu", 1 } };
	struct pyprep_need ba[] = { { "gpu", 1 }, { "db", 3 } };
	struct tally t = { 0 };

	for (unsigned i = 0; i < 200; i++) {
		struct pyprep_policy policy = { .needs = i % 2 ? ab : ba, .need_count = 2 };
		start_with(p, "sleep", pools[i % 3], "ms=1", &policy);
	}
	cr_assert(finish_all(p, 60000, &t));
	cr_expect_eq(t.succeeded, 200u);
}

Test(resources, array_jobs_have_theirs_from_the_first_item_to_the_last)
{
	struct pyprep_need one = { .name = "gpu", .count = 1 };
	struct pyprep_policy policy = { .needs = &one, .need_count = 1 };
	struct pyprep_receipt r;

	run_count = 0;
	for (unsigned i = 0; i < 6; i++) {
		struct pyprep_job job = {
			.kind = "square", .item_low = 0, .item_high = 200000, .policy = &policy
		};
		note_run(start_job(p, &job), 1);
	}
	for (unsigned i = 0; i < 6; i++) {
		cr_assert_eq(next_receipt(p, 60000, &r), 1);
		cr_expect_eq(r.items_failed, 0u);
		note_end(&r);
	}
	cr_expect_eq(most_at_once(), 1);
}

static void
expect_refused(const char *name, uint64_t count, const char *code, const char *text)
{
	struct pyprep_need need = { .name = name, .count = count };
	struct pyprep_policy policy = { .needs = &need, .need_count = 1 };
	struct pyprep_receipt r;

	receipt_for(p, start_with(p, "noop", NULL, NULL, &policy), 20000, &r);
	cr_expect_str_eq(r.state, "refused");
	cr_expect_str_eq(r.error_code, code);
	cr_expect_not_null(strstr(r.error_message, text), "%s", r.error_message);
}

Test(resources, that_do_not_exist_or_do_not_suffice_are_refused_by_name)
{
	expect_refused("gppu", 1, "bad_request", "did you mean \"gpu\"?");
	expect_refused("elephants", 1, "bad_request", "no resource \"elephants\"");
	expect_refused("db", 4, "out_of_range", "only 3 of \"db\", 4 were asked for");
}

static void
reload_with(const char *config)
{
	FILE *f = fopen(d.config, "w");

	cr_assert_not_null(f);
	cr_assert_geq(fputs(config, f), 0);
	fclose(f);
	cr_assert_eq(ask(p, "reload", "", NULL), 0, "%s", ask_answer);
}

Test(resources, follow_the_configuration_while_jobs_wait)
{
	struct pyprep_need four = { .name = "db", .count = 4 }, one = { .name = "db", .count = 1 };
	struct pyprep_policy policy = { .needs = &one, .need_count = 1 };
	struct pyprep_receipt r;

	uint64_t slow[3];
	for (unsigned i = 0; i < 3; i++)
		slow[i] = start_with(p, "sleep", "io", "ms=60000", &policy);
	uint64_t waits = start_with(p, "noop", "cpu", NULL, &policy);
	struct pyprep *other = daemon_connect(&d);
	cr_assert(wait_until(20000, jobs_started(other) == 3));
	pyprep_close(other);
	reload_with(CONFIG(MEMORY, "4")); /* there is one more: it goes */
	cr_expect_not_null(strstr(ask_answer, "resource db: limit 3, now 4"), "%s", ask_answer);
	receipt_for(p, waits, 60000, &r);
	cr_expect_str_eq(r.state, "succeeded");
	policy.needs = &four;
	waits = start_with(p, "noop", "cpu", NULL, &policy);
	reload_with(CONFIG(MEMORY, "2")); /* fewer than are out, and never enough for the other */
	policy.needs = &one;
	uint64_t third = start_with(p, "noop", "cpu", NULL, &policy);
	for (unsigned i = 0; i < 3; i++) {
		pyprep_cancel(p, slow[i]);
		receipt_for(p, slow[i], 60000, &r);
	}
	cr_assert(ask(p, "status", "", NULL) == 0);
	cr_expect_not_null(strstr(ask_answer, "\"name\"=>\"db\", \"limit\"=>2, \"used\"=>0, "
					      "\"waiting\"=>2"),
			   "%s", ask_answer);
	reload_with(CONFIG(MEMORY, "5"));
	receipt_for(p, third, 60000, &r);
	cr_expect_str_eq(r.state, "succeeded");
	struct tally t = { 0 };
	cr_assert(finish_all(p, 60000, &t));
	(void)waits;
}

/* ---- rates ---- */

static int
by_start(const void *a, const void *b)
{
	const struct run *x = a, *y = b;
	return x->started_ns < y->started_ns ? -1 : x->started_ns > y->started_ns;
}

/* How many windows have more than `count` starts. */
static unsigned
windows_above(unsigned count, uint64_t window_ns)
{
	unsigned above = 0;

	qsort(runs, run_count, sizeof(runs[0]), by_start);
	for (unsigned i = count; i < run_count; i++)
		above += runs[i].started_ns - runs[i - count].started_ns < window_ns;
	return above;
}

/* Jobs of all executors, each over before a window is, some killed. */
static void
rated_load(unsigned jobs, bool asks, bool kills)
{
	static const char *const all[] = { "cpu", "io", "threads", "shell" };
	static const char *const kinds[] = { "noop", "sleep", "sleep", "exec" };
	struct pyprep_rate rate = { .group = "key:shop", .count = 12, .window_ns = 100 * MS };
	struct pyprep_policy policy = { .rates = &rate, .rate_count = asks };
	struct pyprep_receipt r;
	const char *argv[] = { "true", NULL }, *ms[] = { "ms=2", NULL };

	run_count = 0;
	for (unsigned i = 0; i < jobs; i++) {
		struct pyprep_job job = { .kind = kinds[i % 4],
					  .pool = all[i % 4],
					  .params = i % 4 == 1 || i % 4 == 2 ? ms : NULL,
					  .argv = i % 4 == 3 ? argv : NULL,
					  .priority = (int)(i % 5),
					  .policy = &policy };
		note_run(start_job(p, &job), 1);
	}
	for (unsigned i = 0; i < jobs; i++) {
		cr_assert_eq(next_receipt(p, 60000, &r), 1);
		note_end(&r);
		if (kills && i % 40 == 20)
			daemon_kill_worker(&d, "cpu", (unsigned)rand() % 3);
	}
}

Test(rates, hold_in_every_window)
{
	rated_load(240, true, false);
	cr_expect_eq(windows_above(12, 100 * MS), 0u);
}

Test(rates, hold_when_workers_are_killed)
{
	srand(6);
	rated_load(240, true, true);
	cr_expect_eq(windows_above(12, 100 * MS), 0u);
}

Test(rates, would_not_hold_if_nobody_asked)
{
	bool above = false;

	for (unsigned round = 0; !above && round < 100; round++) {
		rated_load(240, false, false);
		above = windows_above(12, 100 * MS) > 0;
	}
	cr_expect(above);
}

Test(rates, do_not_hold_up_those_that_have_none)
{
	struct pyprep_rate rate = { .group = "key:slow", .count = 1, .window_ns = 3600 * NS_PER_S };
	struct pyprep_policy policy = { .rates = &rate, .rate_count = 1 };
	struct pyprep_receipt r;

	uint64_t first = start_with(p, "noop", "cpu", NULL, &policy);
	for (unsigned i = 0; i < 10; i++)
		start_with(p, "noop", "cpu", NULL, &policy);
	receipt_for(p, first, 60000, &r);
	receipt_for(p, start(p, "noop", "cpu", NULL, 0), 60000, &r);
	cr_expect_str_eq(r.state, "succeeded");
	cr_assert_eq(ask(p, "status", "", NULL), 0);
	cr_expect_not_null(strstr(ask_answer, "\"group\"=>\"key:slow\", \"limit\"=>1, "
					      "\"window_ns\"=>3600000000000, \"used\"=>1, "
					      "\"waiting\"=>10"),
			   "%s", ask_answer);
	cr_expect_eq(pyprep_cancel_all(p), 10);
}

/* ---- a new broker ---- */

Test(limits_restart, what_detached_jobs_have_they_still_have_for_the_next_broker)
{
	struct pyprep_need one = { .name = "gpu", .count = 1 };
	struct pyprep_policy policy = { .needs = &one, .need_count = 1 };
	struct pyprep_receipt first, second;

	uint64_t slow = detach(p, "sleep", "ms=3000", &policy, NULL);
	cr_assert(wait_until(20000, jobs_started(p) == 1));
	uint64_t waits = detach(p, "noop", NULL, &policy, NULL);
	p = replace_broker(&d, p);
	uint64_t later = detach(p, "noop", NULL, &policy, NULL);
	end_of(p, waits, 60000, &second);
	cr_expect_str_eq(second.state, "succeeded");
	uint64_t second_ns = started_ns(&second);
	end_of(p, slow, 60000, &first);
	cr_expect_str_eq(first.state, "succeeded");
	cr_expect_eq(first.attempt, 1u);
	cr_expect_geq(second_ns, first.ended_ns);
	cr_expect(ended_as(p, later, "succeeded"));
}

/* Each command writes a line when it begins and one when it ends: the most that were between the
 * two at once. */
static int
most_commands(const char *path)
{
	char line[16];
	int now = 0, most = 0;
	FILE *f = fopen(path, "r");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		now += line[0] == '+' ? 1 : -1;
		most = now > most ? now : most;
	}
	if (f != NULL)
		fclose(f);
	return most;
}

static unsigned
lines_in(const char *path)
{
	unsigned n = 0;
	int c;
	FILE *f = fopen(path, "r");

	while (f != NULL && (c = getc(f)) != EOF)
		n += c == '\n';
	if (f != NULL)
		fclose(f);
	return n;
}

#define COMMANDS 24

/* While brokers die, their successors hand out what waits: never more than there is, counted with
 * what runs since before them. */
static int
commands_while_brokers_die(bool asks)
{
	char path[128], script[400];
	struct pyprep_need one = { .name = "db", .count = 1 };
	struct pyprep_policy policy = { .needs = &one, .need_count = asks };
	uint64_t id[COMMANDS];

	snprintf(path, sizeof(path), "%s/lines", d.root);
	unlink(path);
	snprintf(script, sizeof(script), "echo + >>%s; sleep 0.4; echo - >>%s", path, path);
	const char *argv[] = { "sh", "-c", script, NULL };
	struct pyprep_job job = {
		.kind = "exec", .argv = argv, .policy = &policy, .flags = PYPREP_DETACH
	};
	for (unsigned i = 0; i < COMMANDS; i++) {
		struct pyprep_event event;
		start_job(p, &job);
		cr_assert_eq(pyprep_next(p, 60000, &event), 1);
		cr_assert_eq(event.type, PYPREP_ACCEPTED);
		id[i] = event.id;
	}
	/* a daemon that loses six within ten seconds gives up */
	for (unsigned kills = 0; asks && kills < 4; kills++) {
		unsigned seen = lines_in(path);
		cr_assert(wait_until(60000,
				     lines_in(path) > seen + 2 || lines_in(path) >= 2 * COMMANDS));
		p = replace_broker(&d, p);
	}
	for (unsigned i = 0; i < COMMANDS; i++)
		cr_expect(ended_as(p, id[i], "succeeded"));
	return most_commands(path);
}

Test(limits_restart, resources_hold_while_brokers_die)
{
	int most = commands_while_brokers_die(true);

	cr_expect_leq(most, 3);
	cr_expect_geq(most, 2, "never used: too little to see anything");
}

Test(limits_restart, would_not_hold_if_nobody_asked)
{
	bool above = false;

	for (unsigned round = 0; !above && round < 50; round++)
		above = commands_while_brokers_die(false) > 3;
	cr_expect(above);
}

Test(limits_restart, a_job_whose_resource_is_gone_waits_until_it_is_back)
{
	struct pyprep_need one = { .name = "gpu", .count = 1 };
	struct pyprep_policy policy = { .needs = &one, .need_count = 1, .hold = 1 };

	uint64_t id = detach(p, "noop", NULL, &policy, NULL);
	reload_with("[pool \"cpu\"]\nexecutor = process\n");
	p = replace_broker(&d, p);
	release(p, id);
	cr_assert(wait_until(20000, ask(p, "status", "", NULL) == 0 &&
					    strstr(ask_answer, "\"name\"=>\"gpu\", \"limit\"=>0, "
							       "\"used\"=>0, \"waiting\"=>1")),
		  "%s", ask_answer);
	expect_refused("gpu", 1, "bad_request", "no resource \"gpu\"");
	reload_with(CONFIG("", "3"));
	cr_expect(ended_as(p, id, "succeeded"));
}
