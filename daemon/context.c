/* context.c - see context.h */
#include "daemon/context.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UMASK_DEFAULT 022

/* A str or bin of the request; not NUL-terminated. */
struct text {
	const char *bytes;
	uint32_t length;
};

static bool
text_of(const msgpack_object *o, struct text *ret)
{
	if (o->type == MSGPACK_OBJECT_STR)
		*ret = (struct text){ o->via.str.ptr, o->via.str.size };
	else if (o->type == MSGPACK_OBJECT_BIN)
		*ret = (struct text){ o->via.bin.ptr, o->via.bin.size };
	else
		return false;
	return true;
}

static bool
holds_nul(struct text t)
{
	return t.length > 0 && memchr(t.bytes, '\0', t.length) != NULL;
}

static const msgpack_object *
find(const msgpack_object_map *map, const char *name)
{
	for (uint32_t i = 0; i < map->size; i++) {
		struct text key;
		if (text_of(&map->ptr[i].key, &key) && key.length == strlen(name) &&
		    memcmp(key.bytes, name, key.length) == 0)
			return &map->ptr[i].val;
	}
	return NULL;
}

static int
check_umask(const msgpack_object *o, unsigned *ret, char *why, size_t why_size)
{
	*ret = UMASK_DEFAULT;
	if (o == NULL)
		return 0;
	if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > 0777) {
		snprintf(why, why_size, "context: umask must be an integer 0 .. 511 (octal 777)");
		return -EINVAL;
	}
	*ret = (unsigned)o->via.u64;
	return 0;
}

static int
check_cwd(const msgpack_object *o, struct text *ret, char *why, size_t why_size)
{
	if (o == NULL || !text_of(o, ret) || ret->length == 0 || ret->bytes[0] != '/' ||
	    ret->length >= PATH_MAX || holds_nul(*ret)) {
		snprintf(why, why_size,
			 "context: cwd must be an absolute path shorter than %d bytes", PATH_MAX);
		return -EINVAL;
	}
	return 0;
}

static int
check_env(const msgpack_object *o, uint64_t *ret_length, char *why, size_t why_size)
{
	if (o == NULL || o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size > CONTEXT_ENV_MAX) {
		snprintf(why, why_size,
			 "context: env must be a list of at most %u texts \"NAME=value\"",
			 CONTEXT_ENV_MAX);
		return -EINVAL;
	}
	*ret_length = 0;
	for (uint32_t i = 0; i < o->via.array.size; i++) {
		struct text t;
		if (!text_of(&o->via.array.ptr[i], &t) || t.length < 2 || t.bytes[0] == '=' ||
		    memchr(t.bytes, '=', t.length) == NULL || holds_nul(t)) {
			snprintf(why, why_size,
				 "context: env entry %u is not a text \"NAME=value\"", i + 1);
			return -EINVAL;
		}
		*ret_length += (uint64_t)t.length + 1;
	}
	return 0;
}

static unsigned char *
put(unsigned char *at, struct text t)
{
	if (t.length > 0)
		memcpy(at, t.bytes, t.length);
	at[t.length] = '\0';
	return at + t.length + 1;
}

int
context_pack(const msgpack_object *map, unsigned char **ret, uint32_t *ret_length, char *why,
	     size_t why_size)
{
	if (map->type != MSGPACK_OBJECT_MAP) {
		snprintf(why, why_size, "context: expected a map with cwd, env and umask");
		return -EINVAL;
	}
	const msgpack_object *env = find(&map->via.map, "env");
	struct text cwd;
	unsigned mask;
	uint64_t env_length;
	int r = check_umask(find(&map->via.map, "umask"), &mask, why, why_size);
	if (r == 0)
		r = check_cwd(find(&map->via.map, "cwd"), &cwd, why, why_size);
	if (r == 0)
		r = check_env(env, &env_length, why, why_size);
	if (r < 0)
		return r;

	char octal[8];
	int octal_length = snprintf(octal, sizeof(octal), "%03o", mask);
	uint64_t length = (uint64_t)octal_length + 1 + cwd.length + 1 + env_length;
	if (length > CONTEXT_BYTES_MAX) {
		snprintf(why, why_size,
			 "context: environment and path take %llu bytes, at most %u may",
			 (unsigned long long)length, CONTEXT_BYTES_MAX);
		return -E2BIG;
	}
	unsigned char *bytes = malloc(length);
	if (bytes == NULL) {
		snprintf(why, why_size, "context: out of memory");
		return -ENOMEM;
	}
	unsigned char *at = put(bytes, (struct text){ octal, (uint32_t)octal_length });
	at = put(at, cwd);
	for (uint32_t i = 0; i < env->via.array.size; i++) {
		struct text t = { 0 };
		text_of(&env->via.array.ptr[i], &t);
		at = put(at, t);
	}
	*ret = bytes;
	*ret_length = (uint32_t)length;
	return 0;
}

static size_t
count_strings(const char *at, const char *end)
{
	size_t n = 0;
	for (; at < end; at += strlen(at) + 1)
		n++;
	return n;
}

int
context_read(const void *bytes, uint32_t length, struct context *ret)
{
	const char *at = bytes, *end = at + length;

	if (length == 0 || end[-1] != '\0')
		return -EPROTO;
	size_t strings = count_strings(at, end);
	if (strings < 2)
		return -EPROTO;

	char *digits_end;
	unsigned long mask = strtoul(at, &digits_end, 8);
	if (digits_end == at || *digits_end != '\0' || mask > 0777)
		return -EPROTO;
	at += strlen(at) + 1;
	const char *cwd = at;
	if (cwd[0] != '/')
		return -EPROTO;
	at += strlen(at) + 1;

	char **env = malloc((strings - 1) * sizeof(*env));
	if (env == NULL)
		return -ENOMEM;
	size_t n = 0;
	for (; at < end; at += strlen(at) + 1)
		env[n++] = (char *)(uintptr_t)at;
	env[n] = NULL;
	*ret = (struct context){ .umask = (mode_t)mask, .cwd = cwd, .env = env };
	return 0;
}

/* systemd's words to the daemon: a command that took them for its own would speak in the
 * daemon's name. */
static bool
is_the_daemons(const char *variable)
{
	return strncmp(variable, "NOTIFY_SOCKET=", 14) == 0 ||
	       strncmp(variable, "LISTEN_", 7) == 0 || strncmp(variable, "WATCHDOG_", 9) == 0;
}

int
context_default(struct context *ret)
{
	size_t count = 0;
	while (environ != NULL && environ[count] != NULL)
		count++;
	char **env = malloc((count + 1) * sizeof(*env));
	if (env == NULL)
		return -ENOMEM;
	size_t n = 0;
	for (size_t i = 0; i < count; i++)
		if (!is_the_daemons(environ[i]))
			env[n++] = environ[i];
	env[n] = NULL;
	*ret = (struct context){ .umask = UMASK_DEFAULT, .cwd = "/", .env = env };
	return 0;
}

static bool
is_among(const char *variable, char *const *more, unsigned count)
{
	size_t name = strcspn(variable, "=") + 1;

	for (unsigned i = 0; i < count; i++)
		if (strncmp(variable, more[i], name) == 0)
			return true;
	return false;
}

char **
context_extend(char *const *env, char *const *more, unsigned count)
{
	size_t n = 0, kept = 0;

	while (env[n] != NULL)
		n++;
	char **all = malloc((n + count + 1) * sizeof(*all));
	if (all == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (!is_among(env[i], more, count))
			all[kept++] = env[i];
	for (unsigned i = 0; i < count; i++)
		all[kept++] = more[i];
	all[kept] = NULL;
	return all;
}

void
context_free(struct context *c)
{
	free(c->env);
	c->env = NULL;
}

const char *
context_variable(char *const *env, const char *name)
{
	size_t length = strlen(name);
	for (; *env != NULL; env++)
		if (strncmp(*env, name, length) == 0 && (*env)[length] == '=')
			return *env + length + 1;
	return NULL;
}

struct shared_context *
shared_context_new(const void *bytes, uint32_t length)
{
	struct shared_context *c = malloc(sizeof(*c) + length);

	if (c == NULL)
		return NULL;
	c->references = 1;
	c->length = length;
	memcpy(c->bytes, bytes, length);
	return c;
}

struct shared_context *
shared_context_use(struct shared_context *c)
{
	c->references++;
	return c;
}

void
shared_context_drop(struct shared_context *c)
{
	if (c != NULL && --c->references == 0)
		free(c);
}
