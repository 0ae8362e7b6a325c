/* compare_run.c - the same jobs one way: submit, hear the receipts, add them up. */
#include <errno.h>
#include <string.h>

#include "client/ctl/attached.h"
#include "client/ctl/command.h"
#include "client/ctl/compare.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

/* The highest memory use of each process that ran jobs. */
struct peaks {
	struct {
		int pid;
		uint64_t bytes;
	} of[COMPARE_WORKERS];
	unsigned count;
};

struct run {
	struct way *way;
	struct peaks peaks;
};

static void
peaks_add(struct peaks *peaks, int pid, uint64_t bytes)
{
	unsigned i = 0;

	while (i < peaks->count && peaks->of[i].pid != pid)
		i++;
	if (i == COMPARE_WORKERS)
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
got_event(struct attached *a, const struct pyprep_event *event)
{
	const struct pyprep_receipt *r = &event->receipt;
	struct run *run = a->context;
	struct way *way = run->way;

	if (event->type != PYPREP_RECEIPT)
		return;
	way->ended++;
	way->oncpu_ns += r->oncpu_ns;
	way->runqueue_ns += r->runqueue_ns;
	way->blocked_ns += r->blocked_ns;
	if (r->peak_memory_bytes > 0)
		peaks_add(&run->peaks, r->worker_pid, r->peak_memory_bytes);
	if (strcmp(r->state, "succeeded") == 0)
		return;
	if (way->failed++ == 0)
		snprintf(way->problem, sizeof way->problem, "a job %s: %.400s", r->state,
			 r->error_message);
}

static void
submit_and_hear(struct attached *a, const struct pyprep_prepared *prepared, const struct work *work,
		struct way *way)
{
	uint64_t sent = 0;

	while (!attached_stopped(a) && sent < work->count) {
		if (way->one_by_one && sent > way->ended) {
			attached_turn(a, true);
			continue;
		}
		int r = pyprep_submit_prepared(a->p, prepared, NULL, NULL);
		if (r == 0) {
			sent++;
		} else if (r != -EINTR) {
			snprintf(way->problem, sizeof way->problem, "cannot submit: %s",
				 strerror(-r));
			break;
		}
	}
	attached_finish(a);
}

int
compare_run(struct pyprep *p, const struct work *work, struct way *way)
{
	struct pyprep_prepared *prepared;
	struct pyprep_problem why = { 0 };
	struct run run = { .way = way };
	struct attached attached;
	struct pyprep_job job = { .kind = work->kind, .pool = way->pool, .params = work->params };

	if (pyprep_prepare(p, &job, &prepared, &why) < 0) {
		snprintf(way->problem, sizeof way->problem, "%s", why.message);
		return 0;
	}
	attached_begin(&attached, p, got_event, &run);
	uint64_t begun = clock_now();
	submit_and_hear(&attached, prepared, work, way);
	way->wall_ns = clock_now() - begun;
	for (unsigned i = 0; i < run.peaks.count; i++)
		way->memory_bytes += run.peaks.of[i].bytes;
	way->done = way->ended == work->count && way->failed == 0;
	pyprep_prepared_free(prepared);
	return attached_end(&attached, 0);
}

int
compare_time_one(struct pyprep *p, const char *kind, const char *param, const char *pool,
		 uint64_t *ret_ns)
{
	const char *params[] = { param, NULL };
	struct pyprep_job job = { .kind = kind, .pool = pool, .params = params };
	struct pyprep_problem why = { 0 };
	struct pyprep_event event;

	int r = pyprep_submit(p, &job, NULL, NULL, &why);
	if (r < 0)
		return ctl_fail_problem(&why);
	do
		r = pyprep_next(p, -1, &event);
	while (r == -EINTR || (r == 1 && event.type != PYPREP_RECEIPT));
	if (r != 1)
		return ctl_fail(EXIT_OURS, "broker_lost", "the connection to the daemon broke");
	if (strcmp(event.receipt.state, "succeeded") != 0)
		return ctl_fail(event.receipt.exit_status, event.receipt.error_code, "%s",
				event.receipt.error_message);
	*ret_ns = event.receipt.run_ns;
	return 0;
}
