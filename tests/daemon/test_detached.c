/*
 * test_detached.c - detached jobs outlive their clients, the broker and the daemon; each ends once.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/daemon/detached.h"
#include "tests/daemon/jobs.h"

#define CONFIG                                                     \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"        \
	"[pool \"threads\"]\nexecutor = thread\nconcurrency = 4\n" \
	"[pool \"io\"]\nexecutor = event\n"                        \
	"[pool \"shell\"]\nexecutor = command\nworkers = 2\ngrace = 50ms\n"

static struct test_daemon d;

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

TestSuite(detached, .init = setup, .fini = teardown, .timeout = 300);
TestSuite(detached_kills, .timeout = 600);

/* Submit one; its id, when it is durable.  `token` NULL: one of its own. */
static uint64_t
submit(struct pyprep *p, const char *kind, const char *pool, const char *param, const char *token,
       bool *ret_known)
{
	const char *params[] = { param, NULL };
	const char *argv[] = { "/bin/sh", "-c", param, NULL };
	bool command = strcmp(kind, "exec") == 0;
	struct pyprep_job job = {
		.kind = kind,
		.pool = pool,
		.params = command || param == NULL ? NULL : params,
		.argv = command ? argv : NULL,
		.flags = PYPREP_DETACH,
	};
	struct pyprep_prepared *prepared;
	struct pyprep_event event;
	unsigned char bytes[PYPREP_TOKEN] = "";

	cr_assert_eq(pyprep_prepare(p, &job, &prepared, NULL), 0);
	if (token != NULL) {
		strncpy((char *)bytes, token, sizeof(bytes) - 1);
		cr_assert_eq(pyprep_submit_token(p, prepared, bytes, NULL, NULL), 0);
	} else {
		cr_assert_eq(pyprep_submit_prepared(p, prepared, NULL, NULL), 0);
	}
	pyprep_prepared_free(prepared);
	cr_assert_eq(pyprep_next(p, 20000, &event), 1);
	cr_assert_eq(event.type, PYPREP_ACCEPTED, "%s", event.receipt.error_message);
	cr_assert_eq(pyprep_outstanding(p), 0);
	if (ret_known != NULL)
		*ret_known = event.known;
	return event.id;
}

static struct pyprep *
connect_again(void)
{
	struct pyprep *p = NULL;

	cr_assert(wait_until(20000, pyprep_connect(d.runtime, &p, NULL) == 0));
	return p;
}

/* Wait for the job's end and ask for it: is this in the answer? */
static void
expect_end(struct pyprep *p, uint64_t id, const char *state, unsigned attempt)
{
	struct pyprep_problem why = { "" };
	char words[64];

	snprintf(words, sizeof(words), "ids=%llu,", (unsigned long long)id);
	cr_assert_eq(ask(p, "wait", words, &why), 0, "job %llu: %s", (unsigned long long)id,
		     why.message);
	cr_expect(job_is(p, id, state), "job %llu is not %s", (unsigned long long)id, state);
	cr_expect_eq(job_attempt(p, id), attempt, "job %llu: attempt %u, not %u",
		     (unsigned long long)id, job_attempt(p, id), attempt);
}

Test(detached, run_when_their_client_is_gone)
{
	struct pyprep *p = daemon_connect(&d);
	uint64_t id = submit(p, "sleep", "cpu", "ms=300", NULL, NULL);

	pyprep_close(p);
	p = daemon_connect(&d);
	expect_end(p, id, "succeeded", 1);
	pyprep_close(p);
}

Test(detached, are_one_job_however_often_a_token_is_submitted)
{
	struct pyprep *p = daemon_connect(&d);
	bool known = true;
	uint64_t id = submit(p, "noop", NULL, NULL, "one", &known);

	cr_expect(!known);
	cr_expect_eq(submit(p, "noop", NULL, NULL, "one", &known), id);
	cr_expect(known);
	cr_expect_neq(submit(p, "noop", NULL, NULL, "another", &known), id);
	cr_expect(!known);
	pyprep_close(p);
	/* Also for another daemon, after the job has ended. */
	cr_assert_eq(daemon_stop(&d, 20000), 0);
	daemon_launch(&d);
	p = connect_again();
	cr_expect_eq(submit(p, "noop", NULL, NULL, "one", &known), id);
	cr_expect(known);
	pyprep_close(p);
}

Test(detached, go_on_under_a_new_broker_and_are_not_run_again)
{
	struct pyprep *p = daemon_connect(&d);
	uint64_t ids[5];

	ids[0] = submit(p, "sleep", "cpu", "ms=2000", NULL, NULL);
	ids[1] = submit(p, "sleep", "cpu", "ms=2000", NULL, NULL);
	ids[2] = submit(p, "sleep", "io", "ms=2000", NULL, NULL);
	ids[3] = submit(p, "exec", "shell", "sleep 2", NULL, NULL);
	ids[4] = submit(p, "sleep", "cpu", "ms=1", NULL, NULL); /* behind the first two */
	cr_assert(wait_until(20000, jobs_started(p) == 4));
	kill(daemon_broker(&d), SIGKILL);
	pyprep_close(p);
	p = connect_again();
	for (int i = 0; i < 5; i++)
		expect_end(p, ids[i], "succeeded", 1);
	pyprep_close(p);
}

Test(detached, are_tried_again_by_the_next_daemon_and_say_so)
{
	struct pyprep *p = daemon_connect(&d);
	uint64_t running = submit(p, "sleep", "cpu", "ms=1500", NULL, NULL);
	uint64_t command = submit(p, "exec", "shell", "sleep 1.5; exit 3", NULL, NULL);

	submit(p, "sleep", "cpu", "ms=1500", NULL, NULL);
	uint64_t waiting = submit(p, "noop", "cpu", NULL, NULL, NULL);
	cr_assert(wait_until(20000, jobs_started(p) == 3));
	kill_and_wait(d.pid, SIGKILL);
	pyprep_close(p);
	daemon_launch(&d);
	p = connect_again();
	expect_end(p, running, "succeeded", 2);
	expect_end(p, command, "failed", 2);
	expect_end(p, waiting, "succeeded", 1);
	pyprep_close(p);
}

Test(detached, are_left_to_the_next_daemon_by_one_that_ends)
{
	struct pyprep *p = daemon_connect(&d);
	uint64_t ids[6];

	for (int i = 0; i < 6; i++)
		ids[i] = submit(p, "sleep", "cpu", "ms=300", NULL, NULL);
	pyprep_close(p);
	cr_assert_eq(daemon_stop(&d, 20000), 0);
	daemon_launch(&d);
	p = connect_again();
	/* Those that ran were finished, the others not begun. */
	for (int i = 0; i < 6; i++)
		expect_end(p, ids[i], "succeeded", 1);
	pyprep_close(p);
}

Test(detached, are_put_aside_when_they_kill_their_worker_alone_too)
{
	struct pyprep *p = daemon_connect(&d);
	uint64_t id = submit(p, "fail", "cpu", "how=signal", NULL, NULL);

	/* Three times among others, once alone. */
	expect_end(p, id, "dead", 4);
	cr_expect(daemon_logged(&d, "is put aside"));
	char words[64];
	snprintf(words, sizeof(words), "ids=%llu,", (unsigned long long)id);
	cr_assert_eq(ask(p, "retry", words, NULL), 0);
	cr_assert(wait_until(20000, job_is(p, id, "dead") && job_attempt(p, id) > 4));
	pyprep_close(p);
}

/* On a thread worker nobody can tell who of those that ran there killed it: being alone tells. */
Test(detached, are_not_blamed_for_another_jobs_deeds)
{
	struct pyprep *p = daemon_connect(&d);
	uint64_t naps[3], killer;

	for (int i = 0; i < 3; i++)
		naps[i] = submit(p, "sleep", "threads", "ms=400", NULL, NULL);
	killer = submit(p, "fail", "threads", "how=signal", NULL, NULL);
	for (int i = 0; i < 3; i++) {
		char words[64];
		snprintf(words, sizeof(words), "ids=%llu,", (unsigned long long)naps[i]);
		cr_assert_eq(ask(p, "wait", words, NULL), 0);
		cr_expect(job_is(p, naps[i], "succeeded"));
	}
	cr_assert(wait_until(20000, job_is(p, killer, "dead")));
	pyprep_close(p);
}

/* A damaged store is not gone over: the daemon says where, and ends with a status of its own. */
Test(detached, are_not_begun_from_a_damaged_store)
{
	struct pyprep *p = daemon_connect(&d);
	char path[200];

	for (int i = 0; i < 20; i++)
		submit(p, "noop", "cpu", NULL, NULL, NULL);
	pyprep_close(p);
	cr_assert_eq(daemon_stop(&d, 20000), 0);
	snprintf(path, sizeof(path), "%s/state/store.db", d.root);
	FILE *f = fopen(path, "r+e");
	cr_assert_not_null(f);
	for (long at = 100; at < 8000; at += 500) {
		cr_assert_eq(fseek(f, at, SEEK_SET), 0);
		cr_assert_eq(fputc(0x5a, f), 0x5a);
	}
	cr_assert_eq(fclose(f), 0);
	daemon_launch(&d);
	int status = wait_exit(d.pid, 60000);
	cr_assert(status >= 0, "the daemon runs on a damaged store");
	d.pid = 0;
	cr_expect_eq(WEXITSTATUS(status), 65);
	cr_expect(daemon_logged(&d, "is damaged"));
}

static void
expect_nothing_lost(const struct detached_report *r)
{
	cr_expect_eq(r->lost, 0);
	cr_expect_eq(r->twice, 0);
	cr_expect_eq(r->same_attempt, 0);
	cr_expect_eq(r->unmarked, 0);
	cr_expect_eq(r->overlapping, 0);
	cr_expect_str_eq(r->text, "");
}

Test(detached_kills, lose_nothing_that_was_acknowledged_and_end_each_job_once)
{
	struct detached_report r;

	kill_detached(&d, 60, 4, false, &r);
	expect_nothing_lost(&r);
	cr_expect_gt(r.acknowledged, 100);
	daemon_end(&d);
}

/* The same with a store that forgets: what looks for losses finds them. */
Test(detached_kills, would_be_seen_to_lose)
{
	struct detached_report r;

	kill_detached(&d, 20, 4, true, &r);
	cr_expect_gt(r.lost, 0);
	daemon_end(&d);
}
