/* recycle.c - see recycle.h */
#include "daemon/recycle.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "daemon/config.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"

#define LOOK_EVERY_NS (10 * NS_PER_MS) /* at the memory */

/* Memory of this process that nobody shares, in bytes; 0: cannot be told. */
static uint64_t
own_memory(void)
{
	unsigned long long size, resident, shared;
	char text[128];
	scoped_fd fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	if (sscanf(text, "%llu %llu %llu", &size, &resident, &shared) != 3 || shared > resident)
		return 0;
	return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t
random_below(uint64_t bound)
{
	uint64_t n = 0;

	(void)!getrandom(&n, sizeof(n), 0);
	return n % bound;
}

void
recycle_open(struct recycle *r, const struct pool_config *pool)
{
	uint64_t jobs = pool->recycle_jobs;

	r->jobs_most = jobs == 0 ? 0 : jobs + random_below(jobs / 10 + 1);
	r->memory_most = pool->recycle_growth == 0 ? 0 : own_memory() + pool->recycle_growth;
	r->on = r->jobs_most != 0 || r->memory_most != 0;
}

void
recycle_now(struct recycle *r)
{
	atomic_store(&r->due, true);
	atomic_store(&r->on, true);
}

static bool
has_grown(struct recycle *r, uint64_t now_ns)
{
	uint64_t look_ns = atomic_load_explicit(&r->look_ns, memory_order_relaxed);

	if (r->memory_most == 0 || now_ns < look_ns)
		return false;
	atomic_store_explicit(&r->look_ns, now_ns + LOOK_EVERY_NS, memory_order_relaxed);
	return own_memory() > r->memory_most;
}

bool
recycle_look(struct recycle *r, uint64_t now_ns)
{
	uint64_t jobs = atomic_fetch_add_explicit(&r->jobs, 1, memory_order_relaxed) + 1;

	if ((r->jobs_most != 0 && jobs >= r->jobs_most) || has_grown(r, now_ns))
		atomic_store_explicit(&r->due, true, memory_order_relaxed);
	return atomic_load_explicit(&r->due, memory_order_relaxed);
}
