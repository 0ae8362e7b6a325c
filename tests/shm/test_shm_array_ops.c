/* test_shm_array_ops.c - arithmetic and sorting, against plain loops and any split. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shm/array_ops.h"
#include "shm/array_sort.h"

#define COUNT (3 * ARRAY_BLOCK + 1234)

static const enum array_type all_types[] = {
#define X(name, c, numpy) ARRAY_##name,
	ARRAY_TYPES(X)
#undef X
};
#define TYPES (sizeof(all_types) / sizeof(all_types[0]))

TestSuite(array_ops, .timeout = 600);
TestSuite(array_sort, .timeout = 600);

static struct array
array_of(enum array_type type, uint64_t count)
{
	struct array a = { .type = type, .count = count };

	a.data = calloc(count, array_type_bytes(type));
	cr_assert_not_null(a.data);
	return a;
}

static struct array_sum
sum_by_blocks(const struct array *a)
{
	struct array_sum total = array_sum_zero(a->type);

	for (uint64_t low = 0; low < a->count; low += ARRAY_BLOCK) {
		int64_t words[2];
		struct array_sum part = array_sum(a, low, array_block_end(a, low));
		array_sum_pack(&part, words);
		part = array_sum_unpack(a->type, words);
		array_sum_add(&total, &part);
	}
	return total;
}

Test(array_ops, fill_writes_its_range_and_no_more)
{
	for (unsigned t = 0; t < TYPES; t++) {
		struct array a = array_of(all_types[t], 1000);
		union array_value v;
		cr_assert_eq(array_value_parse(a.type, "100", &v), 0);
		array_fill(&a, 10, 990, v);
		for (uint64_t i = 0; i < 1000; i++)
			cr_assert_eq(array_value_real(a.type, array_value_at(a.type, a.data, i)),
				     i >= 10 && i < 990 ? 100.0 : 0.0);
		free(a.data);
	}
}

/* The numbers of https://prng.di.unimi.it/splitmix64.c for seed 1234567. */
Test(array_ops, random_is_splitmix64)
{
	static const uint64_t known[] = { UINT64_C(6457827717110365317),
					  UINT64_C(3203168211198807973),
					  UINT64_C(9817491932198370423),
					  UINT64_C(4593380528125082431),
					  UINT64_C(16408922859458223821) };

	for (unsigned i = 0; i < 5; i++)
		cr_expect_eq(array_random_bits(1234567, i), known[i]);
}

Test(array_ops, random_is_the_same_in_any_split_and_fills_its_range)
{
	for (unsigned t = 0; t < TYPES; t++) {
		struct array a = array_of(all_types[t], 10007), b = array_of(all_types[t], 10007);
		struct array_extent extent;
		array_random(&a, 0, a.count, 5);
		for (uint64_t low = 10007; low > 0;) {
			uint64_t next = low > 777 ? low - 777 : 0;
			array_random(&b, next, low, 5);
			low = next;
		}
		cr_expect_eq(memcmp(a.data, b.data, a.count * array_type_bytes(a.type)), 0);
		array_random(&b, 0, 1, 6);
		array_extent(&a, 0, a.count, &extent);
		if (array_type_is_real(a.type)) {
			cr_expect(extent.least.f >= 0 && extent.least.f < 0.01);
			cr_expect(extent.greatest.f < 1 && extent.greatest.f > 0.99);
		}
		free(a.data);
		free(b.data);
	}
}

Test(array_ops, sums_of_integers_are_exact)
{
	for (unsigned t = 0; t < TYPES; t++) {
		__int128 expected = 0;
		if (array_type_is_real(all_types[t]))
			continue;
		struct array a = array_of(all_types[t], COUNT);
		array_random(&a, 0, a.count, t);
		for (uint64_t i = 0; i < a.count; i++) {
			union array_value v = array_value_at(a.type, a.data, i);
			expected += array_type_is_signed(a.type) ? (__int128)v.i : (__int128)v.u;
		}
		struct array_sum sum = sum_by_blocks(&a);
		cr_expect(sum.whole == expected, "%s", array_type_name(a.type));
		cr_expect(!sum.overflow);
		free(a.data);
	}
}

Test(array_ops, a_sum_beyond_64_bits_is_printed_whole)
{
	struct array a = array_of(ARRAY_u64, COUNT);
	char text[64];

	array_fill(&a, 0, a.count, (union array_value){ .u = UINT64_MAX });
	struct array_sum sum = sum_by_blocks(&a);
	array_sum_print(&sum, text, sizeof(text));
	/* (2^64 - 1) * 99538 */
	cr_expect_str_eq(text, "1836152011608901348653870");
	free(a.data);
	a = array_of(ARRAY_i64, COUNT);
	array_fill(&a, 0, a.count, (union array_value){ .i = INT64_MIN });
	sum = sum_by_blocks(&a);
	array_sum_print(&sum, text, sizeof(text));
	cr_expect_str_eq(text, "-918076005804450674376704");
	free(a.data);
}

Test(array_ops, sums_of_floats_are_near_and_repeat)
{
	static const enum array_type reals[] = { ARRAY_f32, ARRAY_f64 };

	for (unsigned t = 0; t < 2; t++) {
		struct array a = array_of(reals[t], COUNT);
		long double expected = 0;
		array_random(&a, 0, a.count, 3);
		for (uint64_t i = 0; i < a.count; i++)
			expected += (long double)array_value_at(a.type, a.data, i).f;
		struct array_sum sum = sum_by_blocks(&a), again = sum_by_blocks(&a);
		double got = array_sum_real(&sum);
		cr_expect_float_eq(got / (double)expected, 1.0, 1e-15, "%.17g", got);
		cr_expect_eq(memcmp(&sum, &again, sizeof(sum)), 0);
		free(a.data);
	}
}

/* Blocks of 1e25, 1 x 32768 and -1e25: a plain sum of the parts is 0. */
Test(array_ops, parts_are_added_with_what_rounding_took)
{
	struct array a = array_of(ARRAY_f64, 3 * ARRAY_BLOCK);
	double *at = a.data;

	at[0] = 1e25;
	for (uint64_t i = ARRAY_BLOCK; i < 2 * ARRAY_BLOCK; i++)
		at[i] = 1;
	at[2 * ARRAY_BLOCK] = -1e25;
	struct array_sum sum = sum_by_blocks(&a);
	cr_expect_eq(array_sum_real(&sum), 32768.0);
	at[0] = INFINITY;
	sum = sum_by_blocks(&a);
	cr_expect(isinf(array_sum_real(&sum)));
	free(a.data);
}

Test(array_ops, dot_is_exact_for_integers_and_says_overflow)
{
	for (unsigned t = 0; t < TYPES; t++) {
		struct array a = array_of(all_types[t], 5000), b = array_of(all_types[t], 5000);
		__int128 expected = 0;
		union array_value three;
		cr_assert_eq(array_value_parse(a.type, "3", &three), 0);
		array_fill(&b, 0, b.count, three);
		array_random(&a, 0, a.count, t);
		struct array_sum sum = array_dot(&a, &b, 0, a.count);
		struct array_sum plain = array_sum(&a, 0, a.count);
		expected = plain.whole * 3;
		if (array_type_is_real(a.type))
			cr_expect_float_eq(array_sum_real(&sum), 3 * array_sum_real(&plain), 1e-9);
		else
			cr_expect(sum.whole == expected, "%s", array_type_name(a.type));
		free(a.data);
		free(b.data);
	}
	struct array a = array_of(ARRAY_u64, 2);
	char text[64];
	int64_t words[2];
	array_fill(&a, 0, 2, (union array_value){ .u = UINT64_MAX });
	struct array_sum sum = array_dot(&a, &a, 0, 2);
	cr_expect(sum.overflow);
	array_sum_pack(&sum, words);
	sum = array_sum_unpack(ARRAY_u64, words);
	array_sum_print(&sum, text, sizeof(text));
	cr_expect_str_eq(text, "overflow");
	free(a.data);
}

static union array_value
scaled(enum array_type type, const char *text, double factor, uint64_t *ret_unfit)
{
	struct array a = array_of(type, 1);
	union array_value v;

	cr_assert_eq(array_value_parse(type, text, &v), 0);
	array_fill(&a, 0, 1, v);
	*ret_unfit = array_scale(&a, 0, 1, factor);
	v = array_value_at(type, a.data, 0);
	free(a.data);
	return v;
}

Test(array_ops, scale_rounds_and_keeps_integers_within_their_type)
{
	uint64_t unfit;

	cr_expect_eq(scaled(ARRAY_i8, "100", 1.27, &unfit).i, 127);
	cr_expect_eq(unfit, 0);
	cr_expect_eq(scaled(ARRAY_i8, "100", 2, &unfit).i, 127);
	cr_expect_eq(unfit, 1);
	cr_expect_eq(scaled(ARRAY_i8, "100", -2, &unfit).i, -128);
	cr_expect_eq(unfit, 1);
	cr_expect_eq(scaled(ARRAY_u32, "3", -1, &unfit).u, 0);
	cr_expect_eq(unfit, 1);
	cr_expect_eq(scaled(ARRAY_i32, "7", 0.5, &unfit).i, 4, "halves go to the even one");
	cr_expect_eq(scaled(ARRAY_i64, "3074457345618258603", 3, &unfit).i, INT64_MAX);
	cr_expect_eq(unfit, 1);
	cr_expect_eq(scaled(ARRAY_i64, "3074457345618258602", 3, &unfit).i, INT64_MAX - 1);
	cr_expect_eq(unfit, 0, "a product of 63 bits is exact");
	cr_expect_eq(scaled(ARRAY_u64, "18446744073709551615", 1, &unfit).u, UINT64_MAX);
	cr_expect_eq(unfit, 0);
	cr_expect_eq(scaled(ARRAY_u64, "18446744073709551615", 9e18, &unfit).u, UINT64_MAX);
	cr_expect_eq(unfit, 1);
	cr_expect_eq(scaled(ARRAY_i64, "-4611686018427387905", 0.5, &unfit).i,
		     -INT64_C(2305843009213693952));
	cr_expect_eq(scaled(ARRAY_i64, "2", 1e300, &unfit).i, INT64_MAX);
	cr_expect_eq(unfit, 1);
	cr_expect_eq(scaled(ARRAY_f32, "0.5", 3, &unfit).f, 1.5);
	cr_expect_eq(scaled(ARRAY_f64, "0.5", -3, &unfit).f, -1.5);
}

Test(array_ops, extent_and_histogram)
{
	struct array a = array_of(ARRAY_f64, 1000);
	double *at = a.data;
	struct array_extent extent;
	uint64_t counts[10] = { 0 };

	for (int i = 0; i < 1000; i++)
		at[i] = i;
	at[0] = at[500] = NAN;
	array_extent(&a, 0, 1000, &extent);
	cr_expect_eq(extent.least.f, 1.0);
	cr_expect_eq(extent.greatest.f, 999.0);
	cr_expect_eq(extent.nans, 2);
	array_histogram(&a, 0, 1000, 0, 1000, 10, counts);
	cr_expect_eq(counts[0], 99);
	cr_expect_eq(counts[5], 99);
	cr_expect_eq(counts[9], 100);
	memset(counts, 0, sizeof(counts));
	at[1] = -1e308;
	at[2] = 1e308;
	array_histogram(&a, 0, 1000, -1e308, 1e308, 10, counts);
	cr_expect_eq(counts[0], 1);
	cr_expect_eq(counts[9], 1);
	memset(counts, 0, sizeof(counts));
	array_histogram(&a, 3, 4, 3, 3, 10, counts);
	cr_expect_eq(counts[0], 1, "all alike");
	for (int i = 0; i < 1000; i++)
		at[i] = NAN;
	array_extent(&a, 0, 1000, &extent);
	cr_expect_eq(extent.numbers, 0);
	free(a.data);
}

/* ---- sorting ---- */

static enum array_type compared;

static int
compare(const void *a, const void *b)
{
	union array_value x = array_value_at(compared, a, 0), y = array_value_at(compared, b, 0);

	if (array_type_is_real(compared))
		return (x.f > y.f) - (x.f < y.f);
	if (array_type_is_signed(compared))
		return (x.i > y.i) - (x.i < y.i);
	return (x.u > y.u) - (x.u < y.u);
}

/* Negative numbers, too: the random floats have none. */
static void
make_sortable(struct array *a, uint64_t seed)
{
	array_random(a, 0, a->count, seed);
	if (a->type == ARRAY_f64)
		for (uint64_t i = 0; i < a->count; i++)
			((double *)a->data)[i] -= 0.5;
	if (a->type == ARRAY_f32)
		for (uint64_t i = 0; i < a->count; i++)
			((float *)a->data)[i] -= 0.5f;
}

Test(array_sort, in_one_run_as_qsort_does)
{
	for (unsigned t = 0; t < TYPES; t++) {
		struct array a = array_of(all_types[t], 20001), b = array_of(all_types[t], 20001);
		size_t bytes = array_type_bytes(a.type);
		make_sortable(&a, t);
		memcpy(b.data, a.data, a.count * bytes);
		compared = a.type;
		qsort((char *)b.data + 5 * bytes, a.count - 5, bytes, compare);
		cr_expect_eq(array_sort_run(&a, &a, 5, a.count), 0);
		cr_expect_eq(memcmp(a.data, b.data, a.count * bytes), 0, "%s",
			     array_type_name(a.type));
		free(a.data);
		free(b.data);
	}
}

/* As the client does it: runs into a second array, then passes back and forth, each range
 * done twice and in any order. */
Test(array_sort, in_runs_and_merges_as_in_one)
{
	for (unsigned t = 0; t < TYPES; t++) {
		uint64_t count = 17 * ARRAY_BLOCK + 99, width;
		struct array a = array_of(all_types[t], count), b = array_of(all_types[t], count);
		struct array expected = array_of(all_types[t], count);
		make_sortable(&a, t);
		cr_assert_eq(array_sort_run(&a, &expected, 0, count), 0);
		unsigned passes = array_sort_plan(count, &width);
		cr_expect_eq(passes, 3);
		for (uint64_t low = 0; low < count; low += width)
			cr_assert_eq(array_sort_run(&a, &b, low,
						    count - low < width ? count : low + width),
				     0);
		struct array *from = &b, *to = &a;
		for (unsigned p = 0; p < passes; p++, width *= 2) {
			for (uint64_t i = 2 * array_blocks(&a); i-- > 0;) {
				uint64_t low = i % array_blocks(&a) * ARRAY_BLOCK;
				array_sort_merge(from, to, width, low, array_block_end(&a, low));
			}
			struct array *other = from;
			from = to;
			to = other;
		}
		cr_expect(array_sort_is_sorted(&a));
		cr_expect_eq(memcmp(a.data, expected.data, count * array_type_bytes(a.type)), 0);
		free(a.data);
		free(b.data);
		free(expected.data);
	}
}

Test(array_sort, zeroes_infinities_and_what_is_no_number)
{
	double values[] = { NAN, 1, -0.0, INFINITY, 0.0, -NAN, -INFINITY, -1 };
	struct array a = { .type = ARRAY_f64, .count = 8, .data = values };

	cr_expect(!array_sort_is_sorted(&a));
	cr_assert_eq(array_sort_run(&a, &a, 0, 8), 0);
	cr_expect(isinf(values[0]) && values[0] < 0);
	cr_expect_eq(values[1], -1);
	cr_expect(signbit(values[2]) && values[2] == 0);
	cr_expect(!signbit(values[3]) && values[3] == 0);
	cr_expect_eq(values[4], 1);
	cr_expect(isinf(values[5]));
	cr_expect(isnan(values[6]) && isnan(values[7]));
	cr_expect(array_sort_is_sorted(&a));
}

Test(array_sort, plans_end_where_they_began)
{
	uint64_t width;

	cr_expect_eq(array_sort_plan(2 * ARRAY_BLOCK, &width), 0);
	cr_expect_eq(width, 2 * ARRAY_BLOCK);
	for (uint64_t count = 2 * ARRAY_BLOCK + 1; count < 1ull << 40; count = count * 3 + 7) {
		unsigned passes = array_sort_plan(count, &width);
		cr_expect_eq(passes % 2, 1);
		cr_expect_eq(width % ARRAY_BLOCK, 0);
		cr_expect(width << passes >= count, "%lu", count);
	}
}
