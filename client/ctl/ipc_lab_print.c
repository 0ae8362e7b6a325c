/* ipc_lab_print.c - the lab's figures as tables and as JSON (pyprep.lab/1). */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/ipc_lab.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_table.h"

#define NOISE 1.10 /* two ways nearer than that are said to be equal */

const char *
lab_bytes(double bytes, char *buffer, size_t size)
{
	if (bytes < 1024)
		snprintf(buffer, size, "%.0f B", bytes);
	else if (bytes < 1048576)
		snprintf(buffer, size, "%.3g KiB", bytes / 1024);
	else
		snprintf(buffer, size, "%.3g MiB", bytes / 1048576);
	return buffer;
}

/* ---- the cells ---- */

static void
time_cell(struct table *table, double ns)
{
	if (isnan(ns))
		table_text(table, COLOUR_NONE, "-");
	else
		table_time(table, (uint64_t)ns);
}

static void
print_cells(const struct lab *lab)
{
	static const struct column columns[] = {
		{ "payload", COLUMN_TEXT, 0 },
		{ "way", COLUMN_TEXT, 0 },
		{ "p50", COLUMN_TIME, 0 },
		{ "p99", COLUMN_TIME, 0 },
		{ "worst p50", COLUMN_TIME, 0 },
		{ "messages/s", COLUMN_NUMBER, 0 },
		{ "GB/s", COLUMN_NUMBER, 0 },
		{ "CPU each", COLUMN_TIME, 0 },
		{ "switches each", COLUMN_NUMBER, 0 },
		{ "alone", COLUMN_NUMBER, 0 },
	};
	struct table table;
	char text[32];

	table_begin(&table, columns, sizeof columns / sizeof columns[0], false);
	for (unsigned i = 0; i < lab->size_count; i++) {
		for (unsigned way = 0; way < LAB_WAYS; way++) {
			const struct lab_cell *cell = &lab->cells[way][i];
			if (!cell->done)
				continue;
			table_text(&table, COLOUR_NONE, "%s%s",
				   lab_bytes((double)lab->sizes[i], text, sizeof text),
				   cell->by_name ? " *" : "");
			table_text(&table, COLOUR_NONE, "%s", lab_ways[way].name);
			time_cell(&table, cell->p50_ns);
			time_cell(&table, cell->p99_ns);
			time_cell(&table, cell->p50_most_ns);
			table_text(&table, COLOUR_NONE, "%s", unit_rate(cell->rate).text);
			table_text(&table, COLOUR_NONE, "%.3g", cell->bytes_per_s / 1e9);
			time_cell(&table, cell->cpu_ns);
			table_text(&table, COLOUR_NONE, "%.2f", cell->switches);
			table_text(&table, COLOUR_NONE, "%.2f", cell->switches_alone);
		}
	}
	table_print(&table);
}

/* ---- what they say ---- */

static const struct goal_text {
	const char *title, *word;
} goal_texts[LAB_GOALS] = {
	[LAB_P50] = { "one at a time, soonest back", "p50" },
	[LAB_RATE] = { "many at once, most a second", "rate" },
	[LAB_CPU] = { "many at once, least CPU each", "cpu" },
};

/* "4.1 us", "812,345/s": the figure a goal is about. */
static struct unit_text
goal_figure(const struct lab_cell *cell, enum lab_goal goal)
{
	struct unit_text out;

	if (goal != LAB_RATE)
		return unit_time_human((uint64_t)lab_value(cell, goal));
	snprintf(out.text, sizeof out.text, "%.20s/s", unit_rate(cell->rate).text);
	return out;
}

/* How many of the sizes travel in the job; the others lie in a shared array. */
static unsigned
in_jobs(const struct lab *lab)
{
	unsigned count = 0;

	while (count < lab->size_count && lab->sizes[count] <= LAB_CARRIED)
		count++;
	return count;
}

/* What the link still matters when it carries a name only: the slowest's p50 to the fastest's. */
static void
print_by_name(const struct lab *lab)
{
	for (unsigned i = in_jobs(lab); i < lab->size_count; i++) {
		double least = INFINITY, most = 0, unused;
		int best = lab_best(lab, i, LAB_P50, true, &unused);
		char text[32];
		for (unsigned way = 0; way < LAB_WAYS; way++) {
			const struct lab_cell *cell = &lab->cells[way][i];
			if (!cell->done || strcmp(lab_ways[way].lane, "shm") != 0)
				continue;
			least = fmin(least, cell->p50_ns);
			most = fmax(most, cell->p50_ns);
		}
		if (best >= 0)
			printf("  in a shared array, %-9s the slowest link needs %.2f times the "
			       "fastest (%s)\n",
			       lab_bytes((double)lab->sizes[i], text, sizeof text), most / least,
			       lab_ways[best].link);
	}
}

/* One line for each run of sizes with the same best link. */
static void
print_choice(const struct lab *lab, enum lab_goal goal)
{
	double next;

	for (unsigned i = 0; i < in_jobs(lab);) {
		char low[32], high[32];
		double least = INFINITY;
		int best = lab_best(lab, i, goal, true, &next);
		unsigned from = i;
		for (; i < in_jobs(lab) && lab_best(lab, i, goal, true, &next) == best; i++)
			least = next < least ? next : least;
		if (best < 0)
			continue;
		const struct lab_cell *cell = &lab->cells[best][from];
		lab_bytes((double)lab->sizes[from], low, sizeof low);
		lab_bytes((double)lab->sizes[i - 1], high, sizeof high);
		printf("  %-28s %7s %s %-7s  link = %-5s (%s at %s", goal_texts[goal].title, low,
		       from + 1 == i ? "  " : "to", from + 1 == i ? "" : high, lab_ways[best].link,
		       goal_figure(cell, goal).text, low);
		if (isinf(least))
			printf(")\n");
		else if (least < NOISE)
			printf("; somewhere within %.0f %% of the next: nearly equal)\n",
			       ceil((least - 1) * 100));
		else
			printf("; the next needs %.2g times as much or more)\n", least);
	}
}

static void
print_crossings(const struct lab *lab)
{
	struct lab_crossing crossings[LAB_CROSSINGS];
	unsigned count = lab_crossings(lab, NOISE, crossings);
	char text[32];

	if (count == 0) {
		printf("No curve crosses another by more than %.0f %%: who is faster at one size "
		       "is so at all.\n",
		       (NOISE - 1) * 100);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		printf("  up to about %-9s %s is faster than %s, above it slower\n",
		       lab_bytes(crossings[i].bytes, text, sizeof text),
		       lab_ways[crossings[i].before].name, lab_ways[crossings[i].after].name);
}

static void
print_notes(const struct lab *lab)
{
	const struct machine *m = &lab->machine;
	bool named = false;

	for (unsigned i = 0; i < lab->size_count; i++)
		named |= lab->sizes[i] > LAB_CARRIED;
	printf("ring, pipe, queue and zmq are links (pools' `link`) over the shm lane; the lanes "
	       "go "
	       "over the ring.\n"
	       "A message is an echo job: the payload there and back.  CPU and context switches: "
	       "client, broker\nand workers together, under load; alone: with one in flight.  "
	       "Client "
	       "and broker are kept on two\nCPUs.  Figures are those of the quietest of %u rounds "
	       "by "
	       "turns; worst p50 is the slowest round's.\n",
	       lab->rounds);
	if (named)
		printf("* longer than a job's parameters may be (%u bytes here): the payload lies "
		       "in "
		       "a shared array,\n  written by the client and read by the worker "
		       "(array_sum), one at a time; the way carries its name.\n",
		       LAB_CARRIED);
	printf("%s, %u CPUs, %s%s\n", m->model, m->cpus, m->kernel,
	       machine_noisy(m) ? "; NOISY: other work ran meanwhile, do not quote these figures"
				: "");
	for (unsigned way = 0; way < LAB_WAYS; way++)
		if (lab->missing[way][0])
			printf("not measured: %s: %s\n", lab_ways[way].name, lab->missing[way]);
}

void
lab_print(const struct lab *lab)
{
	print_cells(lab);
	printf("\n");
	lab_plot(lab, stdout);
	printf("\nWhere p50 crosses:\n");
	print_crossings(lab);
	printf("\nWhich link to choose on this machine:\n");
	for (int goal = 0; goal < LAB_GOALS; goal++)
		print_choice(lab, (enum lab_goal)goal);
	print_by_name(lab);
	printf("\n");
	print_notes(lab);
}

/* ---- JSON ---- */

static json_t *
real(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static void
print_cell_json(const struct lab *lab, unsigned way, unsigned size)
{
	const struct lab_cell *cell = &lab->cells[way][size];

	json_print_line(json_pack(
		"{s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i}",
		"schema", "pyprep.lab/1", "lane", lab_ways[way].lane, "link", lab_ways[way].link,
		"payload_bytes", json_of_u64(lab->sizes[size]), "carried",
		cell->by_name ? "array" : "job", "samples", json_of_u64(cell->samples), "p50_ns",
		real(cell->p50_ns), "p50_worst_ns", real(cell->p50_most_ns), "p99_ns",
		real(cell->p99_ns), "messages_per_s", real(cell->rate), "bytes_per_s",
		real(cell->bytes_per_s), "cpu_ns", real(cell->cpu_ns), "switches",
		real(cell->switches), "switches_alone", real(cell->switches_alone), "window",
		(int)cell->window));
}

static json_t *
choices_json(const struct lab *lab)
{
	json_t *list = json_array();
	double next;

	for (int goal = 0; goal < LAB_GOALS; goal++) {
		for (unsigned i = 0; i < lab->size_count; i++) {
			int best = lab_best(lab, i, (enum lab_goal)goal, true, &next);
			if (best >= 0)
				json_array_append_new(list, json_pack("{s:s, s:o, s:s, s:o}",
								      "goal", goal_texts[goal].word,
								      "payload_bytes",
								      json_of_u64(lab->sizes[i]),
								      "link", lab_ways[best].link,
								      "next_ratio", real(next)));
		}
	}
	return list;
}

void
lab_print_json(const struct lab *lab)
{
	struct lab_crossing crossings[LAB_CROSSINGS];
	unsigned count = lab_crossings(lab, NOISE, crossings);
	json_t *crossed = json_array(), *missing = json_array();

	for (unsigned i = 0; i < lab->size_count; i++)
		for (unsigned way = 0; way < LAB_WAYS; way++)
			if (lab->cells[way][i].done)
				print_cell_json(lab, way, i);
	for (unsigned i = 0; i < count; i++)
		json_array_append_new(crossed,
				      json_pack("{s:s, s:s, s:o}", "faster_below",
						lab_ways[crossings[i].before].name, "faster_above",
						lab_ways[crossings[i].after].name, "bytes",
						real(crossings[i].bytes)));
	for (unsigned way = 0; way < LAB_WAYS; way++)
		if (lab->missing[way][0])
			json_array_append_new(missing,
					      json_pack("{s:s, s:s}", "way", lab_ways[way].name,
							"why", lab->missing[way]));
	json_print_line(json_pack("{s:s, s:o, s:o, s:o, s:s, s:i, s:s, s:b}", "schema",
				  "pyprep.lab/1", "crossings", crossed, "choices",
				  choices_json(lab), "missing", missing, "machine",
				  lab->machine.model, "cpus", (int)lab->machine.cpus, "kernel",
				  lab->machine.kernel, "noisy", machine_noisy(&lab->machine)));
}
