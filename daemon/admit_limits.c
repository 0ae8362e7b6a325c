/*
 * admit_limits.c - can the pool keep what a job's policy limits?
 *
 * Memory is limited where a job has a process of its own while it runs; niceness where it has a
 * thread.  Where it cannot be kept, the job is refused, and told where it can.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/broker.h"
#include "daemon/policy.h"

static bool
limits_memory(const struct executor *e)
{
	return e->concurrency_max == 1;
}

static bool
limits_priority(const struct executor *e)
{
	return e->classes != 1u << KIND_IO;
}

/* "; pool "cpu" and pool "slow" can", or what to do when none can. */
static void
name_those_who_can(const struct broker *b, const struct kind *k,
		   bool (*can)(const struct executor *), char *why, size_t size)
{
	size_t used = strlen(why);
	const char *before = "; submit it to pool ";

	for (unsigned i = 0; i < b->pool_count && used < size; i++) {
		const struct pool_config *p = b->pools[i].config;
		if (!executor_runs(p->executor, k) || !can(p->executor))
			continue;
		used += (size_t)snprintf(why + used, size - used, "%s\"%s\"", before, p->name);
		before = " or ";
	}
	if (before[0] == ';' && used < size)
		snprintf(why + used, size - used,
			 "; add a pool with executor = %s to the configuration",
			 k->class == KIND_COMMAND ? "command" : "process");
}

enum job_error
admit_limits(const struct broker *b, const struct pool *p, const struct kind *k,
	     const struct policy *policy, char *why, size_t size)
{
	const struct executor *e = p->config->executor;

	if (policy == NULL)
		return ERR_NONE;
	if (policy->memory_bytes != 0 && !limits_memory(e)) {
		snprintf(why, size,
			 "pool \"%s\" (executor %s) runs many jobs in one process and cannot limit "
			 "the memory of one",
			 p->config->name, e->name);
		name_those_who_can(b, k, limits_memory, why, size);
		return ERR_WRONG_POOL;
	}
	if (policy->nice != 0 && !limits_priority(e)) {
		snprintf(why, size,
			 "pool \"%s\" (executor %s) runs many jobs in one thread and cannot make "
			 "one of them nice",
			 p->config->name, e->name);
		name_those_who_can(b, k, limits_priority, why, size);
		return ERR_WRONG_POOL;
	}
	return ERR_NONE;
}
