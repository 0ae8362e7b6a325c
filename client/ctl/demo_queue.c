/* demo_queue.c - demo queue: the bound, a consumer killed in get, an orderly end, and the rate. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/demo.h"
#include "client/ctl/floor.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"
#include "ipc/queue.h"

#define PATIENCE  60000 /* ms */
#define BOUND     64u
#define CONSUMERS 3
#define NUMBERS   200000u     /* messages one to one */
#define MOST      (16u << 20) /* numbers there are */
#define LONG      2000u       /* bytes of a message that is to be killed in */

/* What actors leave behind, in shared memory. */
struct board {
	char name[NAMED_MAX + 1];
	_Atomic uint64_t put, got, doubled, ends, ended_ns;
	_Atomic uint64_t count; /* producers put the numbers below this */
	uint64_t consumer_ns;   /* a consumer takes so long for each */
	uint32_t length;        /* of a message */
	_Atomic unsigned char *seen;
};

static void
pause_ns(uint64_t ns)
{
	nanosleep(&(struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S),
				      .tv_nsec = (long)(ns % NS_PER_S) },
		  NULL);
}

/* ---- actors ---- */

static int
produce(void *context)
{
	struct board *b = context;
	unsigned char message[LONG] = { 0 };
	struct queue *q;

	if (queue_open(b->name, &q) < 0)
		return 1;
	for (;;) {
		uint64_t number = atomic_fetch_add(&b->put, 1);
		if (number >= b->count) {
			atomic_fetch_sub(&b->put, 1);
			break;
		}
		memcpy(message, &number, sizeof number);
		if (queue_put(q, message, b->length, QUEUE_FOREVER) < 0)
			return 2;
	}
	queue_detach(q);
	return 0;
}

static int
consume(void *context)
{
	struct board *b = context;
	unsigned char message[LONG];
	struct queue *q;
	uint32_t length;
	int r;

	if (queue_open(b->name, &q) < 0)
		return 1;
	while ((r = queue_get(q, message, sizeof message, &length, QUEUE_FOREVER)) == 0) {
		uint64_t number;
		memcpy(&number, message, sizeof number);
		b->doubled += atomic_fetch_add(&b->seen[number], 1) != 0;
		b->got++;
		if (b->consumer_ns > 0)
			pause_ns(b->consumer_ns);
		(void)queue_task_done(q);
	}
	b->ended_ns = clock_now();
	b->ends++;
	queue_detach(q);
	return r == -ENODATA ? 0 : 2;
}

/* ---- the stage ---- */

static int
set_stage(struct demo *demo, struct board *b, const char *suffix, uint32_t bound,
	  struct queue **ret)
{
	struct queue_options o = { .capacity = bound, .message_max = LONG };

	demo_name(demo, suffix, b->name);
	b->put = b->got = b->doubled = b->ends = 0;
	memset((void *)b->seen, 0,
	       b->count < MOST ? b->count : MOST); /* what the last story used */
	b->length = 64;
	b->consumer_ns = 0;
	int r = queue_create(b->name, &o, ret);
	return r < 0 ? demo_fail(demo, "cannot make a queue: %s", strerror(-r)) : 0;
}

static void
clear_stage(struct board *b, struct queue *q)
{
	queue_detach(q);
	(void)queue_unlink(b->name);
}

static struct queue_stat *
look(const struct queue *q)
{
	static struct queue_stat stat;
	queue_stat(q, &stat);
	return &stat;
}

/* Until the queue is so, at most PATIENCE. */
static bool
wait_depth(const struct queue *q, uint64_t depth)
{
	uint64_t until = clock_now() + PATIENCE * NS_PER_MS;

	while (queue_size(q) != depth && clock_now() < until)
		pause_ns(NS_PER_MS);
	return queue_size(q) == depth;
}

/* Until producers have begun so many puts. */
static bool
wait_put(const struct board *b, uint64_t put)
{
	uint64_t until = clock_now() + PATIENCE * NS_PER_MS;

	while (b->put < put && clock_now() < until)
		pause_ns(NS_PER_MS);
	return b->put >= put;
}

static bool
wait_members(const struct queue *q, uint32_t members)
{
	uint64_t until = clock_now() + PATIENCE * NS_PER_MS;

	while (look(q)->attached != members && clock_now() < until)
		pause_ns(NS_PER_MS);
	return look(q)->attached == members;
}

/* ---- the bound ---- */

static void
watch_bound(struct demo *demo, struct board *b, struct queue *q, uint64_t ns)
{
	uint64_t until = clock_now() + ns;

	while (clock_now() < until) {
		uint64_t depth = queue_size(q), bars = depth * 32 / BOUND;
		demo_live(demo, "put %6" PRIu64 "  [%.*s%.*s] %2" PRIu64 " of %u  got %6" PRIu64,
			  (uint64_t)b->put, (int)bars, "################################",
			  (int)(32 - bars), "................................", depth, BOUND,
			  (uint64_t)b->got);
		pause_ns(10 * NS_PER_MS);
	}
}

static int
tell_bound(struct demo *demo, struct board *b)
{
	struct queue *q;

	demo_chapter(demo, "The bound is reached");
	if (set_stage(demo, b, "bound", BOUND, &q) < 0)
		return -1;
	b->count = NUMBERS;
	b->consumer_ns = 500000;
	demo_say(demo, "A queue of %u messages; a producer that puts as fast as it can.", BOUND);
	pid_t producer = demo_actor(demo, produce, b);
	bool full = wait_depth(q, BOUND) && wait_put(b, BOUND + 1);
	pause_ns(50 * NS_PER_MS); /* time to go on, if it could */
	uint64_t stood = b->put;
	demo_say(demo, "Nobody gets: after %" PRIu64 " puts it waits in the next, asleep.",
		 stood - 1);
	demo_say(demo, "Now a consumer that takes 0.5 ms for each:");
	pid_t consumer = demo_actor(demo, consume, b);
	uint64_t before = b->got, begun = clock_now();
	watch_bound(demo, b, q, (demo_quick(demo) ? 300 : 2000) * NS_PER_MS);
	double seconds = (double)(clock_now() - begun) / NS_PER_S;
	uint64_t got = b->got - before, put = b->put - stood;
	demo_say(demo,
		 "In %.1f s it got %" PRIu64 ", and the producer put %" PRIu64
		 ": it goes as fast as it is emptied.",
		 seconds, got, put);
	demo_check(demo, full && stood == BOUND + 1 && look(q)->high_water == BOUND,
		   "the producer stood still at the bound, and never passed it");
	demo_figure(demo, "bound_high_water", (double)look(q)->high_water, "",
		    "largest depth of a queue of 64");
	demo_figure(demo, "bound_put_per_s", (double)put / seconds, "/s",
		    "puts of a producer whose consumer takes 0.5 ms");
	demo_kill(demo, producer);
	demo_kill(demo, consumer);
	clear_stage(b, q);
	return 0;
}

/* ---- killed while it waits ---- */

static int
tell_killed_waiting(struct demo *demo, struct board *b)
{
	struct queue *q;
	pid_t pids[2];
	uint64_t number = 0;

	demo_chapter(demo, "A consumer is killed while it waits in get");
	if (set_stage(demo, b, "waiting", BOUND, &q) < 0)
		return -1;
	for (unsigned i = 0; i < 2; i++)
		pids[i] = demo_actor(demo, consume, b);
	bool there = wait_members(q, 3);
	pause_ns(20 * NS_PER_MS); /* asleep: the first is who a put wakes */
	demo_kill(demo, pids[0]);
	uint64_t begun = clock_now();
	int r = queue_put(q, &number, sizeof number, QUEUE_FOREVER);
	while (b->got == 0 && clock_now() - begun < PATIENCE * NS_PER_MS)
		pause_ns(20000);
	double took = (double)(clock_now() - begun);
	demo_say(demo, "Two wait; one is killed; a message is put: the other has it after %s.",
		 unit_time_human((uint64_t)took).text);
	demo_check(demo, there && r == 0 && b->got == 1, "the other consumer got the next message");
	demo_figure(demo, "killed_waiting_ns", took, "ns",
		    "a waiting consumer killed: the next message, put to got");
	demo_kill(demo, pids[1]);
	clear_stage(b, q);
	return 0;
}

/* ---- killed in the middle ---- */

struct cast {
	pid_t producers[2], consumers[CONSUMERS];
	unsigned kills;
	uint64_t count, got; /* messages: put, noted */
	uint64_t lost, closed_ns;
};

static void
start_cast(struct demo *demo, struct board *b, struct cast *cast)
{
	b->count = MOST;
	b->length = LONG;
	for (unsigned i = 0; i < 2; i++)
		cast->producers[i] = demo_actor(demo, produce, b);
	for (unsigned i = 0; i < CONSUMERS; i++)
		cast->consumers[i] = demo_actor(demo, consume, b);
}

static void
kill_consumers(struct demo *demo, struct board *b, struct cast *cast)
{
	unsigned wanted = demo_quick(demo) ? 50 : 500;

	while (cast->kills < wanted && b->put < MOST / 2) {
		pid_t *who = &cast->consumers[cast->kills % CONSUMERS];
		pause_ns(300000 + cast->kills * 7919u % 500000);
		demo_kill(demo, *who);
		*who = demo_actor(demo, consume, b);
		cast->kills++;
		demo_live(demo, "killed %u, put %" PRIu64 ", got %" PRIu64, cast->kills,
			  (uint64_t)b->put, (uint64_t)b->got);
	}
	b->count = b->put; /* producers end */
}

/* Producers through, all done, closed, consumers through; false when something did not end. */
static bool
end_in_order(struct demo *demo, struct board *b, struct queue *q, struct cast *cast)
{
	bool well = demo_wait(demo, cast->producers[0], PATIENCE) == 0 &&
		    demo_wait(demo, cast->producers[1], PATIENCE) == 0;

	well &= queue_join(q, PATIENCE * NS_PER_MS, &cast->lost) == 0;
	cast->closed_ns = clock_now();
	well &= queue_close(q) == 0;
	for (unsigned i = 0; i < CONSUMERS; i++)
		well &= demo_wait(demo, cast->consumers[i], PATIENCE) == 0;
	cast->count = b->count;
	for (uint64_t i = 0; i < cast->count; i++)
		cast->got += b->seen[i] > 0;
	return well;
}

static void
say_deaths(struct demo *demo, const struct cast *cast, const struct queue_stat *stat)
{
	demo_say(demo,
		 "%u consumers killed -9 and replaced, while %s messages of %u bytes went through.",
		 cast->kills, unit_count(cast->count).text, LONG);
	demo_say(demo, "%s were got; %" PRIu64 " died with a consumer that had just taken them.",
		 unit_count(cast->got).text, cast->count - cast->got);
	demo_say(demo,
		 "%" PRIu64 " were still being copied out: given back, and got by another.  join() "
		 "told of %" PRIu64 " not done.",
		 stat->returned, cast->lost);
	demo_figure(demo, "kills", cast->kills, "", "consumers killed");
	demo_figure(demo, "died_with_consumer", (double)(cast->count - cast->got), "",
		    "messages that died with them");
	demo_figure(demo, "given_back", (double)stat->returned, "",
		    "messages given back, got by another");
}

static int
tell_deaths(struct demo *demo, struct board *b)
{
	struct cast cast = { .kills = 0 };
	struct queue *q;

	demo_chapter(demo, "Consumers are killed in the middle of it all");
	if (set_stage(demo, b, "deaths", BOUND, &q) < 0)
		return -1;
	start_cast(demo, b, &cast);
	kill_consumers(demo, b, &cast);
	bool well = end_in_order(demo, b, q, &cast);
	struct queue_stat *stat = look(q);
	say_deaths(demo, &cast, stat);
	uint64_t died = cast.count - cast.got;
	demo_check(demo, well && b->doubled == 0 && died <= cast.kills && cast.lost <= cast.kills,
		   "none came twice, and no more were lost than consumers were killed");
	demo_check(demo, b->ends == CONSUMERS && stat->depth == 0 && stat->unfinished == 0,
		   "join() returned when all was done; after close() each consumer learnt the end");
	demo_figure(demo, "close_to_end_ns", (double)(b->ended_ns - cast.closed_ns), "ns",
		    "close() until the last consumer learnt the end");
	clear_stage(b, q);
	return 0;
}

/* ---- the rate ---- */

static int
tell_rate(struct demo *demo, struct board *b)
{
	struct queue *q;

	demo_chapter(demo, "One to one, as fast as it goes");
	if (set_stage(demo, b, "rate", 1024, &q) < 0)
		return -1;
	b->count = NUMBERS;
	pid_t consumer = demo_actor(demo, consume, b);
	if (!wait_members(q, 2))
		return demo_fail(demo, "the consumer did not come");
	uint64_t begun = clock_now();
	pid_t producer = demo_actor(demo, produce, b);
	bool well = demo_wait(demo, producer, PATIENCE) == 0;
	well &= queue_close(q) == 0 && demo_wait(demo, consumer, PATIENCE) == 0;
	double rate = NUMBERS / ((double)(b->ended_ns - begun) / NS_PER_S);
	demo_say(demo,
		 "%s messages of 64 bytes a second, the consumer noting each, a fork included.",
		 unit_rate(rate).text);
	demo_check(demo, well && b->got == NUMBERS, "all came");
	demo_figure(demo, "rate_per_s", rate, "/s", "messages of 64 bytes, one to one");
	clear_stage(b, q);
	return 0;
}

/* ---- CPython ---- */

static void
tell_python(struct demo *demo)
{
	const char *rate[] = { "mode=rate", "bytes=64", "maxsize=1024",
			       demo_quick(demo) ? "messages=20000" : "messages=100000", NULL };
	const char *killed[] = { "mode=killed", "wait_ms=1000", NULL };

	demo_chapter(demo, "The same in CPython");
	json_t *answer = demo_python(demo, "queue", rate);
	if (answer == NULL)
		return;
	demo_python_figure(demo, "rate_per_s", demo_number(answer, "rate_per_s"));
	json_decref(answer);
	answer = demo_python(demo, "queue", killed);
	bool wedged = json_is_true(json_object_get(answer, "wedged"));
	double waited = demo_number(answer, "waited_s");
	if (answer != NULL && wedged)
		demo_say(demo,
			 "A Queue's consumer killed in get() holds the queue's lock for ever: the "
			 "other had nothing after %.1f s.",
			 waited);
	else
		demo_python_figure(demo, "killed_waiting_ns", waited * NS_PER_S);
	json_decref(answer);
}

static int
tell_queue(struct demo *demo)
{
	struct board *b = floor_share(sizeof *b);
	_Atomic unsigned char *seen = floor_share(MOST);

	if (!b || !seen)
		return demo_fail(demo, "no memory");
	b->seen = seen;
	int r = tell_bound(demo, b);
	if (r == 0)
		r = tell_killed_waiting(demo, b);
	if (r == 0)
		r = tell_deaths(demo, b);
	if (r == 0)
		r = tell_rate(demo, b);
	if (r == 0)
		tell_python(demo);
	return r;
}

extern const struct demo_row demo_queue;
const struct demo_row demo_queue = {
	.name = "queue",
	.summary = "a bounded queue: back-pressure, consumers killed -9, an orderly end",
	.tell = tell_queue,
};
