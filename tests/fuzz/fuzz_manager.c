/*
 * fuzz_manager.c - bytes of a stranger as a message to the manager, and as one from it.
 *
 * The first byte chooses: even a message of requests, odd one of answers.  What reads well is
 * applied to counters of its own, and written again: it must come out as it went in.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager_store.h"
#include "ipc/manager.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct manager_store *store;
static struct counter_table *table;

/* One request as the manager applies it, without its sessions' processes. */
static void
apply(const struct manager_ask *ask, const char *name)
{
	struct stored_session *session = &store->sessions[0];
	struct stored_result seen;
	struct counter c;
	int64_t value;

	if (!counter_name_is_valid(name) || store_seen(session, ask->sequence, &seen) != 1)
		return;
	if (ask->op == MANAGER_REMOVE)
		(void)store_remove(store, table, session, ask, name);
	else if ((ask->op == MANAGER_ADD || ask->op == MANAGER_SET || ask->op == MANAGER_CAS) &&
		 counter_open(table, name, 0, &c) == 0)
		(void)store_change(store, table, session, ask, &c, &value);
}

static void
fuzz_asks(const uint8_t *data, size_t size)
{
	struct manager_reader reader;
	struct manager_head head;
	struct manager_ask ask;
	struct manager_writer w;
	char name[MANAGER_NAME_MAX + 1];
	const char *why = NULL;
	uint8_t *again;

	if (manager_check_asks(data, size, &why) < 0) {
		if (why == NULL)
			abort(); /* every refusal has a reason */
		return;
	}
	if (manager_read(&reader, data, size, &head) < 0 || (again = malloc(size)) == NULL)
		abort();
	manager_write(&w, again, size, head.token, head.owner);
	while (manager_read_ask(&reader, &ask, name) == 1) {
		apply(&ask, name);
		/* a name with a NUL in it comes out shorter */
		if (manager_write_ask(&w, &ask, name) < 0)
			abort();
	}
	if (w.used > size || w.count != head.count)
		abort();
	free(again);
}

static void
fuzz_answers(const uint8_t *data, size_t size)
{
	struct manager_reader reader;
	struct manager_head head;
	struct manager_answer answer;
	const unsigned char *entries;
	struct manager_entry row;

	if (manager_read(&reader, data, size, &head) < 0)
		return;
	while (manager_read_answer(&reader, &answer, &entries) == 1)
		for (uint32_t i = 0; i < answer.entries; i++)
			memcpy(&row, entries + i * sizeof(row), sizeof(row));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned i;

	if (store == NULL) {
		store = calloc(1, sizeof(*store));
		table = aligned_alloc(64, sizeof(*table));
		if (store == NULL || table == NULL)
			abort();
		memset(table, 0, sizeof(*table));
		store_init(store);
		counter_table_init(table);
		if (store_new_session(store, 1, 1, 0, 0, &i) < 0)
			abort();
	}
	if (size == 0)
		return 0;
	uint8_t *exact = malloc(size); /* so that one byte too far is seen */
	if (exact == NULL)
		return 0;
	memcpy(exact, data + 1, size - 1);
	if (data[0] % 2 == 0)
		fuzz_asks(exact, size - 1);
	else
		fuzz_answers(exact, size - 1);
	free(exact);
	return 0;
}
