/*
 * paths.c - where the daemon keeps its socket and its state.  Only looks at arguments and
 * environment; the caller makes the directories.
 */
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/config.h"

#define SOCKET_NAME "/pyprepd.sock"

/* A variable that is set and not empty, else NULL. */
static const char *
env(const char *name)
{
	const char *value = getenv(name);
	return value && *value ? value : NULL;
}

/* The XDG specification has relative paths ignored. */
static const char *
env_absolute(const char *name)
{
	const char *value = env(name);
	return value && *value == '/' ? value : NULL;
}

/* buffer = directory + tail, absolute and without slashes at its end.  `directory` may be
 * relative only when the user typed it. */
static int
put(char *buffer, size_t size, const char *directory, const char *tail, char *why, size_t why_size)
{
	char here[PATH_MAX] = "";

	if (*directory != '/') {
		if (getcwd(here, sizeof(here) - 1) == NULL) {
			int error = errno;
			snprintf(why, why_size,
				 "cannot tell where \"%s\" is: the working directory: %s; give an "
				 "absolute path",
				 directory, strerror(error));
			return -error;
		}
		strcat(here, "/");
	}
	int n = snprintf(buffer, size, "%s%s%s", here, directory, tail);
	if (n < 0 || (size_t)n >= size) {
		snprintf(why, why_size,
			 "the path %s%s%s is %d bytes long; expected at most %zu: choose a "
			 "shorter one",
			 here, directory, tail, n, size - 1);
		return -ENAMETOOLONG;
	}
	for (size_t i = strlen(buffer); i > 1 && buffer[i - 1] == '/'; i--)
		buffer[i - 1] = '\0';
	return 0;
}

/* The socket's whole path must fit a sockaddr_un. */
static int
check_socket_path(const char *directory, char *why, size_t why_size)
{
	size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 - strlen(SOCKET_NAME);

	if (strlen(directory) <= most)
		return 0;
	snprintf(why, why_size,
		 "the runtime directory %s is %zu bytes long; a unix socket in it allows at most "
		 "%zu: choose a shorter one with --runtime-dir",
		 directory, strlen(directory), most);
	return -ENAMETOOLONG;
}

int
path_runtime_dir(const char *given, char *buffer, size_t size, char *why, size_t why_size)
{
	const char *directory = given, *tail = "";

	if (given && *given == '\0') {
		snprintf(why, why_size,
			 "the runtime directory is empty; expected a path, such as --runtime-dir "
			 "/tmp/pyprep");
		return -EINVAL;
	}
	if (directory == NULL)
		directory = env("PYPREP_RUNTIME_DIR");
	if (directory == NULL && geteuid() == 0)
		directory = "/run/pyprep";
	if (directory == NULL) {
		directory = env_absolute("XDG_RUNTIME_DIR");
		tail = "/pyprep";
	}
	if (directory == NULL) {
		snprintf(why, why_size,
			 "no runtime directory: XDG_RUNTIME_DIR is not set to an absolute path; "
			 "set it or PYPREP_RUNTIME_DIR, or give --runtime-dir DIR");
		return -ENOENT;
	}
	int r = put(buffer, size, directory, tail, why, why_size);
	if (r < 0)
		return r;
	return check_socket_path(buffer, why, why_size);
}

/* systemd lists several directories with colons between; the first is ours. */
static int
first_of_list(const char *list, char *buffer, size_t size, char *why, size_t why_size)
{
	char first[PATH_MAX];

	snprintf(first, sizeof(first), "%.*s", (int)strcspn(list, ":"), list);
	return put(buffer, size, first, "", why, why_size);
}

static const char *
home(void)
{
	const char *directory = env_absolute("HOME");
	if (directory)
		return directory;
	const struct passwd *p = getpwuid(geteuid());
	return p && p->pw_dir && *p->pw_dir == '/' ? p->pw_dir : NULL;
}

int
path_state_dir(char *buffer, size_t size, char *why, size_t why_size)
{
	const char *directory;

	if ((directory = env("PYPREP_STATE_DIR")))
		return put(buffer, size, directory, "", why, why_size);
	if ((directory = env_absolute("STATE_DIRECTORY")))
		return first_of_list(directory, buffer, size, why, why_size);
	if (geteuid() == 0)
		return put(buffer, size, "/var/lib/pyprep", "", why, why_size);
	if ((directory = env_absolute("XDG_STATE_HOME")))
		return put(buffer, size, directory, "/pyprep", why, why_size);
	if ((directory = home()))
		return put(buffer, size, directory, "/.local/state/pyprep", why, why_size);
	snprintf(why, why_size,
		 "no state directory: neither PYPREP_STATE_DIR, XDG_STATE_HOME nor HOME is set to "
		 "a path; set PYPREP_STATE_DIR");
	return -ENOENT;
}

int
path_make_dir(const char *directory, mode_t mode)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s", directory) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, mode) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(path, mode) < 0 && errno != EEXIST ? -errno : 0;
}
