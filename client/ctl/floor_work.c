/* floor_work.c - the work itself in plain loops: sums of squares, squares, commands, timers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

#define SQUARE_RING  (256u * 1024)
#define SQUARE_CHUNK 4096u /* values of one record */

/* The loop of the kind sumsq, line by line: the client may not include the daemon's. */
static unsigned __int128
sum_squares(uint64_t n)
{
	unsigned __int128 sum = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t x = i;
		__asm__ volatile("" : "+r"(x)); /* or compilers use the closed formula */
		sum += (unsigned __int128)x * x;
	}
	return sum;
}

void
floor_sumsq(void *context, uint64_t count)
{
	(void)context;
	for (int i = 0; i < 2; i++) {
		unsigned __int128 sum = sum_squares(count);
		__asm__ volatile("" : : "m"(sum)); /* somebody wants it */
	}
}

static void
exec_true(void)
{
	static char *const argv[] = { "true", NULL };

	pid_t pid = vfork();
	if (pid == 0) {
		execv("/bin/true", argv);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void
floor_exec_true(void *context, uint64_t count)
{
	(void)context;
	for (uint64_t i = 0; i < count; i++)
		exec_true();
}

/* ---- squares through one ring ---- */

struct square_floor {
	struct crew *producer;
	struct square_shared {
		_Alignas(RING_LINE) struct wake producer;
		_Alignas(RING_LINE) struct wake consumer;
		_Alignas(RING_LINE) unsigned char ring[];
	} * shared;
	size_t size;
	struct party producer_party, consumer_party;
	struct ring ring; /* the producer's in its process, the consumer's in ours */
};

static bool
has_room(void *context)
{
	struct square_floor *f = context;
	return ring_has_room(&f->ring, SQUARE_CHUNK * sizeof(int64_t));
}

static bool
has_values(void *context)
{
	struct square_floor *f = context;
	return !ring_is_empty(&f->ring);
}

static void
produce_squares(void *context, uint64_t count)
{
	struct square_floor *f = context;

	for (uint64_t next = 0; next < count;) {
		uint64_t left = count - next;
		uint32_t n = left < SQUARE_CHUNK ? (uint32_t)left : SQUARE_CHUNK;
		int64_t *values = ring_reserve(&f->ring, 1, SQUARE_CHUNK * sizeof *values);
		if (!values) {
			party_wait(&f->producer_party, has_room, f);
			continue;
		}
		for (uint32_t i = 0; i < n; i++) {
			int64_t x = (int64_t)(next + i);
			values[i] = x * x;
		}
		ring_commit(&f->ring, n * (uint32_t)sizeof *values);
		party_ring(&f->consumer_party);
		next += n;
	}
}

int
square_floor_start(struct square_floor **ret)
{
	struct square_floor *f = ctl_alloc(1, sizeof *f);

	f->producer_party.bell = f->consumer_party.bell = -1;
	f->size = sizeof *f->shared + ring_footprint(SQUARE_RING);
	f->shared = floor_share(f->size);
	int r = f->shared ? ring_attach_producer(&f->ring, f->shared->ring, SQUARE_RING) : -ENOMEM;
	if (r == 0)
		r = party_make(&f->producer_party, &f->shared->producer);
	if (r == 0)
		r = party_make(&f->consumer_party, &f->shared->consumer);
	if (r == 0)
		r = crew_start(1, produce_squares, f, &f->producer);
	if (r < 0) {
		square_floor_stop(f);
		return r;
	}
	*ret = f;
	return 0;
}

uint64_t
square_floor_run(struct square_floor *f, uint64_t count, int64_t *ret)
{
	uint64_t begun = clock_now();

	crew_begin(f->producer, count);
	for (uint64_t next = 0; next < count;) {
		const struct ring_record *record = ring_peek(&f->ring);
		if (!record) {
			party_wait(&f->consumer_party, has_values, f);
			continue;
		}
		memcpy(ret + next, record->body, record->length);
		next += record->length / sizeof *ret;
		ring_release(&f->ring, record);
		party_ring(&f->producer_party);
	}
	crew_wait(f->producer);
	return clock_now() - begun;
}

void
square_floor_stop(struct square_floor *f)
{
	if (!f)
		return;
	crew_stop(f->producer);
	if (f->producer_party.bell >= 0)
		close(f->producer_party.bell);
	if (f->consumer_party.bell >= 0)
		close(f->consumer_party.bell);
	if (f->shared)
		munmap(f->shared, f->size);
	free(f);
}

/* ---- timers ---- */

uint64_t
floor_timers(unsigned count, unsigned ms)
{
	uint64_t begun = clock_now();
	uint64_t *due = ctl_alloc(count, sizeof *due);

	for (unsigned i = 0; i < count; i++)
		due[i] = clock_now() + ms * NS_PER_MS;
	for (unsigned i = 0; i < count; i++) {
		struct timespec until = { .tv_sec = (time_t)(due[i] / NS_PER_S),
					  .tv_nsec = (long)(due[i] % NS_PER_S) };
		while (clock_now() < due[i])
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	}
	free(due);
	return clock_now() - begun;
}
