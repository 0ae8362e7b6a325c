/* test_scratch.c - jobs' private directories: empty, gone afterwards, and removed without harm to
 * anything else, whatever was put into them. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/scratch.h"
#include "ipc/clock.h"
#include "tests/files.h"
#include "tests/process.h"

static char root[96];
static char victim[160]; /* a directory with a file in it, outside */
static struct scratch_home home;
static struct scratch s;

static void
setup(void)
{
	test_dir_make(root, sizeof(root));
	snprintf(victim, sizeof(victim), "%s/victim", root);
	cr_assert_eq(mkdir(victim, 0755), 0);
	test_write_file(victim, "precious", "x", NULL, 0);
	cr_assert_eq(scratch_home_open(&home, root), 0);
	scratch_init(&s, home.path, "shell-0");
}

static void
teardown(void)
{
	scratch_home_close(&home, 0);
	test_dir_remove(root);
}

TestSuite(scratch, .init = setup, .fini = teardown, .timeout = 120);

static bool
exists(const char *directory, const char *name)
{
	char path[PATH_MAX + 64];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return lstat(path, &st) == 0;
}

static void
take(void)
{
	int r = scratch_take(&s, false, 0, 0);
	cr_assert_eq(r, 0, "%s", strerror(-r));
}

static bool
clear(struct scratch_count *count)
{
	return scratch_clear(&s, true, count);
}

/* sh -c in the directory; aborts the test when it fails. */
static void
shell(const char *script)
{
	struct command_result r = run_command("cd '%s' && %s", s.path, script);

	cr_assert_eq(r.status, 0, "%s: %s", script, r.errors);
	command_free(&r);
}

static ino_t
inode(void)
{
	struct stat st;

	cr_assert_eq(lstat(s.path, &st), 0);
	cr_expect(S_ISDIR(st.st_mode));
	cr_expect_eq(st.st_mode & 07777, 0700);
	return st.st_ino;
}

Test(scratch, untouched_is_used_again_and_what_was_used_is_new)
{
	struct scratch_count count;

	take();
	ino_t first = inode();
	cr_expect(!clear(&count));
	cr_expect_eq(count.files, 0);
	take();
	cr_expect_eq(inode(), first, "made anew for nothing");
	shell("echo hello >a && mkdir -p b/c && ln -s a l && mkfifo p");
	cr_expect(!clear(&count));
	cr_expect_eq(count.files, 3, "%ju", (uintmax_t)count.files);
	cr_expect_eq(count.bytes, 6);
	cr_expect(!count.more);
	cr_expect(!exists(home.path, "shell-0"));
	take();
	(void)inode();
	shell("chmod 0755 .");
	take();
	(void)inode();
}

Test(scratch, another_directory_in_its_place_is_not_taken_for_it)
{
	struct scratch_count count;

	take();
	shell("cd .. && rmdir shell-0 && mkdir shell-0 && chmod 0700 shell-0 && touch shell-0/a");
	take();
	cr_expect(!exists(s.path, "a"));
	shell("cd .. && rmdir shell-0");
	cr_expect(!clear(&count));
	take();
	(void)inode();
}

Test(scratch, removing_follows_no_symbolic_link)
{
	struct scratch_count count;
	char script[600];

	take();
	snprintf(script, sizeof(script), "ln -s '%s' l && mkdir d && ln -s '%s' d/l && ln -s / r",
		 victim, victim);
	shell(script);
	cr_assert(exists(s.path, "l/precious"), "the control arm: the link leads nowhere");
	cr_expect(!clear(&count));
	cr_expect_eq(count.files, 3);
	cr_expect(exists(victim, "precious"));
	/* The directory itself is a link now. */
	take();
	snprintf(script, sizeof(script), "cd .. && rmdir shell-0 && ln -s '%s' shell-0", victim);
	shell(script);
	cr_assert(exists(s.path, "precious"), "the control arm: the link leads nowhere");
	cr_expect(!clear(&count));
	cr_expect(exists(victim, "precious"));
	take();
	(void)inode();
}

/* In a mount namespace of its own: 0; 1: something is lost; 2: left behind was not told;
 * 3: cannot be tried. */
static int
clear_with_a_mount_inside(const char *where)
{
	struct scratch_count count;
	char point[PATH_MAX + 64];

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 3;
	if (scratch_take(&s, false, 0, 0) < 0)
		return 3;
	snprintf(point, sizeof(point), "%s%s", s.path, where);
	if ((where[0] != '\0' && mkdir(point, 0700) < 0) ||
	    mount(victim, point, NULL, MS_BIND, NULL) < 0)
		return 3;
	(void)scratch_clear(&s, true, &count);
	if (!exists(victim, "precious"))
		return 1;
	/* The next job has an empty one all the same. */
	if (scratch_take(&s, false, 0, 0) < 0 || exists(s.path, "precious") || exists(s.path, "m"))
		return 1;
	return count.more ? 0 : 2;
}

static void
expect_mount_is_safe(const char *where)
{
	pid_t pid = test_fork();

	if (pid == 0)
		_exit(clear_with_a_mount_inside(where));
	int status = wait_exit(pid, 20000);
	if (geteuid() != 0 && status == 3 << 8)
		return; /* only root can mount */
	cr_expect_eq(status, 0, "%s: %d", where, status >> 8);
	cr_expect(exists(victim, "precious"));
}

Test(scratch, removing_crosses_no_mount_point)
{
	expect_mount_is_safe("/m");
}

Test(scratch, a_mount_over_it_is_left_alone)
{
	expect_mount_is_safe("");
}

Test(scratch, deeper_than_there_are_descriptors)
{
	struct rlimit limit = { 100, 100 };
	struct scratch_count count;
	char name[] = "dddddddddddddddddddd";

	take();
	int at = open(s.path, O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 2000; i++) {
		cr_assert_eq(mkdirat(at, name, 0700), 0);
		int next = openat(at, name, O_RDONLY | O_DIRECTORY);
		cr_assert_geq(next, 0);
		close(at);
		at = next;
	}
	int file = openat(at, "file", O_WRONLY | O_CREAT, 0600);
	close(file);
	close(at);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	while (clear(&count)) /* a slow machine does it in pieces */
		scratch_sweep(root, home.path);
	cr_expect(!exists(home.path, "shell-0"));
	cr_expect(!scratch_has_litter(root, home.path));
}

/* As a user: root may do all. */
Test(scratch, unreadable_directories_are_removed)
{
	pid_t pid = test_fork();

	if (pid == 0) {
		struct scratch_count count;
		struct scratch_home own;
		char dir[64];
		snprintf(dir, sizeof(dir), "/tmp/test-scratch-%d", (int)getpid());
		if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
			_exit(3);
		if (scratch_home_open(&own, dir) < 0)
			_exit(4);
		scratch_init(&s, own.path, "shell-0");
		if (scratch_take(&s, false, 0, 0) < 0 || chdir(s.path) < 0)
			_exit(5);
		if (mkdir("a", 0700) < 0 || mkdir("a/b", 0700) < 0 ||
		    close(creat("a/b/file", 0600)) < 0 || chmod("a/b", 0) < 0 ||
		    chmod("a", 0500) < 0)
			_exit(6);
		bool litter = scratch_clear(&s, true, &count);
		bool there = exists(own.path, "shell-0");
		scratch_home_close(&own, 0);
		_exit(litter ? 7 : there ? 8 : count.files != 1 ? 9 : rmdir(dir) == 0 ? 0 : 10);
	}
	int status = wait_exit(pid, 20000);
	cr_expect_eq(status, 0, "step %d", status >> 8);
}

Test(scratch, a_lot_is_set_aside_at_once_and_swept_later)
{
	struct scratch_count count;
	uint64_t start_ns, most_ns = 0;

	take();
	shell("seq 40000 | xargs touch");
	start_ns = clock_now();
	cr_assert(clear(&count), "%ju files in %ju us", (uintmax_t)count.files,
		  (uintmax_t)((clock_now() - start_ns) / 1000));
	most_ns = clock_now() - start_ns;
	(void)most_ns;
	cr_expect(count.more);
	cr_expect_lt(count.files, 40000);
	take();
	(void)inode();
	cr_expect(scratch_has_litter(root, home.path));
	scratch_sweep(root, home.path);
	cr_expect(!scratch_has_litter(root, home.path));
	cr_expect(exists(home.path, "shell-0"), "the present one was swept");
}

/* Somebody goes on writing: removing comes to an end, and harms nothing. */
Test(scratch, a_writer_that_does_not_stop_delays_nobody)
{
	struct scratch_count count;

	take();
	pid_t pid = test_fork();
	if (pid == 0) {
		if (chdir(s.path) < 0)
			_exit(1);
		for (unsigned i = 0;; i++) {
			char name[32];
			snprintf(name, sizeof(name), i % 7 == 0 ? "d%u" : "f%u", i);
			if (i % 7 == 0)
				(void)mkdir(name, 0700);
			else
				close(open(name, O_WRONLY | O_CREAT, 0600));
		}
	}
	for (int i = 0; i < 200; i++) {
		(void)clear(&count);
		take();
	}
	kill_and_wait(pid, SIGKILL);
	(void)clear(&count);
	scratch_sweep(root, home.path);
	cr_expect(!scratch_has_litter(root, home.path));
	cr_expect(exists(victim, "precious"));
}

/* ---- daemons ---- */

/* A daemon with something in its directory. */
static pid_t
start_daemon(char *path, size_t size)
{
	int pipes[2];
	char text[sizeof(home.path)] = "";

	cr_assert_eq(pipe(pipes), 0);
	pid_t pid = test_fork();
	if (pid == 0) {
		struct scratch_home own;
		struct scratch job;
		if (scratch_home_open(&own, root) < 0)
			_exit(1);
		scratch_init(&job, own.path, "shell-0");
		if (scratch_take(&job, false, 0, 0) < 0 || chdir(job.path) < 0)
			_exit(1);
		close(creat("file", 0600));
		(void)!write(pipes[1], own.path, strlen(own.path));
		for (;;)
			pause();
	}
	close(pipes[1]);
	cr_assert(read(pipes[0], text, sizeof(text) - 1) > 0);
	close(pipes[0]);
	snprintf(path, size, "%s", text);
	return pid;
}

Test(scratch, of_a_killed_daemon_is_swept_by_the_next_and_a_living_ones_is_not)
{
	char dead[sizeof(home.path)], living[sizeof(home.path)];
	pid_t killed = start_daemon(dead, sizeof(dead)),
	      lives = start_daemon(living, sizeof(living));

	cr_expect(!scratch_has_litter(root, home.path));
	kill_and_wait(killed, SIGKILL);
	cr_assert(exists(dead, "shell-0/file"), "the control arm: nothing was left behind");
	cr_expect(scratch_has_litter(root, home.path));
	scratch_sweep(root, home.path);
	cr_expect_neq(access(dead, F_OK), 0);
	cr_expect(exists(living, "shell-0/file"), "a living daemon lost its jobs' files");
	cr_expect(exists(home.path, "."));
	cr_expect(exists(victim, "precious"), "something else in the directory was swept");
	kill_and_wait(lives, SIGKILL);
}

/* Daemons start and sweep at the same time. */
Test(scratch, of_a_starting_daemon_is_not_swept_away)
{
	pid_t sweeper = test_fork();

	if (sweeper == 0)
		for (;;)
			scratch_sweep(root, home.path);
	for (int i = 0; i < 300; i++) {
		struct scratch_home own;
		struct scratch job;
		cr_assert_eq(scratch_home_open(&own, root), 0);
		scratch_init(&job, own.path, "shell-0");
		cr_assert_eq(scratch_take(&job, false, 0, 0), 0, "swept away");
		cr_assert(exists(own.path, "shell-0"));
		scratch_home_close(&own, 0);
	}
	kill_and_wait(sweeper, SIGKILL);
}

Test(scratch, cannot_be_where_nothing_can_be_made)
{
	struct scratch_home own;
	char file[160];

	test_write_file(root, "file", "x", file, sizeof(file));
	cr_expect_lt(scratch_home_open(&own, file), 0);
	cr_expect_eq(own.lock, -1);
	scratch_home_close(&own, 0);
	scratch_init(&s, file, "shell-0");
	cr_expect_lt(scratch_take(&s, false, 0, 0), 0);
}
