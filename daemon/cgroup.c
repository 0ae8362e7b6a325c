/* cgroup.c - see cgroup.h */
#include "daemon/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "shm/owner.h"

#define NAME_PREFIX "pyprepd-"
#define LEAF_SUFFIX ".daemon"

/* ---- files of a group ---- */

static int
write_file(const char *directory, const char *file, const char *text)
{
	char path[CGROUP_PATH + 128];

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	scoped_fd fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* The file as text, or "". */
static void
read_file(const char *directory, const char *file, char *buffer, size_t size)
{
	char path[CGROUP_PATH + 128];

	buffer[0] = '\0';
	snprintf(path, sizeof(path), "%s/%s", directory, file);
	scoped_fd fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buffer, size - 1);
	buffer[n < 0 ? 0 : n] = '\0';
}

static bool
has_word(const char *text, const char *word, const char *separators)
{
	size_t length = strlen(word);

	for (const char *at = text; *(at += strspn(at, separators)) != '\0';
	     at += strcspn(at, separators))
		if (strncmp(at, word, length) == 0 &&
		    (at[length] == '\0' || strchr(separators, at[length]) != NULL))
			return true;
	return false;
}

/* Call `each` with every group right below `directory`. */
static void
each_below(const char *directory, void (*each)(void *context, const char *path, const char *name),
	   void *context)
{
	char path[CGROUP_PATH + 300];
	struct dirent *entry;
	DIR *dir = opendir(directory);

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		each(context, path, entry->d_name);
	}
	if (dir != NULL)
		closedir(dir);
}

static void
kill_inside(const char *path)
{
	char file[CGROUP_PATH + 400];
	int pid;

	snprintf(file, sizeof(file), "%s/cgroup.procs", path);
	FILE *f = fopen(file, "re");
	if (f == NULL)
		return;
	while (fscanf(f, "%d", &pid) == 1)
		if (pid > 0 && pid != getpid()) /* 0: it is in another pid namespace */
			kill(pid, SIGKILL);
	fclose(f);
}

/* ---- finding ours ---- */

/* Where the hierarchy with the memory controller is mounted, and which part of it. */
struct mount {
	enum cgroup_version version;
	char root[PATH_MAX], point[PATH_MAX];
};

/* One line of mountinfo: ID PARENT DEV ROOT POINT OPTIONS [...] - TYPE SOURCE SUPER. */
static bool
read_mount(char *line, struct mount *ret)
{
	char *dash = strstr(line, " - "), type[32], super[1024];

	if (dash == NULL || sscanf(dash, " - %31s %*s %1023s", type, super) != 2 ||
	    sscanf(line, "%*s %*s %*s %4095s %4095s", ret->root, ret->point) != 2)
		return false;
	ret->version = strcmp(type, "cgroup") == 0 && has_word(super, "memory", ",") ? CGROUP_V1
		       : strcmp(type, "cgroup2") == 0                                ? CGROUP_V2
										     : CGROUP_NONE;
	return ret->version != CGROUP_NONE;
}

/* A version 1 hierarchy with memory, else version 2. */
static enum cgroup_version
find_mount(struct mount *ret)
{
	struct mount mount;
	char *line = NULL;
	size_t size = 0;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	ret->version = CGROUP_NONE;
	while (f != NULL && getline(&line, &size, f) > 0)
		if (read_mount(line, &mount) &&
		    (ret->version == CGROUP_NONE ||
		     (ret->version == CGROUP_V2 && mount.version == CGROUP_V1)))
			*ret = mount;
	free(line);
	if (f != NULL)
		fclose(f);
	return ret->version;
}

/* This process's group in that hierarchy: HIERARCHY:CONTROLLERS:PATH; version 2 is 0::PATH. */
static bool
find_path(enum cgroup_version version, char *ret, size_t size)
{
	char *line = NULL;
	size_t room = 0;
	bool found = false;
	FILE *f = fopen("/proc/self/cgroup", "re");

	while (f != NULL && !found && getline(&line, &room, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		char *controllers = strchr(line, ':'), *path;
		if (controllers == NULL || (path = strchr(++controllers, ':')) == NULL)
			continue;
		*path++ = '\0';
		found = version == CGROUP_V2 ? strncmp(line, "0:", 2) == 0
					     : has_word(controllers, "memory", ",");
		if (found)
			snprintf(ret, size, "%s", path);
	}
	free(line);
	if (f != NULL)
		fclose(f);
	return found;
}

/* The directory of our group.  What is mounted may be a part of the hierarchy (containers). */
static bool
find_ours(struct cgroup *c)
{
	struct mount mount;
	char path[PATH_MAX];

	if (find_mount(&mount) == CGROUP_NONE || !find_path(mount.version, path, sizeof(path)))
		return false;
	size_t root = strcmp(mount.root, "/") == 0 ? 0 : strlen(mount.root);
	if (strncmp(path, mount.root, root) != 0 || (path[root] != '\0' && path[root] != '/'))
		return false;
	const char *below = strcmp(path + root, "/") == 0 ? "" : path + root;
	if (snprintf(c->ours, sizeof(c->ours), "%s%s", mount.point, below) >= (int)sizeof(c->ours))
		return false;
	c->version = mount.version;
	return true;
}

/* ---- who was killed for want of memory ---- */

static uint64_t
count_kills(const char *group, enum cgroup_version version)
{
	char text[512];

	read_file(group, version == CGROUP_V1 ? "memory.oom_control" : "memory.events", text,
		  sizeof(text));
	const char *line = strstr(text, "oom_kill ");
	return line == NULL ? 0 : strtoull(line + strlen("oom_kill "), NULL, 10);
}

static void
watch_kills(struct cgroup *c, enum cgroup_version version)
{
	bool moved = c->version == CGROUP_V2; /* a group counts what is below it, too */

	snprintf(c->group, sizeof(c->group), "%s%s", moved ? c->base : c->ours,
		 moved ? LEAF_SUFFIX : "");
	c->group_version = version;
	c->oom_kills = count_kills(c->group, version);
}

bool
cgroup_oom(struct cgroup *c)
{
	uint64_t before = c->oom_kills;

	if (c->group_version != CGROUP_NONE)
		c->oom_kills = count_kills(c->group, c->group_version);
	return c->oom_kills > before;
}

/* ---- may we use it? ---- */

static void
cannot(struct cgroup *c, const char *why, const char *what)
{
	c->version = CGROUP_NONE;
	snprintf(c->why, sizeof(c->why), "%s%s%s", why, what[0] != '\0' ? ": " : "", what);
}

/* systemd marks what it hands over.  Without systemd (a container), what can be written is ours. */
static bool
is_delegated(const char *directory)
{
	static const char *const marks[] = { "user.delegate", "trusted.delegate" };
	char value[4];

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (getxattr(directory, marks[i], value, sizeof(value)) > 0 && value[0] == '1')
			return true;
	return geteuid() != 0 || access("/run/systemd/system", F_OK) < 0;
}

/* Into a leaf of our own, so that ours may have children with limits.  Undone when others are in
 * ours, too. */
static int
move_to_leaf(const struct cgroup *c)
{
	char leaf[CGROUP_PATH + 16];

	snprintf(leaf, sizeof(leaf), "%s" LEAF_SUFFIX, c->base);
	if (mkdir(leaf, 0755) < 0 && errno != EEXIST)
		return -errno;
	int r = write_file(leaf, "cgroup.procs", "0");
	if (r == 0 && (r = write_file(c->ours, "cgroup.subtree_control", "+memory")) < 0)
		(void)write_file(c->ours, "cgroup.procs", "0");
	if (r < 0)
		(void)rmdir(leaf);
	return r;
}

static void
open_v2(struct cgroup *c)
{
	char controllers[512];

	read_file(c->ours, "cgroup.controllers", controllers, sizeof(controllers));
	if (!has_word(controllers, "memory", " \n")) {
		cannot(c,
		       "the daemon's cgroup has no memory controller; with systemd, set "
		       "Delegate=memory in its unit",
		       "");
		return;
	}
	if (!is_delegated(c->ours) || access(c->ours, W_OK) < 0) {
		cannot(c,
		       "the daemon's cgroup is not delegated to it; with systemd, set "
		       "Delegate=memory and ProtectControlGroups=no in its unit",
		       "");
		return;
	}
	int r = move_to_leaf(c);
	if (r == -EBUSY)
		cannot(c,
		       "other processes are in the daemon's cgroup; start it in one of its own "
		       "(systemd-run --scope -p Delegate=memory)",
		       "");
	else if (r < 0)
		cannot(c, "the daemon's cgroup cannot be divided", strerror(-r));
}

void
cgroup_open(struct cgroup *c, bool wanted)
{
	uint64_t self = owner_self();

	*c = (struct cgroup){ 0 };
	if (!wanted) {
		cannot(c, "switched off: cgroups = no in [daemon]", "");
		return;
	}
	if (!find_ours(c)) {
		cannot(c, "no cgroup hierarchy with a memory controller is mounted here", "");
		return;
	}
	snprintf(c->base, sizeof(c->base), "%s/" NAME_PREFIX "%d-%llu", c->ours,
		 (int)owner_pid(self), (unsigned long long)(self & ((UINT64_C(1) << 40) - 1)));
	enum cgroup_version version = c->version;
	if (version == CGROUP_V2)
		open_v2(c);
	else if (access(c->ours, W_OK | X_OK) < 0)
		cannot(c, "the daemon may not make groups in its own (version 1 is root's)",
		       strerror(errno));
	watch_kills(c, version);
}

const char *
cgroup_method(const struct cgroup *c)
{
	return c->version == CGROUP_V1   ? "cgroup v1"
	       : c->version == CGROUP_V2 ? "cgroup v2"
					 : "rlimit";
}

/* ---- tidying ---- */

static void
remove_group(void *context, const char *path, const char *name)
{
	(void)context;
	(void)name;
	if (rmdir(path) < 0 && errno == EBUSY)
		kill_inside(path);
	(void)rmdir(path);
}

static void
remove_base(const char *base)
{
	each_below(base, remove_group, NULL);
	(void)rmdir(base);
}

/* pyprepd-PID-START[.daemon]: is that process gone? */
static bool
is_of_a_dead_daemon(const char *name)
{
	int pid, used = 0;
	unsigned long long start;

	if (sscanf(name, NAME_PREFIX "%d-%llu%n", &pid, &start, &used) != 2 || pid <= 0 ||
	    (name[used] != '\0' && strcmp(name + used, LEAF_SUFFIX) != 0))
		return false;
	return !owner_alive((uint64_t)pid << 40 | start);
}

static void
sweep_one(void *context, const char *path, const char *name)
{
	(void)context;
	if (!is_of_a_dead_daemon(name))
		return;
	remove_base(path);
	if (access(path, F_OK) == 0)
		remove_group(NULL, path, name);
}

void
cgroup_sweep(const struct cgroup *c)
{
	if (c->version != CGROUP_NONE)
		each_below(c->ours, sweep_one, NULL);
}

/* POOL-SLOT-PID: does that worker live?  A zombie does not. */
static void
tidy_one(void *context, const char *path, const char *name)
{
	const char *pid = strrchr(name, '-');

	if (pid != NULL && owner_of(atoi(pid + 1)) == OWNER_NOBODY)
		remove_group(context, path, name);
}

void
cgroup_tidy(const struct cgroup *c)
{
	if (c->version != CGROUP_NONE)
		each_below(c->base, tidy_one, NULL);
}

void
cgroup_close(struct cgroup *c)
{
	char leaf[CGROUP_PATH + 16];

	if (c->version == CGROUP_NONE)
		return;
	remove_base(c->base);
	if (c->version == CGROUP_V2) { /* our leaf can go only when we are elsewhere */
		snprintf(leaf, sizeof(leaf), "%s" LEAF_SUFFIX, c->base);
		if (write_file(c->ours, "cgroup.subtree_control", "-memory") == 0 &&
		    write_file(c->ours, "cgroup.procs", "0") == 0)
			(void)rmdir(leaf);
	}
	c->version = CGROUP_NONE;
}

/* ---- a command's ---- */

/* Several workers may want it at once, and one that ends may remove it: try again. */
static int
make_group(const struct cgroup *c, const char *path)
{
	for (int tries = 0; tries < 100; tries++) {
		if (mkdir(c->base, 0755) < 0 && errno != EEXIST)
			return -errno;
		int r = c->version == CGROUP_V2
				? write_file(c->base, "cgroup.subtree_control", "+memory")
				: 0;
		if (r == 0 && mkdir(path, 0755) == 0)
			return 0;
		if (r == 0)
			r = -errno;
		if (r != -ENOENT)
			return r;
	}
	return -ENOENT;
}

/* Swap counts too: where the kernel keeps no account of it, the job must not swap. */
static int
set_limit(const struct cgroup *c, const char *path, uint64_t bytes)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	if (c->version == CGROUP_V2) {
		(void)write_file(path, "memory.swap.max", "0");
		return write_file(path, "memory.max", text);
	}
	int r = write_file(path, "memory.limit_in_bytes", text);
	if (r == 0 && write_file(path, "memory.memsw.limit_in_bytes", text) < 0)
		(void)write_file(path, "memory.swappiness", "0");
	return r;
}

static uint64_t
oom_kills(const struct cgroup_run *r)
{
	return count_kills(r->path, r->cgroup->version);
}

int
cgroup_run_open(struct cgroup_run *r, const struct cgroup *c, const char *worker, uint64_t bytes)
{
	char procs[CGROUP_PATH + 80];

	*r = (struct cgroup_run){ .procs = -1 };
	snprintf(r->path, sizeof(r->path), "%s/%s-%d", c->base, worker, (int)getpid());
	int error = make_group(c, r->path);
	if (error == -EEXIST) /* of the run before: it could not be removed then */
		error = 0;
	if (error < 0)
		return error;
	error = set_limit(c, r->path, bytes);
	if (error == 0) {
		snprintf(procs, sizeof(procs), "%s/cgroup.procs", r->path);
		r->procs = open(procs, O_WRONLY | O_CLOEXEC);
		error = r->procs < 0 ? -errno : 0;
	}
	if (error < 0) {
		(void)rmdir(r->path);
		return error;
	}
	r->cgroup = c;
	r->oom_before = oom_kills(r);
	return 0;
}

uint64_t
cgroup_run_oom(const struct cgroup_run *r)
{
	return r->cgroup == NULL ? 0 : oom_kills(r) - r->oom_before;
}

void
cgroup_run_close(struct cgroup_run *r)
{
	if (r->cgroup == NULL)
		return;
	close(r->procs);
	(void)rmdir(r->path); /* else the supervisor does */
	*r = (struct cgroup_run){ .procs = -1 };
}

void
cgroup_run_close_last(struct cgroup_run *r)
{
	const struct cgroup *c = r->cgroup;

	cgroup_run_close(r);
	if (c != NULL)
		(void)rmdir(c->base);
}
