/*
 * test_ipc_queue_death.c - members of a queue die between any two instructions.
 *
 * A child does one thing (a put, a get, a recovery, ...) and is stepped through it, one
 * instruction at a time (PTRACE_SINGLESTEP).  What a kill -9 leaves behind is the shared memory
 * as it is then, and a dead owner; so at each step the memory is copied, the child's signature in
 * the copy is changed to that of a process that is dead, and the copy must work for others.  The
 * same again with real kills at some of the steps.  The control arm leaves the child's signature
 * as it is: its owner lives, so nothing may be recovered, and the copy must be stuck at some step.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/queue_shared.h"
#include "tests/process.h"

#ifdef __SANITIZE_ADDRESS__
#define STRIDE 23u /* one step of so many; its code has several times as many */
#else
#define STRIDE 1u
#endif
#define KILLS    40u
#define CAPACITY 3u

static const struct queue_options options = { .capacity = CAPACITY,
					      .message_max = 16,
					      .members_max = 5 };
static unsigned char *memory, *copy; /* the queue, and as it was at a step */
static size_t bytes;
static struct queue *q;
static uint64_t dead; /* owner word of a dead process */

/* What one look at the queue after the death found. */
struct found {
	char order[16]; /* the messages, a letter each */
	uint64_t lost;
	struct queue_stat stat;
	char wrong[120]; /* "": nothing */
};

struct scenario {
	const char *name;
	void (*prepare)(void);      /* here, before the child is forked */
	void (*plant)(void);        /* NULL, or by the child, which has joined */
	void (*act)(void);          /* by the child, stepped */
	const char *before;         /* order found when the child did nothing yet */
	const char *after;          /* and when it had done all */
	uint64_t lost_after;        /* with `after` */
	uint64_t skipped, returned; /* the most that may be */
	bool exactly;               /* they are exactly so, wherever it died */
};

/* ---- before and after ---- */

static void *
map_shared(void)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(p, MAP_FAILED);
	return p;
}

static void
setup(void)
{
	bytes = queue_footprint(&options);
	memory = map_shared();
	copy = map_shared();
	pid_t child = test_fork();
	if (child == 0)
		for (;;)
			pause();
	dead = owner_of(child);
	kill_and_wait(child, SIGKILL);
	cr_assert(!owner_alive(dead));
}

TestSuite(queue_death, .init = setup, .timeout = 1200);

static void
put(const char *letter)
{
	(void)queue_put(q, letter, 1, QUEUE_NO_WAIT);
}

static int
get(struct queue *from, char *ret)
{
	char text[16];
	uint32_t length = 0;

	int r = queue_get(from, text, sizeof(text), &length, QUEUE_NO_WAIT);
	*ret = length == 1 ? text[0] : '?';
	return r;
}

/* A fresh queue, and everything called once that the child will call (lazy binding). */
static void
begin(void)
{
	char letter;

	memset(memory, 0, bytes);
	(void)queue_init(memory, bytes, &options);
	(void)queue_attach(memory, bytes, &q);
	for (unsigned i = 0; i < 2 * CAPACITY + 1; i++) { /* not at position 0 */
		put("w");
		(void)get(q, &letter);
		(void)queue_task_done(q);
	}
}

/* ---- the scenarios ---- */

static void
prepare_a(void)
{
	begin();
	put("A");
}

static void
prepare_ab(void)
{
	begin();
	put("A");
	put("B");
}

static void
act_put(void)
{
	put("B");
}

static void
act_get(void)
{
	char letter;
	(void)get(q, &letter);
}

static void
act_get_done(void)
{
	act_get();
	(void)queue_task_done(q);
}

static void
act_close(void)
{
	(void)queue_close(q);
}

static void
prepare_closed(void)
{
	begin();
	(void)queue_close(q);
}

static void
act_attach_and_detach(void)
{
	struct queue *other;
	if (queue_attach(memory, bytes, &other) == 0)
		queue_detach(other);
}

/* A member that died in the middle of a call: its place, and the slot it had claimed. */
static void
plant_dead(uint64_t position, enum slot_state was, enum slot_state claimed)
{
	struct queue_place *p = &q->shared->places[3];
	uint64_t word = slot_word(position, was, 0);

	atomic_store(&p->owner, dead);
	atomic_store(&p->doing, position);
	(void)atomic_compare_exchange_strong(&slot_at(q, position)->word, &word,
					     slot_word(position, claimed, 3));
}

/* Joining recovers; so the dead comes after the child has joined. */
static void
plant_dead_producer(void)
{
	plant_dead(q->shared->tail, SLOT_EMPTY, SLOT_WRITING);
	put("B"); /* behind it */
}

static void
plant_dead_consumer(void)
{
	plant_dead(q->shared->first, SLOT_FULL, SLOT_READING);
	help_on(&q->shared->first, q->shared->first);
}

static void
plant_returned(void)
{
	plant_dead_consumer();
	(void)queue_recover(q);
}

static void
act_recover(void)
{
	(void)queue_recover(q);
}

static const struct scenario scenarios[] = {
	{ "put", prepare_a, NULL, act_put, "AC", "ABC", 0, 1, 0, false },
	{ "get", prepare_ab, NULL, act_get, "ABC", "BC", 1, 0, 1, false },
	{ "get and task_done", prepare_ab, NULL, act_get_done, "ABC", "BC", 1, 0, 1, false },
	{ "close", prepare_ab, NULL, act_close, "ABC", "AB", 0, 0, 0, true },
	{ "the end of a closed queue", prepare_closed, NULL, act_get, "", "", 0, 0, 0, true },
	{ "attach and detach", prepare_ab, NULL, act_attach_and_detach, "ABC", "ABC", 0, 0, 0,
	  true },
	/* No room for C: the dead one's slot counts until head has passed it. */
	{ "recovery from a dead producer", prepare_a, plant_dead_producer, act_recover, "AB", "AB",
	  0, 1, 0, true },
	{ "recovery from a dead consumer", prepare_ab, plant_dead_consumer, act_recover, "ABC",
	  "ABC", 0, 0, 1, true },
	{ "get of a message given back", prepare_ab, plant_returned, act_get, "ABC", "BC", 1, 0, 2,
	  false },
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

/* ---- what is left must work ---- */

#define WRONG(...)                                                                 \
	do {                                                                       \
		if (found->wrong[0] == '\0')                                       \
			snprintf(found->wrong, sizeof(found->wrong), __VA_ARGS__); \
	} while (0)

static void
drain(struct queue *h, struct found *found)
{
	size_t n = 0;
	int r;

	while (n + 1 < sizeof(found->order) && (r = get(h, &found->order[n])) == 0) {
		n++;
		if (queue_task_done(h) != 0)
			WRONG("task_done refused");
	}
	found->order[n] = '\0';
	if (r != (queue_is_closed(h) ? -ENODATA : -EAGAIN))
		WRONG("after the last message: %d", r);
}

/* The whole room can be used, and no more. */
static void
fill_and_drain(struct queue *h, struct found *found)
{
	struct found again = { 0 };

	for (unsigned i = 0; i < CAPACITY; i++)
		if (queue_put(h, "x", 1, QUEUE_NO_WAIT) != 0)
			WRONG("only room for %u", i);
	if (queue_put(h, "y", 1, QUEUE_NO_WAIT) != -EAGAIN)
		WRONG("room for more than the capacity");
	drain(h, &again);
	if (strcmp(again.order, "xxx") != 0)
		WRONG("of xxx came \"%s\"", again.order);
}

static void
look_at(void *base, struct found *found)
{
	struct queue *h;

	*found = (struct found){ 0 };
	int r = queue_attach(base, bytes, &h);
	if (r != 0) {
		WRONG("attach: %d", r);
		return;
	}
	(void)queue_recover(h);
	if (queue_size(h) > 0 && queue_join(h, QUEUE_NO_WAIT, NULL) != -EAGAIN)
		WRONG("joined, with messages in it");
	(void)queue_put(h, "C", 1, QUEUE_NO_WAIT);
	drain(h, found);
	r = queue_join(h, QUEUE_NO_WAIT, &found->lost);
	if (r != 0)
		WRONG("join: %d", r);
	if (!queue_is_closed(h))
		fill_and_drain(h, found);
	queue_stat(h, &found->stat);
	queue_detach(h);
}

static void
judge(const struct scenario *s, struct found *found, bool *after)
{
	const struct queue_stat *stat = &found->stat;

	if (strcmp(s->before, s->after) != 0 && strcmp(found->order, s->after) == 0)
		*after = true;
	if (strcmp(found->order, *after ? s->after : s->before) != 0)
		WRONG("got \"%s\"", found->order);
	if (found->lost > (*after ? s->lost_after : 0))
		WRONG("lost %ju", (uintmax_t)found->lost);
	if (stat->puts != stat->gets || stat->depth != 0 || stat->unfinished != 0)
		WRONG("%ju puts, %ju gets, %ju in it, %ju unfinished", (uintmax_t)stat->puts,
		      (uintmax_t)stat->gets, (uintmax_t)stat->depth, (uintmax_t)stat->unfinished);
	if (stat->skipped > s->skipped || stat->returned > s->returned ||
	    (s->exactly && (stat->skipped != s->skipped || stat->returned != s->returned)))
		WRONG("%ju skipped, %ju returned", (uintmax_t)stat->skipped,
		      (uintmax_t)stat->returned);
	for (uint32_t i = 0; i < stat->attached; i++)
		if (!stat->members[i].alive)
			WRONG("the dead is still a member");
}

/* ---- stepping ---- */

/* The child, stopped where it begins to act. */
static pid_t
start(const struct scenario *s)
{
	int status;

	s->prepare();
	pid_t child = test_fork();
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || queue_join_members(q) != 0)
			_exit(1);
		if (s->plant != NULL)
			s->plant();
		raise(SIGSTOP);
		s->act();
		raise(SIGSTOP);
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	bool stopped = WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP;
	cr_assert(stopped, "no ptrace here? status %x", status);
	return child;
}

/* One instruction; false: it is through. */
static bool
step(pid_t child)
{
	int status;

	return ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0 &&
	       waitpid(child, &status, 0) == child && WIFSTOPPED(status) &&
	       WSTOPSIG(status) == SIGTRAP;
}

/* The memory as it is, with the child's signatures changed to `owner`. */
static void
take_copy(pid_t child, uint64_t owner)
{
	struct queue_shared *s = (void *)copy;
	uint64_t its = owner_of(child);

	memcpy(copy, memory, bytes);
	for (uint32_t i = 0; i < options.members_max; i++)
		if (s->places[i].owner == its)
			s->places[i].owner = owner;
	if (s->recoverer == its)
		s->recoverer = owner;
}

static void
end(pid_t child)
{
	kill_and_wait(child, SIGKILL);
	q = queue_detach(q);
}

/* Step through all of it; how many copies were wrong.  `really` dead, or alive after all. */
static unsigned
walk(const struct scenario *s, bool really, unsigned *ret_steps)
{
	unsigned steps = 0, wrong = 0;
	bool after = false;
	static struct found found;

	pid_t child = start(s);
	do {
		if (steps % STRIDE != 0)
			continue;
		take_copy(child, really ? dead : owner_of(child));
		look_at(copy, &found);
		judge(s, &found, &after);
		if (found.wrong[0] != '\0' && wrong++ < 3 && really)
			cr_log_error("%s: dead after step %u: %s", s->name, steps, found.wrong);
	} while (step(child) && ++steps > 0);
	end(child);
	*ret_steps = steps;
	return wrong;
}

Test(queue_death, whoever_dies_at_any_instruction_leaves_a_queue_that_works)
{
	for (unsigned i = 0; i < SCENARIOS; i++) {
		unsigned steps;
		unsigned wrong = walk(&scenarios[i], true, &steps);
		cr_log_info("%s: %u instructions, %u deaths judged", scenarios[i].name, steps,
			    steps / STRIDE + 1);
		cr_expect_eq(wrong, 0, "%s: %u of %u", scenarios[i].name, wrong, steps);
		cr_expect_gt(steps, 20);
	}
}

Test(queue_death, the_same_with_real_kills)
{
	static struct found found;

	for (unsigned i = 0; i < SCENARIOS; i++) {
		const struct scenario *s = &scenarios[i];
		unsigned steps, wrong = 0;
		(void)walk(s, true, &steps);
		bool after = false;
		for (unsigned k = 0; k < KILLS; k++) {
			pid_t child = start(s);
			for (unsigned at = 0; at < steps * k / KILLS && step(child); at++)
				;
			kill_and_wait(child, SIGKILL);
			look_at(memory, &found);
			judge(s, &found, &after);
			wrong += found.wrong[0] != '\0';
			if (found.wrong[0] != '\0')
				cr_log_error("%s: killed at %u/%u: %s", s->name, k, KILLS,
					     found.wrong);
			q = queue_detach(q);
		}
		cr_expect_eq(wrong, 0, "%s", s->name);
	}
}

Test(queue_death, control_the_living_are_not_recovered_from_and_then_it_is_stuck)
{
	unsigned steps;

	cr_expect_gt(walk(&scenarios[0], false, &steps), 0, "a producer that stands still");
	cr_expect_gt(walk(&scenarios[1], false, &steps), 0, "a consumer that stands still");
}

Test(queue_death, the_end_is_not_told_while_a_message_may_come_back)
{
	char letter;

	begin();
	put("A");
	pid_t child = test_fork();
	if (child == 0)
		for (;;)
			pause();
	plant_dead(q->shared->first, SLOT_FULL, SLOT_READING);
	q->shared->places[3].owner = owner_of(child); /* not dead: slow */
	cr_assert_eq(queue_close(q), 0);
	for (int i = 0; i < 3; i++)
		cr_expect_eq(get(q, &letter), -EAGAIN);
	kill_and_wait(child, SIGKILL);
	cr_assert_eq(get(q, &letter), 0);
	cr_expect_eq(letter, 'A');
	cr_expect_eq(get(q, &letter), -ENODATA);
}
