/* segment.c - see segment.h */
#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

size_t
segment_round(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	return (size + page - 1) / page * page;
}

int
segment_create(const char *label, size_t size, int *ret_fd)
{
	int fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;

	/* Reserve the pages now: ftruncate alone would promise memory that a
	 * full tmpfs later answers for with SIGBUS. */
	int r = posix_fallocate(fd, 0, (off_t)segment_round(size));
	if (r == 0 && fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		r = errno;
	if (r != 0) {
		close(fd);
		return -r;
	}
	*ret_fd = fd;
	return 0;
}

int
segment_map(int fd, size_t size, void **ret)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0)
		return -errno;
	if ((seals & F_SEAL_SHRINK) == 0 || (size_t)st.st_size < size)
		return -EINVAL;

	void *base = mmap(NULL, segment_round(size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	*ret = base;
	return 0;
}

void
segment_unmap(void *base, size_t size)
{
	if (base != NULL)
		munmap(base, segment_round(size));
}

uint64_t
segment_inode(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 ? (uint64_t)st.st_ino : 0;
}
