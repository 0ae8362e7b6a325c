/* test_command.c - the command executor in a process of its own, driven through a link as the
 * broker drives it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/context.h"
#include "daemon/executor.h"
#include "daemon/executors/tree.h"
#include "ipc/clock.h"
#include "ipc/link.h"
#include "tests/link.h"
#include "tests/process.h"

#define OUTPUT_MAX (256u * 1024)
#define PATIENCE   (40 * NS_PER_S) /* less than set_long_grace() and what sleeps here */

static struct link_broker broker;
static struct board *board;
static struct pool_config pool;
static pid_t worker;
static int control;
static int broker_bell;

/* What came back for the one command of a test. */
static struct {
	struct result_body result;
	char message[512];
	char out[2][OUTPUT_MAX + 1];
	uint32_t length[2];
} got;

static void
worker_process(const struct link_fds *fds, int control_end)
{
	struct worker w = { .pool = &pool, .control = control_end };
	struct link_shared *shared;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if (link_map(fds->memfd, &shared) < 0 ||
	    link_worker_attach(&w.link, shared, board, fds, broker_bell) < 0)
		_exit(99);
	int status = command_run(&w);
	link_worker_detach(&w.link);
	_exit(status);
}

static void
start_worker(void)
{
	struct link_fds fds;
	int pair[2];

	pool.grace_ns = pool.grace_ns != 0 ? pool.grace_ns : 200 * NS_PER_MS;
	pool.output_cap = pool.output_cap != 0 ? pool.output_cap : OUTPUT_MAX;
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

/* The worker ends in good order, and leaves no child behind. */
static void
stop_worker(void)
{
	int status;

	close(control);
	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "worker status %x", status);
	link_broker_detach(&broker);
}

/* In a test with its own .init: the suite's has run before it. */
static void
start_again(void)
{
	stop_worker();
	start_worker();
}

/* Arguments as args.h packs a list. */
static uint32_t
pack(unsigned char *at, const char *const *argv)
{
	uint32_t length = sizeof(uint64_t), count = 0;

	for (; argv[count] != NULL; count++) {
		strcpy((char *)at + length, argv[count]);
		length += (uint32_t)strlen(argv[count]) + 1;
	}
	uint64_t word = (uint64_t)sizeof(uint64_t) << 32 | count;
	memcpy(at, &word, sizeof(word));
	return length;
}

static uint32_t
send_with(const char *const *argv, struct run_body run, const void *context,
	  uint32_t context_length)
{
	static unsigned char args[65536];

	memset(&got, 0, sizeof(got));
	run.id = 7;
	uint32_t length = pack(args, argv);
	uint64_t end = clock_now() + PATIENCE;
	int index;
	/* Some links are connected a while after they are made. */
	while ((index = link_send_run(&broker, &run, args, length, context, context_length)) ==
		       -EAGAIN &&
	       clock_now() < end)
		usleep(1000);
	cr_assert_geq(index, 0);
	link_wake(&broker);
	return (uint32_t)index;
}

static void
take_record(const struct ring_record *record)
{
	if (record->type == MSG_RUN_OUTPUT) {
		const struct output_body *o = (const void *)record->body;
		unsigned s = o->stream - 1;
		uint32_t n = record->length - (uint32_t)sizeof(*o);
		cr_assert(s < 2 && n > 0 && n <= 16384 && got.length[s] + n <= OUTPUT_MAX);
		memcpy(got.out[s] + got.length[s], o + 1, n);
		got.length[s] += n;
	} else if (record->type == MSG_RESULT) {
		const struct result_body *r = (const void *)record->body;
		got.result = *r;
		memcpy(got.message, (const char *)(r + 1) + r->outcome.result_length,
		       r->outcome.message_length);
	}
}

/* Wait for the result, or for `wanted` bytes of stdout. */
static void
receive(uint32_t wanted)
{
	uint64_t end = clock_now() + PATIENCE;

	while (got.result.ticket == 0 && (wanted == 0 || got.length[0] < wanted)) {
		cr_assert_lt(clock_now(), end, "no answer; stdout so far: %s", got.out[0]);
		wake_arm(&board->broker);
		if (!link_has_result(&broker)) {
			struct pollfd p[2] = { { .fd = broker_bell, .events = POLLIN },
					       { .fd = link_result_fd(&broker),
						 .events = POLLIN } };
			poll(p, 2, 100);
			bell_clear(broker_bell);
		}
		wake_disarm(&board->broker);
		const struct ring_record *record;
		/* One result at a time: the next command's may be there, too. */
		while (got.result.ticket == 0 && (record = link_result(&broker)) != NULL) {
			take_record(record);
			link_result_release(&broker, record);
		}
		link_drained(&broker);
	}
}

static uint32_t
send_shell(const char *script)
{
	const char *const argv[] = { "sh", "-c", script, NULL };
	return send_with(argv, (struct run_body){ 0 }, NULL, 0);
}

static void
run_shell(const char *script)
{
	uint32_t index = send_shell(script);
	receive(0);
	link_free_ticket(&broker, index);
}

static void
order_stop(uint32_t index, enum job_cause reason)
{
	cr_assert_eq(link_send_stop(&broker, index, reason), 0);
	link_wake(&broker);
}

static void
expect_outcome(enum job_state state, enum job_cause cause, int value, enum job_error error)
{
	const struct outcome *o = &got.result.outcome;
	cr_expect_eq(o->state, state, "state %s: %s", job_state_text(o->state), got.message);
	cr_expect_eq(o->cause, cause, "cause %s", job_cause_text(o->cause));
	cr_expect_eq(o->cause_value, value, "value %d", o->cause_value);
	cr_expect_eq(o->error, error, "error %s", job_error_text(o->error));
}

static size_t
descendants_by(bool scan)
{
	struct tree t = { 0 };
	cr_assert_eq(tree_list(&t, worker, scan), 0);
	size_t n = t.count;
	tree_free(&t);
	return n;
}

static size_t
descendants(void)
{
	return descendants_by(false);
}

TestSuite(command, .init = start_worker, .fini = stop_worker, .timeout = 600);

Test(command, output_and_success)
{
	run_shell("echo hello");
	expect_outcome(JOB_SUCCEEDED, CAUSE_EXIT, 0, ERR_NONE);
	cr_expect_str_eq(got.out[0], "hello\n");
	cr_expect_eq(got.length[1], 0);
	cr_expect_eq(got.result.flags, 0);
	cr_expect_eq(got.result.outcome.result_length, 0);
}

Test(command, stderr_apart)
{
	run_shell("echo one; echo two >&2; echo three");
	cr_expect_str_eq(got.out[0], "one\nthree\n");
	cr_expect_str_eq(got.out[1], "two\n");
}

Test(command, stdin_is_empty)
{
	run_shell("cat; readlink /proc/self/fd/0");
	cr_expect_str_eq(got.out[0], "/dev/null\n");
}

Test(command, exit_status)
{
	run_shell("exit 3");
	expect_outcome(JOB_FAILED, CAUSE_EXIT, 3, ERR_RUN);
	cr_expect_str_eq(got.message, "exited with status 3");
}

Test(command, fatal_signal)
{
	run_shell("kill -9 $$");
	expect_outcome(JOB_FAILED, CAUSE_SIGNAL, 9, ERR_RUN);
	cr_expect_str_eq(got.message, "killed by signal 9 (Killed)");
}

Test(command, not_found_and_not_executable)
{
	const char *const missing[] = { "no-such-command-here", NULL };
	send_with(missing, (struct run_body){ 0 }, NULL, 0);
	receive(0);
	expect_outcome(JOB_FAILED, CAUSE_EXIT, 127, ERR_RUN);
	cr_expect_str_eq(got.message, "no-such-command-here: not found");

	const char *const directory[] = { "/etc", NULL };
	send_with(directory, (struct run_body){ 0 }, NULL, 0);
	receive(0);
	expect_outcome(JOB_FAILED, CAUSE_EXIT, 126, ERR_RUN);
	cr_expect_str_eq(got.message, "/etc: permission denied");

	const char *const lost[] = { "/no/such/place", NULL };
	send_with(lost, (struct run_body){ 0 }, NULL, 0);
	receive(0);
	expect_outcome(JOB_FAILED, CAUSE_EXIT, 127, ERR_RUN);
}

static void
set_cap(void)
{
	pool.output_cap = 20000;
	start_again();
}

Test(command, output_beyond_the_cap_is_dropped, .init = set_cap)
{
	run_shell("head -c 3000000 /dev/zero; head -c 20000 /dev/zero >&2");
	expect_outcome(JOB_SUCCEEDED, CAUSE_EXIT, 0, ERR_NONE);
	cr_expect_eq(got.length[0], 20000);
	cr_expect_eq(got.length[1], 20000);
	cr_expect_eq(got.result.flags, RECEIPT_TRUNCATED);
}

Test(command, output_of_exactly_the_cap_is_whole, .init = set_cap)
{
	run_shell("head -c 20000 /dev/zero");
	cr_expect_eq(got.length[0], 20000);
	cr_expect_eq(got.result.flags, 0);
}

static void
set_large_cap(void)
{
	pool.output_cap = 16 << 20;
	start_again();
}

/* Nobody drains at first: the command waits for the ring, the worker hears a stop still. */
Test(command, a_full_ring_holds_the_command_and_not_the_worker, .init = set_large_cap)
{
	uint32_t index = send_shell("exec head -c 16000000 /dev/zero");
	uint64_t end = clock_now() + PATIENCE;
	while (broker.shared->worker_wants_room == 0) {
		cr_assert_lt(clock_now(), end);
		usleep(1000);
	}
	usleep(50000);
	cr_expect_eq(descendants(), 1);
	order_stop(index, CAUSE_CANCELLED);
	while (descendants() > 0) {
		cr_assert_lt(clock_now(), end);
		usleep(1000);
	}
	/* What was in the pipe may follow; the test keeps only so much of it. */
	got.length[0] = 0;
	while (got.result.ticket == 0) {
		cr_assert_lt(clock_now(), end);
		const struct ring_record *record;
		while ((record = link_result(&broker)) != NULL) {
			got.length[0] = 0;
			take_record(record);
			link_result_release(&broker, record);
		}
		link_drained(&broker);
		usleep(1000);
	}
	expect_outcome(JOB_CANCELLED, CAUSE_CANCELLED, 0, ERR_CANCELLED);
}

Test(command, output_comes_while_it_runs)
{
	uint32_t index = send_shell("echo early; exec sleep 100");
	receive(6);
	cr_expect_str_eq(got.out[0], "early\n");
	cr_expect_eq(got.result.ticket, 0);
	order_stop(index, CAUSE_CANCELLED);
	receive(0);
	expect_outcome(JOB_CANCELLED, CAUSE_CANCELLED, 0, ERR_CANCELLED);
}

/* A child, a grandchild in another session whose parent is gone, and a stopped one; all but
 * the last ignore SIGTERM. */
static const char stubborn[] =
	"trap '' TERM; sleep 100 & (setsid sh -c 'trap \"\" TERM; sleep 100; sleep 100' &); "
	"sh -c 'kill -STOP $$' & sleep 0.1; echo up; sleep 100; sleep 100";

Test(command, a_tree_that_ignores_sigterm_is_gone_after_a_stop)
{
	uint32_t index = send_shell(stubborn);
	receive(3);
	/* It may still grow: both ways agree on what stands. */
	uint64_t end = clock_now() + PATIENCE;
	size_t by_children = 0, by_scan = 0;
	while ((by_children < 5 || by_children != by_scan) && clock_now() < end) {
		by_children = descendants();
		by_scan = descendants_by(true);
	}
	cr_expect_geq(by_children, 5);
	cr_expect_eq(by_children, by_scan);
	uint64_t start = clock_now();
	order_stop(index, CAUSE_TIMEOUT);
	receive(0); /* long before its sleeps would end */
	uint64_t took = clock_now() - start;
	expect_outcome(JOB_TIMED_OUT, CAUSE_TIMEOUT, 0, ERR_TIMED_OUT);
	cr_expect(took >= pool.grace_ns, "%lu ns", (unsigned long)took);
	cr_expect_eq(descendants(), 0);
}

/* The worker has its pool from its start. */
static void
set_long_grace(void)
{
	pool.grace_ns = 60 * NS_PER_S;
	start_again();
}

Test(command, a_command_that_heeds_sigterm_needs_no_grace, .init = set_long_grace)
{
	uint32_t index = send_shell("echo up; sleep 100");
	receive(3);
	order_stop(index, CAUSE_TIMEOUT);
	receive(0); /* its patience is shorter than the grace */
	expect_outcome(JOB_TIMED_OUT, CAUSE_TIMEOUT, 0, ERR_TIMED_OUT);
}

Test(command, what_outlives_the_command_is_killed_without_a_grace, .init = set_long_grace)
{
	run_shell("sleep 100 & (setsid sleep 100 &) ; echo done");
	expect_outcome(JOB_SUCCEEDED, CAUSE_EXIT, 0, ERR_NONE);
	cr_expect_str_eq(got.out[0], "done\n");
	cr_expect_eq(descendants(), 0);
	cr_expect_lt(got.result.outcome.ended_ns - got.result.outcome.started_ns, pool.grace_ns);
}

Test(command, things_that_fork_on_and_on_are_killed)
{
	run_shell("for i in 1 2 3 4; do (setsid sh -c 'while :; do sleep 0.001 & done' &); done; "
		  "sleep 0.05; echo done");
	expect_outcome(JOB_SUCCEEDED, CAUSE_EXIT, 0, ERR_NONE);
	cr_expect_eq(descendants(), 0);
}

Test(command, a_stop_for_another_job_is_ignored)
{
	run_shell("echo first");
	uint32_t index = send_shell("echo up; sleep 0.2; exit 5");
	struct stop_body *place = end_reserve(&broker.requests, MSG_STOP, sizeof(*place));
	*place = (struct stop_body){ .ticket = 1, .reason = CAUSE_CANCELLED };
	cr_assert_eq(end_commit(&broker.requests, sizeof(*place)), 0);
	link_wake(&broker);
	receive(0);
	link_free_ticket(&broker, index);
	expect_outcome(JOB_FAILED, CAUSE_EXIT, 5, ERR_RUN);
}

Test(command, a_stop_is_seen_behind_a_waiting_request)
{
	uint32_t first = send_shell("echo up; sleep 100");
	receive(3);
	uint32_t second = send_shell("echo second");
	usleep(50000);
	cr_expect_eq(ticket_state(&broker.shared->tickets[second]), TICKET_READY);
	order_stop(first, CAUSE_CANCELLED);
	receive(0);
	expect_outcome(JOB_CANCELLED, CAUSE_CANCELLED, 0, ERR_CANCELLED);
	got.result.ticket = 0;
	receive(0);
	expect_outcome(JOB_SUCCEEDED, CAUSE_EXIT, 0, ERR_NONE);
	cr_expect_str_eq(got.out[0], "second\n");
}

Test(command, a_request_taken_back_does_not_run)
{
	char script[512], go[256];

	snprintf(go, sizeof(go), "%s/go-%d", test_directory(), (int)getpid());
	snprintf(script, sizeof(script), "echo up; until [ -e %s ]; do sleep 0.02; done", go);
	send_shell(script);
	receive(3);
	uint32_t second = send_shell("echo second");
	usleep(50000);
	cr_expect(link_reclaim(&broker, second));
	close(open(go, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	receive(0);
	unlink(go);
	got.result.ticket = 0;
	run_shell("echo third");
	cr_expect_str_eq(got.out[0], "third\n");
}

static uint32_t
pack_context(unsigned char **ret, const char *cwd, unsigned mask)
{
	msgpack_sbuffer buffer;
	msgpack_packer p;
	msgpack_unpacked u;
	char why[200];
	uint32_t length;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&p, &buffer, msgpack_sbuffer_write);
	msgpack_pack_map(&p, 3);
	msgpack_pack_str_with_body(&p, "cwd", 3);
	msgpack_pack_str_with_body(&p, cwd, strlen(cwd));
	msgpack_pack_str_with_body(&p, "umask", 5);
	msgpack_pack_unsigned_int(&p, mask);
	msgpack_pack_str_with_body(&p, "env", 3);
	msgpack_pack_array(&p, 2);
	msgpack_pack_str_with_body(&p, "PATH=bin:/usr/bin:/bin", 22);
	msgpack_pack_str_with_body(&p, "COLOUR=blue sky", 15);
	msgpack_unpacked_init(&u);
	msgpack_unpack_next(&u, buffer.data, buffer.size, NULL);
	cr_assert_eq(context_pack(&u.data, ret, &length, why, sizeof(why)), 0, "%s", why);
	msgpack_unpacked_destroy(&u);
	msgpack_sbuffer_destroy(&buffer);
	return length;
}

Test(command, directory_environment_and_umask_are_the_clients)
{
	const char *const argv[] = { "sh", "-c", "pwd; umask; echo $COLOUR; env | wc -l", NULL };
	unsigned char *context;
	uint32_t length = pack_context(&context, "/usr", 027);
	send_with(argv, (struct run_body){ 0 }, context, length);
	receive(0);
	/* PWD is the shell's own, PYPREP_JOB and PYPREP_ATTEMPT are the daemon's. */
	cr_expect_str_eq(got.out[0], "/usr\n0027\nblue sky\n5\n");

	/* "bin" of its PATH counts from its directory. */
	const char *const true_argv[] = { "true", NULL };
	send_with(true_argv, (struct run_body){ 0 }, context, length);
	receive(0);
	expect_outcome(JOB_SUCCEEDED, CAUSE_EXIT, 0, ERR_NONE);
	free(context);

	length = pack_context(&context, "/no/such/directory", 0);
	send_with(argv, (struct run_body){ 0 }, context, length);
	receive(0);
	expect_outcome(JOB_FAILED, CAUSE_ERROR, 0, ERR_RUN);
	cr_expect_str_eq(
		got.message,
		"cannot enter the directory /no/such/directory: No such file or directory");
	free(context);
}

static void
set_notify(void)
{
	setenv("NOTIFY_SOCKET", "/nowhere", 1);
	setenv("WATCHDOG_USEC", "1", 1);
	setenv("LISTEN_FDS", "1", 1);
	start_again();
}

Test(command, without_a_context_the_daemons_environment_less_systemds, .init = set_notify)
{
	run_shell("pwd; umask; env | grep -E '^(NOTIFY|WATCHDOG|LISTEN)'");
	cr_expect_str_eq(got.out[0], "/\n0022\n");
}

Test(command, it_starts_in_a_session_of_its_own_with_clean_signals_and_descriptors)
{
	run_shell("ls /proc/self/fd | wc -l; "
		  "grep -E '^Sig(Blk|Ign)' /proc/self/status; "
		  "test $(cut -d' ' -f6 /proc/$$/stat) = $$ && echo session");
	/* 0, 1, 2 and the directory that ls reads. */
	cr_expect_str_eq(got.out[0], "4\nSigBlk:\t0000000000000000\n"
				     "SigIgn:\t0000000000000000\nsession\n");
}

Test(command, usage_adds_up)
{
	/* One process: the waiting of two for a CPU would count twice. */
	run_shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec sleep 0.1");
	const struct outcome *o = &got.result.outcome;
	cr_expect_eq(o->method, USAGE_TREE);
	uint64_t run = o->ended_ns - o->started_ns;
	cr_expect_eq(o->usage.oncpu_ns + o->usage.runqueue_ns + o->usage.blocked_ns, run);
	cr_expect_gt(o->usage.oncpu_ns, 5 * NS_PER_MS);
	cr_expect_geq(o->usage.blocked_ns, 90 * NS_PER_MS);
	cr_expect_gt(o->usage.user_ns + o->usage.system_ns, 0);
}

Test(command, peak_memory_is_the_commands)
{
	run_shell(":");
	uint64_t small = got.result.outcome.usage.peak_memory_bytes;
	run_shell("exec dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null");
	uint64_t large = got.result.outcome.usage.peak_memory_bytes;
	/* A shell's, or this worker's size when that is more: sanitizers take some. */
	cr_expect_lt(small, 16u << 20);
	cr_expect(large > 64u << 20 && large < 70u << 20, "%lu", (unsigned long)large);
	run_shell(":");
	uint64_t after = got.result.outcome.usage.peak_memory_bytes;
	cr_expect_lt(after, small + (1u << 20), "%lu, then %lu", (unsigned long)small,
		     (unsigned long)after);
}

Test(command, it_never_runs_as_the_wrong_user)
{
	const char *const argv[] = { "sh", "-c", "id -u; id -g; id -G", NULL };
	struct run_body run = { .uid = 65534, .gid = 65534, .flags = RUN_DROP_TO_USER };
	if (geteuid() == run.uid)
		run.uid = 1;
	send_with(argv, run, NULL, 0);
	receive(0);
	if (geteuid() == 0)
		cr_expect_str_eq(got.out[0], "65534\n65534\n65534\n", "%s", got.message);
	else
		expect_outcome(JOB_FAILED, CAUSE_ERROR, 0, ERR_RUN);

	run.uid = 3999999999;
	send_with(argv, run, NULL, 0);
	receive(0);
	expect_outcome(JOB_FAILED, CAUSE_ERROR, 0, ERR_RUN);
	cr_expect_eq(got.length[0], 0);
}

Test(command, the_order_to_stop_lets_the_running_command_finish)
{
	send_shell("echo up; sleep 0.2; echo end");
	receive(3);
	shutdown(control, SHUT_RDWR);
	receive(0);
	expect_outcome(JOB_SUCCEEDED, CAUSE_EXIT, 0, ERR_NONE);
	cr_expect_str_eq(got.out[0], "up\nend\n");
}

/* ---- deaths ---- */

/* Wait until no process carries `mark` in its command line. */
static bool
gone_within(const char *mark, uint64_t span_ns)
{
	char command[128];
	uint64_t end = clock_now() + span_ns;
	/* The brackets keep pgrep's own shell from being found. */
	snprintf(command, sizeof(command), "pgrep -f '[s]leep %s' >/dev/null", mark);
	while (system(command) == 0) {
		if (clock_now() >= end)
			return false;
		usleep(10000);
	}
	return true;
}

/* A supervisor that is killed, with a worker that runs a tree. */
Test(command_deaths, the_tree_dies_with_the_supervisor, .timeout = 600)
{
	char mark[32], script[256];
	snprintf(mark, sizeof(mark), "100%d", getpid());
	snprintf(script, sizeof(script),
		 "trap '' TERM; (setsid sleep %s &); sleep %s & echo up; sleep %s", mark, mark,
		 mark);
	int up[2];
	cr_assert_eq(pipe(up), 0);
	pid_t supervisor = test_fork();
	if (supervisor == 0) {
		start_worker();
		send_shell(script);
		receive(3);
		(void)!write(up[1], "", 1);
		pause();
		_exit(0);
	}
	char byte;
	cr_assert_eq(read(up[0], &byte, 1), 1);
	cr_assert(!gone_within(mark, 0));
	kill(supervisor, SIGKILL);
	waitpid(supervisor, NULL, 0);
	cr_expect(gone_within(mark, PATIENCE), "sleep %s is left", mark);
}

Test(command_deaths, the_main_process_dies_with_the_worker, .init = start_worker, .timeout = 600)
{
	char mark[32], script[64];
	snprintf(mark, sizeof(mark), "100%d", getpid());
	snprintf(script, sizeof(script), "echo up; exec sleep %s", mark);
	send_shell(script);
	receive(3);
	kill(worker, SIGKILL);
	waitpid(worker, NULL, 0);
	cr_expect(gone_within(mark, PATIENCE), "sleep %s is left", mark);
}
