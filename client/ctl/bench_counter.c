/*
 * bench_counter.c - rows of counters: the atomic way beside a bare instruction, the manager's
 * beside bare ZeroMQ sockets that exchange messages of the same sizes.
 */
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/cpython.h"
#include "client/ctl/floor.h"
#include "ipc/clock.h"
#include "ipc/manager.h"
#include "ipc/zmq.h"

#define ATOMIC_ROUNDS 31
#define ATOMIC_ADDS   1000000
#define BATCH         64u /* requests of one message, as libpyprep packs them */
#define WINDOW        (MANAGER_WINDOW / BATCH)
#define RATE_ROUNDS   11
#define RATE_ADDS     (BATCH * 1600)
#define SINGLE_ROUNDS 21
#define SINGLE_ADDS   500
#define PATIENCE_MS   60000
#define PYTHON_MS     60000
#define NAME          "bench.counter"

/* ---- the atomic way ---- */

static double
rate_of(uint64_t count, uint64_t ns)
{
	return (double)count * 1e9 / (double)ns;
}

static double
rate_bare(_Atomic int64_t *word)
{
	uint64_t begun = clock_now();

	for (unsigned i = 0; i < ATOMIC_ADDS; i++)
		atomic_fetch_add_explicit(word, 1, memory_order_acq_rel);
	return rate_of(ATOMIC_ADDS, clock_now() - begun);
}

static double
rate_atomic(struct pyprep_counter c)
{
	uint64_t begun = clock_now();

	for (unsigned i = 0; i < ATOMIC_ADDS; i++)
		(void)pyprep_counter_add(&c, 1, NULL);
	return rate_of(ATOMIC_ADDS, clock_now() - begun);
}

static int
measure_atomic(const struct bench *bench, struct pyprep_counters *table,
	       struct bench_result *result)
{
	unsigned rounds = bench->quick ? 5 : ATOMIC_ROUNDS;
	double values[ATOMIC_ROUNDS], floors[ATOMIC_ROUNDS];
	_Atomic int64_t *word = floor_share(sizeof *word);
	struct pyprep_counter c;
	struct pyprep_problem why;

	if (word == NULL || pyprep_counter_open(table, NAME, 1, &c, &why) < 0)
		return bench_fail(result, "cannot make a counter");
	for (unsigned i = 0; i < rounds; i++) {
		floors[i] = rate_bare(word);
		values[i] = rate_atomic(c);
	}
	(void)pyprep_counter_remove(table, NAME, &why);
	result->value = result->p50 = bench_median(values, rounds);
	result->floor = bench_median(floors, rounds);
	result->n = (uint64_t)rounds * ATOMIC_ADDS;
	return 0;
}

int
bench_counter_atomic(const struct bench *bench, struct bench_result *result)
{
	const char *params[] = { "adds=100000", "processes=1", NULL };
	struct pyprep_counters *table;
	struct bench_session session;
	struct pyprep_problem why;

	if (session_open(bench, CONFIG_TWO_WORKERS, &session, result) < 0)
		return -1;
	int r = pyprep_counters_attach(session.p, &table, &why);
	if (r < 0) {
		r = bench_fail(result, "%s", why.message);
	} else {
		r = measure_atomic(bench, table, result);
		pyprep_counters_detach(table);
	}
	session_close(&session);
	if (r == 0)
		result->python = cpython_figure("value", params, PYTHON_MS, "rate_per_s");
	return r;
}

/* ---- bare ZeroMQ ---- */

struct echo {
	pid_t pid;
	struct zmq_end *end;
	unsigned char ask[BATCH * (sizeof(struct manager_ask) + sizeof(NAME) + 8)];
	size_t ask_size; /* of one request */
};

#define HEAD sizeof(struct manager_head)

/* For each message, one with as many answers as it had requests. */
static _Noreturn void
be_echo(const char *path, size_t ask_size)
{
	static unsigned char answer[HEAD + BATCH * sizeof(struct manager_answer)];
	struct zmq_end *end;
	struct zmq_message m;

	if (zmq_end_open(ZMQ_END_ROUTER, NULL, &end) < 0 || zmq_end_listen(end, path, -1) < 0)
		_exit(1);
	for (;;) {
		if (zmq_end_wait(end, POLLIN, -1) < 0)
			continue;
		while (zmq_end_recv(end, &m) == 0) {
			size_t count = (m.part[1].iov_len - HEAD) / ask_size;
			struct iovec parts[2] = {
				m.part[0], { answer, HEAD + count * sizeof(struct manager_answer) }
			};
			(void)zmq_end_send(end, parts, 2);
			zmq_message_free(&m);
		}
	}
}

static int
echo_start(const struct bench *bench, struct echo *e, struct bench_result *result)
{
	char path[280];

	e->ask_size = (sizeof(struct manager_ask) + sizeof(NAME) - 1 + 7) / 8 * 8;
	snprintf(path, sizeof path, "%s/echo", bench->directory);
	e->pid = floor_fork(); /* before this process has threads */
	if (e->pid == 0)
		be_echo(path, e->ask_size);
	if (e->pid < 0 || zmq_end_open(ZMQ_END_DEALER, NULL, &e->end) < 0)
		return bench_fail(result, "cannot start a ZeroMQ echo: %s", zmq_problem());
	(void)zmq_end_connect(e->end, path);
	return 0;
}

static void
echo_stop(struct echo *e)
{
	zmq_end_close(e->end);
	if (e->pid > 0)
		floor_kill(e->pid);
}

/* `count` messages of `batch` requests each, `window` at once: ns, or 0. */
static uint64_t
echo_run(struct echo *e, unsigned count, unsigned batch, unsigned window)
{
	struct iovec part = { e->ask, HEAD + batch * e->ask_size };
	uint64_t begun = clock_now();
	struct zmq_message m;

	for (unsigned sent = 0, got = 0; got < count;) {
		if (sent < count && sent - got < window) {
			if (zmq_end_send(e->end, &part, 1) < 0)
				return 0;
			sent++;
		} else if (zmq_end_recv(e->end, &m) == 0) {
			zmq_message_free(&m);
			got++;
		} else if (zmq_end_wait(e->end, POLLIN, PATIENCE_MS) != 1) {
			return 0;
		}
	}
	return clock_now() - begun;
}

/* ---- the manager's way ---- */

/* A daemon, its manager, and a bare echo. */
struct stage {
	struct echo echo;
	struct bench_session session;
	struct pyprep_manager *manager;
};

static int
stage_open(const struct bench *bench, struct stage *s, struct bench_result *result)
{
	struct pyprep_problem why;

	memset(s, 0, sizeof *s);
	if (session_open(bench, CONFIG_TWO_WORKERS, &s->session, result) < 0)
		return -1;
	int r = echo_start(bench, &s->echo, result);
	if (r == 0 &&
	    pyprep_manager_connect(s->session.daemon.pid != 0 ? s->session.daemon.runtime : NULL,
				   &s->manager, &why) < 0)
		r = bench_fail(result, "%s", why.message);
	if (r == 0 && echo_run(&s->echo, 100, 1, 1) == 0)
		r = bench_fail(result, "the ZeroMQ echo does not answer");
	return r;
}

static void
stage_close(struct stage *s)
{
	if (s->manager != NULL)
		(void)pyprep_manager_remove(s->manager, NAME, NULL);
	pyprep_manager_close(s->manager);
	echo_stop(&s->echo);
	session_close(&s->session);
}

/* ns for `count` adds, as many at once as there may be; 0: one failed. */
static uint64_t
add_pipelined(struct pyprep_manager *m, unsigned count)
{
	struct pyprep_ask ask = { .op = PYPREP_ADD, .name = NAME, .value = 1 };
	struct pyprep_answer answer;
	uint64_t begun = clock_now();

	for (unsigned sent = 0, got = 0; got < count;) {
		if (sent < count && pyprep_manager_submit(m, &ask, NULL) == 0) {
			sent++;
			continue;
		}
		if (pyprep_manager_next(m, PATIENCE_MS, &answer, NULL) != 1 || answer.result != 0)
			return 0;
		got++;
	}
	return clock_now() - begun;
}

static int
measure_pipelined(const struct bench *bench, struct stage *s, struct bench_result *result)
{
	unsigned rounds = bench->quick ? 3 : RATE_ROUNDS;
	double values[RATE_ROUNDS], floors[RATE_ROUNDS];

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t bare_ns = echo_run(&s->echo, RATE_ADDS / BATCH, BATCH, WINDOW);
		uint64_t ns = add_pipelined(s->manager, RATE_ADDS);
		if (bare_ns == 0 || ns == 0)
			return bench_fail(result, "no answer within %d ms", PATIENCE_MS);
		floors[i] = rate_of(RATE_ADDS, bare_ns);
		values[i] = rate_of(RATE_ADDS, ns);
	}
	result->value = result->p50 = bench_median(values, rounds);
	result->floor = bench_median(floors, rounds);
	result->n = (uint64_t)rounds * RATE_ADDS;
	return 0;
}

int
bench_counter_pipelined(const struct bench *bench, struct bench_result *result)
{
	const char *params[] = { "adds=2000", "processes=1", NULL };
	struct stage stage;

	int r = stage_open(bench, &stage, result);
	if (r == 0)
		r = measure_pipelined(bench, &stage, result);
	stage_close(&stage);
	if (r == 0)
		result->python = cpython_figure("manager", params, PYTHON_MS, "rate_per_s");
	return r;
}

static int
measure_single(const struct bench *bench, struct stage *s, struct bench_result *result)
{
	unsigned rounds = bench->quick ? 5 : SINGLE_ROUNDS;
	struct samples ours = { 0 }, bare = { 0 };
	int64_t value;

	for (unsigned i = 0; i < rounds; i++) {
		for (unsigned n = 0; n < SINGLE_ADDS; n++) {
			uint64_t ns = echo_run(&s->echo, 1, 1, 1);
			if (ns == 0)
				return bench_fail(result, "the ZeroMQ echo does not answer");
			samples_add(&bare, ns);
		}
		for (unsigned n = 0; n < SINGLE_ADDS; n++) {
			uint64_t begun = clock_now();
			if (pyprep_manager_add(s->manager, NAME, 1, &value, NULL) < 0)
				return bench_fail(result, "an add failed");
			samples_add(&ours, clock_now() - begun);
		}
	}
	bench_percentiles(result, &ours, 1e3);
	result->value = result->p50;
	result->floor = (double)samples_percentile(&bare, 50) / 1e3;
	samples_free(&ours);
	samples_free(&bare);
	return 0;
}

int
bench_counter_single(const struct bench *bench, struct bench_result *result)
{
	const char *params[] = { "mode=get", "rounds=2000", NULL };
	struct stage stage;

	int r = stage_open(bench, &stage, result);
	if (r == 0)
		r = measure_single(bench, &stage, result);
	stage_close(&stage);
	if (r == 0)
		result->python = cpython_figure("manager", params, PYTHON_MS, "p50_ns") / 1e3;
	return r;
}
