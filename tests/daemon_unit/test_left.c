/* test_left.c - what a job leaves behind in its worker is found, told, and put right; and what is
 * nobody's leak is not taken for one. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/left.h"
#include "daemon/scratch.h"
#include "tests/daemon_unit/worker_fixture.h"
#include "tests/files.h"
#include "tests/process.h"

#define MIB (INT64_C(1) << 20)

static struct scratch_home home;
static char root[96];

/* As in fail.c. */
enum { LEAK_FD = 4, LEAK_MEMORY, LEAK_SEGMENT, LEAK_CHILD, LEAK_FILE };

static void
setup(void)
{
	test_dir_make(root, sizeof(root));
	cr_assert_eq(scratch_home_open(&home, root), 0);
	scratch_home = home.path;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static void
teardown(void)
{
	scratch_home_close(&home, 0);
	test_dir_remove(root);
}

TestSuite(left, .init = setup, .fini = teardown, .timeout = 120);

static void
fail_by(int64_t how)
{
	int64_t words[4] = { how, 0, SIGSEGV, MIB };

	run_kind("fail", (struct run_body){ .id = 99 }, words, 4);
	cr_assert_eq(got.result.outcome.state, JOB_SUCCEEDED, "%s", got.message);
}

Test(left, descriptors_are_counted_and_the_worker_asks_to_be_replaced)
{
	start_worker("process", 1);
	run_kind("noop", (struct run_body){ 0 }, NULL, 0);
	cr_expect_eq(got.lefts, 0);
	cr_expect_eq(got.result.flags & RESULT_SPENT, 0);
	for (int i = 0; i < 3; i++) {
		fail_by(LEAK_FD);
		cr_expect_eq(got.lefts, 1);
		cr_expect_eq(got.left.descriptors, 1);
		cr_expect_eq(got.left.segments + got.left.processes + got.left.files, 0);
		cr_expect(got.result.flags & RESULT_SPENT);
	}
	/* It goes on working meanwhile, and goes on asking. */
	run_kind("noop", (struct run_body){ 0 }, NULL, 0);
	cr_expect_eq(got.lefts, 0);
	cr_expect(got.result.flags & RESULT_SPENT);
	stop_worker();
}

Test(left, memory_that_a_run_took_is_told_with_its_result)
{
	int64_t bytes = 8 * MIB;

	start_worker("process", 1);
	for (int i = 0; i < 4; i++)
		run_kind("touch", (struct run_body){ 0 }, &bytes, 1);
	cr_expect_lt(got.result.growth_kib, 512, "what is given back is no growth: %d KiB",
		     got.result.growth_kib);
	fail_by(LEAK_MEMORY);
	cr_expect(got.result.flags & RESULT_MEASURED);
	cr_expect_geq(got.result.growth_kib, 1000, "%d KiB", got.result.growth_kib);
	cr_expect_leq(got.result.growth_kib, 3000, "%d KiB", got.result.growth_kib);
	stop_worker();
}

static bool
shm_has(const char *prefix)
{
	struct command_result ls = run_command("ls /dev/shm | grep -c '^%s'", prefix);
	bool has = ls.output[0] != '0';

	command_free(&ls);
	return has;
}

Test(left, segments_are_removed_and_those_of_others_are_not)
{
	char mine[64], prefix[64];

	snprintf(mine, sizeof(mine), "/test-left-%d", (int)getpid());
	start_worker("process", 1);
	snprintf(prefix, sizeof(prefix), "fail-%d-", (int)worker);
	/* Made while the job runs, by somebody else. */
	int64_t ms = 200;
	int index = send_kind("sleep", (struct run_body){ 0 }, &ms, 1);
	wait_claimed(index);
	int fd = shm_open(mine, O_RDWR | O_CREAT | O_EXCL, 0600);
	cr_assert_geq(fd, 0);
	receive();
	cr_expect_eq(got.lefts, 0);
	cr_expect(shm_has(mine + 1), "another's segment was removed");
	fail_by(LEAK_SEGMENT);
	cr_expect_eq(got.left.segments, 1);
	cr_expect_eq(got.left.descriptors, 0);
	cr_expect(!shm_has(prefix), "it is still there");
	cr_expect(shm_has(mine + 1), "another's segment was removed");
	shm_unlink(mine);
	close(fd);
	stop_worker();
}

Test(left, processes_are_killed_also_those_without_a_parent)
{
	start_worker("process", 1);
	fail_by(LEAK_CHILD);
	cr_expect_eq(got.left.processes, 2, "%u processes", got.left.processes);
	pid_t children[8];
	cr_expect_eq(list_children(worker, children, 8), 0);
	stop_worker();
}

Test(left, a_kinds_scratch_directory_goes_with_its_job)
{
	char path[PATH_MAX + 64];

	start_worker("process", 1);
	fail_by(LEAK_FILE);
	cr_expect_eq(got.lefts, 1);
	cr_expect_eq(got.left.files, 1);
	cr_expect_eq(got.left.bytes, MIB);
	snprintf(path, sizeof(path), "%s/test-0-99", home.path);
	cr_expect_eq(access(path, F_OK), -1, "%s is still there", path);
	stop_worker();
	start_worker("event", 4);
	fail_by(LEAK_FILE);
	cr_expect_eq(got.left.files, 1);
	cr_expect_eq(access(path, F_OK), -1, "%s is still there", path);
	stop_worker();
}

/* No-ops, until they are so short that they are not looked at each. */
static void
run_until_short(void)
{
	unsigned runs = 0;

	do
		run_kind("noop", (struct run_body){ 0 }, NULL, 0);
	while ((got.result.flags & RESULT_MEASURED) != 0 && ++runs < 100000);
	cr_assert_eq(got.result.flags & RESULT_MEASURED, 0, "%u runs, all looked at", runs);
}

Test(left, short_runs_are_sampled)
{
	start_worker("process", 1);
	run_until_short();
	unsigned measured = 0;
	for (int i = 0; i < 1280; i++) {
		run_kind("noop", (struct run_body){ 0 }, NULL, 0);
		measured += (got.result.flags & RESULT_MEASURED) != 0;
		cr_expect_eq(got.lefts, 0);
	}
	/* Every 64th; and eight more when one took long, as it may. */
	cr_expect_geq(measured, 20);
	cr_expect_lt(measured, 1000);
	stop_worker();
}

/* The worker makes an event loop for the first kind that needs one, and keeps it. */
Test(left, what_the_worker_keeps_is_no_leak_of_the_runs_before)
{
	int64_t ms = 0;

	start_worker("process", 1);
	run_until_short();
	for (int i = 0; i < 20; i++) {
		run_kind("sleep", (struct run_body){ 0 }, &ms, 1);
		cr_expect_eq(got.lefts, 0, "%u descriptors", got.left.descriptors);
		cr_expect_eq(got.result.flags & RESULT_SPENT, 0);
	}
	stop_worker();
}

/* ---- the watch alone ---- */

Test(left, of_a_short_run_is_found_by_the_next_look)
{
	const struct kind kind = { .name = "test" }, keeper = { .name = "keeper", .keeps = true };
	struct left_body left;
	struct left_watch w;

	left_open(&w, true);
	cr_expect(!left_begin(&w, &left));
	cr_expect(!left_end(&w, &kind, &left));
	left_short(&w, 5);
	int fd = open("/dev/null", O_RDONLY);
	cr_expect(left_begin(&w, &left), "not found");
	cr_expect_eq(left.kind, 5);
	cr_expect_eq(left.ticket, 0);
	cr_expect_eq(left.descriptors, 1);
	left = (struct left_body){ 0 };
	cr_expect(!left_end(&w, &kind, &left), "found twice");
	/* Of two kinds nobody knows which it was. */
	left_short(&w, 5);
	left_short(&w, 6);
	int other = open("/dev/null", O_RDONLY);
	cr_expect(left_begin(&w, &left));
	cr_expect_eq(left.kind, LEFT_KINDS);
	left = (struct left_body){ 0 };
	int kept = open("/dev/null", O_RDONLY);
	cr_expect(!left_end(&w, &keeper, &left), "it keeps it on purpose");
	cr_expect(!left_begin(&w, &left), "and so it is nobody's later");
	close(fd);
	close(other);
	close(kept);
	left = (struct left_body){ 0 };
	cr_expect(!left_end(&w, &kind, &left), "fewer are no leak");
	left_close(&w);
}

Test(left, descriptors_can_be_counted_on_older_kernels)
{
	const struct kind kind = { .name = "test" };
	struct left_body left = { 0 };
	struct left_watch w;

	left_open(&w, true);
	w.sized = false;
	cr_expect(!left_begin(&w, &left));
	int fd = open("/dev/null", O_RDONLY);
	left = (struct left_body){ 0 };
	cr_expect(left_end(&w, &kind, &left));
	cr_expect_eq(left.descriptors, 1);
	close(fd);
	left_close(&w);
}

/* ---- commands ---- */

Test(left, by_a_command_is_counted_and_gone)
{
	start_worker("command", 1);
	run_shell("true", (struct run_body){ 0 });
	cr_expect_eq(got.lefts, 0);
	run_shell(
		"cd $PYPREP_SCRATCH && head -c 1000 /dev/zero >a && mkdir -p b/c && echo x >b/c/d",
		(struct run_body){ 0 });
	cr_expect_eq(got.lefts, 1);
	cr_expect_eq(got.left.files, 2);
	cr_expect_eq(got.left.bytes, 1002);
	cr_expect_eq(got.left.processes, 0);
	run_shell("ls -A $PYPREP_SCRATCH", (struct run_body){ 0 });
	cr_expect_str_eq(got.out, "", "the next one finds it");
	run_shell("sleep 1000 & sleep 1000 & true", (struct run_body){ 0 });
	cr_expect_eq(got.lefts, 1);
	cr_expect_eq(got.left.processes, 2, "%u", got.left.processes);
	stop_worker();
}

Test(left, a_command_knows_its_job_and_its_directory)
{
	start_worker("command", 1);
	run_shell("echo $PYPREP_JOB $PYPREP_ATTEMPT; stat -c '%a %u' $PYPREP_SCRATCH",
		  (struct run_body){ .id = 4711 });
	char text[64];
	snprintf(text, sizeof(text), "4711 1\n700 %u\n", (unsigned)geteuid());
	cr_expect_str_eq(got.out, text);
	stop_worker();
}

Test(left, another_users_command_has_a_directory_of_its_own)
{
	char open_root[64];
	struct run_body other = { .uid = 65534, .gid = 65534, .flags = RUN_DROP_TO_USER };

	if (geteuid() != 0)
		return;
	/* The way there must be open to others. */
	snprintf(open_root, sizeof(open_root), "/tmp/test-left-%d", (int)getpid());
	cr_assert_eq(scratch_home_open(&home, open_root), 0);
	start_worker("command", 1);
	run_shell("stat -c '%a %u %g' $PYPREP_SCRATCH; echo secret >$PYPREP_SCRATCH/a", other);
	cr_expect_str_eq(got.out, "700 65534 65534\n");
	cr_expect_eq(got.left.files, 1);
	run_shell("stat -c '%a %u' $PYPREP_SCRATCH; ls -A $PYPREP_SCRATCH", (struct run_body){ 0 });
	cr_expect_str_eq(got.out, "700 0\n");
	stop_worker();
	scratch_home_close(&home, 0);
	cr_expect_eq(rmdir(open_root), 0);
}

Test(left, too_much_to_remove_at_once_is_left_to_a_sweeper)
{
	start_worker("command", 1);
	run_shell("cd $PYPREP_SCRATCH && seq 30000 | xargs touch", (struct run_body){ 0 });
	cr_assert_eq(got.result.outcome.state, JOB_SUCCEEDED, "%s", got.message);
	cr_expect_eq(got.lefts, 1);
	cr_expect(got.left.flags & LEFT_MORE);
	cr_expect(got.left.files > 0 && got.left.files < 30000, "%ju", (uintmax_t)got.left.files);
	cr_expect(control_says(MSG_LITTER), "the supervisor was not told");
	run_shell("ls -A $PYPREP_SCRATCH", (struct run_body){ 0 });
	cr_expect_str_eq(got.out, "");
	cr_expect(scratch_has_litter(root, home.path));
	scratch_sweep(root, home.path);
	cr_expect(!scratch_has_litter(root, home.path));
	stop_worker();
}

Test(left, by_a_killed_worker_is_cleared_by_its_successor)
{
	start_worker("command", 1);
	send_shell("cd $PYPREP_SCRATCH && echo $$ >b && mv b a && exec sleep 1000",
		   (struct run_body){ 0 });
	char path[PATH_MAX + 16], text[16] = "";
	snprintf(path, sizeof(path), "%s/test-0/a", home.path);
	cr_assert(wait_until(20000, access(path, F_OK) == 0));
	kill_and_wait(worker, SIGKILL);
	FILE *f = fopen(path, "re");
	cr_assert(f != NULL && fgets(text, sizeof(text), f) != NULL,
		  "the control arm: nothing was left");
	fclose(f);
	cr_assert_gt(atoi(text), 1);
	kill(atoi(text), SIGKILL); /* a supervisor would */
	start_worker("command", 1);
	run_shell("ls -A $PYPREP_SCRATCH", (struct run_body){ 0 });
	cr_expect_str_eq(got.out, "");
	stop_worker();
}
