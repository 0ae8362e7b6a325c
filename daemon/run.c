/*
 * run.c - run one job on this thread: prepare, measure, publish.
 *
 * Each thread that runs jobs has one `struct runner`: its meter, and an event loop of its
 * own from the first I/O kind on.  Nothing else touches it.
 */
#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config.h"
#include "daemon/executor.h"
#include "daemon/kinds/array_views.h"
#include "daemon/left.h"
#include "daemon/limits.h"
#include "daemon/scratch.h"
#include "daemon/usage.h"
#include "ipc/clock.h"

#define CHUNK_ITEMS  4096u /* of an array job, in one record */
#define CHUNK_PIECES 64u   /* of a range(): they take long, and what is published is safe */

static _Thread_local struct runner {
	bool open;
	struct usage_meter meter;
	struct left_watch left;  /* in a worker that runs one job at a time */
	struct event_base *loop; /* NULL until an I/O kind runs */
} runner;

static struct worker *here; /* this process; NULL in a test */

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
	call->scratch = NULL;
	call->growth_kib = 0;
	call->flags = run->memory_bytes != 0 ? RECEIPT_LIMIT_PROCESS : 0;
	msgpack_sbuffer_init(&call->result);
	call->message[0] = '\0';
}

/* Remove its directory.  true: something was in it. */
static bool
end_scratch(struct call *call, struct left_body *left)
{
	struct scratch_count count;

	if (scratch_clear(call->scratch, false, &count))
		worker_litters(here);
	free(call->scratch);
	call->scratch = NULL;
	left->files = count.files;
	left->bytes = count.bytes;
	left->flags = count.more ? LEFT_MORE : 0;
	return count.files > 0 || count.more;
}

void
call_end(struct call *call)
{
	struct left_body nobody;

	if (call->scratch != NULL)
		(void)end_scratch(call, &nobody);
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
run_tell_left(struct worker *w, const struct left_body *left)
{
	struct left_body *place = link_reserve(&w->link, MSG_RUN_LEFT, (uint32_t)sizeof(*left));

	*place = *left;
	link_publish(&w->link, (uint32_t)sizeof(*left));
}

uint32_t
run_result_flags(struct worker *w, uint32_t flags, uint64_t now_ns)
{
	return recycle_job(&w->recycle, now_ns) ? flags | RESULT_SPENT : flags;
}

/* Its directory goes, and what was in it is told. */
static void
publish_scratch(struct worker *w, struct call *call, uint64_t ticket, void *lock)
{
	struct left_body left = { .ticket = ticket };
	unsigned index;

	if (!end_scratch(call, &left) || kind_by_name(call->kind->name, &index) == NULL)
		return;
	left.kind = (uint16_t)index;
	lock_publishing(lock);
	bool had_room = lock == NULL || link_has_room(&w->link, (uint32_t)sizeof(left));
	run_tell_left(w, &left);
	unlock_publishing(w, lock, had_room);
}

void
run_publish(struct worker *w, struct call *call, uint64_t ticket, void *publish_lock)
{
	struct result_body body = { .ticket = ticket, .growth_kib = call->growth_kib };

	if (call->scratch != NULL)
		publish_scratch(w, call, ticket, publish_lock);
	call->outcome.result_length = (uint32_t)call->result.size;
	body.flags = run_result_flags(w, call->flags, call->outcome.ended_ns);
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

void
run_open(struct worker *w)
{
	here = w;
}

const char *
call_scratch(struct call *call)
{
	char name[SCRATCH_NAME];

	if (call->scratch != NULL)
		return call->scratch->path;
	if (here == NULL || here->scratch_home == NULL) {
		call_fail(call, "there are no scratch directories here; see the daemon's log");
		return NULL;
	}
	struct scratch *s = malloc(sizeof(*s));
	if (s == NULL) {
		call_no_memory(call, "no memory for a scratch directory");
		return NULL;
	}
	snprintf(name, sizeof(name), "%.31s-%u-%llu", here->pool->name, here->slot,
		 (unsigned long long)call->id);
	scratch_init(s, here->scratch_home, name);
	int r = scratch_take(s, false, 0, 0);
	if (r < 0) {
		call_fail(call, "cannot make a scratch directory in %s: %s", here->scratch_home,
			  strerror(-r));
		free(s);
		return NULL;
	}
	call->scratch = s;
	return s->path;
}

void
worker_litters(const struct worker *w)
{
	struct empty_body empty = { 0 };

	(void)frame_send(w->control, MSG_LITTER, &empty, NULL, 0, NULL, 0);
}

void
worker_wait_for_end(const struct worker *w)
{
	struct pollfd control = { .fd = w->control, .events = POLLIN };

	while (poll(&control, 1, -1) != 1)
		;
}

static void
open_runner(const struct worker *w, bool whole_process)
{
	runner.open = true;
	usage_open(&runner.meter, whole_process);
	runner.left.directory = -1;
	/* ZeroMQ's threads open descriptors when they like. */
	if (whole_process)
		left_open(&runner.left, w->link.shared->way != LINK_ZMQ);
}

void
run_close(void)
{
	if (!runner.open)
		return;
	usage_close(&runner.meter);
	left_close(&runner.left);
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
		int64_t open = left_before_own(&runner.left);
		runner.loop = run_loop_new();
		left_after_own(&runner.left, open);
		if (runner.loop == NULL)
			return "no memory for an event loop";
	}
	return NULL;
}

/* Look at what there is before a run that is measured in full. */
static void
look_before(struct worker *w)
{
	struct left_body left;

	if (!left_begin(&runner.left, &left))
		return;
	recycle_now(&w->recycle);
	run_tell_left(w, &left);
}

/* What the run left behind. */
static void
look_after(struct worker *w, struct call *call, const struct run_body *run)
{
	struct left_body left = { .ticket = run->ticket, .kind = run->kind };

	call->flags |= RESULT_MEASURED;
	call->growth_kib = (int32_t)(runner.meter.growth / 1024);
	if (!left_end(&runner.left, call->kind, &left))
		return;
	if (left.descriptors > 0)
		recycle_now(&w->recycle);
	run_tell_left(w, &left);
}

static void
run_kind(struct worker *w, struct io_call *io, const struct run_body *run, void *publish_lock)
{
	struct call *call = &io->call;

	if (run->item_low < run->item_high && call->kind->range != NULL)
		run_pieces(w, call, run, publish_lock);
	else if (run->item_low < run->item_high)
		run_range(w, call, run, publish_lock);
	else if (call->kind->class == KIND_IO)
		run_io(io);
	else
		call->kind->run(call);
}

bool
run_one(struct worker *w, const struct run_body *run, const void *args, void *publish_lock)
{
	struct io_call io;
	struct call *call = &io.call;
	struct limits limits;
	bool alone = publish_lock == NULL, undone = true;

	if (!runner.open)
		open_runner(w, alone);
	call_begin(call, run, args);
	const char *obstacle = cannot_run(call->kind, run);
	if (obstacle == NULL)
		obstacle = limits_begin(&limits, run, alone);
	if (obstacle == NULL && alone && usage_is_due(&runner.meter, run->kind))
		look_before(w);
	if (obstacle == NULL)
		usage_begin(&runner.meter, run->kind);
	call->outcome.started_ns = clock_now();
	if (obstacle == NULL)
		run_kind(w, &io, run, publish_lock);
	else
		call_fail(call, "%s", obstacle);
	call->outcome.ended_ns = clock_now();
	if (obstacle == NULL) {
		usage_end(&runner.meter, run->kind, &call->outcome);
		undone = limits_end(&limits);
		if (alone && runner.meter.full)
			look_after(w, call, run);
		else
			left_short(&runner.left, run->kind);
	}
	if (!undone) {
		recycle_now(&w->recycle);
		call->flags |= alone ? RESULT_HALTED : 0;
	}
	run_publish(w, call, run->ticket, publish_lock);
	call_end(call);
	return undone;
}
