/*
 * event.c - the event executor: I/O jobs by the thousand in one libevent loop.
 *
 * The loop waits for the link's bell, the control socket and whatever the jobs wait for.
 * Before it sleeps in the kernel it looks at the request ring by the policy of wake.h, as
 * long as requests are arriving.  One thread; nobody else touches anything here.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config.h"
#include "daemon/executor.h"
#include "daemon/log.h"
#include "ipc/clock.h"

/* Looking at the ring keeps due timers waiting: no longer than this. */
#define LOOK_NS (50 * NS_PER_US)

struct job {
	struct io_call io; /* io.owner is the loop */
	struct job *next;  /* while it waits for a place */
	bool starting;     /* inside the kind's start() */
	bool over;         /* published */
	struct run_body run;
	_Alignas(uint64_t) unsigned char args[];
};

struct loop {
	struct worker *w;
	struct event_base *base;
	struct event *bell, *control;
	struct event *requests; /* NULL: the bell alone tells of them */
	bool stopping;          /* the supervisor's order */
	unsigned limit, running;
	struct job *waiting, **waiting_end; /* beyond the limit; not claimed yet */
	struct job *jobs[LINK_TICKETS];     /* by ticket index, while they run */
};

/* ---- one job ---- */

static void
measure(struct io_call *io)
{
	struct outcome *o = &io->call.outcome;
	uint64_t run = o->ended_ns - o->started_ns;

	o->method = USAGE_LOOP;
	o->usage.oncpu_ns = io->oncpu_ns < run ? io->oncpu_ns : run;
	o->usage.blocked_ns = run - o->usage.oncpu_ns;
}

/* Publish `job` and forget it; its memory stays while start() is on the stack. */
static void
job_over(struct loop *loop, struct job *job)
{
	struct call *call = &job->io.call;

	call->outcome.ended_ns = clock_now();
	measure(&job->io);
	loop->jobs[ticket_index(job->run.ticket) % LINK_TICKETS] = NULL;
	loop->running--;
	run_publish(loop->w, call, job->run.ticket, NULL);
	call_end(call);
	job->over = true;
	if (!job->starting)
		free(job);
}

static void
job_done(struct io_call *io)
{
	job_over(io->owner, (struct job *)io);
}

/* Claimed and in memory: start it. */
static void
job_start(struct loop *loop, struct job *job)
{
	struct io_call *io = &job->io;

	call_begin(&io->call, &job->run, job->args);
	io->base = loop->base;
	io->state = NULL;
	io->done = job_done;
	io->owner = loop;
	io->oncpu_ns = 0;
	job->over = false;
	job->starting = true;
	loop->jobs[ticket_index(job->run.ticket) % LINK_TICKETS] = job;
	loop->running++;
	io->call.outcome.started_ns = clock_now();
	io_enter(io);
	if (io->call.kind == NULL || io->call.kind->class != KIND_IO) {
		call_fail(&io->call, "only kinds of class io run on an event loop");
		io_done(io);
	} else if (job->run.memory_bytes != 0) { /* not admitted, either */
		call_fail(&io->call, "an event loop cannot limit the memory of one of its jobs");
		io_done(io);
	} else {
		io->call.kind->start(io);
	}
	job->starting = false;
	if (job->over)
		free(job);
	else
		io_leave(io);
}

static void
job_stop(struct loop *loop, const struct stop_body *stop)
{
	struct job *job = loop->jobs[ticket_index(stop->ticket) % LINK_TICKETS];
	if (job == NULL || job->run.ticket != stop->ticket)
		return; /* it ended while the order was on its way */

	struct call *call = &job->io.call;
	call->kind->stop(&job->io);
	if (stop->reason == CAUSE_TIMEOUT) {
		call_fail(call, "ended by its timeout");
		call->outcome.state = JOB_TIMED_OUT;
		call->outcome.cause = CAUSE_TIMEOUT;
		call->outcome.error = ERR_TIMED_OUT;
	} else {
		call_fail(call, "cancelled");
		call->outcome.state = JOB_CANCELLED;
		call->outcome.cause = CAUSE_CANCELLED;
		call->outcome.error = ERR_CANCELLED;
	}
	job_over(loop, job);
}

/* ---- requests ---- */

static void
fail_unstarted(struct loop *loop, const struct run_body *run)
{
	struct call call;

	call_begin(&call, run, NULL);
	call.outcome.started_ns = call.outcome.ended_ns = clock_now();
	call_no_memory(&call, "no memory for one more job in this worker");
	run_publish(loop->w, &call, run->ticket, NULL);
	call_end(&call);
}

/* A MSG_RUN, not claimed yet: it starts, or waits here while the loop is full.  It may not
 * wait in the ring, where a MSG_STOP that makes room can stand behind it. */
static void
accept_run(struct loop *loop, const struct run_body *run)
{
	bool full = loop->running >= loop->limit || loop->waiting != NULL;
	if (!full && !link_claim(&loop->w->link, run))
		return; /* taken back */

	struct job *job = malloc(sizeof(*job) + run->args_length);
	if (job == NULL) {
		if (!full || link_claim(&loop->w->link, run))
			fail_unstarted(loop, run);
		return;
	}
	job->run = *run;
	memcpy(job->args, run + 1, run->args_length);
	if (!full) {
		job_start(loop, job);
		return;
	}
	job->next = NULL;
	*loop->waiting_end = job;
	loop->waiting_end = &job->next;
}

static void
start_waiting(struct loop *loop)
{
	while (loop->waiting != NULL && loop->running < loop->limit) {
		struct job *job = loop->waiting;
		loop->waiting = job->next;
		if (loop->waiting == NULL)
			loop->waiting_end = &loop->waiting;
		if (link_claim(&loop->w->link, &job->run))
			job_start(loop, job);
		else
			free(job);
	}
}

/* Returns whether there was any. */
static bool
take_requests(struct loop *loop)
{
	struct link_worker *l = &loop->w->link;
	const struct ring_record *record;
	bool any = false;

	while ((record = link_peek(l)) != NULL) {
		if (record->type == MSG_RUN)
			accept_run(loop, (const void *)record->body);
		else if (record->type == MSG_STOP)
			job_stop(loop, (const void *)record->body);
		link_release(l, record);
		any = true;
	}
	start_waiting(loop);
	return any;
}

/* ---- waiting ---- */

/* Look, yield, look: true when a request came. */
static bool
look(struct loop *loop)
{
	uint64_t until = loop->running > 0 ? clock_now() + LOOK_NS : UINT64_MAX;

	for (int i = 0; i < WAKE_LOOKS; i++) {
		if (link_has_request(&loop->w->link))
			return true;
		if (until != UINT64_MAX && clock_now() >= until)
			return false;
		if (!yield_cheaply())
			return false;
	}
	return false;
}

static void
sleep_until_event(struct loop *loop)
{
	struct link_worker *l = &loop->w->link;

	wake_arm(&l->shared->worker);
	if (!link_has_request(l))
		event_base_loop(loop->base, EVLOOP_ONCE);
	wake_disarm(&l->shared->worker);
}

static void
bell_rang(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	(void)arg;
	bell_clear(fd);
}

/* It is looked at before the next sleep. */
static void
requests_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void
control_readable(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;

	(void)fd;
	(void)what;
	loop->stopping = true;
	event_del(loop->control);
}

/* After an order to stop, what runs may finish; MSG_STOP is still obeyed. */
static void
turn_until_stopped(struct loop *loop)
{
	bool arriving = false;

	for (;;) {
		bool any = take_requests(loop);
		if (loop->stopping && loop->running == 0 && loop->waiting == NULL)
			return;
		if (any) {
			arriving = true;
			/* Once round: what stays readable until it is taken must not keep us there.
			 */
			event_base_loop(loop->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
		} else if (!arriving || !look(loop)) {
			arriving = false;
			sleep_until_event(loop);
		}
	}
}

static void
loop_free(struct loop *loop)
{
	if (loop->bell != NULL)
		event_free(loop->bell);
	if (loop->control != NULL)
		event_free(loop->control);
	if (loop->requests != NULL)
		event_free(loop->requests);
	if (loop->base != NULL)
		event_base_free(loop->base);
	free(loop);
}

/* Some ways have a descriptor of their own for requests. */
static bool
watch_requests(struct loop *loop)
{
	int fd = link_request_fd(&loop->w->link);

	if (fd < 0)
		return true;
	loop->requests = event_new(loop->base, fd, EV_READ | EV_PERSIST, requests_readable, loop);
	return loop->requests != NULL && event_add(loop->requests, NULL) == 0;
}

static struct loop *
loop_new(struct worker *w)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	if (loop == NULL)
		return NULL;
	loop->w = w;
	loop->limit = w->pool->concurrency;
	loop->waiting_end = &loop->waiting;
	loop->base = run_loop_new();
	if (loop->base != NULL) {
		short flags = EV_READ | EV_PERSIST;
		loop->bell = event_new(loop->base, w->link.bell, flags, bell_rang, loop);
		loop->control = event_new(loop->base, w->control, flags, control_readable, loop);
	}
	if (loop->bell != NULL && loop->control != NULL && event_add(loop->bell, NULL) == 0 &&
	    event_add(loop->control, NULL) == 0 && watch_requests(loop))
		return loop;
	loop_free(loop);
	return NULL;
}

int
event_run(struct worker *w)
{
	struct loop *loop = loop_new(w);
	if (loop == NULL) {
		log_error("cannot make an event loop; the worker ends");
		return EXIT_FAILURE;
	}
	link_worker_ready(&w->link);
	turn_until_stopped(loop);
	loop_free(loop);
	return EXIT_SUCCESS;
}
