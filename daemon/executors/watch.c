/* watch.c - see watch.h */
#include "daemon/executors/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/executors/tree.h"
#include "daemon/log.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"

#define KILL_ROUND_MS    10
#define KILL_PATIENCE_NS (10 * NS_PER_S)
#define LAST_KILL_NS     (10 * NS_PER_S) /* the supervisor is dead, and the next one waits for us */

/* ---- the supervisor's death ---- */

/* Reap what is there; false when no child is left at all. */
static bool
reap_any(void)
{
	pid_t pid;
	do
		pid = waitpid(-1, NULL, WNOHANG);
	while (pid > 0);
	return pid == 0;
}

static _Noreturn void
die_with_the_tree(struct runner *r)
{
	uint64_t end = clock_now() + LAST_KILL_NS;

	while (clock_now() < end) {
		tree_signal(SIGKILL);
		if (!reap_any())
			break;
		poll(NULL, 0, 1);
	}
	struct scratch_count count;
	if (r->scratch.home != NULL)
		(void)scratch_clear(&r->scratch, false, &count);
	cgroup_run_close_last(&r->group);
	_exit(EXIT_FAILURE);
}

/* Take what signals there are; true when a child has ended.  A SIGTERM counts only as the
 * kernel's news that the supervisor died: anybody else's is ignored. */
static bool
take_signals(struct runner *r)
{
	struct signalfd_siginfo infos[4];
	ssize_t n = read(r->signals, infos, sizeof(infos));
	bool child = false;

	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(infos[0]); i++) {
		if (infos[i].ssi_signo == SIGCHLD)
			child = true;
		else if (getppid() != r->supervisor)
			die_with_the_tree(r);
	}
	return child;
}

/* ---- the end of processes ---- */

/* The main process is a zombie yet: its schedstat is still there, and final. */
static void
read_schedstat(pid_t pid, struct usage *u)
{
	char path[32], text[96];
	unsigned long long oncpu, runqueue;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	scoped_fd fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return;
	text[n] = '\0';
	if (sscanf(text, "%llu %llu", &oncpu, &runqueue) == 2) {
		u->oncpu_ns = oncpu;
		u->runqueue_ns = runqueue;
	}
}

static uint64_t
ns_of(struct timeval t)
{
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_usec * NS_PER_US;
}

static void
reap_main(struct run *c)
{
	struct usage *u = &c->outcome.usage;
	struct rusage ru;

	read_schedstat(c->pid, u);
	if (wait4(c->pid, &c->status, 0, &ru) != c->pid)
		return;
	c->exited = true;
	u->user_ns = ns_of(ru.ru_utime);
	u->system_ns = ns_of(ru.ru_stime);
	/* The kernel starts it at the peak of the memory that called execve: this worker's,
	 * which is kept small.  What is above that is the command's own. */
	u->peak_memory_bytes = (uint64_t)ru.ru_maxrss * 1024;
	u->faults_minor = (uint32_t)ru.ru_minflt;
	u->faults_major = (uint32_t)ru.ru_majflt;
	u->switches_voluntary = (uint32_t)ru.ru_nvcsw;
	u->switches_involuntary = (uint32_t)ru.ru_nivcsw;
}

static void
reap(struct run *c)
{
	for (;;) {
		siginfo_t info = { 0 };
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
			c->childless = errno == ECHILD;
			return;
		}
		if (info.si_pid == 0)
			return;
		if (info.si_pid == c->pid)
			reap_main(c);
		else
			waitpid(info.si_pid, NULL, 0);
	}
}

static void
begin_killing(struct run *c)
{
	c->phase = RUN_KILLING;
	c->deadline_ns = clock_now() + KILL_PATIENCE_NS;
}

/* A process of another user (sudo), or one that the kernel cannot end. */
static void
give_up(struct run *c, size_t left)
{
	log_error("command pid %d of job %llu: %zu of its processes cannot be killed; this worker "
		  "ends, a new one takes its place",
		  c->pid, (unsigned long long)c->body->id, left);
	c->runner->spoilt = true;
	c->childless = true;
}

static void
advance(struct run *c)
{
	if (c->childless)
		return;
	if (c->phase == RUN_GOING && c->exited)
		begin_killing(c);
	if (c->phase == RUN_TERMINATING && clock_now() >= c->deadline_ns)
		begin_killing(c);
	if (c->phase != RUN_KILLING)
		return;
	size_t left = tree_signal(SIGKILL);
	if (c->stop_reason == 0 && left > c->left)
		c->left = left;
	reap(c);
	if (!c->childless && clock_now() >= c->deadline_ns)
		give_up(c, left);
}

static void
stop(struct run *c, unsigned reason)
{
	if (c->phase != RUN_GOING || c->exited)
		return;
	reap(c);
	if (c->exited)
		return; /* it ended by itself before: its real result counts */
	c->stop_reason = reason;
	c->phase = RUN_TERMINATING;
	c->deadline_ns = clock_now() + c->runner->worker->pool->grace_ns;
	tree_signal(SIGTERM);
}

/* ---- requests ---- */

static void
refuse(struct runner *r, const struct run_body *run, int error)
{
	if (!link_claim(&r->worker->link, run))
		return;
	static const char text[] = "the worker cannot take this request in";
	uint64_t now = clock_now();
	struct result_body result = {
		.ticket = run->ticket,
		.outcome = { .started_ns = now,
			     .ended_ns = now,
			     .state = JOB_FAILED,
			     .cause = CAUSE_ERROR,
			     .error = ERR_INTERNAL,
			     .method = USAGE_NONE,
			     .message_length = sizeof(text) - 1 },
	};
	log_error("job %llu: request refused: errno %d", (unsigned long long)run->id, -error);
	watch_room(r, sizeof(result) + sizeof(text));
	link_finish(&r->worker->link, &result, NULL, text);
}

void
watch_requests(struct runner *r, struct run *c)
{
	struct link_worker *l = &r->worker->link;
	const struct ring_record *record;

	while ((record = link_peek(l)) != NULL) {
		const void *body = record->body;
		if (record->type == MSG_RUN) {
			int e = aside_push(&r->aside, body, record->length);
			if (e < 0)
				refuse(r, body, e);
		} else if (record->type == MSG_STOP) {
			const struct stop_body *order = body;
			if (c != NULL && order->ticket == c->body->ticket)
				stop(c, order->reason);
		}
		link_release(l, record);
	}
}

void
watch_room(struct runner *r, uint32_t length)
{
	struct link_worker *l = &r->worker->link;

	while (!link_ask_room(l, length)) {
		struct pollfd p[3] = {
			{ .fd = r->signals, .events = POLLIN },
			{ .fd = l->bell, .events = POLLIN },
			{ .fd = link_room_fd(l), .events = POLLIN },
		};
		poll(p, 3, -1);
		if (p[0].revents != 0)
			take_signals(r);
		if (p[1].revents != 0)
			bell_clear(l->bell);
	}
}

/* ---- waiting ---- */

enum {
	AT_SIGNALS,
	AT_BELL,
	AT_REQUESTS,
	AT_ROOM,
	AT_CONTROL,
	AT_OUTPUTS,
	AT_COUNT = AT_OUTPUTS + 2
};

static int
timeout_ms(const struct run *c)
{
	if (c->phase == RUN_GOING)
		return -1;
	if (c->phase == RUN_KILLING)
		return KILL_ROUND_MS;
	uint64_t now = clock_now();
	return now >= c->deadline_ns ? 0 : (int)((c->deadline_ns - now) / NS_PER_MS) + 1;
}

static void
sleep_on(struct run *c, struct pollfd *p)
{
	struct link_worker *l = &c->runner->worker->link;

	for (int i = 0; i < 2; i++) {
		struct output *o = &c->outputs[i];
		if (o->fd < 0 || output_has_room(o, l))
			continue;
		p[AT_OUTPUTS + i].fd = -1;
		p[AT_ROOM].fd = link_room_fd(l);
	}
	wake_arm(&l->shared->worker);
	if (!link_has_request(l) && poll(p, AT_COUNT, timeout_ms(c)) < 0)
		for (int i = 0; i < AT_COUNT; i++)
			p[i].revents = 0;
	wake_disarm(&l->shared->worker);
}

static void
move_outputs(struct run *c, const struct pollfd *p)
{
	struct link_worker *l = &c->runner->worker->link;

	for (int i = 0; i < 2; i++) {
		struct output *o = &c->outputs[i];
		if (p[i].revents == 0)
			continue;
		if ((p[i].revents & POLLIN) == 0)
			output_close(o);        /* the last writer is gone, and all has been read */
		else if (output_has_room(o, l)) /* the other stream may have taken it */
			output_move(o, l, c->body->ticket, c->runner->devnull);
	}
}

static void
wait_for_something(struct run *c)
{
	struct runner *r = c->runner;
	struct link_worker *l = &r->worker->link;
	struct pollfd p[AT_COUNT] = {
		[AT_SIGNALS] = { .fd = r->signals, .events = POLLIN },
		[AT_BELL] = { .fd = l->bell, .events = POLLIN },
		[AT_REQUESTS] = { .fd = link_request_fd(l), .events = POLLIN },
		[AT_ROOM] = { .fd = -1, .events = POLLIN },
		/* Once is enough: it stays readable. */
		[AT_CONTROL] = { .fd = r->ordered_out ? -1 : r->worker->control, .events = POLLIN },
		[AT_OUTPUTS] = { .fd = c->outputs[0].fd, .events = POLLIN },
		[AT_OUTPUTS + 1] = { .fd = c->outputs[1].fd, .events = POLLIN },
	};

	sleep_on(c, p);
	if (p[AT_BELL].revents != 0)
		bell_clear(l->bell);
	if (p[AT_CONTROL].revents != 0)
		r->ordered_out = true;
	move_outputs(c, p + AT_OUTPUTS);
	if (p[AT_SIGNALS].revents != 0 && take_signals(r))
		reap(c);
	watch_requests(r, c);
}

/* All writers of the tree are dead.  Whoever else may hold the pipe (it can be passed on by a
 * socket) is not waited for. */
static void
drain(struct run *c, struct output *o)
{
	struct runner *r = c->runner;
	struct link_worker *l = &r->worker->link;

	for (uint32_t left = output_waiting(o); left > 0 && o->fd >= 0;) {
		watch_room(r, sizeof(struct output_body) + OUTPUT_CHUNK);
		output_move(o, l, c->body->ticket, r->devnull);
		uint32_t now = output_waiting(o);
		left = now < left ? now : 0;
	}
	output_close(o);
}

static void
account(struct run *c)
{
	struct usage *u = &c->outcome.usage;
	uint64_t run_ns = c->outcome.ended_ns - c->outcome.started_ns;

	if (u->oncpu_ns > run_ns)
		u->oncpu_ns = run_ns;
	if (u->runqueue_ns > run_ns - u->oncpu_ns)
		u->runqueue_ns = run_ns - u->oncpu_ns;
	u->blocked_ns = run_ns - u->oncpu_ns - u->runqueue_ns;
	c->outcome.method = USAGE_TREE;
}

void
watch(struct run *c)
{
	while (!c->childless) {
		wait_for_something(c);
		advance(c);
	}
	c->outcome.ended_ns = clock_now();
	account(c);
	drain(c, &c->outputs[0]);
	drain(c, &c->outputs[1]);
}
