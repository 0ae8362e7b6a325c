/* scratch.c - see scratch.h */
#include "daemon/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/config.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"

#define HOME_PREFIX "pyprepd-"
#define NEW_PREFIX  ".new-"
#define CLEAR_NS    (20 * NS_PER_MS) /* a worker removes for so long itself */
#define NAME_TRIES  100

static int
open_directory(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static uint64_t
any_number(void)
{
	uint64_t n;

	/* Only to be a name that is not taken. */
	return getrandom(&n, sizeof(n), 0) == sizeof(n) ? n : clock_now() ^ (uint64_t)getpid();
}

/* ---- a daemon's directory ---- */

/* Locked first, named then: a sweeper never sees one that is not locked yet. */
static int
make_home(struct scratch_home *h, int parent, const char *directory)
{
	char fresh[40], name[40];
	unsigned long long number = any_number();

	snprintf(fresh, sizeof(fresh), NEW_PREFIX "%016llx", number);
	snprintf(name, sizeof(name), HOME_PREFIX "%016llx", number);
	if (mkdirat(parent, fresh, 0711) < 0)
		return -errno;
	scoped_fd fd = open_directory(parent, fresh);
	if (fd < 0)
		return fd;
	if (fchmod(fd, 0711) < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 ||
	    renameat(parent, fresh, parent, name) < 0)
		return -errno;
	if (snprintf(h->path, sizeof(h->path), "%s/%s", directory, name) >= (int)sizeof(h->path)) {
		(void)unlinkat(parent, name, AT_REMOVEDIR);
		return -ENAMETOOLONG;
	}
	h->lock = take_fd(&fd);
	return 0;
}

int
scratch_home_open(struct scratch_home *h, const char *directory)
{
	h->lock = -1;
	h->path[0] = '\0';
	int r = path_make_dir(directory, 0711);
	if (r < 0)
		return r;
	scoped_fd parent = open_directory(AT_FDCWD, directory);
	if (parent < 0)
		return parent;
	for (int i = 0; i < NAME_TRIES; i++) { /* a sweeper may take a new one away */
		r = make_home(h, parent, directory);
		if (r != -ENOENT && r != -EEXIST)
			break;
	}
	return r;
}

void
scratch_home_close(struct scratch_home *h, uint64_t most_ns)
{
	struct scratch_count count = { 0 };
	char directory[sizeof(h->path)];

	if (h->lock < 0)
		return;
	snprintf(directory, sizeof(directory), "%s", h->path);
	char *name = strrchr(directory, '/');
	*name++ = '\0';
	scoped_fd parent = open_directory(AT_FDCWD, directory);
	if (parent >= 0)
		(void)scratch_remove(parent, name, clock_now() + most_ns, &count);
	close(h->lock);
	h->lock = -1;
}

/* ---- litter ---- */

typedef bool (*litter_fn)(int parent, const char *name);

/* Call `each` with what begins with `prefix` until it returns false. */
static bool
each_named(int parent, const char *prefix, litter_fn each)
{
	struct dirent *entry;
	bool go_on = true;
	int fd = open_directory(parent, ".");
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	while (dir != NULL && go_on && (entry = readdir(dir)) != NULL)
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			go_on = each(parent, entry->d_name);
	if (dir != NULL)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
	return go_on;
}

/* Ours to remove, and nobody holds it? */
static bool
is_dead_home(int parent, const char *name)
{
	struct stat st;
	scoped_fd fd = open_directory(parent, name);

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
	       flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static bool
is_not_dead_home(int parent, const char *name)
{
	return !is_dead_home(parent, name);
}

static bool
none_at_all(int parent, const char *name)
{
	(void)parent;
	(void)name;
	return false;
}

bool
scratch_has_litter(const char *directory, const char *home)
{
	scoped_fd parent = open_directory(AT_FDCWD, directory);
	scoped_fd own = open_directory(AT_FDCWD, home);

	return (own >= 0 && !each_named(own, SCRATCH_TRASH, none_at_all)) ||
	       (parent >= 0 && !each_named(parent, HOME_PREFIX, is_not_dead_home));
}

static bool
remove_one(int parent, const char *name)
{
	struct scratch_count count = { 0 };

	(void)scratch_remove(parent, name, 0, &count);
	return true;
}

static bool
remove_dead_home(int parent, const char *name)
{
	return !is_dead_home(parent, name) || remove_one(parent, name);
}

/* An empty one, of a daemon that died between making and naming it. */
static bool
remove_new(int parent, const char *name)
{
	(void)unlinkat(parent, name, AT_REMOVEDIR);
	return true;
}

void
scratch_sweep(const char *directory, const char *home)
{
	scoped_fd parent = open_directory(AT_FDCWD, directory);
	scoped_fd own = open_directory(AT_FDCWD, home);

	if (own >= 0)
		(void)each_named(own, SCRATCH_TRASH, remove_one);
	if (parent >= 0) {
		(void)each_named(parent, HOME_PREFIX, remove_dead_home);
		(void)each_named(parent, NEW_PREFIX, remove_new);
	}
}

/* ---- a job's directory ---- */

void
scratch_init(struct scratch *s, const char *home, const char *name)
{
	*s = (struct scratch){ .home = home };
	snprintf(s->name, sizeof(s->name), "%s", name);
	snprintf(s->path, sizeof(s->path), "%s/%s", home, name);
}

/* Does the directory of ours still stand there, with nothing in it, as it was made? */
static bool
is_untouched(const struct scratch *s, int home)
{
	_Alignas(struct dirent) char buffer[512];
	struct stat st;
	scoped_fd fd = s->inode == 0 ? -1 : open_directory(home, s->name);

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino != s->inode || st.st_dev != s->device ||
	    st.st_uid != geteuid() || (st.st_mode & 07777) != 0700)
		return false;
	ssize_t n = getdents64(fd, buffer, sizeof(buffer));
	unsigned entries = 0;
	for (ssize_t at = 0; at < n; at += ((struct dirent64 *)(void *)(buffer + at))->d_reclen)
		entries++;
	return n > 0 && entries <= 2; /* itself and its parent */
}

/* What stands in our place, and takes long to remove: a sweeper's. */
static bool
move_away(const struct scratch *s, int home)
{
	char trash[40];

	snprintf(trash, sizeof(trash), SCRATCH_TRASH "%016llx", (unsigned long long)any_number());
	return renameat(home, s->name, home, trash) == 0;
}

static void
change_name(struct scratch *s)
{
	char *end = s->moved == 0 ? s->name + strlen(s->name) : strrchr(s->name, '.');

	snprintf(end, (size_t)(s->name + sizeof(s->name) - end), ".%u", ++s->moved);
	snprintf(s->path, sizeof(s->path), "%s/%s", s->home, s->name);
}

static int
make(struct scratch *s, int home, bool give, uid_t uid, gid_t gid)
{
	struct stat st;

	if (mkdirat(home, s->name, 0700) < 0)
		return -errno;
	scoped_fd fd = open_directory(home, s->name);
	if (fd < 0)
		return fd;
	if (fchmod(fd, 0700) < 0 || (give && fchown(fd, uid, gid) < 0) || fstat(fd, &st) < 0)
		return -errno;
	s->device = st.st_dev;
	s->inode = give ? 0 : st.st_ino; /* another user's is never used again */
	return 0;
}

int
scratch_take(struct scratch *s, bool give, uid_t uid, gid_t gid)
{
	struct scratch_count count = { 0 };
	scoped_fd home = open_directory(AT_FDCWD, s->home);

	if (home < 0)
		return home;
	if (!give && is_untouched(s, home))
		return 0;
	/* A predecessor's, if there is something. */
	s->inode = 0;
	if (scratch_remove(home, s->name, clock_now() + CLEAR_NS, &count) < 0 &&
	    !move_away(s, home))
		change_name(s); /* a mount point */
	return make(s, home, give, uid, gid);
}

bool
scratch_clear(struct scratch *s, bool keep, struct scratch_count *ret)
{
	scoped_fd home = open_directory(AT_FDCWD, s->home);

	*ret = (struct scratch_count){ 0 };
	if (home < 0 || (keep && is_untouched(s, home)))
		return false;
	s->inode = 0;
	int r = scratch_remove(home, s->name, clock_now() + CLEAR_NS, ret);
	return r < 0 && move_away(s, home);
}
