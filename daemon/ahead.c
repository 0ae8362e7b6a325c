/* ahead.c - see ahead.h */
#include "daemon/ahead.h"

#include "daemon/schedule_line.h"

static void
look_at(const struct job *other, struct ahead *a)
{
	a->kinds[other->array != NULL ? AHEAD_ARRAY : other->kind]++;
	a->seen++;
	a->looks--;
	if (a->id_count < AHEAD_IDS)
		a->ids[a->id_count++] = other->id;
}

static void
count(const struct pool *p, unsigned level, const struct job *job, uint64_t jobs, struct ahead *a)
{
	a->jobs += jobs;
	if (p->strategy->levels && level < level_of(p, job))
		a->higher += jobs;
}

/* Where it is from the end of its list, when that is nearer; -1: too far. */
static int64_t
from_end(const struct broker *b, const struct job *job, struct ahead *a)
{
	int64_t n = 0;

	for (uint32_t i = job->next; i != JOB_NONE; i = job_at(&b->jobs, i)->next, n++)
		if (a->looks-- <= 1)
			return -1;
	return n;
}

static bool
is_listed(const struct level *level, const struct job *job, const struct broker *b)
{
	return level->count > 0 && job->state == JOB_QUEUED &&
	       !(job->flags & (JOB_PARKED | JOB_HELD | JOB_RETURNED)) &&
	       (job->prev != JOB_NONE || job_at(&b->jobs, level->head) == job);
}

/* A part of a list that was not looked through: as if they had come at the same pace. */
static uint64_t
interpolate(const struct level *level, uint64_t tail_ns, uint64_t before_ns, uint64_t least)
{
	double part = (double)(before_ns - level->head_ns) / (double)(tail_ns - level->head_ns + 1);
	uint64_t n = (uint64_t)(part * level->count);
	return n < least ? least : n > level->count ? level->count : n;
}

/* Of one list: those that came before that time. */
static void
older_in_level(const struct broker *b, const struct pool *p, const struct pool_line *l,
	       unsigned number, uint64_t before_ns, const struct job *job, struct ahead *a)
{
	const struct level *level = &l->levels[number];
	uint64_t tail_ns = job_at(&b->jobs, level->tail)->queued_ns, n = 0;
	bool all = tail_ns < before_ns;
	uint32_t i = level->head, half = a->looks / 2;

	while (i != JOB_NONE && a->looks > half) {
		const struct job *other = job_at(&b->jobs, i);
		if (other->queued_ns >= before_ns)
			break;
		look_at(other, a);
		n++;
		i = other->next;
	}
	bool whole = i == JOB_NONE || job_at(&b->jobs, i)->queued_ns >= before_ns;
	int64_t behind = -1;
	if (whole) {
		count(p, number, job, n, a);
		return;
	}
	if (all) {
		count(p, number, job, level->count, a);
		return;
	}
	if (number == level_of(p, job) && before_ns == job->queued_ns && is_listed(level, job, b))
		behind = from_end(b, job, a);
	if (behind >= 0) {
		count(p, number, job, level->count - 1 - (uint64_t)behind, a);
		return;
	}
	a->exact = false;
	count(p, number, job, interpolate(level, tail_ns, before_ns, n), a);
}

/* Before which time must a job of that level have come to go before this one? */
static uint64_t
before_in(const struct pool *p, unsigned level, const struct job *job)
{
	unsigned mine = level_of(p, job);

	if (level == mine)
		return job->queued_ns;
	if (p->ageing_ns == 0)
		return level < mine ? UINT64_MAX : 0;
	if (level < mine) /* at the same turn, too */
		return job->queued_ns + (mine - level) * p->ageing_ns + 1;
	uint64_t worth_ns = (level - mine) * p->ageing_ns;
	return worth_ns < job->queued_ns ? job->queued_ns - worth_ns : 0;
}

static void
in_own_line(const struct broker *b, struct pool *p, const struct pool_line *l,
	    const struct job *job, struct ahead *a)
{
	for (uint32_t n = 0; n < l->filled.count; n++) {
		unsigned level = l->filled.at[n];
		older_in_level(b, p, l, level, before_in(p, level, job), job, a);
	}
	for (uint32_t n = 0; n < l->returned.count && a->looks > 0; n++) {
		const struct job *other = job_at(&b->jobs, l->returned.at[n]);
		unsigned level = level_of(p, other);
		if (other == job || other->queued_ns >= before_in(p, level, job))
			continue;
		look_at(other, a);
		count(p, level, job, 1, a);
	}
}

void
ahead_older(const struct broker *b, const struct pool *p, const struct pool_line *l,
	    uint64_t queued_ns, const struct job *job, struct ahead *a)
{
	for (uint32_t n = 0; n < l->filled.count && queued_ns > 0; n++)
		older_in_level(b, p, l, l->filled.at[n], queued_ns, job, a);
	for (uint32_t n = 0; n < l->returned.count && a->looks > 0; n++) {
		const struct job *other = job_at(&b->jobs, l->returned.at[n]);
		if (other->queued_ns >= queued_ns)
			continue;
		look_at(other, a);
		count(p, level_of(p, other), job, 1, a);
	}
}

void
ahead_some(const struct broker *b, const struct pool_line *l, uint64_t jobs, struct ahead *a)
{
	uint64_t left = jobs;

	a->jobs += jobs;
	for (uint32_t n = 0; n < l->returned.count && left > 0 && a->looks > 0; n++, left--)
		look_at(job_at(&b->jobs, l->returned.at[n]), a);
	for (uint32_t n = 0; n < l->filled.count; n++) {
		uint32_t i = l->levels[l->filled.at[n]].head;
		for (; i != JOB_NONE && left > 0 && a->looks > 0; left--) {
			look_at(job_at(&b->jobs, i), a);
			i = job_at(&b->jobs, i)->next;
		}
	}
}

void
ahead_of(const struct broker *b, struct pool *p, const struct job *job, struct ahead *ret)
{
	*ret = (struct ahead){ .exact = true, .looks = AHEAD_LOOKS };
	const struct pool_line *l =
		p->strategy->line_of != NULL ? p->strategy->line_of(p, job) : &p->line;
	in_own_line(b, p, l, job, ret);
	if (p->strategy->ahead != NULL)
		p->strategy->ahead(b, p, job, ret);
}
