/* explain_pass.c - queue-vs-pipe, and batching. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/explain.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"
#include "ipc/pipe.h"
#include "ipc/queue.h"

#define BYTES    64u
#define CAPACITY 1024u

/* One run: a producer or two, consumers as many, over a queue or a pipe. */
struct pass {
	bool pipe;
	unsigned pairs;
	unsigned batch;    /* of BYTES, sent as one message */
	uint64_t messages; /* of each producer */
	struct queue *queue;
	struct pipe_end ends[2];
};

static int
produce(void *context)
{
	struct pass *p = context;
	char message[BYTES * 64] = { 0 };

	if (p->pipe)
		pipe_close(&p->ends[1]);
	for (uint64_t i = 0; i < p->messages; i += p->batch) {
		int r = p->pipe ? pipe_send(&p->ends[0], message, BYTES * p->batch, -1)
				: queue_put(p->queue, message, BYTES * p->batch, QUEUE_FOREVER);
		if (r < 0)
			return 1;
	}
	return 0;
}

static int
consume(void *context)
{
	struct pass *p = context;
	char message[BYTES * 64];
	uint32_t length;
	size_t bytes;

	if (p->pipe)
		pipe_close(&p->ends[0]);
	for (uint64_t i = 0; i < p->messages; i += p->batch) {
		int r = p->pipe ? pipe_recv(&p->ends[1], message, sizeof message, &bytes, -1)
				: queue_get(p->queue, message, sizeof message, &length,
					    QUEUE_FOREVER);
		if (r < 0)
			return 1;
	}
	return 0;
}

static int
open_way(struct demo *d, struct pass *p, char *name)
{
	struct queue_options options = { .capacity = CAPACITY, .message_max = BYTES * 64 };

	if (p->pipe)
		return pipe_create(&p->ends[0], &p->ends[1]);
	demo_name(d, "pass", name);
	return queue_create(name, &options, &p->queue);
}

/* Messages of 64 bytes each second; NAN: it failed. */
static double
rate(struct demo *d, bool pipe, unsigned pairs, unsigned batch, uint64_t messages)
{
	struct pass p = {
		.pipe = pipe, .pairs = pairs, .batch = batch, .messages = messages / pairs
	};
	char name[NAMED_MAX + 1];
	pid_t pids[8];
	bool failed = false;

	p.messages -= p.messages % batch;
	if (open_way(d, &p, name) < 0)
		return NAN;
	uint64_t begun = clock_now();
	for (unsigned i = 0; i < 2 * pairs; i++)
		pids[i] = demo_actor(d, i % 2 == 0 ? produce : consume, &p);
	if (pipe) {
		pipe_close(&p.ends[0]);
		pipe_close(&p.ends[1]);
	}
	for (unsigned i = 0; i < 2 * pairs; i++)
		failed |= demo_wait(d, pids[i], 60000) != 0;
	double seconds = (double)(clock_now() - begun) / (double)NS_PER_S;
	if (!pipe) {
		queue_detach(p.queue);
		(void)queue_unlink(name);
	}
	return failed ? NAN : (double)(p.messages * pairs) / seconds;
}

static double
python_rate(struct demo *d, const char *topic, const char *mode, const char *figure)
{
	json_t *answer = demo_python(d, topic, (const char *const[]){ mode, "bytes=64", NULL });
	double value = demo_number(answer, figure);

	json_decref(answer);
	return value;
}

/* ---- a round trip over two queues ---- */

struct echo {
	struct queue *there, *back;
	unsigned rounds;
};

static int
echo(void *context)
{
	struct echo *e = context;
	char message[BYTES];
	uint32_t length;

	for (unsigned i = 0; i < e->rounds; i++)
		if (queue_get(e->there, message, BYTES, &length, QUEUE_FOREVER) < 0 ||
		    queue_put(e->back, message, length, QUEUE_FOREVER) < 0)
			return 1;
	return 0;
}

static int
echo_pipe(void *context)
{
	struct pipe_end *ends = context;
	char message[BYTES];
	size_t bytes;

	pipe_close(&ends[0]);
	while (pipe_recv(&ends[1], message, BYTES, &bytes, -1) == 0)
		if (pipe_send(&ends[1], message, bytes, -1) < 0)
			return 1;
	return 0;
}

static double
p50_of(struct samples *samples)
{
	double p50 = (double)samples_percentile(samples, 50);
	samples_free(samples);
	return p50;
}

static double
queue_trip_ns(struct demo *d, unsigned rounds)
{
	struct queue_options options = { .capacity = 8, .message_max = BYTES };
	struct echo e = { .rounds = rounds };
	struct samples samples = { 0 };
	char there[NAMED_MAX + 1], back[NAMED_MAX + 1], message[BYTES] = { 0 };
	uint32_t length;

	demo_name(d, "there", there);
	demo_name(d, "back", back);
	if (queue_create(there, &options, &e.there) < 0)
		return NAN;
	if (queue_create(back, &options, &e.back) == 0) {
		pid_t pid = demo_actor(d, echo, &e);
		for (unsigned i = 0; i < rounds; i++) {
			uint64_t begun = clock_now();
			if (queue_put(e.there, message, BYTES, QUEUE_FOREVER) < 0 ||
			    queue_get(e.back, message, BYTES, &length, QUEUE_FOREVER) < 0)
				break;
			samples_add(&samples, clock_now() - begun);
		}
		demo_kill(d, pid);
		queue_detach(e.back);
		(void)queue_unlink(back);
	}
	queue_detach(e.there);
	(void)queue_unlink(there);
	return p50_of(&samples);
}

static double
pipe_trip_ns(struct demo *d, unsigned rounds)
{
	struct samples samples = { 0 };
	char message[BYTES] = { 0 };
	struct pipe_end ends[2];
	size_t bytes;

	if (pipe_create(&ends[0], &ends[1]) < 0)
		return NAN;
	pid_t pid = demo_actor(d, echo_pipe, ends);
	pipe_close(&ends[1]);
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t begun = clock_now();
		if (pipe_send(&ends[0], message, BYTES, -1) < 0 ||
		    pipe_recv(&ends[0], message, BYTES, &bytes, -1) < 0)
			break;
		samples_add(&samples, clock_now() - begun);
	}
	pipe_close(&ends[0]);
	demo_kill(d, pid);
	return p50_of(&samples);
}

int
explain_queue(struct demo *d)
{
	uint64_t messages = demo_quick(d) ? 200000 : 2000000;
	unsigned rounds = demo_quick(d) ? 2000 : 20000;

	double queue = rate(d, false, 1, 1, messages), pipe = rate(d, true, 1, 1, messages / 4);
	double queue_two = rate(d, false, 2, 1, messages);
	double queue_trip = queue_trip_ns(d, rounds), pipe_trip = pipe_trip_ns(d, rounds);
	if (isnan(queue) || isnan(pipe) || isnan(queue_two))
		return demo_fail(d, "the messages did not all arrive");
	demo_figure(d, "queue_rate", queue, "/s", "messages of 64 bytes through a queue");
	demo_python_figure(d, "queue_rate", python_rate(d, "queue", "mode=rate", "rate_per_s"));
	demo_figure(d, "pipe_rate", pipe, "/s", "... through a pipe");
	demo_python_figure(d, "pipe_rate", python_rate(d, "pipe", "mode=rate", "rate_per_s"));
	demo_figure(d, "queue_two_rate", queue_two, "/s",
		    "... through a queue, 2 producers, 2 consumers");
	demo_figure(d, "queue_trip_ns", queue_trip, "ns", "there and back by two queues (p50)");
	demo_python_figure(d, "queue_trip_ns", python_rate(d, "queue", "mode=roundtrip", "p50_ns"));
	demo_figure(d, "pipe_trip_ns", pipe_trip, "ns", "there and back by a pipe (p50)");
	demo_python_figure(d, "pipe_trip_ns", python_rate(d, "pipe", "mode=roundtrip", "p50_ns"));
	demo_conclude(
		d,
		"One way the queue moved %s as many messages as the pipe: it copies in shared "
		"memory and calls the kernel only to sleep or wake; a pipe calls it for each.",
		measure_times(queue / pipe));
	demo_conclude(d,
		      "A queue is for many to many, with a bound that holds producers back. A pipe "
		      "joins two, carries descriptors and large frames, and ends when the other "
		      "side dies: a queue goes on for the rest. There and back: %s and %s.",
		      measure_ns(queue_trip), measure_ns(pipe_trip));
	return 0;
}

/* ---- batching ---- */

int
explain_batching(struct demo *d)
{
	uint64_t messages = demo_quick(d) ? 200000 : 1000000;
	double queue = rate(d, false, 1, 1, messages),
	       queue_64 = rate(d, false, 1, 64, 8 * messages);
	double pipe = rate(d, true, 1, 1, messages / 2),
	       pipe_64 = rate(d, true, 1, 64, 8 * messages);

	if (isnan(queue) || isnan(queue_64) || isnan(pipe) || isnan(pipe_64))
		return demo_fail(d, "the messages did not all arrive");
	json_t *python = demo_python(d, "batching", NULL);
	demo_figure(d, "pipe_one_rate", pipe, "/s", "64 bytes a frame through a pipe");
	demo_figure(d, "pipe_64_rate", pipe_64, "/s", "64 of them in each frame");
	demo_figure(d, "queue_one_rate", queue, "/s", "64 bytes a message through a queue");
	demo_figure(d, "queue_64_rate", queue_64, "/s", "64 of them in each message");
	double one = demo_number(python, "one_by_one_per_s");
	double many = demo_number(python, "batched_per_s");
	json_decref(python);
	demo_figure(d, "gain_pipe", pipe_64 / pipe, "x", "gain by the pipe");
	demo_figure(d, "gain_queue", queue_64 / queue, "x", "gain by the queue");
	demo_conclude(
		d,
		"64 at once move %s as many through a pipe, where each frame is two system "
		"calls, and %s as many through a queue in shared memory: what is saved is the "
		"price of a message, not of its bytes.",
		measure_times(pipe_64 / pipe), measure_times(queue_64 / queue));
	if (!isnan(one))
		demo_conclude(
			d,
			"CPython's Pool.map gained %s by chunksize=64 (%s and %s items a second).",
			measure_times(many / one), measure_count((uint64_t)one),
			measure_count((uint64_t)many));
	demo_conclude(d, "The price: the first of 64 waits for the last. Batch where throughput "
			 "counts, send at once where somebody waits.");
	return 0;
}
