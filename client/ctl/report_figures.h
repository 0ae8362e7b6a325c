/*
 * report_figures.h - what the files of `pyprepctl report` share.
 *
 *   report_figures.c  the command: what is asked, and the rows that the daemon's answers add up to
 *   report_since.c    days: 7d, today, 2026-11-13
 *   report_print.c    for people: rows, stages, the profile
 *   report_json.c     schema pyprep.report/1
 */
#ifndef PYPREP_CTL_REPORT_FIGURES_H
#define PYPREP_CTL_REPORT_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/ctl/bench.h"
#include "ipc/figures.h"

#define BY_KIND 1u
#define BY_POOL 2u
#define BY_DAY  4u

/* Jobs of one kind, pool and day; of all where it was not asked for. */
struct report_row {
	uint32_t day; /* since 1970-01-01, UTC */
	char *kind, *pool;
	struct figures figures;
};

enum report_sort { SORT_NAMES, SORT_TOTAL, SORT_PERCALL, SORT_CALLS };

struct report {
	unsigned by; /* BY_* */
	enum report_sort sort;
	bool stages, profile;
	const char *kind, *pool; /* NULL: all */
	uint32_t since_day, today;
	char store[32];
	uint64_t unreadable; /* of what is stored */
	struct report_row *rows;
	size_t count;
	struct report_row all; /* the sum of all rows */
	struct machine machine;
};

/* A percentile says something when so many values are below the share it leaves out: the 99.9th
 * of 100 values is just the largest. */
struct report_percentile {
	const char *name; /* "p50" */
	unsigned per_mille;
	uint64_t least_n;
};
#define REPORT_PERCENTILES 4
extern const struct report_percentile report_percentiles[REPORT_PERCENTILES];
bool report_says(const struct histogram *h, unsigned percentile);

/* The mean run of an attempt; 0 when there was none. */
uint64_t report_percall(const struct figures *f);

void report_print(const struct report *report);
void report_json(const struct report *report);

/* 0 and *ret_day, or -EINVAL.  "7d" is today and the six days before. */
int report_since(const char *text, uint32_t today, uint32_t *ret_day);
uint32_t report_today(void);
/* "2026-11-20"; into `buffer`, which is returned. */
#define REPORT_DAY_SIZE 16
const char *report_day(uint32_t day, char buffer[REPORT_DAY_SIZE]);

#endif
