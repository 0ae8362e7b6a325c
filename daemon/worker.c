/*
 * worker.c - role: take jobs from the link, run them by the pool's executor, report.
 *
 * A worker talks to two others only: the broker through the link, the supervisor through
 * the control socket.  It ends when the supervisor closes that socket (after the job it
 * runs) or dies (PR_SET_PDEATHSIG).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/executor.h"
#include "daemon/kind.h"
#include "daemon/log.h"
#include "daemon/roles.h"
#include "daemon/title.h"
#include "ipc/message.h"
#include "ipc/zmq.h"

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
	struct worker w = { .pool = pool,
			    .slot = birth->slot,
			    .control = birth->control,
			    .cgroup = birth->cgroup,
			    .scratch_home = birth->scratch_home };
	char role[64];
	struct link_shared *shared;

	snprintf(role, sizeof(role), "worker %s/%u", pool->name, birth->slot);
	title_set("pyprepd: %s", role);
	log_open(role, LOG_LEVEL_INFO);
	/* Held by those whose jobs are processes of their own, until they have ended them. */
	if (birth->lock > STDERR_FILENO && !(pool->executor->classes & 1u << KIND_COMMAND))
		close(birth->lock);
	(void)sched_getaffinity(0, sizeof(w.usable), &w.usable);
	recycle_open(&w.recycle, pool);
	run_open(&w);
	int r = limit_memory(pool);
	if (r == 0)
		r = link_map(birth->link.memfd, &shared);
	if (r == 0)
		r = link_worker_attach(&w.link, shared, birth->board, &birth->link,
				       birth->broker_bell);
	if (r == 0)
		r = say_ready(birth->control);
	if (r < 0) {
		log_error("cannot start: %s; the supervisor decides whether to try again",
			  r == -ELIBACC ? zmq_problem() : strerror(-r));
		return EXIT_FAILURE;
	}
	close(birth->link.memfd);
	int status = pool->executor->run(&w);
	link_worker_detach(&w.link);
	CHECK_LEAKS();
	return status;
}
