/*
 * schedule_line.h - a line of jobs: by priority, within one in the order they came.  For the files
 * of schedule.h only.
 *
 * A level is a list in order of queued_ns, which only grows.  What comes back from a worker, or
 * from a gate, is older than what is in the list: it waits in a heap beside it, so that it need
 * not look for its place.
 *
 * What every job passes through is inline; `index` is always the place of `job`.
 */
#ifndef PYPREP_DAEMON_SCHEDULE_LINE_H
#define PYPREP_DAEMON_SCHEDULE_LINE_H

#include "daemon/broker.h"

/* The smaller goes first; compared in this order. */
struct turn {
	uint64_t first, then;
};

static inline bool
turn_before(struct turn a, struct turn b)
{
	return a.first != b.first ? a.first < b.first : a.then < b.then;
}

/* Whose turn it is within a line. */
static inline struct turn
turn_at(const struct pool *p, unsigned level, uint64_t queued_ns)
{
	if (p->ageing_ns == 0)
		return (struct turn){ level, queued_ns };
	return (struct turn){ queued_ns + level * p->ageing_ns, level };
}

static inline unsigned
level_of(const struct pool *p, const struct job *job)
{
	return p->strategy->levels ? (unsigned)(PRIORITY_MAX - job->priority) : 0;
}

/* schedule_line.c */
/* A level has its first job, another head, or no job any more. */
void level_fill(struct pool *p, struct pool_line *l, unsigned number);
void level_moved(struct pool *p, struct pool_line *l, unsigned number);
void level_empty(struct pool *p, struct pool_line *l, unsigned number);
uint32_t line_first_of_both(const struct broker *b, const struct pool *p,
			    const struct pool_line *l);
void line_remove_returned(struct broker *b, struct pool *p, struct pool_line *l, struct job *job,
			  uint32_t index);
void line_put_back(struct broker *b, struct pool *p, struct pool_line *l, struct job *job,
		   uint32_t index);
void line_rerank(struct broker *b, struct pool *p, struct pool_line *l); /* ageing has changed */
/* Each job, in no order worth mentioning. */
void line_each(const struct broker *b, const struct pool_line *l,
	       void (*each)(void *context, uint32_t index), void *context);

/* At the end of its level. */
static inline void
line_append(struct broker *b, struct pool *p, struct pool_line *l, struct job *job, uint32_t index)
{
	unsigned number = level_of(p, job);
	struct level *level = &l->levels[number];

	l->count++;
	job->next = JOB_NONE;
	if (level->count++ > 0) {
		job->prev = level->tail;
		job_at(&b->jobs, level->tail)->next = index;
		level->tail = index;
		return;
	}
	job->prev = JOB_NONE;
	level->head = level->tail = index;
	level->head_ns = job->queued_ns;
	level_fill(p, l, number);
}

static inline void
line_remove_listed(struct broker *b, struct pool *p, struct pool_line *l, struct job *job)
{
	unsigned number = level_of(p, job);
	struct level *level = &l->levels[number];
	struct job *next = job->next != JOB_NONE ? job_at(&b->jobs, job->next) : NULL;

	level->count--;
	if (next != NULL)
		next->prev = job->prev;
	else
		level->tail = job->prev;
	if (job->prev != JOB_NONE) {
		job_at(&b->jobs, job->prev)->next = job->next;
		return;
	}
	level->head = job->next;
	if (next == NULL) {
		level_empty(p, l, number);
		return;
	}
	level->head_ns = next->queued_ns;
	if (l->filled.count > 1)
		level_moved(p, l, number);
}

static inline void
line_remove(struct broker *b, struct pool *p, struct pool_line *l, struct job *job, uint32_t index)
{
	l->count--;
	if (job->flags & JOB_RETURNED)
		line_remove_returned(b, p, l, job, index);
	else
		line_remove_listed(b, p, l, job);
	job->prev = job->next = JOB_NONE;
}

/* Whose turn it is; JOB_NONE: it is empty. */
static inline uint32_t
line_first(const struct broker *b, const struct pool *p, const struct pool_line *l)
{
	if (l->returned.count > 0)
		return line_first_of_both(b, p, l);
	return l->filled.count > 0 ? l->levels[l->filled.at[0]].head : JOB_NONE;
}

#endif
