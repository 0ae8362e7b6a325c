/* named.c - see named.h */
#include "shm/named.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void
path_of(const char *file, char *ret, size_t size)
{
	snprintf(ret, size, NAMED_DIRECTORY "/%s", file);
}

bool
named_is_valid(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > NAMED_MAX || name[0] == '.' || name[0] == '-' ||
	    strncmp(name, NAMED_PREFIX, strlen(NAMED_PREFIX)) == 0)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)name[i]) && strchr("._-", name[i]) == NULL)
			return false;
	return true;
}

int
named_begin(size_t bytes, mode_t mode, int *ret_fd)
{
	if (bytes == 0 || bytes > (size_t)INT64_MAX)
		return -EINVAL;
	int fd = open(NAMED_DIRECTORY, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	int r = posix_fallocate(fd, 0, (off_t)bytes);
	if (r != 0) {
		close(fd);
		return -r;
	}
	*ret_fd = fd;
	return 0;
}

int
named_publish(int fd, const char *file)
{
	char from[32], to[sizeof(NAMED_DIRECTORY) + NAMED_FILE_MAX];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	path_of(file, to, sizeof(to));
	if (linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return 0;
}

int
named_open(const char *file, bool writable, int *ret_fd)
{
	char path[sizeof(NAMED_DIRECTORY) + NAMED_FILE_MAX];

	path_of(file, path, sizeof(path));
	int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int
named_open_again(int fd, int *ret_fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = open(path, O_RDWR | O_CLOEXEC);
	if (again < 0)
		return -errno;
	*ret_fd = again;
	return 0;
}

int
named_map(int fd, bool writable, bool populate, void **ret, size_t *ret_bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		return -EINVAL;
	int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	int flags = populate ? MAP_SHARED | MAP_POPULATE : MAP_SHARED;
	void *base = mmap(NULL, (size_t)st.st_size, protection, flags, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	*ret = base;
	*ret_bytes = (size_t)st.st_size;
	return 0;
}

void
named_unmap(void *base, size_t bytes)
{
	if (base != NULL)
		munmap(base, bytes);
}

bool
named_is_allocated(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size;
}

int
named_unlink(const char *file)
{
	char path[sizeof(NAMED_DIRECTORY) + NAMED_FILE_MAX];

	path_of(file, path, sizeof(path));
	return unlink(path) < 0 ? -errno : 0;
}

bool
named_is_same(const char *file, int fd)
{
	char path[sizeof(NAMED_DIRECTORY) + NAMED_FILE_MAX];
	struct stat here, there;

	path_of(file, path, sizeof(path));
	return fstat(fd, &here) == 0 && stat(path, &there) == 0 && here.st_dev == there.st_dev &&
	       here.st_ino == there.st_ino;
}

int
named_each(const char *prefix, int (*each)(void *context, const char *file), void *context)
{
	DIR *directory = opendir(NAMED_DIRECTORY);
	struct dirent *entry;
	int r = 0;

	if (directory == NULL)
		return -errno;
	while (r == 0 && (entry = readdir(directory)) != NULL)
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			r = each(context, entry->d_name);
	closedir(directory);
	return r;
}
