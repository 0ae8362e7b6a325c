/*
 * ipc_manager.c - the counters, read straight from their table, and the locks that are held, as the
 * manager tells.
 *
 * The manager loads libzmq when the first client comes.  A listing is not to be that client: it
 * asks for locks only where somebody has come before.
 */
#include <string.h>

#include "client/ctl/ipc.h"
#include "shm/counter.h"

#define COUNTER_BYTES sizeof(struct counter_slot)

/* ---- counters ---- */

static int
got_counter(void *context, const char *name, int64_t value)
{
	struct ipc_list *list = context;
	struct ipc_row *row = ipc_add(list, "counter");

	snprintf(row->name, sizeof row->name, "%s", name);
	snprintf(row->owner, sizeof row->owner, "supervisor");
	row->owner_pid = list->supervisor;
	row->bytes = COUNTER_BYTES;
	row->has_value = true;
	row->value = value;
	row->state = IPC_LIVE;
	return 0;
}

void
ipc_from_counters(struct ipc_list *list, struct pyprep *p)
{
	struct pyprep_counters *table;
	struct pyprep_problem why;

	if (pyprep_counters_attach(p, &table, &why) < 0)
		return;
	(void)pyprep_counter_each(table, got_counter, list);
	pyprep_counters_detach(table);
}

/* ---- locks ---- */

static int
got_lock(void *context, const struct pyprep_lock *lock)
{
	struct ipc_row *row = ipc_add(context, "lock");

	snprintf(row->name, sizeof row->name, "%s", lock->name);
	row->owner_pid = lock->holder_pid;
	proc_role(row->owner_pid, row->owner, sizeof row->owner);
	ipc_attach(row, row->owner_pid);
	row->depth = lock->waiters;
	row->has_value = true;
	row->value = lock->fence;
	ipc_say(row, IPC_LIVE, "held; its lease ends in %s", unit_time_human(lock->lease_ns).text);
	return 0;
}

static pid_t
manager_of(const struct ipc_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->rows[i].kind, "socket") == 0 &&
		    strcmp(list->rows[i].peer, "manager") == 0)
			return list->rows[i].peer_pid;
	return 0;
}

void
ipc_from_locks(struct ipc_list *list)
{
	pid_t manager = manager_of(list);
	struct pyprep_manager *m;
	struct pyprep_problem why;

	/* a stopped one answers nobody */
	if (manager == 0 || proc_is_stopped(manager) || !proc_maps(manager, "libzmq"))
		return;
	if (pyprep_manager_connect(ctl.runtime_dir, &m, &why) < 0)
		return;
	(void)pyprep_manager_locks(m, got_lock, list, &why);
	pyprep_manager_close(m);
}
