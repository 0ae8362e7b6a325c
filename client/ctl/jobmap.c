/* jobmap.c - the job maps of the daemon's replies. */
#include "client/ctl/jobmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/print_json.h"
#include "client/ctl/report.h"

static json_t *
attempt_json(const msgpack_object *map)
{
	struct pyprep_receipt receipt;
	const msgpack_object *bytes = field_get(map, "receipt");

	if (!bytes || bytes->type != MSGPACK_OBJECT_BIN ||
	    pyprep_receipt_decode(bytes->via.bin.ptr, bytes->via.bin.size, &receipt) < 0)
		return json_null();
	json_t *json = json_of_receipt(&receipt, NULL);
	const msgpack_object *autopsy = field_get(map, "autopsy");
	if (autopsy)
		json_object_set_new(json, "autopsy", json_of_object(autopsy));
	return json;
}

/* What only some jobs have. */
static json_t *
more_json(const msgpack_object *map)
{
	json_t *more = json_pack("{s:b}", "detached", field_bool(map, "detached"));
	const msgpack_object *list;
	unsigned count;

	if (field_text_length(map, "key") > 0)
		json_object_set_new(more, "key", json_sprintf("%.*s", FIELD_TEXT(map, "key")));
	if (field_text_length(map, "again") > 0)
		json_object_set_new(more, "again", json_sprintf("%.*s", FIELD_TEXT(map, "again")));
	if (field_text_length(map, "waits") > 0 && !field_text_is(map, "waits", "nothing"))
		json_object_set_new(more, "waits", json_sprintf("%.*s", FIELD_TEXT(map, "waits")));
	if ((count = field_list(map, "labels", &list)) > 0) {
		json_t *labels = json_array();
		for (unsigned i = 0; i < count; i++)
			if (list[i].type == MSGPACK_OBJECT_STR)
				json_array_append_new(labels, json_of_bytes(list[i].via.str.ptr,
									    list[i].via.str.size));
		json_object_set_new(more, "labels", labels);
	}
	if ((count = field_list(map, "attempts", &list)) > 0) {
		json_t *attempts = json_array();
		for (unsigned i = 0; i < count; i++)
			json_array_append_new(attempts, attempt_json(&list[i]));
		json_object_set_new(more, "attempts", attempts);
	}
	return more;
}

int
jobmap_read(const msgpack_object *map, struct jobmap *ret)
{
	struct pyprep_receipt receipt;
	const msgpack_object *bytes = field_get(map, "receipt");

	if (!bytes || bytes->type != MSGPACK_OBJECT_BIN ||
	    pyprep_receipt_decode(bytes->via.bin.ptr, bytes->via.bin.size, &receipt) < 0)
		return -EPROTO;
	*ret = (struct jobmap){
		.kind = field_text_copy(map, "kind"),
		.pool = field_text_copy(map, "pool"),
		.executor = field_text_copy(map, "executor"),
		.user = field_text_copy(map, "user"),
		.args = field_text_copy(map, "args"),
		.age_ns = field_u64(map, "age_ns"),
		.length = bytes->via.bin.size,
	};
	ret->more = more_json(map);
	ret->bytes = ctl_alloc(ret->length, 1);
	memcpy(ret->bytes, bytes->via.bin.ptr, ret->length);
	return 0;
}

void
jobmap_free(struct jobmap *job)
{
	free(job->kind);
	free(job->pool);
	free(job->executor);
	free(job->user);
	free(job->args);
	free(job->bytes);
	json_decref(job->more);
}

int
jobmap_receipt(const struct jobmap *job, struct pyprep_receipt *ret)
{
	int r = pyprep_receipt_decode(job->bytes, job->length, ret);

	if (r == 0) {
		ret->kind = job->kind;
		ret->pool = job->pool;
		ret->executor = job->executor;
	}
	return r;
}

json_t *
json_of_jobmap(const struct jobmap *job)
{
	struct pyprep_receipt receipt;

	if (jobmap_receipt(job, &receipt) < 0)
		return json_null();
	json_t *json = json_of_receipt(&receipt, NULL);
	json_object_set_new(json, "user", job->user ? json_string(job->user) : json_null());
	json_object_set_new(json, "args", job->args ? json_string(job->args) : json_null());
	json_object_set_new(json, "age_ns", json_of_u64(job->age_ns));
	json_object_update(json, job->more);
	return json;
}
