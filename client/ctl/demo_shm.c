/*
 * demo_shm.c - the story of shared arrays: lost updates, copying and not copying, Python at the
 * same bytes, and what becomes of a name whose holders die.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/demo.h"
#include "client/ctl/floor.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"
#include "shm/array.h"
#include "shm/array_ops.h"
#include "shm/lock.h"
#include "shm/owner.h"

#define PARTIES        2
#define PATIENCE_S     60
#define ADD_PATIENCE_S 300
#define BIG_COUNT      (1u << 20) /* f64: 8 MiB */

/* What the actors of a chapter share beside the array. */
struct stage {
	struct lock lock;
	_Atomic uint32_t ready; /* actors that stand at the line */
	_Atomic uint32_t go;
	_Atomic uint64_t figure; /* what an actor measured */
	char name[NAMED_MAX + 1];
	uint64_t rounds;
	bool locked;
	int fd;
};

static bool
wait_until(_Atomic uint32_t *word, uint32_t value)
{
	uint64_t until = clock_now() + PATIENCE_S * NS_PER_S;

	while (atomic_load(word) < value) {
		if (clock_now() > until)
			return false;
		sched_yield();
	}
	return true;
}

static int
make(struct demo *demo, struct stage *stage, const char *suffix, enum array_type type,
     uint64_t count, unsigned flags, struct array **ret)
{
	struct array_shape shape = { .dimensions = 1, .length = { count } };

	demo_name(demo, suffix, stage->name);
	int r = array_create(stage->name, type, &shape, flags, 0, ret);
	return r < 0 ? demo_fail(demo, "cannot make array %s: %s", stage->name, strerror(-r)) : 0;
}

/* ---- lost updates ---- */

/* Read, add one, write: three steps, and another process may be between any two. */
static int
add_to_it(void *context)
{
	struct stage *stage = context;
	struct array *a;

	if (array_attach(stage->name, 0, &a) < 0)
		return 1;
	volatile uint64_t *place = (uint64_t *)a->data + stage->locked;
	demo_apart(atomic_fetch_add(&stage->ready, 1));
	if (!wait_until(&stage->go, 1))
		return 1;
	for (uint64_t i = 0; i < stage->rounds; i++) {
		if (stage->locked && lock_take(&stage->lock, -1) < 0)
			return 1;
		*place = *place + 1;
		if (stage->locked)
			lock_release(&stage->lock);
	}
	array_close(a);
	return 0;
}

/* Each adds `rounds`.  ns for all of it, or 0. */
static uint64_t
add_together(struct demo *demo, struct stage *stage, bool locked, uint64_t rounds)
{
	pid_t pids[PARTIES];
	bool fine = true;

	stage->locked = locked;
	stage->rounds = rounds;
	atomic_store(&stage->ready, 0);
	atomic_store(&stage->go, 0);
	for (unsigned i = 0; i < PARTIES; i++)
		pids[i] = demo_actor(demo, add_to_it, stage);
	fine = wait_until(&stage->ready, PARTIES);
	uint64_t begun = clock_now();
	atomic_store(&stage->go, 1);
	for (unsigned i = 0; i < PARTIES; i++)
		fine &= demo_wait(demo, pids[i], ADD_PATIENCE_S * 1000) == 0;
	return fine ? clock_now() - begun : 0;
}

static void
ask_python_to_lose(struct demo *demo)
{
	const char *params[] = { "mode=lost", demo_quick(demo) ? "adds=100000" : "adds=400000",
				 "processes=2", NULL };
	json_t *answer = demo_python(demo, "shm", params);
	double expected = demo_number(answer, "expected");

	demo_python_figure(demo, "lost_share", demo_number(answer, "lost") / expected);
	demo_python_figure(demo, "add_ns", demo_number(answer, "seconds") * 1e9 / expected);
	demo_python_figure(demo, "locked_add_ns",
			   demo_number(answer, "locked_seconds") * 1e9 / expected);
	json_decref(answer);
}

static int
tell_lost_updates(struct demo *demo, struct stage *stage)
{
	struct array *a;

	demo_chapter(demo, "Two processes write one array");
	if (make(demo, stage, "sums", ARRAY_u64, 2, 0, &a) < 0)
		return -1;
	const uint64_t plain = demo_quick(demo) ? 5000000 : 50000000;
	const uint64_t locked = demo_quick(demo) ? 500000 : 2000000;
	const uint64_t expected = PARTIES * locked, *counts = a->data;
	demo_say(demo, "array %s, u64, two elements; each process adds 1, over and over", a->name);
	if (lock_init(&stage->lock) < 0)
		return demo_fail(demo, "cannot make a lock");
	uint64_t plain_ns = add_together(demo, stage, false, plain);
	uint64_t locked_ns = add_together(demo, stage, true, locked);
	uint64_t without = counts[0], with = counts[1], lost = PARTIES * plain - without;
	array_close(a);
	if (plain_ns == 0 || locked_ns == 0)
		return demo_fail(demo, "the processes that add did not end as they should");
	demo_say(demo, "element 0, without a lock: %s of %s; %s updates are lost",
		 unit_count(without).text, unit_count(PARTIES * plain).text, unit_count(lost).text);
	demo_say(demo, "element 1, with a lock (shm/lock.h): %s of %s", unit_count(with).text,
		 unit_count(expected).text);
	demo_check(demo, with == expected, "with the lock no update is lost");
	demo_figure(demo, "lost_share", (double)lost / (double)(PARTIES * plain), "x",
		    "updates lost without a lock, of all");
	demo_figure(demo, "add_ns", (double)plain_ns / (double)(PARTIES * plain), "ns",
		    "an update by 2 processes, no lock");
	demo_figure(demo, "locked_add_ns", (double)locked_ns / (double)expected, "ns",
		    "an update by 2 processes, locked");
	ask_python_to_lose(demo);
	return 0;
}

/* ---- copying and not copying ---- */

/* Attach to the array by its name and sum it where it lies. */
static int
sum_in_place(void *context)
{
	struct stage *stage = context;
	struct array *a;

	atomic_store(&stage->ready, 1);
	if (!wait_until(&stage->go, 1))
		return 1;
	uint64_t begun = clock_now();
	if (array_attach(stage->name, ARRAY_READ_ONLY | ARRAY_POPULATE, &a) < 0)
		return 1;
	struct array_sum sum = array_sum(a, 0, a->count);
	array_close(a);
	atomic_store(&stage->figure, clock_now() - begun);
	return array_sum_real(&sum) == 2.5 * BIG_COUNT ? 0 : 1;
}

/* Read the same bytes out of a pipe, and sum the copy. */
static int
sum_a_copy(void *context)
{
	struct stage *stage = context;
	struct array copy = { .type = ARRAY_f64, .count = BIG_COUNT, .bytes = BIG_COUNT * 8ul };
	size_t got = 0;

	copy.data = malloc(copy.bytes);
	if (!copy.data)
		return 1;
	memset(copy.data, 0, copy.bytes); /* not to charge the pipe with page faults */
	atomic_store(&stage->ready, 1);
	if (!wait_until(&stage->go, 1))
		return 1;
	uint64_t begun = clock_now();
	while (got < copy.bytes) {
		ssize_t n = read(stage->fd, (char *)copy.data + got, copy.bytes - got);
		if (n <= 0)
			return 1;
		got += (size_t)n;
	}
	struct array_sum sum = array_sum(&copy, 0, copy.count);
	atomic_store(&stage->figure, clock_now() - begun);
	return array_sum_real(&sum) == 2.5 * BIG_COUNT ? 0 : 1;
}

static bool
write_all(int fd, const void *bytes, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = write(fd, (const char *)bytes + done, length - done);
		if (n < 0 && errno != EINTR)
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* One consumer, either way: ns, or 0. */
static uint64_t
consume(struct demo *demo, struct stage *stage, const struct array *a, bool by_pipe)
{
	int ends[2] = { -1, -1 };

	if (by_pipe && pipe(ends) < 0)
		return 0;
	stage->fd = ends[0];
	atomic_store(&stage->ready, 0);
	atomic_store(&stage->go, 0);
	pid_t pid = demo_actor(demo, by_pipe ? sum_a_copy : sum_in_place, stage);
	if (by_pipe)
		close(ends[0]); /* or a consumer that died would leave us writing for ever */
	bool fine = wait_until(&stage->ready, 1);
	atomic_store(&stage->go, 1);
	if (by_pipe)
		fine = fine && write_all(ends[1], a->data, a->bytes);
	if (by_pipe)
		close(ends[1]);
	fine = demo_wait(demo, pid, PATIENCE_S * 1000) == 0 && fine;
	return fine ? atomic_load(&stage->figure) : 0;
}

static int
compare_ways(struct demo *demo, struct stage *stage, const struct array *a)
{
	unsigned rounds = demo_quick(demo) ? 5 : 21;
	double shared[21], piped[21];

	for (unsigned i = 0; i < rounds; i++) {
		shared[i] = (double)consume(demo, stage, a, false);
		piped[i] = (double)consume(demo, stage, a, true);
		if (shared[i] <= 0 || piped[i] <= 0)
			return demo_fail(demo, "a consumer of 8 MiB did not get the right sum");
		demo_live(demo, "round %u of %u", i + 1, rounds);
	}
	double in_place = bench_median(shared, rounds), copied = bench_median(piped, rounds);
	demo_say(demo, "attached and summed where it lies: %s",
		 unit_time_human((uint64_t)in_place).text);
	demo_say(demo, "read out of a pipe and summed: %s; the same sum",
		 unit_time_human((uint64_t)copied).text);
	demo_figure(demo, "in_place_ns", in_place, "ns", "8 MiB: attach and sum");
	demo_figure(demo, "piped_ns", copied, "ns", "8 MiB: read from a pipe and sum");
	demo_figure(demo, "copy_ratio", copied / in_place, "x", "pipe to array");
	return 0;
}

/* ---- Python at the same bytes ---- */

static int
tell_python(struct demo *demo, struct array *a)
{
	char name[NAMED_MAX + 16];
	unsigned char *bytes = a->data;
	const char *params[] = { "mode=attach", name, "offset=3", "value=42", NULL };

	demo_chapter(demo, "Python at the same bytes");
	snprintf(name, sizeof name, "name=%s", a->name);
	bytes[3] = 7;
	json_t *answer = demo_python(demo, "shm", params);
	if (!answer)
		return 0;
	double before = demo_number(answer, "before");
	json_decref(answer);
	demo_say(demo, "SharedMemory(name=\"%s\"): it read byte 3 as %.0f and wrote 42", a->name,
		 before);
	demo_check(demo, before == 7 && bytes[3] == 42, "what Python wrote is here, uncopied");
	return 0;
}

/* Before 3.13 the resource tracker of who only attached unlinks the name at its end. */
static int
tell_tracker(struct demo *demo, const struct array *a)
{
	char name[NAMED_MAX + 16];
	struct array_stat stat;
	const char *params[] = { "mode=attach", name, "tracked=1", NULL };

	snprintf(name, sizeof name, "name=%s", a->name);
	json_t *answer = demo_python(demo, "shm", params);
	if (!answer)
		return 0;
	json_decref(answer);
	uint64_t until = clock_now() + 2 * NS_PER_S;
	int r = array_stat(a->name, &stat);
	while (r == 0 && stat.state == ARRAY_WHOLE && clock_now() < until) {
		usleep(10000);
		r = array_stat(a->name, &stat);
	}
	if (r < 0 || stat.state == ARRAY_WHOLE) {
		demo_say(demo, "attached with its resource tracker, too: this one left the name");
		return 0;
	}
	demo_say(demo, "attached without track=False: at its end its tracker removed the name (%s)",
		 array_state_text(stat.state));
	r = array_restore(a->name);
	demo_check(demo, r == 0 && array_is_current(a),
		   "the name is given back, for the same memory (array restore)");
	return 0;
}

static int
tell_sharing(struct demo *demo, struct stage *stage)
{
	struct array *a;

	demo_chapter(demo, "8 MiB from one process to another");
	if (make(demo, stage, "big", ARRAY_f64, BIG_COUNT, 0, &a) < 0)
		return -1;
	array_fill(a, 0, a->count, (union array_value){ .f = 2.5 });
	int r = compare_ways(demo, stage, a);
	if (r == 0)
		r = tell_python(demo, a);
	if (r == 0)
		r = tell_tracker(demo, a);
	array_close(a);
	return r;
}

/* ---- holders that die ---- */

static int
hold_it(void *context)
{
	struct stage *stage = context;
	struct array *a;

	if (array_attach(stage->name, 0, &a) < 0)
		return 1;
	atomic_fetch_add(&stage->ready, 1);
	for (;;)
		pause();
}

static int
tell_deaths(struct demo *demo, struct stage *stage)
{
	struct array_collected done = { 0 };
	struct array_stat stat = { 0 };
	struct array *a;
	pid_t one, two;

	demo_chapter(demo, "Holders die");
	/* Held here until both hold it: a weak array that nobody holds is anybody's to collect. */
	if (make(demo, stage, "weak", ARRAY_u8, 4096, ARRAY_WEAK, &a) < 0)
		return -1;
	atomic_store(&stage->ready, 0);
	one = demo_actor(demo, hold_it, stage);
	two = demo_actor(demo, hold_it, stage);
	bool held = wait_until(&stage->ready, 2);
	array_close(a);
	if (!held)
		return demo_fail(demo, "the holders did not attach");
	demo_say(demo, "a weak array, held by %d and %d", (int)one, (int)two);
	demo_kill(demo, one);
	int r = array_stat(stage->name, &stat);
	demo_say(demo, "%d killed: held by %d, %u dead", (int)one,
		 r == 0 && stat.living > 0 ? (int)owner_pid(stat.holders[0]) : 0, stat.dead);
	demo_check(demo,
		   /* stat.dead is 0 when somebody has swept meanwhile */
		   r == 0 && stat.living == 1 && owner_pid(stat.holders[0]) == two &&
			   stat.state == ARRAY_WHOLE,
		   "the death is noticed, the other holder keeps the array");
	demo_kill(demo, two);
	r = array_attach(stage->name, 0, &a);
	if (r == 0)
		array_close(a);
	demo_say(demo, "%d killed, too: who comes next finds %s", (int)two,
		 r == -ENOENT ? "no array" : "an array");
	demo_check(demo, r == -ENOENT && array_stat(stage->name, &stat) == -ENOENT,
		   "a weak name goes with its last holder, also by kill -9");
	(void)array_collect(&done);
	return 0;
}

static int
tell(struct demo *demo)
{
	struct stage *stage = floor_share(sizeof *stage);

	if (!stage)
		return demo_fail(demo, "no shared memory for the stage");
	int r = tell_lost_updates(demo, stage);
	if (r == 0)
		r = tell_sharing(demo, stage);
	if (r == 0)
		r = tell_deaths(demo, stage);
	munmap(stage, sizeof *stage);
	return r;
}

extern const struct demo_row demo_shm;
const struct demo_row demo_shm = {
	.name = "shm",
	.summary = "one array in many processes: lost updates, no copies, Python, deaths",
	.tell = tell,
};
