/*
 * store_memory_apply.c - the engine `memory`: its rows, and the changes of them.
 *
 * Rows stand in a vector by id: they nearly always come in that order, and a removed one leaves a
 * hole that is closed when half of the vector is holes.
 */
#include "daemon/store_memory.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store_claims.h"

/* ---- copies: a struct, with all it points to behind it ---- */

static void
copy_bytes(unsigned char **at, struct bytes *b)
{
	if (b->length > 0)
		memcpy(*at, b->at, b->length);
	b->at = *at;
	*at += b->length;
}

static void
copy_text(unsigned char **at, const char **text)
{
	if (*text == NULL)
		return;
	size_t size = strlen(*text) + 1;
	memcpy(*at, *text, size);
	*text = (const char *)*at;
	*at += size;
}

static size_t
text_size(const char *text)
{
	return text != NULL ? strlen(text) + 1 : 0;
}

static struct record *
record_new(const struct store_job *job)
{
	size_t size = sizeof(struct record) + job->params.length + job->policy.length +
		      job->context.length + text_size(job->kind) + text_size(job->pool) +
		      text_size(job->key);
	struct record *r = calloc(1, size);

	if (r == NULL)
		return NULL;
	unsigned char *at = (unsigned char *)(r + 1);
	r->job = *job;
	copy_bytes(&at, &r->job.params);
	copy_bytes(&at, &r->job.policy);
	copy_bytes(&at, &r->job.context);
	copy_text(&at, &r->job.kind);
	copy_text(&at, &r->job.pool);
	copy_text(&at, &r->job.key);
	STAILQ_INIT(&r->output);
	return r;
}

static struct attempt *
attempt_new(const struct store_end *end, uint16_t number)
{
	size_t size = sizeof(struct attempt) + end->result.length + end->message.length +
		      end->autopsy.length + text_size(end->kind) + text_size(end->pool) +
		      text_size(end->executor);
	struct attempt *a = calloc(1, size);

	if (a == NULL)
		return NULL;
	unsigned char *at = (unsigned char *)(a + 1);
	a->number = number;
	a->end = *end;
	a->end.receipt.outcome.result_length = (uint32_t)end->result.length;
	a->end.receipt.outcome.message_length = (uint32_t)end->message.length;
	copy_bytes(&at, &a->end.result);
	copy_bytes(&at, &a->end.message);
	copy_bytes(&at, &a->end.autopsy);
	copy_text(&at, &a->end.kind);
	copy_text(&at, &a->end.pool);
	copy_text(&at, &a->end.executor);
	return a;
}

static uint64_t
bytes_of_job(const struct store_job *job)
{
	return sizeof(struct record) + job->params.length + job->policy.length +
	       job->context.length;
}

static uint64_t
bytes_of_end(const struct store_end *end)
{
	return sizeof(struct attempt) + end->result.length + end->message.length +
	       end->autopsy.length;
}

/* ---- rows ---- */

static int
by_token(const void *a, const void *b)
{
	return memcmp(((const struct record *)a)->job.token, ((const struct record *)b)->job.token,
		      STORE_TOKEN);
}

static int
by_key(const void *a, const void *b)
{
	return strcmp(((const struct record *)a)->job.key, ((const struct record *)b)->job.key);
}

/* The first place whose row has `id` or a higher one.  Holes are looked through. */
size_t
memory_place(const struct memory *m, uint64_t id)
{
	size_t low = 0, high = m->row_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2, look = middle;
		while (look < high && m->rows[look] == NULL)
			look++;
		if (look < high && m->rows[look]->job.id < id)
			low = look + 1;
		else
			high = middle;
	}
	while (low < m->row_count && m->rows[low] == NULL)
		low++;
	return low;
}

struct record *
memory_find(const struct memory *m, uint64_t id)
{
	size_t place = memory_place(m, id);
	return place < m->row_count && m->rows[place]->job.id == id ? m->rows[place] : NULL;
}

static int
insert_row(struct memory *m, struct record *r)
{
	if (m->row_count == m->row_capacity) {
		size_t capacity = m->row_capacity == 0 ? 256 : m->row_capacity * 2;
		struct record **rows = realloc(m->rows, capacity * sizeof(struct record *));
		if (rows == NULL)
			return -ENOMEM;
		m->rows = rows;
		m->row_capacity = capacity;
	}
	size_t place = m->row_count;
	if (place > 0 && (m->rows[place - 1] == NULL || m->rows[place - 1]->job.id > r->job.id))
		place = memory_place(m, r->job.id);
	memmove(&m->rows[place + 1], &m->rows[place],
		(m->row_count - place) * sizeof(struct record *));
	m->rows[place] = r;
	m->row_count++;
	if (r->job.id > m->max_id)
		m->max_id = r->job.id;
	return 0;
}

static void
record_free(struct record *r)
{
	struct chunk *c;

	while ((c = STAILQ_FIRST(&r->output)) != NULL) {
		STAILQ_REMOVE_HEAD(&r->output, link);
		free(c);
	}
	for (unsigned i = 0; i < r->attempt_count; i++)
		free(r->attempts[i]);
	free(r->attempts);
	free(r);
}

/* An ended job and all of it. */
void
memory_remove(struct memory *m, size_t place)
{
	struct record *r = m->rows[place];
	struct chunk *c;

	m->bytes -= bytes_of_job(&r->job);
	STAILQ_FOREACH (c, &r->output, link)
		m->bytes -= c->length;
	for (unsigned i = 0; i < r->attempt_count; i++)
		m->bytes -= bytes_of_end(&r->attempts[i]->end);
	if (!r->attached)
		tdelete(r, &m->tokens, by_token);
	record_free(r);
	m->rows[place] = NULL;
	m->ended--;
	if (++m->holes <= m->row_count / 2)
		return;
	size_t kept = 0;
	for (size_t i = 0; i < m->row_count; i++)
		if (m->rows[i] != NULL)
			m->rows[kept++] = m->rows[i];
	m->row_count = kept;
	m->holes = 0;
}

/* ---- changes ---- */

static int
apply_add(struct memory *m, struct store_change *c)
{
	struct record wanted = { .job = c->job };
	struct record **found;

	if ((found = tfind(&wanted, &m->tokens, by_token)) != NULL) {
		c->ret_id = (*found)->job.id;
		return -EEXIST;
	}
	if (c->job.key != NULL && (found = tfind(&wanted, &m->keys, by_key)) != NULL) {
		c->ret_id = (*found)->job.id;
		return -ESTALE;
	}
	if (c->job.id == 0 || memory_find(m, c->job.id) != NULL)
		return -EINVAL;
	struct record *r = record_new(&c->job);
	if (r == NULL)
		return -ENOMEM;
	if (insert_row(m, r) < 0) {
		record_free(r);
		return -ENOMEM;
	}
	if (tsearch(r, &m->tokens, by_token) == NULL ||
	    (r->job.key != NULL && tsearch(r, &m->keys, by_key) == NULL)) {
		r->ended = true;
		m->ended++;
		m->bytes += bytes_of_job(&r->job);
		memory_remove(m, memory_place(m, r->job.id));
		return -ENOMEM;
	}
	m->bytes += bytes_of_job(&r->job);
	m->open++;
	c->ret_id = r->job.id;
	return 0;
}

/* Put down an ended attempt. */
static int
add_attempt(struct memory *m, struct record *r, const struct store_end *end, uint16_t number)
{
	struct attempt *a = attempt_new(end, number);
	struct attempt **more =
		reallocarray(r->attempts, r->attempt_count + 1, sizeof(struct attempt *));

	if (more != NULL)
		r->attempts = more;
	if (a == NULL || more == NULL) {
		free(a);
		return -ENOMEM;
	}
	r->attempts[r->attempt_count++] = a;
	r->last = a;
	m->bytes += bytes_of_end(end);
	return 0;
}

/* May this end count?  The attempt must not have ended before, and its claim must stand. */
static int
check_end(const struct memory *m, const struct record *r, const struct store_end *end, bool retry)
{
	uint16_t number = end->receipt.attempt;

	if (r == NULL)
		return -ENOENT;
	if (r->ended)
		return -ESTALE;
	if (end->fence != 0 && !claims_stand(m->claims, end->id, number, end->fence))
		return -ESTALE;
	bool known = r->last != NULL && number <= r->last->number;
	return known && (retry || end->fence != 0) ? -ESTALE : 0;
}

static int
apply_retry(struct memory *m, const struct store_end *end)
{
	struct record *r = memory_find(m, end->id);
	int error = check_end(m, r, end, true);

	if (error == 0)
		error = add_attempt(m, r, end, end->receipt.attempt);
	if (error < 0)
		return error;
	r->job.attempt = end->receipt.attempt;
	r->job.not_before_ns = end->next.not_before_ns;
	r->job.crashes = end->next.crashes;
	r->job.flags = (r->job.flags & STORE_JOB_DROP) | (end->next.flags & ~STORE_JOB_DROP);
	return 0;
}

static int
apply_end(struct memory *m, const struct store_end *end)
{
	struct record *r = memory_find(m, end->id);
	int error = check_end(m, r, end, false);

	if (error == 0)
		error = add_attempt(m, r, end, end->fence != 0 ? end->receipt.attempt : 0);
	if (error < 0)
		return error;
	if (end->fence != 0)
		r->job.attempt = end->receipt.attempt;
	if (r->job.key != NULL)
		tdelete(r, &m->keys, by_key);
	r->job.not_before_ns = end->next.not_before_ns;
	r->ended = true;
	m->open--;
	m->ended++;
	return 0;
}

/* Where a stream of an attempt ends. */
static uint64_t
stream_end(const struct record *r, uint16_t attempt, uint32_t stream)
{
	const struct chunk *c;
	uint64_t end = 0;

	if (attempt == r->output_attempt)
		return r->output_end[stream];
	STAILQ_FOREACH (c, &r->output, link)
		if (c->attempt == attempt && c->stream == stream)
			end = c->offset + c->length;
	return end;
}

static int
apply_output(struct memory *m, const struct store_change *change)
{
	struct record *r = memory_find(m, change->output.id);
	uint64_t offset = change->output.offset, length = change->output.bytes.length, skip = 0;
	uint32_t stream = change->output.stream;

	if (r == NULL || r->attached)
		return -ENOENT;
	if (stream < 1 || stream > 2)
		return -EINVAL;
	uint64_t end = stream_end(r, change->output.attempt, stream);
	if (offset < end)
		skip = end - offset;
	if (skip >= length)
		return 0;
	struct chunk *c = malloc(sizeof(*c) + length - skip);
	if (c == NULL)
		return -ENOMEM;
	c->offset = offset + skip;
	c->stream = stream;
	c->attempt = change->output.attempt;
	c->length = length - skip;
	memcpy(c->bytes, (const unsigned char *)change->output.bytes.at + skip, c->length);
	STAILQ_INSERT_TAIL(&r->output, c, link);
	if (c->attempt > r->output_attempt) {
		r->output_attempt = c->attempt;
		memset(r->output_end, 0, sizeof(r->output_end));
	}
	if (c->attempt == r->output_attempt)
		r->output_end[stream] = c->offset + c->length;
	m->bytes += c->length;
	return 0;
}

static int
apply_edit(struct memory *m, const struct store_job *job)
{
	struct record *r = memory_find(m, job->id);

	if (r == NULL || r->ended)
		return -ENOENT;
	r->job.flags = (r->job.flags & STORE_JOB_DROP) | (job->flags & ~STORE_JOB_DROP);
	r->job.priority = job->priority;
	r->job.not_before_ns = job->not_before_ns;
	return 0;
}

static int
apply_reopen(struct memory *m, struct store_change *c)
{
	struct record *r = memory_find(m, c->job.id), **found;

	if (r == NULL || r->attached)
		return -ENOENT;
	if (!r->ended)
		return 0;
	if (r->job.key != NULL && (found = tfind(r, &m->keys, by_key)) != NULL) {
		c->ret_id = (*found)->job.id;
		return -ESTALE;
	}
	if (r->job.key != NULL && tsearch(r, &m->keys, by_key) == NULL)
		return -ENOMEM;
	if (r->last != NULL && r->last->number == 0) {
		m->bytes -= bytes_of_end(&r->last->end);
		r->attempt_count--;
		free(r->last);
		r->last = r->attempt_count > 0 ? r->attempts[r->attempt_count - 1] : NULL;
	}
	/* Its attempts go on counting, and its retries begin anew. */
	r->job.flags = (r->job.flags & STORE_JOB_DROP) | (uint32_t)r->job.attempt
								 << STORE_JOB_FORGIVEN_SHIFT;
	r->job.crashes = 0;
	r->job.not_before_ns = 0;
	r->ended = false;
	m->ended--;
	m->open++;
	return 0;
}

static int
apply_remove(struct memory *m, uint64_t id)
{
	size_t place = memory_place(m, id);

	if (place == m->row_count || m->rows[place]->job.id != id)
		return -ENOENT;
	if (!m->rows[place]->ended)
		return -EBUSY;
	memory_remove(m, place);
	return 0;
}

static int
apply_history(struct memory *m, const struct store_end *end)
{
	const struct record *known = memory_find(m, end->id);
	struct store_job job = { .id = end->id,
				 .kind = end->kind,
				 .pool = end->pool,
				 .submitted_ns = end->submitted_ns,
				 .uid = end->receipt.uid,
				 .priority = end->receipt.priority,
				 .attempt = end->receipt.attempt };

	if (known != NULL)
		return known->attached ? 0 : -EEXIST;
	if (end->id == 0)
		return -EINVAL;
	struct record *r = record_new(&job);
	if (r == NULL)
		return -ENOMEM;
	r->attached = r->ended = true;
	if (add_attempt(m, r, end, 0) < 0 || insert_row(m, r) < 0) {
		record_free(r);
		return -ENOMEM;
	}
	m->bytes += bytes_of_job(&r->job);
	m->ended++;
	return 0;
}

static int
apply_tally(struct memory *m, const struct store_change *c)
{
	struct tally *old, *t;
	size_t size = sizeof(*t) + text_size(c->tally.kind) + text_size(c->tally.pool);

	if (c->tally.figures.length == 0)
		return -EINVAL;
	t = malloc(size + c->tally.figures.length);
	if (t == NULL)
		return -ENOMEM;
	unsigned char *at = (unsigned char *)(t + 1);
	*t = (struct tally){ .day = c->tally.day,
			     .kind = c->tally.kind,
			     .pool = c->tally.pool,
			     .figures = c->tally.figures };
	copy_text(&at, &t->kind);
	copy_text(&at, &t->pool);
	copy_bytes(&at, &t->figures);
	STAILQ_FOREACH (old, &m->tallies, link)
		if (old->day == t->day && strcmp(old->kind, t->kind) == 0 &&
		    strcmp(old->pool, t->pool) == 0)
			break;
	if (old != NULL) {
		STAILQ_REMOVE(&m->tallies, old, tally, link);
		free(old);
	}
	STAILQ_INSERT_TAIL(&m->tallies, t, link);
	return 0;
}

static int
apply_one(struct memory *m, struct store_change *c)
{
	switch (c->type) {
	case CHANGE_ADD:
		return apply_add(m, c);
	case CHANGE_RETRY:
		return apply_retry(m, &c->end);
	case CHANGE_END:
		return apply_end(m, &c->end);
	case CHANGE_OUTPUT:
		return apply_output(m, c);
	case CHANGE_EDIT:
		return apply_edit(m, &c->job);
	case CHANGE_REOPEN:
		return apply_reopen(m, c);
	case CHANGE_REMOVE:
		return apply_remove(m, c->job.id);
	case CHANGE_HISTORY:
		return apply_history(m, &c->end);
	case CHANGE_TALLY:
		return apply_tally(m, c);
	}
	return -EINVAL;
}

int
memory_apply(struct store *s, struct store_change *changes, size_t count)
{
	pthread_mutex_lock(&s->m->lock);
	for (size_t i = 0; i < count; i++)
		changes[i].result = apply_one(s->m, &changes[i]);
	pthread_mutex_unlock(&s->m->lock);
	return 0;
}

void
memory_free(struct memory *m)
{
	struct tally *t;

	for (size_t i = 0; i < m->row_count; i++) {
		struct record *r = m->rows[i];
		if (r == NULL)
			continue;
		if (!r->attached)
			tdelete(r, &m->tokens, by_token);
		if (r->job.key != NULL && !r->ended)
			tdelete(r, &m->keys, by_key);
		record_free(r);
	}
	while ((t = STAILQ_FIRST(&m->tallies)) != NULL) {
		STAILQ_REMOVE_HEAD(&m->tallies, link);
		free(t);
	}
	claims_close(m->claims);
	free(m->rows);
	free(m->state_dir);
	pthread_mutex_destroy(&m->lock);
	free(m);
}
