/*
 * tsan_queue.c - four producers and four consumers on one queue, as threads with a handle each,
 * with waiting, waking, joining and closing, under TSan.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/queue.h"

#define SIDE     4u
#define MESSAGES 50000u /* of each producer */

static void *memory;
static size_t bytes;
static _Atomic uint32_t wrong, got;
static _Atomic unsigned char seen[SIDE * MESSAGES];

static struct queue *
attach(void)
{
	struct queue *q = NULL;
	if (queue_attach(memory, bytes, &q) != 0)
		abort();
	return q;
}

static void *
produce(void *first)
{
	struct queue *q = attach();
	uint32_t id = (uint32_t)(uintptr_t)first * MESSAGES;

	for (uint32_t i = 0; i < MESSAGES; i++, id++) {
		uint32_t m[8] = { id, 0, 0, 0, 0, 0, 0, ~id };
		wrong += queue_put(q, m, sizeof(m), QUEUE_FOREVER) != 0;
	}
	queue_detach(q);
	return NULL;
}

static void *
consume(void *unused)
{
	struct queue *q = attach();
	uint32_t m[8], length;
	int r;

	while ((r = queue_get(q, m, sizeof(m), &length, QUEUE_FOREVER)) == 0) {
		wrong += length != sizeof(m) || m[0] != ~m[7] || m[0] >= SIDE * MESSAGES ||
			 seen[m[0]]++ != 0;
		got++;
		wrong += queue_task_done(q) != 0;
	}
	wrong += r != -ENODATA;
	queue_detach(q);
	return unused;
}

static void *
watch(void *unused)
{
	struct queue *q = attach();
	struct queue_stat *s = malloc(sizeof(*s));
	char x;
	uint32_t length;

	while (queue_get(q, &x, 0, &length, QUEUE_NO_WAIT) != -ENODATA) {
		queue_stat(q, s);
		wrong += s->depth > s->capacity;
	}
	free(s);
	queue_detach(q);
	return unused;
}

int
main(void)
{
	struct queue_options o = { .capacity = 7, .message_max = 32 };
	pthread_t producers[SIDE], consumers[SIDE], watcher;

	bytes = queue_footprint(&o);
	memory = aligned_alloc(128, (bytes + 127) / 128 * 128);
	memset(memory, 0, bytes);
	if (queue_init(memory, bytes, &o) != 0)
		return 1;
	struct queue *q = attach();
	for (uintptr_t i = 0; i < SIDE; i++)
		if (pthread_create(&producers[i], NULL, produce, (void *)i) != 0 ||
		    pthread_create(&consumers[i], NULL, consume, NULL) != 0)
			return 1;
	if (pthread_create(&watcher, NULL, watch, NULL) != 0)
		return 1;
	for (int i = 0; i < (int)SIDE; i++)
		pthread_join(producers[i], NULL);
	wrong += queue_join(q, QUEUE_FOREVER, NULL) != 0;
	wrong += got != SIDE * MESSAGES;
	queue_close(q);
	for (int i = 0; i < (int)SIDE; i++)
		pthread_join(consumers[i], NULL);
	pthread_join(watcher, NULL);
	queue_detach(q);
	free(memory);
	printf("%u messages, %u wrong\n", got, wrong);
	puts(wrong == 0 ? "1 passed" : "FAILED");
	return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
