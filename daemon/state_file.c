/* state_file.c - see state_file.h */
#include "daemon/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/config.h"
#include "ipc/cleanup.h"

static int
open_file(const char *state_dir, const char *name, size_t bytes, const char **why)
{
	char path[4096];

	int r = path_make_dir(state_dir, 0700);
	if (r < 0) {
		*why = "the state directory cannot be made";
		return r;
	}
	if (snprintf(path, sizeof(path), "%s/%s", state_dir, name) >= (int)sizeof(path)) {
		*why = "the state directory's name is too long";
		return -ENAMETOOLONG;
	}
	scoped_fd fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		*why = "the file cannot be opened";
		return -errno;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		*why = "another daemon writes it";
		return -errno;
	}
	/* Real blocks, so that a full disk is an error here and not a SIGBUS later. */
	r = posix_fallocate(fd, 0, (off_t)bytes);
	if (r != 0) {
		*why = "no room on the disk";
		return -r;
	}
	return take_fd(&fd);
}

int
state_file_open(struct state_file *f, const char *state_dir, const char *name, size_t bytes,
		const char **why)
{
	int fd = open_file(state_dir, name, bytes, why);
	int error = fd < 0 ? fd : 0;
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	*f = (struct state_file){ .bytes = bytes, .fd = -1 };
	if (base == MAP_FAILED) {
		*why = "it cannot be mapped";
		error = -errno;
		if (fd >= 0)
			close(fd);
		return error;
	}
	f->base = base;
	f->fd = fd < 0 ? -1 : fd;
	return error;
}

void
state_file_close(struct state_file *f)
{
	if (f->base != NULL)
		munmap(f->base, f->bytes);
	if (f->fd >= 0)
		close(f->fd);
	*f = (struct state_file){ .fd = -1 };
}
