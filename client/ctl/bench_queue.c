/*
 * bench_queue.c - rows of the queue: messages of 64 bytes from one process to one, and from two
 * to two.
 *
 * The floor is a bare bounded ring (Vyukov's, as in the queue) in the same memory, with the same
 * look-and-yield: no deaths, no sleep, no close, no counts.  Each round forks its processes anew
 * and measures from their common start until the last one is through.
 */
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/cpython.h"
#include "client/ctl/floor.h"
#include "ipc/clock.h"
#include "ipc/queue.h"

#define BYTES      64u
#define CAPACITY   1024u
#define ROUNDS     9
#define PYTHON_MS  60000
#define PATIENCE_S 30

struct bare_slot {
	_Alignas(RING_LINE) _Atomic uint64_t sequence;
	unsigned char data[BYTES];
};

struct bare_ring {
	_Alignas(RING_LINE) _Atomic uint64_t tail;
	_Alignas(RING_LINE) _Atomic uint64_t head;
	struct bare_slot slots[CAPACITY];
};

/* One round, in memory that its processes share. */
struct flood {
	_Atomic unsigned ready, through, wrong;
	_Atomic bool go;
	unsigned each;          /* producers, and consumers */
	uint64_t messages;      /* of each */
	struct bare_ring *bare; /* or, NULL: */
	void *memory;
	size_t bytes;
};

/* ---- the floor ---- */

/* Claim a place at `end` when its slot's sequence has come to that place plus `offset`. */
static uint64_t
bare_claim(struct bare_ring *r, _Atomic uint64_t *end, uint64_t offset)
{
	uint64_t p = atomic_load_explicit(end, memory_order_relaxed);

	for (;;) {
		_Atomic uint64_t *sequence = &r->slots[p % CAPACITY].sequence;
		int64_t ahead = (int64_t)(atomic_load_explicit(sequence, memory_order_acquire) - p -
					  offset);
		if (ahead == 0 &&
		    atomic_compare_exchange_weak_explicit(end, &p, p + 1, memory_order_relaxed,
							  memory_order_relaxed))
			return p;
		if (ahead < 0)
			sched_yield();
		if (ahead != 0)
			p = atomic_load_explicit(end, memory_order_relaxed);
	}
}

static void
bare_put(struct bare_ring *r, const void *message)
{
	uint64_t p = bare_claim(r, &r->tail, 0);
	struct bare_slot *slot = &r->slots[p % CAPACITY];

	memcpy(slot->data, message, BYTES);
	atomic_store_explicit(&slot->sequence, p + 1, memory_order_release);
}

static void
bare_get(struct bare_ring *r, void *message)
{
	uint64_t p = bare_claim(r, &r->head, 1);
	struct bare_slot *slot = &r->slots[p % CAPACITY];

	memcpy(message, slot->data, BYTES);
	atomic_store_explicit(&slot->sequence, p + CAPACITY, memory_order_release);
}

static void
bare_begin(struct bare_ring *r)
{
	memset(r, 0, sizeof *r);
	for (uint64_t i = 0; i < CAPACITY; i++)
		atomic_init(&r->slots[i].sequence, i);
}

/* ---- a round ---- */

static int
put_or_get(struct flood *f, struct queue *q, bool put, unsigned char *message)
{
	uint32_t length = BYTES;

	if (f->bare) {
		if (put)
			bare_put(f->bare, message);
		else
			bare_get(f->bare, message);
		return 0;
	}
	return put ? queue_put(q, message, BYTES, QUEUE_FOREVER)
		   : queue_get(q, message, BYTES, &length, QUEUE_FOREVER);
}

static _Noreturn void
be_member(struct flood *f, unsigned index)
{
	unsigned char message[BYTES] = { 0 };
	struct queue *q = NULL;
	int r = f->bare ? 0 : queue_attach(f->memory, f->bytes, &q);

	atomic_fetch_add(&f->ready, 1);
	while (!atomic_load(&f->go))
		sched_yield();
	for (uint64_t i = 0; i < f->messages && r == 0; i++)
		r = put_or_get(f, q, index < f->each, message);
	if (r < 0)
		atomic_fetch_add(&f->wrong, 1);
	atomic_fetch_add(&f->through, 1);
	queue_detach(q);
	_exit(0);
}

/* Look every 200 us: of a round of a tenth of a second that is little. */
static bool
wait_count(_Atomic unsigned *count, unsigned wanted)
{
	uint64_t until = clock_now() + PATIENCE_S * NS_PER_S;

	while (atomic_load(count) < wanted && clock_now() < until)
		usleep(200);
	return atomic_load(count) >= wanted;
}

/* Messages a second, NAN when a member failed. */
static double
run_round(struct flood *f)
{
	unsigned count = 2 * f->each;
	pid_t pids[8];

	f->ready = f->through = f->wrong = 0;
	f->go = false;
	for (unsigned i = 0; i < count; i++)
		if ((pids[i] = floor_fork()) == 0)
			be_member(f, i);
	bool well = wait_count(&f->ready, count);
	uint64_t begun = clock_now();
	atomic_store(&f->go, true);
	well = well && wait_count(&f->through, count);
	double seconds = (double)(clock_now() - begun) / NS_PER_S;
	for (unsigned i = 0; i < count; i++)
		if (pids[i] > 0)
			floor_kill(pids[i]);
	return well && f->wrong == 0 ? (double)(f->messages * f->each) / seconds : NAN;
}

static double
run_bare(struct flood *f, struct bare_ring *bare)
{
	bare_begin(bare);
	f->bare = bare;
	return run_round(f);
}

static double
run_queue(struct flood *f, const struct queue_options *options)
{
	memset(f->memory, 0, f->bytes);
	f->bare = NULL;
	return queue_init(f->memory, f->bytes, options) == 0 ? run_round(f) : NAN;
}

/* ---- the rows ---- */

static double
python_rate(unsigned each)
{
	char producers[24], consumers[24];
	const char *params[] = {
		"mode=rate", "bytes=64", "messages=20000", "maxsize=1024", producers,
		consumers,   NULL
	};

	snprintf(producers, sizeof producers, "producers=%u", each);
	snprintf(consumers, sizeof consumers, "consumers=%u", each);
	return cpython_figure("queue", params, PYTHON_MS, "rate_per_s");
}

static int
measure_rounds(const struct bench *bench, struct flood *f, const struct queue_options *options,
	       struct bare_ring *bare, struct bench_result *result)
{
	double values[ROUNDS], floors[ROUNDS];
	unsigned rounds = bench->quick ? 3 : ROUNDS;

	f->messages = (bench->quick ? 500000u : 2000000u) / f->each;
	for (unsigned i = 0; i < rounds; i++) {
		floors[i] = run_bare(f, bare);
		values[i] = run_queue(f, options);
		if (isnan(floors[i]) || isnan(values[i]))
			return bench_fail(result, "a process failed in round %u", i);
	}
	result->value = result->p50 = bench_median(values, rounds);
	result->floor = bench_median(floors, rounds);
	bench_extra(result, "fastest_round", values[rounds - 1]); /* the median sorts */
	bench_extra(result, "floor_fastest_round", floors[rounds - 1]);
	result->n = rounds;
	result->python = python_rate(f->each);
	return 0;
}

static int
measure_queue(const struct bench *bench, unsigned each, struct bench_result *result)
{
	struct queue_options options = { .capacity = CAPACITY, .message_max = BYTES };
	struct flood *f = floor_share(sizeof *f);
	struct bare_ring *bare = floor_share(sizeof *bare);
	size_t bytes = queue_footprint(&options);
	void *memory = floor_share(bytes);

	if (!f || !bare || !memory)
		return bench_fail(result, "no memory");
	f->each = each;
	f->memory = memory;
	f->bytes = bytes;
	int r = measure_rounds(bench, f, &options, bare, result);
	munmap(memory, bytes);
	munmap(bare, sizeof *bare);
	munmap(f, sizeof *f);
	return r;
}

int
bench_queue_1to1(const struct bench *bench, struct bench_result *result)
{
	return measure_queue(bench, 1, result);
}

int
bench_queue_2to2(const struct bench *bench, struct bench_result *result)
{
	return measure_queue(bench, 2, result);
}
