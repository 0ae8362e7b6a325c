/*
 * context.c - what a command inherits from the process that submits it: working
 * directory, environment and umask, told to the broker once per connection.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/internal.h"

#define CONTEXT_MAX 60000u /* bytes of the map; it travels in one frame */
#define ENTRY_EXTRA 5u     /* msgpack's head of a long string */

/* umask(2) can only be read by changing it, which other threads would see. */
static unsigned
read_umask(void)
{
	unsigned mask = 022;
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "Umask: %o", &mask) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return mask;
}

static bool
is_vital(const char *variable)
{
	return strncmp(variable, "PATH=", 5) == 0 || strncmp(variable, "HOME=", 5) == 0;
}

/* The longest variable that may be left out, or -1. */
static ssize_t
longest(const char *const *env, size_t count, bool vital_too)
{
	ssize_t found = -1;

	for (size_t i = 0; i < count; i++)
		if ((vital_too || !is_vital(env[i])) &&
		    (found < 0 || strlen(env[i]) > strlen(env[found])))
			found = (ssize_t)i;
	return found;
}

/* Leave out the longest until the rest fits into `room`, PATH and HOME last. */
static size_t
fit_environment(const char **env, size_t count, size_t room)
{
	size_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += strlen(env[i]) + ENTRY_EXTRA;
	while (total > room) {
		ssize_t out = longest(env, count, false);
		if (out < 0)
			out = longest(env, count, true);
		if (out < 0)
			break;
		total -= strlen(env[out]) + ENTRY_EXTRA;
		env[out] = env[--count];
	}
	return count;
}

static void
pack_context(msgpack_packer *pk, const char *cwd, const char **env, size_t count)
{
	msgpack_pack_map(pk, 4);
	pack_text(pk, "verb");
	pack_text(pk, "context");
	pack_text(pk, "cwd");
	pack_text(pk, cwd);
	pack_text(pk, "umask");
	msgpack_pack_uint32(pk, read_umask());
	pack_text(pk, "env");
	msgpack_pack_array(pk, count);
	for (size_t i = 0; i < count; i++)
		pack_text(pk, env[i]);
}

int
context_send(struct pyprep *p, struct pyprep_problem *why)
{
	char cwd[PATH_MAX];
	size_t count = 0;

	if (p->context_sent)
		return 0;
	if (getcwd(cwd, sizeof(cwd)) == NULL)
		return problem_set(why, -errno, "bad_request", job_error_exit(ERR_BAD_REQUEST),
				   "commands run in the current directory, and it cannot be named "
				   "(%s); change to one that exists",
				   strerror(errno));
	while (environ != NULL && environ[count] != NULL)
		count++;
	const char **env = calloc(count + 1, sizeof(*env));
	if (env == NULL)
		return problem_memory(why);
	for (size_t i = 0; i < count; i++)
		env[i] = environ[i];
	count = fit_environment(env, count, CONTEXT_MAX - sizeof(cwd) - 256);

	msgpack_sbuffer map;
	msgpack_packer pk;
	msgpack_sbuffer_init(&map);
	msgpack_packer_init(&pk, &map, msgpack_sbuffer_write);
	pack_context(&pk, cwd, env, count);
	free(env);
	int r = request_packed(p, &map, NULL, NULL, why);
	msgpack_sbuffer_destroy(&map);
	p->context_sent = r == 0;
	return r;
}
