/*
 * test_retries.c - jobs that are tried again: by a real daemon, with commands that really fail and
 * workers that really die.  Waits are judged by lower bounds only.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/daemon/jobs.h"

#define CONFIG                                                  \
	"[pool \"one\"]\nexecutor = process\nworkers = 1\n"     \
	"[pool \"many\"]\nexecutor = thread\nconcurrency = 4\n" \
	"[pool \"shell\"]\nexecutor = command\nworkers = 2\n"

#define PATIENCE_MS 60000

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

TestSuite(retries, .init = setup, .fini = teardown, .timeout = 240);

/* sh -c of a script in the test's directory, with a policy. */
static uint64_t
start_script(struct pyprep *p, const struct pyprep_policy *policy, unsigned timeout_ms,
	     const char *script)
{
	char text[512];

	snprintf(text, sizeof(text), "cd %s; %s", d.root, script);
	const char *argv[] = { "sh", "-c", text, NULL };
	struct pyprep_job job = {
		.kind = "exec", .argv = argv, .timeout_ns = timeout_ms * MS, .policy = policy
	};
	return start_job(p, &job);
}

/* One parameter at most. */
static uint64_t
start_with(struct pyprep *p, const struct pyprep_policy *policy, const char *kind, const char *pool,
	   const char *param, unsigned timeout_ms)
{
	const char *params[] = { param, NULL };
	struct pyprep_job job = { .kind = kind,
				  .pool = pool,
				  .params = params,
				  .timeout_ns = timeout_ms * MS,
				  .policy = policy };
	return start_job(p, &job);
}

static bool
exists(const char *name)
{
	char path[160];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", d.root, name);
	return stat(path, &st) == 0;
}

/* Of the words and numbers that the script wrote to a file, one a line: how many. */
static int
read_numbers(const char *name, double *ret, int most)
{
	char path[160];
	int n = 0;

	snprintf(path, sizeof(path), "%s/%s", d.root, name);
	FILE *f = fopen(path, "re");
	while (f != NULL && n < most && fscanf(f, "%lf", &ret[n]) == 1)
		n++;
	if (f != NULL)
		fclose(f);
	return n;
}

Test(retries, a_job_that_fails_twice_succeeds_the_third_time)
{
	struct pyprep_policy policy = { .retries = 5, .backoff = "const" };
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;

	uint64_t tag = start_script(p, &policy, 0, "echo x >> tries; [ $(wc -l < tries) -ge 3 ]");
	receipt_for(p, tag, PATIENCE_MS, &r);
	cr_expect_str_eq(r.state, "succeeded");
	cr_expect_eq(r.attempt, 3);
	cr_expect_str_eq(r.error_message, "attempts 1-2: exit 1");
	cr_expect_str_eq(r.error_code, "none");
	cr_expect_eq(r.exit_status, 0);
	cr_expect_eq(pyprep_outstanding(p), 0);
	cr_expect_eq(next_receipt(p, 0, &r), 0, "one receipt for all attempts");
	pyprep_close(p);
}

Test(retries, end_when_they_are_used_up)
{
	struct pyprep_policy policy = { .retries = 2, .backoff = "const" };
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;
	double tries[16];

	uint64_t tag = start_script(p, &policy, 0, "echo $PYPREP_ATTEMPT >> tries; exit 9");
	receipt_for(p, tag, PATIENCE_MS, &r);
	cr_expect_str_eq(r.state, "failed");
	cr_expect_eq(r.attempt, 3);
	cr_expect_eq(r.exit_status, 9);
	cr_expect(strstr(r.error_message, "(attempts 1-2: exit 9)") != NULL, "%s", r.error_message);
	cr_assert_eq(read_numbers("tries", tries, 16), 3);
	for (int i = 0; i < 3; i++)
		cr_expect_eq(tries[i], i + 1, "a command knows its attempt");
	pyprep_close(p);
}

Test(retries, that_are_many_are_told_of_in_short)
{
	struct pyprep_policy policy = { .retries = 12, .backoff = "const" };
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;

	uint64_t same = start_script(p, &policy, 0, "exit 3");
	receipt_for(p, same, PATIENCE_MS, &r);
	cr_expect(strstr(r.error_message, "(attempts 1-12: exit 3)") != NULL, "%s",
		  r.error_message);
	uint64_t differ = start_script(p, &policy, 0, "exit $PYPREP_ATTEMPT");
	receipt_for(p, differ, PATIENCE_MS, &r);
	cr_expect_eq(r.exit_status, 13);
	cr_expect(strstr(r.error_message, "(... attempt 5: exit 5, attempt 6: exit 6, ") != NULL &&
			  strstr(r.error_message, ", attempt 12: exit 12)") != NULL,
		  "%s", r.error_message);
	pyprep_close(p);
}

/* ---- which ends are followed by another attempt ---- */

static const struct end {
	const char *cause;
	const char *kind, *pool, *param, *script;
	unsigned timeout_ms;
} ends[] = {
	{ "exit", "exec", NULL, NULL, "exit 7", 0 },
	{ "signal", "exec", NULL, NULL, "kill -9 $$", 0 },
	{ "timeout", "sleep", "one", "ms=60000", NULL, 50 },
	{ "worker_died", "fail", "one", "how=signal", NULL, 0 },
	{ "error", "fail", "one", "how=error", NULL, 0 },
};
#define ENDS (sizeof(ends) / sizeof(ends[0]))

static const struct filter {
	const char *words[3];
	const char *causes; /* that it lets through */
} filters[] = {
	{ { NULL }, "exit signal timeout worker_died error" },
	{ { "exit" }, "exit" },
	{ { "exit:7" }, "exit" },
	{ { "exit:8" }, "" },
	{ { "signal" }, "signal" },
	{ { "timeout" }, "timeout" },
	{ { "worker_died" }, "worker_died" },
	{ { "error" }, "error" },
	{ { "oom" }, "" },
	{ { "timeout", "exit:7" }, "exit timeout" },
};

static void
try_filter(struct pyprep *p, const struct filter *filter)
{
	struct pyprep_policy policy = { .retries = 1, .backoff = "const" };
	uint64_t tags[ENDS];
	struct pyprep_receipt r;

	if (filter->words[0] != NULL)
		policy.retry_on = filter->words;
	for (size_t i = 0; i < ENDS; i++)
		tags[i] = ends[i].script != NULL
				  ? start_script(p, &policy, 0, ends[i].script)
				  : start_with(p, &policy, ends[i].kind, ends[i].pool,
					       ends[i].param, ends[i].timeout_ms);
	for (size_t n = 0; n < ENDS; n++) {
		cr_assert_eq(next_receipt(p, PATIENCE_MS, &r), 1);
		size_t i = 0;
		while (tags[i] != r.tag)
			i++;
		cr_expect_str_eq(r.cause, ends[i].cause);
		bool wanted = strstr(filter->causes, ends[i].cause) != NULL;
		cr_expect_eq(r.attempt, wanted ? 2 : 1, "retry_on %s, ended by %s: attempt %u",
			     filter->words[0] != NULL ? filter->words[0] : "everything",
			     ends[i].cause, r.attempt);
	}
}

Test(retries, come_after_the_ends_that_were_named_only)
{
	struct pyprep *p = daemon_connect(&d);

	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
		try_filter(p, &filters[i]);
	pyprep_close(p);
}

/* ---- waits ---- */

Test(retries, wait_twice_as_long_each_time_up_to_the_longest)
{
	struct pyprep_policy policy = { .retries = 4,
					.jitter = "none",
					.backoff_first_ns = 100 * MS,
					.backoff_most_ns = 400 * MS };
	static const double waits[] = { 0.1, 0.2, 0.4, 0.4 };
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;
	double at[8];

	/* seconds since boot, cut to hundredths */
	uint64_t tag = start_script(p, &policy, 0, "cut -d' ' -f1 /proc/uptime >> at; exit 1");
	receipt_for(p, tag, PATIENCE_MS, &r);
	cr_assert_eq(r.attempt, 5);
	cr_assert_eq(read_numbers("at", at, 8), 5);
	for (int i = 0; i < 4; i++)
		cr_expect(at[i + 1] - at[i] > waits[i] - 0.011, "wait %d: %.2f s", i + 1,
			  at[i + 1] - at[i]);
	cr_expect(r.queue_ns >= 1100 * MS, "earlier attempts and their waits are in queue");
	pyprep_close(p);
}

/* Of many that failed together some come back long before the whole wait is over. */
Test(retries, are_spread_by_full_jitter)
{
	struct pyprep_policy policy = { .retries = 1,
					.backoff_first_ns = 120000 * MS,
					.backoff_most_ns = 120000 * MS };
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;

	for (int i = 0; i < 400; i++)
		start_with(p, &policy, "fail", "one", "how=error", 0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(next_receipt(p, 100000, &r), 1);
		cr_expect_eq(r.attempt, 2);
		cr_expect(r.total_ns < policy.backoff_first_ns);
	}
	cr_expect(pyprep_outstanding(p) > 0);
	pyprep_close(p);
}

/* ---- ends while it waits ---- */

/* A job that has failed once and waits an hour. */
static uint64_t
start_waiting(struct pyprep *p, struct pyprep_policy *policy)
{
	*policy = (struct pyprep_policy){ .retries = 5,
					  .backoff = "const",
					  .backoff_first_ns = 3600000 * MS };
	uint64_t tag = start_script(p, policy, 0, "touch tried; exit 1");
	cr_assert(wait_until(PATIENCE_MS, exists("tried")));
	cr_assert(wait_until(PATIENCE_MS, job_is(p, newest_job(p), "queued")));
	return tag;
}

Test(retries, are_cancelled_at_once_while_they_wait)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_policy policy;
	struct pyprep_receipt r;
	struct test_status status;

	uint64_t tag = start_waiting(p, &policy);
	cr_assert_eq(pyprep_cancel(p, tag), 1);
	receipt_for(p, tag, PATIENCE_MS, &r);
	cr_expect_str_eq(r.state, "cancelled");
	cr_expect(strstr(r.error_message, "(attempt 1: exit 1)") != NULL, "%s", r.error_message);
	cr_assert_eq(daemon_status(&d, &status), 0);
	cr_expect_eq(status.table_jobs, 0);
	cr_expect_eq(status.jobs_queued, 0);
	pyprep_close(p);
}

static bool
table_is_empty(void)
{
	struct test_status status;

	return daemon_status(&d, &status) == 0 && status.table_jobs == 0 &&
	       status.jobs_queued == 0 && status.jobs_running == 0;
}

Test(retries, end_with_their_client)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_policy policy;

	start_waiting(p, &policy);
	cr_assert(!table_is_empty());
	pyprep_close(p);
	cr_expect(wait_until(PATIENCE_MS, table_is_empty()));
}

Test(retries, are_told_of_while_they_wait)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_policy policy;

	start_waiting(p, &policy);
	struct command_result shown =
		run_command(PYPREP_BIN "/pyprepctl show %ju", (uintmax_t)newest_job(p));
	cr_expect(strstr(shown.output, "queued at attempt 2, attempt 1: exit 1") != NULL, "%s",
		  shown.output);
	command_free(&shown);
	pyprep_close(p);
}

Test(retries, are_given_up_when_the_daemon_ends)
{
	struct pyprep_policy policy;
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;

	start_waiting(p, &policy);
	uint64_t tag = start_script(p, &policy, 0,
				    "touch runs; until [ -e go ]; do sleep 0.01; done; exit 3");
	cr_assert(wait_until(PATIENCE_MS, exists("runs")));
	kill(d.pid, SIGTERM);
	/* what waits is cancelled; then it is known that the daemon drains */
	cr_assert_eq(next_receipt(p, PATIENCE_MS, &r), 1);
	cr_expect_str_eq(r.state, "cancelled");
	test_write_file(d.root, "go", "", NULL, 0);
	receipt_for(p, tag, PATIENCE_MS, &r);
	cr_expect_str_eq(r.state, "failed");
	cr_expect_eq(r.exit_status, 3);
	cr_expect_eq(r.attempt, 1);
	pyprep_close(p);
}

/* ---- dead workers ---- */

Test(retries, run_the_job_of_a_killed_worker_again)
{
	struct pyprep_policy policy = { .retries = 1, .backoff = "const" };
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;

	uint64_t tag = start_with(p, &policy, "sleep", "one", "ms=400", 0);
	cr_assert(wait_until(PATIENCE_MS, jobs_started(p) == 1));
	pid_t first = daemon_worker(&d, "one", 0);
	cr_assert(first > 0);
	kill(first, SIGKILL);
	receipt_for(p, tag, PATIENCE_MS, &r);
	cr_expect_str_eq(r.state, "succeeded");
	cr_expect_eq(r.attempt, 2);
	cr_expect_neq(r.worker_pid, first);
	cr_expect_str_eq(r.error_message, "attempt 1: its worker died of signal 9");
	pyprep_close(p);
}

/* The job runs, in another worker than `last`; its pid. */
static pid_t
started_anew(struct pyprep *p, pid_t last)
{
	pid_t now = 0;

	cr_assert(wait_until(PATIENCE_MS, (now = daemon_worker(&d, "many", 0)) > 0 && now != last));
	cr_assert(wait_until(PATIENCE_MS, jobs_started(p) == 1));
	return now;
}

/* Two of its neighbours in turn are ended by their timeout, and take its worker along: it is run
 * again each time, and has its one retry still when its worker is killed later. */
Test(retries, are_not_used_up_by_a_neighbours_deed)
{
	struct pyprep_policy policy = { .retries = 1, .backoff = "const" };
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt r;
	pid_t worker = 0;

	uint64_t tag = start_with(p, &policy, "sleep", "many", "ms=600000", 0);
	for (int i = 0; i < 2; i++) {
		worker = started_anew(p, worker);
		uint64_t culprit = start(p, "sleep", "many", "ms=600000", 50);
		receipt_for(p, culprit, PATIENCE_MS, &r);
		cr_assert_str_eq(r.state, "timed_out");
	}
	for (int i = 0; i < 2; i++) {
		worker = started_anew(p, worker);
		kill(worker, SIGKILL);
	}
	receipt_for(p, tag, PATIENCE_MS, &r);
	cr_expect_str_eq(r.state, "failed");
	cr_expect_eq(r.attempt, 4);
	cr_expect(strstr(r.error_message, "(attempts 1-2: its worker died of another job's deed, "
					  "attempt 3: its worker died of signal 9)") != NULL,
		  "%s", r.error_message);
	pyprep_close(p);
}

/* ---- refused ---- */

Test(retries, of_array_jobs_are_refused)
{
	struct pyprep_policy policy = { .retries = 1 };
	struct pyprep_job job = { .kind = "square", .item_high = 100, .policy = &policy };
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_problem why = { 0 };

	cr_assert(pyprep_submit(p, &job, NULL, NULL, &why) < 0);
	cr_expect_str_eq(why.code, "bad_request");
	cr_expect(strstr(why.message, "an array job is not tried again") != NULL, "%s",
		  why.message);
	pyprep_close(p);
}

/* ---- detached ---- */

/* Submit it detached; its id when it is durable. */
static uint64_t
detach_script(struct pyprep *p, const struct pyprep_policy *policy, const char *script)
{
	struct pyprep_problem why = { 0 };
	struct pyprep_event event;
	char text[512];

	snprintf(text, sizeof(text), "cd %s; %s", d.root, script);
	const char *argv[] = { "sh", "-c", text, NULL };
	struct pyprep_job job = {
		.kind = "exec", .argv = argv, .policy = policy, .flags = PYPREP_DETACH
	};
	cr_assert_eq(pyprep_submit(p, &job, NULL, NULL, &why), 0, "%s", why.message);
	cr_assert_eq(pyprep_next(p, PATIENCE_MS, &event), 1);
	cr_assert_eq(event.type, PYPREP_ACCEPTED);
	return event.id;
}

/* What `pyprepctl show` says of it when it is `state`. */
static void
expect_shown(struct pyprep *p, uint64_t id, const char *state, const char *text)
{
	cr_assert(wait_until(PATIENCE_MS, job_is(p, id, state)), "job %ju is never %s",
		  (uintmax_t)id, state);
	struct command_result shown = run_command(PYPREP_BIN "/pyprepctl show %ju", (uintmax_t)id);
	cr_expect(strstr(shown.output, text) != NULL, "expected %s in %s", text, shown.output);
	command_free(&shown);
}

Test(retries, of_a_detached_job_stand_in_the_store)
{
	struct pyprep_policy policy = { .retries = 3, .backoff = "const" };
	struct pyprep *p = daemon_connect(&d);

	uint64_t id = detach_script(p, &policy, "echo 1 >> tries; [ $(wc -l < tries) -ge 3 ]");
	expect_shown(p, id, "succeeded", "succeeded at attempt 3 (attempts 1-2: exit 1)");
	pyprep_close(p);
}

static void
kill_broker(void)
{
	pid_t broker = daemon_broker(&d);

	cr_assert(broker > 0);
	kill(broker, SIGKILL);
	cr_assert(wait_until(PATIENCE_MS, daemon_broker(&d) > 0 && daemon_broker(&d) != broker));
}

/* Is the end of one attempt in the store?  Until it is, who takes over runs that attempt again. */
static bool
one_end_is_durable(uint64_t id)
{
	struct command_result count = run_command(
		"sqlite3 -readonly -cmd '.timeout 20000' %s/state/store.db 'SELECT count(*) FROM "
		"attempts WHERE job = %ju'",
		d.root, (uintmax_t)id);
	bool is = count.status == 0 && strcmp(count.output, "1\n") == 0;

	command_free(&count);
	return is;
}

Test(retries, wait_on_when_the_broker_was_killed_meanwhile)
{
	struct pyprep_policy policy = { .retries = 1,
					.backoff = "const",
					.backoff_first_ns = 8000 * MS };
	struct pyprep *p = daemon_connect(&d);
	double at[4];

	uint64_t id = detach_script(p, &policy, "cut -d' ' -f1 /proc/uptime >> at; exit 1");
	cr_assert(wait_until(PATIENCE_MS, exists("at")));
	cr_assert(wait_until(PATIENCE_MS, one_end_is_durable(id)));
	pyprep_close(p);
	kill_broker();
	p = daemon_connect(&d);
	cr_assert(wait_until(PATIENCE_MS, job_is(p, id, "failed")));
	cr_assert_eq(read_numbers("at", at, 4), 2);
	cr_expect(at[1] - at[0] > 8 - 0.011, "waited %.2f s only", at[1] - at[0]);
	pyprep_close(p);
}

/* The attempt that the daemon's death ended is none of the job's failures. */
Test(retries, are_not_used_up_by_the_daemons_death)
{
	struct pyprep_policy policy = { .retries = 1, .backoff = "const" };
	struct pyprep *p = daemon_connect(&d);
	double tries[8];

	uint64_t id = detach_script(
		p, &policy, "echo 1 >> tries; [ $(wc -l < tries) -eq 1 ] && sleep 600; exit 5");
	/* the line, not only the file, or it would sleep again */
	cr_assert(wait_until(PATIENCE_MS, read_numbers("tries", tries, 8) == 1));
	pyprep_close(p);
	kill_and_wait(d.pid, SIGKILL);
	daemon_launch(&d);
	cr_assert(daemon_wait_ready(&d, PATIENCE_MS));
	p = daemon_connect(&d);
	expect_shown(p, id, "failed", "failed at attempt 3");
	cr_expect_eq(read_numbers("tries", tries, 8), 3);
	pyprep_close(p);
}

/* `retry` of an ended job: its attempts go on counting, and it has all its retries again. */
Test(retries, begin_anew_when_an_ended_job_is_queued_again)
{
	struct pyprep_policy policy = { .retries = 1, .backoff = "const" };
	struct pyprep *p = daemon_connect(&d);
	char words[64];
	double tries[8];

	uint64_t id = detach_script(p, &policy, "echo 1 >> tries; exit 5");
	expect_shown(p, id, "failed", "failed at attempt 2");
	snprintf(words, sizeof(words), "ids=%ju,", (uintmax_t)id);
	cr_assert_eq(ask(p, "retry", words, NULL), 0);
	cr_assert(wait_until(PATIENCE_MS, read_numbers("tries", tries, 8) == 4));
	expect_shown(p, id, "failed", "failed at attempt 4");
	pyprep_close(p);
}
