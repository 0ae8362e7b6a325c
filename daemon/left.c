/* left.c - see left.h */
#include "daemon/left.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/executors/tree.h"
#include "daemon/kind.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"
#include "shm/named.h"

#define KILL_NS      (2 * NS_PER_S)
#define NAMES_A_LOOK 64u

void
left_open(struct left_watch *w, bool descriptors)
{
	struct stat st;

	*w = (struct left_watch){ .directory = -1, .open = -1 };
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!descriptors)
		return;
	w->directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w->sized = w->directory >= 0 && fstat(w->directory, &st) == 0 && st.st_size > 0;
}

void
left_close(struct left_watch *w)
{
	if (w->directory >= 0)
		close(w->directory);
	w->directory = -1;
}

/* ---- descriptors ---- */

static int64_t
count_by_names(int directory)
{
	int64_t n = 0;
	int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n - 1; /* the one it was read by */
}

static int64_t
count_open(const struct left_watch *w)
{
	struct stat st;

	if (w->directory < 0)
		return -1;
	if (!w->sized)
		return count_by_names(w->directory);
	return fstat(w->directory, &st) == 0 ? st.st_size : -1;
}

/* More than at the last look; what is fewer is somebody's good order. */
static uint32_t
more_open(struct left_watch *w)
{
	int64_t now = count_open(w), before = w->open;

	w->open = now;
	return before >= 0 && now > before ? (uint32_t)(now - before) : 0;
}

int64_t
left_before_own(const struct left_watch *w)
{
	return count_open(w);
}

void
left_after_own(struct left_watch *w, int64_t before)
{
	int64_t now = count_open(w);

	if (w->open >= 0 && before >= 0 && now >= 0)
		w->open += now - before;
}

/* ---- names in /dev/shm ---- */

static struct timespec
shm_changed(void)
{
	struct stat st;

	return stat(NAMED_DIRECTORY, &st) == 0 ? st.st_mtim : (struct timespec){ 0 };
}

static bool
is_before(struct timespec a, struct timespec b)
{
	return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

/* Is `path` a name of /dev/shm whose file was born since `since` and is our user's?  Then the
 * name is removed. */
static bool
remove_if_born(const char *path, struct timespec since)
{
	struct statx st;

	if (strncmp(path, NAMED_DIRECTORY "/", strlen(NAMED_DIRECTORY "/")) != 0 ||
	    statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BTIME | STATX_UID | STATX_TYPE, &st) <
		    0 ||
	    (st.stx_mask & STATX_BTIME) == 0 || !S_ISREG(st.stx_mode) || st.stx_uid != geteuid())
		return false;
	struct timespec born = { st.stx_btime.tv_sec, st.stx_btime.tv_nsec };
	return !is_before(born, since) && unlink(path) == 0;
}

static unsigned
remove_mapped(struct timespec since)
{
	char *line = NULL;
	size_t size = 0;
	unsigned n = 0;
	FILE *f = fopen("/proc/self/maps", "re");

	while (f != NULL && n < NAMES_A_LOOK && getline(&line, &size, f) > 0) {
		char *path = strchr(line, '/');
		if (path == NULL)
			continue;
		path[strcspn(path, "\n")] = '\0';
		n += remove_if_born(path, since);
	}
	free(line);
	if (f != NULL)
		fclose(f);
	return n;
}

static unsigned
remove_opened(struct timespec since)
{
	char path[PATH_MAX];
	unsigned n = 0;
	struct dirent *entry;
	DIR *dir = opendir("/proc/self/fd");

	while (dir != NULL && n < NAMES_A_LOOK && (entry = readdir(dir)) != NULL) {
		ssize_t length = readlinkat(dirfd(dir), entry->d_name, path, sizeof(path) - 1);
		if (length <= 0)
			continue;
		path[length] = '\0';
		n += remove_if_born(path, since);
	}
	if (dir != NULL)
		closedir(dir);
	return n;
}

/* ---- processes ---- */

static bool
has_children(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* Reap what has ended; is anything left? */
static bool
reap_ended(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return has_children();
}

static uint32_t
end_children(void)
{
	uint64_t end_ns = clock_now() + KILL_NS;
	size_t most = 0;

	if (!has_children())
		return 0;
	while (reap_ended() && clock_now() < end_ns) {
		size_t n = tree_signal(SIGKILL);
		if (n > most)
			most = n;
		poll(NULL, 0, 1);
	}
	return (uint32_t)most;
}

/* ---- a run ---- */

bool
left_begin(struct left_watch *w, struct left_body *ret)
{
	*ret = (struct left_body){ .kind = w->between };
	ret->descriptors = more_open(w);
	bool found = w->any_between && ret->descriptors > 0;
	w->any_between = false;
	clock_gettime(CLOCK_REALTIME_COARSE, &w->began);
	return found;
}

bool
left_end(struct left_watch *w, const struct kind *kind, struct left_body *left)
{
	uint32_t descriptors = more_open(w);

	if (!kind->keeps) {
		left->descriptors += descriptors;
		if (!is_before(shm_changed(), w->began))
			left->segments += remove_mapped(w->began) + remove_opened(w->began);
	}
	left->processes += end_children();
	return left->descriptors + left->segments + left->processes > 0;
}
