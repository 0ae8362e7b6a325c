/* bench_memory.c - rows of memory: what a queued job and an idle daemon take. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/bench.h"
#include "client/ctl/floor.h"
#include "ipc/clock.h"
#include "ipc/message.h"

#define JOBS        1000000u
#define JOBS_QUICK  100000u
#define TENTHS      10
#define PATIENCE_NS (30 * NS_PER_S)
#define SETTLE_MS   500
#define IDLE_MS     2000
#define MIB         (1024.0 * 1024.0)

/* ---- queued jobs ---- */

/* Until the broker has them all in its queue. */
static int
wait_queued(struct bench_session *s, uint64_t count, struct bench_result *result)
{
	struct bench_status status = { 0 };
	uint64_t begun = clock_now();

	while (clock_now() - begun < PATIENCE_NS) {
		if (session_status(s, &status, result) < 0)
			return -1;
		if (status.queued == count)
			return 0;
		bench_pause_ms(5);
	}
	return bench_fail(result, "only %" PRIu64 " of %" PRIu64 " jobs were queued within 30 s",
			  status.queued, count);
}

/* Submit in tenths: ns a job of the first and of the last. */
static int
fill_queue(struct bench_session *s, const struct pyprep_prepared *job, unsigned count,
	   struct bench_result *result)
{
	double tenths[TENTHS];
	unsigned each = count / TENTHS;

	for (unsigned tenth = 0; tenth < TENTHS; tenth++) {
		uint64_t begun = clock_now();
		for (unsigned i = 0; i < each; i++)
			if (pyprep_submit_prepared(s->p, job, NULL, NULL) < 0)
				return bench_fail(result, "cannot submit job %u of %u",
						  tenth * each + i + 1, count);
		tenths[tenth] = (double)(clock_now() - begun) / each;
	}
	bench_extra(result, "submit_ns_first_tenth", tenths[0]);
	bench_extra(result, "submit_ns_last_tenth", tenths[TENTHS - 1]);
	return 0;
}

static int
growth(struct bench_session *s, const struct pyprep_prepared *job, unsigned count,
       struct bench_result *result)
{
	struct bench_status status;
	uint64_t before = 0, after = 0;

	if (session_run(s, job, 1000, 100, result) < 0 || session_status(s, &status, result) < 0 ||
	    session_tell(s, "pause", "cpu", result) < 0)
		return -1;
	int r = process_pss(status.broker, &before);
	if (r == 0 && fill_queue(s, job, count, result) < 0)
		return -1;
	if (r == 0 && wait_queued(s, count, result) < 0)
		return -1;
	if (r == 0)
		r = process_pss(status.broker, &after);
	if (r < 0)
		return bench_fail(result, "cannot read the broker's memory: %s", strerror(-r));
	result->value = result->p50 = ((double)after - (double)before) / count;
	result->n = count;
	return 0;
}

int
bench_bytes_per_job(const struct bench *bench, struct bench_result *result)
{
	const struct pyprep_job noop = { .kind = "noop", .pool = "cpu" };
	struct pyprep_prepared *job = NULL;
	struct bench_session s;

	int r = session_open(bench, CONFIG_TWO_WORKERS, &s, result);
	if (r == 0)
		r = session_prepare(&s, &noop, &job, result);
	if (r == 0)
		r = growth(&s, job, bench->quick ? JOBS_QUICK : JOBS, result);
	/* its ring header, the body, and the empty map of its parameters */
	result->floor = sizeof(struct ring_record) + sizeof(struct submit_body) + 1;
	pyprep_prepared_free(job);
	session_close(&s);
	return r;
}

/* ---- the idle daemon ---- */

struct family {
	pid_t pids[BENCH_WORKERS + 2];
	unsigned count;
};

static int
list_family(struct bench_session *s, struct family *ret, struct bench_result *result)
{
	struct bench_status status;

	if (session_status(s, &status, result) < 0)
		return -1;
	ret->count = 0;
	ret->pids[ret->count++] = status.supervisor;
	ret->pids[ret->count++] = status.broker;
	for (unsigned i = 0; i < status.count; i++)
		if (status.workers[i].pid != 0)
			ret->pids[ret->count++] = status.workers[i].pid;
	return 0;
}

/* Times one process went to sleep; -1 when /proc does not tell. */
static int64_t
sleeps_of(pid_t pid)
{
	char path[64], line[128];
	int64_t count = -1;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return -1;
	while (count < 0 && fgets(line, sizeof line, file))
		if (sscanf(line, "voluntary_ctxt_switches: %" SCNd64, &count) != 1)
			count = -1;
	fclose(file);
	return count;
}

static int64_t
family_sleeps(const struct family *f)
{
	int64_t sum = 0;

	for (unsigned i = 0; i < f->count; i++)
		sum += sleeps_of(f->pids[i]);
	return sum;
}

static int
family_pss(const struct family *f, struct bench_result *result)
{
	uint64_t sum = 0, one = 0;

	for (unsigned i = 0; i < f->count; i++) {
		int r = process_pss(f->pids[i], &one);
		if (r < 0)
			return bench_fail(result, "cannot read the memory of process %d: %s",
					  (int)f->pids[i], strerror(-r));
		sum += one;
	}
	result->value = result->p50 = (double)sum / MIB;
	result->n = f->count;
	return 0;
}

int
bench_idle_pss(const struct bench *bench, struct bench_result *result)
{
	struct bench_session s;
	struct family family;
	uint64_t floor = 0;

	int r = session_open(bench, CONFIG_BUILT_IN, &s, result);
	bench_pause_ms(SETTLE_MS); /* all workers are up */
	if (r == 0)
		r = list_family(&s, &family, result);
	pyprep_close(s.p);
	s.p = NULL;
	bench_pause_ms(SETTLE_MS);
	if (r == 0)
		r = family_pss(&family, result);
	if (r == 0) {
		int64_t before = family_sleeps(&family);
		bench_pause_ms(IDLE_MS);
		bench_extra(result, "wakes", (double)(family_sleeps(&family) - before));
		bench_extra(result, "processes", family.count);
		if (floor_sleepers(family.count, &floor) < 0)
			r = bench_fail(result, "/bin/sleep cannot be run or measured");
		result->floor = (double)floor / MIB;
	}
	session_close(&s);
	return r;
}
