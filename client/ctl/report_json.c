/* report_json.c - pyprepctl report --json: one object, schema pyprep.report/1; times in ns. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/print_json.h"
#include "client/ctl/report_figures.h"

static json_t *
json_of_histogram(const struct histogram *h)
{
	static const char *const names[REPORT_PERCENTILES] = { "p50", "p90", "p99", "p999" };
	json_t *json = json_pack("{s:o, s:o, s:o, s:o}", "n", json_of_u64(h->n), "measured",
				 json_of_u64(h->taken), "least", json_of_u64(h->least), "most",
				 json_of_u64(h->most));

	for (unsigned i = 0; i < REPORT_PERCENTILES; i++) {
		uint64_t value = histogram_per_mille(h, report_percentiles[i].per_mille);
		json_object_set_new(json, names[i],
				    report_says(h, i) ? json_of_u64(value) : json_null());
	}
	return json;
}

/* "submit_ns", "memory_bytes": those that have values. */
static json_t *
json_of_stages(const struct figures *f)
{
	json_t *json = json_object();
	char name[48];

	for (unsigned i = 0; i < FIGURE_COUNT; i++) {
		if (f->stages[i].n == 0)
			continue;
		snprintf(name, sizeof name, "%s_%s", figure_words[i], figure_units[i]);
		json_object_set_new(json, name, json_of_histogram(&f->stages[i]));
	}
	return json;
}

static json_t *
json_of_outcomes(const struct figures *f)
{
	json_t *json = json_object();

	for (unsigned state = JOB_SUCCEEDED; state < JOB_STATE_COUNT; state++)
		json_object_set_new(json, job_state_text(state),
				    json_of_u64(figures_state(f, (enum job_state)state)));
	return json;
}

static json_t *
json_of_causes(const struct figures *f)
{
	json_t *json = json_array();

	for (unsigned state = JOB_SUCCEEDED; state < JOB_STATE_COUNT; state++)
		for (unsigned cause = 0; cause < JOB_CAUSE_COUNT; cause++)
			if (f->outcomes[state][cause] > 0)
				json_array_append_new(
					json,
					json_pack("{s:s, s:s, s:o}", "state", job_state_text(state),
						  "cause", job_cause_text(cause), "n",
						  json_of_u64(f->outcomes[state][cause])));
	return json;
}

static json_t *
json_of_row(const struct report *r, const struct report_row *row)
{
	const struct figures *f = &row->figures;
	char day[REPORT_DAY_SIZE];
	bool all = row == &r->all;

	json_t *json =
		json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "n",
			  json_of_u64(f->jobs), "started", json_of_u64(f->started), "calls",
			  json_of_u64(f->attempts), "items", json_of_u64(f->items), "run_ns",
			  json_of_u64(f->run_ns), "percall_ns", json_of_u64(report_percall(f)),
			  "cpu_ns", json_of_u64(f->cpu_ns), "user_ns", json_of_u64(f->user_ns),
			  "system_ns", json_of_u64(f->system_ns), "outcomes", json_of_outcomes(f),
			  "causes", json_of_causes(f));
	if (!all && (r->by & BY_DAY))
		json_object_set_new(json, "day", json_string(report_day(row->day, day)));
	if (!all && (r->by & BY_KIND))
		json_object_set_new(json, "kind", json_string(row->kind));
	if (!all && (r->by & BY_POOL))
		json_object_set_new(json, "pool", json_string(row->pool));
	json_object_set_new(json, "stages", json_of_stages(f));
	return json;
}

static json_t *
json_of_keys(const struct report *r)
{
	json_t *json = json_array();

	if (r->by & BY_DAY)
		json_array_append_new(json, json_string("day"));
	if (r->by & BY_KIND)
		json_array_append_new(json, json_string("kind"));
	if (r->by & BY_POOL)
		json_array_append_new(json, json_string("pool"));
	return json;
}

void
report_json(const struct report *r)
{
	static const char *const sorts[] = { "names", "total", "percall", "calls" };
	char since[REPORT_DAY_SIZE], today[REPORT_DAY_SIZE];
	double all = (double)r->all.figures.run_ns, sum = 0;
	json_t *rows = json_array();

	for (size_t i = 0; i < r->count; i++) {
		json_t *row = json_of_row(r, &r->rows[i]);
		double run = (double)r->rows[i].figures.run_ns;
		sum += run;
		json_object_set_new(row, "share", json_real(all > 0 ? run / all : 0));
		if (r->profile)
			json_object_set_new(row, "cumulative_share",
					    json_real(all > 0 ? sum / all : 0));
		json_array_append_new(rows, row);
	}
	json_t *machine = json_pack("{s:s%, s:i, s:s, s:f}", "model", r->machine.model,
				    strlen(r->machine.model), "cpus", (int)r->machine.cpus,
				    "kernel", r->machine.kernel, "load", r->machine.load);
	json_t *json = json_pack(
		"{s:s, s:o, s:s, s:s, s:s, s:o, s:s, s:f, s:o, s:o, s:o}", "schema",
		"pyprep.report/1", "machine", machine, "since", report_day(r->since_day, since),
		"today", report_day(r->today, today), "store", r->store, "by", json_of_keys(r),
		"sort", sorts[r->sort], "error_percent", HISTOGRAM_ERROR, "unreadable",
		json_of_u64(r->unreadable), "rows", rows, "all", json_of_row(r, &r->all));
	json_print_line(json);
}
