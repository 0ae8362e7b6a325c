/*
 * ipc_sockets.c - unix sockets of the daemon's processes: those its registry names get what the
 * kernel knows of them, and those it does not name (the supervisor's, the manager's) get rows.
 */
#include <stdio.h>
#include <string.h>

#include "client/ctl/ipc.h"

struct sockets {
	struct ipc_list *list;
	const struct proc_list *seen;
	struct diag_list diag;
};

static bool
is_claimed(const struct ipc_list *list, uint64_t inode)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->rows[i].inode == inode && list->rows[i].fd != IPC_UNKNOWN)
			return true;
	return false;
}

/* Who holds the socket; `not_by`: rather somebody else.  0: nobody we may see. */
static pid_t
holder_of(const struct sockets *s, uint64_t inode, pid_t not_by)
{
	pid_t found = 0;

	for (size_t i = 0; i < s->seen->count; i++) {
		const struct proc_memory *m = &s->seen->memory[i];
		if (m->what == PROC_SOCKET && m->inode == inode && (found == 0 || found == not_by))
			found = m->pid;
	}
	return found;
}

static void
attach_holders(const struct sockets *s, struct ipc_row *row, uint64_t inode)
{
	for (size_t i = 0; i < s->seen->count; i++)
		if (s->seen->memory[i].what == PROC_SOCKET && s->seen->memory[i].inode == inode)
			ipc_attach(row, s->seen->memory[i].pid);
}

/* What waits in a registered socket, both ways. */
static void
complete(const struct sockets *s, struct ipc_row *row)
{
	const struct diag_socket *own = diag_find(&s->diag, row->inode);

	if (row->fd == IPC_UNKNOWN || own == NULL)
		return;
	const struct diag_socket *peer = diag_find(&s->diag, own->peer);
	attach_holders(s, row, own->inode);
	if (own->listens) {
		row->depth = own->waiting; /* connections nobody has accepted */
		snprintf(row->path, sizeof row->path, "%s", own->path);
		return;
	}
	uint64_t waiting = own->waiting + (peer ? peer->waiting : 0);
	if (strcmp(row->kind, "pipe") == 0) /* one direction: what it writes waits over there */
		waiting = row->in == IPC_UNKNOWN ? own->waiting : peer ? peer->waiting : 0;
	row->used = row->used == IPC_UNKNOWN ? waiting : row->used + waiting;
	if (peer)
		attach_holders(s, row, peer->inode);
}

/* A pair inside the daemon is one row; of a worker's control socket the supervisor is the owner. */
static void
add_pair(const struct sockets *s, const struct diag_socket *own, const struct diag_socket *peer)
{
	pid_t here = holder_of(s, own->inode, 0), there = holder_of(s, peer->inode, here);
	struct ipc_row *row = ipc_add(s->list, "socket");

	if (there == s->list->supervisor) {
		pid_t swap = here;
		here = there;
		there = swap;
	}
	row->owner_pid = here;
	row->peer_pid = there;
	proc_role(here, row->owner, sizeof row->owner);
	proc_role(there, row->peer, sizeof row->peer);
	const char *path = own->path[0] ? own->path : peer->path;
	const char *slash = strrchr(path, '/');
	if (slash)
		snprintf(row->name, sizeof row->name, "%s connection", slash + 1);
	else
		snprintf(row->name, sizeof row->name, "%s control", row->peer);
	row->inode = own->inode;
	row->used = own->waiting + peer->waiting;
	attach_holders(s, row, own->inode);
	attach_holders(s, row, peer->inode);
	row->state = IPC_LIVE;
}

static void
add_listener(const struct sockets *s, const struct diag_socket *own)
{
	struct ipc_row *row = ipc_add(s->list, "socket");
	const char *slash = strrchr(own->path, '/');

	snprintf(row->name, sizeof row->name, "%s", slash ? slash + 1 : own->path);
	snprintf(row->path, sizeof row->path, "%s", own->path);
	row->inode = own->inode;
	row->depth = own->waiting;
	attach_holders(s, row, own->inode);
	row->owner_pid = row->attached[0];
	proc_role(row->owner_pid, row->owner, sizeof row->owner);
	row->state = IPC_LIVE;
}

/* A connection to somebody else: a client of the manager, the journal, the service manager. */
static void
add_connection(const struct sockets *s, const struct diag_socket *own,
	       const struct diag_socket *peer)
{
	struct ipc_row *row = ipc_add(s->list, "socket");
	const char *slash = strrchr(own->path, '/');

	row->owner_pid = holder_of(s, own->inode, 0);
	proc_role(row->owner_pid, row->owner, sizeof row->owner);
	snprintf(row->name, sizeof row->name, "%s connection%s%s", row->owner, slash ? " by " : "",
		 slash ? slash + 1 : "");
	row->inode = own->inode;
	row->used = own->waiting + (peer ? peer->waiting : 0);
	attach_holders(s, row, own->inode);
	row->state = IPC_LIVE;
}

static void
add_unclaimed(const struct sockets *s, uint64_t inode)
{
	const struct diag_socket *own = diag_find(&s->diag, inode);
	const struct diag_socket *peer = own ? diag_find(&s->diag, own->peer) : NULL;

	/* what the registry names, or the row of the other side does */
	if (!own || is_claimed(s->list, inode) || (peer && is_claimed(s->list, peer->inode)))
		return;
	for (size_t i = 0; i < s->list->count; i++)
		if (strcmp(s->list->rows[i].kind, "socket") == 0 &&
		    (s->list->rows[i].inode == inode ||
		     (peer && s->list->rows[i].inode == peer->inode)))
			return;
	if (own->listens)
		add_listener(s, own);
	else if (peer && holder_of(s, peer->inode, 0) != 0)
		add_pair(s, own, peer);
	else
		add_connection(s, own, peer);
}

void
ipc_from_sockets(struct ipc_list *list, const struct proc_list *seen, size_t ours)
{
	struct sockets s = { .list = list, .seen = seen };

	diag_read(&s.diag);
	for (size_t i = 0; i < list->count; i++)
		complete(&s, &list->rows[i]);
	for (size_t i = 0; i < ours; i++)
		if (seen->memory[i].what == PROC_SOCKET)
			add_unclaimed(&s, seen->memory[i].inode);
	diag_free(&s.diag);
}
