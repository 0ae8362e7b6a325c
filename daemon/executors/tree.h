/*
 * tree.h - the processes below this one: find them, signal them.
 *
 * The caller is a subreaper: a descendant whose parent died becomes its child, whatever
 * sessions and process groups it made for itself.  So "no child is left" means that no
 * descendant is.
 *
 * No stranger is hit when pids are used again: a child keeps its pid until the caller reaps
 * it, and so does the number of its group; a deeper descendant is held by a pidfd and its
 * parent looked at again before it is signalled.
 */
#ifndef PYPREP_DAEMON_EXECUTORS_TREE_H
#define PYPREP_DAEMON_EXECUTORS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct tree_process {
	pid_t pid;
	pid_t parent;
};

struct tree {
	struct tree_process *processes; /* parents before their children; owned */
	size_t count;
	size_t capacity;
};

/* List all descendants of `root`, from /proc/PID/task/TID/children; `scan` (or a kernel without
 * those files): by the parents in /proc/PID/stat instead.  What forks meanwhile may be missing:
 * list again.  0 or -ENOMEM with what was found. */
int tree_list(struct tree *t, pid_t root, bool scan);
void tree_free(struct tree *t);

/* Send `signal` to every descendant of this process, once each; SIGTERM is followed by SIGCONT,
 * since a stopped process does not hear it.  For SIGKILL repeat until nothing is left.
 * Returns how many there were. */
size_t tree_signal(int signal);

#endif
