/* explain_hold.c - lock-owner-dies, and manager-cost. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/explain.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"
#include "shm/futex.h"
#include "shm/lock.h"

#define PATIENCE_MS 500

/* ---- lock-owner-dies ---- */

struct locks {
	struct lock robust;
	pthread_mutex_t plain;
	_Atomic uint32_t held;
	bool take_plain;
};

static int
hold_for_ever(void *context)
{
	struct locks *l = context;

	if (l->take_plain)
		pthread_mutex_lock(&l->plain);
	else
		(void)lock_take(&l->robust, -1);
	atomic_store(&l->held, 1);
	futex_wake(&l->held, 1);
	while (atomic_load(&l->held) != 0)
		pause();
	return 0;
}

/* An owner takes the lock and is killed; then we try: ns until we had it, or NAN after
 * PATIENCE_MS. */
static double
take_from_the_dead(struct demo *d, struct locks *l, bool plain, int *ret)
{
	struct timespec until;

	l->take_plain = plain;
	atomic_store(&l->held, 0);
	pid_t owner = demo_actor(d, hold_for_ever, l);
	while (owner > 0 && atomic_load(&l->held) == 0)
		(void)futex_wait(&l->held, 0, FUTEX_SLICE_NS);
	demo_kill(d, owner);
	uint64_t begun = clock_now();
	if (plain) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += PATIENCE_MS * (long)NS_PER_MS;
		until.tv_sec += until.tv_nsec / (long)NS_PER_S;
		until.tv_nsec %= (long)NS_PER_S;
		*ret = -pthread_mutex_timedlock(&l->plain, &until);
	} else {
		*ret = lock_take(&l->robust, PATIENCE_MS);
	}
	double ns = (double)(clock_now() - begun);
	return *ret == 0 || *ret == -EOWNERDEAD ? ns : NAN;
}

int
explain_lock(struct demo *d)
{
	struct locks *l = floor_share(sizeof *l);
	pthread_mutexattr_t shared;
	int plain, robust, after;

	if (!l || lock_init(&l->robust) < 0)
		return demo_fail(d, "there is no shared memory");
	pthread_mutexattr_init(&shared);
	pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&l->plain, &shared);
	demo_say(d, "A process takes a lock and is killed -9. Another one wants it, for %d ms.",
		 PATIENCE_MS);
	(void)take_from_the_dead(d, l, true, &plain);
	double told = take_from_the_dead(d, l, false, &robust);
	(void)lock_repaired(&l->robust);
	(void)lock_release(&l->robust);
	after = lock_take(&l->robust, 0);
	demo_check(d, plain == -ETIMEDOUT, "a plain lock is never free again: %d ms, and no lock",
		   PATIENCE_MS);
	demo_check(d, robust == -EOWNERDEAD,
		   "the robust lock came with the news that its owner had died");
	demo_check(d, after == 0, "after the repair it is a lock like any other");
	demo_figure(d, "robust_ns", told, "ns", "from the owner's death to the lock and the news");
	json_t *python = demo_python(d, "locks",
				     (const char *const[]){ "mode=killed", "wait_ms=500", NULL });
	const json_t *acquired = json_object_get(python, "acquired");
	demo_figure(d, "plain_acquired", plain == 0, "yes", "plain lock taken after the death");
	demo_figure(d, "robust_acquired", robust == -EOWNERDEAD, "yes", "robust lock taken");
	if (acquired) {
		demo_python_figure(d, "plain_acquired", json_is_true(acquired));
		demo_conclude(d,
			      "CPython's multiprocessing.Lock was %s by the next process within "
			      "%d ms.",
			      json_is_true(acquired) ? "taken" : "not taken", PATIENCE_MS);
	}
	json_decref(python);
	demo_conclude(
		d,
		"A plain lock dies with its owner: everybody waits for ever. A robust one was "
		"handed on %s after the death, with EOWNERDEAD: what it guards may be half "
		"changed, so repair it and say so, or declare it broken.",
		measure_ns(told));
	munmap(l, sizeof *l);
	return 0;
}

/* ---- manager-cost ---- */

struct prices {
	double atomic_ns, single_ns, pipelined_per_s;
};

static double
atomic_add_ns(const struct pyprep_counter *c, uint64_t adds)
{
	uint64_t begun = clock_now();

	for (uint64_t i = 0; i < adds; i++)
		if (pyprep_counter_add(c, 1, NULL) < 0)
			return NAN;
	return (double)(clock_now() - begun) / (double)adds;
}

static double
single_add_ns(struct pyprep_manager *m, const char *name, unsigned rounds)
{
	struct samples samples = { 0 };
	struct pyprep_problem why;
	int64_t value;

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t begun = clock_now();
		if (pyprep_manager_add(m, name, 1, &value, &why) < 0)
			return NAN;
		samples_add(&samples, clock_now() - begun);
	}
	double p50 = (double)samples_percentile(&samples, 50);
	samples_free(&samples);
	return p50;
}

static double
pipelined_rate(struct pyprep_manager *m, const char *name, uint64_t adds)
{
	struct pyprep_ask ask = { .op = PYPREP_ADD, .name = name, .value = 1 };
	struct pyprep_answer answer;
	struct pyprep_problem why;
	uint64_t sent = 0, answered = 0, begun = clock_now();

	while (answered < adds) {
		int r = sent < adds ? pyprep_manager_submit(m, &ask, &why) : -EAGAIN;
		sent += r == 0;
		if (r == 0)
			continue;
		if (r != -EAGAIN || pyprep_manager_next(m, -1, &answer, &why) != 1 ||
		    answer.result < 0)
			return NAN;
		answered++;
	}
	return (double)adds / ((double)(clock_now() - begun) / (double)NS_PER_S);
}

static int
measure_prices(struct demo *d, struct pyprep *p, const char *runtime, struct prices *ret)
{
	uint64_t adds = demo_quick(d) ? 1000000 : 10000000, some = demo_quick(d) ? 50000 : 500000;
	unsigned rounds = demo_quick(d) ? 1000 : 10000;
	struct pyprep_counters *counters = NULL;
	struct pyprep_counter counter = { 0 };
	struct pyprep_manager *m = NULL;
	struct pyprep_problem why;
	int64_t value = -1;

	if (pyprep_counters_attach(p, &counters, &why) < 0)
		return demo_fail(d, "%s", why.message);
	int r = pyprep_counter_open(counters, "explain", 1, &counter, &why);
	if (r == 0)
		r = pyprep_manager_connect(runtime, &m, &why);
	if (r < 0) {
		pyprep_counters_detach(counters);
		return demo_fail(d, "%s", why.message);
	}
	ret->atomic_ns = atomic_add_ns(&counter, adds);
	ret->single_ns = single_add_ns(m, "explain", rounds);
	ret->pipelined_per_s = pipelined_rate(m, "explain", some);
	(void)pyprep_counter_get(&counter, &value);
	demo_check(d, value == (int64_t)(adds + rounds + some),
		   "both ways counted into one number, and none was lost");
	pyprep_manager_close(m);
	pyprep_counters_detach(counters);
	return 0;
}

static void
say_prices(struct demo *d, const struct prices *ours)
{
	const char *const one[] = { "processes=1", NULL };
	json_t *manager = demo_python(d, "manager", one), *value = demo_python(d, "value", one);

	demo_figure(d, "atomic_ns", ours->atomic_ns, "ns", "an atomic add in shared memory");
	demo_python_figure(d, "atomic_ns", 1e9 / demo_number(value, "rate_per_s"));
	demo_figure(d, "manager_ns", ours->single_ns, "ns",
		    "an exact add by the manager (CPython: 4 requests)");
	demo_python_figure(d, "manager_ns", 1e9 / demo_number(manager, "rate_per_s"));
	demo_figure(d, "manager_rate", ours->pipelined_per_s, "/s", "... up to 256 under way");
	json_decref(manager);
	json_decref(value);
	demo_conclude(d,
		      "An add that asks a manager process costs %s, an atomic one %s: %s as much. "
		      "Two messages and two wakes stand against one instruction.",
		      measure_ns(ours->single_ns), measure_ns(ours->atomic_ns),
		      measure_times(ours->single_ns / ours->atomic_ns));
	demo_conclude(d,
		      "With many requests under way it is %s each. A manager serves any language, "
		      "holds locks, and keeps the memory from its clients; count with atomics.",
		      measure_ns(1e9 / ours->pipelined_per_s));
}

int
explain_manager(struct demo *d)
{
	char path[1024];
	struct bench bench = { .daemon = path, .directory = demo_directory(d), .quick = true };
	struct bench_result result = { 0 };
	struct bench_session session;
	struct prices prices = { 0 };

	if (bench_find_daemon(path, sizeof path) < 0)
		return demo_fail(d, "pyprepd is not beside pyprepctl, in ../sbin or in PATH");
	if (session_open(&bench, CONFIG_BUILT_IN, &session, &result) < 0)
		return demo_fail(d, "no daemon could be started: %.300s", result.error);
	int r = measure_prices(d, session.p, session.daemon.runtime, &prices);
	session_close(&session);
	if (r == 0)
		say_prices(d, &prices);
	return r;
}
