/* array_sort.c - see array_sort.h; the loops are in array_sort_each.h */
#include "shm/array_sort.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/array_ops.h"

#define T    int8_t
#define U    uint8_t
#define F(x) x##_i8
#define KEY_SIGNED
#include "shm/array_sort_each.h"

#define T    int16_t
#define U    uint16_t
#define F(x) x##_i16
#define KEY_SIGNED
#include "shm/array_sort_each.h"

#define T    int32_t
#define U    uint32_t
#define F(x) x##_i32
#define KEY_SIGNED
#include "shm/array_sort_each.h"

#define T    int64_t
#define U    uint64_t
#define F(x) x##_i64
#define KEY_SIGNED
#include "shm/array_sort_each.h"

#define T    uint8_t
#define U    uint8_t
#define F(x) x##_u8
#include "shm/array_sort_each.h"

#define T    uint16_t
#define U    uint16_t
#define F(x) x##_u16
#include "shm/array_sort_each.h"

#define T    uint32_t
#define U    uint32_t
#define F(x) x##_u32
#include "shm/array_sort_each.h"

#define T    uint64_t
#define U    uint64_t
#define F(x) x##_u64
#include "shm/array_sort_each.h"

#define T    float
#define U    uint32_t
#define F(x) x##_f32
#define KEY_REAL
#include "shm/array_sort_each.h"

#define T    double
#define U    uint64_t
#define F(x) x##_f64
#define KEY_REAL
#include "shm/array_sort_each.h"

int
array_sort_run(const struct array *from, const struct array *to, uint64_t low, uint64_t high)
{
	if (low == high)
		return 0;
	switch (from->type) {
#define X(name, c, numpy)  \
	case ARRAY_##name: \
		return sort_##name((const c *)from->data + low, (c *)to->data + low, high - low);
		ARRAY_TYPES(X)
#undef X
	default:
		return -EINVAL;
	}
}

void
array_sort_merge(const struct array *from, const struct array *to, uint64_t width, uint64_t low,
		 uint64_t high)
{
	uint64_t first = low / (2 * width) * (2 * width);
	uint64_t left = from->count - first;
	uint64_t a_count = left < width ? left : width;
	uint64_t b_count = left - a_count < width ? left - a_count : width;

	switch (from->type) {
#define X(name, c, numpy)                                                                        \
	case ARRAY_##name: {                                                                     \
		const c *a = (const c *)from->data + first;                                      \
		merge_##name(a, a_count, a + a_count, b_count, low - first, (c *)to->data + low, \
			     high - low);                                                        \
		break;                                                                           \
	}
		ARRAY_TYPES(X)
#undef X
	default:
		break;
	}
}

bool
array_sort_is_sorted(const struct array *a)
{
	switch (a->type) {
#define X(name, c, numpy)  \
	case ARRAY_##name: \
		return is_sorted_##name(a->data, a->count);
		ARRAY_TYPES(X)
#undef X
	default:
		return false;
	}
}

/* 8 runs (3 passes) keep a few workers busy; longer arrays get 32 (5 passes) so that a run
 * with its two buffers stays near the caches. */
unsigned
array_sort_plan(uint64_t count, uint64_t *ret_width)
{
	unsigned passes = count <= 2 * ARRAY_BLOCK      ? 0
			  : count <= 16 * ARRAY_BLOCK   ? 1
			  : count <= 1024 * ARRAY_BLOCK ? 3
							: 5;
	uint64_t blocks = (count + ARRAY_BLOCK - 1) / ARRAY_BLOCK;
	uint64_t runs = UINT64_C(1) << passes;

	*ret_width = passes == 0 ? count : (blocks + runs - 1) / runs * ARRAY_BLOCK;
	return passes;
}
