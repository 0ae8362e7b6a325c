/*
 * lock.c - pyprepctl lock run NAME -- CMD: a command that runs while this process holds a lock of
 * the manager; and lock ls.
 *
 * The lock is this process's: killed while it waits or holds, it loses both, and the command gets
 * SIGTERM (PR_SET_PDEATHSIG), since it is no longer alone.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/command.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_table.h"
#include "client/ctl/report.h"
#include "ipc/cleanup.h"

#define EXIT_NOT_RUNNABLE 126
#define EXIT_NOT_FOUND    127

static struct {
	uint64_t timeout_ns;
	uint64_t lease_ns;
} arg = { .timeout_ns = UINT64_MAX };

static const struct option_row options[] = {
	{ "timeout", 't', OPTION_DURATION, &arg.timeout_ns, "TIME",
	  "run: give up when it is not free within TIME (exit status 124); default: wait", 0, 0 },
	{ "lease", 0, OPTION_DURATION, &arg.lease_ns, "TIME",
	  "run: the lease, renewed meanwhile: how long a stopped holder keeps it (default 10 s)", 0,
	  0 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

static volatile sig_atomic_t stopped_by; /* SIGINT or SIGTERM while waiting */

static void
on_signal(int number)
{
	stopped_by = number;
}

static void
catch_signals(void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler }; /* no SA_RESTART: end the wait */

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

/* ---- the command ---- */

static _Noreturn void
be_command(char **argv, pid_t parent)
{
	sigset_t none;

	catch_signals(SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(EXIT_OURS);
	execvp(argv[0], argv);
	int error = errno;
	ctl_note("cannot run %s: %s", argv[0], strerror(error));
	_exit(error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUNNABLE);
}

static int
status_of(int status)
{
	return WIFSIGNALED(status) ? EXIT_SIGNALLED + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Signals that are for the command go to it, unless the terminal sent them to both. */
static void
pass_signal(int fd, pid_t pid)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof info) != sizeof info || info.ssi_signo == SIGCHLD)
		return;
	if (info.ssi_code != SI_KERNEL)
		kill(pid, (int)info.ssi_signo);
}

/* Until the command ends, renew the lease.  Its status as waitpid gives it. */
static int
attend(struct pyprep_manager *m, pid_t pid, int signals)
{
	struct pollfd pfd = { .fd = signals, .events = POLLIN };
	struct pyprep_problem why;
	bool lost = false;
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		int ms = lost ? -1 : pyprep_manager_due(m);
		if (poll(&pfd, 1, ms) > 0)
			pass_signal(signals, pid);
		if (!lost && pyprep_manager_tend(m, &why) < 0) {
			lost = true;
			ctl_note("%s; the command is no longer alone: ending it", why.message);
			kill(pid, SIGTERM);
		}
	}
	return status;
}

static int
run_command_alone(struct pyprep_manager *m, char **argv)
{
	sigset_t set;
	pid_t self = getpid();

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	scoped_fd signals = signalfd(-1, &set, SFD_CLOEXEC);
	pid_t pid = signals < 0 ? -1 : fork();
	if (pid < 0)
		return ctl_fail(EXIT_OURS, "internal", "cannot start %s: %s", argv[0],
				strerror(errno));
	if (pid == 0)
		be_command(argv, self);
	return status_of(attend(m, pid, signals));
}

/* ---- run ---- */

static int
wait_problem(const char *name, struct pyprep_problem *why)
{
	if (stopped_by != 0)
		return EXIT_SIGNALLED + stopped_by;
	if (why->exit_status == EXIT_TIMED_OUT)
		return ctl_fail(EXIT_TIMED_OUT, why->code,
				"lock '%s' was not free within the timeout; pyprepctl lock ls "
				"shows who holds it",
				name);
	return ctl_fail_problem(why);
}

static int
take(struct pyprep_manager *m, const char *name, int64_t *ret_fence)
{
	struct pyprep_problem why = { 0 };
	uint64_t ms = arg.timeout_ns / 1000000;
	int timeout_ms = arg.timeout_ns == UINT64_MAX ? -1 : ms > INT_MAX ? INT_MAX : (int)ms;
	int r;

	do
		r = pyprep_manager_lock(m, name, timeout_ms, arg.lease_ns, ret_fence, &why);
	while (r == -EINTR && stopped_by == 0);
	return r < 0 ? wait_problem(name, &why) : 0;
}

static int
lock_run_with(struct pyprep_manager *m, const char *name, char **argv)
{
	struct pyprep_problem why;
	char fence_text[24];
	int64_t fence = 0;

	catch_signals(on_signal);
	int status = take(m, name, &fence);
	if (status != 0)
		return status;
	snprintf(fence_text, sizeof fence_text, "%" PRId64, fence);
	setenv("PYPREP_LOCK_FENCE", fence_text, 1);
	status = run_command_alone(m, argv);
	int r = pyprep_manager_unlock(m, name, &why);
	if (ctl.json)
		json_print_line(json_pack(
			"{s:s, s:s, s:o, s:i, s:b}", "schema", "pyprep.lock_run/1", "lock", name,
			"fence", json_of_i64(fence), "exit", status, "lost", r == -ENOLCK));
	if (r < 0)
		ctl_note("%s", why.message);
	return status;
}

static int
lock_run(const struct words *words)
{
	struct pyprep_manager *m;
	struct pyprep_problem why;

	if (words->count != 2 || words->rest_count == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"write: pyprepctl lock run NAME -- CMD ARGS ...");
	if (pyprep_manager_connect(ctl.runtime_dir, &m, &why) < 0)
		return ctl_fail_problem(&why);
	int status = lock_run_with(m, words->word[1], words->rest);
	pyprep_manager_close(m);
	return status;
}

/* ---- ls ---- */

static int
list_one(void *context, const struct pyprep_lock *lock)
{
	struct table *table = context;

	if (ctl.json) {
		json_print_line(json_pack(
			"{s:s, s:s, s:o, s:i, s:o, s:i}", "schema", "pyprep.lock/1", "name",
			lock->name, "fence", json_of_i64(lock->fence), "pid", lock->holder_pid,
			"lease_ns", json_of_u64(lock->lease_ns), "waiters", (int)lock->waiters));
		return 0;
	}
	table_text(table, COLOUR_NONE, "%s", lock->name);
	table_text(table, COLOUR_NONE, "%d", lock->holder_pid);
	table_number(table, lock->fence);
	table_time(table, lock->lease_ns);
	table_number(table, (int64_t)lock->waiters);
	return 0;
}

static int
lock_list(const struct words *words)
{
	static const struct column columns[] = {
		{ "lock", COLUMN_TEXT, 0 },      { "held by pid", COLUMN_TEXT, 0 },
		{ "fence", COLUMN_NUMBER, 0 },   { "lease left", COLUMN_TIME, 0 },
		{ "waiters", COLUMN_NUMBER, 0 },
	};
	struct pyprep_manager *m;
	struct pyprep_problem why;
	struct table table;

	if (words->count != 1 || words->rest_count != 0)
		return ctl_fail(EXIT_USAGE, "usage", "write: pyprepctl lock ls");
	if (pyprep_manager_connect(ctl.runtime_dir, &m, &why) < 0)
		return ctl_fail_problem(&why);
	table_begin(&table, columns, sizeof columns / sizeof columns[0], false);
	int r = pyprep_manager_locks(m, list_one, &table, &why);
	table_print(&table);
	pyprep_manager_close(m);
	return r < 0 ? ctl_fail_problem(&why) : 0;
}

static int
lock_main(const struct words *words)
{
	if (words->count > 0 && strcmp(words->word[0], "run") == 0)
		return lock_run(words);
	if (words->count > 0 && strcmp(words->word[0], "ls") == 0)
		return lock_list(words);
	return ctl_fail(EXIT_USAGE, "usage", "lock takes run or ls%s%s%s",
			words->count > 0 ? ", not '" : "", words->count > 0 ? words->word[0] : "",
			words->count > 0 ? "'" : "");
}

extern const struct command command_lock;
const struct command command_lock = {
	.name = "lock",
	.args = "run NAME [--timeout TIME] [--lease TIME] -- CMD ARGS ... | ls",
	.summary = "run a command while holding a lock; list the locks that are held",
	.examples = "  pyprepctl lock run deploy -- ./deploy.sh\n"
		    "  pyprepctl lock run --timeout 5 nightly -- make backup\n"
		    "  pyprepctl lock ls\n",
	.more = "The lock is held by pyprepctl and renewed by it.  It is free again when the "
		"command\n"
		"ends, at once when pyprepctl is killed (the command then gets SIGTERM), and when "
		"the\n"
		"lease ends because pyprepctl was stopped for longer.  Waiters get it in the order "
		"they\n"
		"came.  The command finds in PYPREP_LOCK_FENCE a number that is higher with each "
		"grant.\n"
		"Exit status: the command's own, 128+N for signal N; 124 not free within "
		"--timeout;\n"
		"126, 127 the command cannot be run; 75 the manager does not answer.\n",
	.options = options,
	.complete = COMPLETE_WORDS,
	.choices = "run ls",
	.run = lock_main,
};
