/* report_since.c - days as they are written, counted since 1970-01-01, UTC. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/ctl/report_figures.h"

#define DAY_S 86400

uint32_t
report_today(void)
{
	return (uint32_t)(time(NULL) / DAY_S);
}

const char *
report_day(uint32_t day, char buffer[REPORT_DAY_SIZE])
{
	time_t at = (time_t)day * DAY_S;
	struct tm utc;

	gmtime_r(&at, &utc);
	strftime(buffer, REPORT_DAY_SIZE, "%Y-%m-%d", &utc);
	return buffer;
}

/* YYYY-MM-DD, and a day that there is: the 30th of February would come back as another one. */
static int
read_date(const char *text, uint32_t *ret_day)
{
	struct tm utc = { 0 };
	char again[REPORT_DAY_SIZE];
	int used = 0;

	if (strlen(text) != 10 ||
	    sscanf(text, "%4d-%2d-%2d%n", &utc.tm_year, &utc.tm_mon, &utc.tm_mday, &used) != 3 ||
	    used != 10)
		return -EINVAL;
	utc.tm_year -= 1900;
	utc.tm_mon -= 1;
	time_t at = timegm(&utc);
	if (at < 0 || strcmp(report_day((uint32_t)(at / DAY_S), again), text) != 0)
		return -EINVAL;
	*ret_day = (uint32_t)(at / DAY_S);
	return 0;
}

int
report_since(const char *text, uint32_t today, uint32_t *ret_day)
{
	char *end;

	if (strcmp(text, "today") == 0) {
		*ret_day = today;
	} else if (strcmp(text, "yesterday") == 0) {
		*ret_day = today - 1;
	} else if (strcmp(text, "all") == 0) {
		*ret_day = 0;
	} else if (isdigit((unsigned char)text[0]) &&
		   strcmp(text + strspn(text, "0123456789"), "d") == 0) {
		errno = 0;
		unsigned long days = strtoul(text, &end, 10);
		if (errno != 0 || days == 0)
			return -EINVAL;
		*ret_day = days > today ? 0 : today - (uint32_t)days + 1;
	} else {
		return read_date(text, ret_day);
	}
	return 0;
}
