/*
 * link_queue.c - a link over two bounded queues (queue.h) in its segment, one for each
 * direction.
 *
 * A place of a queue takes 1 KiB, so that two queues are no larger than the ring's link; a longer
 * record goes as a train of messages, each saying which train it is of and where in the record it
 * lies.  A train is begun only when all of it has room.  Of one whose sender died in the
 * middle the rest never comes: the receiver drops what it has when the next train begins.  What
 * a dead receiver's get gives back comes late, behind younger trains: its number says that it is
 * of no use.
 *
 * The queues' own recovery frees what a dead process held.  A new broker has it done before it
 * uses a link that was used before: the worker then meets no slot of the dead.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/clock.h"
#include "ipc/link.h"
#include "ipc/queue.h"

#define PLACES       256u
#define PLACE_BYTES  1024u
#define MEMBERS      8u /* broker and worker, and dead brokers not yet recovered from */
#define RECORD_MOST  ((uint32_t)sizeof(struct ring_record) + LINK_BODY_MAX)
#define CAR_BYTES    (PLACE_BYTES - (uint32_t)sizeof(struct car))
#define RECOVER_LOOK 50 /* while somebody else is at it */

/* What each message of a train begins with. */
struct car {
	uint64_t train;  /* grows from record to record, also from one broker to the next */
	uint32_t offset; /* of these bytes in the record */
	uint32_t size;   /* of the record */
};

_Static_assert(PLACES > RECORD_MOST / (PLACE_BYTES - sizeof(struct car)) + 1,
	       "the longest record fits an empty queue");

static const struct queue_options options = {
	.capacity = PLACES,
	.message_max = PLACE_BYTES,
	.members_max = MEMBERS,
};

struct queued {
	struct queue *queue;
	uint64_t train; /* sender: the last one; receiver: the one under way, or the last */
	uint32_t have;  /* receiver: bytes of it, 0: none is under way */
	union {
		struct car car;
		unsigned char bytes[PLACE_BYTES];
	} message;
};

static uint32_t
cars_of(uint32_t size)
{
	return (size + CAR_BYTES - 1) / CAR_BYTES;
}

static bool
queued_has_room(struct link_end *e, uint32_t size)
{
	struct queued *q = e->carried;

	uint64_t waiting = queue_size(q->queue);

	if (waiting * PLACE_BYTES > e->high)
		e->high = waiting * PLACE_BYTES;
	return PLACES - waiting >= cars_of(size);
}

static uint64_t
queued_used(struct link_end *e)
{
	struct queued *q = e->carried;

	return queue_size(q->queue) * PLACE_BYTES;
}

static int
queued_send(struct link_end *e, const void *record, uint32_t size)
{
	struct queued *q = e->carried;
	const unsigned char *bytes = record;

	if (!queued_has_room(e, size))
		return -EAGAIN;
	q->message.car = (struct car){ .train = ++q->train, .size = size };
	for (uint32_t at = 0; at < size;) {
		uint32_t length = size - at < CAR_BYTES ? size - at : CAR_BYTES;
		q->message.car.offset = at;
		memcpy(q->message.bytes + sizeof(struct car), bytes + at, length);
		int r = queue_put(q->queue, q->message.bytes, (uint32_t)sizeof(struct car) + length,
				  QUEUE_NO_WAIT);
		if (r < 0) /* the train is dropped there, and begins again here */
			return -EAGAIN;
		at += length;
	}
	return 0;
}

/* One more message; `record` is whole when all of it has come. */
static bool
couple(struct queued *q, unsigned char *record, uint32_t room, uint32_t length)
{
	const struct car *car = &q->message.car;

	if (length <= sizeof(*car) || car->size > room)
		return false;
	length -= (uint32_t)sizeof(*car);
	if (car->offset == 0 && car->train > q->train) {
		q->train = car->train;
		q->have = 0;
	} else if (car->train != q->train || car->offset != q->have) {
		return false;
	}
	if (length > car->size - car->offset)
		return false;
	memcpy(record + car->offset, q->message.bytes + sizeof(*car), length);
	q->have += length;
	if (q->have < car->size)
		return false;
	q->have = 0;
	return true;
}

static int
queued_receive(struct link_end *e, void *record, uint32_t room)
{
	struct queued *q = e->carried;
	uint32_t length;

	while (queue_get(q->queue, q->message.bytes, PLACE_BYTES, &length, QUEUE_NO_WAIT) == 0)
		if (couple(q, record, room, length))
			return (int)q->message.car.size;
	return -EAGAIN;
}

static void
queued_close(struct link_end *e)
{
	struct queued *q = e->carried;

	queue_detach(q->queue);
	free(q);
}

/* Messages, which are the records but for long ones. */
static void
queued_look(const struct link_end *e, struct link_look *ret)
{
	static struct queue_stat stat; /* 14 KiB; one thread looks: the broker's */
	const struct queued *q = e->carried;

	queue_stat(q->queue, &stat);
	ret->bytes = stat.bytes;
	ret->in = stat.puts;
	ret->out = stat.gets;
	ret->bytes_in = stat.bytes_in;
	ret->bytes_out = stat.bytes_out;
	ret->depth = stat.depth;
	ret->depth_high = stat.high_water;
}

static const struct link_carrier carrier = {
	.send = queued_send,
	.receive = queued_receive,
	.has_room = queued_has_room,
	.used = queued_used,
	.close = queued_close,
	.look = queued_look,
};

/* ---- opening ---- */

static size_t
footprint_of_one(void)
{
	return (queue_footprint(&options) + RING_LINE - 1) / RING_LINE * RING_LINE;
}

size_t
link_queue_footprint(void)
{
	return 2 * footprint_of_one();
}

int
link_queue_init(void *carried)
{
	size_t bytes = footprint_of_one();
	int r = queue_init(carried, bytes, &options);

	if (r == 0)
		r = queue_init((unsigned char *)carried + bytes, bytes, &options);
	return r;
}

static void
recover(struct queue *queue)
{
	for (int i = 0; i < RECOVER_LOOK && queue_recover(queue) == -EAGAIN; i++)
		sched_yield();
}

static int
open_end(struct link_end *e, struct link_shared *shared, int direction)
{
	size_t bytes = footprint_of_one();
	struct queued *q = calloc(1, sizeof(*q));
	int r = -ENOMEM;

	if (q == NULL)
		return r;
	r = queue_attach(shared->carried + (size_t)direction * bytes, bytes, &q->queue);
	if (r < 0) {
		free(q);
		return r;
	}
	q->train = 0;
	r = stage_open(e, &carrier, q, -1);
	if (r < 0) {
		queue_detach(q->queue);
		free(q);
	}
	return r;
}

int
link_queue_open(struct link_shared *shared, const struct link_fds *fds, bool broker,
		struct link_end *requests, struct link_end *results)
{
	int r = open_end(requests, shared, 0);

	(void)fds;
	if (r == 0 && (r = open_end(results, shared, 1)) < 0)
		stage_close(requests);
	if (r < 0)
		return r;
	/* Numbers go on above those of any sender before. */
	struct queued *sender = (broker ? requests : results)->carried;
	sender->train = clock_now();
	if (broker && atomic_load(&shared->used) != 0) {
		recover(((struct queued *)requests->carried)->queue);
		recover(((struct queued *)results->carried)->queue);
	}
	return 0;
}
