/* limits.c - see limits.h */
#include "daemon/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/cleanup.h"

#define NICE_MOST 19

/* The number behind `name` in /proc/self/status; 0: not there. */
static uint64_t
status_number(const char *name, int base)
{
	char text[4096];
	scoped_fd fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	const char *line = strstr(text, name);
	return line == NULL ? 0 : strtoull(line + strlen(name), NULL, base);
}

static const char *
limit_memory(struct limits *l, uint64_t bytes)
{
	uint64_t before = status_number("\nVmData:", 10) * 1024;
	struct rlimit limit;

	if (before == 0 || getrlimit(RLIMIT_DATA, &l->data) < 0)
		return "its memory limit cannot be set: /proc tells nothing of this process";
	limit = l->data;
	if (before + bytes < before || before + bytes >= l->data.rlim_cur)
		return NULL; /* the worker's own is as tight */
	limit.rlim_cur = before + bytes;
	if (setrlimit(RLIMIT_DATA, &limit) < 0)
		return "its memory limit cannot be set";
	l->memory = true;
	return NULL;
}

/* Where it is forbidden (a seccomp filter), the job runs as the others do. */
static void
be_nice(struct limits *l, int nice)
{
	errno = 0;
	l->nice = getpriority(PRIO_PROCESS, 0);
	if (errno != 0)
		return;
	int wanted = l->nice + nice < NICE_MOST ? l->nice + nice : NICE_MOST;
	l->niced = wanted > l->nice && setpriority(PRIO_PROCESS, 0, wanted) == 0;
}

const char *
limits_set(struct limits *l, const struct run_body *run, bool alone)
{
	if (run->memory_bytes != 0) {
		if (!alone)
			return "a worker with many jobs at once cannot limit the memory of one";
		const char *why = limit_memory(l, run->memory_bytes);
		if (why != NULL)
			return why;
	}
	if (run->nice > 0)
		be_nice(l, run->nice);
	return NULL;
}

bool
limits_undo(struct limits *l)
{
	if (l->memory)
		setrlimit(RLIMIT_DATA, &l->data);
	return !l->niced || setpriority(PRIO_PROCESS, 0, l->nice) == 0;
}

bool
limits_can_undo_nice(void)
{
	struct rlimit limit;
	int now = getpriority(PRIO_PROCESS, 0);

	if ((status_number("\nCapEff:", 16) & UINT64_C(1) << CAP_SYS_NICE) != 0)
		return true;
	return getrlimit(RLIMIT_NICE, &limit) == 0 &&
	       (limit.rlim_cur == RLIM_INFINITY || 20 - now <= (int64_t)limit.rlim_cur);
}
