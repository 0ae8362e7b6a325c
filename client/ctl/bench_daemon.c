/*
 * bench_daemon.c - private daemons for the rows: found, started in a directory of their own,
 * asked, stopped.
 *
 * They die with the process that started them (PR_SET_PDEATHSIG), so a row that is ended
 * half-way leaves none.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/command.h"
#include "client/ctl/floor.h"
#include "client/ctl/reply.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"

#define START_NS   (60 * NS_PER_S)
#define STOP_MS    5000
#define PING_MS    1000
#define RETRY_US   100
#define RECEIPT_MS 60000 /* no job of ours takes as long */

/* ---- which ---- */

static int
try_daemon(const char *directory, int length, const char *name, char *ret, size_t size)
{
	int n = snprintf(ret, size, "%.*s/%s", length, directory, name);
	return n < (int)size && access(ret, X_OK) == 0 ? 0 : -ENOENT;
}

int
bench_find_daemon(char *ret, size_t size)
{
	char self[512];

	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n > 0) {
		self[n] = '\0';
		int length = (int)(strrchr(self, '/') - self);
		if (try_daemon(self, length, "pyprepd", ret, size) == 0 ||
		    try_daemon(self, length, "../sbin/pyprepd", ret, size) == 0)
			return 0;
	}
	const char *path = getenv("PATH");
	while (path && *path) {
		int length = (int)strcspn(path, ":");
		if (length > 0 && try_daemon(path, length, "pyprepd", ret, size) == 0)
			return 0;
		path += length + (path[length] == ':');
	}
	return -ENOENT;
}

/* ---- start and stop ---- */

/* Deaths by the hundred are nobody's fault here. */
#define DRILL_POOLS                                                             \
	"[pool \"cpu\"]\nexecutor = process\nworkers = 2\nrestart_max = 1000\n" \
	"[pool \"io\"]\nexecutor = event\nworkers = 1\nrestart_max = 1000\n"    \
	"[pool \"shell\"]\nexecutor = command\nworkers = 2\ngrace = 200ms\nrestart_max = 1000\n"

static const char *const configs[] = {
	[CONFIG_BUILT_IN] = "",
	[CONFIG_TWO_WORKERS] = "[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"
			       "[pool \"io\"]\nexecutor = event\nworkers = 1\n"
			       "[pool \"shell\"]\nexecutor = command\nworkers = 2\n",
	/* Workers for each way that a job can travel to them. */
	[CONFIG_LINKS] = "[daemon]\nzmq_lane = yes\n"
			 "[pool \"ring\"]\nexecutor = process\nworkers = 2\nlink = ring\n"
			 "[pool \"pipe\"]\nexecutor = process\nworkers = 2\nlink = pipe\n"
			 "[pool \"queue\"]\nexecutor = process\nworkers = 2\nlink = queue\n"
			 "[pool \"zmq\"]\nexecutor = process\nworkers = 2\nlink = zmq\n",
	[CONFIG_DRILL] = "[daemon]\nstore_keep = 0\nstore_bytes = 0\n" DRILL_POOLS,
	[CONFIG_FORGETS] = "[daemon]\nstore = memory\n" DRILL_POOLS,
};

/* The lane zmq is there for those who take it: the others' daemon is without it. */
static bool
wants_zmq(void)
{
	const char *lane = ctl.lane != NULL ? ctl.lane : getenv("PYPREP_LANE");

	return lane != NULL && strcmp(lane, "zmq") == 0;
}

/* DIRECTORY/run, DIRECTORY/state and DIRECTORY/conf. */
static int
make_places(const struct bench_daemon *d, enum bench_config config)
{
	char path[300];

	snprintf(path, sizeof path, "%s/state", d->directory);
	if (mkdir(d->directory, 0700) < 0 || mkdir(d->runtime, 0700) < 0 || mkdir(path, 0700) < 0)
		return -errno;
	snprintf(path, sizeof path, "%s/conf", d->directory);
	FILE *file = fopen(path, "we");
	if (!file)
		return -errno;
	bool bad = fputs(wants_zmq() ? "[daemon]\nzmq_lane = yes\n" : "", file) < 0 ||
		   fputs(configs[config], file) < 0;
	return fclose(file) != 0 || bad ? -EIO : 0;
}

/* The child: becomes pyprepd, with its log in a file, free of the service manager's marks. */
static _Noreturn void
become_daemon(const struct bench *bench, const struct bench_daemon *d, bool watchdog)
{
	static const char *const unwanted[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
						"LISTEN_FDS", "LISTEN_PID" };
	char state[300], conf[300], log[300];

	snprintf(state, sizeof state, "%s/state", d->directory);
	snprintf(conf, sizeof conf, "%s/conf", d->directory);
	snprintf(log, sizeof log, "%s/log", d->directory);
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 ||
	    dup2(fd, STDERR_FILENO) < 0)
		_exit(127);
	setsid(); /* a terminal's Ctrl-C is ours to handle */
	setenv("PYPREP_STATE_DIR", state, 1);
	for (size_t i = 0; i < sizeof unwanted / sizeof unwanted[0]; i++)
		unsetenv(unwanted[i]);
	if (watchdog)
		setenv("WATCHDOG_USEC", "1000000", 1);
	char *const argv[] = { (char *)"pyprepd",       (char *)"--config", conf,
			       (char *)"--runtime-dir", (char *)d->runtime, NULL };
	execv(bench->daemon, argv);
	_exit(127);
}

int
daemon_prepare_only(const struct bench *bench, enum bench_config config, struct bench_daemon *ret,
		    struct bench_result *result)
{
	static unsigned number;

	*ret = (struct bench_daemon){ 0 };
	snprintf(ret->directory, sizeof ret->directory, "%s/%d-%u", bench->directory, (int)getpid(),
		 number++);
	snprintf(ret->runtime, sizeof ret->runtime, "%s/run", ret->directory);
	int r = make_places(ret, config);
	if (r < 0)
		return bench_fail(result, "cannot make %s: %s", ret->directory, strerror(-r));
	return 0;
}

int
daemon_again(const struct bench *bench, struct bench_daemon *d, bool watchdog,
	     struct bench_result *result)
{
	pid_t pid = floor_fork();
	if (pid == 0)
		become_daemon(bench, d, watchdog);
	if (pid < 0)
		return bench_fail(result, "cannot fork: %s", strerror(errno));
	d->pid = pid;
	return 0;
}

int
daemon_spawn(const struct bench *bench, enum bench_config config, struct bench_daemon *ret,
	     struct bench_result *result)
{
	if (daemon_prepare_only(bench, config, ret, result) < 0)
		return -1;
	return daemon_again(bench, ret, false, result);
}

/* The last line of the daemon's log. */
static int
fail_with_log(const struct bench_daemon *d, struct bench_result *result, const char *what)
{
	char path[300], line[400] = "nothing";

	snprintf(path, sizeof path, "%s/log", d->directory);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof line, file))
		;
	if (file)
		fclose(file);
	line[strcspn(line, "\n")] = '\0';
	return bench_fail(result, "%s; its log ends with: %s", what, line);
}

static bool
answers(const struct bench_daemon *d)
{
	struct pyprep_problem why;
	struct request request;
	struct pyprep *p;

	if (pyprep_connect_lane(d->runtime, ctl.lane, &p, &why) < 0)
		return false;
	request_begin(&request, "ping", 0);
	int r = request_ask(&request, p, PING_MS, NULL, NULL, &why);
	pyprep_close(p);
	return r == 0;
}

int
daemon_wait(const struct bench_daemon *d, struct bench_result *result)
{
	uint64_t begun = clock_now();

	while (!answers(d)) {
		if (waitpid(d->pid, NULL, WNOHANG) != 0)
			return fail_with_log(d, result, "the private pyprepd ended at its start");
		if (clock_now() - begun > START_NS)
			return fail_with_log(d, result, "the private pyprepd does not answer");
		usleep(RETRY_US);
	}
	return 0;
}

void
daemon_stop(struct bench_daemon *d)
{
	if (d->pid <= 0)
		return;
	/* once to end, once more to end at once: nothing of ours is worth waiting for */
	kill(d->pid, SIGTERM);
	for (unsigned ms = 0; ms < STOP_MS; ms++) {
		if (waitpid(d->pid, NULL, WNOHANG) != 0) {
			d->pid = 0;
			return;
		}
		if (ms == STOP_MS / 2)
			kill(d->pid, SIGTERM);
		bench_pause_ms(1);
	}
	floor_kill(d->pid);
	d->pid = 0;
}

/* ---- a session ---- */

int
session_open(const struct bench *bench, enum bench_config config, struct bench_session *ret,
	     struct bench_result *result)
{
	struct pyprep_problem why = { 0 };
	const char *directory = ctl.runtime_dir;

	*ret = (struct bench_session){ 0 };
	if (!bench->attach) {
		if (daemon_spawn(bench, config, &ret->daemon, result) < 0 ||
		    daemon_wait(&ret->daemon, result) < 0)
			return -1;
		directory = ret->daemon.runtime;
	}
	if (pyprep_connect_lane(directory, ctl.lane, &ret->p, &why) < 0)
		return bench_fail(result, "%s", why.message);
	return 0;
}

void
session_close(struct bench_session *s)
{
	pyprep_close(s->p);
	daemon_stop(&s->daemon);
}

int
session_prepare(struct bench_session *s, const struct pyprep_job *job, struct pyprep_prepared **ret,
		struct bench_result *result)
{
	struct pyprep_problem why = { 0 };

	if (pyprep_prepare(s->p, job, ret, &why) < 0)
		return bench_fail(result, "%s", why.message);
	return 0;
}

int
session_receipt(struct bench_session *s, struct bench_result *result)
{
	struct pyprep_event event;
	int r;

	do
		r = pyprep_next(s->p, RECEIPT_MS, &event);
	while (r == -EINTR || (r == 1 && event.type != PYPREP_RECEIPT));
	if (r < 0)
		return bench_fail(result, "the connection to the daemon broke: %s", strerror(-r));
	if (r == 0)
		return bench_fail(result, "no receipt within %d s", RECEIPT_MS / 1000);
	if (strcmp(event.receipt.state, "succeeded") != 0)
		return bench_fail(result, "a job of kind %s %s: %s %s", event.receipt.kind,
				  event.receipt.state, event.receipt.error_code,
				  event.receipt.error_message);
	return 0;
}

int
session_run(struct bench_session *s, const struct pyprep_prepared *prepared, uint64_t count,
	    uint64_t window, struct bench_result *result)
{
	uint64_t sent = 0, back = 0;

	while (back < count) {
		while (sent < count && sent - back < window) {
			int r = pyprep_submit_prepared(s->p, prepared, NULL, NULL);
			if (r < 0)
				return bench_fail(result, "cannot submit: %s", strerror(-r));
			sent++;
		}
		/* in bursts, so that neither side wakes for every job */
		uint64_t until = sent < count ? sent - window / 2 : count;
		for (; back < until; back++)
			if (session_receipt(s, result) < 0)
				return -1;
	}
	return 0;
}

/* ---- its status ---- */

struct status_view {
	struct bench_status *status;
	bool daemon_seen; /* the first reply is the daemon, each further one a pool */
};

static int
got_status(void *context, const msgpack_object *map)
{
	struct status_view *view = context;
	struct bench_status *s = view->status;
	const msgpack_object *worker;

	if (!view->daemon_seen) {
		view->daemon_seen = true;
		s->supervisor = (pid_t)field_u64(map, "supervisor_pid");
		s->broker = (pid_t)field_u64(map, "broker_pid");
		s->manager = (pid_t)field_u64(map, "manager_pid");
		s->loaded = field_bool(field_get(map, "store"), "loaded");
		return 0;
	}
	s->queued += field_u64(map, "queued");
	s->running += field_u64(map, "running");
	unsigned count = field_list(map, "workers", &worker);
	for (unsigned i = 0; i < count && s->count < BENCH_WORKERS; i++) {
		struct bench_worker *w = &s->workers[s->count++];
		snprintf(w->pool, sizeof w->pool, "%.*s", FIELD_TEXT(map, "name"));
		w->slot = (unsigned)field_u64(&worker[i], "slot");
		w->pid = (pid_t)field_u64(&worker[i], "pid");
		w->jobs = field_u64(&worker[i], "jobs");
		w->ready_ns = field_u64(&worker[i], "ready_ns");
		w->idle = field_text_is(&worker[i], "state", "idle");
	}
	return 0;
}

int
session_status(struct bench_session *s, struct bench_status *ret, struct bench_result *result)
{
	struct status_view view = { .status = ret };
	struct pyprep_problem why = { 0 };
	struct request request;

	*ret = (struct bench_status){ 0 };
	request_begin(&request, "status", 0);
	if (request_ask(&request, s->p, RECEIPT_MS, got_status, &view, &why) < 0)
		return bench_fail(result, "%s", why.message);
	return 0;
}

static int
got_pong(void *context, const msgpack_object *map)
{
	*(bool *)context = field_bool(map, "ready");
	return 0;
}

int
session_settle(struct bench_session *s, struct bench_result *result)
{
	uint64_t begun = clock_now();
	bool ready = false;

	while (!ready && clock_now() - begun < START_NS) {
		struct pyprep_problem why = { 0 };
		struct request request;

		request_begin(&request, "ping", 0);
		if (request_ask(&request, s->p, RECEIPT_MS, got_pong, &ready, &why) < 0)
			return bench_fail(result, "%s", why.message);
		if (!ready)
			usleep(RETRY_US);
	}
	return 0;
}

int
session_tell(struct bench_session *s, const char *verb, const char *pool,
	     struct bench_result *result)
{
	struct pyprep_problem why = { 0 };
	struct request request;

	request_begin(&request, verb, 1);
	request_text(&request, "pool", pool);
	if (request_ask(&request, s->p, RECEIPT_MS, NULL, NULL, &why) < 0)
		return bench_fail(result, "%s", why.message);
	return 0;
}
