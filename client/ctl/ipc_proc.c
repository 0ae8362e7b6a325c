/* ipc_proc.c - what /proc says of processes, their memory and their sockets. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ctl/ipc.h"
#include "client/ctl/report.h"
#include "shm/named.h"

#define SOCKET  "socket:["
#define MEMFD   "/memfd:"
#define DELETED " (deleted)"

/* ---- memory ---- */

static void
keep(struct proc_list *list, pid_t pid, uint64_t inode, uint64_t bytes, enum proc_what what,
     const char *label)
{
	for (size_t i = list->count; i > 0 && list->memory[i - 1].pid == pid; i--) {
		struct proc_memory *m = &list->memory[i - 1];
		if (m->inode != inode || m->what != what)
			continue;
		m->bytes = bytes > m->bytes ? bytes : m->bytes;
		return;
	}
	if (list->count == list->capacity) {
		list->capacity = list->capacity ? 2 * list->capacity : 64;
		list->memory = ctl_realloc(list->memory, list->capacity * sizeof *list->memory);
	}
	struct proc_memory *m = &list->memory[list->count++];
	*m = (struct proc_memory){ .inode = inode, .pid = pid, .bytes = bytes, .what = what };
	snprintf(m->label, sizeof m->label, "%s", label);
}

/* `path` as /proc shows it: a memfd's, or one in /dev/shm; else nothing to us. */
static void
keep_path(struct proc_list *list, pid_t pid, uint64_t inode, uint64_t bytes, char *path)
{
	size_t directory = strlen(NAMED_DIRECTORY "/"), length = strlen(path);
	size_t tail = strlen(DELETED);

	if (length > tail && strcmp(path + length - tail, DELETED) == 0)
		path[length - tail] = '\0';
	if (strncmp(path, MEMFD, strlen(MEMFD)) == 0)
		keep(list, pid, inode, bytes, PROC_MEMFD, path + strlen(MEMFD));
	else if (strncmp(path, NAMED_DIRECTORY "/", directory) == 0)
		keep(list, pid, inode, bytes, PROC_NAMED, path + directory);
	else if (strncmp(path, SOCKET, strlen(SOCKET)) == 0)
		keep(list, pid, inode, 0, PROC_SOCKET, "");
}

static int
read_maps(struct proc_list *list, pid_t pid)
{
	char name[32], *line = NULL;
	size_t size = 0;

	snprintf(name, sizeof name, "/proc/%d/maps", (int)pid);
	FILE *f = fopen(name, "re");
	if (!f)
		return -errno;
	errno = 0;
	while (getline(&line, &size, f) > 0) {
		uint64_t begin, end, inode;
		int at = 0;
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %" SCNu64 " %n", &begin, &end,
			   &inode, &at) != 3 ||
		    at == 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		keep_path(list, pid, inode, end - begin, line + at);
	}
	int r = ferror(f) ? -errno : 0;
	free(line);
	fclose(f);
	return r;
}

static int
read_descriptors(struct proc_list *list, pid_t pid)
{
	char name[32], target[PATH_MAX];
	const struct dirent *entry;
	struct stat st;

	snprintf(name, sizeof name, "/proc/%d/fd", (int)pid);
	DIR *directory = opendir(name);
	if (!directory)
		return -errno;
	while ((entry = readdir(directory)) != NULL) {
		ssize_t n = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
		if (n <= 0 || fstatat(dirfd(directory), entry->d_name, &st, 0) < 0)
			continue;
		target[n] = '\0';
		keep_path(list, pid, (uint64_t)st.st_ino, (uint64_t)st.st_size, target);
	}
	closedir(directory);
	return 0;
}

int
proc_memory(struct proc_list *list, pid_t pid)
{
	int r = read_maps(list, pid);
	return r < 0 ? r : read_descriptors(list, pid);
}

static void
each_maps(void *context, pid_t pid)
{
	(void)read_maps(context, pid);
}

void
proc_memory_all(struct proc_list *list)
{
	proc_each(0, each_maps, list);
}

void
proc_free(struct proc_list *list)
{
	free(list->memory);
	*list = (struct proc_list){ 0 };
}

const struct proc_memory *
proc_find(const struct proc_list *list, uint64_t inode, enum proc_what what)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->memory[i].inode == inode && list->memory[i].what == what)
			return &list->memory[i];
	return NULL;
}

/* ---- processes ---- */

/* State and parent: 0, or -1 when it is gone. */
static int
read_stat(pid_t pid, char *ret_state, pid_t *ret_parent)
{
	char path[32], text[512];
	int parent;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return -1;
	size_t n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = '\0';
	const char *at = strrchr(text, ')');
	if (!at || sscanf(at, ") %c %d", ret_state, &parent) != 2)
		return -1;
	*ret_parent = parent;
	return 0;
}

static pid_t
parent_of(pid_t pid)
{
	pid_t parent;
	char state;
	return read_stat(pid, &state, &parent) < 0 ? -1 : parent;
}

bool
proc_is_stopped(pid_t pid)
{
	pid_t parent;
	char state;
	return read_stat(pid, &state, &parent) == 0 && (state == 'T' || state == 't');
}

bool
proc_maps(pid_t pid, const char *library)
{
	char name[32], *line = NULL;
	size_t size = 0;
	bool found = false;

	snprintf(name, sizeof name, "/proc/%d/maps", (int)pid);
	FILE *f = fopen(name, "re");
	while (f && !found && getline(&line, &size, f) > 0)
		found = strstr(line, library) != NULL;
	free(line);
	if (f)
		fclose(f);
	return found;
}

void
proc_each(pid_t parent, void (*each)(void *context, pid_t pid), void *context)
{
	DIR *directory = opendir("/proc");
	const struct dirent *entry;

	while (directory && (entry = readdir(directory)) != NULL) {
		pid_t pid = (pid_t)atoi(entry->d_name);
		if (pid > 0 && (parent == 0 || parent_of(pid) == parent))
			each(context, pid);
	}
	if (directory)
		closedir(directory);
}

void
proc_role(pid_t pid, char *ret, size_t size)
{
	static const char ours[] = "pyprepd: ";
	char path[32], text[256] = "";

	ret[0] = '\0';
	snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return;
	size_t n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = '\0'; /* the first word only, or a whole title */
	if (strncmp(text, ours, strlen(ours)) == 0)
		snprintf(ret, size, "%s", text + strlen(ours));
	else if (text[0])
		snprintf(ret, size, "%s", strrchr(text, '/') ? strrchr(text, '/') + 1 : text);
}

/* ---- sockets ---- */

int
proc_has_socket(pid_t pid, uint64_t fd, uint64_t inode)
{
	char path[64], target[64], wanted[64];

	snprintf(path, sizeof path, "/proc/%d/fd/%" PRIu64, (int)pid, fd);
	ssize_t n = readlink(path, target, sizeof target - 1);
	if (n < 0)
		return errno == ENOENT ? 0 : -errno;
	target[n] = '\0';
	snprintf(wanted, sizeof wanted, "socket:[%" PRIu64 "]", inode);
	return strcmp(target, wanted) == 0;
}

bool
proc_listens(const char *path)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	while (f && !found && getline(&line, &size, f) > 0) {
		unsigned flags;
		int at = 0;
		line[strcspn(line, "\n")] = '\0';
		/* Num: RefCount Protocol Flags Type St Inode Path; flag 0x10000 is listening */
		if (sscanf(line, "%*s %*s %*s %x %*s %*s %*s %n", &flags, &at) == 1 && at > 0)
			found = (flags & 0x10000u) != 0 && strcmp(line + at, path) == 0;
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}
