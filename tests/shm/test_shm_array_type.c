/* test_shm_array_type.c - types, shapes and values, as people write them. */
#include <criterion/criterion.h>

#include <errno.h>
#include <math.h>
#include <string.h>

#include "shm/array_type.h"

TestSuite(array_type, .timeout = 600);

Test(array_type, has_our_names_and_numpys)
{
	enum array_type type = ARRAY_NOTHING;

	cr_expect_eq(array_type_by_name("f64", &type), 0);
	cr_expect_eq(type, ARRAY_f64);
	cr_expect_eq(array_type_by_name("uint16", &type), 0);
	cr_expect_eq(type, ARRAY_u16);
	cr_expect_eq(array_type_bytes(type), 2);
	cr_expect_eq(array_type_by_name("F64", &type), -EINVAL);
	cr_expect_eq(array_type_by_name("?", &type), -EINVAL);
	cr_expect_eq(array_type_by_name("", &type), -EINVAL);
	cr_expect_eq(type, ARRAY_u16);
	cr_expect(!array_type_is_valid(0) && !array_type_is_valid(ARRAY_TYPE_END));
}

Test(array_type, shapes_are_read_and_printed)
{
	struct array_shape shape = { 0 };
	char text[ARRAY_SHAPE_TEXT];
	uint64_t count = 0, bytes = 0;

	cr_expect_eq(array_shape_parse("3,4x5", &shape), 0);
	array_shape_print(&shape, text, sizeof(text));
	cr_expect_str_eq(text, "3,4,5");
	cr_expect_eq(array_shape_size(&shape, ARRAY_i32, &count, &bytes), 0);
	cr_expect_eq(count, 60);
	cr_expect_eq(bytes, 240);
	static const char *const wrong[] = { "",
					     "0",
					     "3,",
					     ",3",
					     "-3",
					     "3,0",
					     "3a",
					     " 3",
					     "3 ",
					     "1,1,1,1,1,1,1,1,1",
					     "+3",
					     "1e3",
					     "99999999999999999999" };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_eq(array_shape_parse(wrong[i], &shape), -EINVAL, "\"%s\"", wrong[i]);
	cr_expect_eq(array_shape_parse("1,1,1,1,1,1,1,1", &shape), 0);
	cr_expect_eq(array_shape_parse("4294967296,4294967296,4294967296", &shape), 0);
	cr_expect_eq(array_shape_size(&shape, ARRAY_i8, &count, &bytes), -EFBIG);
}

static int
parsed(const char *type_name, const char *text, char *ret, size_t size)
{
	union array_value value = { 0 };
	enum array_type type = ARRAY_NOTHING;

	cr_assert_eq(array_type_by_name(type_name, &type), 0);
	int r = array_value_parse(type, text, &value);
	if (r == 0)
		array_value_print(type, value, ret, size);
	return r;
}

Test(array_type, values_are_exact_or_refused)
{
	static const struct {
		const char *type, *text;
		int result;
		const char *printed;
	} rows[] = {
		{ "i8", "-128", 0, "-128" },
		{ "i8", "128", -ERANGE, NULL },
		{ "i8", "2.5", -EINVAL, NULL },
		{ "u8", "255", 0, "255" },
		{ "u8", "256", -ERANGE, NULL },
		{ "u8", "-1", -ERANGE, NULL },
		{ "u8", "-0", 0, "0" },
		{ "i64", "-9223372036854775808", 0, "-9223372036854775808" },
		{ "i64", "9223372036854775808", -ERANGE, NULL },
		{ "u64", "18446744073709551615", 0, "18446744073709551615" },
		{ "u64", "18446744073709551616", -ERANGE, NULL },
		{ "u64", "-18446744073709551615", -ERANGE, NULL },
		{ "f64", "2.5", 0, "2.5" },
		{ "f64", "1e999", -ERANGE, NULL },
		{ "f64", "inf", 0, "inf" },
		{ "f32", "0.1", 0, "0.100000001" },
		{ "f32", "1e39", -ERANGE, NULL },
		{ "f64", "", -EINVAL, NULL },
		{ "f64", "x", -EINVAL, NULL },
		{ "i32", " 1", -EINVAL, NULL },
		{ "i32", "1 ", -EINVAL, NULL },
	};
	char text[64];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int r = parsed(rows[i].type, rows[i].text, text, sizeof(text));
		cr_expect_eq(r, rows[i].result, "%s %s: %d", rows[i].type, rows[i].text, r);
		if (r == 0)
			cr_expect_str_eq(text, rows[i].printed);
	}
}

Test(array_type, one_element_of_any_type)
{
	const int8_t bytes[] = { 0, -1 };
	const double reals[] = { 0, 0.5 };

	cr_expect_eq(array_value_at(ARRAY_i8, bytes, 1).i, -1);
	cr_expect_eq(array_value_at(ARRAY_u8, bytes, 1).u, 255);
	cr_expect_eq(array_value_at(ARRAY_f64, reals, 1).f, 0.5);
	cr_expect_eq(array_value_real(ARRAY_u8, array_value_at(ARRAY_u8, bytes, 1)), 255.0);
}
