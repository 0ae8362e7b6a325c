/*
 * tsan_ring.c - one producer thread, one consumer thread, every way to read a ring: TSan
 * checks that each byte of a record is ordered by the positions alone.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ring.h"

#define CAPACITY 4096u
#define RECORDS  200000u

static struct ring_shared *shared;

static void *
produce(void *unused)
{
	struct ring r;
	if (ring_attach_producer(&r, shared, CAPACITY) < 0)
		abort();
	for (uint32_t i = 0; i < RECORDS; i++) {
		uint32_t length = 4 + i * 7 % 300;
		unsigned char *place;
		while ((place = ring_reserve(&r, 1 + i % 3, length)) == NULL)
			sched_yield();
		memset(place, (int)(i & 255), length);
		ring_commit(&r, length - i % 4);
	}
	return unused;
}

/* Records in turn by copy and in place; the number of bytes that were wrong. */
static unsigned
consume(void)
{
	struct ring r;
	unsigned char body[512];
	unsigned wrong = 0;
	if (ring_attach_consumer(&r, shared, CAPACITY) < 0)
		abort();
	for (uint32_t i = 0; i < RECORDS;) {
		uint32_t type, length;
		if (i % 2 == 0) {
			if (ring_copy(&r, body, sizeof(body), &type, &length) != 1) {
				sched_yield();
				continue;
			}
		} else {
			const struct ring_record *record = ring_peek(&r);
			if (record == NULL) {
				sched_yield();
				continue;
			}
			type = record->type;
			length = record->length;
			memcpy(body, record->body, length);
			ring_release(&r, record);
		}
		wrong += type != 1 + i % 3 || length != 4 + i * 7 % 300 - i % 4;
		for (uint32_t k = 0; k < length; k++)
			wrong += body[k] != (i & 255);
		i++;
	}
	return wrong;
}

int
main(void)
{
	pthread_t producer;
	shared = aligned_alloc(RING_LINE, ring_footprint(CAPACITY));
	if (shared == NULL)
		return 1;
	memset(shared, 0, ring_footprint(CAPACITY));
	if (pthread_create(&producer, NULL, produce, NULL) != 0)
		return 1;
	unsigned wrong = consume();
	pthread_join(producer, NULL);
	free(shared);
	if (wrong != 0) {
		printf("not ok: %u bytes or lengths were wrong\n", wrong);
		return 1;
	}
	puts("1 passed");
	return 0;
}
