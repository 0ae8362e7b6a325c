/* test_shm_segment.c - shm/segment.h: sealed, allocated, mapped, and nothing left on failure. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/segment.h"
#include "tests/process.h"

TestSuite(shm_segment, .timeout = 600);

Test(shm_segment, is_zeroed_rounded_up_and_close_on_exec)
{
	int fd;
	void *base;
	struct stat st;
	cr_assert_eq(segment_create("test", 5000, &fd), 0);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq((size_t)st.st_size, segment_round(5000));
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(segment_map(fd, 5000, &base), 0);
	for (size_t i = 0; i < 5000; i++)
		cr_assert_eq(((unsigned char *)base)[i], 0);
	segment_unmap(base, 5000);
	close(fd);
}

Test(shm_segment, has_its_pages_before_anybody_touches_them)
{
	int fd;
	struct stat st;
	cr_assert_eq(segment_create("test", 1 << 20, &fd), 0);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_geq((size_t)st.st_blocks * 512, 1u << 20);
	close(fd);
}

Test(shm_segment, can_be_neither_shrunk_nor_grown_nor_unsealed)
{
	int fd;
	cr_assert_eq(segment_create("test", 8192, &fd), 0);
	cr_assert(ftruncate(fd, 4096) < 0 && errno == EPERM);
	cr_assert(ftruncate(fd, 0) < 0 && errno == EPERM);
	cr_assert(ftruncate(fd, 1 << 20) < 0 && errno == EPERM);
	cr_assert(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM);
	close(fd);
}

Test(shm_segment, is_seen_by_another_process_through_the_descriptor)
{
	int fd;
	void *base;
	cr_assert_eq(segment_create("test", 4096, &fd), 0);
	cr_assert_eq(segment_map(fd, 4096, &base), 0);
	pid_t child = test_fork();
	if (child == 0) {
		void *theirs;
		if (segment_map(fd, 4096, &theirs) < 0)
			_exit(1);
		strcpy(theirs, "written by the child");
		_exit(0);
	}
	cr_assert_eq(wait_exit(child, 60000), 0);
	cr_assert_str_eq(base, "written by the child");
	segment_unmap(base, 4096);
	close(fd);
}

Test(shm_segment, is_not_mapped_when_small_or_not_sealed)
{
	int fd;
	void *base = &fd;
	cr_assert_eq(segment_create("test", 4096, &fd), 0);
	cr_assert_eq(segment_map(fd, 4097, &base), -EINVAL);
	close(fd);

	fd = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cr_assert_eq(ftruncate(fd, 4096), 0);
	cr_assert_eq(segment_map(fd, 4096, &base), -EINVAL);
	cr_assert_eq(base, &fd, "*ret was changed on failure");
	close(fd);
	cr_assert_eq(segment_map(fd, 4096, &base), -EBADF);
}

/* The kernel's own mount behind memfd has no size to exhaust, so a file size limit stands in for
 * a full /dev/shm: the same call fails at the same place. */
Test(shm_segment, leaves_no_descriptor_when_the_memory_is_refused)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };
	int fd = -2;
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	int before = count_fds(getpid());
	cr_assert_eq(segment_create("test", 2 << 20, &fd), -EFBIG);
	cr_assert_eq(fd, -2, "*ret_fd was changed on failure");
	cr_assert_eq(count_fds(getpid()), before);
}

Test(shm_segment, unmap_takes_null)
{
	segment_unmap(NULL, 4096);
}
