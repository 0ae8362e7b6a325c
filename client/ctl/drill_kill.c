/* drill_kill.c - drills worker-kill, broker-kill and daemon-kill: kill -9 at random moments. */
#include <signal.h>
#include <string.h>

#include "client/ctl/drill.h"
#include "ipc/clock.h"

#define REPLACED_NS     (20 * NS_PER_S)
#define BROKER_PAUSE_MS 2100 /* more than five of its deaths in ten seconds end the daemon */

enum victim { WORKER, BROKER, SUPERVISOR };

static uint64_t
some_ms(uint32_t least, uint32_t most)
{
	return (least + drill_random(most - least)) * NS_PER_MS;
}

static uint64_t
pause_of(enum victim whom)
{
	return whom == WORKER   ? some_ms(5, 100)
	       : whom == BROKER ? some_ms(BROKER_PAUSE_MS, BROKER_PAUSE_MS + 400)
				: some_ms(200, 900);
}

/* A worker of the pools that detached jobs run on; others end with theirs, as they should. */
static const struct bench_worker *
some_worker(const struct bench_status *status)
{
	for (int i = 0; i < 64; i++) {
		const struct bench_worker *w = &status->workers[drill_random(status->count)];
		if (strcmp(w->pool, "io") != 0)
			return w;
	}
	return NULL;
}

/* Until another is ready in its place: by the daemon's own clock reading. */
static void
kill_worker(struct drill *d, const struct bench_worker *victim)
{
	uint64_t from_ns = clock_now();
	struct bench_status now;

	drill_kill(d, victim->pid, SIGKILL);
	d->fault_ns = 0;
	while (clock_now() - from_ns < REPLACED_NS) {
		drill_work(d, clock_now() + NS_PER_MS);
		if (!drill_status(d, &now))
			continue;
		for (unsigned i = 0; i < now.count; i++) {
			const struct bench_worker *w = &now.workers[i];
			if (w->slot != victim->slot || strcmp(w->pool, victim->pool) != 0 ||
			    w->pid == victim->pid || w->ready_ns < from_ns)
				continue;
			drill_recovered(d, w->ready_ns - from_ns);
			return;
		}
	}
}

static int
kill_one(struct drill *d, enum victim whom, const struct bench_status *status)
{
	const struct bench_worker *worker = some_worker(status);

	if (whom == BROKER) {
		drill_kill(d, status->broker, SIGKILL);
	} else if (whom == SUPERVISOR) {
		drill_kill(d, status->supervisor, SIGKILL);
		return drill_restart(d);
	} else if (worker != NULL && worker->pid > 0) {
		kill_worker(d, worker);
	}
	return 0;
}

static int
kill_for_a_while(struct demo *demo, enum victim whom)
{
	static struct drill d;
	struct bench_status status;
	unsigned kills = 0;

	if (drill_begin(&d, demo) < 0)
		return -1;
	uint64_t end_ns = clock_now() + drill_options.for_ns;
	drill_work(&d, clock_now() + 100 * NS_PER_MS);
	while (clock_now() < end_ns) {
		drill_work(&d, clock_now() + pause_of(whom));
		if (!drill_status(&d, &status) || status.count == 0)
			continue;
		if (kill_one(&d, whom, &status) < 0)
			return -1;
		kills++;
	}
	demo_figure(demo, "kills", kills, "", "killed with SIGKILL");
	int r = drill_judge(&d);
	drill_end(&d);
	return r;
}

int
drill_worker_kill(struct demo *demo)
{
	return kill_for_a_while(demo, WORKER);
}

int
drill_broker_kill(struct demo *demo)
{
	return kill_for_a_while(demo, BROKER);
}

int
drill_daemon_kill(struct demo *demo)
{
	return kill_for_a_while(demo, SUPERVISOR);
}
