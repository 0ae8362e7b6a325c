/* test_heap.c - the heap of numbers that know their place, against a plain list. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>

#include "daemon/heap.h"

#define ITEMS 500u

static struct {
	uint64_t key[ITEMS];
	uint32_t place[ITEMS];
} items;

static bool
before(const void *context, uint32_t a, uint32_t b)
{
	(void)context;
	return items.key[a] != items.key[b] ? items.key[a] < items.key[b] : a < b;
}

static uint32_t *
place(const void *context, uint32_t item)
{
	(void)context;
	return &items.place[item];
}

static const struct heap_ops ops = { before, place };
static struct heap heap;

static void
setup(void)
{
	for (unsigned i = 0; i < ITEMS; i++)
		items.place[i] = HEAP_NONE;
}

static void
teardown(void)
{
	heap_free(&heap);
}

TestSuite(heap, .init = setup, .fini = teardown, .timeout = 120);

/* Every number stands where it says, and none before the one above it. */
static void
check(unsigned inside)
{
	unsigned seen = 0;

	cr_assert_eq(heap.count, inside);
	for (uint32_t i = 0; i < ITEMS; i++) {
		if (items.place[i] == HEAP_NONE)
			continue;
		seen++;
		cr_assert_lt(items.place[i], heap.count);
		cr_assert_eq(heap.at[items.place[i]], i);
	}
	cr_assert_eq(seen, inside);
	for (uint32_t i = 1; i < heap.count; i++)
		cr_assert_not(before(NULL, heap.at[i], heap.at[(i - 1) / 2]), "at %u", i);
}

static uint32_t
least(void)
{
	uint32_t best = HEAP_NONE;

	for (uint32_t i = 0; i < ITEMS; i++)
		if (items.place[i] != HEAP_NONE && (best == HEAP_NONE || before(NULL, i, best)))
			best = i;
	return best;
}

Test(heap, keeps_its_order_whatever_is_put_taken_and_changed)
{
	unsigned inside = 0;

	srand(7);
	cr_assert_eq(heap_reserve(&heap, ITEMS), 0);
	for (unsigned step = 0; step < 30000; step++) {
		uint32_t i = (uint32_t)rand() % ITEMS;
		if (items.place[i] == HEAP_NONE) {
			items.key[i] = (uint64_t)rand() % 50; /* with many equals */
			heap_push(&heap, &ops, NULL, i);
			inside++;
		} else if (rand() % 2 == 0) {
			heap_remove(&heap, &ops, NULL, i);
			inside--;
		} else {
			items.key[i] = (uint64_t)rand() % 50;
			heap_moved(&heap, &ops, NULL, i);
		}
		if (step % 16 == 0)
			check(inside);
		cr_assert_eq(heap_first(&heap), least(), "step %u", step);
	}
}

Test(heap, gives_all_in_order)
{
	uint32_t last = HEAP_NONE;

	srand(8);
	cr_assert_eq(heap_reserve(&heap, ITEMS), 0);
	for (uint32_t i = 0; i < ITEMS; i++) {
		items.key[i] = (uint64_t)rand() % 100;
		heap_push(&heap, &ops, NULL, i);
	}
	for (unsigned left = ITEMS; left > 0; left--) {
		uint32_t first = heap_first(&heap);
		cr_assert(last == HEAP_NONE || before(NULL, last, first));
		heap_remove(&heap, &ops, NULL, first);
		last = first;
	}
	cr_expect_eq(heap_first(&heap), HEAP_NONE);
}

Test(heap, reserves_once_for_many)
{
	cr_assert_eq(heap_reserve(&heap, 1), 0);
	uint32_t *at = heap.at;
	cr_assert_eq(heap_reserve(&heap, heap.capacity), 0);
	cr_expect_eq(heap.at, at, "moved without need");
	cr_assert_eq(heap_reserve(&heap, 100000), 0);
	cr_expect_geq(heap.capacity, 100000u);
}
