/*
 * scratch_remove.c - remove a directory that somebody else has filled; see scratch.h.
 *
 * Every step is taken from an open directory to a name in it, never by a path.  A directory is
 * opened by openat2(), which refuses symbolic links and mount points, also those of the same
 * file system.  Whoever changes the tree meanwhile can make us fail, and nothing else.
 *
 * A tree may be deeper than there are descriptors: what lies deeper than DEPTH is moved up to the
 * top, and removed from there.
 */
#include "daemon/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/clock.h"

#define DEPTH      32
#define LOOK_EVERY 64u /* entries between two looks at the clock */
#define NAME_TRIES 1000

struct removal {
	uint64_t end_ns;
	struct scratch_count *count;
	unsigned entries;
	int top;       /* the directory that is being removed */
	unsigned deep; /* names given to what was moved up */
	int error;     /* the first thing that could not be removed */
};

/* Without openat2() (Linux 5.6) a mount point is told by its device alone. */
static int
open_old_way(int parent, const char *name)
{
	struct stat here, there;
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &there) == 0 && fstat(parent, &here) == 0 && here.st_dev == there.st_dev)
		return fd;
	close(fd);
	return -EXDEV;
}

static int
open_without_links(int parent, const char *name, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	int fd = (int)syscall(SYS_openat2, parent, name, &how, sizeof(how));

	if (fd >= 0)
		return fd;
	return errno == ENOSYS ? open_old_way(parent, name) : -errno;
}

/* One that its owner may not read or change any more is made so again, by a descriptor: no name
 * is followed. */
static int
open_directory(int parent, const char *name)
{
	char self[32];
	struct stat st;
	int fd = open_without_links(parent, name, O_RDONLY);

	if (fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700)
		(void)fchmod(fd, 0700);
	if (fd != -EACCES)
		return fd;
	scoped_fd handle = open_without_links(parent, name, O_PATH);
	if (handle < 0)
		return handle;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", handle);
	if (chmod(self, 0700) < 0)
		return -errno;
	return open_without_links(parent, name, O_RDONLY);
}

static bool
is_late(struct removal *r)
{
	return r->end_ns != 0 && ++r->entries % LOOK_EVERY == 0 && clock_now() >= r->end_ns;
}

static void
failed(struct removal *r, int error)
{
	if (r->error == 0)
		r->error = error;
}

static void
remove_file(struct removal *r, int parent, const char *name)
{
	struct stat st;
	uint64_t bytes = fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)
				 ? (uint64_t)st.st_size
				 : 0;

	if (unlinkat(parent, name, 0) < 0) {
		if (errno != ENOENT)
			failed(r, -errno);
		return;
	}
	r->count->files++;
	r->count->bytes += bytes;
}

/* To the top, under a name that is not taken there. */
static void
move_up(struct removal *r, int parent, const char *name)
{
	char up[32];

	for (int tries = 0; tries < NAME_TRIES; tries++) {
		snprintf(up, sizeof(up), ".deep-%u", r->deep++);
		if (renameat(parent, name, r->top, up) == 0)
			return;
		if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
			break;
	}
	failed(r, -errno);
}

static int empty_directory(struct removal *r, int fd, int depth);

/* 0 or -ETIME. */
static int
remove_entry(struct removal *r, int parent, const char *name, bool directory, int depth)
{
	if (!directory) {
		remove_file(r, parent, name);
		return 0;
	}
	if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (depth >= DEPTH) {
		move_up(r, parent, name);
		return 0;
	}
	int fd = open_directory(parent, name);
	if (fd < 0) {
		failed(r, fd);
		return 0;
	}
	int error = empty_directory(r, fd, depth + 1);
	if (error == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		failed(r, -errno);
	return error;
}

static bool
is_directory(int parent, const struct dirent *entry)
{
	struct stat st;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_DIR;
	return fstatat(parent, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* Once through the directory, which is closed.  0 or -ETIME. */
static int
empty_once(struct removal *r, int fd, int depth)
{
	struct dirent *entry;
	int error = 0;
	DIR *dir = fdopendir(fd);

	if (dir == NULL) {
		failed(r, -errno);
		close(fd);
		return 0;
	}
	while (error == 0 && (entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		error = is_late(r) ? -ETIME
				   : remove_entry(r, dirfd(dir), entry->d_name,
						  is_directory(dirfd(dir), entry), depth);
	}
	closedir(dir);
	return error;
}

/* What was moved up appears in a directory that has been read in part: the top is read again
 * until nothing comes up any more. */
static int
empty_directory(struct removal *r, int fd, int depth)
{
	int error;
	unsigned before;

	do {
		int again = depth == 0 ? dup(fd) : -1;
		before = r->deep;
		error = empty_once(r, fd, depth);
		fd = again;
		if (fd >= 0 && lseek(fd, 0, SEEK_SET) < 0)
			failed(r, -errno);
	} while (error == 0 && fd >= 0 && r->deep != before);
	if (fd >= 0)
		close(fd);
	return error;
}

int
scratch_remove(int parent, const char *name, uint64_t end_ns, struct scratch_count *count)
{
	struct removal r = { .end_ns = end_ns, .count = count };

	int fd = open_directory(parent, name);
	if (fd == -ENOTDIR || fd == -ELOOP) { /* somebody has put something else there */
		remove_file(&r, parent, name);
		return r.error;
	}
	if (fd == -ENOENT)
		return 0;
	if (fd < 0) {
		count->more = true;
		return fd;
	}
	scoped_fd top = dup(fd);
	if (top < 0) {
		close(fd);
		return -errno;
	}
	r.top = top;
	int error = empty_directory(&r, fd, 0);
	if (error == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		failed(&r, -errno);
	count->more |= error != 0 || r.error != 0;
	return error != 0 ? error : r.error;
}
