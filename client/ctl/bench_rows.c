/* bench_rows.c - the rows of `pyprepctl bench`: what, beside which floor, with which goal. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client/ctl/bench.h"
#include "ipc/clock.h"

/* A ratio holds on any machine, a time does not: goals are ratios where a floor exists that
 * does the same work. */
const struct bench_row bench_rows[] = {
	{ "jobs", "attached_latency", "ns",
	  "a job that does nothing, one in flight: submit to receipt",
	  "client, broker and worker as bare rings", RATIO_AT_MOST, 1.5, true,
	  bench_attached_latency },
	{ "jobs", "attached_rate", "jobs/s", "jobs that do nothing, many in flight, 2 workers",
	  "the same as bare rings", VALUE_AT_LEAST, 2e6, true, bench_attached_rate },
	{ "jobs", "array_items", "items/s", "map square 0..10000000, all results received",
	  "one process squares into one ring, another copies out", VALUE_AT_LEAST, 50e6, true,
	  bench_array_items },
	{ "jobs", "sleeps_1000", "ms", "1,000 sleeps of 10 ms on one event worker",
	  "1,000 timers in one process", VALUE_AT_MOST, 15, true, bench_sleeps },
	{ "jobs", "sumsq_4", "ms", "4 x sumsq n=1000000 on 2 workers",
	  "the same loop in 2 waiting processes", RATIO_AT_MOST, 1.05, true, bench_sumsq },
	{ "jobs", "exec_rate", "jobs/s", "exec /bin/true on 2 command workers",
	  "vfork, exec, wait in 2 processes", RATIO_AT_LEAST, 0.9, true, bench_exec_rate },
	{ "jobs", "replacement", "us", "an idle worker killed: until its successor is ready",
	  "kill, hear, fork, hello in a small process", VALUE_AT_MOST, 400, false,
	  bench_replacement },
	{ "jobs", "deep_queue", "ns", "a job out of a queue of 1,000,000 that do nothing, 2 workers",
	  "a job when never more than 1,000 are on their way", RATIO_AT_MOST, 2, false,
	  bench_deep_queue },
	{ "jobs", "bytes_per_job", "B", "the broker's growth (Pss) for each queued job",
	  "the job's submit record", VALUE_AT_MOST, 256, false, bench_bytes_per_job },
	{ "jobs", "idle_pss", "MiB", "all processes (Pss) of a daemon with the default pools",
	  "as many processes of /bin/sleep", VALUE_AT_MOST, 12, false, bench_idle_pss },
	{ "jobs", "start", "ms", "exec of pyprepd: until a ping is answered",
	  "fork and exec of /bin/true", VALUE_AT_MOST, 10, false, bench_start },
	{ "store", "detached_one", "us", "a detached job, one at a time: submit to durable",
	  "append 128 bytes and fdatasync", RATIO_AT_MOST, 1.5, false, bench_detached_one },
	{ "store", "detached_done", "jobs/s", "detached jobs that do nothing: submit to durable end",
	  "none", VALUE_AT_LEAST, 50e3, false, bench_detached_done },
	{ "store", "detached_backlog", "B", "disk for each of a million queued detached jobs",
	  "a record of 128 bytes", VALUE_AT_MOST, 512, false, bench_detached_backlog },
	{ "ipc", "array_attach", "us", "attach to an array of 8 MB, touch every page",
	  "open, mmap with MAP_POPULATE, touch", RATIO_AT_MOST, 1.5, true, bench_array_attach },
	{ "ipc", "array_sum", "ms", "the sum of an array of 64 MB over 2 workers",
	  "the same loop in one process", RATIO_AT_MOST, 1.0, true, bench_array_sum },
	{ "ipc", "pipe_rtt", "ns", "64 bytes through a pipe and back, one in flight",
	  "a bare socket pair that waits the same way", RATIO_AT_MOST, 1.2, true, bench_pipe_rtt },
	{ "ipc", "lock_pair", "ns", "a robust lock taken and released, with nobody else",
	  "compare-and-swap, exchange", RATIO_AT_MOST, 3, true, bench_lock_pair },
	{ "ipc", "counter_atomic", "adds/s", "a shared counter, straight in memory, one process",
	  "the bare instruction on a shared word", RATIO_AT_LEAST, 0.9, true,
	  bench_counter_atomic },
	{ "ipc", "counter_pipelined", "adds/s", "a counter of the manager, 256 requests under way",
	  "bare DEALER and ROUTER, as many bytes", VALUE_AT_LEAST, 0.5e6, true,
	  bench_counter_pipelined },
	{ "ipc", "counter_single", "us", "a counter of the manager, one add at a time",
	  "a bare ZeroMQ echo of as many bytes", RATIO_AT_MOST, 1.5, true, bench_counter_single },
	{ "ipc", "queue_1to1", "msg/s", "messages of 64 bytes, from one process to one",
	  "a bare bounded ring of the same capacity", VALUE_AT_LEAST, 10e6, true,
	  bench_queue_1to1 },
	{ "ipc", "queue_2to2", "msg/s", "messages of 64 bytes, from two processes to two",
	  "a bare bounded ring of the same capacity", VALUE_AT_LEAST, 3e6, true, bench_queue_2to2 },
	{ 0 },
};

int
bench_fail(struct bench_result *result, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(result->error, sizeof result->error, format, list);
	va_end(list);
	return -1;
}

void
bench_extra(struct bench_result *result, const char *name, double value)
{
	if (result->extra_count == BENCH_EXTRAS)
		return;
	struct bench_extra *extra = &result->extras[result->extra_count++];
	snprintf(extra->name, sizeof extra->name, "%s", name);
	extra->value = value;
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double
bench_median(double *values, unsigned count)
{
	if (count == 0)
		return NAN;
	qsort(values, count, sizeof *values, compare_doubles);
	if (count % 2 == 1)
		return values[count / 2];
	return (values[count / 2 - 1] + values[count / 2]) / 2;
}

void
bench_percentiles(struct bench_result *result, struct samples *samples, double divisor)
{
	result->n = samples->count;
	if (samples->count > 0)
		result->p50 = (double)samples_percentile(samples, 50) / divisor;
	if (samples->count >= 100)
		result->p99 = (double)samples_percentile(samples, 99) / divisor;
	if (samples->count >= 1000)
		result->p999 = (double)samples_percentile(samples, 99.9) / divisor;
}

void
bench_pause_ms(unsigned ms)
{
	struct timespec left = { .tv_sec = (time_t)(ms / 1000),
				 .tv_nsec = (long)(ms % 1000 * NS_PER_MS) };
	nanosleep(&left, NULL);
}
