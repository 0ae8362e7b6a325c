/*
 * test_results_kept.c - jobs that take the result of one like them, in a real daemon: attached and
 * detached ones, commands with what they wrote, one that runs while others wait, deaths.
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/daemon/policies.h"

#define CONFIG                                                 \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"    \
	"[pool \"threads\"]\nexecutor = thread\nworkers = 1\n" \
	"[pool \"shell\"]\nexecutor = command\nworkers = 2\n"  \
	"[pool \"paused\"]\nexecutor = process\nworkers = 1\n"

#define HOUR (UINT64_C(3600) * 1000 * MS)

static struct test_daemon d;
static const struct pyprep_policy hour = { .cache_ns = HOUR };

static void
setup(void)
{
	daemon_begin(&d, CONFIG);
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(results_kept, .init = setup, .fini = teardown, .timeout = 120);

static void
run_with(struct pyprep *p, const char *kind, const char *pool, const char *params,
	 const struct pyprep_policy *policy, struct pyprep_receipt *ret)
{
	receipt_for(p, start_with(p, kind, pool, params, policy), 20000, ret);
}

/* A figure of the cache in the daemon's status. */
static uint64_t
figure(struct pyprep *p, const char *name)
{
	char text[60];

	cr_assert_eq(ask(p, "status", NULL, NULL), 0);
	const char *cache = strstr(ask_answer, "\"cache\"=>");
	snprintf(text, sizeof(text), "\"%s\"=>", name);
	const char *at = cache != NULL ? strstr(cache, text) : NULL;
	cr_assert_neq(at, NULL, "no %s in %s", name, ask_answer);
	return strtoull(at + strlen(text), NULL, 10);
}

/* A command that writes its marks into the test's directory. */
static uint64_t
start_command(struct pyprep *p, const char *script, const struct pyprep_policy *policy)
{
	char text[512];

	snprintf(text, sizeof(text), "cd %s && %s", d.root, script);
	const char *argv[] = { "sh", "-c", text, NULL };
	struct pyprep_job job = { .kind = "exec", .argv = argv, .policy = policy };
	return start_job(p, &job);
}

static unsigned
lines_of(const char *name)
{
	char path[160];
	unsigned lines = 0;

	snprintf(path, sizeof(path), "%s/%s", d.root, name);
	FILE *file = fopen(path, "re");
	for (int c; file != NULL && (c = fgetc(file)) != EOF;)
		lines += c == '\n';
	if (file != NULL)
		fclose(file);
	return lines;
}

static void
make_file(const char *name)
{
	test_write_file(d.root, name, "", NULL, 0);
}

#define SLOW "echo x >>ran; while [ ! -e go ]; do sleep 0.02; done; echo done"

Test(results_kept, are_given_without_a_run_on_whatever_pool)
{
	static const char *const pools[] = { "cpu", "threads", "paused" };
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;

	cr_assert_eq(ask(p, "pause", "pool=paused", NULL), 0);
	run_with(p, "square", "cpu", "x=12", &hour, &r);
	cr_expect_not(r.cached);
	cr_expect_eq(receipt_int(&r), 144);
	for (unsigned i = 0; i < 3; i++) {
		run_with(p, "square", pools[i], "x=12", &hour, &r);
		cr_expect(r.cached, "on %s it ran", pools[i]);
		cr_expect_str_eq(r.state, "succeeded");
		cr_expect_str_eq(r.pool, pools[i]);
		cr_expect_eq(receipt_int(&r), 144);
		cr_expect_eq(r.slot, -1);
		cr_expect_eq(r.run_ns, 0);
		cr_expect_eq(r.submit_ns + r.store_ns + r.queue_ns + r.dispatch_ns + r.run_ns +
				     r.return_ns + (uint64_t)r.residual_ns,
			     r.total_ns);
		cr_expect(strstr(r.error_message, "the result of job 1, ") != NULL, "%s",
			  r.error_message);
	}
	cr_expect_eq(figure(p, "hits"), 3);
	cr_expect_eq(figure(p, "misses"), 1);
	cr_expect_eq(figure(p, "entries"), 1);
	run_with(p, "square", "cpu", "x=13", &hour, &r);
	cr_expect_not(r.cached, "other parameters");
	cr_expect_eq(receipt_int(&r), 169);
	run_with(p, "square", "cpu", "x=12", NULL, &r);
	cr_expect_not(r.cached, "not asked for");
	pyprep_close(p);
}

Test(results_kept, expire)
{
	const struct pyprep_policy soon = { .cache_ns = 5 * MS };
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;

	run_with(p, "square", "cpu", "x=5", &soon, &r);
	cr_expect_not(r.cached);
	uint64_t then = test_now_ms();
	cr_assert(wait_until(20000, test_now_ms() > then + 6));
	run_with(p, "square", "cpu", "x=5", &soon, &r);
	cr_expect_not(r.cached, "older than its time");
	then = test_now_ms();
	cr_assert(wait_until(20000, test_now_ms() > then + 6));
	cr_expect_eq(figure(p, "entries"), 0);
	cr_expect_eq(figure(p, "expired"), 2);
	pyprep_close(p);
}

Test(results_kept, are_those_of_successes_only)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;

	for (unsigned i = 1; i <= 3; i++) {
		receipt_for(p, start_command(p, "echo x >>ran; exit 3", &hour), 20000, &r);
		cr_expect_str_eq(r.state, "failed");
		cr_expect_eq(lines_of("ran"), i);
	}
	cr_expect_eq(figure(p, "entries"), 0);
	pyprep_close(p);
}

/* stdout and stderr of one job, as they came. */
static void
read_output(struct pyprep *p, uint64_t tag, char out[2][200], struct pyprep_receipt *ret)
{
	struct pyprep_event event;
	size_t used[2] = { 0 };

	out[0][0] = out[1][0] = '\0';
	for (;;) {
		cr_assert_eq(pyprep_next(p, 20000, &event), 1);
		if (event.type == PYPREP_RECEIPT && event.receipt.tag == tag) {
			*ret = event.receipt;
			return;
		}
		if (event.type != PYPREP_OUTPUT)
			continue;
		unsigned i = (unsigned)event.stream - 1;
		cr_assert(i < 2 && used[i] + event.length < 200);
		memcpy(out[i] + used[i], event.bytes, event.length);
		out[i][used[i] += event.length] = '\0';
	}
}

Test(results_kept, of_commands_come_with_what_they_wrote)
{
	static const char script[] = "echo x >>ran; echo one; echo two >&2; sleep 0.02; echo three";
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;
	char out[2][200];

	for (unsigned i = 0; i < 3; i++) {
		read_output(p, start_command(p, script, &hour), out, &r);
		cr_expect_eq(r.cached, i > 0);
		cr_expect_str_eq(out[0], "one\nthree\n");
		cr_expect_str_eq(out[1], "two\n");
		cr_expect_eq(r.exit_status, 0);
	}
	cr_expect_eq(lines_of("ran"), 1);
	/* From elsewhere it is another command. */
	setenv("PYPREP_TEST_COLOUR", "blue", 1);
	struct pyprep *other = daemon_connect(&d);
	read_output(other, start_command(other, script, &hour), out, &r);
	cr_expect_not(r.cached, "another environment");
	cr_expect_eq(lines_of("ran"), 2);
	pyprep_close(other);
	pyprep_close(p);
}

Test(results_kept, are_waited_for_while_one_runs)
{
	struct pyprep *p = daemon_connect(&d), *q = daemon_connect(&d);
	struct tally t = { 0 };

	for (unsigned i = 0; i < 5; i++)
		start_command(i % 2 ? p : q, SLOW, &hour);
	cr_assert(wait_until(20000, lines_of("ran") == 1 && figure(p, "waiting") == 4));
	/* One leaves. */
	pyprep_close(q);
	cr_assert(wait_until(20000, figure(p, "waiting") <= 3));
	make_file("go");
	cr_assert(finish_all(p, 20000, &t));
	cr_expect_eq(t.succeeded, 2);
	cr_expect(lines_of("ran") <= 2, "%u ran", lines_of("ran"));
	pyprep_close(p);
}

Test(results_kept, are_made_by_the_next_one_when_who_runs_dies)
{
	struct pyprep *p = daemon_connect(&d);
	struct tally t = { 0 };
	struct pyprep_receipt r;

	for (unsigned i = 0; i < 4; i++)
		start_with(p, "sleep", "cpu", "ms=60000", &hour);
	cr_assert(wait_until(20000, figure(p, "waiting") == 3 && jobs_started(p) == 1));
	/* The worker that runs it is killed, then the next one. */
	for (unsigned died = 0; died < 2; died++) {
		struct test_status status;
		cr_assert_eq(daemon_status(&d, &status), 0);
		struct status_pool *pool = status_pool(&status, "cpu");
		for (unsigned w = 0; w < pool->worker_count; w++)
			if (strcmp(pool->workers[w].state, "busy") == 0)
				kill(pool->workers[w].pid, SIGKILL);
		cr_assert_eq(next_receipt(p, 20000, &r), 1);
		cr_expect_str_eq(r.cause, "worker_died");
		cr_assert(wait_until(20000,
				     figure(p, "waiting") == 2 - died && jobs_started(p) == 1));
	}
	/* The third is cancelled: the last one runs. */
	char words[60];
	snprintf(words, sizeof(words), "ids=%llu,", (unsigned long long)3);
	cr_assert_eq(ask(p, "cancel", words, NULL), 0);
	cr_assert_eq(next_receipt(p, 20000, &r), 1);
	cr_expect_str_eq(r.state, "cancelled");
	cr_assert(wait_until(20000, figure(p, "waiting") == 0 && jobs_started(p) == 1));
	cr_assert_eq(ask(p, "cancel", "all=user", NULL), 0);
	cr_assert(finish_all(p, 20000, &t));
	pyprep_close(p);
}

/* Detached jobs take results, too, and keep them as their own. */
Test(results_kept, become_those_of_detached_jobs)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;

	uint64_t first = detach(p, "square", "x=11", &hour, NULL);
	end_of(p, first, 20000, &r);
	cr_expect_not(r.cached);
	uint64_t second = detach(p, "square", "x=11", &hour, NULL);
	end_of(p, second, 20000, &r);
	cr_expect(r.cached);
	cr_expect_eq(receipt_int(&r), 121);
	run_with(p, "square", "cpu", "x=11", &hour, &r);
	cr_expect(r.cached, "an attached one takes it from a detached one");
	/* What is kept is gone with the broker, what has ended is not. */
	p = replace_daemon(&d, p);
	end_of(p, second, 20000, &r);
	cr_expect(r.cached);
	cr_expect_eq(receipt_int(&r), 121);
	run_with(p, "square", "cpu", "x=11", &hour, &r);
	cr_expect_not(r.cached);
	pyprep_close(p);
}

Test(results_kept, are_not_of_array_jobs)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_job job = {
		.kind = "square", .item_low = 0, .item_high = 10, .policy = &hour
	};
	struct pyprep_receipt r;

	receipt_for(p, start_job(p, &job), 20000, &r);
	cr_expect_str_eq(r.state, "refused");
	cr_expect(strstr(r.error_message, "an array job has no single result") != NULL, "%s",
		  r.error_message);
	pyprep_close(p);
}
