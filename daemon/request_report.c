/*
 * request_report.c - the verb `report`: the figures of days, kinds and pools, for pyprepctl to add
 * up.
 *
 * Older days come from the store; the reading thread adds them up as far as was asked, so that a
 * year is told as shortly as a day.  The days that the broker counts in memory are told from there,
 * and what the store has of them only where memory has nothing: each job is told once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/durable_load.h"
#include "daemon/rows.h"
#include "daemon/tallies.h"

#define FIGURES_A_REPLY 60000u /* bytes; the rest is frame, map and names */

/* Figures of one day (0: of several), kind ("": of several) and pool. */
struct group {
	STAILQ_ENTRY(group) link;
	uint32_t day;
	char kind[STORE_NAME_MAX + 1], pool[STORE_NAME_MAX + 1];
	struct figures figures;
};

struct report {
	struct question question;
	uint32_t client, number; /* who asked */
	uint64_t since_ns;
	uint32_t since_day, recent_day; /* from the latter on memory may know better */
	bool by_day, by_kind, by_pool;
	char kind[STORE_NAME_MAX + 1], pool[STORE_NAME_MAX + 1]; /* "": all */
	STAILQ_HEAD(, group) groups;
	uint64_t unreadable; /* rows of the store that are no figures */
	int result;
	/* while it is answered */
	struct broker *broker;
	const struct request *request;
	uint64_t told;
};

/* ---- on the reading thread ---- */

static bool
wanted(const struct report *g, const char *kind, const char *pool)
{
	return (g->kind[0] == '\0' || strcmp(g->kind, kind) == 0) &&
	       (g->pool[0] == '\0' || strcmp(g->pool, pool) == 0);
}

/* The group of these names, made if there is none; NULL: no memory. */
static struct group *
group_of(struct report *g, uint32_t day, const char *kind, const char *pool)
{
	struct group *group;

	STAILQ_FOREACH(group, &g->groups, link)
	if (group->day == day && strcmp(group->kind, kind) == 0 && strcmp(group->pool, pool) == 0)
		return group;
	group = calloc(1, sizeof(*group));
	if (group == NULL)
		return NULL;
	group->day = day;
	strcpy(group->kind, kind);
	strcpy(group->pool, pool);
	STAILQ_INSERT_TAIL(&g->groups, group, link);
	return group;
}

static int
take_row(void *context, uint32_t day, const char *kind, const char *pool, const void *figures,
	 size_t length)
{
	struct report *g = context;
	struct figures row = { 0 };
	bool apart = day >= g->recent_day;

	/* Without a kind it is what the writer tried the disk with. */
	if (kind[0] == '\0' || strlen(kind) > STORE_NAME_MAX || strlen(pool) > STORE_NAME_MAX ||
	    !wanted(g, kind, pool))
		return 0;
	int r = figures_read(&row, figures, length);
	struct group *group =
		r < 0 ? NULL
		      : group_of(g, apart || g->by_day ? day : 0, apart || g->by_kind ? kind : "",
				 apart || g->by_pool ? pool : "");
	if (r == 0 && (group == NULL || !figures_merge(&group->figures, &row)))
		r = -ENOMEM;
	figures_free(&row);
	if (r == -EPROTO) {
		g->unreadable++;
		r = 0;
	}
	return r;
}

static void
ask_tallies(const struct store_ops *ops, struct store *s, struct question *q)
{
	struct report *g = (struct report *)q;

	g->result = ops->tallies(s, g->since_day, take_row, g);
}

/* ---- the answer ---- */

static void
send_bytes(struct report *g, uint32_t day, const char *kind, const char *pool, const void *figures,
	   size_t length)
{
	struct reply a;

	reply_begin(&a, 4);
	reply_uint(&a, "day", day);
	reply_text(&a, "kind", kind);
	reply_text(&a, "pool", pool);
	reply_key(&a, "figures");
	msgpack_pack_bin(&a.pack, length);
	msgpack_pack_bin_body(&a.pack, figures, length);
	reply_send(g->broker, g->request, &a, REPLY_MORE);
}

/* In parts when they are too long for one frame. */
static void
send_figures(struct report *g, uint32_t day, const char *kind, const char *pool,
	     const struct figures *f)
{
	static unsigned char bytes[FIGURES_A_REPLY];
	size_t length = figures_write(f, bytes, sizeof(bytes));

	g->told++;
	if (length <= sizeof(bytes)) {
		send_bytes(g, day, kind, pool, bytes, length);
		return;
	}
	for (unsigned part = 0; part < FIGURE_PARTS; part++) {
		length = figures_write_part(f, part, bytes, sizeof(bytes));
		if (length <= sizeof(bytes))
			send_bytes(g, day, kind, pool, bytes, length);
	}
}

static int
send_cell(void *context, uint32_t day, unsigned pool, unsigned kind, const struct figures *f)
{
	struct report *g = context;
	const char *pool_name = g->broker->pools[pool].config->name;

	if (day >= g->since_day && wanted(g, kinds[kind]->name, pool_name))
		send_figures(g, day, kinds[kind]->name, pool_name, f);
	return 0;
}

/* One of the names there are, or none given; if not, it is said. */
static bool
is_known(struct broker *b, const struct request *r, enum job_error error, const char *name,
	 const char *const *names, unsigned count)
{
	const char *what = error == ERR_UNKNOWN_KIND ? "kind" : "pool";

	if (name[0] == '\0')
		return true;
	for (unsigned i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	const char *near = nearest_name(name, names, count);
	request_error(b, r, error,
		      "there are no figures of a %s \"%s\"%s%s%s `pyprepctl %ss` lists those "
		      "there are",
		      what, name, near ? "; did you mean \"" : "", near ? near : "",
		      near ? "\"?" : ";", what);
	return false;
}

/* Nothing is stored under these names: most likely one is misspelled. */
static bool
names_nothing(struct broker *b, const struct request *r, const struct report *g)
{
	const char *names[KINDS_MAX > POOLS_MAX ? KINDS_MAX : POOLS_MAX];

	for (unsigned i = 0; i < kind_count; i++)
		names[i] = kinds[i]->name;
	if (!is_known(b, r, ERR_UNKNOWN_KIND, g->kind, names, kind_count))
		return true;
	for (unsigned i = 0; i < b->pool_count; i++)
		names[i] = b->pools[i].config->name;
	return !is_known(b, r, ERR_UNKNOWN_POOL, g->pool, names, b->pool_count);
}

static void
reply_report(struct broker *b, const struct request *r, struct report *g)
{
	const struct group *group;
	struct reply a;

	if (g->result < 0) {
		request_error(b, r, ERR_STORE_FAILED, "the store cannot be read: %s",
			      strerror(-g->result));
		return;
	}
	g->broker = b;
	g->request = r;
	STAILQ_FOREACH(group, &g->groups, link)
	if (group->day < g->recent_day || !tallies_has(b, group->day, group->pool, group->kind))
		send_figures(g, group->day, group->kind, group->pool, &group->figures);
	(void)tallies_each(b, send_cell, g);
	if (g->told == 0 && names_nothing(b, r, g))
		return;
	reply_begin(&a, 4);
	reply_uint(&a, "since_day", g->since_day);
	reply_uint(&a, "today", tallies_today(b));
	reply_text(&a, "store", writer_engine(b->durable->writer));
	reply_uint(&a, "unreadable", g->unreadable);
	reply_send(b, r, &a, 0);
}

static void
on_report(struct broker *b, struct question *q)
{
	struct report *g = (struct report *)q;
	struct request r = { .number = g->number };
	struct group *group;

	if (b != NULL && (r.client = client_still(b, g->client, g->since_ns)) != NULL)
		reply_report(b, &r, g);
	while ((group = STAILQ_FIRST(&g->groups)) != NULL) {
		STAILQ_REMOVE_HEAD(&g->groups, link);
		figures_free(&group->figures);
		free(group);
	}
	free(g);
}

void
verb_report(struct broker *b, const struct request *r)
{
	struct report *g = calloc(1, sizeof(*g));
	int64_t since = 0;

	if (g == NULL) {
		request_error(b, r, ERR_INTERNAL, "out of memory");
		return;
	}
	if (request_int(r, "since_day", &since) && (since < 0 || since > UINT32_MAX)) {
		request_error(b, r, ERR_OUT_OF_RANGE, "since_day counts the days since 1970-01-01");
		free(g);
		return;
	}
	STAILQ_INIT(&g->groups);
	g->question.ask = ask_tallies;
	g->question.answered = on_report;
	g->client = r->client->index;
	g->since_ns = r->client->since_ns;
	g->number = r->number;
	g->since_day = (uint32_t)since;
	g->recent_day = tallies_first_day(b);
	g->by_day = request_bool(r, "by_day");
	g->by_kind = request_bool(r, "by_kind");
	g->by_pool = request_bool(r, "by_pool");
	(void)request_text(r, "kind", g->kind, sizeof(g->kind));
	(void)request_text(r, "pool", g->pool, sizeof(g->pool));
	writer_ask(b->durable->writer, &g->question);
}
