/* file.c - see file.h */
#include "daemon/kinds/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "ipc/cleanup.h"

int
file_open(struct call *call, const char *path, uint64_t *ret_size)
{
	struct stat st;

	/* Non-blocking, or a FIFO that nobody writes would hold the worker here. */
	scoped_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0) {
		call_fail(call, "cannot open %s: %s", path, strerror(errno));
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		call_fail(call, "cannot read %s: it is %s, not a regular file", path,
			  S_ISDIR(st.st_mode) ? "a directory" : "a device, pipe or socket");
		return -1;
	}
	*ret_size = (uint64_t)st.st_size;
	return take_fd(&fd);
}
