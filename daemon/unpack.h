/*
 * unpack.h - read msgpack that a client wrote, one value after the other.
 *
 * The bytes may be anything: nothing here allocates, recurses or reads past the end, and a
 * count that the client claims is never believed further than the bytes that are there.
 * Lists and maps give their count; their elements are the next values.
 */
#ifndef PYPREP_DAEMON_UNPACK_H
#define PYPREP_DAEMON_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_type {
	VALUE_NIL,
	VALUE_BOOL,
	VALUE_INT, /* fits int64_t */
	VALUE_BIG, /* an unsigned integer above INT64_MAX */
	VALUE_FLOAT,
	VALUE_TEXT, /* str or bin */
	VALUE_LIST,
	VALUE_MAP,
	VALUE_EXT,
};

struct value {
	enum value_type type;
	union {
		bool boolean;
		int64_t integer;
		uint64_t big;
		double number;
		struct {
			const char *text; /* in the client's bytes; not NUL-terminated */
			uint32_t length;
		};
		uint32_t count; /* LIST: elements; MAP: pairs */
	};
};

struct unpacker {
	const unsigned char *at;
	const unsigned char *end;
};

/* The next value.  0, or -EPROTO when the bytes end inside it or are no msgpack. */
int unpack_next(struct unpacker *u, struct value *ret);

/* The value in words, quoted and made printable, cut to `size`: for error texts. */
void value_print(const struct value *v, char *buffer, size_t size);

#endif
