/*
 * tsan_thread.c - the real thread executor under TSan: four threads of one worker run jobs of
 * all sorts (tiny, computing, waiting, ranges) that a broker thread sends through the link.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/executor.h"
#include "ipc/link.h"
#include "tests/link.h"

#define JOBS  20000u
#define BURST 64
#define RANGE 5000 /* items of a range: two records of results */
#define SUM_N 1000 /* of sumsq */

static struct pool_config pool = { .name = "many", .workers = 1, .concurrency = 4 };
static struct worker worker = { .pool = &pool };
static uint64_t finished, items, wrong;

static void *
run_executor(void *status)
{
	*(int *)status = pool.executor->run(&worker);
	return NULL;
}

/* Every hundredth is a range, every tenth waits on a loop of its own thread. */
static int
send_one(struct link_broker *broker, uint64_t number)
{
	const char *kind = number % 100 == 0  ? "square"
			   : number % 10 == 0 ? "sleep"
			   : number % 2 == 0  ? "sumsq"
					      : "noop";
	int64_t word = strcmp(kind, "sumsq") == 0 ? SUM_N : 0; /* sleep: 0 ms */
	struct run_body run = { .id = number + 1 };
	unsigned index;

	if (kind_by_name(kind, &index) == NULL)
		return -1;
	run.kind = (uint16_t)index;
	if (strcmp(kind, "square") == 0)
		run.item_high = RANGE;
	return link_send_run(broker, &run, &word, sizeof(word), NULL, 0);
}

static void
take(struct link_broker *broker, const struct ring_record *record)
{
	const struct result_body *result = (const void *)record->body;
	const struct items_body *some = (const void *)record->body;

	if (record->type == MSG_RUN_ITEMS) {
		items += some->count;
	} else if (record->type == MSG_RESULT) {
		const struct usage *u = &result->outcome.usage;
		uint64_t run_ns = result->outcome.ended_ns - result->outcome.started_ns;
		wrong += result->outcome.state != JOB_SUCCEEDED;
		wrong += u->oncpu_ns + u->runqueue_ns + u->blocked_ns != run_ns;
		wrong += !link_ticket_is(broker, result->ticket);
		link_free_ticket(broker, ticket_index(result->ticket));
		finished++;
	}
}

static void
drive(struct link_broker *broker)
{
	const struct ring_record *record;
	uint64_t sent = 0;

	while (finished < JOBS) {
		for (int i = 0; i < BURST && sent < JOBS && send_one(broker, sent) >= 0; i++)
			sent++;
		link_wake(broker);
		while ((record = link_result(broker)) != NULL) {
			take(broker, record);
			link_result_release(broker, record);
		}
		link_drained(broker);
		sched_yield();
	}
}

int
main(void)
{
	static struct board board;
	static struct link_broker broker;
	pthread_t executor;
	struct link_fds fds;
	enum link_way way;
	int control[2], status = -1, broker_bell = bell_create();

	pool.executor = executor_by_name("thread");
	if (!link_way_by_name(test_link(), &way) || link_create(way, test_directory(), &fds) < 0 ||
	    link_broker_attach(&broker, &fds) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
		return 1;
	worker.control = control[1];
	/* One view for all: two mappings of the same page would hide races from TSan. */
	if (link_worker_attach(&worker.link, broker.shared, &board, &fds, broker_bell) < 0 ||
	    pthread_create(&executor, NULL, run_executor, &status) != 0)
		return 1;
	drive(&broker);
	close(control[0]); /* the order to stop */
	pthread_join(executor, NULL);
	link_broker_detach(&broker);
	close(control[1]);
	fds.bell = -1; /* was the broker's */
	link_discard(&fds);
	close(broker_bell);
	if (wrong != 0 || status != 0 || items != (uint64_t)RANGE * JOBS / 100) {
		printf("not ok: %lu wrong, status %d, %lu items\n", (unsigned long)wrong, status,
		       (unsigned long)items);
		return 1;
	}
	printf("%lu jobs, %lu items\n1 passed\n", (unsigned long)finished, (unsigned long)items);
	return 0;
}
