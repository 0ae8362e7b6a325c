/* helpers.c - see helpers.h */
#include "tests/helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <msgpack.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/link.h"

#define READY_MS 60000
#define STOP_MS  20000

/* Say what was wrong, with the daemon's log, and end the test. */
static void __attribute__((noreturn, format(printf, 2, 3)))
give_up(const struct test_daemon *d, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	fputs("helpers: ", stderr);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
	FILE *log = d != NULL ? fopen(d->log, "re") : NULL;
	char line[1024];
	while (log != NULL && fgets(line, sizeof(line), log) != NULL)
		fprintf(stderr, "  %s", line);
	abort();
}

/* ---- the daemon ---- */

#define BUILT_IN_POOLS                                                          \
	"[pool \"cpu\"]\nexecutor = process\n[pool \"io\"]\nexecutor = event\n" \
	"[pool \"threads\"]\nexecutor = thread\n[pool \"shell\"]\nexecutor = command\n"

/* `config` (NULL: none) with the link under test in each of its pools; to be freed. */
static char *
with_link(const char *config)
{
	if (test_link_is("ring"))
		return config != NULL ? strdup(config) : NULL;
	if (config == NULL)
		config = BUILT_IN_POOLS;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	for (const char *end; *config != '\0'; config = end) {
		end = strchr(config, '\n');
		end = end != NULL ? end + 1 : config + strlen(config);
		fwrite(config, 1, (size_t)(end - config), out);
		if (strncmp(config, "[pool ", 6) == 0)
			fprintf(out, "link = %s\n", test_link());
	}
	fclose(out);
	return text;
}

void
daemon_prepare(struct test_daemon *d, const char *config)
{
	*d = (struct test_daemon){ 0 };
	test_dir_make(d->root, sizeof(d->root));
	snprintf(d->runtime, sizeof(d->runtime), "%s/run", d->root);
	snprintf(d->log, sizeof(d->log), "%s/log", d->root);
	char state[112];
	snprintf(state, sizeof(state), "%s/state", d->root);
	mkdir(d->runtime, 0700);
	mkdir(state, 0700);
	setenv("PYPREP_RUNTIME_DIR", d->runtime, 1);
	setenv("PYPREP_STATE_DIR", state, 1);
	char *linked = with_link(config);
	if (linked != NULL)
		test_write_file(d->root, "pyprepd.conf", linked, d->config, sizeof(d->config));
	free(linked);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static void __attribute__((noreturn)) become_daemon(const struct test_daemon *d)
{
	int null = open("/dev/null", O_RDONLY);
	int log = open(d->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(null, 0);
	dup2(log, 1);
	dup2(log, 2);
	close_range(3, ~0u, 0); /* the runner's own descriptors are not close-on-exec */
	execl(PYPREP_BIN "/pyprepd", "pyprepd", "--runtime-dir", d->runtime,
	      d->config[0] != '\0' ? "--config" : (char *)NULL, d->config, (char *)NULL);
	dprintf(2, "cannot execute " PYPREP_BIN "/pyprepd: %s\n", strerror(errno));
	_exit(127);
}

void
daemon_launch(struct test_daemon *d)
{
	d->pid = test_fork();
	if (d->pid < 0)
		give_up(d, "fork: %s", strerror(errno));
	if (d->pid == 0)
		become_daemon(d);
}

/* Running, and every worker of the pools that are not failed is idle? */
static bool
is_ready(const struct test_daemon *d)
{
	struct test_status status;
	if (daemon_status(d, &status) < 0 || strcmp(status.state, "running") != 0)
		return false;
	for (unsigned p = 0; p < status.pool_count; p++) {
		struct status_pool *pool = &status.pools[p];
		unsigned up = 0;
		for (unsigned w = 0; w < pool->worker_count; w++)
			up += strcmp(pool->workers[w].state, "idle") == 0;
		if (strcmp(pool->state, "failed") != 0 && up < pool->size)
			return false;
	}
	return status.pool_count > 0;
}

bool
daemon_wait_ready(struct test_daemon *d, unsigned ms)
{
	return wait_until(ms, is_ready(d) || !process_exists(d->pid)) && process_exists(d->pid);
}

void
daemon_begin(struct test_daemon *d, const char *config)
{
	daemon_prepare(d, config);
	daemon_launch(d);
	if (!daemon_wait_ready(d, READY_MS))
		give_up(d, "pyprepd was not ready within %d ms; its log:", READY_MS);
}

int
daemon_stop(struct test_daemon *d, unsigned ms)
{
	if (d->pid == 0)
		return 0;
	kill(d->pid, SIGTERM);
	int status = wait_exit(d->pid, ms);
	if (status >= 0)
		d->pid = 0;
	return status;
}

/* Reap what the daemon left to us; true when nothing of it runs any more. */
static bool
all_reaped(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

void
daemon_end(struct test_daemon *d)
{
	if (d->root[0] == '\0')
		return;
	if (daemon_stop(d, STOP_MS) == -ETIMEDOUT) {
		fprintf(stderr, "helpers: pyprepd did not stop within %d ms\n", STOP_MS);
		kill_and_wait(d->pid, SIGKILL);
	}
	bool clean = wait_until(20000, all_reaped());
	if (!clean) {
		pid_t left[64];
		char title[128];
		int n = list_children(getpid(), left, 64);
		for (int i = 0; i < n; i++) {
			if (!process_title(left[i], title, sizeof(title)))
				snprintf(title, sizeof(title), "(zombie)");
			fprintf(stderr, "helpers: process %d outlived its daemon: %s\n", left[i],
				title);
			kill(left[i], SIGKILL);
		}
		give_up(d, "pyprepd left processes behind; its log:");
	}
	test_dir_remove(d->root);
	*d = (struct test_daemon){ 0 };
}

bool
daemon_logged(const struct test_daemon *d, const char *text)
{
	FILE *log = fopen(d->log, "re");
	char line[2048];
	bool found = false;
	while (log != NULL && !found && fgets(line, sizeof(line), log) != NULL)
		found = strstr(line, text) != NULL;
	if (log != NULL)
		fclose(log);
	return found;
}

/* ---- status ---- */

static const msgpack_object *
map_get(const msgpack_object *map, const char *key)
{
	if (map->type != MSGPACK_OBJECT_MAP)
		return NULL;
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		const msgpack_object_kv *kv = &map->via.map.ptr[i];
		if (kv->key.type == MSGPACK_OBJECT_STR && kv->key.via.str.size == strlen(key) &&
		    memcmp(kv->key.via.str.ptr, key, strlen(key)) == 0)
			return &kv->val;
	}
	return NULL;
}

static uint64_t
map_number(const msgpack_object *map, const char *key)
{
	const msgpack_object *v = map_get(map, key);
	return v != NULL && v->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? v->via.u64 : 0;
}

static void
map_text(const msgpack_object *map, const char *key, char *buffer, size_t size)
{
	const msgpack_object *v = map_get(map, key);
	buffer[0] = '\0';
	if (v != NULL && v->type == MSGPACK_OBJECT_STR)
		snprintf(buffer, size, "%.*s", (int)v->via.str.size, v->via.str.ptr);
}

static void
read_worker(const msgpack_object *map, struct status_worker *w)
{
	w->slot = (unsigned)map_number(map, "slot");
	w->pid = (pid_t)map_number(map, "pid");
	w->jobs = map_number(map, "jobs");
	w->restarts = map_number(map, "restarts");
	map_text(map, "state", w->state, sizeof(w->state));
}

static void
read_pool(const msgpack_object *map, struct status_pool *pool)
{
	map_text(map, "name", pool->name, sizeof(pool->name));
	map_text(map, "executor", pool->executor, sizeof(pool->executor));
	map_text(map, "state", pool->state, sizeof(pool->state));
	pool->size = map_number(map, "size");
	pool->able = map_number(map, "able");
	pool->able_least = map_number(map, "able_least");
	pool->recycled = map_number(map, "recycled");
	pool->queued = map_number(map, "queued");
	pool->running = map_number(map, "running");
	pool->done = map_number(map, "done");
	const msgpack_object *workers = map_get(map, "workers");
	if (workers == NULL || workers->type != MSGPACK_OBJECT_ARRAY)
		return;
	for (uint32_t i = 0; i < workers->via.array.size && i < STATUS_WORKERS; i++)
		read_worker(&workers->via.array.ptr[i], &pool->workers[pool->worker_count++]);
}

static void
read_daemon(const msgpack_object *map, struct test_status *status)
{
	map_text(map, "state", status->state, sizeof(status->state));
	status->supervisor = (pid_t)map_number(map, "supervisor_pid");
	status->broker = (pid_t)map_number(map, "broker_pid");
	status->manager = (pid_t)map_number(map, "manager_pid");
	map_text(map, "manager_state", status->manager_state, sizeof(status->manager_state));
	status->clients = map_number(map, "clients");
	const msgpack_object *jobs = map_get(map, "jobs"), *table = map_get(map, "table");
	if (jobs != NULL) {
		status->jobs_queued = map_number(jobs, "queued");
		status->jobs_running = map_number(jobs, "running");
	}
	if (table != NULL) {
		status->table_jobs = map_number(table, "jobs");
		status->table_bytes = map_number(table, "bytes");
	}
}

static int
take_status(void *context, const void *map, size_t length)
{
	struct test_status *status = context;
	msgpack_unpacked unpacked;
	msgpack_unpacked_init(&unpacked);
	size_t offset = 0;
	if (msgpack_unpack_next(&unpacked, map, length, &offset) == MSGPACK_UNPACK_SUCCESS) {
		if (map_get(&unpacked.data, "supervisor_pid") != NULL)
			read_daemon(&unpacked.data, status);
		else if (status->pool_count < STATUS_POOLS)
			read_pool(&unpacked.data, &status->pools[status->pool_count++]);
	}
	msgpack_unpacked_destroy(&unpacked);
	return 0;
}

int
daemon_status(const struct test_daemon *d, struct test_status *ret)
{
	static const char ask[] = "\x81\xa4verb\xa6status"; /* {"verb": "status"} */
	struct pyprep *p;
	int r = pyprep_connect(d->runtime, &p, NULL);
	if (r < 0)
		return r;
	*ret = (struct test_status){ 0 };
	r = pyprep_request(p, ask, sizeof(ask) - 1, 20000, take_status, ret, NULL);
	pyprep_close(p);
	return r < 0 ? r : 0;
}

struct status_pool *
status_pool(struct test_status *status, const char *name)
{
	for (unsigned i = 0; i < status->pool_count; i++)
		if (strcmp(status->pools[i].name, name) == 0)
			return &status->pools[i];
	return NULL;
}

pid_t
daemon_worker(const struct test_daemon *d, const char *pool, unsigned slot)
{
	struct test_status status;
	struct status_pool *found;
	if (daemon_status(d, &status) < 0 || (found = status_pool(&status, pool)) == NULL)
		return 0;
	for (unsigned i = 0; i < found->worker_count; i++) {
		struct status_worker *w = &found->workers[i];
		if (w->slot == slot &&
		    (strcmp(w->state, "idle") == 0 || strcmp(w->state, "busy") == 0))
			return w->pid;
	}
	return 0;
}

void
daemon_kill_worker(const struct test_daemon *d, const char *pool, unsigned slot)
{
	pid_t pid = 0;

	if (!wait_until(READY_MS, (pid = daemon_worker(d, pool, slot)) > 0))
		give_up(d, "there is no worker %s/%u; the daemon's log:", pool, slot);
	kill(pid, SIGKILL);
}

pid_t
daemon_broker(const struct test_daemon *d)
{
	struct test_status status;
	return daemon_status(d, &status) < 0 ? 0 : status.broker;
}

/* ---- jobs ---- */

struct pyprep *
daemon_connect(const struct test_daemon *d)
{
	struct pyprep *p;
	struct pyprep_problem why;
	if (pyprep_connect(d->runtime, &p, &why) < 0)
		give_up(d, "cannot connect: %s; the daemon's log:", why.message);
	return p;
}

int
run_job(struct pyprep *p, const char *kind, const char *pool, const char *params, unsigned ms,
	struct pyprep_receipt *ret)
{
	char words[512];
	const char *list[16] = { 0 };
	snprintf(words, sizeof(words), "%s", params != NULL ? params : "");
	int n = 0;
	for (char *save, *w = strtok_r(words, " ", &save); w != NULL && n < 15;
	     w = strtok_r(NULL, " ", &save))
		list[n++] = w;

	struct pyprep_job job = { .kind = kind, .pool = pool, .params = list };
	uint64_t tag, deadline = test_now_ms() + ms;
	struct pyprep_problem why = { 0 };
	int r = pyprep_submit(p, &job, NULL, &tag, &why);
	if (r < 0) {
		fprintf(stderr, "helpers: submit %s: %s\n", kind, why.message);
		return r;
	}
	for (;;) {
		uint64_t now = test_now_ms();
		struct pyprep_event event;
		r = pyprep_next(p, now < deadline ? (int)(deadline - now) : 0, &event);
		if (r == -EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		if (event.type == PYPREP_RECEIPT && event.tag == tag) {
			*ret = event.receipt;
			return 0;
		}
	}
}

int64_t
receipt_int(const struct pyprep_receipt *receipt)
{
	msgpack_unpacked unpacked;
	msgpack_unpacked_init(&unpacked);
	size_t offset = 0;
	int64_t value = 0;
	bool is_int = msgpack_unpack_next(&unpacked, receipt->result, receipt->result_length,
					  &offset) == MSGPACK_UNPACK_SUCCESS;
	if (is_int && unpacked.data.type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		value = (int64_t)unpacked.data.via.u64;
	else if (is_int && unpacked.data.type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		value = unpacked.data.via.i64;
	else
		is_int = false;
	msgpack_unpacked_destroy(&unpacked);
	if (!is_int)
		give_up(NULL, "the result of %s is no integer (state %s, %s)", receipt->kind,
			receipt->state, receipt->error_message);
	return value;
}
