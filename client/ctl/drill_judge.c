/* drill_judge.c - after a drill: was anything lost, done twice, left behind, or not answered? */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/drill.h"
#include "client/ctl/drill_load.h"
#include "client/ctl/jobmap.h"
#include "client/ctl/reply.h"
#include "ipc/clock.h"

#define PATIENCE_NS (120 * NS_PER_S)
#define LS_MOST     100000u

/* What the daemon says of a job in the end. */
struct end {
	uint16_t attempt;
	uint8_t times; /* listed */
};

struct judging {
	struct end *ends; /* by id */
	uint64_t ids;
	uint64_t ended, reruns, failed;
};

/* ---- what the daemon says ---- */

static int
got_jobs(void *context, const msgpack_object *map)
{
	struct judging *j = context;
	struct pyprep_receipt receipt;
	const msgpack_object *list;

	unsigned count = field_list(map, "jobs", &list);
	for (unsigned i = 0; i < count; i++) {
		struct jobmap job;
		if (!field_bool(&list[i], "detached") || jobmap_read(&list[i], &job) < 0)
			continue;
		if (jobmap_receipt(&job, &receipt) == 0 && receipt.id < j->ids) {
			struct end *end = &j->ends[receipt.id];
			end->attempt = (uint16_t)receipt.attempt;
			end->times += end->times < 2;
			j->ended++;
			j->reruns += receipt.attempt > 1 ? receipt.attempt - 1 : 0;
			j->failed += strcmp(receipt.state, "succeeded") != 0;
		}
		jobmap_free(&job);
	}
	return 0;
}

/* Is nothing queued, nothing running, nothing unanswered? */
static bool
is_quiet(struct drill *d)
{
	struct bench_status status;

	drill_turn(d, false);
	return d->open == 0 && (d->a == NULL || pyprep_outstanding(d->a) == 0) &&
	       drill_status(d, &status) && status.loaded && status.queued + status.running == 0;
}

static bool
read_ends(struct drill *d, struct judging *j)
{
	struct pyprep_problem why = { 0 };
	struct request request;
	struct pyprep *p;

	if (pyprep_connect(d->daemon.runtime, &p, &why) < 0)
		return false;
	request_begin(&request, "ls", 2);
	request_text(&request, "state", "finished");
	request_u64(&request, "limit", LS_MOST);
	int r = request_ask(&request, p, 60000, got_jobs, j, &why);
	pyprep_close(p);
	return r == 0;
}

/* ---- what the commands wrote ---- */

struct traced {
	uint64_t same, overlapping, unmarked;
};

static void
read_trace(struct drill *d, const struct judging *j, struct traced *t)
{
	uint16_t *begun = calloc(j->ids, sizeof *begun), *count = calloc(j->ids, sizeof *count);
	unsigned long long id;
	unsigned attempt;
	char what;

	FILE *f = fopen(d->trace, "re");
	while (f && begun && count && fscanf(f, " %c %llu %u", &what, &id, &attempt) == 3) {
		if (id >= j->ids)
			continue;
		if (what == 'e') { /* of an attempt before the last that began: both ran at once */
			t->overlapping += attempt < begun[id];
			continue;
		}
		t->same += attempt == begun[id];
		if (attempt > begun[id])
			begun[id] = (uint16_t)attempt;
		t->unmarked += ++count[id] > attempt || attempt > j->ends[id].attempt;
	}
	if (f)
		fclose(f);
	free(begun);
	free(count);
}

/* ---- figures ---- */

static int
by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static void
figures(struct drill *d, const struct judging *j)
{
	unsigned n = d->recoveries;

	demo_figure(d->demo, "acknowledged", (double)d->acknowledged, "",
		    "detached jobs acknowledged");
	demo_figure(d->demo, "again", (double)d->again, "", "... submitted again, same token");
	demo_figure(d->demo, "refused", (double)d->refused, "", "... refused, with a reason");
	demo_figure(d->demo, "reruns", (double)j->reruns, "", "attempts beyond the first");
	demo_figure(d->demo, "attached", (double)d->attached_back, "", "attached jobs answered");
	demo_figure(d->demo, "attached_lost", (double)d->attached_lost, "",
		    "... told that the broker was lost");
	if (n == 0)
		return;
	qsort(d->recovered_us, n, sizeof d->recovered_us[0], by_value);
	demo_figure(d->demo, "faults", n, "", "faults with a recovery measured");
	uint64_t median_us = d->recovered_us[n / 2];
	demo_figure(d->demo, "recover_p50_ns", (double)median_us * 1e3, "ns",
		    "from the fault until it is made good, p50");
	demo_figure(d->demo, "recover_most_ns", (double)d->recovered_us[n - 1] * 1e3, "ns",
		    "... at most");
}

int
drill_judge(struct drill *d)
{
	struct judging j = { .ids = 1 };
	struct traced t = { 0 };
	uint64_t lost = 0, twice = 0, end_ns = clock_now() + PATIENCE_NS;
	bool quiet = false;

	while (!(quiet = is_quiet(d)) && clock_now() < end_ns)
		;
	for (uint32_t i = 0; i < d->sent; i++)
		if (d->id[i] >= j.ids)
			j.ids = d->id[i] + 1;
	j.ends = calloc(j.ids, sizeof *j.ends);
	if (j.ends == NULL || !read_ends(d, &j)) {
		free(j.ends);
		return demo_fail(d->demo, "the daemon does not list what has ended");
	}
	for (uint32_t i = 0; i < d->sent; i++) {
		lost += d->id[i] != 0 && j.ends[d->id[i]].times == 0;
		twice += d->id[i] != 0 && j.ends[d->id[i]].times > 1;
	}
	read_trace(d, &j, &t);
	figures(d, &j);
	demo_check(d->demo, quiet, "everyone was answered: nothing is open in the end");
	demo_check(d->demo, lost == 0, "none of %llu acknowledged jobs was lost (%llu)",
		   (unsigned long long)d->acknowledged, (unsigned long long)lost);
	demo_check(d->demo, twice == 0 && d->renamed == 0,
		   "none ended twice, no token became two jobs (%llu, %llu)",
		   (unsigned long long)twice, (unsigned long long)d->renamed);
	demo_check(d->demo, t.same == 0 && t.unmarked == 0,
		   "every re-run carried the next attempt number (%llu did not)",
		   (unsigned long long)t.same + t.unmarked);
	demo_check(d->demo, t.overlapping == 0, "no job ran twice at once (%llu)",
		   (unsigned long long)t.overlapping);
	free(j.ends);
	return 0;
}
