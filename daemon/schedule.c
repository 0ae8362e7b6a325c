/*
 * schedule.c - the pools' queues: the table of strategies, what every strategy does alike, and
 * changing from one to another while jobs wait.
 *
 * A queue holds jobs that are wholly or partly (array jobs) not handed out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/gate.h"
#include "daemon/schedule_line.h"

/* To add one: a file with its row, and the row here. */
const struct strategy *const strategies[] = {
	&strategy_priority, &strategy_fifo, &strategy_fair, &strategy_sjf, NULL,
};

const struct strategy *
strategy_by_name(const char *name)
{
	for (unsigned i = 0; strategies[i] != NULL; i++)
		if (strcmp(strategies[i]->name, name) == 0)
			return strategies[i];
	return NULL;
}

unsigned
strategy_index(const struct strategy *s)
{
	unsigned i = 0;

	while (strategies[i] != s)
		i++;
	return i;
}

/* ---- in and out ---- */

static struct pool_line *
line_of(struct pool *p, const struct job *job)
{
	return p->strategy->line_of != NULL ? p->strategy->line_of(p, job) : &p->line;
}

static void
came(struct broker *b, struct pool *p, struct pool_line *l)
{
	b->waiting |= 1u << p->index;
	if (l != &p->line && l->count == 1)
		p->strategy->filled(p, l);
}

void
queue_push(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	struct pool *p = &b->pools[job->pool];

	/* No two at the same time: the time is the order, too. */
	b->queued_ns = b->now_ns > b->queued_ns ? b->now_ns : b->queued_ns + 1;
	job->queued_ns = b->queued_ns;
	struct pool_line *l = line_of(p, job);
	line_append(b, p, l, job, index);
	came(b, p, l);
}

void
queue_put_back(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	struct pool *p = &b->pools[job->pool];
	struct pool_line *l = line_of(p, job);

	line_put_back(b, p, l, job, index);
	came(b, p, l);
}

/* Out of the list of a client that does not read. */
static void
unhold(struct broker *b, struct job *job)
{
	struct client *c = b->clients[job->client];

	if (job->prev != JOB_NONE)
		job_at(&b->jobs, job->prev)->next = job->next;
	else
		c->held_head = job->next;
	if (job->next != JOB_NONE)
		job_at(&b->jobs, job->next)->prev = job->prev;
	else
		c->held_tail = job->prev;
	job->prev = job->next = JOB_NONE;
	job->flags &= (uint16_t)~JOB_HELD;
}

void
queue_remove(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	struct pool *p = &b->pools[job->pool];

	if (job->flags & JOB_PARKED) {
		gate_unpark(b, index);
		return;
	}
	if (job->flags & JOB_HELD) {
		unhold(b, job);
		return;
	}
	struct pool_line *l = line_of(p, job);
	line_remove(b, p, l, job, index);
	if (l != &p->line && l->count == 0)
		p->strategy->emptied(p, l);
}

static void
hold(struct broker *b, struct client *c, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	if (job->more != NULL)
		gate_unpass(b, index);
	queue_remove(b, index);
	job->prev = c->held_tail;
	if (c->held_tail != JOB_NONE)
		job_at(&b->jobs, c->held_tail)->next = index;
	else
		c->held_head = index;
	c->held_tail = index;
	job->flags |= JOB_HELD;
}

void
queue_release_held(struct broker *b, struct client *c)
{
	while (c->held_head != JOB_NONE) {
		uint32_t index = c->held_head;
		queue_remove(b, index);
		queue_push(b, index);
	}
}

static struct pool_line *
choose(struct broker *b, struct pool *p)
{
	if (p->strategy->choose != NULL)
		return p->strategy->choose(b, p);
	return p->line.count > 0 ? &p->line : NULL;
}

uint32_t
queue_peek(struct broker *b, struct pool *p)
{
	struct pool_line *l;

	while ((l = choose(b, p)) != NULL) {
		uint32_t index = line_first(b, p, l);
		struct job *job = job_at(&b->jobs, index);
		/* Results of a client that does not read have nowhere to go: its jobs wait. */
		if ((job->flags & JOB_NO_CLIENT) || !client_is_held(b->clients[job->client]))
			return index;
		hold(b, b->clients[job->client], index);
	}
	b->waiting &= ~(1u << p->index);
	return JOB_NONE;
}

/* ---- opening and changing ---- */

int
pool_queue_open(struct pool *p)
{
	p->strategy = p->config->strategy;
	p->ageing_ns = p->config->ageing_ns;
	if (p->strategy->open != NULL && (p->scheduling = p->strategy->open()) == NULL)
		return -ENOMEM;
	return 0;
}

void
pool_queue_close(struct pool *p)
{
	if (p->scheduling != NULL)
		p->strategy->close(p->scheduling);
	heap_free(&p->line.returned);
}

static struct pool_line *
line_at(struct pool *p, unsigned n)
{
	if (p->strategy->line_at != NULL)
		return p->strategy->line_at(p, n);
	return n == 0 ? &p->line : NULL;
}

void
pool_queue_ageing(struct broker *b, struct pool *p, uint64_t ageing_ns)
{
	struct pool_line *l;

	p->ageing_ns = ageing_ns;
	for (unsigned n = 0; (l = line_at(p, n)) != NULL; n++)
		line_rerank(b, p, l);
}

struct place {
	uint64_t queued_ns;
	uint32_t index;
};

struct places {
	const struct jobs *jobs;
	struct place *place;
	uint32_t count;
	bool sorted;
};

static void
collect(void *context, uint32_t index)
{
	struct places *all = context;
	struct place here = { job_at(all->jobs, index)->queued_ns, index };

	if (all->count > 0 && all->place[all->count - 1].queued_ns > here.queued_ns)
		all->sorted = false;
	all->place[all->count++] = here;
}

static int
compare(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	return (x->queued_ns > y->queued_ns) - (x->queued_ns < y->queued_ns);
}

/* What its workers have: `fair` has to know from the start. */
static void
tell_handed(struct broker *b, struct pool *p)
{
	struct crew *w;

	if (p->strategy->handed == NULL)
		return;
	TAILQ_FOREACH (w, &b->busy, busy_link) {
		if (w->pool != p->index)
			continue;
		for (uint32_t t = 0; t < LINK_TICKETS; t++)
			if (w->tickets[t] != JOB_NONE && w->tickets[t] != ORPHAN)
				p->strategy->handed(p, job_at(&b->jobs, w->tickets[t]));
	}
}

/* All that wait, in the order they came; the caller frees places->place.  0 or -ENOMEM. */
static int
collect_all(struct broker *b, struct pool *p, struct places *ret)
{
	struct pool_line *l;
	uint64_t count = 0;

	*ret = (struct places){ .jobs = &b->jobs, .sorted = true };
	for (unsigned n = 0; (l = line_at(p, n)) != NULL; n++)
		count += l->count;
	if (count > 0 && (ret->place = malloc(count * sizeof(*ret->place))) == NULL)
		return -ENOMEM;
	for (unsigned n = 0; (l = line_at(p, n)) != NULL; n++)
		line_each(b, l, collect, ret);
	if (!ret->sorted)
		qsort(ret->place, ret->count, sizeof(*ret->place), compare);
	return 0;
}

int
pool_queue_switch(struct broker *b, struct pool *p, const struct strategy *s)
{
	struct places all;
	void *scheduling = NULL;

	if (s == p->strategy)
		return 0;
	if (s->open != NULL && (scheduling = s->open()) == NULL)
		return -ENOMEM;
	if (collect_all(b, p, &all) < 0) {
		if (scheduling != NULL)
			s->close(scheduling);
		return -ENOMEM;
	}
	pool_queue_close(p);
	p->line = (struct pool_line){ 0 };
	p->strategy = s;
	p->scheduling = scheduling;
	tell_handed(b, p);
	for (uint32_t i = 0; i < all.count; i++) {
		struct job *job = job_at(&b->jobs, all.place[i].index);
		job->flags &= (uint16_t)~JOB_RETURNED;
		struct pool_line *l = line_of(p, job);
		line_append(b, p, l, job, all.place[i].index);
		came(b, p, l);
	}
	free(all.place);
	return 0;
}
