/*
 * array.c - array jobs: one job, many items, handed out as ranges.
 *
 * A range is sized by what an item was measured to take: about a millisecond of work,
 * never more than its share of what is left (guided self-scheduling: C. Polychronopoulos
 * and D. Kuck, 1987), so that all workers end together.  A job that has more to hand out
 * goes to the back of its queue after each range: it does not shut out its neighbours.
 *
 * The run figures of the receipt are sums over the ranges; its run stage is the time from
 * the first range's start to the last one's end.
 *
 * Results go to the client range by range as they come.  A worker's death loses the rest of
 * the range it ran, no other item.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/broker.h"
#include "ipc/clock.h"

#define RANGE_NS      (1 * NS_PER_MS)
#define RANGE_UNKNOWN 64 /* items of the first ranges, before anything is measured */

struct range {
	uint16_t place;
	uint16_t ticket;
	int64_t low, high;
	int64_t next; /* first item without a result */
};

struct array_job {
	int64_t low, high;
	int64_t next; /* first item not handed out */
	uint64_t items_failed;
	uint64_t item_ps; /* measured picoseconds of an item; 0: not yet */
	struct outcome sum; /* over the ranges */
	char message[320];
	struct range *ranges; /* handed out, not ended */
	uint32_t range_count, range_capacity;
	struct range *back; /* taken back unstarted: low, high */
	uint32_t back_count, back_capacity;
};

struct array_job *
array_new(int64_t low, int64_t high)
{
	struct array_job *a = calloc(1, sizeof(*a));
	if (a == NULL)
		return NULL;
	a->low = a->next = low;
	a->high = high;
	a->sum = (struct outcome){ .state = JOB_SUCCEEDED };
	return a;
}

void
array_free(struct array_job *a)
{
	if (a == NULL)
		return;
	free(a->ranges);
	free(a->back);
	free(a);
}

bool
array_has_more(const struct job *job)
{
	const struct array_job *a = job->array;
	return a != NULL && (a->next < a->high || a->back_count > 0);
}

static int64_t
range_size(const struct broker *b, const struct job *job)
{
	const struct array_job *a = job->array;
	const struct pool *p = &b->pools[job->pool];
	uint64_t left = (uint64_t)(a->high - a->next);
	uint64_t runners = (uint64_t)p->wanted * p->config->concurrency;
	uint64_t share = left / (2 * (runners > 0 ? runners : 1));
	uint64_t size = RANGE_UNKNOWN;

	if (a->item_ps > 0)
		size = RANGE_NS * 1000 / a->item_ps;
	if (size > share)
		size = share;
	return size > 0 ? (int64_t)size : 1;
}

/* Room for one more at the end of a list, or NULL. */
static struct range *
append(struct range **list, uint32_t count, uint32_t *capacity)
{
	if (count == *capacity) {
		uint32_t bigger = *capacity == 0 ? 4 : 2 * *capacity;
		struct range *more = realloc(*list, bigger * sizeof(*more));
		if (more == NULL)
			return NULL;
		*list = more;
		*capacity = bigger;
	}
	return &(*list)[count];
}

bool
array_hand_out(struct broker *b, struct crew *w, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	struct array_job *a = job->array;
	struct range *range = append(&a->ranges, a->range_count, &a->range_capacity);
	if (range == NULL)
		return false;

	bool again = a->back_count > 0;
	int64_t low = again ? a->back[a->back_count - 1].low : a->next;
	int64_t high = again ? a->back[a->back_count - 1].high : low + range_size(b, job);
	struct run_body run = {
		.id = job->id,
		.timeout_ns = job->timeout_ns,
		.item_low = low,
		.item_high = high,
		.uid = job->uid,
		.gid = job->gid,
		.kind = job->kind,
		.attempt = job->attempt,
	};
	run_limits(job, &run);
	int ticket = link_send_run(&w->link, &run, job_args(job), job->args_length, NULL, 0);
	if (ticket < 0)
		return false;
	*range = (struct range){ w->place, (uint16_t)ticket, low, high, low };
	a->range_count++;
	if (again)
		a->back_count--;
	else
		a->next = high;
	w->tickets[ticket] = index;
	return true;
}

static struct range *
find_range(struct array_job *a, const struct crew *w, uint32_t ticket)
{
	for (uint32_t i = 0; i < a->range_count; i++)
		if (a->ranges[i].place == w->place && a->ranges[i].ticket == ticket)
			return &a->ranges[i];
	return NULL;
}

void
array_items(struct broker *b, struct crew *w, uint32_t index, const struct items_body *items,
	    const void *values)
{
	struct job *job = job_at(&b->jobs, index);
	struct range *range = find_range(job->array, w, ticket_index(items->tag));

	if (range == NULL || items->first != range->next ||
	    items->count > (uint64_t)(range->high - range->next))
		return;
	range->next += items->count;
	if (job->flags & JOB_NO_CLIENT)
		return;
	struct items_body body = *items;
	body.tag = job->tag;
	struct part parts[] = {
		{ &body, sizeof(body) },
		{ values, (uint32_t)(items->count * sizeof(int64_t)) },
	};
	client_put(b, b->clients[job->client], MSG_ITEMS, parts, 2);
}

static void
note_failure(struct array_job *a, const struct range *range, const char *why)
{
	if (a->items_failed == 0)
		snprintf(a->message, sizeof(a->message), "items %lld..%lld: %s",
			 (long long)range->next, (long long)range->high, why);
	a->items_failed += (uint64_t)(range->high - range->next);
}

static void
complete_if_last(struct broker *b, uint32_t index)
{
	struct job *job = job_at(&b->jobs, index);
	struct array_job *a = job->array;

	if (a->range_count > 0 || array_has_more(job))
		return;
	if (job->flags & JOB_STOPPING) {
		bool timeout = job->stop == CAUSE_TIMEOUT;
		a->sum.state = timeout ? JOB_TIMED_OUT : JOB_CANCELLED;
		a->sum.cause = job->stop;
		a->sum.error = timeout ? ERR_TIMED_OUT : ERR_CANCELLED;
	} else if (a->items_failed > 0) {
		a->sum.state = JOB_FAILED;
		a->sum.cause = a->sum.cause == CAUSE_NONE ? CAUSE_ERROR : a->sum.cause;
		a->sum.error = a->sum.cause == CAUSE_WORKER_DIED ? ERR_WORKER_DIED : ERR_RUN;
	}
	char message[sizeof(a->message)];
	memcpy(message, a->message, sizeof(message));
	a->sum.message_length = (uint32_t)strlen(message);
	struct outcome sum = a->sum;
	job_complete(b, index, &sum, 0, NULL, message);
}

static void
add_usage(struct outcome *sum, const struct outcome *range)
{
	if (sum->started_ns == 0 || range->started_ns < sum->started_ns)
		sum->started_ns = range->started_ns;
	if (range->ended_ns > sum->ended_ns)
		sum->ended_ns = range->ended_ns;
	sum->method = range->method > sum->method ? range->method : sum->method;
	sum->usage.oncpu_ns += range->usage.oncpu_ns;
	sum->usage.runqueue_ns += range->usage.runqueue_ns;
	sum->usage.blocked_ns += range->usage.blocked_ns;
	sum->usage.user_ns += range->usage.user_ns;
	sum->usage.system_ns += range->usage.system_ns;
	sum->usage.faults_minor += range->usage.faults_minor;
	sum->usage.faults_major += range->usage.faults_major;
	sum->usage.switches_voluntary += range->usage.switches_voluntary;
	sum->usage.switches_involuntary += range->usage.switches_involuntary;
	if (range->usage.peak_memory_bytes > sum->usage.peak_memory_bytes)
		sum->usage.peak_memory_bytes = range->usage.peak_memory_bytes;
}

static void
drop_range(struct array_job *a, struct range *range)
{
	*range = a->ranges[--a->range_count];
}

void
array_range_ended(struct broker *b, struct crew *w, uint32_t index,
		  const struct result_body *result, const char *message)
{
	struct array_job *a = job_at(&b->jobs, index)->array;
	struct range *range = find_range(a, w, ticket_index(result->ticket));
	if (range == NULL)
		return;

	uint64_t run_ns = result->outcome.ended_ns - result->outcome.started_ns;
	uint64_t count = (uint64_t)(range->high - range->low);
	uint64_t item_ps = run_ns * 1000 / count + 1;
	a->item_ps = a->item_ps == 0 ? item_ps : (a->item_ps * 3 + item_ps) / 4;
	add_usage(&a->sum, &result->outcome);
	if (range->next < range->high) {
		char why[256];
		snprintf(why, sizeof(why), "%.*s", (int)result->outcome.message_length, message);
		note_failure(a, range, why);
	}
	drop_range(a, range);
	complete_if_last(b, index);
}

void
array_range_back(struct broker *b, struct crew *w, uint32_t index, uint32_t ticket)
{
	struct job *job = job_at(&b->jobs, index);
	struct array_job *a = job->array;
	struct range *range = find_range(a, w, ticket);

	if (range == NULL)
		return;
	bool queued = array_has_more(job);
	struct range *back = append(&a->back, a->back_count, &a->back_capacity);
	if (back == NULL || (job->flags & JOB_STOPPING)) {
		note_failure(a, range, "not started");
		drop_range(a, range);
		complete_if_last(b, index);
		return;
	}
	*back = *range;
	a->back_count++;
	drop_range(a, range);
	if (!queued)
		queue_put_back(b, index);
}

void
array_range_lost(struct broker *b, struct crew *w, uint32_t index, uint32_t ticket,
		 const char *why)
{
	struct array_job *a = job_at(&b->jobs, index)->array;
	struct range *range = find_range(a, w, ticket);

	if (range == NULL)
		return;
	if (range->next < range->high) { /* else it died between its last item and saying so */
		a->sum.cause = CAUSE_WORKER_DIED;
		note_failure(a, range, why);
	}
	drop_range(a, range);
	complete_if_last(b, index);
}

bool
array_stop(struct broker *b, uint32_t index, enum job_cause reason)
{
	struct job *job = job_at(&b->jobs, index);
	struct array_job *a = job->array;

	job->flags |= JOB_STOPPING;
	job->stop = (uint8_t)reason;
	if (array_has_more(job)) {
		queue_remove(b, index);
		a->items_failed += (uint64_t)(a->high - a->next);
		for (uint32_t i = 0; i < a->back_count; i++)
			a->items_failed += (uint64_t)(a->back[i].high - a->back[i].low);
		snprintf(a->message, sizeof(a->message), "%llu items were not started",
			 (unsigned long long)a->items_failed);
		a->next = a->high;
		a->back_count = 0;
	}
	/* A range that is taken back leaves the list; with the last one the job is completed. */
	const uint64_t id = job->id;
	struct crew *const *crew = b->pools[job->pool].crew;
	for (uint32_t i = a->range_count; i-- > 0;) {
		ticket_stop(b, crew[a->ranges[i].place], a->ranges[i].ticket, reason);
		if (jobs_find(&b->jobs, id) == JOB_NONE)
			return true;
	}
	bool last = a->range_count == 0;
	complete_if_last(b, index);
	return last;
}

uint64_t
array_started(const struct broker *b, const struct job *job)
{
	const struct array_job *a = job->array;
	uint64_t first_ns = a->sum.started_ns;

	for (uint32_t i = 0; i < a->range_count; i++) {
		const struct crew *w = b->pools[job->pool].crew[a->ranges[i].place];
		uint64_t ns =
			atomic_load(&w->link.shared->tickets[a->ranges[i].ticket].claimed_ns);
		if (ns != 0 && (first_ns == 0 || ns < first_ns))
			first_ns = ns;
	}
	return first_ns;
}

void
array_counts(const struct array_job *a, uint64_t *ret_items, uint64_t *ret_failed)
{
	*ret_items = (uint64_t)(a->high - a->low);
	*ret_failed = a->items_failed;
}
