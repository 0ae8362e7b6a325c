/* test_paths.c - where the daemon lives, by argument, environment and user. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/config.h"

static char buffer[256];
static char why[512];

static void
setup(void)
{
	static const char *const names[] = { "PYPREP_RUNTIME_DIR", "PYPREP_STATE_DIR",
					     "XDG_RUNTIME_DIR", "XDG_STATE_HOME",
					     "STATE_DIRECTORY" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
}

/* What a sanitizer writes at the end, it writes as the user who made its directory. */
static void
teardown(void)
{
	if (getuid() == 0 && seteuid(0) < 0)
		abort();
}

TestSuite(paths, .init = setup, .fini = teardown, .timeout = 600);

static int
runtime(const char *given)
{
	return path_runtime_dir(given, buffer, sizeof(buffer), why, sizeof(why));
}

static int
state(void)
{
	return path_state_dir(buffer, sizeof(buffer), why, sizeof(why));
}

/* The rest of the test runs as somebody who is not root. */
static void
be_a_user(void)
{
	if (geteuid() == 0)
		cr_assert_eq(seteuid(65534), 0);
}

Test(paths, argument_comes_before_environment)
{
	setenv("PYPREP_RUNTIME_DIR", "/env", 1);
	cr_assert_eq(runtime("/given//"), 0, "%s", why);
	cr_assert_str_eq(buffer, "/given");
	cr_assert_eq(runtime(NULL), 0, "%s", why);
	cr_assert_str_eq(buffer, "/env");
}

Test(paths, relative_directories_become_absolute)
{
	char expected[PATH_MAX];

	cr_assert_eq(chdir("/usr"), 0);
	cr_assert_not_null(getcwd(expected, sizeof(expected)));
	strcat(expected, "/run");
	cr_assert_eq(runtime("run"), 0, "%s", why);
	cr_assert_str_eq(buffer, expected);
}

Test(paths, root_has_the_system_directories)
{
	if (geteuid() != 0)
		cr_skip_test("not root");
	setenv("XDG_RUNTIME_DIR", "/run/user/0", 1);
	cr_assert_eq(runtime(NULL), 0, "%s", why);
	cr_assert_str_eq(buffer, "/run/pyprep");
	cr_assert_eq(state(), 0, "%s", why);
	cr_assert_str_eq(buffer, "/var/lib/pyprep");
}

Test(paths, a_user_has_the_xdg_directories)
{
	be_a_user();
	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	cr_assert_eq(runtime(NULL), 0, "%s", why);
	cr_assert_str_eq(buffer, "/run/user/7/pyprep");
	setenv("HOME", "/home/x", 1);
	cr_assert_eq(state(), 0, "%s", why);
	cr_assert_str_eq(buffer, "/home/x/.local/state/pyprep");
	setenv("XDG_STATE_HOME", "/s", 1);
	cr_assert_eq(state(), 0, "%s", why);
	cr_assert_str_eq(buffer, "/s/pyprep");
	setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two", 1);
	cr_assert_eq(state(), 0, "%s", why);
	cr_assert_str_eq(buffer, "/var/lib/one");
	setenv("PYPREP_STATE_DIR", "/mine", 1);
	cr_assert_eq(state(), 0, "%s", why);
	cr_assert_str_eq(buffer, "/mine");
}

Test(paths, a_user_without_a_runtime_directory_is_told_what_to_set)
{
	static const char expected[] =
		"no runtime directory: XDG_RUNTIME_DIR is not set to an absolute path; set it or "
		"PYPREP_RUNTIME_DIR, or give --runtime-dir DIR";

	be_a_user();
	cr_assert_eq(runtime(NULL), -ENOENT);
	cr_assert_str_eq(why, expected);
	setenv("XDG_RUNTIME_DIR", "", 1);
	cr_assert_eq(runtime(NULL), -ENOENT);
	setenv("XDG_RUNTIME_DIR", "relative", 1); /* the XDG specification: ignored */
	cr_assert_eq(runtime(NULL), -ENOENT);
	cr_assert_eq(runtime(""), -EINVAL);
}

Test(paths, a_path_too_long_for_a_socket_is_refused)
{
	char path[200];

	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[94] = '\0'; /* 94 + 13 bytes of "/pyprepd.sock" + NUL = 108 */
	cr_assert_eq(runtime(path), 0, "%s", why);
	path[94] = 'a';
	path[95] = '\0';
	cr_assert_eq(runtime(path), -ENAMETOOLONG);
	cr_assert_not_null(strstr(why, "is 95 bytes long; a unix socket in it allows at most 94"),
			   "%s", why);
	cr_assert_eq(path_runtime_dir(path, buffer, 20, why, sizeof(why)), -ENAMETOOLONG);
	cr_assert_not_null(strstr(why, "expected at most 19"), "%s", why);
}

Test(paths, are_made_with_what_is_missing_above_them)
{
	char top[] = "/tmp/test-paths-XXXXXX", below[64], under_file[64];
	struct stat st;

	cr_assert_not_null(mkdtemp(top));
	snprintf(below, sizeof(below), "%s/a/b", top);
	cr_expect_eq(path_make_dir(below, 0700), 0);
	cr_expect_eq(path_make_dir(below, 0700), 0, "it is there already");
	cr_expect(stat(below, &st) == 0 && S_ISDIR(st.st_mode) != 0);
	snprintf(under_file, sizeof(under_file), "%s/file", top);
	cr_expect_eq(close(creat(under_file, 0600)), 0);
	strcat(under_file, "/c");
	cr_expect_eq(path_make_dir(under_file, 0700), -ENOTDIR);
	*strrchr(under_file, '/') = '\0';
	unlink(under_file);
	rmdir(below);
	*strrchr(below, '/') = '\0';
	rmdir(below);
	cr_expect_eq(rmdir(top), 0);
}
