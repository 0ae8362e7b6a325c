/* test_ipc_link.c - ipc/link.h over each way: tickets, order, sizes, room, waking, a new broker. */
#include <criterion/criterion.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/queue.h"
#include "tests/ipc/link_fixture.h"
#include "tests/link.h"
#include "tests/process.h"

/* Both sides here. */
static void
setup(void)
{
	fixture_begin();
	cr_assert(attach_worker(&worker));
}

TestSuite(ipc_link, .init = setup, .fini = fixture_end, .timeout = 600);
/* The worker is a child. */
TestSuite(ipc_link_child, .init = fixture_begin_apart, .fini = fixture_end, .timeout = 600);

static enum ticket_state
state_of(int index)
{
	return ticket_state(&broker.shared->tickets[index]);
}

Test(ipc_link, a_job_goes_through_ready_claimed_done_and_free)
{
	int t = send_job_soon(77);
	cr_assert_eq(state_of(t), TICKET_READY);
	const struct ring_record *record = next_request(&worker);
	cr_assert(record->type == MSG_RUN && run_of(record)->id == 77);
	cr_assert_eq(memcmp(run_of(record) + 1, "args", 4), 0);
	cr_assert_eq(state_of(t), TICKET_CLAIMED);
	cr_assert_eq(broker.shared->claims, 1);
	cr_assert_gt(broker.shared->tickets[t].claimed_ns, 0);
	finish(&worker, record);
	link_release(&worker, record);
	cr_assert_eq(state_of(t), TICKET_DONE);
	cr_assert_eq(next_result(), 77);
	cr_assert_eq(state_of(t), TICKET_FREE);
	cr_assert_eq(broker.free_count, LINK_TICKETS);
}

Test(ipc_link, what_is_taken_back_is_skipped_by_the_worker)
{
	int first = send_job_soon(1), second = send_job(2), third = send_job(3);
	cr_assert(first >= 0 && third >= 0);
	cr_assert(link_reclaim(&broker, (uint32_t)second));
	cr_assert_not(link_reclaim(&broker, (uint32_t)second), "taken back twice");

	const struct ring_record *record = next_request(&worker);
	cr_assert_eq(run_of(record)->id, 1);
	cr_assert_not(link_reclaim(&broker, (uint32_t)first), "taken back after its claim");
	link_release(&worker, record);
	record = next_request(&worker);
	cr_assert_eq(run_of(record)->id, 3);
	link_release(&worker, record);
	cr_assert_null(link_next(&worker));
}

Test(ipc_link, a_stale_record_does_not_claim_the_tickets_next_use)
{
	int t = send_job_soon(1);
	cr_assert(link_reclaim(&broker, (uint32_t)t));
	cr_assert_eq(send_job(2), t, "the same ticket is used again");
	const struct ring_record *record = next_request(&worker);
	cr_assert_eq(run_of(record)->id, 2);
	link_release(&worker, record);
	cr_assert_null(link_next(&worker));
	cr_assert_eq(broker.shared->claims, 1);
}

Test(ipc_link, tickets_run_out_at_their_number_and_come_back)
{
	int sent = 1;
	send_job_soon(1);
	while (send_job((uint64_t)sent + 1) >= 0)
		sent++;
	cr_assert_eq(send_job(1), -EAGAIN);
	cr_assert_leq((unsigned)sent, LINK_TICKETS);
	for (int i = 0; i < sent; i++) {
		const struct ring_record *record = next_request(&worker);
		finish(&worker, record);
		link_release(&worker, record);
		cr_assert_eq(next_result(), (uint64_t)i + 1);
	}
	cr_assert_geq(send_job(1), 0);
}

Test(ipc_link, arguments_that_never_fit_are_refused_and_cost_no_ticket)
{
	struct run_body body = { .id = 1 };
	uint32_t before = broker.free_count;
	cr_assert_eq(link_send_run(&broker, &body, "", LINK_REQUEST_BYTES, NULL, 0), -EMSGSIZE);
	cr_assert_eq(broker.free_count, before);
}

Test(ipc_link, a_result_longer_than_the_ring_is_cut_and_says_so)
{
	char *text = calloc(1, LINK_RESULT_BYTES);
	send_job_soon(1);
	const struct ring_record *record = next_request(&worker);
	struct result_body result = { .ticket = run_of(record)->ticket };
	result.outcome.result_length = LINK_RESULT_BYTES;
	link_finish(&worker, &result, text, NULL);
	link_release(&worker, record);
	cr_assert(wait_until(PATIENCE_MS, (record = link_result(&broker)) != NULL));
	struct result_body got;
	memcpy(&got, record->body, sizeof(got));
	cr_assert_lt(got.outcome.result_length, LINK_RESULT_BYTES);
	cr_assert_eq(record->length, sizeof(got) + got.outcome.result_length);
	free(text);
}

Test(ipc_link, stop_names_the_present_use_of_its_ticket)
{
	int t = send_job_soon(1);
	const struct ring_record *record = next_request(&worker);
	uint64_t name = run_of(record)->ticket;
	link_release(&worker, record);
	cr_assert_eq(link_send_stop(&broker, (uint32_t)t, CAUSE_TIMEOUT), 0);
	record = next_request(&worker);
	cr_assert_eq(record->type, MSG_STOP);
	const struct stop_body *stop = (const void *)record->body;
	cr_assert(stop->ticket == name && stop->reason == CAUSE_TIMEOUT);
	link_release(&worker, record);
}

Test(ipc_link_child, a_worker_waits_for_room_until_the_broker_has_drained)
{
	const uint64_t jobs = 200;
	pid_t child = test_fork();
	if (child == 0) { /* each with a result that fills an eighth of the ring */
		if (!attach_worker(&worker))
			_exit(1);
		static char filler[LINK_RESULT_BYTES / 8];
		for (uint64_t n = 0; n < jobs;) {
			const struct ring_record *record = link_next(&worker);
			if (record == NULL) {
				link_wait(&worker, -1);
				continue;
			}
			memcpy(filler, &run_of(record)->id, sizeof(uint64_t));
			struct result_body result = { .ticket = run_of(record)->ticket };
			result.outcome.result_length = sizeof(filler);
			link_finish(&worker, &result, filler, NULL);
			link_release(&worker, record);
			n++;
		}
		link_worker_detach(&worker);
		_exit(0);
	}
	cr_assert(attach_broker(&broker));
	for (uint64_t i = 1; i <= jobs; i++)
		send_job_soon(i);
	link_wake(&broker);
	cr_assert(wait_until(PATIENCE_MS, broker.shared->worker_wants_room != 0 || link_loses()));
	for (uint64_t i = 1; i <= jobs; i++) {
		uint64_t id = 0;
		cr_assert(wait_until(PATIENCE_MS, (id = take_result()) != 0), "stalled at %lu", i);
		cr_assert_eq(id, i);
		link_drained(&broker);
	}
	cr_assert_eq(wait_exit(child, PATIENCE_MS), 0);
}

Test(ipc_link_child, a_sleeping_worker_wakes_for_a_job_and_for_its_other_descriptor)
{
	int other[2];
	cr_assert_eq(pipe(other), 0);
	pid_t child = test_fork();
	if (child == 0) {
		close(other[1]);
		if (!attach_worker(&worker) || link_wait(&worker, other[0]) != 1)
			_exit(1);
		const struct ring_record *record = link_next(&worker);
		finish(&worker, record);
		link_release(&worker, record);
		_exit(link_wait(&worker, other[0]) == 0 ? 0 : 2);
	}
	cr_assert(attach_broker(&broker));
	cr_assert(wait_until(PATIENCE_MS, broker.shared->worker.sleeping != 0));
	send_job_soon(5);
	link_wake(&broker);
	cr_assert_eq(next_result(), 5);
	cr_assert_eq(wait_exit(child, 100), -ETIMEDOUT, "must sleep again");
	close(other[1]);
	cr_assert_eq(wait_exit(child, PATIENCE_MS), 0);
	close(other[0]);
}

static int
run_two_jobs(void)
{
	if (!attach_worker(&worker))
		return 1;
	for (int i = 0; i < 2; i++) {
		const struct ring_record *record;
		while ((record = link_next(&worker)) == NULL)
			link_wait(&worker, -1);
		finish(&worker, record);
		link_release(&worker, record);
	}
	link_worker_detach(&worker);
	return 0;
}

/* wake_needed() takes the word back before the bell rings: a broker that dies between the two
 * leaves a sleeper who seems awake. */
Test(ipc_link_child, a_worker_whose_broker_died_before_ringing_is_woken_by_the_next)
{
	pid_t child = test_fork();
	if (child == 0)
		_exit(run_two_jobs());
	cr_assert(attach_broker(&broker));
	send_job_soon(5);
	link_wake(&broker);
	cr_assert_eq(next_result(), 5);
	cr_assert(wait_until(PATIENCE_MS, broker.shared->worker.sleeping != 0));
	cr_assert(wake_needed(&broker.shared->worker));
	link_broker_detach(&broker);

	cr_assert(attach_broker(&broker));
	send_job_soon(6);
	link_wake(&broker);
	cr_assert_eq(next_result(), 6);
	cr_assert_eq(wait_exit(child, PATIENCE_MS), 0);
}

/* ---- what every way promises about records ---- */

Test(ipc_link, requests_and_results_of_any_size_arrive_whole_and_in_order)
{
	const uint32_t args_max = LINK_BODY_MAX - sizeof(struct run_body);
	static unsigned char args[LINK_BODY_MAX];
	uint32_t sizes[] = { 0, 1, 15, 16, 900, 1000, 1024, 4096, 65536, args_max - 1, args_max };
	const unsigned count = sizeof(sizes) / sizeof(sizes[0]);

	for (uint32_t i = 0; i < sizeof(args); i++)
		args[i] = (unsigned char)(i * 7 + i / 251);
	for (unsigned n = 0; n < 3 * count; n++) { /* past the end of a ring, and again */
		uint32_t size = sizes[n % count], back = size < 60000 ? size : 60000;
		struct run_body body = { .id = n + 1 };
		cr_assert(wait_until(PATIENCE_MS,
				     link_send_run(&broker, &body, args, size, NULL, 0) >= 0));
		const struct ring_record *record = next_request(&worker);
		const struct run_body *run = run_of(record);
		cr_assert_eq(run->id, n + 1);
		cr_assert_eq(run->args_length, size);
		cr_assert_eq(record->length, sizeof(*run) + size);
		cr_assert_eq(memcmp(run + 1, args, size), 0, "%u bytes differ", size);

		struct result_body result = { .ticket = run->ticket };
		result.outcome.result_length = back;
		link_finish(&worker, &result, run + 1, NULL);
		link_release(&worker, record);
		cr_assert(wait_until(PATIENCE_MS, (record = link_result(&broker)) != NULL));
		cr_assert_eq(record->type, MSG_RESULT);
		cr_assert_eq(record->length, sizeof(result) + back);
		cr_assert_eq(memcmp(record->body + sizeof(result), args, back), 0);
		link_result_release(&broker, record);
		link_free_ticket(&broker, ticket_index(result.ticket));
	}
}

Test(ipc_link, a_record_is_cut_to_what_is_published)
{
	send_job_soon(1);
	for (unsigned n = 0; n < 5; n++) {
		struct output_body *place = link_reserve(&worker, MSG_RUN_OUTPUT, 5000);
		*place = (struct output_body){ .stream = n };
		link_reserve(&worker, MSG_RUN_OUTPUT, 100); /* drops it */
		place = link_reserve(&worker, MSG_RUN_OUTPUT, 4000);
		*place = (struct output_body){ .stream = n };
		link_publish(&worker, sizeof(*place) + n);
	}
	for (unsigned n = 0; n < 5; n++) {
		const struct ring_record *record;
		cr_assert(wait_until(PATIENCE_MS, (record = link_result(&broker)) != NULL));
		cr_assert_eq(record->length, sizeof(struct output_body) + n);
		cr_assert_eq(((const struct output_body *)(const void *)record->body)->stream, n);
		link_result_release(&broker, record);
	}
}

/* Full is said, not waited for; what was refused cost no ticket; what had been taken comes, and
 * nothing else. */
Test(ipc_link, a_full_link_refuses_and_has_room_again)
{
	static char args[20000];
	uint64_t sent = 0, got = 0;

	for (int turn = 0; turn < 3; turn++) {
		struct run_body body = { .id = sent + 1 };
		while (link_send_run(&broker, &body, args, sizeof(args), NULL, 0) >= 0)
			body.id = ++sent + 1;
		if (turn == 0 && sent == 0) { /* not connected yet */
			cr_assert(wait_until(PATIENCE_MS, link_has_request_room(&broker)));
			turn--;
			continue;
		}
		cr_assert_eq(broker.free_count, LINK_TICKETS - (sent - got));
		cr_assert_gt(sent, got, "nothing was taken in turn %d", turn);
		while (got < sent) {
			const struct ring_record *record = next_request(&worker);
			cr_assert_eq(run_of(record)->id, ++got);
			finish(&worker, record);
			link_release(&worker, record);
			cr_assert_eq(next_result(), got);
		}
		cr_assert(wait_until(PATIENCE_MS, link_has_request_room(&broker)));
	}
}

Test(ipc_link, results_without_a_reader_run_out_of_room_and_the_worker_is_told_of_more)
{
	unsigned sent = 0;

	while (link_has_room(&worker, 20000) || sent == 0) {
		struct output_body *place = link_reserve(&worker, MSG_RUN_OUTPUT, 20000);
		*place = (struct output_body){ .stream = sent++ };
		link_publish(&worker, 20000);
	}
	cr_assert_not(link_ask_room(&worker, 20000) && !link_loses());
	for (unsigned n = 0; n < sent; n++) {
		const struct ring_record *record;
		cr_assert(wait_until(PATIENCE_MS, (record = link_result(&broker)) != NULL));
		cr_assert_eq(((const struct output_body *)(const void *)record->body)->stream, n);
		link_result_release(&broker, record);
	}
	link_drained(&broker);
	struct pollfd p[2] = {
		{ .fd = worker.bell, .events = POLLIN },
		{ .fd = link_room_fd(&worker), .events = POLLIN },
	};
	cr_assert_gt(poll(p, 2, PATIENCE_MS), 0, "nobody rang");
	cr_assert(wait_until(PATIENCE_MS, link_has_room(&worker, 20000)));
}

/* Nothing to do: no descriptor that a sleeper polls may stay readable. */
Test(ipc_link, a_quiet_link_wakes_nobody)
{
	for (uint64_t i = 1; i <= 3; i++) {
		send_job_soon(i);
		const struct ring_record *record = next_request(&worker);
		finish(&worker, record);
		link_release(&worker, record);
		cr_assert_eq(next_result(), i);
	}
	struct pollfd p[4] = {
		{ .fd = link_request_fd(&worker), .events = POLLIN },
		{ .fd = link_room_fd(&worker), .events = POLLIN },
		{ .fd = link_result_fd(&broker), .events = POLLIN },
		{ .fd = link_request_room_fd(&broker), .events = POLLIN },
	};
	/* Each look takes in what was told; after some, however late, there is nothing more to
	 * tell. */
	cr_assert(wait_until(PATIENCE_MS, (link_has_request(&worker), link_has_room(&worker, 1),
					   link_has_result(&broker), link_has_request_room(&broker),
					   poll(p, 4, 100) == 0)));
}

static int
refuse_all(struct link_end *e, const void *record, uint32_t size)
{
	(void)e;
	(void)record;
	(void)size;
	return -EAGAIN;
}

/* There was room when it was looked for, and none when it was sent. */
Test(ipc_link, a_record_refused_at_the_last_moment_costs_no_ticket)
{
	const struct link_carrier *own = broker.requests.carrier;

	if (own == NULL) /* the ring cannot */
		return;
	cr_assert(wait_until(PATIENCE_MS, link_has_request_room(&broker)));
	struct link_carrier refusing = *own;
	refusing.send = refuse_all;
	broker.requests.carrier = &refusing;
	cr_assert_eq(send_job(1), -EAGAIN);
	broker.requests.carrier = own;
	cr_assert_eq(broker.free_count, LINK_TICKETS);
	for (int i = 0; i < (int)LINK_TICKETS; i++)
		cr_assert_eq(state_of(i), TICKET_FREE);
	send_job_soon(2);
	const struct ring_record *record = next_request(&worker);
	cr_assert_eq(run_of(record)->id, 2);
	link_release(&worker, record);
	cr_assert_null(link_next(&worker));
}

/* What may die with its process is not left behind in good order: for a second the worker waits. */
struct leaving {
	_Atomic uint64_t waited_ns, left_ns; /* how long it took; when it was over */
};

static int
run_one_and_leave(struct leaving *l)
{
	if (!attach_worker(&worker) || link_wait(&worker, -1) != 1)
		return 1;
	const struct ring_record *record = link_next(&worker);
	finish(&worker, record);
	link_release(&worker, record);
	uint64_t begin = clock_now();
	link_worker_detach(&worker);
	l->waited_ns = clock_now() - begin;
	l->left_ns = clock_now();
	return 0;
}

Test(ipc_link_child, a_worker_that_ends_stays_until_its_last_result_is_read)
{
	struct leaving *l =
		mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child = test_fork();
	if (child == 0)
		_exit(run_one_and_leave(l));
	cr_assert(attach_broker(&broker));
	int t = send_job_soon(5);
	link_wake(&broker);
	cr_assert(wait_until(PATIENCE_MS, state_of(t) == TICKET_DONE));
	if (link_loses())
		(void)wait_until(50, l->left_ns != 0); /* time to leave, if it did not wait */
	uint64_t id = 0, reads_ns = clock_now();
	cr_assert(wait_until(PATIENCE_MS,
			     (id = take_result()) != 0 || (link_loses() && l->left_ns != 0)));
	cr_assert_eq(wait_exit(child, PATIENCE_MS), 0);
	/* On a machine that stood still for so long it has left before we read. */
	bool has_waited = link_loses() && l->waited_ns >= NS_PER_S;
	cr_expect(id == 5 || has_waited, "result %lu", id);
	cr_expect(!link_loses() || l->left_ns >= reads_ns || has_waited, "it did not wait");
	munmap(l, sizeof(*l));
}

/* ---- trains of messages over the queue ---- */

#define CARS     5
#define CAR_MOST 1024

struct car_copy {
	unsigned char bytes[CAR_MOST];
	uint32_t length;
};

static void
publish_train(unsigned n)
{
	struct output_body *place = link_reserve(&worker, MSG_RUN_OUTPUT, 4500);
	memset(place, (int)n, 4500);
	link_publish(&worker, 4500);
}

static void
expect_train(unsigned n)
{
	const struct ring_record *record;
	unsigned char expected[4500];

	memset(expected, (int)n, sizeof(expected));
	cr_assert(wait_until(PATIENCE_MS, (record = link_result(&broker)) != NULL));
	cr_assert_eq(record->length, sizeof(expected));
	cr_assert_eq(memcmp(record->body, expected, sizeof(expected)), 0, "not train %u", n);
	link_result_release(&broker, record);
}

static void
take_cars(struct queue *q, struct car_copy *cars, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		cr_assert_eq(queue_get(q, cars[i].bytes, CAR_MOST, &cars[i].length, QUEUE_NO_WAIT),
			     0);
}

static void
put_car(struct queue *q, const struct car_copy *car)
{
	cr_assert_eq(queue_put(q, car->bytes, car->length, QUEUE_NO_WAIT), 0);
}

/* What a broker's death in the middle of a train leaves, and what its get gives back late. */
Test(ipc_link, over_the_queue_what_is_left_of_a_train_spoils_no_other)
{
	struct car_copy torn[CARS], whole[CARS];
	struct queue *q;
	size_t bytes = link_rows[LINK_QUEUE].footprint() / 2;

	if (!test_link_is("queue"))
		return;
	cr_assert_eq(queue_attach(broker.shared->carried + bytes, bytes, &q), 0);
	publish_train(1);
	take_cars(q, torn, 2); /* its beginning died with the one who took it */
	publish_train(2);
	expect_train(2);

	publish_train(3);
	take_cars(q, whole, CARS);
	for (unsigned i = 0; i < CARS; i++) {
		put_car(q, &whole[i]);
		if (i < 2)
			put_car(q, &torn[i]); /* late, in the middle of another */
	}
	expect_train(3);

	publish_train(4); /* its end never comes: the sender died */
	take_cars(q, whole, CARS);
	put_car(q, &whole[0]);
	put_car(q, &whole[1]);
	cr_assert_null(link_result(&broker));
	publish_train(5);
	expect_train(5);
	queue_detach(q);
}

/* ---- another broker ---- */

Test(ipc_link, a_new_broker_finds_every_job_by_its_ticket)
{
	for (uint64_t id = 1; id <= 5; id++)
		send_job_soon(id);
	const struct ring_record *record = next_request(&worker);
	finish(&worker, record); /* 1: done, result in the ring */
	link_release(&worker, record);
	record = next_request(&worker); /* 2: running */

	link_broker_detach(&broker);
	cr_assert(attach_broker(&broker));
	cr_assert_eq(broker.free_count, LINK_TICKETS - 5);
	unsigned back = 0;
	for (int i = 0; i < (int)LINK_TICKETS; i++) {
		struct ticket *t = &broker.shared->tickets[i];
		uint64_t id = t->id;
		switch (ticket_state(t)) {
		case TICKET_READY:
			cr_assert(id >= 3 && id <= 5);
			cr_assert(link_reclaim(&broker, (uint32_t)i));
			back++;
			break;
		case TICKET_CLAIMED:
			cr_assert_eq(id, 2);
			cr_assert_eq(t->deadline_span_ns, 5);
			break;
		case TICKET_DONE:
			cr_assert_eq(id, 1);
			break;
		case TICKET_FREE:
			break;
		}
	}
	cr_assert_eq(back, 3);
	finish(&worker, record);
	link_release(&worker, record);
	/* Results may have gone to the old one; the tickets say what is over all the same. */
	for (uint64_t id = 1; id <= 2 && !link_loses(); id++)
		cr_assert_eq(next_result(), id);
	for (uint32_t i = 0; i < LINK_TICKETS; i++)
		if (ticket_state(&broker.shared->tickets[i]) == TICKET_DONE)
			link_free_ticket(&broker, i);
	cr_assert_null(link_next(&worker));
	cr_assert_eq(broker.free_count, LINK_TICKETS);
}
