/*
 * gate_key.c - at most one open job of a key; and what a submit with policies is checked for
 * before it becomes a job.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/durable.h"
#include "daemon/gate_parts.h"

static const char *
key_of(const struct broker *b, const struct gate_job *gj)
{
	return job_of(b, gj)->more->policy->key;
}

static struct gate_job *
find_key(const struct broker *b, const char *key)
{
	struct index_node *node = index_first(&b->gate->keys, hash_text(key));

	while (node != NULL && strcmp(key_of(b, (struct gate_job *)node), key) != 0)
		node = index_next(node);
	return (struct gate_job *)node;
}

void
key_bind(struct broker *b, struct gate_job *gj, const char *key)
{
	if (key[0] == '\0')
		return;
	index_add(&b->gate->keys, &gj->by_key, hash_text(key));
	gj->keyed = true;
}

void
key_unbind(struct broker *b, struct gate_job *gj)
{
	if (!gj->keyed)
		return;
	index_remove(&b->gate->keys, &gj->by_key);
	gj->keyed = false;
}

void
gate_token(struct broker *b, uint32_t index, const unsigned char *token)
{
	struct gate_job *gj = job_at(&b->jobs, index)->more->gate;

	if (gj != NULL && gj->keyed)
		memcpy(gj->token, token, STORE_TOKEN);
}

/* ---- a submit with a key ---- */

static enum gate_verdict
refuse(struct gate_answer *ret, enum job_error error, const struct job *holder, const char *key,
       const char *advice)
{
	ret->error = error;
	snprintf(ret->why, sizeof(ret->why),
		 "job %llu has the key \"%.100s\" and has not ended; %s",
		 (unsigned long long)holder->id, key, advice);
	return GATE_REFUSED;
}

static enum gate_verdict
replace(struct broker *b, const struct client *c, const struct gate_job *gj, const char *key,
	struct gate_answer *ret)
{
	const struct job *holder = job_of(b, gj);
	uint64_t id = holder->id;

	if (c->access < ACCESS_OPERATE && c->who.uid != holder->uid)
		return refuse(ret, ERR_NOT_ALLOWED, holder, key,
			      "it belongs to another user, and only an operator replaces it");
	job_stop(b, gj->index, CAUSE_CANCELLED);
	uint32_t index = jobs_find(&b->jobs, id);
	return index == JOB_NONE || (job_at(&b->jobs, index)->flags & JOB_ENDING) ? GATE_GO
										  : GATE_WAIT;
}

/* One that is in the store is left to it: it knows whether this is the same submit once more. */
static enum gate_verdict
check_key(struct broker *b, const struct client *c, const struct policy *p,
	  const unsigned char *token, struct gate_answer *ret)
{
	const struct gate_job *gj = find_key(b, p->key);

	if (!durable_loaded(b))
		return GATE_WAIT;
	if (gj == NULL || (job_of(b, gj)->flags & JOB_ENDING))
		return GATE_GO;
	const struct job *holder = job_of(b, gj);
	bool stored = holder->flags & JOB_DETACHED;
	if (token != NULL && memcmp(gj->token, token, STORE_TOKEN) == 0)
		return GATE_GO;
	if (p->if_exists == EXISTS_REPLACE)
		return replace(b, c, gj, p->key, ret);
	if (token != NULL && stored)
		return GATE_GO;
	if (p->if_exists == EXISTS_RETURN)
		return refuse(ret, ERR_KEY_EXISTS, holder, p->key,
			      token == NULL ? "its result goes to its own submitter: \"return\" is "
					      "for detached jobs, whose ids say all"
					    : "it is attached and ends with its client, so it "
					      "cannot be returned as a detached one");
	return refuse(ret, ERR_KEY_EXISTS, holder, p->key,
		      "take another key, or --if-exists return or replace");
}

enum gate_verdict
gate_check(struct broker *b, struct client *c, const struct policy *p, const unsigned char *token,
	   struct gate_answer *ret)
{
	enum gate_verdict v = after_check(b, c, p, ret);

	if (v == GATE_GO && p->key[0] != '\0')
		v = check_key(b, c, p, token, ret);
	return v;
}
