/* test_limits.c - memory limits and niceness around a run, in workers of each executor, and what a
 * command may take as a whole: by a cgroup where this machine has one to give, else by rlimits. */
#include <criterion/criterion.h>

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/daemon_unit/worker_fixture.h"
#include "tests/process.h"

#define MIB (INT64_C(1) << 20)

TestSuite(limits, .timeout = 120);

static void
expect(enum job_state state, enum job_cause cause, enum job_error error)
{
	const struct outcome *o = &got.result.outcome;

	cr_expect_eq(o->state, state, "state %s: %s", job_state_text(o->state), got.message);
	cr_expect_eq(o->cause, cause, "cause %s: %s", job_cause_text(o->cause), got.message);
	cr_expect_eq(o->error, error, "error %s: %s", job_error_text(o->error), got.message);
}

static void
touch(int64_t bytes, uint64_t limit)
{
	run_kind("touch", (struct run_body){ .memory_bytes = limit }, &bytes, 1);
}

Test(limits, of_memory_is_the_jobs_alone_and_ends_with_it)
{
	start_worker("process", 1);
	touch(64 * MIB, 0);
	expect(JOB_SUCCEEDED, CAUSE_NONE, ERR_NONE);
	touch(64 * MIB, 48 * MIB);
	expect(JOB_FAILED, CAUSE_OOM, ERR_OOM);
	cr_expect_eq(got.result.flags & RECEIPT_LIMIT_PROCESS, RECEIPT_LIMIT_PROCESS);
	/* What the worker holds already is not the job's. */
	touch(40 * MIB, 48 * MIB);
	expect(JOB_SUCCEEDED, CAUSE_NONE, ERR_NONE);
	touch(256 * MIB, 0);
	expect(JOB_SUCCEEDED, CAUSE_NONE, ERR_NONE);
	cr_expect_eq(got.result.flags & RECEIPT_LIMIT_PROCESS, 0);
	stop_worker();
}

Test(limits, of_memory_is_no_limit_beyond_the_workers_own)
{
	start_worker("process", 1);
	touch(64 * MIB, INT64_MAX);
	expect(JOB_SUCCEEDED, CAUSE_NONE, ERR_NONE);
	touch(64 * MIB, UINT64_MAX);
	expect(JOB_SUCCEEDED, CAUSE_NONE, ERR_NONE);
	stop_worker();
}

Test(limits, of_memory_are_not_kept_where_jobs_share_a_process)
{
	int64_t ms = 0;

	start_worker("thread", 2);
	touch(MIB, 64 * MIB);
	expect(JOB_FAILED, CAUSE_ERROR, ERR_RUN);
	cr_expect(strstr(got.message, "many jobs") != NULL, "%s", got.message);
	stop_worker();
	start_worker("event", 8);
	run_kind("sleep", (struct run_body){ .memory_bytes = 64 * MIB }, &ms, 1);
	expect(JOB_FAILED, CAUSE_ERROR, ERR_RUN);
	stop_worker();
}

/* ---- niceness ---- */

static int
nice_of_worker(void)
{
	errno = 0;
	return getpriority(PRIO_PROCESS, (id_t)worker);
}

static void
sleep_nicely(int nice, int64_t ms)
{
	int before = nice_of_worker();
	int index = send_kind("sleep", (struct run_body){ .nice = nice }, &ms, 1);

	wait_claimed(index);
	cr_expect(wait_until(20000, nice_of_worker() == (before + nice < 19 ? before + nice : 19)),
		  "niceness %d", nice_of_worker());
	receive();
	expect(JOB_SUCCEEDED, CAUSE_NONE, ERR_NONE);
}

Test(limits, niceness_ends_with_its_job)
{
	start_worker("process", 1);
	int before = nice_of_worker();
	sleep_nicely(7, 200);
	cr_expect_eq(nice_of_worker(), before);
	cr_expect_eq(got.result.flags, got.result.flags & RESULT_MEASURED);
	sleep_nicely(19, 200);
	cr_expect_eq(nice_of_worker(), before);
	stop_worker();
}

static bool
be_nobody(void)
{
	struct rlimit none = { 0, 0 };

	return setrlimit(RLIMIT_NICE, &none) == 0 && setgroups(0, NULL) == 0 &&
	       setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0;
}

Test(limits, a_worker_that_cannot_undo_niceness_runs_nothing_more)
{
	int64_t none = 0;

	if (geteuid() == 0)
		worker_prepare = be_nobody;
	start_worker("process", 1);
	sleep_nicely(5, 100);
	cr_expect(got.result.flags & RESULT_HALTED, "flags %x", got.result.flags);
	cr_expect(got.result.flags & RESULT_SPENT, "flags %x", got.result.flags);
	int index = send_kind("noop", (struct run_body){ 0 }, &none, 0);
	cr_expect(!wait_until(200, got.result.ticket != 0));
	(void)index;
	stop_worker();
}

/* ---- commands ---- */

#define EAT "head -c 300000000 /dev/zero | tail -c 290000000 >/dev/null"

/* A control group for the test, or none. */
static bool
open_cgroup(void)
{
	cgroup_open(&cgroup, true);
	if (cgroup.version == CGROUP_NONE)
		fprintf(stderr, "no cgroup here (%s): rlimits instead\n", cgroup.why);
	return cgroup.version != CGROUP_NONE;
}

static bool
exists(const char *path)
{
	return access(path, F_OK) == 0;
}

Test(limits, of_a_command_hold_for_all_its_processes_and_the_kernels_kill_is_told)
{
	struct run_body limited = { .memory_bytes = 64 * MIB };
	char path[CGROUP_PATH + 64];

	bool has = open_cgroup();
	start_worker("command", 1);
	snprintf(path, sizeof(path), "%s/test-0-%d", cgroup.base, (int)worker);
	run_shell(EAT, (struct run_body){ 0 });
	expect(JOB_SUCCEEDED, CAUSE_EXIT, ERR_NONE);
	run_shell(EAT, limited);
	if (has) {
		expect(JOB_FAILED, CAUSE_OOM, ERR_OOM);
		cr_expect_eq(got.result.outcome.cause_value, SIGKILL);
		cr_expect(got.result.flags & RECEIPT_LIMIT_CGROUP);
	} else {
		expect(JOB_FAILED, CAUSE_EXIT, ERR_RUN);
		cr_expect(got.result.flags & RECEIPT_LIMIT_PROCESS);
	}
	cr_expect(!exists(path), "%s was left behind", path);
	/* Many small processes together: only a cgroup sees that. */
	run_shell("for i in 1 2 3 4; do " EAT " & done; wait; true", limited);
	cr_expect_eq(got.result.outcome.state, JOB_SUCCEEDED, "it copes with its children's death");
	run_shell("true", limited);
	expect(JOB_SUCCEEDED, CAUSE_EXIT, ERR_NONE);
	run_shell("exit 3", limited);
	expect(JOB_FAILED, CAUSE_EXIT, ERR_RUN);
	stop_worker();
	cgroup_close(&cgroup);
	cr_expect(!exists(cgroup.base), "%s was left behind", cgroup.base);
}

Test(limits, of_a_command_without_a_cgroup_are_each_processs_address_space)
{
	cgroup_open(&cgroup, false);
	cr_expect_eq(cgroup.version, CGROUP_NONE);
	cr_expect(cgroup.why[0] != '\0');
	start_worker("command", 1);
	run_shell("ulimit -v; exec " EAT, (struct run_body){ .memory_bytes = 64 * MIB });
	expect(JOB_FAILED, CAUSE_EXIT, ERR_RUN);
	cr_expect_eq(strncmp(got.out, "65536\n", 6), 0, "%s", got.out);
	cr_expect_eq(got.result.flags & (RECEIPT_LIMIT_PROCESS | RECEIPT_LIMIT_CGROUP),
		     RECEIPT_LIMIT_PROCESS);
	run_shell("ulimit -v", (struct run_body){ 0 });
	cr_expect_str_eq(got.out, "unlimited\n");
	cr_expect_eq(got.result.flags & (RECEIPT_LIMIT_PROCESS | RECEIPT_LIMIT_CGROUP), 0);
	stop_worker();
}

Test(limits, a_command_is_as_nice_as_asked_and_its_worker_is_not)
{
	start_worker("command", 1);
	int before = nice_of_worker();
	char text[32];
	snprintf(text, sizeof(text), "%d\n", before + 6 < 19 ? before + 6 : 19);
	run_shell("nice", (struct run_body){ .nice = 6 });
	cr_expect_str_eq(got.out, text);
	cr_expect_eq(nice_of_worker(), before);
	stop_worker();
}

/* ---- what is left of cgroups when daemons and workers die ---- */

/* A "daemon" of its own, which makes its directory and a group with a process in it. */
static pid_t
start_daemon(char *base, size_t size)
{
	int pipes[2];
	char text[CGROUP_PATH] = "";

	cr_assert_eq(pipe(pipes), 0);
	pid_t pid = test_fork();
	if (pid == 0) {
		struct cgroup own;
		struct cgroup_run run;
		cgroup_open(&own, true);
		if (cgroup_run_open(&run, &own, "shell-0", 64 * MIB) < 0)
			_exit(1);
		pid_t child = fork();
		if (child == 0) {
			(void)!write(run.procs, "0", 1);
			(void)!write(pipes[1], own.base, strlen(own.base));
			for (;;)
				pause();
		}
		for (;;)
			pause();
	}
	cr_assert(read(pipes[0], text, sizeof(text) - 1) > 0, "no group could be made");
	snprintf(base, size, "%s", text);
	close(pipes[0]);
	close(pipes[1]);
	return pid;
}

Test(limits, groups_of_a_dead_daemon_are_removed_by_the_next_and_a_living_ones_are_not)
{
	char dead[CGROUP_PATH], living[CGROUP_PATH];

	if (!open_cgroup() || cgroup.version == CGROUP_V2)
		return; /* version 2 has one daemon in a group */
	pid_t killed = start_daemon(dead, sizeof(dead)),
	      lives = start_daemon(living, sizeof(living));
	kill_and_wait(killed, SIGKILL);
	cr_assert(exists(dead), "the control arm: nothing was left behind");
	cr_expect(wait_until(20000, (cgroup_sweep(&cgroup), !exists(dead))));
	cr_expect(exists(living));
	kill_and_wait(lives, SIGKILL);
	cr_expect(wait_until(20000, (cgroup_sweep(&cgroup), !exists(living))));
	cgroup_close(&cgroup);
}

Test(limits, groups_of_a_dead_worker_are_removed_with_what_is_in_them)
{
	char path[CGROUP_PATH + 64];

	if (!open_cgroup())
		return;
	start_worker("command", 1);
	snprintf(path, sizeof(path), "%s/test-0-%d", cgroup.base, (int)worker);
	send_shell("sleep 1000 & sleep 1000", (struct run_body){ .memory_bytes = 64 * MIB });
	cr_assert(wait_until(20000, exists(path)));
	cgroup_tidy(&cgroup);
	cr_expect(exists(path), "its worker lives");
	kill_and_wait(worker, SIGKILL);
	cr_expect(wait_until(20000, (cgroup_tidy(&cgroup), !exists(path))), "%s stayed", path);
	cgroup_close(&cgroup);
	cr_expect(!exists(cgroup.base));
}
