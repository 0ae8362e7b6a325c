/*
 * manager.c - role: owns named counters and locks, and serves them to proxies over ZeroMQ.
 *
 * libzmq is loaded when the first client knocks at the listening socket, which is the
 * supervisor's: a manager that nobody uses costs a fork and sleeps.
 */
#include "daemon/manager.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/log.h"
#include "ipc/clock.h"
#include "ipc/message.h"
#include "shm/owner.h"
#include "shm/segment.h"

#define MESSAGES_A_TURN 64u
#define QUEUED_IN       64  /* messages of one client that wait for us */
#define QUEUED_OUT      256 /* ... and answers that wait for it; beyond, it asks again */
#define COMPLAIN_NS     NS_PER_S

/* ---- answers ---- */

struct answers {
	struct manager *manager;
	struct iovec to;
	uint64_t token;
	struct manager_writer writer;
};

/* One buffer for all: answers are copied when they are sent. */
static unsigned char answer_buffer[MANAGER_MESSAGE_MAX];

static void
answers_begin(struct answers *a, struct manager *m, struct iovec to, uint64_t token)
{
	*a = (struct answers){ .manager = m, .to = to, .token = token };
	manager_write(&a->writer, answer_buffer, sizeof(answer_buffer), token, owner_self());
}

static void
answers_send(struct answers *a)
{
	struct iovec parts[2] = { a->to, { answer_buffer, a->writer.used } };

	/* One that cannot be sent is asked for again. */
	if (a->writer.count > 0)
		(void)zmq_end_send(a->manager->end, parts, 2);
}

static void
answer(struct answers *a, const struct manager_ask *ask, struct outcome_of o,
       const struct manager_entry *rows, unsigned count)
{
	struct manager_answer row = {
		.op = ask->op,
		.status = (uint8_t)o.status,
		.entries = count,
		.sequence = ask->sequence,
		.value = o.value,
	};

	if (manager_write_answer(&a->writer, &row, rows) == 0)
		return;
	answers_send(a);
	answers_begin(a, a->manager, a->to, a->token);
	(void)manager_write_answer(&a->writer, &row, rows);
}

void
manager_answer_later(struct manager *m, unsigned session, const struct manager_ask *ask,
		     enum manager_status status, int64_t value)
{
	unsigned char buffer[sizeof(struct manager_head) + sizeof(struct manager_answer)];
	struct live *live = &m->live[session];
	struct manager_writer w;
	struct manager_answer row = {
		.op = ask->op, .status = (uint8_t)status, .sequence = ask->sequence, .value = value
	};

	if (live->route.length == 0) /* it will ask again, and find the result */
		return;
	manager_write(&w, buffer, sizeof(buffer), atomic_load(&m->store->sessions[session].token),
		      owner_self());
	(void)manager_write_answer(&w, &row, NULL);
	struct iovec parts[2] = { { live->route.bytes, live->route.length }, { buffer, w.used } };
	(void)zmq_end_send(m->end, parts, 2);
}

/* ---- requests ---- */

static struct outcome_of
apply_numbered(struct manager *m, unsigned session, const struct manager_ask *ask, const char *name)
{
	struct stored_session *s = &m->store->sessions[session];
	struct stored_result seen;
	int r = store_seen(s, ask->sequence, &seen);

	if (r < 0)
		return (struct outcome_of){ MANAGER_GAP, (int64_t)atomic_load(&s->last) + 1 };
	bool waits = r == 0 && seen.status == MANAGER_PENDING && ask->op == MANAGER_LOCK;
	if (r == 0 && !waits)
		return (struct outcome_of){ seen.status, seen.value };
	if (ask->op >= MANAGER_LOCK)
		return locks_ask(m, session, ask, name);
	return apply_counter(m, s, ask, name);
}

static void
apply_list_op(struct manager *m, struct answers *a, const struct manager_ask *ask)
{
	static struct manager_entry rows[MANAGER_ENTRIES_MAX];
	struct outcome_of o = { MANAGER_OK, 0 };
	unsigned n = ask->op == MANAGER_LIST ? apply_list(m, ask->value, rows, &o.value)
					     : locks_list(m, ask->value, rows, &o.value);

	answer(a, ask, o, rows, n);
}

/* One request of a session.  False: the session has ended. */
static bool
apply(struct manager *m, struct answers *a, unsigned session, const struct manager_ask *ask,
      const char *name)
{
	struct outcome_of o = { MANAGER_BAD_REQUEST, 0 };

	if (manager_op_is_numbered(ask->op)) {
		o = apply_numbered(m, session, ask, name);
	} else if (ask->op == MANAGER_LIST || ask->op == MANAGER_LOCKS) {
		apply_list_op(m, a, ask);
		return true;
	} else if (ask->op == MANAGER_HELLO) {
		o = (struct outcome_of){ MANAGER_OK,
					 (int64_t)atomic_load(&m->store->sessions[session].last) };
	} else if (ask->op == MANAGER_GOODBYE) {
		o.status = MANAGER_OK;
		answer(a, ask, o, NULL, 0);
		session_end(m, session);
		return false;
	}
	if (o.status != MANAGER_PENDING)
		answer(a, ask, o, NULL, 0);
	return true;
}

/* A message whose parts hold together. */
static void
take_requests(struct manager *m, struct zmq_message *message)
{
	struct manager_reader reader;
	struct manager_head head;
	struct manager_ask ask;
	struct answers a;
	char name[MANAGER_NAME_MAX + 1];
	unsigned session = 0;
	enum manager_status status = MANAGER_PENDING;

	if (manager_read(&reader, message->part[1].iov_base, message->part[1].iov_len, &head) < 0)
		return;
	answers_begin(&a, m, message->part[0], head.token);
	while (manager_read_ask(&reader, &ask, name) == 1) {
		if (status == MANAGER_PENDING || ask.op == MANAGER_HELLO)
			status = session_of(m, &head, message, ask.op == MANAGER_HELLO,
					    (uint64_t)ask.value, &session);
		if (status != MANAGER_OK)
			answer(&a, &ask, (struct outcome_of){ status, 0 }, NULL, 0);
		else if (!apply(m, &a, session, &ask, name))
			status = MANAGER_NO_SESSION;
	}
	atomic_fetch_add(&m->store->answered, head.count);
	answers_send(&a);
}

/* Say that somebody sends nonsense, at most once a second. */
static void
complain(struct zmq_message *message, const char *why)
{
	static uint64_t last_ns;
	struct zmq_peer peer = { 0 };
	uint64_t now_ns = clock_now();

	if (last_ns != 0 && now_ns - last_ns < COMPLAIN_NS)
		return;
	last_ns = now_ns;
	(void)zmq_message_peer(message, &peer);
	log_info("dropped a message of pid %d, uid %u: %s", (int)peer.pid, (unsigned)peer.uid, why);
}

static void
take_message(struct manager *m, struct zmq_message *message)
{
	const char *why = "it is not one part of at most 64 KiB";

	if (message->count == 2 && message->part[0].iov_len <= ROUTE_MAX &&
	    manager_check_asks(message->part[1].iov_base, message->part[1].iov_len, &why) == 0)
		take_requests(m, message);
	else
		complain(message, why);
}

static void
on_readable(evutil_socket_t fd, short what, void *context)
{
	struct manager *m = context;
	struct zmq_message message;

	(void)fd;
	(void)what;
	for (unsigned i = 0; i < MESSAGES_A_TURN; i++) {
		int r = zmq_end_recv(m->end, &message);
		if (r == -EAGAIN)
			return;
		if (r < 0)
			continue;
		take_message(m, &message);
		zmq_message_free(&message);
	}
	/* The descriptor does not say again what it has said: come back after the others. */
	event_active(m->readable, EV_READ, 0);
}

/* ---- the process ---- */

static int
serve(struct manager *m)
{
	const struct zmq_limits limits = { .messages_in = QUEUED_IN,
					   .messages_out = QUEUED_OUT,
					   .message_bytes = MANAGER_MESSAGE_MAX };
	int r = zmq_end_open(ZMQ_END_ROUTER, &limits, &m->end);

	if (r == 0)
		r = zmq_end_listen(m->end, m->birth->manager_path, m->birth->manager_listener);
	if (r < 0)
		return r;
	m->readable = event_new(m->base, zmq_end_fd(m->end), EV_READ | EV_PERSIST, on_readable, m);
	if (m->readable == NULL || event_add(m->readable, NULL) < 0)
		return -ENOMEM;
	event_active(m->readable, EV_READ, 0);
	return 0;
}

/* The first client is there. */
static void
on_knock(evutil_socket_t fd, short what, void *context)
{
	struct manager *m = context;

	(void)fd;
	(void)what;
	int r = serve(m);
	if (r == 0)
		return;
	m->exit_status = r == -ELIBACC ? EX_UNAVAILABLE : EXIT_FAILURE;
	log_error("cannot serve counters and locks: %s",
		  r == -ELIBACC ? zmq_problem() : strerror(-r));
	event_base_loopbreak(m->base);
}

/* The supervisor says nothing to a manager: whatever comes is its end. */
static void
on_supervisor(evutil_socket_t fd, short what, void *context)
{
	struct manager *m = context;

	(void)fd;
	(void)what;
	event_base_loopbreak(m->base);
}

static int
open_memory(struct manager *m)
{
	void *table = NULL, *store = NULL;
	int r = segment_map(m->birth->counters_memfd, sizeof(*m->table), &table);

	if (r == 0)
		r = segment_map(m->birth->store_memfd, sizeof(*m->store), &store);
	if (r < 0)
		return r;
	m->table = table;
	m->store = store;
	return 0;
}

static int
open_all(struct manager *m)
{
	int r = open_memory(m);

	if (r < 0)
		return r;
	m->base = event_base_new();
	if (m->base == NULL)
		return -ENOMEM;
	m->control = event_new(m->base, m->birth->control, EV_READ, on_supervisor, m);
	m->knock = event_new(m->base, m->birth->manager_listener, EV_READ, on_knock, m);
	if (m->control == NULL || m->knock == NULL || event_add(m->control, NULL) < 0 ||
	    event_add(m->knock, NULL) < 0)
		return -ENOMEM;
	if (store_recover(m->store, m->table))
		log_info("a request was under way when the last manager died; settled");
	locks_open(m);
	sessions_open(m);
	return m->alarm == NULL ? -ENOMEM : 0;
}

static void
close_all(struct manager *m)
{
	sessions_close(m);
	locks_close(m);
	if (m->readable != NULL)
		event_free(m->readable);
	zmq_end_close(m->end);
	event_free(m->knock);
	event_free(m->control);
	event_base_free(m->base);
	segment_unmap(m->store, sizeof(*m->store));
	segment_unmap(m->table, sizeof(*m->table));
}

int
manager_main(const struct birth *birth)
{
	static struct manager manager;
	struct manager *m = &manager;
	struct ready_body ready = { .pid = (uint32_t)getpid() };

	m->birth = birth;
	log_open("manager", LOG_LEVEL_INFO);
	int r = open_all(m);
	if (r == 0)
		r = frame_send(birth->control, MSG_READY, &ready, NULL, 0, NULL, 0);
	if (r < 0) {
		log_error("cannot start: %s; the supervisor tries again", strerror(-r));
		return EXIT_FAILURE;
	}
	event_base_dispatch(m->base);
	close_all(m);
	return m->exit_status;
}
