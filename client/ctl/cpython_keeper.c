/* cpython_keeper.c - run Python, end its whole tree, sweep what it named. */
#include "client/ctl/cpython_keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/clock.h"

#define ARGS_MAX   24
#define STRAY_MS   5000 /* patience with what outlives the main process, as its tracker does */
#define KILL_MS    5000 /* patience with what was killed */
#define LOOK_MS    2
#define FIRST_FREE 3 /* descriptor behind the standard ones */

static char temporary[64]; /* Python's directory for files and sockets; "" when there is none */

/* ---- what it named ---- */

static int
remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
	(void)stat, (void)type, (void)ftw;
	(void)remove(path);
	return 0;
}

static void
sweep_shared(const char *prefix)
{
	char path[300];
	struct dirent *entry;

	DIR *directory = opendir("/dev/shm");
	if (!directory)
		return;
	while ((entry = readdir(directory))) {
		const char *name = entry->d_name;
		/* a semaphore's file is called sem.NAME */
		if (strncmp(name, "sem.", 4) == 0)
			name += 4;
		if (strncmp(name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(path, sizeof path, "/dev/shm/%s", entry->d_name);
		(void)unlink(path);
	}
	closedir(directory);
}

/* ---- Python itself ---- */

static _Noreturn void
be_python(const struct keeper_order *order, const char *prefix, pid_t keeper, int *exec_errno)
{
	const char *args[ARGS_MAX] = { order->interpreter, "-I", "-", order->topic, prefix };
	sigset_t none;
	int count = 5;

	for (int i = 0; order->params && order->params[i] && count < ARGS_MAX - 1; i++)
		args[count++] = order->params[i];
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != keeper)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	dup2(order->program, STDIN_FILENO);
	dup2(order->out, STDOUT_FILENO);
	dup2(order->err, STDERR_FILENO);
	execvp(order->interpreter, (char *const *)args);
	*exec_errno = errno;
	_exit(127);
}

/* ---- its end ---- */

static void
nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = LOOK_MS * (long)NS_PER_MS }, NULL);
}

/* SIGKILL to each of our children: what has left Python's session came to us when its parent
 * died, or will. */
static void
kill_children(void)
{
	int pid;

	FILE *file = fopen("/proc/thread-self/children", "re");
	if (!file)
		return;
	while (fscanf(file, "%d", &pid) == 1)
		kill(pid, SIGKILL);
	fclose(file);
}

/* Reap until no child is left, for `ms` at most.  Are they all gone? */
static bool
reap_all(pid_t python, struct keeper_outcome *outcome, unsigned ms, bool killing)
{
	uint64_t begun = clock_now();
	int status;

	for (;;) {
		if (killing) {
			kill(-python, SIGKILL);
			kill_children();
		}
		pid_t pid = waitpid(-1, &status, WNOHANG);
		if (pid == python)
			outcome->wait_status = status;
		if (pid > 0)
			continue;
		if (pid < 0 && errno == ECHILD)
			return true;
		if (clock_now() - begun > ms * NS_PER_MS)
			return false;
		nap();
	}
}

/* Until the main process has ended, or there is a reason to end it. */
static void
watch(const struct keeper_order *order, pid_t python, struct keeper_outcome *outcome)
{
	struct pollfd polled[2] = { { .fd = order->lifeline, .events = POLLIN },
				    { .fd = pidfd_open(python, 0), .events = POLLIN } };
	uint64_t begun = clock_now();

	for (;;) {
		uint64_t ms = (clock_now() - begun) / NS_PER_MS;
		if (ms >= (uint64_t)order->timeout_ms) {
			outcome->timed_out = true;
			return;
		}
		(void)poll(polled, 2, order->timeout_ms - (int)ms);
		if (polled[1].revents != 0)
			return;
		if (polled[0].revents != 0) {
			outcome->cut = true;
			return;
		}
	}
}

/* ---- the keeper ---- */

/* Keep none of the starter's descriptors but those of the order, which move: who reads the
 * starter's output must see its end. */
static int
close_others(struct keeper_order *order)
{
	int *const kept[] = { &order->program, &order->out, &order->err, &order->lifeline };
	const int count = sizeof kept / sizeof kept[0];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < count; i++) {
		*kept[i] = fcntl(*kept[i], F_DUPFD_CLOEXEC, FIRST_FREE + count);
		if (*kept[i] < 0)
			return -errno;
	}
	for (int fd = 0; fd < FIRST_FREE && null >= 0; fd++)
		dup2(null, fd);
	for (int i = 0; i < count; i++) {
		if (dup3(*kept[i], FIRST_FREE + i, O_CLOEXEC) < 0)
			return -errno;
		*kept[i] = FIRST_FREE + i;
	}
	(void)close_range((unsigned)(FIRST_FREE + count), ~0u, 0);
	return 0;
}

static void
make_temporary(const char *prefix)
{
	snprintf(temporary, sizeof temporary, "/tmp/%sXXXXXX", prefix);
	if (mkdtemp(temporary))
		setenv("TMPDIR", temporary, 1);
	else
		temporary[0] = '\0';
}

static int
prepare(struct keeper_order *order, char *prefix, size_t size)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };

	setsid(); /* the terminal's signals are for pyprepctl: the lifeline tells us */
	for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	snprintf(prefix, size, KEEPER_PREFIX "%d-", (int)getpid());
	make_temporary(prefix);
	return close_others(order);
}

static void
end_tree(pid_t python, struct keeper_outcome *outcome)
{
	bool kill_it = outcome->timed_out || outcome->cut;

	if (!kill_it && !reap_all(python, outcome, STRAY_MS, false)) {
		outcome->strays = true;
		kill_it = true;
	}
	if (kill_it)
		(void)reap_all(python, outcome, KILL_MS, true);
}

static _Noreturn void
keeper_main(struct keeper_order order, struct keeper_outcome *outcome)
{
	char prefix[40];

	int r = prepare(&order, prefix, sizeof prefix);
	pid_t keeper = getpid();
	pid_t python = r < 0 ? r : fork();
	if (python == 0)
		be_python(&order, prefix, keeper, &outcome->exec_errno);
	if (python > 0) {
		watch(&order, python, outcome);
		end_tree(python, outcome);
	} else {
		outcome->exec_errno = r < 0 ? -r : errno;
	}
	sweep_shared(prefix);
	if (temporary[0])
		(void)nftw(temporary, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	outcome->done = true;
	_exit(0);
}

pid_t
keeper_start(const struct keeper_order *order, struct keeper_outcome *outcome)
{
	pid_t pid = fork();

	if (pid == 0)
		keeper_main(*order, outcome);
	return pid < 0 ? -errno : pid;
}
