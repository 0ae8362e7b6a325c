/* array_ops.c - see array_ops.h; the loops are in array_each.h */
#include "shm/array_ops.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GAMMA UINT64_C(0x9E3779B97F4A7C15)

static inline uint64_t
mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

uint64_t
array_random_bits(uint64_t seed, uint64_t index)
{
	return mix(seed + (index + 1) * GAMMA);
}

/* ---- the loops, ten times ---- */

#define T     int8_t
#define F(x)  x##_i8
#define TYPE  ARRAY_i8
#define LEAST INT8_MIN
#define MOST  INT8_MAX
#include "shm/array_each.h"

#define T     int16_t
#define F(x)  x##_i16
#define TYPE  ARRAY_i16
#define LEAST INT16_MIN
#define MOST  INT16_MAX
#include "shm/array_each.h"

#define T     int32_t
#define F(x)  x##_i32
#define TYPE  ARRAY_i32
#define LEAST INT32_MIN
#define MOST  INT32_MAX
#include "shm/array_each.h"

#define T     int64_t
#define F(x)  x##_i64
#define TYPE  ARRAY_i64
#define LEAST INT64_MIN
#define MOST  INT64_MAX
#define EACH_WIDE
#include "shm/array_each.h"

#define T     uint8_t
#define F(x)  x##_u8
#define TYPE  ARRAY_u8
#define LEAST 0
#define MOST  UINT8_MAX
#include "shm/array_each.h"

#define T     uint16_t
#define F(x)  x##_u16
#define TYPE  ARRAY_u16
#define LEAST 0
#define MOST  UINT16_MAX
#include "shm/array_each.h"

#define T     uint32_t
#define F(x)  x##_u32
#define TYPE  ARRAY_u32
#define LEAST 0
#define MOST  UINT32_MAX
#include "shm/array_each.h"

#define T     uint64_t
#define F(x)  x##_u64
#define TYPE  ARRAY_u64
#define LEAST 0
#define MOST  UINT64_MAX
#define EACH_WIDE
#include "shm/array_each.h"

#define T    float
#define F(x) x##_f32
#define TYPE ARRAY_f32
#define EACH_REAL
#include "shm/array_each.h"

#define T    double
#define F(x) x##_f64
#define TYPE ARRAY_f64
#define EACH_REAL
#include "shm/array_each.h"

/* ---- which loop ---- */

#define AT(c, a, low) ((c *)(a)->data + (low))

void
array_fill(const struct array *a, uint64_t low, uint64_t high, union array_value value)
{
	switch (a->type) {
#define X(name, c, numpy)                                                             \
	case ARRAY_##name:                                                            \
		fill_##name(AT(c, a, low), high - low, (c)value.ARRAY_MEMBER_##name); \
		break;
		ARRAY_TYPES(X)
#undef X
	default:
		break;
	}
}

uint64_t
array_scale(const struct array *a, uint64_t low, uint64_t high, double factor)
{
	switch (a->type) {
#define X(name, c, numpy)  \
	case ARRAY_##name: \
		return scale_##name(AT(c, a, low), high - low, factor);
		ARRAY_TYPES(X)
#undef X
	default:
		return 0;
	}
}

void
array_random(const struct array *a, uint64_t low, uint64_t high, uint64_t seed)
{
	switch (a->type) {
#define X(name, c, numpy)                                            \
	case ARRAY_##name:                                           \
		random_##name(AT(c, a, low), low, high - low, seed); \
		break;
		ARRAY_TYPES(X)
#undef X
	default:
		break;
	}
}

struct array_sum
array_sum(const struct array *a, uint64_t low, uint64_t high)
{
	switch (a->type) {
#define X(name, c, numpy)  \
	case ARRAY_##name: \
		return sum_##name(AT(const c, a, low), high - low);
		ARRAY_TYPES(X)
#undef X
	default:
		return (struct array_sum){ 0 };
	}
}

struct array_sum
array_dot(const struct array *a, const struct array *b, uint64_t low, uint64_t high)
{
	switch (a->type) {
#define X(name, c, numpy)  \
	case ARRAY_##name: \
		return dot_##name(AT(const c, a, low), AT(const c, b, low), high - low);
		ARRAY_TYPES(X)
#undef X
	default:
		return (struct array_sum){ 0 };
	}
}

void
array_extent(const struct array *a, uint64_t low, uint64_t high, struct array_extent *ret)
{
	switch (a->type) {
#define X(name, c, numpy)                                            \
	case ARRAY_##name:                                           \
		extent_##name(AT(const c, a, low), high - low, ret); \
		break;
		ARRAY_TYPES(X)
#undef X
	default:
		break;
	}
}

void
array_histogram(const struct array *a, uint64_t low, uint64_t high, double least, double greatest,
		unsigned bins, uint64_t *counts)
{
	switch (a->type) {
#define X(name, c, numpy)                                                                         \
	case ARRAY_##name:                                                                        \
		histogram_##name(AT(const c, a, low), high - low, least, greatest, bins, counts); \
		break;
		ARRAY_TYPES(X)
#undef X
	default:
		break;
	}
}

/* ---- sums of parts ---- */

struct array_sum
array_sum_zero(enum array_type type)
{
	return (struct array_sum){ .real = array_type_is_real(type) };
}

void
array_sum_add(struct array_sum *total, const struct array_sum *part)
{
	total->overflow |= part->overflow;
	if (!total->real) {
		total->overflow |= __builtin_add_overflow(total->whole, part->whole, &total->whole);
		return;
	}
	double sum = total->part + part->part;
	if (isfinite(sum))
		total->lost += fabs(total->part) >= fabs(part->part)
				       ? (total->part - sum) + part->part
				       : (part->part - sum) + total->part;
	total->lost += part->lost;
	total->part = sum;
}

/* The least 128-bit number stands for an overflow. */
void
array_sum_pack(const struct array_sum *sum, int64_t words[2])
{
	unsigned __int128 bits = (unsigned __int128)sum->whole;

	if (sum->real) {
		memcpy(&words[0], &sum->part, sizeof(sum->part));
		words[1] = 0;
		return;
	}
	if (sum->overflow)
		bits = (unsigned __int128)1 << 127;
	words[0] = (int64_t)(uint64_t)bits;
	words[1] = (int64_t)(uint64_t)(bits >> 64);
}

struct array_sum
array_sum_unpack(enum array_type type, const int64_t *words)
{
	struct array_sum sum = array_sum_zero(type);

	if (sum.real) {
		memcpy(&sum.part, words, sizeof(sum.part));
		return sum;
	}
	unsigned __int128 bits = (unsigned __int128)(uint64_t)words[1] << 64 | (uint64_t)words[0];
	sum.overflow = bits == (unsigned __int128)1 << 127;
	sum.whole = sum.overflow ? 0 : (__int128)bits;
	return sum;
}

double
array_sum_real(const struct array_sum *sum)
{
	if (sum->real)
		return sum->part + sum->lost;
	return sum->overflow ? NAN : (double)sum->whole;
}

void
array_sum_print(const struct array_sum *sum, char *buffer, size_t size)
{
	char digits[48];
	char *at = digits + sizeof(digits);
	unsigned __int128 left =
		sum->whole < 0 ? 0 - (unsigned __int128)sum->whole : (unsigned __int128)sum->whole;

	if (sum->real || sum->overflow) {
		if (sum->overflow)
			snprintf(buffer, size, "overflow");
		else
			snprintf(buffer, size, "%.17g", array_sum_real(sum));
		return;
	}
	*--at = '\0';
	do {
		*--at = (char)('0' + (unsigned)(left % 10));
		left /= 10;
	} while (left > 0);
	if (sum->whole < 0)
		*--at = '-';
	snprintf(buffer, size, "%s", at);
}
