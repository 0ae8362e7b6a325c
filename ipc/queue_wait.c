/*
 * queue_wait.c - how a member of a queue waits, and how others wake it.
 *
 * About 50 x (look, yield), as in wake.h; then it sets its bit on the list of sleepers, looks once
 * more, and sleeps on the bell of its own place, a slice at a time.  A waker publishes, then looks
 * at the list; only a sleeper costs a system call.  It picks one bit, clears it and rings that
 * bell, so two wakes never go to one sleeper, and nobody else wakes.
 *
 * A wake may be spent on a member that dies before it looks, or a waker may die between its
 * publishing and the bell: then the others notice at the end of their slice.
 */
#include <errno.h>

#include "ipc/clock.h"
#include "ipc/queue_shared.h"
#include "ipc/wake.h"
#include "shm/futex.h"

/* Ring the bell of the member at `place`; did it sleep? */
static bool
ring(struct queue *q, uint32_t place)
{
	_Atomic uint32_t *bell = &q->shared->places[place].bell;

	atomic_fetch_add(bell, 1);
	return futex_wake(bell, 1) > 0;
}

/* Spend one wake on a bit of the word; true when its member slept. */
static bool
wake_of_word(struct queue *q, struct queue_list *list, uint32_t i, uint32_t from)
{
	uint64_t bits = atomic_load(&list->bits[i]) & ~UINT64_C(0) << from;

	while (bits != 0) {
		uint32_t bit = (uint32_t)__builtin_ctzll(bits);
		uint64_t one = UINT64_C(1) << bit;
		uint32_t place = i * 64 + bit;
		bits &= ~one;
		if (place >= q->members_max || (atomic_fetch_and(&list->bits[i], ~one) & one) == 0)
			continue; /* another waker took it */
		q->rotor = place + 1;
		/* Not asleep: it has timed out, or was about to sleep and will look, or is dead. */
		if (ring(q, place))
			return true;
	}
	return false;
}

void
queue_wake_slow(struct queue *q, struct queue_list *list)
{
	uint32_t start = q->rotor / 64 % q->list_words;

	/* From the one after the last: each sleeper's turn comes. */
	if (wake_of_word(q, list, start, q->rotor % 64))
		return;
	for (uint32_t n = 1; n <= q->list_words; n++)
		if (wake_of_word(q, list, (start + n) % q->list_words, 0))
			return;
}

void
queue_wake_all(struct queue *q, struct queue_list *list)
{
	for (uint32_t i = 0; i < q->list_words; i++)
		while (wake_of_word(q, list, i, 0))
			;
}

static void
arm(struct queue *q, struct queue_list *list)
{
	atomic_fetch_or(&list->bits[q->place / 64], UINT64_C(1) << q->place % 64);
	atomic_thread_fence(memory_order_seq_cst);
}

static void
disarm(struct queue *q, struct queue_list *list)
{
	uint64_t one = UINT64_C(1) << q->place % 64;
	_Atomic uint64_t *bits = &list->bits[q->place / 64];

	if (atomic_load_explicit(bits, memory_order_relaxed) & one)
		atomic_fetch_and(bits, ~one);
}

/* Look about 50 times, giving the CPU away in between. */
static int
look(struct queue *q, struct queue_try *t)
{
	int r = -EAGAIN;

	for (int i = 0; i < WAKE_LOOKS && r == -EAGAIN; i++) {
		bool cheap = yield_cheaply();
		r = t->attempt(q, t);
		if (!cheap)
			break;
	}
	return r;
}

/* Sleep at most `ns`; the try's answer when it looked last. */
static int
sleep_slice(struct queue *q, struct queue_try *t, uint64_t ns)
{
	uint32_t seen = atomic_load(&q->me->bell);
	arm(q, t->list);
	int r = t->attempt(q, t);
	if (r == -EAGAIN) {
		if (futex_wait(&q->me->bell, seen, ns) == -ETIMEDOUT)
			(void)queue_check_members(q);
		r = t->attempt(q, t);
	}
	disarm(q, t->list);
	return r;
}

static int
sleep_until(struct queue *q, struct queue_try *t, uint64_t timeout_ns)
{
	uint64_t begin = clock_now(), spent = 0;
	int r;

	do {
		if (queue_recover_blocked(q) && (r = t->attempt(q, t)) != -EAGAIN)
			return r;
		uint64_t left = timeout_ns - spent;
		r = sleep_slice(q, t, left < FUTEX_SLICE_NS ? left : FUTEX_SLICE_NS);
		spent = clock_now() - begin;
	} while (r == -EAGAIN && spent < timeout_ns);
	return r == -EAGAIN ? -ETIMEDOUT : r;
}

/* No wait was asked for.  But what only a dead member holds up is not to be answered with "not
 * now" for ever. */
static int
no_wait(struct queue *q, struct queue_try *t)
{
	if (q->blocked_slot == NULL)
		return queue_check_members(q) ? t->attempt(q, t) : -EAGAIN;
	int r = look(q, t);
	if (r == -EAGAIN && queue_recover_blocked(q))
		r = t->attempt(q, t);
	return r;
}

int
queue_wait(struct queue *q, struct queue_try *t, uint64_t timeout_ns)
{
	if (timeout_ns == QUEUE_NO_WAIT)
		return no_wait(q, t);
	if (t->waits != NULL)
		count_add(t->waits, 1);
	int r = look(q, t);
	if (r != -EAGAIN)
		return r;
	r = sleep_until(q, t, timeout_ns);
	/* Wakes that were spent on us, while what we looked for was held up by somebody, or that
	 * came after we had it, go to the next sleeper. */
	if (t->more(q))
		queue_wake(q, t->list);
	return r;
}
