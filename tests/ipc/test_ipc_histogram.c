/*
 * test_ipc_histogram.c - percentiles of the histogram beside exact ones, of values of many shapes;
 * that parts add up, that bytes come back, and that no bytes do harm.  Each property is tried with
 * many random values; the seed is printed, TEST_SEED repeats it.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ipc/histogram.h"

#define VALUES 20000

static uint64_t state;
static uint64_t values[VALUES];

static uint64_t
next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static double
fraction(void)
{
	return (double)(next() >> 11) / (double)(1ull << 53);
}

/* Times of jobs come in such shapes; the last ones are there to be mean. */
static uint64_t
shape_uniform(void)
{
	return next() % 1000000;
}

static uint64_t
shape_exponential(void)
{
	return (uint64_t)(-log(1 - fraction()) * 5e6);
}

static uint64_t
shape_two_humps(void)
{
	return next() % 10 == 0 ? 40000000 + next() % 5000000 : 900 + next() % 200;
}

static uint64_t
shape_heavy_tail(void)
{
	return (uint64_t)(1000 / pow(1 - fraction(), 1.2));
}

static uint64_t
shape_all_sizes(void)
{
	return next() >> (next() % 64);
}

static uint64_t
shape_one(void)
{
	return 1234567;
}

static uint64_t
shape_edges(void)
{
	uint64_t power = 1ull << (next() % 64);
	return power + next() % 3 - 1;
}

static const struct {
	const char *name;
	uint64_t (*draw)(void);
} shapes[] = {
	{ "uniform", shape_uniform },        { "exponential", shape_exponential },
	{ "two humps", shape_two_humps },    { "heavy tail", shape_heavy_tail },
	{ "all sizes", shape_all_sizes },    { "one value", shape_one },
	{ "edges of buckets", shape_edges },
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void
setup(void)
{
	const char *given = getenv("TEST_SEED");

	state = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 2654435761u;
	state |= 1;
	fprintf(stderr, "TEST_SEED=%llu\n", (unsigned long long)state);
}

TestSuite(histogram, .init = setup, .timeout = 120);

static int
compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

static void
fill(struct histogram *h, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		cr_assert(histogram_add(h, values[i], 1));
}

static double
error_of(uint64_t told, uint64_t exact)
{
	double difference = told > exact ? (double)(told - exact) : (double)(exact - told);
	return exact == 0 ? difference : 100 * difference / (double)exact;
}

Test(histogram, every_percentile_is_near_the_exact_one)
{
	static const unsigned asked[] = { 0, 1, 10, 250, 500, 900, 990, 999, 1000 };
	double worst = 0;

	for (unsigned round = 0; round < 20 * SHAPES; round++) {
		unsigned count = 1 + (unsigned)(next() % (round % 3 == 0 ? 20 : VALUES));
		struct histogram h = { 0 };
		for (unsigned i = 0; i < count; i++)
			values[i] = shapes[round % SHAPES].draw();
		fill(&h, count);
		qsort(values, count, sizeof(values[0]), compare);
		for (unsigned i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
			uint64_t rank = ((uint64_t)count * asked[i] + 999) / 1000;
			uint64_t exact = values[rank > 0 ? rank - 1 : 0];
			uint64_t told = histogram_per_mille(&h, asked[i]);
			double error = error_of(told, exact);
			worst = error > worst ? error : worst;
			cr_assert_leq(error, HISTOGRAM_ERROR, "%s, %u values, p%g: %llu for %llu",
				      shapes[round % SHAPES].name, count, asked[i] / 10.0,
				      (unsigned long long)told, (unsigned long long)exact);
		}
		cr_assert_eq(histogram_per_mille(&h, 1000), values[count - 1], "the most is exact");
		cr_assert_eq(h.least, values[0]);
		histogram_free(&h);
	}
	/* The control arm: it is a histogram, so it is not exact. */
	cr_assert_gt(worst, 0);
}

Test(histogram, every_value_is_within_the_error_of_its_bucket)
{
	for (unsigned round = 0; round < 1000000; round++) {
		uint64_t value = shape_all_sizes();
		uint64_t middle = histogram_middle(histogram_bucket(value));
		cr_assert_leq(error_of(middle, value), HISTOGRAM_ERROR, "%llu",
			      (unsigned long long)value);
	}
	cr_assert_lt(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS);
	for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
		cr_assert_eq(histogram_bucket(histogram_middle(bucket)), bucket);
}

static size_t
bytes_of(const struct histogram *h, unsigned char *to, size_t room)
{
	struct varint_out out = { to, room, 0 };

	histogram_write(h, &out);
	cr_assert_leq(out.length, room);
	return out.length;
}

static unsigned char bytes[2][1 << 18];

static void
assert_same(const struct histogram *a, const struct histogram *b)
{
	size_t length = bytes_of(a, bytes[0], sizeof(bytes[0]));

	cr_assert_eq(bytes_of(b, bytes[1], sizeof(bytes[1])), length);
	cr_assert_eq(memcmp(bytes[0], bytes[1], length), 0);
}

Test(histogram, parts_add_up_to_the_whole)
{
	for (unsigned round = 0; round < 10 * SHAPES; round++) {
		struct histogram whole = { 0 }, sum = { 0 }, parts[4] = { 0 };
		unsigned count = 1 + (unsigned)(next() % VALUES);
		for (unsigned i = 0; i < count; i++)
			values[i] = shapes[round % SHAPES].draw();
		fill(&whole, count);
		for (unsigned i = 0; i < count; i++)
			histogram_add(&parts[next() % 3], values[i], 1); /* one stays empty */
		for (unsigned i = 0; i < 4; i++)
			cr_assert(histogram_merge(&sum, &parts[(i + round) % 4]));
		assert_same(&whole, &sum);
		for (unsigned i = 0; i < 4; i++)
			histogram_free(&parts[i]);
		histogram_free(&whole);
		histogram_free(&sum);
	}
}

/* Why histograms are kept and not percentiles. */
Test(histogram, averages_of_percentiles_are_something_else)
{
	struct histogram quiet = { 0 }, busy = { 0 };

	for (unsigned i = 0; i < 9900; i++)
		histogram_add(&quiet, 1000 + i % 100, 1);
	for (unsigned i = 0; i < 100; i++)
		histogram_add(&busy, 1000000 + i, 1);
	uint64_t average = (histogram_per_mille(&quiet, 500) + histogram_per_mille(&busy, 500)) / 2;
	cr_assert(histogram_merge(&quiet, &busy));
	cr_assert_leq(error_of(histogram_per_mille(&quiet, 500), 1050), HISTOGRAM_ERROR + 0.5);
	cr_assert_gt(error_of(average, 1050), 1000);
	histogram_free(&quiet);
	histogram_free(&busy);
}

Test(histogram, a_weight_is_as_many_values)
{
	struct histogram one_by_one = { 0 }, weighed = { 0 };

	for (unsigned i = 0; i < 1000; i++) {
		uint64_t value = shape_exponential();
		for (unsigned n = 0; n < 64; n++)
			histogram_add(&one_by_one, value, 1);
		histogram_add(&weighed, value, 64);
	}
	cr_assert_eq(weighed.n, 64000u);
	cr_assert_eq(weighed.taken, 1000u);
	cr_assert_eq(one_by_one.taken, 64000u);
	for (unsigned p = 0; p <= 1000; p++)
		cr_assert_eq(histogram_per_mille(&weighed, p), histogram_per_mille(&one_by_one, p));
	histogram_free(&one_by_one);
	histogram_free(&weighed);
}

Test(histogram, bytes_come_back_as_they_went)
{
	for (unsigned round = 0; round < 10 * SHAPES; round++) {
		struct histogram h = { 0 }, back = { 0 };
		unsigned count = (unsigned)(next() % VALUES);
		for (unsigned i = 0; i < count; i++)
			histogram_add(&h, shapes[round % SHAPES].draw(), 1 + next() % 70);
		size_t length = bytes_of(&h, bytes[0], sizeof(bytes[0]));
		struct varint_in in = { bytes[0], bytes[0] + length, false };
		cr_assert_eq(histogram_read(&back, &in), 0);
		cr_assert_eq(in.at, in.end);
		assert_same(&h, &back);
		histogram_free(&h);
		histogram_free(&back);
	}
}

Test(histogram, no_room_is_told_and_nothing_is_written_beyond_it)
{
	struct histogram h = { 0 };

	for (unsigned i = 0; i < 500; i++)
		histogram_add(&h, shape_all_sizes(), 1);
	size_t length = bytes_of(&h, bytes[0], sizeof(bytes[0]));
	for (size_t room = 0; room < length; room++) {
		struct varint_out out = { bytes[1], room, 0 };
		bytes[1][room] = 0xa5;
		histogram_write(&h, &out);
		cr_assert_eq(out.length, length);
		cr_assert_eq(bytes[1][room], 0xa5);
	}
	histogram_free(&h);
}

/* Cut anywhere, and with bytes changed at random: an error, or a histogram that holds together. */
Test(histogram, spoiled_bytes_do_no_harm)
{
	struct histogram h = { 0 };
	unsigned refused = 0;

	for (unsigned i = 0; i < 300; i++)
		histogram_add(&h, shape_exponential(), 1);
	size_t length = bytes_of(&h, bytes[0], sizeof(bytes[0]));
	for (size_t cut = 0; cut < length; cut++) {
		struct histogram back = { 0 };
		struct varint_in in = { bytes[0], bytes[0] + cut, false };
		cr_assert_eq(histogram_read(&back, &in), -EPROTO);
		histogram_free(&back);
	}
	for (unsigned round = 0; round < 50000; round++) {
		struct histogram back = { 0 };
		memcpy(bytes[1], bytes[0], length);
		for (unsigned n = 1 + (unsigned)(next() % 4); n > 0; n--)
			bytes[1][next() % length] = (unsigned char)next();
		struct varint_in in = { bytes[1], bytes[1] + length, false };
		int r = histogram_read(&back, &in);
		refused += r < 0;
		if (r == 0 && back.n > 0) {
			uint64_t median = histogram_per_mille(&back, 500);
			cr_assert(median >= back.least && median <= back.most);
		}
		histogram_free(&back);
	}
	cr_assert_gt(refused, 0u);
	histogram_free(&h);
}

Test(histogram, an_empty_one_says_nothing)
{
	struct histogram h = { 0 }, other = { 0 };

	cr_assert_eq(histogram_per_mille(&h, 500), 0u);
	cr_assert(histogram_merge(&h, &other));
	cr_assert_eq(h.n, 0u);
}

Test(histogram, ranks_do_not_overflow)
{
	cr_assert_eq(histogram_rank(1000, 999), 999u);
	cr_assert_eq(histogram_rank(1001, 999), 1000u);
	cr_assert_eq(histogram_rank(1, 999), 1u);
	cr_assert_eq(histogram_rank(5, 0), 1u);
	cr_assert_eq(histogram_rank(UINT64_MAX, 1000), UINT64_MAX);
	for (unsigned round = 0; round < 100000; round++) {
		uint64_t n = next() >> (10 + next() % 54);
		unsigned p = 1 + (unsigned)(next() % 1000);
		unsigned __int128 exact = ((unsigned __int128)n * p + 999) / 1000;
		cr_assert_eq(histogram_rank(n, p), exact > 0 ? (uint64_t)exact : 1);
	}
}
