/* compare_together.c - processes that begin together, each measuring itself. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/compare.h"
#include "client/ctl/floor.h"
#include "ipc/clock.h"

#define MEMBERS_MAX 64

/* Shared.  Each member writes its own; `ready` is everybody's. */
struct meeting {
	_Atomic unsigned ready;
	unsigned count;
	struct {
		uint64_t begun_ns, ended_ns;
		double cpu_s;
	} members[MEMBERS_MAX];
};

static double
own_cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct member {
	member_fn prepare, run;
	void *context;
};

static _Noreturn void
member_main(struct meeting *meeting, unsigned index, const struct member *member)
{
	int status = member->prepare ? member->prepare(member->context, index) : 0;
	if (status != 0)
		_exit(status);
	atomic_fetch_add(&meeting->ready, 1);
	while (atomic_load(&meeting->ready) < meeting->count)
		sched_yield();
	double cpu_s = own_cpu_s();
	meeting->members[index].begun_ns = clock_now();
	status = member->run(member->context, index);
	meeting->members[index].ended_ns = clock_now();
	meeting->members[index].cpu_s = own_cpu_s() - cpu_s;
	_exit(status);
}

/* Start those that can be started; how many. */
static unsigned
start(struct meeting *meeting, const struct member *member, pid_t *pids)
{
	unsigned started = 0;

	while (started < meeting->count) {
		pid_t pid = floor_fork();
		if (pid == 0)
			member_main(meeting, started, member);
		if (pid < 0)
			break;
		pids[started++] = pid;
	}
	return started;
}

static void
kill_rest(const pid_t *pids, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
}

static void
strike(pid_t *pids, unsigned count, pid_t pid)
{
	for (unsigned i = 0; i < count; i++)
		if (pids[i] == pid)
			pids[i] = 0;
}

/* All have to succeed: the first that does not ends the others, which may wait for it. */
static int
wait_for(struct way *way, pid_t *pids, unsigned count)
{
	int status, r = 0;

	for (unsigned left = count; left > 0; left--) {
		pid_t pid;
		while ((pid = waitpid(-1, &status, 0)) < 0 && errno == EINTR)
			;
		if (pid < 0)
			return way_problem(way, "cannot wait: %s", strerror(errno));
		strike(pids, count, pid);
		if (status == 0 || r < 0)
			continue;
		r = way_problem(way, "a process ended with status %d", WEXITSTATUS(status));
		kill_rest(pids, count);
	}
	return r;
}

static void
add_up(const struct meeting *meeting, struct together *ret)
{
	uint64_t begun = UINT64_MAX, ended = 0;

	*ret = (struct together){ 0 };
	for (unsigned i = 0; i < meeting->count; i++) {
		if (meeting->members[i].begun_ns < begun)
			begun = meeting->members[i].begun_ns;
		if (meeting->members[i].ended_ns > ended)
			ended = meeting->members[i].ended_ns;
		ret->cpu_s += meeting->members[i].cpu_s;
	}
	ret->seconds = (double)(ended - begun) / (double)NS_PER_S;
}

int
together_run(struct way *way, unsigned count, member_fn prepare, member_fn run, void *context,
	     struct together *ret)
{
	const struct member member = { prepare, run, context };
	struct meeting *meeting = floor_share(sizeof *meeting);
	pid_t pids[MEMBERS_MAX];

	if (!meeting || count > MEMBERS_MAX)
		return way_problem(way, "no memory for %u processes", count);
	meeting->count = count;
	unsigned started = start(meeting, &member, pids);
	if (started < count)
		kill_rest(pids, started);
	int r = wait_for(way, pids, started);
	if (started < count)
		r = way_problem(way, "cannot fork: %s", strerror(errno));
	if (r == 0)
		add_up(meeting, ret);
	munmap(meeting, sizeof *meeting);
	return r;
}
