/*
 * map_array.c - a map as one array job: the daemon hands out ranges and sends results
 * back in chunks, in any order.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/map.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_receipt.h"
#include "client/ctl/report.h"

/* Results that came before their turn to be written. */
struct chunk {
	struct chunk *next; /* by `first`, ascending */
	int64_t first;
	uint32_t count;
	int64_t values[];
};

struct array_map {
	const struct map *map;
	int64_t next; /* the item to be written next */
	struct chunk *early;
	struct map_sample sample;
	int status;
};

static void
write_values(struct array_map *m, const int64_t *values, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		fprintf(m->map->out, "%" PRId64 "\n", values[i]);
	m->next += count;
}

static void
write_early(struct array_map *m)
{
	while (m->early && m->early->first == m->next) {
		struct chunk *chunk = m->early;
		m->early = chunk->next;
		write_values(m, chunk->values, chunk->count);
		free(chunk);
	}
}

static void
keep_early(struct array_map *m, const struct pyprep_event *event)
{
	size_t bytes = event->count * sizeof(int64_t);
	struct chunk *chunk = ctl_alloc(1, sizeof *chunk + bytes);
	struct chunk **at = &m->early;

	chunk->first = event->first;
	chunk->count = event->count;
	memcpy(chunk->values, event->bytes, bytes);
	while (*at && (*at)->first < chunk->first)
		at = &(*at)->next;
	chunk->next = *at;
	*at = chunk;
}

/* Remember what lies within the first or the last few items. */
static void
take_samples(struct array_map *m, const struct pyprep_event *event)
{
	const struct map *map = m->map;
	uint64_t total = (uint64_t)map->high - (uint64_t)map->low;
	uint64_t begin = (uint64_t)event->first - (uint64_t)map->low, end = begin + event->count;
	const int64_t *values = event->bytes;
	char item[24], result[24];

	if (begin >= SAMPLE_ENDS && end + SAMPLE_ENDS <= total)
		return;
	for (uint64_t i = begin; i < end; i++) {
		if (i >= SAMPLE_ENDS && i + SAMPLE_ENDS < total) {
			i = total - SAMPLE_ENDS - 1; /* nothing to take in between */
			continue;
		}
		snprintf(item, sizeof item, "%" PRId64, map->low + (int64_t)i);
		snprintf(result, sizeof result, "%" PRId64, values[i - begin]);
		map_sample_put(&m->sample, i, total, item, result);
	}
}

static void
got_items(struct attached *a, const struct pyprep_event *event)
{
	struct array_map *m = a->context;

	a->progress.done += event->count;
	a->progress.open -= event->count < a->progress.open ? event->count : a->progress.open;
	take_samples(m, event);
	if (!m->map->out)
		return;
	if (m->map->out == stdout)
		progress_clear(&a->progress);
	if (event->first == m->next)
		write_values(m, event->bytes, event->count);
	else
		keep_early(m, event);
	write_early(m);
}

/* Items that failed leave an empty line each, so that line N stays item N. */
static void
close_gaps(struct array_map *m)
{
	while (m->map->out && m->early) {
		for (; m->next < m->early->first; m->next++)
			fputc('\n', m->map->out);
		write_early(m);
	}
}

static void
got_receipt(struct attached *a, const struct pyprep_receipt *r)
{
	struct array_map *m = a->context;

	progress_clear(&a->progress);
	m->status = r->exit_status;
	if (strcmp(r->state, "refused") == 0) {
		ctl_fail(r->exit_status, r->error_code, "%s", r->error_message);
		return;
	}
	close_gaps(m);
	if (m->status == 0 && r->items_failed > 0)
		m->status = EXIT_SOME_FAILED;
	if (ctl.json && m->map->out != stdout)
		json_print_line(json_of_receipt(r, NULL));
	else if (!m->map->out && !ctl.quiet) {
		map_summary(m->map, r->items, r->items_failed, r->total_ns, &m->sample);
		receipt_print(stdout, r, NULL);
	} else if (m->status != 0) {
		char why[400];
		failure_text(r, why, sizeof why);
		ctl_note("%" PRIu64 " of %" PRIu64 " items failed: %s", r->items_failed, r->items,
			 why);
	}
}

static void
got_event(struct attached *a, const struct pyprep_event *event)
{
	if (event->type == PYPREP_ITEMS)
		got_items(a, event);
	else if (event->type == PYPREP_RECEIPT)
		got_receipt(a, &event->receipt);
}

int
map_array(struct pyprep *p, const struct map *map)
{
	struct array_map m = { .map = map, .next = map->low, .status = EXIT_OURS };
	uint64_t items = (uint64_t)map->high - (uint64_t)map->low;
	struct pyprep_problem why = { 0 };
	struct attached attached;
	const char **params = ctl_alloc((size_t)map->param_count + 1, sizeof *params);
	struct pyprep_job job = {
		.kind = map->kind,
		.pool = map->pool,
		.params = params,
		.timeout_ns = map->timeout_ns,
		.policy = map->policy,
		.item_low = map->low,
		.item_high = map->high,
	};

	for (int i = 0; i < map->param_count; i++)
		params[i] = map->params[i];
	attached_begin(&attached, p, got_event, &m);
	progress_begin(&attached.progress, "items", items, ctl.quiet);
	attached.progress.open = items;
	int r;
	do
		r = pyprep_submit(p, &job, NULL, NULL, &why);
	while (r == -EINTR && !attached_stopped(&attached));
	free(params);
	if (r < 0)
		return ctl_fail_problem(&why);
	attached_finish(&attached);
	while (m.early) {
		struct chunk *chunk = m.early;
		m.early = chunk->next;
		free(chunk);
	}
	return attached_end(&attached, m.status);
}
