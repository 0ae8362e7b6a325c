/* number.c - numbers, times and ranges as people type them. */
#include "client/ctl/number.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/clock.h"

#define DURATION_MAX_S (365.0 * 24 * 3600)

int
number_int(const char *text, int64_t low, int64_t high, int64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)text[0]) && !(text[0] == '-' && text[1] != '\0'))
		return -EINVAL;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0' || value < low || value > high)
		return -EINVAL;
	*ret = value;
	return 0;
}

int
number_u64(const char *text, uint64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno != 0 || *end != '\0' || value == 0)
		return -EINVAL;
	*ret = value;
	return 0;
}

int
number_duration(const char *text, uint64_t *ret_ns)
{
	static const struct {
		const char *suffix;
		double seconds;
	} units[] = { { "", 1 },  { "ns", 1e-9 }, { "us", 1e-6 }, { "ms", 1e-3 },
		      { "s", 1 }, { "m", 60 },    { "h", 3600 } };
	char *end;

	/* digits and one point only: strtod would also take "inf", "0x1p3" and "1e9" */
	size_t length = strspn(text, "0123456789.");
	if (length == 0 || length > 30)
		return -EINVAL;
	char digits[32];
	memcpy(digits, text, length);
	digits[length] = '\0';
	double value = strtod(digits, &end);
	if (*end != '\0' || end == digits)
		return -EINVAL;
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (strcmp(text + length, units[i].suffix) != 0)
			continue;
		double seconds = value * units[i].seconds;
		if (seconds > DURATION_MAX_S)
			return -EINVAL;
		*ret_ns = (uint64_t)(seconds * (double)NS_PER_S + 0.5);
		return 0;
	}
	return -EINVAL;
}

int
number_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	const char *unit = *end != '\0' ? strchr(units, *end) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	if (errno != 0 || (*end != '\0' && (!unit || end[1] != '\0')) ||
	    value > UINT64_MAX >> shift)
		return -EINVAL;
	*ret_bytes = (uint64_t)value << shift;
	return 0;
}

int
number_range(const char *text, int64_t *ret_low, int64_t *ret_high)
{
	char low_text[32];
	int64_t low, high;

	const char *dots = strstr(text, "..");
	if (!dots || (size_t)(dots - text) >= sizeof low_text)
		return -EINVAL;
	memcpy(low_text, text, (size_t)(dots - text));
	low_text[dots - text] = '\0';
	if (number_int(low_text, INT64_MIN, INT64_MAX, &low) < 0 ||
	    number_int(dots + 2, INT64_MIN, INT64_MAX, &high) < 0 || low >= high)
		return -EINVAL;
	*ret_low = low;
	*ret_high = high;
	return 0;
}

bool
choice_has(const char *choices, const char *text)
{
	size_t length = strlen(text);

	while (*choices) {
		size_t this = strcspn(choices, "|");
		if (this == length && memcmp(choices, text, length) == 0)
			return true;
		choices += this + (choices[this] == '|');
	}
	return false;
}
