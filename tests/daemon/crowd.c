/* crowd.c - see crowd.h; the clients themselves are in crowd_clients.c */
#include "tests/daemon/crowd.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/clock.h"
#include "tests/daemon/jobs.h"

#define PATIENCE_MS  20000
#define SETTLE_MS    120000
#define DETACHED_ONE 20   /* attached jobs for each detached one */
#define SPARE_PLACES 64   /* for the good client, the askers, and those that come and go */
#define OLD_JOBS     4200 /* the history is full: answers of 2 MB */

/* ---- the good client ---- */

static int
by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void
percentiles(uint64_t *ns, unsigned n, double *ret_p50_us, double *ret_p99_us)
{
	if (n == 0)
		return;
	qsort(ns, n, sizeof(*ns), by_value);
	*ret_p50_us = (double)ns[n / 2] / 1e3;
	*ret_p99_us = (double)ns[(uint64_t)n * 99 / 100] / 1e3;
}

static void
attached(struct pyprep *p, unsigned jobs, struct crowd_arm *arm)
{
	struct pyprep_job noop = { .kind = "noop", .pool = "cpu" };
	uint64_t *ns = calloc(jobs + 1, sizeof(*ns));
	struct pyprep_prepared *job;
	struct pyprep_receipt receipt;

	if (pyprep_prepare(p, &noop, &job, NULL) < 0)
		abort();
	for (unsigned i = 0; i < jobs; i++) {
		uint64_t begun = clock_now();
		if (pyprep_submit_prepared(p, job, NULL, NULL) < 0 ||
		    next_receipt(p, PATIENCE_MS, &receipt) != 1 ||
		    strcmp(receipt.state, "succeeded") != 0) {
			arm->wrong++;
			break; /* one that does not come would be waited for again and again */
		}
		ns[arm->jobs++] = clock_now() - begun;
	}
	percentiles(ns, (unsigned)arm->jobs, &arm->p50_us, &arm->p99_us);
	pyprep_prepared_free(job);
	free(ns);
}

/* Time on a CPU so far. */
static uint64_t
cpu_ns(pid_t pid)
{
	unsigned long long ns = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	FILE *f = fopen(path, "re");
	if (f != NULL && fscanf(f, "%llu", &ns) != 1)
		ns = 0;
	if (f != NULL)
		fclose(f);
	return ns;
}

/* The id of a detached job when it is durable, or 0. */
static uint64_t
accepted(struct pyprep *p)
{
	struct pyprep_event event;
	int e;

	while ((e = pyprep_next(p, PATIENCE_MS, &event)) == 1)
		if (event.type == PYPREP_ACCEPTED)
			return event.id;
	return 0;
}

static void
detached(struct pyprep *p, unsigned jobs, struct crowd_arm *arm)
{
	struct pyprep_job noop = { .kind = "noop", .pool = "cpu", .flags = PYPREP_DETACH };
	uint64_t *ns = calloc(jobs + 1, sizeof(*ns)), *ids = calloc(jobs + 1, sizeof(*ids));
	struct pyprep_prepared *job;

	if (pyprep_prepare(p, &noop, &job, NULL) < 0)
		abort();
	for (unsigned i = 0; i < jobs; i++) {
		uint64_t begun = clock_now();
		if (pyprep_submit_prepared(p, job, NULL, NULL) < 0 || (ids[i] = accepted(p)) == 0) {
			arm->wrong++;
			break;
		}
		ns[arm->detached++] = clock_now() - begun;
	}
	for (unsigned i = 0; i < arm->detached; i++)
		arm->lost += !wait_until(PATIENCE_MS, job_is(p, ids[i], "succeeded"));
	percentiles(ns, (unsigned)arm->detached, &arm->durable_p50_us, &arm->durable_p99_us);
	pyprep_prepared_free(job);
	free(ns);
	free(ids);
}

static void
work_on(const struct test_daemon *d, pid_t broker, unsigned jobs, struct crowd_arm *arm)
{
	struct pyprep *p = daemon_connect(d);

	*arm = (struct crowd_arm){ 0 };
	uint64_t from = cpu_ns(broker);
	attached(p, jobs, arm);
	if (arm->jobs > 0)
		arm->broker_us = (double)(cpu_ns(broker) - from) / 1e3 / (double)arm->jobs;
	if (arm->wrong == 0)
		detached(p, jobs / DETACHED_ONE + 1, arm);
	pyprep_close(p);
}

/* ---- the broker ---- */

struct look {
	uint64_t bytes, clients, queued, table;
	int fds;
};

static struct look
look_at(const struct test_daemon *d, pid_t broker)
{
	struct look look = { .fds = settled_fds(broker),
			     .bytes = process_memory(broker, "RssAnon") };
	struct test_status status;

	if (daemon_status(d, &status) == 0) {
		look.clients = status.clients - 1;
		look.queued = status.table_jobs;
		look.table = status.table_bytes;
	}
	return look;
}

/* Nothing runs, and the table stands still. */
static bool
stands_still(const struct test_daemon *d)
{
	struct test_status before, now;

	if (daemon_status(d, &before) < 0)
		return false;
	for (int i = 0; i < 25; i++)
		test_pause();
	return daemon_status(d, &now) == 0 && before.table_jobs == now.table_jobs &&
	       now.jobs_running == 0;
}

/* ---- the run ---- */

struct run {
	struct test_daemon *d;
	struct crowd_report *report;
	const struct crowd_limits *limits;
	unsigned seed;
	pid_t broker;
	struct crowd crowds[CROWD_SORTS];
};

static void __attribute__((format(printf, 2, 3))) complain(struct run *r, const char *format, ...)
{
	va_list list;

	if (r->report->text[0] != '\0')
		return;
	va_start(list, format);
	vsnprintf(r->report->text, sizeof(r->report->text), format, list);
	va_end(list);
}

static void
judge_arm(struct run *r, const char *name, const struct crowd_arm *arm)
{
	if (arm->wrong > 0 || arm->lost > 0)
		complain(r,
			 "the good client, %s: after %ju jobs one did not come back well; of %ju "
			 "detached ones %ju did not end",
			 name, (uintmax_t)arm->jobs, (uintmax_t)arm->detached,
			 (uintmax_t)arm->lost);
}

static void
add_crowd(struct run *r, enum crowd_sort sort, unsigned count)
{
	struct look before = look_at(r->d, r->broker);
	struct crowd *c = &r->crowds[sort];
	struct crowd_cost *cost = &r->report->cost[sort];

	cost->clients = count;
	if (count == 0 || r->report->text[0] != '\0')
		return;
	if (!crowd_begin(r->d, sort, count, r->seed + sort, c)) {
		complain(r, "the crowd of sort %s does not come", crowd_names[sort]);
		return;
	}
	if (!wait_until(SETTLE_MS, stands_still(r->d)))
		complain(r, "with the crowd of sort %s there, something goes on running",
			 crowd_names[sort]);
	struct look now = look_at(r->d, r->broker);
	cost->connected = c->connected;
	cost->table_bytes = (double)now.table - (double)before.table;
	cost->broker_bytes = ((double)now.bytes - (double)before.bytes - cost->table_bytes) / count;
	cost->lane_bytes = (double)c->lane_bytes / count;
	cost->descriptors = (double)(now.fds - before.fds) / count;
	cost->queued = now.queued - before.queued;
	double most = r->limits->broker_bytes[sort];
	if (most > 0 && cost->broker_bytes > most)
		complain(r, "each client of sort %s costs the broker %.0f bytes, more than %.0f",
			 crowd_names[sort], cost->broker_bytes, most);
}

static void
note(struct run *r, unsigned at)
{
	struct look look = look_at(r->d, r->broker);

	r->report->bytes[at] = look.bytes;
	r->report->fds[at] = look.fds;
	r->report->clients[at] = look.clients;
}

static unsigned
there(const unsigned counts[CROWD_SORTS])
{
	return counts[CROWD_IDLE] + counts[CROWD_STALLED] + counts[CROWD_UNREAD];
}

static bool
clients_are(const struct test_daemon *d, unsigned count)
{
	struct test_status status;

	return daemon_status(d, &status) == 0 && status.clients == count + 1;
}

static bool
all_gone(struct run *r)
{
	struct test_status status;

	return daemon_status(r->d, &status) == 0 && status.clients <= 1 && status.table_jobs == 0 &&
	       count_fds(r->broker) <= r->report->fds[0];
}

static void
judge_end(struct run *r, bool spoil)
{
	double left;

	if (!wait_until(spoil ? 1000 : PATIENCE_MS, all_gone(r))) {
		note(r, 2);
		complain(r,
			 "they are gone, and %ju clients and %d descriptors (%d before) are left",
			 (uintmax_t)r->report->clients[2], r->report->fds[2], r->report->fds[0]);
		return;
	}
	note(r, 2);
	left = (double)r->report->bytes[2] - (double)r->report->bytes[0];
	if (r->limits->left_bytes > 0 && left > r->limits->left_bytes)
		complain(r, "they are gone, and %.0f bytes more than before are left, above %.0f",
			 left, r->limits->left_bytes);
}

/* Jobs with long error texts, so that whoever asks for all gets a long answer. */
static void
fill_history(const struct test_daemon *d)
{
	struct pyprep *p = daemon_connect(d);
	struct tally t = { 0 };
	char path[160] = "path=/";

	memset(path + 6, 'x', sizeof(path) - 7);
	for (int i = 0; i < OLD_JOBS; i++)
		start(p, "read", "cpu", path, 0);
	if (!finish_all(p, SETTLE_MS, &t))
		abort();
	pyprep_close(p);
}

static void
begin_daemon(struct test_daemon *d, const unsigned counts[CROWD_SORTS], uint64_t max_jobs)
{
	unsigned all = SPARE_PLACES;
	char text[400];

	for (int i = 0; i < CROWD_SORTS; i++)
		all += counts[i];
	snprintf(text, sizeof(text),
		 "[daemon]\nzmq_lane = yes\nmax_clients = %u\nmax_jobs = %ju\n"
		 "[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"
		 "[pool \"io\"]\nexecutor = event\nworkers = 1\n",
		 all, (uintmax_t)max_jobs);
	daemon_begin(d, text);
}

void
crowd_run(struct test_daemon *d, const unsigned counts[CROWD_SORTS], unsigned jobs,
	  uint64_t max_jobs, const struct crowd_limits *limits, unsigned seed, bool spoil,
	  struct crowd_report *ret)
{
	struct run r = { .d = d, .report = ret, .limits = limits, .seed = seed };
	struct crowd churn = { 0 };

	*ret = (struct crowd_report){ 0 };
	begin_daemon(d, counts, max_jobs);
	r.broker = daemon_broker(d);
	fill_history(d);
	work_on(d, r.broker, jobs, &ret->alone[0]);
	judge_arm(&r, "alone", &ret->alone[0]);
	note(&r, 0);
	for (enum crowd_sort sort = 0; sort < CROWD_SORTS; sort++)
		add_crowd(&r, sort, counts[sort]);
	/* The half-closed ones are let go, all others stay. */
	if (!wait_until(PATIENCE_MS, clients_are(d, there(counts))))
		complain(&r, "not all have come, or what has closed is not let go");
	note(&r, 1);
	if (ret->text[0] == '\0') {
		work_on(d, r.broker, jobs, &ret->among);
		judge_arm(&r, "among all of them", &ret->among);
	}
	if (ret->text[0] == '\0' && crowd_churn(d, seed, &churn)) {
		work_on(d, r.broker, jobs, &ret->churn);
		judge_arm(&r, "while others come and go", &ret->churn);
	}
	crowd_end(&churn);
	for (enum crowd_sort sort = spoil ? 1 : 0; sort < CROWD_SORTS; sort++)
		crowd_end(&r.crowds[sort]);
	judge_end(&r, spoil);
	crowd_end(&r.crowds[0]);
	if (ret->text[0] == '\0') {
		work_on(d, r.broker, jobs, &ret->alone[1]);
		judge_arm(&r, "alone again", &ret->alone[1]);
	}
	if (daemon_broker(d) != r.broker)
		complain(&r, "the broker was replaced");
}
