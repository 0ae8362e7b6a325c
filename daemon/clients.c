/*
 * clients.c - connections: who they are, their lanes, and what they say.
 *
 * A client costs the broker a bounded place: one descriptor, one lane, a backlog of at most
 * BACKLOG_LIMIT unread bytes; jobs of one that does not read are held back long before.
 * Whatever a client writes can end its own connection and nothing else.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/broker.h"
#include "daemon/context.h"
#include "daemon/log.h"
#include "daemon/request.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"

#define RECORDS_A_TURN  256u /* of one client */
#define QUIET_TURNS     64u  /* looks in vain before a lane has to ring */
#define FRAMES_AT_ONCE  32u
#define ACCEPTS_AT_ONCE 16u
#define PLACES_KEPT     8u         /* of max_clients, for operators */
#define TRIM_BYTES      (4u << 20) /* so much was freed before pages are looked for */
#define HELLO_NS        NS_PER_S   /* silence after which a place may be given away */

/* ---- what comes from the client ---- */

void
client_broke_rules(struct client *c, const char *why)
{
	log_info("client %u (pid %d, uid %u) broke the protocol: %s; letting it go", c->index,
		 (int)c->who.pid, c->who.uid, why);
	client_refuse(c, ERR_BAD_REQUEST, why);
}

static int
open_lane(struct client *c, const struct hello_body *hello, struct welcome_body *welcome,
	  int *ret_fd)
{
	int r = 0;

	if (hello->flags & HELLO_LANE) {
		if (c->fd < 0)
			return -EOPNOTSUPP;
		r = lane_shm_open(c, hello->lane_bytes, ret_fd);
		welcome->lane_bytes = c->lane.capacity;
	} else if (hello->flags & HELLO_FRAMES) {
		r = lane_frames_open(c);
		if (r == 0 && c->lane_ops == &lane_none)
			c->lane_ops = &lane_unix;
		c->bundles = (hello->flags & HELLO_BUNDLES) != 0;
		welcome->lane_bytes = FRAMES_WINDOW;
		welcome->payload_max = FRAMES_PAYLOAD_MAX;
	}
	return r;
}

static void
on_hello(struct client *c, const struct hello_body *hello)
{
	struct welcome_body welcome = {
		.version = PROTOCOL_VERSION,
		.client = c->index,
		.payload_max = PAYLOAD_MAX,
		.broker_pid = (uint32_t)getpid(),
	};
	scoped_fd fd = -1;
	char text[128];

	if (c->greeted) {
		client_broke_rules(c, "a second hello");
		return;
	}
	if (hello->version != PROTOCOL_VERSION) {
		snprintf(text, sizeof(text), "the daemon speaks protocol %u, the client %u",
			 PROTOCOL_VERSION, hello->version);
		client_refuse(c, ERR_BAD_REQUEST, text);
		return;
	}
	int r = open_lane(c, hello, &welcome, &fd);
	if (r == -EOPNOTSUPP) {
		client_refuse(c, ERR_BAD_REQUEST, "no descriptor travels here: ask for frames");
		return;
	}
	if (r < 0) {
		snprintf(text, sizeof(text), "no memory for a lane: %s", strerror(-r));
		client_refuse(c, ERR_TOO_MANY, text);
		return;
	}
	c->greeted = true;
	r = fd >= 0 ? frame_send(c->fd, MSG_WELCOME, &welcome, NULL, 0, &fd, 1)
		    : c->lane_ops->send(c, MSG_WELCOME, &welcome, NULL, 0);
	if (r < 0)
		client_doom(c);
	c->frames_out += fd >= 0;
}

void
client_on_frame(struct broker *b, struct client *c, struct frame_in *in)
{
	c->frames_in++;
	if (in->fd_count > 0) {
		frame_close_fds(in);
		client_broke_rules(c, "descriptors are not taken");
	} else if (in->type == MSG_HELLO) {
		on_hello(c, in->body);
	} else if (!c->greeted) {
		client_broke_rules(c, "the first frame must be a hello");
	} else if (in->type == MSG_BELL) {
		client_activate(b, c);
	} else if (frames_carry(in->type) && c->frames.base != NULL) {
		lane_frames_take(b, c, in);
	} else if (in->type == MSG_ATTACH) {
		client_attach(b, c, in->body);
	} else if (in->type == MSG_BYE) {
		client_doom(c);
	} else if (in->type == MSG_REQUEST) {
		request_handle(b, c, in->body, in->tail, in->tail_length);
	} else {
		client_broke_rules(c, "a client does not send such frames");
	}
}

void
client_read(struct broker *b, struct client *c)
{
	static struct frame_in in; /* 64 KiB: not on the stack */
	const char *why = "";

	for (unsigned i = 0; i < FRAMES_AT_ONCE && !c->doomed && !c->writing; i++) {
		int r = frame_recv(c->fd, &in, &why);
		if (r == -EAGAIN)
			return;
		if (r == -EPROTO)
			client_broke_rules(c, why);
		else if (r < 0)
			client_doom(c);
		else
			client_on_frame(b, c, &in);
	}
}

void
client_on_socket(evutil_socket_t fd, short what, void *context)
{
	struct client *c = context;
	struct broker *b = c->broker;

	(void)fd;
	if ((what & EV_WRITE) && c->writing)
		client_flush_replies(b, c);
	if ((what & EV_WRITE) && c->blocked && !c->doomed)
		client_unblock(b, c);
	client_read(b, c);
}

/* Also what is refused has a receipt: who reads none gets no more of them. */
static bool
is_full(const struct client *c)
{
	return c->backlog_bytes > BACKLOG_FULL;
}

/* One record, or the one that waits for room.  -EAGAIN: waits for room. */
static int
take_record(struct broker *b, struct client *c)
{
	uint32_t type, length;

	if (is_full(c))
		return 0;
	if (c->stalled != NULL) {
		int r = admit_record(b, c, c->stalled->type, c->stalled->body, c->stalled->length);
		if (r == -EAGAIN)
			return r;
		free(c->stalled);
		c->stalled = NULL;
		b->stalled_clients--;
		return r < 0 ? r : 1;
	}
	int r = ring_copy(&c->lane.in, b->scratch, ring_body_max(c->lane.capacity), &type, &length);
	if (r <= 0)
		return r;
	r = admit_record(b, c, type, b->scratch, length);
	if (r == -EAGAIN) {
		struct part part = { b->scratch, length };
		c->stalled = client_park(type, &part, 1);
		if (c->stalled == NULL)
			return -ENOMEM;
		b->stalled_clients++;
	}
	return r < 0 ? r : 1;
}

static unsigned
take_records(struct broker *b, struct client *c)
{
	unsigned n = 0;
	int r = 0;

	for (unsigned i = 0; i < RECORDS_A_TURN && !c->doomed; i++, n++) {
		r = take_record(b, c);
		if (r <= 0)
			break;
	}
	if (r == -EPROTO || r == -EMSGSIZE)
		client_broke_rules(c, "its lane does not hold together");
	else if (r == -ENOMEM)
		client_doom(c);
	/* It may have to be told how far we are. */
	c->bell_due |= n > 0 && c->frames.base != NULL;
	return n;
}

static unsigned
poll_client(struct broker *b, struct client *c)
{
	unsigned n = client_flush_backlog(b, c);

	if (c->lane_ops->pull != NULL && !c->doomed)
		c->lane_ops->pull(b, c);
	return n + take_records(b, c);
}

/* Without a pull: the frame that asks for this is still being read. */
unsigned
client_admit(struct broker *b, struct client *c)
{
	return c->lane.shared != NULL && !c->doomed ? take_records(b, c) : 0;
}

bool
client_drop_stalled(struct broker *b, struct client *c, const uint64_t *tag)
{
	struct submit_body submit;

	if (c->stalled == NULL)
		return false;
	memcpy(&submit, c->stalled->body, sizeof(submit));
	if (tag != NULL && submit.tag != *tag)
		return false;
	free(c->stalled);
	c->stalled = NULL;
	b->stalled_clients--;
	refuse_submit(b, c, &submit, ERR_CANCELLED, "cancelled before there was room for it");
	return true;
}

/* Can this client's lane be worked on without it doing anything? */
static bool
lane_ready(struct client *c)
{
	struct parked *p = STAILQ_FIRST(&c->backlog);

	return (c->stalled == NULL && !is_full(c) && !ring_is_empty(&c->lane.in)) ||
	       (p != NULL && ring_has_room(&c->lane.out, p->length));
}

unsigned
clients_poll(struct broker *b)
{
	struct client *c, *next;
	unsigned n = zmq_lane_poll(b);

	for (c = TAILQ_FIRST(&b->active); c != NULL; c = next) {
		next = TAILQ_NEXT(c, active_link);
		unsigned got = poll_client(b, c);
		n += got;
		if (got > 0) {
			c->quiet_turns = 0;
			continue;
		}
		if (++c->quiet_turns < QUIET_TURNS)
			continue;
		/* From now on it has to ring; look once more, it may just have written. */
		wake_arm(&c->lane.shared->broker);
		if (lane_ready(c))
			client_activate(b, c);
		else
			client_deactivate(b, c);
	}
	return n;
}

bool
clients_pending(struct broker *b)
{
	struct client *c;

	TAILQ_FOREACH (c, &b->active, active_link)
		if (lane_ready(c))
			return true;
	return zmq_lane_pending(b);
}

void
clients_arm(struct broker *b)
{
	struct client *c;

	TAILQ_FOREACH (c, &b->active, active_link)
		wake_arm(&c->lane.shared->broker);
}

void
clients_disarm(struct broker *b)
{
	struct client *c;

	TAILQ_FOREACH (c, &b->active, active_link)
		wake_disarm(&c->lane.shared->broker);
}

void
clients_room(struct broker *b)
{
	for (uint32_t i = 0; b->stalled_clients > 0 && i < b->config->max_clients; i++)
		if (b->clients[i] != NULL && b->clients[i]->stalled != NULL &&
		    admit_goes_on(b, b->clients[i]))
			client_activate(b, b->clients[i]);
}

/* ---- coming and going ---- */

/* Its jobs go on without it until they are stopped; nobody gets their receipts. */
static void
abandon_jobs(struct broker *b, struct client *c)
{
	queue_release_held(b, c);
	for (uint32_t i = c->first_job, next; i != JOB_NONE; i = next) {
		struct job *job = job_at(&b->jobs, i);
		next = job->client_next;
		job->flags |= JOB_NO_CLIENT;
		job->client_prev = job->client_next = JOB_NONE;
		job_stop(b, i, CAUSE_CANCELLED);
	}
	c->first_job = JOB_NONE;
}

/* What they had not read was many small allocations: malloc() keeps their pages while one above
 * them is in use.  Finding them takes 0.3 ms for each 4 MiB (13 ms for 180 MB of 200 clients). */
static void
give_back(struct broker *b)
{
	if (b->freed_bytes < TRIM_BYTES)
		return;
	b->freed_bytes = 0;
	malloc_trim(0);
}

static void
close_client(struct broker *b, struct client *c)
{
	struct parked *p;

	b->freed_bytes += c->backlog_bytes + c->job_bytes;
	abandon_jobs(b, c);
	watchers_drop(b, c);
	if (b->reloading == c)
		b->reloading = NULL;
	client_deactivate(b, c);
	c->lane_ops->close(c);
	while ((p = STAILQ_FIRST(&c->backlog)) != NULL) {
		STAILQ_REMOVE_HEAD(&c->backlog, link);
		free(p);
	}
	while ((p = STAILQ_FIRST(&c->replies)) != NULL) {
		STAILQ_REMOVE_HEAD(&c->replies, link);
		free(p);
	}
	b->stalled_clients -= c->stalled != NULL;
	free(c->stalled);
	shared_context_drop(c->context);
	b->clients[c->index] = NULL;
	b->client_count--;
	free(c);
}

void
clients_flush(struct broker *b)
{
	struct client *c, *next;

	for (c = TAILQ_FIRST(&b->active); c != NULL; c = next) {
		next = TAILQ_NEXT(c, active_link);
		if (c->bell_due)
			client_ring(c);
	}
	if (!b->someone_doomed)
		return;
	b->someone_doomed = false;
	for (uint32_t i = 0; i < b->config->max_clients; i++)
		if (b->clients[i] != NULL && b->clients[i]->doomed)
			close_client(b, b->clients[i]);
	give_back(b);
}

/* A free place; at the limit, that of a connection that has not said hello for a while. */
static uint32_t
find_place(struct broker *b, bool may_operate)
{
	uint32_t most = b->config->max_clients;

	/* The last places are for those who can repair things. */
	if (!may_operate && most > 2 * PLACES_KEPT)
		most -= PLACES_KEPT;
	if (b->client_count < most)
		for (uint32_t i = 0; i < b->config->max_clients; i++)
			if (b->clients[i] == NULL)
				return i;
	for (uint32_t i = 0; i < b->config->max_clients; i++) {
		struct client *c = b->clients[i];
		if (c == NULL || c->greeted || b->now_ns - c->since_ns < HELLO_NS)
			continue;
		close_client(b, c);
		return i;
	}
	return JOB_NONE;
}

static void
turn_away(int fd, enum job_error error, const char *text)
{
	struct refused_body body = { .error = error };
	(void)frame_send(fd, MSG_REFUSED, &body, text, strlen(text), NULL, 0);
}

struct client *
client_new(struct broker *b, const struct identity *who, enum access access)
{
	uint32_t place = find_place(b, access == ACCESS_OPERATE);
	struct client *c = place != JOB_NONE ? calloc(1, sizeof(*c)) : NULL;

	if (c == NULL)
		return NULL;
	*c = (struct client){
		.broker = b,
		.index = place,
		.who = *who,
		.access = access,
		.may_submit = identity_may_submit(b->config, who),
		.commands_only = identity_commands_only(b->config, who),
		.since_ns = b->now_ns,
		.first_job = JOB_NONE,
		.held_head = JOB_NONE,
		.held_tail = JOB_NONE,
	};
	STAILQ_INIT(&c->backlog);
	STAILQ_INIT(&c->replies);
	b->clients[place] = c;
	b->client_count++;
	return c;
}

static void
welcome_socket(struct broker *b, int socket)
{
	scoped_fd fd = socket;
	struct identity who;

	if (identity_of_socket(fd, &who) < 0)
		return;
	enum access access = identity_access(b->config, fd, &who);
	if (access == ACCESS_NONE) {
		log_info("refused user %s (pid %d)", identity_name(who.uid), (int)who.pid);
		turn_away(fd, ERR_NOT_ALLOWED,
			  "this daemon does not serve you: its own user, root, and members of its "
			  "group (see group in pyprepd.conf) may submit");
		return;
	}
	struct client *c = client_new(b, &who, access);
	if (c == NULL) {
		turn_away(fd, ERR_TOO_MANY, "too many clients are connected; try again later");
		return;
	}
	c->fd = take_fd(&fd);
	c->lane_ops = &lane_none;
	c->readable = event_new(b->base, c->fd, EV_READ | EV_PERSIST, client_on_socket, c);
	if (c->readable == NULL || event_add(c->readable, NULL) < 0) {
		log_warn("no memory to listen to a client; it was turned away");
		turn_away(c->fd, ERR_TOO_MANY, "the daemon is out of memory; try again later");
		close_client(b, c);
	}
}

static void
on_accept(evutil_socket_t fd, short what, void *context)
{
	struct broker *b = context;

	(void)what;
	for (unsigned i = 0; i < ACCEPTS_AT_ONCE; i++) {
		int socket = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (socket >= 0) {
			welcome_socket(b, socket);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
			/* The connection stays in the backlog; spinning on it helps nobody. */
			struct timeval pause = { .tv_usec = 100000 };
			log_warn("cannot accept: %s; trying again in 100 ms", strerror(errno));
			event_del(b->listening);
			event_add(b->listen_again, &pause);
			return;
		} else {
			return;
		}
	}
}

static void
on_listen_again(evutil_socket_t fd, short what, void *context)
{
	struct broker *b = context;

	(void)fd;
	(void)what;
	event_add(b->listening, NULL);
}

int
clients_open(struct broker *b)
{
	b->clients = calloc(b->config->max_clients, sizeof(struct client *));
	b->scratch = malloc(ring_body_max(LANE_BYTES_MAX));
	if (b->clients == NULL || b->scratch == NULL)
		return -ENOMEM;
	TAILQ_INIT(&b->active);
	b->listening = event_new(b->base, b->birth->listener, EV_READ | EV_PERSIST, on_accept, b);
	b->listen_again = evtimer_new(b->base, on_listen_again, b);
	return b->listening == NULL || b->listen_again == NULL ? -ENOMEM : 0;
}

int
clients_listen(struct broker *b)
{
	return event_add(b->listening, NULL) < 0 ? -ENOMEM : zmq_lane_open(b);
}

void
clients_close(struct broker *b)
{
	for (uint32_t i = 0; i < b->config->max_clients; i++) {
		struct client *c = b->clients[i];
		if (c == NULL)
			continue;
		if (c->bell_due) /* what ended in the last turn, or after it */
			client_ring(c);
		close_client(b, c);
	}
	zmq_lane_close(b);
	event_free(b->listening);
	event_free(b->listen_again);
	free(b->clients);
	free(b->scratch);
}
