/*
 * compare_shm.c - compare shm: shm/array.h beside multiprocessing.shared_memory, and counting
 * together: an atomic counter (shm/counter.h) beside multiprocessing.Value with its lock.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "client/ctl/command.h"
#include "client/ctl/compare.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"
#include "shm/array.h"
#include "shm/counter.h"

#define ELEMENTS     (1u << 20)
#define QUICK_LESS   8
#define ATTACHES     50
#define FILL         2.5
#define ADDERS       2
#define ADDS         200000u
#define OPEN_WAIT_NS (1 * NS_PER_S)

/* ---- arrays ---- */

struct array_way {
	char name[NAMED_MAX + 1];
	struct array_shape shape;
	uint64_t *times_ns; /* shared */
};

static void
fill(struct array *a)
{
	double *values = a->data;

	for (uint64_t i = 0; i < a->count; i++)
		values[i] = FILL;
}

/* Four sums at once: one would wait for itself. */
static double
sum(const struct array *a)
{
	const double *values = a->data;
	double sums[4] = { 0 };

	for (uint64_t i = 0; i + 4 <= a->count; i += 4)
		for (int k = 0; k < 4; k++)
			sums[k] += values[i + k];
	return sums[0] + sums[1] + sums[2] + sums[3];
}

static int
measure_whole(struct compare *c, struct way *way, double *ret)
{
	struct array_way *w = way->context;
	struct array *a;

	(void)c;
	uint64_t begun = clock_now();
	int r = array_create(w->name, ARRAY_f64, &w->shape, 0, 0, &a);
	if (r < 0)
		return way_problem(way, "cannot make an array: %s", strerror(-r));
	fill(a);
	double total = sum(a);
	*ret = (double)(clock_now() - begun);
	r = total == FILL * (double)a->count ? 0 : way_problem(way, "the sum was %g", total);
	array_close(a);
	(void)array_unlink(w->name);
	return r;
}

/* Open, map, read one element, as often as in CPython. */
static int
attach_member(void *context, unsigned index)
{
	struct array_way *w = context;
	struct array *a;

	(void)index;
	for (int i = 0; i < ATTACHES; i++) {
		uint64_t begun = clock_now();
		if (array_attach(w->name, 0, &a) < 0)
			return 1;
		bool right = *(volatile double *)a->data == FILL;
		w->times_ns[i] = clock_now() - begun;
		array_close(a);
		if (!right)
			return 2;
	}
	return 0;
}

static int
measure_attach(struct compare *c, struct way *way, double *ret)
{
	struct array_way *w = way->context;
	struct together t;
	struct array *a;

	(void)c;
	int r = array_create(w->name, ARRAY_f64, &w->shape, 0, 0, &a);
	if (r < 0)
		return way_problem(way, "cannot make an array: %s", strerror(-r));
	fill(a);
	r = together_run(way, 1, NULL, attach_member, w, &t);
	array_close(a);
	(void)array_unlink(w->name);
	if (r == 0)
		*ret = compare_p50(w->times_ns, ATTACHES);
	return r;
}

static void
run_arrays(struct compare *c, struct array_way *w)
{
	uint64_t bytes = w->shape.length[0] * sizeof(double);
	const char *params = "bytes=%" PRIu64 " rounds=%d";
	struct work whole, attach;

	work_begin(&whole, "shm", "make, fill, sum", UNIT_NS, "%" PRIu64 " bytes of f64", bytes);
	const struct way *ours = work_ours(&whole, "array_create", 1, measure_whole, w);
	const struct way *python = work_python(&whole, "SharedMemory", 1, ours, "shm",
					       "whole_seconds", params, bytes, 3);
	work_run(c, &whole);
	compare_say_ratio(c, &whole, python);
	work_end(&whole);

	work_begin(&attach, "shm", "attach", UNIT_NS,
		   "open %" PRIu64 " bytes that another process made, read one element", bytes);
	ours = work_ours(&attach, "array_attach", 1, measure_attach, w);
	python = work_python(&attach, "SharedMemory(name)", 1, ours, "shm", "attach_ns", params,
			     bytes, ATTACHES);
	work_run(c, &attach);
	compare_say_ratio(c, &attach, python);
	work_end(&attach);
}

/* ---- counting ---- */

struct count_way {
	struct counter_table *table;
	struct counter counter;
	uint64_t adds;
};

static int
count_member(void *context, unsigned index)
{
	struct count_way *w = context;

	(void)index;
	for (uint64_t i = 0; i < w->adds; i++)
		if (counter_add(&w->counter, 1, NULL) < 0)
			return 1;
	return 0;
}

static int
measure_count(struct compare *c, struct way *way, double *ret)
{
	struct count_way *w = way->context;
	uint64_t expected = ADDERS * w->adds;
	struct together t;
	int64_t value = -1;

	(void)c;
	(void)counter_set(&w->counter, 0);
	if (together_run(way, ADDERS, NULL, count_member, w, &t) < 0)
		return -1;
	way->cpu_s = t.cpu_s;
	if (counter_get(&w->counter, &value) < 0 || (uint64_t)value != expected)
		return way_problem(way, "the count was %" PRId64 ", not %" PRIu64, value, expected);
	*ret = (double)expected / t.seconds;
	return 0;
}

static int
run_counting(struct compare *c)
{
	struct count_way w = { .adds = c->quick ? ADDS / QUICK_LESS : ADDS };
	struct work work;

	w.table = floor_share(sizeof *w.table);
	if (!w.table)
		return ctl_fail(EXIT_OURS, "internal", "no memory");
	counter_table_init(w.table);
	if (counter_open(w.table, "compared", OPEN_WAIT_NS, &w.counter) < 0)
		return ctl_fail(EXIT_OURS, "internal", "no counter");
	work_begin(&work, "shm", "count", UNIT_PER_S, "%d processes add 1, %" PRIu64 " times each",
		   ADDERS, w.adds);
	const struct way *ours = work_ours(&work, "counter_add", ADDERS, measure_count, &w);
	const struct way *python =
		work_python(&work, "Value, get_lock", ADDERS, ours, "value", "rate_per_s",
			    "adds=%" PRIu64 " processes=%d", w.adds, ADDERS);
	work_run(c, &work);
	const json_t *lost = json_object_get(python->more, "lost");
	if (json_is_integer(lost) && way_done(ours))
		compare_say(c,
			    "Without its lock CPython's Value lost %" JSON_INTEGER_FORMAT
			    " of %" PRIu64 " adds in the last turn; pyprep's counter has none, and "
			    "lost none.",
			    json_integer_value(lost), ADDERS * w.adds);
	compare_say_ratio(c, &work, python);
	work_end(&work);
	munmap(w.table, sizeof *w.table);
	return 0;
}

int
compare_shm(struct compare *c, struct pyprep *p)
{
	struct array_way w = { .shape = { .dimensions = 1 } };

	(void)p;
	w.shape.length[0] = c->quick ? ELEMENTS / QUICK_LESS : ELEMENTS;
	snprintf(w.name, sizeof w.name, "%s", c->label);
	w.times_ns = floor_share(ATTACHES * sizeof *w.times_ns);
	if (!w.times_ns)
		return ctl_fail(EXIT_OURS, "internal", "no memory");
	run_arrays(c, &w);
	return run_counting(c);
}
