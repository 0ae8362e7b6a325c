/*
 * supervisor.c - role: the parent of all.  It forks the broker and the workers, watches and
 * replaces them, and is the only one who kills.
 */
#include "daemon/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/title.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"
#include "shm/segment.h"

#define STOP_PATIENCE_S 2 /* workers and broker, after they were told to end */
#define HARD_SLACK_S    3 /* beyond the longest grace */

/* ---- the end ---- */

static void
set_deadline(struct supervisor *s, uint64_t ns)
{
	struct timeval tv = { .tv_sec = (time_t)(ns / NS_PER_S),
			      .tv_usec = (suseconds_t)(ns % NS_PER_S / NS_PER_US) };
	event_add(s->deadline, &tv);
}

static void
end_if_alone(struct supervisor *s)
{
	if (s->phase != STOP || !slots_gone(s) || s->minder.pid != 0 || s->orphans_held)
		return;
	if (s->broker_pid == 0)
		event_base_loopbreak(s->base);
	else
		keeper_forget(s); /* the order to end */
}

void
supervisor_stop(struct supervisor *s)
{
	if (s->phase == STOP)
		return;
	s->phase = STOP;
	slots_stop(s);
	minder_stop(s);
	sweeper_stop(s);
	set_deadline(s, STOP_PATIENCE_S * NS_PER_S);
	end_if_alone(s);
}

void
supervisor_drain(struct supervisor *s)
{
	struct empty_body empty = { 0 };

	if (s->phase != RUN)
		return;
	log_event(LOG_LEVEL_INFO, LOG_STOPPING, NULL,
		  "draining: running jobs have %g s; a second signal stops at once",
		  (double)s->config->drain_deadline_ns / (double)NS_PER_S);
	s->phase = DRAIN;
	notify_stopping(s);
	set_deadline(s, s->config->drain_deadline_ns);
	tell_broker(s, MSG_DRAIN, &empty, sizeof(empty), NULL, 0);
	if (s->broker_pid == 0)
		supervisor_stop(s);
}

void
supervisor_stop_at_once(struct supervisor *s)
{
	struct empty_body hard = { .reserved = 1 };

	log_event(LOG_LEVEL_INFO, LOG_STOPPING, NULL, "stopping at once");
	/* First: so that jobs end as cancelled, not as victims of their workers' deaths. */
	tell_broker(s, MSG_DRAIN, &hard, sizeof(hard), NULL, 0);
	slots_kill(s, SIGKILL);
	supervisor_stop(s);
}

static void
on_deadline(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;
	struct empty_body hard = { .reserved = 1 };
	uint64_t grace_ns = 0;

	(void)fd;
	(void)what;
	if (s->phase == DRAIN) {
		log_warn("the drain deadline has passed: ending what still runs");
		s->phase = DRAIN_HARD;
		tell_broker(s, MSG_DRAIN, &hard, sizeof(hard), NULL, 0);
		for (unsigned i = 0; i < s->pool_count; i++)
			if (s->pools[i].config->grace_ns > grace_ns)
				grace_ns = s->pools[i].config->grace_ns;
		set_deadline(s, grace_ns + HARD_SLACK_S * NS_PER_S);
	} else if (s->phase == DRAIN_HARD) {
		supervisor_stop(s);
	} else {
		slots_kill(s, SIGKILL);
		minder_kill(s);
		if (s->broker_pid > 0 && s->broker_control < 0)
			kill(s->broker_pid, SIGKILL);
		set_deadline(s, STOP_PATIENCE_S * NS_PER_S);
	}
}

/* ---- signals and timers ---- */

/* Deaths may come in storms: what the log left out of them is told when the second is over. */
static void
tell_left_out(struct supervisor *s)
{
	struct timeval second = { .tv_sec = 1 };

	if (log_tick())
		event_add(s->tell_later, &second);
}

static void
on_tell_later(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	tell_left_out(context);
}

static void
on_child(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;
	bool strangers = false;
	struct rusage usage;
	int status;
	pid_t pid;

	(void)fd;
	(void)what;
	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
		if (pid == s->broker_pid) {
			keeper_reaped(s, status);
			continue;
		}
		if (minder_reaped(s, pid, status) || sweeper_reaped(s, pid))
			continue;
		slots_reap(s, pid, status, &usage);
		strangers = true; /* or a worker, who may have left children */
	}
	if (strangers) {
		orphans_end(s);
		cgroup_tidy(&s->cgroup);
	}
	tell_left_out(s);
	end_if_alone(s);
}

static void
on_terminate(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;

	(void)fd;
	(void)what;
	if (s->phase == RUN)
		supervisor_drain(s);
	else
		supervisor_stop_at_once(s);
}

static void
on_hangup(evutil_socket_t fd, short what, void *context)
{
	unsigned char *map;
	size_t length;
	uint32_t flags;

	(void)fd;
	(void)what;
	reload(context, &map, &length, &flags);
	free(map);
}

/* WATCHDOG=1 says two things: this loop turns, and the broker answered the last beat. */
static void
on_watchdog(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;

	(void)fd;
	(void)what;
	if (s->beats_back == s->beats_sent) {
		notify_alive();
	} else if (s->beats_sent - s->beats_back >= 2 && s->broker_pid > 0) {
		log_error("the broker (pid %d) does not answer; replacing it", (int)s->broker_pid);
		kill(s->broker_pid, SIGKILL);
	}
	struct beat_body beat = { .number = ++s->beats_sent };
	tell_broker(s, MSG_BEAT, &beat, sizeof(beat), NULL, 0);
}

void
supervisor_progress(struct supervisor *s)
{
	if (s->announced || !s->broker_ready || !slots_settled(s))
		return;
	s->announced = true;
	log_event(LOG_LEVEL_INFO, LOG_STARTED, NULL, "ready: %u pools, %u workers", s->pool_count,
		  slots_count(s));
	notify_ready(s);
	spares_begin(s);
	minder_begin(s);
	sweeper_begin(s);
}

/* ---- birth ---- */

static int
make_board(struct board **ret)
{
	scoped_fd fd = -1;
	void *base = NULL;
	int r = segment_create("pyprep-board", sizeof(struct board), &fd);

	if (r == 0)
		r = segment_map(fd, sizeof(struct board), &base);
	if (r < 0)
		return r;
	*ret = base;
	atomic_store(&(*ret)->next_id, 1);
	atomic_store(&(*ret)->inode, segment_inode(fd));
	return 0;
}

static int
open_events(struct supervisor *s)
{
	static const struct {
		int number;
		event_callback_fn handler;
	} signals[] = {
		{ SIGCHLD, on_child },
		{ SIGTERM, on_terminate },
		{ SIGINT, on_terminate },
		{ SIGHUP, on_hangup },
	};

	s->base = event_base_new();
	if (s->base == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		s->signals[i] = evsignal_new(s->base, signals[i].number, signals[i].handler, s);
		if (s->signals[i] == NULL || event_add(s->signals[i], NULL) < 0)
			return -ENOMEM;
	}
	s->deadline = evtimer_new(s->base, on_deadline, s);
	s->watchdog = event_new(s->base, -1, EV_PERSIST, on_watchdog, s);
	s->tell_later = evtimer_new(s->base, on_tell_later, s);
	if (s->deadline == NULL || s->watchdog == NULL || s->tell_later == NULL ||
	    keeper_open(s) < 0 || orphans_open(s) < 0)
		return -ENOMEM;
	s->watchdog_ns = notify_watchdog_ns();
	if (s->watchdog_ns > 0) {
		struct timeval tv = { .tv_sec = (time_t)(s->watchdog_ns / NS_PER_S),
				      .tv_usec = (suseconds_t)(s->watchdog_ns % NS_PER_S / 1000) };
		event_add(s->watchdog, &tv);
	}
	return 0;
}

/* The socket is made here, so that its name and those who wait at it outlive a broker. */
static int
open_zmq_lane(struct supervisor *s)
{
	/* The mode alone decides who gets in: through ZeroMQ everybody is the daemon's own user. */
	static const struct config own = { .socket_mode = 0600 };
	static char path[512];

	snprintf(path, sizeof(path), "%s/lane.sock", s->runtime_dir);
	int fd = notify_bind(&own, path, SOCK_STREAM);
	if (fd < 0)
		return fd;
	s->birth.lane_listener = fd;
	s->birth.lane_path = path;
	return 0;
}

static int
open_all(struct supervisor *s, const char *socket_path)
{
	int r = make_board(&s->board);
	if (r < 0)
		return r;
	link_sweep(s->runtime_dir);
	cgroup_open(&s->cgroup, s->config->cgroups);
	cgroup_sweep(&s->cgroup);
	s->birth.cgroup = &s->cgroup;
	sweeper_open(s);
	s->birth.board = s->board;
	s->birth.broker_bell = bell_create();
	if (s->birth.broker_bell < 0)
		return s->birth.broker_bell;
	r = open_events(s);
	if (r == 0)
		r = slots_open(s);
	if (r == 0)
		r = minder_open(s);
	if (r < 0)
		return r;
	s->birth.listener = notify_listener(s->config, socket_path);
	if (s->birth.listener < 0)
		return s->birth.listener;
	return s->config->zmq_lane ? open_zmq_lane(s) : 0;
}

static void
close_all(struct supervisor *s)
{
	slots_close(s);
	minder_close(s);
	sweeper_close(s);
	cgroup_close(&s->cgroup);
	keeper_forget(s);
	for (size_t i = 0; i < sizeof(s->signals) / sizeof(s->signals[0]); i++)
		event_free(s->signals[i]);
	event_free(s->deadline);
	event_free(s->tell_later);
	orphans_close(s);
	event_free(s->broker_again);
	event_free(s->outbox_again);
	event_free(s->watchdog);
	event_base_free(s->base);
	segment_unmap(s->board, sizeof(struct board));
	close(s->birth.broker_bell);
	close(s->birth.listener);
	if (s->birth.lane_listener >= 0)
		close(s->birth.lane_listener);
}

/* Nothing of ours may outlive us: commands' descendants that nobody reaped yet. */
static void
reap_the_rest(struct supervisor *s)
{
	orphans_end(s);
	while (waitpid(-1, NULL, 0) > 0)
		orphans_end(s);
}

int
supervisor_main(struct config *config, const char *config_path, const char *runtime_dir,
		const char *state_dir)
{
	static struct supervisor supervisor;
	struct supervisor *s = &supervisor;
	char socket_path[512];
	scoped_fd lock = -1;

	log_open("supervisor", LOG_LEVEL_INFO);
	title_set("pyprepd: supervisor");
	s->config = config;
	s->config_path = config_path;
	s->runtime_dir = runtime_dir;
	s->broker_control = -1;
	s->birth = (struct birth){ .config = config,
				   .state_dir = state_dir,
				   .lane_listener = -1,
				   .counters_memfd = -1,
				   .manager_listener = -1,
				   .store_memfd = -1 };
	STAILQ_INIT(&s->outbox);
	int status = directory_lock(runtime_dir, &lock);
	if (status != 0)
		return status;
	s->birth.lock = lock;
	snprintf(socket_path, sizeof(socket_path), "%s/pyprepd.sock", runtime_dir);
	bool given = getenv("LISTEN_FDS") != NULL; /* the socket belongs to the service manager */
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	int r = open_all(s, socket_path);
	if (r < 0) {
		log_error("cannot start: %s", strerror(-r));
		return EX_OSERR;
	}
	keeper_start(s);
	slots_start(s);
	supervisor_progress(s);
	event_base_dispatch(s->base);
	reap_the_rest(s);
	if (!given)
		unlink(socket_path); /* while the lock is still ours */
	if (s->birth.lane_path != NULL)
		unlink(s->birth.lane_path);
	close_all(s);
	log_close();
	log_event(LOG_LEVEL_INFO, LOG_STOPPED, NULL, "stopped");
	return s->exit_status;
}
