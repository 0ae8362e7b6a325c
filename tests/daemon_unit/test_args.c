/* test_args.c - parameters from clients: what is taken, what is refused with which words, and
 * that no bytes at all do harm. */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <msgpack.h>
#include <stdio.h>
#include <string.h>

#include "daemon/args.h"
#include "daemon/kind.h"

/* A kind with a parameter of every type. */
static const struct kind sample = {
	.name = "sample",
	.class = KIND_COMMAND,
	.help = "for tests",
	.params = {
		{ .name = "count", .type = PARAM_INT, .low = -5, .high = 1000, .help = "h" },
		{ .name = "mode", .type = PARAM_ENUM, .choices = "naive|memo|lru",
		  .fallback = "memo", .help = "h" },
		{ .name = "force", .type = PARAM_FLAG, .fallback = "false", .help = "h" },
		{ .name = "path", .type = PARAM_TEXT, .low = 1, .high = 8, .fallback = "/tmp",
		  .help = "h" },
		{ .name = "argv", .type = PARAM_LIST, .low = 0, .high = 3, .fallback = "",
		  .help = "h" },
	},
};

static struct args_buffer packed;
static char why[512];

static void
teardown(void)
{
	args_buffer_free(&packed);
}

TestSuite(args, .fini = teardown, .timeout = 600);

static enum job_error
pack(const struct kind *kind, const char *map, size_t length)
{
	why[0] = '\0';
	/* A copy of its very size, so that a read past the end is seen. */
	char *copy = malloc(length > 0 ? length : 1);
	memcpy(copy, map, length);
	enum job_error error = args_pack(kind, copy, length, &packed, why, sizeof(why));
	free(copy);
	return error;
}

/* `msgpack` is a string literal, which may hold NULs. */
#define BYTES(msgpack) msgpack, sizeof(msgpack) - 1

static const struct refusal {
	const char *msgpack;
	size_t length;
	enum job_error error;
	const char *why;
} refusals[] = {
	/* the map */
	{ BYTES("\xc0"), ERR_BAD_REQUEST, "the parameters are not a msgpack map" },
	{ BYTES("\x81"), ERR_BAD_REQUEST, "the parameters are not a msgpack map" },
	{ BYTES("\xdf\xff\xff\xff\xff"), ERR_BAD_REQUEST, "the parameters are not a msgpack map" },
	{ BYTES("\x81\x01\x01"), ERR_BAD_REQUEST, "a parameter's name must be text, got 1" },
	{ BYTES("\x81\xa9"
		"count"),
	  ERR_BAD_REQUEST, "the parameters end inside a name" },
	{ BYTES("\x81\xa5"
		"count\xcd\x01"),
	  ERR_BAD_REQUEST, "the parameters end inside count" },
	{ BYTES("\x81\xa5"
		"count\x01\x02\x03"),
	  ERR_BAD_REQUEST, "2 bytes follow the map of parameters" },
	{ BYTES("\x82\xa5"
		"count\x01\xa5"
		"count\x02"),
	  ERR_BAD_REQUEST, "count is given twice" },
	{ BYTES("\x80"), ERR_MISSING_PARAM, "sample needs count: an integer between -5 and 1000" },
	{ BYTES(""), ERR_MISSING_PARAM, "sample needs count: an integer between -5 and 1000" },
	/* names */
	{ BYTES("\x81\xa4"
		"coun\x01"),
	  ERR_UNKNOWN_PARAM, "sample has no parameter \"coun\"; did you mean \"count\"?" },
	{ BYTES("\x81\xa7"
		"zzzzzzz\x01"),
	  ERR_UNKNOWN_PARAM,
	  "sample has no parameter \"zzzzzzz\"; it takes count, mode, force, path, argv" },
	{ BYTES("\x81\xa1\n\x01"), ERR_UNKNOWN_PARAM,
	  "sample has no parameter \"?\"; it takes count, mode, force, path, argv" },
	/* integers */
	{ BYTES("\x81\xa5"
		"count\xa3"
		"abc"),
	  ERR_BAD_TYPE, "count must be an integer between -5 and 1000, got \"abc\"" },
	{ BYTES("\x81\xa5"
		"count\xa0"),
	  ERR_BAD_TYPE, "count must be an integer between -5 and 1000, got \"\"" },
	{ BYTES("\x81\xa5"
		"count\xa1-"),
	  ERR_BAD_TYPE, "count must be an integer between -5 and 1000, got \"-\"" },
	{ BYTES("\x81\xa5"
		"count\xa3"
		"1 2"),
	  ERR_BAD_TYPE, "count must be an integer between -5 and 1000, got \"1 2\"" },
	{ BYTES("\x81\xa5"
		"count\xc3"),
	  ERR_BAD_TYPE, "count must be an integer between -5 and 1000, got true" },
	{ BYTES("\x81\xa5"
		"count\xcb\x3f\xf8\0\0\0\0\0\0"),
	  ERR_BAD_TYPE, "count must be an integer between -5 and 1000, got the number 1.5" },
	{ BYTES("\x81\xa5"
		"count\xcd\x03\xe9"),
	  ERR_OUT_OF_RANGE, "count must be an integer between -5 and 1000, got 1001" },
	{ BYTES("\x81\xa5"
		"count\xfa"),
	  ERR_OUT_OF_RANGE, "count must be an integer between -5 and 1000, got -6" },
	{ BYTES("\x81\xa5"
		"count\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
	  ERR_OUT_OF_RANGE,
	  "count must be an integer between -5 and 1000, got 18446744073709551615" },
	{ BYTES("\x81\xa5"
		"count\xb4"
		"99999999999999999999"),
	  ERR_OUT_OF_RANGE,
	  "count must be an integer between -5 and 1000, got \"99999999999999999999\"" },
	{ BYTES("\x81\xa5"
		"count\xb3"
		"9223372036854775808"),
	  ERR_OUT_OF_RANGE,
	  "count must be an integer between -5 and 1000, got \"9223372036854775808\"" },
	/* choices and flags */
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"mode\xa4"
		"meno"),
	  ERR_OUT_OF_RANGE,
	  "mode must be one of naive, memo, lru, got \"meno\"; did you mean \"memo\"?" },
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"mode\xa5"
		"zzzzz"),
	  ERR_OUT_OF_RANGE, "mode must be one of naive, memo, lru, got \"zzzzz\"" },
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"mode\x01"),
	  ERR_BAD_TYPE, "mode must be one of naive, memo, lru, got 1" },
	{ BYTES("\x82\xa5"
		"count\x01\xa5"
		"force\x01"),
	  ERR_BAD_TYPE, "force must be true or false, got 1" },
	/* texts */
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"path\x05"),
	  ERR_BAD_TYPE, "path must be text of 1 to 8 bytes without NUL, got 5" },
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"path\xa0"),
	  ERR_OUT_OF_RANGE, "path must be text of 1 to 8 bytes without NUL, got \"\"" },
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"path\xa9"
		"123456789"),
	  ERR_OUT_OF_RANGE, "path must be text of 1 to 8 bytes without NUL, got \"123456789\"" },
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"path\xa3"
		"a\0b"),
	  ERR_OUT_OF_RANGE, "path must be text of 1 to 8 bytes without NUL, got \"a?b\"" },
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"path\xd9\x32"
		"01234567890123456789012345678901234567890123456789"),
	  ERR_OUT_OF_RANGE,
	  "path must be text of 1 to 8 bytes without NUL, got "
	  "\"0123456789012345678901234567890123456789\"..." },
	/* lists */
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"argv\xa1x"),
	  ERR_BAD_TYPE, "argv must be a list of 0 to 3 texts without NUL, got \"x\"" },
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"argv\x94\xc0\xc0\xc0\xc0"),
	  ERR_OUT_OF_RANGE, "argv must be a list of 0 to 3 texts without NUL, got a list of 4" },
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"argv\x91\x80"),
	  ERR_BAD_TYPE, "argv must be a list of 0 to 3 texts without NUL, got a map" },
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"argv\x92\xa1x"),
	  ERR_BAD_REQUEST, "the parameters end inside argv" },
	{ BYTES("\x82\xa5"
		"count\x01\xa4"
		"argv\x91\xa2x\0"),
	  ERR_OUT_OF_RANGE, "argv must be a list of 0 to 3 texts without NUL, got \"x?\"" },
};

Test(args, wrong_parameters_are_refused_with_name_expectation_and_nearest_name)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *r = &refusals[i];
		enum job_error error = pack(&sample, r->msgpack, r->length);
		cr_expect_eq(error, r->error, "%s: got %s (%s)", r->why, job_error_text(error),
			     why);
		cr_expect_str_eq(why, r->why);
	}
}

Test(args, a_kind_without_parameters_takes_none)
{
	cr_expect_eq(pack(kind_by_name("noop", NULL), BYTES("\x81\xa1x\x01")), ERR_UNKNOWN_PARAM);
	cr_expect_str_eq(why, "noop takes no parameters, got \"x\"");
}

Test(args, an_empty_map_of_a_kind_without_parameters_allocates_nothing)
{
	const struct kind *noop = kind_by_name("noop", NULL);

	cr_expect_eq(pack(noop, BYTES("\x80")), ERR_NONE);
	cr_expect_eq(packed.length, 0);
	cr_expect_eq(pack(noop, BYTES("")), ERR_NONE);
	cr_expect_null(packed.bytes);
}

Test(args, every_type_travels)
{
	uint32_t length, count;
	char words[128];

	cr_assert_eq(pack(&sample, BYTES("\x85\xa4"
					 "argv\x93\xa1"
					 "a\xc4\x02"
					 "bc\xa0\xa5"
					 "count\xa2-5\xa5"
					 "force\xc3\xa4"
					 "path\xc4\x03"
					 "/\xc3\xa4"
					 "\xa4"
					 "mode\xa3lru")),
		     ERR_NONE, "%s", why);
	cr_expect_eq(args_int(packed.bytes, 0), -5);
	cr_expect_eq(args_int(packed.bytes, 1), 2);
	cr_expect_eq(args_int(packed.bytes, 2), 1);
	cr_expect_str_eq(args_text(packed.bytes, 3, &length), "/\xc3\xa4");
	cr_expect_eq(length, 3);
	const char *list = args_list(packed.bytes, 4, &count);
	cr_expect_eq(count, 3);
	cr_expect_eq(memcmp(list, "a\0bc\0", 6), 0);
	args_print(&sample, packed.bytes, words, sizeof(words));
	cr_expect_str_eq(words, "count=-5 mode=lru force=true path=/\xc3\xa4 argv=a bc ");
}

Test(args, defaults_fill_what_is_not_given)
{
	uint32_t length, count;
	char words[128];

	cr_assert_eq(pack(&sample, BYTES("\x81\xa5"
					 "count\xcd\x03\xe8")),
		     ERR_NONE, "%s", why);
	cr_expect_eq(args_int(packed.bytes, 0), 1000);
	cr_expect_eq(args_int(packed.bytes, 1), 1);
	cr_expect_eq(args_int(packed.bytes, 2), 0);
	cr_expect_str_eq(args_text(packed.bytes, 3, &length), "/tmp");
	args_list(packed.bytes, 4, &count);
	cr_expect_eq(count, 0);
	args_print(&sample, packed.bytes, words, sizeof(words));
	cr_expect_str_eq(words, "count=1000 mode=memo force=false path=/tmp argv=");
	args_print(&sample, packed.bytes, words, 13);
	cr_expect_str_eq(words, "count=1000 m");
}

static const struct {
	const char *text;
	int64_t value;
} integers[] = {
	{ "0", 0 },
	{ "-0", 0 },
	{ "+7", 7 },
	{ "0000000000000000000000001", 1 },
	{ "9223372036854775807", INT64_MAX },
	{ "-9223372036854775808", INT64_MIN },
};

Test(args, decimal_text_is_an_integer_to_the_ends_of_64_bits)
{
	static const struct kind wide = {
		.name = "wide",
		.params = { { .name = "n",
			      .type = PARAM_INT,
			      .low = INT64_MIN,
			      .high = INT64_MAX } },
	};

	for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++) {
		char map[64];
		int length = snprintf(map, sizeof(map), "\x81\xa1n%c%s",
				      (char)(0xa0 | strlen(integers[i].text)), integers[i].text);
		cr_assert_eq(pack(&wide, map, (size_t)length), ERR_NONE, "%s", why);
		cr_expect_eq(args_int(packed.bytes, 0), integers[i].value, "%s", integers[i].text);
	}
	cr_expect_eq(pack(&wide, BYTES("\x81\xa1n\xb4-9223372036854775809")), ERR_OUT_OF_RANGE);
}

static const struct {
	const char *msgpack;
	size_t length;
	enum job_error error;
	double value;
} reals[] = {
	{ BYTES("\x81\xa1x\xa3"
		"2.5"),
	  ERR_NONE, 2.5 },
	{ BYTES("\x81\xa1x\xa5"
		"-1e-3"),
	  ERR_NONE, -0.001 },
	{ BYTES("\x81\xa1x\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00"), ERR_NONE, 0.5 },
	{ BYTES("\x81\xa1x\x07"), ERR_NONE, 7 },
	{ BYTES("\x81\xa1x\xff"), ERR_NONE, -1 },
	{ BYTES("\x80"), ERR_NONE, 1.5 },
	{ BYTES("\x81\xa1x\xa4"
		"10.5"),
	  ERR_OUT_OF_RANGE, 0 },
	{ BYTES("\x81\xa1x\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), ERR_OUT_OF_RANGE, 0 },
	{ BYTES("\x81\xa1x\xa5"
		"1e999"),
	  ERR_OUT_OF_RANGE, 0 },
	/* not a number, and infinite */
	{ BYTES("\x81\xa1x\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"), ERR_OUT_OF_RANGE, 0 },
	{ BYTES("\x81\xa1x\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"), ERR_OUT_OF_RANGE, 0 },
	{ BYTES("\x81\xa1x\xa3"
		"nan"),
	  ERR_BAD_TYPE, 0 },
	{ BYTES("\x81\xa1x\xa3"
		"0x1"),
	  ERR_BAD_TYPE, 0 },
	{ BYTES("\x81\xa1x\xa2"
		" 1"),
	  ERR_BAD_TYPE, 0 },
	{ BYTES("\x81\xa1x\xa5"
		"1.2.3"),
	  ERR_BAD_TYPE, 0 },
	{ BYTES("\x81\xa1x\xa0"), ERR_BAD_TYPE, 0 },
	{ BYTES("\x81\xa1x\xc3"), ERR_BAD_TYPE, 0 },
	{ BYTES("\x81\xa1x\xd9\x40"
		"1000000000000000000000000000000000000000000000000000000000000000"),
	  ERR_BAD_TYPE, 0 },
};

Test(args, a_real_comes_as_number_or_text_and_is_finite)
{
	static const struct kind scale = {
		.name = "scale",
		.params = { { .name = "x",
			      .type = PARAM_REAL,
			      .low = -10,
			      .high = 10,
			      .fallback = "1.5",
			      .help = "h" } },
	};
	char words[32];

	for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++) {
		enum job_error error = pack(&scale, reals[i].msgpack, reals[i].length);
		cr_expect_eq(error, reals[i].error, "%zu: %d %s", i, error, why);
		if (error == ERR_NONE)
			cr_expect_eq(args_real(packed.bytes, 0), reals[i].value, "%zu", i);
	}
	(void)pack(&scale, BYTES("\x81\xa1x\xa3"
				 "abc"));
	cr_expect_str_eq(why, "x must be a number between -10 and 10, got \"abc\"");
	cr_assert_eq(pack(&scale, BYTES("\x80")), ERR_NONE);
	args_print(&scale, packed.bytes, words, sizeof(words));
	cr_expect_str_eq(words, "x=1.5");
}

static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Whatever is accepted must be readable in bounds; the sanitizers watch the rest. */
static void
read_all(const struct kind *kind)
{
	char words[256];

	args_print(kind, packed.bytes, words, sizeof(words));
	for (unsigned i = 0; i < kind_param_count(kind); i++) {
		if (kind->params[i].type != PARAM_TEXT)
			continue;
		uint32_t length;
		const char *text = args_text(packed.bytes, i, &length);
		cr_assert_eq(strlen(text), length);
		cr_assert(text + length < (const char *)packed.bytes + packed.length);
	}
}

Test(args, mutated_maps_are_packed_or_refused_in_words)
{
	static const char good[] = "\x85\xa4"
				   "argv\x93\xa1"
				   "a\xc4\x02"
				   "bc\xa0\xa5"
				   "count\xa2-5"
				   "\xa5"
				   "force\xc3\xa4"
				   "path\xc4\x03"
				   "/ab\xa4"
				   "mode\xa3lru";
	uint64_t state = 88172645463325252u;
	unsigned accepted = 0;

	for (int i = 0; i < 100000; i++) {
		char map[sizeof(good) + 8];
		size_t length = sizeof(good) - 1;
		memcpy(map, good, length);
		for (uint64_t n = next_random(&state) % 4; n > 0; n--)
			map[next_random(&state) % length] = (char)next_random(&state);
		if (next_random(&state) % 4 == 0)
			length = next_random(&state) % (length + 1);
		enum job_error error = pack(&sample, map, length);
		if (error == ERR_NONE) {
			accepted++;
			read_all(&sample);
		} else {
			cr_assert_neq(why[0], '\0');
		}
	}
	cr_expect_gt(accepted, 10000);
}
