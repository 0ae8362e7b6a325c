/* request_leaks.c - the verb leaks: the ledger of what jobs left behind. */
#include <string.h>

#include "daemon/request.h"
#include "ipc/clock.h"

#define JOBS_TOLD 64u

/* Which entries are asked for. */
struct wanted {
	const struct client *client;
	char kind[LEDGER_NAME]; /* "": of any */
	int64_t id;             /* 0: any */
};

static bool
is_wanted(const struct wanted *w, const struct ledger_job *j)
{
	return (w->kind[0] == '\0' || strcmp(w->kind, j->kind) == 0) &&
	       (w->id == 0 || (uint64_t)w->id == j->id) && request_may_touch(w->client, j->uid);
}

static void
reply_signed(struct reply *a, const char *key, int64_t value)
{
	reply_key(a, key);
	msgpack_pack_int64(&a->pack, value);
}

static void
reply_sum(struct reply *a, const struct ledger_sum *s)
{
	msgpack_pack_map(&a->pack, 10);
	reply_text(a, "kind", s->kind);
	reply_uint(a, "jobs", s->jobs);
	reply_uint(a, "descriptors", s->descriptors);
	reply_uint(a, "segments", s->segments);
	reply_uint(a, "processes", s->processes);
	reply_uint(a, "files", s->files);
	reply_uint(a, "bytes", s->bytes);
	reply_uint(a, "measured", s->measured);
	reply_signed(a, "growth_bytes", s->growth);
	uint64_t now_ns = clock_wall();
	reply_uint(a, "age_ns",
		   s->last_wall_ns != 0 && now_ns > s->last_wall_ns ? now_ns - s->last_wall_ns : 0);
}

static void
reply_left(struct reply *a, const struct ledger_job *j)
{
	msgpack_pack_map(&a->pack, 9);
	reply_uint(a, "id", j->id);
	reply_text(a, "kind", j->kind);
	reply_uint(a, "descriptors", j->descriptors);
	reply_uint(a, "segments", j->segments);
	reply_uint(a, "processes", j->processes);
	reply_uint(a, "files", j->files);
	reply_uint(a, "bytes", j->bytes);
	reply_flag(a, "more", (j->flags & LEFT_MORE) != 0);
	uint64_t now_ns = clock_wall();
	reply_uint(a, "age_ns", now_ns > j->wall_ns ? now_ns - j->wall_ns : 0);
}

static void
reply_kinds(struct broker *b, struct reply *a, const struct wanted *w)
{
	const struct ledger_sum *s;
	unsigned count = 0;

	for (unsigned i = 0; w->id == 0 && (s = ledger_sum(&b->ledger, i)) != NULL; i++)
		count += w->kind[0] == '\0' || strcmp(w->kind, s->kind) == 0;
	reply_key(a, "kinds");
	msgpack_pack_array(&a->pack, count);
	for (unsigned i = 0; w->id == 0 && (s = ledger_sum(&b->ledger, i)) != NULL; i++)
		if (w->kind[0] == '\0' || strcmp(w->kind, s->kind) == 0)
			reply_sum(a, s);
}

static void
reply_jobs(struct broker *b, struct reply *a, const struct wanted *w)
{
	const struct ledger_job *j, *told[JOBS_TOLD];
	unsigned count = 0;

	for (uint64_t back = 0; count < JOBS_TOLD && (j = ledger_newest(&b->ledger, back)) != NULL;
	     back++)
		if (is_wanted(w, j))
			told[count++] = j;
	reply_key(a, "jobs");
	msgpack_pack_array(&a->pack, count);
	for (unsigned i = 0; i < count; i++)
		reply_left(a, told[i]);
}

void
verb_leaks(struct broker *b, const struct request *r)
{
	struct wanted w = { .client = r->client };
	struct reply a;

	(void)request_text(r, "kind", w.kind, sizeof(w.kind));
	(void)request_int(r, "id", &w.id);
	reply_begin(&a, 2);
	reply_kinds(b, &a, &w);
	reply_jobs(b, &a, &w);
	reply_send(b, r, &a, 0);
}
