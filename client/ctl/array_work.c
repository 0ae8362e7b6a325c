/*
 * array_work.c - a piece of work over an array: as an array job over the workers, or here.
 *
 * Workers compute in place on the array they map by its name; only one number per item comes
 * back.  A worker that dies leaves its items without a result: they are asked for again, and
 * what then is still missing is done here, unless the work is such that doing it twice is
 * wrong.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/array.h"
#include "client/ctl/attached.h"
#include "client/ctl/print_json.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"

#define ROUNDS 3 /* of asking for what a death left undone */

/* ---- in this process ---- */

static int
map_here(struct array_work *work)
{
	for (unsigned i = 0; i < 2 && work->names[i]; i++) {
		if (work->arrays[i])
			continue;
		int status = array_open(work->names[i], work->writes ? 0 : ARRAY_READ_ONLY,
					&work->arrays[i]);
		if (status != 0)
			return status;
	}
	return 0;
}

/* All items that have no result yet, in order. */
static int
do_here(struct array_work *work)
{
	int status = map_here(work);

	for (uint64_t i = 0; status == 0 && i < work->items; i++) {
		if (work->done[i])
			continue;
		int r = work->piece(work, i, &work->results[i]);
		if (r < 0)
			return array_fail(work->names[0], r);
		work->done[i] = 1;
		work->missing--;
	}
	return status;
}

/* ---- as jobs ---- */

struct asking {
	struct array_work *work;
	int status;
	bool died;      /* a worker did, under some of the items */
	bool said_no;   /* an error of the work itself: what has no result was not begun */
	bool elsewhere; /* the daemon does not take such jobs of us */
	char why[400];
};

static void
take_items(struct array_work *work, const struct pyprep_event *event)
{
	const int64_t *values = event->bytes;

	for (uint32_t i = 0; i < event->count; i++) {
		uint64_t item = (uint64_t)event->first + i;
		if (item >= work->items || work->done[item])
			continue;
		work->results[item] = values[i];
		work->done[item] = 1;
		work->missing--;
	}
}

static void
take_receipt(struct asking *asking, const struct pyprep_receipt *r)
{
	snprintf(asking->work->pool, sizeof asking->work->pool, "%s", r->pool ? r->pool : "");
	asking->status = r->exit_status;
	asking->died = strcmp(r->cause, "worker_died") == 0;
	asking->said_no = strcmp(r->cause, "error") == 0 || strcmp(r->state, "refused") == 0;
	asking->elsewhere = strcmp(r->error_code, "not_allowed") == 0;
	snprintf(asking->why, sizeof asking->why, "%s", r->error_message);
}

static void
got_event(struct attached *attached, const struct pyprep_event *event)
{
	struct asking *asking = attached->context;

	if (event->type == PYPREP_ITEMS) {
		attached->progress.done += event->count;
		take_items(asking->work, event);
	} else if (event->type == PYPREP_RECEIPT) {
		take_receipt(asking, &event->receipt);
	}
}

/* One array job over items low .. high-1, to its end.  -errno: not submitted. */
static int
ask_range(struct pyprep *p, struct asking *asking, uint64_t low, uint64_t high,
	  struct pyprep_problem *why)
{
	const struct array_work *work = asking->work;
	struct attached attached;
	struct pyprep_job job = {
		.kind = work->kind,
		.pool = array_options.pool,
		.params = work->params,
		.item_low = (int64_t)low,
		.item_high = (int64_t)high,
	};

	attached_begin(&attached, p, got_event, asking);
	progress_begin(&attached.progress, "items", high - low, ctl.quiet);
	int r = pyprep_submit(p, &job, NULL, NULL, why);
	if (r < 0)
		return r;
	asking->status = EXIT_OURS;
	attached_finish(&attached);
	if (attached_stopped(&attached))
		asking->work->interrupted = true;
	asking->status = attached_end(&attached, asking->status);
	return 0;
}

/* The next stretch of items without a result at or after *low. */
static bool
next_gap(const struct array_work *work, uint64_t *low, uint64_t *high)
{
	while (*low < work->items && work->done[*low])
		(*low)++;
	*high = *low;
	while (*high < work->items && !work->done[*high])
		(*high)++;
	return *low < *high;
}

/* Ask for everything that is missing, once. */
static int
ask_round(struct pyprep *p, struct asking *asking, struct pyprep_problem *why)
{
	uint64_t high;

	for (uint64_t low = 0; next_gap(asking->work, &low, &high); low = high) {
		int r = ask_range(p, asking, low, high, why);
		if (r < 0)
			return r;
		if (asking->work->interrupted || (asking->status != 0 && !asking->died))
			break;
	}
	return 0;
}

static int
do_jobs(struct pyprep *p, struct array_work *work)
{
	struct asking asking = { .work = work };
	struct pyprep_problem why = { 0 };

	for (int round = 0; round < ROUNDS && work->missing > 0; round++) {
		if (round > 0)
			work->again += work->missing;
		asking.died = asking.said_no = false;
		int r = ask_round(p, &asking, &why);
		if (r < 0)
			return ctl_fail_problem(&why);
		work->jobs = true;
		work->torn = work->once && work->missing > 0 && !asking.said_no;
		if (work->interrupted || work->torn)
			return asking.status != 0 ? asking.status : EXIT_SOME_FAILED;
		if (!asking.died)
			break;
	}
	if (work->missing == 0)
		return 0;
	if (asking.elsewhere || asking.died) {
		ctl_note("%s; doing it here", asking.why);
		work->again += asking.died ? work->missing : 0;
		return do_here(work);
	}
	return ctl_fail(asking.status != 0 ? asking.status : EXIT_SOME_FAILED, "run_failed", "%s",
			asking.why[0] ? asking.why : "the job failed");
}

/* ---- either way ---- */

/* 1: connected; 0: there is no daemon, and none was asked for; else the exit status, said. */
static int
find_daemon(struct pyprep **ret, int *ret_status)
{
	struct pyprep_problem why = { 0 };

	*ret_status = 0;
	if (array_options.here)
		return 0;
	int r = pyprep_connect(ctl.runtime_dir, ret, &why);
	if (r == 0)
		return 1;
	/* A pool or a directory was named: then its daemon is meant. */
	if (array_options.pool || ctl.runtime_dir)
		*ret_status = ctl_fail_problem(&why);
	else if (r != -ENOENT && r != -ECONNREFUSED)
		ctl_note("%s; doing it here", why.message);
	return 0;
}

bool
array_work_has_daemon(void)
{
	struct pyprep *p;

	if (array_options.here || pyprep_connect(ctl.runtime_dir, &p, NULL) < 0)
		return false;
	pyprep_close(p);
	return true;
}

int
array_work_do(struct array_work *work)
{
	struct pyprep *p;
	int status;

	work->results = ctl_alloc(work->items, sizeof *work->results);
	work->done = ctl_alloc(work->items, 1);
	work->missing = work->items;
	work->jobs = work->interrupted = false;
	bool connected = find_daemon(&p, &status);
	if (status != 0)
		return status;
	uint64_t begun = clock_now();
	status = connected ? do_jobs(p, work) : do_here(work);
	work->elapsed_ns = clock_now() - begun;
	if (connected)
		pyprep_close(p);
	return status;
}

void
array_work_end(struct array_work *work)
{
	for (unsigned i = 0; i < 2; i++)
		work->arrays[i] = array_close(work->arrays[i]);
	free(work->results);
	free(work->done);
	work->results = NULL;
	work->done = NULL;
}

void
array_work_print(const struct array_work *work, char *buffer, size_t size)
{
	char again[80] = "";

	if (work->again > 0)
		snprintf(again, sizeof again, "; %" PRIu64 " items again, after a worker's death",
			 work->again);
	if (work->jobs)
		snprintf(buffer, size, "by jobs in pool %s, %s%s", work->pool,
			 unit_time_human(work->elapsed_ns).text, again);
	else
		snprintf(buffer, size, "in this process, %s",
			 unit_time_human(work->elapsed_ns).text);
}

void
array_work_json(const struct array_work *work, json_t *object)
{
	json_object_set_new(object, "by", json_string(work->jobs ? "jobs" : "here"));
	if (work->jobs)
		json_object_set_new(object, "pool", json_string(work->pool));
	json_object_set_new(object, "elapsed_ns", json_of_u64(work->elapsed_ns));
	json_object_set_new(object, "items_again", json_of_u64(work->again));
}
