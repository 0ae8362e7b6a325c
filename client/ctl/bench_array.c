/* bench_array.c - rows of shared arrays: attaching, and a sum over workers. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/cpython.h"
#include "ipc/clock.h"
#include "shm/array.h"
#include "shm/array_ops.h"

#define ATTACH_BYTES  8000000
#define ATTACH_ROUNDS 201
#define SUM_COUNT     8000000 /* f64: 64 MB */
#define SUM_ROUNDS    31
#define PAGE          4096
#define PYTHON_MS     60000

static int
make_array(const struct bench *bench, const char *suffix, uint64_t count, struct array **ret,
	   struct bench_result *result)
{
	struct array_shape shape = { .dimensions = 1, .length = { count } };
	char name[NAMED_MAX + 1];

	snprintf(name, sizeof name, "%.80s.%s", bench->label, suffix);
	int r = array_create(name, ARRAY_f64, &shape, 0, 0, ret);
	if (r < 0)
		return bench_fail(result, "cannot make an array of %llu elements: %s",
				  (unsigned long long)count, strerror(-r));
	array_fill(*ret, 0, count, (union array_value){ .f = 2.5 });
	return 0;
}

/* A figure of CPython's shm topic; NAN when there is none. */
static double
python_figure(const char *bytes, const char *key)
{
	const char *params[] = { "mode=work", bytes, "rounds=21", "touch=1", NULL };

	return cpython_figure("shm", params, PYTHON_MS, key);
}

/* ---- attaching ---- */

/* A byte of each page, so that all of it is there. */
static unsigned
touch(const unsigned char *bytes, size_t length)
{
	unsigned sum = 0;

	for (size_t i = 0; i < length; i += PAGE)
		sum += ((const volatile unsigned char *)bytes)[i];
	return sum;
}

/* ns, or 0. */
static uint64_t
attach_ours(const char *name)
{
	struct array *a;
	uint64_t begun = clock_now();

	if (array_attach(name, ARRAY_POPULATE, &a) < 0)
		return 0;
	(void)touch(a->data, a->bytes);
	uint64_t ns = clock_now() - begun;
	array_close(a);
	return ns;
}

static uint64_t
attach_bare(const char *path)
{
	uint64_t begun = clock_now();
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return 0;
	void *base =
		mmap(NULL, ATTACH_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (base == MAP_FAILED) {
		close(fd);
		return 0;
	}
	(void)touch(base, ATTACH_BYTES);
	uint64_t ns = clock_now() - begun;
	munmap(base, ATTACH_BYTES);
	close(fd);
	return ns;
}

int
bench_array_attach(const struct bench *bench, struct bench_result *result)
{
	unsigned rounds = bench->quick ? 51 : ATTACH_ROUNDS;
	double values[ATTACH_ROUNDS], floors[ATTACH_ROUNDS];
	char path[NAMED_FILE_MAX + 16];
	struct array *a;

	if (make_array(bench, "attach", ATTACH_BYTES / 8, &a, result) < 0)
		return -1;
	snprintf(path, sizeof path, NAMED_DIRECTORY "/%s", a->name);
	for (unsigned i = 0; i < rounds; i++) {
		floors[i] = (double)attach_bare(path) / 1e3;
		values[i] = (double)attach_ours(a->name) / 1e3;
		if (floors[i] <= 0 || values[i] <= 0) {
			array_close(a);
			return bench_fail(result, "an attachment failed in round %u", i);
		}
	}
	result->value = result->p50 = bench_median(values, rounds);
	result->floor = bench_median(floors, rounds);
	result->n = rounds;
	array_close(a);
	result->python = python_figure("bytes=8000000", "attach_ns") / 1e3;
	return 0;
}

/* ---- a sum over workers ---- */

/* The sum as an array job: its parts, added in order. */
static int
sum_by_jobs(struct bench_session *s, const struct pyprep_prepared *job, uint64_t blocks,
	    int64_t *parts, uint64_t *ret_ns, struct bench_result *result)
{
	struct array_sum total = array_sum_zero(ARRAY_f64);
	struct pyprep_event event = { 0 };
	uint64_t came = 0, begun = clock_now();

	if (pyprep_submit_prepared(s->p, job, NULL, NULL) < 0)
		return bench_fail(result, "the daemon took no job");
	while (event.type != PYPREP_RECEIPT) {
		if (pyprep_next(s->p, 10000, &event) != 1)
			return bench_fail(result, "no receipt of a sum within 10 s");
		if (event.type != PYPREP_ITEMS)
			continue;
		memcpy(parts + event.first, event.bytes, event.length);
		came += event.count;
	}
	if (came != blocks)
		return bench_fail(result, "a sum failed: %s", event.receipt.error_message);
	for (uint64_t i = 0; i < blocks; i++) {
		struct array_sum part = array_sum_unpack(ARRAY_f64, parts + i);
		array_sum_add(&total, &part);
	}
	*ret_ns = clock_now() - begun;
	if (array_sum_real(&total) != 2.5 * SUM_COUNT)
		return bench_fail(result, "a sum was wrong: %g", array_sum_real(&total));
	return 0;
}

static uint64_t
sum_here(const struct array *a)
{
	struct array_sum total = array_sum_zero(ARRAY_f64);
	uint64_t begun = clock_now();

	for (uint64_t low = 0; low < a->count; low += ARRAY_BLOCK) {
		struct array_sum part = array_sum(a, low, array_block_end(a, low));
		array_sum_add(&total, &part);
	}
	return clock_now() - begun;
}

static int
measure_sums(const struct bench *bench, struct bench_session *s, const struct array *a,
	     struct bench_result *result)
{
	static int64_t parts[SUM_COUNT / ARRAY_BLOCK + 1];
	double values[SUM_ROUNDS], floors[SUM_ROUNDS];
	unsigned rounds = bench->quick ? 7 : SUM_ROUNDS;
	struct pyprep_prepared *prepared;
	char param[NAMED_MAX + 8];
	const char *params[] = { param, NULL };
	struct pyprep_job job = { .kind = "array_sum",
				  .params = params,
				  .item_high = (int64_t)array_blocks(a) };
	uint64_t ns = 0;

	snprintf(param, sizeof param, "name=%s", a->name);
	if (session_prepare(s, &job, &prepared, result) < 0)
		return -1;
	int r = sum_by_jobs(s, prepared, array_blocks(a), parts, &ns, result); /* maps it */
	for (unsigned i = 0; r == 0 && i < rounds; i++) {
		floors[i] = (double)sum_here(a) / 1e6;
		r = sum_by_jobs(s, prepared, array_blocks(a), parts, &ns, result);
		values[i] = (double)ns / 1e6;
	}
	pyprep_prepared_free(prepared);
	if (r < 0)
		return r;
	result->value = result->p50 = bench_median(values, rounds);
	result->floor = bench_median(floors, rounds);
	result->n = rounds;
	return 0;
}

int
bench_array_sum(const struct bench *bench, struct bench_result *result)
{
	struct bench_session session;
	struct array *a;

	if (make_array(bench, "sum", SUM_COUNT, &a, result) < 0)
		return -1;
	int r = session_open(bench, CONFIG_TWO_WORKERS, &session, result);
	if (r == 0) {
		r = measure_sums(bench, &session, a, result);
		session_close(&session);
	}
	array_close(a);
	if (r == 0)
		result->python = python_figure("bytes=64000000", "sum_seconds") * 1e3;
	return r;
}
