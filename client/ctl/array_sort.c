/*
 * array_sort.c - pyprepctl array sort: runs into a second array, then merges back and forth.
 *
 * The last merge ends in the array itself.  At any time one of the two holds every element,
 * and which one is known here: whatever fails, that one is copied back, so the array always
 * has all its elements, in some order.  (When this very process is killed in the middle of a
 * merge it cannot do that: then elements are missing, others twice.)  The second array is
 * weak and held by this process: it goes with it.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/array.h"
#include "client/ctl/print_json.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "shm/array_ops.h"
#include "shm/array_sort.h"

#define PARAM_TEXT_MAX (NAMED_MAX + 16)

struct sorting {
	const char *name;
	struct array_stat stat;
	struct array *second; /* NULL: in one piece */
	uint64_t width;
	unsigned passes;
	/* of all steps */
	struct array_work sum;
};

/* ---- one step ---- */

static int
run_piece(struct array_work *work, uint64_t item, int64_t *ret)
{
	const struct array *from = work->arrays[0];
	const struct array *to = work->arrays[1] ? work->arrays[1] : from;
	uint64_t low = item * work->number;
	uint64_t high = from->count - low < work->number ? from->count : low + work->number;

	*ret = (int64_t)(high - low);
	return array_sort_run(from, to, low, high);
}

static int
merge_piece(struct array_work *work, uint64_t item, int64_t *ret)
{
	const struct array *from = work->arrays[0], *to = work->arrays[1];
	uint64_t low = item * ARRAY_BLOCK, high = array_block_end(from, low);

	*ret = (int64_t)(high - low);
	array_sort_merge(from, to, work->number, low, high);
	return 0;
}

/* `to` NULL: in place. */
static int
step(struct sorting *s, const char *kind, const char *from, const char *to, uint64_t run)
{
	char params[3][PARAM_TEXT_MAX];
	bool merge = strcmp(kind, "array_merge") == 0;
	uint64_t piece = merge ? ARRAY_BLOCK : run;
	struct array_work work = {
		.kind = kind,
		.params = { params[0], params[1], params[2] },
		.items = (s->stat.count + piece - 1) / piece,
		.piece = merge ? merge_piece : run_piece,
		.writes = true,
		.names = { from, to },
		.number = run,
	};

	snprintf(params[0], sizeof params[0], "name=%s", from);
	snprintf(params[1], sizeof params[1], "run=%" PRIu64, run);
	snprintf(params[2], sizeof params[2], "to=%s", to ? to : "");
	int status = array_work_do(&work);
	array_work_end(&work);
	s->sum.elapsed_ns += work.elapsed_ns;
	s->sum.again += work.again;
	s->sum.jobs |= work.jobs;
	if (work.jobs)
		memcpy(s->sum.pool, work.pool, sizeof work.pool);
	return status;
}

/* ---- all of them ---- */

/* A second array like the first; without room for it, one piece must do. */
static void
make_second(struct sorting *s)
{
	char name[64];

	s->passes = array_work_has_daemon() ? array_sort_plan(s->stat.count, &s->width) : 0;
	if (s->passes == 0)
		return;
	snprintf(name, sizeof name, "sorting.%d", (int)getpid());
	int r = array_create(name, s->stat.type, &s->stat.shape, ARRAY_WEAK, s->stat.mode,
			     &s->second);
	if (r == 0)
		return;
	s->passes = 0;
	ctl_note("no second array for the merges (%s): sorting in one piece", strerror(-r));
}

static int
copy_back(const struct sorting *s)
{
	struct array *a;

	int status = array_open(s->name, 0, &a);
	if (status != 0)
		return status;
	memcpy(a->data, s->second->data, s->second->bytes);
	array_close(a);
	return 0;
}

static int
sort_in_steps(struct sorting *s)
{
	const char *from = s->second->name, *to = s->name;
	uint64_t width = s->width;

	int status = step(s, "array_sort", s->name, from, width);
	for (unsigned pass = 0; status == 0 && pass < s->passes; pass++, width *= 2) {
		status = step(s, "array_merge", from, to, width);
		if (status != 0) {
			/* `to` is a mixture by now, `from` has everything. */
			if (to == s->name && copy_back(s) == 0)
				ctl_note("array '%s' has all its elements, not in order", s->name);
			return status;
		}
		const char *other = from;
		from = to;
		to = other;
	}
	return status;
}

static void
say(const struct sorting *s)
{
	char way[160];

	if (ctl.json) {
		json_t *object =
			json_pack("{s:s, s:s, s:s, s:o, s:i}", "schema", "pyprep.array_op/1",
				  "operation", "sort", "name", s->name, "count",
				  json_of_u64(s->stat.count), "merges", (int)s->passes);
		array_work_json(&s->sum, object);
		json_print_line(object);
	} else if (!ctl.quiet) {
		array_work_print(&s->sum, way, sizeof way);
		printf("%s: sorted, with %u merges; %s elements, %s\n", s->name, s->passes,
		       unit_count(s->stat.count).text, way);
	}
}

int
array_verb_sort(char **word, const struct words *words)
{
	struct sorting s = { .name = word[0] };

	(void)words;
	int status = array_find(word[0], &s.stat);
	if (status != 0)
		return status;
	make_second(&s);
	status = s.second ? sort_in_steps(&s) : step(&s, "array_sort", s.name, NULL, s.stat.count);
	array_close(s.second);
	if (status == 0)
		say(&s);
	return status;
}
