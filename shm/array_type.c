/* array_type.c - see array_type.h */
#include "shm/array_type.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name, *numpy;
	size_t bytes;
} types[] = { [ARRAY_NOTHING] = { "?", "?", 0 },
#define X(name, c, numpy) [ARRAY_##name] = { #name, numpy, sizeof(c) },
	      ARRAY_TYPES(X)
#undef X
};

bool
array_type_is_valid(uint32_t type)
{
	return type > ARRAY_NOTHING && type < ARRAY_TYPE_END;
}

const char *
array_type_name(enum array_type type)
{
	return types[array_type_is_valid(type) ? type : ARRAY_NOTHING].name;
}

const char *
array_type_numpy(enum array_type type)
{
	return types[array_type_is_valid(type) ? type : ARRAY_NOTHING].numpy;
}

size_t
array_type_bytes(enum array_type type)
{
	return types[array_type_is_valid(type) ? type : ARRAY_NOTHING].bytes;
}

bool
array_type_is_real(enum array_type type)
{
	return type == ARRAY_f32 || type == ARRAY_f64;
}

bool
array_type_is_signed(enum array_type type)
{
	return type >= ARRAY_i8 && type <= ARRAY_i64;
}

int
array_type_by_name(const char *name, enum array_type *ret)
{
	for (unsigned i = ARRAY_NOTHING + 1; i < ARRAY_TYPE_END; i++) {
		if (strcmp(name, types[i].name) == 0 || strcmp(name, types[i].numpy) == 0) {
			*ret = (enum array_type)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- shapes ---- */

int
array_shape_parse(const char *text, struct array_shape *ret)
{
	struct array_shape shape = { 0 };

	for (;;) {
		char *end;
		if (*text < '0' || *text > '9' || shape.dimensions == ARRAY_DIMENSIONS_MAX)
			return -EINVAL;
		errno = 0;
		uint64_t length = strtoull(text, &end, 10);
		if (errno != 0 || length == 0)
			return -EINVAL;
		shape.length[shape.dimensions++] = length;
		if (*end == '\0')
			break;
		if (*end != ',' && *end != 'x')
			return -EINVAL;
		text = end + 1;
	}
	*ret = shape;
	return 0;
}

void
array_shape_print(const struct array_shape *shape, char *buffer, size_t size)
{
	size_t used = 0;

	if (size > 0)
		buffer[0] = '\0';
	for (uint32_t i = 0; i < shape->dimensions && used < size; i++)
		used += (size_t)snprintf(buffer + used, size - used, "%s%" PRIu64, i > 0 ? "," : "",
					 shape->length[i]);
}

int
array_shape_size(const struct array_shape *shape, enum array_type type, uint64_t *ret_count,
		 uint64_t *ret_bytes)
{
	uint64_t bytes = array_type_bytes(type), count = 1;

	if (bytes == 0 || shape->dimensions == 0 || shape->dimensions > ARRAY_DIMENSIONS_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < shape->dimensions; i++)
		if (shape->length[i] == 0)
			return -EINVAL;
	for (uint32_t i = 0; i < shape->dimensions; i++)
		if (__builtin_mul_overflow(count, shape->length[i], &count) ||
		    count > ARRAY_BYTES_MAX / bytes)
			return -EFBIG;
	*ret_count = count;
	*ret_bytes = count * bytes;
	return 0;
}

/* ---- values ---- */

static int
parse_signed(const char *text, unsigned bits, union array_value *ret)
{
	char *end;

	errno = 0;
	long long value = strtoll(text, &end, 0);
	if (end == text || *end != '\0')
		return -EINVAL;
	long long most = bits == 64 ? INT64_MAX : (1ll << (bits - 1)) - 1;
	if (errno == ERANGE || value > most || value < -most - 1)
		return -ERANGE;
	ret->i = value;
	return 0;
}

static int
parse_unsigned(const char *text, unsigned bits, union array_value *ret)
{
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 0);
	if (end == text || *end != '\0')
		return -EINVAL;
	bool negative = *text == '-' && value != 0; /* strtoull() would wrap it */
	if (errno == ERANGE || negative || (bits < 64 && value >> bits != 0))
		return -ERANGE;
	ret->u = value;
	return 0;
}

static int
parse_real(enum array_type type, const char *text, union array_value *ret)
{
	char *end;

	double value = strtod(text, &end);
	if (end == text || *end != '\0')
		return -EINVAL;
	if (isfinite(value) && type == ARRAY_f32 && fabs(value) > (double)FLT_MAX)
		return -ERANGE;
	if (isinf(value) && strpbrk(text, "iI") == NULL)
		return -ERANGE; /* 1e999 is a number, but not one of these */
	ret->f = type == ARRAY_f32 ? (double)(float)value : value;
	return 0;
}

int
array_value_parse(enum array_type type, const char *text, union array_value *ret)
{
	unsigned bits = (unsigned)(8 * array_type_bytes(type));

	if (bits == 0 || text[0] == '\0' || text[0] == ' ' || text[0] == '\t')
		return -EINVAL;
	if (array_type_is_real(type))
		return parse_real(type, text, ret);
	return array_type_is_signed(type) ? parse_signed(text, bits, ret)
					  : parse_unsigned(text, bits, ret);
}

union array_value
array_value_at(enum array_type type, const void *data, uint64_t index)
{
	union array_value value = { 0 };

	switch (type) {
#define X(name, c, numpy)                                             \
	case ARRAY_##name:                                            \
		value.ARRAY_MEMBER_##name = ((const c *)data)[index]; \
		break;
		/* NOLINTNEXTLINE(bugprone-signed-char-misuse): an i8 is a number */
		ARRAY_TYPES(X)
#undef X
	case ARRAY_NOTHING:
	case ARRAY_TYPE_END:
		break;
	}
	return value;
}

double
array_value_real(enum array_type type, union array_value value)
{
	if (array_type_is_real(type))
		return value.f;
	return array_type_is_signed(type) ? (double)value.i : (double)value.u;
}

void
array_value_print(enum array_type type, union array_value value, char *buffer, size_t size)
{
	if (type == ARRAY_f32)
		snprintf(buffer, size, "%.9g", value.f);
	else if (type == ARRAY_f64)
		snprintf(buffer, size, "%.17g", value.f);
	else if (array_type_is_signed(type))
		snprintf(buffer, size, "%" PRId64, value.i);
	else
		snprintf(buffer, size, "%" PRIu64, value.u);
}
