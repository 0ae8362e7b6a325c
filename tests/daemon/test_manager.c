/*
 * test_manager.c - the manager of a real daemon: counters by both ways, locks with leases, what a
 * kill of the manager or of a client leaves, and messages that are none.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "ipc/manager.h"
#include "ipc/zmq.h"
#include "shm/owner.h"
#include "tests/helpers.h"

#define CONFIG      "[pool \"cpu\"]\nexecutor = process\nworkers = 1\n"
#define PATIENCE_MS 30000
#define LONG_NS     3600000000000ull

static struct test_daemon d;

static void
setup(void)
{
	daemon_begin(&d, CONFIG);
}

static void
teardown(void)
{
	daemon_end(&d);
}

TestSuite(manager, .init = setup, .fini = teardown, .timeout = 120);

/* ---- helpers ---- */

static struct pyprep_manager *
connect_manager(void)
{
	struct pyprep_manager *m;
	struct pyprep_problem why;

	if (pyprep_manager_connect(d.runtime, &m, &why) < 0) {
		fprintf(stderr, "%s\n", why.message);
		abort();
	}
	return m;
}

static struct pyprep_counters *
attach_counters(void)
{
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_counters *c;

	if (pyprep_counters_attach(p, &c, NULL) < 0)
		abort();
	pyprep_close(p);
	return c;
}

static int64_t
get(struct pyprep_manager *m, const char *name)
{
	int64_t value = INT64_MIN;

	cr_assert_eq(pyprep_manager_get(m, name, &value, NULL), 0);
	return value;
}

/* The manager's pid, waited for. */
static pid_t
manager_pid(void)
{
	static struct test_status status;

	if (!wait_until(PATIENCE_MS, daemon_status(&d, &status) == 0 && status.manager != 0))
		abort();
	return status.manager;
}

static pid_t
kill_manager(void)
{
	pid_t pid = manager_pid();

	kill(pid, SIGKILL);
	return pid;
}

/* Is `name` held by `pid` (0: by nobody)? */
struct look {
	const char *name;
	int pid;
	unsigned waiters;
	uint64_t lease_ns;
};

static int
look_at(void *context, const struct pyprep_lock *lock)
{
	struct look *look = context;

	if (strcmp(lock->name, look->name) == 0) {
		look->pid = lock->holder_pid;
		look->waiters = lock->waiters;
		look->lease_ns = lock->lease_ns;
	}
	return 0;
}

static struct look
look(struct pyprep_manager *m, const char *name)
{
	struct look l = { .name = name };

	if (pyprep_manager_locks(m, look_at, &l, NULL) < 0)
		abort();
	return l;
}

/* A process that takes the lock, says so with one byte, and sleeps. */
static pid_t
fork_holder(const char *name, uint64_t lease_ns, int *ret_fd)
{
	int pipes[2];
	if (pipe(pipes) < 0)
		abort();
	pid_t pid = test_fork();
	if (pid == 0) {
		struct pyprep_manager *m;
		int64_t fence;
		if (pyprep_manager_connect(d.runtime, &m, NULL) < 0 ||
		    pyprep_manager_lock(m, name, -1, lease_ns, &fence, NULL) < 0)
			_exit(1);
		if (write(pipes[1], "x", 1) != 1)
			_exit(2);
		for (;;)
			pause();
	}
	close(pipes[1]);
	*ret_fd = pipes[0];
	return pid;
}

static bool
says_so(int fd, int ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char byte;

	return poll(&pfd, 1, ms) == 1 && read(fd, &byte, 1) == 1;
}

/* ---- counters ---- */

Test(manager, adds_gets_sets_swaps_and_removes)
{
	struct pyprep_manager *m = connect_manager();
	struct pyprep_problem why;
	int64_t value;

	cr_assert_eq(pyprep_manager_get(m, "a", &value, &why), -ENOENT);
	cr_assert_str_eq(why.code, "no_such_counter");
	cr_assert_eq(pyprep_manager_add(m, "a", 5, &value, NULL), 0);
	cr_assert_eq(value, 5);
	cr_assert_eq(pyprep_manager_set(m, "a", INT64_MAX, NULL), 0);
	cr_assert_eq(pyprep_manager_add(m, "a", 1, &value, NULL), 0);
	cr_assert_eq(value, INT64_MIN);
	cr_assert_eq(pyprep_manager_cas(m, "a", 3, 4, &value, NULL), -ECANCELED);
	cr_assert_eq(value, INT64_MIN);
	cr_assert_eq(pyprep_manager_cas(m, "a", INT64_MIN, 4, &value, NULL), 0);
	cr_assert_eq(get(m, "a"), 4);
	cr_assert_eq(pyprep_manager_remove(m, "a", NULL), 0);
	cr_assert_eq(pyprep_manager_remove(m, "a", NULL), -ENOENT);
	cr_assert_eq(pyprep_manager_add(m, "no name", 1, NULL, &why), -EINVAL);
	pyprep_manager_close(m);
}

static int
count_one(void *context, const char *name, int64_t value)
{
	uint64_t *sum = context;

	(void)name;
	*sum += (uint64_t)value;
	return 0;
}

Test(manager, lists_more_than_one_answer_holds)
{
	enum { COUNTERS = 3 * MANAGER_ENTRIES_MAX + 5 };
	struct pyprep_manager *m = connect_manager();
	uint64_t sum = 0;
	char name[32];

	for (unsigned i = 0; i < COUNTERS; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		cr_assert_eq(pyprep_manager_set(m, name, i, NULL), 0);
	}
	cr_assert_eq(pyprep_manager_each(m, count_one, &sum, NULL), 0);
	cr_assert_eq(sum, (uint64_t)COUNTERS * (COUNTERS - 1) / 2);
	pyprep_manager_close(m);
}

Test(manager, pipelined_answers_come_in_order_and_the_window_is_bounded)
{
	struct pyprep_manager *m = connect_manager();
	struct pyprep_ask ask = { .op = PYPREP_ADD, .name = "p", .value = 1 };
	struct pyprep_answer answer;

	for (int64_t i = 0; i < MANAGER_WINDOW; i++)
		cr_assert_eq(pyprep_manager_submit(m, &ask, NULL), 0);
	cr_assert_eq(pyprep_manager_submit(m, &ask, NULL), -EAGAIN);
	for (int64_t i = 0; i < MANAGER_WINDOW; i++) {
		cr_assert_eq(pyprep_manager_next(m, -1, &answer, NULL), 1);
		cr_assert_eq(answer.result, 0);
		cr_assert_eq(answer.value, i + 1);
	}
	cr_assert_eq(pyprep_manager_next(m, -1, &answer, NULL), 0);
	pyprep_manager_close(m);
}

/* Adds by one of the two ways; 0 or an exit status. */
static int
add_many(unsigned number, int adds)
{
	struct pyprep_manager *m;
	if (number % 2 == 0) {
		struct pyprep_counters *c;
		struct pyprep_counter counter;
		struct pyprep *p;
		if (pyprep_connect(d.runtime, &p, NULL) < 0 ||
		    pyprep_counters_attach(p, &c, NULL) < 0 ||
		    pyprep_counter_open(c, "both", 1, &counter, NULL) < 0)
			return 1;
		for (int i = 0; i < adds; i++)
			if (pyprep_counter_add(&counter, 1, NULL) < 0)
				return 2;
		return 0;
	}
	struct pyprep_ask ask = { .op = PYPREP_ADD, .name = "both", .value = 1 };
	struct pyprep_answer answer;
	if (pyprep_manager_connect(d.runtime, &m, NULL) < 0)
		return 3;
	for (int sent = 0, got = 0; got < adds;) {
		if (sent < adds && pyprep_manager_submit(m, &ask, NULL) == 0) {
			sent++;
			continue;
		}
		if (pyprep_manager_next(m, -1, &answer, NULL) != 1 || answer.result != 0)
			return 4;
		got++;
	}
	pyprep_manager_close(m);
	return 0;
}

Test(manager, both_ways_at_once_are_exact)
{
	enum { PROCESSES = 4, ADDS = 20000 };
	pid_t pids[PROCESSES];

	for (unsigned i = 0; i < PROCESSES; i++)
		if ((pids[i] = test_fork()) == 0)
			_exit(add_many(i, ADDS));
	for (unsigned i = 0; i < PROCESSES; i++)
		cr_assert_eq(wait_exit(pids[i], PATIENCE_MS), 0);
	struct pyprep_manager *m = connect_manager();
	cr_assert_eq(get(m, "both"), PROCESSES * ADDS);
	pyprep_manager_close(m);
}

Test(manager, an_attached_table_is_the_daemons)
{
	struct pyprep_manager *m = connect_manager();
	struct pyprep_counters *c = attach_counters();
	struct pyprep_counter counter;
	int64_t value;

	cr_assert_eq(pyprep_counter_open(c, "x", 0, &counter, NULL), -ENOENT);
	cr_assert_eq(pyprep_manager_set(m, "x", 9, NULL), 0);
	cr_assert_eq(pyprep_counter_open(c, "x", 0, &counter, NULL), 0);
	cr_assert_eq(pyprep_counter_add(&counter, 1, &value), 0);
	cr_assert_eq(value, 10);
	cr_assert_eq(get(m, "x"), 10);
	cr_assert_eq(pyprep_manager_remove(m, "x", NULL), 0);
	cr_assert_eq(pyprep_counter_add(&counter, 1, &value), -ESTALE);
	pyprep_counters_detach(c);
	pyprep_manager_close(m);
}

/* ---- the manager's death ---- */

Test(manager, a_kill_under_load_loses_nothing_and_shows_no_error)
{
	enum { ADDS = 60000, KILLS = 5 };
	struct pyprep_manager *m = connect_manager();
	struct pyprep_ask ask = { .op = PYPREP_ADD, .name = "load", .value = 1 };
	struct pyprep_answer answer;
	int kills = 0, errors = 0;

	for (int64_t sent = 0, got = 0; got < ADDS;) {
		if (sent < ADDS && pyprep_manager_submit(m, &ask, NULL) == 0) {
			sent++;
			continue;
		}
		cr_assert_eq(pyprep_manager_next(m, -1, &answer, NULL), 1);
		errors += answer.result != 0;
		cr_assert_eq(answer.value, ++got, "applied twice, or not at all");
		if (kills < KILLS && got > ADDS / (KILLS + 1) * (kills + 1)) {
			kill_manager();
			kills++;
		}
	}
	cr_assert_eq(errors, 0);
	cr_assert_eq(kills, KILLS);
	cr_assert_eq(get(m, "load"), ADDS);
	pyprep_manager_close(m);
}

Test(manager, a_killed_one_is_followed_by_another_with_all_values)
{
	struct pyprep_manager *m = connect_manager();
	static struct test_status status;

	cr_assert_eq(pyprep_manager_set(m, "kept", 42, NULL), 0);
	pid_t old = kill_manager();
	cr_assert(wait_until(PATIENCE_MS, daemon_status(&d, &status) == 0 && status.manager != 0 &&
						  status.manager != old &&
						  strcmp(status.manager_state, "running") == 0));
	cr_assert_eq(get(m, "kept"), 42);
	struct pyprep_manager *other = connect_manager();
	cr_assert_eq(get(other, "kept"), 42);
	pyprep_manager_close(other);
	pyprep_manager_close(m);
}

/* One that dies before it answers anything: the daemon goes on without it, and says so. */
Test(manager, one_that_dies_again_and_again_is_given_up_and_the_daemon_goes_on)
{
	static struct test_status status;
	struct pyprep_manager *m;
	struct pyprep_problem why;

	/* Killed when it has just been started: by pid, as often as one appears. */
	bool failed = wait_until(PATIENCE_MS,
				 daemon_status(&d, &status) == 0 &&
					 (strcmp(status.manager_state, "failed") == 0 ||
					  (status.manager != 0 &&
					   kill(status.manager, SIGKILL) != 0 && errno != ESRCH)));
	cr_assert(failed);
	cr_assert_str_eq(status.manager_state, "failed");
	cr_assert_eq(pyprep_manager_connect(d.runtime, &m, &why), -ETIMEDOUT);
	cr_assert_str_eq(why.code, "manager_failed");
	struct pyprep *p = daemon_connect(&d);
	struct pyprep_receipt receipt;
	cr_assert_eq(run_job(p, "noop", "cpu", NULL, 20000, &receipt), 0);
	pyprep_close(p);
	/* A reload tries again. */
	kill(d.pid, SIGHUP);
	m = connect_manager();
	cr_assert_eq(pyprep_manager_add(m, "back", 1, NULL, NULL), 0);
	pyprep_manager_close(m);
}

static void
on_alarm(int number)
{
	(void)number;
}

/* A call that a signal ends leaves its place in the window to others. */
Test(manager, interrupted_calls_hold_no_place)
{
	struct pyprep_manager *m = connect_manager();
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval often = { .it_interval.tv_usec = 1000, .it_value.tv_usec = 1000 };
	struct itimerval never = { 0 };
	pid_t manager = manager_pid();
	int64_t asked = 0;

	sigaction(SIGALRM, &action, NULL);
	kill(manager, SIGSTOP);
	setitimer(ITIMER_REAL, &often, NULL);
	for (; asked < 10; asked++)
		cr_assert_eq(pyprep_manager_add(m, "x", 1, NULL, NULL), -EINTR);
	setitimer(ITIMER_REAL, &never, NULL);
	kill(manager, SIGCONT);
	for (; asked < 3 * MANAGER_WINDOW; asked++)
		cr_assert_eq(pyprep_manager_add(m, "x", 1, NULL, NULL), 0);
	cr_assert_eq(get(m, "x"), asked, "what was interrupted was sent, and applied once");
	pyprep_manager_close(m);
}

/* ---- locks ---- */

Test(manager, a_lock_is_held_by_one)
{
	struct pyprep_manager *a = connect_manager(), *b = connect_manager();
	struct pyprep_problem why;
	int64_t first, second;

	cr_assert_eq(pyprep_manager_lock(a, "l", 0, 0, &first, NULL), 0);
	cr_assert_eq(pyprep_manager_lock(a, "l", 0, 0, &second, NULL), -EALREADY);
	cr_assert_eq(pyprep_manager_lock(b, "l", 0, 0, &second, &why), -ETIMEDOUT);
	cr_assert_str_eq(why.code, "locked");
	cr_assert_eq(pyprep_manager_lock(b, "l", 20, 0, &second, NULL), -ETIMEDOUT);
	cr_assert_eq(look(b, "l").waiters, 0);
	cr_assert_eq(pyprep_manager_unlock(a, "l", NULL), 0);
	cr_assert_eq(pyprep_manager_unlock(a, "l", NULL), -ENOLCK);
	cr_assert_eq(pyprep_manager_lock(b, "l", 0, 0, &second, NULL), 0);
	cr_assert_gt(second, first);
	pyprep_manager_close(b); /* a goodbye frees it */
	cr_assert_eq(pyprep_manager_lock(a, "l", -1, 0, &first, NULL), 0);
	cr_assert_gt(first, second);
	pyprep_manager_close(a);
}

Test(manager, a_lock_is_free_when_its_holder_dies_and_the_first_waiter_has_it)
{
	struct pyprep_manager *m = connect_manager();
	int fd[3];

	pid_t holder = fork_holder("l", LONG_NS, &fd[0]);
	cr_assert(says_so(fd[0], PATIENCE_MS));
	pid_t first = fork_holder("l", LONG_NS, &fd[1]);
	cr_assert(wait_until(PATIENCE_MS, look(m, "l").waiters == 1));
	pid_t second = fork_holder("l", LONG_NS, &fd[2]);
	cr_assert(wait_until(PATIENCE_MS, look(m, "l").waiters == 2));
	cr_assert_eq(look(m, "l").pid, holder);
	kill_and_wait(holder, SIGKILL);
	cr_assert(says_so(fd[1], PATIENCE_MS));
	cr_assert_eq(look(m, "l").pid, first);
	/* A dead waiter is passed over. */
	kill_and_wait(second, SIGKILL);
	cr_assert(wait_until(PATIENCE_MS, look(m, "l").waiters == 0));
	kill_and_wait(first, SIGKILL);
	cr_assert(wait_until(PATIENCE_MS, look(m, "l").pid == 0));
	pyprep_manager_close(m);
}

Test(manager, a_lock_survives_the_manager_and_not_its_holder)
{
	struct pyprep_manager *m = connect_manager();
	int fd[2];

	pid_t holder = fork_holder("l", LONG_NS, &fd[0]);
	cr_assert(says_so(fd[0], PATIENCE_MS));
	pid_t waiter = fork_holder("l", LONG_NS, &fd[1]);
	cr_assert(wait_until(PATIENCE_MS, look(m, "l").waiters == 1));
	kill_manager();
	/* The waiter asks again by itself. */
	cr_assert(wait_until(PATIENCE_MS, look(m, "l").waiters == 1));
	cr_assert_eq(look(m, "l").pid, holder);
	/* The new manager watches a process that it never heard of. */
	kill_and_wait(holder, SIGKILL);
	cr_assert(says_so(fd[1], PATIENCE_MS));
	cr_assert_eq(look(m, "l").pid, waiter);
	/* One that dies while there is no manager. */
	pid_t manager = manager_pid();
	kill(manager, SIGSTOP);
	kill_and_wait(waiter, SIGKILL);
	kill(manager, SIGKILL);
	cr_assert(wait_until(PATIENCE_MS, look(m, "l").pid == 0));
	pyprep_manager_close(m);
}

Test(manager, a_lease_ends_and_its_holder_is_told)
{
	struct pyprep_manager *a = connect_manager(), *b = connect_manager();
	struct pyprep_problem why;
	int64_t fence;

	cr_assert_eq(pyprep_manager_lock(a, "l", 0, 50000000, &fence, NULL), 0);
	/* a makes no calls: its lease is not renewed. */
	cr_assert_eq(pyprep_manager_lock(b, "l", -1, LONG_NS, &fence, NULL), 0);
	cr_assert(wait_until(PATIENCE_MS, pyprep_manager_tend(a, &why) == -ENOLCK));
	cr_assert_str_eq(why.code, "lock_lost");
	cr_assert_eq(pyprep_manager_unlock(a, "l", NULL), -ENOLCK);
	cr_assert_eq(look(a, "l").pid, getpid());
	pyprep_manager_close(a);
	pyprep_manager_close(b);
}

static uint64_t
lease_left(void)
{
	struct pyprep_manager *m = connect_manager();
	uint64_t left = look(m, "l").lease_ns;
	pyprep_manager_close(m);
	return left;
}

Test(manager, who_tends_to_its_lock_keeps_it)
{
	struct pyprep_manager *m = connect_manager();
	int64_t fence;

	/* Renewed after a third: what is left goes up again, several times. */
	cr_assert_eq(pyprep_manager_lock(m, "l", 0, 3000000000u, &fence, NULL), 0);
	for (int i = 0; i < 2; i++) {
		uint64_t before = lease_left();
		cr_assert(wait_until(PATIENCE_MS,
				     pyprep_manager_tend(m, NULL) == 0 && lease_left() > before));
	}
	cr_assert_eq(pyprep_manager_unlock(m, "l", NULL), 0);
	pyprep_manager_close(m);
}

/* ---- who sends nonsense ---- */

struct hostile {
	struct zmq_end *end;
	unsigned char bytes[4096];
	struct manager_writer w;
};

static void
hostile_open(struct hostile *h)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/" MANAGER_SOCKET, d.runtime);
	if (zmq_end_open(ZMQ_END_DEALER, NULL, &h->end) < 0 || zmq_end_connect(h->end, path) < 0)
		abort();
}

static void
hostile_send(struct hostile *h, const void *bytes, size_t size)
{
	struct iovec part = { (void *)(uintptr_t)bytes, size };

	/* Its queue is bounded: the manager may be behind. */
	while (zmq_end_send(h->end, &part, 1) < 0)
		cr_assert_eq(zmq_end_wait(h->end, POLLOUT, PATIENCE_MS), 1);
}

/* One request as it says, with the status of its answer; -1: none within `ms`. */
static int
hostile_ask(struct hostile *h, uint64_t token, uint64_t owner, struct manager_ask ask, int ms)
{
	struct zmq_message m;
	struct manager_reader reader;
	struct manager_head head;
	struct manager_answer answer;
	const unsigned char *entries;

	manager_write(&h->w, h->bytes, sizeof(h->bytes), token, owner);
	cr_assert_eq(manager_write_ask(&h->w, &ask, "l"), 0);
	hostile_send(h, h->bytes, h->w.used);
	if (zmq_end_wait(h->end, POLLIN, ms) != 1 || zmq_end_recv(h->end, &m) < 0)
		return -1;
	cr_assert_eq(manager_read(&reader, m.part[0].iov_base, m.part[0].iov_len, &head), 0);
	cr_assert_eq(manager_read_answer(&reader, &answer, &entries), 1);
	zmq_message_free(&m);
	return answer.status;
}

Test(manager, messages_that_are_none_do_no_harm)
{
	struct pyprep_manager *good = connect_manager();
	pid_t manager = manager_pid();
	struct hostile h;
	unsigned seed = (unsigned)getpid();

	cr_log_info("seed %u", seed);
	cr_assert_eq(pyprep_manager_set(good, "good", 1, NULL), 0);
	hostile_open(&h);
	for (int i = 0; i < 3000; i++) {
		struct manager_ask ask = { .op = MANAGER_ADD, .sequence = 1, .value = 1000 };
		manager_write(&h.w, h.bytes, sizeof(h.bytes), 77, owner_self());
		manager_write_ask(&h.w, &ask, "good");
		manager_write_ask(&h.w, &ask, "good");
		/* one byte of it, or its length, is not what it was */
		h.bytes[(unsigned)rand_r(&seed) % h.w.used] ^=
			(unsigned char)(1 + rand_r(&seed) % 255);
		hostile_send(&h, h.bytes,
			     i % 2 ? h.w.used : (unsigned)rand_r(&seed) % (h.w.used + 1));
	}
	/* Still the same process, and it answers. */
	cr_assert_eq(get(good, "good"), 1, "a session that never said hello has added");
	cr_assert_eq(manager_pid(), manager);
	zmq_end_close(h.end);
	pyprep_manager_close(good);
}

Test(manager, nobody_speaks_for_another_process)
{
	struct manager_ask hello = { .op = MANAGER_HELLO };
	struct manager_ask lock = { .op = MANAGER_LOCK, .sequence = 1 };
	struct hostile mine, other;

	hostile_open(&mine);
	cr_assert_eq(hostile_ask(&mine, 1234, owner_self(), hello, PATIENCE_MS), MANAGER_OK);
	cr_assert_eq(hostile_ask(&mine, 1234, owner_self(), lock, PATIENCE_MS), MANAGER_OK);
	/* The owner word of another process, and a pid that was somebody else. */
	hostile_open(&other);
	cr_assert_eq(hostile_ask(&other, 99, owner_of(getppid()), hello, PATIENCE_MS),
		     MANAGER_NOT_ALLOWED);
	cr_assert_eq(hostile_ask(&other, 99, owner_self() + 1, hello, PATIENCE_MS),
		     MANAGER_NOT_ALLOWED);
	/* A known token from another process. */
	pid_t thief = test_fork();
	if (thief == 0) {
		struct hostile h;
		struct manager_ask unlock = { .op = MANAGER_UNLOCK, .sequence = 2, .expected = 1 };
		hostile_open(&h);
		int as_self = hostile_ask(&h, 1234, owner_self(), unlock, PATIENCE_MS);
		int as_holder = hostile_ask(&h, 1234, owner_of(getppid()), unlock, PATIENCE_MS);
		_exit(as_self == MANAGER_NOT_ALLOWED && as_holder == MANAGER_NOT_ALLOWED ? 0 : 1);
	}
	cr_assert_eq(wait_exit(thief, PATIENCE_MS), 0);
	struct pyprep_manager *m = connect_manager();
	cr_assert_eq(look(m, "l").pid, getpid());
	pyprep_manager_close(m);
	zmq_end_close(other.end);
	zmq_end_close(mine.end);
}

Test(manager, sessions_of_one_process_are_bounded_and_end_with_it)
{
	enum { MOST = 16 };
	pid_t pid = test_fork();

	if (pid == 0) {
		struct hostile h;
		struct manager_ask hello = { .op = MANAGER_HELLO };
		hostile_open(&h);
		for (uint64_t i = 1; i <= MOST; i++)
			if (hostile_ask(&h, i, owner_self(), hello, PATIENCE_MS) != MANAGER_OK)
				_exit(1);
		_exit(hostile_ask(&h, 1000, owner_self(), hello, PATIENCE_MS) == MANAGER_NO_ROOM
			      ? 0
			      : 2);
	}
	cr_assert_eq(wait_exit(pid, PATIENCE_MS), 0);
	/* Far more clients than there are places, one after the other. */
	for (int round = 0; round < 20; round++) {
		pid = test_fork();
		if (pid == 0) {
			struct hostile h;
			struct manager_ask hello = { .op = MANAGER_HELLO };
			hostile_open(&h);
			for (uint64_t i = 1; i <= MOST; i++)
				if (hostile_ask(&h, 100 + i, owner_self(), hello, PATIENCE_MS) !=
				    MANAGER_OK)
					_exit(1);
			_exit(0);
		}
		cr_assert_eq(wait_exit(pid, PATIENCE_MS), 0, "round %d", round);
	}
}
