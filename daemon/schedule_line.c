/* schedule_line.c - see schedule_line.h */
#include "daemon/schedule_line.h"

/* ---- turns ---- */

static struct turn
job_turn(const struct pool *p, const struct job *job)
{
	return turn_at(p, level_of(p, job), job->queued_ns);
}

/* What the heaps have to know. */
struct order {
	const struct jobs *jobs;
	const struct pool *pool;
	struct pool_line *line;
};

static bool
job_before(const void *context, uint32_t a, uint32_t b)
{
	const struct order *o = context;
	return turn_before(job_turn(o->pool, job_at(o->jobs, a)),
			   job_turn(o->pool, job_at(o->jobs, b)));
}

static uint32_t *
job_place(const void *context, uint32_t item)
{
	const struct order *o = context;
	return &job_at(o->jobs, item)->prev;
}

static const struct heap_ops jobs_by_turn = { job_before, job_place };

static bool
level_before(const void *context, uint32_t a, uint32_t b)
{
	const struct order *o = context;
	return turn_before(turn_at(o->pool, a, o->line->levels[a].head_ns),
			   turn_at(o->pool, b, o->line->levels[b].head_ns));
}

static uint32_t *
level_place(const void *context, uint32_t item)
{
	const struct order *o = context;
	return &o->line->levels[item].place;
}

static const struct heap_ops levels_by_turn = { level_before, level_place };

/* ---- levels ---- */

void
level_fill(struct pool *p, struct pool_line *l, unsigned number)
{
	struct order order = { .pool = p, .line = l };

	l->filled.at = l->filled_at;
	l->filled.capacity = LEVELS;
	heap_push(&l->filled, &levels_by_turn, &order, number);
}

void
level_moved(struct pool *p, struct pool_line *l, unsigned number)
{
	struct order order = { .pool = p, .line = l };

	heap_moved(&l->filled, &levels_by_turn, &order, number);
}

void
level_empty(struct pool *p, struct pool_line *l, unsigned number)
{
	struct order order = { .pool = p, .line = l };

	heap_remove(&l->filled, &levels_by_turn, &order, number);
}

/* ---- what came back ---- */

/* Without memory for the heap: its place in the list, looked for. */
static void
insert(struct broker *b, struct pool *p, struct pool_line *l, struct job *job, uint32_t index)
{
	unsigned number = level_of(p, job);
	struct level *level = &l->levels[number];
	uint32_t after = level->count > 0 ? level->head : JOB_NONE;

	while (after != JOB_NONE && job_at(&b->jobs, after)->queued_ns < job->queued_ns)
		after = job_at(&b->jobs, after)->next;
	if (after == JOB_NONE) {
		line_append(b, p, l, job, index);
		return;
	}
	struct job *next = job_at(&b->jobs, after);
	job->prev = next->prev;
	job->next = after;
	next->prev = index;
	l->count++;
	level->count++;
	if (job->prev != JOB_NONE) {
		job_at(&b->jobs, job->prev)->next = index;
		return;
	}
	level->head = index;
	level->head_ns = job->queued_ns;
	level_moved(p, l, number);
}

void
line_put_back(struct broker *b, struct pool *p, struct pool_line *l, struct job *job,
	      uint32_t index)
{
	struct order order = { .jobs = &b->jobs, .pool = p };

	if (heap_reserve(&l->returned, l->returned.count + 1) < 0) {
		insert(b, p, l, job, index);
		return;
	}
	heap_push(&l->returned, &jobs_by_turn, &order, index);
	job->flags |= JOB_RETURNED;
	l->count++;
}

void
line_remove_returned(struct broker *b, struct pool *p, struct pool_line *l, struct job *job,
		     uint32_t index)
{
	struct order order = { .jobs = &b->jobs, .pool = p };

	heap_remove(&l->returned, &jobs_by_turn, &order, index);
	job->flags &= (uint16_t)~JOB_RETURNED;
}

uint32_t
line_first_of_both(const struct broker *b, const struct pool *p, const struct pool_line *l)
{
	uint32_t level = heap_first(&l->filled), back = heap_first(&l->returned);

	if (level == HEAP_NONE || turn_before(job_turn(p, job_at(&b->jobs, back)),
					      turn_at(p, level, l->levels[level].head_ns)))
		return back;
	return l->levels[level].head;
}

/* ---- all of them ---- */

static void
rebuild(struct heap *h, const struct heap_ops *ops, const struct order *order)
{
	uint32_t count = h->count;

	/* What stands behind the heap has not been looked at yet. */
	for (h->count = 0; h->count < count;)
		heap_push(h, ops, order, h->at[h->count]);
}

void
line_rerank(struct broker *b, struct pool *p, struct pool_line *l)
{
	struct order order = { &b->jobs, p, l };

	rebuild(&l->filled, &levels_by_turn, &order);
	rebuild(&l->returned, &jobs_by_turn, &order);
}

void
line_each(const struct broker *b, const struct pool_line *l,
	  void (*each)(void *context, uint32_t index), void *context)
{
	for (uint32_t n = 0; n < l->filled.count; n++)
		for (uint32_t i = l->levels[l->filled.at[n]].head; i != JOB_NONE;
		     i = job_at(&b->jobs, i)->next)
			each(context, i);
	for (uint32_t i = 0; i < l->returned.count; i++)
		each(context, l->returned.at[i]);
}
