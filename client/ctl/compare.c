/*
 * compare.c - pyprepctl compare cpu|io: the same jobs one after another, by threads, by
 * processes and in an event loop, on the pools of the daemon one is connected to.
 */
#include <inttypes.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/compare.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

#define CPU_JOBS    8
#define CPU_TOTAL   (600 * NS_PER_MS) /* one after another */
#define CPU_TRIAL_N 2000000
#define CPU_STEP_N  100000
#define IO_JOBS     200
#define IO_MS       10

static const struct option_row options[] = {
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

/* ---- pools ---- */

struct search {
	struct way *ways;
	unsigned count;
	bool daemon_seen; /* the first reply is not a pool */
};

static int
got_pool(void *context, const msgpack_object *map)
{
	struct search *search = context;

	if (!search->daemon_seen) {
		search->daemon_seen = true;
		return 0;
	}
	for (unsigned i = 0; i < search->count; i++) {
		struct way *way = &search->ways[i];
		if (way->pool[0] || !field_text_is(map, "executor", way->executor) ||
		    !field_text_is(map, "state", "running"))
			continue;
		snprintf(way->pool, sizeof way->pool, "%.*s", FIELD_TEXT(map, "name"));
		way->at_once = way->one_by_one
				       ? 1
				       : field_u64(map, "size") * field_u64(map, "concurrency");
	}
	return 0;
}

static int
find_pools(struct pyprep *p, struct way *ways, unsigned count)
{
	struct search search = { .ways = ways, .count = count };
	struct request request;

	request_begin(&request, "status", 0);
	return request_send(&request, p, got_pool, &search);
}

/* ---- work ---- */

/* So many squares that all jobs one after another take CPU_TOTAL. */
static int
size_sumsq(struct pyprep *p, const char *pool, uint64_t *ret_n)
{
	char trial[32];
	uint64_t ns;

	snprintf(trial, sizeof trial, "n=%d", CPU_TRIAL_N);
	int status = compare_time_one(p, "sumsq", trial, pool, &ns);
	if (status != 0)
		return status;
	uint64_t each = CPU_TOTAL / CPU_JOBS;
	uint64_t n = (uint64_t)((double)CPU_TRIAL_N * (double)each / (double)(ns > 0 ? ns : 1));
	*ret_n = n / CPU_STEP_N * CPU_STEP_N + CPU_STEP_N;
	return 0;
}

static int
plan(struct pyprep *p, bool cpu, const char *pool, struct work *work, char *param, size_t size)
{
	uint64_t n = 0;

	if (cpu) {
		int status = size_sumsq(p, pool, &n);
		if (status != 0)
			return status;
		snprintf(param, size, "n=%" PRIu64, n);
		*work = (struct work){ .name = "cpu", .kind = "sumsq", .count = CPU_JOBS };
	} else {
		snprintf(param, size, "ms=%d", IO_MS);
		*work = (struct work){ .name = "io", .kind = "sleep", .count = IO_JOBS };
	}
	work->params[0] = param;
	snprintf(work->text, sizeof work->text, "%" PRIu64 " x %s %s", work->count, work->kind,
		 param);
	return 0;
}

/* ---- what it means ---- */

static const char *
lesson(bool cpu)
{
	if (cpu)
		return "A job that computes needs a CPU all the time: processes and threads (C has "
		       "no global lock)\nare faster by the number of CPUs at most, and an event "
		       "loop, which has one, cannot help.\n";
	return "A job that waits needs no CPU meanwhile: what counts is how many may wait at "
	       "once.  A process\nor a thread waits for one job, an event loop for all of them, "
	       "in one process.\n";
}

static int
run_ways(struct pyprep *p, const struct work *work, struct way *ways, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (!ways[i].pool[0]) {
			snprintf(ways[i].problem, sizeof ways[i].problem,
				 "the daemon has no running pool with \"executor = %s\"",
				 ways[i].executor);
			continue;
		}
		int status = compare_run(p, work, &ways[i]);
		if (status != 0)
			return status;
	}
	return 0;
}

static int
compare_with(struct pyprep *p, bool cpu)
{
	struct way ways[] = {
		{ .name = "sequential", .executor = "process", .one_by_one = true },
		{ .name = "process", .executor = "process" },
		{ .name = "thread", .executor = "thread" },
		{ .name = "event", .executor = "event" },
	};
	unsigned count = sizeof ways / sizeof ways[0];
	struct work work;
	char param[40];

	int status = find_pools(p, ways, count);
	if (status != 0)
		return status;
	if (!ways[0].pool[0])
		return ctl_fail(EXIT_TRY_LATER, "pool_failed",
				"the daemon has no running pool with \"executor = process\" to "
				"compare with; 'pyprepctl pools' lists what it has");
	status = plan(p, cpu, ways[0].pool, &work, param, sizeof param);
	if (status == 0)
		status = run_ways(p, &work, ways, count);
	if (status != 0)
		return status;
	compare_print(&work, ways, count);
	if (!ctl.json)
		printf("\n%s", lesson(cpu));
	for (unsigned i = 0; i < count; i++)
		if (ways[i].failed > 0)
			status = EXIT_SOME_FAILED;
	return status;
}

static int
compare_command(const struct words *words)
{
	struct pyprep *p;

	if (words->count != 1)
		return ctl_fail(EXIT_USAGE, "usage", "write: pyprepctl compare cpu|io");
	bool cpu = strcmp(words->word[0], "cpu") == 0;
	if (!cpu && strcmp(words->word[0], "io") != 0)
		return ctl_fail(EXIT_USAGE, "usage", "compare takes cpu or io, not '%s'",
				words->word[0]);
	int status = ctl_connect(&p);
	if (status != 0)
		return status;
	status = compare_with(p, cpu);
	pyprep_close(p);
	return status;
}

extern const struct command command_compare;
const struct command command_compare = {
	.name = "compare",
	.args = "cpu|io [--json]",
	.summary = "the same jobs sequentially, by processes, threads and an event loop",
	.examples = "  pyprepctl compare cpu\n"
		    "  pyprepctl compare io --json\n",
	.more = "cpu: 8 x sumsq, sized to take about 0.6 s one after another.\n"
		"io: 200 x sleep ms=10.\n"
		"Each way uses the daemon's first running pool with that executor; sequential\n"
		"submits to the process pool, each job after the last one's receipt.  On-CPU,\n"
		"waiting for a CPU and blocked are sums over all jobs; memory is the sum of the\n"
		"peaks of the processes that ran them.\n",
	.options = options,
	.complete = COMPLETE_WORDS,
	.choices = "cpu io",
	.run = compare_command,
};
