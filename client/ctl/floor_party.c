/*
 * floor_party.c - processes that sleep and wake each other by the policy of ipc/wake.h,
 * and a crew of them that works when told to.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

pid_t
floor_fork(void)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	return 0;
}

void
floor_kill(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void *
floor_share(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

int
floor_cpu(unsigned n)
{
	cpu_set_t usable;

	if (sched_getaffinity(0, sizeof usable, &usable) < 0)
		return -1;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET((unsigned)cpu, &usable) && n-- == 0)
			return cpu;
	return -1;
}

bool
floor_bind(pid_t pid, int cpu)
{
	cpu_set_t one;

	if (cpu < 0)
		return false;
	CPU_ZERO(&one);
	CPU_SET((unsigned)cpu, &one);
	return sched_setaffinity(pid, sizeof one, &one) == 0;
}

int
party_make(struct party *party, struct wake *wake)
{
	int bell = bell_create();

	if (bell < 0)
		return bell;
	*party = (struct party){ .wake = wake, .bell = bell };
	return 0;
}

void
party_ring(const struct party *party)
{
	if (wake_needed(party->wake))
		bell_ring(party->bell);
}

void
party_wait(const struct party *me, bool (*ready)(void *), void *context)
{
	struct pollfd polled = { .fd = me->bell, .events = POLLIN };

	for (int looks = 0; looks < WAKE_LOOKS; looks++) {
		if (ready(context))
			return;
		if (!yield_cheaply())
			break;
	}
	for (;;) {
		wake_arm(me->wake);
		if (ready(context))
			break;
		(void)poll(&polled, 1, -1);
		bell_clear(me->bell);
		if (ready(context))
			break;
	}
	wake_disarm(me->wake);
}

/* ---- the crew ---- */

/* Shared.  `round` and `argument` are the starter's, `done` each member's own. */
struct crew_shared {
	_Alignas(RING_LINE) struct wake starter;
	_Atomic uint64_t round;
	uint64_t argument; /* of the round; published by `round` */
	struct crew_member {
		_Alignas(RING_LINE) struct wake wake;
		_Atomic uint64_t done; /* the last round it finished */
	} members[];
};

struct crew {
	struct crew_shared *shared;
	size_t size;
	unsigned count;
	crew_fn work;
	void *context;
	uint64_t seen; /* the round this process knows of */
	unsigned self; /* a member's own number */
	struct party starter, *members;
	pid_t *pids;
};

static bool
round_begun(void *context)
{
	struct crew *c = context;
	return atomic_load_explicit(&c->shared->round, memory_order_acquire) != c->seen;
}

static bool
round_over(void *context)
{
	struct crew *c = context;

	for (unsigned i = 0; i < c->count; i++)
		if (atomic_load_explicit(&c->shared->members[i].done, memory_order_acquire) !=
		    c->seen)
			return false;
	return true;
}

static _Noreturn void
member_main(struct crew *c)
{
	for (;;) {
		party_wait(&c->members[c->self], round_begun, c);
		c->seen++;
		c->work(c->context, c->shared->argument);
		atomic_store_explicit(&c->shared->members[c->self].done, c->seen,
				      memory_order_release);
		party_ring(&c->starter);
	}
}

/* Bells and processes; what was made stands in the crew, for crew_stop(). */
static int
crew_people(struct crew *c)
{
	int r = party_make(&c->starter, &c->shared->starter);

	for (unsigned i = 0; r == 0 && i < c->count; i++)
		r = party_make(&c->members[i], &c->shared->members[i].wake);
	for (unsigned i = 0; r == 0 && i < c->count; i++) {
		c->self = i;
		c->pids[i] = floor_fork();
		if (c->pids[i] == 0)
			member_main(c);
		if (c->pids[i] < 0)
			r = -errno;
	}
	return r;
}

int
crew_start(unsigned count, crew_fn work, void *context, struct crew **ret)
{
	struct crew *c = ctl_alloc(1, sizeof *c);

	*c = (struct crew){ .count = count, .work = work, .context = context };
	c->members = ctl_alloc(count, sizeof *c->members);
	c->pids = ctl_alloc(count, sizeof *c->pids);
	c->starter.bell = -1;
	for (unsigned i = 0; i < count; i++)
		c->members[i].bell = -1;
	c->size = sizeof *c->shared + count * sizeof c->shared->members[0];
	c->shared = floor_share(c->size);
	int r = c->shared ? crew_people(c) : -ENOMEM;
	if (r < 0) {
		crew_stop(c);
		return r;
	}
	*ret = c;
	return 0;
}

void
crew_begin(struct crew *c, uint64_t argument)
{
	c->shared->argument = argument;
	atomic_store_explicit(&c->shared->round, ++c->seen, memory_order_release);
	for (unsigned i = 0; i < c->count; i++)
		party_ring(&c->members[i]);
}

void
crew_wait(struct crew *c)
{
	party_wait(&c->starter, round_over, c);
}

uint64_t
crew_run(struct crew *c, uint64_t argument)
{
	uint64_t begun = clock_now();

	crew_begin(c, argument);
	crew_wait(c);
	return clock_now() - begun;
}

void
crew_stop(struct crew *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->count; i++) {
		floor_kill(c->pids[i]);
		if (c->members[i].bell >= 0)
			close(c->members[i].bell);
	}
	if (c->starter.bell >= 0)
		close(c->starter.bell);
	if (c->shared)
		munmap(c->shared, c->size);
	free(c->members);
	free(c->pids);
	free(c);
}
