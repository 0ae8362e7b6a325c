/* manager.c - the road to the manager: batches out, answers in, silence and what follows it. */
#include "client/manager.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "client/internal.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"
#include "shm/owner.h"

#define QUIET_NS      (20 * NS_PER_MS) /* without an answer: say hello; doubled each time */
#define QUIET_MOST_NS (320 * NS_PER_MS)
#define QUIET_LOCK_NS (500 * NS_PER_MS) /* the same, when only locks are waited for */
#define ASK_STATE_NS  (500 * NS_PER_MS) /* silence after which the broker is asked about it */
#define PATIENCE_NS   (20 * NS_PER_S)   /* silence after which the proxy gives up */
#define GOODBYE_MS    1000
#define EXIT_LATER    75

/* ---- out ---- */

static void
batch_begin(struct pyprep_manager *m)
{
	manager_write(&m->out, m->out_bytes, sizeof(m->out_bytes), m->token, m->owner);
}

void
proxy_flush(struct pyprep_manager *m)
{
	struct iovec part = { m->out_bytes, m->out.used };

	if (m->out.count == 0)
		return;
	/* What finds no room is sent again after a silence. */
	if (!m->greeting)
		(void)zmq_end_send(m->end, &part, 1);
	batch_begin(m);
}

static void
put(struct pyprep_manager *m, const struct asked *a)
{
	if (m->greeting) /* it goes with all the others, after the greeting */
		return;
	if (manager_write_ask(&m->out, &a->ask, a->name) == -ENOSPC) {
		proxy_flush(m);
		(void)manager_write_ask(&m->out, &a->ask, a->name);
	}
	if (m->out.count >= BATCH_MOST)
		proxy_flush(m);
}

struct asked *
proxy_asked(struct pyprep_manager *m, uint64_t number)
{
	return &m->window[number % MANAGER_WINDOW];
}

int
proxy_ask(struct pyprep_manager *m, const struct manager_ask *ask, const char *name, void *user,
	  bool collected, uint64_t *ret_number)
{
	struct asked *a = proxy_asked(m, m->next);

	if (a->state != ASKED_FREE || m->next - m->first >= MANAGER_WINDOW)
		return -EAGAIN;
	if (m->first == m->next)
		m->heard_ns = m->silence_ns = clock_now();
	*a = (struct asked){
		.state = ASKED_WAITS, .collected = collected, .ask = *ask, .user = user
	};
	snprintf(a->name, sizeof(a->name), "%s", name);
	a->ask.sequence = m->next;
	*ret_number = m->next++;
	put(m, a);
	return 0;
}

int
proxy_send_plain(struct pyprep_manager *m, const struct manager_ask *ask)
{
	unsigned char bytes[sizeof(struct manager_head) + sizeof(struct manager_ask)];
	struct manager_writer w;

	manager_write(&w, bytes, sizeof(bytes), m->token, m->owner);
	(void)manager_write_ask(&w, ask, "");
	struct iovec part = { bytes, w.used };
	return zmq_end_send(m->end, &part, 1);
}

/* ---- greeting ---- */

static uint64_t
new_token(void)
{
	uint64_t token = 0;

	while (token == 0)
		if (getrandom(&token, sizeof(token), 0) != sizeof(token))
			token = clock_now();
	return token;
}

static void
say_hello(struct pyprep_manager *m)
{
	if (m->forgetful)
		m->token = new_token();
	struct manager_ask ask = { .op = MANAGER_HELLO,
				   .sequence = ++m->hello,
				   .value = (int64_t)(m->first - 1) };

	m->greeting = true;
	m->greetings++;
	m->heard_ns = clock_now();
	batch_begin(m); /* all that is unanswered goes again afterwards */
	(void)proxy_send_plain(m, &ask);
}

static void
welcomed(struct pyprep_manager *m, const struct manager_answer *answer)
{
	if (answer->sequence != m->hello)
		return; /* of an earlier greeting */
	m->welcome = answer->status;
	if (answer->status != MANAGER_OK)
		return;
	m->greeting = false;
	batch_begin(m);
	for (uint64_t n = m->first; n != m->next; n++) {
		if (proxy_asked(m, n)->state != ASKED_WAITS)
			continue;
		put(m, proxy_asked(m, n));
		m->resent++;
	}
	proxy_flush(m);
	if (m->list_waits)
		(void)proxy_send_plain(m, &m->list);
}

/* ---- in ---- */

static void
answered(struct pyprep_manager *m, const struct manager_answer *answer)
{
	struct asked *a = proxy_asked(m, answer->sequence);

	if (a->state != ASKED_WAITS || a->ask.sequence != answer->sequence)
		return; /* twice */
	if (answer->status == MANAGER_GAP || answer->status == MANAGER_NO_SESSION) {
		if (!m->greeting)
			say_hello(m);
		return;
	}
	a->state = ASKED_DONE;
	a->status = answer->status;
	a->value = answer->value;
	if (a->ask.op == MANAGER_RENEW)
		held_renewed(m, a);
	else if (a->given_up)
		a->state = ASKED_FREE;
	else if (!a->collected)
		m->done[(m->done_head + m->done_count++) % MANAGER_WINDOW] =
			(uint16_t)(answer->sequence % MANAGER_WINDOW);
	while (m->first != m->next && proxy_asked(m, m->first)->state != ASKED_WAITS)
		m->first++;
}

static void
listed(struct pyprep_manager *m, const struct manager_answer *answer, const void *entries)
{
	if (!m->list_waits || answer->sequence != m->list.sequence || answer->status != MANAGER_OK)
		return;
	m->list_waits = false;
	m->list_next = answer->value;
	m->list_count = answer->entries;
	memcpy(m->list_rows, entries, answer->entries * sizeof(m->list_rows[0]));
}

static void
take_message(struct pyprep_manager *m, const struct iovec *part)
{
	struct manager_reader reader;
	struct manager_head head;
	struct manager_answer answer;
	const unsigned char *entries;

	if (manager_read(&reader, part->iov_base, part->iov_len, &head) < 0 ||
	    head.token != m->token)
		return;
	m->heard_ns = m->silence_ns = clock_now();
	m->greetings = 0;
	while (manager_read_answer(&reader, &answer, &entries) == 1) {
		if (answer.op == MANAGER_HELLO)
			welcomed(m, &answer);
		else if (answer.op == MANAGER_LIST || answer.op == MANAGER_LOCKS)
			listed(m, &answer, entries);
		else if (manager_op_is_numbered(answer.op))
			answered(m, &answer);
	}
}

/* How many messages there were. */
static unsigned
take_all(struct pyprep_manager *m)
{
	struct zmq_message message;
	unsigned n = 0;

	while (zmq_end_recv(m->end, &message) == 0) {
		if (message.count == 1)
			take_message(m, &message.part[0]);
		zmq_message_free(&message);
		n++;
	}
	return n;
}

/* ---- silence ---- */

static int
got_status(void *context, const void *map, size_t length)
{
	msgpack_unpacked unpacked;
	size_t offset = 0;
	char *state = context;

	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, map, length, &offset) == MSGPACK_UNPACK_SUCCESS) {
		const msgpack_object *o = map_get(&unpacked.data, "manager_state");
		if (o != NULL && o->type == MSGPACK_OBJECT_STR)
			snprintf(state, 16, "%.*s", (int)o->via.str.size, o->via.str.ptr);
	}
	msgpack_unpacked_destroy(&unpacked);
	return 1; /* the pools do not matter */
}

/* The manager's state in the broker's words; 0, or -errno when there is no daemon any more. */
static int
ask_broker(const struct pyprep_manager *m, char state[16], struct pyprep_problem *why)
{
	static const unsigned char status[] = "\x81\xa4verb\xa6status";
	struct pyprep *p;
	char dir[sizeof(m->path)];

	snprintf(dir, sizeof(dir), "%s", m->path);
	*strrchr(dir, '/') = '\0';
	int r = pyprep_connect(dir, &p, why);
	if (r < 0)
		return r;
	r = pyprep_request(p, status, sizeof(status) - 1, 5000, got_status, state, why);
	pyprep_close(p);
	return r < 0 ? r : 0;
}

static int
silent(struct pyprep_manager *m, uint64_t now_ns, struct pyprep_problem *why)
{
	char state[16] = "unknown";
	uint64_t silence_ns = now_ns - m->silence_ns;

	if (silence_ns < ASK_STATE_NS || now_ns - m->asked_ns < ASK_STATE_NS)
		return 0;
	m->asked_ns = now_ns;
	int r = ask_broker(m, state, why);
	if (r < 0)
		return r;
	if (silence_ns < PATIENCE_NS && strcmp(state, "failed") != 0)
		return 0;
	return problem_set(
		why, -ETIMEDOUT, "manager_failed", EXIT_LATER,
		"the manager does not answer (it is %s): counters and locks through it "
		"are refused; the daemon's log says why.  Mend it, then pyprepctl reload; "
		"counters go on with --atomic",
		state);
}

static int
refused(const struct pyprep_manager *m, struct pyprep_problem *why)
{
	if (m->welcome == MANAGER_NOT_ALLOWED)
		return problem_set(why, -EACCES, "not_allowed", 77,
				   "the manager does not serve you: its daemon's own user, root, "
				   "and members of its group may use it, from the daemon's own pid "
				   "namespace");
	return problem_set(why, -ENOSPC, "no_room", EXIT_LATER,
			   "the manager has no room for one more client; try again later");
}

static bool
only_locks_wait(struct pyprep_manager *m)
{
	for (uint64_t n = m->first; n != m->next; n++)
		if (proxy_asked(m, n)->state == ASKED_WAITS &&
		    proxy_asked(m, n)->ask.op != MANAGER_LOCK)
			return false;
	return !m->greeting && !m->list_waits;
}

/* How long to wait for a word. */
static uint64_t
quiet(struct pyprep_manager *m)
{
	uint64_t ns = m->greetings < 8 ? QUIET_NS << m->greetings : QUIET_MOST_NS;

	if (only_locks_wait(m))
		return QUIET_LOCK_NS;
	return ns < QUIET_MOST_NS ? ns : QUIET_MOST_NS;
}

/* Is an answer due?  Say hello when it does not come. */
static int
look_after(struct pyprep_manager *m, uint64_t now_ns, uint64_t *ret_next_ns,
	   struct pyprep_problem *why)
{
	if (m->first == m->next && !m->greeting && !m->list_waits) {
		*ret_next_ns = UINT64_MAX;
		return 0;
	}
	uint64_t quiet_ns = quiet(m);
	if (now_ns - m->heard_ns >= quiet_ns) {
		int r = silent(m, now_ns, why);
		if (r < 0)
			return r;
		say_hello(m);
	}
	*ret_next_ns = m->heard_ns + quiet_ns;
	return 0;
}

static int
ms_until(uint64_t when_ns, uint64_t now_ns)
{
	if (when_ns == UINT64_MAX)
		return -1;
	return when_ns <= now_ns ? 0 : (int)((when_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

int
proxy_pump(struct pyprep_manager *m, uint64_t deadline_ns, struct pyprep_problem *why)
{
	uint64_t now_ns = clock_now(), next_ns = UINT64_MAX;

	held_renew(m, now_ns);
	proxy_flush(m);
	if (take_all(m) > 0)
		return 0;
	now_ns = clock_now(); /* not before what held_renew() noted */
	int r = look_after(m, now_ns, &next_ns, why);
	if (r < 0 || deadline_ns <= now_ns)
		return r;
	if (m->welcome != MANAGER_OK && m->greeting)
		return refused(m, why);
	if (deadline_ns < next_ns)
		next_ns = deadline_ns;
	if (held_next_ns(m) < next_ns)
		next_ns = held_next_ns(m);
	r = zmq_end_wait(m->end, POLLIN, ms_until(next_ns, now_ns));
	if (r < 0)
		return problem_set(why, r, "interrupted", 125,
				   "a signal came while waiting for the manager");
	take_all(m);
	if (m->welcome != MANAGER_OK && m->greeting)
		return refused(m, why);
	return 0;
}

int
proxy_finish(struct pyprep_manager *m, uint64_t number, enum manager_status *ret_status,
	     int64_t *ret_value, struct pyprep_problem *why)
{
	struct asked *a = proxy_asked(m, number);

	while (a->state == ASKED_WAITS) {
		int r = proxy_pump(m, UINT64_MAX, why);
		if (r < 0) {
			a->given_up = a->state == ASKED_WAITS;
			return r;
		}
	}
	*ret_status = a->status;
	*ret_value = a->value;
	a->state = ASKED_FREE;
	return 0;
}

/* ---- connect, close ---- */

/* manager.sock lies beside the socket that the daemon answers at. */
static int
find_path(const char *runtime_dir, char *path, size_t size, struct pyprep_problem *why)
{
	struct sockaddr_un peer = { 0 };
	socklen_t length = sizeof(peer);
	scoped_fd fd = socket_find(runtime_dir, why);

	if (fd < 0)
		return fd;
	if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0)
		return problem_set(why, -errno, "internal", 125, "cannot tell the daemon's socket");
	char *slash = strrchr(peer.sun_path, '/');
	if (slash == NULL || snprintf(path, size, "%.*s/" MANAGER_SOCKET,
				      (int)(slash - peer.sun_path), peer.sun_path) >= (int)size)
		return problem_set(why, -ENAMETOOLONG, "unreachable", 69,
				   "the daemon's directory is too long for a unix socket");
	return 0;
}

static int
open_end(struct pyprep_manager *m, struct pyprep_problem *why)
{
	int r = zmq_end_open(ZMQ_END_DEALER, NULL, &m->end);

	if (r == 0)
		r = zmq_end_connect(m->end, m->path);
	if (r == -ELIBACC)
		return problem_set(why, r, "no_zeromq", 69, "%s", zmq_problem());
	if (r < 0)
		return problem_set(why, r, "internal", 125, "cannot open a ZeroMQ socket: %s",
				   strerror(-r));
	return 0;
}

int
pyprep_manager_connect(const char *runtime_dir, struct pyprep_manager **ret,
		       struct pyprep_problem *why)
{
	struct pyprep_manager *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return problem_memory(why);
	m->first = m->next = 1;
	m->token = new_token();
	m->owner = owner_self();
	m->heard_ns = m->silence_ns = clock_now();
	int r = find_path(runtime_dir, m->path, sizeof(m->path), why);
	if (r == 0)
		r = open_end(m, why);
	if (r == 0)
		say_hello(m);
	while (r == 0 && m->greeting)
		r = proxy_pump(m, UINT64_MAX, why);
	if (r < 0) {
		zmq_end_close(m->end);
		free(m);
		return r;
	}
	*ret = m;
	return 0;
}

void
pyprep_manager_close(struct pyprep_manager *m)
{
	struct manager_ask bye = { .op = MANAGER_GOODBYE, .sequence = 1 };

	if (m == NULL)
		return;
	/* Its answer says that it was not lost with the socket.  Who cannot wait: the session ends
	 * with the process. */
	if (!m->greeting && proxy_send_plain(m, &bye) == 0)
		(void)zmq_end_wait(m->end, POLLIN, GOODBYE_MS);
	zmq_end_close(m->end);
	free(m);
}
