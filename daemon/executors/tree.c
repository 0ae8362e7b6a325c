/* tree.c - see tree.h */
#include "daemon/executors/tree.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/cleanup.h"

static int
append(struct tree *t, pid_t pid, pid_t parent)
{
	if (t->count == t->capacity) {
		size_t capacity = t->capacity == 0 ? 64 : t->capacity * 2;
		void *grown = realloc(t->processes, capacity * sizeof(*t->processes));
		if (grown == NULL)
			return -ENOMEM;
		t->processes = grown;
		t->capacity = capacity;
	}
	t->processes[t->count++] = (struct tree_process){ pid, parent };
	return 0;
}

void
tree_free(struct tree *t)
{
	free(t->processes);
	*t = (struct tree){ 0 };
}

/* 0: no such process. */
static pid_t
parent_of(pid_t pid)
{
	char path[32], text[512];
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return 0;
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	/* The name, in parentheses, may hold anything: count from the last one. */
	char *end = strrchr(text, ')');
	int parent = 0;
	if (end == NULL || sscanf(end + 1, " %*c %d", &parent) != 1)
		return 0;
	return parent;
}

/* ---- listing ---- */

/* -ENOENT: this kernel has no such files, or the thread is gone. */
static int
append_children_of_thread(struct tree *t, pid_t pid, const char *thread)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", pid, thread);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return -ENOENT;
	int child, r = 0;
	while (r == 0 && fscanf(f, "%d", &child) == 1)
		r = append(t, child, pid);
	fclose(f);
	return r;
}

static int
append_children(struct tree *t, pid_t pid)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *dir = opendir(path);
	if (dir == NULL)
		return 0; /* gone: its children are ours now, and found the next time */
	int r = 0;
	struct dirent *entry;
	while (r != -ENOMEM && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			r = append_children_of_thread(t, pid, entry->d_name);
	closedir(dir);
	return r == -ENOMEM ? r : 0;
}

static int
list_all_processes(struct tree *all)
{
	DIR *dir = opendir("/proc");
	if (dir == NULL)
		return -errno;
	int r = 0;
	struct dirent *entry;
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		pid_t pid = atoi(entry->d_name);
		if (pid > 0)
			r = append(all, pid, parent_of(pid));
	}
	closedir(dir);
	return r;
}

static int
list_by_scan(struct tree *t, pid_t root)
{
	struct tree all = { 0 };
	int r = list_all_processes(&all);
	for (size_t done = 0; r == 0; done++) {
		pid_t parent = done == 0 ? root : t->processes[done - 1].pid;
		for (size_t i = 0; i < all.count && r == 0; i++)
			if (all.processes[i].parent == parent)
				r = append(t, all.processes[i].pid, parent);
		if (done == t->count)
			break;
	}
	tree_free(&all);
	return r;
}

static bool
kernel_lists_children(void)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", gettid());
	return access(path, R_OK) == 0;
}

int
tree_list(struct tree *t, pid_t root, bool scan)
{
	t->count = 0;
	if (scan || !kernel_lists_children())
		return list_by_scan(t, root);
	int r = append_children(t, root);
	for (size_t i = 0; i < t->count && r == 0; i++)
		r = append_children(t, t->processes[i].pid);
	return r;
}

/* ---- signalling ---- */

/* Groups that have the signal already; kept in a tree's list, as pids. */
static bool
is_done(const struct tree *groups, pid_t group)
{
	for (size_t i = 0; i < groups->count; i++)
		if (groups->processes[i].pid == group)
			return true;
	return false;
}

/* kill() of a whole group is one act: nothing in it forks past it. */
static void
signal_child(pid_t pid, pid_t group, int signal, struct tree *groups)
{
	if (group <= 0 || group == getpgrp() || append(groups, group, 0) < 0) {
		kill(pid, signal);
		if (signal == SIGTERM)
			kill(pid, SIGCONT);
		return;
	}
	kill(-group, signal);
	if (signal == SIGTERM)
		kill(-group, SIGCONT);
}

static void
signal_descendant(struct tree_process p, int signal)
{
	scoped_fd fd = (int)syscall(SYS_pidfd_open, p.pid, 0);
	if (fd < 0)
		return;
	pid_t parent = parent_of(p.pid);
	if (parent != p.parent && parent != getpid())
		return;
	syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0);
	if (signal == SIGTERM)
		syscall(SYS_pidfd_send_signal, fd, SIGCONT, NULL, 0);
}

size_t
tree_signal(int signal)
{
	struct tree t = { 0 }, groups = { 0 };
	pid_t self = getpid();

	tree_list(&t, self, false);
	for (size_t i = 0; i < t.count; i++) {
		struct tree_process p = t.processes[i];
		pid_t group = getpgid(p.pid);
		if (group > 0 && is_done(&groups, group))
			continue;
		if (p.parent == self)
			signal_child(p.pid, group, signal, &groups);
		else
			signal_descendant(p, signal);
	}
	size_t count = t.count;
	tree_free(&t);
	tree_free(&groups);
	return count;
}
