/* compare_pipe.c - compare pipe: ipc/pipe.h beside multiprocessing.Pipe. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/compare.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"
#include "ipc/pipe.h"

#define WARM 200

struct pipe_way {
	size_t bytes;
	uint64_t messages;
	bool one_way;
	/* of a turn */
	struct pipe_end ends[2];
	uint64_t *times_ns; /* shared: the first member's round trips */
};

static int
round_trips(struct pipe_way *w, struct pipe_end *end, char *buffer)
{
	size_t length;

	for (uint64_t i = 0; i < WARM + w->messages; i++) {
		uint64_t begun = clock_now();
		if (pipe_send(end, buffer, w->bytes, -1) < 0 ||
		    pipe_recv(end, buffer, w->bytes, &length, -1) < 0 || length != w->bytes)
			return 1;
		if (i >= WARM)
			w->times_ns[i - WARM] = clock_now() - begun;
	}
	return 0;
}

static int
echo(struct pipe_way *w, struct pipe_end *end, char *buffer)
{
	size_t length;

	for (uint64_t i = 0; i < WARM + w->messages; i++)
		if (pipe_recv(end, buffer, w->bytes, &length, -1) < 0 ||
		    pipe_send(end, buffer, length, -1) < 0)
			return 1;
	return 0;
}

static int
write_all(struct pipe_way *w, struct pipe_end *end, char *buffer)
{
	for (uint64_t i = 0; i < w->messages; i++)
		if (pipe_send(end, buffer, w->bytes, -1) < 0)
			return 1;
	return 0;
}

static int
read_all(struct pipe_way *w, struct pipe_end *end, char *buffer)
{
	size_t length;

	for (uint64_t i = 0; i < w->messages; i++)
		if (pipe_recv(end, buffer, w->bytes, &length, -1) < 0 || length != w->bytes)
			return 1;
	return 0;
}

static int
member(void *context, unsigned index)
{
	struct pipe_way *w = context;
	struct pipe_end *end = &w->ends[index];
	char *buffer = ctl_alloc(1, w->bytes);

	pipe_close(&w->ends[1 - index]);
	int status = w->one_way ? (index == 0 ? write_all : read_all)(w, end, buffer)
				: (index == 0 ? round_trips : echo)(w, end, buffer);
	free(buffer);
	return status;
}

static int
measure_pipe(struct compare *c, struct way *way, double *ret)
{
	struct pipe_way *w = way->context;
	struct together t;

	(void)c;
	int r = pipe_create(&w->ends[0], &w->ends[1]);
	if (r < 0)
		return way_problem(way, "cannot make a pipe: %s", strerror(-r));
	r = together_run(way, 2, NULL, member, w, &t);
	pipe_close(&w->ends[0]);
	pipe_close(&w->ends[1]);
	if (r < 0)
		return r;
	way->cpu_s = t.cpu_s;
	*ret = w->one_way ? (double)w->messages / t.seconds : compare_p50(w->times_ns, w->messages);
	return 0;
}

static int
run_work(struct compare *c, const char *name, struct pipe_way *w)
{
	const char *mode = w->one_way ? "rate" : "roundtrip";
	const char *figure = w->one_way ? "rate_per_s" : "p50_ns";
	struct work work;

	work_begin(&work, "pipe", name, w->one_way ? UNIT_PER_S : UNIT_NS,
		   "%" PRIu64 " %s of %zu bytes", w->messages,
		   w->one_way ? "messages one way" : "round trips (median)", w->bytes);
	w->times_ns = floor_share(w->messages * sizeof *w->times_ns);
	if (!w->times_ns)
		return ctl_fail(EXIT_OURS, "internal", "no memory");
	const char *params = "mode=%s bytes=%zu messages=%" PRIu64 " how=%s";
	const struct way *ours = work_ours(&work, "pipe_send, pipe_recv", 2, measure_pipe, w);
	const struct way *bytes = work_python(&work, "send_bytes, recv_bytes", 2, ours, "pipe",
					      figure, params, mode, w->bytes, w->messages, "bytes");
	work_python(&work, "send, recv (pickled)", 2, ours, "pipe", figure, params, mode, w->bytes,
		    w->messages, "object");
	int status = work_run(c, &work);
	compare_say_ratio(c, &work, bytes);
	work_end(&work);
	return status;
}

int
compare_pipe(struct compare *c, struct pyprep *p)
{
	unsigned less = c->quick ? 10 : 1;
	struct pipe_way echo_64 = { .bytes = 64, .messages = 10000 / less };
	struct pipe_way flood_64 = { .bytes = 64, .messages = 100000 / less, .one_way = true };
	struct pipe_way flood_1m = { .bytes = 1 << 20, .messages = 500 / less, .one_way = true };

	(void)p;
	int status = run_work(c, "round trip", &echo_64);
	if (status == 0)
		status = run_work(c, "one way", &flood_64);
	if (status == 0)
		status = run_work(c, "large, one way", &flood_1m);
	return status;
}
