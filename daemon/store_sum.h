/*
 * store_sum.h - the checksum of a row: what can be saved from a damaged page is known by it.
 *
 * It is the exclusive or of one number a column, so who changes a column need not read the others.
 * The rowid counts as column 1; the sum itself is the last column, and does not count.
 */
#ifndef PYPREP_DAEMON_STORE_SUM_H
#define PYPREP_DAEMON_STORE_SUM_H

#include <stdint.h>
#include <string.h>

enum table { TABLE_JOB = 1, TABLE_ATTEMPT, TABLE_OUTPUT, TABLE_CONTEXT, TABLE_TALLY };

static inline uint64_t
sum_mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 32;
}

static inline uint64_t
sum_seed(enum table table, int column, unsigned type)
{
	return sum_mix((uint64_t)table << 16 | (uint64_t)column, type);
}

static inline uint32_t
sum_null(enum table table, int column)
{
	return (uint32_t)sum_mix(sum_seed(table, column, 0), 0);
}

static inline uint32_t
sum_int(enum table table, int column, uint64_t value)
{
	return (uint32_t)sum_mix(sum_mix(sum_seed(table, column, 1), value), 0);
}

/* Text and bytes alike. */
static inline uint32_t
sum_bytes(enum table table, int column, const void *bytes, size_t length)
{
	const unsigned char *at = bytes;
	uint64_t h = sum_mix(sum_seed(table, column, 2), length), word;

	for (; length >= sizeof(word); at += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		h = sum_mix(h, word);
	}
	word = 0;
	if (length > 0)
		memcpy(&word, at, length);
	return (uint32_t)sum_mix(sum_mix(h, word), 0);
}

#endif
