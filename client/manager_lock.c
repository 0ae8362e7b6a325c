/* manager_lock.c - locks through the manager: taking, renewing, giving back. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/internal.h"
#include "client/manager.h"
#include "ipc/clock.h"

#define UNANSWERED_MS 20 /* until an answer is looked for */

/* A lease is renewed after a third of it: two renewals may fail to come. */
static uint64_t
renew_at(uint64_t lease_ns)
{
	return clock_now() + lease_ns / 3;
}

static struct held_lock *
find_held(struct pyprep_manager *m, const char *name)
{
	for (unsigned i = 0; i < HELD_MAX; i++)
		if (m->held[i].fence != 0 && strcmp(m->held[i].name, name) == 0)
			return &m->held[i];
	return NULL;
}

static void
let_go(struct pyprep_manager *m, struct held_lock *h)
{
	h->fence = 0;
	m->held_count--;
}

/* ---- leases ---- */

uint64_t
held_next_ns(const struct pyprep_manager *m)
{
	uint64_t next_ns = UINT64_MAX;

	for (unsigned i = 0; i < HELD_MAX && m->held_count > 0; i++) {
		const struct held_lock *h = &m->held[i];
		if (h->fence != 0 && !h->lost && h->renewing == 0 && h->renew_ns < next_ns)
			next_ns = h->renew_ns;
	}
	return next_ns;
}

void
held_renew(struct pyprep_manager *m, uint64_t now_ns)
{
	for (unsigned i = 0; i < HELD_MAX && m->held_count > 0; i++) {
		struct held_lock *h = &m->held[i];
		if (h->fence == 0 || h->lost || h->renewing != 0 || h->renew_ns > now_ns)
			continue;
		struct manager_ask ask = { .op = MANAGER_RENEW,
					   .value = h->fence,
					   .expected = (int64_t)h->lease_ns };
		(void)proxy_ask(m, &ask, h->name, NULL, true, &h->renewing);
		h->renew_ns = renew_at(h->lease_ns);
	}
}

void
held_renewed(struct pyprep_manager *m, struct asked *a)
{
	for (unsigned i = 0; i < HELD_MAX; i++) {
		struct held_lock *h = &m->held[i];
		if (h->fence == 0 || h->renewing != a->ask.sequence)
			continue;
		h->renewing = 0;
		h->lost = a->status != MANAGER_OK;
	}
	a->state = ASKED_FREE;
}

int
pyprep_manager_due(const struct pyprep_manager *m)
{
	uint64_t now_ns = clock_now(), next_ns = held_next_ns(m);

	/* What is unanswered is looked after, too. */
	if (m->first != m->next && next_ns > now_ns + UNANSWERED_MS * NS_PER_MS)
		return UNANSWERED_MS;
	if (next_ns == UINT64_MAX)
		return -1;
	return next_ns <= now_ns ? 0 : (int)((next_ns - now_ns) / NS_PER_MS) + 1;
}

int
pyprep_manager_tend(struct pyprep_manager *m, struct pyprep_problem *why)
{
	int r = proxy_pump(m, 0, why);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < HELD_MAX; i++)
		if (m->held[i].fence != 0 && m->held[i].lost)
			return proxy_result(MANAGER_LOCK_LOST, m->held[i].name, 0, why);
	return 0;
}

/* ---- taking and giving back ---- */

/* Whatever request `number` got or would get is not wanted any more. */
static void
withdraw(struct pyprep_manager *m, const char *name, uint64_t number)
{
	struct manager_ask ask = { .op = MANAGER_UNLOCK, .expected = (int64_t)number };
	enum manager_status status;
	uint64_t withdrawal;
	int64_t value;
	int r;

	if (proxy_ask(m, &ask, name, NULL, true, &withdrawal) < 0)
		return;
	while ((r = proxy_finish(m, withdrawal, &status, &value, NULL)) == -EINTR)
		;
	if (r == 0)
		(void)proxy_finish(m, number, &status, &value, NULL);
}

static struct held_lock *
free_place(struct pyprep_manager *m)
{
	for (unsigned i = 0; i < HELD_MAX; i++)
		if (m->held[i].fence == 0)
			return &m->held[i];
	return NULL;
}

int
pyprep_manager_lock(struct pyprep_manager *m, const char *name, int timeout_ms, uint64_t lease_ns,
		    int64_t *ret_fence, struct pyprep_problem *why)
{
	struct held_lock *h = free_place(m);
	enum manager_status status;
	uint64_t number;
	int64_t value;

	lease_ns = lease_ns != 0 ? lease_ns : MANAGER_LEASE_DEFAULT_NS;
	struct manager_ask ask = {
		.op = MANAGER_LOCK,
		.value = timeout_ms < 0 ? -1 : (int64_t)timeout_ms * (int64_t)NS_PER_MS,
		.expected = (int64_t)lease_ns,
	};
	if (h == NULL)
		return problem_set(why, -ENOSPC, "no_room", 75,
				   "this client holds %u locks already", HELD_MAX);
	if (strnlen(name, MANAGER_NAME_MAX + 1) > MANAGER_NAME_MAX)
		return proxy_result(MANAGER_BAD_REQUEST, name, 0, why);
	if (proxy_ask(m, &ask, name, NULL, true, &number) < 0)
		return problem_set(why, -EAGAIN, "try_again", 75,
				   "collect answers first (pyprep_manager_next)");
	int r = proxy_finish(m, number, &status, &value, why);
	if (r < 0) {
		if (r == -EINTR)
			withdraw(m, name, number);
		return r;
	}
	if (status != MANAGER_OK)
		return proxy_result(status, name, value, why);
	*h = (struct held_lock){ .fence = value,
				 .lease_ns = lease_ns,
				 .renew_ns = renew_at(lease_ns) };
	snprintf(h->name, sizeof(h->name), "%s", name);
	m->held_count++;
	if (ret_fence != NULL)
		*ret_fence = value;
	return 0;
}

int
pyprep_manager_unlock(struct pyprep_manager *m, const char *name, struct pyprep_problem *why)
{
	struct held_lock *h = find_held(m, name);

	if (h == NULL)
		return proxy_result(MANAGER_LOCK_LOST, name, 0, why);
	struct manager_ask ask = { .op = MANAGER_UNLOCK, .value = h->fence };
	let_go(m, h);
	return proxy_call(m, &ask, name, NULL, why);
}
