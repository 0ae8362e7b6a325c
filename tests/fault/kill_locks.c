/*
 * kill_locks.c - kill_locks KILLS SEED: random kills of processes that use a lock, a semaphore, a
 * barrier, KILLS of each; then the same with pthread_mutex_t, sem_t and pthread_barrier_t until
 * they stall (the barrier: let some through alone), or the kills prove nothing.  SEED "" or left
 * out: a new one, printed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/shm/lock_kills.h"

#define PATIENCE_MS 20000
#define CONTROL_MS  2000

static bool
run(const char *name, enum locks_kind kind, bool robust, unsigned kills, unsigned seed)
{
	struct lock_kills r;

	kill_locks(kind, robust, kills, seed, robust ? PATIENCE_MS : CONTROL_MS, &r);
	bool good =
		robust ? !r.stalled && r.wrong == 0 && r.deaths_seen > 0 : r.stalled || r.wrong > 0;
	printf("%-18s %6u kills, %9ju operations, %5ju deaths seen, %ju wrong, %s: %s\n", name,
	       r.kills, (uintmax_t)r.operations, (uintmax_t)r.deaths_seen, (uintmax_t)r.wrong,
	       r.stalled ? "stalled" : "no stall", good ? "as it must be" : "WRONG");
	fflush(stdout);
	return good;
}

int
main(int argc, char **argv)
{
	unsigned kills = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 20000;
	unsigned seed = argc > 2 && argv[2][0] != '\0' ? (unsigned)strtoul(argv[2], NULL, 10)
						       : (unsigned)time(NULL);
	bool good = true;

	printf("kill_locks %u %u\n", kills, seed);
	fflush(stdout);
	good &= run("lock", LOCKS_LOCK, true, kills, seed);
	good &= run("semaphore", LOCKS_SEMAPHORE, true, kills, seed);
	good &= run("barrier", LOCKS_BARRIER, true, kills, seed);
	good &= run("pthread_mutex_t", LOCKS_LOCK, false, 1, seed);
	good &= run("sem_t", LOCKS_SEMAPHORE, false, 1, seed);
	good &= run("pthread_barrier_t", LOCKS_BARRIER, false, 1, seed);
	printf(good ? "6 passed\n" : "FAILED\n");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
