/* request_info.c - verbs that tell what there is: resolve, kinds, status. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/gate.h"
#include "daemon/durable.h"
#include "daemon/cache.h"
#include "daemon/request.h"
#include "ipc/clock.h"

/* ---- resolve ---- */

static const struct kind *
find_kind(struct broker *b, const struct request *r, unsigned *ret_index)
{
	char name[64] = "";
	const char *names[KINDS_MAX];

	(void)request_text(r, "kind", name, sizeof(name));
	const struct kind *k = kind_by_name(name, ret_index);
	if (k != NULL)
		return k;
	for (unsigned i = 0; i < kind_count; i++)
		names[i] = kinds[i]->name;
	const char *near = nearest_name(name, names, kind_count);
	request_error(b, r, ERR_UNKNOWN_KIND,
		      "there is no kind \"%s\"%s%s%s `pyprepctl kinds` lists them", name,
		      near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : ";");
	return NULL;
}

static struct pool *
default_pool(struct broker *b, const struct kind *k)
{
	static const char *const made_for[] = {
		[KIND_CPU] = "process",
		[KIND_IO] = "event",
		[KIND_COMMAND] = "command",
	};
	const char *home = k->home != NULL ? k->home : made_for[k->class];

	/* Its own executor first, then whichever can. */
	for (unsigned i = 0; i < b->pool_count; i++)
		if (strcmp(b->pools[i].config->executor->name, home) == 0)
			return &b->pools[i];
	for (unsigned i = 0; i < b->pool_count; i++)
		if (executor_runs(b->pools[i].config->executor, k))
			return &b->pools[i];
	return NULL;
}

static struct pool *
pool_for(struct broker *b, const struct request *r, const struct kind *k)
{
	const msgpack_object *named = request_field(r, "pool");
	struct pool *p;

	if (named != NULL && named->type != MSGPACK_OBJECT_NIL) {
		p = request_pool(b, r);
		if (p == NULL)
			return NULL;
	} else if ((p = default_pool(b, k)) == NULL) {
		request_error(b, r, ERR_WRONG_POOL,
			      "no pool of this daemon runs kind \"%s\" (class %s)", k->name,
			      kind_class_text(k->class));
		return NULL;
	}
	if (executor_runs(p->config->executor, k))
		return p;
	const struct pool *better = default_pool(b, k);
	request_error(b, r, ERR_WRONG_POOL,
		      "pool \"%s\" (executor %s) does not run kind \"%s\" (class %s)%s%s%s",
		      p->config->name, p->config->executor->name, k->name,
		      kind_class_text(k->class), better ? "; pool \"" : "",
		      better ? better->config->name : "", better ? "\" does" : "");
	return NULL;
}

/* Which parameters are paths: the client completes them from where it stands. */
static void
reply_paths(struct reply *a, const struct kind *k)
{
	unsigned count = 0, params = kind_param_count(k);

	for (unsigned i = 0; i < params; i++)
		count += k->params[i].type == PARAM_PATH;
	reply_key(a, "paths");
	msgpack_pack_array(&a->pack, count);
	for (unsigned i = 0; i < params; i++)
		if (k->params[i].type == PARAM_PATH)
			reply_string(a, k->params[i].name);
}

void
verb_resolve(struct broker *b, const struct request *r)
{
	unsigned index;
	const struct kind *k = find_kind(b, r, &index);
	struct pool *p = k != NULL ? pool_for(b, r, k) : NULL;
	struct reply a;

	if (p == NULL)
		return;
	reply_begin(&a, 9);
	reply_uint(&a, "kind", index);
	reply_uint(&a, "pool", p->index);
	reply_text(&a, "kind_name", k->name);
	reply_text(&a, "pool_name", p->config->name);
	reply_text(&a, "executor", p->config->executor->name);
	reply_text(&a, "class", kind_class_text(k->class));
	reply_flag(&a, "array", kind_has_items(k));
	reply_flag(&a, "pieces", k->range != NULL);
	reply_paths(&a, k);
	reply_send(b, r, &a, 0);
}

/* ---- kinds ---- */

static const char *
param_type_text(enum param_type type)
{
	static const char *const text[] = { "",     "int",  "choice", "flag",
					    "text", "path", "list",   "number" };
	return text[type];
}

static void
reply_param(struct reply *a, const struct param *p)
{
	msgpack_pack_map(&a->pack, 7);
	reply_text(a, "name", p->name);
	reply_text(a, "type", param_type_text(p->type));
	reply_key(a, "low");
	msgpack_pack_int64(&a->pack, p->low);
	reply_key(a, "high");
	msgpack_pack_int64(&a->pack, p->high);
	reply_key(a, "default");
	if (p->fallback != NULL)
		reply_string(a, p->fallback);
	else
		msgpack_pack_nil(&a->pack);
	reply_text(a, "choices", p->choices != NULL ? p->choices : "");
	reply_text(a, "help", p->help != NULL ? p->help : "");
}

static void
reply_kind(struct broker *b, const struct request *r, const struct kind *k, bool last)
{
	unsigned runners = 0, params = kind_param_count(k);
	struct reply a;

	for (unsigned i = 0; i < executor_count; i++)
		runners += executor_runs(&executors[i], k);
	reply_begin(&a, 6);
	reply_text(&a, "name", k->name);
	reply_text(&a, "class", kind_class_text(k->class));
	reply_text(&a, "help", k->help);
	reply_flag(&a, "array", kind_has_items(k));
	reply_key(&a, "executors");
	msgpack_pack_array(&a.pack, runners);
	for (unsigned i = 0; i < executor_count; i++)
		if (executor_runs(&executors[i], k))
			reply_string(&a, executors[i].name);
	reply_key(&a, "params");
	msgpack_pack_array(&a.pack, params);
	for (unsigned i = 0; i < params; i++)
		reply_param(&a, &k->params[i]);
	reply_send(b, r, &a, last ? 0 : REPLY_MORE);
}

void
verb_kinds(struct broker *b, const struct request *r)
{
	for (unsigned i = 0; i < kind_count; i++)
		reply_kind(b, r, kinds[i], i + 1 == kind_count);
}

/* ---- status ---- */

static void
reply_ended_counts(struct reply *a, const uint64_t *ended)
{
	for (unsigned s = JOB_SUCCEEDED; s < JOB_STATE_COUNT; s++)
		reply_uint(a, job_state_text(s), ended[s]);
}

static const char *
manager_state_text(uint32_t state)
{
	static const char *const text[] = { "off", "starting", "running", "backoff", "failed" };
	return state < sizeof(text) / sizeof(text[0]) ? text[state] : "unknown";
}

static void
reply_daemon(struct broker *b, const struct request *r)
{
	uint64_t queued = 0, running = 0;
	struct reply a;

	for (unsigned i = 0; i < b->pool_count; i++) {
		queued += b->pools[i].queued;
		running += b->pools[i].running;
	}
	reply_begin(&a, 15);
	reply_text(&a, "version", PYPREP_VERSION);
	reply_text(&a, "state",
		   b->draining        ? "draining"
		   : crews_settled(b) ? "running"
				      : "starting");
	reply_uint(&a, "supervisor_pid", (uint64_t)getppid());
	reply_uint(&a, "broker_pid", (uint64_t)getpid());
	reply_uint(&a, "manager_pid", b->manager.pid);
	reply_text(&a, "manager_state", manager_state_text(b->manager.state));
	reply_uint(&a, "manager_restarts", b->manager.restarts);
	reply_uint(&a, "uptime_ns", clock_now() - b->started_ns);
	reply_uint(&a, "clients", b->client_count);
	reply_key(&a, "jobs");
	msgpack_pack_map(&a.pack, 2 + JOB_STATE_COUNT - JOB_SUCCEEDED);
	reply_uint(&a, "queued", queued);
	reply_uint(&a, "running", running);
	reply_ended_counts(&a, b->ended);
	reply_key(&a, "table");
	msgpack_pack_map(&a.pack, 4);
	reply_uint(&a, "jobs", b->jobs.count);
	reply_uint(&a, "max_jobs", b->jobs.max_jobs);
	reply_uint(&a, "bytes", jobs_bytes(&b->jobs));
	reply_uint(&a, "max_bytes", b->jobs.max_bytes);
	gate_reply(b, &a);
	cache_reply(b, &a);
	reply_key(&a, "store");
	durable_reply(b, &a);
	reply_send(b, r, &a, b->pool_count > 0 ? REPLY_MORE : 0);
}

static const char *
worker_state(const struct pool *p, const struct crew *w)
{
	if (w == NULL || !w->up)
		return p->state == POOL_FAILED ? "failed" : "backoff";
	if (w->retiring || w->leaving)
		return "stopping";
	if (atomic_load(&w->link.shared->worker_ready) == 0)
		return "starting";
	return w->outstanding > 0 ? "busy" : "idle";
}

static void
reply_worker(struct reply *a, const struct pool *p, unsigned slot)
{
	const struct crew *w = crew_at(p, slot);

	msgpack_pack_map(&a->pack, 7);
	reply_uint(a, "slot", slot);
	reply_uint(a, "pid", w != NULL && w->up ? w->pid : 0);
	reply_text(a, "state", worker_state(p, w));
	reply_uint(a, "jobs", w != NULL ? w->jobs : 0);
	reply_uint(a, "restarts", w != NULL ? w->restarts : 0);
	reply_uint(a, "running", w != NULL ? w->outstanding : 0);
	reply_uint(a, "ready_ns", w != NULL && w->up ? atomic_load(&w->link.shared->ready_ns) : 0);
}

static bool
shown(const struct pool *p, unsigned slot)
{
	const struct crew *w = slot < p->wanted ? NULL : crew_at(p, slot);

	return slot < p->wanted || (w != NULL && w->up);
}

static void
reply_pool(struct broker *b, const struct request *r, struct pool *p, bool last)
{
	unsigned count = 0;
	struct reply a;

	pool_note_able(p);
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		count += shown(p, i);
	reply_begin(&a, 16);
	reply_uint(&a, "pool", p->index);
	reply_text(&a, "name", p->config->name);
	reply_text(&a, "executor", p->config->executor->name);
	reply_text(&a, "link", link_rows[p->link].name);
	reply_text(&a, "state", pool_state_text(p->state));
	reply_text(&a, "strategy", p->strategy->name);
	reply_uint(&a, "ageing_ns", p->ageing_ns);
	reply_uint(&a, "size", p->wanted);
	reply_uint(&a, "able", pool_able(p));
	reply_uint(&a, "able_least", p->able_of == p->wanted ? p->able_least : 0);
	reply_uint(&a, "recycled", p->recycled);
	reply_uint(&a, "concurrency", p->config->concurrency);
	reply_uint(&a, "queued", p->queued);
	reply_uint(&a, "running", p->running);
	reply_key(&a, "done");
	msgpack_pack_map(&a.pack, JOB_STATE_COUNT - JOB_SUCCEEDED);
	reply_ended_counts(&a, p->ended);
	reply_key(&a, "workers");
	msgpack_pack_array(&a.pack, count);
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		if (shown(p, i))
			reply_worker(&a, p, i);
	reply_send(b, r, &a, last ? 0 : REPLY_MORE);
}

void
verb_status(struct broker *b, const struct request *r)
{
	reply_daemon(b, r);
	for (unsigned i = 0; i < b->pool_count; i++)
		reply_pool(b, r, &b->pools[i], i + 1 == b->pool_count);
}
