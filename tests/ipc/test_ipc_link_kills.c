/* test_ipc_link_kills.c - ipc/link.h: where every job is after kill -9 of either side at any
 * moment, over each way. */
#include <criterion/criterion.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "tests/ipc/link_fixture.h"
#include "tests/link.h"
#include "tests/process.h"

TestSuite(ipc_link_kills, .init = fixture_begin, .fini = fixture_end, .timeout = 1200);
/* Both sides are children, and nobody serves here: ZeroMQ's thread might still accept what is meant
 * for a child, and the next child would hold that connection open. */
TestSuite(ipc_link_brokers, .init = fixture_begin_apart, .fini = fixture_end, .timeout = 1200);

/* The ring's tests are the long ones. */
static unsigned
kill_rounds(void)
{
#ifdef __SANITIZE_ADDRESS__
	return test_link_is("ring") ? 600 : 100;
#else
	return test_link_is("ring") ? 3000 : test_link_is("zmq") ? 150 : 400;
#endif
}

static enum ticket_state
state_of(int index)
{
	return ticket_state(&broker.shared->tickets[index]);
}

#define BURST      12      /* jobs in the link at once */
#define ROUNDS_MAX 100000u /* when what must be seen never is */
#define JOBS_MAX   2000000

/* What happened to a job, seen by two sides that do not trust each other. */
struct witness {
	_Atomic bool twice;               /* a job began to run again */
	_Atomic uint8_t starts[JOBS_MAX]; /* worker: how often it began to run */
};

enum fate { WAITING, RESULT, CHARGED };

struct ledger { /* broker's side */
	uint8_t fate[JOBS_MAX];
	uint64_t ticket_of[LINK_TICKETS]; /* job by ticket; 0: none */
	uint64_t again[BURST];            /* taken back, to be sent again */
	unsigned again_count;
	uint64_t next;  /* next new job */
	unsigned lost;  /* published by the dead, never read */
	unsigned wrong; /* jobs with two fates, lost or started twice */
	unsigned hits;  /* kills that met a running job */
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
	if (!attach_worker(&w))
		_exit(1);
	for (;;) {
		const struct ring_record *record = link_next(&w);
		if (record == NULL) {
			link_wait(&w, -1);
			continue;
		}
		uint64_t id = run_of(record)->id;
		if (witness->starts[id]++ > 0)
			witness->twice = true;
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

/* The worker is dead: what it had published, also what is still on its way. */
static void
drain_dead(void)
{
	uint64_t end = clock_now() + 200 * NS_PER_MS;
	bool waiting = true;

	drain_results();
	while (waiting && link_loses() && clock_now() < end) {
		waiting = false;
		for (unsigned i = 0; i < LINK_TICKETS; i++)
			waiting |= ledger.ticket_of[i] != 0 && state_of((int)i) == TICKET_DONE;
		if (waiting)
			test_pause();
		drain_results();
	}
}

/* A way that loses needs another link for each worker, as the product gives it: what its
 * connection held went with it. */
static void
renew_if_lossy(void)
{
	if (link_loses())
		fixture_renew();
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
		int t = send_job_soon(id);
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

	drain_dead();
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
			ledger.hits++;
			if (claimed_is_not_started) {
				ledger.again[ledger.again_count++] = id;
				break;
			}
			settle(id, CHARGED);
			charged++;
			break;
		case TICKET_DONE: /* published, and died with the publisher */
			ledger.wrong += !link_loses();
			ledger.lost++;
			settle(id, CHARGED);
			break;
		default: /* free and not by us: lost */
			ledger.wrong++;
		}
	}
	ledger.wrong += charged > 1; /* it ran one at a time */
}

/* How many CPUs this test may use. */
static int
cpus(void)
{
	cpu_set_t allowed;

	return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
}

/* Has it come to what the kills are for?  Which of them hit is chance. */
static bool
is_shown(bool mistake)
{
	if (mistake)
		return witness->twice;
	return ledger.hits > (cpus() > 1 ? kill_rounds() / 20 : 0);
}

/* `rounds` kills, and then on until it is shown.  Returns how many deaths were charged to a job. */
static unsigned
kill_workers(unsigned rounds, bool mistake)
{
	unsigned charged = 0;
	cpu_set_t before_pin;
	sched_getaffinity(0, sizeof(before_pin), &before_pin);
	srand48(20260101);
	memset(&ledger, 0, sizeof(ledger));
	ledger.next = 1;
	witness = mmap(NULL, sizeof(*witness), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	for (unsigned round = 0; (round < rounds || (!is_shown(mistake) && round < ROUNDS_MAX)) &&
				 ledger.next + BURST < JOBS_MAX;
	     round++) {
		uint64_t before = broker.shared->claims;
		pid_t child = test_fork();
		if (child == 0)
			work_until_killed();
		fill_link();
		stay_on_cpu(0);
		while (broker.shared->claims == before) { /* it has begun */
			link_has_request_room(&broker);
			sched_yield();
		}
		uint64_t end = clock_now() + (uint64_t)lrand48() % (150 * NS_PER_US);
		while (clock_now() < end) {
			drain_results();
			fill_link();
		}
		kill_and_wait(child, SIGKILL);
		sched_setaffinity(0, sizeof(before_pin), &before_pin);
		walk_tickets(mistake);
		renew_if_lossy();
	}
	for (uint64_t id = 1; id < ledger.next; id++) {
		bool open = ledger.fate[id] == WAITING;
		charged += ledger.fate[id] == CHARGED;
		ledger.wrong += witness->starts[id] > 1;
		ledger.wrong += ledger.fate[id] == RESULT && witness->starts[id] != 1;
		for (unsigned i = 0; i < LINK_TICKETS && open; i++)
			open = ledger.ticket_of[i] != id;
		for (unsigned i = 0; i < ledger.again_count && open; i++)
			open = ledger.again[i] != id;
		ledger.wrong += open; /* no fate, and nobody has it */
	}
	munmap(witness, sizeof(*witness));
	return charged;
}

Test(ipc_link_kills, no_job_is_lost_or_run_twice_over_thousands_of_kills)
{
	unsigned charged = kill_workers(kill_rounds(), false);
	cr_assert_eq(ledger.wrong, 0, "%u jobs went wrong among %lu", ledger.wrong, ledger.next);
	cr_assert_gt(charged, cpus() > 1 ? kill_rounds() / 20 : 0,
		     "only %u kills hit a running job", charged);
}

/* Proof that the test above can fail. */
Test(ipc_link_kills, the_checker_sees_a_broker_that_runs_claimed_jobs_again)
{
	kill_workers(1, true);
	cr_assert_gt(ledger.wrong, 0);
}

/* ---- brokers come and go, the worker stays ---- */

struct progress { /* shared with the children */
	_Atomic uint8_t starts[JOBS_MAX], results[JOBS_MAX];
	_Atomic uint64_t next;  /* job id */
	_Atomic uint64_t done;  /* results that a broker got of jobs of its own */
	_Atomic uint64_t wrong; /* results twice, of nobody's tickets, orphans without an end */
	_Atomic uint64_t adopted;
};
static struct progress *progress;

/* What every third record carries beside: long enough to be a train of messages over the queue. */
#define LONG_BYTES 20000u
static unsigned char load[LONG_BYTES];

static uint32_t
load_of(uint64_t id)
{
	uint32_t bytes = id % 3 == 0 ? LONG_BYTES : 4;

	memset(load, (int)(id % 251), bytes);
	return bytes;
}

static bool
load_is_whole(uint64_t id, const void *bytes, uint32_t length)
{
	return length == load_of(id) && memcmp(bytes, load, length) == 0;
}

static void __attribute__((noreturn)) work_for_brokers(void)
{
	struct link_worker w;

	if (!attach_worker(&w))
		_exit(1);
	for (;;) {
		const struct ring_record *record = link_next(&w);
		if (record == NULL) {
			link_wait(&w, -1);
			continue;
		}
		const struct run_body *run = run_of(record);
		struct result_body result = { .ticket = run->ticket };
		progress->starts[run->id]++;
		progress->wrong += !load_is_whole(run->id, run + 1, run->args_length);
		memcpy(load, &run->id, sizeof(run->id));
		result.outcome.result_length = run->args_length < 8 ? 8 : run->args_length;
		link_finish(&w, &result, load, NULL);
		link_release(&w, record);
	}
}

enum { NOBODYS, ORPHANED, OWN };

/* The id, then the load. */
static bool
result_is_whole(uint64_t id, const unsigned char *bytes)
{
	return id < JOBS_MAX && load_of(id) == LONG_BYTES &&
	       memcmp(bytes + sizeof(id), load + sizeof(id), LONG_BYTES - sizeof(id)) == 0;
}

static int
send_loaded(uint64_t id)
{
	struct run_body body = { .id = id };
	uint32_t bytes = load_of(id);

	return link_send_run(&broker, &body, load, bytes, NULL, 0);
}

static void
take_all(unsigned char *whose)
{
	const struct ring_record *record;

	while ((record = link_result(&broker)) != NULL) {
		const struct result_body *result = (const void *)record->body;
		uint32_t t = ticket_index(result->ticket);
		bool mine = false, own = false;
		uint64_t id;
		memcpy(&id, result + 1, sizeof(id));
		progress->wrong += result->outcome.result_length > 8 &&
				   !result_is_whole(id, (const unsigned char *)(result + 1));
		if (link_ticket_is(&broker, result->ticket) && whose[t] != NOBODYS) {
			own = whose[t] == OWN;
			mine = true;
			whose[t] = NOBODYS;
			link_free_ticket(&broker, t);
		}
		link_result_release(&broker, record);
		/* After it has left the link: who dies before that leaves it to the next. */
		progress->wrong += mine && progress->results[id]++ > 0;
		progress->done += own;
	}
	link_drained(&broker);
}

/* As the daemon's broker does: READY is taken back, the rest ends by a result or by its word. */
static void __attribute__((noreturn)) be_broker(void)
{
	static unsigned char whose[LINK_TICKETS];

	if (!attach_broker(&broker))
		_exit(1);
	for (uint32_t t = 0; t < LINK_TICKETS; t++) {
		if (state_of((int)t) == TICKET_FREE ||
		    (state_of((int)t) == TICKET_READY && link_reclaim(&broker, t)))
			continue;
		whose[t] = ORPHANED;
		progress->adopted++;
	}
	for (;;) {
		take_all(whose);
		unsigned out = 0;
		for (uint32_t t = 0; t < LINK_TICKETS; t++) {
			out += whose[t] == OWN;
			if (whose[t] != ORPHANED || state_of((int)t) != TICKET_DONE)
				continue;
			whose[t] = NOBODYS;
			link_free_ticket(&broker, t);
		}
		for (; out < BURST && progress->next < JOBS_MAX; out++) {
			int t = send_loaded(progress->next++); /* a number is used once */
			if (t < 0)
				break;
			whose[t] = OWN;
		}
		link_wake(&broker);
		sched_yield();
	}
}

Test(ipc_link_brokers, die_one_after_the_other_and_each_gets_its_own_results)
{
	const unsigned rounds = test_link_is("ring") ? 300 : test_link_is("queue") ? 200 : 100;

	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	progress->next = 1;
	srand48(7);
	pid_t child = test_fork();
	if (child == 0)
		work_for_brokers();
	for (unsigned round = 0;
	     (round < rounds || (progress->adopted == 0 && round < ROUNDS_MAX)) &&
	     progress->next < JOBS_MAX;
	     round++) {
		uint64_t before = progress->done;
		pid_t next = test_fork();
		if (next == 0)
			be_broker();
		cr_assert(wait_until(PATIENCE_MS, progress->done > before),
			  "broker %u got no result", round);
		for (uint64_t end = clock_now() + (uint64_t)lrand48() % (300 * NS_PER_US);
		     clock_now() < end;)
			;
		kill_and_wait(next, SIGKILL);
	}
	kill_and_wait(child, SIGKILL);
	cr_assert_eq(progress->wrong, 0);
	for (uint64_t id = 1; id < progress->next; id++)
		cr_assert_leq(progress->starts[id], 1, "job %lu began twice", id);
	cr_assert_gt(progress->adopted, 0, "no broker died with a job out");
	munmap(progress, sizeof(*progress));
}
