/*
 * gate_after.c - jobs that wait for other jobs.
 *
 * Parents are older than their children: an id that is not given yet cannot be waited for, and no
 * job gets a parent later.  So no two jobs can wait for each other, and what the store brings is
 * checked for that.
 *
 * When a job ends, its children are told in the turn that follows, some at a time: a parent of
 * very many, or a long chain that fails, takes many turns and no deep stack; and whoever ends a
 * job finds no other gone when it is back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/gate_parts.h"
#include "daemon/log.h"

#define EDGES_A_TURN 1024u

/* A job that others wait for. */
struct parent {
	struct index_node by_id; /* first */
	LIST_ENTRY(parent) over;
	uint64_t id;
	uint8_t state; /* once it is over */
	LIST_HEAD(, edge) children;
};

static struct parent *
find_parent(const struct gate *g, uint64_t id)
{
	struct index_node *node = index_first(&g->parents, hash_number(id));

	while (node != NULL && ((struct parent *)node)->id != id)
		node = index_next(node);
	return (struct parent *)node;
}

static bool
is_met(uint8_t mode, unsigned state)
{
	return mode == AFTER_ANY || state == JOB_SUCCEEDED;
}

/* ---- edges ---- */

static int
open_edge(struct broker *b, struct edge *e)
{
	struct gate *g = b->gate;
	struct parent *p = find_parent(g, e->parent);
	uint32_t index = jobs_find(&b->jobs, e->parent);

	if (p == NULL) {
		p = calloc(1, sizeof(*p));
		if (p == NULL)
			return -ENOMEM;
		p->id = e->parent;
		index_add(&g->parents, &p->by_id, hash_number(p->id));
	}
	if (index != JOB_NONE)
		job_at(&b->jobs, index)->flags |= JOB_PARENT;
	LIST_INSERT_HEAD(&p->children, e, link);
	e->state = EDGE_OPEN;
	return 0;
}

static void
settle(struct edge *e, unsigned state)
{
	e->parent_state = (uint8_t)state;
	e->state = is_met(e->mode, state) ? EDGE_MET : EDGE_FAILED;
	if (e->state == EDGE_FAILED)
		e->child->failed = true;
}

/* The parent of an edge that was open, or asked about, is over. */
static void
resolve(struct broker *b, struct edge *e, unsigned state)
{
	struct gate_job *child = e->child;
	const struct job *job = job_of(b, child);

	settle(e, state);
	child->open--;
	if (!(job->flags & JOB_PARKED) || job->more->waits != WAIT_AFTER)
		return; /* not durable yet, ...: it is seen when it enters */
	if (child->failed || child->open == 0)
		gate_enter(b, child->index);
}

bool
after_is_parent(const struct gate *g, uint64_t id)
{
	return find_parent(g, id) != NULL;
}

/* ---- binding ---- */

static bool
may_wait_for(const struct client *c, const struct found *f)
{
	return c->access >= ACCESS_OPERATE || c->who.uid == f->uid;
}

static enum gate_verdict
refuse(struct gate_answer *ret, enum job_error error, const char *format, uint64_t id)
{
	ret->error = error;
	snprintf(ret->why, sizeof(ret->why), format, (unsigned long long)id);
	return GATE_REFUSED;
}

enum gate_verdict
after_check(struct broker *b, const struct client *c, const struct policy *p,
	    struct gate_answer *ret)
{
	struct found *found = b->gate->found;
	unsigned count = p->parent_count;

	for (unsigned i = 0; i < count; i++) {
		found[i] = (struct found){ .id = p->parents[i].id };
		if (found[i].id >= atomic_load(&b->board->next_id))
			return refuse(ret, ERR_NO_SUCH_JOB,
				      "after: job %llu does not exist yet; a job waits for jobs "
				      "that were submitted before it",
				      found[i].id);
	}
	if (found_look_up(b, found, count) > 0) {
		enum gate_verdict v = ask_for_client(b, c, found, count, ret);
		if (v != GATE_GO)
			return v;
	}
	for (unsigned i = 0; i < count; i++) {
		if (found[i].as == FOUND_NOTHING)
			return refuse(ret, ERR_NO_SUCH_JOB,
				      "after: there is no job %llu; `pyprepctl ls --state all` "
				      "lists those there are",
				      found[i].id);
		if (!may_wait_for(c, &found[i]))
			return refuse(ret, ERR_NOT_ALLOWED,
				      "after: job %llu belongs to another user", found[i].id);
	}
	return GATE_GO;
}

/* An edge with what is known of its parent.  -ENOMEM. */
static int
bind_edge(struct broker *b, struct edge *e, const struct found *f)
{
	if (f->as == FOUND_OVER) {
		settle(e, f->state);
		return 0;
	}
	if (f->as == FOUND_OPEN && open_edge(b, e) < 0)
		return -ENOMEM;
	e->child->open++;
	return 0;
}

/* Of a loaded job: what neither table nor history know the store is asked for. */
static int
find_again(struct broker *b, const struct gate_job *gj, struct found *found)
{
	for (uint32_t i = 0; i < gj->edge_count; i++) {
		found[i] = (struct found){ .id = gj->edges[i].parent };
		if (after_is_parent(b->gate, found[i].id))
			found[i].as = FOUND_OPEN;
	}
	if (found_look_up(b, found, gj->edge_count) == 0)
		return 0;
	return ask_for_job(b, job_of(b, gj)->id, found, gj->edge_count);
}

enum job_error
after_bind(struct broker *b, struct gate_job *gj, bool loaded, char *why, size_t size)
{
	const struct job *job = job_of(b, gj);
	const struct policy *p = job->more->policy;
	struct found *found = b->gate->found;

	for (uint32_t i = 0; i < p->parent_count; i++) {
		uint64_t parent = p->parents[i].id;
		if (parent >= job->id) {
			snprintf(why, size,
				 "after: job %llu cannot wait for job %llu, which is not older: "
				 "they could wait for each other",
				 (unsigned long long)job->id, (unsigned long long)parent);
			return ERR_CYCLE;
		}
		gj->edges[gj->edge_count++] = (struct edge){ .child = gj,
							     .parent = parent,
							     .mode = (uint8_t)p->parents[i].mode,
							     .state = EDGE_ASKED };
	}
	int r = loaded && p->parent_count > 0 ? find_again(b, gj, found) : 0;
	for (uint32_t i = 0; r == 0 && i < gj->edge_count; i++)
		r = bind_edge(b, &gj->edges[i], &found[i]);
	if (r == 0)
		return ERR_NONE;
	snprintf(why, size, "the daemon is out of memory");
	return ERR_QUEUE_FULL;
}

/* One that the store does not know any more had ended as asked: else its child had ended with it,
 * long before it was removed. */
void
after_answered(struct broker *b, uint64_t child, const struct found *found, unsigned count)
{
	uint32_t index = jobs_find(&b->jobs, child);
	struct gate_job *gj = index == JOB_NONE ? NULL : job_at(&b->jobs, index)->more->gate;

	for (uint32_t i = 0; gj != NULL && i < gj->edge_count && i < count; i++) {
		struct edge *e = &gj->edges[i];
		if (e->state != EDGE_ASKED || e->parent != found[i].id)
			continue;
		if (found[i].as != FOUND_OPEN)
			resolve(b, e, found[i].as == FOUND_OVER ? found[i].state : JOB_SUCCEEDED);
		else if (open_edge(b, e) < 0)
			log_error("job %llu: out of memory to wait for job %llu; it waits for "
				  "ever, cancel it",
				  (unsigned long long)child, (unsigned long long)e->parent);
	}
}

void
after_unbind(struct broker *b, struct gate_job *gj)
{
	for (uint32_t i = 0; i < gj->edge_count; i++) {
		struct edge *e = &gj->edges[i];
		if (e->state != EDGE_OPEN)
			continue;
		LIST_REMOVE(e, link);
		e->state = EDGE_MET;
		struct parent *p = find_parent(b->gate, e->parent);
		if (p != NULL && LIST_EMPTY(&p->children)) {
			index_remove(&b->gate->parents, &p->by_id);
			free(p);
		}
	}
	after_spare(b, gj);
}

/* ---- the end of a parent ---- */

void
after_doom(struct broker *b, struct gate_job *gj)
{
	if (gj->doomed)
		return;
	gj->doomed = true;
	TAILQ_INSERT_TAIL(&b->gate->doomed, gj, doomed_link);
	b->gate_due = true;
}

void
after_spare(struct broker *b, struct gate_job *gj)
{
	if (!gj->doomed)
		return;
	gj->doomed = false;
	TAILQ_REMOVE(&b->gate->doomed, gj, doomed_link);
}

void
after_ended(struct broker *b, uint64_t id, unsigned state)
{
	struct gate *g = b->gate;
	struct parent *p = find_parent(g, id);

	if (p == NULL)
		return;
	index_remove(&g->parents, &p->by_id);
	p->state = (uint8_t)state;
	LIST_INSERT_HEAD(&g->over, p, over);
	b->gate_due = true;
}

static unsigned
tell_children(struct broker *b, unsigned most)
{
	struct gate *g = b->gate;
	struct parent *p;
	unsigned n = 0;

	while (n < most && (p = LIST_FIRST(&g->over)) != NULL) {
		struct edge *e;
		for (; n < most && (e = LIST_FIRST(&p->children)) != NULL; n++) {
			LIST_REMOVE(e, link);
			resolve(b, e, p->state);
		}
		if (!LIST_EMPTY(&p->children))
			break;
		LIST_REMOVE(p, over);
		free(p);
	}
	return n;
}

static void
end_with_parent(struct broker *b, struct gate_job *gj)
{
	char text[200] = "";

	for (uint32_t i = 0; i < gj->edge_count; i++) {
		const struct edge *e = &gj->edges[i];
		if (e->state != EDGE_FAILED)
			continue;
		snprintf(text, sizeof(text),
			 "job %llu, which had to succeed before this one starts, ended as %s",
			 (unsigned long long)e->parent, job_state_text(e->parent_state));
		break;
	}
	queue_remove(b, gj->index); /* parked: out of the list of the doomed */
	job_complete_as(b, gj->index, JOB_FAILED, CAUSE_DEPENDENCY, 0, ERR_DEPENDENCY, 0, text);
}

unsigned
after_turn(struct broker *b)
{
	struct gate *g = b->gate;
	unsigned n = tell_children(b, EDGES_A_TURN);
	struct gate_job *gj;

	for (; n < EDGES_A_TURN && (gj = TAILQ_FIRST(&g->doomed)) != NULL; n++)
		end_with_parent(b, gj);
	if (!LIST_EMPTY(&g->over) || !TAILQ_EMPTY(&g->doomed))
		b->gate_due = true;
	return n;
}

/* ---- life ---- */

int
after_open(struct gate *g)
{
	LIST_INIT(&g->over);
	TAILQ_INIT(&g->doomed);
	return index_open(&g->parents);
}

void
after_close(struct gate *g)
{
	struct parent *p;

	while ((p = LIST_FIRST(&g->over)) != NULL) {
		LIST_REMOVE(p, over);
		free(p);
	}
	for (uint32_t i = 0; g->parents.buckets != NULL && i <= g->parents.mask; i++)
		while (g->parents.buckets[i] != NULL) {
			p = (struct parent *)g->parents.buckets[i];
			index_remove(&g->parents, &p->by_id);
			free(p);
		}
	index_close(&g->parents);
}
