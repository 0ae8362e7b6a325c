/* units.c - times, sizes and counts as text, and what the terminal can show. */
#include "client/ctl/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/command.h"

bool
units_human(void)
{
	if (strcmp(ctl.units, "auto") == 0)
		return isatty(STDOUT_FILENO) == 1;
	return strcmp(ctl.units, "human") == 0;
}

/* Four figures at most, so that columns stay narrow. */
static struct unit_text
scaled(double value, const char *unit)
{
	struct unit_text out;
	int decimals = value < 9.995 ? 2 : value < 999.95 ? 1 : 0;

	snprintf(out.text, sizeof out.text, "%.*f %s", decimals, value, unit);
	return out;
}

struct unit_text
unit_time_human(uint64_t ns)
{
	struct unit_text out;
	double value = (double)ns;

	if (ns < 1000)
		snprintf(out.text, sizeof out.text, "%" PRIu64 " ns", ns);
	else if (value < 999.95e3)
		out = scaled(value / 1e3, "us");
	else if (value < 999.95e6)
		out = scaled(value / 1e6, "ms");
	else if (ns < 120ull * 1000000000)
		out = scaled(value / 1e9, "s");
	else if (ns < 2ull * 3600 * 1000000000)
		out = scaled(value / 60e9, "min");
	else
		out = scaled(value / 3600e9, "h");
	return out;
}

static struct unit_text
plain(uint64_t value)
{
	struct unit_text out;
	snprintf(out.text, sizeof out.text, "%" PRIu64, value);
	return out;
}

struct unit_text
unit_time(uint64_t ns)
{
	return units_human() ? unit_time_human(ns) : plain(ns);
}

struct unit_text
unit_bytes_human(uint64_t bytes)
{
	static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	unsigned i = 0;

	for (; value >= 1023.95 && i < 4; i++)
		value /= 1024;
	if (i == 0) {
		struct unit_text out;
		snprintf(out.text, sizeof out.text, "%" PRIu64 " B", bytes);
		return out;
	}
	return scaled(value, names[i]);
}

struct unit_text
unit_bytes(uint64_t bytes)
{
	return units_human() ? unit_bytes_human(bytes) : plain(bytes);
}

struct unit_text
unit_count_human(uint64_t count)
{
	struct unit_text digits = plain(count), out;
	size_t length = strlen(digits.text), at = 0;

	for (size_t i = 0; i < length; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			out.text[at++] = ',';
		out.text[at++] = digits.text[i];
	}
	out.text[at] = '\0';
	return out;
}

struct unit_text
unit_count(uint64_t count)
{
	return units_human() ? unit_count_human(count) : plain(count);
}

struct unit_text
unit_rate(double per_second)
{
	struct unit_text out;

	if (per_second >= 1000)
		return unit_count((uint64_t)(per_second + 0.5));
	snprintf(out.text, sizeof out.text, "%.1f", per_second);
	return out;
}

static bool
terminal_is_dumb(void)
{
	const char *term = getenv("TERM");
	return !term || strcmp(term, "dumb") == 0;
}

static bool
colour_wanted(void)
{
	const char *no_color = getenv("NO_COLOR");

	if (strcmp(ctl.color, "auto") != 0)
		return strcmp(ctl.color, "always") == 0;
	if (no_color && no_color[0])
		return false;
	return isatty(STDOUT_FILENO) == 1 && !terminal_is_dumb();
}

const char *
colour_begin(enum colour colour)
{
	static const char *const sequences[] = {
		[COLOUR_NONE] = "",         [COLOUR_GOOD] = "\033[32m", [COLOUR_BAD] = "\033[31m",
		[COLOUR_WARN] = "\033[33m", [COLOUR_DIM] = "\033[2m",
	};
	return colour_wanted() ? sequences[colour] : "";
}

const char *
colour_end(enum colour colour)
{
	return colour != COLOUR_NONE && colour_wanted() ? "\033[0m" : "";
}

enum colour
colour_of_state(const char *state)
{
	static const struct {
		const char *state;
		enum colour colour;
	} rows[] = {
		{ "succeeded", COLOUR_GOOD }, { "failed", COLOUR_BAD },
		{ "refused", COLOUR_BAD },    { "timed_out", COLOUR_BAD },
		{ "cancelled", COLOUR_WARN }, { "paused", COLOUR_WARN },    { "draining", COLOUR_WARN },
		{ "backoff", COLOUR_WARN },   { "queued", COLOUR_DIM },
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (strcmp(rows[i].state, state) == 0)
			return rows[i].colour;
	return COLOUR_NONE;
}

bool
stderr_redraws(void)
{
	return isatty(STDERR_FILENO) == 1 && !terminal_is_dumb();
}
