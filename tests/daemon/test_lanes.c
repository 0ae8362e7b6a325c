/*
 * test_lanes.c - what every lane promises, tried on each of them with a real daemon.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/daemon/jobs.h"

#define TABLE 4000 /* max_client_jobs */

static struct test_daemon d;

static void
setup(void)
{
	daemon_begin(&d, "[daemon]\nzmq_lane = yes\nmax_client_jobs = 4000\n"
			 "[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"
			 "[pool \"one\"]\nexecutor = process\nworkers = 1\n"
			 "[pool \"shell\"]\nexecutor = command\nworkers = 1\ngrace = 200ms\n");
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(lane_shm, .init = setup, .fini = teardown, .timeout = 120);
TestSuite(lane_unix, .init = setup, .fini = teardown, .timeout = 120);
TestSuite(lane_zmq, .init = setup, .fini = teardown, .timeout = 120);

#define ON_EACH_LANE(what)                  \
	static void what(const char *lane); \
	Test(lane_shm, what)                \
	{                                   \
		what("shm");                \
	}                                   \
	Test(lane_unix, what)               \
	{                                   \
		what("unix");               \
	}                                   \
	Test(lane_zmq, what)                \
	{                                   \
		what("zmq");                \
	}                                   \
	static void what(const char *lane)

/* Connect, or end the process: children use it too. */
static struct pyprep *
dial(const char *lane)
{
	struct pyprep_problem why = { 0 };
	struct pyprep *p = NULL;

	if (pyprep_connect_lane(d.runtime, lane, &p, &why) < 0) {
		fprintf(stderr, "lane %s: %s\n", lane, why.message);
		_exit(99);
	}
	return p;
}

static uint64_t
table_jobs(void)
{
	struct test_status status;

	return daemon_status(&d, &status) == 0 ? status.table_jobs : UINT64_MAX;
}

ON_EACH_LANE(carries_jobs_and_brings_each_receipt_once_in_their_order)
{
	struct pyprep *p = dial(lane);
	struct pyprep_receipt receipt;
	uint64_t tags[1000];
	char params[32];

	cr_assert_str_eq(pyprep_lane(p), lane);
	for (int i = 0; i < 1000; i++) {
		snprintf(params, sizeof(params), "x=%d", i);
		tags[i] = start(p, "square", "one", params, 0);
	}
	cr_expect_eq(pyprep_outstanding(p), 1000);
	for (int i = 0; i < 1000; i++) {
		cr_assert_eq(next_receipt(p, 20000, &receipt), 1, "receipt %d", i);
		cr_assert_eq(receipt.tag, tags[i], "receipt %d is another job's", i);
		cr_assert_eq(receipt_int(&receipt), (int64_t)i * i);
		uint64_t sum = receipt.submit_ns + receipt.queue_ns + receipt.dispatch_ns +
			       receipt.run_ns + receipt.return_ns + (uint64_t)receipt.residual_ns;
		cr_expect_eq(sum, receipt.total_ns);
	}
	cr_expect_eq(pyprep_outstanding(p), 0);
	pyprep_close(p);
}

/* `sh -c SCRIPT name PADDING` with so much padding. */
static int
prepare_padded(struct pyprep *p, char *padding, size_t length, struct pyprep_prepared **ret,
	       struct pyprep_problem *why)
{
	memset(padding, 'x', length);
	padding[length] = '\0';
	const char *argv[] = { "sh", "-c", "echo ${#1}", "sh", padding, NULL };
	struct pyprep_job job = { .kind = "exec", .argv = argv };

	return pyprep_prepare(p, &job, ret, why);
}

ON_EACH_LANE(takes_parameters_up_to_the_limit_and_refuses_longer_ones_by_name)
{
	static char padding[70000];
	size_t fits = 60000, too_long = 69000;
	struct pyprep_prepared *prepared;
	struct pyprep_problem why = { 0 };
	struct pyprep_event event;
	char said[32] = "";

	clearenv(); /* it travels with the arguments */
	setenv("PATH", "/usr/bin:/bin", 1);
	struct pyprep *p = dial(lane);
	while (too_long - fits > 1) {
		size_t middle = (fits + too_long) / 2;
		int r = prepare_padded(p, padding, middle, &prepared, &why);
		if (r == 0)
			pyprep_prepared_free(prepared);
		*(r == 0 ? &fits : &too_long) = middle;
	}
	cr_expect_eq(prepare_padded(p, padding, too_long, &prepared, &why), -EMSGSIZE);
	cr_expect_str_eq(why.code, "too_large");
	cr_expect(fits > 65300, "only %zu bytes fit", fits);
	cr_assert_eq(prepare_padded(p, padding, fits, &prepared, &why), 0);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(pyprep_submit_prepared(p, prepared, NULL, NULL), 0);
	for (int ended = 0; ended < 5;) {
		cr_assert_eq(pyprep_next(p, 30000, &event), 1);
		if (event.type == PYPREP_OUTPUT) {
			snprintf(said, sizeof(said), "%.*s", (int)event.length,
				 (const char *)event.bytes);
			cr_expect_eq(strtoul(said, NULL, 10), fits, "%s", said);
			continue;
		}
		ended++;
		cr_expect_str_eq(event.receipt.state, "succeeded", "%s",
				 event.receipt.error_message);
	}
	pyprep_prepared_free(prepared);
	pyprep_close(p);
}

ON_EACH_LANE(brings_every_item_of_an_array_job_once)
{
	enum { ITEMS = 300000 };
	static unsigned char times[ITEMS];
	struct pyprep *p = dial(lane);
	struct pyprep_job job = { .kind = "square", .pool = "cpu", .item_high = ITEMS };
	struct pyprep_event event;
	uint64_t wrong = 0;

	memset(times, 0, sizeof(times));
	start_job(p, &job);
	for (;;) {
		cr_assert_eq(pyprep_next(p, 30000, &event), 1);
		if (event.type == PYPREP_RECEIPT)
			break;
		for (uint32_t i = 0; i < event.count; i++) {
			int64_t x = event.first + i;
			cr_assert(x >= 0 && x < ITEMS);
			wrong += times[x]++ > 0 || ((const int64_t *)event.bytes)[i] != x * x;
		}
	}
	cr_expect_str_eq(event.receipt.state, "succeeded");
	cr_expect_eq(wrong, 0);
	cr_expect(memchr(times, 0, sizeof(times)) == NULL, "an item never came");
	pyprep_close(p);
}

ON_EACH_LANE(brings_the_output_of_a_command_whole_and_in_order)
{
	struct pyprep *p = dial(lane);
	static char got[700000], expected[700000];
	size_t length = 0, n = 0;
	struct pyprep_event event;

	for (int i = 1; i <= 100000; i++)
		n += (size_t)sprintf(expected + n, "%d\n", i);
	start_shell(p, "seq 1 100000", 0);
	for (;;) {
		cr_assert_eq(pyprep_next(p, 30000, &event), 1);
		if (event.type == PYPREP_RECEIPT)
			break;
		cr_assert(length + event.length <= sizeof(got));
		memcpy(got + length, event.bytes, event.length);
		length += event.length;
	}
	cr_expect_str_eq(event.receipt.state, "succeeded");
	cr_expect_eq(length, n);
	cr_expect_eq(memcmp(got, expected, n), 0);
	pyprep_close(p);
}

ON_EACH_LANE(answers_requests_and_lets_a_descriptor_be_polled)
{
	struct pyprep *p = dial(lane);
	struct pyprep_event event;
	struct pyprep_problem why;

	cr_assert_eq(ask(p, "ping", NULL, &why), 0, "%s", why.message);
	cr_expect(strstr(ask_answer, "broker_pid") != NULL);
	cr_expect_eq(ask(p, "resize", "pool=nosuch workers=1", &why), -EREMOTEIO);
	cr_expect_str_eq(why.code, "unknown_pool");
	for (int round = 0; round < 20; round++) {
		start(p, "sleep", "cpu", round % 2 ? "ms=0" : "ms=20", 0);
		/* As an event loop would: never a wait inside the library. */
		uint64_t deadline = test_now_ms() + 20000;
		int r;
		while ((r = pyprep_next(p, 0, &event)) == 0 && test_now_ms() < deadline) {
			if (pyprep_arm(p) != 0)
				continue;
			struct pollfd pfd = { .fd = pyprep_fd(p), .events = POLLIN };
			cr_assert_eq(poll(&pfd, 1, 20000), 1, "the descriptor stayed silent");
		}
		cr_assert_eq(r, 1);
		cr_expect_str_eq(event.receipt.state, "succeeded");
	}
	/* With nothing under way the descriptor becomes quiet. */
	cr_expect(wait_until(
		20000,
		pyprep_next(p, 0, &event) == 0 && pyprep_arm(p) == 0 &&
			poll(&(struct pollfd){ .fd = pyprep_fd(p), .events = POLLIN }, 1, 0) == 0));
	pyprep_close(p);
}

ON_EACH_LANE(cancels_what_waits_and_what_runs)
{
	struct pyprep *p = dial(lane);
	struct pyprep_receipt receipt;
	struct tally t = { 0 };
	uint64_t tags[50];

	for (int i = 0; i < 50; i++)
		tags[i] = start(p, "sleep", "one", "ms=60000", 0);
	cr_assert_eq(pyprep_cancel(p, tags[30]), 1);
	receipt_for(p, tags[30], 20000, &receipt);
	cr_expect_str_eq(receipt.state, "cancelled");
	cr_assert(wait_until(20000, jobs_started(p) == 1));
	cr_expect_eq(pyprep_cancel_all(p), 49);
	cr_assert(finish_all(p, 20000, &t));
	cr_expect_eq(t.cancelled, 49, "%ju of 49 are cancelled", (uintmax_t)t.cancelled);
	pyprep_close(p);
}

/* In a child: many jobs, and then one's own business.  Ends by the parent's kill. */
static void __attribute__((noreturn)) submit_and_hang(const char *lane, int jobs)
{
	struct pyprep *p = dial(lane);

	for (int i = 0; i < jobs; i++)
		start(p, "sleep", "cpu", "ms=60000", 0);
	for (;;)
		pause();
}

ON_EACH_LANE(takes_the_jobs_of_a_killed_client_along)
{
	struct test_status status = { 0 };

	pid_t child = test_fork();
	if (child == 0)
		submit_and_hang(lane, 50);
	cr_assert(wait_until(20000, daemon_status(&d, &status) == 0 && status.table_jobs == 50 &&
					    status.jobs_running >= 2),
		  "%ju jobs, %ju running", (uintmax_t)status.table_jobs,
		  (uintmax_t)status.jobs_running);
	kill_and_wait(child, SIGKILL);
	cr_expect(wait_until(20000, daemon_status(&d, &status) == 0 && status.table_jobs == 0 &&
					    status.clients == 1),
		  "%ju jobs and %ju clients are left", (uintmax_t)status.table_jobs,
		  (uintmax_t)status.clients);
}

ON_EACH_LANE(takes_the_jobs_of_a_client_that_closes_along)
{
	struct pyprep *p = dial(lane);

	for (int i = 0; i < 50; i++)
		start(p, "sleep", "cpu", "ms=60000", 0);
	cr_assert(wait_until(20000, table_jobs() == 50));
	pyprep_close(p);
	cr_expect(wait_until(20000, table_jobs() == 0), "%ju jobs are left",
		  (uintmax_t)table_jobs());
}

ON_EACH_LANE(gives_every_job_of_a_killed_broker_a_receipt)
{
	struct pyprep *p = dial(lane);
	pid_t broker = daemon_broker(&d);
	struct pyprep_receipt receipt;
	struct tally t = { 0 };

	for (int i = 0; i < 200; i++)
		start(p, "sleep", "cpu", "ms=100", 0);
	cr_assert_eq(next_receipt(p, 20000, &receipt), 1);
	kill(broker, SIGKILL);
	cr_assert(finish_all(p, 30000, &t), "%ju of 199 came", (uintmax_t)t.receipts);
	cr_expect_eq(t.receipts, 199);
	cr_expect_eq(t.succeeded + t.broker_lost, 199);
	cr_expect_geq(t.broker_lost, 1);
	struct pyprep_job job = { .kind = "noop" };
	cr_expect_eq(pyprep_submit(p, &job, NULL, NULL, NULL), -EPIPE);
	pyprep_close(p);
	p = NULL;
	cr_assert(wait_until(20000, pyprep_connect_lane(d.runtime, lane, &p, NULL) == 0));
	cr_assert_eq(run_job(p, "noop", "cpu", NULL, 20000, &receipt), 0);
	cr_expect_str_eq(receipt.state, "succeeded");
	pyprep_close(p);
}

ON_EACH_LANE(brings_the_last_receipts_of_a_daemon_that_stops)
{
	struct pyprep *p = dial(lane);
	struct tally t = { 0 };

	for (int i = 0; i < 20; i++)
		start(p, "sleep", "cpu", "ms=60000", 0);
	cr_assert(wait_until(20000, jobs_started(p) == 2));
	cr_assert_eq(ask(p, "stop", "now=true", NULL), 0);
	cr_expect_eq(wait_exit(d.pid, 30000), 0);
	d.pid = 0;
	cr_expect(finish_all(p, 20000, &t));
	cr_expect_eq(t.cancelled, 20, "%ju cancelled, %ju lost", (uintmax_t)t.cancelled,
		     (uintmax_t)t.broker_lost);
	pyprep_close(p);
}

ON_EACH_LANE(serves_many_clients_at_once)
{
	enum { CLIENTS = 40, JOBS = 50 };
	struct pyprep *crowd[CLIENTS];
	struct tally t = { 0 };

	for (int i = 0; i < CLIENTS; i++)
		crowd[i] = dial(lane);
	for (int k = 0; k < JOBS; k++)
		for (int i = 0; i < CLIENTS; i++)
			start(crowd[i], "noop", "cpu", NULL, 0);
	for (int i = 0; i < CLIENTS; i++)
		cr_expect(finish_all(crowd[i], 30000, &t), "client %d lacks receipts", i);
	cr_expect_eq(t.succeeded, CLIENTS * JOBS);
	for (int i = 0; i < CLIENTS; i++)
		pyprep_close(crowd[i]);
}

/* ---- pressure ---- */

/* In a child: an array job of 80 MB, asleep when the first items have come. */
static int
read_late(const char *lane)
{
	const uint64_t items = 10000000;
	struct pyprep *p = dial(lane);
	struct pyprep_job job = { .kind = "square", .pool = "cpu", .item_high = (int64_t)items };
	struct pyprep_event event;
	uint64_t came = 0;

	start_job(p, &job);
	while (pyprep_next(p, 60000, &event) == 1 && event.type == PYPREP_ITEMS) {
		if (came == 0)
			raise(SIGSTOP);
		for (uint32_t i = 0; i < event.count; i++)
			came += ((const int64_t *)event.bytes)[i] ==
				(event.first + i) * (event.first + i);
	}
	return came == items && event.type == PYPREP_RECEIPT ? 0 : 1;
}

ON_EACH_LANE(holds_back_the_jobs_of_who_does_not_read)
{
	struct pyprep *good = dial("shm");
	struct pyprep_receipt receipt;
	struct test_status status;
	pid_t broker = daemon_broker(&d);
	uint64_t before = process_memory(broker, "VmRSS");
	uint64_t used = UINT64_MAX;

	pid_t child = test_fork();
	if (child == 0)
		_exit(read_late(lane));
	cr_assert(wait_until(20000, process_state(child) == 'T'));
	/* It goes on until what is unread is enough, and then stands still. */
	for (int still = 0; still < 10;) {
		cr_assert_eq(run_job(good, "sleep", "one", "ms=20", 20000, &receipt), 0);
		cr_assert_eq(daemon_status(&d, &status), 0);
		const struct status_pool *pool = status_pool(&status, "cpu");
		uint64_t now = cpu_ms(pool->workers[0].pid) + cpu_ms(pool->workers[1].pid);
		still = now == used ? still + 1 : 0;
		used = now;
	}
	cr_expect_eq(status.jobs_running, 1, "it has ended, or its client is gone");
	uint64_t grown = process_memory(broker, "VmRSS") - before;
#if defined(__SANITIZE_ADDRESS__)
	grown = 0; /* its allocator keeps what was freed: memory says nothing there */
#endif
	cr_expect(grown < (24u << 20), "the broker grew by %ju bytes", (uintmax_t)grown);
	kill(child, SIGCONT);
	cr_expect_eq(wait_exit(child, 60000), 0, "not every item came, or came right");
	cr_expect_eq(daemon_broker(&d), broker);
	pyprep_close(good);
}

/* In a child: more jobs than its share of the table. */
static int
submit_more_than_fits(const char *lane)
{
	struct pyprep *p = dial(lane);
	struct pyprep_job job = { .kind = "noop", .pool = "one" };
	struct tally t = { 0 };

	for (int i = 0; i < 3 * TABLE; i++)
		start_job(p, &job);
	return finish_all(p, 60000, &t) && t.succeeded == 3 * TABLE ? 0 : 1;
}

ON_EACH_LANE(makes_submits_wait_for_room_in_the_table)
{
	struct pyprep *operator= dial("shm");

	cr_assert_eq(ask(operator, "pause", "pool=one", NULL), 0);
	pid_t child = test_fork();
	if (child == 0)
		_exit(submit_more_than_fits(lane));
	cr_assert(wait_until(20000, table_jobs() == TABLE));
	/* It waits, and says nothing of it. */
	cr_expect_not(wait_until(100, !process_exists(child)));
	cr_assert_eq(ask(operator, "resume", "pool=one", NULL), 0);
	cr_expect_eq(wait_exit(child, 60000), 0, "not every job came back");
	pyprep_close(operator);
}

/* Have so many been refused, and nothing else come back? */
static bool
refused_all(struct pyprep *p, uint64_t count, struct tally *t)
{
	struct pyprep_receipt receipt;

	while (t->receipts < count) {
		if (next_receipt(p, 20000, &receipt) != 1)
			return false;
		tally_add(t, &receipt);
	}
	return t->refused == count;
}

ON_EACH_LANE(says_at_once_that_there_is_no_room_when_asked_not_to_wait)
{
	struct pyprep *p = dial(lane);
	struct pyprep_job job = { .kind = "noop", .pool = "one", .flags = PYPREP_NO_WAIT };
	struct tally t = { 0 };
	int taken = 0, r = 0;

	cr_assert_eq(ask(p, "pause", "pool=one", NULL), 0);
	/* Refused by a receipt, or here when the way there is full. */
	for (int i = 0; i < TABLE + 100 && r == 0; i++) {
		while ((r = pyprep_submit(p, &job, NULL, NULL, NULL)) == -EAGAIN)
			cr_assert_eq(ask(p, "ping", NULL, NULL), 0);
		taken += r == 0;
	}
	cr_expect_eq(r, 0);
	/* Not before the broker has seen the last one: what ends makes room. */
	cr_assert(refused_all(p, (uint64_t)taken - TABLE, &t));
	cr_assert_eq(ask(p, "resume", "pool=one", NULL), 0);
	cr_assert(finish_all(p, 30000, &t));
	cr_expect_eq(t.succeeded, TABLE);
	cr_expect_eq(t.refused, (uint64_t)taken - TABLE);
	pyprep_close(p);
}

/* ---- choosing ---- */

Test(lane_unix, is_chosen_by_the_environment_and_a_wrong_name_is_refused)
{
	struct pyprep_problem why = { 0 };
	struct pyprep *p = NULL;

	setenv("PYPREP_LANE", "unix", 1);
	cr_assert_eq(pyprep_connect(d.runtime, &p, &why), 0, "%s", why.message);
	cr_expect_str_eq(pyprep_lane(p), "unix");
	pyprep_close(p);
	setenv("PYPREP_LANE", "carrier_pigeon", 1);
	cr_expect_eq(pyprep_connect(d.runtime, &p, &why), -EINVAL);
	cr_expect(strstr(why.message, "carrier_pigeon") && strstr(why.message, "PYPREP_LANE"));
	unsetenv("PYPREP_LANE");
	cr_expect_eq(pyprep_connect_lane(d.runtime, "smoke", &p, &why), -EINVAL);
}

Test(lane_zmq, is_not_there_unless_the_configuration_says_so)
{
	struct pyprep_problem why = { 0 };
	struct pyprep *p = NULL;

	daemon_end(&d);
	daemon_begin(&d, "[pool \"cpu\"]\nexecutor = process\nworkers = 1\n");
	cr_expect_eq(pyprep_connect_lane(d.runtime, "zmq", &p, &why), -ENOENT);
	cr_expect(strstr(why.message, "zmq_lane = yes") != NULL, "%s", why.message);
	/* Nothing was loaded for it: libzmq is no part of the broker. */
	struct command_result maps =
		run_command("grep -c libzmq /proc/%d/maps", (int)daemon_broker(&d));
	cr_expect_str_eq(maps.output, "0\n");
	command_free(&maps);
}
