/* event.c - see event.h */
#include "shm/event.h"

#include <errno.h>
#include <string.h>

#define EVENT_MAGIC 0x746e7665u /* "evnt" */

void
event_init(struct event *e)
{
	memset(e, 0, sizeof(*e));
	e->magic = EVENT_MAGIC;
}

int
event_attach(const struct event *e)
{
	return e->magic == EVENT_MAGIC ? 0 : -EINVAL;
}

void
event_set(struct event *e)
{
	uint64_t word = atomic_load(&e->word);

	do
		if (word & 1)
			return;
	while (!atomic_compare_exchange_weak(&e->word, &word, (word + 2) | 1));
	sleepers_wake(&e->sleepers, INT_MAX);
}

void
event_clear(struct event *e)
{
	atomic_fetch_and(&e->word, ~UINT64_C(1));
}

static bool
has_happened(const struct event *e, uint64_t began)
{
	uint64_t word = atomic_load(&e->word);

	return (word & 1) || word >> 1 != began >> 1;
}

int
event_wait(struct event *e, int timeout_ms)
{
	uint64_t began = atomic_load(&e->word);
	struct patience patience = patience_begin(timeout_ms);

	if (began & 1)
		return 0;
	while (patience_looks(&patience))
		if (has_happened(e, began))
			return 0;
	for (;;) {
		uint32_t turn = sleepers_arm(&e->sleepers);
		if (has_happened(e, began))
			return 0;
		int r = sleepers_wait(&e->sleepers, turn, &patience);
		if (r < 0)
			return has_happened(e, began) ? 0 : r;
	}
}
