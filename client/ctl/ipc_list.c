/* ipc_list.c - rows of `pyprepctl ipc`, and all of them together. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/ipc.h"
#include "client/ctl/report.h"

const char *const ipc_kinds[] = {
	"link", "ring",      "pipe",    "queue", "memfd",  "array", "segment", "counter",
	"lock", "semaphore", "barrier", "event", "socket", "slab",  NULL,
};

static const char *const state_text[] = {
	[IPC_LIVE] = "live",     [IPC_IDLE] = "idle",       [IPC_UNUSED] = "unused",
	[IPC_ORPHAN] = "orphan", [IPC_STRANGE] = "unknown",
};

const char *
ipc_kind(const char *text, size_t length)
{
	for (const char *const *kind = ipc_kinds; *kind; kind++)
		if (strlen(*kind) == length && memcmp(*kind, text, length) == 0)
			return *kind;
	return NULL;
}

const char *
ipc_state_text(enum ipc_state state)
{
	return state_text[state];
}

struct ipc_row *
ipc_add(struct ipc_list *list, const char *kind)
{
	if (list->count == list->capacity) {
		list->capacity = list->capacity ? 2 * list->capacity : 64;
		list->rows = ctl_realloc(list->rows, list->capacity * sizeof *list->rows);
	}
	struct ipc_row *row = &list->rows[list->count++];
	memset(row, 0, sizeof *row);
	row->kind = ipc_kind(kind, strlen(kind));
	row->inode = row->fd = row->bytes = row->used = row->used_high = IPC_UNKNOWN;
	row->in = row->out = row->bytes_in = row->bytes_out = IPC_UNKNOWN;
	row->depth = row->depth_high = row->free = row->object_bytes = IPC_UNKNOWN;
	row->age_ns = IPC_UNKNOWN;
	return row;
}

void
ipc_attach(struct ipc_row *row, pid_t pid)
{
	unsigned kept = row->attached_count < IPC_ATTACHED ? row->attached_count : IPC_ATTACHED;

	for (unsigned i = 0; i < kept; i++)
		if (row->attached[i] == pid)
			return;
	if (row->attached_count < IPC_ATTACHED)
		row->attached[row->attached_count] = pid;
	row->attached_count++;
}

void
ipc_say(struct ipc_row *row, enum ipc_state state, const char *format, ...)
{
	va_list list;

	row->state = state;
	va_start(list, format);
	vsnprintf(row->reason, sizeof row->reason, format, list);
	va_end(list);
}

static unsigned
rank(const char *kind)
{
	unsigned i = 0;

	while (ipc_kinds[i] && strcmp(ipc_kinds[i], kind) != 0)
		i++;
	return i;
}

/* By kind as they are listed, then by name with numbers as numbers. */
static int
compare(const void *a, const void *b)
{
	const struct ipc_row *x = a, *y = b;
	unsigned left = rank(x->kind), right = rank(y->kind);

	if (left != right)
		return left < right ? -1 : 1;
	return strverscmp(x->name, y->name);
}

void
ipc_gather(struct ipc_list *list)
{
	memset(list, 0, sizeof *list);
	ipc_from_daemon(list);
	ipc_from_names(list);
	ipc_from_files(list);
	if (list->count > 0)
		qsort(list->rows, list->count, sizeof *list->rows, compare);
}

void
ipc_free(struct ipc_list *list)
{
	free(list->rows);
	memset(list, 0, sizeof *list);
}
