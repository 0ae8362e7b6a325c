/*
 * heirs.c - a worker is replaced while it works: its successor is started first, and it gets no
 * more jobs only when that one is ready, so that the pool never has fewer workers to give jobs
 * to than before.
 *
 *   worker asks (RESULT_SPENT) -> broker: MSG_RECYCLE -> here: an heir is started
 *   heir ready -> here: it is the worker now, the old one leaves; broker: MSG_WORKER_UP
 *   broker: the old one finishes what it has, MSG_WORKER_KILL with signal 0 -> it ends
 *
 * An heir that dies is no death of the pool's: the worker is still there.  One is started at a
 * time in each pool, and after a death not at once.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/slots.h"
#include "ipc/clock.h"

#define AGAIN_NS NS_PER_S /* after an heir that died */

static bool
has_starting(const struct pool_slots *p)
{
	for (unsigned i = 0; i < p->slot_count; i++)
		if (p->aside[i] != NULL && p->aside[i]->part == SLOT_HEIR)
			return true;
	return false;
}

static void
try_later(struct pool_slots *p)
{
	struct timeval later = slot_timeval(AGAIN_NS);

	event_add(p->heirs_again, &later);
}

static void
begin(struct slot *slot)
{
	struct pool_slots *p = slot->pool;
	struct slot *heir = slot_new(p, slot->number);

	if (heir == NULL) {
		try_later(p);
		return;
	}
	heir->part = SLOT_HEIR;
	heir->generation = slot->generation; /* its own is one more */
	heir->restarts = slot->restarts;
	if (slot_start(heir) < 0) {
		slot_free(heir);
		try_later(p);
		return;
	}
	p->aside[slot->number] = heir;
}

void
heirs_begin(struct pool_slots *p)
{
	if (p->supervisor->phase != RUN || p->failed || has_starting(p) ||
	    event_pending(p->heirs_again, EV_TIMEOUT, NULL))
		return;
	for (unsigned i = 0; i < p->wanted && i < p->slot_count; i++) {
		struct slot *slot = p->slots[i];
		if (slot != NULL && slot->spent && slot->state == SLOT_READY &&
		    p->aside[i] == NULL) {
			begin(slot);
			return;
		}
	}
}

void
heirs_on_timer(evutil_socket_t fd, short what, void *context)
{
	struct pool_slots *p = context;

	(void)fd;
	(void)what;
	/* There may have been no memory for one of its workers. */
	if (p->supervisor->phase == RUN && !p->failed)
		slots_fill(p);
	heirs_begin(p);
}

void
heir_ready(struct slot *heir)
{
	struct pool_slots *p = heir->pool;
	struct slot *old = p->slots[heir->number];

	p->slots[heir->number] = heir;
	p->aside[heir->number] = old;
	heir->part = SLOT_OF_POOL;
	old->part = SLOT_LEAVES;
	old->ordered = true; /* whatever it dies of now, it was to end */
	slot_tell_up(heir, false);
	heirs_begin(p);
}

bool
heir_takes_over(struct slot *dead)
{
	struct pool_slots *p = dead->pool;
	struct slot *heir = p->aside[dead->number];

	if (heir == NULL || heir->part != SLOT_HEIR || heir->state != SLOT_STARTING)
		return false;
	heir->part = SLOT_OF_POOL;
	heir->restarts += !dead->ordered;
	p->slots[dead->number] = heir;
	p->aside[dead->number] = NULL;
	slot_free(dead);
	return true;
}

void
aside_gone(struct pool_slots *p, unsigned number, const struct slot *dead)
{
	slot_free(p->aside[number]);
	p->aside[number] = NULL;
	if (dead->part == SLOT_HEIR && !dead->ordered) {
		log_warn("the successor of worker %s/%u died before it was ready; the worker goes "
			 "on, "
			 "another is tried in %llu ms",
			 p->config->name, number, (unsigned long long)(AGAIN_NS / NS_PER_MS));
		try_later(p);
	}
	heirs_begin(p);
}

void
heirs_drop(struct pool_slots *p, unsigned from)
{
	event_del(p->heirs_again);
	for (unsigned i = from; i < p->slot_count; i++) {
		struct slot *heir = p->aside[i];
		if (heir == NULL || heir->part != SLOT_HEIR)
			continue;
		heir->ordered = true;
		heir->state = SLOT_STOPPING;
		slot_close_control(heir);
		kill(heir->pid, SIGKILL); /* it runs nothing */
	}
}
