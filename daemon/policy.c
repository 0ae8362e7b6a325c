/*
 * policy.c - a job's policies: what asks for nothing, what they look like written down, and
 * whether an attempt that ended is followed by another; see policy.h.  policy_read.c reads them.
 */
#include "daemon/policy.h"

#include <errno.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/policy_words.h"

void
policy_free(struct policy *p)
{
	free(p);
}

bool
policy_is_plain(const struct policy *p)
{
	return p->retries == 0 && p->at_ns == 0 && p->parent_count == 0 && !p->held &&
	       p->key[0] == '\0' && p->cache_ns == 0 && p->keep_ns == 0 && p->rate_count == 0 &&
	       p->need_count == 0 && p->memory_bytes == 0 && p->nice == 0 && p->label_count == 0 &&
	       p->crash_limit == POLICY_CRASHES;
}

/* ---- another attempt ---- */

/* What of retry_on speaks of this end; 0: nothing does, it is final. */
static uint32_t
retry_bit(const struct outcome *outcome)
{
	if (outcome->state != JOB_FAILED && outcome->state != JOB_TIMED_OUT)
		return 0;
	switch (outcome->cause) {
	case CAUSE_EXIT:
		return POLICY_RETRY_EXIT;
	case CAUSE_SIGNAL:
		return POLICY_RETRY_SIGNAL;
	case CAUSE_TIMEOUT:
		return POLICY_RETRY_TIMEOUT;
	case CAUSE_WORKER_DIED:
		return POLICY_RETRY_WORKER_DIED;
	case CAUSE_OOM:
		return POLICY_RETRY_OOM;
	case CAUSE_ERROR:
		return POLICY_RETRY_ERROR;
	default: /* cancelled, refused, a dependency, ... would end the same way again */
		return 0;
	}
}

static bool
is_retried(const struct policy *p, const struct outcome *outcome)
{
	uint32_t bit = retry_bit(outcome);

	if ((bit & p->retry_on) != 0)
		return true;
	if (bit == POLICY_RETRY_EXIT)
		for (unsigned i = 0; i < p->exit_count; i++)
			if (p->exits[i] == outcome->cause_value)
				return true;
	return false;
}

/* first, 2 first, 4 first, ...: never above the longest, and nothing overflows on the way. */
static uint64_t
backoff_ns(const struct policy *p, unsigned attempt)
{
	uint64_t wait_ns = p->backoff_first_ns;

	if (p->backoff == BACKOFF_CONST || wait_ns == 0)
		return wait_ns;
	for (unsigned i = 1; i < attempt; i++) {
		if (wait_ns > p->backoff_most_ns / 2)
			return p->backoff_most_ns;
		wait_ns *= 2;
	}
	return wait_ns < p->backoff_most_ns ? wait_ns : p->backoff_most_ns;
}

bool
policy_retries(const struct policy *p, unsigned attempt, const struct outcome *outcome,
	       uint64_t random, uint64_t *ret_wait_ns)
{
	if (attempt > p->retries || !is_retried(p, outcome))
		return false;
	uint64_t wait_ns = backoff_ns(p, attempt);
	if (p->jitter) /* each of 0 .. wait_ns is as likely as the others */
		wait_ns = (uint64_t)((unsigned __int128)random * ((unsigned __int128)wait_ns + 1) >>
				     64);
	*ret_wait_ns = wait_ns;
	return true;
}

/* ---- writing ---- */

static int
put_text(msgpack_packer *k, const char *text)
{
	size_t length = strlen(text);

	return msgpack_pack_str(k, length) | msgpack_pack_str_body(k, text, length);
}

static int
put_number(msgpack_packer *k, const char *name, uint64_t value)
{
	return put_text(k, name) | msgpack_pack_uint64(k, value);
}

static int
put_list(msgpack_packer *k, const char *name, unsigned count)
{
	return put_text(k, name) | msgpack_pack_array(k, count);
}

static int
put_pair(msgpack_packer *k, const char *name, uint64_t count)
{
	return msgpack_pack_array(k, 2) | put_text(k, name) | msgpack_pack_uint64(k, count);
}

/* Also what is the default now: a stored job keeps the waits it was accepted with. */
static int
put_retries(msgpack_packer *k, const struct policy *p)
{
	int r = put_number(k, "retries", p->retries);
	unsigned words = 0;
	char text[16];

	r |= put_list(k, "backoff", 3) | put_text(k, backoff_words[p->backoff]);
	r |= msgpack_pack_uint64(k, p->backoff_first_ns) |
	     msgpack_pack_uint64(k, p->backoff_most_ns);
	r |= put_text(k, "jitter") | put_text(k, p->jitter ? "full" : "none");
	for (unsigned i = 0; i < RETRY_WORDS; i++)
		words += (p->retry_on >> i) & 1;
	r |= put_list(k, "retry_on", words + p->exit_count);
	for (unsigned i = 0; i < RETRY_WORDS; i++)
		if ((p->retry_on >> i) & 1)
			r |= put_text(k, retry_words[i]);
	for (unsigned i = 0; i < p->exit_count; i++) {
		snprintf(text, sizeof(text), "exit:%u", p->exits[i]);
		r |= put_text(k, text);
	}
	return r;
}

static int
put_lists(msgpack_packer *k, const struct policy *p)
{
	int r = 0;

	if (p->parent_count > 0)
		r |= put_list(k, "after", p->parent_count);
	for (unsigned i = 0; i < p->parent_count; i++)
		r |= msgpack_pack_array(k, 2) | msgpack_pack_uint64(k, p->parents[i].id) |
		     put_text(k, after_words[p->parents[i].mode]);
	if (p->rate_count > 0)
		r |= put_list(k, "rate", p->rate_count);
	for (unsigned i = 0; i < p->rate_count; i++)
		r |= msgpack_pack_array(k, 3) | put_text(k, p->rates[i].group) |
		     msgpack_pack_uint32(k, p->rates[i].count) |
		     msgpack_pack_uint64(k, p->rates[i].window_ns);
	if (p->need_count > 0)
		r |= put_list(k, "need", p->need_count);
	for (unsigned i = 0; i < p->need_count; i++)
		r |= put_pair(k, p->needs[i].name, p->needs[i].count);
	if (p->label_count > 0)
		r |= put_list(k, "labels", p->label_count);
	for (unsigned i = 0; i < p->label_count; i++)
		r |= msgpack_pack_array(k, 2) | put_text(k, p->labels[i].name) |
		     put_text(k, p->labels[i].value);
	return r;
}

static int
put_scalars(msgpack_packer *k, const struct policy *p)
{
	int r = 0;

	if (p->at_ns != 0)
		r |= put_number(k, "at", p->at_ns);
	if (p->held)
		r |= put_text(k, "held") | msgpack_pack_true(k);
	if (p->key[0] != '\0')
		r |= put_text(k, "key") | put_text(k, p->key) | put_text(k, "if_exists") |
		     put_text(k, exists_words[p->if_exists]);
	if (p->cache_ns != 0)
		r |= put_number(k, "cache", p->cache_ns);
	if (p->keep_ns != 0)
		r |= put_number(k, "keep", p->keep_ns);
	if (p->memory_bytes != 0)
		r |= put_number(k, "memory", p->memory_bytes);
	if (p->nice != 0)
		r |= put_number(k, "nice", (uint64_t)p->nice);
	if (p->crash_limit != POLICY_CRASHES)
		r |= put_number(k, "crash_limit", p->crash_limit);
	return r;
}

static unsigned
entry_count(const struct policy *p)
{
	return (p->retries > 0 ? 4u : 0u) + (p->at_ns != 0) + (p->parent_count > 0) + p->held +
	       (p->key[0] != '\0' ? 2u : 0u) + (p->cache_ns != 0) + (p->keep_ns != 0) +
	       (p->rate_count > 0) + (p->need_count > 0) + (p->memory_bytes != 0) + (p->nice != 0) +
	       (p->label_count > 0) + (p->crash_limit != POLICY_CRASHES);
}

int
policy_write(const struct policy *p, void **ret, uint32_t *ret_length)
{
	msgpack_sbuffer map;
	msgpack_packer pack;

	msgpack_sbuffer_init(&map);
	msgpack_packer_init(&pack, &map, msgpack_sbuffer_write);
	int r = msgpack_pack_map(&pack, entry_count(p));
	if (p->retries > 0)
		r |= put_retries(&pack, p);
	r |= put_scalars(&pack, p) | put_lists(&pack, p);
	if (r != 0) {
		msgpack_sbuffer_destroy(&map);
		return -ENOMEM;
	}
	*ret_length = (uint32_t)map.size;
	*ret = msgpack_sbuffer_release(&map);
	return 0;
}
