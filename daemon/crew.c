/*
 * crew.c - workers come and go, as the broker sees them: a new link, a death, an orderly end.
 *
 * A death is settled in an order that matters: first what the worker had finished, then what
 * it had started (charged with the death), then what it never started (back to the queue).
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "daemon/autopsy.h"
#include "daemon/broker.h"
#include "daemon/durable.h"
#include "daemon/gate.h"
#include "daemon/log.h"
#include "ipc/clock.h"
#include "shm/segment.h"

#define COMING_NS (100 * NS_PER_MS) /* for a result that a dead worker has sent to arrive */

/* Jobs of an earlier broker: what it had not started is nobody's, what it runs goes on. */
static void
adopt(struct broker *b, struct crew *w)
{
	bool running = false;

	for (uint32_t t = 0; !link_is_fresh(&w->link) && t < LINK_TICKETS; t++) {
		enum ticket_state state = ticket_state(&w->link.shared->tickets[t]);
		if (state == TICKET_FREE)
			continue;
		uint64_t id = w->link.shared->tickets[t].id;
		if (state == TICKET_READY && link_reclaim(&w->link, t)) {
			durable_not_started(b, id);
			continue;
		}
		uint32_t index = durable_adopt(b, w, t, id);
		if (index != JOB_NONE) {
			w->tickets[t] = index;
			w->adopted++;
			crew_took(b, w);
			deadline_at(b, clock_now() + HUNG_LOOK_NS);
			continue;
		}
		w->tickets[t] = ORPHAN;
		w->orphans++;
		crew_took(b, w);
		w->stopping++;
		running = true;
		if (b->pools[w->pool].config->executor->stops_alone)
			crew_stop(b, w, t, CAUSE_CANCELLED);
	}
	if (running) {
		w->stop_by_ns = clock_now() + b->config->orphan_grace_ns;
		deadline_at(b, w->stop_by_ns);
	}
	link_wake(&w->link);
}

/* ---- what a link's own descriptors tell ---- */

static void
on_results(evutil_socket_t fd, short what, void *context)
{
	struct crew *w = context;

	(void)fd;
	(void)what;
	if (w->outstanding > 0)
		(void)link_has_result(&w->link); /* read in the turn that follows */
	else
		(void)crew_drain(w->broker, w, UINT32_MAX);
}

/* Room, or the worker has connected: jobs are handed out in the turn that follows. */
static void
on_room(evutil_socket_t fd, short what, void *context)
{
	struct crew *w = context;

	(void)fd;
	(void)what;
	(void)link_has_request_room(&w->link);
	crew_send_stops(w->broker, w);
}

static void
watch_link(struct broker *b, struct crew *w)
{
	int fds[2] = { link_result_fd(&w->link), link_request_room_fd(&w->link) };
	event_callback_fn handlers[2] = { on_results, on_room };

	for (int i = 0; i < 2; i++) {
		if (fds[i] < 0)
			continue;
		w->news[i] = event_new(b->base, fds[i], EV_READ | EV_PERSIST, handlers[i], w);
		if (w->news[i] == NULL || event_add(w->news[i], NULL) < 0)
			log_error("worker %s/%u: out of memory to watch its link",
				  b->pools[w->pool].config->name, w->slot);
	}
}

void
crew_let_go(struct crew *w)
{
	for (int i = 0; i < 2; i++)
		if (w->news[i] != NULL)
			event_free(w->news[i]);
	w->news[0] = w->news[1] = NULL;
	link_broker_detach(&w->link);
}

/* ---- up ---- */

int
crew_up(struct broker *b, const struct worker_up_body *up, const struct link_fds *fds)
{
	if (up->pool >= b->pool_count || up->slot >= WORKERS_MAX)
		return -EINVAL;
	struct pool *p = &b->pools[up->pool];
	int place = crew_place(p, up->slot);
	if (place < 0)
		return -ENOMEM;
	struct crew *w = p->crew[place];
	*w = (struct crew){
		.broker = b,
		.pool = up->pool,
		.slot = up->slot,
		.place = (uint16_t)place,
		.pid = up->pid,
		.generation = up->generation,
		.restarts = up->restarts,
		.jobs = w->slot == up->slot ? w->jobs : 0, /* of the slot, over deaths */
		.since_ns = clock_now(),
		.link_inode = segment_inode(fds->memfd),
		.touched = w->touched, /* it may stand in that list */
		.next_touched = w->next_touched,
	};
	memset(w->tickets, 0xff, sizeof(w->tickets));
	int r = link_broker_attach(&w->link, fds);
	if (r < 0)
		return r;
	watch_link(b, w);
	p->link = (enum link_way)w->link.shared->way;
	w->up = true;
	b->unready++;
	w->relieved = up->leaving != 0;
	if (!w->relieved)
		crew_is_heir(b, w);
	w->retiring = w->slot >= p->wanted || w->relieved;
	adopt(b, w);
	if (w->retiring && w->outstanding == 0)
		crew_retire(b, w);
	return 0;
}

/* Its time counts for whoever submitted it, though no result says how long it was. */
static void
note_lost_run(struct broker *b, const struct crew *w, uint32_t ticket)
{
	struct pool *p = &b->pools[w->pool];
	uint64_t claimed_ns = atomic_load(&w->link.shared->tickets[ticket].claimed_ns);

	if (p->strategy->ran != NULL && claimed_ns != 0 && claimed_ns < b->now_ns)
		p->strategy->ran(p, job_at(&b->jobs, w->tickets[ticket]), b->now_ns - claimed_ns);
}

/* The job has ended with its worker; the store is told how that died. */
static void
end_with_worker(struct broker *b, uint32_t index, const struct autopsy *autopsy, uint32_t flags,
		const char *text)
{
	struct job *job = job_at(&b->jobs, index);
	int status = autopsy->down.status;
	int value = WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
	msgpack_sbuffer map;

	msgpack_sbuffer_init(&map);
	if (job->flags & JOB_DETACHED)
		autopsy_pack(autopsy, job->id, &map);
	struct bytes known = { map.data, map.size };
	if (job->more != NULL)
		job->more->autopsy = &known;
	uint64_t id = job->id;
	job_complete_as(b, index, JOB_FAILED, autopsy->down.oom ? CAUSE_OOM : CAUSE_WORKER_DIED,
			value, ERR_WORKER_DIED, flags, text);
	/* It may be tried again, or wait for the store. */
	if ((index = jobs_find(&b->jobs, id)) != JOB_NONE &&
	    (job = job_at(&b->jobs, index))->more != NULL)
		job->more->autopsy = NULL;
	msgpack_sbuffer_destroy(&map);
}

/* The job was started by the worker that is dead. */
static void
charge(struct broker *b, struct crew *w, uint32_t ticket, const struct autopsy *autopsy,
       bool culprit_known)
{
	uint32_t index = w->tickets[ticket];
	struct job *job = job_at(&b->jobs, index);
	char text[AUTOPSY_TEXT];

	autopsy_text(autopsy, job->id, text, sizeof(text));
	if (ticket_state(&w->link.shared->tickets[ticket]) == TICKET_DONE)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
			 "; the job had ended, but its result was lost with the link");
	note_lost_run(b, w, ticket);
	crew_settle(b, w, ticket);
	if ((job->flags & JOB_DETACHED) && b->drain_hard) {
		durable_lost(b, index); /* the daemon ends: the next one tries it again */
		return;
	}
	if (job->array != NULL) {
		array_range_lost(b, w, index, ticket, text);
		return;
	}
	if ((job->flags & JOB_STOPPING) && job->stop == CAUSE_TIMEOUT) {
		snprintf(text, sizeof(text), "ran longer than its timeout of %.3f s",
			 (double)job->timeout_ns / 1e9);
		job_complete_as(b, index, JOB_TIMED_OUT, CAUSE_TIMEOUT, 0, ERR_TIMED_OUT, 0, text);
	} else if (job->flags & JOB_STOPPING) {
		job_complete_as(b, index, JOB_CANCELLED, CAUSE_CANCELLED, 0, ERR_CANCELLED, 0,
				"cancelled while it ran");
	} else {
		end_with_worker(b, index, autopsy, culprit_known ? RECEIPT_BYSTANDER : 0, text);
	}
}

/* Was this death ordered because of one of its jobs?  Then the others are bystanders. */
static bool
has_stopping(struct broker *b, const struct crew *w)
{
	for (uint32_t t = 0; t < LINK_TICKETS; t++)
		if (w->tickets[t] < ORPHAN &&
		    (job_at(&b->jobs, w->tickets[t])->flags & JOB_STOPPING))
			return true;
	return false;
}

/* Is a ticket done whose result has not come? */
static bool
lacks_result(const struct crew *w)
{
	for (uint32_t t = 0; w->outstanding > 0 && t < LINK_TICKETS; t++)
		if (w->tickets[t] != JOB_NONE &&
		    ticket_state(&w->link.shared->tickets[t]) == TICKET_DONE)
			return true;
	return false;
}

/* What it had published.  Over some ways that may still be coming, or never come. */
static void
drain_dead(struct broker *b, struct crew *w)
{
	uint64_t end_ns = clock_now() + COMING_NS;

	crew_drain(b, w, UINT32_MAX);
	while (link_rows[w->link.shared->way].loses && lacks_result(w) && clock_now() < end_ns) {
		struct pollfd p = { .fd = link_result_fd(&w->link), .events = POLLIN };
		poll(&p, 1, 1);
		crew_drain(b, w, UINT32_MAX);
	}
}

/* What it has begun and will not end. */
static void
name_the_dead(struct broker *b, const struct crew *w, struct autopsy *a)
{
	uint32_t left = w->outstanding;

	for (uint32_t t = 0; left > 0 && t < LINK_TICKETS; t++) {
		if (w->tickets[t] == JOB_NONE)
			continue;
		left--;
		if (w->tickets[t] != ORPHAN &&
		    ticket_state(&w->link.shared->tickets[t]) != TICKET_READY)
			autopsy_add(a, job_at(&b->jobs, w->tickets[t])->id);
	}
}

void
crew_down(struct broker *b, const struct worker_down_body *down)
{
	struct autopsy autopsy = { .down = *down };
	struct pool *p = down->pool < b->pool_count ? &b->pools[down->pool] : NULL;
	struct crew *w = p != NULL ? crew_named(p, down->slot, down->generation) : NULL;
	if (w == NULL)
		return;

	/* What it had finished first, then what died with it, then what it never started. */
	drain_dead(b, w);
	bool culprit_known = has_stopping(b, w);
	name_the_dead(b, w, &autopsy);
	for (uint32_t t = 0; w->outstanding > 0 && t < LINK_TICKETS; t++) {
		if (w->tickets[t] == JOB_NONE ||
		    ticket_state(&w->link.shared->tickets[t]) == TICKET_READY)
			continue;
		if (w->tickets[t] == ORPHAN)
			crew_settle(b, w, t);
		else
			charge(b, w, t, &autopsy, culprit_known);
	}
	crew_take_back(b, w);
	crew_let_go(w);
	b->unready -= !w->seen_ready;
	crew_hand_on(p, w);
	b->heirs -= w->heir;
	w->up = w->leaving = w->retiring = w->heir = false;
	pool_note_able(p);
}

void
crew_kill(struct broker *b, struct crew *w)
{
	struct worker_kill_body kill = {
		.pool = w->pool,
		.slot = w->slot,
		.generation = w->generation,
		.signal = SIGKILL,
	};
	w->leaving = true; /* nothing more goes there */
	pool_note_able(&b->pools[w->pool]);
	supervisor_tell(b, MSG_WORKER_KILL, &kill);
}

void
crew_retire(struct broker *b, struct crew *w)
{
	w->retiring = true;
	pool_note_able(&b->pools[w->pool]);
	crew_take_back(b, w);
	if (w->outstanding > 0 || w->leaving || !w->up)
		return;
	struct worker_kill_body stop = {
		.pool = w->pool,
		.slot = w->slot,
		.generation = w->generation,
	};
	w->leaving = true;
	supervisor_tell(b, MSG_WORKER_KILL, &stop);
}

void
pool_failed(struct broker *b, struct pool *p)
{
	uint32_t index;

	if (p->state != POOL_FAILED) {
		p->state = POOL_FAILED;
		gate_pools_changed(b);
	}
	while ((index = queue_peek(b, p)) != JOB_NONE) {
		if (job_at(&b->jobs, index)->array != NULL) {
			array_stop(b, index, CAUSE_CANCELLED);
			continue;
		}
		queue_remove(b, index);
		job_complete_as(b, index, JOB_FAILED, CAUSE_ERROR, 0, ERR_POOL_FAILED, 0,
				"its pool has failed: the workers die at start; see the daemon's "
				"log, then `pyprepctl pool resume`");
	}
}

static bool
pool_settled(const struct pool *p)
{
	for (unsigned slot = 0; p->state != POOL_FAILED && slot < p->wanted; slot++) {
		const struct crew *w = crew_at(p, slot);
		if (w == NULL || !w->up || atomic_load(&w->link.shared->worker_ready) == 0)
			return false;
	}
	return true;
}

bool
crews_settled(struct broker *b)
{
	for (unsigned i = 0; !b->settled && i < b->pool_count; i++)
		if (!pool_settled(&b->pools[i]))
			return false;
	return b->settled = true;
}
