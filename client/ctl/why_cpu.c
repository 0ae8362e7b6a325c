/*
 * why_cpu.c - is a process on a CPU, or ready and waiting for one: its threads' schedstat, twice.
 *
 * /proc/PID/task/TID/schedstat has the time on a CPU and the time in a run queue, in ns; everybody
 * may read it.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/ctl/why.h"
#include "ipc/clock.h"

#define LOOK_MS      50
#define PROCESS_MOST 256u /* of one tree */

struct sum {
	uint64_t on_ns, waiting_ns;
	unsigned threads;
};

static void
add_thread(struct sum *s, pid_t pid, const char *tid)
{
	char path[300];
	uint64_t on_ns, waiting_ns;

	snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, tid);
	FILE *file = fopen(path, "re");
	if (!file)
		return;
	if (fscanf(file, "%" SCNu64 " %" SCNu64, &on_ns, &waiting_ns) == 2) {
		s->on_ns += on_ns;
		s->waiting_ns += waiting_ns;
		s->threads++;
	}
	fclose(file);
}

/* The children of one of its threads. */
static unsigned
add_children(pid_t pid, const char *tid, pid_t *list, unsigned count)
{
	char path[300];
	int child;

	snprintf(path, sizeof path, "/proc/%d/task/%s/children", (int)pid, tid);
	FILE *file = fopen(path, "re");
	if (!file)
		return count;
	while (count < PROCESS_MOST && fscanf(file, "%d", &child) == 1)
		list[count++] = child;
	fclose(file);
	return count;
}

static void
add_tree(struct sum *s, pid_t pid, bool descendants)
{
	pid_t list[PROCESS_MOST] = { pid };
	unsigned count = 1;

	for (unsigned i = 0; i < count; i++) {
		char path[64];
		struct dirent *entry;
		snprintf(path, sizeof path, "/proc/%d/task", (int)list[i]);
		DIR *tasks = opendir(path);
		if (!tasks)
			continue;
		while ((entry = readdir(tasks)) != NULL) {
			if (entry->d_name[0] == '.')
				continue;
			add_thread(s, list[i], entry->d_name);
			if (descendants)
				count = add_children(list[i], entry->d_name, list, count);
		}
		closedir(tasks);
	}
}

int
why_cpu(pid_t pid, bool descendants, struct cpu_share *ret)
{
	struct sum before = { 0 }, after = { 0 };

	uint64_t begun_ns = clock_now();
	add_tree(&before, pid, descendants);
	if (before.threads == 0)
		return -ESRCH;
	poll(NULL, 0, LOOK_MS);
	add_tree(&after, pid, descendants);
	if (after.threads == 0)
		return -ESRCH;
	/* Threads that came or went make the sums useless; they are cut at nothing. */
	*ret = (struct cpu_share){
		.on_ns = after.on_ns > before.on_ns ? after.on_ns - before.on_ns : 0,
		.waiting_ns = after.waiting_ns > before.waiting_ns
				      ? after.waiting_ns - before.waiting_ns
				      : 0,
		.span_ns = clock_now() - begun_ns,
		.threads = after.threads,
	};
	return 0;
}
