/*
 * broker.c - role: talks to clients, keeps the job table, decides what runs where.
 *
 * One thread, one loop.  Each turn looks at the rings first and at the sockets now and
 * then; when nothing came for WAKE_LOOKS turns it says that it sleeps (ipc/wake.h) and
 * lets libevent block.  It owns no memory that others depend on: killed at any line, the
 * links and the workers stay, and a new broker goes on with them.
 */
#include "daemon/broker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/durable.h"
#include "daemon/cache.h"
#include "daemon/gate.h"
#include "daemon/log.h"
#include "daemon/request.h"
#include "daemon/tallies.h"
#include "ipc/clock.h"

#define SOCKETS_EVERY_NS (100 * NS_PER_US) /* sockets are looked at this often while busy */
#define BALANCE_EVERY_NS (5 * NS_PER_MS)   /* ... and what waits behind long jobs */

uint64_t
broker_now(struct broker *b, uint64_t seen_ns)
{
	if (seen_ns > b->now_ns)
		b->now_ns = clock_now();
	return b->now_ns;
}

/* In this order: whoever is stopped between the two wakes a job late, never too early. */
void
broker_clocks(struct broker *b)
{
	uint64_t wall_ns = clock_wall();
	b->wall_offset_ns = wall_ns - clock_now();
}

/* ---- the supervisor ---- */

int
supervisor_tell(struct broker *b, unsigned type, const void *body)
{
	int r = frame_send(b->birth->control, type, body, NULL, 0, NULL, 0);

	if (r < 0)
		log_error("cannot send %s to the supervisor: %s", message_name(type), strerror(-r));
	return r;
}

/* A worker that we cannot map would wait for ever.  One that may run a job has to be known before
 * that job is tried again: the next broker takes it up. */
static void
send_back(struct broker *b, const struct worker_up_body *up, int why)
{
	struct worker_kill_body kill = {
		.pool = up->pool,
		.slot = up->slot,
		.generation = up->generation,
		.signal = SIGKILL,
		.unusable = 1,
	};

	log_error("cannot use worker %u of pool %u: %s; %s", up->slot, up->pool, strerror(-why),
		  up->adopted ? "another broker tries" : "it is replaced");
	if (up->adopted || supervisor_tell(b, MSG_WORKER_KILL, &kill) < 0)
		b->end = true;
}

static void
on_worker_up(struct broker *b, struct frame_in *in)
{
	int r = -EPROTO;

	/* memfd, bell, and what the way has beside them */
	struct link_fds fds;
	link_fds_from(&fds, true, in->fds, in->fd_count);
	if (in->fd_count >= 2)
		r = crew_up(b, in->body, &fds);
	if (r < 0) {
		send_back(b, in->body, r);
		frame_close_fds(in);
		return;
	}
	close(in->fds[0]); /* mapped; the rest is the link's now */
	in->fd_count = 0;
}

static void
reschedule(struct broker *b, struct pool *p, const struct pool_body *body)
{
	if (p->ageing_ns != body->ageing_ns)
		pool_queue_ageing(b, p, body->ageing_ns);
	if (pool_queue_switch(b, p, strategies[body->strategy]) < 0)
		log_warn("pool %s: no memory to change its strategy; it stays %s", p->config->name,
			 p->strategy->name);
}

static void
on_pool(struct broker *b, const struct pool_body *body)
{
	if (body->pool >= b->pool_count)
		return;
	struct pool *p = &b->pools[body->pool];
	p->wanted = body->workers;
	for (unsigned i = 0; i < p->crew_count; i++)
		if (p->crew[i] != NULL && p->crew[i]->up && p->crew[i]->slot >= p->wanted)
			crew_retire(b, p->crew[i]);
	/* Later the broker knows better whether it is paused: it decides. */
	if ((body->state == POOL_PAUSED || body->state == POOL_DRAINING) && !p->known)
		p->state = (enum pool_state)body->state;
	if (!p->known || (body->flags & POOL_RESCHEDULE))
		reschedule(b, p, body);
	p->known = true;
	if (body->state == POOL_FAILED && p->state != POOL_FAILED)
		pool_failed(b, p);
	else if (body->state == POOL_RUNNING && p->state == POOL_FAILED)
		p->state = POOL_RUNNING;
	gate_pools_changed(b);
}

/* A new broker is told of pools, workers and manager, in this order.  Before the last of them it
 * serves nobody: it would say that a paused pool runs. */
static void
on_manager(struct broker *b, const struct manager_body *body)
{
	b->manager = *body;
	if (b->told)
		return;
	b->told = true;
	durable_settled(b);
	if (clients_listen(b) < 0) {
		log_error("out of memory to listen for clients; the supervisor tries again");
		b->end = true;
	}
}

static void
on_supervisor_frame(struct broker *b, struct frame_in *in)
{
	const struct empty_body *empty = in->body;

	switch (in->type) {
	case MSG_WORKER_UP:
		on_worker_up(b, in);
		break;
	case MSG_WORKER_DOWN:
		crew_down(b, in->body);
		if (b->draining) /* what came back from it would wait for a worker that never comes
				  */
			drain_cancel_queued(b);
		break;
	case MSG_POOL:
		on_pool(b, in->body);
		break;
	case MSG_DRAIN:
		drain_daemon(b, empty->reserved != 0);
		break;
	case MSG_MANAGER:
		on_manager(b, in->body);
		break;
	case MSG_RESOURCE:
		gate_resource(b, in->body);
		break;
	case MSG_BEAT:
		supervisor_tell(b, MSG_BEAT, in->body);
		break;
	case MSG_RELOAD:
		request_reloaded(b, in->tail, in->tail_length,
				 ((const struct request_body *)in->body)->flags);
		break;
	default:
		log_warn("the supervisor sent %s, which is not for a broker",
			 message_name(in->type));
	}
}

static void
on_supervisor(evutil_socket_t fd, short what, void *context)
{
	static struct frame_in in;
	struct broker *b = context;
	const char *why = "";
	int r;

	(void)what;
	while ((r = frame_recv(fd, &in, &why)) == 0) {
		on_supervisor_frame(b, &in);
		frame_close_fds(&in);
	}
	if (frame_is_end(r))
		b->end = true; /* the supervisor closed, or is gone: the order to end */
}

/* ---- the loop ---- */

static void
on_bell(evutil_socket_t fd, short what, void *context)
{
	(void)what;
	(void)context;
	bell_clear(fd);
}

static void
on_timer(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
}

static bool
nothing_runs(const struct broker *b)
{
	for (unsigned i = 0; i < b->pool_count; i++)
		if (b->pools[i].running > 0)
			return false;
	return durable_idle(b);
}

/* Before jobs are handed out: when the broker was kept from the CPU for a while, what waits behind
 * a long job comes before those that came after it. */
static void
balance(struct broker *b)
{
	uint64_t unused;

	if (b->now_ns - b->balanced_ns <= BALANCE_EVERY_NS)
		return;
	b->balanced_ns = b->now_ns;
	(void)dispatch_rebalance(b, &unused);
}

/* One look at everything in shared memory. */
static unsigned
turn(struct broker *b)
{
	unsigned results = dispatch_results(b);
	unsigned n = results + durable_take(b) + clients_poll(b);

	if (b->heirs > 0)
		crews_relieve(b);
	if (b->gate_due)
		n += gate_turn(b);
	n += cache_turn(b);
	if (b->room_made && b->stalled_clients > 0)
		clients_room(b);
	if (b->room_made)
		durable_load_go_on(b);
	b->room_made = false;
	balance(b);
	dispatch_jobs(b);
	dispatch_wake(b);
	clients_flush(b);
	if (b->draining && !b->drained_said && nothing_runs(b)) {
		struct empty_body empty = { 0 };
		b->drained_said = supervisor_tell(b, MSG_DRAINED, &empty) == 0;
	}
	/* Whoever waits for room must not be slept over. */
	return n + (b->room_made && b->stalled_clients > 0) + cache_pending(b);
}

/* Once round, without sleeping.  EVLOOP_NONBLOCK alone goes round as long as anything is
 * active, which a closed connection is until the end of our turn. */
static void
look_at_sockets(struct broker *b)
{
	event_base_loop(b->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

/* Sleep until a bell, a socket or a timer. */
static void
sleep_once(struct broker *b)
{
	uint64_t look_in_ns;

	if (dispatch_rebalance(b, &look_in_ns))
		return;
	if (log_tick() && look_in_ns == 0)
		look_in_ns = NS_PER_S; /* there is more to be told in the next second */
	wake_arm(&b->board->broker);
	clients_arm(b);
	if (dispatch_pending(b) || clients_pending(b) || durable_pending(b)) {
		look_at_sockets(b);
	} else {
		struct timeval soon = {
			.tv_sec = (time_t)(look_in_ns / NS_PER_S),
			.tv_usec = (suseconds_t)(look_in_ns % NS_PER_S / NS_PER_US) + 1
		};
		if (look_in_ns > 0)
			event_add(b->look_again, &soon);
		event_base_loop(b->base, EVLOOP_ONCE);
		event_del(b->look_again);
	}
	wake_disarm(&b->board->broker);
	clients_disarm(b);
	b->now_ns = clock_now();
	broker_clocks(b);
}

static void
run(struct broker *b)
{
	unsigned quiet = 0;
	uint64_t sockets_ns = 0;

	while (!b->end) {
		b->now_ns = clock_now();
		if (turn(b) > 0) {
			quiet = 0;
		} else if (++quiet >= WAKE_LOOKS || !yield_cheaply()) {
			sleep_once(b);
			sockets_ns = b->now_ns;
			quiet = 0;
			continue;
		}
		if (b->now_ns - sockets_ns > SOCKETS_EVERY_NS) {
			sockets_ns = b->now_ns;
			look_at_sockets(b);
			broker_clocks(b);
		}
	}
}

static int
open_pools(struct broker *b)
{
	b->pool_count = b->config->pool_count;
	for (unsigned i = 0; i < b->pool_count; i++) {
		struct pool *p = &b->pools[i];
		p->config = &b->config->pools[i];
		p->index = i;
		p->wanted = p->config->workers;
		p->link = p->config->link;
		p->alone_head = p->alone_tail = JOB_NONE;
		snprintf(p->executor_name, sizeof(p->executor_name), "%s",
			 p->config->executor->name);
		if (pool_queue_open(p) < 0)
			return -ENOMEM;
	}
	for (unsigned i = 0; i < kind_count; i++)
		snprintf(b->kind_names[i], sizeof(b->kind_names[i]), "%s", kinds[i]->name);
	return 0;
}

static int
open_events(struct broker *b)
{
	struct event_config *config = event_config_new();

	if (config == NULL)
		return -ENOMEM;
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
	b->base = event_base_new_with_config(config);
	event_config_free(config);
	if (b->base == NULL)
		return -ENOMEM;
	b->control = event_new(b->base, b->birth->control, EV_READ | EV_PERSIST, on_supervisor, b);
	b->bell = event_new(b->base, b->birth->broker_bell, EV_READ | EV_PERSIST, on_bell, b);
	b->look_again = evtimer_new(b->base, on_timer, b);
	deadline_open(b);
	if (b->control == NULL || b->bell == NULL || b->look_again == NULL || b->deadline == NULL)
		return -ENOMEM;
	return event_add(b->control, NULL) < 0 || event_add(b->bell, NULL) < 0 ? -ENOMEM : 0;
}

static int
open_all(struct broker *b)
{
	struct store_problem problem = { "" };
	const char *why = "";

	b->started_ns = b->now_ns = clock_now();
	broker_clocks(b);
	if (open_pools(b) < 0)
		return -ENOMEM;
	LIST_INIT(&b->watchers);
	STAILQ_INIT(&b->later);
	TAILQ_INIT(&b->busy);
	int r = jobs_init(&b->jobs, b->config->max_jobs, b->config->max_job_bytes);
	if (r == 0)
		r = open_events(b);
	if (r == 0)
		r = gate_open(b);
	if (r == 0)
		r = cache_open(b);
	if (r == 0)
		r = clients_open(b);
	if (r < 0)
		return r;
	int history = history_open(&b->history, b->birth->state_dir, &why);
	if (history < 0)
		log_warn("%s (%s: %s); keeping the history in memory", why, b->birth->state_dir,
			 strerror(-history));
	int ledger = ledger_open(&b->ledger, b->birth->state_dir, &why);
	if (ledger < 0)
		log_warn("%s (%s: %s); keeping the ledger of leaks in memory", why,
			 b->birth->state_dir, strerror(-ledger));
	/* Numbers go on where the last daemon's ended, also when its board is gone. */
	uint64_t next = history_last_id(&b->history) + 1;
	if (atomic_load(&b->board->next_id) < next)
		atomic_store(&b->board->next_id, next);
	r = durable_open(b, &problem);
	if (r < 0)
		log_error("the store cannot be opened: %s",
			  problem.message[0] != '\0' ? problem.message : strerror(-r));
	return r < 0 ? r : tallies_open(b);
}

static void
close_all(struct broker *b)
{
	clients_close(b);
	tallies_close(b);
	durable_close(b);
	for (unsigned i = 0; i < b->pool_count; i++) {
		for (unsigned slot = 0; slot < b->pools[i].crew_count; slot++) {
			struct crew *w = b->pools[i].crew[slot];
			if (w != NULL && w->up)
				crew_let_go(w);
			free(w);
		}
		pool_queue_close(&b->pools[i]);
	}
	gate_close(b);
	cache_close(b);
	jobs_done(&b->jobs);
	history_close(&b->history);
	ledger_close(&b->ledger);
	args_buffer_free(&b->args);
	event_free(b->control);
	event_free(b->bell);
	event_free(b->look_again);
	event_free(b->deadline);
	event_base_free(b->base);
}

int
broker_main(const struct birth *birth)
{
	static struct broker broker;
	struct broker *b = &broker;
	struct ready_body ready = { .pid = (uint32_t)getpid() };

	b->birth = birth;
	b->config = birth->config;
	b->board = birth->board;
	log_open("broker", LOG_LEVEL_INFO);
	int r = open_all(b);
	if (r == 0)
		r = supervisor_tell(b, MSG_READY, &ready);
	if (r == -EBADMSG) /* the store is damaged: trying again would not mend it */
		return EX_DATAERR;
	if (r < 0) {
		log_error("cannot start: %s; the supervisor tries again", strerror(-r));
		return EXIT_FAILURE;
	}
	run(b);
	close_all(b);
	log_close();
	return EXIT_SUCCESS;
}
