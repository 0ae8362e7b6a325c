/* manager_ask.c - what users ask of the manager: counters, one at a time and pipelined; lists. */
#include <errno.h>
#include <string.h>

#include "client/internal.h"
#include "client/manager.h"
#include "ipc/clock.h"

static const struct {
	int error;
	const char *sentence; /* %s: the name */
} results[] = {
	[MANAGER_OK] = { 0, "" },
	[MANAGER_NO_COUNTER] = { ENOENT,
				 "there is no counter '%s'; 'pyprepctl counter ls' lists all" },
	[MANAGER_DIFFERS] = { ECANCELED, "counter '%s' is not what was expected, and was left" },
	[MANAGER_NO_ROOM] = { ENOSPC,
			      "no room for '%s': 4,096 counters, 1,024 locks, 4,096 waiters "
			      "and 256 clients are the most; remove some" },
	[MANAGER_BUSY] = { EBUSY, "cannot make or remove '%s' now: another process is at it and "
				  "does not end; try again" },
	[MANAGER_BAD_REQUEST] = { EINVAL, "'%s' is no name: expected 1 to 63 letters, digits and "
					  ". _ - : / , not beginning with a dash" },
	[MANAGER_NOT_ALLOWED] = { EACCES, "not allowed to use '%s'" },
	[MANAGER_NO_SESSION] = { EPROTO, "the manager does not know this client ('%s')" },
	[MANAGER_GAP] = { EPROTO, "the manager misses requests before that for '%s'" },
	[MANAGER_UNSURE] = { EREMOTEIO,
			     "the manager died in the middle of changing '%s': it may or "
			     "may not have been done; look at the value, and try again" },
	[MANAGER_LOCKED] = { ETIMEDOUT, "lock '%s' is held by another process; pyprepctl lock ls "
					"shows which" },
	[MANAGER_LOCK_LOST] = { ENOLCK, "lock '%s' is not held any more: its lease had ended" },
	[MANAGER_ALREADY] = { EALREADY, "lock '%s' is held by this very client already" },
	[MANAGER_PENDING] = { EPROTO, "no answer for '%s' yet" },
};

/* The sentences are ours, each with one %s. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
int
proxy_result(enum manager_status status, const char *name, int64_t value,
	     struct pyprep_problem *why)
{
	(void)value;
	if (status == MANAGER_OK)
		return 0;
	if ((unsigned)status >= MANAGER_STATUS_COUNT)
		return problem_set(why, -EPROTO, "internal", 125,
				   "the manager answered something unknown about '%s'", name);
	return problem_set(why, -results[status].error, manager_status_text(status),
			   manager_status_exit(status), results[status].sentence, name);
}
#pragma GCC diagnostic pop

/* The window is full of what the user has not collected. */
static int
window_full(struct pyprep_problem *why)
{
	return problem_set(why, -EAGAIN, "try_again", 75,
			   "%u requests are under way; collect answers first "
			   "(pyprep_manager_next)",
			   MANAGER_WINDOW);
}

int
proxy_call(struct pyprep_manager *m, const struct manager_ask *ask, const char *name,
	   int64_t *ret_value, struct pyprep_problem *why)
{
	enum manager_status status;
	uint64_t number;
	int64_t value;

	if (strnlen(name, MANAGER_NAME_MAX + 1) > MANAGER_NAME_MAX)
		return proxy_result(MANAGER_BAD_REQUEST, name, 0, why);
	if (proxy_ask(m, ask, name, NULL, true, &number) < 0)
		return window_full(why);
	int r = proxy_finish(m, number, &status, &value, why);
	if (r < 0)
		return r;
	if (ret_value != NULL && (status == MANAGER_OK || status == MANAGER_DIFFERS))
		*ret_value = value;
	return proxy_result(status, name, value, why);
}

int
pyprep_manager_add(struct pyprep_manager *m, const char *name, int64_t delta, int64_t *ret_value,
		   struct pyprep_problem *why)
{
	struct manager_ask ask = { .op = MANAGER_ADD, .value = delta };
	return proxy_call(m, &ask, name, ret_value, why);
}

int
pyprep_manager_get(struct pyprep_manager *m, const char *name, int64_t *ret_value,
		   struct pyprep_problem *why)
{
	struct manager_ask ask = { .op = MANAGER_GET };
	return proxy_call(m, &ask, name, ret_value, why);
}

int
pyprep_manager_set(struct pyprep_manager *m, const char *name, int64_t value,
		   struct pyprep_problem *why)
{
	struct manager_ask ask = { .op = MANAGER_SET, .value = value };
	return proxy_call(m, &ask, name, NULL, why);
}

int
pyprep_manager_cas(struct pyprep_manager *m, const char *name, int64_t expected, int64_t value,
		   int64_t *ret_value, struct pyprep_problem *why)
{
	struct manager_ask ask = { .op = MANAGER_CAS, .value = value, .expected = expected };
	return proxy_call(m, &ask, name, ret_value, why);
}

int
pyprep_manager_remove(struct pyprep_manager *m, const char *name, struct pyprep_problem *why)
{
	struct manager_ask ask = { .op = MANAGER_REMOVE };
	return proxy_call(m, &ask, name, NULL, why);
}

/* ---- pipelined ---- */

_Static_assert((int)PYPREP_ADD == MANAGER_ADD && (int)PYPREP_REMOVE == MANAGER_REMOVE,
	       "the public operations are the wire's");

int
pyprep_manager_submit(struct pyprep_manager *m, const struct pyprep_ask *ask,
		      struct pyprep_problem *why)
{
	struct manager_ask a = { .op = (uint8_t)ask->op,
				 .value = ask->value,
				 .expected = ask->expected };
	uint64_t number;

	if (ask->op < PYPREP_ADD || ask->op > PYPREP_REMOVE ||
	    strnlen(ask->name, MANAGER_NAME_MAX + 1) > MANAGER_NAME_MAX)
		return proxy_result(MANAGER_BAD_REQUEST, ask->name, 0, why);
	return proxy_ask(m, &a, ask->name, ask->user, false, &number) < 0 ? window_full(why) : 0;
}

static void
collect(struct pyprep_manager *m, struct pyprep_answer *ret)
{
	struct asked *a = &m->window[m->done[m->done_head]];

	*ret = (struct pyprep_answer){
		.op = (enum pyprep_manager_op)a->ask.op,
		.result = proxy_result(a->status, a->name, a->value, NULL),
		.value = a->value,
		.user = a->user,
	};
	a->state = ASKED_FREE;
	m->done_head = (m->done_head + 1) % MANAGER_WINDOW;
	m->done_count--;
}

int
pyprep_manager_next(struct pyprep_manager *m, int timeout_ms, struct pyprep_answer *ret,
		    struct pyprep_problem *why)
{
	uint64_t deadline_ns = deadline_after(timeout_ms);

	while (m->done_count == 0) {
		if (m->first == m->next)
			return 0;
		int r = proxy_pump(m, deadline_ns, why);
		if (r < 0)
			return r;
		if (m->done_count == 0 && clock_now() >= deadline_ns)
			return 0;
	}
	collect(m, ret);
	return 1;
}

/* ---- lists ---- */

/* The rows from `from` on into the proxy. */
static int
fetch_rows(struct pyprep_manager *m, enum manager_op op, int64_t from, struct pyprep_problem *why)
{
	m->list = (struct manager_ask){ .op = (uint8_t)op,
					.sequence = m->list.sequence + 1,
					.value = from };
	m->list_waits = true;
	m->heard_ns = m->silence_ns = clock_now();
	proxy_flush(m);
	if (!m->greeting)
		(void)proxy_send_plain(m, &m->list);
	while (m->list_waits) {
		int r = proxy_pump(m, UINT64_MAX, why);
		if (r < 0) {
			m->list_waits = false;
			return r;
		}
	}
	return 0;
}

int
pyprep_manager_each(struct pyprep_manager *m, pyprep_counter_fn each, void *context,
		    struct pyprep_problem *why)
{
	int64_t from = 0;
	int r = 0;

	while (from >= 0 && r == 0) {
		r = fetch_rows(m, MANAGER_LIST, from, why);
		for (unsigned i = 0; i < m->list_count && r == 0; i++)
			r = each(context, m->list_rows[i].name, m->list_rows[i].value);
		from = m->list_next;
	}
	return r;
}

int
pyprep_manager_locks(struct pyprep_manager *m, pyprep_lock_fn each, void *context,
		     struct pyprep_problem *why)
{
	int64_t from = 0;
	int r = 0;

	while (from >= 0 && r == 0) {
		r = fetch_rows(m, MANAGER_LOCKS, from, why);
		for (unsigned i = 0; i < m->list_count && r == 0; i++) {
			const struct manager_entry *row = &m->list_rows[i];
			struct pyprep_lock lock = {
				.name = row->name,
				.fence = row->value,
				.holder_pid = (int)row->pid,
				.lease_ns = row->lease_ns,
				.waiters = row->waiters,
			};
			r = each(context, &lock);
		}
		from = m->list_next;
	}
	return r;
}
