/*
 * test_ctl_cpython.c - Python under its keeper: answers, and that nothing of it remains.
 *
 * Where the keeper has something to clean up, the interpreter is a shell script of the test's,
 * called as Python is: -I - TOPIC PREFIX PARAMETERS.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ctl/cpython.h"
#include "tests/files.h"
#include "tests/process.h"

#define PATIENCE_MS 60000
#define LIMIT_MS    300000 /* for Python, where it is not to be reached */

static char directory[256];

static void
setup(void)
{
	test_dir_make(directory, sizeof directory);
}

static void
teardown(void)
{
	test_dir_remove(directory);
}

TestSuite(ctl_cpython, .init = setup, .fini = teardown, .timeout = 600);

/* A process in Python's session and one that has left it; names in /dev/shm; a file.  What
 * `end` does comes last.  It tells its pids and its prefix in the file "told". */
static void
script_is_python(const char *end)
{
	char text[1000], path[300];

	snprintf(text, sizeof text,
		 "#!/bin/sh\nsleep 300 &\nfirst=$!\nsetsid sleep 300 &\nsecond=$!\n"
		 ": >/dev/shm/$4x; : >/dev/shm/sem.$4y; : >\"$TMPDIR/socket\"\n"
		 "echo $$ $first $second $4 $TMPDIR >%s/telling && mv %s/telling %s/told\n%s\n",
		 directory, directory, directory, end);
	test_write_file(directory, "python", text, path, sizeof path);
	chmod(path, 0755);
	setenv("PYPREP_PYTHON", path, 1);
}

struct told {
	pid_t pids[3];
	char prefix[64], temporary[128];
};

static bool
read_told(struct told *ret)
{
	char path[300];

	snprintf(path, sizeof path, "%s/told", directory);
	FILE *file = fopen(path, "re");
	if (!file)
		return false;
	int n = fscanf(file, "%d %d %d %63s %127s", &ret->pids[0], &ret->pids[1], &ret->pids[2],
		       ret->prefix, ret->temporary);
	fclose(file);
	return n == 5;
}

static bool
any_alive(const struct told *told)
{
	for (int i = 0; i < 3; i++)
		if (process_exists(told->pids[i]))
			return true;
	return false;
}

static bool
any_named(const struct told *told)
{
	char pattern[100];
	glob_t found;

	snprintf(pattern, sizeof pattern, "/dev/shm/*%s*", told->prefix);
	bool any = glob(pattern, 0, NULL, &found) == 0;
	globfree(&found);
	return any || access(told->temporary, F_OK) == 0;
}

/* ---- answers ---- */

Test(ctl_cpython, a_topic_answers_with_its_figures)
{
	const char *params[] = { "messages=200", "bytes=10", NULL };
	char why[200] = "", version[64];

	cr_assert(eq(int, cpython_version(version, sizeof version), 0));
	cr_expect(eq(int, strncmp(version, "CPython 3.", 10), 0), "%s", version);
	json_t *answer = cpython_run("queue", params, LIMIT_MS, why, sizeof why);
	cr_assert(answer != NULL, "%s", why);
	cr_expect(eq(i64, json_integer_value(json_object_get(answer, "messages")), 200));
	cr_expect(gt(dbl, json_number_value(json_object_get(answer, "rate_per_s")), 0));
	json_decref(answer);
}

/* Each with little work: that it runs on the Python that is here, and says what the header
 * promises. */
static void
expect_figures(const char *topic, const char *params, const char *figures)
{
	char words[200], *list[9], why[200] = "", *rest = NULL;
	int count = 0;

	snprintf(words, sizeof words, "%s", params);
	for (char *w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
		list[count++] = w;
	list[count] = NULL;
	json_t *answer = cpython_run(topic, (const char *const *)list, LIMIT_MS, why, sizeof why);
	cr_expect(answer != NULL, "%s %s: %s", topic, params, why);
	snprintf(words, sizeof words, "%s", figures);
	for (char *w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
		cr_expect(json_object_get(answer, w) != NULL, "%s %s: no %s", topic, params, w);
	json_decref(answer);
}

Test(ctl_cpython, messages_are_measured)
{
	expect_figures("queue", "messages=100 producers=2 consumers=2 kind=JoinableQueue",
		       "seconds rate_per_s messages bytes cpu_seconds");
	expect_figures("queue", "messages=100 kind=SimpleQueue mode=roundtrip",
		       "p50_ns p99_ns rate_per_s seconds");
	expect_figures("queue", "mode=full maxsize=3 wait_ms=20", "accepted full waited_s");
	expect_figures("queue", "mode=killed wait_ms=100", "wedged waited_s");
	expect_figures("pipe", "messages=100 how=object", "p50_ns p99_ns rate_per_s seconds");
	expect_figures("pipe", "messages=100 mode=rate",
		       "rate_per_s seconds messages bytes cpu_seconds");
	expect_figures("pipe", "messages=100 cpus=2 bytes=1", "p50_ns");
	expect_figures("pipe", "mode=sum bytes=8000 messages=2", "p50_ns p99_ns rate_per_s");
	expect_figures("pipe", "mode=eof", "eof waited_s");
}

Test(ctl_cpython, shared_things_are_measured)
{
	expect_figures("shm", "bytes=80000 rounds=3",
		       "create_ns attach_ns fill_seconds sum_seconds sum elements by");
	expect_figures("shm", "mode=lost adds=100",
		       "expected without_lock with_lock lost seconds locked_seconds");
	expect_figures("value", "adds=100 processes=3", "expected lost rate_per_s");
	expect_figures("manager", "adds=10 processes=2", "expected value exact rate_per_s seconds");
	expect_figures("manager", "mode=get rounds=20", "p50_ns p99_ns rate_per_s");
	expect_figures("locks", "kind=RLock wait_ms=100", "acquired waited_s");
	expect_figures("locks", "mode=free rounds=2000", "p50_ns");
}

Test(ctl_cpython, every_way_to_work_is_measured)
{
	static const char *const ways[] = { "sequential", "threading",   "multiprocessing",
					    "threadpool", "processpool", "asyncio" };

	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		char params[100];
		snprintf(params, sizeof params, "way=%s jobs=4 n=100", ways[i]);
		expect_figures("cpu", params, "seconds cpu_seconds total");
		snprintf(params, sizeof params, "way=%s jobs=4 ms=1", ways[i]);
		expect_figures("io", params, "seconds cpu_seconds");
		snprintf(params, sizeof params, "way=%s count=100 chunksize=10", ways[i]);
		if (strcmp(ways[i], "asyncio") != 0)
			expect_figures("map", params, "seconds rate_per_s total cpu_seconds");
	}
	expect_figures("call", "way=processpool calls=10", "p50_ns p99_ns rate_per_s");
	expect_figures("call", "way=asyncio mode=rate calls=10", "rate_per_s seconds cpu_seconds");
	expect_figures("exec", "count=2", "rate_per_s seconds");
	expect_figures("exec", "count=2 way=asyncio", "rate_per_s seconds");
	expect_figures("batching", "count=1000", "one_by_one_per_s batched_per_s");
	expect_figures("start", "method=spawn rounds=1", "p50_ns p99_ns rate_per_s");
}

/* Shared memory that somebody else made, as pyprep's arrays are. */
Test(ctl_cpython, a_segment_of_others_is_changed_and_stays)
{
	char name[64], path[100], param[100], byte = 0, why[200] = "";
	const char *params[] = { "mode=attach", param, "offset=5", "value=42", NULL };

	snprintf(name, sizeof name, "test-ctl-cpython-%d", (int)getpid());
	snprintf(path, sizeof path, "/dev/shm/%s", name);
	snprintf(param, sizeof param, "name=%s", name);
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, ftruncate(fd, 64), 0));
	json_t *answer = cpython_run("shm", params, LIMIT_MS, why, sizeof why);
	bool there = access(path, F_OK) == 0;
	unlink(path);
	cr_expect(answer != NULL, "%s", why);
	cr_expect(there);
	cr_expect(eq(int, (int)pread(fd, &byte, 1, 5), 1));
	cr_expect(eq(int, byte, 42));
	json_decref(answer);
	close(fd);
}

Test(ctl_cpython, what_it_cannot_do_is_said_in_a_sentence)
{
	const char *params[] = { "massages=200", NULL };
	char why[200] = "";

	cr_expect(cpython_run("queue", params, LIMIT_MS, why, sizeof why) == NULL);
	cr_expect(eq(str, why, "Python's queue failed: there is no parameter massages"));
	cr_expect(cpython_run("quue", NULL, LIMIT_MS, why, sizeof why) == NULL);
	cr_expect(strstr(why, "quue") != NULL, "%s", why);
	cr_expect(cpython_run("common", NULL, LIMIT_MS, why, sizeof why) == NULL);
	script_is_python("kill $first $second; echo 12");
	cr_expect(cpython_run("queue", NULL, LIMIT_MS, why, sizeof why) == NULL);
	cr_expect(eq(str, why, "Python's queue printed no JSON object: '12'"));
}

Test(ctl_cpython, without_an_interpreter_there_is_a_sentence)
{
	char why[200] = "", version[64] = "untouched";

	setenv("PYPREP_PYTHON", "/nonexistent/python3", 1);
	cr_expect(eq(int, cpython_version(version, sizeof version), -ENOENT));
	cr_expect(eq(str, version, "untouched"));
	cr_expect(cpython_run("queue", NULL, LIMIT_MS, why, sizeof why) == NULL);
	cr_expect(
		eq(str, why, "/nonexistent/python3 cannot be started: No such file or directory"));
}

/* ---- ends ---- */

Test(ctl_cpython, at_the_time_limit_the_whole_tree_and_its_names_are_gone)
{
	struct told told = { 0 };
	char why[200] = "", sentence[80];
	bool has_told = false;

	/* Long enough for the script to get there. */
	for (unsigned ms = 2000; !has_told && ms <= 128000; ms *= 4) {
		script_is_python("sleep 300");
		cr_expect(cpython_run("queue", NULL, ms, why, sizeof why) == NULL);
		snprintf(sentence, sizeof sentence, "took more than %u ms and was killed", ms);
		cr_expect(strstr(why, sentence) != NULL, "%s", why);
		has_told = read_told(&told);
	}
	cr_assert(has_told);
	cr_expect(not(any_alive(&told)));
	cr_expect(not(any_named(&told)));
}

Test(ctl_cpython, what_outlives_the_main_process_is_killed_and_told)
{
	struct told told;
	char why[200] = "";

	script_is_python("echo '{}'");
	cr_expect(cpython_run("queue", NULL, LIMIT_MS, why, sizeof why) == NULL);
	cr_expect(eq(str, why, "Python's queue left processes behind; they were killed"));
	cr_assert(read_told(&told));
	cr_expect(not(any_alive(&told)));
	cr_expect(not(any_named(&told)));
}

Test(ctl_cpython, it_ends_with_the_caller_that_is_killed)
{
	struct told told;
	char why[200];

	script_is_python("sleep 300");
	pid_t caller = test_fork();
	if (caller == 0) {
		cpython_run("queue", NULL, LIMIT_MS, why, sizeof why);
		_exit(0);
	}
	bool ready = wait_until(PATIENCE_MS, read_told(&told));
	cr_assert(ready);
	cr_expect(any_alive(&told));
	cr_expect(any_named(&told));
	kill_and_wait(caller, SIGKILL);
	bool gone = wait_until(PATIENCE_MS, !any_alive(&told) && !any_named(&told));
	cr_expect(gone);
}

static void
on_alarm(int number)
{
	(void)number;
}

Test(ctl_cpython, a_handled_signal_ends_the_wait)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct told told;
	char why[200] = "";

	script_is_python("kill -USR1 $(cut -d' ' -f4 /proc/$(cut -d' ' -f4 /proc/$$/stat)/stat)\n"
			 "sleep 300");
	sigaction(SIGUSR1, &action, NULL);
	cr_expect(cpython_run("queue", NULL, LIMIT_MS, why, sizeof why) == NULL);
	cr_expect(eq(str, why, "interrupted"));
	cr_assert(read_told(&told));
	cr_expect(not(any_alive(&told)));
	cr_expect(not(any_named(&told)));
}

Test(ctl_cpython, no_descriptor_stays_open)
{
	const char *params[] = { "mode=eof", NULL };
	char why[200];
	int before = count_fds(getpid());

	for (int i = 0; i < 3; i++)
		json_decref(cpython_run("pipe", params, LIMIT_MS, why, sizeof why));
	cr_expect(eq(int, count_fds(getpid()), before));
}
