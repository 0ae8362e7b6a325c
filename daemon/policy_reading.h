/*
 * policy_reading.h - the parts of policy_read(): one reading, the fields of the map, and how a
 * value of each type is taken.  For policy_read.c, policy_fields.c and policy_values.c alone.
 */
#ifndef PYPREP_DAEMON_POLICY_READING_H
#define PYPREP_DAEMON_POLICY_READING_H

#include "daemon/policy.h"
#include "daemon/unpack.h"

#define POLICY_FIELDS_MAX 31u /* a bit each */

/* A piece of the map's bytes. */
struct piece {
	const char *at;
	uint32_t length;
};

/* One policy_read() at work. */
struct reading {
	struct unpacker from;
	const struct field *field; /* which is being read */
	uint64_t now_wall_ns;
	bool has_delay, has_at, has_jitter, has_if_exists;
	struct policy p; /* without its lists and texts, which are here: */
	struct piece key;
	struct policy_parent parents[POLICY_PARENTS];
	struct policy_rate rates[POLICY_LIST_MAX];
	struct policy_need needs[POLICY_LIST_MAX];
	struct piece label_names[POLICY_LIST_MAX], label_values[POLICY_LIST_MAX];
	char *why;
	size_t why_size;
};

/* One key of the map. */
struct field {
	const char *name;
	enum job_error (*read)(struct reading *r, const struct value *v);
	const char *expected; /* "NAME must be ..." */
};
extern const struct field policy_fields[];
extern const size_t policy_field_count;

/* Put a sentence into why; returns `error`. */
enum job_error policy_refuse(struct reading *r, enum job_error error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* "NAME must be EXPECTED, got ..." */
enum job_error policy_refuse_value(struct reading *r, enum job_error error,
				   const struct value *got);
enum job_error policy_refuse_twice(struct reading *r, struct piece name);

/* policy_take_*() check a value that was read, policy_next_*() read it first.  ERR_NONE, or the
 * error with its sentence; *ret is set on success only. */
enum job_error policy_next(struct reading *r, struct value *ret);
enum job_error policy_take_int(struct reading *r, const struct value *v, int64_t low, int64_t high,
			       int64_t *ret);
enum job_error policy_next_int(struct reading *r, int64_t low, int64_t high, int64_t *ret);
/* UTF-8 of `low` to `high` bytes without control characters. */
enum job_error policy_take_text(struct reading *r, const struct value *v, uint32_t low,
				uint32_t high, struct piece *ret);
enum job_error policy_next_text(struct reading *r, uint32_t low, uint32_t high, struct piece *ret);
/* The index of one of `words`. */
enum job_error policy_take_word(struct reading *r, const struct value *v, const char *const *words,
				unsigned count, unsigned *ret);
enum job_error policy_next_word(struct reading *r, const char *const *words, unsigned count,
				unsigned *ret);
/* A list of 1 to `most` entries, which come next. */
enum job_error policy_take_list(struct reading *r, const struct value *v, uint32_t most);
/* An entry that is itself a list, of exactly `count`. */
enum job_error policy_next_tuple(struct reading *r, uint32_t count);

bool piece_is(struct piece t, const char *word);
bool pieces_equal(struct piece a, struct piece b);

#endif
