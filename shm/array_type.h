/*
 * array_type.h - what an array is made of: the type of its elements, its shape, one value.
 *
 * Types are those of C with numpy's meaning; both names are understood ("f64", "float64").
 * Shapes are in C order (the last dimension is next to next in memory), as numpy's default.
 */
#ifndef PYPREP_SHM_ARRAY_TYPE_H
#define PYPREP_SHM_ARRAY_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_DIMENSIONS_MAX 8
#define ARRAY_SHAPE_TEXT     (ARRAY_DIMENSIONS_MAX * 21)
#define ARRAY_BYTES_MAX      (UINT64_C(1) << 46) /* 64 TiB: what x86-64 can map, about */

/*      name, C type,   numpy's name */
#define ARRAY_TYPES(X)             \
	X(i8, int8_t, "int8")      \
	X(i16, int16_t, "int16")   \
	X(i32, int32_t, "int32")   \
	X(i64, int64_t, "int64")   \
	X(u8, uint8_t, "uint8")    \
	X(u16, uint16_t, "uint16") \
	X(u32, uint32_t, "uint32") \
	X(u64, uint64_t, "uint64") \
	X(f32, float, "float32")   \
	X(f64, double, "float64")

/* Values lie in shared memory: new ones go to the end. */
enum array_type {
	ARRAY_NOTHING,
#define X(name, c, numpy) ARRAY_##name,
	ARRAY_TYPES(X)
#undef X
		ARRAY_TYPE_END,
};

bool array_type_is_valid(uint32_t type);
const char *array_type_name(enum array_type type);  /* "f64"; "?" for none */
const char *array_type_numpy(enum array_type type); /* "float64" */
size_t array_type_bytes(enum array_type type);      /* of one element; 0 for none */
bool array_type_is_real(enum array_type type);      /* f32, f64 */
bool array_type_is_signed(enum array_type type);    /* i8 .. i64 */

/* 0, or -EINVAL: no such type. */
int array_type_by_name(const char *name, enum array_type *ret);

struct array_shape {
	uint32_t dimensions;                   /* 1 .. ARRAY_DIMENSIONS_MAX */
	uint64_t length[ARRAY_DIMENSIONS_MAX]; /* each 1 and up; 0 behind the last */
};

/* "1000" or "1000,1000" (also 1000x1000).  -EINVAL: that is no shape. */
int array_shape_parse(const char *text, struct array_shape *ret);
void array_shape_print(const struct array_shape *shape, char *buffer, size_t size);

/* How many elements, how many bytes.  -EINVAL: no shape or type; -EFBIG: beyond
 * ARRAY_BYTES_MAX. */
int array_shape_size(const struct array_shape *shape, enum array_type type, uint64_t *ret_count,
		     uint64_t *ret_bytes);

/* One element, of any type, exactly: i8 .. i64 in `i`, u8 .. u64 in `u`, f32 and f64 in `f`. */
union array_value {
	int64_t i;
	uint64_t u;
	double f;
};

/* Which of them an element is. */
#define ARRAY_MEMBER_i8  i
#define ARRAY_MEMBER_i16 i
#define ARRAY_MEMBER_i32 i
#define ARRAY_MEMBER_i64 i
#define ARRAY_MEMBER_u8  u
#define ARRAY_MEMBER_u16 u
#define ARRAY_MEMBER_u32 u
#define ARRAY_MEMBER_u64 u
#define ARRAY_MEMBER_f32 f
#define ARRAY_MEMBER_f64 f

/* A number as people type it.  -EINVAL: no number, or not a whole one for an integer type;
 * -ERANGE: the type cannot hold it. */
int array_value_parse(enum array_type type, const char *text, union array_value *ret);
union array_value array_value_at(enum array_type type, const void *data, uint64_t index);
void array_value_print(enum array_type type, union array_value value, char *buffer, size_t size);
double array_value_real(enum array_type type, union array_value value); /* rounded to a double */

#endif
