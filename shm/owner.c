/* owner.c - see owner.h */
#include "shm/owner.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

/* A page for our own word that the kernel wipes in a forked child, however it was forked: with
 * it, asking costs no system call (getpid(2) is one).  NULL when there is none to be had. */
static _Atomic uint64_t *
own_page(void)
{
	static _Atomic(_Atomic uint64_t *) page;
	_Atomic uint64_t *known = atomic_load_explicit(&page, memory_order_acquire);

	if (known != NULL)
		return known;
	void *made = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (made == MAP_FAILED)
		return NULL;
	if (madvise(made, 4096, MADV_WIPEONFORK) < 0 ||
	    !atomic_compare_exchange_strong(&page, &known, (_Atomic uint64_t *)made)) {
		munmap(made, 4096); /* another thread's is as good */
		return known;
	}
	return made;
}

uint64_t
owner_self(void)
{
	_Atomic uint64_t *page = own_page();
	uint64_t self = page != NULL ? atomic_load_explicit(page, memory_order_relaxed) : 0;

	if (self == 0) {
		self = owner_of(getpid());
		if (page != NULL)
			atomic_store_explicit(page, self, memory_order_relaxed);
	}
	return self;
}

bool
owner_alive(uint64_t owner)
{
	return owner != OWNER_NOBODY && owner_of(owner_pid(owner)) == owner;
}
