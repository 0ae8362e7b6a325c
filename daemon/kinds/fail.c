/*
 * fail.c - go wrong on purpose, for people who want to watch it: say an error, leave the
 * worker, kill it by a signal, or never end; or succeed, and leave something behind.
 *
 * An I/O kind, so that it runs on process, thread and event workers alike.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/kind.h"
#include "daemon/kinds/timer.h"

enum { HOW, AFTER_MS, SIGNAL, BYTES };
enum {
	HOW_ERROR,
	HOW_EXIT,
	HOW_SIGNAL,
	HOW_HANG,
	HOW_LEAK_FD,
	HOW_LEAK_MEMORY,
	HOW_LEAK_SEGMENT,
	HOW_LEAK_CHILD,
	HOW_LEAK_FILE
};

#define EXIT_STATUS 3

/* Die of `signal`, whatever this process does with it and whatever this thread blocks; leave
 * no core file, since nothing is to be found in it. */
static void
die_of(int signal_number)
{
	struct rlimit none = { 0, 0 };
	sigset_t set;

	setrlimit(RLIMIT_CORE, &none);
	signal(signal_number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signal_number);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	raise(signal_number);
}

/* ---- leaks ---- */

static void
leak_fd(struct call *call)
{
	if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
		call_fail(call, "no descriptor left to leak: %s", strerror(errno));
}

static void
leak_memory(struct call *call, size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED) {
		call_no_memory(call, "no %zu bytes of memory to leak: %s", bytes, strerror(errno));
		return;
	}
	for (size_t at = 0; at < bytes; at += page)
		*(volatile unsigned char *)&memory[at] = 1;
}

/* As a program does that forgets shm_unlink(). */
static void
leak_segment(struct call *call, size_t bytes)
{
	char name[64];

	snprintf(name, sizeof(name), "/fail-%d-%llu", (int)getpid(), (unsigned long long)call->id);
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
	    mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED)
		call_fail(call, "no segment to leak: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

static _Noreturn void
live_on(int there)
{
	close(there);
	for (;;)
		pause();
}

/* A child, and its child in a session of its own; both are there when this returns. */
static void
leak_child(struct call *call)
{
	int there[2];
	char nothing;

	if (pipe2(there, O_CLOEXEC) < 0) {
		call_fail(call, "no pipe to wait for a child: %s", strerror(errno));
		return;
	}
	pid_t pid = fork();
	if (pid == 0) {
		if (fork() == 0)
			setsid();
		live_on(there[1]);
	}
	close(there[1]);
	if (pid < 0)
		call_fail(call, "no process to leak: %s", strerror(errno));
	else
		(void)!read(there[0], &nothing, 1); /* the end of file */
	close(there[0]);
}

static void
leak_file(struct call *call, size_t bytes)
{
	char path[PATH_MAX + 16];
	const char *scratch = call_scratch(call);

	if (scratch == NULL)
		return;
	snprintf(path, sizeof(path), "%s/left", scratch);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		call_fail(call, "no file to leave: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void
leak(struct call *call, int64_t how, size_t bytes)
{
	switch (how) {
	case HOW_LEAK_FD:
		leak_fd(call);
		break;
	case HOW_LEAK_MEMORY:
		leak_memory(call, bytes);
		break;
	case HOW_LEAK_SEGMENT:
		leak_segment(call, bytes);
		break;
	case HOW_LEAK_CHILD:
		leak_child(call);
		break;
	default:
		leak_file(call, bytes);
	}
}

/* ---- the kind ---- */

static void
fail_now(evutil_socket_t fd, short what, void *arg)
{
	struct io_call *io = arg;
	int signal_number = (int)args_int(io->call.args, SIGNAL);

	(void)fd;
	(void)what;
	io_enter(io);
	switch (args_int(io->call.args, HOW)) {
	case HOW_ERROR:
		call_fail(&io->call, "failed on purpose");
		break;
	case HOW_EXIT:
		_exit(EXIT_STATUS);
	case HOW_SIGNAL:
		die_of(signal_number);
		call_fail(&io->call, "the worker did not die of signal %d (%s)", signal_number,
			  strsignal(signal_number));
		break;
	case HOW_HANG:
		io_leave(io); /* and nothing will ever happen */
		return;
	default:
		leak(&io->call, args_int(io->call.args, HOW),
		     (size_t)args_int(io->call.args, BYTES));
	}
	event_free(io->state);
	io_done(io);
}

static void
fail_start(struct io_call *io)
{
	io->state = timer_start(io, fail_now, (uint64_t)args_int(io->call.args, AFTER_MS));
	if (io->state == NULL)
		io_done(io);
}

static void
fail_stop(struct io_call *io)
{
	event_free(io->state);
}

const struct kind kind_fail = {
	.name = "fail",
	.class = KIND_IO,
	.help = "go wrong on purpose: an error, an exit or a signal of the worker, a hang, a leak",
	.home = "process", /* the damage stays with one worker */
	.params = {
		[HOW] = { .name = "how", .type = PARAM_ENUM, .fallback = "error",
			  .choices = "error|exit|signal|hang|leak_fd|leak_memory|leak_segment|"
				     "leak_child|leak_file",
			  .help = "what goes wrong" },
		[AFTER_MS] = { .name = "after_ms", .type = PARAM_INT, .low = 0, .high = 86400000,
			       .fallback = "0", .help = "when, in milliseconds" },
		[SIGNAL] = { .name = "signal", .type = PARAM_INT, .low = 1, .high = 31,
			     .fallback = "11", .help = "of how=signal; 11 is SIGSEGV" },
		[BYTES] = { .name = "bytes", .type = PARAM_INT, .low = 1, .high = 1ll << 40,
			    .fallback = "1048576", .help = "of leak_memory, _segment and _file" },
	},
	.start = fail_start,
	.stop = fail_stop,
};
