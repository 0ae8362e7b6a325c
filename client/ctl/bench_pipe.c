/* bench_pipe.c - rows of the pipe and of the lock. */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/cpython.h"
#include "client/ctl/floor.h"
#include "ipc/clock.h"
#include "ipc/pipe.h"
#include "shm/lock.h"

#define FRAME     64
#define TURNS     201
#define TRIPS     500  /* a turn */
#define PAIRS     5000 /* a turn */
#define PYTHON_MS 60000

/* ---- round trips ---- */

/* Both pairs, and one process behind both that sends back, so that the scheduler places them
 * alike: it and we take the same turns. */
struct trips {
	struct pipe_end ours, theirs;
	int sockets[2];
	pid_t pid;
};

/* The same policy, on a bare socket of the same type. */
static ssize_t
bare_recv(int fd, char *frame)
{
	for (;;) {
		for (unsigned i = 0; i < WAKE_LOOKS; i++) {
			ssize_t n = recv(fd, frame, FRAME, MSG_DONTWAIT);
			if (n >= 0 || errno != EAGAIN)
				return n;
			if (!yield_cheaply())
				break;
		}
		struct pollfd polled = { .fd = fd, .events = POLLIN };
		poll(&polled, 1, -1);
	}
}

static int
echo_turn(struct trips *t)
{
	char frame[FRAME];
	size_t bytes;

	for (unsigned i = 0; i < TRIPS; i++)
		if (bare_recv(t->sockets[1], frame) != FRAME ||
		    send(t->sockets[1], frame, FRAME, MSG_NOSIGNAL) != FRAME)
			return -EPIPE;
	for (unsigned i = 0; i < TRIPS; i++)
		if (pipe_recv(&t->theirs, frame, sizeof frame, &bytes, -1) < 0 ||
		    pipe_send(&t->theirs, frame, bytes, -1) < 0)
			return -EPIPE;
	return 0;
}

static int
trips_begin(struct trips *t, struct bench_result *result)
{
	int r = pipe_create(&t->ours, &t->theirs);

	if (r < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, t->sockets) < 0)
		return bench_fail(result, "no pipe: %s", strerror(r < 0 ? -r : errno));
	t->pid = floor_fork();
	if (t->pid == 0) {
		pipe_close(&t->ours);
		close(t->sockets[0]);
		while (echo_turn(t) == 0)
			;
		_exit(0);
	}
	pipe_close(&t->theirs);
	close(t->sockets[1]);
	return t->pid < 0 ? bench_fail(result, "cannot fork") : 0;
}

static void
trips_end(struct trips *t)
{
	floor_kill(t->pid);
	pipe_close(&t->ours);
	close(t->sockets[0]);
}

static int
pipe_turn(struct trips *t, struct samples *ret)
{
	char frame[FRAME] = "";
	size_t bytes;

	for (unsigned i = 0; i < TRIPS; i++) {
		uint64_t begun = clock_now();
		int r = pipe_send(&t->ours, frame, FRAME, -1);
		if (r == 0)
			r = pipe_recv(&t->ours, frame, FRAME, &bytes, -1);
		if (r < 0)
			return r;
		samples_add(ret, clock_now() - begun);
	}
	return 0;
}

static int
socket_turn(struct trips *t, struct samples *ret)
{
	char frame[FRAME] = "";

	for (unsigned i = 0; i < TRIPS; i++) {
		uint64_t begun = clock_now();
		if (send(t->sockets[0], frame, FRAME, MSG_NOSIGNAL) != FRAME ||
		    bare_recv(t->sockets[0], frame) != FRAME)
			return -EPIPE;
		samples_add(ret, clock_now() - begun);
	}
	return 0;
}

int
bench_pipe_rtt(const struct bench *bench, struct bench_result *result)
{
	const char *python[] = { "mode=roundtrip", "bytes=64",
				 bench->quick ? "messages=2000" : "messages=10000", NULL };
	struct samples ours = { 0 }, bare = { 0 }, warm = { 0 };
	struct trips t;

	if (trips_begin(&t, result) < 0)
		return -1;
	int r = socket_turn(&t, &warm);
	if (r == 0)
		r = pipe_turn(&t, &warm);
	for (unsigned i = 0; i < (bench->quick ? 35 : TURNS) && r == 0; i++) {
		r = socket_turn(&t, &bare);
		if (r == 0)
			r = pipe_turn(&t, &ours);
	}
	trips_end(&t);
	if (r == 0) {
		bench_percentiles(result, &ours, 1);
		result->value = result->p50;
		result->floor = (double)samples_percentile(&bare, 50);
		result->python = cpython_figure("pipe", python, PYTHON_MS, "p50_ns");
	}
	samples_free(&ours);
	samples_free(&bare);
	samples_free(&warm);
	return r < 0 ? bench_fail(result, "a round trip failed: %s", strerror(-r)) : 0;
}

/* ---- a lock with nobody else ---- */

struct lock_memory {
	struct lock lock;
	_Alignas(64) _Atomic uint32_t word;
};

/* ns of a pair. */
static double
lock_turn(struct lock_memory *m)
{
	uint64_t begun = clock_now();

	for (unsigned i = 0; i < PAIRS; i++) {
		(void)lock_take(&m->lock, -1);
		(void)lock_release(&m->lock);
	}
	return (double)(clock_now() - begun) / PAIRS;
}

static double
word_turn(struct lock_memory *m)
{
	uint64_t begun = clock_now();

	for (unsigned i = 0; i < PAIRS; i++) {
		uint32_t nobody = 0;
		while (!atomic_compare_exchange_strong(&m->word, &nobody, 1))
			nobody = 0;
		atomic_exchange(&m->word, 0); /* an unlock has to see who sleeps */
	}
	return (double)(clock_now() - begun) / PAIRS;
}

int
bench_lock_pair(const struct bench *bench, struct bench_result *result)
{
	const char *python[] = { "mode=free", NULL };
	struct lock_memory *m = floor_share(sizeof *m);
	unsigned turns = bench->quick ? 35 : TURNS;
	double values[TURNS], floors[TURNS];

	if (m == NULL || lock_init(&m->lock) < 0)
		return bench_fail(result, "no lock");
	(void)lock_turn(m);
	for (unsigned i = 0; i < turns; i++) {
		floors[i] = word_turn(m);
		values[i] = lock_turn(m);
	}
	result->value = result->p50 = bench_median(values, turns);
	result->floor = bench_median(floors, turns);
	result->n = (uint64_t)turns * PAIRS;
	result->python = cpython_figure("locks", python, PYTHON_MS, "p50_ns");
	return 0;
}
