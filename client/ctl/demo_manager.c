/*
 * demo_manager.c - the story of counters kept by a process: what a request costs beside an
 * instruction, both ways at once, the manager killed under load, and a lock whose holder is.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/demo.h"
#include "client/ctl/floor.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"

#define PARTIES     4 /* two of each way */
#define KILLS       3
#define PATIENCE_MS 60000

/* The daemon of this story, and what its actors share. */
struct stage {
	struct bench_session session;
	struct pyprep_manager *manager;
	struct pyprep_counters *table;
	int64_t adds;                /* of each actor */
	_Atomic uint32_t number;     /* which actor is which */
	_Atomic uint32_t ready;      /* actors that stand where they should */
	_Atomic uint64_t granted_ns; /* when the waiter had the lock */
};

static int
open_stage(struct demo *demo, struct stage *s)
{
	static char daemon[600];
	struct bench bench = { .daemon = daemon, .directory = demo_directory(demo), .label = "" };
	struct bench_result result = { 0 };
	struct pyprep_problem why;

	if (bench_find_daemon(daemon, sizeof daemon) < 0)
		return demo_fail(demo, "there is no pyprepd beside pyprepctl or in PATH");
	if (session_open(&bench, CONFIG_TWO_WORKERS, &s->session, &result) < 0)
		return demo_fail(demo, "%s", result.error);
	if (pyprep_manager_connect(s->session.daemon.runtime, &s->manager, &why) < 0 ||
	    pyprep_counters_attach(s->session.p, &s->table, &why) < 0)
		return demo_fail(demo, "%s", why.message);
	return 0;
}

static void
close_stage(struct stage *s)
{
	pyprep_manager_close(s->manager);
	pyprep_counters_detach(s->table);
	session_close(&s->session);
}

static pid_t
manager_pid(struct stage *s)
{
	struct bench_result result = { 0 };
	struct bench_status status = { 0 };

	return session_status(&s->session, &status, &result) == 0 ? status.manager : 0;
}

/* `count` adds to `name` with as many under way as may be.  How many failed; -1: no answer. */
static int64_t
add_pipelined(struct pyprep_manager *m, const char *name, int64_t count)
{
	struct pyprep_ask ask = { .op = PYPREP_ADD, .name = name, .value = 1 };
	struct pyprep_answer answer;
	int64_t failed = 0;

	for (int64_t sent = 0, got = 0; got < count;) {
		if (sent < count && pyprep_manager_submit(m, &ask, NULL) == 0) {
			sent++;
			continue;
		}
		if (pyprep_manager_next(m, PATIENCE_MS, &answer, NULL) != 1)
			return -1;
		failed += answer.result != 0;
		got++;
	}
	return failed;
}

/* ---- the price ---- */

static double
price_atomic(struct stage *s, int64_t adds)
{
	struct pyprep_counter c;

	if (pyprep_counter_open(s->table, "price", 1, &c, NULL) < 0)
		return 0;
	uint64_t begun = clock_now();
	for (int64_t i = 0; i < adds; i++)
		(void)pyprep_counter_add(&c, 1, NULL);
	return (double)(clock_now() - begun) / (double)adds;
}

static double
price_single(struct stage *s, unsigned adds)
{
	struct samples samples = { 0 };
	double p50 = 0;

	for (unsigned i = 0; i < adds; i++) {
		uint64_t begun = clock_now();
		if (pyprep_manager_add(s->manager, "price", 1, NULL, NULL) < 0)
			return 0;
		samples_add(&samples, clock_now() - begun);
	}
	p50 = (double)samples_percentile(&samples, 50);
	samples_free(&samples);
	return p50;
}

static double
rate_pipelined(struct stage *s, int64_t adds)
{
	uint64_t begun = clock_now();

	if (add_pipelined(s->manager, "price", adds) != 0)
		return 0;
	return (double)adds * 1e9 / (double)(clock_now() - begun);
}

static void
ask_python_its_price(struct demo *demo)
{
	const char *value[] = { "adds=50000", "processes=1", NULL };
	const char *get[] = { "mode=get", "rounds=1000", NULL };
	const char *add[] = { "adds=1000", "processes=1", NULL };

	json_t *answer = demo_python(demo, "value", value);
	demo_python_figure(demo, "atomic_ns", 1e9 / demo_number(answer, "rate_per_s"));
	json_decref(answer);
	answer = demo_python(demo, "manager", get);
	demo_python_figure(demo, "single_ns", demo_number(answer, "p50_ns"));
	json_decref(answer);
	answer = demo_python(demo, "manager", add);
	demo_python_figure(demo, "pipelined_per_s", demo_number(answer, "rate_per_s"));
	json_decref(answer);
}

static int
tell_price(struct demo *demo, struct stage *s)
{
	bool quick = demo_quick(demo);

	demo_chapter(demo, "Two ways to one counter");
	double atomic = price_atomic(s, quick ? 1000000 : 10000000);
	double single = price_single(s, quick ? 500 : 5000);
	double rate = rate_pipelined(s, quick ? 20000 : 200000);
	if (atomic <= 0 || single <= 0 || rate <= 0)
		return demo_fail(demo, "an add failed");
	demo_say(demo, "mapped here, an add is one instruction: %.1f ns", atomic);
	demo_say(demo, "asked of the manager (pid %d), it is a request and an answer: %s, %s times",
		 (int)manager_pid(s), unit_time_human((uint64_t)single).text,
		 unit_count((uint64_t)(single / atomic)).text);
	demo_say(demo, "many requests under way: %s adds/s", unit_rate(rate).text);
	demo_figure(demo, "atomic_ns", atomic, "ns", "an add straight in memory (Value, locked)");
	demo_figure(demo, "single_ns", single, "ns", "a request to the manager, one at a time");
	demo_figure(demo, "price", single / atomic, "x", "manager to memory");
	demo_figure(demo, "pipelined_per_s", rate, "/s", "adds by the manager, pipelined");
	ask_python_its_price(demo);
	return 0;
}

/* ---- both at once ---- */

static int
add_to_both(void *context)
{
	struct stage *s = context;
	bool atomic = atomic_fetch_add(&s->number, 1) % 2 == 0;
	struct pyprep_manager *m;
	struct pyprep_counter c;

	if (!atomic) {
		if (pyprep_manager_connect(s->session.daemon.runtime, &m, NULL) < 0)
			return 1;
		int64_t failed = add_pipelined(m, "both", s->adds);
		pyprep_manager_close(m);
		return failed != 0;
	}
	if (pyprep_counter_open(s->table, "both", 1, &c, NULL) < 0)
		return 1;
	for (int64_t i = 0; i < s->adds; i++)
		if (pyprep_counter_add(&c, 1, NULL) < 0)
			return 1;
	return 0;
}

static int
tell_both(struct demo *demo, struct stage *s)
{
	pid_t pids[PARTIES];
	int64_t value = 0;
	bool fine = true;

	demo_chapter(demo, "Both at once");
	s->adds = demo_quick(demo) ? 20000 : 200000;
	uint64_t expected = PARTIES * (uint64_t)s->adds;
	for (unsigned i = 0; i < PARTIES; i++)
		pids[i] = demo_actor(demo, add_to_both, s);
	for (unsigned i = 0; i < PARTIES; i++)
		fine &= demo_wait(demo, pids[i], 5 * PATIENCE_MS) == 0;
	if (!fine || pyprep_manager_get(s->manager, "both", &value, NULL) < 0)
		return demo_fail(demo, "the processes that add did not end as they should");
	demo_say(demo, "4 processes, 2 of each way, %s adds each: %s of %s",
		 unit_count((uint64_t)s->adds).text, unit_count((uint64_t)value).text,
		 unit_count(expected).text);
	demo_check(demo, (uint64_t)value == expected, "both ways at once are exact");
	return 0;
}

/* ---- the manager is killed ---- */

/* Kill it, and add on until a new one answers: ns from the kill; 0: it never does. */
static uint64_t
kill_and_add(struct demo *demo, struct stage *s, int64_t *ret_errors)
{
	pid_t old = manager_pid(s);

	/* Requests are under way when it dies. */
	struct pyprep_ask ask = { .op = PYPREP_ADD, .name = "kept", .value = 1 };
	struct pyprep_answer answer;
	unsigned sent = 0, got = 0;
	while (pyprep_manager_submit(s->manager, &ask, NULL) == 0)
		sent++;
	if (old == 0 || kill(old, SIGKILL) < 0)
		return 0;
	uint64_t begun = clock_now();
	for (; got < sent; got++) {
		if (pyprep_manager_next(s->manager, PATIENCE_MS, &answer, NULL) != 1)
			return 0;
		*ret_errors += answer.result != 0;
	}
	s->adds += sent;
	if (pyprep_manager_add(s->manager, "kept", 1, NULL, NULL) < 0)
		++*ret_errors;
	s->adds++;
	uint64_t ns = clock_now() - begun;
	demo_say(demo, "%d killed with %u requests under way; all are answered %s later, by %d",
		 (int)old, sent, unit_time_human(ns).text, (int)manager_pid(s));
	return ns;
}

static int
tell_kill(struct demo *demo, struct stage *s)
{
	int64_t value = 0, errors = 0;
	double back[KILLS];

	demo_chapter(demo, "The manager is killed");
	s->adds = 0;
	for (unsigned i = 0; i < KILLS; i++) {
		uint64_t ns = kill_and_add(demo, s, &errors);
		if (ns == 0)
			return demo_fail(demo, "no manager answers any more");
		back[i] = (double)ns;
	}
	if (pyprep_manager_get(s->manager, "kept", &value, NULL) < 0)
		return demo_fail(demo, "the counter is gone");
	demo_say(demo, "the counter: %s of %s; errors seen: %" PRId64,
		 unit_count((uint64_t)value).text, unit_count((uint64_t)s->adds).text, errors);
	demo_check(demo, value == s->adds, "values are kept, and each request is applied once");
	demo_check(demo, errors <= KILLS, "clients see one retryable error a kill, at most");
	demo_figure(demo, "back_ns", bench_median(back, KILLS), "ns",
		    "manager killed: until all is answered");
	demo_figure(demo, "errors", (double)errors, "", "errors seen in 3 kills");
	return 0;
}

/* ---- a lock's holder is killed ---- */

static int
hold_lock(void *context)
{
	struct stage *s = context;
	struct pyprep_manager *m;

	if (pyprep_manager_connect(s->session.daemon.runtime, &m, NULL) < 0)
		return 1;
	atomic_fetch_add(&s->ready, 1);
	if (pyprep_manager_lock(m, "story", -1, 3600 * NS_PER_S, NULL, NULL) < 0)
		return 1;
	atomic_store(&s->granted_ns, clock_now());
	for (;;)
		pause();
}

static bool
wait_for(_Atomic uint64_t *word)
{
	uint64_t until = clock_now() + PATIENCE_MS * NS_PER_MS;

	while (atomic_load(word) == 0 && clock_now() < until)
		usleep(100);
	return atomic_load(word) != 0;
}

static int
see_waiters(void *context, const struct pyprep_lock *lock)
{
	*(unsigned *)context = lock->waiters;
	return 0;
}

static bool
somebody_waits(struct stage *s)
{
	uint64_t until = clock_now() + PATIENCE_MS * NS_PER_MS;
	unsigned waiters = 0;

	while (waiters == 0 && clock_now() < until)
		if (pyprep_manager_locks(s->manager, see_waiters, &waiters, NULL) < 0)
			return false;
	return waiters > 0;
}

static int
tell_lock(struct demo *demo, struct stage *s)
{
	demo_chapter(demo, "A lock whose holder is killed");
	atomic_store(&s->granted_ns, 0);
	pid_t holder = demo_actor(demo, hold_lock, s);
	if (!wait_for(&s->granted_ns))
		return demo_fail(demo, "nobody got the lock");
	atomic_store(&s->granted_ns, 0);
	pid_t waiter = demo_actor(demo, hold_lock, s);
	if (!somebody_waits(s))
		return demo_fail(demo, "nobody waits for the lock");
	demo_say(demo, "%d holds it with a lease of an hour, %d waits", (int)holder, (int)waiter);
	uint64_t begun = clock_now();
	demo_kill(demo, holder);
	bool got = wait_for(&s->granted_ns);
	uint64_t ns = got ? atomic_load(&s->granted_ns) - begun : 0;
	if (got)
		demo_say(demo, "%d killed: %d has it %s later; the manager watches its clients",
			 (int)holder, (int)waiter, unit_time_human(ns).text);
	demo_check(demo, got, "a dead holder's lock goes to the first who waits");
	demo_figure(demo, "granted_ns", (double)ns, "ns",
		    "holder killed: until the next has the lock");
	demo_kill(demo, waiter);
	return 0;
}

static int
tell(struct demo *demo)
{
	struct stage *s = floor_share(sizeof *s);

	if (s == NULL)
		return demo_fail(demo, "no memory for the story");
	int r = open_stage(demo, s);
	if (r == 0)
		r = tell_price(demo, s);
	if (r == 0)
		r = tell_both(demo, s);
	if (r == 0)
		r = tell_kill(demo, s);
	if (r == 0)
		r = tell_lock(demo, s);
	close_stage(s);
	return r;
}

extern const struct demo_row demo_manager;
const struct demo_row demo_manager = {
	.name = "manager",
	.summary = "counters kept by a process, and straight in memory; the process is killed",
	.tell = tell,
};
