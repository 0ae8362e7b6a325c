/* report_figures.c - pyprepctl report: what the jobs of some days came to. */
#include "client/ctl/report_figures.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/nearest.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"

static struct {
	const char *by, *since, *kind, *pool, *sort;
	bool stages, profile;
} arg;

static const struct option_row options[] = {
	{ "by", 0, OPTION_TEXT, &arg.by, "KEYS",
	  "a row for each kind, pool or day, or each of several: kind,day (kind)", 0, 0 },
	{ "since", 0, OPTION_TEXT, &arg.since, "DAY",
	  "the first day: 7d, today, yesterday, 2026-11-13 (UTC), all (7d)", 0, 0 },
	{ "kind", 0, OPTION_TEXT, &arg.kind, "KIND", "only jobs of this kind", 0, 0 },
	{ "pool", 'p', OPTION_TEXT, &arg.pool, "POOL", "only jobs of this pool", 0, 0 },
	{ "stages", 0, OPTION_FLAG, &arg.stages, NULL,
	  "each stage of their way, and how they ended", 0, 0 },
	{ "profile", 0, OPTION_FLAG, &arg.profile, NULL,
	  "where the time went: runs, total, per run, share", 0, 0 },
	{ "sort", 0, OPTION_CHOICE, &arg.sort, "total|percall|calls",
	  "the order of the profile (total)", 0, 0 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

const struct report_percentile report_percentiles[REPORT_PERCENTILES] = {
	{ "p50", 500, 1 },
	{ "p90", 900, 10 },
	{ "p99", 990, 100 },
	{ "p99.9", 999, 1000 },
};

bool
report_says(const struct histogram *h, unsigned percentile)
{
	return h->taken >= report_percentiles[percentile].least_n;
}

uint64_t
report_percall(const struct figures *f)
{
	return f->attempts > 0 ? f->run_ns / f->attempts : 0;
}

/* ---- what is asked ---- */

static const struct key_row {
	const char *name;
	unsigned bit;
} keys[] = { { "kind", BY_KIND }, { "pool", BY_POOL }, { "day", BY_DAY } };
#define KEYS (sizeof keys / sizeof keys[0])

static int
unknown_key(const char *name)
{
	struct nearest nearest;

	if (strcmp(name, "user") == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"figures are kept by kind, pool and day, not by user; 'pyprepctl "
				"ls --state finished --json' has single jobs with their users");
	nearest_begin(&nearest, name);
	for (size_t i = 0; i < KEYS; i++)
		nearest_offer(&nearest, keys[i].name);
	const char *best = nearest_best(&nearest);
	return ctl_fail(EXIT_USAGE, "usage", "--by takes kind, pool, day, not '%s'%s%s%s", name,
			best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
}

static int
read_by(const char *text, unsigned *ret)
{
	char name[32];

	*ret = 0;
	for (;;) {
		size_t length = strcspn(text, ","), i = 0;
		snprintf(name, sizeof name, "%.*s", (int)length, text);
		while (i < KEYS && strcmp(keys[i].name, name) != 0)
			i++;
		if (i == KEYS)
			return unknown_key(name);
		*ret |= keys[i].bit;
		if (text[length] == '\0')
			return 0;
		text += length + 1;
	}
}

static int
read_arguments(const struct words *words, struct report *report)
{
	static const struct {
		const char *word;
		enum report_sort sort;
	} sorts[] = { { "total", SORT_TOTAL },
		      { "percall", SORT_PERCALL },
		      { "calls", SORT_CALLS } };
	const char *sort = arg.sort ? arg.sort : "total";

	if (words->count > 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"report takes no words, not '%s'; --kind and --pool choose jobs",
				words->word[0]);
	if (arg.sort && !arg.profile)
		return ctl_fail(EXIT_USAGE, "usage", "--sort goes with --profile");
	if (arg.profile && arg.stages)
		return ctl_fail(EXIT_USAGE, "usage", "take --stages or --profile");
	report->stages = arg.stages;
	report->profile = arg.profile;
	report->kind = arg.kind;
	report->pool = arg.pool;
	report->today = report_today();
	for (size_t i = 0; arg.profile && i < 3; i++)
		if (strcmp(sorts[i].word, sort) == 0)
			report->sort = sorts[i].sort;
	if (report_since(arg.since ? arg.since : "7d", report->today, &report->since_day) < 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"--since takes 7d, today, yesterday, all or a day such as "
				"2026-11-13, not '%s'",
				arg.since);
	return read_by(arg.by ? arg.by : "kind", &report->by);
}

/* ---- the daemon's answers ---- */

static struct report_row *
row_of(struct report *report, const msgpack_object *map)
{
	uint32_t day = report->by & BY_DAY ? (uint32_t)field_u64(map, "day") : 0;
	char kind[64] = "", pool[64] = "";

	if (report->by & BY_KIND)
		snprintf(kind, sizeof kind, "%.*s", FIELD_TEXT(map, "kind"));
	if (report->by & BY_POOL)
		snprintf(pool, sizeof pool, "%.*s", FIELD_TEXT(map, "pool"));
	for (size_t i = 0; i < report->count; i++) {
		struct report_row *row = &report->rows[i];
		if (row->day == day && strcmp(row->kind, kind) == 0 && strcmp(row->pool, pool) == 0)
			return row;
	}
	report->rows = ctl_realloc(report->rows, (report->count + 1) * sizeof *report->rows);
	struct report_row *row = &report->rows[report->count++];
	*row = (struct report_row){ .day = day, .kind = strdup(kind), .pool = strdup(pool) };
	if (!row->kind || !row->pool)
		ctl_no_memory();
	return row;
}

static int
add_figures(struct report *report, const msgpack_object *map, const msgpack_object *bytes)
{
	struct figures figures = { 0 };

	int r = figures_read(&figures, bytes->via.bin.ptr, bytes->via.bin.size);
	if (r == 0 && (!figures_merge(&row_of(report, map)->figures, &figures) ||
		       !figures_merge(&report->all.figures, &figures)))
		ctl_no_memory();
	figures_free(&figures);
	return r;
}

static int
got_answer(void *context, const msgpack_object *map)
{
	struct report *report = context;
	const msgpack_object *bytes = field_get(map, "figures");

	if (bytes)
		return bytes->type == MSGPACK_OBJECT_BIN ? add_figures(report, map, bytes)
							 : -EPROTO;
	snprintf(report->store, sizeof report->store, "%.*s", FIELD_TEXT(map, "store"));
	report->unreadable = field_u64(map, "unreadable");
	return 0;
}

static int
ask(struct report *report)
{
	struct request request;

	request_begin(&request, "report", 4u + (report->kind != NULL) + (report->pool != NULL));
	request_u64(&request, "since_day", report->since_day);
	request_bool(&request, "by_kind", report->by & BY_KIND);
	request_bool(&request, "by_pool", report->by & BY_POOL);
	request_bool(&request, "by_day", report->by & BY_DAY);
	if (report->kind)
		request_text(&request, "kind", report->kind);
	if (report->pool)
		request_text(&request, "pool", report->pool);
	int status = request_once(&request, got_answer, report);
	if (status == -EPROTO)
		return ctl_fail(EXIT_OURS, "internal",
				"the daemon's figures are not of a version this pyprepctl reads");
	return status;
}

/* ---- order ---- */

static int
by_names(const void *a, const void *b)
{
	const struct report_row *x = a, *y = b;

	if (x->day != y->day)
		return x->day < y->day ? -1 : 1;
	int kinds = strcmp(x->kind, y->kind);
	return kinds != 0 ? kinds : strcmp(x->pool, y->pool);
}

static enum report_sort order;

static uint64_t
sorted_by(const struct report_row *row)
{
	switch (order) {
	case SORT_PERCALL:
		return report_percall(&row->figures);
	case SORT_CALLS:
		return row->figures.attempts;
	default:
		return row->figures.run_ns;
	}
}

/* The largest first. */
static int
by_value(const void *a, const void *b)
{
	uint64_t x = sorted_by(a), y = sorted_by(b);

	return x != y ? (x < y ? 1 : -1) : by_names(a, b);
}

static void
sort_rows(struct report *report)
{
	order = report->sort;
	if (report->count > 1)
		qsort(report->rows, report->count, sizeof *report->rows,
		      order == SORT_NAMES ? by_names : by_value);
}

/* ---- the command ---- */

static int
report_run(const struct words *words)
{
	struct report report = { 0 };

	int status = read_arguments(words, &report);
	if (status == 0)
		status = ask(&report);
	if (status == 0) {
		machine_name(&report.machine);
		sort_rows(&report);
		if (ctl.json)
			report_json(&report);
		else
			report_print(&report);
	}
	for (size_t i = 0; i < report.count; i++) {
		free(report.rows[i].kind);
		free(report.rows[i].pool);
		figures_free(&report.rows[i].figures);
	}
	free(report.rows);
	figures_free(&report.all.figures);
	return status;
}

extern const struct command command_report;
const struct command command_report = {
	.name = "report",
	.args = "[--by KEYS] [--since DAY] [--kind K] [--pool P] [--stages | --profile] [--json]",
	.summary = "what the jobs of these days came to: how many, how they ended, how long each "
		   "stage took",
	.examples = "  pyprepctl report\n"
		    "  pyprepctl report --since today --by kind,pool --stages\n"
		    "  pyprepctl report --profile --sort percall\n"
		    "  pyprepctl report --by day --since 30d --json | jq '.rows[] | [.day, .n]'\n",
	.more = "The daemon counts every job that ends, attached or detached, by UTC day, kind "
		"and\n"
		"pool.  Percentiles come from histograms, which add up over days, kinds and "
		"pools;\n"
		"they are within 0.4 % of the exact ones.  Times end when the daemon sent the\n"
		"receipt.  pyprep-timings(7) says how each figure is made.\n",
	.options = options,
	.run = report_run,
};
