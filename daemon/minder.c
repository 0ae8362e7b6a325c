/*
 * minder.c - the supervisor's side of the manager: its memory and its listening socket, which
 * outlive it; its start after the daemon is ready, its deaths, its end.
 *
 * A manager that answered something, or lived for a second, is replaced at once; else after 10 ms,
 * doubled up to 5 s.  More than DEATHS_MOST deaths without either within 10 s: it stays away, and
 * so do counters and locks through it; the daemon goes on.  A reload tries again.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/manager_store.h"
#include "daemon/supervisor.h"
#include "ipc/clock.h"
#include "shm/segment.h"

#define BEGIN_US         1000 /* after READY */
#define BACKOFF_FIRST_NS (10 * NS_PER_MS)
#define BACKOFF_MOST_NS  (5 * NS_PER_S)
#define EARLY_NS         NS_PER_S
#define DEATHS_MOST      5u
#define WINDOW_NS        (10 * NS_PER_S)

static void
later(struct minder *n, uint64_t ns)
{
	struct timeval tv = { .tv_sec = (time_t)(ns / NS_PER_S),
			      .tv_usec = (suseconds_t)(ns % NS_PER_S / NS_PER_US) };
	event_add(n->timer, &tv);
}

void
minder_announce(struct supervisor *s)
{
	const struct minder *n = &s->minder;
	struct manager_body body = { .pid = (uint32_t)n->pid,
				     .state = n->state,
				     .restarts = n->restarts };

	if (n->store != NULL) {
		body.store_inode = segment_inode(n->store_memfd);
		body.store_bytes = segment_round(sizeof(*n->store));
	}

	tell_broker(s, MSG_MANAGER, &body, sizeof(body), NULL, 0);
}

static void
set_state(struct supervisor *s, enum manager_state state)
{
	s->minder.state = state;
	minder_announce(s);
}

static uint64_t
answered(const struct minder *n)
{
	return n->store != NULL ? atomic_load(&n->store->answered) : 0;
}

/* ---- its memory ---- */

static int
make_table(int *ret_fd)
{
	void *base = NULL;
	int fd = -1, r = segment_create("pyprep-counters", sizeof(struct counter_table), &fd);

	if (r < 0)
		return r;
	r = segment_map(fd, sizeof(struct counter_table), &base);
	if (r < 0) {
		close(fd);
		return r;
	}
	counter_table_init(base);
	segment_unmap(base, sizeof(struct counter_table));
	*ret_fd = fd;
	return 0;
}

/* Not before the first manager: it takes longer than its fork. */
static int
make_store(struct minder *n)
{
	void *base = NULL;

	if (n->store != NULL)
		return 0;
	int fd = -1, r = segment_create("pyprep-manager", sizeof(*n->store), &fd);
	if (r < 0)
		return r;
	r = segment_map(fd, sizeof(*n->store), &base);
	if (r < 0) {
		close(fd);
		return r;
	}
	n->store_memfd = fd;
	store_init(base);
	(void)madvise(base, sizeof(*n->store), MADV_DONTFORK); /* the manager maps it itself */
	n->store = base;
	return 0;
}

/* ---- starting ---- */

static void
forget(struct minder *n)
{
	if (n->event != NULL)
		event_free(n->event);
	n->event = NULL;
	if (n->control >= 0)
		close(n->control);
	n->control = -1;
}

static void
on_control(evutil_socket_t fd, short what, void *context)
{
	static struct frame_in in;
	struct supervisor *s = context;
	const char *why = "";
	int r;

	(void)what;
	while ((r = frame_recv(fd, &in, &why)) == 0) {
		frame_close_fds(&in);
		if (in.type == MSG_READY)
			set_state(s, MANAGER_RUNNING);
	}
	if (frame_is_end(r)) /* end of file: its death is handled when it is reaped */
		event_del(s->minder.event);
}

static void fail_attempt(struct supervisor *s);

static void
start(struct supervisor *s)
{
	struct minder *n = &s->minder;
	struct birth birth = s->birth;

	birth.listener = birth.lane_listener = -1;
	birth.link = (struct link_fds)LINK_NO_FDS;
	n->started_ns = clock_now();
	int r = make_store(n);
	if (r == 0) {
		n->answered = answered(n);
		birth.counters_memfd = n->counters_memfd;
		birth.store_memfd = n->store_memfd;
		birth.manager_listener = n->listener;
		birth.manager_path = n->path;
		r = spawn(ROLE_MANAGER, &birth, &n->control);
	}
	if (r < 0) {
		log_error("cannot start the manager: %s", strerror(-r));
		fail_attempt(s);
		return;
	}
	n->pid = r;
	n->event = event_new(s->base, n->control, EV_READ | EV_PERSIST, on_control, s);
	if (n->event == NULL || event_add(n->event, NULL) < 0) {
		log_error("no memory to watch the manager; it is replaced");
		kill(n->pid, SIGKILL);
	}
	set_state(s, MANAGER_STARTING);
}

static void
on_timer(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;

	(void)fd;
	(void)what;
	if (s->phase != STOP && s->minder.pid == 0)
		start(s);
}

/* ---- deaths ---- */

static bool
too_many_deaths(struct minder *n)
{
	uint64_t now_ns = clock_now();
	unsigned recent = 0, kept;

	n->deaths_ns[n->deaths++ % DEATHS_KEPT] = now_ns;
	kept = n->deaths < DEATHS_KEPT ? n->deaths : DEATHS_KEPT;
	for (unsigned i = 0; i < kept; i++)
		recent += now_ns - n->deaths_ns[i] <= WINDOW_NS;
	return recent > DEATHS_MOST;
}

static void
give_up(struct supervisor *s, const char *why)
{
	log_event(LOG_LEVEL_ERROR, LOG_MANAGER_FAILED, NULL,
		  "%s; counters and locks through the manager are refused until it is mended and "
		  "`pyprepctl reload` is said; all else goes on",
		  why);
	set_state(s, MANAGER_FAILED);
}

static void
fail_attempt(struct supervisor *s)
{
	struct minder *n = &s->minder;
	unsigned shift = n->failures < 16 ? n->failures : 16;
	uint64_t delay_ns = BACKOFF_FIRST_NS << shift;

	n->failures++;
	if (too_many_deaths(n)) {
		give_up(s, "the manager dies again and again");
		return;
	}
	if (delay_ns > BACKOFF_MOST_NS)
		delay_ns = BACKOFF_MOST_NS;
	log_warn("the manager made no progress; trying again in %llu ms",
		 (unsigned long long)(delay_ns / NS_PER_MS));
	set_state(s, MANAGER_BACKOFF);
	later(n, delay_ns);
}

bool
minder_reaped(struct supervisor *s, pid_t pid, int status)
{
	struct minder *n = &s->minder;

	if (pid != n->pid)
		return false;
	bool progress = answered(n) > n->answered || clock_now() - n->started_ns > EARLY_NS;
	forget(n);
	n->pid = 0;
	if (s->phase == STOP) {
		set_state(s, MANAGER_OFF);
		return true;
	}
	n->restarts++;
	if (WIFEXITED(status) && WEXITSTATUS(status) == EX_UNAVAILABLE) {
		give_up(s, "the manager cannot run without ZeroMQ");
		return true;
	}
	if (progress) {
		n->failures = n->deaths = 0;
		start(s); /* what can wait comes after */
	}
	bool signalled = WIFSIGNALED(status);
	int how = signalled ? WTERMSIG(status) : WEXITSTATUS(status);
	log_event(LOG_LEVEL_WARN, LOG_MANAGER_DIED,
		  ABOUT(.signal = signalled ? how : 0, .status = signalled ? 0 : how),
		  "the manager (pid %d) died (%s %d); its values are kept", (int)pid,
		  signalled ? "signal" : "status", how);
	if (!progress)
		fail_attempt(s);
	return true;
}

/* ---- its whole life ---- */

int
minder_open(struct supervisor *s)
{
	struct minder *n = &s->minder;

	n->control = n->listener = n->counters_memfd = n->store_memfd = -1;
	snprintf(n->path, sizeof(n->path), "%s/" MANAGER_SOCKET, s->runtime_dir);
	n->timer = evtimer_new(s->base, on_timer, s);
	if (n->timer == NULL)
		return -ENOMEM;
	int r = make_table(&n->counters_memfd);
	if (r < 0)
		return r;
	n->listener = notify_bind(s->config, n->path, SOCK_STREAM);
	return n->listener < 0 ? n->listener : 0;
}

void
minder_begin(struct supervisor *s)
{
	later(&s->minder, BEGIN_US * NS_PER_US);
}

void
minder_resume(struct supervisor *s)
{
	struct minder *n = &s->minder;

	if (n->state != MANAGER_FAILED)
		return;
	n->failures = n->deaths = 0;
	start(s);
}

void
minder_stop(struct supervisor *s)
{
	event_del(s->minder.timer);
	forget(&s->minder); /* the order to end */
}

void
minder_kill(struct supervisor *s)
{
	if (s->minder.pid != 0)
		kill(s->minder.pid, SIGKILL);
}

void
minder_close(struct supervisor *s)
{
	struct minder *n = &s->minder;

	forget(n);
	event_free(n->timer);
	segment_unmap(n->store, sizeof(*n->store));
	if (n->store_memfd >= 0)
		close(n->store_memfd);
	close(n->counters_memfd);
	close(n->listener);
	unlink(n->path); /* while the lock is still ours */
}
