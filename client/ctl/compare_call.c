/*
 * compare_call.c - compare call: what a call costs that does nothing, one in flight and all at
 * once; and commands that do nothing.
 */
#include <inttypes.h>

#include "client/ctl/compare.h"
#include "ipc/clock.h"

#define ONE_CALLS 3000u
#define ALL_CALLS 20000u
#define COMMANDS  400u
#define QUICK     10u

struct call_way {
	struct pyprep *p;
	struct jobs_work jobs;
	bool latency;
	char pool[32];
};

static int
measure_calls(struct compare *c, struct way *way, double *ret)
{
	struct call_way *w = way->context;
	uint64_t ns;

	(void)c;
	if (!w->pool[0])
		return way_problem(way, "the daemon has no running pool with this executor");
	w->jobs.ret_p50_ns = w->latency ? ret : NULL;
	if (jobs_run(w->p, &w->jobs, way, &ns) < 0)
		return -1;
	if (!w->latency)
		*ret = (double)w->jobs.count * (double)NS_PER_S / (double)ns;
	return 0;
}

static unsigned
prepare(struct call_way *w, struct pyprep *p, const char *executor, const char *kind,
	uint64_t count)
{
	unsigned at_once = 0;

	w->p = p;
	(void)jobs_find_pool(p, executor, w->pool, sizeof w->pool, &at_once);
	w->jobs = (struct jobs_work){
		.kind = kind, .pool = w->pool, .count = count, .one_by_one = w->latency
	};
	return at_once > 0 ? at_once : 1;
}

/* Calls that do nothing. */
static int
run_calls(struct compare *c, struct pyprep *p, bool latency)
{
	static const struct {
		const char *name, *way;
	} rows[] = { { "multiprocessing.Pool", "multiprocessing" },
		     { "ProcessPoolExecutor", "processpool" },
		     { "ThreadPoolExecutor", "threadpool" },
		     { "asyncio, same process", "asyncio" } };
	uint64_t count = (latency ? ONE_CALLS : ALL_CALLS) / (c->quick ? QUICK : 1);
	struct call_way w = { .latency = latency };
	struct work work;

	unsigned workers = prepare(&w, p, "process", "noop", count);
	work_begin(&work, "call", latency ? "one in flight" : "all at once",
		   latency ? UNIT_NS : UNIT_PER_S, "%" PRIu64 " calls that do nothing%s", count,
		   latency ? " (median)" : "");
	const struct way *ours = work_ours(&work, "noop on a process pool", latency ? 1 : workers,
					   measure_calls, &w);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		work_python(&work, rows[i].name, latency ? 1 : workers, ours, "call",
			    latency ? "p50_ns" : "rate_per_s",
			    "mode=%s way=%s calls=%" PRIu64 " workers=%u",
			    latency ? "latency" : "rate", rows[i].way, count, workers);
	int status = work_run(c, &work);
	for (unsigned i = 1; i < work.count; i++)
		compare_say_ratio(c, &work, &work.ways[i]);
	work_end(&work);
	return status;
}

static int
run_commands(struct compare *c, struct pyprep *p)
{
	static const char *const argv[] = { "/bin/true", NULL };
	uint64_t count = COMMANDS / (c->quick ? QUICK : 1);
	struct call_way w = { 0 };
	struct work work;

	unsigned workers = prepare(&w, p, "command", "exec", count);
	w.jobs.argv = argv;
	work_begin(&work, "call", "commands", UNIT_PER_S, "%" PRIu64 " x /bin/true", count);
	const struct way *ours =
		work_ours(&work, "exec on a command pool", workers, measure_calls, &w);
	const char *params = "way=%s count=%" PRIu64 " workers=%u";
	work_python(&work, "subprocess, threads", workers, ours, "exec", "rate_per_s", params,
		    "threadpool", count, workers);
	work_python(&work, "subprocess, asyncio", workers, ours, "exec", "rate_per_s", params,
		    "asyncio", count, workers);
	int status = work_run(c, &work);
	for (unsigned i = 1; i < work.count; i++)
		compare_say_ratio(c, &work, &work.ways[i]);
	work_end(&work);
	return status;
}

int
compare_call(struct compare *c, struct pyprep *p)
{
	int status = run_calls(c, p, true);

	if (status == 0)
		status = run_calls(c, p, false);
	if (status == 0)
		status = run_commands(c, p);
	return status;
}
