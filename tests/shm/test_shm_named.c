/* test_shm_named.c - names in /dev/shm, and the word that names their owner. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/named.h"
#include "shm/owner.h"

static char file[NAMED_FILE_MAX];

static void
setup(void)
{
	snprintf(file, sizeof(file), "pyprep.test.%d", (int)getpid());
}

static void
teardown(void)
{
	(void)named_unlink(file);
}

TestSuite(named, .init = setup, .fini = teardown, .timeout = 600);
TestSuite(owner, .timeout = 600);

Test(named, appears_whole_and_holds_what_was_written_before)
{
	int fd, again;
	void *base, *other;
	size_t bytes;

	cr_assert_eq(named_begin(5000, 0600, &fd), 0);
	cr_assert_eq(named_map(fd, true, false, &base, &bytes), 0);
	strcpy(base, "before the name");
	cr_expect_eq(named_open(file, false, &again), -ENOENT);
	cr_assert_eq(named_publish(fd, file), 0);
	cr_expect_eq(named_publish(fd, file), -EEXIST);
	cr_assert_eq(named_open(file, true, &again), 0);
	cr_expect(named_is_same(file, again));
	cr_assert_eq(named_map(again, true, true, &other, &bytes), 0);
	cr_expect_eq(bytes, 5000);
	cr_expect_str_eq(other, "before the name");
	cr_expect_eq(named_unlink(file), 0);
	cr_expect(!named_is_same(file, again));
	cr_expect_eq(named_unlink(file), -ENOENT);
	cr_expect_str_eq(other, "before the name");
	named_unmap(base, bytes);
	named_unmap(other, bytes);
	close(fd);
	close(again);
}

static int
count_ours(void *context, const char *name)
{
	*(int *)context += strcmp(name, file) == 0;
	return 0;
}

Test(named, is_found_by_its_prefix_and_nothing_stays_of_one_never_published)
{
	int fd, found = 0;

	cr_assert_eq(named_begin(100, 0600, &fd), 0);
	cr_expect_eq(named_each(NAMED_PREFIX, count_ours, &found), 0);
	cr_expect_eq(found, 0);
	cr_assert_eq(named_publish(fd, file), 0);
	cr_expect_eq(named_each(NAMED_PREFIX, count_ours, &found), 0);
	cr_expect_eq(found, 1);
	close(fd);
}

Test(named, refuses_names_that_are_paths_or_ours)
{
	cr_expect(named_is_valid("prices-2026.b_1"));
	cr_expect(!named_is_valid(""));
	cr_expect(!named_is_valid("a/b"));
	cr_expect(!named_is_valid(".."));
	cr_expect(!named_is_valid("-x"));
	cr_expect(!named_is_valid("pyprep.queue.x"));
	char longest[NAMED_MAX + 2];
	memset(longest, 'a', sizeof(longest));
	longest[NAMED_MAX] = '\0';
	cr_expect(named_is_valid(longest));
	longest[NAMED_MAX] = 'a';
	longest[NAMED_MAX + 1] = '\0';
	cr_expect(!named_is_valid(longest));
}

Test(named, a_size_beyond_the_machine_is_an_error)
{
	int fd = -1;

	cr_expect_eq(named_begin(0, 0600, &fd), -EINVAL);
	int r = named_begin((size_t)1 << 60, 0600, &fd);
	cr_expect(r == -ENOSPC || r == -EFBIG, "%d", r);
	cr_expect_eq(fd, -1);
}

Test(owner, tells_the_living_from_the_dead)
{
	uint64_t self = owner_self();

	cr_expect_eq(owner_pid(self), getpid());
	cr_expect(owner_alive(self));
	cr_expect(!owner_alive(OWNER_NOBODY));
	cr_expect(!owner_alive(self ^ 1), "another start time is another process");

	pid_t child = fork();
	if (child == 0)
		_exit(owner_self() != self && owner_pid(owner_self()) == getpid() ? 0 : 1);
	siginfo_t info;
	/* Dead and not reaped: a zombie touches nothing any more. */
	cr_assert_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	cr_expect_eq(owner_of(child), OWNER_NOBODY);
	int status;
	waitpid(child, &status, 0);
	cr_expect_eq(status, 0, "a forked child took its parent's word");
}
