/*
 * command.c - the worker's life as a runner of commands: take a request, start its program, watch
 * it (watch.c), publish what became of it.
 *
 * Nothing here has a thread, and nothing here is shared but the link.
 *
 * How a command is measured (USAGE_TREE): on-CPU and run-queue time are its main process's, from
 * /proc/PID/schedstat while it is a zombie; blocked is the rest of the run, also when children of
 * it worked meanwhile.  User and system time, faults and switches are wait4's: the main process and
 * those children that it waited for itself.  Peak memory is wait4's too, the largest single process
 * of these.  The kernel counts it from this worker's own size on (it is what called execve), so a
 * smaller command shows as that size: read it as "at most".
 */
#include "daemon/executor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/args.h"
#include "daemon/config.h"
#include "daemon/context.h"
#include "daemon/executors/account.h"
#include "daemon/executors/program.h"
#include "daemon/executors/watch.h"
#include "daemon/log.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"

#define ARGV_PARAM      0
#define MESSAGE_MAX     512
#define EXIT_NOT_FOUND  127
#define EXIT_CANNOT_RUN 126

/* What a command is started with, and what it ends with. */
struct command {
	struct run run;
	struct program program;
	struct context context;
	struct account account;
	char path[PATH_MAX];
	char message[MESSAGE_MAX];
	char variables[3][PATH_MAX + 32]; /* of its environment, that are ours */
	uint32_t limit;                   /* RECEIPT_LIMIT_*: what bounds its memory */
};

/* ---- outcomes ---- */

static void __attribute__((format(printf, 4, 5)))
fail(struct command *cmd, enum job_cause cause, int value, const char *format, ...)
{
	va_list args;

	cmd->run.outcome.state = JOB_FAILED;
	cmd->run.outcome.cause = cause;
	cmd->run.outcome.cause_value = value;
	cmd->run.outcome.error = cause == CAUSE_OOM ? ERR_OOM : ERR_RUN;
	va_start(args, format);
	vsnprintf(cmd->message, sizeof(cmd->message), format, args);
	va_end(args);
}

static void
cannot_execute(struct command *cmd, int error)
{
	const char *name = cmd->program.argv[0];

	if (error == ENOMEM && cmd->limit != 0)
		fail(cmd, CAUSE_OOM, 0, "%.200s: its memory limit is too small to start it", name);
	else if (error == ENOENT || error == ENOTDIR)
		fail(cmd, CAUSE_EXIT, EXIT_NOT_FOUND, "%.200s: not found", name);
	else if (error == EACCES)
		fail(cmd, CAUSE_EXIT, EXIT_CANNOT_RUN, "%.200s: permission denied", name);
	else
		fail(cmd, CAUSE_EXIT, EXIT_CANNOT_RUN, "%.200s: cannot be run: %s", name,
		     strerror(error));
}

static void
cannot_start(struct command *cmd, struct start_failure f)
{
	const char *why = strerror(f.error);

	switch (f.step) {
	case START_EXEC:
		cannot_execute(cmd, f.error);
		break;
	case START_CWD:
		fail(cmd, CAUSE_ERROR, 0, "cannot enter the directory %.200s: %s", cmd->program.cwd,
		     why);
		break;
	case START_GROUP:
	case START_LIMIT:
		fail(cmd, CAUSE_ERROR, 0, "its memory limit cannot be set: %s; it was not run",
		     why);
		break;
	case START_ACCOUNT:
		fail(cmd, CAUSE_ERROR, 0, "cannot become user %u: %s; the command was not run",
		     cmd->run.body->uid, why);
		break;
	default:
		fail(cmd, CAUSE_ERROR, 0, "cannot start a process: %s", why);
	}
}

static void
was_stopped(struct command *cmd)
{
	struct outcome *o = &cmd->run.outcome;

	o->cause = (uint8_t)cmd->run.stop_reason;
	if (cmd->run.stop_reason == CAUSE_TIMEOUT) {
		o->state = JOB_TIMED_OUT;
		o->error = ERR_TIMED_OUT;
		snprintf(cmd->message, sizeof(cmd->message), "stopped after its timeout of %.3f s",
			 (double)cmd->run.body->timeout_ns / (double)NS_PER_S);
	} else {
		o->state = JOB_CANCELLED;
		o->error = ERR_CANCELLED;
		snprintf(cmd->message, sizeof(cmd->message), "cancelled while it ran");
	}
}

/* What the kernel killed for want of memory, and that made the command fail.  One that copes with
 * the death of a child has ended as it says. */
static bool
was_out_of_memory(struct command *cmd, int status)
{
	uint64_t killed = status == 0 ? 0 : cgroup_run_oom(&cmd->run.runner->group);

	if (killed == 0)
		return false;
	fail(cmd, CAUSE_OOM, SIGKILL,
	     "the kernel killed %llu of its processes at the limit of %llu bytes",
	     (unsigned long long)killed, (unsigned long long)cmd->run.body->memory_bytes);
	return true;
}

static void
has_ended(struct command *cmd)
{
	int status = cmd->run.status;

	if (cmd->run.stop_reason != 0) {
		was_stopped(cmd);
	} else if (was_out_of_memory(cmd, status)) {
		return;
	} else if (WIFSIGNALED(status)) {
		const char *name = sigdescr_np(WTERMSIG(status));
		fail(cmd, CAUSE_SIGNAL, WTERMSIG(status), "killed by signal %d (%s)",
		     WTERMSIG(status), name != NULL ? name : "real-time signal");
	} else if (WEXITSTATUS(status) != 0) {
		fail(cmd, CAUSE_EXIT, WEXITSTATUS(status), "exited with status %d",
		     WEXITSTATUS(status));
	} else {
		cmd->run.outcome.state = JOB_SUCCEEDED;
		cmd->run.outcome.cause = CAUSE_EXIT;
	}
}

static void
publish(struct command *cmd)
{
	struct runner *r = cmd->run.runner;
	struct result_body result = {
		.ticket = cmd->run.body->ticket,
		.outcome = cmd->run.outcome,
	};

	if (result.outcome.ended_ns == 0)
		result.outcome.ended_ns = clock_now();
	result.outcome.message_length = (uint32_t)strlen(cmd->message);
	if (cmd->run.outputs[0].truncated || cmd->run.outputs[1].truncated)
		result.flags |= RECEIPT_TRUNCATED;
	result.flags =
		run_result_flags(r->worker, result.flags | cmd->limit, result.outcome.ended_ns);
	watch_room(r, (uint32_t)sizeof(result) + result.outcome.message_length);
	link_finish(&r->worker->link, &result, NULL, cmd->message);
}

/* What it left behind, which is gone by now. */
static void
tell_left(struct command *cmd)
{
	struct runner *r = cmd->run.runner;
	struct left_body left = {
		.ticket = cmd->run.body->ticket,
		.kind = cmd->run.body->kind,
		.processes = (uint32_t)cmd->run.left,
	};
	struct scratch_count count = { 0 };

	if (r->scratch.home != NULL &&
	    scratch_clear(&r->scratch, cmd->program.account == NULL, &count))
		worker_litters(r->worker);
	left.files = count.files;
	left.bytes = count.bytes;
	left.flags = count.more ? LEFT_MORE : 0;
	if (left.processes == 0 && left.files == 0 && !count.more)
		return;
	watch_room(r, (uint32_t)sizeof(left));
	run_tell_left(r->worker, &left);
}

/* ---- starting ---- */

static int
prepare_context(struct command *cmd, const struct run_request *q)
{
	const struct runner *r = cmd->run.runner;
	int e = 0;

	if (q->run.context_length > 0)
		e = context_read(q->tail + q->run.args_length, q->run.context_length,
				 &cmd->context);
	const struct context *c = q->run.context_length > 0 ? &cmd->context : &r->context;
	if (e < 0) {
		fail(cmd, CAUSE_ERROR, 0, "the client's context cannot be read: %s", strerror(-e));
		return e;
	}
	cmd->program.cwd = c->cwd;
	cmd->program.umask = c->umask;
	cmd->program.envp = c->env;
	return 0;
}

/* Never as the wrong user: whoever is asked for and cannot be had is a failure. */
static int
prepare_account(struct command *cmd, const struct run_body *run)
{
	if ((run->flags & RUN_DROP_TO_USER) == 0 ||
	    (geteuid() != 0 && run->uid == geteuid() && run->gid == getegid()))
		return 0;
	if (geteuid() != 0) {
		fail(cmd, CAUSE_ERROR, 0,
		     "cannot become user %u: the daemon does not run as root; the command was "
		     "not run",
		     run->uid);
		return -EPERM;
	}
	int e = account_look_up(run->uid, run->gid, &cmd->account);
	if (e == -ENOENT)
		fail(cmd, CAUSE_ERROR, 0, "user %u has no account here; the command was not run",
		     run->uid);
	else if (e < 0)
		fail(cmd, CAUSE_ERROR, 0, "cannot look up user %u: %s; the command was not run",
		     run->uid, strerror(-e));
	else
		cmd->program.account = &cmd->account;
	return e;
}

/* The whole tree's memory in a cgroup, else that of each of its processes. */
static void
prepare_limits(struct command *cmd, const struct run_body *run)
{
	struct runner *r = cmd->run.runner;
	const struct cgroup *c = r->worker->cgroup;
	char name[POOL_NAME_MAX + 16];

	cmd->program.nice = run->nice;
	if (run->memory_bytes == 0)
		return;
	snprintf(name, sizeof(name), "%s-%u", r->worker->pool->name, r->worker->slot);
	int e = c == NULL || c->version == CGROUP_NONE
			? -ENOENT
			: cgroup_run_open(&r->group, c, name, run->memory_bytes);
	if (e == 0) {
		cmd->program.group = r->group.procs;
		cmd->limit = RECEIPT_LIMIT_CGROUP;
		return;
	}
	if (c != NULL && c->version != CGROUP_NONE)
		log_warn("job %llu: no cgroup for its memory limit: %s; RLIMIT_AS it is",
			 (unsigned long long)run->id, strerror(-e));
	cmd->program.address_space = run->memory_bytes;
	cmd->limit = RECEIPT_LIMIT_PROCESS;
}

/* Its own variables, and its directory: emptied, or made.  Without one (a full disk) it runs all
 * the same. */
static char **
make_environment(struct command *cmd, const struct run_body *run)
{
	struct scratch *s = &cmd->run.runner->scratch;
	bool other = cmd->program.account != NULL;
	char *more[3] = { cmd->variables[0], cmd->variables[1], cmd->variables[2] };
	int e = s->home == NULL ? -ENOENT : scratch_take(s, other, run->uid, run->gid);

	if (e < 0 && s->home != NULL)
		log_warn("job %llu: no scratch directory: %s", (unsigned long long)run->id,
			 strerror(-e));
	snprintf(more[0], sizeof(cmd->variables[0]), "PYPREP_JOB=%llu",
		 (unsigned long long)run->id);
	snprintf(more[1], sizeof(cmd->variables[1]), "PYPREP_ATTEMPT=%u", run->attempt);
	snprintf(more[2], sizeof(cmd->variables[2]), "PYPREP_SCRATCH=%s", s->path);
	return context_extend(cmd->program.envp, more, e == 0 ? 3 : 2);
}

static char **
make_argv(const void *packed)
{
	uint32_t count;
	const char *at = args_list(packed, ARGV_PARAM, &count);
	char **argv = malloc(((size_t)count + 1) * sizeof(*argv));

	if (argv == NULL)
		return NULL;
	for (uint32_t i = 0; i < count; i++, at += strlen(at) + 1)
		argv[i] = (char *)(uintptr_t)at;
	argv[count] = NULL;
	return argv;
}

static int
open_outputs(struct command *cmd, int *ends)
{
	uint64_t cap = cmd->run.runner->worker->pool->output_cap;
	int e = output_open(&cmd->run.outputs[0], 1, cap, &ends[0]);

	if (e == 0)
		e = output_open(&cmd->run.outputs[1], 2, cap, &ends[1]);
	if (e < 0)
		fail(cmd, CAUSE_ERROR, 0, "cannot make a pipe for its output: %s", strerror(-e));
	return e;
}

/* 0 when the program runs. */
static int
start(struct command *cmd)
{
	struct runner *r = cmd->run.runner;
	scoped_fd out = -1, err = -1;
	int ends[2] = { -1, -1 };
	int e = open_outputs(cmd, ends);
	out = ends[0];
	err = ends[1];
	if (e < 0)
		return e;
	cmd->program.cpus = CPU_COUNT(&r->worker->usable) > 0 ? &r->worker->usable : NULL;
	cmd->program.stdio[0] = r->devnull;
	cmd->program.stdio[1] = out;
	cmd->program.stdio[2] = err;

	struct start_failure failure;
	cmd->run.pid = program_start(&r->starter, &cmd->program, &failure);
	if (cmd->run.pid < 0) {
		cannot_start(cmd, failure);
		return -failure.error;
	}
	return 0;
}

static void
run_job(struct command *cmd, const struct run_request *q)
{
	scoped_free char **argv = make_argv(q->tail);

	if (argv == NULL) {
		fail(cmd, CAUSE_ERROR, 0, "out of memory for its arguments");
		return;
	}
	cmd->program.argv = argv;
	if (prepare_context(cmd, q) < 0 || prepare_account(cmd, &q->run) < 0)
		return;
	int e = program_find(argv[0], context_variable(cmd->program.envp, "PATH"), cmd->program.cwd,
			     cmd->path, sizeof(cmd->path));
	if (e < 0) {
		cannot_execute(cmd, -e);
		return;
	}
	cmd->program.path = cmd->path;
	scoped_free char **env = make_environment(cmd, &q->run);
	if (env == NULL) {
		fail(cmd, CAUSE_ERROR, 0, "out of memory for its environment");
		return;
	}
	cmd->program.envp = env;
	prepare_limits(cmd, &q->run);
	if (start(cmd) == 0) {
		watch(&cmd->run);
		has_ended(cmd);
	}
}

static void
run_request(struct runner *r, const struct run_request *q)
{
	struct command cmd = {
		.program.group = -1,
		.run = { .runner = r,
			 .body = &q->run,
			 .outputs = { { .fd = -1 }, { .fd = -1 } },
			 .outcome = { .started_ns = clock_now(), .method = USAGE_NONE } },
	};

	run_job(&cmd, q);
	output_close(&cmd.run.outputs[0]);
	output_close(&cmd.run.outputs[1]);
	context_free(&cmd.context);
	account_free(&cmd.account);
	cgroup_run_close(&r->group);
	tell_left(&cmd);
	publish(&cmd);
}

/* ---- the worker ---- */

/* Signals that the worker ignores would stay ignored in the command: block them instead, which
 * keeps them from us as well, and leave every disposition at its default. */
static int
open_signals(void)
{
	sigset_t all, wanted;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGCHLD);
	sigaddset(&wanted, SIGTERM);
	int fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* Above 2, so that nothing of ours is where the command's stdin, stdout and stderr go. */
static int
open_devnull(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -errno;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}

/* The peak of this process so far is none of the commands'. */
static void
forget_peak_memory(void)
{
	scoped_fd fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, "5", 1);
}

/* Ask for a SIGTERM when the supervisor dies, in place of whatever end the role asked for: the
 * tree has to be killed first.  If it died before we asked, our parent is another one now. */
static int
follow_supervisor(struct runner *r)
{
	r->supervisor = getppid();
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return -errno;
	return getppid() == r->supervisor ? 0 : -ESRCH;
}

static int
runner_open(struct runner *r, struct worker *w)
{
	*r = (struct runner){ .worker = w, .group.procs = -1 };
	aside_init(&r->aside);
	r->devnull = open_devnull();
	if (r->devnull < 0)
		return r->devnull;
	r->signals = open_signals();
	if (r->signals < 0)
		return r->signals;
	int e = follow_supervisor(r);
	if (e == 0)
		e = context_default(&r->context);
	if (e == 0)
		e = starter_open(&r->starter);
	if (e == 0 && w->scratch_home != NULL) {
		char name[SCRATCH_NAME];
		snprintf(name, sizeof(name), "%s-%u", w->pool->name, w->slot);
		scratch_init(&r->scratch, w->scratch_home, name);
	}
	if (e == 0)
		forget_peak_memory();
	return e;
}

static void
runner_close(struct runner *r)
{
	starter_close(&r->starter);
	context_free(&r->context);
	aside_free(&r->aside);
	close(r->signals);
	close(r->devnull);
}

/* Run what waits; what the broker has taken back meanwhile is dropped. */
static void
run_backlog(struct runner *r)
{
	struct run_request *q;

	while (!r->ordered_out && !r->spoilt && (q = aside_pop(&r->aside)) != NULL) {
		if (link_claim(&r->worker->link, &q->run))
			run_request(r, q);
		free(q);
		watch_requests(r, NULL);
	}
}

int
command_run(struct worker *w)
{
	struct runner r;
	int e = runner_open(&r, w);

	if (e < 0) {
		log_error("command worker cannot start: %s", strerror(-e));
		return EXIT_FAILURE;
	}
	link_worker_ready(&w->link);
	while (!r.ordered_out && !r.spoilt) {
		if (link_wait(&w->link, w->control) == 0)
			break;
		watch_requests(&r, NULL);
		run_backlog(&r);
	}
	runner_close(&r);
	return r.spoilt ? EXIT_FAILURE : EXIT_SUCCESS;
}
