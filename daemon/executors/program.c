/* program.c - see program.h */
#include "daemon/executors/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_BYTES  65536u
#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"

/* The child shares the parent's memory, but not the stack that the sanitizers know. */
#define IN_CHILD __attribute__((no_sanitize("address", "thread", "undefined")))

struct child {
	const struct program *program;
	struct start_failure *report;
	pid_t parent;
};

int
starter_open(struct starter *s)
{
	void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	void *report = mmap(NULL, sizeof(struct start_failure), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED) {
		int r = -errno;
		munmap(stack, STACK_BYTES);
		return r;
	}
	*s = (struct starter){ .stack = stack, .report = report };
	return 0;
}

void
starter_close(struct starter *s)
{
	munmap(s->stack, STACK_BYTES);
	munmap(s->report, sizeof(struct start_failure));
}

/* ---- in the child: system calls only ---- */

/* Raw calls: libc's would do it in all threads of the memory's owner. */
IN_CHILD static bool
become(const struct account *i)
{
	return syscall(SYS_setgroups, i->group_count, i->groups) == 0 &&
	       syscall(SYS_setresgid, i->gid, i->gid, i->gid) == 0 &&
	       syscall(SYS_setresuid, i->uid, i->uid, i->uid) == 0 && getuid() == i->uid &&
	       geteuid() == i->uid && getgid() == i->gid && getegid() == i->gid;
}

/* Where it is forbidden (a seccomp filter), the program runs as others do. */
IN_CHILD static void
be_nice(int more)
{
	/* The raw call gives 20 - nice, and no -1 that is none. */
	int now = 20 - (int)syscall(SYS_getpriority, PRIO_PROCESS, 0);

	(void)syscall(SYS_setpriority, PRIO_PROCESS, 0, now + more);
}

IN_CHILD static enum start_step
prepare_and_exec(const struct program *q, pid_t parent)
{
	/* As who we are: another user may not.  "0" is who writes it. */
	if (q->group >= 0 && write(q->group, "0", 1) != 1)
		return START_GROUP;
	if (q->nice > 0)
		be_nice(q->nice);
	if (setsid() < 0)
		return START_SESSION;
	if (q->account != NULL && !become(q->account))
		return START_ACCOUNT;
	/* After the change of user, which takes the order back. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return START_SESSION;
	if (getppid() != parent)
		_exit(127);
	umask(q->umask);
	if (chdir(q->cwd) < 0)
		return START_CWD;
	for (int i = 0; i < 3; i++)
		if (dup2(q->stdio[i], i) < 0)
			return START_STDIO;
	if (syscall(SYS_close_range, 3, ~0U, 0) < 0 && errno != ENOSYS)
		return START_STDIO;
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (q->cpus != NULL)
		(void)syscall(SYS_sched_setaffinity, 0, sizeof(*q->cpus), q->cpus);
	struct rlimit space = { q->address_space, q->address_space };
	if (q->address_space != 0 && setrlimit(RLIMIT_AS, &space) < 0)
		return START_LIMIT;
	execve(q->path, q->argv, q->envp);
	return START_EXEC;
}

IN_CHILD static int
child_main(void *argument)
{
	struct child *c = argument;

	c->report->step = prepare_and_exec(c->program, c->parent);
	c->report->error = errno;
	_exit(127);
}

/* ---- in the parent ---- */

pid_t
program_start(struct starter *s, const struct program *program, struct start_failure *failure)
{
	struct child c = { .program = program, .report = s->report, .parent = getpid() };
	int share = program->account == NULL ? CLONE_VM : 0;

	*s->report = (struct start_failure){ 0 };
	pid_t pid = clone(child_main, (char *)s->stack + STACK_BYTES, share | CLONE_VFORK | SIGCHLD,
			  &c);
	if (pid < 0) {
		*failure = (struct start_failure){ START_CLONE, errno };
		return -1;
	}
	*failure = *(volatile struct start_failure *)s->report;
	if (failure->error == 0)
		return pid;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return -1;
}

/* 0, or why this file cannot be the one. */
static int
check_executable(const char *path)
{
	struct stat st;

	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0)
		return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? 0 : -EACCES;
	/* A directory of the path that we may not enter holds nothing for us. */
	return errno == EACCES && stat(path, &st) == 0 ? -EACCES : -ENOENT;
}

int
program_find(const char *name, const char *path, const char *cwd, char *buffer, size_t size)
{
	if (name[0] == '\0')
		return -ENOENT;
	if (strchr(name, '/') != NULL)
		return (size_t)snprintf(buffer, size, "%s", name) < size ? 0 : -ENAMETOOLONG;
	if (path == NULL)
		path = PATH_DEFAULT;

	int result = -ENOENT;
	for (const char *at = path;; at++) {
		size_t length = strcspn(at, ":");
		bool relative = length == 0 || at[0] != '/';
		int n = snprintf(buffer, size, "%s%s%.*s%s%s", relative ? cwd : "",
				 relative ? "/" : "", (int)length, at, length > 0 ? "/" : "", name);
		int r = (size_t)n < size ? check_executable(buffer) : -ENAMETOOLONG;
		if (r == 0)
			return 0;
		if (r == -EACCES)
			result = r;
		at += length;
		if (*at == '\0')
			return result;
	}
}
