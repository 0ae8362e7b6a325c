/* wake.c - see wake.h */
#include "ipc/wake.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

int
bell_create(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

void
bell_ring(int fd)
{
	uint64_t one = 1;
	/* Full (EAGAIN) means it rings already. */
	(void)!write(fd, &one, sizeof(one));
}

void
bell_clear(int fd)
{
	uint64_t count;
	(void)!read(fd, &count, sizeof(count));
}
