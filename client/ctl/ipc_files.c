/*
 * ipc_files.c - what lies in the runtime directory: the sockets, and whether anybody listens.
 *
 * A daemon that was killed leaves its socket's file behind.  That is harmless (the next daemon
 * takes it over), but it is a left-over, and clients that know no better may wait on it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/ctl/ipc.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"

#define SYSTEM_RUNTIME_DIR "/run/pyprep"

/* Where a daemon would be that cannot be reached. */
static void
find_directory(struct ipc_list *list)
{
	const char *given = ctl.runtime_dir ? ctl.runtime_dir : getenv("PYPREP_RUNTIME_DIR");
	const char *user = getenv("XDG_RUNTIME_DIR");

	if (given && given[0])
		snprintf(list->runtime_dir, sizeof list->runtime_dir, "%s", given);
	else if (geteuid() != 0 && user && user[0] == '/')
		snprintf(list->runtime_dir, sizeof list->runtime_dir, "%s/pyprep", user);
	else
		snprintf(list->runtime_dir, sizeof list->runtime_dir, SYSTEM_RUNTIME_DIR);
}

/* Does a connection to it fail for want of a listener?  Asked only where /proc/net/unix knows of
 * none, so nobody is bothered. */
static bool
is_refused(const char *path, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	scoped_fd fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || strlen(path) >= sizeof address.sun_path)
		return false;
	strcpy(address.sun_path, path);
	return connect(fd, (struct sockaddr *)&address, sizeof address) < 0 &&
	       (errno == ECONNREFUSED || errno == EPROTOTYPE);
}

static bool
is_deserted(const char *path)
{
	return !proc_listens(path) && is_refused(path, SOCK_SEQPACKET) &&
	       is_refused(path, SOCK_STREAM);
}

/* The daemon told of this one already. */
static bool
is_listed(const struct ipc_list *list, const char *path)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->rows[i].path, path) == 0)
			return true;
	return false;
}

static void
look_at_file(struct ipc_list *list, const char *path, const char *name)
{
	struct stat st;

	if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode) || is_listed(list, path))
		return;
	uint64_t now_ns = clock_wall();
	uint64_t made_ns = (uint64_t)st.st_mtim.tv_sec * NS_PER_S + (uint64_t)st.st_mtim.tv_nsec;
	bool deserted = is_deserted(path);
	struct ipc_row *row = ipc_add(list, "socket");
	snprintf(row->name, sizeof row->name, "%s", name);
	snprintf(row->path, sizeof row->path, "%s", path);
	row->age_ns = now_ns > made_ns ? now_ns - made_ns : 0;
	if (deserted)
		ipc_say(row, IPC_ORPHAN, "no process listens on it");
	else
		ipc_say(row, IPC_LIVE, "%s", "");
}

/* The row of the daemon's listener gets its path. */
static void
name_listener(struct ipc_list *list)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/pyprepd.sock", list->runtime_dir) >= (int)sizeof path)
		return;
	for (size_t i = 0; i < list->count; i++) {
		struct ipc_row *row = &list->rows[i];
		if (strcmp(row->kind, "socket") == 0 && strcmp(row->name, "listener") == 0)
			snprintf(row->path, sizeof row->path, "%s", path);
	}
}

void
ipc_from_files(struct ipc_list *list)
{
	char directory[PATH_MAX], path[PATH_MAX];
	const struct dirent *entry;

	if (!list->daemon)
		find_directory(list);
	else
		name_listener(list);
	/* as the daemon bound it, and as /proc/net/unix shows it */
	if (!realpath(list->runtime_dir, directory))
		return;
	DIR *d = opendir(directory);
	while (d && (entry = readdir(d)) != NULL)
		if (snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) <
		    (int)sizeof path)
			look_at_file(list, path, entry->d_name);
	if (d)
		closedir(d);
}
