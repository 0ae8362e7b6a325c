/* link.c - the worker's and the broker's side of a link; see link.h */
#include "ipc/link.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "shm/segment.h"

_Static_assert(LINK_TICKETS <= 1u << TICKET_INDEX_BITS, "a ticket's name holds its index");

static uint64_t
word_of(uint64_t generation, enum ticket_state state)
{
	return generation << 2 | state;
}

static unsigned char *
request_ring(struct link_shared *shared)
{
	return shared->rings;
}

static unsigned char *
result_ring(struct link_shared *shared)
{
	return shared->rings + ring_footprint(LINK_REQUEST_BYTES);
}

size_t
link_footprint(void)
{
	return sizeof(struct link_shared) + ring_footprint(LINK_REQUEST_BYTES) +
	       ring_footprint(LINK_RESULT_BYTES);
}

/* ---- the worker's side ---- */

int
link_worker_attach(struct link_worker *l, void *base, struct board *board, int bell,
		   int broker_bell)
{
	*l = (struct link_worker){
		.shared = base,
		.board = board,
		.bell = bell,
		.broker_bell = broker_bell,
	};
	int r = ring_attach_consumer(&l->requests, request_ring(base), LINK_REQUEST_BYTES);
	if (r == 0)
		r = ring_attach_producer(&l->results, result_ring(base), LINK_RESULT_BYTES);
	return r;
}

static void
wake_broker(struct link_worker *l)
{
	if (wake_needed(&l->board->broker))
		bell_ring(l->broker_bell);
}

void
link_worker_ready(struct link_worker *l)
{
	atomic_store(&l->shared->ready_ns, clock_now());
	atomic_store(&l->shared->worker_ready, 1);
	wake_broker(l);
}

bool
link_claim(struct link_worker *l, const struct run_body *run)
{
	struct ticket *t = &l->shared->tickets[ticket_index(run->ticket) % LINK_TICKETS];
	uint64_t generation = ticket_generation(run->ticket);
	uint64_t ready = word_of(generation, TICKET_READY);

	if (!atomic_compare_exchange_strong(&t->word, &ready, word_of(generation, TICKET_CLAIMED)))
		return false;
	atomic_store_explicit(&t->claimed_ns, clock_now(), memory_order_release);
	atomic_fetch_add_explicit(&l->shared->claims, 1, memory_order_relaxed);
	return true;
}

const struct ring_record *
link_next(struct link_worker *l)
{
	const struct ring_record *record;

	while ((record = ring_peek(&l->requests)) != NULL) {
		if (record->type != MSG_RUN || link_claim(l, (const void *)record->body))
			return record;
		ring_release(&l->requests, record);
	}
	return NULL;
}

void
link_release(struct link_worker *l, const struct ring_record *record)
{
	ring_release(&l->requests, record);
}

/* Sleep until the broker has made room.  The flag is looked at by the broker after it
 * drained; the bell is the one that announces requests, so it may ring for those too. */
static void
wait_for_room(struct link_worker *l, uint32_t length)
{
	for (int i = 0; i < WAKE_LOOKS; i++) {
		if (ring_has_room(&l->results, length))
			return;
		sched_yield();
	}
	while (!ring_has_room(&l->results, length)) {
		atomic_store(&l->shared->worker_wants_room, 1);
		atomic_thread_fence(memory_order_seq_cst);
		wake_broker(l);
		if (ring_has_room(&l->results, length))
			break;
		struct pollfd p = { .fd = l->bell, .events = POLLIN };
		/* Another thread of this worker may clear the bell first: look again soon. */
		poll(&p, 1, 10);
		bell_clear(l->bell);
	}
	atomic_store(&l->shared->worker_wants_room, 0);
}

void *
link_reserve(struct link_worker *l, unsigned type, uint32_t length)
{
	void *place;

	while ((place = ring_reserve(&l->results, type, length)) == NULL)
		wait_for_room(l, length);
	return place;
}

void
link_publish(struct link_worker *l, uint32_t length)
{
	ring_commit(&l->results, length);
	wake_broker(l);
}

static uint32_t
cut(uint32_t length, uint32_t max)
{
	return length < max ? length : max;
}

void
link_finish(struct link_worker *l, const struct result_body *body, const void *result,
	    const void *message)
{
	const uint32_t tail_max = LINK_RESULT_BYTES / 4;
	uint32_t result_length = cut(body->outcome.result_length, tail_max);
	uint32_t message_length = cut(body->outcome.message_length, tail_max);
	uint32_t length = (uint32_t)sizeof(*body) + result_length + message_length;
	struct result_body *place = link_reserve(l, MSG_RESULT, length);

	*place = *body;
	place->outcome.result_length = result_length;
	place->outcome.message_length = message_length;
	unsigned char *tail = (unsigned char *)(place + 1);
	if (result_length > 0)
		memcpy(tail, result, result_length);
	if (message_length > 0)
		memcpy(tail + result_length, message, message_length);
	ring_commit(&l->results, length);

	struct ticket *t = &l->shared->tickets[ticket_index(body->ticket) % LINK_TICKETS];
	uint64_t generation = ticket_generation(body->ticket);
	uint64_t claimed = word_of(generation, TICKET_CLAIMED);
	/* Not a plain store: the broker may have read the result, freed the ticket and used
	 * it again already. */
	atomic_compare_exchange_strong(&t->word, &claimed, word_of(generation, TICKET_DONE));
	wake_broker(l);
}

int
link_wait(struct link_worker *l, int other_fd)
{
	for (int i = 0; i < WAKE_LOOKS; i++) {
		if (!ring_is_empty(&l->requests))
			return 1;
		sched_yield();
	}
	for (;;) {
		wake_arm(&l->shared->worker);
		if (!ring_is_empty(&l->requests)) {
			wake_disarm(&l->shared->worker);
			return 1;
		}
		struct pollfd p[2] = {
			{ .fd = l->bell, .events = POLLIN },
			{ .fd = other_fd, .events = POLLIN },
		};
		int n = poll(p, other_fd < 0 ? 1 : 2, -1);
		wake_disarm(&l->shared->worker);
		if (n < 0)
			return -EINTR;
		if (p[0].revents != 0)
			bell_clear(l->bell);
		if (!ring_is_empty(&l->requests))
			return 1;
		if (other_fd >= 0 && p[1].revents != 0)
			return 0;
	}
}

/* ---- the broker's side ---- */

int
link_broker_attach(struct link_broker *l, int memfd, int bell)
{
	void *base;
	int r = segment_map(memfd, link_footprint(), &base);
	if (r < 0)
		return r;

	l->shared = base;
	r = ring_attach_producer(&l->requests, request_ring(base), LINK_REQUEST_BYTES);
	if (r == 0)
		r = ring_attach_consumer(&l->results, result_ring(base), LINK_RESULT_BYTES);
	if (r < 0) {
		segment_unmap(base, link_footprint());
		return r;
	}
	l->bell = bell;
	l->free_count = 0;
	for (uint32_t i = LINK_TICKETS; i-- > 0;)
		if (link_is_fresh(l) || ticket_state(&l->shared->tickets[i]) == TICKET_FREE)
			l->free_list[l->free_count++] = (uint16_t)i;
	return 0;
}

bool
link_is_fresh(const struct link_broker *l)
{
	return l->requests.mine == 0;
}

void
link_broker_detach(struct link_broker *l)
{
	segment_unmap(l->shared, link_footprint());
	if (l->bell >= 0)
		close(l->bell);
	l->shared = NULL;
	l->bell = -1;
}

int
link_send_run(struct link_broker *l, struct run_body *body, const void *args,
	      uint32_t args_length, const void *context, uint32_t context_length)
{
	uint32_t length = (uint32_t)sizeof(*body) + args_length + context_length;
	if (length > ring_body_max(LINK_REQUEST_BYTES))
		return -EMSGSIZE;
	if (l->free_count == 0)
		return -EAGAIN;
	struct run_body *place = ring_reserve(&l->requests, MSG_RUN, length);
	if (place == NULL)
		return -EAGAIN;

	uint32_t index = l->free_list[--l->free_count];
	struct ticket *t = &l->shared->tickets[index];
	uint64_t generation =
		(atomic_load_explicit(&t->word, memory_order_relaxed) >> 2) + 1;
	body->ticket = ticket_name(index, generation);
	body->args_length = args_length;
	body->context_length = context_length;
	*place = *body;
	unsigned char *tail = (unsigned char *)(place + 1);
	if (args_length > 0)
		memcpy(tail, args, args_length);
	if (context_length > 0)
		memcpy(tail + args_length, context, context_length);
	atomic_store_explicit(&t->claimed_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&t->id, body->id, memory_order_relaxed);
	atomic_store_explicit(&t->deadline_span_ns, body->timeout_ns, memory_order_relaxed);
	atomic_store_explicit(&t->word, word_of(generation, TICKET_READY), memory_order_release);
	ring_commit(&l->requests, length);
	return (int)index;
}

int
link_send_stop(struct link_broker *l, uint32_t index, enum job_cause reason)
{
	struct stop_body *place = ring_reserve(&l->requests, MSG_STOP, sizeof(*place));
	if (place == NULL)
		return -EAGAIN;
	uint64_t word = atomic_load(&l->shared->tickets[index].word);
	*place = (struct stop_body){ .ticket = ticket_name(index, word >> 2), .reason = reason };
	ring_commit(&l->requests, sizeof(*place));
	return 0;
}

void
link_wake(struct link_broker *l)
{
	if (wake_needed(&l->shared->worker))
		bell_ring(l->bell);
}

bool
link_reclaim(struct link_broker *l, uint32_t index)
{
	struct ticket *t = &l->shared->tickets[index];
	uint64_t word = atomic_load(&t->word);

	if ((word & 3) != TICKET_READY ||
	    !atomic_compare_exchange_strong(&t->word, &word, word_of(word >> 2, TICKET_FREE)))
		return false;
	l->free_list[l->free_count++] = (uint16_t)index;
	return true;
}

void
link_free_ticket(struct link_broker *l, uint32_t index)
{
	struct ticket *t = &l->shared->tickets[index];
	uint64_t word = atomic_load_explicit(&t->word, memory_order_relaxed);

	atomic_store_explicit(&t->word, word_of(word >> 2, TICKET_FREE), memory_order_relaxed);
	l->free_list[l->free_count++] = (uint16_t)index;
}

bool
link_ticket_is(struct link_broker *l, uint64_t name)
{
	uint32_t index = ticket_index(name);
	return index < LINK_TICKETS &&
	       atomic_load(&l->shared->tickets[index].word) >> 2 == ticket_generation(name);
}

void
link_drained(struct link_broker *l)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&l->shared->worker_wants_room, memory_order_relaxed) != 0 &&
	    atomic_exchange(&l->shared->worker_wants_room, 0) != 0)
		bell_ring(l->bell);
}
