/*
 * request.c - the control road after the greeting: requests and their replies,
 * bells, and the broker's end.
 *
 * A bell carries nothing: whoever waits looks at the ring again.  It is therefore
 * dropped wherever it is met.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "client/internal.h"
#include "ipc/clock.h"

uint64_t
deadline_after(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : clock_now() + (uint64_t)timeout_ms * NS_PER_MS;
}

int
socket_wait(struct pyprep *p, short events, uint64_t deadline_ns)
{
	int timeout_ms = -1;

	if (deadline_ns != UINT64_MAX) {
		uint64_t now = clock_now();
		uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
		uint64_t ms = (left + NS_PER_MS - 1) / NS_PER_MS;
		timeout_ms = ms > INT_MAX ? INT_MAX : (int)ms;
	}
	return p->lane_ops->wait(p, events, timeout_ms);
}

void
bell_if_needed(struct pyprep *p)
{
	static const struct empty_body empty;

	p->released = 0;
	/* No room for the bell means the broker has frames to wake up for; a broken
	 * connection shows when somebody waits on it. */
	if (wake_needed(&p->lane.shared->broker))
		(void)p->lane_ops->send(p, MSG_BELL, &empty, NULL, 0);
}

/* The records of the frame in p->in, if it has any and the lane is one of frames. */
static int
take_records(struct pyprep *p)
{
	int r = p->lane_ops->pull != NULL ? lane_frames_note(p) : 0;

	if (r == 0)
		return 0;
	if (r == -ENOMEM)
		problem_memory(&p->shut_out);
	else
		problem_set(&p->shut_out, r, "broker_lost", job_error_exit(ERR_BROKER_LOST),
			    "the daemon sent records that do not hold together");
	p->lost = true;
	return -EPIPE;
}

int
socket_take(struct pyprep *p)
{
	const char *reason = "";
	int r = p->lane_ops->recv(p, &reason);

	if (r == -EAGAIN)
		return r;
	if (r == 0) {
		if (p->in.type != MSG_ATTACHED || !p->attaching)
			frame_close_fds(&p->in);
		if (p->in.type != MSG_REFUSED)
			return take_records(p);
		problem_refused(&p->in, &p->shut_out);
	} else if (r == -EPROTO) {
		problem_set(&p->shut_out, r, "broker_lost", job_error_exit(ERR_BROKER_LOST),
			    "the daemon sent what is not our protocol: %s", reason);
	}
	p->lost = true;
	return -EPIPE;
}

void
socket_drain(struct pyprep *p)
{
	if (p->lane_ops->pull != NULL)
		p->lane_ops->pull(p);
	else
		while (!p->lost && socket_take(p) == 0)
			;
}

/* ---- msgpack ---- */

const msgpack_object *
map_get(const msgpack_object *map, const char *key)
{
	if (map->type != MSGPACK_OBJECT_MAP)
		return NULL;
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		const msgpack_object_kv *kv = &map->via.map.ptr[i];
		if (kv->key.type == MSGPACK_OBJECT_STR && kv->key.via.str.size == strlen(key) &&
		    memcmp(kv->key.via.str.ptr, key, kv->key.via.str.size) == 0)
			return &kv->val;
	}
	return NULL;
}

void
pack_text(msgpack_packer *pk, const char *text)
{
	msgpack_pack_str_with_body(pk, text, strlen(text));
}

/* ---- requests ---- */

/* The map of a REPLY_ERROR in `why`. */
static int
error_reply(const void *map, size_t length, struct pyprep_problem *why)
{
	msgpack_unpacked unpacked;
	size_t offset = 0;
	const msgpack_object *code = NULL, *message = NULL;

	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, map, length, &offset) == MSGPACK_UNPACK_SUCCESS) {
		code = map_get(&unpacked.data, "code");
		message = map_get(&unpacked.data, "message");
	}
	if (code == NULL || code->type != MSGPACK_OBJECT_STR || message == NULL ||
	    message->type != MSGPACK_OBJECT_STR) {
		msgpack_unpacked_destroy(&unpacked);
		return problem_set(why, -EPROTO, "internal", job_error_exit(ERR_INTERNAL),
				   "the daemon refused the request without saying why");
	}
	char word[sizeof(why->code)];
	snprintf(word, sizeof(word), "%.*s", (int)code->via.str.size, code->via.str.ptr);
	int exit_status = job_error_exit(ERR_INTERNAL);
	for (unsigned e = 0; e < JOB_ERROR_COUNT; e++)
		if (strcmp(job_error_text(e), word) == 0)
			exit_status = job_error_exit(e);
	problem_set(why, 0, word, exit_status, "%.*s", (int)message->via.str.size,
		    message->via.str.ptr);
	msgpack_unpacked_destroy(&unpacked);
	return -EREMOTEIO;
}

static int
no_answer(int r, int timeout_ms, struct pyprep_problem *why)
{
	if (r < 0)
		return problem_set(why, r, "interrupted", job_error_exit(ERR_INTERNAL),
				   "a signal came while waiting for the daemon's answer");
	return problem_set(why, -ETIMEDOUT, "unreachable", 69,
			   "the daemon has not answered for %d ms; see its log, or try again",
			   timeout_ms);
}

static int
request_send(struct pyprep *p, const void *map, size_t length, int timeout_ms, uint64_t deadline,
	     struct pyprep_problem *why)
{
	struct request_body body = { .number = ++p->number };
	int r;

	while ((r = p->lane_ops->send(p, MSG_REQUEST, &body, map, length)) == -EAGAIN) {
		r = socket_wait(p, POLLOUT, deadline);
		if (r <= 0)
			return no_answer(r, timeout_ms, why);
	}
	if (r == -EMSGSIZE)
		return problem_set(why, r, "too_large", job_error_exit(ERR_TOO_LARGE),
				   "the request is %zu bytes long; at most %zu fit in a frame",
				   length, FRAME_MAX - sizeof(struct frame) - sizeof(body));
	if (r < 0) {
		socket_drain(p); /* its reason, if it gave one */
		return problem_lost(p, why);
	}
	return 0;
}

int
pyprep_request(struct pyprep *p, const void *map, size_t length, int timeout_ms,
	       pyprep_reply_fn reply, void *context, struct pyprep_problem *why)
{
	uint64_t deadline = deadline_after(timeout_ms);

	if (p->lost)
		return problem_lost(p, why);
	int r = request_send(p, map, length, timeout_ms, deadline, why);
	if (r < 0)
		return r;
	for (;;) {
		r = socket_take(p);
		if (r == -EAGAIN) {
			r = socket_wait(p, POLLIN, deadline);
			if (r <= 0)
				return no_answer(r, timeout_ms, why);
			continue;
		}
		if (r < 0)
			return problem_lost(p, why);
		struct reply_body body;
		if (p->in.type != MSG_REPLY)
			continue;
		memcpy(&body, p->in.body, sizeof(body));
		if (body.number != p->number)
			continue; /* of a request that was given up */
		if (body.flags & REPLY_ERROR)
			return error_reply(p->in.tail, p->in.tail_length, why);
		r = reply != NULL ? reply(context, p->in.tail, p->in.tail_length) : 0;
		if (r != 0 || (body.flags & REPLY_MORE) == 0)
			return r;
	}
}

/* The answer to an attach of that number into p->in, with its descriptor. */
static int
wait_attached(struct pyprep *p, uint32_t number, struct pyprep_problem *why)
{
	uint64_t deadline = deadline_after(REQUEST_TIMEOUT_MS);
	struct attached_body body;
	int r;

	for (;;) {
		r = socket_take(p);
		if (r == -EAGAIN) {
			r = socket_wait(p, POLLIN, deadline);
			if (r <= 0)
				return no_answer(r, REQUEST_TIMEOUT_MS, why);
			continue;
		}
		if (r < 0)
			return problem_lost(p, why);
		if (p->in.type != MSG_ATTACHED)
			continue;
		memcpy(&body, p->in.body, sizeof(body));
		if (body.number == number)
			return 0;
		frame_close_fds(&p->in); /* of one that was given up */
	}
}

int
request_attach(struct pyprep *p, uint32_t what, struct pyprep_problem *why)
{
	struct attach_body ask = { .number = ++p->number, .what = what };

	if (p->lost || p->lane_ops->send(p, MSG_ATTACH, &ask, NULL, 0) < 0) {
		socket_drain(p); /* its reason, if it gave one */
		return problem_lost(p, why);
	}
	p->attaching = true;
	int r = wait_attached(p, ask.number, why);
	p->attaching = false;
	return r;
}

int
request_packed(struct pyprep *p, const msgpack_sbuffer *map, pyprep_reply_fn reply, void *context,
	       struct pyprep_problem *why)
{
	return pyprep_request(p, map->data, map->size, REQUEST_TIMEOUT_MS, reply, context, why);
}

/* ---- cancelling ---- */

static int
read_cancelled(void *context, const void *map, size_t length)
{
	int *count = context;
	msgpack_unpacked unpacked;
	size_t offset = 0;

	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, map, length, &offset) == MSGPACK_UNPACK_SUCCESS) {
		const msgpack_object *n = map_get(&unpacked.data, "cancelled");
		if (n != NULL && n->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
			*count = n->via.u64 > INT_MAX ? INT_MAX : (int)n->via.u64;
	}
	msgpack_unpacked_destroy(&unpacked);
	return 0;
}

static int
cancel(struct pyprep *p, const uint64_t *tag)
{
	msgpack_sbuffer map;
	msgpack_packer pk;
	int count = 0;

	submits_settle(p); /* a job the broker has not seen cannot be cancelled */
	msgpack_sbuffer_init(&map);
	msgpack_packer_init(&pk, &map, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 2);
	pack_text(&pk, "verb");
	pack_text(&pk, "cancel");
	if (tag != NULL) {
		pack_text(&pk, "tags");
		msgpack_pack_array(&pk, 1);
		msgpack_pack_uint64(&pk, *tag);
	} else {
		pack_text(&pk, "all");
		pack_text(&pk, "mine");
	}
	int r = pyprep_request(p, map.data, map.size, CANCEL_TIMEOUT_MS, read_cancelled, &count,
			       NULL);
	msgpack_sbuffer_destroy(&map);
	return r < 0 ? r : count;
}

int
pyprep_cancel(struct pyprep *p, uint64_t tag)
{
	if (table_find(&p->table, tag) == NULL)
		return p->lost ? -EPIPE : 0;
	return cancel(p, &tag);
}

int
pyprep_cancel_all(struct pyprep *p)
{
	return cancel(p, NULL);
}
