/* bench_life.c - rows of processes: replacing a worker, starting the daemon. */
#include <signal.h>
#include <string.h>

#include "client/ctl/bench.h"
#include "client/ctl/floor.h"
#include "ipc/clock.h"

#define KILLS        120
#define KILLS_QUICK  20
#define FLOOR_BATCH  10 /* of the floor, after as many of ours */
#define REST_MS      8  /* between kills: the supervisor makes its next link ahead */
#define LOOK_MS      1
#define PATIENCE_NS  (60 * NS_PER_S)
#define WORK         16 /* jobs after each kill: a worker that ran none is replaced slowly */
#define STARTS       20
#define STARTS_QUICK 5

/* An idle worker of pool cpu that has run a job since `before` (a slot's count outlives its
 * process). */
static const struct bench_worker *
find_victim(const struct bench_status *status, const struct bench_status *before)
{
	for (unsigned i = 0; i < status->count && i < before->count; i++) {
		const struct bench_worker *w = &status->workers[i];
		if (strcmp(w->pool, "cpu") == 0 && w->idle && w->pid == before->workers[i].pid &&
		    w->jobs > before->workers[i].jobs)
			return w;
	}
	return NULL;
}

static const struct bench_worker *
find_slot(const struct bench_status *status, unsigned slot)
{
	for (unsigned i = 0; i < status->count; i++)
		if (strcmp(status->workers[i].pool, "cpu") == 0 && status->workers[i].slot == slot)
			return &status->workers[i];
	return NULL;
}

/* Until the slot's new process has said ready; its own clock says when that was. */
static int
wait_successor(struct bench_session *s, unsigned slot, pid_t old, uint64_t killed_ns,
	       uint64_t *ret_ns, struct bench_result *result)
{
	struct bench_status status;

	while (clock_now() - killed_ns < PATIENCE_NS) {
		bench_pause_ms(LOOK_MS);
		if (session_status(s, &status, result) < 0)
			return -1;
		const struct bench_worker *w = find_slot(&status, slot);
		if (w && w->pid != 0 && w->pid != old && w->ready_ns > killed_ns) {
			*ret_ns = w->ready_ns - killed_ns;
			return 0;
		}
	}
	return bench_fail(result, "worker cpu/%u was not replaced within 60 s", slot);
}

static int
kill_one(struct bench_session *s, const struct pyprep_prepared *noop, struct samples *ret,
	 struct bench_result *result)
{
	struct bench_status before, status;
	const struct bench_worker *victim = NULL;
	uint64_t ns = 0;

	for (unsigned tries = 0; !victim && tries < 100; tries++) {
		if (session_status(s, &before, result) < 0 ||
		    session_run(s, noop, WORK, WORK, result) < 0 ||
		    session_status(s, &status, result) < 0)
			return -1;
		victim = find_victim(&status, &before);
	}
	if (!victim)
		return bench_fail(result, "pool cpu has no idle worker that has run a job");
	bench_pause_ms(REST_MS);
	uint64_t killed_ns = clock_now();
	if (kill(victim->pid, SIGKILL) < 0)
		return bench_fail(result, "worker %d was gone already", (int)victim->pid);
	if (wait_successor(s, victim->slot, victim->pid, killed_ns, &ns, result) < 0)
		return -1;
	samples_add(ret, ns);
	return 0;
}

int
bench_replacement(const struct bench *bench, struct bench_result *result)
{
	const struct pyprep_job job = { .kind = "noop", .pool = "cpu" };
	unsigned kills = bench->quick ? KILLS_QUICK : KILLS;
	struct samples ours = { 0 }, least = { 0 };
	struct pyprep_prepared *noop = NULL;
	struct bench_session s;

	int r = session_open(bench, CONFIG_TWO_WORKERS, &s, result);
	if (r == 0)
		r = session_prepare(&s, &job, &noop, result);
	for (unsigned i = 0; r == 0 && i < kills; i++) {
		r = kill_one(&s, noop, &ours, result);
		if (r == 0 && i % FLOOR_BATCH == 0 && floor_respawn(FLOOR_BATCH, &least) < 0)
			r = bench_fail(result, "the floor's processes cannot start");
	}
	if (r == 0) {
		bench_percentiles(result, &ours, NS_PER_US);
		result->value = result->p50;
		result->floor = (double)samples_percentile(&least, 50) / NS_PER_US;
		bench_extra(result, "floor_p99",
			    (double)samples_percentile(&least, 99) / NS_PER_US);
	}
	samples_free(&ours);
	samples_free(&least);
	pyprep_prepared_free(noop);
	session_close(&s);
	return r;
}

int
bench_start(const struct bench *bench, struct bench_result *result)
{
	unsigned starts = bench->quick ? STARTS_QUICK : STARTS;
	struct samples ours = { 0 }, least = { 0 };
	struct bench_daemon daemon;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < starts; i++) {
		uint64_t begun = clock_now();
		r = daemon_spawn(bench, CONFIG_BUILT_IN, &daemon, result);
		if (r == 0)
			r = daemon_wait(&daemon, result);
		samples_add(&ours, clock_now() - begun);
		daemon_stop(&daemon);
		if (r == 0 && floor_run_true(1, &least) < 0)
			r = bench_fail(result, "/bin/true cannot be run");
	}
	if (r == 0) {
		bench_percentiles(result, &ours, NS_PER_MS);
		result->value = result->p50;
		result->floor = (double)samples_percentile(&least, 50) / NS_PER_MS;
	}
	samples_free(&ours);
	samples_free(&least);
	return r;
}
