/*
 * reply.h - requests to the daemon and the maps it answers with.
 *
 *	struct request request;
 *	request_begin(&request, "show", 1);
 *	request_u64(&request, "id", 17);
 *	status = request_send(&request, p, -1, got_map, context);
 */
#ifndef PYPREP_CTL_REPLY_H
#define PYPREP_CTL_REPLY_H

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/pyprep.h"

struct request {
	msgpack_sbuffer buffer;
	msgpack_packer packer;
};

/* A map of "verb" and `fields` others, which the caller then adds. */
void request_begin(struct request *request, const char *verb, unsigned fields);
void request_u64(struct request *request, const char *key, uint64_t value);
void request_bool(struct request *request, const char *key, bool value);
void request_text(struct request *request, const char *key, const char *value);
void request_list(struct request *request, const char *key, unsigned count);

/* One map of the answer; it is gone after the return.  Non-zero: no more, please. */
typedef int (*map_fn)(void *context, const msgpack_object *map);

/* Send, hear the answers, free the request.  `map` may be NULL.
 * 0 or what `map` returned, or a negative errno with `why`. */
int request_ask(struct request *request, struct pyprep *p, int timeout_ms, map_fn map,
		void *context, struct pyprep_problem *why);

/* The same; an error is said, and its exit status returned. */
int request_send(struct request *request, struct pyprep *p, map_fn map, void *context);

/* Connect, send, disconnect. */
int request_once(struct request *request, map_fn map, void *context);

/* The value of `key`; NULL when there is none or `map` is no map. */
const msgpack_object *field_get(const msgpack_object *map, const char *key);
uint64_t field_u64(const msgpack_object *map, const char *key); /* 0 when missing */
int64_t field_i64(const msgpack_object *map, const char *key);
bool field_bool(const msgpack_object *map, const char *key);

/* A list's length and members; 0 when missing. */
unsigned field_list(const msgpack_object *map, const char *key, const msgpack_object **ret);

/* A text for printf: length and bytes ("%.*s"), "" when missing. */
#define FIELD_TEXT(map, key) field_text_length((map), (key)), field_text((map), (key))
int field_text_length(const msgpack_object *map, const char *key);
const char *field_text(const msgpack_object *map, const char *key);
bool field_text_is(const msgpack_object *map, const char *key, const char *text);

/* A copy, NUL at the end; the caller frees it.  NULL when missing. */
char *field_text_copy(const msgpack_object *map, const char *key);

#endif
