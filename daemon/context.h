/*
 * context.h - where a client stood when it submitted a command: umask, working
 * directory, environment.
 *
 * The broker packs it once per "context" request (context_pack) and sends it behind the
 * arguments of each command; the worker reads it in place (context_read).  Packed: strings,
 * each NUL-terminated: the umask as octal text, the working directory, then "A=b" for each
 * variable.
 */
#ifndef PYPREP_DAEMON_CONTEXT_H
#define PYPREP_DAEMON_CONTEXT_H

#include <msgpack.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CONTEXT_BYTES_MAX 65536u
#define CONTEXT_ENV_MAX   4096u

/* Broker: pack "cwd", "env" and "umask" of a client's request map.  `umask` may be missing
 * (022), other keys are ignored, nothing is trusted.  The caller frees *ret.  0, or with a
 * sentence in `why`: -EINVAL a wrong type or value, -E2BIG longer than CONTEXT_BYTES_MAX,
 * -ENOMEM. */
int context_pack(const msgpack_object *map, unsigned char **ret, uint32_t *ret_length, char *why,
		 size_t why_size);

/* Broker: a packed context that detached commands of one client share. */
struct shared_context {
	uint32_t references;
	uint32_t length;
	unsigned char bytes[];
};
struct shared_context *shared_context_new(const void *bytes, uint32_t length); /* NULL: no memory */
struct shared_context *shared_context_use(struct shared_context *c); /* one more reference */
void shared_context_drop(struct shared_context *c); /* NULL is fine */

/* A context as a command needs it. */
struct context {
	mode_t umask;
	const char *cwd;
	char **env; /* ends with NULL; the array is owned, the strings are not */
};

/* Worker: read a packed context; strings point into `bytes`, which must outlive *ret.
 * 0, -EPROTO when it is not a context, -ENOMEM. */
int context_read(const void *bytes, uint32_t length, struct context *ret);

/* Worker: the context of a command whose client gave none: "/", 022, and the daemon's own
 * environment without what systemd meant for the daemon alone.  0 or -ENOMEM. */
int context_default(struct context *ret);

/* `env` with the `count` variables "NAME=value" of `more`, in place of those of the same names.  The
 * caller frees the array; the strings are not copied.  NULL: no memory. */
char **context_extend(char *const *env, char *const *more, unsigned count);

void context_free(struct context *c);

/* The value of `name` in `env`, or NULL. */
const char *context_variable(char *const *env, const char *name);

#endif
