/*
 * bench_backlog.c - the row deep_queue: what a job costs that comes out of a queue of a million, by
 * each strategy.
 *
 * The jobs are submitted to a paused pool; the time is from its resume to the last receipt.
 */
#include <inttypes.h>
#include <stdio.h>

#include "client/ctl/bench.h"
#include "client/ctl/reply.h"
#include "ipc/clock.h"

#define JOBS        1000000u
#define JOBS_QUICK  100000u
#define SHALLOW     1000u
#define WINDOW      2048u
#define ROUNDS      3u
#define PATIENCE_NS (60 * NS_PER_S)
#define ANSWER_MS   60000

static int
set_strategy(struct bench_session *s, const char *name, struct bench_result *result)
{
	struct pyprep_problem why = { 0 };
	struct request request;

	request_begin(&request, "strategy", 2);
	request_text(&request, "pool", "cpu");
	request_text(&request, "strategy", name);
	if (request_ask(&request, s->p, ANSWER_MS, NULL, NULL, &why) < 0)
		return bench_fail(result, "%s", why.message);
	return 0;
}

static int
wait_queued(struct bench_session *s, uint64_t count, struct bench_result *result)
{
	struct bench_status status = { 0 };

	for (uint64_t end_ns = clock_now() + PATIENCE_NS; clock_now() < end_ns;) {
		if (session_status(s, &status, result) < 0)
			return -1;
		if (status.queued == count)
			return 0;
		bench_pause_ms(2);
	}
	return bench_fail(result, "only %" PRIu64 " of %" PRIu64 " jobs were queued", status.queued,
			  count);
}

/* Queue them all, then run them all: ns a job. */
static int
drain(struct bench_session *s, const struct pyprep_prepared *job, unsigned count, double *ret,
      struct bench_result *result)
{
	if (session_tell(s, "pause", "cpu", result) < 0)
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (pyprep_submit_prepared(s->p, job, NULL, NULL) < 0)
			return bench_fail(result, "cannot submit job %u of %u", i + 1, count);
	if (wait_queued(s, count, result) < 0)
		return -1;
	uint64_t begun_ns = clock_now();
	if (session_tell(s, "resume", "cpu", result) < 0)
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (session_receipt(s, result) < 0)
			return -1;
	*ret = (double)(clock_now() - begun_ns) / count;
	return 0;
}

static int
rounds(struct bench_session *s, const struct pyprep_prepared *job, unsigned count,
       struct bench_result *result)
{
	static const char *const others[] = { "fifo", "fair", "sjf" };
	double deep[ROUNDS], shallow[ROUNDS], value;

	/* What a job takes is learned before. */
	if (session_run(s, job, 100000, WINDOW, result) < 0)
		return -1;
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t begun_ns = clock_now();
		if (session_run(s, job, count, SHALLOW, result) < 0)
			return -1;
		shallow[i] = (double)(clock_now() - begun_ns) / count;
		if (drain(s, job, count, &deep[i], result) < 0)
			return -1;
	}
	for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++) {
		char name[32];
		if (set_strategy(s, others[i], result) < 0 ||
		    drain(s, job, count, &value, result) < 0)
			return -1;
		snprintf(name, sizeof name, "%s_ns", others[i]);
		bench_extra(result, name, value);
	}
	result->n = ROUNDS;
	result->value = result->p50 = bench_median(deep, ROUNDS);
	result->floor = bench_median(shallow, ROUNDS);
	return 0;
}

int
bench_deep_queue(const struct bench *bench, struct bench_result *result)
{
	const struct pyprep_job noop = { .kind = "noop", .pool = "cpu" };
	struct pyprep_prepared *job = NULL;
	struct bench_session s;

	int r = session_open(bench, CONFIG_TWO_WORKERS, &s, result);
	if (r == 0)
		r = session_prepare(&s, &noop, &job, result);
	if (r == 0)
		r = rounds(&s, job, bench->quick ? JOBS_QUICK : JOBS, result);
	pyprep_prepared_free(job);
	session_close(&s);
	return r;
}
