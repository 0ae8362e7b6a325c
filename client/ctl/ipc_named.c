/*
 * ipc_named.c - named objects, /dev/shm/pyprep.*: what their first bytes say, who has them
 * mapped, and whether anybody needs them.
 *
 * Read with pread: a file there may be cut short by whoever may write to it, and a map of it
 * would then be SIGBUS.  Files with other names are not looked at.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ctl/ipc.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"
#include "ipc/queue.h"
#include "shm/array.h"
#include "shm/named.h"
#include "shm/owner.h"

#define ARRAY_MEMORY NAMED_PREFIX "memory."

struct names {
	struct ipc_list *list;
	struct proc_list mapped; /* by all processes; read when the first file is met */
	bool mapped_read;
};

static void
attach_mappers(struct names *names, struct ipc_row *row)
{
	if (!names->mapped_read)
		proc_memory_all(&names->mapped);
	names->mapped_read = true;
	for (size_t i = 0; i < names->mapped.count; i++)
		if (names->mapped.memory[i].what == PROC_NAMED &&
		    names->mapped.memory[i].inode == row->inode)
			ipc_attach(row, names->mapped.memory[i].pid);
}

/* "pyprep.KIND.NAME": the kind, when it is one of ours, and the name. */
static const char *
split(const char *file, const char **ret_name)
{
	const char *rest = file + strlen(NAMED_PREFIX), *dot = strchr(rest, '.');
	const char *kind = dot ? ipc_kind(rest, (size_t)(dot - rest)) : NULL;

	*ret_name = kind ? dot + 1 : rest;
	return kind ? kind : "segment";
}

static void
say_owner(struct ipc_row *row, uint64_t creator)
{
	row->owner_pid = owner_pid(creator);
	if (owner_alive(creator))
		proc_role(row->owner_pid, row->owner, sizeof row->owner);
	else
		snprintf(row->owner, sizeof row->owner, "dead");
}

/* NULL, or why this is no object of ours. */
static const char *
read_head(int fd, struct named_head *head, struct stat *st)
{
	memset(st, 0, sizeof *st);
	if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode))
		return "not a plain file";
	if (pread(fd, head, sizeof *head, 0) != (ssize_t)sizeof *head)
		return "too short for an object of pyprep";
	if (head->magic == 0 || head->creator == OWNER_NOBODY)
		return "it does not begin as an object of pyprep";
	if (head->bytes > (uint64_t)st->st_size)
		return "shorter than it was made";
	return NULL;
}

static void
set_age(struct ipc_row *row, uint64_t created_ns)
{
	uint64_t now_ns = clock_wall();
	row->age_ns = now_ns > created_ns ? now_ns - created_ns : 0;
}

/* ---- kind by kind ---- */

/* Its data is a file of its own, which others may have mapped who know nothing of us. */
static void
attach_users(struct names *names, struct ipc_row *row)
{
	char path[sizeof NAMED_DIRECTORY + NAME_MAX + 1];
	struct stat st;

	snprintf(path, sizeof path, NAMED_DIRECTORY "/%s", row->name);
	if (lstat(path, &st) < 0)
		return;
	row->inode = (uint64_t)st.st_ino;
	attach_mappers(names, row);
}

/* false: it is none, whatever its name says. */
static bool
judge_array(struct names *names, struct ipc_row *row, int fd)
{
	struct array_stat stat;

	int r = array_look(fd, row->name, &stat);
	/* What is under way looks cut off: look again when it is over. */
	if (r == 0 && array_is_orphan(&stat)) {
		if (array_is_busy(fd)) {
			ipc_say(row, IPC_LIVE, "being made or removed");
			return true;
		}
		r = array_look(fd, row->name, &stat);
	}
	if (r < 0)
		return false;
	row->bytes = stat.bytes;
	for (unsigned i = 0; i < stat.living; i++)
		ipc_attach(row, owner_pid(stat.holders[i]));
	if (stat.state == ARRAY_WHOLE)
		attach_users(names, row);
	if (array_is_orphan(&stat))
		ipc_say(row, IPC_ORPHAN, "%s",
			stat.state == ARRAY_LEFT      ? "weak, and all who held it are dead"
			: stat.state == ARRAY_CUT_OFF ? "its making or removal was cut off"
						      : "its name is gone, and nobody holds it");
	else if (stat.state != ARRAY_WHOLE)
		ipc_say(row, IPC_LIVE, "%s: pyprepctl array restore", array_state_text(stat.state));
	else if (row->attached_count > 0)
		ipc_say(row, IPC_LIVE, "%s", "");
	else
		ipc_say(row, IPC_UNUSED, "nobody holds it; it stays until it is removed by name");
	return true;
}

static bool
judge_queue(struct ipc_row *row, int fd)
{
	static struct queue_stat stat; /* 14 KiB */
	unsigned dead = 0;

	if (queue_look(fd, &stat) < 0)
		return false;
	row->in = stat.puts;
	row->out = stat.gets;
	row->bytes_in = stat.bytes_in;
	row->bytes_out = stat.bytes_out;
	row->depth = stat.depth;
	row->depth_high = stat.high_water;
	row->free = stat.capacity - stat.depth;
	row->object_bytes = stat.message_max;
	for (uint32_t i = 0; i < stat.attached; i++) {
		if (stat.members[i].alive)
			ipc_attach(row, stat.members[i].pid);
		else
			dead++;
	}
	if (row->attached_count == 0)
		ipc_say(row, IPC_UNUSED,
			"nobody is attached; it stays until it is removed by name");
	else if (dead > 0)
		ipc_say(row, IPC_LIVE, "%u dead members, cleared at the next use", dead);
	else
		ipc_say(row, stat.depth > 0 ? IPC_LIVE : IPC_IDLE, "%s",
			stat.closed ? "closed" : "");
	return true;
}

/* pyprep.memory.NAME is the second name of an array's data: no row of its own. */
static bool
is_second_name(const char *file)
{
	return strncmp(file, ARRAY_MEMORY, strlen(ARRAY_MEMORY)) == 0;
}

/* ... but when the file beside the array is gone, nobody else tells of it. */
static void
add_lone_memory(struct names *names, const char *file)
{
	char beside[sizeof NAMED_DIRECTORY "/" NAMED_PREFIX "array." + NAME_MAX];
	char path[sizeof NAMED_DIRECTORY + NAME_MAX + 1];
	struct stat st;

	snprintf(beside, sizeof beside, NAMED_DIRECTORY "/" NAMED_PREFIX "array.%s",
		 file + strlen(ARRAY_MEMORY));
	snprintf(path, sizeof path, NAMED_DIRECTORY "/%s", file);
	if (lstat(beside, &st) == 0 || lstat(path, &st) < 0)
		return;
	struct ipc_row *row = ipc_add(names->list, ipc_kind("array", 5));
	snprintf(row->name, sizeof row->name, "%s", file + strlen(ARRAY_MEMORY));
	snprintf(row->file, sizeof row->file, "%s", file);
	row->bytes = (uint64_t)st.st_size;
	row->inode = (uint64_t)st.st_ino;
	attach_mappers(names, row);
	ipc_say(row, row->attached_count > 0 ? IPC_LIVE : IPC_ORPHAN,
		"what was known of it is gone");
}

/* An object of which only the head is known. */
static void
judge_by_head(struct ipc_row *row, const struct named_head *head)
{
	if (row->attached_count > 0)
		ipc_say(row, IPC_LIVE, "%s", "");
	else if (owner_alive(head->creator))
		ipc_say(row, IPC_IDLE, "%s", "");
	else
		ipc_say(row, IPC_UNUSED,
			"nobody is attached; it stays until it is removed by name");
}

/* ---- all of them ---- */

static void
judge(struct names *names, struct ipc_row *row, int fd)
{
	struct named_head head;
	struct stat st;

	const char *why = read_head(fd, &head, &st);
	row->bytes = (uint64_t)st.st_size;
	row->inode = (uint64_t)st.st_ino;
	attach_mappers(names, row);
	if (why) {
		ipc_say(row, IPC_STRANGE, "%s", why);
		return;
	}
	set_age(row, head.created_ns);
	say_owner(row, head.creator);
	if (strcmp(row->kind, "array") == 0) {
		if (!judge_array(names, row, fd))
			ipc_say(row, IPC_STRANGE, "it is no array of this version");
	} else if (strcmp(row->kind, "queue") == 0) {
		if (!judge_queue(row, fd))
			ipc_say(row, IPC_STRANGE, "it is no queue of this version");
	} else {
		judge_by_head(row, &head);
	}
}

static int
each_file(void *context, const char *file)
{
	struct names *names = context;
	const char *name;
	scoped_fd fd = -1;

	if (is_second_name(file)) {
		add_lone_memory(names, file);
		return 0;
	}
	const char *kind = split(file, &name);
	int r = named_open(file, false, &fd);
	if (r == -ENOENT)
		return 0; /* removed since the directory was read */
	struct ipc_row *row = ipc_add(names->list, kind);
	snprintf(row->name, sizeof row->name, "%s", name);
	snprintf(row->file, sizeof row->file, "%s", file);
	if (r < 0)
		ipc_say(row, IPC_STRANGE, "cannot be read: %s", strerror(-r));
	else
		judge(names, row, fd);
	return 0;
}

void
ipc_from_names(struct ipc_list *list)
{
	struct names names = { .list = list };

	(void)named_each(NAMED_PREFIX, each_file, &names);
	proc_free(&names.mapped);
}
