/* test_array_kinds.c - the kinds that work on shared arrays, run here as a worker runs them. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/executor.h"
#include "daemon/kinds/array_views.h"
#include "shm/array_ops.h"
#include "shm/array_sort.h"

static char name[64], other[64];
static struct array *a, *b;
static struct args_buffer packed;
static struct call call;
static int64_t results[256];

static void
setup(void)
{
	struct array_shape shape = { .dimensions = 1, .length = { 3 * ARRAY_BLOCK + 17 } };

	snprintf(name, sizeof(name), "test-kinds-%d", (int)getpid());
	snprintf(other, sizeof(other), "test-kinds-%d-b", (int)getpid());
	cr_assert_eq(array_create(name, ARRAY_f64, &shape, 0, 0, &a), 0);
	cr_assert_eq(array_create(other, ARRAY_f64, &shape, 0, 0, &b), 0);
}

static void
teardown(void)
{
	call_end(&call);
	args_buffer_free(&packed);
	array_views_close_idle();
	(void)array_unlink(name);
	(void)array_unlink(other);
	array_close(a);
	array_close(b);
}

TestSuite(array_kinds, .init = setup, .fini = teardown, .timeout = 600);

/* A call of `kind` with name=NAME and one more parameter, both as text. */
static void
prepare(const char *kind, const char *array, const char *param, const char *value)
{
	unsigned index = 0;
	const struct kind *k = kind_by_name(kind, &index);
	struct run_body body = { .kind = (uint16_t)index };
	char why[256];
	unsigned char map[300];
	unsigned at = 0;
	const char *words[] = { "name", array, param, value };

	cr_assert_not_null(k);
	map[at++] = param == NULL ? 0x81 : 0x82;
	for (unsigned i = 0; i < (param == NULL ? 2 : 4); i++) {
		map[at++] = 0xd9;
		map[at++] = (unsigned char)strlen(words[i]);
		memcpy(map + at, words[i], strlen(words[i]));
		at += (unsigned)strlen(words[i]);
	}
	cr_assert_eq(args_pack(k, map, at, &packed, why, sizeof(why)), ERR_NONE, "%s", why);
	call_end(&call);
	call_begin(&call, &body, packed.bytes);
}

static uint32_t
ranged(int64_t first, uint32_t count)
{
	return call.kind->range(&call, first, count, results);
}

Test(array_kinds, fill_does_its_blocks_alone)
{
	prepare("array_fill", name, "value", "2.5");
	cr_expect_eq(ranged(1, 2), 2);
	cr_expect_eq(results[0], (int64_t)ARRAY_BLOCK);
	double *at = a->data;
	cr_expect_eq(at[ARRAY_BLOCK - 1], 0);
	cr_expect_eq(at[ARRAY_BLOCK], 2.5);
	cr_expect_eq(at[3 * ARRAY_BLOCK - 1], 2.5);
	cr_expect_eq(at[3 * ARRAY_BLOCK], 0);
	cr_expect_eq(ranged(3, 1), 1);
	cr_expect_eq(results[0], 17, "the last block is short");
	cr_expect_eq(ranged(3, 2), 1, "there is no fifth");
	cr_expect_eq(call.outcome.state, JOB_FAILED);
	cr_expect_not_null(strstr(call.message, "has 4 items of work, not 4"), "%s", call.message);
}

Test(array_kinds, what_the_type_cannot_hold_is_refused_by_name)
{
	prepare("array_fill", name, "value", "two");
	cr_expect_eq(ranged(0, 1), 0);
	cr_expect_str_eq(call.message + strlen(call.message) - 19, "(f64) cannot be two");
}

/* Of `type`, whose parts have `size` words. */
static void
check_parts(enum array_type type, unsigned size)
{
	int64_t all[8];
	char text[64];

	array_unlink(name);
	array_close(a);
	struct array_shape shape = { .dimensions = 1, .length = { 3 * ARRAY_BLOCK + 17 } };
	cr_assert_eq(array_create(name, type, &shape, 0, 0, &a), 0);
	array_random(a, 0, a->count, 3);
	prepare("array_sum", name, NULL, NULL);
	cr_assert_eq(ranged(0, 4 * size), 4 * size);
	memcpy(all, results, sizeof(all));
	for (unsigned i = 0; i < 4 * size; i++) {
		cr_assert_eq(ranged(i, 1), 1);
		cr_expect_eq(results[0], all[i]);
	}
	cr_expect_eq(ranged(4 * size, 1), 0);
	struct array_sum total = array_sum_zero(type);
	for (unsigned i = 0; i < 4 * size; i += size) {
		struct array_sum part = array_sum_unpack(type, all + i);
		array_sum_add(&total, &part);
	}
	array_sum_print(&total, text, sizeof(text));
	prepare("array_sum", name, NULL, NULL);
	call.kind->run(&call);
	/* msgpack text: a byte of length, then the digits */
	cr_expect_eq(memcmp(call.result.data + 1, text, strlen(text)), 0, "%s", text);
}

Test(array_kinds, parts_of_a_sum_are_the_same_from_any_range)
{
	check_parts(ARRAY_f64, 1);
	check_parts(ARRAY_u64, 2);
}

Test(array_kinds, dot_wants_arrays_that_are_alike)
{
	struct array_shape shape = { .dimensions = 1, .length = { 5 } };
	struct array *c;
	char third[80];

	snprintf(third, sizeof(third), "%s-c", name);
	cr_assert_eq(array_create(third, ARRAY_f64, &shape, 0, 0, &c), 0);
	prepare("array_dot", name, "other", third);
	cr_expect_eq(ranged(0, 1), 0);
	cr_expect_not_null(strstr(call.message, "are not alike"), "%s", call.message);
	array_unlink(third);
	array_close(c);
	array_fill(a, 0, a->count, (union array_value){ .f = 2 });
	array_fill(b, 0, b->count, (union array_value){ .f = 0.5 });
	prepare("array_dot", name, "other", other);
	cr_assert_eq(ranged(0, 2), 2);
	struct array_sum part = array_sum_unpack(ARRAY_f64, results);
	cr_expect_eq(array_sum_real(&part), (double)ARRAY_BLOCK);
}

Test(array_kinds, a_view_is_kept_and_another_array_of_the_name_is_seen)
{
	struct array_view *first, *again;

	prepare("array_sum", name, NULL, NULL);
	first = array_view_take(&call, name, false);
	cr_assert_not_null(first);
	array_view_give(first);
	again = array_view_take(&call, name, false);
	cr_expect_eq(first, again, "kept");
	array_view_give(again);
	cr_expect_gt(array_views_patience_ms(), 0);
	array_views_close_idle();
	cr_expect_eq(array_views_patience_ms(), -1, "nothing is kept by the idle");

	again = array_view_take(&call, name, false);
	cr_assert_eq(array_unlink(name), 0);
	array_close(a);
	struct array_shape shape = { .dimensions = 1, .length = { 5 } };
	cr_assert_eq(array_create(name, ARRAY_f64, &shape, 0, 0, &a), 0);
	((double *)a->data)[0] = 9;
	first = array_view_take(&call, name, false);
	cr_assert_not_null(first);
	cr_expect_eq(first->array->count, 5);
	cr_expect_eq(((double *)first->array->data)[0], 9);
	cr_expect_eq(((double *)again->array->data)[0], 0, "who works on the old one keeps it");
	array_view_give(again);
	array_view_give(first);
	cr_assert_eq(array_unlink(name), 0);
	cr_expect_null(array_view_take(&call, name, false));
	cr_expect_not_null(strstr(call.message, "there is no array"), "%s", call.message);
}

Test(array_kinds, scale_and_random_and_sort_as_plain_jobs)
{
	prepare("array_random", name, "seed", "5");
	call.kind->run(&call);
	cr_expect_eq(call.outcome.state, JOB_SUCCEEDED, "%s", call.message);
	prepare("array_scale", name, "factor", "-2");
	call.kind->run(&call);
	cr_expect_eq(((double *)a->data)[100],
		     -2 * (double)(array_random_bits(5, 100) >> 11) * 0x1p-53);
	cr_expect(!array_sort_is_sorted(a));
	prepare("array_sort", name, NULL, NULL);
	call.kind->run(&call);
	cr_expect_eq(call.outcome.state, JOB_SUCCEEDED, "%s", call.message);
	cr_expect(array_sort_is_sorted(a));
}
