/* test_index.c - the hash table of things with a node of their own, against a plain list. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>

#include "daemon/index.h"

#define THINGS 5000u

struct thing {
	struct index_node node; /* first */
	uint64_t number;
	bool inside;
};
static struct thing things[THINGS];
static struct index table;

static void
setup(void)
{
	cr_assert_eq(index_open(&table), 0);
}

static void
teardown(void)
{
	index_close(&table);
}

TestSuite(index, .init = setup, .fini = teardown, .timeout = 120);

static struct thing *
find(uint64_t number)
{
	struct index_node *node = index_first(&table, hash_number(number));

	while (node != NULL && ((struct thing *)node)->number != number)
		node = index_next(node);
	return (struct thing *)node;
}

Test(index, finds_what_is_inside_and_nothing_else)
{
	unsigned inside = 0;

	srand(3);
	for (uint64_t i = 0; i < THINGS; i++)
		things[i].number = i * 1024; /* the low bits say nothing */
	for (unsigned step = 0; step < 200000; step++) {
		struct thing *t = &things[(unsigned)rand() % THINGS];
		cr_assert_eq(find(t->number), t->inside ? t : NULL, "step %u", step);
		if (t->inside)
			index_remove(&table, &t->node);
		else
			index_add(&table, &t->node, hash_number(t->number));
		t->inside = !t->inside;
		inside += t->inside ? 1u : -1u;
		cr_assert_eq(table.count, inside);
	}
	for (unsigned i = 0; i < THINGS; i++)
		cr_assert_eq(find(things[i].number), things[i].inside ? &things[i] : NULL);
}

Test(index, gives_all_that_share_a_hash)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < 100; i++)
		index_add(&table, &things[i].node, i % 2 ? 5 : 5 + 64 * 1024);
	for (struct index_node *node = index_first(&table, 5); node != NULL;
	     node = index_next(node))
		seen++;
	cr_expect_eq(seen, 50u);
}

Test(index, hashes_spread)
{
	static unsigned numbers[1024], texts[1024];
	char text[16];

	for (unsigned i = 0; i < 10240; i++) {
		numbers[hash_number(i) % 1024]++;
		snprintf(text, sizeof(text), "key-%u", i);
		texts[hash_text(text) % 1024]++;
	}
	for (unsigned i = 0; i < 1024; i++) {
		cr_expect_lt(numbers[i], 40u);
		cr_expect_lt(texts[i], 40u);
	}
}
