/* test_ctl_when.c - times as people type them, in a zone whose clocks change. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/ctl/number.h"
#include "client/ctl/policy_options.h"
#include "ipc/clock.h"

/* Central European Time: from 01:00 UTC of 29 March 2026 to 01:00 UTC of 25 October. */
static void
setup(void)
{
	setenv("TZ", "CET-1CEST,M3.5.0/2,M10.5.0/3", 1);
	tzset();
}

TestSuite(ctl_when, .init = setup, .timeout = 60);

/* 2026-11-20 16:30:00 in that zone, 15:30 UTC */
#define NOW_S UINT64_C(1795188600)

static int
read_time(const char *text, uint64_t now_s, uint64_t *ret_s)
{
	uint64_t ns = 0;
	int r = policy_time(text, now_s * NS_PER_S, &ns);

	*ret_s = ns / NS_PER_S;
	return r;
}

Test(ctl_when, dates_are_read_with_and_without_a_zone)
{
	static const struct {
		const char *text;
		uint64_t s;
	} rows[] = {
		{ "2026-11-20T15:30:00Z", NOW_S },      { "2026-11-20T15:30:00z", NOW_S },
		{ "2026-11-20T15:30Z", NOW_S },         { "2026-11-20t16:30:00+01:00", NOW_S },
		{ "2026-11-20T11:00:00-0430", NOW_S },  { "2026-11-20T16:30:00", NOW_S },
		{ "2026-11-20 16:30", NOW_S },          { "2026-11-21T00:00:05+08:30", NOW_S + 5 },
		{ "2026-07-01T12:00", 1782900000 }, /* in summer, 10:00 UTC */
		{ "2028-02-29T00:00:00Z", 1835395200 }, { "1970-01-01T00:00:00Z", 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t s;
		cr_assert_eq(read_time(rows[i].text, NOW_S, &s), 0, "%s", rows[i].text);
		cr_expect_eq(s, rows[i].s, "%s: %llu, not %llu", rows[i].text,
			     (unsigned long long)s, (unsigned long long)rows[i].s);
	}
}

Test(ctl_when, fractions_are_kept)
{
	uint64_t ns;

	cr_assert_eq(policy_time("2026-11-20T15:30:00.25Z", 0, &ns), 0);
	cr_expect_eq(ns, NOW_S * NS_PER_S + 250 * NS_PER_MS);
	cr_assert_eq(policy_time("2026-11-20T15:30:00.123456789987Z", 0, &ns), 0);
	cr_expect_eq(ns, NOW_S * NS_PER_S + 123456789);
}

Test(ctl_when, an_hour_is_the_next_time_that_the_clock_shows_it)
{
	static const struct {
		const char *text;
		uint64_t s;
	} rows[] = {
		{ "16:31", NOW_S + 60 },
		{ "16:30:01", NOW_S + 1 },
		{ "16:30", NOW_S + 86400 }, /* is now: the next one */
		{ "16:29:59", NOW_S + 86399 },
		{ "00:00", NOW_S + 7 * 3600 + 1800 },
		{ "23:59:59", NOW_S + 7 * 3600 + 1799 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t s;
		cr_assert_eq(read_time(rows[i].text, NOW_S, &s), 0, "%s", rows[i].text);
		cr_expect_eq(s, rows[i].s, "%s: %lld s from now", rows[i].text,
			     (long long)(s - NOW_S));
	}
	/* 31 December, 23:00 there: into the next year */
	uint64_t s;
	cr_assert_eq(read_time("00:30", 1798754400, &s), 0);
	cr_expect_eq(s, 1798754400 + 5400);
}

Test(ctl_when, clocks_that_change_are_minded)
{
	uint64_t s;

	/* 02:30 of 29 March 2026 is skipped there */
	cr_expect_eq(read_time("2026-03-29T02:30:00", NOW_S, &s), -ERANGE);
	cr_expect_eq(read_time("2026-03-29T01:30:00", NOW_S, &s), 0);
	cr_expect_eq(s, 1774744200);
	cr_expect_eq(read_time("2026-03-29T03:30:00", NOW_S, &s), 0);
	cr_expect_eq(s, 1774747800, "an hour later by the sun, two by the clock");
	/* at 23:00 before that night: 02:30 comes the day after */
	cr_expect_eq(read_time("02:30", 1774735200, &s), 0);
	cr_expect_eq(s, 1774744200 + 24 * 3600);
	/* a day of 23 hours: the same hour of the next day */
	cr_expect_eq(read_time("12:00", 1774695601, &s), 0);
	cr_expect_eq(s, 1774695600 + 23 * 3600);
}

Test(ctl_when, what_is_no_time_is_told_from_a_time_that_never_comes)
{
	static const char *const wrong[] = {
		"",
		"noon",
		"16",
		"1630",
		"16:3",
		"6:30",
		"24:00",
		"16:60",
		"16:30:60",
		"16:30:",
		"16:30x",
		"16:30:00.",
		"2026-11-20",
		"2026-11-20T",
		"2026-11-20T16",
		"-5",
		"26-11-20T16:30",
		"2026-13-01T00:00",
		"2026-00-01T00:00",
		"2026-11-32T00:00",
		"2026-11-20T16:30+1",
		"2026-11-20T16:30+01:00x",
		"2026-11-20T16:30 Z",
		"2026-11-20X16:30",
		"1969-01-01T00:00Z",
		"2026-11-20T16:30+24:00",
		"16:30 2026-11-20",
	};
	static const char *const never[] = { "2026-02-29T00:00Z", "2026-02-30T00:00",
					     "2026-04-31T12:00:00+01:00", "9999-01-01T00:00Z" };
	uint64_t s;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_eq(read_time(wrong[i], NOW_S, &s), -EINVAL, "'%s'", wrong[i]);
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		cr_expect_eq(read_time(never[i], NOW_S, &s), -ERANGE, "'%s'", never[i]);
}

Test(ctl_when, sizes_are_read)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} rows[] = { { "0", 0 },
		     { "65536", 65536 },
		     { "64K", 65536 },
		     { "512M", UINT64_C(512) << 20 },
		     { "2G", UINT64_C(2) << 30 },
		     { "16777215T", UINT64_C(16777215) << 40 } };
	static const char *const wrong[] = { "",    "K",   "-1",        "1.5M",
					     "5X",  "5MB", "5 M",       "0x10",
					     "1e3", " 1",  "16777216T", "99999999999999999999" };
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert_eq(number_size(rows[i].text, &bytes), 0, "%s", rows[i].text);
		cr_expect_eq(bytes, rows[i].bytes, "%s", rows[i].text);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_eq(number_size(wrong[i], &bytes), -EINVAL, "'%s'", wrong[i]);
}
