/* endings.c - see endings.h: the rounds, some of them under way at once, and the load beside. */
#include "tests/daemon/endings.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "tests/daemon/jobs.h"

#define AT_ONCE     5u
#define PATIENCE_MS 20000u
#define LOOK_MS     5      /* at what no descriptor tells of */
#define RANDOM_US   40000u /* the moment of the end: so long after the submit, or the timeout */
#define LOAD_JOBS   6u
/* Each kind of tree, one that computes, one that is tried again; ended in each way. */
#define TURNS ((TREE_KINDS + 2) * ENDED_BYS)

static const char config[] = "[pool \"cpu\"]\nexecutor = process\nworkers = 3\nrestart_max = 1000\n"
			     "[pool \"shell\"]\nexecutor = command\nworkers = 6\n"
			     "restart_max = 1000\ngrace = %ums\n";

const char *const ending_names[ENDINGS] = { "obedient", "growing", "stubborn", "computing" };
const char *const ended_by_names[ENDED_BYS] = { "cancelled", "timed out" };

struct round {
	unsigned number; /* from 1; 0: the place is free */
	bool computing;
	enum tree_kind kind;
	enum ended_by by;
	bool again;   /* it is tried again after its timeout */
	bool when_up; /* to be cancelled when it stands */
	uint64_t tag;
	int pipe; /* -1: computing */
	uint64_t begun_ns, timeout_ns;
	uint64_t end_ns;   /* when to cancel it; 0: not yet known */
	uint64_t asked_ns; /* when it was told to end; of a timeout: the deadline */
	size_t said;       /* bytes, in its pipe */
	uint64_t up_ns;    /* when it said that it stands */
	bool opened;       /* the pipe was seen held by somebody */
	uint64_t receipt_ns, gone_ns;
	int slot; /* of the receipt; -1: it never reached a worker */
	pid_t worker;
};

struct run {
	struct test_daemon *d;
	struct pyprep *p;
	struct endings_report *report;
	unsigned wanted, started;
	struct round rounds[AT_ONCE];
	double *ms[ENDED_BYS][ENDINGS][2]; /* receipt, gone */
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

/* ---- the load ---- */

struct load {
	pid_t pid;
	int stop, told;
};

struct load_told {
	uint64_t jobs, wrong;
};

static void
start_load_job(struct pyprep *p, uint64_t n)
{
	if (n % 3 == 0)
		start_shell(p, "exit 0", 0);
	else
		start(p, n % 3 == 1 ? "sleep" : "noop", "cpu", n % 3 == 1 ? "ms=1" : NULL, 0);
}

/* Until its parent closes `stop`. */
static void __attribute__((noreturn)) load_main(const struct test_daemon *d, int stop, int told)
{
	struct pyprep *p = daemon_connect(d);
	struct pollfd polled = { .fd = stop, .events = POLLIN };
	struct load_told all = { 0 };
	struct pyprep_receipt receipt;
	uint64_t n = 0;

	while (poll(&polled, 1, 0) == 0) {
		for (; pyprep_outstanding(p) < LOAD_JOBS; n++)
			start_load_job(p, n);
		if (next_receipt(p, PATIENCE_MS, &receipt) != 1)
			_exit(1);
		all.jobs++;
		all.wrong += strcmp(receipt.state, "succeeded") != 0;
	}
	for (; pyprep_outstanding(p) > 0; all.jobs++) {
		if (next_receipt(p, PATIENCE_MS, &receipt) != 1)
			_exit(1);
		all.wrong += strcmp(receipt.state, "succeeded") != 0;
	}
	pyprep_close(p);
	_exit(write(told, &all, sizeof(all)) == sizeof(all) ? 0 : 1);
}

static struct load
load_begin(const struct test_daemon *d)
{
	int stop[2], told[2];

	if (pipe2(stop, O_CLOEXEC) < 0 || pipe2(told, O_CLOEXEC) < 0)
		abort();
	pid_t pid = test_fork();
	if (pid == 0) {
		close(stop[1]);
		close(told[0]);
		load_main(d, stop[0], told[1]);
	}
	close(stop[0]);
	close(told[1]);
	return (struct load){ .pid = pid, .stop = stop[1], .told = told[0] };
}

static void
load_end(struct run *r, struct load *l)
{
	struct load_told all;

	close(l->stop);
	if (read(l->told, &all, sizeof(all)) == sizeof(all)) {
		r->report->load_jobs = all.jobs;
		r->report->load_wrong = all.wrong;
	} else {
		complain(r, "a job of the client beside them did not come back");
	}
	close(l->told);
	wait_exit(l->pid, PATIENCE_MS);
}

/* ---- one round ---- */

static void
pipe_path(const struct run *r, unsigned number, const char *what, char *path, size_t size)
{
	snprintf(path, size, "%s/%s.%u", r->d->root, what, number);
}

static void
submit(struct run *r, struct round *o, const char *kind, const struct pyprep_policy *policy,
       unsigned flags)
{
	char path[200], number[16];

	pipe_path(r, o->number, "pipe", path, sizeof(path));
	o->pipe = mkfifo(path, 0600) == 0 ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
	if (o->pipe < 0)
		abort();
	snprintf(path, sizeof(path), "%s/tree.sh", r->d->root);
	snprintf(number, sizeof(number), "%u", o->number);
	const char *argv[] = { "sh", path, kind, number, NULL };
	struct pyprep_job job = {
		.kind = "exec",
		.argv = argv,
		.timeout_ns = o->timeout_ns,
		.policy = policy,
		.flags = flags,
	};
	o->tag = start_job(r->p, &job);
}

static void
submit_tree(struct run *r, struct round *o)
{
	static const char *const ends[] = { "timeout", NULL };
	static const struct pyprep_policy again = { .retries = 1,
						    .backoff_first_ns = MS,
						    .retry_on = ends };

	submit(r, o, tree_kinds[o->kind], o->again ? &again : NULL, 0);
}

static void
submit_computing(struct run *r, struct round *o)
{
	bool hang = o->number / TURNS % 2 == 0;
	const char *const params[] = { hang ? "how=hang" : "n=1000000000000", NULL };
	struct pyprep_job job = { .kind = hang ? "fail" : "sumsq",
				  .pool = "cpu",
				  .params = params,
				  .timeout_ns = o->timeout_ns };

	o->pipe = -1;
	o->tag = start_job(r->p, &job);
}

/* Kinds and ways take turns; moments are random. */
static void
begin_round(struct run *r, struct round *o)
{
	unsigned number = ++r->started, turn = number % TURNS / ENDED_BYS;
	uint64_t after_ns = (1 + (uint64_t)random() % RANDOM_US) * NS_PER_US;

	*o = (struct round){ .number = number, .by = number % ENDED_BYS, .begun_ns = clock_now() };
	bool timeout = o->by == ENDED_BY_TIMEOUT;
	o->computing = turn == TREE_KINDS;
	o->again = turn == TREE_KINDS + 1 && timeout;
	o->kind = turn < TREE_KINDS ? (enum tree_kind)turn : (unsigned)random() % TREE_KINDS;
	o->when_up = !timeout && !o->computing && random() % 2 == 0;
	if (timeout) /* half of them have the time to stand */
		o->timeout_ns = random() % 2 == 0 ? after_ns : 4 * after_ns;
	if (o->computing)
		submit_computing(r, o);
	else
		submit_tree(r, o);
	if (!timeout && !o->when_up)
		o->end_ns = o->begun_ns + after_ns;
}

static void
cancel_when_due(struct run *r, struct round *o)
{
	if (o->when_up && o->up_ns != 0 && o->end_ns == 0)
		o->end_ns = clock_now() + (uint64_t)random() % RANDOM_US * NS_PER_US / 4;
	if (o->end_ns == 0 || o->asked_ns != 0 || o->receipt_ns != 0 || clock_now() < o->end_ns)
		return;
	o->asked_ns = clock_now();
	if (pyprep_cancel(r->p, o->tag) < 0)
		complain(r, "round %u cannot be cancelled", o->number);
}

/* What its pipe, or its worker, says of it. */
static void
look_at(struct round *o)
{
	char bytes[64];
	ssize_t n;

	if (o->pipe < 0) {
		if (o->receipt_ns != 0 && o->gone_ns == 0 &&
		    (o->slot < 0 || !process_exists(o->worker)))
			o->gone_ns = clock_now();
		return;
	}
	while ((n = read(o->pipe, bytes, sizeof(bytes))) > 0)
		if ((o->said += (size_t)n) >= TREE_UP && o->up_ns == 0)
			o->up_ns = clock_now();
	if (n < 0) { /* held: perhaps by its next attempt */
		o->opened = true;
		o->gone_ns = 0;
	} else if (o->gone_ns == 0 && (o->opened || o->said > 0 || o->receipt_ns != 0)) {
		o->gone_ns = clock_now();
	}
}

static void
take_receipt(struct run *r, struct round *o, const struct pyprep_receipt *receipt)
{
	bool timeout = o->by == ENDED_BY_TIMEOUT;

	if (strcmp(receipt->state, timeout ? "timed_out" : "cancelled") != 0)
		complain(r, "round %u (%s): %s, cause %s %d: %s", o->number,
			 o->computing ? "computing" : tree_kinds[o->kind], receipt->state,
			 receipt->cause, receipt->cause_value, receipt->error_message);
	if (receipt->attempt != (o->again ? 2 : 1))
		complain(r, "round %u: attempt %u", o->number, receipt->attempt);
	o->receipt_ns = clock_now();
	o->slot = receipt->slot;
	o->worker = receipt->worker_pid;
	/* Of its last attempt. */
	if (timeout)
		o->asked_ns = receipt->ended_ns - receipt->run_ns + o->timeout_ns;
	look_at(o);
	r->report->early += o->gone_ns == 0;
}

static void
take_events(struct run *r)
{
	struct pyprep_receipt receipt;

	while (next_receipt(r->p, 0, &receipt) == 1)
		for (unsigned i = 0; i < AT_ONCE; i++)
			if (r->rounds[i].number != 0 && r->rounds[i].tag == receipt.tag)
				take_receipt(r, &r->rounds[i], &receipt);
}

static double
ms_between(uint64_t from_ns, uint64_t to_ns)
{
	return ((double)to_ns - (double)from_ns) / 1e6;
}

static void
end_round(struct run *r, struct round *o)
{
	enum ending e = o->computing                              ? ENDING_COMPUTING
			: o->kind != TREE_OBEDIENT                ? ENDING_STUBBORN
			: o->up_ns != 0 && o->up_ns < o->asked_ns ? ENDING_OBEDIENT
								  : ENDING_GROWING;
	struct ending_times *t = &r->report->times[o->by][e];
	char path[200];

	if (o->slot < 0 || (!o->computing && !o->opened && o->said == 0)) {
		r->report->unstarted++;
	} else if (o->again) {
		r->report->retried++;
	} else {
		r->ms[o->by][e][0][t->n] = ms_between(o->asked_ns, o->receipt_ns);
		r->ms[o->by][e][1][t->n] = ms_between(o->asked_ns, o->gone_ns);
		t->n++;
	}
	if (o->pipe >= 0) {
		close(o->pipe);
		pipe_path(r, o->number, "pipe", path, sizeof(path));
		unlink(path);
		pipe_path(r, o->number, "lock", path, sizeof(path));
		unlink(path);
	}
	r->report->rounds++;
	*o = (struct round){ 0 };
}

/* ---- all of them ---- */

static void
sleep_until_something(struct run *r)
{
	struct pollfd polled[AT_ONCE + 1] = { { .fd = pyprep_fd(r->p), .events = POLLIN } };
	int ms = PATIENCE_MS;

	for (unsigned i = 0; i < AT_ONCE; i++) {
		const struct round *o = &r->rounds[i];
		/* A pipe at its end goes on saying so. */
		bool listen = o->number != 0 && o->gone_ns == 0;
		polled[i + 1] = (struct pollfd){ .fd = listen ? o->pipe : -1, .events = POLLIN };
		if (o->number != 0 && (o->gone_ns != 0 || o->receipt_ns != 0 || o->again))
			ms = LOOK_MS;
		uint64_t now = clock_now();
		if (o->number != 0 && o->end_ns != 0 && o->asked_ns == 0) {
			int due = o->end_ns <= now ? 0 : (int)((o->end_ns - now) / NS_PER_MS);
			ms = due < ms ? due : ms;
		}
	}
	if (pyprep_arm(r->p) == 0)
		(void)poll(polled, AT_ONCE + 1, ms);
}

static void
check_patience(struct run *r, const struct round *o)
{
	if (clock_now() - o->begun_ns < 2 * PATIENCE_MS * NS_PER_MS)
		return;
	complain(r, "round %u (%s, %s): %s after %u s", o->number,
		 o->computing ? "computing" : tree_kinds[o->kind], ended_by_names[o->by],
		 o->receipt_ns == 0 ? "no receipt" : "something of it is left",
		 2 * PATIENCE_MS / 1000);
}

static void
go_round(struct run *r)
{
	take_events(r);
	for (unsigned i = 0; i < AT_ONCE; i++) {
		struct round *o = &r->rounds[i];
		if (o->number == 0 && r->started < r->wanted)
			begin_round(r, o);
		if (o->number == 0)
			continue;
		look_at(o);
		cancel_when_due(r, o);
		if (o->receipt_ns != 0 && o->gone_ns != 0)
			end_round(r, o);
		else
			check_patience(r, o);
	}
	if (r->report->rounds < r->wanted)
		sleep_until_something(r);
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static void
percentiles(double *ms, unsigned n, double ret[3])
{
	if (n == 0)
		return;
	qsort(ms, n, sizeof(*ms), by_value);
	ret[0] = ms[n / 2];
	ret[1] = ms[(uint64_t)n * 99 / 100];
	ret[2] = ms[n - 1];
}

static void
each_class(struct run *r, void (*act)(struct run *, enum ended_by, enum ending))
{
	for (enum ended_by by = 0; by < ENDED_BYS; by++)
		for (enum ending e = 0; e < ENDINGS; e++)
			act(r, by, e);
}

static void
open_class(struct run *r, enum ended_by by, enum ending e)
{
	for (int i = 0; i < 2; i++)
		r->ms[by][e][i] = calloc(r->wanted + 1, sizeof(double));
}

static void
close_class(struct run *r, enum ended_by by, enum ending e)
{
	struct ending_times *t = &r->report->times[by][e];

	percentiles(r->ms[by][e][0], t->n, t->receipt_ms);
	percentiles(r->ms[by][e][1], t->n, t->gone_ms);
	for (int i = 0; i < 2; i++)
		free(r->ms[by][e][i]);
}

static void
judge(struct run *r)
{
	struct endings_report *e = r->report;
	struct test_status status;

	if (!wait_until(PATIENCE_MS, tree_processes(r->d->root) == 0))
		e->left = tree_processes(r->d->root);
	tree_trace(r->d->root, e);
	if (e->early > 0)
		complain(r, "%u receipts came before the last process of their job was gone",
			 e->early);
	if (e->left > 0)
		complain(r, "%u processes of jobs are left", e->left);
	if (e->twice > 0 || e->at_once > 0)
		complain(r, "%ju attempts began twice, %ju while an earlier one ran",
			 (uintmax_t)e->twice, (uintmax_t)e->at_once);
	if (e->load_wrong > 0)
		complain(r, "%ju jobs beside them failed", (uintmax_t)e->load_wrong);
	if (!wait_until(PATIENCE_MS, daemon_status(r->d, &status) == 0 &&
					     status.jobs_running == 0 && status.table_jobs == 0))
		complain(r, "the daemon thinks that something still runs");
}

void
end_jobs(struct test_daemon *d, unsigned rounds, unsigned seed, struct endings_report *ret)
{
	struct run r = { .d = d, .report = ret, .wanted = rounds };
	char text[400];

	*ret = (struct endings_report){ 0 };
	srandom(seed);
	snprintf(text, sizeof(text), config, ENDINGS_GRACE_MS);
	daemon_begin(d, text);
	tree_script(d->root);
	each_class(&r, open_class);
	struct load load = load_begin(d);
	r.p = daemon_connect(d);
	uint64_t from_ms = test_now_ms();
	while (ret->rounds < rounds && ret->text[0] == '\0')
		go_round(&r);
	ret->seconds = (unsigned)((test_now_ms() - from_ms) / 1000);
	pyprep_close(r.p);
	load_end(&r, &load);
	judge(&r);
	each_class(&r, close_class);
}

/* ---- a worker's death ---- */

/* The command worker that has a job, or 0. */
static pid_t
busy_worker(const struct test_daemon *d)
{
	struct test_status status;

	if (daemon_status(d, &status) < 0)
		return 0;
	const struct status_pool *pool = status_pool(&status, "shell");
	for (unsigned i = 0; i < pool->worker_count; i++)
		if (strcmp(pool->workers[i].state, "busy") == 0)
			return pool->workers[i].pid;
	return 0;
}

/* It stands `attempts` times in all. */
static bool
has_stood(struct round *o, unsigned attempts)
{
	look_at(o);
	return o->said >= attempts * TREE_UP;
}

static struct run
begin_alone(struct test_daemon *d, struct endings_report *ret)
{
	char text[400];

	*ret = (struct endings_report){ 0 };
	snprintf(text, sizeof(text), config, ENDINGS_GRACE_MS);
	daemon_begin(d, text);
	tree_script(d->root);
	return (struct run){ .d = d, .report = ret, .p = daemon_connect(d) };
}

void
end_by_death(struct test_daemon *d, unsigned deaths, struct endings_report *ret)
{
	static const char *const ends[] = { "worker_died", NULL };
	const struct pyprep_policy policy = {
		.retries = deaths, .backoff_first_ns = MS, .backoff_most_ns = MS, .retry_on = ends
	};
	struct run r = begin_alone(d, ret);
	struct round o = { .number = 1 };
	struct pyprep_receipt receipt;
	pid_t worker = 0;

	submit(&r, &o, "large", &policy, 0);
	for (unsigned i = 1; i <= deaths && ret->text[0] == '\0'; i++) {
		if (!wait_until(PATIENCE_MS, has_stood(&o, i) && (worker = busy_worker(d)) != 0))
			complain(&r, "attempt %u does not come", i);
		else
			kill(worker, SIGKILL);
	}
	if (!wait_until(PATIENCE_MS, has_stood(&o, deaths + 1)))
		complain(&r, "the last attempt does not come");
	pyprep_cancel(r.p, o.tag);
	if (next_receipt(r.p, PATIENCE_MS, &receipt) != 1 ||
	    strcmp(receipt.state, "cancelled") != 0 || receipt.attempt != deaths + 1)
		complain(&r, "%s in attempt %u", receipt.state, receipt.attempt);
	look_at(&o);
	if (o.gone_ns == 0)
		complain(&r, "the receipt came before the last process was gone");
	close(o.pipe);
	pyprep_close(r.p);
	judge(&r);
}

static uint64_t
accepted(struct pyprep *p)
{
	struct pyprep_event event;

	if (pyprep_next(p, PATIENCE_MS, &event) != 1 || event.type != PYPREP_ACCEPTED)
		abort();
	return event.id;
}

void
end_by_daemons_death(struct test_daemon *d, struct endings_report *ret)
{
	struct run r = begin_alone(d, ret);
	struct round o = { .number = 1 };
	pid_t worker = 0;
	char words[64];

	submit(&r, &o, "large", NULL, PYPREP_DETACH);
	snprintf(words, sizeof(words), "ids=%ju,", (uintmax_t)accepted(r.p));
	if (!wait_until(PATIENCE_MS, has_stood(&o, 1) && (worker = busy_worker(d)) != 0))
		abort();
	pyprep_close(r.p);
	kill(worker, SIGSTOP); /* it hears of the death later */
	kill_and_wait(d->pid, SIGKILL);
	daemon_launch(d);
	if (wait_until(1000, has_stood(&o, 2)))
		complain(&r, "the next daemon began the next attempt beside the first");
	kill(worker, SIGCONT);
	if (!wait_until(2 * PATIENCE_MS, has_stood(&o, 2)))
		complain(&r, "the next attempt does not come");
	r.p = daemon_connect(d);
	if (ask(r.p, "cancel", words, NULL) < 0)
		complain(&r, "it cannot be cancelled");
	judge(&r);
	look_at(&o);
	if (o.gone_ns == 0)
		complain(&r, "something of it is left");
	close(o.pipe);
	pyprep_close(r.p);
}
