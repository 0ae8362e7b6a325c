/*
 * test_manager_store.c - what outlives a manager: each step of a change at which it can be killed,
 * and what the next one makes of it.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>

#include "daemon/manager_store.h"

#define TOKEN 77u

TestSuite(manager_store, .timeout = 600);

static struct manager_store *store;
static struct counter_table *table;
static struct stored_session *session;
static struct counter counter;

static void
setup(void)
{
	unsigned i;
	store = calloc(1, sizeof(*store));
	table = aligned_alloc(64, sizeof(*table));
	if (store == NULL || table == NULL)
		abort();
	for (size_t n = 0; n < sizeof(*table); n++)
		((unsigned char *)table)[n] = 0;
	store_init(store);
	counter_table_init(table);
	if (counter_open(table, "c", 0, &counter) < 0 ||
	    store_new_session(store, TOKEN, 1, 0, 0, &i) < 0)
		abort();
	session = &store->sessions[i];
}

static void
teardown(void)
{
	free(store);
	free(table);
}

static int64_t
value(void)
{
	return atomic_load(&counter.slot->value);
}

static enum manager_status
change(enum manager_op op, uint64_t sequence, int64_t by, int64_t expected)
{
	struct manager_ask ask = {
		.op = (uint8_t)op, .sequence = sequence, .value = by, .expected = expected
	};
	int64_t now;
	return store_change(store, table, session, &ask, &counter, &now);
}

/* The store as a manager leaves it that was killed in request 1: intent said, and the counter
 * `now`. */
static void
killed_in(enum manager_op op, int64_t before, int64_t after, int64_t now)
{
	store->intent.op = op;
	store->intent.token = TOKEN;
	store->intent.sequence = 1;
	store->intent.slot = (uint32_t)(counter.slot - table->slot);
	store->intent.generation = counter.generation;
	store->intent.before = before;
	store->intent.after = after;
	atomic_store(&store->intent.under_way, 1);
	atomic_store(&counter.slot->value, now);
	cr_assert(store_recover(store, table));
	cr_assert_eq(atomic_load(&store->intent.under_way), 0);
}

Test(manager_store, each_number_is_applied_once_in_order, .init = setup, .fini = teardown)
{
	struct stored_result seen;
	cr_assert_eq(store_seen(session, 1, &seen), 1);
	cr_assert_eq(store_seen(session, 2, &seen), -EAGAIN);
	cr_assert_eq(change(MANAGER_ADD, 1, 5, 0), MANAGER_OK);
	cr_assert_eq(store_seen(session, 1, &seen), 0);
	cr_assert_eq(seen.value, 5);
	cr_assert_eq(change(MANAGER_CAS, 2, 9, 4), MANAGER_DIFFERS);
	cr_assert_eq(change(MANAGER_CAS, 3, 9, 5), MANAGER_OK);
	cr_assert_eq(store_seen(session, 2, &seen), 0);
	cr_assert_eq(seen.status, MANAGER_DIFFERS);
	cr_assert_eq(seen.value, 5);
	cr_assert_eq(value(), 9);
	cr_assert_not(store_recover(store, table), "nothing was under way");
}

Test(manager_store, results_are_remembered_for_a_window, .init = setup, .fini = teardown)
{
	struct stored_result seen;
	for (uint64_t n = 1; n <= MANAGER_WINDOW + 10; n++)
		cr_assert_eq(change(MANAGER_ADD, n, 1, 0), MANAGER_OK);
	cr_assert_eq(store_seen(session, 11, &seen), 0);
	cr_assert_eq(seen.status, MANAGER_OK);
	cr_assert_eq(seen.value, 11);
	cr_assert_eq(store_seen(session, 10, &seen), 0);
	cr_assert_eq(seen.status, MANAGER_BAD_REQUEST, "its place is another's");
}

Test(manager_store, killed_before_the_add_it_is_sent_again, .init = setup, .fini = teardown)
{
	struct stored_result seen;
	killed_in(MANAGER_ADD, 10, 11, 10);
	cr_assert_eq(store_seen(session, 1, &seen), 1);
	cr_assert_eq(change(MANAGER_ADD, 1, 1, 0), MANAGER_OK);
	cr_assert_eq(value(), 11);
}

Test(manager_store, killed_after_the_add_it_counts, .init = setup, .fini = teardown)
{
	struct stored_result seen;
	killed_in(MANAGER_ADD, 10, 11, 11);
	cr_assert_eq(store_seen(session, 1, &seen), 0);
	cr_assert_eq(seen.status, MANAGER_OK);
	cr_assert_eq(seen.value, 11);
	cr_assert_eq(value(), 11);
}

Test(manager_store, moved_by_others_an_add_is_taken_for_made, .init = setup, .fini = teardown)
{
	struct stored_result seen;
	killed_in(MANAGER_ADD, 10, 11, 15);
	cr_assert_eq(store_seen(session, 1, &seen), 0);
	cr_assert_eq(seen.status, MANAGER_OK);
}

Test(manager_store, moved_by_others_a_set_or_cas_is_unsure, .init = setup, .fini = teardown)
{
	struct stored_result seen;
	killed_in(MANAGER_CAS, 10, 20, 15);
	cr_assert_eq(store_seen(session, 1, &seen), 0);
	cr_assert_eq(seen.status, MANAGER_UNSURE);
	cr_assert_eq(seen.value, 15);
}

Test(manager_store, killed_after_the_result_nothing_is_done_again, .init = setup, .fini = teardown)
{
	struct stored_result seen;
	cr_assert_eq(change(MANAGER_ADD, 1, 1, 0), MANAGER_OK);
	atomic_store(&store->intent.under_way, 1);
	cr_assert(store_recover(store, table));
	cr_assert_eq(value(), 1);
	cr_assert_eq(store_seen(session, 1, &seen), 0);
	cr_assert_eq(seen.value, 1);
	cr_assert_eq(store_seen(session, 2, &seen), 1);
}

Test(manager_store, a_removal_is_known_to_have_been_made, .init = setup, .fini = teardown)
{
	struct stored_result seen;
	struct counter again;
	killed_in(MANAGER_REMOVE, 0, 0, 3); /* still there: sent again */
	cr_assert_eq(store_seen(session, 1, &seen), 1);
	cr_assert_eq(counter_remove(table, "c", 0), 0);
	killed_in(MANAGER_REMOVE, 0, 0, 3);
	cr_assert_eq(store_seen(session, 1, &seen), 0);
	cr_assert_eq(seen.status, MANAGER_OK);
	cr_assert_eq(counter_find(table, "c", &again), -ENOENT);
}

Test(manager_store, an_unlock_is_finished, .init = setup, .fini = teardown)
{
	struct stored_result seen;
	store->locks_used = 1;
	atomic_store(&store->locks[0].fence, 5);
	store->intent = (struct stored_intent){
		.op = MANAGER_UNLOCK, .token = TOKEN, .sequence = 1, .before = 5
	};
	atomic_store(&store->intent.under_way, 1);
	cr_assert(store_recover(store, table));
	cr_assert_eq(store_seen(session, 1, &seen), 0);
	cr_assert_eq(seen.status, MANAGER_OK);
	cr_assert_eq(atomic_load(&store->locks[0].fence), 0);
	/* Granted anew since: that grant is not the one. */
	atomic_store(&store->locks[0].fence, 6);
	atomic_store(&store->intent.under_way, 1);
	cr_assert(store_recover(store, table));
	cr_assert_eq(atomic_load(&store->locks[0].fence), 6);
}

Test(manager_store, an_intent_of_a_session_that_is_gone_is_dropped, .init = setup, .fini = teardown)
{
	store_end_session(store, 0);
	store->intent = (struct stored_intent){
		.op = MANAGER_ADD, .token = TOKEN, .sequence = 1, .slot = 4000000000u
	};
	atomic_store(&store->intent.under_way, 1);
	cr_assert(store_recover(store, table));
	cr_assert_eq(value(), 0);
}

Test(manager_store, sessions_are_bounded_and_their_places_used_again, .init = setup,
     .fini = teardown)
{
	unsigned i;
	for (unsigned n = 1; n < SESSIONS_MAX; n++)
		cr_assert_eq(store_new_session(store, 1000 + n, 1, 0, 0, &i), 0);
	cr_assert_eq(store_new_session(store, 5, 1, 0, 0, &i), -ENOSPC);
	cr_assert_eq(store_find(store, 1007, &i), 0);
	store_end_session(store, i);
	cr_assert_eq(store_new_session(store, 5, 1, 0, 30, &i), 0);
	cr_assert_eq(atomic_load(&store->sessions[i].last), 30);
}
