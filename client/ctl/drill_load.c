/* drill_load.c - the daemon of a drill, and the work that it is given.  See drill.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/command.h"
#include "client/ctl/drill_load.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

#define JOBS_MAX   400000u
#define IN_FLIGHT  24u
#define ATTACHED   8u
#define TRACED     8u
#define TURN_US    500
#define RATE_NS    (700 * NS_PER_US) /* between two detached submits: the judge reads them all */
#define RESTART_NS (60 * NS_PER_S)

enum fate { FATE_UNSENT, FATE_SENT, FATE_ACKNOWLEDGED, FATE_REFUSED };

uint32_t
drill_random(uint32_t below)
{
	return (uint32_t)random() % below;
}

/* ---- detached ---- */

static void
hang_up(struct drill *d)
{
	for (int i = 0; i < 3; i++) {
		pyprep_prepared_free(d->kinds[i]);
		d->kinds[i] = NULL;
	}
	pyprep_close(d->p);
	d->p = NULL;
}

static bool
prepare(struct drill *d, int which, const struct pyprep_job *job)
{
	struct pyprep_job detached = *job;

	detached.flags = PYPREP_DETACH;
	detached.timeout_ns = d->timeout_ns;
	return pyprep_prepare(d->p, &detached, &d->kinds[which], NULL) == 0;
}

static bool
connected(struct drill *d)
{
	const char *const nap[] = { "ms=2", NULL };
	char script[800];

	if (d->p != NULL)
		return true;
	if (pyprep_connect(d->daemon.runtime, &d->p, NULL) < 0) {
		d->p = NULL;
		return false;
	}
	snprintf(script, sizeof script,
		 "echo b $PYPREP_JOB $PYPREP_ATTEMPT >>%s; sleep 0.00$(($$ %% 9)); "
		 "echo e $PYPREP_JOB $PYPREP_ATTEMPT >>%s",
		 d->trace, d->trace);
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };
	const struct pyprep_job jobs[] = {
		{ .kind = "noop", .pool = "cpu" },
		{ .kind = "sleep", .pool = "cpu", .params = nap },
		{ .kind = "exec", .argv = argv },
	};
	for (int i = 0; i < 3; i++) {
		if (prepare(d, i, &jobs[i]))
			continue;
		hang_up(d);
		return false;
	}
	return true;
}

static int
submit(struct drill *d, uint32_t number)
{
	unsigned char token[PYPREP_TOKEN] = "drill";
	int which = number % TRACED == 0 ? 2 : number % 3 == 0;

	memcpy(token + 8, &number, sizeof number);
	return pyprep_submit_token(d->p, d->kinds[which], token, (void *)(uintptr_t)(number + 1),
				   NULL);
}

void
drill_recovered(struct drill *d, uint64_t took_ns)
{
	if (d->recoveries < DRILL_RECOVERIES)
		d->recovered_us[d->recoveries++] = (uint32_t)(took_ns / NS_PER_US);
	d->fault_ns = 0;
}

static void
acknowledged(struct drill *d, uint32_t number, uint64_t id)
{
	if (d->fate[number] == FATE_ACKNOWLEDGED) {
		d->renamed += d->id[number] != id;
		return;
	}
	d->fate[number] = FATE_ACKNOWLEDGED;
	d->id[number] = id;
	d->acknowledged++;
	d->open--;
	if (d->fault_ns != 0 && number >= d->fault_sent)
		drill_recovered(d, clock_now() - d->fault_ns);
}

static void
take_detached(struct drill *d)
{
	struct pyprep_event event;
	int r;

	while ((r = pyprep_next(d->p, 0, &event)) == 1) {
		uint32_t number = (uint32_t)(uintptr_t)event.user - 1;
		if (event.type == PYPREP_ACCEPTED) {
			acknowledged(d, number, event.id);
		} else if (event.type == PYPREP_RECEIPT &&
			   strcmp(event.receipt.state, "refused") == 0) {
			d->fate[number] = FATE_REFUSED; /* said clearly: it is not sent again */
			d->refused++;
			d->open--;
		} /* else it was lost with its broker: unknown, and sent again */
	}
	if (r < 0 && r != -EINTR)
		hang_up(d);
}

static void
send_again(struct drill *d)
{
	for (uint32_t i = d->sent > 65536 ? d->sent - 65536 : 0; i < d->sent && d->open > 0; i++) {
		if (d->fate[i] != FATE_SENT)
			continue;
		if (submit(d, i) < 0)
			return;
		d->again++;
	}
}

static void
work_detached(struct drill *d, bool more)
{
	static uint64_t last_ns;
	bool fresh = d->p == NULL;

	if (!connected(d))
		return;
	if (fresh)
		send_again(d);
	while (more && d->open < IN_FLIGHT && d->sent < JOBS_MAX &&
	       clock_now() - last_ns > RATE_NS) {
		if (submit(d, d->sent) < 0)
			break;
		last_ns += clock_now() - last_ns > 20 * NS_PER_MS ? clock_now() - last_ns : RATE_NS;
		d->fate[d->sent++] = FATE_SENT;
		d->open++;
	}
	take_detached(d);
	/* Nothing under way, but open: the broker went between. */
	if (d->p != NULL && d->open > 0 && pyprep_outstanding(d->p) == 0)
		hang_up(d);
}

/* ---- attached ---- */

static bool
attached(struct drill *d)
{
	const char *const nap[] = { "ms=1", NULL };
	const struct pyprep_job job = { .kind = "sleep", .pool = "io", .params = nap };

	if (d->a != NULL)
		return true;
	if (pyprep_connect(d->daemon.runtime, &d->a, NULL) < 0) {
		d->a = NULL;
		return false;
	}
	if (pyprep_prepare(d->a, &job, &d->attached_job, NULL) == 0)
		return true;
	pyprep_close(d->a);
	d->a = NULL;
	return false;
}

static void
work_attached(struct drill *d, bool more)
{
	struct pyprep_event event;
	int r;

	if (!attached(d))
		return;
	while (more && pyprep_outstanding(d->a) < ATTACHED &&
	       pyprep_submit_prepared(d->a, d->attached_job, NULL, NULL) == 0)
		d->attached_sent++;
	while ((r = pyprep_next(d->a, 0, &event)) == 1) {
		if (event.type != PYPREP_RECEIPT)
			continue;
		d->attached_back++;
		if (strcmp(event.receipt.cause, "broker_lost") == 0) {
			d->attached_lost++;
		} else if (strcmp(event.receipt.state, "succeeded") == 0) {
			d->attached_last_ns = clock_now();
		} else {
			d->attached_failed++;
		}
	}
	if (r == -EPIPE || (r < 0 && r != -EINTR)) {
		pyprep_prepared_free(d->attached_job);
		pyprep_close(d->a);
		d->a = NULL;
	}
}

void
drill_turn(struct drill *d, bool more)
{
	work_detached(d, more);
	work_attached(d, more);
	usleep(TURN_US);
}

void
drill_work(struct drill *d, uint64_t until_ns)
{
	while (clock_now() < until_ns) {
		drill_turn(d, true);
		demo_live(d->demo, "%llu acknowledged, %llu attached ended, %u recoveries",
			  (unsigned long long)d->acknowledged, (unsigned long long)d->attached_back,
			  d->recoveries);
	}
}

/* ---- the daemon ---- */

bool
drill_status(struct drill *d, struct bench_status *ret)
{
	struct bench_session s = { .daemon = d->daemon };

	if (pyprep_connect(d->daemon.runtime, &s.p, NULL) < 0)
		return false;
	bool good = session_status(&s, ret, &d->why) == 0;
	pyprep_close(s.p);
	return good;
}

void
drill_kill(struct drill *d, pid_t pid, int signal)
{
	if (pid <= 0 || kill(pid, signal) < 0 || d->fault_ns != 0)
		return;
	d->fault_ns = clock_now();
	d->fault_sent = d->sent;
}

int
drill_restart(struct drill *d)
{
	uint64_t begun_ns = clock_now();

	waitpid(d->daemon.pid, NULL, 0);
	if (daemon_again(&d->bench, &d->daemon, d->watchdog, &d->why) < 0 ||
	    daemon_wait(&d->daemon, &d->why) < 0)
		return demo_fail(d->demo, "%s", d->why.error);
	if (clock_now() - begun_ns > RESTART_NS)
		return demo_fail(d->demo, "the daemon took longer than a minute to start");
	return 0;
}

int
drill_begin(struct drill *d, struct demo *demo)
{
	static char path[300];

	d->demo = demo;
	if (bench_find_daemon(path, sizeof path) < 0)
		return demo_fail(demo, "no pyprepd beside pyprepctl, in ../sbin or in PATH");
	d->bench = (struct bench){ .daemon = path, .directory = demo_directory(demo), .label = "" };
	srandom((unsigned)drill_options.seed);
	d->fate = calloc(JOBS_MAX, 1);
	d->id = calloc(JOBS_MAX, sizeof d->id[0]);
	if (d->fate == NULL || d->id == NULL)
		return demo_fail(demo, "out of memory");
	snprintf(d->trace, sizeof d->trace, "%s/trace", demo_directory(demo));
	if (daemon_prepare_only(&d->bench, drill_options.forgets ? CONFIG_FORGETS : CONFIG_DRILL,
				&d->daemon, &d->why) < 0 ||
	    (d->prepare != NULL && d->prepare(d) < 0) ||
	    daemon_again(&d->bench, &d->daemon, d->watchdog, &d->why) < 0 ||
	    daemon_wait(&d->daemon, &d->why) < 0)
		return d->why.error[0] != '\0' ? demo_fail(demo, "%s", d->why.error) : -1;
	demo_say(demo, "a daemon of its own; seed %lld, %.0f s", (long long)drill_options.seed,
		 (double)drill_options.for_ns / 1e9);
	return 0;
}

void
drill_end(struct drill *d)
{
	if (d->p != NULL)
		hang_up(d);
	if (d->a != NULL) {
		pyprep_prepared_free(d->attached_job);
		pyprep_close(d->a);
	}
	daemon_stop(&d->daemon);
	free(d->fate);
	free(d->id);
}
