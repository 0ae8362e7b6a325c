/* queue_memory.c - a queue's memory: how large, made, given a name, attached to, let go. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "ipc/clock.h"
#include "ipc/queue_shared.h"

/* ---- how large ---- */

static uint32_t
members_of(const struct queue_options *options)
{
	return options->members_max != 0 ? options->members_max : QUEUE_MEMBERS;
}

static uint32_t
stride_of(uint32_t message_max)
{
	size_t bytes = sizeof(struct queue_slot) + message_max;
	return (uint32_t)((bytes + RING_LINE - 1) / RING_LINE * RING_LINE);
}

static size_t
slots_offset(uint32_t members_max)
{
	return sizeof(struct queue_shared) + members_max * sizeof(struct queue_place);
}

size_t
queue_footprint(const struct queue_options *options)
{
	if (options->capacity == 0 || options->capacity > QUEUE_CAPACITY_MAX ||
	    options->message_max == 0 || options->message_max > QUEUE_MESSAGE_MAX ||
	    options->members_max > QUEUE_MEMBERS_MAX)
		return 0;
	return slots_offset(members_of(options)) +
	       (size_t)options->capacity * stride_of(options->message_max);
}

/* ---- made ---- */

int
queue_init(void *memory, size_t bytes, const struct queue_options *options)
{
	struct queue_shared *s = memory;
	size_t need = queue_footprint(options);

	if (need == 0 || bytes < need || (uintptr_t)memory % RING_LINE != 0)
		return -EINVAL;
	s->capacity = options->capacity;
	s->message_max = options->message_max;
	s->members_max = members_of(options);
	s->stride = stride_of(options->message_max);
	s->head.version = QUEUE_VERSION;
	s->head.bytes = bytes;
	s->head.creator = owner_self();
	s->head.created_ns = clock_wall();
	unsigned char *slots = (unsigned char *)memory + slots_offset(s->members_max);
	for (uint64_t i = 0; i < s->capacity; i++) {
		struct queue_slot *slot = (void *)(slots + i * s->stride);
		atomic_init(&slot->word, slot_word(i, SLOT_EMPTY, 0));
	}
	s->head.magic = QUEUE_MAGIC;
	return 0;
}

/* Is there a queue of this version, and is it all there?  Its bounds as options. */
int
queue_check(const void *memory, size_t bytes, struct queue_options *ret)
{
	const struct queue_shared *s = memory;

	if ((uintptr_t)memory % RING_LINE != 0 || bytes < sizeof(*s) ||
	    s->head.magic != QUEUE_MAGIC || s->head.version != QUEUE_VERSION)
		return -EPROTO;
	struct queue_options o = { .capacity = s->capacity,
				   .message_max = s->message_max,
				   .members_max = s->members_max };
	size_t need = queue_footprint(&o);
	if (need == 0 || need > bytes || o.members_max == 0)
		return -EPROTO;
	*ret = o;
	return 0;
}

void
queue_view(struct queue *q, void *memory, const struct queue_options *o)
{
	uint64_t capacity = o->capacity;

	*q = (struct queue){
		.shared = memory,
		.slots = (unsigned char *)memory + slots_offset(o->members_max),
		.capacity = capacity,
		.mask = (capacity & (capacity - 1)) == 0 ? capacity - 1 : 0,
		.stride = stride_of(o->message_max),
		.message_max = o->message_max,
		.members_max = o->members_max,
		.list_words = (o->members_max + 63) / 64,
	};
}

/* ---- attached to ---- */

int
queue_attach(void *memory, size_t bytes, struct queue **ret)
{
	struct queue_options o;

	int r = queue_check(memory, bytes, &o);
	if (r < 0)
		return r;
	struct queue *q = malloc(sizeof(*q));
	if (q == NULL)
		return -ENOMEM;
	queue_view(q, memory, &o);
	r = queue_join_members(q);
	if (r < 0) {
		free(q);
		return r;
	}
	*ret = q;
	return 0;
}

struct queue *
queue_detach(struct queue *q)
{
	if (q == NULL)
		return NULL;
	queue_leave(q);
	named_unmap(q->mapping, q->mapping_bytes);
	free(q);
	return NULL;
}

/* ---- named ---- */

static int
file_of(const char *name, char ret[NAMED_FILE_MAX])
{
	if (!named_is_valid(name))
		return -EINVAL;
	snprintf(ret, NAMED_FILE_MAX, QUEUE_PREFIX "%s", name);
	return 0;
}

/* Attach to what was mapped; the handle owns the mapping, which ends here on failure. */
static int
attach_mapping(void *memory, size_t bytes, struct queue **ret)
{
	struct queue *q = NULL;

	int r = queue_attach(memory, bytes, &q);
	if (r < 0) {
		named_unmap(memory, bytes);
		return r;
	}
	q->mapping = memory;
	q->mapping_bytes = bytes;
	*ret = q;
	return 0;
}

/* Nameless memory with a queue in it. */
static int
make(const struct queue_options *options, int *ret_fd, void **ret_memory, size_t *ret_bytes)
{
	scoped_fd fd = -1;
	size_t need = queue_footprint(options);

	if (need == 0)
		return -EINVAL;
	int r = named_begin(need, options->mode != 0 ? options->mode : 0600, &fd);
	if (r == 0)
		r = named_map(fd, true, true, ret_memory, ret_bytes);
	if (r < 0)
		return r;
	r = queue_init(*ret_memory, *ret_bytes, options);
	if (r < 0) {
		named_unmap(*ret_memory, *ret_bytes);
		return r;
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

int
queue_create(const char *name, const struct queue_options *options, struct queue **ret)
{
	char file[NAMED_FILE_MAX];
	void *memory = NULL;
	size_t bytes = 0;
	scoped_fd fd = -1;

	int r = file_of(name, file);
	if (r == 0)
		r = make(options, &fd, &memory, &bytes);
	if (r < 0)
		return r;
	struct queue *q = NULL;
	r = attach_mapping(memory, bytes, &q);
	if (r < 0)
		return r;
	r = named_publish(fd, file); /* last: what fails leaves no name */
	if (r < 0)
		queue_detach(q);
	else
		*ret = q;
	return r;
}

static int
map_named(const char *name, bool writable, void **ret, size_t *ret_bytes)
{
	char file[NAMED_FILE_MAX];
	scoped_fd fd = -1;

	int r = file_of(name, file);
	if (r == 0)
		r = named_open(file, writable, &fd);
	if (r == 0 && writable && !named_is_allocated(fd))
		r = -EPROTO; /* none of ours; populating would allocate it */
	if (r == 0)
		r = named_map(fd, writable, writable, ret, ret_bytes);
	return r;
}

int
queue_open(const char *name, struct queue **ret)
{
	void *memory = NULL;
	size_t bytes = 0;

	int r = map_named(name, true, &memory, &bytes);
	return r < 0 ? r : attach_mapping(memory, bytes, ret);
}

int
queue_unlink(const char *name)
{
	char file[NAMED_FILE_MAX];

	int r = file_of(name, file);
	return r < 0 ? r : named_unlink(file);
}

int
queue_stat_named(const char *name, struct queue_stat *ret)
{
	void *memory = NULL;
	size_t bytes = 0;

	int r = map_named(name, false, &memory, &bytes);
	if (r < 0)
		return r;
	r = queue_stat_memory(memory, bytes, ret);
	named_unmap(memory, bytes);
	return r;
}
