/*
 * compare_pools.c - compare cpu and io: the same calls one after another, by processes, by
 * threads and in an event loop, here and in CPython.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "client/ctl/compare.h"
#include "client/ctl/cpython.h"
#include "ipc/clock.h"

#define CPU_JOBS     8
#define CPU_NS       (1000 * NS_PER_MS) /* one after another, by the slower side */
#define CPU_QUICK_NS (160 * NS_PER_MS)
#define CPU_TRIAL_N  200000
#define CPU_STEP_N   10000
#define IO_JOBS      200
#define IO_QUICK     40
#define IO_MS        10
#define TRIAL_MS     60000

/* Ours: a pool and what it is to do. */
struct pool_way {
	struct pyprep *p;
	struct jobs_work jobs;
	char pool[32];
};

enum { SEQUENTIAL, PROCESS, THREAD, EVENT, POOL_WAYS };

struct pool_work {
	struct work work;
	struct pool_way ways[POOL_WAYS];
	struct way *ours[POOL_WAYS], *python[POOL_WAYS];
	const char *params[2];
	char param[40];
};

static int
measure_pool(struct compare *c, struct way *way, double *ret)
{
	struct pool_way *w = way->context;
	uint64_t ns;

	(void)c;
	if (!w->pool[0])
		return way_problem(way, "the daemon has no running pool with this executor");
	if (jobs_run(w->p, &w->jobs, way, &ns) < 0)
		return -1;
	*ret = (double)ns;
	return 0;
}

/* ---- the ways ---- */

static void
add_ours(struct pool_work *w, struct pyprep *p, const char *kind, uint64_t jobs)
{
	static const struct {
		const char *name, *executor;
	} rows[POOL_WAYS] = {
		[SEQUENTIAL] = { "sequential", "process" },
		[PROCESS] = { "process", "process" },
		[THREAD] = { "thread", "thread" },
		[EVENT] = { "event", "event" },
	};

	w->params[0] = w->param;
	for (int i = 0; i < POOL_WAYS; i++) {
		struct pool_way *way = &w->ways[i];
		unsigned at_once = 0;
		(void)jobs_find_pool(p, rows[i].executor, way->pool, sizeof way->pool, &at_once);
		if (at_once > jobs)
			at_once = (unsigned)jobs;
		way->p = p;
		way->jobs = (struct jobs_work){ .kind = kind,
						.pool = way->pool,
						.params = w->params,
						.count = jobs,
						.one_by_one = i == SEQUENTIAL };
		w->ours[i] = work_ours(&w->work, rows[i].name, i == SEQUENTIAL ? 1 : at_once,
				       measure_pool, way);
		w->ours[i]->may_fail = !way->pool[0];
	}
}

/* The same, with as many processes and threads as ours. */
static void
add_python(struct pool_work *w, uint64_t jobs)
{
	static const struct {
		const char *name, *way;
	} rows[POOL_WAYS] = {
		[SEQUENTIAL] = { "sequential", "sequential" },
		[PROCESS] = { "multiprocessing.Pool", "multiprocessing" },
		[THREAD] = { "ThreadPoolExecutor", "threadpool" },
		[EVENT] = { "asyncio", "asyncio" },
	};

	for (int i = 0; i < POOL_WAYS; i++) {
		unsigned at_once = w->ours[i]->at_once;
		if (at_once == 0)
			continue; /* no such pool here: nothing to be compared with */
		w->python[i] =
			work_python(&w->work, rows[i].name, at_once, w->ours[i], w->work.topic,
				    "seconds", "way=%s jobs=%" PRIu64 " %s workers=%u", rows[i].way,
				    jobs, w->param, at_once);
	}
}

static double
speed_up(const struct pool_work *w, const struct way *way)
{
	return way ? work_speed_up(&w->work, way) : NAN;
}

/* ---- cpu ---- */

/* ns that one call of so many squares takes: in CPython if there is one, else here. */
static double
trial_ns(const struct compare *c, struct pool_work *w)
{
	const char *const params[] = { "jobs=1", "n=200000", NULL };
	char why[200];
	uint64_t ns;

	snprintf(w->param, sizeof w->param, "n=%d", CPU_TRIAL_N);
	if (c->python) {
		json_t *answer = cpython_run("cpu", params, TRIAL_MS, why, sizeof why);
		double s = json_number_value(json_object_get(answer, "seconds"));
		json_decref(answer);
		if (s > 0)
			return s * (double)NS_PER_S;
	}
	struct jobs_work one = w->ways[SEQUENTIAL].jobs;
	struct way way = { 0 };
	one.count = 1;
	int r = w->ways[SEQUENTIAL].pool[0] ? jobs_run(w->ways[SEQUENTIAL].p, &one, &way, &ns) : -1;
	json_decref(way.more);
	return r == 0 ? (double)ns : (double)NS_PER_MS;
}

static uint64_t
size_cpu(const struct compare *c, struct pool_work *w)
{
	double each = (double)(c->quick ? CPU_QUICK_NS : CPU_NS) / CPU_JOBS;
	uint64_t n = (uint64_t)(CPU_TRIAL_N * each / trial_ns(c, w));

	n = n / CPU_STEP_N * CPU_STEP_N + CPU_STEP_N;
	snprintf(w->param, sizeof w->param, "n=%" PRIu64, n);
	snprintf(w->work.text, sizeof w->work.text, "%d x sumsq %s", CPU_JOBS, w->param);
	return n;
}

/* What one square costs: a loop that a compiler had folded would show here. */
static void
say_cost(struct compare *c, const struct pool_work *w, uint64_t n)
{
	const json_t *ours = json_object_get(w->ours[SEQUENTIAL]->more, "oncpu_ns");
	const struct way *python = w->python[SEQUENTIAL];
	double squares = (double)n * CPU_JOBS;

	if (json_is_integer(ours) && python && way_done(python))
		compare_say(c,
			    "A square and its addition take %.2f ns of a CPU here, %.1f ns there.",
			    json_number_value(ours) / squares,
			    way_cpu_s(python) * (double)NS_PER_S / squares);
}

static void
say_cpu(struct compare *c, const struct pool_work *w)
{
	double threads = speed_up(w, w->python[THREAD]),
	       processes = speed_up(w, w->python[PROCESS]);
	double ours = speed_up(w, w->ours[THREAD]), loop = speed_up(w, w->python[EVENT]);

	if (!isnan(threads) && !isnan(processes))
		compare_say(c, "CPython: threads are %.2f x its sequential, processes %.2f x: %s",
			    threads, processes,
			    threads < 1.2 && processes > threads + 0.2
				    ? "only one thread at a time runs Python code (the GIL)."
			    : threads < 1.2 ? "neither helped in this run; was a second CPU free?"
					    : "its threads compute at once.");
	if (!isnan(loop))
		compare_say(c,
			    "CPython's asyncio is %.2f x its sequential: one loop has one CPU%s.",
			    loop, w->ours[EVENT]->problem[0] ? "; pyprep's refuses such jobs" : "");
	if (!isnan(ours))
		compare_say(c, "pyprep: threads are %.2f x its sequential, processes %.2f x%s.",
			    ours, speed_up(w, w->ours[PROCESS]),
			    ours > 1.2 ? ": C has no such lock" : "");
	for (int i = 0; i < POOL_WAYS; i++)
		if (w->python[i])
			compare_say_ratio(c, &w->work, w->python[i]);
}

int
compare_cpu(struct compare *c, struct pyprep *p)
{
	struct pool_work w = { 0 };

	work_begin(&w.work, "cpu", "sumsq", UNIT_NS, " ");
	w.work.speed_ups = true;
	add_ours(&w, p, "sumsq", CPU_JOBS);
	w.ours[EVENT]->may_fail = true; /* it refuses to compute */
	uint64_t n = size_cpu(c, &w);
	add_python(&w, CPU_JOBS);
	int status = work_run(c, &w.work);
	say_cpu(c, &w);
	say_cost(c, &w, n);
	work_end(&w.work);
	return status;
}

/* ---- io ---- */

static void
say_io(struct compare *c, const struct pool_work *w, uint64_t jobs)
{
	double loop = speed_up(w, w->ours[EVENT]), asyncio = speed_up(w, w->python[EVENT]);
	double threads = speed_up(w, w->python[THREAD]);

	if (!isnan(loop))
		compare_say(c,
			    "Waiting needs no CPU: pyprep's event loop has all %" PRIu64
			    " sleeps at once, %.0f x as fast as one after another.",
			    jobs, loop);
	if (!isnan(asyncio) && !isnan(threads))
		compare_say(c,
			    "CPython: asyncio %.0f x its sequential, %u threads %.1f x: a thread "
			    "that sleeps does not hold the GIL.",
			    asyncio, w->python[THREAD]->at_once, threads);
	for (int i = PROCESS; i < POOL_WAYS; i++)
		if (w->python[i])
			compare_say_ratio(c, &w->work, w->python[i]);
}

int
compare_io(struct compare *c, struct pyprep *p)
{
	uint64_t jobs = c->quick ? IO_QUICK : IO_JOBS;
	struct pool_work w = { 0 };

	work_begin(&w.work, "io", "sleep", UNIT_NS, "%" PRIu64 " x sleep ms=%d", jobs, IO_MS);
	w.work.speed_ups = true;
	snprintf(w.param, sizeof w.param, "ms=%d", IO_MS);
	add_ours(&w, p, "sleep", jobs);
	add_python(&w, jobs);
	int status = work_run(c, &w.work);
	say_io(c, &w, jobs);
	work_end(&w.work);
	return status;
}
