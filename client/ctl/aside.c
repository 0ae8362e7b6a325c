/* aside.c - see aside.h */
#include "client/ctl/aside.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/command.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"
#include "shm/named.h"

#define REAP_NS (60 * NS_PER_S)

/* ---- cleaning up ---- */

static int
remove_one(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)status;
	(void)type;
	(void)at;
	(void)remove(path);
	return 0;
}

/* The label itself or "LABEL.suffix": "demo-123" is not "demo-1234", somebody else's. */
static bool
is_ours(const struct aside *aside, const char *name)
{
	size_t length = strlen(aside->label);

	return strncmp(name, aside->label, length) == 0 &&
	       (name[length] < '0' || name[length] > '9');
}

static int
remove_named(void *context, const char *file)
{
	const struct aside *aside = context;
	const char *name = file;

	/* "pyprep.KIND.NAME", or an array's data under NAME itself */
	if (strncmp(file, NAMED_PREFIX, strlen(NAMED_PREFIX)) == 0) {
		name = strchr(file + strlen(NAMED_PREFIX), '.');
		if (!name)
			return 0;
		name++;
	}
	if (is_ours(aside, name))
		(void)named_unlink(file);
	return 0;
}

/* Wait for what a part left behind: it was told to die, and came to us. */
static void
reap_all(void)
{
	uint64_t begun = clock_now();

	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);
		if (pid < 0 || clock_now() - begun > REAP_NS)
			return;
		if (pid == 0)
			nanosleep(&(struct timespec){ .tv_nsec = (long)NS_PER_MS }, NULL);
	}
}

/* The signals this process waits for instead of being interrupted; not those that its
 * starter made it ignore (nohup). */
static void
waited_signals(sigset_t *ret)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action;

	sigemptyset(ret);
	sigaddset(ret, SIGCHLD);
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
		if (sigaction(ends[i], NULL, &action) < 0 || action.sa_handler != SIG_IGN)
			sigaddset(ret, ends[i]);
}

int
aside_open(struct aside *aside, const char *what)
{
	sigset_t set;

	snprintf(aside->label, sizeof aside->label, "%.16s-%d", what, (int)getpid());
	snprintf(aside->directory, sizeof aside->directory, "/tmp/pyprep-%s-XXXXXX", aside->label);
	waited_signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL); /* first: who ends us must not leave the directory */
	if (!mkdtemp(aside->directory))
		return ctl_fail(EXIT_OURS, "internal", "cannot make a directory in /tmp: %s",
				strerror(errno));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return 0;
}

void
aside_close(struct aside *aside)
{
	reap_all();
	(void)nftw(aside->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	(void)named_each("", remove_named, aside);
}

/* ---- one part ---- */

static _Noreturn void
part_main(int (*part)(void *context), void *context)
{
	sigset_t set;

	waited_signals(&set);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	int status = part(context);
	fflush(stdout);
	_exit(status);
}

/* Until the part's process has ended, its time is over, or a signal asks us to end. */
static struct aside_result
wait_part(pid_t pid, unsigned patience_s)
{
	uint64_t begun = clock_now();
	sigset_t set;
	int status;

	waited_signals(&set);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		int number = sigtimedwait(&set, NULL, &(struct timespec){ .tv_sec = 1 });
		bool late = clock_now() - begun > patience_s * NS_PER_S;
		if ((number < 0 || number == SIGCHLD) && !late)
			continue;
		floor_kill(pid);
		return (struct aside_result){ late ? ASIDE_LATE : ASIDE_INTERRUPTED, number };
	}
	if (WIFSIGNALED(status))
		return (struct aside_result){ ASIDE_DIED, WTERMSIG(status) };
	return (struct aside_result){ ASIDE_ENDED, WEXITSTATUS(status) };
}

struct aside_result
aside_run(const struct aside *aside, int (*part)(void *context), void *context, unsigned patience_s)
{
	(void)aside;
	fflush(stdout);
	fflush(stderr);
	pid_t pid = floor_fork();
	if (pid == 0)
		part_main(part, context);
	if (pid < 0)
		return (struct aside_result){ ASIDE_DIED, 0 };
	struct aside_result result = wait_part(pid, patience_s);
	reap_all();
	return result;
}
