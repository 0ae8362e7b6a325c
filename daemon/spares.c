/*
 * spares.c - what is kept ready so that a dead worker is replaced at once: links, which take
 * longer to make than a fork, and one worker process without a slot (spare.c).
 *
 * They are made when it is quiet, a while after the last one was taken.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/supervisor.h"
#include "shm/segment.h"

#define REFILL_US      2000
#define SPARE_AGAIN_US 1000000 /* after a spare that died unused */

/* ---- links ---- */

static void
refill_later(struct supervisor *s, uint64_t us)
{
	struct timeval later = { .tv_sec = (time_t)(us / 1000000),
				 .tv_usec = (suseconds_t)(us % 1000000) };

	if (s->announced && s->phase == RUN)
		event_add(s->refill, &later);
}

/* What is kept, on the board, for those who list it. */
static void
show(struct supervisor *s)
{
	for (unsigned i = 0; i < SPARE_LINKS; i++)
		atomic_store(&s->board->spare_links[i],
			     i < s->spare_count ? segment_inode(s->spares[i].memfd) : 0);
	atomic_store(&s->board->spare_pid, (uint32_t)s->spare_pid);
}

int
spare_link(struct supervisor *s, enum link_way way, struct link_fds *ret)
{
	refill_later(s, REFILL_US);
	if (way != LINK_RING || s->spare_count == 0)
		return link_create(way, s->runtime_dir, ret);
	*ret = s->spares[--s->spare_count];
	atomic_store(&s->board->spare_links[s->spare_count], 0);
	return 0;
}

/* ---- the worker without a slot ---- */

static void
make_spare(struct supervisor *s)
{
	struct birth birth = s->birth;

	birth.listener = birth.lane_listener = -1;
	birth.link = (struct link_fds)LINK_NO_FDS;
	pid_t pid = spawn(ROLE_SPARE, &birth, &s->spare_control);
	if (pid < 0)
		log_warn("cannot fork a spare worker: %s; the next death costs a fork",
			 strerror(-pid));
	else
		s->spare_pid = pid;
}

static void
forget_spare(struct supervisor *s)
{
	if (s->spare_pid != 0)
		close(s->spare_control);
	s->spare_pid = 0;
	atomic_store(&s->board->spare_pid, 0);
}

/* It runs nothing: to kill it is the surest way, also when somebody has stopped it. */
static void
end_spare(struct supervisor *s)
{
	if (s->spare_pid == 0)
		return;
	kill(s->spare_pid, SIGKILL);
	s->spare_ended = s->spare_pid;
	forget_spare(s);
}

pid_t
spare_assign(struct slot *slot)
{
	struct supervisor *s = slot->pool->supervisor;
	struct assign_body assign = { .pool = (uint16_t)slot->pool->index,
				      .slot = (uint16_t)slot->number };
	int fds[FRAME_FDS_MAX];
	int count = link_fds_for(&slot->link, false, fds);
	pid_t pid = s->spare_pid;

	if (pid == 0)
		return 0;
	if (frame_send(s->spare_control, MSG_ASSIGN, &assign, NULL, 0, fds, count) < 0) {
		forget_spare(s); /* dead, and not reaped yet */
		return 0;
	}
	slot->control = s->spare_control;
	s->spare_pid = 0;
	atomic_store(&s->board->spare_pid, 0);
	return pid;
}

bool
spare_reaped(struct supervisor *s, pid_t pid)
{
	if (pid == s->spare_ended) {
		s->spare_ended = 0;
		return true;
	}
	if (pid != s->spare_pid)
		return false;
	forget_spare(s);
	refill_later(s, SPARE_AGAIN_US);
	return true;
}

void
spare_drop(struct supervisor *s)
{
	end_spare(s);
	refill_later(s, REFILL_US);
}

/* ---- all of them ---- */

static void
on_refill(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;

	(void)fd;
	(void)what;
	while (s->spare_count < SPARE_LINKS &&
	       link_create(LINK_RING, s->runtime_dir, &s->spares[s->spare_count]) == 0)
		s->spare_count++;
	if (s->spare_pid == 0)
		make_spare(s);
	show(s);
}

int
spares_open(struct supervisor *s)
{
	s->refill = evtimer_new(s->base, on_refill, s);
	return s->refill == NULL ? -1 : 0;
}

void
spares_begin(struct supervisor *s)
{
	refill_later(s, REFILL_US);
}

void
spares_stop(struct supervisor *s)
{
	event_del(s->refill);
	end_spare(s);
}

void
spares_close(struct supervisor *s)
{
	forget_spare(s);
	while (s->spare_count > 0)
		link_discard(&s->spares[--s->spare_count]);
	event_free(s->refill);
}
