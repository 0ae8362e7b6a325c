/*
 * compare_manager.c - compare manager: the daemon's counters and locks beside
 * multiprocessing.Manager's Value and Lock.
 *
 * CPython's manager can only get and set, so an exact add is four requests there: acquire, get,
 * set, release.  Ours is measured in the same four steps, too, and is compared by them.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/compare.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

#define ADDS     2000u
#define GETS     4000u
#define QUICK    10u
#define WARM     100u
#define ADDERS   2u
#define LOCK_MS  60000
#define ATOMIC_X 100u /* as many adds as by requests would take no time */

enum how { BY_STEPS, BY_ADD, PIPELINED, ATOMIC, GET };

struct manager_way {
	struct pyprep *p;
	enum how how;
	unsigned members;
	uint64_t adds; /* of each member */
	char name[64];
	uint64_t *times_ns; /* shared; GET */
	/* a member's own, made by prepare() */
	struct pyprep_manager *manager;
	struct pyprep_counters *table;
	struct pyprep_counter counter;
};

/* ---- a member ---- */

static int
prepare(void *context, unsigned index)
{
	struct manager_way *w = context;
	struct pyprep_problem why;
	struct pyprep *p;
	int64_t value;

	(void)index;
	if (w->how != ATOMIC)
		return pyprep_manager_connect(ctl.runtime_dir, &w->manager, &why) < 0 ||
		       pyprep_manager_get(w->manager, w->name, &value, &why) < 0;
	if (pyprep_connect(ctl.runtime_dir, &p, &why) < 0)
		return 1;
	int r = pyprep_counters_attach(p, &w->table, &why);
	pyprep_close(p);
	return r < 0 || pyprep_counter_open(w->table, w->name, 0, &w->counter, &why) < 0;
}

/* The four steps of CPython. */
static int
add_by_steps(struct manager_way *w)
{
	struct pyprep_problem why;
	int64_t fence, value;

	return pyprep_manager_lock(w->manager, w->name, LOCK_MS, 0, &fence, &why) < 0 ||
	       pyprep_manager_get(w->manager, w->name, &value, &why) < 0 ||
	       pyprep_manager_set(w->manager, w->name, value + 1, &why) < 0 ||
	       pyprep_manager_unlock(w->manager, w->name, &why) < 0;
}

static int
collect(struct manager_way *w, uint64_t *answered, int timeout_ms)
{
	struct pyprep_answer answer;
	struct pyprep_problem why;

	int r = pyprep_manager_next(w->manager, timeout_ms, &answer, &why);
	if (r < 0 || (r == 1 && answer.result < 0))
		return 1;
	*answered += (uint64_t)r;
	return 0;
}

static int
add_pipelined(struct manager_way *w)
{
	const struct pyprep_ask ask = { .op = PYPREP_ADD, .name = w->name, .value = 1 };
	uint64_t asked = 0, answered = 0;
	struct pyprep_problem why;

	while (answered < w->adds) {
		int r = asked < w->adds ? pyprep_manager_submit(w->manager, &ask, &why) : -EAGAIN;
		if (r == 0)
			asked++;
		else if (r != -EAGAIN || collect(w, &answered, -1) != 0)
			return 1;
	}
	return 0;
}

static int
add_one(struct manager_way *w)
{
	struct pyprep_problem why;

	if (w->how == BY_STEPS)
		return add_by_steps(w);
	if (w->how == BY_ADD)
		return pyprep_manager_add(w->manager, w->name, 1, NULL, &why) < 0;
	return pyprep_counter_add(&w->counter, 1, NULL) < 0;
}

static int
add_member(void *context, unsigned index)
{
	struct manager_way *w = context;

	(void)index;
	if (w->how == PIPELINED)
		return add_pipelined(w);
	for (uint64_t i = 0; i < w->adds; i++)
		if (add_one(w) != 0)
			return 1;
	return 0;
}

static int
get_member(void *context, unsigned index)
{
	struct manager_way *w = context;
	struct pyprep_problem why;
	int64_t value;

	(void)index;
	for (uint64_t i = 0; i < WARM + w->adds; i++) {
		uint64_t begun = clock_now();
		if (pyprep_manager_get(w->manager, w->name, &value, &why) < 0)
			return 1;
		if (i >= WARM)
			w->times_ns[i - WARM] = clock_now() - begun;
	}
	return 0;
}

/* ---- a turn ---- */

/* The counter, made or set to 0; afterwards what it is. */
static int
begin_counter(struct manager_way *w, struct way *way, struct pyprep_counters **ret_table,
	      struct pyprep_counter *ret)
{
	struct pyprep_problem why;

	if (pyprep_counters_attach(w->p, ret_table, &why) < 0 ||
	    pyprep_counter_open(*ret_table, w->name, 1, ret, &why) < 0)
		return way_problem(way, "%.400s", why.message);
	return pyprep_counter_set(ret, 0);
}

static int
check(const struct manager_way *w, struct way *way, const struct pyprep_counter *counter)
{
	uint64_t expected = w->how == GET ? 0 : w->adds * w->members;
	int64_t value = -1;

	if (pyprep_counter_get(counter, &value) < 0 || (uint64_t)value != expected)
		return way_problem(way, "the count was %" PRId64 ", not %" PRIu64, value, expected);
	return 0;
}

static int
measure_manager(struct compare *c, struct way *way, double *ret)
{
	struct manager_way *w = way->context;
	struct pyprep_counters *table = NULL;
	struct pyprep_counter counter = { 0 };
	struct cpu_clocks clocks;
	struct together t;

	(void)c;
	int r = begin_counter(w, way, &table, &counter);
	if (r == 0) {
		cpu_clocks_begin(&clocks, w->p);
		r = together_run(way, w->members, prepare, w->how == GET ? get_member : add_member,
				 w, &t);
	}
	if (r == 0) {
		way->cpu_s = t.cpu_s + cpu_clocks_read(&clocks);
		r = check(w, way, &counter);
	}
	if (r == 0)
		*ret = w->how == GET ? compare_p50(w->times_ns, w->adds)
				     : (double)(w->adds * w->members) / t.seconds;
	pyprep_counters_detach(table);
	return r;
}

/* ---- the works ---- */

static void
say_prices(struct compare *c, const struct work *work, const struct way *python)
{
	const struct way *add = &work->ways[BY_ADD], *atomic = &work->ways[ATOMIC];
	double gain = work_ratio(work, add, python);

	if (way_done(add) && way_done(python) && way_overlaps(add, python))
		compare_say(c,
			    "The turns of an add by one request and of CPython's four overlap "
			    "(medians: %.2f times as fast).",
			    gain);
	else if (way_done(add) && way_done(python))
		compare_say(c, "An add by one request is %.2f times as fast as CPython's four.",
			    gain);
	if (way_done(add) && way_done(atomic))
		compare_say(c,
			    "Without a manager between, in shared memory, it is %.0f times as fast "
			    "as by a request.",
			    work_ratio(work, atomic, add));
}

static int
run_adds(struct compare *c, struct pyprep *p, unsigned members)
{
	static const char *const names[] = { [BY_STEPS] = "lock, get, set, unlock",
					     [BY_ADD] = "manager_add",
					     [PIPELINED] = "manager_add, pipelined",
					     [ATOMIC] = "counter_add, atomic" };
	uint64_t adds = ADDS / (c->quick ? QUICK : 1);
	struct manager_way ways[GET];
	struct work work;

	work_begin(&work, "manager", members == 1 ? "one adds" : "two add", UNIT_PER_S,
		   "%" PRIu64 " adds by %s, exact (the atomic one %u times as many)", adds,
		   members == 1 ? "one process" : "each of two processes", ATOMIC_X);
	for (enum how how = BY_STEPS; how <= ATOMIC; how++) {
		ways[how] = (struct manager_way){ .p = p,
						  .how = how,
						  .members = members,
						  .adds = how == ATOMIC ? ATOMIC_X * adds : adds };
		snprintf(ways[how].name, sizeof ways[how].name, "%s", c->label);
		work_ours(&work, names[how], members, measure_manager, &ways[how]);
	}
	const struct way *python = work_python(&work, "with lock: value += 1", members,
					       &work.ways[BY_STEPS], "manager", "rate_per_s",
					       "adds=%" PRIu64 " processes=%u", adds, members);
	int status = work_run(c, &work);
	compare_say_ratio(c, &work, python);
	say_prices(c, &work, python);
	work_end(&work);
	return status;
}

static int
run_gets(struct compare *c, struct pyprep *p)
{
	uint64_t gets = GETS / (c->quick ? QUICK : 1);
	struct manager_way w = { .p = p, .how = GET, .members = 1, .adds = gets };
	struct work work;

	snprintf(w.name, sizeof w.name, "%s", c->label);
	w.times_ns = floor_share(gets * sizeof *w.times_ns);
	if (!w.times_ns)
		return ctl_fail(EXIT_OURS, "internal", "no memory");
	work_begin(&work, "manager", "get", UNIT_NS, "%" PRIu64 " requests for the value (median)",
		   gets);
	const struct way *ours = work_ours(&work, "manager_get", 1, measure_manager, &w);
	const struct way *python = work_python(&work, "value.value", 1, ours, "manager", "p50_ns",
					       "mode=get rounds=%" PRIu64, gets);
	int status = work_run(c, &work);
	compare_say_ratio(c, &work, python);
	work_end(&work);
	return status;
}

int
compare_manager(struct compare *c, struct pyprep *p)
{
	int status = run_adds(c, p, 1);

	if (status == 0)
		status = run_adds(c, p, ADDERS);
	if (status == 0)
		status = run_gets(c, p);
	return status;
}

int
compare_manager_tidy(void *context)
{
	const struct compare *c = context;
	struct pyprep_counters *table = NULL;
	struct pyprep_problem why;
	struct pyprep *p;

	if (pyprep_connect(ctl.runtime_dir, &p, &why) < 0)
		return 0; /* no daemon, no counter */
	if (pyprep_counters_attach(p, &table, &why) == 0)
		(void)pyprep_counter_remove(table, c->label, &why);
	pyprep_counters_detach(table);
	pyprep_close(p);
	return 0;
}
