/*
 * fail_calls_lib.c - preloaded into pyprepd: counts the calls that its processes make, and fails
 * those that fail_calls tells it to (fail_calls.h).
 *
 * A failure is one that the kernel could have given: no packet is cut, what only ever waits is only
 * interrupted.
 */
#include "tests/fault/fail_calls.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <grp.h>
#include <link.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fail_control *control;
static enum fail_role role = FAIL_SUPERVISOR;
static __thread bool inside __attribute__((tls_model("initial-exec")));

#define REAL(name)                                       \
	({                                               \
		static __typeof__(&(name)) real_;        \
		if (real_ == NULL)                       \
			real_ = dlsym(RTLD_NEXT, #name); \
		real_;                                   \
	})

/* ---- the strike ---- */

static void
note_where(void)
{
	void *frames[FAIL_FRAMES + 2];
	int count = backtrace(frames, FAIL_FRAMES + 2);

	for (int i = 2; i < count; i++)
		control->frames[i - 2] = (uint64_t)(uintptr_t)frames[i];
}

static bool
is_meant(uint64_t n)
{
	return n >= control->at && (control->when != FAIL_OTHER || (n - control->at) % 2 == 0);
}

/* Calls of two libraries are told apart, by who called us. */
static enum fail_class
class_for(enum fail_class class, void *caller)
{
	/* What is loaded for its sake, too: each has its own way to end the process. */
	static const char *const of_zmq[] = { "/libzmq",  "/libstdc++", "/libpgm", "/libnorm",
					      "/libglib", "/libsodium", "/libgss", "/libkrb5" };
	struct dl_find_object object;

	if (_dl_find_object(caller, &object) != 0)
		return class;
	const char *name = object.dlfo_link_map->l_name;
	for (size_t i = 0; i < sizeof(of_zmq) / sizeof(of_zmq[0]); i++)
		if (strstr(name, of_zmq[i]) != NULL)
			return FAIL_ZMQ;
	if (class == FAIL_ALLOC && strstr(name, "/libsqlite3") != NULL)
		return FAIL_ALLOC_SQLITE;
	return class;
}

/* Count a call.  0: let it be made; else an errno, FAIL_SHORT or FAIL_LIE. */
static __attribute__((noinline)) int
strike_of(enum fail_class class, void *caller)
{
	if (control == NULL || inside)
		return 0;
	class = class_for(class, caller);
	uint64_t n = atomic_fetch_add(&control->calls[role][class], 1) + 1;
	if (!atomic_load(&control->armed) || control->role != role || control->class != class ||
	    !is_meant(n))
		return 0;
	bool first = atomic_fetch_add(&control->hits, 1) == 0;
	if (!first && control->when == FAIL_ONCE)
		return 0;
	inside = true;
	if (first)
		note_where();
	inside = false;
	if (control->error == FAIL_CRASH)
		*(volatile int *)NULL = 0; /* a thread may have blocked what raise() sends */
	while (control->error == FAIL_HANG)
		poll(NULL, 0, 1000);
	return (int)control->error;
}

/* In a function that stands for one of libc's. */
#define strike(class) strike_of(class, __builtin_return_address(0))

static int
end_of_main(struct dl_phdr_info *info, size_t size, void *unused)
{
	(void)size;
	(void)unused;
	control->base = info->dlpi_addr;
	return 1; /* the first one is the program */
}

static void __attribute__((constructor)) begin(void)
{
	const char *path = getenv(FAIL_CALLS_ENV);
	void *frames[2];

	if (path == NULL || strcmp(program_invocation_short_name, "pyprepd") != 0)
		return;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
	void *base = MAP_FAILED;
	if (fd >= 0)
		base = REAL(mmap)(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				  0);
	if (base == MAP_FAILED) {
		dprintf(2, "fail_calls: %s: %s\n", path, strerror(errno));
		_exit(125);
	}
	close(fd);
	(void)backtrace(frames, 2); /* the first one loads a library */
	control = base;
	dl_iterate_phdr(end_of_main, NULL);
}

/* ---- who it is, and who died ---- */

/* The title of the main thread is the role: "pyprepd:broker", "pyprepd:cpu/0". */
static void
take_role(const char *comm)
{
#define FAIL_NAME(name, text) { FAIL_##name, text },
	static const struct {
		enum fail_role role;
		const char *name;
	} names[] = { FAIL_ROLES(FAIL_NAME) };

	const char *name = strchr(comm, ':');
	if (name == NULL || getpid() != gettid())
		return;
	if (strchr(name, '/') != NULL)
		role = FAIL_WORKER;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(name + 1, names[i].name, strlen(name + 1)) == 0)
			role = names[i].role;
}

int
prctl(int option, ...)
{
	unsigned long a[4];
	va_list list;

	va_start(list, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(list, unsigned long);
	va_end(list);
	if (option == PR_SET_NAME && control != NULL)
		take_role((const char *)a[0]);
	return REAL(prctl)(option, a[0], a[1], a[2], a[3]);
}

static void
note_death(pid_t pid, int status)
{
	if (pid <= 0 || control == NULL || role != FAIL_SUPERVISOR || !WIFSIGNALED(status))
		return;
	uint32_t n = atomic_fetch_add(&control->deaths, 1);
	control->pids[n % FAIL_DEATHS] = pid;
	control->signals[n % FAIL_DEATHS] = WTERMSIG(status);
}

pid_t
wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
	int own = 0, e = options & WNOHANG ? 0 : strike(FAIL_WAIT);

	if (e != 0) {
		errno = e;
		return -1;
	}
	pid_t r = REAL(wait4)(pid, &own, options, usage);
	note_death(r, own);
	if (status != NULL)
		*status = own;
	return r;
}

pid_t
waitpid(pid_t pid, int *status, int options)
{
	return wait4(pid, status, options, NULL);
}

/* ---- calls that fail with -1 and errno ---- */

#define FAILS(class, result, name, parameters, arguments) \
	result name parameters                            \
	{                                                 \
		int e = strike(FAIL_##class);             \
		if (e == FAIL_LIE)                        \
			return 0;                         \
		if (e != 0 && e != FAIL_SHORT) {          \
			errno = e;                        \
			return -1;                        \
		}                                         \
		return REAL(name) arguments;              \
	}

#define OPENS(name)                                                                     \
	int name(const char *path, int flags, ...)                                      \
	{                                                                               \
		va_list list;                                                           \
		va_start(list, flags);                                                  \
		mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
		va_end(list);                                                           \
		int e = strike(FAIL_OPEN);                                              \
		if (e == 0)                                                             \
			return REAL(name)(path, flags, mode);                           \
		errno = e;                                                              \
		return -1;                                                              \
	}
#define OPENS_AT(name)                                                                  \
	int name(int at, const char *path, int flags, ...)                              \
	{                                                                               \
		va_list list;                                                           \
		va_start(list, flags);                                                  \
		mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
		va_end(list);                                                           \
		int e = strike(FAIL_OPEN);                                              \
		if (e == 0)                                                             \
			return REAL(name)(at, path, flags, mode);                       \
		errno = e;                                                              \
		return -1;                                                              \
	}
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
FAILS(OPEN, int, shm_open, (const char *name, int flags, mode_t mode), (name, flags, mode))

#define OPENS_STREAM(type, name, parameters, arguments) \
	type *name parameters                           \
	{                                               \
		int e = strike(FAIL_OPEN);              \
		if (e == 0)                             \
			return REAL(name) arguments;    \
		errno = e;                              \
		return NULL;                            \
	}
OPENS_STREAM(FILE, fopen, (const char *path, const char *mode), (path, mode))
OPENS_STREAM(FILE, fopen64, (const char *path, const char *mode), (path, mode))
OPENS_STREAM(DIR, opendir, (const char *path), (path))
OPENS_STREAM(DIR, fdopendir, (int fd), (fd))

FAILS(FD, int, socket, (int domain, int type, int protocol), (domain, type, protocol))
FAILS(FD, int, socketpair, (int domain, int type, int protocol, int pair[2]),
      (domain, type, protocol, pair))
FAILS(FD, int, accept, (int fd, struct sockaddr *address, socklen_t *length), (fd, address, length))
FAILS(FD, int, accept4, (int fd, struct sockaddr *address, socklen_t *length, int flags),
      (fd, address, length, flags))
FAILS(FD, int, eventfd, (unsigned count, int flags), (count, flags))
FAILS(FD, int, epoll_create1, (int flags), (flags))
FAILS(FD, int, pipe2, (int pair[2], int flags), (pair, flags))
FAILS(FD, int, signalfd, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))
FAILS(FD, int, timerfd_create, (int clock, int flags), (clock, flags))
FAILS(FD, int, memfd_create, (const char *name, unsigned flags), (name, flags))
FAILS(FD, int, dup, (int fd), (fd))

FAILS(SYNC, int, fsync, (int fd), (fd))
FAILS(SYNC, int, fdatasync, (int fd), (fd))
FAILS(ROOM, int, ftruncate, (int fd, off_t length), (fd, length))
FAILS(ROOM, int, ftruncate64, (int fd, off_t length), (fd, length))

int
posix_fallocate(int fd, off_t offset, off_t length)
{
	int e = strike(FAIL_ROOM);
	return e != 0 ? e : REAL(posix_fallocate)(fd, offset, length);
}

FAILS(NAME, int, rename, (const char *from, const char *to), (from, to))
FAILS(NAME, int, renameat, (int at, const char *from, int there, const char *to),
      (at, from, there, to))
FAILS(NAME, int, linkat, (int at, const char *from, int there, const char *to, int flags),
      (at, from, there, to, flags))
FAILS(NAME, int, unlink, (const char *path), (path))
FAILS(NAME, int, unlinkat, (int at, const char *path, int flags), (at, path, flags))
FAILS(NAME, int, mkdir, (const char *path, mode_t mode), (path, mode))
FAILS(NAME, int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode))
FAILS(NAME, int, rmdir, (const char *path), (path))
FAILS(NAME, int, bind, (int fd, const struct sockaddr *address, socklen_t length),
      (fd, address, length))

FAILS(STAT, int, stat, (const char *path, struct stat *ret), (path, ret))
FAILS(STAT, int, lstat, (const char *path, struct stat *ret), (path, ret))
FAILS(STAT, int, fstatat, (int at, const char *path, struct stat *ret, int flags),
      (at, path, ret, flags))
FAILS(STAT, int, stat64, (const char *path, struct stat64 *ret), (path, ret))
FAILS(STAT, int, lstat64, (const char *path, struct stat64 *ret), (path, ret))
FAILS(STAT, int, fstat64, (int fd, struct stat64 *ret), (fd, ret))
FAILS(STAT, int, statvfs, (const char *path, struct statvfs *ret), (path, ret))
FAILS(STAT, int, statx, (int at, const char *path, int flags, unsigned mask, struct statx *ret),
      (at, path, flags, mask, ret))
/* fstat() is used here, too. */
int
fstat(int fd, struct stat *ret)
{
	int e = strike(FAIL_STAT);

	if (e == 0)
		return (int)syscall(SYS_fstat, fd, ret);
	errno = e;
	return -1;
}

FAILS(FORK, pid_t, fork, (void), ())
FAILS(WAIT, int, epoll_wait, (int ep, struct epoll_event *events, int most, int timeout),
      (ep, events, most, timeout))

/* Only who waits is interrupted. */
int
flock(int fd, int operation)
{
	int e = strike(FAIL_LOCK);

	if (e == 0 || (e == EINTR && operation & LOCK_NB))
		return REAL(flock)(fd, operation);
	errno = e;
	return -1;
}

/* Only what is added needs memory. */
int
epoll_ctl(int ep, int op, int fd, struct epoll_event *event)
{
	int e = op == EPOLL_CTL_ADD ? strike(FAIL_EPOLL) : 0;

	if (e == 0)
		return REAL(epoll_ctl)(ep, op, fd, event);
	errno = e;
	return -1;
}

int
waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	int e = options & WNOHANG ? 0 : strike(FAIL_WAIT);

	if (e == 0)
		return REAL(waitid)(type, id, info, options);
	errno = e;
	return -1;
}

/* poll() that does not wait is not interrupted. */
int
poll(struct pollfd *fds, nfds_t count, int timeout)
{
	int e = timeout != 0 ? strike(FAIL_WAIT) : 0;

	if (e == 0)
		return REAL(poll)(fds, count, timeout);
	errno = e;
	return -1;
}

static int
strike_fcntl(int command, const struct flock *lock, void *caller)
{
	int e;

	switch (command) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		return strike_of(FAIL_FD, caller);
	case F_SETLK:
	case F_OFD_SETLK:
		if (lock->l_type == F_UNLCK) /* SQLite's bytes: nothing has to be split for it */
			return 0;
		e = strike_of(FAIL_LOCK, caller);
		return e == EINTR ? 0 : e;
	case F_SETLKW:
	case F_OFD_SETLKW:
		return strike_of(FAIL_LOCK, caller);
	default:
		return 0;
	}
}

#define CONTROLS(name)                                                                \
	int name(int fd, int command, ...)                                            \
	{                                                                             \
		va_list list;                                                         \
		va_start(list, command);                                              \
		void *argument = va_arg(list, void *);                                \
		va_end(list);                                                         \
		int e = strike_fcntl(command, argument, __builtin_return_address(0)); \
		if (e == 0)                                                           \
			return REAL(name)(fd, command, argument);                     \
		errno = e;                                                            \
		return -1;                                                            \
	}
CONTROLS(fcntl)
CONTROLS(fcntl64)

int
clone(int (*function)(void *), void *stack, int flags, void *argument, ...)
{
	void *more[3];
	va_list list;

	va_start(list, argument);
	for (int i = 0; i < 3; i++)
		more[i] = va_arg(list, void *);
	va_end(list);
	int e = strike(FAIL_FORK);
	if (e == 0)
		return REAL(clone)(function, stack, flags, argument, more[0], more[1], more[2]);
	errno = e;
	return -1;
}

int
pthread_create(pthread_t *ret, const pthread_attr_t *attributes, void *(*function)(void *),
	       void *argument)
{
	int e = strike(FAIL_THREAD);
	return e != 0 ? e : REAL(pthread_create)(ret, attributes, function, argument);
}

/* A real failure, so that dlerror() has a text. */
void *
dlopen(const char *file, int flags)
{
	return REAL(dlopen)(strike(FAIL_LOAD) != 0 ? "/there/is/no/such.so" : file, flags);
}

long
syscall(long number, ...)
{
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	int e = number == SYS_pidfd_open ? strike(FAIL_FD) : 0;
	if (e == 0)
		return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	errno = e;
	return -1;
}

/* ---- users and groups: glibc crashes where a call of its own fails there ---- */

#define SPARES(result, name, parameters, arguments)  \
	result name parameters                       \
	{                                            \
		bool before = inside;                \
		inside = true;                       \
		result found = REAL(name) arguments; \
		inside = before;                     \
		return found;                        \
	}
SPARES(struct passwd *, getpwuid, (uid_t uid), (uid))
SPARES(struct passwd *, getpwnam, (const char *name), (name))
SPARES(struct group *, getgrnam, (const char *name), (name))
SPARES(struct group *, getgrgid, (gid_t gid), (gid))

/* ---- bytes ---- */

static mode_t
type_of(int fd)
{
	struct stat status;
	return REAL(syscall)(SYS_fstat, fd, &status) == 0 ? status.st_mode & S_IFMT : 0;
}

static bool
is_stream(int fd)
{
	int type = 0;
	socklen_t length = sizeof(type);
	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

/* How many bytes of `size` may be moved; -1: none, with errno.  -2: say that all were. */
static ssize_t
room_of(int fd, size_t size, bool writes, void *caller)
{
	mode_t type = type_of(fd);
	bool file = type == S_IFREG;
	enum fail_class class = fd == STDERR_FILENO && writes ? FAIL_LOG
				: writes ? (file ? FAIL_WRITE : FAIL_PIPE_WRITE)
					 : (file ? FAIL_READ : FAIL_PIPE_READ);

	if (!file && type != S_IFIFO && type != S_IFSOCK) /* an eventfd and its like never fail */
		return (ssize_t)size;
	int e = strike_of(class, caller);
	if (e == 0)
		return (ssize_t)size;
	if (e == FAIL_LIE)
		return -2;
	if (e != FAIL_SHORT) {
		errno = e;
		return -1;
	}
	bool whole = type == S_IFIFO && writes && size <= 4096; /* PIPE_BUF */
	if (whole || (type == S_IFSOCK && !is_stream(fd)) || size < 2)
		return (ssize_t)size;
	return (ssize_t)(size / 2);
}

#define MOVES(writes, name, parameters, arguments)                                  \
	ssize_t name parameters                                                     \
	{                                                                           \
		ssize_t n = room_of(fd, size, writes, __builtin_return_address(0)); \
		if (n < 0)                                                          \
			return n == -2 ? (ssize_t)size : -1;                        \
		size = (size_t)n;                                                   \
		return REAL(name) arguments;                                        \
	}
MOVES(true, write, (int fd, const void *bytes, size_t size), (fd, bytes, size))
MOVES(true, pwrite, (int fd, const void *bytes, size_t size, off_t at), (fd, bytes, size, at))
MOVES(true, pwrite64, (int fd, const void *bytes, size_t size, off_t at), (fd, bytes, size, at))
MOVES(false, read, (int fd, void *bytes, size_t size), (fd, bytes, size))
MOVES(false, pread, (int fd, void *bytes, size_t size, off_t at), (fd, bytes, size, at))
MOVES(false, pread64, (int fd, void *bytes, size_t size, off_t at), (fd, bytes, size, at))

/* Of several pieces at most the first is moved. */
#define MOVES_PIECES(writes, name)                                                  \
	ssize_t name(int fd, const struct iovec *pieces, int count)                 \
	{                                                                           \
		size_t size = count > 1 ? 2 : 1;                                    \
		ssize_t n = room_of(fd, size, writes, __builtin_return_address(0)); \
		if (n < 0)                                                          \
			return -1;                                                  \
		return REAL(name)(fd, pieces, n < (ssize_t)size ? 1 : count);       \
	}
MOVES_PIECES(true, writev)
MOVES_PIECES(false, readv)

static ssize_t
room_of_socket(int fd, enum fail_class class, size_t size, void *caller)
{
	int e = strike_of(class, caller);

	if (e == FAIL_SHORT)
		return (ssize_t)(size > 1 && is_stream(fd) ? size / 2 : size);
	if (e == 0)
		return (ssize_t)size;
	errno = e;
	return -1;
}

#define MOVES_SOCKET(class, name, parameters, arguments)                                         \
	ssize_t name parameters                                                                  \
	{                                                                                        \
		ssize_t n = room_of_socket(fd, FAIL_##class, size, __builtin_return_address(0)); \
		if (n < 0)                                                                       \
			return -1;                                                               \
		size = (size_t)n;                                                                \
		return REAL(name) arguments;                                                     \
	}
MOVES_SOCKET(SEND, send, (int fd, const void *bytes, size_t size, int flags),
	     (fd, bytes, size, flags))
MOVES_SOCKET(SEND, sendto,
	     (int fd, const void *bytes, size_t size, int flags, const struct sockaddr *address,
	      socklen_t length),
	     (fd, bytes, size, flags, address, length))
MOVES_SOCKET(RECV, recv, (int fd, void *bytes, size_t size, int flags), (fd, bytes, size, flags))
/* A socket is never full as long as nothing lies in it. */
ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
	int queued = 0, e = strike(FAIL_SEND);

	if (e == EAGAIN && ioctl(fd, SIOCOUTQ, &queued) == 0 && queued == 0)
		e = 0;
	if (e == 0 || e == FAIL_SHORT)
		return REAL(sendmsg)(fd, message, flags);
	errno = e;
	return -1;
}
FAILS(RECV, ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))

/* ---- memory ---- */

#define MAPS(name)                                                                         \
	void *name(void *at, size_t size, int protection, int flags, int fd, off_t offset) \
	{                                                                                  \
		int e = strike(FAIL_MMAP);                                                 \
		if (e == 0)                                                                \
			return REAL(name)(at, size, protection, flags, fd, offset);        \
		errno = e;                                                                 \
		return MAP_FAILED;                                                         \
	}
MAPS(mmap)
MAPS(mmap64)

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

#define GIVES(memory)                       \
	({                                  \
		int e = strike(FAIL_ALLOC); \
		if (e != 0)                 \
			errno = ENOMEM;     \
		e == 0 ? (memory) : NULL;   \
	})

void *
malloc(size_t size)
{
	return GIVES(__libc_malloc(size));
}

void *
calloc(size_t count, size_t size)
{
	return GIVES(__libc_calloc(count, size));
}

void *
realloc(void *memory, size_t size)
{
	return GIVES(__libc_realloc(memory, size));
}

void *
reallocarray(void *memory, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return GIVES(__libc_realloc(memory, bytes));
}
