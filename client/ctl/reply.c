/* reply.c - requests to the daemon and the maps it answers with. */
#include "client/ctl/reply.h"

#include <errno.h>
#include <string.h>

#include "client/ctl/report.h"

static void
pack_text(struct request *request, const char *text)
{
	size_t length = strlen(text);
	msgpack_pack_str(&request->packer, length);
	msgpack_pack_str_body(&request->packer, text, length);
}

void
request_begin(struct request *request, const char *verb, unsigned fields)
{
	msgpack_sbuffer_init(&request->buffer);
	msgpack_packer_init(&request->packer, &request->buffer, msgpack_sbuffer_write);
	msgpack_pack_map(&request->packer, fields + 1);
	request_text(request, "verb", verb);
}

void
request_u64(struct request *request, const char *key, uint64_t value)
{
	pack_text(request, key);
	msgpack_pack_uint64(&request->packer, value);
}

void
request_bool(struct request *request, const char *key, bool value)
{
	pack_text(request, key);
	if (value)
		msgpack_pack_true(&request->packer);
	else
		msgpack_pack_false(&request->packer);
}

void
request_text(struct request *request, const char *key, const char *value)
{
	pack_text(request, key);
	pack_text(request, value);
}

void
request_list(struct request *request, const char *key, unsigned count)
{
	pack_text(request, key);
	msgpack_pack_array(&request->packer, count);
}

/* What request_ask() hands through pyprep_request(). */
struct listener {
	map_fn map;
	void *context;
};

static int
got_reply(void *context, const void *bytes, size_t length)
{
	const struct listener *listener = context;
	msgpack_unpacked unpacked;
	int r = -EPROTO;

	if (!listener->map)
		return 0;
	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, bytes, length, NULL) == MSGPACK_UNPACK_SUCCESS)
		r = listener->map(listener->context, &unpacked.data);
	msgpack_unpacked_destroy(&unpacked);
	return r;
}

int
request_ask(struct request *request, struct pyprep *p, int timeout_ms, map_fn map, void *context,
	    struct pyprep_problem *why)
{
	struct listener listener = { .map = map, .context = context };

	memset(why, 0, sizeof *why);
	int r = pyprep_request(p, request->buffer.data, request->buffer.size, timeout_ms, got_reply,
			       &listener, why);
	msgpack_sbuffer_destroy(&request->buffer);
	if (r < 0 && !why->message[0]) {
		snprintf(why->code, sizeof why->code, "internal");
		snprintf(why->message, sizeof why->message, "the request failed: %s", strerror(-r));
		why->exit_status = 125;
	}
	return r;
}

int
request_send(struct request *request, struct pyprep *p, map_fn map, void *context)
{
	struct pyprep_problem why;

	int r = request_ask(request, p, -1, map, context, &why);
	return r < 0 ? ctl_fail_problem(&why) : r;
}

int
request_once(struct request *request, map_fn map, void *context)
{
	struct pyprep *p;

	int status = ctl_connect(&p);
	if (status != 0) {
		msgpack_sbuffer_destroy(&request->buffer);
		return status;
	}
	status = request_send(request, p, map, context);
	pyprep_close(p);
	return status;
}

const msgpack_object *
field_get(const msgpack_object *map, const char *key)
{
	size_t length = strlen(key);

	if (!map || map->type != MSGPACK_OBJECT_MAP)
		return NULL;
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		const msgpack_object_kv *kv = &map->via.map.ptr[i];
		if (kv->key.type == MSGPACK_OBJECT_STR && kv->key.via.str.size == length &&
		    memcmp(kv->key.via.str.ptr, key, length) == 0)
			return &kv->val;
	}
	return NULL;
}

uint64_t
field_u64(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = field_get(map, key);
	return o && o->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? o->via.u64 : 0;
}

int64_t
field_i64(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = field_get(map, key);

	if (o && o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		return o->via.i64;
	return (int64_t)field_u64(map, key);
}

bool
field_bool(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = field_get(map, key);
	return o && o->type == MSGPACK_OBJECT_BOOLEAN && o->via.boolean;
}

unsigned
field_list(const msgpack_object *map, const char *key, const msgpack_object **ret)
{
	const msgpack_object *o = field_get(map, key);

	*ret = NULL;
	if (!o || o->type != MSGPACK_OBJECT_ARRAY)
		return 0;
	*ret = o->via.array.ptr;
	return o->via.array.size;
}

int
field_text_length(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = field_get(map, key);
	return o && o->type == MSGPACK_OBJECT_STR ? (int)o->via.str.size : 0;
}

const char *
field_text(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = field_get(map, key);
	return o && o->type == MSGPACK_OBJECT_STR ? o->via.str.ptr : "";
}

bool
field_text_is(const msgpack_object *map, const char *key, const char *text)
{
	size_t length = (size_t)field_text_length(map, key);
	return length == strlen(text) && memcmp(field_text(map, key), text, length) == 0;
}

char *
field_text_copy(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = field_get(map, key);

	if (!o || o->type != MSGPACK_OBJECT_STR)
		return NULL;
	char *copy = ctl_alloc(o->via.str.size + 1, 1);
	memcpy(copy, o->via.str.ptr, o->via.str.size);
	return copy;
}
