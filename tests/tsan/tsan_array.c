/*
 * tsan_array.c - the cache of mapped arrays under TSan: threads of one worker take and give
 * views, blocks of one array are filled and summed side by side, while one thread makes the
 * name anew and another closes what is idle.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/executor.h"
#include "daemon/kinds/array_views.h"
#include "shm/array_ops.h"

#define THREADS 4
#define ROUNDS  400

static char steady[64], changing[64];
static _Atomic unsigned wrong, ended;

/* Each thread has a block of its own in the steady array. */
static void
use_steady(struct call *call, unsigned me, unsigned round)
{
	struct array_view *view = array_view_take(call, steady, true);

	if (view == NULL) {
		wrong++;
		return;
	}
	uint64_t low = me * ARRAY_BLOCK, high = low + ARRAY_BLOCK;
	array_fill(view->array, low, high, (union array_value){ .u = round });
	struct array_sum sum = array_sum(view->array, low, high);
	wrong += sum.whole != (__int128)round * (__int128)ARRAY_BLOCK;
	array_view_give(view);
}

/* The other may be gone for a moment, but is never half there. */
static void
use_changing(struct call *call)
{
	struct array_view *view = array_view_take(call, changing, false);

	if (view == NULL)
		return;
	struct array_sum sum = array_sum(view->array, 0, view->array->count);
	wrong += sum.whole != 0;
	array_view_give(view);
}

static void *
work(void *which)
{
	struct call call = { .outcome.state = JOB_SUCCEEDED };

	for (unsigned round = 0; round < ROUNDS; round++) {
		use_steady(&call, *(unsigned *)which, round % 200);
		use_changing(&call);
	}
	ended++;
	return NULL;
}

static void
make(const char *name, uint64_t count)
{
	struct array_shape shape = { .dimensions = 1, .length = { count } };
	struct array *a;

	if (array_create(name, ARRAY_u16, &shape, ARRAY_LOOK, 0, &a) < 0)
		wrong++;
	else
		array_close(a);
}

int
main(void)
{
	pthread_t threads[THREADS];
	unsigned numbers[THREADS];

	snprintf(steady, sizeof(steady), "tsan-array-%d", (int)getpid());
	snprintf(changing, sizeof(changing), "tsan-array-%d-b", (int)getpid());
	make(steady, THREADS * ARRAY_BLOCK);
	make(changing, 1000);
	for (unsigned i = 0; i < THREADS; i++) {
		numbers[i] = i;
		pthread_create(&threads[i], NULL, work, &numbers[i]);
	}
	while (ended < THREADS) {
		array_views_close_idle();
		(void)array_unlink(changing);
		make(changing, 1000);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	array_views_close_idle();
	if (array_views_patience_ms() != -1)
		wrong++;
	(void)array_unlink(steady);
	(void)array_unlink(changing);
	printf("%d passed\n", wrong == 0);
	return wrong == 0 ? 0 : 1;
}
