/*
 * schedule.c - which job of a pool is next: highest priority first, within it the
 * order of arrival; all operations take the same time however many wait.
 *
 * A queue holds jobs that are wholly or partly (array jobs) not handed out.
 */
#include "daemon/broker.h"
#include "daemon/gate.h"

static unsigned
level_of(const struct job *job)
{
	return (unsigned)(PRIORITY_MAX - job->priority);
}

void
pool_queues_init(struct pool *p)
{
	for (unsigned i = 0; i < LEVELS; i++)
		p->levels[i] = (struct level){ JOB_NONE, JOB_NONE };
}

static void
link_tail(struct broker *b, struct level *l, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	job->prev = l->tail;
	job->next = JOB_NONE;
	if (l->tail != JOB_NONE)
		job_at(&b->jobs, l->tail)->next = index;
	else
		l->head = index;
	l->tail = index;
}

static void
link_before(struct broker *b, struct level *l, uint32_t index, uint32_t after)
{
	struct job *job = job_at(&b->jobs, index), *next = job_at(&b->jobs, after);

	job->prev = next->prev;
	job->next = after;
	if (next->prev != JOB_NONE)
		job_at(&b->jobs, next->prev)->next = index;
	else
		l->head = index;
	next->prev = index;
}

static void
unlink_from(struct broker *b, uint32_t *head, uint32_t *tail, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);

	if (job->prev != JOB_NONE)
		job_at(&b->jobs, job->prev)->next = job->next;
	else
		*head = job->next;
	if (job->next != JOB_NONE)
		job_at(&b->jobs, job->next)->prev = job->prev;
	else
		*tail = job->prev;
	job->prev = job->next = JOB_NONE;
}

void
queue_push(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	struct pool *p = &b->pools[job->pool];
	unsigned level = level_of(job);

	link_tail(b, &p->levels[level], index);
	b->waiting |= 1u << job->pool;
	p->nonempty[level / 64] |= 1ull << level % 64;
}

void
queue_put_back(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	struct pool *p = &b->pools[job->pool];
	unsigned level = level_of(job);
	uint32_t after = p->levels[level].head;

	/* Its place is near the front: only others that came back may be older. */
	while (after != JOB_NONE && job_at(&b->jobs, after)->id < job->id)
		after = job_at(&b->jobs, after)->next;
	if (after == JOB_NONE) {
		queue_push(b, index);
		return;
	}
	link_before(b, &p->levels[level], index, after);
	b->waiting |= 1u << job->pool;
	p->nonempty[level / 64] |= 1ull << level % 64;
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
		struct client *c = b->clients[job->client];
		unlink_from(b, &c->held_head, &c->held_tail, index);
		job->flags &= (uint16_t)~JOB_HELD;
		return;
	}
	unsigned level = level_of(job);
	struct level *l = &p->levels[level];
	unlink_from(b, &l->head, &l->tail, index);
	if (l->head == JOB_NONE)
		p->nonempty[level / 64] &= ~(1ull << level % 64);
}

static void
hold(struct broker *b, struct client *c, uint32_t index)
{
	struct level list = { c->held_head, c->held_tail };

	if (job_at(&b->jobs, index)->more != NULL)
		gate_unpass(b, index);
	queue_remove(b, index);
	link_tail(b, &list, index);
	c->held_head = list.head;
	c->held_tail = list.tail;
	job_at(&b->jobs, index)->flags |= JOB_HELD;
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

uint32_t
queue_peek(struct broker *b, struct pool *p)
{
	for (unsigned word = 0; word < sizeof(p->nonempty) / sizeof(p->nonempty[0]);) {
		if (p->nonempty[word] == 0) {
			word++;
			continue;
		}
		unsigned level = word * 64 + (unsigned)__builtin_ctzll(p->nonempty[word]);
		uint32_t index = p->levels[level].head;
		struct job *job = job_at(&b->jobs, index);
		/* Results of a client that does not read have nowhere to go: its jobs wait. */
		if (!(job->flags & JOB_NO_CLIENT) && client_is_held(b->clients[job->client]))
			hold(b, b->clients[job->client], index);
		else
			return index;
	}
	b->waiting &= ~(1u << p->index);
	return JOB_NONE;
}
