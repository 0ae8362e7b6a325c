/*
 * keeper.c - the broker, as its parent sees it: its start, what it says, its deaths.
 *
 * Another is started at once, while the workers run on; a broker that dies again and again ends the
 * daemon, and so does a damaged store.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/supervisor.h"
#include "ipc/clock.h"

#define BROKER_DEATHS_MOST 5u
#define BROKER_WINDOW_NS   (10 * NS_PER_S)
#define BROKER_AGAIN_US    500000 /* after a start that came to nothing */

/* ---- what it says ---- */

static void
on_reload_asked(struct supervisor *s)
{
	unsigned char *map;
	size_t length;
	struct request_body body = { 0 };

	reload(s, &map, &length, &body.flags);
	tell_broker_more(s, MSG_RELOAD, &body, sizeof(body), map, length);
	free(map);
}

static void
on_pool_asked(struct supervisor *s, const struct pool_body *body)
{
	if (body->pool >= s->pool_count || body->workers > WORKERS_MAX)
		return;
	struct pool_slots *p = &s->pools[body->pool];
	p->paused = body->state == POOL_PAUSED;
	p->draining = body->state == POOL_DRAINING;
	p->strategy = body->strategy;
	slots_resize(p, body->workers);
	if (body->state == POOL_RUNNING)
		slots_resume(p);
}

static void
on_broker_frame(struct supervisor *s, const struct frame_in *in)
{
	const struct empty_body *empty = in->body;
	const struct beat_body *beat = in->body;

	switch (in->type) {
	case MSG_READY:
		s->broker_ready = true;
		supervisor_progress(s);
		break;
	case MSG_WORKER_KILL:
		slots_order(s, in->body);
		break;
	case MSG_RECYCLE:
		slots_recycle(s, in->body);
		break;
	case MSG_POOL:
		on_pool_asked(s, in->body);
		break;
	case MSG_BEAT:
		s->beats_back = beat->number;
		break;
	case MSG_RELOAD:
		on_reload_asked(s);
		break;
	case MSG_STOP_DAEMON:
		if (empty->reserved != 0)
			supervisor_stop_at_once(s);
		else
			supervisor_drain(s);
		break;
	case MSG_DRAINED:
		if (s->phase != DRAIN && s->phase != DRAIN_HARD)
			break;
		log_event(LOG_LEVEL_INFO, LOG_DRAINED, NULL, "drained: no job is left");
		supervisor_stop(s);
		break;
	default:
		log_warn("the broker sent %s, which is not for a supervisor",
			 message_name(in->type));
	}
}

static void
on_broker(evutil_socket_t fd, short what, void *context)
{
	static struct frame_in in;
	struct supervisor *s = context;
	const char *why = "";
	int r;

	(void)what;
	while (s->broker_control == fd) {
		r = frame_recv(fd, &in, &why);
		if (frame_is_end(r)) /* its death is handled when it is reaped */
			event_del(s->broker_event);
		if (r < 0)
			return;
		on_broker_frame(s, &in);
		frame_close_fds(&in);
	}
}

/* Or there was no memory to send: it is tried again. */
static void
on_broker_writable(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	outbox_flush(context);
}

/* ---- its life ---- */

void
keeper_forget(struct supervisor *s)
{
	outbox_clear(s);
	if (s->broker_event != NULL)
		event_free(s->broker_event);
	if (s->broker_writable != NULL)
		event_free(s->broker_writable);
	s->broker_event = s->broker_writable = NULL;
	if (s->broker_control >= 0)
		close(s->broker_control);
	s->broker_control = -1;
	s->broker_ready = false;
}

static bool
broker_dies_too_often(struct supervisor *s)
{
	uint64_t now_ns = clock_now();
	unsigned recent = 0;

	s->broker_deaths_ns[s->broker_deaths++ % DEATHS_KEPT] = now_ns;
	for (unsigned i = 0; i < DEATHS_KEPT && i < s->broker_deaths; i++)
		recent += now_ns - s->broker_deaths_ns[i] <= BROKER_WINDOW_NS;
	if (recent <= BROKER_DEATHS_MOST)
		return false;
	log_error("the broker died %u times in %llu s; giving up", BROKER_DEATHS_MOST + 1,
		  (unsigned long long)(BROKER_WINDOW_NS / NS_PER_S));
	s->exit_status = EXIT_FAILURE;
	supervisor_stop(s);
	return true;
}

static bool
watch_broker(struct supervisor *s)
{
	s->broker_event = event_new(s->base, s->broker_control, EV_READ | EV_PERSIST, on_broker, s);
	s->broker_writable = event_new(s->base, s->broker_control, EV_WRITE, on_broker_writable, s);
	return s->broker_event != NULL && s->broker_writable != NULL &&
	       event_add(s->broker_event, NULL) == 0;
}

void
keeper_start(struct supervisor *s)
{
	struct birth birth = s->birth;

	birth.link = (struct link_fds)LINK_NO_FDS;
	birth.counters_memfd = s->minder.counters_memfd;
	atomic_fetch_add(&s->board->broker_generation, 1);
	pid_t pid = spawn(ROLE_BROKER, &birth, &s->broker_control);
	if (pid < 0) {
		struct timeval pause = { .tv_usec = BROKER_AGAIN_US };
		log_error("cannot start the broker: %s", strerror(-pid));
		if (!broker_dies_too_often(s))
			event_add(s->broker_again, &pause);
		return;
	}
	s->broker_pid = pid;
	s->beats_back = s->beats_sent;
	if (!watch_broker(s)) {
		log_error("no memory to watch the broker; it is replaced");
		kill(pid, SIGKILL);
		return;
	}
	slots_announce(s);
	minder_announce(s);
}

static void
on_broker_again(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;

	(void)fd;
	(void)what;
	if (s->phase == RUN && s->broker_pid == 0)
		keeper_start(s);
}

void
keeper_reaped(struct supervisor *s, int status)
{
	/* Its last words: what it said before it answered a client holds. */
	if (s->broker_event != NULL)
		on_broker(s->broker_control, 0, s);
	s->broker_pid = 0;
	keeper_forget(s);
	if (s->phase == STOP)
		return;
	bool signalled = WIFSIGNALED(status);
	int how = signalled ? WTERMSIG(status) : WEXITSTATUS(status);
	log_event(LOG_LEVEL_WARN, LOG_BROKER_DIED,
		  ABOUT(.signal = signalled ? how : 0, .status = signalled ? 0 : how),
		  "the broker died (%s %d); workers run on, a new one takes over",
		  signalled ? "signal" : "status", how);
	if (WIFEXITED(status) && WEXITSTATUS(status) == EX_DATAERR) {
		log_error("the store is damaged, and the broker said where; giving up");
		s->exit_status = EX_DATAERR;
		supervisor_stop(s);
	} else if (s->phase != RUN) {
		supervisor_stop(s); /* its jobs went with it: nothing is left to drain */
	} else if (!broker_dies_too_often(s)) {
		keeper_start(s);
	}
}

int
keeper_open(struct supervisor *s)
{
	s->broker_again = evtimer_new(s->base, on_broker_again, s);
	s->outbox_again = evtimer_new(s->base, on_broker_writable, s);
	return s->broker_again == NULL || s->outbox_again == NULL ? -1 : 0;
}
