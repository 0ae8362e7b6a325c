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
#include "shm/named.h"
#include "shm/owner.h"

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
		if (names->mapped.memory[i].named && names->mapped.memory[i].inode == row->inode)
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

/* 0, or why this is no object of ours. */
static const char *
read_head(int fd, struct named_head *head, struct stat *st)
{
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

static int
each_file(void *context, const char *file)
{
	struct names *names = context;
	struct named_head head;
	const char *name, *why;
	struct stat st = { 0 };
	scoped_fd fd = -1;

	const char *kind = split(file, &name);
	int r = named_open(file, false, &fd);
	if (r == -ENOENT)
		return 0; /* removed since the directory was read */
	struct ipc_row *row = ipc_add(names->list, kind);
	snprintf(row->name, sizeof row->name, "%s", name);
	snprintf(row->file, sizeof row->file, "%s", file);
	if (r < 0) {
		ipc_say(row, IPC_STRANGE, "cannot be read: %s", strerror(-r));
		return 0;
	}
	why = read_head(fd, &head, &st);
	row->bytes = (uint64_t)st.st_size;
	row->inode = (uint64_t)st.st_ino;
	attach_mappers(names, row);
	if (why) {
		ipc_say(row, IPC_STRANGE, "%s", why);
		return 0;
	}
	uint64_t now_ns = clock_wall();
	row->age_ns = now_ns > head.created_ns ? now_ns - head.created_ns : 0;
	say_owner(row, head.creator);
	judge_by_head(row, &head);
	return 0;
}

void
ipc_from_names(struct ipc_list *list)
{
	struct names names = { .list = list };

	(void)named_each(NAMED_PREFIX, each_file, &names);
	proc_free(&names.mapped);
}
