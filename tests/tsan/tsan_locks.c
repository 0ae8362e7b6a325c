/*
 * tsan_locks.c - lock, semaphore and barrier with threads in place of processes, under TSan: what
 * they guard is plain memory, so an order that one of them does not give is a race.
 */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "shm/barrier.h"
#include "shm/event.h"
#include "shm/lock.h"
#include "shm/semaphore.h"

#define THREADS 4
#define ROUNDS  20000u

static struct lock lock;
static struct event begin;
static struct semaphore *semaphore;
static struct barrier *barrier;
static uint64_t guarded;        /* by the lock */
static uint64_t by_permit[2];   /* each by its permit */
static uint64_t stage[THREADS]; /* by the barrier's rounds */
static uint64_t told;           /* by the event */
static _Atomic uint64_t wrong;

static void
use_lock(void)
{
	if (lock_take(&lock, -1) != 0)
		wrong++;
	guarded++;
	lock_release(&lock);
}

static void
use_semaphore(void)
{
	uint32_t permit;
	if (semaphore_take(semaphore, -1, &permit) != 0)
		wrong++;
	by_permit[permit]++;
	semaphore_give(semaphore, permit);
}

/* Write in one round what all read in the next. */
static void
use_barrier(uint32_t seat, uint64_t round)
{
	stage[seat] = round;
	if (barrier_wait(barrier, seat, -1) != 0)
		wrong++;
	for (int i = 0; i < THREADS; i++)
		if (stage[i] != round)
			wrong++;
	if (barrier_wait(barrier, seat, -1) != 0)
		wrong++;
}

static void *
work(void *unused)
{
	uint32_t seat;
	if (barrier_join(barrier, &seat) != 0 || event_wait(&begin, -1) != 0 || told != 1)
		wrong++;
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		use_lock();
		use_semaphore();
		if (i % 10 == 0)
			use_barrier(seat, i);
	}
	return unused;
}

int
main(void)
{
	pthread_t threads[THREADS];

	semaphore = calloc(1, semaphore_bytes(2) + 64);
	barrier = calloc(1, barrier_bytes(THREADS) + 64);
	semaphore = (struct semaphore *)(((uintptr_t)semaphore + 63) & ~(uintptr_t)63);
	barrier = (struct barrier *)(((uintptr_t)barrier + 63) & ~(uintptr_t)63);
	if (lock_init(&lock) < 0 || semaphore_init(semaphore, 2) < 0 ||
	    barrier_init(barrier, THREADS) < 0)
		return 1;
	event_init(&begin);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, NULL) != 0)
			return 1;
	told = 1;
	event_set(&begin);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	if (guarded != THREADS * ROUNDS || by_permit[0] + by_permit[1] != THREADS * ROUNDS)
		wrong++;
	printf(wrong == 0 ? "1 passed\n" : "FAILED\n");
	return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
