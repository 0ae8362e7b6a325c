/*
 * store_memory.c - the engine that keeps everything in this process, and nothing after it.
 *
 * Handles of the same state directory share one store, which lives as long as one of them is
 * open; one lock guards all of it.
 */
#include "daemon/store_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store_claims.h"
#include "daemon/store_filter.h"
#include "ipc/clock.h"

static LIST_HEAD(, memory) memories = LIST_HEAD_INITIALIZER(memories);
static pthread_mutex_t memories_lock = PTHREAD_MUTEX_INITIALIZER; /* the list, and who has it */

/* ---- opening ---- */

static struct memory *
memory_new(const char *state_dir)
{
	struct memory *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return NULL;
	pthread_mutex_init(&m->lock, NULL);
	STAILQ_INIT(&m->tallies);
	m->state_dir = strdup(state_dir);
	if (m->state_dir == NULL || claims_open(&m->claims, NULL, false) < 0) {
		memory_free(m);
		return NULL;
	}
	LIST_INSERT_HEAD(&memories, m, link);
	return m;
}

/* The claims that stand: those of attempts that are not over are counted in, others are let go. */
static int
count_claims(struct memory *m)
{
	struct claim *list;
	size_t count;
	int r = claims_list(m->claims, &list, &count);

	if (r < 0)
		return r;
	for (size_t i = count; i-- > 0;) { /* highest attempt first */
		struct record *row = memory_find(m, list[i].id);
		bool doubled = i + 1 < count && list[i + 1].id == list[i].id;
		bool over = row == NULL || row->ended || list[i].attempt < row->job.attempt ||
			    (row->last != NULL && row->last->number >= list[i].attempt);
		if (over || doubled)
			claims_drop(m->claims, list[i].id, list[i].fence);
		else
			row->job.attempt = list[i].attempt;
	}
	free(list);
	return 0;
}

static int
open_memory(struct store *s, struct store_problem *why)
{
	struct memory *m;
	const char *dir = s->options.state_dir;

	LIST_FOREACH (m, &memories, link)
		if (strcmp(m->state_dir, dir) == 0)
			break;
	if (m == NULL && (m = memory_new(dir)) == NULL) {
		snprintf(why->message, sizeof(why->message), "no memory for a store in memory");
		return -ENOMEM;
	}
	if (!s->options.read_only && m->written) {
		snprintf(why->message, sizeof(why->message),
			 "the store of %.200s is being written by this process already", dir);
		return -EBUSY;
	}
	m->handles++;
	s->m = m;
	s->options.state_dir = m->state_dir;
	if (s->options.read_only)
		return 0;
	m->written = true;
	return count_claims(m);
}

static void
memory_close(struct store *s)
{
	if (s == NULL)
		return;
	struct memory *m = s->m;
	pthread_mutex_lock(&memories_lock);
	if (!s->options.read_only)
		m->written = false;
	bool last = --m->handles == 0;
	if (last)
		LIST_REMOVE(m, link);
	pthread_mutex_unlock(&memories_lock);
	if (last)
		memory_free(m);
	free(s);
}

static int
memory_open(struct store **ret, const struct store_options *options, struct store_problem *why)
{
	struct store *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		snprintf(why->message, sizeof(why->message), "no memory for a store in memory");
		return -ENOMEM;
	}
	s->options = *options;
	pthread_mutex_lock(&memories_lock);
	int r = open_memory(s, why);
	pthread_mutex_unlock(&memories_lock);
	if (r == 0) {
		*ret = s;
	} else if (s->m != NULL) {
		memory_close(s);
	} else {
		free(s);
	}
	return r;
}

/* ---- claims: of the thread that runs jobs, without the lock ---- */

static int
memory_claim(struct store *s, uint64_t id, uint16_t attempt, uint64_t *ret_fence)
{
	return claims_take(s->m->claims, id, attempt, ret_fence);
}

static void
memory_unclaim(struct store *s, uint64_t id, uint64_t fence)
{
	claims_drop(s->m->claims, id, fence);
}

/* ---- reading ---- */

static uint16_t
output_attempt(const struct record *r, uint16_t attempt)
{
	if (attempt != 0)
		return attempt;
	return r->output_attempt > r->job.attempt ? r->output_attempt : r->job.attempt;
}

static void
fill_row(const struct record *r, const struct attempt *a, struct store_row *ret)
{
	*ret = (struct store_row){ .job = r->job, .ended = r->ended, .attached = r->attached };
	if (a != NULL) {
		ret->end = a->end;
		ret->end.kind = r->job.kind;
		ret->end.pool = r->job.pool;
		ret->end.submitted_ns = r->job.submitted_ns;
	}
	if (r->output_attempt >= r->job.attempt)
		memcpy(ret->output_bytes, r->output_end, sizeof(ret->output_bytes));
}

static int
memory_load(struct store *s, uint64_t after_id, size_t most, bool claimed, store_row_fn each,
	    void *context)
{
	struct memory *m = s->m;
	struct store_row row;
	struct claim *claims;
	size_t count;
	int r = claims_list(m->claims, &claims, &count);

	if (r < 0)
		return r;
	pthread_mutex_lock(&m->lock);
	for (size_t i = memory_place(m, after_id + 1); i < m->row_count && most > 0 && r == 0;
	     i++) {
		const struct record *record = m->rows[i];
		if (record == NULL || record->ended)
			continue;
		uint64_t fence = claims_fence_of(claims, count, record->job.id);
		if (claimed && fence == 0)
			continue;
		fill_row(record, record->last, &row);
		row.fence = fence;
		most--;
		r = each(context, &row);
	}
	pthread_mutex_unlock(&m->lock);
	free(claims);
	return r < 0 ? r : 0;
}

static int
memory_list(struct store *s, const struct store_filter *filter, store_row_fn each, void *context)
{
	struct memory *m = s->m;
	uint64_t left = filter->limit != 0 ? filter->limit : UINT64_MAX;
	struct store_row row;
	int r = 0;

	pthread_mutex_lock(&m->lock);
	size_t place = m->row_count;
	if (filter->id != 0)
		place = memory_find(m, filter->id) ? memory_place(m, filter->id) + 1 : 0;
	else if (filter->before_id != 0)
		place = memory_place(m, filter->before_id);
	while (place-- > 0 && left > 0 && r == 0) {
		const struct record *record = m->rows[place];
		if (record == NULL)
			continue;
		fill_row(record, record->last, &row);
		if (store_filter_fits(filter, &row)) {
			left--;
			r = each(context, &row);
		}
		if (filter->id != 0)
			break;
	}
	pthread_mutex_unlock(&m->lock);
	return r < 0 ? r : 0;
}

static int
memory_output(struct store *s, uint64_t id, uint16_t attempt, uint64_t from[3],
	      store_output_fn each, void *context)
{
	const struct chunk *c;
	int r = 0;

	pthread_mutex_lock(&s->m->lock);
	const struct record *record = memory_find(s->m, id);
	if (record == NULL)
		r = -ENOENT;
	else
		attempt = output_attempt(record, attempt);
	for (c = record ? STAILQ_FIRST(&record->output) : NULL; c != NULL && r == 0;
	     c = STAILQ_NEXT(c, link)) {
		uint64_t skip = from[c->stream] > c->offset ? from[c->stream] - c->offset : 0;
		if (c->attempt != attempt || skip >= c->length)
			continue;
		r = each(context, c->stream, c->offset + skip, c->bytes + skip, c->length - skip);
	}
	pthread_mutex_unlock(&s->m->lock);
	return r < 0 ? r : 0;
}

static int
memory_attempts(struct store *s, uint64_t id, store_row_fn each, void *context)
{
	struct store_row row;
	int r = 0;

	pthread_mutex_lock(&s->m->lock);
	const struct record *record = memory_find(s->m, id);
	if (record == NULL)
		r = -ENOENT;
	for (unsigned i = 0; r == 0 && i < record->attempt_count; i++) {
		fill_row(record, record->attempts[i], &row);
		r = each(context, &row);
	}
	pthread_mutex_unlock(&s->m->lock);
	return r < 0 ? r : 0;
}

static int
memory_tallies(struct store *s, uint32_t since_day, store_tally_fn each, void *context)
{
	const struct tally *t;
	int r = 0;

	pthread_mutex_lock(&s->m->lock);
	STAILQ_FOREACH(t, &s->m->tallies, link)
	if (t->day >= since_day && r == 0)
		r = each(context, t->day, t->kind, t->pool, t->figures.at, t->figures.length);
	pthread_mutex_unlock(&s->m->lock);
	return r < 0 ? r : 0;
}

/* Is its time over: its own, or else that of all? */
static bool
is_over(const struct record *r, uint64_t keep_ns, uint64_t now)
{
	uint64_t ended_ns = r->last->end.ended_ns;

	if (r->job.not_before_ns > ended_ns)
		return r->job.not_before_ns < now;
	return keep_ns != 0 && ended_ns + keep_ns < now;
}

static int
memory_prune(struct store *s, unsigned most)
{
	struct memory *m = s->m;
	const struct store_options *o = &s->options;
	uint64_t now = clock_wall();
	int removed = 0;

	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < m->row_count && (unsigned)removed < most;) {
		const struct record *r = m->rows[i];
		bool large = o->keep_bytes != 0 && m->bytes > o->keep_bytes;
		bool old = r != NULL && r->ended && is_over(r, o->keep_ns, now);
		if (r == NULL || !r->ended || !(old || large)) {
			i++;
			continue;
		}
		uint64_t next = r->job.id + 1;
		memory_remove(m, i); /* may close holes: places move */
		m->pruned++;
		removed++;
		i = memory_place(m, next);
	}
	pthread_mutex_unlock(&m->lock);
	return removed;
}

static int
memory_stats(struct store *s, struct store_stats *ret)
{
	const struct memory *m = s->m;

	pthread_mutex_lock(&s->m->lock);
	*ret = (struct store_stats){ .open = m->open,
				     .ended = m->ended,
				     .bytes = m->bytes,
				     .pruned = m->pruned,
				     .max_id = m->max_id };
	pthread_mutex_unlock(&s->m->lock);
	return 0;
}

const struct store_ops store_memory = {
	.name = "memory",
	.open = memory_open,
	.close = memory_close,
	.apply = memory_apply,
	.claim = memory_claim,
	.unclaim = memory_unclaim,
	.load = memory_load,
	.list = memory_list,
	.output = memory_output,
	.attempts = memory_attempts,
	.tallies = memory_tallies,
	.prune = memory_prune,
	.stats = memory_stats,
};
