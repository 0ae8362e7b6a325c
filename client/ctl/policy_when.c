/* policy_when.c - times of day and dates as people type them (RFC 3339, or the clock's hours). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/ctl/policy_options.h"
#include "ipc/clock.h"

#define DAY_S 86400

/* Exactly `digits` of them, from `low` to `high`; *at goes on behind. */
static bool
take_number(const char **at, unsigned digits, int low, int high, int *ret)
{
	int value = 0;

	for (unsigned i = 0; i < digits; i++) {
		if ((*at)[i] < '0' || (*at)[i] > '9')
			return false;
		value = 10 * value + ((*at)[i] - '0');
	}
	*at += digits;
	*ret = value;
	return value >= low && value <= high;
}

static bool
take_char(const char **at, char c)
{
	if (**at != c)
		return false;
	++*at;
	return true;
}

/* HH:MM, HH:MM:SS, HH:MM:SS.FRACTION */
static bool
take_clock(const char **at, struct tm *tm, uint64_t *ret_fraction_ns)
{
	uint64_t unit_ns = NS_PER_S;

	*ret_fraction_ns = 0;
	if (!take_number(at, 2, 0, 23, &tm->tm_hour) || !take_char(at, ':') ||
	    !take_number(at, 2, 0, 59, &tm->tm_min))
		return false;
	if (!take_char(at, ':'))
		return true;
	if (!take_number(at, 2, 0, 59, &tm->tm_sec))
		return false;
	if (!take_char(at, '.'))
		return true;
	const char *begin = *at;
	for (; **at >= '0' && **at <= '9'; ++*at) {
		unit_ns /= 10;
		*ret_fraction_ns += unit_ns * (uint64_t)(**at - '0');
	}
	return *at > begin;
}

/* "Z", "+01:00", "-0330": seconds east of UTC. */
static bool
take_zone(const char **at, int *ret_s)
{
	int hours, minutes, sign = **at == '-' ? -1 : 1;

	*ret_s = 0;
	if (take_char(at, 'Z') || take_char(at, 'z'))
		return true;
	if (!take_char(at, '+') && !take_char(at, '-'))
		return false;
	if (!take_number(at, 2, 0, 23, &hours))
		return false;
	take_char(at, ':');
	if (!take_number(at, 2, 0, 59, &minutes))
		return false;
	*ret_s = sign * (hours * 3600 + minutes * 60);
	return true;
}

/* The time must come out as it went in: 31 February and an hour that is skipped do not. */
static int
local_time(const struct tm *asked, time_t *ret)
{
	struct tm tm = *asked;

	tm.tm_isdst = -1;
	time_t t = mktime(&tm);
	if (t == (time_t)-1 || tm.tm_mday != asked->tm_mday || tm.tm_mon != asked->tm_mon ||
	    tm.tm_hour != asked->tm_hour || tm.tm_min != asked->tm_min)
		return -ERANGE;
	*ret = t;
	return 0;
}

static int
utc_time(const struct tm *asked, int east_s, time_t *ret)
{
	struct tm tm = *asked;
	time_t t = timegm(&tm);

	if (t == (time_t)-1 || tm.tm_mday != asked->tm_mday || tm.tm_mon != asked->tm_mon)
		return -ERANGE;
	*ret = t - east_s;
	return 0;
}

static int
read_date(const char *at, time_t *ret, uint64_t *ret_fraction_ns)
{
	struct tm tm = { 0 };
	int year, east_s;

	if (!take_number(&at, 4, 1970, 9999, &year) || !take_char(&at, '-') ||
	    !take_number(&at, 2, 1, 12, &tm.tm_mon) || !take_char(&at, '-') ||
	    !take_number(&at, 2, 1, 31, &tm.tm_mday) ||
	    !(take_char(&at, 'T') || take_char(&at, 't') || take_char(&at, ' ')) ||
	    !take_clock(&at, &tm, ret_fraction_ns))
		return -EINVAL;
	tm.tm_year = year - 1900;
	tm.tm_mon--;
	if (*at == '\0')
		return local_time(&tm, ret);
	if (!take_zone(&at, &east_s) || *at != '\0')
		return -EINVAL;
	return utc_time(&tm, east_s, ret);
}

/* Today, or tomorrow when that has passed; or the day after, where tomorrow's clocks skip it. */
static int
read_clock(const char *at, time_t now, time_t *ret, uint64_t *ret_fraction_ns)
{
	struct tm clock = { 0 }, day;
	int r = -EINVAL;

	if (!take_clock(&at, &clock, ret_fraction_ns) || *at != '\0')
		return -EINVAL;
	for (int days = 0; days < 3; days++) {
		if (localtime_r(&now, &day) == NULL)
			return -ERANGE;
		struct tm noon = { .tm_year = day.tm_year,
				   .tm_mon = day.tm_mon,
				   .tm_mday = day.tm_mday + days,
				   .tm_hour = 12,
				   .tm_isdst = -1 };
		mktime(&noon); /* the date, with days beyond the month's end put right */
		clock.tm_year = noon.tm_year;
		clock.tm_mon = noon.tm_mon;
		clock.tm_mday = noon.tm_mday;
		r = local_time(&clock, ret);
		if (r == 0 && *ret > now)
			return 0;
	}
	return r;
}

int
policy_time(const char *text, uint64_t now_ns, uint64_t *ret_ns)
{
	uint64_t fraction_ns = 0;
	time_t t = 0;
	int r = strchr(text, '-') != NULL
			? read_date(text, &t, &fraction_ns)
			: read_clock(text, (time_t)(now_ns / NS_PER_S), &t, &fraction_ns);

	if (r < 0)
		return r;
	/* 64 bits of ns end in the year 2554, a signed number's in 2262 */
	if (t < 0 || (uint64_t)t > INT64_MAX / NS_PER_S - 1)
		return -ERANGE;
	*ret_ns = (uint64_t)t * NS_PER_S + fraction_ns;
	return 0;
}
