/* number.h - numbers, times and ranges as people type them.  0 or -EINVAL, *ret untouched. */
#ifndef PYPREP_CTL_NUMBER_H
#define PYPREP_CTL_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

int number_int(const char *text, int64_t low, int64_t high, int64_t *ret);
int number_u64(const char *text, uint64_t *ret); /* a job's id: 1 and up */

/* Seconds, or with a unit: ns us ms s m h.  In ns; at most 365 days. */
int number_duration(const char *text, uint64_t *ret_ns);

/* Bytes, or with a unit: K M G T, of 1024. */
int number_size(const char *text, uint64_t *ret_bytes);

/* "LO..HI", HI not included, LO < HI. */
int number_range(const char *text, int64_t *ret_low, int64_t *ret_high);

/* Is `text` one of "a|b|c"? */
bool choice_has(const char *choices, const char *text);

#endif
