/* bench_lane.c - rows of the lane: how fast jobs get there and back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client/ctl/bench.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

#define ROUNDS_MOST 15
#define WINDOW      2048 /* jobs in flight; their submits fit the lane */
#define WARM        500
#define ARRAY_ITEMS 10000000
#define ARRAY_QUICK 2000000

static const struct pyprep_job noop = { .kind = "noop" };

static int
fail_errno(struct bench_result *result, int r)
{
	return bench_fail(result, "the floor's processes cannot start: %s", strerror(-r));
}

/* ---- one in flight ---- */

static int
one_by_one(struct bench_session *s, const struct pyprep_prepared *job, unsigned count,
	   struct samples *ret, struct bench_result *result)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t begun = clock_now();
		int r = pyprep_submit_prepared(s->p, job, NULL, NULL);
		if (r < 0)
			return bench_fail(result, "cannot submit: %s", strerror(-r));
		if (session_receipt(s, result) < 0)
			return -1;
		samples_add(ret, clock_now() - begun);
	}
	return 0;
}

static int
latency_rounds(struct bench_session *s, struct ring_floor *floor, const struct bench *bench,
	       const struct pyprep_prepared *job, struct bench_result *result)
{
	unsigned rounds = bench->quick ? 5 : ROUNDS_MOST, each = bench->quick ? 4000 : 20000;
	double values[ROUNDS_MOST], floors[ROUNDS_MOST];
	struct samples all = { 0 }, all_floors = { 0 };
	int r = 0;

	for (unsigned i = 0; r == 0 && i < rounds; i++) {
		struct samples warm = { 0 }, one = { 0 }, least = { 0 };
		ring_floor_echo(floor, WARM, &warm);
		ring_floor_echo(floor, each, &least);
		r = one_by_one(s, job, WARM, &warm, result);
		if (r == 0)
			r = one_by_one(s, job, each, &one, result);
		values[i] = (double)samples_percentile(&one, 50);
		floors[i] = (double)samples_percentile(&least, 50);
		for (uint64_t k = 0; k < one.count && one.values; k++)
			samples_add(&all, one.values[k]);
		for (uint64_t k = 0; k < least.count && least.values; k++)
			samples_add(&all_floors, least.values[k]);
		samples_free(&warm);
		samples_free(&one);
		samples_free(&least);
	}
	if (r == 0) {
		bench_percentiles(result, &all, 1);
		result->value = bench_median(values, rounds);
		result->floor = bench_median(floors, rounds);
		bench_extra(result, "floor_p99", (double)samples_percentile(&all_floors, 99));
		bench_extra(result, "floor_p999", (double)samples_percentile(&all_floors, 99.9));
	}
	samples_free(&all);
	samples_free(&all_floors);
	return r;
}

int
bench_attached_latency(const struct bench *bench, struct bench_result *result)
{
	struct pyprep_prepared *job = NULL;
	struct ring_floor *floor = NULL;
	struct bench_session s;

	int r = session_open(bench, CONFIG_TWO_WORKERS, &s, result);
	if (r == 0)
		r = session_prepare(&s, &noop, &job, result);
	if (r == 0 && (r = ring_floor_start(1, &floor)) < 0)
		r = fail_errno(result, r);
	if (r == 0)
		r = latency_rounds(&s, floor, bench, job, result);
	ring_floor_stop(floor);
	pyprep_prepared_free(job);
	session_close(&s);
	return r;
}

/* ---- many in flight ---- */

int
bench_attached_rate(const struct bench *bench, struct bench_result *result)
{
	unsigned rounds = bench->quick ? 3 : 9;
	uint64_t each = bench->quick ? 100000 : 400000;
	double values[ROUNDS_MOST], floors[ROUNDS_MOST];
	struct pyprep_prepared *job = NULL;
	struct ring_floor *floor = NULL;
	struct bench_session s;

	int r = session_open(bench, CONFIG_TWO_WORKERS, &s, result);
	if (r == 0)
		r = session_prepare(&s, &noop, &job, result);
	if (r == 0 && (r = ring_floor_start(FLOOR_WORKERS, &floor)) < 0)
		r = fail_errno(result, r);
	if (r == 0)
		r = session_run(&s, job, each / 4, WINDOW, result); /* warm */
	for (unsigned i = 0; r == 0 && i < rounds; i++) {
		floors[i] = (double)each * 1e9 / (double)ring_floor_flood(floor, each, WINDOW);
		uint64_t begun = clock_now();
		r = session_run(&s, job, each, WINDOW, result);
		values[i] = (double)each * 1e9 / (double)(clock_now() - begun);
	}
	if (r == 0) {
		result->value = result->p50 = bench_median(values, rounds);
		result->floor = bench_median(floors, rounds);
		result->n = rounds * each;
		bench_extra(result, "best_round", values[rounds - 1]);
		bench_extra(result, "window", WINDOW);
	}
	ring_floor_stop(floor);
	pyprep_prepared_free(job);
	session_close(&s);
	return r;
}

/* ---- array jobs ---- */

/* One array job over 0 .. count-1, its results copied to `ret`: ns from submit to receipt. */
static int
map_squares(struct bench_session *s, const struct pyprep_prepared *job, uint64_t count,
	    int64_t *ret, uint64_t *ret_ns, struct bench_result *result)
{
	uint64_t got = 0, begun = clock_now();
	struct pyprep_event event;

	int r = pyprep_submit_prepared(s->p, job, NULL, NULL);
	if (r < 0)
		return bench_fail(result, "cannot submit: %s", strerror(-r));
	for (;;) {
		r = pyprep_next(s->p, -1, &event);
		if (r < 0 && r != -EINTR)
			return bench_fail(result, "the connection broke: %s", strerror(-r));
		if (r != 1)
			continue;
		if (event.type == PYPREP_RECEIPT)
			break;
		if (event.type != PYPREP_ITEMS || event.first < 0 ||
		    (uint64_t)event.first + event.count > count)
			return bench_fail(result, "the daemon sent items that are not there");
		memcpy(ret + event.first, event.bytes, event.length);
		got += event.count;
	}
	*ret_ns = clock_now() - begun;
	if (strcmp(event.receipt.state, "succeeded") != 0)
		return bench_fail(result, "the array job %s: %s", event.receipt.state,
				  event.receipt.error_message);
	return got == count ? 0 : bench_fail(result, "results of some items are missing");
}

static int
check_squares(const int64_t *values, uint64_t count, struct bench_result *result)
{
	for (uint64_t i = 0; i < count; i++)
		if (values[i] != (int64_t)(i * i))
			return bench_fail(result, "the square of %llu came back as %lld",
					  (unsigned long long)i, (long long)values[i]);
	return 0;
}

static int
array_rounds(struct bench_session *s, struct square_floor *floor, const struct pyprep_prepared *job,
	     uint64_t count, unsigned rounds, struct bench_result *result)
{
	double values[ROUNDS_MOST], floors[ROUNDS_MOST];
	uint64_t ns, size = count * sizeof(int64_t);
	int64_t *squares = mmap(NULL, size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int r = 0;

	if (squares == MAP_FAILED)
		return bench_fail(result, "no %llu bytes of memory for the results",
				  (unsigned long long)size);
	for (unsigned i = 0; r == 0 && i < rounds; i++) {
		ns = square_floor_run(floor, count, squares);
		floors[i] = (double)count * 1e9 / (double)ns;
		memset(squares, 0, size);
		r = map_squares(s, job, count, squares, &ns, result);
		values[i] = (double)count * 1e9 / (double)ns;
		if (r == 0)
			r = check_squares(squares, count, result);
	}
	if (r == 0) {
		result->value = result->p50 = bench_median(values, rounds);
		result->floor = bench_median(floors, rounds);
		result->n = rounds * count;
	}
	munmap(squares, size);
	return r;
}

int
bench_array_items(const struct bench *bench, struct bench_result *result)
{
	uint64_t count = bench->quick ? ARRAY_QUICK : ARRAY_ITEMS;
	struct pyprep_job squares = { .kind = "square", .item_high = (int64_t)count };
	struct pyprep_prepared *job = NULL;
	struct square_floor *floor = NULL;
	struct bench_session s;

	int r = session_open(bench, CONFIG_TWO_WORKERS, &s, result);
	if (r == 0)
		r = session_prepare(&s, &squares, &job, result);
	if (r == 0 && (r = square_floor_start(&floor)) < 0)
		r = fail_errno(result, r);
	if (r == 0)
		r = array_rounds(&s, floor, job, count, bench->quick ? 3 : 9, result);
	square_floor_stop(floor);
	pyprep_prepared_free(job);
	session_close(&s);
	return r;
}
