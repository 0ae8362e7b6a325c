/*
 * tsan_counter.c - threads that make, find, add to and remove counters of one table: TSan checks
 * that names are read whole while slots are used again.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "shm/counter.h"

#define THREADS 4
#define ROUNDS  2000
#define WAIT_NS 60000000000u

static struct counter_table *table;

static void *
work(void *argument)
{
	unsigned number = *(unsigned *)argument;
	struct counter sum, mine;
	char name[COUNTER_NAME_MAX + 1];
	int64_t value;

	if (counter_open(table, "sum", WAIT_NS, &sum) < 0)
		abort();
	for (unsigned i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof(name), "mine.%u", (number + i) % THREADS);
		if (counter_open(table, name, WAIT_NS, &mine) < 0)
			abort();
		(void)counter_add(&mine, 1, NULL); /* may be stale: removed by a neighbour */
		(void)counter_at(table, i % THREADS, name, &value);
		if (i % 3 == 0)
			(void)counter_remove(table, name, WAIT_NS);
		if (counter_find(table, "sum", &sum) < 0 &&
		    counter_open(table, "sum", WAIT_NS, &sum) < 0)
			abort();
		while (counter_add(&sum, 1, NULL) == -ESTALE)
			if (counter_open(table, "sum", WAIT_NS, &sum) < 0)
				abort();
	}
	return NULL;
}

int
main(void)
{
	pthread_t threads[THREADS];
	unsigned numbers[THREADS];

	table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (table == MAP_FAILED)
		abort();
	counter_table_init(table);
	/* Slots are used again at once, not after 4,096 others. */
	atomic_store(&table->used, COUNTERS_MAX);
	for (uint32_t i = 2 * THREADS; i < COUNTERS_MAX; i++)
		atomic_store(&table->slot[i].state, COUNTER_LIVE);
	for (unsigned i = 0; i < THREADS; i++) {
		numbers[i] = i;
		if (pthread_create(&threads[i], NULL, work, &numbers[i]) != 0)
			abort();
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("%u counters\n1 passed\n", counter_count(table));
	return 0;
}
