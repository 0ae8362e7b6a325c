/*
 * spawn.c - fork one child of the supervisor into its role.
 *
 * The child is told the supervisor's death twice: by PR_SET_PDEATHSIG, and by the end of
 * file on its control socket, which therefore no sibling may hold open: everything that
 * the child was not given is closed before its role begins.
 */
#include "daemon/roles.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/title.h"
#include "ipc/cleanup.h"

static const struct role_row {
	const char *name;
	int (*main)(const struct birth *birth);
	bool serves; /* clients: as many descriptors as the limit can be raised to */
} roles[] = {
	[ROLE_BROKER] = { "broker", broker_main, true },
	[ROLE_WORKER] = { "worker", worker_main, false },
	[ROLE_SPARE] = { "spare", spare_main, false },
	[ROLE_MANAGER] = { "manager", manager_main, true },
	[ROLE_SWEEPER] = { "sweeper", sweeper_main, false },
};

static int
compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Close all descriptors but 0-2 and those of `keep` (-1 entries are ignored). */
static void
close_all_but(int *keep, size_t count)
{
	unsigned next = STDERR_FILENO + 1;

	qsort(keep, count, sizeof(*keep), compare_fds);
	for (size_t i = 0; i < count; i++) {
		if (keep[i] < (int)next)
			continue;
		if ((unsigned)keep[i] > next)
			close_range(next, (unsigned)keep[i] - 1, 0);
		next = (unsigned)keep[i] + 1;
	}
	close_range(next, ~0u, 0);
}

/* Signals of the terminal and of the service manager are the supervisor's to interpret.  Only
 * what the supervisor set is set back: a call per signal would show in the time of a start. */
static void
reset_signals(void)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };
	sigset_t none;

	signal(SIGCHLD, SIG_DFL);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A connection is a descriptor, and so may be its process.  Those who serve run no commands, which
 * would inherit the limit (and select(2) there, which knows 1,024). */
static void
allow_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static _Noreturn void
be_child(enum role role, const struct birth *birth, pid_t supervisor)
{
	bool holds_lock = role == ROLE_BROKER || role == ROLE_WORKER || role == ROLE_SPARE;
	int keep[] = {
		birth->control,          birth->broker_bell,    birth->listener,
		birth->link.memfd,       birth->link.bell,      birth->link.worker[0],
		birth->link.worker[1],   birth->counters_memfd, birth->store_memfd,
		birth->manager_listener, birth->lane_listener,  holds_lock ? birth->lock : -1
	};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != supervisor)
		_exit(EXIT_FAILURE);
	reset_signals();
	close_all_but(keep, sizeof(keep) / sizeof(keep[0]));
	if (roles[role].serves)
		allow_descriptors();
	title_set("pyprepd: %s", roles[role].name);
	_exit(roles[role].main(birth));
}

pid_t
spawn(enum role role, struct birth *birth, int *ret_control)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	scoped_fd ours = pair[0], theirs = pair[1];

	pid_t supervisor = getpid();
	birth->control = theirs;
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		be_child(role, birth, supervisor);
	*ret_control = take_fd(&ours);
	return pid;
}
