/*
 * manager_session.c - the manager's clients: who they are by the kernel's word, and when they
 * die.
 *
 * A token alone opens nothing: each connection's process must be the one that the session was
 * made for.  A pid may be used again, a pidfd may not: it is opened first, and then the start time
 * of the pid is compared.
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/identity.h"
#include "daemon/log.h"
#include "daemon/manager.h"
#include "shm/owner.h"

static void
on_death(evutil_socket_t fd, short what, void *context)
{
	struct live *live = context;
	struct manager *m = live->manager;

	(void)fd;
	(void)what;
	session_end(m, (unsigned)(live - m->live));
}

/* Watch the process `owner` for this session.  -ESRCH: it is gone. */
static int
watch(struct manager *m, unsigned index, uint64_t owner)
{
	struct live *live = &m->live[index];
	int fd = (int)syscall(SYS_pidfd_open, owner_pid(owner), 0);

	if (fd < 0)
		return -errno;
	if (!owner_alive(owner)) {
		close(fd);
		return -ESRCH;
	}
	*live = (struct live){ .manager = m, .pidfd = fd };
	live->death = event_new(m->base, fd, EV_READ, on_death, live);
	if (live->death == NULL || event_add(live->death, NULL) < 0) {
		close(fd);
		return -ENOMEM;
	}
	return 0;
}

static void
unwatch(struct live *live)
{
	if (live->death == NULL)
		return;
	event_free(live->death);
	close(live->pidfd);
	*live = (struct live){ .pidfd = -1 };
}

void
session_end(struct manager *m, unsigned index)
{
	locks_drop(m, index);
	unwatch(&m->live[index]);
	m->tokens[index] = 0;
	store_end_session(m->store, index);
}

static bool
find_session(const struct manager *m, uint64_t token, unsigned *ret)
{
	for (unsigned i = 0; i < SESSIONS_MAX; i++) {
		if (m->tokens[i] != token)
			continue;
		*ret = i;
		return true;
	}
	return false;
}

void
sessions_open(struct manager *m)
{
	for (unsigned i = 0; i < m->store->sessions_used; i++) {
		const struct stored_session *s = &m->store->sessions[i];
		m->tokens[i] = atomic_load(&s->token);
		if (m->tokens[i] != 0 && watch(m, i, s->owner) < 0)
			session_end(m, i);
	}
}

void
sessions_close(struct manager *m)
{
	for (unsigned i = 0; i < SESSIONS_MAX; i++)
		unwatch(&m->live[i]);
}

static unsigned
count_of_process(const struct manager *m, uint64_t owner)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SESSIONS_MAX; i++)
		n += m->tokens[i] != 0 && m->store->sessions[i].owner == owner;
	return n;
}

/* Is the process at the other end who it says it is, and may it submit? */
static bool
is_allowed(const struct manager *m, const struct manager_head *head, struct zmq_message *message,
	   uid_t *ret_uid)
{
	struct zmq_peer peer;

	if (zmq_message_peer(message, &peer) < 0 || peer.pid != owner_pid(head->owner))
		return false;
	struct identity who = { .pid = peer.pid, .uid = peer.uid, .gid = peer.gid };
	*ret_uid = peer.uid;
	return identity_access(m->birth->config, -1, &who) >= ACCESS_SUBMIT;
}

static void
remember_route(struct live *live, const struct iovec *id)
{
	live->route.length = id->iov_len;
	memcpy(live->route.bytes, id->iov_base, id->iov_len);
}

static bool
same_route(const struct live *live, const struct iovec *id)
{
	return live->route.length == id->iov_len &&
	       memcmp(live->route.bytes, id->iov_base, id->iov_len) == 0;
}

static enum manager_status
new_session(struct manager *m, const struct manager_head *head, uid_t uid, uint64_t base,
	    unsigned *ret)
{
	unsigned i = 0;

	if (count_of_process(m, head->owner) >= SESSIONS_OF_PROCESS ||
	    store_new_session(m->store, head->token, head->owner, uid, base, &i) < 0)
		return MANAGER_NO_ROOM;
	int r = watch(m, i, head->owner);
	if (r < 0) {
		store_end_session(m->store, i);
		return r == -ESRCH ? MANAGER_NOT_ALLOWED : MANAGER_NO_ROOM;
	}
	m->tokens[i] = head->token;
	*ret = i;
	return MANAGER_OK;
}

enum manager_status
session_of(struct manager *m, const struct manager_head *head, struct zmq_message *message,
	   bool hello, uint64_t base, unsigned *ret)
{
	const struct iovec *id = &message->part[0];
	uid_t uid = (uid_t)-1;
	unsigned i = 0;

	bool known = find_session(m, head->token, &i);
	if (known && same_route(&m->live[i], id)) {
		*ret = i;
		return MANAGER_OK;
	}
	if (!is_allowed(m, head, message, &uid))
		return MANAGER_NOT_ALLOWED;
	if (known && m->store->sessions[i].owner != head->owner)
		return MANAGER_NOT_ALLOWED;
	if (!known && !hello)
		return MANAGER_NO_SESSION;
	if (!known) {
		enum manager_status status = new_session(m, head, uid, base, &i);
		if (status != MANAGER_OK)
			return status;
	}
	remember_route(&m->live[i], id);
	*ret = i;
	return MANAGER_OK;
}
