/*
 * run.c - run one job on this thread: prepare, measure, publish.
 *
 * Each thread that runs jobs has one `struct runner`: its meter, and an event loop of its
 * own from the first I/O kind on.  Nothing else touches it.
 */
#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/executor.h"
#include "daemon/kinds/array_views.h"
#include "daemon/usage.h"
#include "ipc/clock.h"

#define CHUNK_ITEMS  4096u /* of an array job, in one record */
#define CHUNK_PIECES 64u   /* of a range(): they take long, and what is published is safe */

static _Thread_local struct runner {
	bool open;
	struct usage_meter meter;
	struct event_base *loop; /* NULL until an I/O kind runs */
} runner;

/* ---- calls ---- */

/* Field by field: the message buffer is not worth clearing for each job. */
void
call_begin(struct call *call, const struct run_body *run, const void *args)
{
	call->kind = kind_by_index(run->kind);
	call->args = args;
	call->id = run->id;
	call->attempt = run->attempt;
	call->outcome = (struct outcome){ .state = JOB_SUCCEEDED };
	msgpack_sbuffer_init(&call->result);
	call->message[0] = '\0';
}

void
call_end(struct call *call)
{
	msgpack_sbuffer_destroy(&call->result);
}

static void
lock_publishing(void *lock)
{
	if (lock != NULL)
		pthread_mutex_lock(lock);
}

/* A publisher that had to wait for room may have cleared a bell that was rung for the thread
 * that waits for requests: ring it again, a needless look is the price. */
static void
unlock_publishing(struct worker *w, void *lock, bool had_room)
{
	if (lock == NULL)
		return;
	pthread_mutex_unlock(lock);
	if (!had_room)
		bell_ring(w->link.bell);
}

void
run_publish(struct worker *w, struct call *call, uint64_t ticket, void *publish_lock)
{
	struct result_body body = { .ticket = ticket };

	call->outcome.result_length = (uint32_t)call->result.size;
	body.outcome = call->outcome;
	uint32_t length =
		(uint32_t)sizeof(body) + call->outcome.result_length + call->outcome.message_length;
	lock_publishing(publish_lock);
	bool had_room = publish_lock == NULL || link_has_room(&w->link, length);
	link_finish(&w->link, &body, call->result.data, call->message);
	unlock_publishing(w, publish_lock, had_room);
}

/* ---- array ranges ---- */

static void
compute_items(const struct kind *kind, int64_t first, uint32_t count, int64_t *ret)
{
	if (kind->items != NULL) {
		kind->items(first, count, ret);
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		ret[i] = kind->item(first + i);
}

/* One thread alone computes straight into the link. */
static void
chunk_in_place(struct worker *w, const struct kind *kind, const struct items_body *head)
{
	uint32_t bytes = head->count * (uint32_t)sizeof(int64_t);
	uint32_t length = (uint32_t)sizeof(*head) + bytes;
	struct items_body *place = link_reserve(&w->link, MSG_RUN_ITEMS, length);

	*place = *head;
	compute_items(kind, head->first, head->count, (int64_t *)(place + 1));
	link_publish(&w->link, length);
}

static void
publish_items(struct worker *w, const struct items_body *head, const int64_t *values, void *lock)
{
	uint32_t bytes = head->count * (uint32_t)sizeof(int64_t);
	uint32_t length = (uint32_t)sizeof(*head) + bytes;

	lock_publishing(lock);
	bool had_room = lock == NULL || link_has_room(&w->link, length);
	struct items_body *place = link_reserve(&w->link, MSG_RUN_ITEMS, length);
	*place = *head;
	memcpy(place + 1, values, bytes);
	link_publish(&w->link, length);
	unlock_publishing(w, lock, had_room);
}

/* Threads compute apart and take turns to copy, or they would wait for each other's
 * computing. */
static void
chunk_by_copy(struct worker *w, const struct kind *kind, const struct items_body *head, void *lock)
{
	int64_t apart[CHUNK_ITEMS];

	compute_items(kind, head->first, head->count, apart);
	publish_items(w, head, apart, lock);
}

/* Computed apart: a range() may end early, and only what it did is published. */
static bool
chunk_of_pieces(struct worker *w, struct call *call, struct items_body *head, void *lock)
{
	int64_t apart[CHUNK_PIECES];
	uint32_t wanted = head->count;

	head->count = call->kind->range(call, head->first, wanted, apart);
	if (head->count > 0)
		publish_items(w, head, apart, lock);
	return head->count == wanted;
}

static void
run_pieces(struct worker *w, struct call *call, const struct run_body *run, void *publish_lock)
{
	int64_t first = run->item_low;
	bool going = true;

	while (going && first < run->item_high) {
		uint64_t left = (uint64_t)run->item_high - (uint64_t)first;
		uint32_t count = left < CHUNK_PIECES ? (uint32_t)left : CHUNK_PIECES;
		struct items_body head = { .tag = run->ticket, .first = first, .count = count };
		going = chunk_of_pieces(w, call, &head, publish_lock);
		first += head.count;
	}
}

static void
run_range(struct worker *w, struct call *call, const struct run_body *run, void *publish_lock)
{
	int64_t first = run->item_low;

	while (first < run->item_high) {
		uint64_t left = (uint64_t)run->item_high - (uint64_t)first;
		uint32_t count = left < CHUNK_ITEMS ? (uint32_t)left : CHUNK_ITEMS;
		struct items_body head = { .tag = run->ticket, .first = first, .count = count };
		if (publish_lock == NULL)
			chunk_in_place(w, call->kind, &head);
		else
			chunk_by_copy(w, call->kind, &head, publish_lock);
		first += count;
	}
}

/* ---- I/O kinds on a loop of their own ---- */

struct event_base *
run_loop_new(void)
{
	struct event_config *config = event_config_new();
	if (config == NULL)
		return NULL;
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
	event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME);
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	struct event_base *loop = event_base_new_with_config(config);
	event_config_free(config);
	return loop;
}

static void
single_done(struct io_call *io)
{
	*(bool *)io->owner = true;
	event_base_loopbreak(io->base);
}

static void
run_io(struct io_call *io)
{
	bool done = false;

	io->base = runner.loop;
	io->state = NULL;
	io->done = single_done;
	io->owner = &done;
	io->oncpu_ns = 0;
	io_enter(io);
	io->call.kind->start(io);
	if (!done)
		io_leave(io);
	/* A kind that hangs has no event: the loop waits for one all the same. */
	while (!done)
		event_base_loop(runner.loop, EVLOOP_NO_EXIT_ON_EMPTY);
}

/* ---- one job ---- */

static void
open_runner(bool whole_process)
{
	runner.open = true;
	usage_open(&runner.meter, whole_process);
}

void
run_close(void)
{
	if (!runner.open)
		return;
	usage_close(&runner.meter);
	if (runner.loop != NULL)
		event_base_free(runner.loop);
	runner = (struct runner){ 0 };
}

int
run_patience_ms(void)
{
	return array_views_patience_ms();
}

void
run_idle(void)
{
	array_views_close_idle();
}

/* What keeps a request from running here: NULL, or why. */
static const char *
cannot_run(const struct kind *kind, const struct run_body *run)
{
	if (kind == NULL)
		return "the worker does not know the kind";
	if (kind->class == KIND_COMMAND)
		return "a command runs on a pool of executor command only";
	if (run->item_low < run->item_high && !kind_has_items(kind))
		return "the kind has no items";
	if (kind->class == KIND_IO && runner.loop == NULL) {
		runner.loop = run_loop_new();
		if (runner.loop == NULL)
			return "no memory for an event loop";
	}
	return NULL;
}

void
run_one(struct worker *w, const struct run_body *run, const void *args, void *publish_lock)
{
	struct io_call io;
	struct call *call = &io.call;

	if (!runner.open)
		open_runner(publish_lock == NULL);
	call_begin(call, run, args);
	const char *obstacle = cannot_run(call->kind, run);
	if (obstacle == NULL)
		usage_begin(&runner.meter, run->kind);
	call->outcome.started_ns = clock_now();
	if (obstacle != NULL)
		call_fail(call, "%s", obstacle);
	else if (run->item_low < run->item_high && call->kind->range != NULL)
		run_pieces(w, call, run, publish_lock);
	else if (run->item_low < run->item_high)
		run_range(w, call, run, publish_lock);
	else if (call->kind->class == KIND_IO)
		run_io(&io);
	else
		call->kind->run(call);
	call->outcome.ended_ns = clock_now();
	if (obstacle == NULL)
		usage_end(&runner.meter, run->kind, &call->outcome);
	run_publish(w, call, run->ticket, publish_lock);
	call_end(call);
}
