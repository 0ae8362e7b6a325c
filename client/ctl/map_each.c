/* map_each.c - a map as one job per item; results come out in the order of the items. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/capture.h"
#include "client/ctl/map.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_receipt.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

#define OPEN_MAX_JOBS 4096  /* submitted at once */
#define KEPT_MAX      65536 /* results that wait for an earlier one */
#define FAILED_MAX    10    /* failures said one by one */
#define RESULT_MAX    4096  /* bytes of one result line */

/* One item from submit until its result is written. */
struct item {
	struct item *next; /* in the order of the input */
	char *text;
	char *result;            /* NULL when it failed */
	struct capture *capture; /* commands: what they write is the result */
	bool done;
};

struct each_map {
	const struct map *map;
	struct source source;
	struct item *first, *last; /* not yet written */
	uint64_t kept;             /* how many those are */
	uint64_t sent, written;
	struct map_sample sample;
	struct tally tally;
	bool hopeless;
};

static void
write_done(struct each_map *m)
{
	const struct map *map = m->map;
	uint64_t total = map->range ? (uint64_t)map->high - (uint64_t)map->low : 0;

	while (m->first && m->first->done) {
		struct item *item = m->first;
		m->first = item->next;
		if (!m->first)
			m->last = NULL;
		/* an item that failed leaves an empty line, so that line N stays item N */
		if (map->out)
			fprintf(map->out, "%s\n", item->result ? item->result : "");
		map_sample_put(&m->sample, m->written++, total, item->text,
			       item->result ? item->result : "failed");
		m->kept--;
		capture_free(item->capture);
		free(item->text);
		free(item->result);
		free(item);
	}
}

/* A command's stdout without its last newline, anything else as result_text() has it. */
static char *
result_of(const struct item *item, const struct pyprep_receipt *r)
{
	char text[RESULT_MAX];

	if (item->capture) {
		size_t length = item->capture->length[0];
		if (length > 0 && item->capture->bytes[0][length - 1] == '\n')
			length--;
		char *copy = ctl_alloc(length + 1, 1);
		if (length > 0)
			memcpy(copy, item->capture->bytes[0], length);
		return copy;
	}
	result_text(r, text, sizeof text);
	return strdup(text);
}

static void
say_failed(struct each_map *m, const char *item, const char *why)
{
	uint64_t failed = m->tally.ended - m->tally.succeeded;

	if (failed <= FAILED_MAX)
		ctl_note("item '%.60s': %s", item, why);
	else if (failed == FAILED_MAX + 1)
		ctl_note("further failures are counted, not listed");
}

static void
got_receipt(struct attached *a, const struct pyprep_event *event)
{
	struct each_map *m = a->context;
	const struct pyprep_receipt *r = &event->receipt;
	struct item *item = event->user;
	char why[400];

	tally_add(&m->tally, r);
	a->progress.done = m->tally.ended;
	a->progress.failed = m->tally.ended - m->tally.succeeded;
	a->progress.open = pyprep_outstanding(a->p);
	item->done = true;
	if (ctl.json && m->map->out != stdout) {
		progress_clear(&a->progress);
		json_t *json = json_of_receipt(r, item->capture);
		json_object_set_new(json, "item", json_string(item->text));
		json_print_line(json);
	}
	if (strcmp(r->state, "succeeded") == 0) {
		item->result = result_of(item, r);
	} else if (strcmp(r->state, "cancelled") != 0) {
		failure_text(r, why, sizeof why);
		progress_clear(&a->progress);
		say_failed(m, item->text, why);
	}
	if (m->map->out == stdout && item == m->first)
		progress_clear(&a->progress);
	write_done(m);
}

static void
got_event(struct attached *a, const struct pyprep_event *event)
{
	struct item *item = event->user;

	if (event->type == PYPREP_RECEIPT)
		got_receipt(a, event);
	else if (event->type == PYPREP_OUTPUT && item->capture)
		capture_add(item->capture, event);
}

static struct item *
append_item(struct each_map *m, const char *text)
{
	struct item *item = ctl_alloc(1, sizeof *item);

	item->text = strdup(text);
	if (m->map->argv)
		item->capture = capture_new();
	if (m->last)
		m->last->next = item;
	else
		m->first = item;
	m->last = item;
	m->kept++;
	return item;
}

/* "name=item" and the further parameters; the caller frees both. */
static const char **
params_for(const struct map *map, const char *text, char **ret_first)
{
	const char **params = ctl_alloc((size_t)map->param_count + 2, sizeof *params);
	int at = 0;

	*ret_first = NULL;
	if (!map->argv) {
		if (asprintf(ret_first, "%s=%s", map->param, text) < 0)
			*ret_first = NULL;
		params[at++] = *ret_first;
	}
	for (int i = 0; i < map->param_count; i++)
		params[at++] = map->params[i];
	return params;
}

static const char **
argv_for(const struct map *map, const char *text)
{
	const char **argv = ctl_alloc((size_t)map->argv_count + 2, sizeof *argv);

	for (int i = 0; i < map->argv_count; i++)
		argv[i] = map->argv[i];
	argv[map->argv_count] = text;
	return argv;
}

/* An item the library would not take: failed without a receipt. */
static void
refuse_item(struct each_map *m, struct item *item, const struct pyprep_problem *why)
{
	tally_refuse(&m->tally, why->exit_status != 0 ? why->exit_status : EXIT_OURS);
	item->done = true;
	say_failed(m, item->text, why->message);
	write_done(m);
}

static void
submit_item(struct attached *a, const char *text)
{
	struct each_map *m = a->context;
	struct item *item = append_item(m, text);
	struct pyprep_problem why = { 0 };
	char *first;
	const char **params = params_for(m->map, text, &first);
	const char **argv = m->map->argv ? argv_for(m->map, text) : NULL;
	struct pyprep_job job = {
		.kind = m->map->kind,
		.pool = m->map->pool,
		.params = params,
		.argv = argv,
		.timeout_ns = m->map->timeout_ns,
		.policy = m->map->policy,
	};
	int r;

	do
		r = pyprep_submit(a->p, &job, item, NULL, &why);
	while (r == -EINTR && !attached_stopped(a));
	m->sent++;
	if (r == -EPIPE)
		m->hopeless = true;
	if (r < 0)
		refuse_item(m, item, &why);
	free(first);
	free(params);
	free(argv);
}

static void
submit_items(struct attached *a)
{
	struct each_map *m = a->context;
	enum source_state state = SOURCE_ITEM;
	const char *text;

	while (state != SOURCE_END && !m->hopeless && !attached_stopped(a)) {
		a->progress.open = pyprep_outstanding(a->p);
		if (pyprep_outstanding(a->p) >= OPEN_MAX_JOBS || m->kept >= KEPT_MAX) {
			attached_turn(a, true);
			continue;
		}
		state = source_next(&m->source, &text);
		if (state == SOURCE_ITEM) {
			submit_item(a, text);
			if (m->sent % 64 == 0)
				attached_turn(a, false);
		} else if (state == SOURCE_LATER && attached_readable(a, STDIN_FILENO)) {
			int r = source_fill(&m->source);
			if (r < 0) {
				ctl_note("cannot read standard input: %s", strerror(-r));
				m->hopeless = true;
			}
		}
	}
}

static void
free_items(struct each_map *m)
{
	while (m->first) {
		m->first->done = true;
		write_done(m);
	}
	free(m->source.buffer);
	tally_free(&m->tally);
}

int
map_each(struct pyprep *p, const struct map *map)
{
	struct each_map m = {
		.map = map,
		.source = { .range = map->range, .next = map->low, .high = map->high },
	};
	struct attached attached;
	uint64_t items = map->range ? (uint64_t)map->high - (uint64_t)map->low : 0;

	attached_begin(&attached, p, got_event, &m);
	progress_begin(&attached.progress, "items", items, ctl.quiet);
	tally_begin(&m.tally);
	submit_items(&attached);
	attached_finish(&attached);
	int status = attached_end(&attached, m.sent == 0 ? 0 : tally_exit(&m.tally, m.sent));
	/* lines that are no items among others that are: some failed, that is all */
	if (m.tally.succeeded > 0 && status == m.tally.refused_status && status != 0)
		status = EXIT_SOME_FAILED;
	if (m.hopeless && status == 0)
		status = EXIT_OURS;
	if (!map->out && !ctl.json && !ctl.quiet)
		map_summary(map, m.tally.ended, m.tally.ended - m.tally.succeeded,
			    m.tally.last_ns - m.tally.begun_ns, &m.sample);
	free_items(&m);
	return status;
}
