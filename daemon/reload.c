/*
 * reload.c - read the configuration again and apply what can change while jobs run.
 *
 * Live: a pool's size, strategy and ageing; the limits of resources; for workers started from now on
 * also link, grace, output_cap, address_space, recycle_jobs and recycle_growth; restart_max and
 * restart_window; drain_deadline.  The rest is named and waits for a restart.  A configuration that
 * does not load changes nothing.
 */
#include <msgpack.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config_keys.h"
#include "daemon/log.h"
#include "daemon/supervisor.h"

#define CHANGES_MOST 64

struct changes {
	unsigned count;
	char text[CHANGES_MOST][160];
};

static void note(struct changes *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
note(struct changes *c, const char *format, ...)
{
	va_list args;

	if (c->count == CHANGES_MOST)
		return;
	va_start(args, format);
	vsnprintf(c->text[c->count++], sizeof(c->text[0]), format, args);
	va_end(args);
}

/* The broker has the queue: it is told. */
static void
apply_schedule(struct pool_slots *p, const struct pool_config *new, struct changes *c)
{
	struct pool_config *old = p->config;
	const struct strategy *now = strategies[p->strategy];
	const struct config_key *key = key_find(SECTION_POOL, "ageing");
	char before[32], after[32];

	if (new->strategy == now &&new->ageing_ns == old->ageing_ns)
		return;
	key_print(key, old, before, sizeof(before));
	key_print(key, new, after, sizeof(after));
	if (new->strategy != now)
		note(c, "pool %s: strategy %s, now %s", old->name, now->name, new->strategy->name);
	if (new->ageing_ns != old->ageing_ns)
		note(c, "pool %s: ageing %s, now %s", old->name, before, after);
	old->strategy = new->strategy;
	old->ageing_ns = new->ageing_ns;
	p->strategy = strategy_index(new->strategy);
	slots_reschedule(p);
}

static void
apply_pool(struct pool_slots *p, const struct pool_config *new, struct changes *c)
{
	struct pool_config *old = p->config;

	if (new->executor != old->executor || new->concurrency != old->concurrency ||
	    new->bind != old->bind)
		note(c,
		     "pool %s: executor, concurrency and bind change at the next start of the "
		     "daemon",
		     old->name);
	if (new->grace_ns != old->grace_ns || new->output_cap != old->output_cap ||
	    new->address_space != old->address_space || new->link != old->link ||
	    new->recycle_jobs != old->recycle_jobs || new->recycle_growth != old->recycle_growth)
		note(c,
		     "pool %s: link, grace, output_cap, address_space, recycle_jobs and "
		     "recycle_growth hold for workers started from now on",
		     old->name);
	old->grace_ns = new->grace_ns;
	old->link = new->link;
	old->output_cap = new->output_cap;
	old->address_space = new->address_space;
	old->recycle_jobs = new->recycle_jobs;
	old->recycle_growth = new->recycle_growth;
	old->restart_max = new->restart_max;
	old->restart_window_ns = new->restart_window_ns;
	old->workers = new->workers;
	if (new->workers != p->wanted) {
		note(c, "pool %s: %u workers, now %u", old->name, p->wanted, new->workers);
		slots_resize(p, new->workers);
	}
	apply_schedule(p, new, c);
	if (p->failed) {
		note(c, "pool %s: trying its workers again", old->name);
		slots_resume(p);
	}
}

static const struct pool_config *
find(const struct config *c, const char *name)
{
	for (unsigned i = 0; i < c->pool_count; i++)
		if (strcmp(c->pools[i].name, name) == 0)
			return &c->pools[i];
	return NULL;
}

static const struct resource_config *
find_resource(const struct config *c, const char *name)
{
	for (unsigned i = 0; i < c->resource_count; i++)
		if (strcmp(c->resources[i].name, name) == 0)
			return &c->resources[i];
	return NULL;
}

static void
note_resources(const struct config *old, const struct config *new, struct changes *c)
{
	for (unsigned i = 0; i < old->resource_count; i++) {
		const struct resource_config *was = &old->resources[i];
		const struct resource_config *is = find_resource(new, was->name);
		if (is == NULL)
			note(c, "resource %s: is gone; jobs that need it wait", was->name);
		else if (is->limit != was->limit)
			note(c, "resource %s: limit %llu, now %llu", was->name,
			     (unsigned long long)was->limit, (unsigned long long)is->limit);
	}
	for (unsigned i = 0; i < new->resource_count; i++)
		if (find_resource(old, new->resources[i].name) == NULL)
			note(c, "resource %s: is new, limit %llu", new->resources[i].name,
			     (unsigned long long)new->resources[i].limit);
}

/* A broker that comes later has them from us, by fork. */
static void
apply_resources(struct supervisor *s, const struct config *new, struct changes *c)
{
	struct resource_body body = { .count = new->resource_count };

	note_resources(s->config, new, c);
	memcpy(s->config->resources, new->resources, sizeof(new->resources));
	s->config->resource_count = new->resource_count;
	do {
		if (body.count > 0) {
			memcpy(body.name, new->resources[body.number].name, sizeof(body.name));
			body.limit = new->resources[body.number].limit;
		}
		tell_broker(s, MSG_RESOURCE, &body, sizeof(body), NULL, 0);
	} while (++body.number < body.count);
}

static void
apply(struct supervisor *s, const struct config *new, struct changes *c)
{
	for (unsigned i = 0; i < s->pool_count; i++) {
		const struct pool_config *pool = find(new, s->pools[i].config->name);
		if (pool != NULL)
			apply_pool(&s->pools[i], pool, c);
		else
			note(c,
			     "pool %s: is gone from the file; it stays until the next start of "
			     "the daemon",
			     s->pools[i].config->name);
	}
	for (unsigned i = 0; i < new->pool_count; i++)
		if (find(s->config, new->pools[i].name) == NULL)
			note(c, "pool %s: is new; it begins at the next start of the daemon",
			     new->pools[i].name);
	apply_resources(s, new, c);
	if (new->drain_deadline_ns != s->config->drain_deadline_ns)
		note(c, "drain_deadline changed");
	s->config->drain_deadline_ns = new->drain_deadline_ns;
	if (new->log_format != s->config->log_format)
		note(c, "log_format changes at the next start of the daemon");
}

static void
pack_text(msgpack_packer *p, const char *text)
{
	msgpack_pack_str(p, strlen(text));
	msgpack_pack_str_body(p, text, strlen(text));
}

static void
pack_changes(msgpack_packer *p, const struct changes *c)
{
	msgpack_pack_map(p, 1);
	pack_text(p, "changed");
	msgpack_pack_array(p, c->count);
	for (unsigned i = 0; i < c->count; i++)
		pack_text(p, c->text[i]);
}

static void
pack_refusal(msgpack_packer *p, const char *why)
{
	msgpack_pack_map(p, 2);
	pack_text(p, "code");
	pack_text(p, job_error_text(ERR_BAD_REQUEST));
	pack_text(p, "message");
	pack_text(p, why);
}

void
reload(struct supervisor *s, unsigned char **ret_map, size_t *ret_length, uint32_t *ret_flags)
{
	static struct config new;
	struct changes *c = calloc(1, sizeof(*c));
	msgpack_sbuffer map;
	msgpack_packer p;
	char why[512] = "out of memory";

	notify_reloading();
	msgpack_sbuffer_init(&map);
	msgpack_packer_init(&p, &map, msgpack_sbuffer_write);
	config_default(&new);
	if (c != NULL &&
	    (s->config_path == NULL || config_load(&new, s->config_path, why, sizeof(why)) == 0)) {
		apply(s, &new, c);
		spare_drop(s);
		minder_resume(s);
		for (unsigned i = 0; i < c->count; i++)
			log_info("reload: %s", c->text[i]);
		log_event(LOG_LEVEL_INFO, LOG_RELOADED, NULL, "reloaded %s: %u changes",
			  s->config_path ? s->config_path : "defaults", c->count);
		pack_changes(&p, c);
		*ret_flags = 0;
	} else {
		log_event(LOG_LEVEL_ERROR, LOG_RELOAD_REFUSED, NULL,
			  "reload refused, all stays as it was: %s", why);
		pack_refusal(&p, why);
		*ret_flags = REPLY_ERROR;
	}
	free(c);
	*ret_map = (unsigned char *)map.data;
	*ret_length = map.size;
	notify_ready(s);
}
