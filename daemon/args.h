/*
 * args.h - the parameters of a kind: their declaration, and the packed form that
 * travels from the broker to the worker.
 *
 * A client sends one msgpack map {name: value}; the broker alone turns it into
 * arguments (args_pack: names, types, ranges, defaults), so a worker never sees a
 * value that was not checked.  Packed: one 64-bit word per declared parameter, in
 * order, then the bytes that text words point into.
 *
 *   PARAM_INT   the value            PARAM_TEXT  offset << 32 | length; NUL-terminated
 *   PARAM_ENUM  index of the choice  PARAM_LIST  offset << 32 | count; strings, each
 *   PARAM_FLAG  0 or 1                           NUL-terminated, one after the other
 *   PARAM_REAL  the bits of a double, finite
 *
 * PARAM_PATH is packed as TEXT.  Offsets count from the start of the packed form.
 */
#ifndef PYPREP_DAEMON_ARGS_H
#define PYPREP_DAEMON_ARGS_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/receipt.h"

#define PARAMS_MAX 8

enum param_type {
	PARAM_END,
	PARAM_INT,
	PARAM_ENUM,
	PARAM_FLAG,
	PARAM_TEXT,
	PARAM_PATH, /* a TEXT that is an absolute path; clients complete a relative one */
	PARAM_LIST,
	PARAM_REAL,
};

struct param {
	const char *name;
	enum param_type type;
	int64_t low, high; /* INT, REAL: range; TEXT, PATH: bytes; LIST: entries */
	const char *fallback; /* the default, as text; NULL: must be given */
	const char *choices; /* ENUM: "naive|memo|lru" */
	const char *help; /* with its unit */
};

struct kind;

/* A packed form under construction, owned by the caller and reused. */
struct args_buffer {
	unsigned char *bytes; /* aligned for uint64_t */
	uint32_t length;
	uint32_t capacity;
};
void args_buffer_free(struct args_buffer *b);

/* Check the msgpack map `map` against the kind's declaration and pack it into `out`.
 * Integers and reals may also come as decimal text ("1000000", "-2.5e3"), reals as integers,
 * flags as true/false, text as str or bin, lists as arrays of them.  Returns ERR_NONE, or the error with a sentence in
 * `why` that names the parameter, what was expected and the nearest name. */
enum job_error args_pack(const struct kind *kind, const void *map, size_t length,
			 struct args_buffer *out, char *why, size_t why_size);

/* Read a packed form.  Indexes are those of the kind's declaration. */
int64_t args_int(const void *packed, unsigned index); /* INT, ENUM, FLAG */
double args_real(const void *packed, unsigned index);
const char *args_text(const void *packed, unsigned index, uint32_t *ret_length);
const char *args_list(const void *packed, unsigned index, uint32_t *ret_count); /* first */

/* "n=1000 method=memo": the arguments in words, cut to `size`; for ls and logs. */
void args_print(const struct kind *kind, const void *packed, char *buffer, size_t size);

#endif
