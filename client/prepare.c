/*
 * prepare.c - a job made ready to submit many times: names resolved with the daemon
 * (once per connection and name), parameters packed as msgpack.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "client/internal.h"

/* ---- names ---- */

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static struct target *
target_find(const struct pyprep *p, const char *kind, const char *pool, bool array)
{
	struct target *t = p->targets;

	while (t != NULL && !(t->asked_array == array && same_text(t->asked_kind, kind) &&
			      same_text(t->asked_pool, pool)))
		t = t->next;
	return t;
}

static char *
copy_text(const msgpack_object *o)
{
	if (o == NULL || o->type != MSGPACK_OBJECT_STR)
		return NULL;
	return strndup(o->via.str.ptr, o->via.str.size);
}

static bool
read_index(const msgpack_object *o, uint16_t *ret)
{
	if (o == NULL || o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > UINT16_MAX)
		return false;
	*ret = (uint16_t)o->via.u64;
	return true;
}

/* The list of names as ",path,other,". */
static char *
read_paths(const msgpack_object *o)
{
	size_t length = 2;
	char *paths, *at;

	if (o == NULL || o->type != MSGPACK_OBJECT_ARRAY)
		return strdup("");
	for (uint32_t i = 0; i < o->via.array.size; i++)
		if (o->via.array.ptr[i].type == MSGPACK_OBJECT_STR)
			length += o->via.array.ptr[i].via.str.size + 1;
	paths = at = calloc(1, length);
	if (paths == NULL)
		return NULL;
	*at++ = ',';
	for (uint32_t i = 0; i < o->via.array.size; i++) {
		const msgpack_object *name = &o->via.array.ptr[i];
		if (name->type != MSGPACK_OBJECT_STR)
			continue;
		at = mempcpy(at, name->via.str.ptr, name->via.str.size);
		*at++ = ',';
	}
	*at = '\0';
	return paths;
}

/* Fill a target from the reply to "resolve". */
static int
read_target(void *context, const void *bytes, size_t length)
{
	struct target *t = context;
	msgpack_unpacked unpacked;
	size_t offset = 0;
	int r = -EPROTO;

	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, bytes, length, &offset) == MSGPACK_UNPACK_SUCCESS) {
		const msgpack_object *map = &unpacked.data;
		char *class = copy_text(map_get(map, "class"));
		t->kind = copy_text(map_get(map, "kind_name"));
		t->pool = copy_text(map_get(map, "pool_name"));
		t->executor = copy_text(map_get(map, "executor"));
		t->paths = read_paths(map_get(map, "paths"));
		if (read_index(map_get(map, "kind"), &t->kind_index) &&
		    read_index(map_get(map, "pool"), &t->pool_index) && class != NULL &&
		    t->kind != NULL && t->pool != NULL && t->executor != NULL && t->paths != NULL) {
			t->command = strcmp(class, "command") == 0;
			r = 0;
		}
		free(class);
	}
	msgpack_unpacked_destroy(&unpacked);
	return r;
}

static void
target_free(struct target *t)
{
	free(t->asked_kind);
	free(t->asked_pool);
	free(t->kind);
	free(t->pool);
	free(t->executor);
	free(t->paths);
	free(t);
}

void
targets_free(struct target *first)
{
	while (first != NULL) {
		struct target *t = first;
		first = t->next;
		target_free(t);
	}
}

static int
resolve(struct pyprep *p, struct target *t, struct pyprep_problem *why)
{
	msgpack_sbuffer map;
	msgpack_packer pk;

	msgpack_sbuffer_init(&map);
	msgpack_packer_init(&pk, &map, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, t->asked_pool != NULL ? 4 : 3);
	pack_text(&pk, "verb");
	pack_text(&pk, "resolve");
	pack_text(&pk, "kind");
	pack_text(&pk, t->asked_kind);
	if (t->asked_pool != NULL) {
		pack_text(&pk, "pool");
		pack_text(&pk, t->asked_pool);
	}
	pack_text(&pk, "array");
	if (t->asked_array)
		msgpack_pack_true(&pk);
	else
		msgpack_pack_false(&pk);
	int r = request_packed(p, &map, read_target, t, why);
	msgpack_sbuffer_destroy(&map);
	if (r == -EPROTO)
		return problem_set(why, r, "internal", job_error_exit(ERR_INTERNAL),
				   "the daemon's answer about kind \"%s\" is not complete",
				   t->asked_kind);
	return r == -EREMOTEIO ? -EINVAL : r;
}

/* The target of the job's names, asked for when it is the first of its sort. */
static int
target_get(struct pyprep *p, const struct pyprep_job *job, const struct target **ret,
	   struct pyprep_problem *why)
{
	bool array = job->item_low < job->item_high;
	struct target *t = target_find(p, job->kind, job->pool, array);

	if (t == NULL) {
		t = calloc(1, sizeof(*t));
		if (t == NULL)
			return problem_memory(why);
		t->asked_array = array;
		t->asked_kind = strdup(job->kind);
		t->asked_pool = job->pool != NULL ? strdup(job->pool) : NULL;
		int r = t->asked_kind == NULL || (job->pool != NULL && t->asked_pool == NULL)
				? problem_memory(why)
				: resolve(p, t, why);
		if (r < 0) {
			target_free(t);
			return r;
		}
		t->next = p->targets;
		p->targets = t;
	}
	*ret = t;
	return 0;
}

/* ---- parameters ---- */

static int
bad_param(const char *param, const char *kind, struct pyprep_problem *why)
{
	return problem_set(why, -EINVAL, "bad_request", job_error_exit(ERR_BAD_REQUEST),
			   "parameter \"%.100s\" is not of the form NAME=VALUE; write for example "
			   "n=1000 (\"pyprepctl kinds %.60s\" lists the parameters)",
			   param, kind);
}

static bool
is_path(const struct target *target, const char *name, size_t length)
{
	const char *at = target->paths;

	while ((at = strchr(at, ',')) != NULL) {
		at++;
		if (strncmp(at, name, length) == 0 && at[length] == ',')
			return true;
	}
	return false;
}

/* The value; of a path the whole one, since the daemon is in another directory. */
static void
pack_value(const struct target *target, const char *param, const char *value, msgpack_packer *pk)
{
	char cwd[PATH_MAX];

	if (value[0] == '/' || value[0] == '\0' ||
	    !is_path(target, param, (size_t)(value - 1 - param)) ||
	    getcwd(cwd, sizeof(cwd)) == NULL) {
		pack_text(pk, value);
		return;
	}
	size_t before = strlen(cwd), length = strlen(value);
	msgpack_pack_str(pk, before + 1 + length);
	msgpack_pack_str_body(pk, cwd, before);
	msgpack_pack_str_body(pk, "/", 1);
	msgpack_pack_str_body(pk, value, length);
}

static int
pack_params(const struct pyprep_job *job, const struct target *target, msgpack_packer *pk,
	    struct pyprep_problem *why)
{
	size_t count = 0, words = 0;

	while (job->params != NULL && job->params[count] != NULL)
		count++;
	while (job->argv != NULL && job->argv[words] != NULL)
		words++;
	msgpack_pack_map(pk, count + (job->argv != NULL));
	for (size_t i = 0; i < count; i++) {
		const char *param = job->params[i];
		const char *equals = strchr(param, '=');
		if (equals == NULL || equals == param)
			return bad_param(param, job->kind, why);
		msgpack_pack_str_with_body(pk, param, (size_t)(equals - param));
		pack_value(target, param, equals + 1, pk);
	}
	if (job->argv != NULL) {
		pack_text(pk, "argv");
		msgpack_pack_array(pk, words);
		for (size_t i = 0; i < words; i++)
			pack_text(pk, job->argv[i]);
	}
	return 0;
}

/* `tail`: what follows the body, with policies of `policy_length` bytes at its beginning. */
static int
build(const struct pyprep_job *job, const struct target *target, const msgpack_sbuffer *tail,
      uint32_t policy_length, struct pyprep_prepared **ret, struct pyprep_problem *why)
{
	bool array = job->item_low < job->item_high;
	struct submit_body body = {
		.timeout_ns = job->timeout_ns,
		.item_low = array ? job->item_low : 0,
		.item_high = array ? job->item_high : 0,
		.kind = target->kind_index,
		.pool = target->pool_index,
		.priority = (int16_t)job->priority,
	};
	bool detach = (job->flags & PYPREP_DETACH) != 0;
	size_t token = detach ? SUBMIT_TOKEN : 0;
	size_t length = sizeof(body) + token + tail->size;

	if (job->flags & PYPREP_NO_WAIT)
		body.flags |= SUBMIT_NO_WAIT;
	if (detach)
		body.flags |= SUBMIT_DETACH;
	if (policy_length > 0)
		body.flags |= SUBMIT_POLICY;
	struct pyprep_prepared *prepared = malloc(sizeof(*prepared) + length);
	if (prepared == NULL)
		return problem_memory(why);
	prepared->target = target;
	prepared->length = (uint32_t)length;
	prepared->no_wait = (job->flags & PYPREP_NO_WAIT) != 0;
	memcpy(prepared->record, &body, sizeof(body));
	prepared->detach = detach;
	prepared->policy_offset = policy_length > 0 ? (uint32_t)(sizeof(body) + token) : 0;
	if (detach && getrandom(prepared->record + sizeof(body), token, 0) != (ssize_t)token) {
		free(prepared);
		return problem_set(why, -EIO, "internal", job_error_exit(ERR_INTERNAL),
				   "no random bytes for the job's token");
	}
	memcpy(prepared->record + sizeof(body) + token, tail->data, tail->size);
	*ret = prepared;
	return 0;
}

static int
check_job(const struct pyprep_job *job, struct pyprep_problem *why)
{
	if (job->kind == NULL)
		return problem_set(why, -EINVAL, "bad_request", job_error_exit(ERR_BAD_REQUEST),
				   "the job names no kind; \"pyprepctl kinds\" lists them");
	if (job->priority < -PRIORITY_MAX || job->priority > PRIORITY_MAX)
		return problem_set(why, -EINVAL, "out_of_range", job_error_exit(ERR_OUT_OF_RANGE),
				   "priority %d is out of range; give -%d to %d, higher runs first",
				   job->priority, PRIORITY_MAX, PRIORITY_MAX);
	if (job->policy != NULL && job->policy->retries > 0 && job->item_low < job->item_high)
		return problem_set(why, -EINVAL, "bad_request", job_error_exit(ERR_BAD_REQUEST),
				   "an array job is not tried again: submit its items as jobs of "
				   "their own, or leave the retries out");
	return 0;
}

/* The tail of a submit: policies, if there are any, with their length before them; parameters. */
static int
pack_tail(const struct pyprep *p, const struct pyprep_job *job, const struct target *target,
	  msgpack_sbuffer *tail, uint32_t *ret_policy_length, struct pyprep_problem *why)
{
	msgpack_packer pk;
	uint32_t length = 0;
	int r = 0;

	if (job->policy != NULL) {
		if (msgpack_sbuffer_write(tail, (const char *)&length, sizeof(length)) < 0)
			return problem_memory(why);
		r = policy_pack(job->policy, target->kind, tail, why);
		length = (uint32_t)(tail->size - sizeof(length));
		memcpy(tail->data, &length, sizeof(length));
	}
	msgpack_packer_init(&pk, tail, msgpack_sbuffer_write);
	if (r == 0)
		r = pack_params(job, target, &pk, why);
	if (r == 0 && tail->size > p->payload_max)
		r = problem_set(why, -EMSGSIZE, "too_large", job_error_exit(ERR_TOO_LARGE),
				"the parameters take %zu bytes; the daemon takes at most %u per "
				"job: pass large data in a file and its path as the parameter",
				tail->size, p->payload_max);
	*ret_policy_length = length;
	return r;
}

/* ---- what the user calls ---- */

int
pyprep_prepare(struct pyprep *p, const struct pyprep_job *job, struct pyprep_prepared **ret,
	       struct pyprep_problem *why)
{
	const struct target *target = NULL;
	uint32_t policy_length = 0;
	msgpack_sbuffer tail;

	int r = check_job(job, why);
	if (r == 0)
		r = target_get(p, job, &target, why);
	if (r < 0 || target == NULL)
		return r;
	msgpack_sbuffer_init(&tail);
	r = pack_tail(p, job, target, &tail, &policy_length, why);
	if (r == 0 && target->command)
		r = context_send(p, why);
	if (r == 0)
		r = build(job, target, &tail, policy_length, ret, why);
	msgpack_sbuffer_destroy(&tail);
	return r;
}

void
pyprep_prepared_free(struct pyprep_prepared *prepared)
{
	free(prepared);
}

const char *
pyprep_prepared_pool(const struct pyprep_prepared *prepared)
{
	return prepared->target->pool;
}

const char *
pyprep_prepared_executor(const struct pyprep_prepared *prepared)
{
	return prepared->target->executor;
}
