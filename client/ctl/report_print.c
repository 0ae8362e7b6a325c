/* report_print.c - pyprepctl report, for people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/print_table.h"
#include "client/ctl/report_figures.h"
#include "client/ctl/units.h"

/* What the cells of this output had to leave open, to be explained below it. */
static struct {
	bool few;     /* a percentile of too few values */
	bool sampled; /* not every job was measured */
} seen;

static void
print_heading(const struct report *r)
{
	char from[REPORT_DAY_SIZE], to[REPORT_DAY_SIZE];
	uint32_t days = r->today - r->since_day + 1;

	if (r->since_day == 0)
		printf("all days to %s", report_day(r->today, to));
	else if (days <= 1)
		printf("%s", report_day(r->since_day, from));
	else
		printf("%s to %s, %s days", report_day(r->since_day, from),
		       report_day(r->today, to), unit_count(days).text);
	printf(" (UTC)%s%s%s%s; store %s\n", r->kind ? ", kind " : "", r->kind ? r->kind : "",
	       r->pool ? ", pool " : "", r->pool ? r->pool : "", r->store);
	printf("machine  %s, %u CPU%s, %s; load now %.2f\n", r->machine.model, r->machine.cpus,
	       r->machine.cpus == 1 ? "" : "s", r->machine.kernel, r->machine.load);
}

static void
print_footing(const struct report *r)
{
	const struct histogram *total = &r->all.figures.stages[FIGURE_TOTAL];

	puts("\npercentiles within 0.4 %, nearest rank; times to the moment when the daemon sent "
	     "the receipt");
	if (seen.few)
		puts("-  too few values: p90 needs 10, p99 100, p99.9 1,000");
	if (seen.sampled)
		printf("*  of %s jobs that ran, %s were measured: where they came faster than 64 in a "
		       "millisecond for long, one in 64 stands for the others\n",
		       unit_count_human(r->all.figures.started).text,
		       unit_count_human(total->taken).text);
	if (r->unreadable > 0)
		printf("%s%s stored figures could not be read and are not in these%s\n",
		       colour_begin(COLOUR_WARN), unit_count(r->unreadable).text,
		       colour_end(COLOUR_WARN));
}

/* ---- cells ---- */

static void
add_percentile(struct table *table, const struct histogram *h, unsigned percentile, bool bytes)
{
	if (!report_says(h, percentile)) {
		seen.few |= h->n > 0;
		table_text(table, COLOUR_DIM, "-");
		return;
	}
	uint64_t value = histogram_per_mille(h, report_percentiles[percentile].per_mille);
	if (bytes)
		table_bytes(table, value);
	else
		table_time(table, value);
}

/* "12,345", or "12,345*": of which not all were measured. */
static void
add_n(struct table *table, const struct figures *f)
{
	bool sampled = f->stages[FIGURE_TOTAL].taken < f->stages[FIGURE_TOTAL].n;

	seen.sampled |= sampled;
	table_text(table, COLOUR_NONE, "%s%s", unit_count(f->jobs).text, sampled ? "*" : "");
}

/* One cell for each key that was asked for; "all" in the first of the sum's. */
static void
add_names(struct table *table, const struct report *r, const struct report_row *row)
{
	char day[REPORT_DAY_SIZE];
	bool all = row == &r->all;
	const char *word = "all";

	if (r->by & BY_DAY) {
		table_text(table, COLOUR_NONE, "%s", all ? word : report_day(row->day, day));
		word = "";
	}
	if (r->by & BY_KIND) {
		table_text(table, COLOUR_NONE, "%s", all ? word : row->kind);
		word = "";
	}
	if (r->by & BY_POOL)
		table_text(table, COLOUR_NONE, "%s", all ? word : row->pool);
}

#define COLUMNS_MAX 20

static unsigned
name_columns(const struct report *r, struct column *columns)
{
	unsigned count = 0;

	if (r->by & BY_DAY)
		columns[count++] = (struct column){ "day", COLUMN_TEXT, 0 };
	if (r->by & BY_KIND)
		columns[count++] = (struct column){ "kind", COLUMN_TEXT, 0 };
	if (r->by & BY_POOL)
		columns[count++] = (struct column){ "pool", COLUMN_TEXT, 0 };
	return count;
}

static unsigned
more_columns(struct column *columns, unsigned count, const struct column *more, unsigned how_many)
{
	memcpy(columns + count, more, how_many * sizeof *more);
	return count + how_many;
}

/* ---- a row for each ---- */

static void
add_summary(struct table *table, const struct report *r, const struct report_row *row)
{
	const struct figures *f = &row->figures;
	uint64_t succeeded = figures_state(f, JOB_SUCCEEDED), failed = figures_state(f, JOB_FAILED);

	add_names(table, r, row);
	add_n(table, f);
	table_number(table, (int64_t)succeeded);
	table_text(table, failed > 0 ? COLOUR_BAD : COLOUR_NONE, "%s", unit_count(failed).text);
	table_number(table, (int64_t)(f->jobs - succeeded - failed));
	for (unsigned i = 0; i < REPORT_PERCENTILES; i++)
		add_percentile(table, &f->stages[FIGURE_TOTAL], i, false);
	add_percentile(table, &f->stages[FIGURE_QUEUE], 0, false);
	add_percentile(table, &f->stages[FIGURE_RUN], 0, false);
	table_time(table, f->cpu_ns);
	add_percentile(table, &f->stages[FIGURE_MEMORY], 0, true);
}

static void
print_summary(const struct report *r)
{
	static const struct column more[] = {
		{ "n", COLUMN_NUMBER, 0 },       { "succeeded", COLUMN_NUMBER, 0 },
		{ "failed", COLUMN_NUMBER, 0 },  { "other", COLUMN_NUMBER, 0 },
		{ "total p50", COLUMN_TIME, 0 }, { "p90", COLUMN_TIME, 0 },
		{ "p99", COLUMN_TIME, 0 },       { "p99.9", COLUMN_TIME, 0 },
		{ "queue p50", COLUMN_TIME, 0 }, { "run p50", COLUMN_TIME, 0 },
		{ "CPU", COLUMN_TIME, 0 },       { "memory p50", COLUMN_BYTES, 0 },
	};
	struct column columns[COLUMNS_MAX];
	struct table table;

	unsigned count =
		more_columns(columns, name_columns(r, columns), more, sizeof more / sizeof more[0]);
	table_begin(&table, columns, count, false);
	for (size_t i = 0; i < r->count; i++)
		add_summary(&table, r, &r->rows[i]);
	if (r->count > 1)
		add_summary(&table, r, &r->all);
	table_print(&table);
}

/* ---- the stages of each ---- */

static void
print_outcomes(const struct figures *f)
{
	const char *separator = "";

	for (unsigned state = JOB_SUCCEEDED; state < JOB_STATE_COUNT; state++) {
		uint64_t n = figures_state(f, (enum job_state)state);
		if (n == 0)
			continue;
		enum colour colour = colour_of_state(job_state_text(state));
		printf("%s%s%s %s%s", separator, colour_begin(colour), unit_count(n).text,
		       job_state_text(state), colour_end(colour));
		const char *open = " (";
		for (unsigned cause = CAUSE_NONE + 1;
		     state != JOB_SUCCEEDED && cause < JOB_CAUSE_COUNT; cause++) {
			if (f->outcomes[state][cause] == 0)
				continue;
			printf("%s%s %s", open, unit_count(f->outcomes[state][cause]).text,
			       job_cause_text(cause));
			open = ", ";
		}
		printf("%s", open[0] == ',' ? ")" : "");
		separator = ", ";
	}
}

static void
print_row_heading(const struct report *r, const struct report_row *row)
{
	const struct figures *f = &row->figures;
	bool sampled = f->stages[FIGURE_TOTAL].taken < f->stages[FIGURE_TOTAL].n;
	char day[REPORT_DAY_SIZE];

	seen.sampled |= sampled;
	if (row == &r->all)
		printf("all");
	if (row != &r->all && (r->by & BY_DAY))
		printf("%s%s", report_day(row->day, day), r->by != BY_DAY ? "  " : "");
	if (row->kind != NULL)
		printf("%s%s%s", row->kind, row->kind[0] && row->pool[0] ? ", pool " : "",
		       row->pool);
	printf(": %s%s jobs: ", unit_count(f->jobs).text, sampled ? "*" : "");
	print_outcomes(f);
	if (f->attempts != f->started)
		printf("; %s attempts", unit_count(f->attempts).text);
	if (f->items > 0)
		printf("; %s items", unit_count(f->items).text);
	printf("\n  run %s, CPU %s", unit_time(f->run_ns).text, unit_time(f->cpu_ns).text);
	printf(" (of what was measured in full: user %s, system %s)\n", unit_time(f->user_ns).text,
	       unit_time(f->system_ns).text);
}

static void
print_row_stages(const struct figures *f)
{
	static const struct column columns[] = {
		{ "  stage", COLUMN_TEXT, 10 }, { "p50", COLUMN_TIME, 9 },
		{ "p90", COLUMN_TIME, 9 },      { "p99", COLUMN_TIME, 9 },
		{ "p99.9", COLUMN_TIME, 9 },    { "most", COLUMN_TIME, 9 },
		{ "n", COLUMN_NUMBER, 4 },
	};
	struct table table;

	table_begin(&table, columns, sizeof columns / sizeof columns[0], false);
	for (unsigned i = 0; i < FIGURE_COUNT; i++) {
		const struct histogram *h = &f->stages[i];
		bool bytes = i == FIGURE_MEMORY;
		if (h->n == 0)
			continue;
		table_text(&table, COLOUR_NONE, "  %s", figure_words[i]);
		for (unsigned p = 0; p < REPORT_PERCENTILES; p++)
			add_percentile(&table, h, p, bytes);
		if (bytes)
			table_bytes(&table, h->most);
		else
			table_time(&table, h->most);
		table_number(&table, (int64_t)h->taken);
	}
	table_print(&table);
}

static void
print_stages(const struct report *r)
{
	for (size_t i = 0; i <= r->count; i++) {
		const struct report_row *row = i < r->count ? &r->rows[i] : &r->all;
		if (i == r->count && r->count < 2)
			break;
		printf("%s", i > 0 ? "\n" : "");
		print_row_heading(r, row);
		print_row_stages(&row->figures);
	}
}

/* ---- the profile ---- */

static void
print_profile(const struct report *r)
{
	static const struct column more[] = {
		{ "calls", COLUMN_NUMBER, 0 },      { "total", COLUMN_TIME, 0 },
		{ "per call", COLUMN_TIME, 0 },     { "share", COLUMN_NUMBER, 0 },
		{ "cumulative", COLUMN_NUMBER, 0 }, { "CPU", COLUMN_TIME, 0 },
		{ "run p50", COLUMN_TIME, 0 },      { "run p99", COLUMN_TIME, 0 },
	};
	struct column columns[COLUMNS_MAX];
	double all = (double)r->all.figures.run_ns, sum = 0;
	struct table table;

	unsigned count =
		more_columns(columns, name_columns(r, columns), more, sizeof more / sizeof more[0]);
	table_begin(&table, columns, count, false);
	for (size_t i = 0; i < r->count; i++) {
		const struct figures *f = &r->rows[i].figures;
		sum += (double)f->run_ns;
		add_names(&table, r, &r->rows[i]);
		table_number(&table, (int64_t)f->attempts);
		table_time(&table, f->run_ns);
		table_time(&table, report_percall(f));
		table_text(&table, COLOUR_NONE, "%.1f %%",
			   all > 0 ? 100 * (double)f->run_ns / all : 0);
		table_text(&table, COLOUR_NONE, "%.1f %%", all > 0 ? 100 * sum / all : 0);
		table_time(&table, f->cpu_ns);
		add_percentile(&table, &f->stages[FIGURE_RUN], 0, false);
		add_percentile(&table, &f->stages[FIGURE_RUN], 2, false);
		seen.sampled |= f->stages[FIGURE_TOTAL].taken < f->stages[FIGURE_TOTAL].n;
	}
	printf("%s runs in %s of run time, by %s\n\n", unit_count(r->all.figures.attempts).text,
	       unit_time(r->all.figures.run_ns).text,
	       r->sort == SORT_CALLS     ? "calls"
	       : r->sort == SORT_PERCALL ? "time per call"
					 : "total time");
	table_print(&table);
}

void
report_print(const struct report *r)
{
	print_heading(r);
	putchar('\n');
	if (r->count == 0) {
		puts("no job has ended in these days");
		return;
	}
	if (r->profile)
		print_profile(r);
	else if (r->stages)
		print_stages(r);
	else
		print_summary(r);
	print_footing(r);
}
