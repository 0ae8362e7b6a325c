/* manager_apply.c - the manager's counters: one request, by name. */
#include <errno.h>
#include <string.h>

#include "daemon/manager.h"

/* A client that has mapped the table may sit on its maker word: the manager does not wait. */
#define MAKER_WAIT_NS 1000000u

static enum manager_status
status_of(int r)
{
	switch (r) {
	case 0:
		return MANAGER_OK;
	case -ENOENT:
	case -ESTALE:
		return MANAGER_NO_COUNTER;
	case -EINVAL:
		return MANAGER_BAD_REQUEST;
	case -ENOSPC:
		return MANAGER_NO_ROOM;
	default:
		return MANAGER_BUSY;
	}
}

/* What is said at once: put it down, so that it is said again. */
static struct outcome_of
said(struct stored_session *session, const struct manager_ask *ask, enum manager_status status,
     int64_t value)
{
	store_result(session, ask->sequence, status, value);
	return (struct outcome_of){ status, value };
}

static struct outcome_of
change(struct manager *m, struct stored_session *session, const struct manager_ask *ask,
       const char *name)
{
	struct counter c;
	int64_t value = 0;
	int r = ask->op == MANAGER_CAS ? counter_find(m->table, name, &c)
				       : counter_open(m->table, name, MAKER_WAIT_NS, &c);

	if (r < 0)
		return said(session, ask, status_of(r), 0);
	enum manager_status status = store_change(m->store, m->table, session, ask, &c, &value);
	return (struct outcome_of){ status, value };
}

struct outcome_of
apply_counter(struct manager *m, struct stored_session *session, const struct manager_ask *ask,
	      const char *name)
{
	struct counter c;
	int64_t value = 0;
	int r;

	if (!counter_name_is_valid(name))
		return said(session, ask, MANAGER_BAD_REQUEST, 0);
	switch (ask->op) {
	case MANAGER_GET:
		r = counter_find(m->table, name, &c);
		if (r == 0)
			r = counter_get(&c, &value);
		return said(session, ask, status_of(r), value);
	case MANAGER_REMOVE:
		r = store_remove(m->store, m->table, session, ask, name);
		if (r < 0)
			return said(session, ask, status_of(r), 0);
		return (struct outcome_of){ MANAGER_OK, 0 };
	default:
		return change(m, session, ask, name);
	}
}

unsigned
apply_list(struct manager *m, int64_t from, struct manager_entry *rows, int64_t *ret_next)
{
	unsigned n = 0;
	int64_t i = from < 0 ? 0 : from;

	for (; i < (int64_t)COUNTERS_MAX && n < MANAGER_ENTRIES_MAX; i++) {
		struct manager_entry row = { 0 };
		if (counter_at(m->table, (uint32_t)i, row.name, &row.value) < 0)
			continue;
		rows[n++] = row;
	}
	*ret_next = i < (int64_t)COUNTERS_MAX ? i : -1;
	return n;
}
