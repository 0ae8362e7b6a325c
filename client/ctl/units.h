/*
 * units.h - times, sizes and counts as text, and what the terminal can show.
 *
 * Human units on a terminal, base units (ns, bytes) otherwise; --units decides for both.
 */
#ifndef PYPREP_CTL_UNITS_H
#define PYPREP_CTL_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unit_text {
	char text[32];
};

bool units_human(void); /* by --units and stdout */

/* "412.6 ms", "80 ns"; in base units "412600000". */
struct unit_text unit_time(uint64_t ns);
struct unit_text unit_time_human(uint64_t ns); /* always "412.6 ms" */
struct unit_text unit_bytes(uint64_t bytes);   /* "1.9 MiB"; base "1992294" */
struct unit_text unit_count(uint64_t count);   /* "1,000,000"; base "1000000" */
struct unit_text unit_bytes_human(uint64_t bytes);
struct unit_text unit_count_human(uint64_t count);
struct unit_text unit_rate(double per_second); /* "977.5", "1,234,567" */

/* The sequences that begin and end a colour, "" when there is to be none. */
enum colour { COLOUR_NONE, COLOUR_GOOD, COLOUR_BAD, COLOUR_WARN, COLOUR_DIM };
const char *colour_begin(enum colour colour);
const char *colour_end(enum colour colour);
enum colour colour_of_state(const char *state);

/* May stderr be redrawn in place?  A terminal that is not dumb. */
bool stderr_redraws(void);

#endif
