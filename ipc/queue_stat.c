/* queue_stat.c - what a queue tells about itself; nothing here writes to its memory. */
#include "ipc/queue_shared.h"

uint32_t
queue_capacity(const struct queue *q)
{
	return (uint32_t)q->capacity;
}

uint32_t
queue_message_max(const struct queue *q)
{
	return q->message_max;
}

/* Messages that were given back lie behind head. */
static uint64_t
count_returned(const struct queue *q)
{
	uint64_t count = 0;

	if (!atomic_load(&q->shared->any_returned))
		return 0;
	for (uint64_t i = 0; i < q->capacity; i++)
		count += word_state(atomic_load(&slot_of_index(q, i)->word)) == SLOT_RETURNED;
	return count;
}

uint64_t
queue_size(const struct queue *q)
{
	const struct queue_shared *s = q->shared;
	uint64_t first, tail;
	int tries = 0;

	do { /* both at one moment, if they let us */
		first = atomic_load(&s->first);
		tail = atomic_load(&s->tail);
	} while (atomic_load(&s->first) != first && ++tries < 8);
	uint64_t size = (int64_t)(tail - first) < 0 ? 0 : tail - first;
	size += count_returned(q);
	return size < q->capacity ? size : q->capacity;
}

static void
stat_place(const struct queue_place *p, struct queue_stat *ret)
{
	uint64_t owner = atomic_load(&p->owner);

	ret->gets += atomic_load(&p->gets);
	ret->unfinished += atomic_load(&p->done) + atomic_load(&p->lost); /* for now: finished */
	ret->lost += atomic_load(&p->lost);
	ret->bytes_in += atomic_load(&p->bytes_in);
	ret->bytes_out += atomic_load(&p->bytes_out);
	ret->waits_for_room += atomic_load(&p->waits_for_room);
	ret->waits_for_messages += atomic_load(&p->waits_for_messages);
	if (owner == OWNER_NOBODY)
		return;
	ret->members[ret->attached++] = (struct queue_member){
		.pid = owner_pid(owner),
		.alive = owner_alive(owner),
		.joined_ns = atomic_load(&p->joined_ns),
		.puts = atomic_load(&p->puts) - atomic_load(&p->puts_at_join),
		.gets = atomic_load(&p->gets) - atomic_load(&p->gets_at_join),
		.done = atomic_load(&p->done) - atomic_load(&p->done_at_join),
	};
}

void
queue_stat(const struct queue *q, struct queue_stat *ret)
{
	const struct queue_shared *s = q->shared;

	*ret = (struct queue_stat){
		.capacity = (uint32_t)q->capacity,
		.message_max = q->message_max,
		.members_max = q->members_max,
		.closed = queue_is_closed(q),
		.bytes = s->head.bytes,
		.creator = owner_pid(s->head.creator),
		.created_ns = s->head.created_ns,
		.depth = queue_size(q),
		.high_water = atomic_load(&s->high_water),
		.skipped = atomic_load(&s->skipped),
		.returned = atomic_load(&s->returned),
	};
	for (uint32_t i = 0; i < q->members_max; i++)
		stat_place(&s->places[i], ret);
	ret->puts = queue_tail(q) - ret->skipped;
	ret->unfinished = ret->puts - ret->unfinished;
}

int
queue_stat_memory(const void *memory, size_t bytes, struct queue_stat *ret)
{
	struct queue_options o;
	struct queue view;

	int r = queue_check(memory, bytes, &o);
	if (r < 0)
		return r;
	queue_view(&view, (void *)(uintptr_t)memory, &o); /* read only, whatever the view allows */
	queue_stat(&view, ret);
	return 0;
}
