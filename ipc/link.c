/* link.c - the worker's and the broker's side of a link; see link.h */
#include "ipc/link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "ipc/clock.h"

#define LAST_WORDS_NS NS_PER_S /* what is published must not die with us */

_Static_assert(LINK_TICKETS <= 1u << TICKET_INDEX_BITS, "a ticket's name holds its index");

static uint64_t
word_of(uint64_t generation, enum ticket_state state)
{
	return generation << 2 | state;
}

/* ---- the worker's side ---- */

int
link_worker_attach(struct link_worker *l, struct link_shared *shared, struct board *board,
		   const struct link_fds *fds, int broker_bell)
{
	*l = (struct link_worker){
		.shared = shared,
		.board = board,
		.bell = fds->bell,
		.broker_bell = broker_bell,
	};
	return link_rows[shared->way].open(shared, fds, false, &l->requests, &l->results);
}

static bool
has_unread(const struct link_worker *l)
{
	for (uint32_t i = 0; i < LINK_TICKETS; i++)
		if (ticket_state(&l->shared->tickets[i]) == TICKET_DONE)
			return true;
	return false;
}

void
link_worker_detach(struct link_worker *l)
{
	uint64_t end_ns = clock_now() + LAST_WORDS_NS;

	while (link_rows[l->shared->way].loses && has_unread(l) && clock_now() < end_ns)
		poll(NULL, 0, 1);
	stage_close(&l->requests);
	stage_close(&l->results);
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

	while ((record = end_peek(&l->requests)) != NULL) {
		if (record->type != MSG_RUN || link_claim(l, (const void *)record->body))
			return record;
		end_release(&l->requests, record);
	}
	return NULL;
}

bool
link_ask_room(struct link_worker *l, uint32_t length)
{
	if (link_has_room(l, length))
		return true;
	atomic_store(&l->shared->worker_wants_room, 1);
	atomic_thread_fence(memory_order_seq_cst);
	wake_broker(l);
	return link_has_room(l, length);
}

/* Sleep until the broker has made room.  The flag is looked at by the broker after it
 * drained; the bell is the one that announces requests, so it may ring for those too. */
static void
wait_for_room(struct link_worker *l, uint32_t length)
{
	for (int i = 0; i < WAKE_LOOKS; i++) {
		if (link_has_room(l, length))
			return;
		if (!yield_cheaply())
			break;
	}
	while (!link_ask_room(l, length)) {
		struct pollfd p[2] = {
			{ .fd = l->bell, .events = POLLIN },
			{ .fd = l->results.fd, .events = POLLIN },
		};
		/* Another thread of this worker may clear the bell first: look again soon. */
		poll(p, 2, 10);
		bell_clear(l->bell);
	}
	atomic_store(&l->shared->worker_wants_room, 0);
}

void *
link_reserve(struct link_worker *l, unsigned type, uint32_t length)
{
	void *place;

	while ((place = end_reserve(&l->results, type, length)) == NULL)
		wait_for_room(l, length);
	return place;
}

static void
publish(struct link_worker *l, uint32_t length)
{
	while (end_commit(&l->results, length) < 0)
		wait_for_room(l, length);
}

void
link_publish(struct link_worker *l, uint32_t length)
{
	publish(l, length);
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
	uint32_t message_length = cut(body->outcome.message_length,
				      LINK_BODY_MAX - (uint32_t)sizeof(*body) - result_length);
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
	publish(l, length);

	struct ticket *t = &l->shared->tickets[ticket_index(body->ticket) % LINK_TICKETS];
	uint64_t generation = ticket_generation(body->ticket);
	uint64_t claimed = word_of(generation, TICKET_CLAIMED);
	/* Not a plain store: the broker may have read the result, freed the ticket and used
	 * it again already. */
	atomic_compare_exchange_strong(&t->word, &claimed, word_of(generation, TICKET_DONE));
	wake_broker(l);
}

int
link_wait_for(struct link_worker *l, int other_fd, int timeout_ms)
{
	for (int i = 0; i < WAKE_LOOKS; i++) {
		if (link_has_request(l))
			return 1;
		if (!yield_cheaply())
			break;
	}
	for (;;) {
		wake_arm(&l->shared->worker);
		if (link_has_request(l)) {
			wake_disarm(&l->shared->worker);
			return 1;
		}
		struct pollfd p[3] = {
			{ .fd = l->bell, .events = POLLIN },
			{ .fd = other_fd, .events = POLLIN },
			{ .fd = l->requests.fd, .events = POLLIN },
		};
		int n = poll(p, l->requests.fd < 0 ? 2 : 3, timeout_ms);
		wake_disarm(&l->shared->worker);
		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0)
			return -EINTR;
		if (p[0].revents != 0)
			bell_clear(l->bell);
		if (link_has_request(l))
			return 1;
		if (p[1].revents != 0)
			return 0;
	}
}

int
link_wait(struct link_worker *l, int other_fd)
{
	return link_wait_for(l, other_fd, -1);
}

/* ---- the broker's side ---- */

int
link_broker_attach(struct link_broker *l, const struct link_fds *fds)
{
	struct link_shared *shared;
	int r = link_map(fds->memfd, &shared);
	if (r < 0)
		return r;

	r = link_rows[shared->way].open(shared, fds, true, &l->requests, &l->results);
	if (r < 0) {
		link_unmap(shared);
		return r;
	}
	l->shared = shared;
	l->bell = fds->bell;
	/* A broker killed between claiming the ring (wake.h) and ringing has left a worker that
	 * sleeps, and a word that says it does not. */
	if (l->bell >= 0 && !link_is_fresh(l))
		bell_ring(l->bell);
	l->free_count = 0;
	for (uint32_t i = LINK_TICKETS; i-- > 0;)
		if (link_is_fresh(l) || ticket_state(&l->shared->tickets[i]) == TICKET_FREE)
			l->free_list[l->free_count++] = (uint16_t)i;
	return 0;
}

bool
link_is_fresh(const struct link_broker *l)
{
	if (l->requests.carrier == NULL)
		return l->requests.ring.mine == 0;
	return atomic_load_explicit(&l->shared->used, memory_order_relaxed) == 0;
}

void
link_broker_detach(struct link_broker *l)
{
	stage_close(&l->requests);
	stage_close(&l->results);
	link_unmap(l->shared);
	if (l->bell >= 0)
		close(l->bell);
	l->shared = NULL;
	l->bell = -1;
}

/* There was no room after all: the ticket is free again. */
static int
never_sent(struct link_broker *l, uint32_t index, uint64_t generation)
{
	atomic_store_explicit(&l->shared->tickets[index].word, word_of(generation, TICKET_FREE),
			      memory_order_relaxed);
	l->free_list[l->free_count++] = (uint16_t)index;
	return -EAGAIN;
}

int
link_send_run(struct link_broker *l, struct run_body *body, const void *args, uint32_t args_length,
	      const void *context, uint32_t context_length)
{
	uint32_t length = (uint32_t)sizeof(*body) + args_length + context_length;
	if (length > LINK_BODY_MAX)
		return -EMSGSIZE;
	if (l->free_count == 0)
		return -EAGAIN;
	struct run_body *place = end_reserve(&l->requests, MSG_RUN, length);
	if (place == NULL)
		return -EAGAIN;

	uint32_t index = l->free_list[--l->free_count];
	struct ticket *t = &l->shared->tickets[index];
	uint64_t generation = (atomic_load_explicit(&t->word, memory_order_relaxed) >> 2) + 1;
	body->ticket = ticket_name(index, generation);
	body->args_length = args_length;
	body->context_length = context_length;
	*place = *body;
	unsigned char *tail = (unsigned char *)(place + 1);
	if (args_length > 0)
		memcpy(tail, args, args_length);
	if (context_length > 0)
		memcpy(tail + args_length, context, context_length);
	if (l->requests.carrier != NULL)
		atomic_store_explicit(&l->shared->used, 1, memory_order_relaxed);
	atomic_store_explicit(&t->claimed_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&t->id, body->id, memory_order_relaxed);
	atomic_store_explicit(&t->deadline_span_ns, body->timeout_ns, memory_order_relaxed);
	atomic_store_explicit(&t->word, word_of(generation, TICKET_READY), memory_order_release);
	if (end_commit(&l->requests, length) < 0)
		return never_sent(l, index, generation);
	return (int)index;
}

int
link_send_stop(struct link_broker *l, uint32_t index, enum job_cause reason)
{
	struct stop_body *place = end_reserve(&l->requests, MSG_STOP, sizeof(*place));
	if (place == NULL)
		return -EAGAIN;
	uint64_t word = atomic_load(&l->shared->tickets[index].word);
	*place = (struct stop_body){ .ticket = ticket_name(index, word >> 2), .reason = reason };
	return end_commit(&l->requests, sizeof(*place));
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
