/* owner.c - see owner.h */
#include "shm/owner.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICKS_MASK ((UINT64_C(1) << 40) - 1)

/* Fields 3 (state) and 22 (start time) stand behind the last ')': a process may have any
 * name.  0, or -1 when there is no such process or it is dead. */
static int
read_start(pid_t pid, uint64_t *ret)
{
	char path[32], text[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	const char *at = strrchr(text, ')');
	if (at == NULL || strlen(at) < 3 || at[2] == 'Z' || at[2] == 'X')
		return -1;
	at += 2;
	for (int field = 3; field < 22; field++) {
		at = strchr(at, ' ');
		if (at == NULL)
			return -1;
		at++;
	}
	*ret = strtoull(at, NULL, 10);
	return 0;
}

uint64_t
owner_of(pid_t pid)
{
	uint64_t start;

	if (pid <= 0 || read_start(pid, &start) < 0)
		return OWNER_NOBODY;
	return (uint64_t)pid << 40 | (start & TICKS_MASK);
}

uint64_t
owner_self(void)
{
	static _Thread_local uint64_t self; /* per thread: no lock, and fork copies it */

	if (owner_pid(self) != getpid())
		self = owner_of(getpid());
	return self;
}

bool
owner_alive(uint64_t owner)
{
	return owner != OWNER_NOBODY && owner_of(owner_pid(owner)) == owner;
}
