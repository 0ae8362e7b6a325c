/* crowd_clients.c - the bad clients of crowd.h, in processes of their own. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/daemon/crowd.h"
#include "tests/daemon/raw.h"

#define PATIENCE_MS  120000
#define FULL_MS      1000 /* nothing was taken for so long: it is full */
#define IN_A_STOPPED 25   /* clients of a process that is stopped */

const char *const crowd_names[CROWD_SORTS] = { "idle", "stalled", "unread", "half" };

/* What a crowd's process works with. */
struct host {
	const struct test_daemon *d;
	unsigned count;
	struct crowd told; /* what the parent is told */
	struct raw **raw;
	struct pyprep **p;
	uint16_t noop, nap, cpu, io;
};

static struct raw *
join(struct host *h)
{
	struct raw *r = raw_open(h->d);

	if (r == NULL)
		_exit(3);
	h->told.connected++;
	h->told.lane_bytes += r->charged;
	return r;
}

static struct pyprep *
dial(struct host *h, const char *lane)
{
	struct pyprep_problem why;
	struct pyprep *p;

	if (pyprep_connect_lane(h->d->runtime, lane, &p, &why) < 0) {
		fprintf(stderr, "crowd: %s: %s\n", lane, why.message);
		_exit(3);
	}
	h->told.connected++;
	return p;
}

/* Most come by shared memory, every eighth by frames, every 40th by ZeroMQ, which has threads. */
static const char *
lane_of(unsigned i)
{
	return i % 40 == 7 ? "zmq" : i % 8 == 3 ? "unix" : "shm";
}

static void
be_idle(struct host *h)
{
	for (unsigned i = 0; i < h->count; i++)
		if (strcmp(lane_of(i), "shm") == 0)
			(void)join(h);
		else
			(void)dial(h, lane_of(i));
}

/* ---- stalled ---- */

/* Submit and read, until stopped. */
static void __attribute__((noreturn)) work(struct host *h, const char *lane, int told)
{
	struct pyprep *p[IN_A_STOPPED];
	struct pyprep_prepared *job[IN_A_STOPPED];
	struct pyprep_job noop = { .kind = "noop", .pool = "cpu", .flags = PYPREP_NO_WAIT };
	struct pyprep_event event;

	for (unsigned i = 0; i < h->count; i++) {
		p[i] = dial(h, lane);
		if (pyprep_prepare(p[i], &noop, &job[i], NULL) < 0)
			_exit(4);
	}
	for (uint64_t n = 0;; n++)
		for (unsigned i = 0; i < h->count; i++) {
			(void)pyprep_submit_prepared(p[i], job[i], NULL, NULL);
			if (pyprep_next(p[i], 0, &event) < 0)
				_exit(5);
			if (n == 20 && i == 0 && write(told, &h->told, sizeof(h->told)) < 0)
				_exit(6);
		}
}

/* A process of `count` clients that is stopped at some moment of its work. */
static void
stop_working(struct host *h, const char *lane, unsigned count)
{
	struct host theirs = { .d = h->d, .count = count };
	struct crowd told;
	int pair[2];

	if (pipe(pair) < 0)
		_exit(7);
	pid_t pid = test_fork();
	if (pid == 0)
		work(&theirs, lane, pair[1]);
	close(pair[1]);
	if (read(pair[0], &told, sizeof(told)) != sizeof(told))
		_exit(8);
	close(pair[0]);
	usleep((unsigned)random() % 2000);
	kill(pid, SIGSTOP);
	h->told.connected += told.connected;
}

/* A submit that is begun and never published: what a client leaves that is stopped in it. */
static void
begin_submit(struct raw *r)
{
	struct submit_body *body = ring_reserve(&r->lane.out, MSG_SUBMIT, sizeof(*body) + 1);

	if (body != NULL)
		body->tag = 1;
}

static void
be_stalled(struct host *h)
{
	unsigned stopped = h->count / 3, silent = (h->count - stopped) / 2, n = 0;

	for (unsigned i = 0; i < stopped; i += IN_A_STOPPED, n++) {
		unsigned some = stopped - i < IN_A_STOPPED ? stopped - i : IN_A_STOPPED;
		const char *lane = n % 3 == 0 ? "shm" : n % 3 == 1 ? "unix" : "zmq";
		stop_working(h, lane, some);
	}
	for (unsigned i = 0; i < silent; i++) {
		int fd = raw_connect(h->d);
		if (fd < 0)
			_exit(9);
		h->told.connected++;
	}
	for (unsigned i = stopped + silent; i < h->count; i++)
		begin_submit(join(h));
}

/* ---- unread ---- */

/* {"verb": "ls", "state": "all", "limit": 65535} */
static const char list_all[] = "\x83\xa4verb\xa2ls\xa5state\xa3"
			       "all"
			       "\xa5limit\xcd\xff\xff";

/* One more of what this client does: was it taken? */
static bool
ask_more(struct host *h, unsigned i, struct pyprep_prepared *const *job)
{
	struct request_body body = { .number = 1 };

	if (h->p[i] != NULL)
		return pyprep_submit_prepared(h->p[i], job[i], NULL, NULL) == 0;
	switch (i % 4) {
	case 0: /* a job that is refused: it has a receipt all the same */
		return raw_submit(h->raw[i], 1, 9999, 0, "\x80", 1) == 0;
	case 1:
		return frame_send(h->raw[i]->fd, MSG_REQUEST, &body, list_all, sizeof(list_all) - 1,
				  NULL, 0) == 0;
	default:
		return raw_submit(h->raw[i], 1, h->noop, h->cpu, "\x80", 1) == 0;
	}
}

static void
be_unread(struct host *h)
{
	struct pyprep_job noop = { .kind = "noop", .pool = "cpu", .flags = PYPREP_NO_WAIT };
	struct pyprep_prepared **job = calloc(h->count, sizeof(struct pyprep_prepared *));

	for (unsigned i = 0; i < h->count; i++) {
		if (strcmp(lane_of(i), "shm") == 0) {
			h->raw[i] = join(h);
			raw_resolve(h->raw[i], "noop", "cpu", &h->noop, &h->cpu);
			continue;
		}
		h->p[i] = dial(h, lane_of(i));
		if (pyprep_prepare(h->p[i], &noop, &job[i], NULL) < 0)
			_exit(4);
	}
	/* One after the other is full: what they all want at once would be a load, not a crowd. */
	uint64_t taken_ms = test_now_ms();
	while (test_now_ms() - taken_ms < FULL_MS) {
		bool any = false;
		for (unsigned i = 0; i < h->count; i++)
			for (unsigned k = 0; k < 256 && ask_more(h, i, job); k++)
				any = true;
		if (any)
			taken_ms = test_now_ms();
		else
			test_pause();
	}
}

/* ---- half ---- */

/* It has jobs that run and jobs that wait, and closes its half: nobody hears the receipts. */
static void
close_half(struct host *h, struct raw *r)
{
	raw_resolve(r, "sleep", "io", &h->nap, &h->io);
	raw_resolve(r, "noop", "cpu", &h->noop, &h->cpu);
	raw_submit(r, 1, h->nap, h->io, "\x81\xa2ms\xcd\xea\x60", 7); /* {"ms": 60000} */
	raw_submit(r, 2, h->noop, h->cpu, "\x80", 1);
	shutdown(r->fd, SHUT_WR);
}

/* Killed between submit and receipt. */
static void
die_working(struct host *h, unsigned count)
{
	struct host theirs = { .d = h->d, .count = count };
	struct crowd told;
	int pair[2];

	if (pipe(pair) < 0)
		_exit(7);
	pid_t pid = test_fork();
	if (pid == 0)
		work(&theirs, "shm", pair[1]);
	close(pair[1]);
	if (read(pair[0], &told, sizeof(told)) != sizeof(told))
		_exit(8);
	close(pair[0]);
	usleep((unsigned)random() % 2000);
	kill_and_wait(pid, SIGKILL);
	h->told.connected += told.connected;
}

static void
be_half(struct host *h)
{
	unsigned killed = h->count / 2;

	for (unsigned i = 0; i < killed; i += IN_A_STOPPED)
		die_working(h, killed - i < IN_A_STOPPED ? killed - i : IN_A_STOPPED);
	for (unsigned i = killed; i < h->count; i++)
		close_half(h, join(h));
}

static void __attribute__((noreturn)) come_and_go(struct host *h)
{
	for (unsigned n = 0;; n++) {
		struct raw *r = raw_open(h->d);
		if (r == NULL)
			_exit(3);
		close_half(h, r);
		raw_close(r);
		usleep(2000); /* some hundred a second: a crowd, not a load */
	}
}

/* ---- processes ---- */

static void (*const roles[CROWD_SORTS])(struct host *) = {
	[CROWD_IDLE] = be_idle,
	[CROWD_STALLED] = be_stalled,
	[CROWD_UNREAD] = be_unread,
	[CROWD_HALF] = be_half,
};

static void __attribute__((noreturn)) host_main(const struct test_daemon *d, enum crowd_sort sort,
						unsigned count, unsigned seed, int told)
{
	struct host h = { .d = d, .count = count };
	struct rlimit limit;

	/* A connection that we hold a copy of does not end with its owner. */
	close_range(3, (unsigned)told - 1, 0);
	close_range((unsigned)told + 1, ~0u, 0);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	srandom(seed);
	h.raw = calloc(count, sizeof(struct raw *));
	h.p = calloc(count, sizeof(struct pyprep *));
	if (sort == CROWD_SORTS) {
		if (write(told, &h.told, sizeof(h.told)) < 0)
			_exit(6);
		come_and_go(&h);
	}
	roles[sort](&h);
	if (write(told, &h.told, sizeof(h.told)) < 0)
		_exit(6);
	for (;;)
		pause();
}

static bool
begin(const struct test_daemon *d, enum crowd_sort sort, unsigned count, unsigned seed,
      struct crowd *ret)
{
	int pair[2];

	if (pipe(pair) < 0)
		return false;
	pid_t pid = test_fork();
	if (pid == 0) {
		close(pair[0]);
		host_main(d, sort, count, seed, pair[1]);
	}
	close(pair[1]);
	struct pollfd polled = { .fd = pair[0], .events = POLLIN };
	bool there = poll(&polled, 1, PATIENCE_MS) == 1 &&
		     read(pair[0], ret, sizeof(*ret)) == sizeof(*ret);
	close(pair[0]);
	ret->pid = pid;
	return there;
}

bool
crowd_begin(const struct test_daemon *d, enum crowd_sort sort, unsigned count, unsigned seed,
	    struct crowd *ret)
{
	return begin(d, sort, count, seed, ret);
}

bool
crowd_churn(const struct test_daemon *d, unsigned seed, struct crowd *ret)
{
	return begin(d, CROWD_SORTS, 0, seed, ret);
}

/* What it has stopped dies with it (test_fork). */
void
crowd_end(struct crowd *c)
{
	if (c->pid > 0)
		kill_and_wait(c->pid, SIGKILL);
	*c = (struct crowd){ 0 };
}
