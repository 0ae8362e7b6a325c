/* floor_process.c - the least that starting, replacing and keeping processes can cost. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"

#define SETTLE_MS 5 /* between two kills, so that the victim sleeps */

static void
pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = (long)(ms * NS_PER_MS) }, NULL);
}

/* ---- kill and fork again ---- */

/* A child that says hello on `fd` and sleeps; its pid once the hello has come. */
static pid_t
spawn_and_hear(int parent_fd, int child_fd)
{
	char hello = 'x';
	pid_t pid = floor_fork();

	if (pid == 0) {
		if (write(child_fd, &hello, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	if (pid > 0 && read(parent_fd, &hello, 1) != 1)
		return -EIO;
	return pid > 0 ? pid : -errno;
}

/* As a supervisor does it: the death comes by a pidfd. */
static int
kill_and_hear(pid_t pid)
{
	scoped_fd fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd polled = { .fd = fd, .events = POLLIN };

	if (fd < 0 || kill(pid, SIGKILL) < 0)
		return -errno;
	while (poll(&polled, 1, -1) < 0 && errno == EINTR)
		;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

int
floor_respawn(unsigned count, struct samples *ret)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	scoped_fd ours = pair[0], theirs = pair[1];
	pid_t pid = spawn_and_hear(ours, theirs);
	for (unsigned i = 0; i < count && pid > 0; i++) {
		pause_ms(SETTLE_MS);
		uint64_t begun = clock_now();
		int r = kill_and_hear(pid);
		if (r < 0)
			return r;
		pid = spawn_and_hear(ours, theirs);
		samples_add(ret, clock_now() - begun);
	}
	floor_kill(pid);
	return pid < 0 ? (int)pid : 0;
}

/* ---- start ---- */

static pid_t
spawn_program(char *const *argv)
{
	pid_t pid = floor_fork();

	if (pid == 0) {
		execv(argv[0], argv);
		_exit(127);
	}
	return pid < 0 ? -errno : pid;
}

int
floor_run_true(unsigned count, struct samples *ret)
{
	static char *const argv[] = { "/bin/true", NULL };
	int status = 0;

	for (unsigned i = 0; i < count; i++) {
		uint64_t begun = clock_now();
		pid_t pid = spawn_program(argv);
		if (pid < 0)
			return (int)pid;
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (status != 0)
			return -ENOEXEC;
		samples_add(ret, clock_now() - begun);
	}
	return 0;
}

/* ---- memory ---- */

int
process_pss(pid_t pid, uint64_t *ret_bytes)
{
	char path[64], line[256];
	uint64_t kib = 0;
	bool found = false;

	snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return -errno;
	while (!found && fgets(line, sizeof line, file))
		found = sscanf(line, "Pss: %" SCNu64 " kB", &kib) == 1;
	fclose(file);
	if (!found)
		return -ENODATA;
	*ret_bytes = kib * 1024;
	return 0;
}

int
floor_sleepers(unsigned count, uint64_t *ret_bytes)
{
	static char *const argv[] = { "/bin/sleep", "3600", NULL };
	pid_t *pids = ctl_alloc(count, sizeof *pids);
	uint64_t sum = 0, one = 0;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < count; i++) {
		pids[i] = spawn_program(argv);
		r = pids[i] < 0 ? (int)pids[i] : 0;
	}
	pause_ms(100); /* until all have passed their exec and sleep */
	for (unsigned i = 0; r == 0 && i < count; i++) {
		r = process_pss(pids[i], &one);
		sum += r == 0 ? one : 0;
	}
	for (unsigned i = 0; i < count; i++)
		floor_kill(pids[i]);
	free(pids);
	if (r == 0)
		*ret_bytes = sum;
	return r;
}
