/*
 * directory.c - the runtime directory belongs to one daemon at a time: the lock in it.
 *
 * The broker holds the lock together with the supervisor.  After a kill -9 of the supervisor the
 * directory is free when the old broker is gone, too, which writes the history that job numbers
 * go on from: whoever starts meanwhile waits for that.  Workers that run commands hold it, too:
 * their jobs are started again by the next daemon, and not beside what is left of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/supervisor.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"
#include "shm/owner.h"

#define HEIRS_NS (20 * NS_PER_S) /* what a dead daemon left behind dies in milliseconds */
#define LOOK_MS  2

/* The pid in the file; 0: none yet, its daemon has only just taken the lock. */
static pid_t
holder_of(int fd)
{
	char text[32] = "";

	return pread(fd, text, sizeof(text) - 1, 0) > 0 ? (pid_t)atoi(text) : 0;
}

/* 0; or the exit status, and why stands in the log. */
static int
take_lock(int fd, const char *dir)
{
	uint64_t end_ns = clock_now() + HEIRS_NS;

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR) {
			log_error("cannot lock %s/pyprepd.lock: %s", dir, strerror(errno));
			return EX_OSERR;
		}
		pid_t holder = holder_of(fd);
		if (holder > 0 && owner_of(holder) != OWNER_NOBODY) {
			log_error("a daemon already runs in %s (pid %d); stop it, or give another "
				  "--runtime-dir",
				  dir, (int)holder);
			return EX_TEMPFAIL;
		}
		if (clock_now() > end_ns) {
			log_error("%s is in use although its daemon (pid %d) is gone: its broker "
				  "or a worker with a command lives on, or it runs in another "
				  "container; end it, or give "
				  "another --runtime-dir",
				  dir, (int)holder);
			return EX_TEMPFAIL;
		}
		poll(NULL, 0, LOOK_MS);
	}
	return 0;
}

/* Does somebody listen at the socket there?  Then its daemon lives although its lock file is gone:
 * nothing is taken from it. */
static bool
is_served(const char *dir)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	scoped_fd fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* The service manager's socket is always served: by us, in a moment. */
	if (fd < 0 || sd_listen_fds(0) > 0)
		return false;
	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s/pyprepd.sock", dir) >=
	    (int)sizeof(address.sun_path))
		return false;
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN;
}

int
directory_lock(const char *dir, int *ret_fd)
{
	char path[512];

	int r = path_make_dir(dir, 0755);
	if (r < 0) {
		log_error("cannot make the runtime directory %s: %s", dir, strerror(-r));
		return EX_CANTCREAT;
	}
	snprintf(path, sizeof(path), "%s/pyprepd.lock", dir);
	scoped_fd fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0) {
		log_error("cannot open %s: %s", path, strerror(errno));
		return EX_CANTCREAT;
	}
	int status = take_lock(fd, dir);
	if (status != 0)
		return status;
	if (is_served(dir)) {
		log_error("a daemon answers at %s/pyprepd.sock, although its lock file is gone; "
			  "stop it, "
			  "or give another --runtime-dir",
			  dir);
		return EX_TEMPFAIL;
	}
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		log_warn("cannot write %s: %s", path, strerror(errno));
	*ret_fd = take_fd(&fd);
	return 0;
}
