/*
 * submit.c - a job into the submit ring: the client's half of the hot path.
 *
 * The broker rings no bell for room in the submit ring.  Whoever waits for it keeps
 * the return ring moving meanwhile (a broker that cannot send may not take either),
 * and sleeps a few milliseconds at most.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "client/internal.h"
#include "ipc/clock.h"

#define ROOM_NAP_MS 5
#define SETTLE_MS   100

/* Sleep until the broker sends something, or a little while. */
static int
nap(struct pyprep *p)
{
	int r = 0;

	wake_arm(&p->lane.shared->client);
	if (ring_is_empty(&p->lane.in))
		r = socket_wait(p, POLLIN, deadline_after(ROOM_NAP_MS));
	wake_disarm(&p->lane.shared->client);
	socket_drain(p);
	return r < 0 ? r : 0;
}

/* Wait until a record of `length` has a place. */
static int
wait_for_room(struct pyprep *p, uint32_t length, bool no_wait, void **ret)
{
	int looks = 0;

	while ((*ret = p->lane_ops->reserve(p, length)) == NULL) {
		bell_if_needed(p);
		if (no_wait)
			return -EAGAIN;
		int moved = return_ring_save(p);
		if (moved < 0)
			return moved;
		if (moved > 0) {
			looks = 0;
		} else if (looks++ >= WAKE_LOOKS || !yield_cheaply()) {
			int r = nap(p);
			if (r < 0)
				return r;
			if (p->lost)
				return -EPIPE;
		}
	}
	return 0;
}

void
submits_settle(struct pyprep *p)
{
	uint64_t deadline = deadline_after(SETTLE_MS);
	int looks = 0;

	while (!p->lost && ring_used(p->lane.out.shared) > 0 && clock_now() < deadline) {
		bell_if_needed(p);
		if (return_ring_save(p) < 0)
			return;
		if ((looks++ >= WAKE_LOOKS || !yield_cheaply()) && nap(p) < 0)
			return;
	}
}

/* `token` NULL: none is needed. */
static int
submit(struct pyprep *p, const struct pyprep_prepared *prepared, const unsigned char *token,
       void *user, uint64_t *ret_tag)
{
	uint64_t now = clock_now();

	if (p->lost)
		return -EPIPE;
	struct entry *entry = table_reserve(&p->table);
	if (entry == NULL)
		return -ENOMEM;
	unsigned char *place = p->lane_ops->reserve(p, prepared->length);
	if (place == NULL) {
		int r = wait_for_room(p, prepared->length, prepared->no_wait, (void **)&place);
		if (r < 0)
			return r;
	}
	memcpy(place, prepared->record, prepared->length);
	struct submit_body *body = (struct submit_body *)place;
	if (token != NULL)
		memcpy(body + 1, token, SUBMIT_TOKEN);
	body->submitted_ns = now;
	body->tag = table_use(&p->table, entry, prepared->target, user, now);
	if (ret_tag != NULL)
		*ret_tag = table_tag(&p->table, entry);
	int r = p->lane_ops->commit(p, prepared->length, prepared->no_wait);
	if (r < 0)
		table_release(&p->table, entry);
	return r;
}

int
pyprep_submit_token(struct pyprep *p, const struct pyprep_prepared *prepared,
		    const unsigned char token[PYPREP_TOKEN], void *user, uint64_t *ret_tag)
{
	return prepared->detach ? submit(p, prepared, token, user, ret_tag) : -EINVAL;
}

int
pyprep_submit_prepared(struct pyprep *p, const struct pyprep_prepared *prepared, void *user,
		       uint64_t *ret_tag)
{
	unsigned char token[SUBMIT_TOKEN];

	if (!prepared->detach)
		return submit(p, prepared, NULL, user, ret_tag);
	/* Random once, and a number from there on. */
	uint64_t number = ++p->token_count;
	memcpy(token, prepared->record + sizeof(struct submit_body), sizeof(token));
	for (unsigned i = 0; i < sizeof(number); i++)
		token[SUBMIT_TOKEN - 1 - i] ^= (unsigned char)(number >> 8 * i);
	return submit(p, prepared, token, user, ret_tag);
}

static int
submit_problem(const struct pyprep *p, int r, struct pyprep_problem *why)
{
	switch (r) {
	case 0:
		return 0;
	case -EPIPE:
		return problem_lost(p, why);
	case -ENOMEM:
		return problem_memory(why);
	case -EAGAIN:
		return problem_set(why, r, "queue_full", job_error_exit(ERR_QUEUE_FULL),
				   "the daemon has no room for this job now; try again later, or "
				   "submit without NO_WAIT to wait for room");
	default:
		return problem_set(why, r, "interrupted", job_error_exit(ERR_INTERNAL),
				   "a signal came while waiting for room");
	}
}

int
pyprep_submit(struct pyprep *p, const struct pyprep_job *job, void *user, uint64_t *ret_tag,
	      struct pyprep_problem *why)
{
	struct pyprep_prepared *prepared;
	int r = pyprep_prepare(p, job, &prepared, why);

	if (r < 0)
		return r;
	r = submit_problem(p, pyprep_submit_prepared(p, prepared, user, ret_tag), why);
	pyprep_prepared_free(prepared);
	return r;
}
