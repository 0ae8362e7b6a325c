/* history.c - see history.h */
#include "daemon/history.h"

#include <string.h>

#define HISTORY_MAGIC 0x3254534948505950ull /* "PYPHIST2" */

struct history_file {
	uint64_t magic;
	uint32_t entry_size;
	uint32_t places;
	uint64_t added; /* entries ever */
	uint64_t saved; /* of them in the store */
	struct history_entry entries[HISTORY_PLACES];
};

static void
format(struct history_file *f)
{
	memset(f, 0, sizeof(*f));
	f->entry_size = sizeof(struct history_entry);
	f->places = HISTORY_PLACES;
	f->magic = HISTORY_MAGIC;
}

int
history_open(struct history *h, const char *state_dir, const char **why)
{
	int r = state_file_open(&h->mapped, state_dir, "history", sizeof(struct history_file), why);

	h->file = h->mapped.base;
	if (h->file != NULL &&
	    (h->file->magic != HISTORY_MAGIC || h->file->places != HISTORY_PLACES ||
	     h->file->entry_size != sizeof(struct history_entry)))
		format(h->file);
	return r;
}

void
history_close(struct history *h)
{
	state_file_close(&h->mapped);
	h->file = NULL;
}

struct history_entry *
history_add(struct history *h)
{
	if (h->file == NULL)
		return NULL;
	return &h->file->entries[h->file->added++ % HISTORY_PLACES];
}

uint64_t
history_added(const struct history *h)
{
	return h->file != NULL ? h->file->added : 0;
}

uint64_t
history_saved(const struct history *h)
{
	return h->file != NULL ? h->file->saved : 0;
}

void
history_set_saved(struct history *h, uint64_t saved)
{
	if (h->file != NULL)
		h->file->saved = saved;
}

const struct history_entry *
history_newest(const struct history *h, uint64_t back)
{
	if (h->file == NULL || back >= h->file->added || back >= HISTORY_PLACES)
		return NULL;
	return &h->file->entries[(h->file->added - 1 - back) % HISTORY_PLACES];
}

const struct history_entry *
history_find(const struct history *h, uint64_t id)
{
	const struct history_entry *e;

	for (uint64_t back = 0; (e = history_newest(h, back)) != NULL; back++)
		if (e->receipt.id == id)
			return e;
	return NULL;
}

void
history_forget(struct history *h, uint64_t id)
{
	for (uint64_t i = 0; h->file != NULL && i < HISTORY_PLACES; i++)
		if (h->file->entries[i].receipt.id == id)
			h->file->entries[i].receipt.id = 0;
}

uint64_t
history_last_id(const struct history *h)
{
	const struct history_entry *e;
	uint64_t last = 0;

	for (uint64_t back = 0; (e = history_newest(h, back)) != NULL; back++)
		if (e->receipt.id > last)
			last = e->receipt.id;
	return last;
}

uint64_t
history_count(const struct history *h)
{
	if (h->file == NULL)
		return 0;
	return h->file->added < HISTORY_PLACES ? h->file->added : HISTORY_PLACES;
}
