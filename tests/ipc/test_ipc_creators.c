/*
 * test_ipc_creators.c - many who make the same name at once, and are killed while they do: one
 * wins, the others are told, and what is left is whole or nothing.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ipc/queue.h"
#include "shm/array.h"
#include "tests/process.h"

#define CREATORS 6
#define ROUNDS   150

static char name[64];

/* What the children share: they begin together and say what came of it. */
static struct stage {
	_Atomic int ready, go, done;
	_Atomic int made[CREATORS]; /* 1: made it, else -errno */
} * stage;

static void
setup(void)
{
	snprintf(name, sizeof(name), "creators-%d", (int)getpid());
	stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	cr_assert_neq(stage, MAP_FAILED);
}

static void
teardown(void)
{
	struct array_collected collected;

	(void)queue_unlink(name);
	(void)array_unlink(name);
	(void)array_collect_one(name, &collected);
	munmap(stage, sizeof(*stage));
}

TestSuite(creators, .init = setup, .fini = teardown, .timeout = 600);

/* What this process made. */
static struct queue *made_queue;
static struct array *made_array;

static int
make_queue(void)
{
	struct queue_options options = { .capacity = 8, .message_max = 64 };
	return queue_create(name, &options, &made_queue);
}

static int
make_array(void)
{
	struct array_shape shape = { .dimensions = 1, .length = { 1000 } };
	return array_create(name, ARRAY_i64, &shape, 0, 0, &made_array);
}

/* The name stays. */
static void
let_go(void)
{
	if (made_queue != NULL)
		queue_detach(made_queue);
	if (made_array != NULL)
		array_close(made_array);
	made_queue = NULL;
	made_array = NULL;
}

static bool
queue_is_whole(void)
{
	struct queue *q;
	char byte;
	uint32_t length;

	if (queue_open(name, &q) < 0)
		return false;
	bool ok = queue_capacity(q) == 8 && queue_put(q, "x", 1, QUEUE_NO_WAIT) == 0 &&
		  queue_get(q, &byte, 1, &length, QUEUE_NO_WAIT) == 0 && byte == 'x';
	queue_detach(q);
	return ok;
}

static bool
array_is_whole(void)
{
	struct array *a;

	if (array_attach(name, 0, &a) < 0)
		return false;
	bool ok = a->count == 1000 && ((int64_t *)a->data)[999] == 0;
	array_close(a);
	return ok;
}

static void
start(pid_t *children, int (*make)(void))
{
	memset(stage, 0, sizeof(*stage));
	for (int i = 0; i < CREATORS; i++) {
		children[i] = test_fork();
		if (children[i] != 0)
			continue;
		atomic_fetch_add(&stage->ready, 1);
		while (!atomic_load(&stage->go))
			sched_yield();
		int r = make();
		atomic_store(&stage->made[i], r == 0 ? 1 : r);
		atomic_fetch_add(&stage->done, 1);
		pause();
		_exit(0);
	}
	while (atomic_load(&stage->ready) < CREATORS)
		sched_yield();
	atomic_store(&stage->go, 1);
}

static void
stop(const pid_t *children)
{
	for (int i = 0; i < CREATORS; i++)
		kill(children[i], SIGKILL);
	for (int i = 0; i < CREATORS; i++)
		waitpid(children[i], NULL, 0);
}

static void
one_wins(int (*make)(void), bool (*is_whole)(void), int (*rm)(const char *))
{
	pid_t children[CREATORS];

	for (int round = 0; round < ROUNDS; round++) {
		int winners = 0;
		start(children, make);
		while (atomic_load(&stage->done) < CREATORS)
			sched_yield();
		for (int i = 0; i < CREATORS; i++) {
			int made = atomic_load(&stage->made[i]);
			winners += made == 1;
			cr_expect(made == 1 || made == -EEXIST, "round %d: %s", round,
				  strerror(-made));
		}
		cr_assert_eq(winners, 1, "round %d: %d made it", round, winners);
		cr_assert(is_whole());
		stop(children);
		cr_assert(is_whole());
		cr_assert_eq(rm(name), 0);
	}
}

/* Killed at once, or a little later; the seed is fixed, the kernel's scheduling is not. */
static void
what_is_left_is_whole(int (*make)(void), bool (*is_whole)(void), int (*rm)(const char *))
{
	pid_t children[CREATORS];
	int there = 0;

	srandom(7);
	for (int round = 0; round < ROUNDS; round++) {
		struct timespec while_they_do = { .tv_nsec = random() % 300000 };
		start(children, make);
		nanosleep(&while_they_do, NULL);
		stop(children);
		int r = make(); /* clears up what was cut off */
		cr_assert(r == 0 || r == -EEXIST, "round %d: %s", round, strerror(-r));
		there += r == -EEXIST;
		let_go();
		cr_assert(is_whole(), "round %d: what is there is not whole", round);
		cr_assert_eq(rm(name), 0);
	}
	cr_log_info("%d of %d rounds left one", there, ROUNDS);
}

Test(creators, of_a_queue_one_wins)
{
	one_wins(make_queue, queue_is_whole, queue_unlink);
}

Test(creators, of_an_array_one_wins)
{
	one_wins(make_array, array_is_whole, array_unlink);
}

Test(creators, of_a_queue_leave_a_whole_one_or_none)
{
	what_is_left_is_whole(make_queue, queue_is_whole, queue_unlink);
}

Test(creators, of_an_array_leave_a_whole_one_or_none)
{
	what_is_left_is_whole(make_array, array_is_whole, array_unlink);
}
