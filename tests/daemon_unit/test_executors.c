/* test_executors.c - the process, thread and event executors, each in a process of its own,
 * driven through a link as the broker drives them. */
#include <criterion/criterion.h>
#include <sched.h>

#include <errno.h>
#include <inttypes.h>
#include <msgpack.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/executor.h"
#include "ipc/clock.h"
#include "tests/link.h"
#include "tests/process.h"

#define PATIENCE (60 * NS_PER_S)

static struct link_broker broker;
static struct board *board;
static struct pool_config pool;
static pid_t worker;
static int control, broker_bell;

/* What has come back since reset(). */
static struct {
	unsigned results;
	unsigned states[JOB_STATE_COUNT];
	struct result_body last;
	char result[512], message[512];
	uint64_t first_started, last_ended;
	uint64_t items;
	int64_t items_wrong;
} got;

static void
worker_process(const struct link_fds *fds, int control_end)
{
	struct worker w = { .pool = &pool, .control = control_end };
	struct link_shared *shared;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (link_map(fds->memfd, &shared) < 0 ||
	    link_worker_attach(&w.link, shared, board, fds, broker_bell) < 0)
		_exit(99);
	int status = pool.executor->run(&w);
	link_worker_detach(&w.link);
	_exit(status);
}

static void
start_worker(const char *executor, unsigned concurrency)
{
	struct link_fds fds;
	int pair[2];

	memset(&got, 0, sizeof(got));
	pool.executor = executor_by_name(executor);
	pool.concurrency = concurrency;
	cr_assert_not_null(pool.executor);
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	cr_assert_neq(board, MAP_FAILED);
	enum link_way way;
	cr_assert(link_way_by_name(test_link(), &way));
	cr_assert_eq(link_create(way, test_directory(), &fds), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	broker_bell = bell_create();
	cr_assert_eq(link_broker_attach(&broker, &fds), 0);
	worker = fork();
	if (worker == 0) {
		close(pair[0]);
		worker_process(&fds, pair[1]);
	}
	close(pair[1]);
	for (int i = 0; i < 2; i++) /* the worker's; the broker took its own over */
		if (fds.worker[i] >= 0)
			close(fds.worker[i]);
	close(fds.memfd);
	control = pair[0];
}

/* Give the order to stop; the worker ends with status 0. */
static void
stop_worker(void)
{
	int status;

	close(control);
	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "worker status %x", status);
	link_broker_detach(&broker);
}

static void drain(void);

/* Waits while the link is full, or not connected yet. */
static int
send_soon(struct run_body *run, const void *args, uint32_t length)
{
	uint64_t end = clock_now() + PATIENCE;
	int r;

	while ((r = link_send_run(&broker, run, args, length, NULL, 0)) == -EAGAIN &&
	       clock_now() < end) {
		link_wake(&broker);
		drain();
		sched_yield();
	}
	return r;
}

/* A kind whose parameters are one integer, or an enum's index and integers. */
static int
send_words(const char *name, const int64_t *words, unsigned count, int64_t low, int64_t high)
{
	struct run_body run = { .id = 1, .item_low = low, .item_high = high };
	unsigned index;

	cr_assert_not_null(kind_by_name(name, &index));
	run.kind = (uint16_t)index;
	return send_soon(&run, words, count * 8);
}

static int
send_job(const char *name, int64_t word)
{
	int index = send_words(name, &word, 1, 0, 0);
	cr_assert_geq(index, 0);
	return index;
}

static int
send_failure(int64_t how, int64_t after_ms)
{
	int64_t words[3] = { how, after_ms, SIGSEGV };
	int index = send_words("fail", words, 3, 0, 0);
	cr_assert_geq(index, 0);
	link_wake(&broker);
	return index;
}
enum { HOW_ERROR, HOW_EXIT, HOW_SIGNAL, HOW_HANG };

/* Waits while the link is full. */
static void
stop_soon(int index)
{
	uint64_t end = clock_now() + PATIENCE;

	while (link_send_stop(&broker, (uint32_t)index, CAUSE_CANCELLED) < 0) {
		cr_assert_lt(clock_now(), end);
		link_wake(&broker);
		drain();
		sched_yield();
	}
}

static void
take_result(const struct result_body *r)
{
	const struct outcome *o = &r->outcome;
	const struct usage *u = &o->usage;

	cr_assert_eq(u->oncpu_ns + u->runqueue_ns + u->blocked_ns, o->ended_ns - o->started_ns);
	got.results++;
	got.states[o->state]++;
	got.last = *r;
	if (got.first_started == 0 || o->started_ns < got.first_started)
		got.first_started = o->started_ns;
	if (o->ended_ns > got.last_ended)
		got.last_ended = o->ended_ns;
	cr_assert_leq(o->result_length, sizeof(got.result));
	memcpy(got.result, r + 1, o->result_length);
	memcpy(got.message, (const char *)(r + 1) + o->result_length, o->message_length);
	got.message[o->message_length] = '\0';
	link_free_ticket(&broker, ticket_index(r->ticket));
}

static void
take_items(const struct items_body *items)
{
	const int64_t *values = (const void *)(items + 1);

	cr_assert_leq(items->count, 4096);
	got.items += items->count;
	for (uint32_t i = 0; i < items->count; i++)
		got.items_wrong += values[i] != (items->first + i) * (items->first + i);
}

static void
drain(void)
{
	const struct ring_record *record;

	while ((record = link_result(&broker)) != NULL) {
		if (record->type == MSG_RESULT)
			take_result((const void *)record->body);
		else if (record->type == MSG_RUN_ITEMS)
			take_items((const void *)record->body);
		link_result_release(&broker, record);
	}
	link_drained(&broker);
}

/* Until `results` have come in all. */
static void
receive(unsigned results)
{
	uint64_t end = clock_now() + PATIENCE;

	link_wake(&broker);
	while (got.results < results) {
		cr_assert_lt(clock_now(), end, "%u of %u results", got.results, results);
		wake_arm(&board->broker);
		if (!link_has_result(&broker)) {
			struct pollfd p[2] = { { .fd = broker_bell, .events = POLLIN },
					       { .fd = link_result_fd(&broker),
						 .events = POLLIN } };
			poll(p, 2, 100);
			bell_clear(broker_bell);
		}
		wake_disarm(&board->broker);
		drain();
	}
}

/* Wait until it is under way; a short one may be done by the time we look. */
static void
wait_claimed(int index)
{
	uint64_t end = clock_now() + PATIENCE;

	while (ticket_state(&broker.shared->tickets[index]) == TICKET_READY) {
		cr_assert_lt(clock_now(), end);
		sched_yield();
	}
}

TestSuite(executors, .timeout = 600);

static const struct {
	const char *name;
	unsigned concurrency;
} cpu_executors[] = { { "process", 1 }, { "thread", 1 }, { "thread", 4 } };

#define EACH(e)                                                 \
	(e) = 0;                                                \
	(e) < sizeof(cpu_executors) / sizeof(cpu_executors[0]); \
	(e)++

Test(executors, every_job_has_one_result)
{
	for (size_t EACH(e)) {
		start_worker(cpu_executors[e].name, cpu_executors[e].concurrency);
		unsigned sent = 0;
		while (sent < 5000) {
			while (sent < 5000 && sent - got.results < 500) {
				send_job(sent % 3 == 0 ? "sumsq" : "square", sent % 100);
				sent++;
			}
			receive(got.results + 1);
		}
		receive(sent);
		cr_expect_eq(got.states[JOB_SUCCEEDED], sent);
		cr_expect_eq(broker.free_count, LINK_TICKETS);
		stop_worker();
	}
}

/* More results than the ring holds: the worker waits for room and is woken. */
Test(executors, ranges_come_back_in_packed_pieces)
{
	for (size_t EACH(e)) {
		int64_t words[1] = { 0 };
		start_worker(cpu_executors[e].name, cpu_executors[e].concurrency);
		for (int i = 0; i < 20; i++)
			cr_assert_geq(send_words("square", words, 1, -10000 + i * 50001ll,
						 -10000 + (i + 1) * 50001ll),
				      0);
		receive(20);
		cr_expect_eq(got.items, 20 * 50001);
		cr_expect_eq(got.items_wrong, 0);
		stop_worker();
	}
}

Test(executors, io_kinds_run_everywhere)
{
	static const struct {
		const char *name;
		unsigned concurrency, at_least_ms, method;
	} rows[] = { { "process", 1, 60, USAGE_THREAD },
		     { "thread", 3, 20, USAGE_THREAD },
		     { "event", 10, 20, USAGE_LOOP } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		start_worker(rows[i].name, rows[i].concurrency);
		for (int n = 0; n < 3; n++)
			send_job("sleep", 20);
		receive(3);
		cr_expect_eq(got.states[JOB_SUCCEEDED], 3);
		cr_expect_eq(got.last.outcome.method, rows[i].method);
		cr_expect_geq(got.last_ended - got.first_started, rows[i].at_least_ms * NS_PER_MS);
		send_failure(HOW_ERROR, 0);
		receive(4);
		cr_expect_eq(got.states[JOB_FAILED], 1);
		cr_expect_eq(got.last.outcome.error, ERR_RUN);
		cr_expect_str_eq(got.message, "failed on purpose");
		stop_worker();
	}
}

/* None ends by itself, so all of them are under way at once, or this never gets on. */
Test(executors, a_thousand_wait_at_once)
{
	int index[1000];

	start_worker("event", 1024);
	for (int n = 0; n < 1000; n++)
		index[n] = send_failure(HOW_HANG, 0);
	for (int n = 0; n < 1000; n++)
		wait_claimed(index[n]);
	cr_expect_eq(got.results, 0);
	for (int n = 0; n < 1000; n++)
		stop_soon(index[n]);
	receive(1000);
	cr_expect_eq(got.states[JOB_CANCELLED], 1000);
	for (int n = 0; n < 1000; n++)
		send_job("sleep", 50);
	receive(2000);
	cr_expect_eq(got.states[JOB_SUCCEEDED], 1000);
	stop_worker();
}

/* Nobody waits unclaimed in the ring, so an order to stop is seen behind them. */
Test(executors, jobs_beyond_the_limit_wait_and_orders_to_stop_pass_them)
{
	start_worker("event", 2);
	int first = send_failure(HOW_HANG, 0), second = send_failure(HOW_HANG, 0);
	wait_claimed(first);
	wait_claimed(second);
	int third = send_failure(HOW_ERROR, 0), fourth = send_job("sleep", 1);
	cr_assert(link_reclaim(&broker, (uint32_t)third));
	cr_assert_eq(link_send_stop(&broker, (uint32_t)second, CAUSE_TIMEOUT), 0);
	receive(2);
	cr_expect_eq(got.states[JOB_TIMED_OUT], 1);
	cr_expect_eq(got.states[JOB_SUCCEEDED], 1); /* the fourth; the third was taken back */
	cr_expect_eq(ticket_index(got.last.ticket), (uint32_t)fourth);
	cr_assert_eq(link_send_stop(&broker, (uint32_t)first, CAUSE_CANCELLED), 0);
	receive(3);
	cr_expect_eq(got.last.outcome.state, JOB_CANCELLED);
	cr_expect_eq(got.last.outcome.cause, CAUSE_CANCELLED);
	cr_expect_eq(got.last.outcome.error, ERR_CANCELLED);
	cr_expect_geq(got.last.outcome.usage.blocked_ns, got.last.outcome.usage.oncpu_ns);
	stop_worker();
}

Test(executors, an_order_to_stop_lets_running_jobs_finish)
{
	static const char *const names[] = { "process", "thread", "event" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		start_worker(names[i], i == 0 ? 1 : 4);
		int index = send_job("sleep", 1000);
		link_wake(&broker);
		wait_claimed(index);
		close(control);
		receive(1);
		cr_expect_eq(got.states[JOB_SUCCEEDED], 1);
		control = -1;
		stop_worker();
	}
}

static int
status_after(const char *executor, int64_t how)
{
	int status;

	start_worker(executor, executor[0] == 'p' ? 1 : 2);
	int index = send_failure(how, 1);
	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_expect_eq(ticket_state(&broker.shared->tickets[index]), TICKET_CLAIMED);
	close(control);
	link_broker_detach(&broker);
	return status;
}

Test(executors, fail_ends_its_worker_as_asked)
{
	static const char *const names[] = { "process", "thread", "event" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int status = status_after(names[i], HOW_EXIT);
		cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 3, "%s: %x", names[i],
			  status);
		status = status_after(names[i], HOW_SIGNAL);
		cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "%s: %x", names[i],
			  status);
		cr_expect_not(WCOREDUMP(status));
	}
}

/* ---- fetch ---- */

/* One answer per connection, by the path's first letter. */
static void
answer(int client)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
	static const char gone[] = "HTTP/1.1 404 Gone\r\nContent-Length: 2\r\n\r\nno";
	static const char cut[] = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhe";
	static const char move[] = "HTTP/1.1 302 Moved\r\nLocation: file:///etc/passwd\r\n"
				   "Content-Length: 0\r\n\r\n";
	char request[2048];
	ssize_t n = read(client, request, sizeof(request) - 1);

	request[n > 0 ? n : 0] = '\0';
	const char *text = strstr(request, " /o") != NULL   ? ok
			   : strstr(request, " /g") != NULL ? gone
			   : strstr(request, " /c") != NULL ? cut
							    : move;
	if (strstr(request, " /hang") != NULL)
		pause();
	(void)!write(client, text, strlen(text));
	close(client);
}

/* An HTTP server in a process of its own; dies with the test. */
static uint16_t
start_server(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(listener, (struct sockaddr *)&address, size), 0);
	cr_assert_eq(listen(listener, 64), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	if (test_fork() == 0) { /* the test may be over before it has run at all */
		for (;;)
			answer(accept(listener, NULL, NULL));
	}
	close(listener);
	return ntohs(address.sin_port);
}

static int
send_fetch(uint16_t port, const char *path)
{
	unsigned char args[256] = { 0 };
	unsigned index;
	int n = snprintf((char *)args + 8, sizeof(args) - 8, "http://127.0.0.1:%u%s", port, path);
	uint64_t word = 8ull << 32 | (uint32_t)n;

	memcpy(args, &word, sizeof(word));
	kind_by_name("fetch", &index);
	struct run_body run = { .id = 1, .kind = (uint16_t)index };
	int ticket = send_soon(&run, args, (uint32_t)n + 9);
	cr_assert_geq(ticket, 0);
	link_wake(&broker);
	return ticket;
}

static void
expect_answer(int64_t status, uint64_t bytes)
{
	msgpack_unpacked answer_map;
	char words[128] = "", want[128];

	msgpack_unpacked_init(&answer_map);
	if (msgpack_unpack_next(&answer_map, got.result, got.last.outcome.result_length, NULL) ==
	    MSGPACK_UNPACK_SUCCESS)
		msgpack_object_print_buffer(words, sizeof(words), answer_map.data);
	msgpack_unpacked_destroy(&answer_map);
	snprintf(want, sizeof(want), "{\"status\"=>%" PRId64 ", \"bytes\"=>%" PRIu64 ", ", status,
		 bytes);
	cr_expect_eq(strncmp(words, want, strlen(want)), 0, "%s%s", words, got.message);
}

Test(executors, fetch_says_status_and_bytes_or_why_not)
{
	static const char *const names[] = { "process", "thread", "event" };
	uint16_t port = start_server();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		start_worker(names[i], i == 0 ? 1 : 3);
		send_fetch(port, "/ok");
		receive(1);
		expect_answer(200, 5);
		send_fetch(port, "/gone");
		receive(2);
		expect_answer(404, 2);
		send_fetch(port, "/cut");
		receive(3);
		cr_expect_eq(got.last.outcome.error, ERR_RUN);
		cr_expect(strstr(got.message, "/cut: transfer closed with 7 bytes remaining"), "%s",
			  got.message);
		send_fetch(port, "/move");
		receive(4);
		cr_expect(strstr(got.message, "\"file\" not supported"), "%s", got.message);
		send_fetch(1, "/");
		receive(5);
		cr_expect(strstr(got.message, "cannot fetch http://127.0.0.1:1/: "), "%s",
			  got.message);
		stop_worker();
	}
}

Test(executors, a_fetch_is_stopped_in_the_loop)
{
	uint16_t port = start_server();

	start_worker("event", 4);
	int hung = send_fetch(port, "/hang");
	wait_claimed(hung);
	cr_assert_eq(link_send_stop(&broker, (uint32_t)hung, CAUSE_TIMEOUT), 0);
	receive(1);
	cr_expect_eq(got.last.outcome.state, JOB_TIMED_OUT);
	send_job("sleep", 1);
	receive(2);
	cr_expect_eq(got.states[JOB_SUCCEEDED], 1);
	stop_worker();
}

Test(executors, a_kind_of_another_class_is_an_error_of_the_job)
{
	start_worker("event", 4);
	send_job("sumsq", 10);
	receive(1);
	cr_expect_eq(got.states[JOB_FAILED], 1);
	cr_expect_str_eq(got.message, "only kinds of class io run on an event loop");
	stop_worker();
}

Test(executors, the_table_is_whole)
{
	for (unsigned i = 0; i < executor_count; i++) {
		const struct executor *e = &executors[i];
		cr_expect_eq(executor_by_name(e->name), e);
		cr_expect(e->help != NULL && e->run != NULL && e->classes != 0);
		cr_expect_geq(e->concurrency_max, e->concurrency);
		cr_expect_lt(e->concurrency_max, LINK_TICKETS);
	}
	cr_expect_null(executor_by_name("fiber"));
}
