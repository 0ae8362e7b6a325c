/* test_ipc_link.c - ipc/link.h: tickets, and where every job is after a death at any moment. */
#include <criterion/criterion.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/link.h"
#include "tests/process.h"

#ifdef __SANITIZE_ADDRESS__
#define KILL_ROUNDS 600u
#else
#define KILL_ROUNDS 3000u
#endif

static struct link_broker broker;
static struct link_worker worker;
static struct board *board;
static struct link_shared *base;
static struct link_fds fds;
static int broker_bell;

/* With descriptors of its own, as they come by a message. */
static void
attach_broker(void)
{
	struct link_fds own = fds;
	own.bell = dup(fds.bell);
	cr_assert_eq(link_broker_attach(&broker, &own), 0);
}

static void
setup(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	cr_assert_neq((void *)board, MAP_FAILED);
	cr_assert_eq(link_create(LINK_RING, "/nowhere", &fds), 0);
	cr_assert_eq(link_map(fds.memfd, &base), 0);
	broker_bell = bell_create();
	attach_broker();
	cr_assert_eq(link_worker_attach(&worker, base, board, &fds, broker_bell), 0);
}

static void
teardown(void)
{
	link_broker_detach(&broker);
	link_worker_detach(&worker);
	link_unmap(base);
	munmap(board, sizeof(*board));
	link_discard(&fds);
	close(broker_bell);
}

TestSuite(ipc_link, .init = setup, .fini = teardown, .timeout = 100);

/* Send job `id`; its ticket's index or -errno. */
static int
send_job(uint64_t id)
{
	struct run_body body = { .id = id, .timeout_ns = 5 };
	return link_send_run(&broker, &body, "args", 4, NULL, 0);
}

static const struct run_body *
run_of(const struct ring_record *record)
{
	return (const void *)record->body;
}

static void
finish(struct link_worker *w, const struct ring_record *record)
{
	struct result_body result = { .ticket = run_of(record)->ticket };
	uint64_t id = run_of(record)->id;
	result.outcome.result_length = sizeof(id);
	link_finish(w, &result, &id, NULL);
}

/* Read one result, free its ticket; the job's id, 0 when there is none. */
static uint64_t
take_result(void)
{
	const struct ring_record *record = link_result(&broker);
	if (record == NULL)
		return 0;
	struct result_body result;
	uint64_t id;
	memcpy(&result, record->body, sizeof(result));
	memcpy(&id, record->body + sizeof(result), sizeof(id));
	link_result_release(&broker, record);
	cr_assert(link_ticket_is(&broker, result.ticket), "a result of an old use of its ticket");
	link_free_ticket(&broker, ticket_index(result.ticket));
	return id;
}

static enum ticket_state
state_of(int index)
{
	return ticket_state(&broker.shared->tickets[index]);
}

Test(ipc_link, a_job_goes_through_ready_claimed_done_and_free)
{
	int t = send_job(77);
	cr_assert_geq(t, 0);
	cr_assert_eq(state_of(t), TICKET_READY);
	const struct ring_record *record = link_next(&worker);
	cr_assert_not_null(record);
	cr_assert(record->type == MSG_RUN && run_of(record)->id == 77);
	cr_assert_eq(memcmp(run_of(record) + 1, "args", 4), 0);
	cr_assert_eq(state_of(t), TICKET_CLAIMED);
	cr_assert_eq(broker.shared->claims, 1);
	cr_assert_gt(broker.shared->tickets[t].claimed_ns, 0);
	finish(&worker, record);
	link_release(&worker, record);
	cr_assert_eq(state_of(t), TICKET_DONE);
	cr_assert_eq(take_result(), 77);
	cr_assert_eq(state_of(t), TICKET_FREE);
	cr_assert_eq(broker.free_count, LINK_TICKETS);
}

Test(ipc_link, what_is_taken_back_is_skipped_by_the_worker)
{
	int first = send_job(1), second = send_job(2), third = send_job(3);
	cr_assert(first >= 0 && third >= 0);
	cr_assert(link_reclaim(&broker, (uint32_t)second));
	cr_assert_not(link_reclaim(&broker, (uint32_t)second), "taken back twice");

	const struct ring_record *record = link_next(&worker);
	cr_assert_eq(run_of(record)->id, 1);
	cr_assert_not(link_reclaim(&broker, (uint32_t)first), "taken back after its claim");
	link_release(&worker, record);
	record = link_next(&worker);
	cr_assert_eq(run_of(record)->id, 3);
	link_release(&worker, record);
	cr_assert_null(link_next(&worker));
}

Test(ipc_link, a_stale_record_does_not_claim_the_tickets_next_use)
{
	int t = send_job(1);
	cr_assert(link_reclaim(&broker, (uint32_t)t));
	cr_assert_eq(send_job(2), t, "the same ticket is used again");
	const struct ring_record *record = link_next(&worker);
	cr_assert_eq(run_of(record)->id, 2);
	link_release(&worker, record);
	cr_assert_null(link_next(&worker));
	cr_assert_eq(broker.shared->claims, 1);
}

Test(ipc_link, tickets_run_out_at_their_number_and_come_back)
{
	int sent = 0;
	while (send_job((uint64_t)sent + 1) >= 0)
		sent++;
	cr_assert_eq(send_job(1), -EAGAIN);
	cr_assert_leq((unsigned)sent, LINK_TICKETS);
	for (int i = 0; i < sent; i++) {
		const struct ring_record *record = link_next(&worker);
		finish(&worker, record);
		link_release(&worker, record);
		cr_assert_eq(take_result(), (uint64_t)i + 1);
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
	send_job(1);
	const struct ring_record *record = link_next(&worker);
	struct result_body result = { .ticket = run_of(record)->ticket };
	result.outcome.result_length = LINK_RESULT_BYTES;
	link_finish(&worker, &result, text, NULL);
	link_release(&worker, record);
	record = link_result(&broker);
	struct result_body got;
	memcpy(&got, record->body, sizeof(got));
	cr_assert_lt(got.outcome.result_length, LINK_RESULT_BYTES);
	cr_assert_eq(record->length, sizeof(got) + got.outcome.result_length);
	free(text);
}

Test(ipc_link, stop_names_the_present_use_of_its_ticket)
{
	int t = send_job(1);
	const struct ring_record *record = link_next(&worker);
	uint64_t name = run_of(record)->ticket;
	link_release(&worker, record);
	cr_assert_eq(link_send_stop(&broker, (uint32_t)t, CAUSE_TIMEOUT), 0);
	record = link_next(&worker);
	cr_assert_eq(record->type, MSG_STOP);
	const struct stop_body *stop = (const void *)record->body;
	cr_assert(stop->ticket == name && stop->reason == CAUSE_TIMEOUT);
	link_release(&worker, record);
}

Test(ipc_link, a_worker_waits_for_room_until_the_broker_has_drained)
{
	const uint64_t jobs = 200;
	pid_t child = test_fork();
	if (child == 0) { /* each with a result that fills an eighth of the ring */
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
		_exit(0);
	}
	for (uint64_t i = 1; i <= jobs; i++)
		cr_assert_geq(send_job(i), 0);
	link_wake(&broker);
	cr_assert(wait_until(5000, link_has_result(&broker)));
	for (uint64_t i = 1; i <= jobs; i++) {
		uint64_t id = 0;
		cr_assert(wait_until(5000, (id = take_result()) != 0), "stalled at %lu", i);
		cr_assert_eq(id, i);
		link_drained(&broker);
	}
	cr_assert_eq(wait_exit(child, 5000), 0);
}

Test(ipc_link, a_sleeping_worker_wakes_for_a_job_and_for_its_other_descriptor)
{
	int other[2];
	cr_assert_eq(pipe(other), 0);
	pid_t child = test_fork();
	if (child == 0) {
		close(other[1]);
		if (link_wait(&worker, other[0]) != 1)
			_exit(1);
		const struct ring_record *record = link_next(&worker);
		finish(&worker, record);
		link_release(&worker, record);
		_exit(link_wait(&worker, other[0]) == 0 ? 0 : 2);
	}
	cr_assert(wait_until(5000, broker.shared->worker.sleeping != 0));
	send_job(5);
	link_wake(&broker);
	uint64_t id = 0;
	cr_assert(wait_until(5000, (id = take_result()) != 0));
	cr_assert_eq(id, 5);
	cr_assert_eq(wait_exit(child, 100), -ETIMEDOUT, "must sleep again");
	close(other[1]);
	cr_assert_eq(wait_exit(child, 5000), 0);
	close(other[0]);
}

Test(ipc_link, a_new_broker_finds_every_job_by_its_ticket)
{
	for (uint64_t id = 1; id <= 5; id++)
		send_job(id);
	const struct ring_record *record = link_next(&worker);
	finish(&worker, record); /* 1: done, result in the ring */
	link_release(&worker, record);
	record = link_next(&worker); /* 2: running */

	link_broker_detach(&broker);
	attach_broker();
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
	cr_assert_eq(take_result(), 1);
	finish(&worker, record);
	link_release(&worker, record);
	cr_assert_eq(take_result(), 2);
	cr_assert_null(link_next(&worker));
	cr_assert_eq(broker.free_count, LINK_TICKETS);
}

/* ---- kill -9 at any moment ---- */

#define BURST    12 /* jobs in the link at once */
#define JOBS_MAX 300000

/* What happened to a job, seen by two sides that do not trust each other. */
struct witness {
	_Atomic uint8_t starts[JOBS_MAX]; /* worker: how often it began to run */
};

enum fate { WAITING, RESULT, CHARGED };

struct ledger { /* broker's side */
	uint8_t fate[JOBS_MAX];
	uint64_t ticket_of[LINK_TICKETS]; /* job by ticket; 0: none */
	uint64_t again[BURST];            /* taken back, to be sent again */
	unsigned again_count;
	uint64_t next;  /* next new job */
	unsigned wrong; /* jobs with two fates, lost or started twice */
};

static struct witness *witness;
static struct ledger ledger;

/* Stay on the `n`th CPU we may use, so that killer and killed run at the same time: on one CPU
 * the killer runs only where the worker sleeps.  false: there is no such CPU. */
static bool
stay_on_cpu(unsigned n)
{
	cpu_set_t allowed, one;
	CPU_ZERO(&one);
	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || n-- > 0)
			continue;
		CPU_SET(cpu, &one);
		return sched_setaffinity(0, sizeof(one), &one) == 0;
	}
	return false;
}

static void __attribute__((noreturn)) work_until_killed(void)
{
	struct link_worker w;
	stay_on_cpu(1);
	if (link_worker_attach(&w, base, board, &fds, broker_bell) < 0)
		_exit(1);
	for (;;) {
		const struct ring_record *record = link_next(&w);
		if (record == NULL) {
			link_wait(&w, -1);
			continue;
		}
		uint64_t id = run_of(record)->id;
		witness->starts[id]++;
		for (uint64_t end = clock_now() + id % 8 * NS_PER_US; clock_now() < end;)
			;
		finish(&w, record);
		link_release(&w, record);
	}
}

static void
settle(uint64_t id, enum fate fate)
{
	if (ledger.fate[id] != WAITING)
		ledger.wrong++;
	ledger.fate[id] = (uint8_t)fate;
}

static void
drain_results(void)
{
	for (uint64_t id; (id = take_result()) != 0;) {
		settle(id, RESULT);
		for (unsigned i = 0; i < LINK_TICKETS; i++)
			if (ledger.ticket_of[i] == id)
				ledger.ticket_of[i] = 0;
	}
}

static void
fill_link(void)
{
	unsigned in_link = 0;
	for (unsigned i = 0; i < LINK_TICKETS; i++)
		in_link += ledger.ticket_of[i] != 0;
	for (; in_link < BURST; in_link++) {
		uint64_t id =
			ledger.again_count > 0 ? ledger.again[--ledger.again_count] : ledger.next++;
		int t = send_job(id);
		cr_assert_geq(t, 0);
		ledger.ticket_of[t] = id;
	}
	link_wake(&broker);
}

/* The worker is dead: drain what it had finished, then look at each ticket.  With
 * `claimed_is_not_started` the broker makes the mistake that the states are there
 * against. */
static void
walk_tickets(bool claimed_is_not_started)
{
	unsigned charged = 0;

	drain_results();
	for (uint32_t i = 0; i < LINK_TICKETS; i++) {
		uint64_t id = ledger.ticket_of[i];
		if (id == 0)
			continue;
		ledger.ticket_of[i] = 0;
		bool started = witness->starts[id] != 0;
		switch (state_of((int)i)) {
		case TICKET_READY:
			cr_assert(link_reclaim(&broker, i));
			ledger.wrong += started;
			ledger.again[ledger.again_count++] = id;
			break;
		case TICKET_CLAIMED:
			link_free_ticket(&broker, i);
			if (claimed_is_not_started) {
				ledger.again[ledger.again_count++] = id;
				break;
			}
			settle(id, CHARGED);
			charged++;
			break;
		default: /* done without a result, or free and not by us: lost */
			ledger.wrong++;
		}
	}
	ledger.wrong += charged > 1; /* it ran one at a time */
}

/* Returns how many deaths were charged to a job. */
static unsigned
kill_workers(unsigned rounds, bool mistake)
{
	unsigned charged = 0;
	cpu_set_t before_pin;
	sched_getaffinity(0, sizeof(before_pin), &before_pin);
	srand48(20260101);
	ledger = (struct ledger){ .next = 1 };
	witness = mmap(NULL, sizeof(*witness), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	for (unsigned round = 0; round < rounds && ledger.next + BURST < JOBS_MAX; round++) {
		uint64_t before = broker.shared->claims;
		fill_link();
		pid_t child = test_fork();
		if (child == 0)
			work_until_killed();
		stay_on_cpu(0);
		while (broker.shared->claims == before) /* it has begun */
			sched_yield();
		uint64_t end = clock_now() + (uint64_t)lrand48() % (150 * NS_PER_US);
		while (clock_now() < end) {
			drain_results();
			fill_link();
		}
		kill_and_wait(child, SIGKILL);
		sched_setaffinity(0, sizeof(before_pin), &before_pin);
		walk_tickets(mistake);
	}
	fill_link(); /* what was taken back last is in the link again */
	for (uint64_t id = 1; id < ledger.next; id++) {
		bool open = ledger.fate[id] == WAITING;
		charged += ledger.fate[id] == CHARGED;
		ledger.wrong += witness->starts[id] > 1;
		ledger.wrong += ledger.fate[id] == RESULT && witness->starts[id] != 1;
		for (unsigned i = 0; i < LINK_TICKETS && open; i++)
			open = ledger.ticket_of[i] != id;
		ledger.wrong += open; /* no fate, and not in the link either */
	}
	munmap(witness, sizeof(*witness));
	return charged;
}

Test(ipc_link, no_job_is_lost_or_run_twice_over_thousands_of_kills)
{
	unsigned charged = kill_workers(KILL_ROUNDS, false);
	cr_assert_eq(ledger.wrong, 0, "%u jobs went wrong among %lu", ledger.wrong, ledger.next);
	bool two_cpus = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	cr_assert_gt(charged, two_cpus ? KILL_ROUNDS / 20 : 0, "only %u kills hit a running job",
		     charged);
}

/* Proof that the test above can fail. */
Test(ipc_link, the_checker_sees_a_broker_that_runs_claimed_jobs_again)
{
	kill_workers(KILL_ROUNDS, true);
	cr_assert_gt(ledger.wrong, 0);
}
