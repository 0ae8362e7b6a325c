/* gate_need.c - named resources: those of the configuration, and those that only jobs know of. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/gate_parts.h"
#include "daemon/log.h"

static struct limit *
resource_by_name(const struct gate *g, const char *name)
{
	for (unsigned i = 0; i < g->resource_count; i++)
		if (strcmp(g->resource_names[i], name) == 0)
			return g->resources[i];
	return NULL;
}

static enum job_error
refuse_resource(const struct gate *g, const char *name, char *why, size_t size)
{
	const char *names[RESOURCES_MAX];
	unsigned count = 0;

	for (unsigned i = 0; i < g->resource_count; i++)
		if (g->resources[i]->most > 0)
			names[count++] = g->resource_names[i];
	const char *near = nearest_name(name, names, count);
	snprintf(why, size,
		 "need: there is no resource \"%s\"%s%s%s resources are the sections "
		 "[resource \"NAME\"] of pyprepd.conf(5), `pyprepctl status` lists them",
		 name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : ";");
	return ERR_BAD_REQUEST;
}

/* One that the configuration does not have (any more): there is none of it. */
static struct limit *
resource_add(struct broker *b, const char *name, uint64_t most)
{
	struct gate *g = b->gate;
	struct limit *l;

	if (g->resource_count == RESOURCES_MAX || (l = limit_new(b, WAIT_NEED)) == NULL)
		return NULL;
	snprintf(g->resource_names[g->resource_count], sizeof(g->resource_names[0]), "%s", name);
	l->name = g->resource_names[g->resource_count];
	l->most = most;
	g->resources[g->resource_count++] = l;
	return l;
}

struct limit *
resource_find(struct broker *b, const struct policy_need *n, bool loaded, enum job_error *ret_error,
	      char *why, size_t size)
{
	struct gate *g = b->gate;
	struct limit *l = resource_by_name(g, n->name);

	if (l == NULL && loaded && (l = resource_add(b, n->name, 0)) == NULL) {
		snprintf(why, size, "need: there is no resource \"%s\", and no room for one more",
			 n->name);
		*ret_error = ERR_QUEUE_FULL;
	} else if (l == NULL || (l->most == 0 && !loaded)) {
		*ret_error = refuse_resource(g, n->name, why, size);
		return NULL;
	} else if (n->count > l->most && !loaded) {
		snprintf(why, size,
			 "need: there is only %llu of \"%s\", %llu were asked for; raise limit in "
			 "[resource \"%s\"] and `pyprepctl reload`, or ask for less",
			 (unsigned long long)l->most, n->name, (unsigned long long)n->count,
			 n->name);
		*ret_error = ERR_OUT_OF_RANGE;
		return NULL;
	}
	return l;
}

/* ---- the configuration ---- */

static void
set_resources(struct broker *b, const struct resource_config *resources, unsigned count)
{
	struct gate *g = b->gate;

	for (unsigned i = 0; i < g->resource_count; i++) {
		unsigned j = 0;
		while (j < count && strcmp(resources[j].name, g->resource_names[i]) != 0)
			j++;
		g->resources[i]->most = j < count ? resources[j].limit : 0;
	}
	for (unsigned j = 0; j < count; j++)
		if (resource_by_name(g, resources[j].name) == NULL &&
		    resource_add(b, resources[j].name, resources[j].limit) == NULL)
			log_error("no room for resource \"%s\" until the daemon starts again",
				  resources[j].name);
	gate_pools_changed(b);
}

void
gate_resource(struct broker *b, const struct resource_body *body)
{
	struct gate *g = b->gate;

	if (body->number < body->count && body->number < RESOURCES_MAX) {
		struct resource_config *r = &g->coming[body->number];
		memcpy(r->name, body->name, sizeof(r->name));
		r->limit = body->limit;
	}
	if (body->number + 1 >= body->count)
		set_resources(b, g->coming, body->count);
}

int
resources_open(struct broker *b)
{
	set_resources(b, b->config->resources, b->config->resource_count);
	return b->gate->resource_count == b->config->resource_count ? 0 : -ENOMEM;
}
