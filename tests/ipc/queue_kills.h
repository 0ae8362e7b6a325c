/*
 * queue_kills.h - a queue under fire: producers and consumers that are killed -9 at random
 * moments and replaced, and an account of every message.
 */
#ifndef PYPREP_TESTS_QUEUE_KILLS_H
#define PYPREP_TESTS_QUEUE_KILLS_H

#include <stdbool.h>
#include <stdint.h>

#define QUEUE_KILLS_PRODUCERS 4u
#define QUEUE_KILLS_CONSUMERS 4u

struct queue_kills {
	/* Asked. */
	uint32_t messages, kills, seed, capacity;
	/* Control arm: every owner seems to live (owner_alive is wrapped), so nothing is ever
	 * recovered. */
	bool blind;
	/* Found. */
	uint32_t producer_kills, consumer_kills;
	uint32_t put;           /* puts that returned */
	uint32_t unclear;       /* puts whose producer died in them ... */
	uint32_t unclear_got;   /* ... and which were got all the same */
	uint32_t got;           /* recorded by a consumer, once */
	uint32_t with_consumer; /* taken by a consumer that died before it could record it */
	uint32_t torn, doubled, invented, missing;
	uint64_t skipped, returned, lost; /* as the queue tells */
	bool wedged;                      /* no progress for long */
	char wrong[160];                  /* "": all as promised */
};

/* Run it; fills what was found.  Needs the linker's --wrap=owner_alive. */
void queue_kills_run(struct queue_kills *k);

/* Two lines of text. */
void queue_kills_print(const struct queue_kills *k);

#endif
