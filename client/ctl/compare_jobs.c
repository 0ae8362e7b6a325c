/* compare_jobs.c - jobs on a pool of the daemon: submit, hear the receipts, add them up. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "client/ctl/attached.h"
#include "client/ctl/command.h"
#include "client/ctl/compare.h"
#include "client/ctl/print_json.h"
#include "client/ctl/reply.h"
#include "ipc/clock.h"

#define WORKERS_MAX 256 /* processes that are told apart for their memory */

/* ---- pools ---- */

struct search {
	const char *executor;
	char *name;
	size_t size;
	unsigned at_once;
	bool daemon_seen; /* the first reply is not a pool */
	bool found;
};

static int
got_pool(void *context, const msgpack_object *map)
{
	struct search *s = context;

	if (!s->daemon_seen) {
		s->daemon_seen = true;
		return 0;
	}
	if (s->found || !field_text_is(map, "executor", s->executor) ||
	    !field_text_is(map, "state", "running"))
		return 0;
	s->found = true;
	snprintf(s->name, s->size, "%.*s", FIELD_TEXT(map, "name"));
	s->at_once = (unsigned)(field_u64(map, "size") * field_u64(map, "concurrency"));
	return 0;
}

bool
jobs_find_pool(struct pyprep *p, const char *executor, char *ret, size_t size,
	       unsigned *ret_at_once)
{
	struct search search = { .executor = executor, .name = ret, .size = size };
	struct request request;

	request_begin(&request, "status", 0);
	if (request_send(&request, p, got_pool, &search) != 0 || !search.found)
		return false;
	*ret_at_once = search.at_once;
	return true;
}

/* ---- one run ---- */

/* The highest memory use of each process that ran jobs. */
struct peaks {
	struct {
		int pid;
		uint64_t bytes;
	} of[WORKERS_MAX];
	unsigned count;
};

struct run {
	struct way *way;
	struct peaks peaks;
	uint64_t ended, failed, oncpu_ns, runqueue_ns, blocked_ns;
	uint64_t items, items_sum;
	struct samples totals;
};

static void
peaks_add(struct peaks *peaks, int pid, uint64_t bytes)
{
	unsigned i = 0;

	while (i < peaks->count && peaks->of[i].pid != pid)
		i++;
	if (i == WORKERS_MAX)
		return;
	if (i == peaks->count) {
		peaks->of[i].pid = pid;
		peaks->of[i].bytes = 0;
		peaks->count++;
	}
	if (bytes > peaks->of[i].bytes)
		peaks->of[i].bytes = bytes;
}

static void
got_receipt(struct run *run, const struct pyprep_receipt *r)
{
	run->ended++;
	samples_add(&run->totals, r->total_ns);
	run->oncpu_ns += r->oncpu_ns;
	run->runqueue_ns += r->runqueue_ns;
	run->blocked_ns += r->blocked_ns;
	if (r->peak_memory_bytes > 0)
		peaks_add(&run->peaks, r->worker_pid, r->peak_memory_bytes);
	if (strcmp(r->state, "succeeded") != 0 && run->failed++ == 0)
		way_problem(run->way, "a job %s: %.400s", r->state, r->error_message);
}

static void
got_event(struct attached *a, const struct pyprep_event *event)
{
	const int64_t *values = event->bytes;
	struct run *run = a->context;

	if (event->type == PYPREP_RECEIPT)
		got_receipt(run, &event->receipt);
	if (event->type != PYPREP_ITEMS)
		return;
	run->items += event->count;
	for (uint32_t i = 0; i < event->count; i++)
		run->items_sum += (uint64_t)values[i];
}

static void
submit_and_hear(struct attached *a, const struct pyprep_prepared *prepared,
		const struct jobs_work *work, struct run *run)
{
	uint64_t sent = 0;

	while (!attached_stopped(a) && sent < work->count) {
		if (work->one_by_one && sent > run->ended) {
			attached_turn(a, true);
			continue;
		}
		int r = pyprep_submit_prepared(a->p, prepared, NULL, NULL);
		if (r == 0) {
			sent++;
		} else if (r != -EINTR) {
			way_problem(run->way, "cannot submit: %s", strerror(-r));
			break;
		}
	}
	attached_finish(a);
}

static json_t *
run_json(const struct run *run, const char *pool)
{
	uint64_t memory = 0;

	for (unsigned i = 0; i < run->peaks.count; i++)
		memory += run->peaks.of[i].bytes;
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "pool", pool, "jobs",
			 json_of_u64(run->ended), "oncpu_ns", json_of_u64(run->oncpu_ns),
			 "runqueue_ns", json_of_u64(run->runqueue_ns), "blocked_ns",
			 json_of_u64(run->blocked_ns), "memory_bytes",
			 memory > 0 ? json_of_u64(memory) : json_null());
}

static int
judge(const struct run *run, const struct jobs_work *work)
{
	if (run->failed > 0 || run->way->problem[0])
		return -1;
	if (run->ended != work->count)
		return way_problem(run->way, "interrupted");
	if (run->items != work->items || run->items_sum != work->items_expected)
		return way_problem(run->way,
				   "%" PRIu64 " results with sum %" PRIu64 " came, not %" PRIu64
				   " with %" PRIu64,
				   run->items, run->items_sum, work->items, work->items_expected);
	return 0;
}

int
jobs_run(struct pyprep *p, const struct jobs_work *work, struct way *way, uint64_t *ret_ns)
{
	struct pyprep_job job = { .kind = work->kind,
				  .pool = work->pool,
				  .params = work->params,
				  .argv = work->argv,
				  .item_high = (int64_t)work->items };
	struct pyprep_prepared *prepared;
	struct pyprep_problem why = { 0 };
	struct run run = { .way = way };
	struct cpu_clocks clocks;
	struct attached attached;

	if (pyprep_prepare(p, &job, &prepared, &why) < 0)
		return way_problem(way, "%s", why.message);
	cpu_clocks_begin(&clocks, p);
	attached_begin(&attached, p, got_event, &run);
	uint64_t begun = clock_now();
	submit_and_hear(&attached, prepared, work, &run);
	*ret_ns = clock_now() - begun;
	way->cpu_s = work->argv ? NAN : cpu_clocks_read(&clocks); /* commands have their own */
	pyprep_prepared_free(prepared);
	(void)attached_end(&attached, 0);
	if (work->ret_p50_ns)
		*work->ret_p50_ns = (double)samples_percentile(&run.totals, 50);
	samples_free(&run.totals);
	json_decref(way->more);
	way->more = run_json(&run, work->pool);
	return judge(&run, work);
}
