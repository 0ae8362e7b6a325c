/*
 * tsan_link.c - a broker thread and a worker of four threads on one link, with claims, results,
 * jobs taken back and stops: what the thread executor does, under TSan.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/link.h"
#include "tests/link.h"

#define THREADS 4
#define JOBS    200000u
#define BURST   64

static struct link_worker worker;
static pthread_mutex_t take_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t publish_lock = PTHREAD_MUTEX_INITIALIZER;

static void
finish(uint64_t ticket, uint64_t id)
{
	struct result_body result = { .ticket = ticket };
	result.outcome.result_length = sizeof(id);
	pthread_mutex_lock(&publish_lock);
	link_finish(&worker, &result, &id, NULL);
	pthread_mutex_unlock(&publish_lock);
}

static void *
work(void *unused)
{
	for (;;) {
		struct run_body run = { 0 };
		pthread_mutex_lock(&take_lock);
		const struct ring_record *record = link_next(&worker);
		if (record != NULL && record->type == MSG_RUN)
			memcpy(&run, record->body, sizeof(run));
		bool stop = record != NULL && record->type == MSG_STOP;
		if (record != NULL && !stop)
			link_release(&worker, record);
		else if (record == NULL)
			link_wait(&worker, -1); /* as the last free thread, it waits for all */
		pthread_mutex_unlock(&take_lock);
		if (stop) /* left in the ring: every thread sees it */
			return unused;
		if (record != NULL)
			finish(run.ticket, run.id);
	}
}

struct totals {
	uint64_t sent, finished, taken_back, wrong;
	unsigned char seen[JOBS + 1];
};

static void
drain(struct link_broker *broker, struct totals *t)
{
	const struct ring_record *record;
	while ((record = link_result(broker)) != NULL) {
		struct result_body result;
		uint64_t id;
		memcpy(&result, record->body, sizeof(result));
		memcpy(&id, record->body + sizeof(result), sizeof(id));
		link_result_release(broker, record);
		t->wrong += id == 0 || id > JOBS || t->seen[id]++ != 0;
		t->wrong += !link_ticket_is(broker, result.ticket);
		link_free_ticket(broker, ticket_index(result.ticket));
		t->finished++;
	}
	link_drained(broker);
}

static void
send_burst(struct link_broker *broker, struct totals *t)
{
	int last = -1;
	for (int i = 0; i < BURST && t->sent < JOBS; i++) {
		struct run_body body = { .id = t->sent + 1 };
		int r = link_send_run(broker, &body, "args", 4, NULL, 0);
		if (r < 0)
			break;
		last = r;
		t->sent++;
	}
	link_wake(broker);
	if (last >= 0 && link_reclaim(broker, (uint32_t)last)) {
		t->taken_back++;
		t->sent--; /* its id is the last one: sent again */
	}
}

int
main(void)
{
	static struct board board;
	static struct link_broker broker;
	static struct totals totals;
	pthread_t threads[THREADS];
	struct link_fds fds;
	enum link_way way;
	int broker_bell = bell_create();

	if (!link_way_by_name(test_link(), &way) || link_create(way, test_directory(), &fds) < 0 ||
	    link_broker_attach(&broker, &fds) < 0)
		return 1;
	/* One view for all: two mappings of the same page would hide races from TSan. */
	if (link_worker_attach(&worker, broker.shared, &board, &fds, broker_bell) < 0)
		return 1;
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, NULL) != 0)
			return 1;
	while (totals.finished < JOBS) {
		send_burst(&broker, &totals);
		drain(&broker, &totals);
		sched_yield();
	}
	while (link_send_stop(&broker, 0, CAUSE_CANCELLED) < 0)
		sched_yield();
	link_wake(&broker);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	link_broker_detach(&broker);
	fds.bell = -1; /* was the broker's */
	link_discard(&fds);
	close(broker_bell);
	if (totals.wrong != 0) {
		printf("not ok: %lu results were wrong\n", (unsigned long)totals.wrong);
		return 1;
	}
	printf("%lu jobs, %lu taken back\n1 passed\n", (unsigned long)totals.finished,
	       (unsigned long)totals.taken_back);
	return 0;
}
