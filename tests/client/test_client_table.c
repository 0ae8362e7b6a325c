/* test_client_table.c - tags of jobs on their way, and the backlog of their events. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"

TestSuite(client_table, .timeout = 600);

static const struct target target;

static uint64_t
use(struct table *t, void *user)
{
	struct entry *e = table_reserve(t);
	cr_assert(ne(ptr, e, NULL));
	return table_use(t, e, &target, user, 1);
}

Test(client_table, a_tag_leads_to_its_job_and_to_none_after_its_end)
{
	struct table t = { .first_free = ENTRY_NONE };
	int a, b;
	uint64_t first = use(&t, &a), second = use(&t, &b);

	cr_expect(ne(u64, first, 0));
	cr_expect(eq(ptr, table_find(&t, first)->user, &a));
	cr_expect(eq(ptr, table_find(&t, second)->user, &b));
	table_release(&t, table_find(&t, first));
	cr_expect(eq(ptr, table_find(&t, first), NULL));
	/* The place is used again, under another tag. */
	uint64_t third = use(&t, &b);
	cr_expect(eq(u32, (uint32_t)third, (uint32_t)first));
	cr_expect(ne(u64, third, first));
	cr_expect(eq(ptr, table_find(&t, first), NULL));
	cr_expect(eq(u32, t.count, 2));
	free(t.entries);
}

Test(client_table, tags_stay_true_while_the_table_grows)
{
	enum { COUNT = 10000 };
	static uint64_t tags[COUNT];
	struct table t = { .first_free = ENTRY_NONE };

	for (size_t i = 0; i < COUNT; i++)
		tags[i] = use(&t, &tags[i]);
	for (size_t i = 0; i < COUNT; i++)
		cr_assert(eq(ptr, table_find(&t, tags[i])->user, &tags[i]));
	cr_expect(eq(ptr, table_find(&t, 1ull << 32 | t.capacity), NULL));
	cr_expect(eq(ptr, table_find(&t, UINT64_MAX), NULL));
	free(t.entries);
}

Test(client_table, the_backlog_gives_back_what_was_put_in_order)
{
	enum { ROUNDS = 3, COUNT = 5000, LONGEST = 1000 };
	static unsigned char body[LONGEST];
	struct backlog b = { 0 };
	struct event_record got;

	for (int round = 0; round < ROUNDS; round++) {
		cr_assert(backlog_is_empty(&b));
		for (uint32_t i = 0; i < COUNT; i++) {
			memset(body, (int)i, sizeof(body));
			struct event_record in = { MSG_OUTPUT, i % LONGEST, body, i };
			cr_assert(eq(int, backlog_put(&b, &in), 0));
		}
		for (uint32_t i = 0; i < COUNT; i++) {
			cr_assert(not(backlog_is_empty(&b)));
			cr_assert(backlog_get(&b, &got));
			cr_assert(eq(u64, got.returned_ns, i));
			cr_assert(eq(u32, got.length, i % LONGEST));
			cr_assert(eq(u64, (uintptr_t)got.body % RING_ALIGN, 0));
			memset(body, (int)i, sizeof(body));
			cr_assert(eq(int, memcmp(got.body, body, got.length), 0));
		}
		cr_assert(not(backlog_get(&b, &got)));
	}
	backlog_free(&b);
}
