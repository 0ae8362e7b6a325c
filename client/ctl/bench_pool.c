/* bench_pool.c - rows of the pools: what is lost when real work goes through a worker. */
#include <string.h>

#include "client/ctl/bench.h"
#include "client/ctl/floor.h"
#include "ipc/clock.h"

#define ROUNDS_MOST 41
#define SLEEPS      1000
#define SLEEP_MS    10
#define SUMSQ_JOBS  4
#define SUMSQ_N     1000000
#define EXEC_JOBS   1000
#define EXEC_QUICK  300
#define EXEC_WINDOW 64

/* One row: `count` jobs of one kind, by turns with the floor. */
struct turns {
	struct pyprep_job job;
	uint64_t count, window;
	unsigned rounds;
	uint64_t (*least)(void *context); /* the floor: ns */
	void *context;
};

/* The medians of both, in ns; the row's own times go to `samples`. */
static int
take_turns(const struct bench *bench, const struct turns *t, double *ret_value, double *ret_floor,
	   struct samples *samples, struct bench_result *result)
{
	double values[ROUNDS_MOST], floors[ROUNDS_MOST];
	struct pyprep_prepared *job = NULL;
	struct bench_session s;

	int r = session_open(bench, CONFIG_TWO_WORKERS, &s, result);
	if (r == 0)
		r = session_prepare(&s, &t->job, &job, result);
	if (r == 0)
		r = session_run(&s, job, t->count, t->window, result); /* warm */
	for (unsigned i = 0; r == 0 && i < t->rounds; i++) {
		floors[i] = (double)t->least(t->context);
		uint64_t begun = clock_now();
		r = session_run(&s, job, t->count, t->window, result);
		uint64_t took = clock_now() - begun;
		values[i] = (double)took;
		samples_add(samples, took);
	}
	if (r == 0) {
		*ret_value = bench_median(values, t->rounds);
		*ret_floor = bench_median(floors, t->rounds);
	}
	pyprep_prepared_free(job);
	session_close(&s);
	return r;
}

static int
wall_ms(const struct bench *bench, const struct turns *t, struct bench_result *result)
{
	struct samples samples = { 0 };

	int r = take_turns(bench, t, &result->value, &result->floor, &samples, result);
	if (r == 0) {
		result->value /= NS_PER_MS;
		result->floor /= NS_PER_MS;
		bench_percentiles(result, &samples, NS_PER_MS);
	}
	samples_free(&samples);
	return r;
}

static int
fail_errno(struct bench_result *result, int r)
{
	return bench_fail(result, "the floor's processes cannot start: %s", strerror(-r));
}

/* ---- sleeps ---- */

static uint64_t
timers(void *context)
{
	(void)context;
	return floor_timers(SLEEPS, SLEEP_MS);
}

int
bench_sleeps(const struct bench *bench, struct bench_result *result)
{
	const char *const params[] = { "ms=10", NULL };
	struct turns t = {
		.job = { .kind = "sleep", .pool = "io", .params = params },
		.count = SLEEPS,
		.window = SLEEPS,
		.rounds = bench->quick ? 5 : 21,
		.least = timers,
	};
	return wall_ms(bench, &t, result);
}

/* ---- sums of squares ---- */

static uint64_t
crew_sumsq(void *context)
{
	return crew_run(context, SUMSQ_N);
}

int
bench_sumsq(const struct bench *bench, struct bench_result *result)
{
	const char *const params[] = { "n=1000000", NULL };
	struct crew *crew;
	struct turns t = {
		.job = { .kind = "sumsq", .params = params },
		.count = SUMSQ_JOBS,
		.window = SUMSQ_JOBS,
		.rounds = bench->quick ? 15 : 41,
		.least = crew_sumsq,
	};

	int r = crew_start(FLOOR_WORKERS, floor_sumsq, NULL, &crew);
	if (r < 0)
		return fail_errno(result, r);
	t.context = crew;
	r = wall_ms(bench, &t, result);
	crew_stop(crew);
	return r;
}

/* ---- commands ---- */

struct exec_floor {
	struct crew *crew;
	uint64_t each; /* commands of one process */
};

static uint64_t
crew_exec(void *context)
{
	struct exec_floor *f = context;
	return crew_run(f->crew, f->each);
}

int
bench_exec_rate(const struct bench *bench, struct bench_result *result)
{
	const char *const argv[] = { "/bin/true", NULL };
	uint64_t count = bench->quick ? EXEC_QUICK : EXEC_JOBS;
	struct samples samples = { 0 };
	struct exec_floor floor = { .each = count / FLOOR_WORKERS };
	struct turns t = {
		.job = { .kind = "exec", .argv = argv },
		.count = count,
		.window = EXEC_WINDOW,
		.rounds = bench->quick ? 3 : 7,
		.least = crew_exec,
		.context = &floor,
	};
	double value, least;

	int r = crew_start(FLOOR_WORKERS, floor_exec_true, NULL, &floor.crew);
	if (r < 0)
		return fail_errno(result, r);
	r = take_turns(bench, &t, &value, &least, &samples, result);
	if (r == 0) {
		result->value = result->p50 = (double)count * 1e9 / value;
		result->floor = (double)count * 1e9 / least;
		result->n = t.rounds * count;
	}
	samples_free(&samples);
	crew_stop(floor.crew);
	return r;
}
