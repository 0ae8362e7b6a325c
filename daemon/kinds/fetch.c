/*
 * fetch.c - get a URL over HTTP.  The transfer itself is in a module that is loaded at the
 * first fetch of a worker; see fetch/module.h.
 */
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "daemon/kind.h"
#include "daemon/kinds/fetch/module.h"

enum { URL };

/* Loaded once per worker; then constant. */
static struct {
	pthread_once_t once;
	const struct fetch_module *module; /* NULL: see why */
	char why[256];
} loaded = { .once = PTHREAD_ONCE_INIT };

/* Where the module may be, best first: beside this program in a build tree, or under the
 * prefix it was installed to; then where the build was told to install. */
static const char *const relative_dirs[] = { "../lib/pyprep", "../" PYPREP_MODULE_LIBDIR };

static bool
path_beside_program(const char *dir, char *path, size_t size)
{
	char program[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

	if (n <= 0)
		return false;
	program[n] = '\0';
	char *slash = strrchr(program, '/');
	if (slash == NULL)
		return false;
	*slash = '\0';
	size_t length = (size_t)snprintf(path, size, "%s/%s/" FETCH_MODULE_FILE, program, dir);
	return length < size && access(path, R_OK) == 0;
}

static void
find_module(char *path, size_t size)
{
	for (size_t i = 0; i < sizeof(relative_dirs) / sizeof(relative_dirs[0]); i++)
		if (path_beside_program(relative_dirs[i], path, size))
			return;
	snprintf(path, size, "%s", PYPREP_MODULE_DIR "/" FETCH_MODULE_FILE);
}

static void
load(void)
{
	char path[PATH_MAX];

	find_module(path, sizeof(path));
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL) {
		snprintf(loaded.why, sizeof(loaded.why), "%s", dlerror());
		return;
	}
	const struct fetch_module *module = dlsym(handle, FETCH_MODULE_SYMBOL);
	if (module == NULL || module->version != FETCH_MODULE_VERSION) {
		snprintf(loaded.why, sizeof(loaded.why), "%.200s is of another version", path);
		dlclose(handle);
		return;
	}
	loaded.module = module;
}

static void
enter(void *owner)
{
	io_enter(owner);
}

static void
leave(void *owner)
{
	io_leave(owner);
}

static void
done(void *owner, const struct fetch_answer *answer)
{
	struct io_call *io = owner;
	struct call *call = &io->call;

	if (answer->error != NULL) {
		call_fail(call, "cannot fetch %.300s: %s", args_text(call->args, URL, NULL),
			  answer->error);
	} else {
		msgpack_packer p = call_packer(call);
		msgpack_pack_map(&p, 3);
		msgpack_pack_str_with_body(&p, "status", 6);
		msgpack_pack_int64(&p, answer->status);
		msgpack_pack_str_with_body(&p, "bytes", 5);
		msgpack_pack_uint64(&p, answer->bytes);
		msgpack_pack_str_with_body(&p, "time_ns", 7);
		msgpack_pack_uint64(&p, answer->time_ns);
	}
	io_done(io);
}

static void
fetch_start(struct io_call *io)
{
	static const struct fetch_hooks hooks = { .enter = enter, .leave = leave, .done = done };
	const char *url = args_text(io->call.args, URL, NULL);
	const char *error;

	if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0) {
		call_fail(&io->call, "url must begin with http:// or https://, got %.300s", url);
		io_done(io);
		return;
	}
	pthread_once(&loaded.once, load);
	if (loaded.module == NULL) {
		call_fail(&io->call,
			  "fetch needs its module " FETCH_MODULE_FILE ", in ../lib/pyprep beside "
			  "pyprepd or in " PYPREP_MODULE_DIR ": %s",
			  loaded.why);
		io_done(io);
		return;
	}
	io->state = loaded.module->start(io->base, url, &hooks, io, &error);
	if (io->state == NULL) {
		call_fail(&io->call, "cannot fetch %.300s: %s", url, error);
		io_done(io);
	}
}

static void
fetch_stop(struct io_call *io)
{
	loaded.module->stop(io->state);
}

const struct kind kind_fetch = {
	.name = "fetch",
	.class = KIND_IO,
	.keeps = true, /* connections */
	.help = "get a URL over HTTP and forget the body: status, bytes, time",
	.params = {
		[URL] = { .name = "url", .type = PARAM_TEXT, .low = 8, .high = 8000,
			  .help = "begins with http:// or https://" },
	},
	.start = fetch_start,
	.stop = fetch_stop,
};
