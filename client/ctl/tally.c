/* tally.c - what became of many jobs. */
#include "client/ctl/tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/print_table.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"

void
tally_begin(struct tally *t)
{
	*t = (struct tally){ 0 };
	t->begun_ns = t->last_ns = clock_now();
}

static void
add_stages(struct tally *t, const struct pyprep_receipt *r)
{
	const uint64_t values[STAGE_COUNT] = {
		[STAGE_SUBMIT] = r->submit_ns, [STAGE_STORE] = r->store_ns,
		[STAGE_QUEUE] = r->queue_ns,   [STAGE_DISPATCH] = r->dispatch_ns,
		[STAGE_RUN] = r->run_ns,       [STAGE_RETURN] = r->return_ns,
		[STAGE_TOTAL] = r->total_ns,
	};

	for (unsigned i = 0; i < STAGE_COUNT; i++)
		samples_add(&t->stages[i], values[i]);
	uint64_t residual = (uint64_t)llabs(r->residual_ns);
	if (residual > t->residual_most)
		t->residual_most = residual;
}

void
tally_add(struct tally *t, const struct pyprep_receipt *r)
{
	t->ended++;
	t->exit_status = r->exit_status;
	t->last_ns = clock_now();
	t->cached += r->cached != 0;
	if (strcmp(r->state, "succeeded") == 0)
		t->succeeded++;
	else if (strcmp(r->state, "cancelled") == 0)
		t->cancelled++;
	else if (strcmp(r->state, "timed_out") == 0)
		t->timed_out++;
	else if (strcmp(r->state, "refused") == 0)
		t->refused++;
	else
		t->failed++;
	if (strcmp(r->state, "refused") == 0 && t->refused_status == 0)
		t->refused_status = r->exit_status;
	if (strcmp(r->cause, "broker_lost") == 0)
		t->lost++;
	if (r->slot >= 0)
		add_stages(t, r);
}

void
tally_refuse(struct tally *t, int status)
{
	t->ended++;
	t->refused++;
	t->exit_status = status;
	if (t->refused_status == 0)
		t->refused_status = status;
}

void
tally_free(struct tally *t)
{
	for (unsigned i = 0; i < STAGE_COUNT; i++)
		samples_free(&t->stages[i]);
}

int
tally_exit(const struct tally *t, uint64_t wanted)
{
	if (wanted == 1)
		return t->exit_status;
	if (t->lost > 0)
		return EXIT_OURS;
	if (t->refused_status != 0)
		return t->refused_status;
	return t->succeeded == t->ended ? 0 : EXIT_SOME_FAILED;
}

static void
print_counts(const struct tally *t)
{
	const struct {
		uint64_t count;
		const char *word;
		enum colour colour;
	} rows[] = {
		{ t->succeeded, "succeeded", COLOUR_GOOD },
		{ t->failed, "failed", COLOUR_BAD },
		{ t->timed_out, "timed out", COLOUR_BAD },
		{ t->cancelled, "cancelled", COLOUR_WARN },
		{ t->refused, "refused", COLOUR_BAD },
	};
	const char *separator = "";

	for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if (rows[i].count == 0)
			continue;
		printf("%s%s%s %s%s", separator, colour_begin(rows[i].colour),
		       unit_count(rows[i].count).text, rows[i].word, colour_end(rows[i].colour));
		separator = ", ";
	}
	if (t->cached > 0)
		printf(" (%s did not run: kept results)", unit_count(t->cached).text);
}

static void
print_stages(struct tally *t)
{
	static const char *const names[STAGE_COUNT] = { "submit", "store",  "queue", "dispatch",
							"run",    "return", "total" };
	static const struct column columns[] = {
		{ "stage", COLUMN_TEXT, 8 }, { "p50", COLUMN_TIME, 9 },  { "p90", COLUMN_TIME, 9 },
		{ "p99", COLUMN_TIME, 9 },   { "most", COLUMN_TIME, 9 }, { "n", COLUMN_NUMBER, 4 },
	};
	struct table table;

	table_begin(&table, columns, 6, false);
	for (unsigned i = 0; i < STAGE_COUNT; i++) {
		struct samples *s = &t->stages[i];
		if (i == STAGE_STORE && s->most == 0)
			continue;
		table_text(&table, COLOUR_NONE, "%s", names[i]);
		table_time(&table, samples_percentile(s, 50));
		table_time(&table, samples_percentile(s, 90));
		table_time(&table, samples_percentile(s, 99));
		table_time(&table, s->most);
		table_number(&table, (int64_t)s->count);
	}
	table_print(&table);
	if (!samples_exact(&t->stages[STAGE_TOTAL]))
		printf("percentiles within 0.4 %% (more than %s values: histogram)\n",
		       unit_count(SAMPLES_EXACT).text);
}

void
tally_print(struct tally *t)
{
	uint64_t wall = t->last_ns - t->begun_ns;

	printf("%s jobs in %s: ", unit_count(t->ended).text, unit_time_human(wall).text);
	print_counts(t);
	if (wall > 0)
		printf("; %s jobs/s",
		       unit_rate((double)t->ended * (double)NS_PER_S / (double)wall).text);
	printf("; largest residual %llu ns\n", (unsigned long long)t->residual_most);
	if (t->stages[STAGE_TOTAL].count > 0) {
		putchar('\n');
		print_stages(t);
	}
}
