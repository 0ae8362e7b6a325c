/* cleanup.h - descriptors and memory that end with their scope. */
#ifndef PYPREP_IPC_CLEANUP_H
#define PYPREP_IPC_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void
close_scoped_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void
free_scoped(void *p)
{
	free(*(void **)p);
}

#define scoped_fd   __attribute__((cleanup(close_scoped_fd))) int
#define scoped_free __attribute__((cleanup(free_scoped)))

/* Hand a scoped descriptor to its next owner. */
static inline int
take_fd(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

#endif
