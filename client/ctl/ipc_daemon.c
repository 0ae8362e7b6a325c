/*
 * ipc_daemon.c - what the daemon says it holds (verb `ipc`), each row looked for in /proc; and
 * memory of its processes that it says nothing of.
 *
 * Registry and /proc are read one after the other while the daemon works: a worker may die or
 * a client come in between.  So a disagreement is looked at again before it is shown.
 */
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "client/ctl/ipc.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

#define LOOKS     5
#define PAUSE_NS  (20 * NS_PER_MS)
#define ANSWER_MS 3000 /* a stopped broker is what one may be looking for */

/* ---- the registry ---- */

/* nil, or missing: not known. */
static uint64_t
figure(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = field_get(map, key);
	return o && o->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? o->via.u64 : IPC_UNKNOWN;
}

static void
add_row(struct ipc_list *list, const msgpack_object *map)
{
	const char *kind =
		ipc_kind(field_text(map, "kind"), (size_t)field_text_length(map, "kind"));

	struct ipc_row *row = ipc_add(list, kind ? kind : "segment");
	snprintf(row->name, sizeof row->name, "%.*s", FIELD_TEXT(map, "name"));
	snprintf(row->owner, sizeof row->owner, "%.*s", FIELD_TEXT(map, "owner"));
	snprintf(row->peer, sizeof row->peer, "%.*s", FIELD_TEXT(map, "peer"));
	snprintf(row->way, sizeof row->way, "%.*s", FIELD_TEXT(map, "way"));
	row->owner_pid = (pid_t)field_u64(map, "owner_pid");
	row->peer_pid = (pid_t)field_u64(map, "peer_pid");
	row->inode = figure(map, "inode");
	row->fd = figure(map, "fd");
	row->bytes = figure(map, "bytes");
	row->used = figure(map, "used");
	row->used_high = figure(map, "used_high");
	row->in = figure(map, "in");
	row->out = figure(map, "out");
	row->bytes_in = figure(map, "bytes_in");
	row->bytes_out = figure(map, "bytes_out");
	row->depth = figure(map, "depth");
	row->depth_high = figure(map, "depth_high");
	row->free = figure(map, "free");
	row->object_bytes = figure(map, "object_bytes");
	row->age_ns = figure(map, "age_ns");
}

static int
got_rows(void *context, const msgpack_object *map)
{
	struct ipc_list *list = context;
	const msgpack_object *rows;
	unsigned count = field_list(map, "rows", &rows);

	for (unsigned i = 0; i < count; i++)
		add_row(list, &rows[i]);
	if (field_get(map, "rows"))
		return 0;
	list->supervisor = (pid_t)field_u64(map, "supervisor_pid");
	list->broker = (pid_t)field_u64(map, "broker_pid");
	list->spare = (pid_t)field_u64(map, "spare_pid");
	list->hidden = field_u64(map, "hidden");
	return 0;
}

/* ---- /proc ---- */

struct look {
	struct ipc_list *list;
	struct proc_list memory;
	size_t ours; /* so many of them, the first ones, are of the daemon's processes */
	unsigned unreadable;
};

static void
look_at(void *context, pid_t pid)
{
	struct look *look = context;
	int r = proc_memory(&look->memory, pid);

	if (r == -EACCES || r == -EPERM)
		look->unreadable++;
}

/* All processes of the daemon, and the clients of its lanes. */
static void
look_around(struct look *look)
{
	const struct ipc_list *list = look->list;

	look_at(look, list->supervisor);
	proc_each(list->supervisor, look_at, look);
	look->list->unreadable = look->unreadable;
	look->ours = look->memory.count;
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->rows[i].kind, "memfd") == 0 && list->rows[i].peer_pid > 0)
			(void)proc_memory(&look->memory, list->rows[i].peer_pid);
}

static void
attach_all(struct ipc_row *row, const struct proc_list *memory)
{
	for (size_t i = 0; i < memory->count; i++)
		if (memory->memory[i].inode == row->inode && memory->memory[i].what == PROC_MEMFD)
			ipc_attach(row, memory->memory[i].pid);
}

static bool
is_claimed(const struct ipc_list *list, uint64_t inode)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->rows[i].kind, "memfd") == 0 && list->rows[i].inode == inode)
			return true;
	return false;
}

static void
add_unclaimed(struct ipc_list *list, const struct proc_list *memory, const struct proc_memory *m)
{
	struct ipc_row *row = ipc_add(list, "memfd");

	snprintf(row->name, sizeof row->name, "%s", m->label);
	proc_role(m->pid, row->owner, sizeof row->owner);
	row->owner_pid = m->pid;
	row->inode = m->inode;
	row->bytes = m->bytes;
	attach_all(row, memory);
	ipc_say(row, IPC_STRANGE, "the daemon's registry does not know it");
}

/* ---- one against the other ---- */

static void
check_memory(struct ipc_row *row, const struct look *look)
{
	const struct proc_memory *seen = proc_find(&look->memory, row->inode, PROC_MEMFD);

	attach_all(row, &look->memory);
	if (seen && seen->bytes != row->bytes)
		ipc_say(row, IPC_STRANGE, "/proc shows %" PRIu64 " bytes", seen->bytes);
	else if (seen)
		ipc_say(row, IPC_LIVE, "%s", "");
	else if (look->unreadable > 0)
		ipc_say(row, IPC_LIVE, "not checked: /proc of the daemon is not ours to read");
	else
		ipc_say(row, IPC_STRANGE, "no process of the daemon has it");
}

static void
check_socket(struct ipc_row *row)
{
	int r = proc_has_socket(row->owner_pid, row->fd, row->inode);

	ipc_attach(row, row->owner_pid);
	if (row->peer_pid > 0)
		ipc_attach(row, row->peer_pid);
	if (r < 0)
		ipc_say(row, IPC_LIVE, "not checked: /proc of the daemon is not ours to read");
	else if (r == 0)
		ipc_say(row, IPC_STRANGE, "the %s has no such descriptor", row->owner);
	else
		ipc_say(row, IPC_LIVE, "%s", "");
}

static void
check_row(struct ipc_row *row, const struct look *look)
{
	if (strcmp(row->kind, "memfd") == 0) {
		check_memory(row, look);
	} else if (row->fd != IPC_UNKNOWN) {
		check_socket(row);
	} else {
		ipc_attach(row, row->owner_pid);
		if (row->peer_pid > 0)
			ipc_attach(row, row->peer_pid);
		row->state = row->depth != IPC_UNKNOWN && row->depth > 0 ? IPC_LIVE : IPC_IDLE;
	}
}

/* How many rows do not agree. */
static unsigned
check(struct ipc_list *list)
{
	struct look look = { .list = list };
	unsigned strange = 0;
	size_t claimed = list->count;

	look_around(&look);
	for (size_t i = 0; i < claimed; i++) {
		check_row(&list->rows[i], &look);
		strange += list->rows[i].state == IPC_STRANGE;
	}
	for (size_t i = 0; i < look.ours; i++) {
		const struct proc_memory *m = &look.memory.memory[i];
		if (m->what != PROC_MEMFD || is_claimed(list, m->inode))
			continue;
		add_unclaimed(list, &look.memory, m);
		strange++;
	}
	ipc_from_sockets(list, &look.memory, look.ours);
	proc_free(&look.memory);
	return strange;
}

static void
name_directory(struct ipc_list *list, struct pyprep *p)
{
	struct sockaddr_un address = { 0 };
	socklen_t length = sizeof address - 1;

	if (getpeername(pyprep_fd(p), (struct sockaddr *)&address, &length) == 0 &&
	    address.sun_path[0] == '/')
		snprintf(list->runtime_dir, sizeof list->runtime_dir, "%s",
			 dirname(address.sun_path));
}

/* One question and one look; how many rows do not agree, or a negative errno with `why`. */
static int
ask_and_check(struct ipc_list *list, struct pyprep *p, struct pyprep_problem *why)
{
	struct request request;

	list->count = 0;
	request_begin(&request, "ipc", 0);
	int r = request_ask(&request, p, ANSWER_MS, got_rows, list, why);
	return r < 0 ? r : (int)check(list);
}

void
ipc_from_daemon(struct ipc_list *list)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct pyprep_problem why;
	struct pyprep *p;

	int r = pyprep_connect(ctl.runtime_dir, &p, &why);
	if (r == 0) {
		name_directory(list, p);
		r = ask_and_check(list, p, &why);
		for (int look = 1; r > 0 && look < LOOKS; look++) {
			nanosleep(&pause, NULL);
			r = ask_and_check(list, p, &why);
		}
		if (r >= 0)
			ipc_from_counters(list, p);
		pyprep_close(p);
	}
	if (r >= 0)
		ipc_from_locks(list);
	list->daemon = r >= 0;
	if (r < 0) {
		list->count = 0;
		snprintf(list->note, sizeof list->note, "%s", why.message);
	}
}
