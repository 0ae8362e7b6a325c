/*
 * gate_rate.c - how many jobs of a group have started within a window, exactly.
 *
 * A limit of `count` per window lets a job go when fewer than `count` jobs of its group started
 * within the window before.  Each job brings its own limit: several of one group look at the same
 * log of starts, each as far back as it needs.
 *
 * A start is when a worker took the job, not when the job was sent to it.  Until that is known the
 * job counts as starting now: a place is never given too early.  When it is known, the place comes
 * free exactly a window later.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/gate_parts.h"

#define RING_LEAST 16u

/* ---- the log ---- */

static uint64_t *
start_at(const struct rate_log *log, uint32_t i)
{
	return &log->starts[(log->first + i) & (log->capacity - 1)];
}

/* The first of the log that is later than `ns`. */
static uint32_t
first_after(const struct rate_log *log, uint64_t ns)
{
	uint32_t low = 0, high = log->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (*start_at(log, middle) > ns)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static bool
ring_grow(struct rate_log *log)
{
	uint32_t capacity = log->capacity == 0 ? RING_LEAST : log->capacity * 2;
	uint64_t *more = malloc(capacity * sizeof(*more));

	if (more == NULL)
		return false;
	for (uint32_t i = 0; i < log->count; i++)
		more[i] = *start_at(log, i);
	free(log->starts);
	log->starts = more;
	log->first = 0;
	log->capacity = capacity;
	return true;
}

static void
drop_oldest(struct rate_log *log)
{
	log->first = (log->first + 1) & (log->capacity - 1);
	log->count--;
}

static void
log_add(struct rate_log *log, uint64_t ns)
{
	while (log->count > 0 &&
	       (log->count >= log->most || *start_at(log, 0) + log->longest_ns <= ns))
		drop_oldest(log);
	if (log->count == log->capacity && !ring_grow(log)) {
		if (log->count == 0)
			return; /* no memory at all: it does not count */
		drop_oldest(log);
	}
	uint32_t i = log->count++;
	for (; i > 0 && *start_at(log, i - 1) > ns; i--)
		*start_at(log, i) = *start_at(log, i - 1);
	*start_at(log, i) = ns;
}

/* It turned out to have been later. */
static void
log_move(struct rate_log *log, uint64_t from_ns, uint64_t to_ns)
{
	uint32_t i = first_after(log, from_ns);

	if (i == 0 || *start_at(log, i - 1) != from_ns)
		return; /* so long ago that it was dropped */
	for (; i < log->count && *start_at(log, i) < to_ns; i++)
		*start_at(log, i - 1) = *start_at(log, i);
	*start_at(log, i - 1) = to_ns;
}

/* ---- starts ---- */

void
rate_begin(struct claim *claim)
{
	struct rate_log *log = claim->limit->log;

	claim->start = START_PENDING;
	TAILQ_INSERT_TAIL(&log->pending, claim, pending);
	log->pending_count++;
}

static void
end_pending(struct claim *claim)
{
	struct rate_log *log = claim->limit->log;

	TAILQ_REMOVE(&log->pending, claim, pending);
	log->pending_count--;
	claim->start = START_NONE;
}

void
rate_void(struct claim *claim)
{
	if (claim->start == START_PENDING)
		end_pending(claim);
	claim->start = START_NONE;
}

void
rate_started(struct claim *claim, uint64_t started_ns)
{
	struct rate_log *log = claim->limit->log;

	if (claim->start == START_PENDING) {
		end_pending(claim);
		log_add(log, started_ns);
	} else if (claim->start == START_KNOWN && started_ns > claim->started_ns) {
		log_move(log, claim->started_ns, started_ns);
	}
	claim->start = START_NONE;
}

static uint64_t
taken_ns(const struct broker *b, const struct job *job)
{
	if (job->state != JOB_RUNNING)
		return 0;
	if (job->array != NULL)
		return array_started(b, job);
	return atomic_load(
		&crew_of((struct broker *)b, job)->link.shared->tickets[job->ticket].claimed_ns);
}

/* Those on the way to a worker: has it taken them? */
static void
look_at_pending(struct broker *b, struct rate_log *log)
{
	struct claim *claim, *next;

	for (claim = TAILQ_FIRST(&log->pending); claim != NULL; claim = next) {
		next = TAILQ_NEXT(claim, pending);
		uint64_t ns = taken_ns(b, job_of(b, claim->job));
		if (ns == 0)
			continue;
		end_pending(claim);
		log_add(log, ns);
		claim->start = START_KNOWN;
		claim->started_ns = ns;
	}
}

static uint64_t
window_begin(const struct broker *b, const struct limit *l)
{
	return b->now_ns > l->window_ns ? b->now_ns - l->window_ns : 0;
}

uint64_t
rate_room(struct broker *b, struct limit *l)
{
	struct rate_log *log = l->log;

	look_at_pending(b, log);
	uint64_t taken = log->pending_count + log->count - first_after(log, window_begin(b, l));
	return taken < l->most ? l->most - taken : 0;
}

uint64_t
rate_next(const struct broker *b, const struct limit *l)
{
	const struct rate_log *log = l->log;
	uint32_t i = first_after(log, window_begin(b, l));

	if (i < log->count)
		return *start_at(log, i) + l->window_ns;
	return log->pending_count > 0 ? b->now_ns + l->window_ns : 0;
}

uint64_t
rate_last(const struct broker *b, const struct limit *l)
{
	const struct rate_log *log = l->log;
	uint64_t last_ns = log->count > 0 ? *start_at(log, log->count - 1) : 0;

	if (log->pending_count > 0)
		return b->now_ns + l->window_ns;
	return last_ns + l->window_ns > b->now_ns && last_ns > 0 ? last_ns + l->window_ns : 0;
}

/* ---- limits and their logs ---- */

static struct rate_log *
find_log(const struct gate *g, const char *name)
{
	struct index_node *node = index_first(&g->logs, hash_text(name));

	while (node != NULL && strcmp(((struct rate_log *)node)->name, name) != 0)
		node = index_next(node);
	return (struct rate_log *)node;
}

static struct rate_log *
new_log(struct gate *g, const char *name)
{
	struct rate_log *log = calloc(1, sizeof(*log));

	if (log == NULL)
		return NULL;
	snprintf(log->name, sizeof(log->name), "%s", name);
	LIST_INIT(&log->limits);
	TAILQ_INIT(&log->pending);
	index_add(&g->logs, &log->by_name, hash_text(name));
	return log;
}

static void
free_log(struct gate *g, struct rate_log *log)
{
	index_remove(&g->logs, &log->by_name);
	free(log->starts);
	free(log);
}

/* A free number, with room for it in the heap; -ENOMEM. */
static int
free_number(struct gate *g, uint32_t *ret)
{
	for (uint32_t i = g->rate_hint; i < g->rate_count; i++)
		if (g->rates[i] == NULL) {
			*ret = g->rate_hint = i;
			return 0;
		}
	if (g->rate_count == g->rate_capacity) {
		uint32_t capacity = g->rate_capacity == 0 ? 16 : g->rate_capacity * 2;
		struct limit **more = realloc(g->rates, capacity * sizeof(struct limit *));
		if (more == NULL)
			return -ENOMEM;
		g->rates = more;
		g->rate_capacity = capacity;
	}
	if (heap_reserve(&g->due, g->rate_count + 1) < 0)
		return -ENOMEM;
	*ret = g->rate_hint = g->rate_count;
	g->rates[g->rate_count++] = NULL;
	return 0;
}

static struct limit *
new_limit(struct broker *b, struct rate_log *log, const struct policy_rate *r)
{
	struct gate *g = b->gate;
	uint32_t number;
	struct limit *l;

	if (free_number(g, &number) < 0 || (l = limit_new(b, WAIT_RATE)) == NULL)
		return NULL;
	l->name = log->name;
	l->log = log;
	l->most = r->count;
	l->window_ns = r->window_ns;
	l->number = number;
	g->rates[number] = l;
	LIST_INSERT_HEAD(&log->limits, l, in_log);
	if (log->most < r->count)
		log->most = r->count;
	if (log->longest_ns < r->window_ns)
		log->longest_ns = r->window_ns;
	return l;
}

struct limit *
rate_find(struct broker *b, const struct policy_rate *r)
{
	struct rate_log *log = find_log(b->gate, r->group);
	struct limit *l;

	if (log == NULL && (log = new_log(b->gate, r->group)) == NULL)
		return NULL;
	LIST_FOREACH (l, &log->limits, in_log)
		if (l->most == r->count && l->window_ns == r->window_ns)
			return l;
	l = new_limit(b, log, r);
	if (l == NULL && LIST_EMPTY(&log->limits))
		free_log(b->gate, log);
	return l;
}

void
rate_forget(struct broker *b, struct limit *l)
{
	struct gate *g = b->gate;
	struct rate_log *log = l->log;

	g->rates[l->number] = NULL;
	if (l->number < g->rate_hint)
		g->rate_hint = l->number;
	LIST_REMOVE(l, in_log);
	limit_free(b, l);
	log->most = 0;
	log->longest_ns = 0;
	LIST_FOREACH (l, &log->limits, in_log) {
		log->most = l->most > log->most ? (uint32_t)l->most : log->most;
		log->longest_ns = l->window_ns > log->longest_ns ? l->window_ns : log->longest_ns;
	}
	if (LIST_EMPTY(&log->limits))
		free_log(g, log);
}
