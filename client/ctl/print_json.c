/* print_json.c - receipts and msgpack values as JSON. */
#include "client/ctl/print_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/ctl/report.h"
#include "ipc/clock.h"

#define EXACT_MAX (1ll << 53) /* the greatest integer a double holds exactly */

json_t *
json_of_u64(uint64_t value)
{
	char text[24];

	if (value <= (uint64_t)EXACT_MAX)
		return json_integer((json_int_t)value);
	snprintf(text, sizeof text, "%" PRIu64, value);
	return json_string(text);
}

json_t *
json_of_i64(int64_t value)
{
	char text[24];

	if (value >= -EXACT_MAX && value <= EXACT_MAX)
		return json_integer(value);
	snprintf(text, sizeof text, "%" PRId64, value);
	return json_string(text);
}

static json_t *
base64(const char *bytes, size_t length)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = ctl_alloc((length + 2) / 3 * 4 + 1, 1);
	char *to = text;

	for (size_t i = 0; i < length; i += 3) {
		size_t here = length - i < 3 ? length - i : 3;
		uint32_t word = (uint32_t)(unsigned char)bytes[i] << 16;
		if (here > 1)
			word |= (uint32_t)(unsigned char)bytes[i + 1] << 8;
		if (here > 2)
			word |= (unsigned char)bytes[i + 2];
		*to++ = digits[word >> 18];
		*to++ = digits[word >> 12 & 63];
		*to++ = here > 1 ? digits[word >> 6 & 63] : '=';
		*to++ = here > 2 ? digits[word & 63] : '=';
	}
	json_t *json = json_string(text);
	free(text);
	return json;
}

json_t *
json_of_bytes(const char *bytes, size_t length)
{
	json_t *json = json_stringn(bytes, length);
	return json ? json : json_pack("{s:o}", "base64", base64(bytes, length));
}

static json_t *
json_of_array(const msgpack_object *object)
{
	json_t *json = json_array();

	for (uint32_t i = 0; i < object->via.array.size; i++)
		json_array_append_new(json, json_of_object(&object->via.array.ptr[i]));
	return json;
}

static json_t *
json_of_map(const msgpack_object *object)
{
	json_t *json = json_object();
	char key[256];

	for (uint32_t i = 0; i < object->via.map.size; i++) {
		const msgpack_object_kv *kv = &object->via.map.ptr[i];
		if (kv->key.type == MSGPACK_OBJECT_STR)
			snprintf(key, sizeof key, "%.*s", (int)kv->key.via.str.size,
				 kv->key.via.str.ptr);
		else
			msgpack_object_print_buffer(key, sizeof key, kv->key);
		json_object_set_new(json, key, json_of_object(&kv->val));
	}
	return json;
}

json_t *
json_of_object(const msgpack_object *object)
{
	switch (object->type) {
	case MSGPACK_OBJECT_BOOLEAN:
		return json_boolean(object->via.boolean);
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		return json_of_u64(object->via.u64);
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		return json_of_i64(object->via.i64);
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		return json_real(object->via.f64);
	case MSGPACK_OBJECT_STR:
		return json_of_bytes(object->via.str.ptr, object->via.str.size);
	case MSGPACK_OBJECT_BIN:
		return json_of_bytes(object->via.bin.ptr, object->via.bin.size);
	case MSGPACK_OBJECT_ARRAY:
		return json_of_array(object);
	case MSGPACK_OBJECT_MAP:
		return json_of_map(object);
	case MSGPACK_OBJECT_NIL:
	case MSGPACK_OBJECT_EXT:
		break;
	}
	return json_null();
}

json_t *
json_of_result(const struct pyprep_receipt *receipt)
{
	msgpack_unpacked unpacked;
	json_t *json = NULL;

	if (receipt->result_length == 0)
		return json_null();
	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, receipt->result, receipt->result_length, NULL) ==
	    MSGPACK_UNPACK_SUCCESS)
		json = json_of_object(&unpacked.data);
	msgpack_unpacked_destroy(&unpacked);
	return json ? json : json_null();
}

const char *
cause_text(const struct pyprep_receipt *receipt, char *buffer, size_t size)
{
	const char *cause = receipt->cause;

	if (strcmp(cause, "none") == 0)
		return NULL;
	if (strcmp(cause, "exit") == 0 || strcmp(cause, "signal") == 0)
		snprintf(buffer, size, "%s %d", cause, receipt->cause_value);
	else
		snprintf(buffer, size, "%s", cause);
	return buffer;
}

static json_t *
json_of_text(const char *text)
{
	if (!text)
		return json_null();
	json_t *json = json_string(text);
	return json ? json : json_of_bytes(text, strlen(text));
}

static void
set(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value);
}

static json_t *
json_of_stages(const struct pyprep_receipt *r)
{
	json_t *stages = json_object();

	set(stages, "submit_ns", json_of_u64(r->submit_ns));
	set(stages, "store_ns", json_of_u64(r->store_ns));
	set(stages, "queue_ns", json_of_u64(r->queue_ns));
	set(stages, "dispatch_ns", json_of_u64(r->dispatch_ns));
	set(stages, "run_ns", json_of_u64(r->run_ns));
	set(stages, "return_ns", json_of_u64(r->return_ns));
	return stages;
}

static json_t *
json_of_run(const struct pyprep_receipt *r)
{
	json_t *run = json_object();

	set(run, "oncpu_ns", json_of_u64(r->oncpu_ns));
	set(run, "runqueue_ns", json_of_u64(r->runqueue_ns));
	set(run, "blocked_ns", json_of_u64(r->blocked_ns));
	set(run, "user_ns", json_of_u64(r->user_ns));
	set(run, "system_ns", json_of_u64(r->system_ns));
	return run;
}

static json_t *
json_of_error(const struct pyprep_receipt *r)
{
	if (strcmp(r->error_code, "none") == 0)
		return json_null();
	json_t *error = json_object();
	set(error, "code", json_of_text(r->error_code));
	set(error, "message", json_of_text(r->error_message));
	return error;
}

static json_t *
json_of_worker(const struct pyprep_receipt *r)
{
	if (r->slot < 0)
		return json_null();
	json_t *worker = json_object();
	set(worker, "pool", json_of_text(r->pool));
	set(worker, "slot", json_integer(r->slot));
	set(worker, "pid", json_integer(r->worker_pid));
	return worker;
}

static void
set_output(json_t *job, const char *name, const char *bytes, size_t length)
{
	char key[32];

	json_t *text = json_stringn(length > 0 ? bytes : "", length);
	if (text) {
		set(job, name, text);
		return;
	}
	snprintf(key, sizeof key, "%s_base64", name);
	set(job, key, base64(bytes, length));
}

static void
set_usage(json_t *job, const struct pyprep_receipt *r)
{
	set(job, "run", json_of_run(r));
	set(job, "method", json_of_text(r->method));
	set(job, "peak_memory_bytes", json_of_u64(r->peak_memory_bytes));
	if (r->memory_limit && strcmp(r->memory_limit, "none") != 0)
		set(job, "memory_limit", json_string(r->memory_limit));
	set(job, "context_switches",
	    json_pack("{s:I, s:I}", "voluntary", (json_int_t)r->switches_voluntary, "involuntary",
		      (json_int_t)r->switches_involuntary));
	set(job, "faults",
	    json_pack("{s:I, s:I}", "minor", (json_int_t)r->faults_minor, "major",
		      (json_int_t)r->faults_major));
}

/* RFC 3339, in UTC. */
static json_t *
json_of_wall(uint64_t ns)
{
	time_t seconds = (time_t)(ns / NS_PER_S);
	struct tm utc;
	char text[32];

	gmtime_r(&seconds, &utc);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
	return json_sprintf("%s.%06uZ", text, (unsigned)(ns % NS_PER_S / NS_PER_US));
}

json_t *
json_of_receipt(const struct pyprep_receipt *r, const struct capture *capture)
{
	char cause[64];
	json_t *job = json_object();

	set(job, "schema", json_string("pyprep.job/1"));
	set(job, "id", json_of_u64(r->id));
	set(job, "kind", json_of_text(r->kind));
	set(job, "pool", json_of_text(r->pool));
	set(job, "executor", json_of_text(r->executor));
	set(job, "state", json_of_text(r->state));
	set(job, "result", json_of_result(r));
	set(job, "error", json_of_error(r));
	set(job, "cause", json_of_text(cause_text(r, cause, sizeof cause)));
	set(job, "cause_value", json_integer(r->cause_value));
	set(job, "exit_status", json_integer(r->exit_status));
	set(job, "attempt", json_integer(r->attempt));
	if (r->attempt > 1 && strcmp(r->error_code, "none") == 0 && r->error_message[0])
		set(job, "earlier", json_of_text(r->error_message));
	set(job, "cached", json_boolean(r->cached));
	set(job, "bystander", json_boolean(r->bystander));
	set(job, "worker", json_of_worker(r));
	set(job, "stages", json_of_stages(r));
	set(job, "ended_at", r->ended_wall_ns ? json_of_wall(r->ended_wall_ns) : json_null());
	set(job, "total_ns", json_of_u64(r->total_ns));
	set(job, "residual_ns", json_of_i64(r->residual_ns));
	set_usage(job, r);
	if (r->items > 0) {
		set(job, "items", json_of_u64(r->items));
		set(job, "items_failed", json_of_u64(r->items_failed));
	}
	if (capture) {
		set_output(job, "stdout", capture->bytes[0], capture->length[0]);
		set_output(job, "stderr", capture->bytes[1], capture->length[1]);
		set(job, "truncated", json_boolean(r->truncated));
	}
	return job;
}

void
json_print_line(json_t *json)
{
	json_dumpf(json, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(json);
}
