/* compare_clock.c - the CPU time of this process and of the daemon's, by their own clocks. */
#include <math.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/compare.h"

void
cpu_clocks_begin(struct cpu_clocks *clocks, struct pyprep *p)
{
	struct bench_session session = { .p = p };
	struct bench_status status = { 0 };
	struct bench_result result = { 0 };

	clocks->count = 0;
	clocks->pids[clocks->count++] = getpid();
	if (p && session_status(&session, &status, &result) == 0) {
		clocks->pids[clocks->count++] = status.broker;
		clocks->pids[clocks->count++] = status.manager;
		for (unsigned i = 0; i < status.count; i++)
			clocks->pids[clocks->count++] = status.workers[i].pid;
	}
	clocks->begun_s = NAN;
	clocks->begun_s = cpu_clocks_read(clocks);
}

/* A process's clock has a number that clock_getcpuclockid(3) makes of its pid. */
static double
read_one(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (pid <= 0)
		return 0;
	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
		return NAN;
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double
cpu_clocks_read(const struct cpu_clocks *clocks)
{
	double sum = 0;

	for (unsigned i = 0; i < clocks->count; i++)
		sum += read_one(clocks->pids[i]);
	return isnan(clocks->begun_s) ? sum : sum - clocks->begun_s;
}
