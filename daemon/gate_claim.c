/* gate_claim.c - what a job will need is found and noted when it becomes a job. */
#include <stdio.h>

#include "daemon/gate_parts.h"

static bool
add_claim(struct broker *b, struct gate_job *gj, struct limit *l, uint64_t count)
{
	struct line *line = &l->lines[job_of(b, gj)->pool];

	if (heap_reserve(&line->waiters, line->bound + 1) < 0 ||
	    heap_reserve(&line->offered, line->bound + 1) < 0)
		return false;
	struct claim *claim = &gj->claims[gj->claim_count];
	*claim = (struct claim){ .limit = l, .count = count, .job = gj };
	claim->counts = l->type == WAIT_RATE;
	for (uint32_t i = 0; i < gj->claim_count; i++) {
		if (gj->claims[i].limit == l)
			return true; /* said twice */
		if (l->type == WAIT_RATE && gj->claims[i].limit->log == l->log)
			claim->counts = false;
	}
	gj->claim_count++;
	line->bound++;
	l->users++;
	return true;
}

enum job_error
limits_bind(struct broker *b, struct gate_job *gj, const struct policy *p, bool loaded, char *why,
	    size_t size)
{
	enum job_error error = ERR_QUEUE_FULL;

	snprintf(why, size, "the daemon is out of memory");
	for (unsigned i = 0; i < p->rate_count; i++) {
		struct limit *l = rate_find(b, &p->rates[i]);
		if (l == NULL || !add_claim(b, gj, l, 1)) {
			if (l != NULL && l->users == 0)
				limit_unused(b, l);
			return error;
		}
	}
	for (unsigned i = 0; i < p->need_count; i++) {
		struct limit *l = resource_find(b, &p->needs[i], loaded, &error, why, size);
		if (l == NULL || !add_claim(b, gj, l, p->needs[i].count))
			return error;
	}
	return ERR_NONE;
}

void
limits_unbind(struct broker *b, struct gate_job *gj)
{
	unsigned pool = job_of(b, gj)->pool;

	keep_no_more(b, gj);
	for (uint32_t i = 0; i < gj->claim_count; i++) {
		struct limit *l = gj->claims[i].limit;
		l->lines[pool].bound--;
		if (--l->users == 0 && l->type == WAIT_RATE)
			limit_unused(b, l);
	}
	gj->claim_count = 0;
}
