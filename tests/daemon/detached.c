/* detached.c - see detached.h */
#include "tests/daemon/detached.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/clock.h"

#define JOBS_MAX    2000000u
#define IN_FLIGHT   40u
#define TRACED      8u /* every eighth job is a command that writes when it begins and ends */
#define PATIENCE_MS 60000u

static const char config[] =
	"[daemon]\nstore = %s\nstore_keep = 0\nstore_bytes = 0\n"
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\nrestart_max = 1000\n"
	"[pool \"shell\"]\nexecutor = command\nworkers = 2\nrestart_max = 1000\n"
	"grace = 50ms\n";

enum fate { UNSENT, SENT, ACKNOWLEDGED };

struct run {
	struct test_daemon *d;
	struct detached_report *report;
	struct pyprep *p; /* NULL: not connected */
	struct pyprep_prepared *noop, *nap, *traced;
	unsigned char *fate; /* of each job, by its number */
	uint64_t *id;        /* as acknowledged */
	uint32_t next, unacknowledged;
	char trace[200]; /* the file that commands write to */
	unsigned *back_ms;
	bool memory;
};

/* ---- submitting ---- */

static void
hang_up(struct run *r)
{
	pyprep_prepared_free(r->noop);
	pyprep_prepared_free(r->nap);
	pyprep_prepared_free(r->traced);
	pyprep_close(r->p);
	r->p = NULL;
	r->noop = r->nap = r->traced = NULL;
}

static bool
prepare(struct run *r, const char *kind, const char *const *params, const char *const *argv,
	struct pyprep_prepared **ret)
{
	struct pyprep_job job = {
		.kind = kind, .params = params, .argv = argv, .flags = PYPREP_DETACH
	};
	if (strcmp(kind, "sleep") == 0)
		job.pool = "cpu";
	return pyprep_prepare(r->p, &job, ret, NULL) == 0;
}

/* A daemon that comes up may refuse: then later. */
static bool
connect_to(struct run *r)
{
	const char *const nap[] = { "ms=2", NULL };
	char script[600];
	snprintf(script, sizeof(script),
		 "echo b $PYPREP_JOB $PYPREP_ATTEMPT >>%s; sleep 0.00$(($$ %% 9)); "
		 "echo e $PYPREP_JOB $PYPREP_ATTEMPT >>%s",
		 r->trace, r->trace);
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };

	if (r->p != NULL)
		return true;
	if (pyprep_connect(r->d->runtime, &r->p, NULL) < 0) {
		r->p = NULL;
		return false;
	}
	if (prepare(r, "noop", NULL, NULL, &r->noop) && prepare(r, "sleep", nap, NULL, &r->nap) &&
	    prepare(r, "exec", NULL, argv, &r->traced))
		return true;
	hang_up(r);
	return false;
}

static int
submit(struct run *r, uint32_t number)
{
	unsigned char token[PYPREP_TOKEN] = "kill";
	const struct pyprep_prepared *job = number % TRACED == 0 ? r->traced
					    : number % 3 == 0    ? r->nap
								 : r->noop;

	memcpy(token + 8, &number, sizeof(number));
	int e = pyprep_submit_token(r->p, job, token, (void *)(uintptr_t)(number + 1), NULL);
	if (e == 0 && r->fate[number] == UNSENT) {
		r->fate[number] = SENT;
		r->unacknowledged++;
	}
	return e;
}

/* What came back.  false: the connection is over. */
static bool
take(struct run *r)
{
	struct pyprep_event event;
	int e;

	while ((e = pyprep_next(r->p, 0, &event)) == 1) {
		uint32_t number = (uint32_t)(uintptr_t)event.user - 1;
		if (event.type != PYPREP_ACCEPTED)
			continue; /* lost with its broker, or refused: it is sent again */
		if (r->fate[number] != ACKNOWLEDGED) {
			r->fate[number] = ACKNOWLEDGED;
			r->id[number] = event.id;
			r->report->acknowledged++;
			r->unacknowledged--;
		} else if (r->id[number] != event.id) {
			r->report->twice++;
			snprintf(r->report->text, sizeof(r->report->text),
				 "job %u was acknowledged as %llu and as %llu", number,
				 (unsigned long long)r->id[number], (unsigned long long)event.id);
		}
	}
	return e == 0;
}

/* Send again what was sent and not acknowledged, on a new connection. */
static void
send_again(struct run *r)
{
	for (uint32_t i = r->next > 4096 ? r->next - 4096 : 0; i < r->next; i++) {
		if (r->fate[i] != SENT)
			continue;
		if (submit(r, i) < 0)
			return;
		r->report->resubmitted++;
	}
}

/* Go on submitting, `more` or only what is open. */
static void
pump(struct run *r, bool more)
{
	bool fresh = r->p == NULL;

	if (!connect_to(r))
		return;
	if (fresh)
		send_again(r);
	while (more && r->unacknowledged < IN_FLIGHT && r->next < JOBS_MAX)
		if (submit(r, r->next) < 0)
			break;
		else
			r->next++;
	if (!take(r))
		hang_up(r);
	else if (!more && r->unacknowledged > 0 && pyprep_outstanding(r->p) == 0)
		hang_up(r); /* refused ones: again */
}

/* ---- kills ---- */

static void
start_again(struct run *r)
{
	uint64_t from_ms = test_now_ms();

	struct test_status status;

	wait_exit(r->d->pid, PATIENCE_MS);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		; /* what it left came to us */
	daemon_launch(r->d);
	if (!wait_until(PATIENCE_MS, daemon_status(r->d, &status) == 0)) {
		snprintf(r->report->text, sizeof(r->report->text),
			 "the daemon did not come up again");
		struct command_result said =
			run_command("tail -n 20 %s; ps -eo pid,ppid,stat,wchan:24,etimes,args | "
				    "grep '[p]yprepd:' | grep -v defunct; ls -lR %s",
				    r->d->log, r->d->root);
		fprintf(stderr, "%s", said.output);
		command_free(&said);
	}
	r->back_ms[r->report->supervisors] = (unsigned)(test_now_ms() - from_ms);
}

static pid_t
worker_of(struct test_status *status)
{
	struct status_pool *pool = &status->pools[(unsigned)random() % status->pool_count];

	return pool->worker_count == 0 ? 0
				       : pool->workers[(unsigned)random() % pool->worker_count].pid;
}

static void
kill_someone(struct run *r)
{
	struct test_status status = { 0 };
	unsigned dice = (unsigned)random() % 10;

	/* Six deaths of the broker in ten seconds end the daemon, as they should. */
	if (!process_exists(r->d->pid)) {
		start_again(r);
		r->report->supervisors++;
		return;
	}
	if (daemon_status(r->d, &status) < 0 || status.pool_count == 0)
		return;
	pid_t victim = dice < 7 ? worker_of(&status) : dice < 9 ? status.broker : status.supervisor;
	if (victim <= 0 || kill(victim, SIGKILL) < 0)
		return;
	r->report->kills++;
	if (dice < 7) {
		r->report->workers++;
	} else if (dice < 9) {
		r->report->brokers++;
	} else {
		start_again(r);
		r->report->supervisors++;
	}
}

/* ---- the judge ---- */

/* Jobs that have not ended, by another program than ours; -1: it cannot say. */
static long
open_in_store(struct run *r)
{
	char command[300];
	long open = -1;

	if (r->memory)
		return 0;
	snprintf(command, sizeof(command),
		 "sqlite3 %s/state/store.db 'SELECT count(*) FROM job WHERE state = 0' 2>/dev/null",
		 r->d->root);
	FILE *f = popen(command, "r");
	if (f != NULL && fscanf(f, "%ld", &open) != 1)
		open = -1;
	if (f != NULL)
		pclose(f);
	return open;
}

/* Is nothing open any more? */
static bool
all_ended(struct run *r)
{
	struct test_status status = { 0 };

	if (!process_exists(r->d->pid))
		start_again(r);
	pump(r, false);
	/* A daemon that has just begun may not have loaded them yet: the store has the last word.
	 */
	return r->unacknowledged == 0 && daemon_status(r->d, &status) == 0 &&
	       status.table_jobs == 0 && open_in_store(r) == 0;
}

struct verdict {
	uint16_t attempt; /* in the store */
	bool ended;
};

/* The store, by another program than ours. */
static void
read_store(struct run *r, struct verdict *jobs, uint64_t ids)
{
	char command[300];
	unsigned long long id, attempt;
	int state;

	snprintf(command, sizeof(command),
		 "sqlite3 -separator ' ' %s/state/store.db 'SELECT id, state, attempt FROM job' "
		 "2>/dev/null",
		 r->d->root);
	FILE *f = popen(command, "r");
	while (f != NULL && fscanf(f, "%llu %d %llu", &id, &state, &attempt) == 3) {
		if (id >= ids)
			continue;
		jobs[id] = (struct verdict){ (uint16_t)attempt, state != 0 };
		r->report->ended += state != 0;
		r->report->reruns += attempt > 1 ? attempt - 1 : 0;
	}
	if (f != NULL)
		pclose(f);
}

static void
judge_acknowledged(struct run *r, const struct verdict *jobs, uint64_t ids)
{
	for (uint32_t i = 0; i < r->next; i++) {
		if (r->fate[i] != ACKNOWLEDGED || (r->id[i] < ids && jobs[r->id[i]].ended))
			continue;
		if (r->report->lost++ == 0)
			snprintf(r->report->text, sizeof(r->report->text),
				 "job %llu was acknowledged and has no end in the store",
				 (unsigned long long)r->id[i]);
	}
}

/* What the commands wrote themselves, in its order. */
static void
judge_trace(struct run *r, const struct verdict *jobs, uint64_t ids)
{
	uint16_t *begun = calloc(ids, sizeof(*begun)); /* highest attempt seen to begin */
	uint16_t *count = calloc(ids, sizeof(*count));
	unsigned long long id;
	unsigned attempt;
	char what;

	FILE *f = fopen(r->trace, "re");
	while (f != NULL && fscanf(f, " %c %llu %u", &what, &id, &attempt) == 3) {
		if (id >= ids)
			continue;
		if (what == 'e') {
			/* An end of an attempt after a later one began: they ran at once. */
			r->report->overlapping += attempt < begun[id];
			continue;
		}
		count[id]++;
		r->report->same_attempt += attempt == begun[id];
		if (attempt > begun[id])
			begun[id] = (uint16_t)attempt;
		r->report->unmarked += count[id] > attempt || attempt > jobs[id].attempt;
	}
	if (f != NULL)
		fclose(f);
	free(begun);
	free(count);
}

static int
by_value(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
	return x < y ? -1 : x > y;
}

static void
judge(struct run *r)
{
	uint64_t ids = 1;

	for (uint32_t i = 0; i < r->next; i++)
		if (r->id[i] >= ids)
			ids = r->id[i] + 1;
	struct verdict *jobs = calloc(ids, sizeof(*jobs));
	read_store(r, jobs, ids);
	judge_acknowledged(r, jobs, ids);
	judge_trace(r, jobs, ids);
	free(jobs);
	unsigned n = r->report->supervisors;
	qsort(r->back_ms, n, sizeof(r->back_ms[0]), by_value);
	r->report->back_ms[0] = n > 0 ? r->back_ms[n / 2] : 0;
	r->report->back_ms[1] = n > 0 ? r->back_ms[n - 1] : 0;
}

void
kill_detached(struct test_daemon *d, unsigned kills, unsigned seed, bool memory,
	      struct detached_report *ret)
{
	struct run r = { .d = d, .report = ret, .memory = memory };
	uint64_t begin_ms = test_now_ms();
	char text[sizeof(config) + 16];

	*ret = (struct detached_report){ 0 };
	srandom(seed);
	snprintf(text, sizeof(text), config, memory ? "memory" : "sqlite");
	daemon_begin(d, text);
	snprintf(r.trace, sizeof(r.trace), "%s/trace", d->root);
	r.fate = calloc(JOBS_MAX, 1);
	r.id = calloc(JOBS_MAX, sizeof(r.id[0]));
	r.back_ms = calloc(kills + 1000, sizeof(r.back_ms[0]));
	while (ret->kills < kills && ret->text[0] == '\0') {
		uint64_t until = clock_now() + (uint64_t)(random() % 8000) * NS_PER_US;
		while (clock_now() < until)
			pump(&r, true);
		kill_someone(&r);
	}
	/* A store that forgets has nothing to wait for. */
	if (!wait_until(memory ? 2000 : PATIENCE_MS * 10, all_ended(&r)) && ret->text[0] == '\0')
		snprintf(ret->text, sizeof(ret->text), "%u jobs are not acknowledged, or open",
			 r.unacknowledged);
	if (r.p != NULL)
		hang_up(&r);
	daemon_stop(d, PATIENCE_MS);
	ret->submitted = r.next;
	judge(&r);
	ret->seconds = (unsigned)((test_now_ms() - begin_ms) / 1000);
	free(r.fate);
	free(r.id);
	free(r.back_ms);
}
