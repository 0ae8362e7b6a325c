/*
 * worker.c - role: take jobs from the link, run them by the pool's executor, report.
 *
 * A worker talks to two others only: the broker through the link, the supervisor through
 * the control socket.  It ends when the supervisor closes that socket (after the job it
 * runs) or dies (PR_SET_PDEATHSIG).
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/roles.h"
#include "ipc/message.h"
#include "shm/segment.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define CHECK_LEAKS() __lsan_do_leak_check()
#else
#define CHECK_LEAKS() ((void)0)
#endif

static int
limit_memory(const struct pool_config *pool)
{
	if (pool->address_space == 0)
		return 0;
	struct rlimit limit = { pool->address_space, pool->address_space };
	return setrlimit(RLIMIT_AS, &limit) < 0 ? -errno : 0;
}

/*
 * The n-th worker of a pool goes to the n-th CPU this daemon may use, from the second pool on
 * shifted by one.  Left to itself the scheduler wakes two workers on one core, and a job of less
 * than a millisecond is over before it moves one of them: 4 x sumsq took 2.6 ms on two
 * CPUs, bound 1.3 ms.  A command starts on its worker's CPU and is free from there.  Other processes are moved away from a bound one by the kernel.  A
 * worker for whom there is no CPU left floats; so does the only worker of a pool.
 */
static void
bind_to_cpu(struct worker *w, unsigned pool_index)
{
	const struct pool_config *pool = w->pool;
	cpu_set_t one;

	if (!pool->bind || !pool->executor->one_cpu || pool->workers < 2 ||
	    sched_getaffinity(0, sizeof(w->usable), &w->usable) < 0)
		return;
	unsigned count = (unsigned)CPU_COUNT(&w->usable), nth = (w->slot + pool_index) % count;
	if (w->slot >= count)
		return;
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &w->usable) || nth-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		/* Where it is forbidden (a seccomp filter), the worker floats. */
		(void)sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

static int
say_ready(int control)
{
	struct ready_body ready = { .pid = (uint32_t)getpid() };
	return frame_send(control, MSG_READY, &ready, NULL, 0, NULL, 0);
}

int
worker_main(const struct birth *birth)
{
	const struct pool_config *pool = &birth->config->pools[birth->pool];
	struct worker w = { .pool = pool, .slot = birth->slot, .control = birth->control };
	char role[64];
	void *base;

	snprintf(role, sizeof(role), "worker %s/%u", pool->name, birth->slot);
	log_open(role, LOG_LEVEL_INFO);
	int r = limit_memory(pool);
	if (r == 0)
		r = segment_map(birth->link_memfd, link_footprint(), &base);
	if (r == 0)
		r = link_worker_attach(&w.link, base, birth->board, birth->link_bell,
				       birth->broker_bell);
	if (r == 0)
		r = say_ready(birth->control);
	if (r < 0) {
		log_error("cannot start: %s; the supervisor decides whether to try again",
			  strerror(-r));
		return EXIT_FAILURE;
	}
	close(birth->link_memfd);
	bind_to_cpu(&w, birth->pool);
	int status = pool->executor->run(&w);
	CHECK_LEAKS();
	return status;
}
