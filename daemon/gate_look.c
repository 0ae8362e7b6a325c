/* gate_look.c - what a job waits for, and who has it; see struct gate_reason. */
#include <string.h>

#include "daemon/gate_parts.h"
#include "daemon/request.h"

#define RATES_MOST 128u /* of one reply */

struct looking {
	struct broker *b;
	const struct job *job;
	struct gate_reason *ret;
	unsigned count, most;
};

static struct gate_reason *
add(struct looking *l, enum wait wait)
{
	if (l->count == l->most)
		return NULL;
	struct gate_reason *r = &l->ret[l->count++];
	*r = (struct gate_reason){ .wait = wait, .since_ns = l->job->more->waits_since_ns };
	return r;
}

static void
add_id(struct gate_reason *r, uint64_t id)
{
	if (r->id_count < GATE_IDS)
		r->ids[r->id_count] = id;
	r->id_count++;
}

static void
look_at_parents(struct looking *l)
{
	const struct gate_job *gj = l->job->more->gate;
	struct gate_reason *r;

	if (gj == NULL || gj->open == 0 || (r = add(l, WAIT_AFTER)) == NULL)
		return;
	for (uint32_t i = 0; i < gj->edge_count; i++)
		if (gj->edges[i].state == EDGE_OPEN || gj->edges[i].state == EDGE_ASKED)
			add_id(r, gj->edges[i].parent);
}

static void
look_at_time(struct looking *l)
{
	const struct job_more *more = l->job->more;
	struct gate_reason *r;

	if (more->wake_ns <= l->b->now_ns)
		return;
	r = add(l, l->job->attempt > 1 ? WAIT_BACKOFF : WAIT_TIME);
	if (r != NULL)
		r->until_ns = more->wake_ns;
}

static bool
comes_before(const struct job *x, const struct job *y)
{
	return x->priority != y->priority ? x->priority > y->priority : x->id < y->id;
}

/* Who has units of it, and how many wait for it in front of this job. */
static void
look_at_others(struct looking *l, const struct limit *limit, struct gate_reason *r)
{
	struct broker *b = l->b;

	for (uint32_t i = 0; (i = jobs_next(&b->jobs, i)) != JOB_NONE; i++) {
		const struct job *job = job_at(&b->jobs, i);
		const struct gate_job *gj = job->more == NULL ? NULL : job->more->gate;
		if (gj == NULL || job == l->job)
			continue;
		if (gj->waits_at != NULL && gj->waits_at->limit == limit)
			r->ahead += comes_before(job, l->job);
		for (uint32_t k = 0; (job->flags & JOB_PASSED) && k < gj->claim_count; k++)
			if (gj->claims[k].limit == limit && limit->type == WAIT_NEED)
				add_id(r, job->id);
	}
}

static void
look_at_limit(struct looking *l)
{
	const struct claim *at = l->job->more->gate->waits_at;
	struct limit *limit = at->limit;
	struct gate_reason *r = add(l, limit->type);

	if (r == NULL)
		return;
	r->name = limit->name;
	r->asked = at->count;
	r->limit = limit->most;
	r->used = limit->used;
	if (limit->type == WAIT_RATE) {
		uint64_t room = rate_room(l->b, limit);
		r->used = limit->most - room;
		r->window_ns = limit->window_ns;
		r->until_ns = room == 0 ? rate_next(l->b, limit) : 0;
	}
	look_at_others(l, limit, r);
}

unsigned
gate_reasons(struct broker *b, uint32_t index, struct gate_reason *ret, unsigned most)
{
	struct looking l = { b, job_at(&b->jobs, index), ret, 0, most };

	if (!(l.job->flags & JOB_PARKED))
		return 0;
	enum wait waits = l.job->more->waits;
	if (waits == WAIT_STORE || waits == WAIT_ALONE)
		(void)add(&l, waits);
	if (waits == WAIT_NEED || waits == WAIT_RATE)
		look_at_limit(&l);
	look_at_parents(&l);
	if (l.job->more->flags & STORE_JOB_HELD)
		(void)add(&l, WAIT_HELD);
	look_at_time(&l);
	return l.count;
}

/* ---- status ---- */

static bool
is_shown(const struct limit *l)
{
	return l->most > 0 || l->used > 0 || l->waiting > 0;
}

static void
reply_resource(struct reply *a, const struct limit *l)
{
	msgpack_pack_map(&a->pack, 4);
	reply_text(a, "name", l->name);
	reply_uint(a, "limit", l->most);
	reply_uint(a, "used", l->used);
	reply_uint(a, "waiting", l->waiting);
}

static void
reply_rate(struct broker *b, struct reply *a, struct limit *l)
{
	msgpack_pack_map(&a->pack, 5);
	reply_text(a, "group", l->name);
	reply_uint(a, "limit", l->most);
	reply_uint(a, "window_ns", l->window_ns);
	reply_uint(a, "used", l->most - rate_room(b, l));
	reply_uint(a, "waiting", l->waiting);
}

void
gate_reply(struct broker *b, struct reply *a)
{
	struct gate *g = b->gate;
	uint32_t resources = 0, rates = 0, i;

	for (i = 0; i < g->resource_count; i++)
		resources += is_shown(g->resources[i]);
	for (i = 0; i < g->rate_count && rates < RATES_MOST; i++)
		rates += g->rates[i] != NULL;
	reply_key(a, "resources");
	msgpack_pack_array(&a->pack, resources);
	for (i = 0; i < g->resource_count; i++)
		if (is_shown(g->resources[i]))
			reply_resource(a, g->resources[i]);
	reply_key(a, "rates");
	msgpack_pack_array(&a->pack, rates);
	for (i = 0; rates > 0; i++)
		if (g->rates[i] != NULL) {
			reply_rate(b, a, g->rates[i]);
			rates--;
		}
}
