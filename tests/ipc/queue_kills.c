/* queue_kills.c - see queue_kills.h */
#include "tests/ipc/queue_kills.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/queue.h"
#include "shm/owner.h"
#include "tests/process.h"

#define MEMBERS (QUEUE_KILLS_PRODUCERS + QUEUE_KILLS_CONSUMERS)
#define WORDS   500u /* at most; the copying is to take long enough to be killed in */
#define STUCK_S 20u  /* no progress for so long: wedged */

struct message {
	uint32_t id, count, sum;
	uint32_t words[WORDS]; /* `count` of them */
};

enum fate { NEVER, ATTEMPTED, PUT };

/* What must survive the killed, in shared memory. */
struct book {
	_Atomic uint32_t allowed; /* ids below this may be put: kills and messages keep pace */
	_Atomic uint32_t next;    /* id */
	_Atomic uint32_t torn, invented;
	_Atomic uint32_t recorded;
	struct message buffer[QUEUE_KILLS_CONSUMERS]; /* what each got last */
	/* Per id. */
	_Atomic unsigned char *fate, *got;
	unsigned char *with_consumer; /* written by the killer alone */
};

static struct book *book;
static struct queue *q;
static bool blind;

/* Linked in place of owner_alive(). */
bool __real_owner_alive(uint64_t owner);
bool __wrap_owner_alive(uint64_t owner);
bool
__wrap_owner_alive(uint64_t owner)
{
	return blind || __real_owner_alive(owner);
}

static void *
map_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		abort();
	return p;
}

/* ---- the members ---- */

/* Returns its length in bytes. */
static uint32_t
make_message(struct message *m, uint32_t id)
{
	m->id = m->sum = id;
	m->count = id * 2654435761u % (WORDS + 1);
	for (uint32_t i = 0; i < m->count; i++)
		m->sum += m->words[i] = id * (2 * i + 3);
	return (uint32_t)(offsetof(struct message, words) + m->count * sizeof(uint32_t));
}

static void
produce(uint32_t messages)
{
	struct message m;
	uint32_t id;

	while (atomic_load(&book->next) < messages) {
		if (atomic_load(&book->next) >= atomic_load(&book->allowed)) {
			sched_yield();
			continue;
		}
		id = atomic_fetch_add(&book->next, 1);
		if (id >= messages)
			break;
		uint32_t length = make_message(&m, id);
		book->fate[id] = ATTEMPTED;
		if (queue_put(q, &m, length, QUEUE_FOREVER) != 0)
			_exit(1);
		book->fate[id] = PUT;
	}
	_exit(0);
}

static void
record(const struct message *m, uint32_t length, uint32_t messages)
{
	struct message same;

	if (length < offsetof(struct message, words) || m->id >= messages) {
		book->torn++;
		return;
	}
	if (make_message(&same, m->id) != length || memcmp(&same, m, length) != 0)
		book->torn++;
	else if (book->fate[m->id] == NEVER)
		book->invented++;
	book->got[m->id]++;
	book->recorded++;
}

static void
consume(uint32_t which, uint32_t messages)
{
	struct message *m = &book->buffer[which];
	uint32_t length;
	int r;

	while ((r = queue_get(q, m, sizeof(*m), &length, QUEUE_FOREVER)) == 0) {
		record(m, length, messages);
		if (queue_task_done(q) != 0)
			_exit(1);
	}
	_exit(r == -ENODATA ? 0 : 1);
}

static pid_t
start(uint32_t which, uint32_t messages)
{
	pid_t child = test_fork();

	if (child != 0)
		return child;
	if (which < QUEUE_KILLS_PRODUCERS)
		produce(messages);
	consume(which - QUEUE_KILLS_PRODUCERS, messages);
	return 0;
}

/* ---- the killer ---- */

static uint32_t
dice(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void
kill_one(struct queue_kills *k, uint32_t which, pid_t *pid)
{
	int status = kill_and_wait(pid[which], SIGKILL);

	if (WIFEXITED(status)) { /* it was through already, or had failed */
		if (WEXITSTATUS(status) != 0 && k->wrong[0] == '\0')
			snprintf(k->wrong, sizeof(k->wrong), "member %u failed", which);
	} else if (which < QUEUE_KILLS_PRODUCERS) {
		k->producer_kills++;
	} else {
		k->consumer_kills++;
		const struct message *m = &book->buffer[which - QUEUE_KILLS_PRODUCERS];
		if (m->id < k->messages)
			book->with_consumer[m->id] = 1;
	}
	pid[which] = start(which, k->messages);
}

/* Is nothing recorded any more, though something should be? */
static bool
is_stuck(uint32_t *last, uint64_t *since)
{
	uint32_t now = atomic_load(&book->recorded) + atomic_load(&book->next);

	if (now != *last || *since == 0) {
		*last = now;
		*since = clock_now();
	}
	return clock_now() - *since > (blind ? 3 : STUCK_S) * NS_PER_S;
}

static void
fire(struct queue_kills *k, pid_t *pid)
{
	uint32_t state = k->seed | 1u, last = 0;
	uint64_t since = 0;

	for (uint32_t n = 0; n < k->kills && !(k->wedged = is_stuck(&last, &since)); n++) {
		/* Not before half of the last portion was put, else the kills run ahead. */
		while (atomic_load(&book->next) + k->messages / k->kills / 2 <
			       atomic_load(&book->allowed) &&
		       !(k->wedged = is_stuck(&last, &since)))
			sched_yield();
		atomic_store(&book->allowed,
			     (uint32_t)((uint64_t)k->messages * (n + 1) / (k->kills + 1)));
		struct timespec t = { .tv_nsec = dice(&state) % 200000 };
		nanosleep(&t, NULL);
		kill_one(k, dice(&state) % MEMBERS, pid);
	}
	atomic_store(&book->allowed, k->messages);
}

/* Producers end by themselves; then the queue is closed, and consumers end. */
static void
finish(struct queue_kills *k, pid_t *pid)
{
	uint32_t last = 0;
	uint64_t since = 0;

	for (uint32_t i = 0; i < MEMBERS; i++) {
		int status = 0;
		if (i == QUEUE_KILLS_PRODUCERS)
			(void)queue_close(q);
		while (!k->wedged && waitpid(pid[i], &status, WNOHANG) == 0) {
			k->wedged = is_stuck(&last, &since);
			test_pause();
		}
		if (k->wedged)
			kill_and_wait(pid[i], SIGKILL);
		else if (status != 0)
			snprintf(k->wrong, sizeof(k->wrong), "member %u ended with %x", i, status);
	}
}

static void
count(struct queue_kills *k)
{
	static struct queue_stat s;

	for (uint32_t id = 0; id < k->messages; id++) {
		k->put += book->fate[id] == PUT;
		k->unclear += book->fate[id] == ATTEMPTED;
		k->unclear_got += book->fate[id] == ATTEMPTED && book->got[id] > 0;
		k->got += book->got[id] > 0;
		k->doubled += book->got[id] > 1;
		if (book->fate[id] != PUT || book->got[id] > 0)
			continue;
		if (book->with_consumer[id])
			k->with_consumer++;
		else
			k->missing++;
	}
	k->torn = book->torn;
	k->invented = book->invented;
	queue_stat(q, &s);
	k->skipped = s.skipped;
	k->returned = s.returned;
	k->lost = s.lost;
	if (k->wrong[0] == '\0' && !k->wedged && (s.puts != s.gets || s.unfinished != 0))
		snprintf(k->wrong, sizeof(k->wrong), "%ju puts, %ju gets, %ju unfinished",
			 (uintmax_t)s.puts, (uintmax_t)s.gets, (uintmax_t)s.unfinished);
}

static void
judge(struct queue_kills *k)
{
	count(k);
	if (k->wrong[0] != '\0')
		return;
	if (k->wedged)
		strcpy(k->wrong, "wedged");
	else if (k->torn + k->doubled + k->invented + k->missing > 0)
		strcpy(k->wrong, "messages torn, doubled, invented or missing");
	else if (k->messages - k->put > k->producer_kills)
		strcpy(k->wrong, "more puts did not return than producers were killed");
	else if (k->with_consumer > k->consumer_kills || k->lost > k->consumer_kills)
		strcpy(k->wrong, "more messages died than consumers were killed");
}

void
queue_kills_run(struct queue_kills *k)
{
	struct queue_options o = { .capacity = k->capacity, .message_max = sizeof(struct message) };
	size_t bytes = queue_footprint(&o), book_bytes = sizeof(*book) + 3 * (size_t)k->messages;
	void *memory = map_shared(bytes);
	pid_t pid[MEMBERS];

	book = map_shared(book_bytes);
	book->fate = (void *)(book + 1);
	book->got = book->fate + k->messages;
	book->with_consumer = (unsigned char *)(book->got + k->messages);
	memset(book->buffer, 0xff, sizeof(book->buffer));
	if (queue_init(memory, bytes, &o) != 0 || queue_attach(memory, bytes, &q) != 0)
		abort();
	blind = k->blind;
	for (uint32_t i = 0; i < MEMBERS; i++)
		pid[i] = start(i, k->messages);
	fire(k, pid);
	finish(k, pid);
	blind = false;
	(void)queue_recover(q);
	judge(k);
	q = queue_detach(q);
	munmap(memory, bytes);
	munmap(book, book_bytes);
}

void
queue_kills_print(const struct queue_kills *k)
{
	printf("%u producers and %u consumers killed; %u puts returned, %u unclear (%u of them "
	       "got), %u got, %u died with their consumer\n",
	       k->producer_kills, k->consumer_kills, k->put, k->unclear, k->unclear_got, k->got,
	       k->with_consumer);
	printf("%u torn, %u doubled, %u invented, %u missing; slots skipped %ju, messages given "
	       "back %ju, tasks lost %ju%s%s\n",
	       k->torn, k->doubled, k->invented, k->missing, (uintmax_t)k->skipped,
	       (uintmax_t)k->returned, (uintmax_t)k->lost, k->wrong[0] != '\0' ? ": " : "",
	       k->wrong);
}
