/* test_ipc_queue.c - ipc/queue.h: what it promises to members that live. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/queue_shared.h"
#include "tests/process.h"

#define LONG (120 * NS_PER_S) /* longer than any test: what waits so long hangs */

static void *memory;
static size_t memory_bytes;
static struct queue *q;

static void
make(uint32_t capacity, uint32_t message_max, uint32_t members_max)
{
	struct queue_options o = { .capacity = capacity,
				   .message_max = message_max,
				   .members_max = members_max };
	memory_bytes = queue_footprint(&o);
	memory =
		mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(memory, MAP_FAILED);
	cr_assert_eq(queue_init(memory, memory_bytes, &o), 0);
	cr_assert_eq(queue_attach(memory, memory_bytes, &q), 0);
}

static void
teardown(void)
{
	q = queue_detach(q);
	if (memory != NULL)
		munmap(memory, memory_bytes);
}

TestSuite(queue, .fini = teardown, .timeout = 600);

static int
put_text(const char *text)
{
	return queue_put(q, text, (uint32_t)strlen(text), QUEUE_NO_WAIT);
}

/* The next message as text; "" with *ret_error set when there is none. */
static const char *
get_text(int *ret_error)
{
	static char text[4096];
	uint32_t length = 0;

	*ret_error = queue_get(q, text, sizeof(text) - 1, &length, QUEUE_NO_WAIT);
	text[*ret_error == 0 ? length : 0] = '\0';
	return text;
}

#define expect_get(wanted)                              \
	do {                                            \
		int get_error;                          \
		const char *got = get_text(&get_error); \
		cr_expect_eq(get_error, 0);             \
		cr_expect_str_eq(got, wanted);          \
	} while (0)

#define expect_no_get(wanted)                      \
	do {                                       \
		int get_error;                     \
		(void)get_text(&get_error);        \
		cr_expect_eq(get_error, (wanted)); \
	} while (0)

static struct queue_stat
stat_now(void)
{
	static struct queue_stat s;
	queue_stat(q, &s);
	return s;
}

Test(queue, messages_of_any_length_come_out_whole_and_in_order)
{
	char sent[300], got[300];
	uint32_t length;

	make(400, 300, 0);
	for (uint32_t n = 0; n <= 300; n++) {
		memset(sent, (int)n, n);
		cr_assert_eq(queue_put(q, sent, n, QUEUE_NO_WAIT), 0);
	}
	for (uint32_t n = 0; n <= 300; n++) {
		memset(sent, (int)n, n);
		cr_assert_eq(queue_get(q, got, sizeof(got), &length, QUEUE_NO_WAIT), 0);
		cr_assert_eq(length, n);
		cr_assert_eq(memcmp(got, sent, n), 0);
	}
	expect_no_get(-EAGAIN);
}

Test(queue, the_bound_is_exact_also_when_it_is_no_power_of_two)
{
	for (uint32_t capacity = 1; capacity <= 9; capacity++) {
		make(capacity, 8, 0);
		for (int round = 0; round < 5; round++) {
			for (uint32_t i = 0; i < capacity; i++)
				cr_assert_eq(put_text("x"), 0, "%u of %u", i, capacity);
			cr_expect_eq(put_text("y"), -EAGAIN);
			cr_expect_eq(queue_size(q), capacity);
			expect_get("x");
			cr_expect_eq(put_text("z"), 0);
			for (uint32_t i = 1; i < capacity; i++)
				expect_get("x");
			expect_get("z");
			expect_no_get(-EAGAIN);
		}
		q = queue_detach(q);
		munmap(memory, memory_bytes);
	}
	memory = NULL;
}

Test(queue, a_message_above_the_limit_is_refused_and_one_above_the_buffer_stays)
{
	char small[2], large[8];
	uint32_t length = 0;

	make(4, 5, 0);
	cr_expect_eq(put_text("123456"), -EMSGSIZE);
	cr_assert_eq(put_text("12345"), 0);
	cr_expect_eq(queue_get(q, small, sizeof(small), &length, QUEUE_NO_WAIT), -EMSGSIZE);
	cr_expect_eq(length, 5);
	cr_expect_eq(queue_get(q, large, sizeof(large), &length, QUEUE_NO_WAIT), 0);
	cr_expect_eq(length, 5);
	cr_expect_eq(memcmp(large, "12345", 5), 0);
}

Test(queue, waiting_ends_with_its_time)
{
	char x;
	uint32_t length;

	make(1, 1, 0);
	uint64_t begin = clock_now();
	cr_expect_eq(queue_get(q, &x, 1, &length, 30 * NS_PER_MS), -ETIMEDOUT);
	cr_assert_eq(put_text("a"), 0);
	cr_expect_eq(queue_put(q, "b", 1, 30 * NS_PER_MS), -ETIMEDOUT);
	cr_expect_eq(queue_join(q, 30 * NS_PER_MS, NULL), -ETIMEDOUT);
	cr_expect_geq(clock_now() - begin, 90 * NS_PER_MS);
	cr_expect_eq(stat_now().waits_for_messages, 1);
	cr_expect_eq(stat_now().waits_for_room, 1);
}

Test(queue, a_put_wakes_one_that_waits_for_messages)
{
	make(4, 8, 0);
	pid_t child = test_fork();
	if (child == 0) {
		char text[8];
		uint32_t length;
		int r = queue_get(q, text, sizeof(text), &length, LONG);
		_exit(r == 0 && length == 5 && memcmp(text, "hello", 5) == 0 ? 0 : 1);
	}
	cr_assert(wait_until(120000, process_state(child) == 'S'));
	cr_assert_eq(put_text("hello"), 0);
	cr_expect_eq(wait_exit(child, 120000), 0);
}

Test(queue, a_get_wakes_one_that_waits_for_room)
{
	make(1, 8, 0);
	cr_assert_eq(put_text("first"), 0);
	pid_t child = test_fork();
	if (child == 0)
		_exit(queue_put(q, "second", 6, LONG) == 0 ? 0 : 1);
	cr_assert(wait_until(120000, process_state(child) == 'S'));
	expect_get("first");
	cr_expect_eq(wait_exit(child, 120000), 0);
	expect_get("second");
}

Test(queue, after_close_producers_are_refused_and_consumers_drain_then_learn_the_end)
{
	make(4, 8, 0);
	cr_assert_eq(put_text("a"), 0);
	cr_assert_eq(put_text("b"), 0);
	cr_expect(!queue_is_closed(q));
	cr_assert_eq(queue_close(q), 0);
	cr_assert_eq(queue_close(q), 0);
	cr_expect(queue_is_closed(q));
	cr_expect_eq(put_text("c"), -EPIPE);
	expect_get("a");
	expect_get("b");
	for (int i = 0; i < 3; i++)
		expect_no_get(-ENODATA);
	cr_expect_eq(queue_put(q, "d", 1, LONG), -EPIPE);
	cr_expect(stat_now().closed);
}

Test(queue, close_wakes_all_who_wait)
{
	pid_t getter[2], putter[2];

	make(2, 8, 0);
	for (int i = 0; i < 2; i++)
		if ((getter[i] = test_fork()) == 0) {
			char x[8];
			uint32_t length;
			_exit(queue_get(q, x, sizeof(x), &length, LONG) == -ENODATA ? 0 : 1);
		}
	for (int i = 0; i < 2; i++)
		cr_assert(wait_until(120000, process_state(getter[i]) == 'S'));
	cr_assert_eq(queue_close(q), 0);
	for (int i = 0; i < 2; i++)
		cr_expect_eq(wait_exit(getter[i], 120000), 0);
	q = queue_detach(q);
	munmap(memory, memory_bytes);

	make(2, 8, 0);
	cr_assert_eq(put_text("a"), 0);
	cr_assert_eq(put_text("b"), 0);
	for (int i = 0; i < 2; i++)
		if ((putter[i] = test_fork()) == 0)
			_exit(queue_put(q, "c", 1, LONG) == -EPIPE ? 0 : 1);
	for (int i = 0; i < 2; i++)
		cr_assert(wait_until(120000, process_state(putter[i]) == 'S'));
	cr_assert_eq(queue_close(q), 0);
	for (int i = 0; i < 2; i++)
		cr_expect_eq(wait_exit(putter[i], 120000), 0);
}

/* Child `who` puts 20,000 messages that tell who and which, each with its checksum. */
struct numbered {
	uint32_t who, number, times[6], sum;
};

static struct numbered
numbered(uint32_t who, uint32_t number)
{
	struct numbered m = { .who = who, .number = number };
	m.sum = who * 31 + number;
	for (unsigned i = 0; i < 6; i++)
		m.sum += m.times[i] = number * (i + 1);
	return m;
}

static void
put_numbered(uint32_t who, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct numbered m = numbered(who, i);
		if (queue_put(q, &m, sizeof(m), LONG) != 0)
			_exit(1);
	}
	_exit(0);
}

/* Got until the end: each producer's own in order, none torn.  Counts go to `*total`. */
static void
get_numbered(_Atomic uint32_t *total)
{
	struct numbered m, same;
	uint32_t length, next[3] = { 0 };
	int r;

	while ((r = queue_get(q, &m, sizeof(m), &length, LONG)) == 0) {
		same = numbered(m.who, m.number);
		if (length != sizeof(m) || memcmp(&m, &same, sizeof(m)) != 0 || m.who > 2 ||
		    m.number < next[m.who])
			_exit(1);
		next[m.who] = m.number + 1;
		(*total)++;
		if (queue_task_done(q) != 0)
			_exit(3);
	}
	_exit(r == -ENODATA ? 0 : 2);
}

Test(queue, three_producers_and_three_consumers_lose_tear_and_double_nothing)
{
	pid_t producer[3], consumer[3];
	_Atomic uint32_t *total =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	make(13, sizeof(struct numbered), 0);
	for (uint32_t i = 0; i < 3; i++) {
		if ((producer[i] = test_fork()) == 0)
			put_numbered(i, 20000);
		if ((consumer[i] = test_fork()) == 0)
			get_numbered(total);
	}
	for (int i = 0; i < 3; i++)
		cr_expect_eq(wait_exit(producer[i], 120000), 0);
	uint64_t lost = 9;
	cr_expect_eq(queue_join(q, LONG, &lost), 0);
	cr_expect_eq(lost, 0);
	cr_assert_eq(queue_close(q), 0);
	for (int i = 0; i < 3; i++)
		cr_expect_eq(wait_exit(consumer[i], 120000), 0);
	cr_expect_eq(*total, 60000);
	struct queue_stat s = stat_now();
	cr_expect_eq(s.puts, 60000);
	cr_expect_eq(s.gets, 60000);
	cr_expect_eq(s.bytes_in, 60000 * sizeof(struct numbered));
	cr_expect_eq(s.bytes_out, s.bytes_in);
	cr_expect_eq(s.unfinished, 0);
	cr_expect_leq(s.high_water, 13);
	cr_expect_eq(s.skipped + s.returned, 0);
	munmap((void *)total, 4096);
}

Test(queue, a_forked_child_is_a_member_of_its_own)
{
	make(4, 8, 0);
	cr_assert_eq(stat_now().attached, 1);
	pid_t child = test_fork();
	if (child == 0) {
		if (queue_put(q, "child", 5, LONG) != 0)
			_exit(1);
		pause();
	}
	cr_assert(wait_until(120000, queue_size(q) == 1));
	struct queue_stat s = stat_now();
	cr_assert_eq(s.attached, 2);
	cr_expect_eq(s.members[0].pid, getpid());
	cr_expect_eq(s.members[0].puts, 0);
	cr_expect_eq(s.members[1].pid, child);
	cr_expect_eq(s.members[1].puts, 1);
	cr_expect(s.members[1].alive);
	kill_and_wait(child, SIGKILL);
	cr_expect_eq(queue_recover(q), 1);
	cr_expect_eq(stat_now().attached, 1);
	expect_get("child");
}

Test(queue, places_are_bounded_and_the_deads_are_given_again)
{
	struct queue *second, *third;

	make(4, 8, 2);
	pid_t child = test_fork();
	if (child == 0) {
		(void)queue_put(q, "x", 1, LONG);
		pause();
	}
	cr_assert(wait_until(120000, queue_size(q) == 1));
	cr_expect_eq(queue_attach(memory, memory_bytes, &second), -EUSERS);
	kill_and_wait(child, SIGKILL);
	cr_assert_eq(queue_attach(memory, memory_bytes, &second), 0);
	cr_expect_eq(queue_attach(memory, memory_bytes, &third), -EUSERS);
	second = queue_detach(second);
	cr_assert_eq(queue_attach(memory, memory_bytes, &second), 0);
	queue_detach(second);
}

Test(queue, join_waits_until_each_message_is_done)
{
	uint64_t lost = 7;

	make(4, 8, 0);
	cr_expect_eq(queue_join(q, QUEUE_NO_WAIT, &lost), 0);
	cr_expect_eq(lost, 0);
	cr_expect_eq(queue_task_done(q), -EINVAL);
	cr_assert_eq(put_text("a"), 0);
	cr_assert_eq(put_text("b"), 0);
	cr_expect_eq(queue_join(q, QUEUE_NO_WAIT, NULL), -EAGAIN);
	expect_get("a");
	expect_get("b");
	cr_expect_eq(queue_task_done(q), 0);
	cr_expect_eq(queue_join(q, QUEUE_NO_WAIT, NULL), -EAGAIN);
	cr_expect_eq(stat_now().unfinished, 1);
	pid_t child = test_fork();
	if (child == 0)
		_exit(queue_join(q, LONG, NULL) == 0 ? 0 : 1);
	cr_assert(wait_until(120000, process_state(child) == 'S'));
	cr_expect_eq(queue_task_done(q), 0);
	cr_expect_eq(queue_task_done(q), -EINVAL);
	cr_expect_eq(wait_exit(child, 120000), 0);
	cr_expect_eq(queue_join(q, QUEUE_NO_WAIT, &lost), 0);
	cr_expect_eq(lost, 0);
}

Test(queue, what_a_leaver_or_a_dead_member_had_not_done_is_lost_and_join_ends)
{
	uint64_t lost = 0;

	make(8, 8, 0);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(put_text("task"), 0);
	pid_t child = test_fork();
	if (child == 0) {
		char x[8];
		uint32_t length;
		for (int i = 0; i < 3; i++)
			(void)queue_get(q, x, sizeof(x), &length, LONG);
		(void)queue_task_done(q);
		pause();
	}
	cr_assert(wait_until(120000, stat_now().unfinished == 4));
	kill_and_wait(child, SIGKILL);
	child = test_fork();
	if (child == 0) {
		char x[8];
		uint32_t length;
		(void)queue_get(q, x, sizeof(x), &length, LONG);
		queue_detach(q);
		_exit(0);
	}
	cr_expect_eq(wait_exit(child, 120000), 0);
	expect_get("task");
	cr_expect_eq(queue_task_done(q), 0);
	cr_expect_eq(queue_join(q, LONG, &lost), 0);
	cr_expect_eq(lost, 3);
}

/* A child that sleeps on `list`, stopped, so that it cannot look by itself. */
static pid_t
stopped_sleeper(bool in_put, struct queue_list *list)
{
	pid_t child = test_fork();
	if (child == 0) {
		char x[8];
		uint32_t length;
		int r = in_put ? queue_put(q, "late", 4, LONG)
			       : queue_get(q, x, sizeof(x), &length, LONG);
		_exit(r == 0 ? 0 : 1);
	}
	for (;;) { /* until it is not stopped between two slices of sleep */
		cr_assert(wait_until(120000, atomic_load(&list->bits[0]) != 0));
		kill(child, SIGSTOP);
		cr_assert(wait_until(120000, process_state(child) == 'T'));
		if (atomic_load(&list->bits[0]) != 0)
			break;
		kill(child, SIGCONT);
	}
	return child;
}

Test(queue, who_puts_or_gets_spends_a_wake_on_a_sleeper_and_none_without)
{
	make(1, 8, 0);
	struct queue_shared *s = q->shared;
	pid_t child = stopped_sleeper(false, &s->for_messages);
	uint32_t rung = s->places[1].bell;
	cr_assert_eq(put_text("a"), 0);
	cr_expect_eq(s->for_messages.bits[0], 0);
	cr_expect_eq(s->places[1].bell, rung + 1);
	kill(child, SIGCONT);
	cr_expect_eq(wait_exit(child, 120000), 0);

	cr_assert_eq(put_text("b"), 0);
	child = stopped_sleeper(true, &s->for_room);
	rung = s->places[1].bell;
	expect_get("b");
	cr_expect_eq(s->for_room.bits[0], 0);
	cr_expect_eq(s->places[1].bell, rung + 1);
	kill(child, SIGCONT);
	cr_expect_eq(wait_exit(child, 120000), 0);
	rung = s->places[1].bell;
	expect_get("late");
	cr_assert_eq(put_text("nobody waits"), -EMSGSIZE);
	cr_assert_eq(put_text("nobody"), 0);
	cr_expect_eq(s->places[1].bell, rung);
}

Test(queue, a_producer_that_looked_before_the_close_cannot_put_after_the_end)
{
	make(4, 8, 0);
	cr_assert_eq(put_text("a"), 0);
	cr_assert_eq(queue_close(q), 0);
	expect_get("a");
	expect_no_get(-ENODATA);
	q->shared->closed = 0; /* as it has seen it */
	cr_expect_eq(put_text("late"), -EPIPE);
}

/* From now on any system call but read, write and exit is SIGKILL. */
static int
forbid_calls(void)
{
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
}

Test(queue, uncontended_puts_and_gets_call_the_kernel_never)
{
	make(4, 8, 0);
	pid_t child = test_fork();
	if (child == 0) {
		char x[8];
		uint32_t length;
		(void)queue_put(q, "a", 1, LONG); /* joins */
		(void)queue_get(q, x, 8, &length, LONG);
		if (forbid_calls() != 0)
			_exit(1);
		int bad = 0;
		for (int i = 0; i < 1000; i++)
			bad |= queue_put(q, "a", 1, LONG) | queue_get(q, x, 8, &length, LONG);
		syscall(SYS_exit, bad);
	}
	cr_expect_eq(wait_exit(child, 120000), 0);
}
