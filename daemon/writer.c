/* writer.c - see writer.h */
#include "daemon/writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/log.h"
#include "ipc/clock.h"
#include "ipc/wake.h"

#define GROUP_MOST     1024u             /* changes of one commit */
#define LAZY_NS        (500 * NS_PER_MS) /* a lazy order waits so long for company */
#define TRIAL_NS       (1 * NS_PER_S)    /* between two trials of a store that fails */
#define TRIAL_BYTES    16384u            /* what a trial writes: room for some jobs */
#define PRUNE_EVERY_NS (10 * NS_PER_S)   /* while there is work ... */
#define PRUNE_IDLE_NS  (3600 * NS_PER_S) /* ... and when there is none */
#define PRUNE_SOON_NS  (100 * NS_PER_MS)
#define PRUNE_MOST     500u
#define STATS_EVERY_NS (1 * NS_PER_S)
#define LATENCIES      1024u

STAILQ_HEAD(order_list, order);
STAILQ_HEAD(question_list, question);

struct writer {
	const struct store_ops *ops;
	struct store *store; /* the writing thread's, but for the claims */
	struct store *reads; /* the reading thread's */
	pthread_t writing, reading;
	struct wake *broker;
	int bell;

	pthread_mutex_t lock; /* of what follows, up to the next blank line */
	pthread_cond_t orders_came, questions_came;
	struct order_list orders, done;
	struct question_list questions, answered;
	uint64_t urgent; /* orders that are not lazy */
	uint64_t oldest_lazy_ns;
	uint64_t waiting; /* orders put and not handed back */
	uint64_t orders_ever, commits, failures;
	uint64_t latency_ns[LATENCIES]; /* of the last commits, a ring */
	struct store_stats stats;
	bool end;

	_Atomic uint32_t news; /* answers that nobody has taken */
	_Atomic int error;     /* of the last commit: 0, -errno */

	/* the writing thread's */
	struct store_change group[GROUP_MOST];
	struct order *group_orders[GROUP_MOST];
	uint64_t pruned_ns, stats_ns, tried_ns;
};

struct order *
order_new(enum store_change_type type, size_t bytes)
{
	struct order *o = calloc(1, sizeof(*o) + bytes);

	if (o != NULL)
		o->change.type = type;
	return o;
}

const char *
writer_state_text(enum writer_state state)
{
	static const char *const texts[] = { "ok", "full", "failed" };
	return texts[state];
}

int
writer_error(const struct writer *w)
{
	return atomic_load(&w->error);
}

enum writer_state
writer_state(const struct writer *w)
{
	int error = writer_error(w);

	if (error == 0)
		return WRITER_OK;
	return error == -ENOSPC || error == -EDQUOT || error == -EFBIG ? WRITER_FULL
								       : WRITER_FAILED;
}

const char *
writer_engine(const struct writer *w)
{
	return w->ops->name;
}

/* ---- to the broker ---- */

static void
tell_broker(struct writer *w, uint32_t news)
{
	atomic_fetch_add(&w->news, news);
	if (wake_needed(w->broker))
		bell_ring(w->bell);
}

/* ---- committing ---- */

static void
note_state(struct writer *w, int error)
{
	int before = atomic_exchange(&w->error, error);

	if (error == before)
		return;
	if (error == 0)
		log_event(LOG_LEVEL_INFO, LOG_STORE_RECOVERED, NULL,
			  "the store can be written again; detached jobs are taken");
	else
		log_event(LOG_LEVEL_ERROR,
			  writer_state(w) == WRITER_FULL ? LOG_STORE_FULL : LOG_STORE_FAILED, NULL,
			  "the store cannot be written: %s; detached jobs are refused and wait, "
			  "attached ones go on; it is tried again every second",
			  strerror(-error));
}

static void
note_commit(struct writer *w, uint64_t took_ns, int error)
{
	pthread_mutex_lock(&w->lock);
	if (error == 0)
		w->latency_ns[w->commits++ % LATENCIES] = took_ns;
	else
		w->failures++;
	pthread_mutex_unlock(&w->lock);
	note_state(w, error);
}

static int
commit(struct writer *w, struct store_change *changes, size_t count)
{
	uint64_t from_ns = clock_now();
	int r = w->ops->apply(w->store, changes, count);

	note_commit(w, clock_now() - from_ns, r);
	return r;
}

static void
commit_group(struct writer *w, unsigned count)
{
	struct order_list done = STAILQ_HEAD_INITIALIZER(done);

	for (unsigned i = 0; i < count; i++)
		w->group[i] = w->group_orders[i]->change;
	int r = commit(w, w->group, count);
	for (unsigned i = 0; i < count; i++) {
		struct order *o = w->group_orders[i];
		o->change.result = r < 0 ? r : w->group[i].result;
		o->change.ret_id = w->group[i].ret_id;
		STAILQ_INSERT_TAIL(&done, o, link);
	}
	pthread_mutex_lock(&w->lock);
	STAILQ_CONCAT(&w->done, &done);
	pthread_mutex_unlock(&w->lock);
	tell_broker(w, count);
}

/* Can it be written again?  Room for one small change is no sign: a page would do. */
static void
try_again(struct writer *w)
{
	static const unsigned char filling[TRIAL_BYTES];
	struct store_change trial = {
		.type = CHANGE_TALLY,
		.tally = { .kind = "", .pool = "", .figures = { filling, sizeof(filling) } },
	};
	w->tried_ns = clock_now();
	if (commit(w, &trial, 1) < 0)
		return;
	trial.tally.figures.length = 0;
	(void)commit(w, &trial, 1);
}

static void
look_after(struct writer *w, bool idle)
{
	uint64_t now_ns = clock_now();

	if (writer_error(w) != 0) {
		if (now_ns - w->tried_ns >= TRIAL_NS)
			try_again(w);
		return;
	}
	if (now_ns - w->pruned_ns >= (idle ? PRUNE_IDLE_NS : PRUNE_EVERY_NS)) {
		int r = w->ops->prune(w->store, PRUNE_MOST);
		/* There may be more: go on when nothing else is to be done. */
		w->pruned_ns = r == (int)PRUNE_MOST ? 0 : now_ns;
		if (r < 0)
			note_state(w, r);
	}
	if (now_ns - w->stats_ns >= STATS_EVERY_NS) {
		struct store_stats stats = { 0 };
		w->stats_ns = now_ns;
		if (w->ops->stats(w->store, &stats) == 0) {
			pthread_mutex_lock(&w->lock);
			w->stats = stats;
			pthread_mutex_unlock(&w->lock);
		}
	}
}

/* How long to sleep when there is nothing urgent; the lock is held. */
static uint64_t
sleep_until(const struct writer *w)
{
	uint64_t now_ns = clock_now();

	if (!STAILQ_EMPTY(&w->orders))
		return w->oldest_lazy_ns + LAZY_NS;
	if (writer_error(w) != 0)
		return now_ns + TRIAL_NS;
	if (w->pruned_ns == 0) /* there is more to prune */
		return now_ns + PRUNE_SOON_NS;
	return now_ns + PRUNE_IDLE_NS;
}

/* Wait for orders and take up to GROUP_MOST of them: how many.  0: time to look after things. */
static unsigned
take_orders(struct writer *w)
{
	unsigned count = 0;

	pthread_mutex_lock(&w->lock);
	uint64_t until_ns = sleep_until(w);
	while (w->urgent == 0 && !w->end && clock_now() < until_ns) {
		struct timespec until = { .tv_sec = (time_t)(until_ns / NS_PER_S),
					  .tv_nsec = (long)(until_ns % NS_PER_S) };
		bool empty = STAILQ_EMPTY(&w->orders);
		pthread_cond_timedwait(&w->orders_came, &w->lock, &until);
		if (empty && !STAILQ_EMPTY(&w->orders))
			until_ns = sleep_until(w);
	}
	struct order *o;
	while (count < GROUP_MOST && (o = STAILQ_FIRST(&w->orders)) != NULL) {
		STAILQ_REMOVE_HEAD(&w->orders, link);
		w->urgent -= !o->lazy;
		w->group_orders[count++] = o;
	}
	w->oldest_lazy_ns = clock_now();
	pthread_mutex_unlock(&w->lock);
	return count;
}

static bool
must_end(struct writer *w)
{
	pthread_mutex_lock(&w->lock);
	bool end = w->end && STAILQ_EMPTY(&w->orders);
	pthread_mutex_unlock(&w->lock);
	return end;
}

static void *
write_all(void *context)
{
	struct writer *w = context;

	while (!must_end(w)) {
		unsigned count = take_orders(w);
		if (count > 0)
			commit_group(w, count);
		look_after(w, count == 0);
	}
	return NULL;
}

/* ---- reading ---- */

static void *
read_all(void *context)
{
	struct writer *w = context;

	pthread_mutex_lock(&w->lock);
	while (!w->end) {
		struct question *q = STAILQ_FIRST(&w->questions);
		if (q == NULL) {
			pthread_cond_wait(&w->questions_came, &w->lock);
			continue;
		}
		STAILQ_REMOVE_HEAD(&w->questions, link);
		pthread_mutex_unlock(&w->lock);
		q->ask(w->ops, w->reads, q);
		pthread_mutex_lock(&w->lock);
		STAILQ_INSERT_TAIL(&w->answered, q, link);
		tell_broker(w, 1);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* ---- the broker's thread ---- */

void
writer_put(struct writer *w, struct order *o)
{
	pthread_mutex_lock(&w->lock);
	if (STAILQ_EMPTY(&w->orders))
		w->oldest_lazy_ns = clock_now();
	STAILQ_INSERT_TAIL(&w->orders, o, link);
	bool first = !o->lazy && w->urgent == 0;
	w->urgent += !o->lazy;
	w->waiting++;
	w->orders_ever++;
	if (first || (o->lazy && STAILQ_FIRST(&w->orders) == o))
		pthread_cond_signal(&w->orders_came);
	pthread_mutex_unlock(&w->lock);
}

void
writer_ask(struct writer *w, struct question *q)
{
	pthread_mutex_lock(&w->lock);
	STAILQ_INSERT_TAIL(&w->questions, q, link);
	pthread_cond_signal(&w->questions_came);
	pthread_mutex_unlock(&w->lock);
}

bool
writer_pending(const struct writer *w)
{
	return atomic_load_explicit(&w->news, memory_order_acquire) != 0;
}

unsigned
writer_take(struct writer *w, struct broker *b)
{
	struct order_list done = STAILQ_HEAD_INITIALIZER(done);
	struct question_list answered = STAILQ_HEAD_INITIALIZER(answered);
	struct order *o;
	struct question *q;

	uint32_t n = atomic_exchange_explicit(&w->news, 0, memory_order_acquire);
	if (n == 0)
		return 0;
	pthread_mutex_lock(&w->lock);
	STAILQ_CONCAT(&done, &w->done);
	STAILQ_CONCAT(&answered, &w->answered);
	STAILQ_FOREACH (o, &done, link)
		w->waiting--;
	pthread_mutex_unlock(&w->lock);
	while ((o = STAILQ_FIRST(&done)) != NULL) {
		STAILQ_REMOVE_HEAD(&done, link);
		if (o->answered != NULL)
			o->answered(b, o);
		if (!o->kept)
			free(o);
	}
	while ((q = STAILQ_FIRST(&answered)) != NULL) {
		STAILQ_REMOVE_HEAD(&answered, link);
		q->answered(b, q);
	}
	return n;
}

int
writer_claim(struct writer *w, uint64_t id, uint16_t attempt, uint64_t *ret_fence)
{
	return w->ops->claim(w->store, id, attempt, ret_fence);
}

void
writer_unclaim(struct writer *w, uint64_t id, uint64_t fence)
{
	w->ops->unclaim(w->store, id, fence);
}

int
writer_load_claimed(struct writer *w, store_row_fn each, void *context)
{
	return w->ops->load(w->store, 0, STORE_CLAIMS, true, each, context);
}

static int
compare_ns(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

void
writer_stats(struct writer *w, struct writer_stats *ret)
{
	static uint64_t sorted[LATENCIES];

	pthread_mutex_lock(&w->lock);
	uint64_t kept = w->commits < LATENCIES ? w->commits : LATENCIES;
	memcpy(sorted, w->latency_ns, sizeof(sorted));
	*ret = (struct writer_stats){
		.orders = w->orders_ever,
		.commits = w->commits,
		.failures = w->failures,
		.waiting = w->waiting,
		.store = w->stats,
	};
	pthread_mutex_unlock(&w->lock);
	if (kept == 0)
		return;
	qsort(sorted, kept, sizeof(sorted[0]), compare_ns);
	ret->commit_ns_p50 = sorted[kept / 2];
	ret->commit_ns_p99 = sorted[kept * 99 / 100];
}

/* ---- open and close ---- */

static int
start_threads(struct writer *w)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = pthread_create(&w->writing, NULL, write_all, w);
	if (r == 0 && (r = pthread_create(&w->reading, NULL, read_all, w)) != 0) {
		pthread_mutex_lock(&w->lock);
		w->end = true;
		pthread_cond_signal(&w->orders_came);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->writing, NULL);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

static void
init_lock(struct writer *w)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->orders_came, &attr);
	pthread_cond_init(&w->questions_came, &attr);
	pthread_condattr_destroy(&attr);
}

static void
writer_free(struct writer *w)
{
	if (w->reads != NULL)
		w->ops->close(w->reads);
	if (w->store != NULL)
		w->ops->close(w->store);
	pthread_cond_destroy(&w->orders_came);
	pthread_cond_destroy(&w->questions_came);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

int
writer_open(struct writer **ret, const struct store_ops *ops, const struct store_options *options,
	    struct wake *broker, int bell, struct store_problem *why)
{
	struct store_options reading = *options;
	struct writer *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return -ENOMEM;
	w->ops = ops;
	w->broker = broker;
	w->bell = bell;
	STAILQ_INIT(&w->orders);
	STAILQ_INIT(&w->done);
	STAILQ_INIT(&w->questions);
	STAILQ_INIT(&w->answered);
	w->pruned_ns = clock_now();
	init_lock(w);
	reading.read_only = true;
	int r = ops->open(&w->store, options, why);
	if (r == 0)
		r = ops->open(&w->reads, &reading, why);
	if (r == 0)
		(void)ops->stats(w->store, &w->stats);
	if (r == 0)
		r = start_threads(w);
	if (r < 0) {
		writer_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

void
writer_close(struct writer *w)
{
	struct order *o;
	struct question *q;

	pthread_mutex_lock(&w->lock);
	w->end = true;
	pthread_cond_signal(&w->orders_came);
	pthread_cond_signal(&w->questions_came);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->writing, NULL);
	pthread_join(w->reading, NULL);
	STAILQ_CONCAT(&w->done, &w->orders);
	while ((o = STAILQ_FIRST(&w->done)) != NULL) {
		STAILQ_REMOVE_HEAD(&w->done, link);
		free(o);
	}
	STAILQ_CONCAT(&w->answered, &w->questions);
	while ((q = STAILQ_FIRST(&w->answered)) != NULL) {
		STAILQ_REMOVE_HEAD(&w->answered, link);
		q->answered(NULL, q);
	}
	writer_free(w);
}
