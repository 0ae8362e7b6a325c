/* compare_queue.c - compare queue: ipc/queue.h beside multiprocessing's Queue and SimpleQueue. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "client/ctl/command.h"
#include "client/ctl/compare.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"
#include "ipc/queue.h"

#define BYTES     64
#define CAPACITY  1024 /* as many as fit the pipe below CPython's queues */
#define WARM      100
#define QUEUES    2
#define ROUNDTRIP 0

struct queue_way {
	unsigned each;      /* producers, and consumers; ROUNDTRIP: there and back */
	uint64_t messages;  /* in all */
	uint64_t *times_ns; /* shared: the first member's round trips */
	/* of a turn */
	struct queue *queues[QUEUES];
};

static const struct queue_options queue_options = { .capacity = CAPACITY, .message_max = BYTES };

/* ---- what the members do ---- */

static int
put(struct queue *q)
{
	static const char message[BYTES];
	return queue_put(q, message, BYTES, QUEUE_FOREVER);
}

static int
get(struct queue *q)
{
	char message[BYTES];
	uint32_t length;

	int r = queue_get(q, message, BYTES, &length, QUEUE_FOREVER);
	return r == 0 && length != BYTES ? -EPROTO : r;
}

/* Each consumer takes its share, as in CPython. */
static int
flood_member(void *context, unsigned index)
{
	struct queue_way *w = context;
	int (*step)(struct queue * q) = index < w->each ? put : get;

	for (uint64_t i = 0; i < w->messages / w->each; i++)
		if (step(w->queues[0]) < 0)
			return 1;
	return 0;
}

static int
trip_member(void *context, unsigned index)
{
	struct queue_way *w = context;

	for (uint64_t i = 0; i < WARM + w->messages; i++) {
		uint64_t begun = clock_now();
		int first = index == 0 ? put(w->queues[0]) : get(w->queues[0]);
		if (first < 0 || (index == 0 ? get(w->queues[1]) : put(w->queues[1])) < 0)
			return 1;
		if (index == 0 && i >= WARM)
			w->times_ns[i - WARM] = clock_now() - begun;
	}
	return 0;
}

/* ---- a turn ---- */

static int
open_queue(void *memory, size_t bytes, struct queue **ret)
{
	int r = queue_init(memory, bytes, &queue_options);
	return r < 0 ? r : queue_attach(memory, bytes, ret);
}

static int
measure_opened(struct way *way, double *ret)
{
	struct queue_way *w = way->context;
	struct together t;

	int r = w->each == ROUNDTRIP ? together_run(way, 2, NULL, trip_member, w, &t)
				     : together_run(way, 2 * w->each, NULL, flood_member, w, &t);
	if (r < 0)
		return r;
	way->cpu_s = t.cpu_s;
	*ret = w->each == ROUNDTRIP ? compare_p50(w->times_ns, w->messages)
				    : (double)w->messages / t.seconds;
	return 0;
}

static int
measure_queue(struct compare *c, struct way *way, double *ret)
{
	struct queue_way *w = way->context;
	size_t bytes = queue_footprint(&queue_options);
	void *memory[QUEUES] = { 0 };
	int r = 0;

	(void)c;
	for (int i = 0; i < QUEUES && r == 0; i++) {
		memory[i] = floor_share(bytes);
		r = memory[i] ? open_queue(memory[i], bytes, &w->queues[i]) : -ENOMEM;
	}
	r = r < 0 ? way_problem(way, "cannot make a queue: %s", strerror(-r))
		  : measure_opened(way, ret);
	for (int i = 0; i < QUEUES; i++) {
		w->queues[i] = queue_detach(w->queues[i]);
		if (memory[i])
			munmap(memory[i], bytes);
	}
	return r;
}

/* ---- the works ---- */

static void
add_python(struct work *work, const struct queue_way *w, const struct way *ours)
{
	static const char *const kinds[] = { "Queue", "SimpleQueue" };

	for (int i = 0; i < 2; i++) {
		/* SimpleQueue has no bound but its pipe's */
		unsigned bound = i == 0 ? CAPACITY : 0;
		if (w->each == ROUNDTRIP)
			work_python(work, kinds[i], 2, ours, "queue", "p50_ns",
				    "mode=roundtrip kind=%s bytes=%d messages=%" PRIu64, kinds[i],
				    BYTES, w->messages);
		else
			work_python(work, kinds[i], 2 * w->each, ours, "queue", "rate_per_s",
				    "kind=%s bytes=%d messages=%" PRIu64
				    " producers=%u consumers=%u maxsize=%u",
				    kinds[i], BYTES, w->messages, w->each, w->each, bound);
	}
}

static int
run_work(struct compare *c, const char *name, struct queue_way *w)
{
	struct work work;

	if (w->each == ROUNDTRIP)
		work_begin(&work, "queue", name, UNIT_NS,
			   "%" PRIu64 " messages of %d bytes there and back (median)", w->messages,
			   BYTES);
	else
		work_begin(&work, "queue", name, UNIT_PER_S,
			   "%" PRIu64 " messages of %d bytes, %u to %u processes, bound %d",
			   w->messages, BYTES, w->each, w->each, CAPACITY);
	const struct way *ours =
		work_ours(&work, "queue_put, queue_get", w->each == ROUNDTRIP ? 2 : 2 * w->each,
			  measure_queue, w);
	add_python(&work, w, ours);
	int status = work_run(c, &work);
	for (unsigned i = 1; i < work.count; i++)
		compare_say_ratio(c, &work, &work.ways[i]);
	work_end(&work);
	return status;
}

int
compare_queue(struct compare *c, struct pyprep *p)
{
	unsigned less = c->quick ? 10 : 1;
	struct queue_way one = { .each = 1, .messages = 100000 / less };
	struct queue_way two = { .each = 2, .messages = 100000 / less };
	struct queue_way trip = { .each = ROUNDTRIP, .messages = 5000 / less };

	(void)p;
	trip.times_ns = floor_share(trip.messages * sizeof *trip.times_ns);
	if (!trip.times_ns)
		return ctl_fail(EXIT_OURS, "internal", "no memory");
	int status = run_work(c, "one to one", &one);
	if (status == 0)
		status = run_work(c, "two to two", &two);
	if (status == 0)
		status = run_work(c, "round trip", &trip);
	return status;
}
