/* request_jobs.c - verbs about jobs: ls, show, cancel; and the job map of their replies. */
#include <stdio.h>
#include <string.h>

#include "daemon/request.h"
#include "ipc/clock.h"

#define JOBS_A_REPLY 64u
#define LS_MOST      100000

/* Whose jobs may this client see and end? */
static bool
may_touch(const struct client *c, uint32_t uid)
{
	return c->access >= ACCESS_OPERATE || c->who.uid == uid;
}

static void
reply_receipt(struct reply *a, const struct receipt *receipt, const void *tail)
{
	size_t tail_length = receipt->outcome.result_length + receipt->outcome.message_length;

	reply_key(a, "receipt");
	msgpack_pack_bin(&a->pack, sizeof(*receipt) + tail_length);
	msgpack_pack_bin_body(&a->pack, receipt, sizeof(*receipt));
	if (tail_length > 0)
		msgpack_pack_bin_body(&a->pack, tail, tail_length);
}

void
reply_job(struct broker *b, struct reply *a, const struct job *job)
{
	const struct pool_config *pool = b->pools[job->pool].config;
	struct receipt receipt;
	char args[200];

	receipt_of(b, job, &receipt);
	args_print(kinds[job->kind], job_args(job), args, sizeof(args));
	msgpack_pack_map(&a->pack, 7);
	reply_receipt(a, &receipt, NULL);
	reply_text(a, "kind", kinds[job->kind]->name);
	reply_text(a, "pool", pool->name);
	reply_text(a, "executor", pool->executor->name);
	reply_text(a, "user", identity_name(job->uid));
	reply_text(a, "args", args);
	reply_uint(a, "age_ns", clock_now() - job->received_ns);
}

void
reply_ended(struct reply *a, const struct history_entry *e)
{
	msgpack_pack_map(&a->pack, 7);
	reply_receipt(a, &e->receipt, e->tail);
	reply_text(a, "kind", e->kind);
	reply_text(a, "pool", e->pool);
	reply_text(a, "executor", e->executor);
	reply_text(a, "user", identity_name(e->receipt.uid));
	reply_text(a, "args", "");
	reply_uint(a, "age_ns", clock_wall() - e->receipt.ended_wall_ns);
}

/* ---- ls ---- */

struct listing {
	struct broker *b;
	const struct request *r;
	struct reply open; /* the reply being filled */
	unsigned in_open;
	msgpack_sbuffer maps; /* its jobs, before their count is known */
	int64_t left;
};

static void
listing_send(struct listing *l, uint32_t flags)
{
	reply_begin(&l->open, 1);
	reply_key(&l->open, "jobs");
	msgpack_pack_array(&l->open.pack, l->in_open);
	msgpack_sbuffer_write(&l->open.bytes, l->maps.data, l->maps.size);
	reply_send(l->b, l->r, &l->open, flags);
	msgpack_sbuffer_clear(&l->maps);
	l->in_open = 0;
}

static void
listing_add(struct listing *l, const struct job *job, const struct history_entry *e)
{
	struct reply one;

	msgpack_sbuffer_init(&one.bytes);
	msgpack_packer_init(&one.pack, &one.bytes, msgpack_sbuffer_write);
	if (job != NULL)
		reply_job(l->b, &one, job);
	else
		reply_ended(&one, e);
	msgpack_sbuffer_write(&l->maps, one.bytes.data, one.bytes.size);
	msgpack_sbuffer_destroy(&one.bytes);
	l->left--;
	if (++l->in_open == JOBS_A_REPLY)
		listing_send(l, REPLY_MORE);
}

static bool
state_wanted(const char *filter, unsigned state)
{
	bool live = state == JOB_QUEUED || state == JOB_RUNNING;

	if (strcmp(filter, "all") == 0)
		return true;
	if (filter[0] == '\0')
		return live;
	if (strcmp(filter, "finished") == 0)
		return !live;
	return strcmp(filter, job_state_text(state)) == 0;
}

void
verb_ls(struct broker *b, const struct request *r)
{
	struct listing l = { .b = b, .r = r, .left = 1000 };
	char filter[24] = "";

	(void)request_text(r, "state", filter, sizeof(filter));
	(void)request_int(r, "limit", &l.left);
	if (l.left <= 0 || l.left > LS_MOST)
		l.left = LS_MOST;
	msgpack_sbuffer_init(&l.maps);
	if (state_wanted(filter, JOB_QUEUED) || state_wanted(filter, JOB_RUNNING)) {
		for (uint32_t i = 0; l.left > 0 && (i = jobs_next(&b->jobs, i)) != JOB_NONE; i++) {
			const struct job *job = job_at(&b->jobs, i);
			if (may_touch(r->client, job->uid) && state_wanted(filter, job->state))
				listing_add(&l, job, NULL);
		}
	}
	const struct history_entry *e;
	for (uint64_t back = 0; l.left > 0 && (e = history_newest(&b->history, back)) != NULL;
	     back++)
		if (e->receipt.id != 0 && may_touch(r->client, e->receipt.uid) &&
		    state_wanted(filter, e->receipt.outcome.state))
			listing_add(&l, NULL, e);
	listing_send(&l, 0);
	msgpack_sbuffer_destroy(&l.maps);
}

/* ---- show ---- */

void
verb_show(struct broker *b, const struct request *r)
{
	int64_t id = 0;
	struct reply a;

	(void)request_int(r, "id", &id);
	uint32_t index = jobs_find(&b->jobs, (uint64_t)id);
	const struct history_entry *e =
		index == JOB_NONE ? history_find(&b->history, (uint64_t)id) : NULL;
	if (index == JOB_NONE && (e == NULL || id == 0)) {
		request_error(
			b, r, ERR_NO_SUCH_JOB,
			"there is no job %lld; the last %u ended ones are kept: `pyprepctl ls "
			"--state all`",
			(long long)id, HISTORY_PLACES);
		return;
	}
	uint32_t uid = e != NULL ? e->receipt.uid : job_at(&b->jobs, index)->uid;
	if (!may_touch(r->client, uid)) {
		request_error(b, r, ERR_NOT_ALLOWED, "job %lld belongs to another user",
			      (long long)id);
		return;
	}
	msgpack_sbuffer_init(&a.bytes);
	msgpack_packer_init(&a.pack, &a.bytes, msgpack_sbuffer_write);
	if (e != NULL)
		reply_ended(&a, e);
	else
		reply_job(b, &a, job_at(&b->jobs, index));
	reply_send(b, r, &a, 0);
}

/* ---- cancel ---- */

struct cancelling {
	uint64_t cancelled;
	msgpack_sbuffer missing, refused;
	unsigned missing_count, refused_count;
};

static void
note_id(msgpack_sbuffer *list, unsigned *count, uint64_t id)
{
	msgpack_packer pack;

	msgpack_packer_init(&pack, list, msgpack_sbuffer_write);
	msgpack_pack_uint64(&pack, id);
	(*count)++;
}

static void
cancel_id(struct broker *b, const struct client *c, uint64_t id, struct cancelling *sum)
{
	uint32_t index = id == 0 ? JOB_NONE : jobs_find(&b->jobs, id);

	if (index == JOB_NONE) {
		note_id(&sum->missing, &sum->missing_count, id);
	} else if (!may_touch(c, job_at(&b->jobs, index)->uid)) {
		note_id(&sum->refused, &sum->refused_count, id);
	} else {
		job_stop(b, index, CAUSE_CANCELLED);
		sum->cancelled++;
	}
}

static void
cancel_tag(struct broker *b, struct client *c, uint64_t tag, struct cancelling *sum)
{
	if (client_drop_stalled(b, c, &tag)) {
		sum->cancelled++;
		return;
	}
	for (uint32_t i = c->first_job; i != JOB_NONE; i = job_at(&b->jobs, i)->client_next) {
		if (job_at(&b->jobs, i)->tag != tag)
			continue;
		job_stop(b, i, CAUSE_CANCELLED);
		sum->cancelled++;
		return;
	}
}

/* Looks at a lane, each of which takes at least one record, after which all that stood in it
 * when the request came has been seen. */
#define LOOKS_MOST (LANE_BYTES_MAX / sizeof(struct submit_body))

static void
cancel_admitted(struct broker *b, struct client *c, struct cancelling *sum)
{
	for (uint32_t i = c->first_job, next; i != JOB_NONE; i = next) {
		next = job_at(&b->jobs, i)->client_next;
		sum->cancelled += (job_at(&b->jobs, i)->flags & JOB_STOPPING) == 0;
		job_stop(b, i, CAUSE_CANCELLED);
	}
}

/* Also what is still in its lane: cancelling makes room to admit it. */
static void
cancel_mine(struct broker *b, struct client *c, struct cancelling *sum)
{
	for (unsigned looks = 0; looks < LOOKS_MOST; looks++) {
		cancel_admitted(b, c, sum);
		if (client_admit(b, c) > 0)
			continue;
		if (!client_drop_stalled(b, c, NULL))
			return;
		sum->cancelled++;
	}
	cancel_admitted(b, c, sum);
}

static void
cancel_many(struct broker *b, const struct client *c, bool everybody, struct cancelling *sum)
{
	for (uint32_t i = 0; (i = jobs_next(&b->jobs, i)) != JOB_NONE; i++) {
		if (!everybody && job_at(&b->jobs, i)->uid != c->who.uid)
			continue;
		job_stop(b, i, CAUSE_CANCELLED);
		sum->cancelled++;
	}
}

static uint64_t
as_number(const msgpack_object *o)
{
	return o->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? o->via.u64 : 0;
}

static void
reply_cancelled(struct broker *b, const struct request *r, struct cancelling *sum)
{
	struct reply a;

	reply_begin(&a, 3);
	reply_uint(&a, "cancelled", sum->cancelled);
	reply_key(&a, "missing");
	msgpack_pack_array(&a.pack, sum->missing_count);
	msgpack_sbuffer_write(&a.bytes, sum->missing.data, sum->missing.size);
	reply_key(&a, "not_allowed");
	msgpack_pack_array(&a.pack, sum->refused_count);
	msgpack_sbuffer_write(&a.bytes, sum->refused.data, sum->refused.size);
	reply_send(b, r, &a, 0);
}

void
verb_cancel(struct broker *b, const struct request *r)
{
	struct cancelling sum = { 0 };
	char all[16] = "";
	const msgpack_object *ids = request_field(r, "ids");
	const msgpack_object *tags = request_field(r, "tags");

	(void)request_text(r, "all", all, sizeof(all));
	if (strcmp(all, "everybody") == 0 && r->client->access < ACCESS_OPERATE) {
		request_error(b, r, ERR_NOT_ALLOWED, "only operators cancel everybody's jobs");
		return;
	}
	msgpack_sbuffer_init(&sum.missing);
	msgpack_sbuffer_init(&sum.refused);
	if (ids != NULL && ids->type == MSGPACK_OBJECT_ARRAY) {
		for (uint32_t i = 0; i < ids->via.array.size; i++)
			cancel_id(b, r->client, as_number(&ids->via.array.ptr[i]), &sum);
	} else if (tags != NULL && tags->type == MSGPACK_OBJECT_ARRAY) {
		for (unsigned looks = 0; looks < LOOKS_MOST && client_admit(b, r->client) > 0;
		     looks++)
			;
		for (uint32_t i = 0; i < tags->via.array.size; i++)
			cancel_tag(b, r->client, as_number(&tags->via.array.ptr[i]), &sum);
	} else if (strcmp(all, "mine") == 0) {
		cancel_mine(b, r->client, &sum);
	} else if (strcmp(all, "user") == 0 || strcmp(all, "everybody") == 0) {
		cancel_many(b, r->client, all[0] == 'e', &sum);
	} else {
		request_error(b, r, ERR_BAD_REQUEST,
			      "cancel needs ids, tags, or all = mine, user or everybody");
		goto out;
	}
	reply_cancelled(b, r, &sum);
out:
	msgpack_sbuffer_destroy(&sum.missing);
	msgpack_sbuffer_destroy(&sum.refused);
}
