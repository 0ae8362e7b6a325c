/*
 * floor_ring.c - a job's way as bare rings: a client, a broker and workers that only pass
 * records on, of the sizes that real ones have, and wait as ours do.
 *
 *   client -> submits -> broker -> requests[i] -> worker i
 *   client <- returns <- broker <- results[i]  <- worker i
 *
 * This is the least that three processes can do; what the daemon adds to it is checks, the
 * job table, scheduling, tickets, times and receipts.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"
#include "ipc/lane.h"
#include "ipc/message.h"

#define RING_BYTES   LANE_BYTES_DEFAULT
#define SUBMIT_BYTES ((uint32_t)sizeof(struct submit_body) + 1) /* parameters: an empty map */
#define RUN_BYTES    ((uint32_t)sizeof(struct run_body))
#define RESULT_BYTES ((uint32_t)sizeof(struct result_body))
#define RETURN_BYTES ((uint32_t)sizeof(struct receipt))
#define BURST        32 /* records between two looks whether the other side sleeps */

enum { CLIENT, BROKER, WORKER, PARTIES = WORKER + FLOOR_WORKERS };
enum {
	SUBMITS,
	RETURNS,
	REQUESTS,
	RESULTS = REQUESTS + FLOOR_WORKERS,
	RINGS = RESULTS + FLOOR_WORKERS
};

/* Shared: each wake is its party's, each ring has one producer and one consumer. */
struct floor_line {
	_Alignas(RING_LINE) struct wake wake;
};
struct floor_shared {
	struct floor_line parties[PARTIES];
	_Alignas(RING_LINE) unsigned char rings[];
};

struct ring_floor {
	struct floor_shared *shared;
	size_t size;
	unsigned workers;
	struct party parties[PARTIES];
	pid_t pids[PARTIES];
	struct ring rings[RINGS]; /* each process uses its own side of its own copy */
	unsigned self;            /* a worker's number */
	unsigned turn;            /* the worker whose turn it is; the broker's */
	uint64_t tag;             /* of the last submit; the client's */
};

static int
attach_rings(struct ring_floor *f)
{
	int r = 0;

	/* A producer's and a consumer's view of an empty ring are the same. */
	for (unsigned i = 0; r == 0 && i < RINGS; i++)
		r = ring_attach_producer(&f->rings[i],
					 f->shared->rings + i * ring_footprint(RING_BYTES),
					 RING_BYTES);
	return r;
}

/* Copy one record on, as far as both have room.  False: nothing to copy, or no room. */
static bool
pass_on(struct ring *from, struct ring *to, uint32_t length)
{
	const struct ring_record *record = ring_peek(from);

	if (!record)
		return false;
	void *place = ring_reserve(to, 1, length);
	if (!place)
		return false;
	memcpy(place, record->body, record->length < length ? record->length : length);
	ring_commit(to, length);
	ring_release(from, record);
	return true;
}

/* ---- the worker ---- */

static bool
worker_ready(void *context)
{
	struct ring_floor *f = context;
	return !ring_is_empty(&f->rings[REQUESTS + f->self]);
}

static _Noreturn void
worker_main(struct ring_floor *f)
{
	struct ring *in = &f->rings[REQUESTS + f->self], *out = &f->rings[RESULTS + f->self];

	for (unsigned unrung = 0;;) {
		if (pass_on(in, out, RESULT_BYTES) && ++unrung < BURST)
			continue;
		if (unrung > 0)
			party_ring(&f->parties[BROKER]);
		unrung = 0;
		if (ring_is_empty(in))
			party_wait(&f->parties[WORKER + f->self], worker_ready, f);
		else if (!ring_has_room(out, RESULT_BYTES))
			sched_yield();
	}
}

/* ---- the broker ---- */

static bool
broker_ready(void *context)
{
	struct ring_floor *f = context;

	if (!ring_is_empty(&f->rings[SUBMITS]))
		return true;
	for (unsigned i = 0; i < f->workers; i++)
		if (!ring_is_empty(&f->rings[RESULTS + i]))
			return true;
	return false;
}

static bool
bring_back(struct ring_floor *f)
{
	bool moved = false;

	for (unsigned i = 0; i < f->workers; i++)
		for (unsigned n = 0; n < BURST; n++) {
			if (!pass_on(&f->rings[RESULTS + i], &f->rings[RETURNS], RETURN_BYTES))
				break;
			moved = true;
		}
	if (moved)
		party_ring(&f->parties[CLIENT]);
	return moved;
}

static bool
hand_out(struct ring_floor *f)
{
	unsigned handed = 0; /* a bit for each worker */

	for (unsigned n = 0; n < BURST; n++) {
		f->turn = f->turn + 1 < f->workers ? f->turn + 1 : 0;
		if (!pass_on(&f->rings[SUBMITS], &f->rings[REQUESTS + f->turn], RUN_BYTES))
			break;
		handed |= 1u << f->turn;
	}
	for (unsigned i = 0; i < f->workers; i++)
		if (handed >> i & 1)
			party_ring(&f->parties[WORKER + i]);
	return handed != 0;
}

static _Noreturn void
broker_main(struct ring_floor *f)
{
	for (;;) {
		bool moved = bring_back(f);
		if (hand_out(f) || moved)
			continue;
		if (broker_ready(f))
			sched_yield(); /* no room ahead: whoever makes it needs the CPU */
		else
			party_wait(&f->parties[BROKER], broker_ready, f);
	}
}

/* ---- the client ---- */

static bool
client_ready(void *context)
{
	struct ring_floor *f = context;
	return !ring_is_empty(&f->rings[RETURNS]);
}

static bool
submit(struct ring_floor *f)
{
	struct submit_body *body = ring_reserve(&f->rings[SUBMITS], 1, SUBMIT_BYTES);

	if (!body)
		return false;
	memset(body, 0, SUBMIT_BYTES);
	body->tag = ++f->tag;
	body->submitted_ns = clock_now();
	ring_commit(&f->rings[SUBMITS], SUBMIT_BYTES);
	return true;
}

static bool
take(struct ring_floor *f)
{
	const struct ring_record *record = ring_peek(&f->rings[RETURNS]);

	if (!record)
		return false;
	ring_release(&f->rings[RETURNS], record);
	return true;
}

void
ring_floor_echo(struct ring_floor *f, unsigned count, struct samples *ret)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t begun = clock_now();
		submit(f);
		party_ring(&f->parties[BROKER]);
		party_wait(&f->parties[CLIENT], client_ready, f);
		take(f);
		samples_add(ret, clock_now() - begun);
	}
}

uint64_t
ring_floor_flood(struct ring_floor *f, uint64_t count, unsigned window)
{
	uint64_t sent = 0, back = 0, begun = clock_now();

	while (back < count) {
		unsigned burst = 0;
		while (burst < BURST && sent < count && sent - back < window && submit(f)) {
			sent++;
			burst++;
		}
		if (burst > 0)
			party_ring(&f->parties[BROKER]);
		unsigned taken = 0;
		while (taken < BURST && take(f))
			taken++;
		back += taken;
		if (burst == 0 && taken == 0)
			party_wait(&f->parties[CLIENT], client_ready, f);
	}
	return clock_now() - begun;
}

/* ---- start and stop ---- */

static int
start_parties(struct ring_floor *f)
{
	int r = attach_rings(f);
	unsigned count = WORKER + f->workers;

	for (unsigned i = 0; r == 0 && i < count; i++)
		r = party_make(&f->parties[i], &f->shared->parties[i].wake);
	for (unsigned i = BROKER; r == 0 && i < count; i++) {
		f->self = i - WORKER; /* of no meaning in the broker */
		f->pids[i] = floor_fork();
		if (f->pids[i] == 0 && i == BROKER)
			broker_main(f);
		if (f->pids[i] == 0)
			worker_main(f);
		if (f->pids[i] < 0)
			r = -errno;
	}
	return r;
}

int
ring_floor_start(unsigned workers, struct ring_floor **ret)
{
	struct ring_floor *f = ctl_alloc(1, sizeof *f);

	f->workers = workers < FLOOR_WORKERS ? workers : FLOOR_WORKERS;
	for (unsigned i = 0; i < PARTIES; i++)
		f->parties[i].bell = -1;
	f->size = sizeof *f->shared + RINGS * ring_footprint(RING_BYTES);
	f->shared = floor_share(f->size);
	int r = f->shared ? start_parties(f) : -ENOMEM;
	if (r < 0) {
		ring_floor_stop(f);
		return r;
	}
	*ret = f;
	return 0;
}

void
ring_floor_stop(struct ring_floor *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < PARTIES; i++) {
		floor_kill(f->pids[i]);
		if (f->parties[i].bell >= 0)
			close(f->parties[i].bell);
	}
	if (f->shared)
		munmap(f->shared, f->size);
	free(f);
}
