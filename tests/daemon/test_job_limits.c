/*
 * test_job_limits.c - memory limits, niceness and scratch directories through a whole daemon: where
 * they are refused, what the receipt says, and that nothing stays when processes are killed.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/daemon/jobs.h"

#define MIB (UINT64_C(1) << 20)
#define CONFIG                                                     \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 1\n"        \
	"[pool \"threads\"]\nexecutor = thread\nconcurrency = 2\n" \
	"[pool \"io\"]\nexecutor = event\n"                        \
	"[pool \"shell\"]\nexecutor = command\nworkers = 1\n"

static struct test_daemon d;
static struct pyprep *p;

static void
setup(void)
{
	daemon_begin(&d, CONFIG);
	p = daemon_connect(&d);
}

static void
teardown(void)
{
	pyprep_close(p);
	daemon_end(&d);
}

TestSuite(job_limits, .init = setup, .fini = teardown, .timeout = 120);

static void
run(const char *kind, const char *pool, const char *params, const struct pyprep_policy *policy,
    struct pyprep_receipt *ret)
{
	const char *list[] = { params, NULL };
	struct pyprep_job job = {
		.kind = kind, .pool = pool, .params = params != NULL ? list : NULL, .policy = policy
	};

	receipt_for(p, start_job(p, &job), 20000, ret);
}

static uint64_t
start_limited(const char *script, const struct pyprep_policy *policy)
{
	const char *argv[] = { "sh", "-c", script, NULL };
	struct pyprep_job job = { .kind = "exec", .argv = argv, .policy = policy };

	return start_job(p, &job);
}

Test(job_limits, of_memory_end_a_job_and_say_so)
{
	struct pyprep_policy policy = { .memory_bytes = 48 * MIB };
	struct pyprep_receipt receipt;

	run("touch", "cpu", "bytes=67108864", &policy, &receipt);
	cr_expect_str_eq(receipt.state, "failed");
	cr_expect_str_eq(receipt.cause, "oom");
	cr_expect_str_eq(receipt.error_code, "out_of_memory");
	cr_expect_eq(receipt.exit_status, 137);
	run("touch", "cpu", "bytes=67108864", NULL, &receipt);
	cr_expect_str_eq(receipt.state, "succeeded");
}

Test(job_limits, that_a_pool_cannot_keep_are_refused_with_the_pools_that_can)
{
	struct pyprep_policy memory = { .memory_bytes = 48 * MIB }, nice = { .nice = 3 };
	struct pyprep_receipt receipt;

	run("noop", "threads", NULL, &memory, &receipt);
	cr_expect_str_eq(receipt.state, "refused");
	cr_expect_str_eq(receipt.error_code, "wrong_pool");
	cr_expect(strstr(receipt.error_message, "\"threads\"") != NULL, "%s",
		  receipt.error_message);
	cr_expect(strstr(receipt.error_message, "\"cpu\"") != NULL, "%s", receipt.error_message);
	cr_expect(strstr(receipt.error_message, "\"io\"") == NULL, "%s", receipt.error_message);
	run("sleep", "io", "ms=0", &memory, &receipt);
	cr_expect_str_eq(receipt.error_code, "wrong_pool");
	run("sleep", "io", "ms=0", &nice, &receipt);
	cr_expect_str_eq(receipt.error_code, "wrong_pool");
	cr_expect(strstr(receipt.error_message, "\"threads\"") != NULL, "%s",
		  receipt.error_message);
	run("noop", "threads", NULL, &nice, &receipt);
	cr_expect_str_eq(receipt.state, "succeeded");
	run("noop", "cpu", NULL, &memory, &receipt);
	cr_expect_str_eq(receipt.state, "succeeded");
}

Test(job_limits, hold_for_each_range_of_an_array_job)
{
	struct pyprep_policy policy = { .memory_bytes = 64 * MIB, .nice = 2 };
	struct pyprep_job job = {
		.kind = "square", .pool = "cpu", .item_high = 100000, .policy = &policy
	};
	struct pyprep_receipt receipt;

	receipt_for(p, start_job(p, &job), 20000, &receipt);
	cr_expect_str_eq(receipt.state, "succeeded");
	cr_expect_eq(receipt.items, 100000);
	cr_expect_eq(receipt.items_failed, 0);
}

/* ---- what killed processes leave ---- */

/* How many lines `find` prints for this. */
static unsigned
found(const char *format, const char *argument)
{
	struct command_result r = run_command(format, argument);
	unsigned lines = 0;

	for (size_t i = 0; i < r.output_length; i++)
		lines += r.output[i] == '\n';
	command_free(&r);
	return lines;
}

/* Groups of memory-limited commands of daemon `pid`, anywhere. */
static unsigned
groups_of(pid_t pid)
{
	char name[64];

	snprintf(name, sizeof(name), "*/pyprepd-%d-*/*-*", (int)pid);
	return found("find /sys/fs/cgroup -type d -path '%s' 2>/dev/null", name);
}

static unsigned
scratch_files(void)
{
	return found("find '%s/scratch' -name marker 2>/dev/null", d.runtime);
}

#define LONG "touch $PYPREP_SCRATCH/marker; sleep 1000 & sleep 1000"

static void
start_long(void)
{
	struct pyprep_policy policy = { .memory_bytes = 64 * MIB };

	start_limited(LONG, &policy);
	cr_assert(wait_until(20000, scratch_files() == 1), "the command did not start");
}

Test(job_limits, nothing_of_a_killed_workers_command_stays)
{
	start_long();
	unsigned groups = groups_of(d.pid);
	daemon_kill_worker(&d, "shell", 0);
	struct pyprep_receipt receipt;
	cr_assert_eq(next_receipt(p, 20000, &receipt), 1);
	cr_expect_str_eq(receipt.cause, "worker_died");
	cr_expect(wait_until(20000, groups_of(d.pid) < groups || groups == 0));
	start_limited("ls -A $PYPREP_SCRATCH | grep . && exit 1; exit 0", NULL);
	cr_assert_eq(next_receipt(p, 20000, &receipt), 1);
	cr_expect_str_eq(receipt.state, "succeeded", "the next job found something");
	cr_expect_eq(scratch_files(), 0);
}

Test(job_limits, nothing_of_a_killed_daemons_commands_stays_after_the_next_start)
{
	pid_t old = d.pid;

	start_long();
	kill_and_wait(old, SIGKILL);
	pyprep_close(p);
	d.pid = 0;
	daemon_launch(&d);
	cr_assert(daemon_wait_ready(&d, 60000));
	p = daemon_connect(&d);
	cr_expect(wait_until(20000, groups_of(old) == 0));
	cr_expect(wait_until(20000, scratch_files() == 0));
}

Test(job_limits, nothing_of_a_stopped_daemon_stays)
{
	pid_t old = d.pid;
	struct pyprep_policy policy = { .memory_bytes = 64 * MIB };
	struct pyprep_receipt receipt;

	receipt_for(p, start_limited("touch $PYPREP_SCRATCH/marker", &policy), 20000, &receipt);
	cr_expect_str_eq(receipt.state, "succeeded");
	pyprep_close(p);
	cr_expect_eq(daemon_stop(&d, 20000), 0);
	cr_expect_eq(groups_of(old), 0);
	cr_expect_eq(found("ls -d '%s/scratch' 2>/dev/null", d.runtime), 0);
	daemon_launch(&d);
	cr_assert(daemon_wait_ready(&d, 60000));
	p = daemon_connect(&d);
}
