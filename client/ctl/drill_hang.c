/*
 * drill_hang.c - drills hang and oom: what does not end by itself, and what takes too much.
 *
 * A worker that is stopped is found when a job on it has run longer than its timeout, so the jobs
 * of this drill have one.  The broker is watched by the supervisor, as under systemd with
 * WatchdogSec.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/drill.h"
#include "client/ctl/drill_load.h"
#include "ipc/clock.h"

#define TIMEOUT_NS  (1 * NS_PER_S)
#define WAIT_MS     60000
#define LIMIT_BYTES (UINT64_C(64) << 20)

/* Submit one more, attached, on a connection of its own, and hear its end while the load goes on.
 */
static int
run_job(struct drill *d, const struct pyprep_job *job, struct pyprep_receipt *ret, char *text,
	size_t size)
{
	struct pyprep_event event = { 0 };
	struct pyprep *p;
	int r;

	if (pyprep_connect(d->daemon.runtime, &p, NULL) < 0)
		return -1;
	r = pyprep_submit(p, job, NULL, NULL, NULL);
	uint64_t end_ns = clock_now() + WAIT_MS * NS_PER_MS;
	while (r >= 0 && clock_now() < end_ns) {
		drill_turn(d, true);
		r = pyprep_next(p, 0, &event);
		if (r == 1 && event.type == PYPREP_RECEIPT)
			break;
	}
	if (r == 1) {
		*ret = event.receipt;
		snprintf(text, size, "%s, cause %s", event.receipt.state, event.receipt.cause);
	}
	pyprep_close(p);
	return r == 1 ? 0 : -1;
}

static void
ignores_term(struct drill *d)
{
	const char *const argv[] = { "/bin/sh", "-c", "trap '' TERM; sleep 60 & wait; sleep 60",
				     NULL };
	const struct pyprep_job job = { .kind = "exec",
					.argv = argv,
					.timeout_ns = 200 * NS_PER_MS };
	struct pyprep_receipt receipt = { 0 };
	char text[100] = "nothing";

	int r = run_job(d, &job, &receipt, text, sizeof text);
	demo_check(d->demo, r == 0 && strcmp(receipt.cause, "timeout") == 0,
		   "a command that ignores TERM was ended by its timeout of 200 ms (%s)", text);
	demo_figure(d->demo, "term_ignored_ns", (double)receipt.run_ns, "ns",
		    "... with its grace of 200 ms it ran");
}

int
drill_hang(struct demo *demo)
{
	static struct drill d;
	struct bench_status status;
	unsigned workers = 0, brokers = 0;

	d.watchdog = true;
	d.timeout_ns = TIMEOUT_NS;
	if (drill_begin(&d, demo) < 0)
		return -1;
	uint64_t end_ns = clock_now() + drill_options.for_ns;
	while (clock_now() < end_ns) {
		drill_work(&d, clock_now() + 300 * NS_PER_MS);
		if (!drill_status(&d, &status) || status.count == 0)
			continue;
		if (brokers * 4 <= workers) {
			drill_kill(&d, status.broker, SIGSTOP);
			brokers++;
			drill_work(&d, clock_now() + 2500 * NS_PER_MS);
			continue;
		}
		const struct bench_worker *w = &status.workers[drill_random(status.count)];
		if (strcmp(w->pool, "cpu") != 0)
			continue;
		drill_kill(&d, w->pid, SIGSTOP);
		workers++;
	}
	ignores_term(&d);
	demo_figure(demo, "stopped_workers", workers, "", "workers stopped with SIGSTOP");
	demo_figure(demo, "stopped_brokers", brokers, "", "brokers stopped with SIGSTOP");
	int r = drill_judge(&d);
	drill_end(&d);
	return r;
}

int
drill_oom(struct demo *demo)
{
	static struct drill d;
	static const struct pyprep_policy limited = { .memory_bytes = LIMIT_BYTES };
	const char *const argv[] = { "/bin/sh", "-c",
				     "x=$(head -c 400000000 /dev/zero | tr '\\0' x); echo ${#x}",
				     NULL };
	const char *const touch[] = { "bytes=536870912", NULL };
	const struct pyprep_job jobs[] = {
		{ .kind = "exec", .argv = argv, .policy = &limited },
		{ .kind = "touch", .params = touch, .pool = "cpu", .policy = &limited },
	};
	uint64_t tried[2] = { 0 }, ended[2] = { 0 };
	char text[2][100] = { "nothing", "nothing" };

	if (drill_begin(&d, demo) < 0)
		return -1;
	uint64_t end_ns = clock_now() + drill_options.for_ns;
	for (unsigned i = 0; clock_now() < end_ns; i++) {
		struct pyprep_receipt receipt = { 0 };
		drill_work(&d, clock_now() + 200 * NS_PER_MS);
		tried[i % 2]++;
		if (run_job(&d, &jobs[i % 2], &receipt, text[i % 2], sizeof text[0]) == 0)
			ended[i % 2] += receipt.state && strcmp(receipt.state, "failed") == 0;
	}
	demo_check(demo, ended[0] == tried[0],
		   "%llu of %llu commands that took 400 MB with a limit of 64 MB failed (%s)",
		   (unsigned long long)ended[0], (unsigned long long)tried[0], text[0]);
	demo_check(demo, ended[1] == tried[1],
		   "%llu of %llu jobs of a process pool that took 512 MB failed (%s)",
		   (unsigned long long)ended[1], (unsigned long long)tried[1], text[1]);
	int r = drill_judge(&d);
	drill_end(&d);
	return r;
}
