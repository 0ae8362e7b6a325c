/* request_jobs.c - verbs about jobs: show, cancel; and the job map of replies. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/again.h"
#include "daemon/gate.h"
#include "daemon/policy.h"
#include "daemon/retry.h"
#include "daemon/rows.h"
#include "ipc/clock.h"

bool
request_may_touch(const struct client *c, uint32_t uid)
{
	return c->access >= ACCESS_OPERATE || c->who.uid == uid;
}

static void
reply_receipt(struct reply *a, const struct receipt *receipt, const void *result,
	      const void *message)
{
	uint32_t result_length = receipt->outcome.result_length;
	uint32_t message_length = receipt->outcome.message_length;

	reply_key(a, "receipt");
	msgpack_pack_bin(&a->pack, sizeof(*receipt) + result_length + message_length);
	msgpack_pack_bin_body(&a->pack, receipt, sizeof(*receipt));
	if (result_length > 0)
		msgpack_pack_bin_body(&a->pack, result, result_length);
	if (message_length > 0)
		msgpack_pack_bin_body(&a->pack, message, message_length);
}

static void
reply_labels(struct reply *a, const struct policy *p)
{
	char text[POLICY_NAME_MAX + POLICY_TEXT_MAX + 2];
	unsigned count = p != NULL ? p->label_count : 0;

	reply_key(a, "labels");
	msgpack_pack_array(&a->pack, count);
	for (unsigned i = 0; i < count; i++) {
		snprintf(text, sizeof(text), "%s=%s", p->labels[i].name, p->labels[i].value);
		reply_string(a, text);
	}
}

void
reply_job(struct broker *b, struct reply *a, const struct job *job)
{
	const struct pool_config *pool = b->pools[job->pool].config;
	const struct policy *policy = job->more != NULL ? job->more->policy : NULL;
	struct receipt receipt;
	char args[200], past[PAST_TEXT_MAX];

	receipt_of(b, job, &receipt);
	receipt.outcome.message_length = (uint32_t)retry_past_text(job, past, sizeof(past));
	args_print(kinds[job->kind], job_args(job), args, sizeof(args));
	msgpack_pack_map(&a->pack, 11);
	reply_receipt(a, &receipt, NULL, past);
	reply_text(a, "kind", kinds[job->kind]->name);
	reply_text(a, "pool", pool->name);
	reply_text(a, "executor", pool->executor->name);
	reply_text(a, "user", identity_name(job->uid));
	reply_text(a, "args", args);
	reply_uint(a, "age_ns", clock_now() - job->received_ns);
	reply_flag(a, "detached", (job->flags & JOB_DETACHED) != 0);
	reply_text(a, "key", policy != NULL ? policy->key : "");
	reply_labels(a, policy);
	reply_text(a, "waits", wait_word(job->more != NULL ? job->more->waits : WAIT_NOTHING));
}

void
reply_ended(struct reply *a, const struct history_entry *e)
{
	msgpack_pack_map(&a->pack, 8);
	reply_receipt(a, &e->receipt, e->tail, e->tail + e->receipt.outcome.result_length);
	reply_text(a, "kind", e->kind);
	reply_text(a, "pool", e->pool);
	reply_text(a, "executor", e->executor);
	reply_text(a, "user", identity_name(e->receipt.uid));
	reply_text(a, "args", "");
	reply_uint(a, "age_ns", clock_now() - e->receipt.returned_ns);
	reply_flag(a, "detached", (e->receipt.flags & RECEIPT_DETACHED) != 0);
}

/* The parameters in words; "" when this daemon's kind does not take them. */
static void
print_params(struct broker *b, const struct store_job *job, char *buffer, size_t size)
{
	unsigned unused;
	char why[200];
	const struct kind *kind = kind_by_name(job->kind, &unused);

	buffer[0] = '\0';
	if (kind != NULL && job->params.length > 0 &&
	    args_pack(kind, job->params.at, job->params.length, &b->args, why, sizeof(why)) ==
		    ERR_NONE)
		args_print(kind, b->args.bytes, buffer, size);
}

/* What of a row's receipt its job says. */
static struct receipt
row_receipt(const struct store_row *row)
{
	struct receipt receipt = row->end.receipt;

	if (!row->ended) {
		receipt.outcome = (struct outcome){ .state = JOB_QUEUED };
		receipt.attempt = (uint16_t)(row->job.attempt + 1);
	}
	receipt.id = row->job.id;
	receipt.uid = row->job.uid;
	receipt.priority = row->job.priority;
	return receipt;
}

void
reply_row(struct broker *b, struct reply *a, const struct store_row *row,
	  const struct row_list *attempts)
{
	const struct store_job *job = &row->job;
	struct receipt receipt = row_receipt(row);
	struct policy *policy = NULL;
	char args[200], why[200], again[4096];
	const struct kept_row *k;
	unsigned tried = 0;

	print_params(b, job, args, sizeof(args));
	if (job->policy.length > 0)
		(void)policy_read(job->policy.at, (uint32_t)job->policy.length, clock_wall(),
				  &policy, why, sizeof(why));
	msgpack_pack_map(&a->pack, attempts != NULL ? 12 : 10);
	reply_receipt(a, &receipt, row->end.result.at, row->end.message.at);
	reply_text(a, "kind", job->kind);
	reply_text(a, "pool", job->pool);
	reply_text(a, "executor", row->end.executor != NULL ? row->end.executor : "");
	reply_text(a, "user", identity_name(job->uid));
	reply_text(a, "args", args);
	uint64_t since_ns = row->ended ? row->end.ended_ns : job->submitted_ns;
	uint64_t now_ns = clock_wall();
	reply_uint(a, "age_ns", now_ns > since_ns ? now_ns - since_ns : 0);
	reply_flag(a, "detached", !row->attached);
	reply_text(a, "key", job->key != NULL ? job->key : "");
	reply_labels(a, policy);
	policy_free(policy);
	if (attempts == NULL)
		return;
	reply_text(a, "again",
		   !row->attached && again_print(job, again, sizeof(again)) ? again : "");
	STAILQ_FOREACH (k, attempts, link)
		tried++;
	reply_key(a, "attempts");
	msgpack_pack_array(&a->pack, tried);
	STAILQ_FOREACH (k, attempts, link) {
		const struct bytes *autopsy = &k->row.end.autopsy;
		msgpack_pack_map(&a->pack, autopsy->length > 0 ? 2 : 1);
		reply_receipt(a, &k->row.end.receipt, k->row.end.result.at, k->row.end.message.at);
		if (autopsy->length > 0) {
			reply_key(a, "autopsy");
			msgpack_sbuffer_write(&a->bytes, autopsy->at, autopsy->length);
		}
	}
}

/* ---- show ---- */

static void
no_such_job(struct broker *b, const struct request *r, uint64_t id)
{
	request_error(
		b, r, ERR_NO_SUCH_JOB,
		"there is no job %llu (any more); `pyprepctl ls --state all` lists those that "
		"are kept",
		(unsigned long long)id);
}

bool
request_may_see(struct broker *b, const struct request *r, uint64_t id, uint32_t uid)
{
	if (request_may_touch(r->client, uid))
		return true;
	request_error(b, r, ERR_NOT_ALLOWED, "job %llu belongs to another user",
		      (unsigned long long)id);
	return false;
}

static void
show_row(struct broker *b, const struct request *r, struct recall *c)
{
	const struct kept_row *k = STAILQ_FIRST(&c->rows);
	struct reply a;

	if (recall_failed(b, r, c))
		return;
	if (k == NULL) {
		no_such_job(b, r, c->ids[0]);
		return;
	}
	if (!request_may_see(b, r, k->row.job.id, k->row.job.uid))
		return;
	reply_start(&a);
	reply_row(b, &a, &k->row, &c->tried);
	reply_send(b, r, &a, 0);
}

/* Out of the store. */
static void
show_stored(struct broker *b, const struct request *r, uint64_t id)
{
	struct recall *c = recall_new(r, show_row);

	if (c == NULL)
		return;
	c->ids = calloc(1, sizeof(c->ids[0]));
	if (c->ids == NULL) {
		free(c);
		request_error(b, r, ERR_INTERNAL, "out of memory");
		return;
	}
	c->ids[0] = id;
	c->id_count = 1;
	c->attempts = true;
	recall_ask(b, c);
}

void
verb_show(struct broker *b, const struct request *r)
{
	int64_t id = 0;
	struct reply a;

	(void)request_int(r, "id", &id);
	if (id <= 0) {
		no_such_job(b, r, (uint64_t)id);
		return;
	}
	uint32_t index = jobs_find(&b->jobs, (uint64_t)id);
	const struct history_entry *e =
		index == JOB_NONE ? history_find(&b->history, (uint64_t)id) : NULL;
	if (index == JOB_NONE && (e == NULL || (e->receipt.flags & RECEIPT_DETACHED))) {
		show_stored(b, r, (uint64_t)id);
		return;
	}
	uint32_t uid = e != NULL ? e->receipt.uid : job_at(&b->jobs, index)->uid;
	if (!request_may_see(b, r, (uint64_t)id, uid))
		return;
	reply_start(&a);
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
	} else if (!request_may_touch(c, job_at(&b->jobs, index)->uid)) {
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
