/* jobs.c - see jobs.h */
#include "daemon/jobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/context.h"
#include "daemon/policy.h"

#define CHUNK_JOBS  1024u
#define BUCKETS_MIN 1024u

struct job_chunk {
	uint32_t used;      /* jobs alive */
	uint32_t free_list; /* places in this chunk, linked by job.next */
	uint32_t fresh;     /* places from here on were never used */
	struct job jobs[CHUNK_JOBS];
};

/* From the kernel and back to it: malloc() would take them from its heap once one was freed, and
 * what a full table took would stay. */
static struct job_chunk *
chunk_new(void)
{
	void *c = mmap(NULL, sizeof(struct job_chunk), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return c == MAP_FAILED ? NULL : c;
}

static void
chunk_free(struct job_chunk *c)
{
	if (c != NULL)
		munmap(c, sizeof(*c));
}

int
jobs_init(struct jobs *t, uint64_t max_jobs, uint64_t max_bytes)
{
	*t = (struct jobs){ .max_jobs = max_jobs, .max_bytes = max_bytes };
	t->chunk_capacity = (uint32_t)((max_jobs + CHUNK_JOBS - 1) / CHUNK_JOBS + 1);
	t->chunks = calloc(t->chunk_capacity, sizeof(struct job_chunk *));
	t->buckets = malloc(BUCKETS_MIN * sizeof(uint32_t));
	if (t->chunks == NULL || t->buckets == NULL) {
		jobs_done(t);
		return -ENOMEM;
	}
	t->bucket_mask = BUCKETS_MIN - 1;
	memset(t->buckets, 0xff, BUCKETS_MIN * sizeof(uint32_t));
	return 0;
}

static void
free_args(struct jobs *t, struct job *job)
{
	if (job->args_length > JOB_INLINE) {
		t->heap_bytes -= job->args_length;
		free(job->args_heap);
	}
	array_free(job->array);
	job_more_free(job->more);
}

void
jobs_done(struct jobs *t)
{
	for (uint32_t i = 0; t->chunks != NULL && (i = jobs_next(t, i)) != JOB_NONE; i++)
		free_args(t, job_at(t, i));
	for (uint32_t i = 0; t->chunks != NULL && i < t->chunk_count; i++)
		chunk_free(t->chunks[i]);
	chunk_free(t->spare);
	free(t->chunks);
	free(t->buckets);
	*t = (struct jobs){ 0 };
}

void
job_more_free(struct job_more *more)
{
	if (more == NULL)
		return;
	policy_free(more->policy);
	free(more->gate);
	shared_context_drop(more->context);
	free(more->past);
	free(more);
}

bool
jobs_have_room(const struct jobs *t, uint32_t args_length)
{
	return t->count < t->max_jobs &&
	       (args_length <= JOB_INLINE || t->heap_bytes + args_length <= t->max_bytes);
}

struct job *
job_at(const struct jobs *t, uint32_t index)
{
	return &t->chunks[index / CHUNK_JOBS]->jobs[index % CHUNK_JOBS];
}

const void *
job_args(const struct job *job)
{
	return job->args_length > JOB_INLINE ? job->args_heap : job->args_inline;
}

/* Ids come one after the other: their low bits spread perfectly. */
static uint32_t *
bucket_of(const struct jobs *t, uint64_t id)
{
	return &t->buckets[id & t->bucket_mask];
}

static void
grow_buckets(struct jobs *t)
{
	uint32_t size = (t->bucket_mask + 1) * 2;
	uint32_t *bigger = malloc(size * sizeof(uint32_t));
	if (bigger == NULL)
		return; /* chains get longer, nothing breaks */
	memset(bigger, 0xff, size * sizeof(uint32_t));
	free(t->buckets);
	t->buckets = bigger;
	t->bucket_mask = size - 1;
	for (uint32_t i = 0; (i = jobs_next(t, i)) != JOB_NONE; i++) {
		struct job *job = job_at(t, i);
		uint32_t *bucket = bucket_of(t, job->id);
		job->hash_next = *bucket;
		*bucket = i;
	}
}

/* A chunk with a free place: the lowest one, so that high chunks empty and go back. */
static struct job_chunk *
chunk_with_room(struct jobs *t, uint32_t *ret_number)
{
	for (uint32_t n = t->open_chunk; n < t->chunk_capacity; n++) {
		struct job_chunk *c = t->chunks[n];
		if (c == NULL) {
			c = t->spare != NULL ? t->spare : chunk_new();
			if (c == NULL)
				return NULL;
			t->spare = NULL;
			c->used = c->fresh = 0;
			c->free_list = JOB_NONE;
			t->chunks[n] = c;
			if (n >= t->chunk_count)
				t->chunk_count = n + 1;
		}
		if (c->used < CHUNK_JOBS) {
			t->open_chunk = n;
			*ret_number = n;
			return c;
		}
	}
	return NULL;
}

uint32_t
jobs_add(struct jobs *t, uint64_t id, const void *args, uint32_t args_length)
{
	unsigned char *heap = NULL;
	uint32_t number;

	if (args_length > JOB_INLINE && (heap = malloc(args_length)) == NULL)
		return JOB_NONE;
	struct job_chunk *c = chunk_with_room(t, &number);
	if (c == NULL) {
		free(heap);
		return JOB_NONE;
	}
	uint32_t place = c->free_list;
	if (place != JOB_NONE)
		c->free_list = c->jobs[place].next;
	else
		place = c->fresh++;
	c->used++;

	struct job *job = &c->jobs[place];
	*job = (struct job){
		.id = id,
		.prev = JOB_NONE,
		.next = JOB_NONE,
		.client_prev = JOB_NONE,
		.client_next = JOB_NONE,
		.args_length = args_length,
		.attempt = 1,
	};
	if (heap != NULL) {
		memcpy(heap, args, args_length);
		job->args_heap = heap;
		t->heap_bytes += args_length;
	} else if (args_length > 0) {
		memcpy(job->args_inline, args, args_length);
	}
	uint32_t index = number * CHUNK_JOBS + place;
	uint32_t *bucket = bucket_of(t, id);
	job->hash_next = *bucket;
	*bucket = index;
	if (++t->count > t->bucket_mask)
		grow_buckets(t);
	return index;
}

void
jobs_remove(struct jobs *t, uint32_t index)
{
	struct job_chunk *c = t->chunks[index / CHUNK_JOBS];
	struct job *job = job_at(t, index);
	uint32_t *link = bucket_of(t, job->id);

	while (*link != index)
		link = &job_at(t, *link)->hash_next;
	*link = job->hash_next;
	free_args(t, job);
	job->id = 0; /* free places have no id: see jobs_next() */
	job->next = c->free_list;
	c->free_list = index % CHUNK_JOBS;
	t->count--;
	if (index / CHUNK_JOBS < t->open_chunk)
		t->open_chunk = index / CHUNK_JOBS;
	if (--c->used > 0 || index / CHUNK_JOBS == 0)
		return;
	t->chunks[index / CHUNK_JOBS] = NULL;
	if (t->spare == NULL)
		t->spare = c;
	else
		chunk_free(c);
}

uint32_t
jobs_find(const struct jobs *t, uint64_t id)
{
	uint32_t index = *bucket_of(t, id);

	while (index != JOB_NONE && job_at(t, index)->id != id)
		index = job_at(t, index)->hash_next;
	return index;
}

uint32_t
jobs_next(const struct jobs *t, uint32_t from)
{
	for (uint32_t n = from / CHUNK_JOBS; n < t->chunk_count; n++, from = n * CHUNK_JOBS) {
		const struct job_chunk *c = t->chunks[n];
		if (c == NULL)
			continue;
		for (uint32_t place = from % CHUNK_JOBS; place < c->fresh; place++)
			if (c->jobs[place].id != 0)
				return n * CHUNK_JOBS + place;
	}
	return JOB_NONE;
}

static uint64_t
count_chunks(const struct jobs *t)
{
	uint64_t chunks = t->spare != NULL;

	for (uint32_t n = 0; n < t->chunk_count; n++)
		chunks += t->chunks[n] != NULL;
	return chunks;
}

uint64_t
jobs_places(const struct jobs *t)
{
	return count_chunks(t) * CHUNK_JOBS;
}

uint64_t
jobs_bytes(const struct jobs *t)
{
	return count_chunks(t) * sizeof(struct job_chunk) + t->heap_bytes +
	       (t->bucket_mask + 1ull) * sizeof(uint32_t) +
	       t->chunk_capacity * sizeof(struct job_chunk *);
}
