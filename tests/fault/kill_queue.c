/*
 * kill_queue.c - kill_queue KILLS MESSAGES SEED [blind]: producers and consumers of a queue are
 * killed -9 at random moments, and every message is accounted for.  Exit status 0 when it was all
 * as promised.  `blind` is the control arm: nobody seems dead, nothing is recovered, and it must
 * fail.  SEED "" or left out: a new one, printed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/ipc/queue_kills.h"

int
main(int argc, char **argv)
{
	struct queue_kills k = {
		.kills = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 2000,
		.messages = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000000,
		.seed = argc > 3 && argv[3][0] != '\0' ? (uint32_t)strtoul(argv[3], NULL, 10)
						       : (uint32_t)time(NULL),
		.capacity = 16,
		.blind = argc > 4 && strcmp(argv[4], "blind") == 0,
	};

	printf("kill_queue %u %u %u%s\n", k.kills, k.messages, k.seed, k.blind ? " blind" : "");
	fflush(stdout);
	queue_kills_run(&k);
	queue_kills_print(&k);
	bool good = k.wrong[0] == '\0';
	printf(good ? "1 passed\n" : "FAILED\n");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
