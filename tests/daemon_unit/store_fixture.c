/* store_fixture.c - see store_fixture.h */
#include "tests/daemon_unit/store_fixture.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/clock.h"
#include "tests/files.h"

const struct store_ops *store_ops;
struct store *store;
char store_dir[256];
struct store_options store_options;

static struct store *second; /* of the engine `memory`: what keeps it alive */
static char text[65536];

static void
open_store(void)
{
	struct store_problem why = { "" };
	int r = store_ops->open(&store, &store_options, &why);

	if (r < 0) {
		fprintf(stderr, "store: %s: %s\n", strerror(-r), why.message);
		abort();
	}
}

void
store_setup(void)
{
	const char *name = getenv("TEST_STORE");
	struct store_problem why;

	store_ops = store_engine_by_name(name != NULL ? name : "sqlite");
	test_dir_make(store_dir, sizeof(store_dir));
	store_options = (struct store_options){ .state_dir = store_dir };
	open_store();
	struct store_options reading = { .state_dir = store_dir, .read_only = true };
	if (store_ops == &store_memory && store_ops->open(&second, &reading, &why) < 0)
		abort();
}

static void forget(void);

void
store_teardown(void)
{
	forget();
	store_ops->close(store);
	store_ops->close(second);
	test_dir_remove(store_dir);
}

void
store_reopen(void)
{
	store_ops->close(store);
	open_store();
}

/* ---- changes ---- */

int
apply(struct store_change *change)
{
	int r = store_ops->apply(store, change, 1);
	return r < 0 ? r : change->result;
}

struct store_change
new_job(uint64_t id)
{
	struct store_change c = { .type = CHANGE_ADD,
				  .job = { .id = id,
					   .kind = "sleep",
					   .pool = "io",
					   .params = { "\x81\xa2ms\x05", 5 },
					   .submitted_ns = clock_wall() } };

	for (unsigned i = 0; i < STORE_TOKEN; i++)
		c.job.token[i] = (unsigned char)((id * 0x9e3779b97f4a7c15ull) >> (i % 8 * 8));
	return c;
}

struct store_change
new_end(uint64_t id, unsigned state)
{
	uint64_t now = clock_wall();

	return (struct store_change){ .type = CHANGE_END,
				      .end = { .id = id,
					       .ended_ns = now,
					       .receipt = { .id = id,
							    .attempt = 1,
							    .ended_wall_ns = now,
							    .outcome.state = (uint8_t)state } } };
}

static void
must(struct store_change *c)
{
	int r = apply(c);

	if (r < 0) {
		fprintf(stderr, "change %d: %s\n", (int)c->type, strerror(-r));
		abort();
	}
}

void
add_job(uint64_t id)
{
	struct store_change c = new_job(id);
	must(&c);
}

void
end_job(uint64_t id, unsigned state)
{
	struct store_change c = new_end(id, state);
	must(&c);
}

void
run_job(uint64_t id, uint16_t attempt, unsigned state)
{
	struct store_change c = new_end(id, state);

	c.end.receipt.attempt = attempt;
	if (store_ops->claim(store, id, attempt, &c.end.fence) < 0)
		abort();
	must(&c);
	store_ops->unclaim(store, id, c.end.fence);
}

int
write_output(uint64_t id, uint16_t attempt, uint32_t stream, uint64_t offset, const char *bytes)
{
	struct store_change c = { .type = CHANGE_OUTPUT,
				  .output = { .id = id,
					      .attempt = attempt,
					      .stream = stream,
					      .offset = offset,
					      .bytes = { bytes, strlen(bytes) } } };
	return apply(&c);
}

/* ---- rows ---- */

/* What is kept until the test ends. */
struct memory {
	struct memory *next;
	max_align_t bytes[];
};
static struct memory *memories;

static void *
keep(size_t size)
{
	struct memory *m = calloc(1, sizeof(*m) + size);

	if (m == NULL)
		abort();
	m->next = memories;
	memories = m;
	return m->bytes;
}

static void
forget(void)
{
	for (struct memory *m = memories, *next; m != NULL; m = next) {
		next = m->next;
		free(m);
	}
	memories = NULL;
}

static void
keep_bytes(struct bytes *b)
{
	void *copy = keep(b->length + 1);

	if (b->length > 0)
		memcpy(copy, b->at, b->length);
	b->at = copy;
}

static void
keep_text(const char **t)
{
	if (*t != NULL)
		*t = strcpy(keep(strlen(*t) + 1), *t);
}

int
keep_row(void *list, const struct store_row *row)
{
	struct kept **end = list, *k = keep(sizeof(*k));

	k->row = *row;
	keep_bytes(&k->row.job.params);
	keep_bytes(&k->row.job.policy);
	keep_bytes(&k->row.job.context);
	keep_bytes(&k->row.end.result);
	keep_bytes(&k->row.end.message);
	keep_bytes(&k->row.end.autopsy);
	keep_text(&k->row.job.kind);
	keep_text(&k->row.job.pool);
	keep_text(&k->row.job.key);
	keep_text(&k->row.end.kind);
	keep_text(&k->row.end.pool);
	keep_text(&k->row.end.executor);
	while (*end != NULL)
		end = &(*end)->next;
	*end = k;
	return 0;
}

static void
check(int r)
{
	if (r < 0) {
		fprintf(stderr, "store: %s\n", strerror(-r));
		abort();
	}
}

struct kept *
read_job(uint64_t id)
{
	struct store_filter f = { .id = id, .uid = UINT32_MAX };
	struct kept *list = NULL;

	check(store_ops->list(store, &f, keep_row, &list));
	return list;
}

struct kept *
read_attempts(uint64_t id)
{
	struct kept *list = NULL;

	check(store_ops->attempts(store, id, keep_row, &list));
	return list;
}

struct kept *
load(uint64_t after_id, size_t most, bool claimed)
{
	struct kept *list = NULL;

	check(store_ops->load(store, after_id, most, claimed, keep_row, &list));
	return list;
}

static int
count_row(void *count, const struct store_row *row)
{
	(void)row;
	++*(uint64_t *)count;
	return 0;
}

uint64_t
count_rows(void)
{
	uint64_t count = 0;

	check(store_ops->list(store, &(struct store_filter){ .uid = UINT32_MAX }, count_row,
			      &count));
	return count;
}

static int
print_id(void *context, const struct store_row *row)
{
	(void)context;
	size_t length = strlen(text);
	snprintf(text + length, sizeof(text) - length, "%s%llu", length > 0 ? " " : "",
		 (unsigned long long)row->job.id);
	return 0;
}

const char *
ids(const struct store_filter *filter)
{
	text[0] = '\0';
	check(store_ops->list(store, filter, print_id, NULL));
	return text;
}

static int
print_chunk(void *context, uint32_t stream, uint64_t offset, const void *bytes, size_t length)
{
	uint64_t *next = context;
	size_t used = strlen(text);

	if (offset != next[stream])
		return -EPROTO; /* a gap */
	next[stream] += length;
	snprintf(text + used, sizeof(text) - used, "%u:%.*s", stream, (int)length,
		 (const char *)bytes);
	return 0;
}

const char *
read_output(uint64_t id, uint16_t attempt, uint64_t from1, uint64_t from2)
{
	uint64_t from[3] = { 0, from1, from2 }, next[3] = { 0, from1, from2 };

	text[0] = '\0';
	check(store_ops->output(store, id, attempt, from, print_chunk, next));
	return text;
}

static int
print_tally(void *context, uint32_t day, const char *kind, const char *pool, const void *figures,
	    size_t length)
{
	(void)context;
	size_t used = strlen(text);
	snprintf(text + used, sizeof(text) - used, "%u %s %s %.*s, ", day, kind, pool, (int)length,
		 (const char *)figures);
	return 0;
}

const char *
read_tallies(uint32_t since_day)
{
	text[0] = '\0';
	check(store_ops->tallies(store, since_day, print_tally, NULL));
	return text;
}

bool
same_bytes(const struct bytes *a, const struct bytes *b)
{
	return a->length == b->length && (a->length == 0 || memcmp(a->at, b->at, a->length) == 0);
}
