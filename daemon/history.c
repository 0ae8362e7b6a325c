/* history.c - see history.h */
#include "daemon/history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/cleanup.h"

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

static int
open_file(const char *state_dir, const char **why)
{
	char path[4096];

	int r = path_make_dir(state_dir, 0700);
	if (r < 0) {
		*why = "the state directory cannot be made";
		return r;
	}
	if (snprintf(path, sizeof(path), "%s/history", state_dir) >= (int)sizeof(path)) {
		*why = "the state directory's name is too long";
		return -ENAMETOOLONG;
	}
	scoped_fd fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		*why = "the history file cannot be opened";
		return -errno;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		*why = "another daemon writes this history";
		return -errno;
	}
	/* Real blocks, so that a full disk is an error here and not a SIGBUS later. */
	r = posix_fallocate(fd, 0, sizeof(struct history_file));
	if (r != 0) {
		*why = "no room on the disk for the history";
		return -r;
	}
	return take_fd(&fd);
}

int
history_open(struct history *h, const char *state_dir, const char **why)
{
	int fd = open_file(state_dir, why);
	int error = fd < 0 ? fd : 0;
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *base = mmap(NULL, sizeof(struct history_file), PROT_READ | PROT_WRITE, flags, fd, 0);

	if (base == MAP_FAILED) {
		*why = "the history cannot be mapped";
		error = -errno;
		if (fd >= 0)
			close(fd);
		*h = (struct history){ .fd = -1 };
		return error;
	}
	*h = (struct history){ .file = base, .fd = fd < 0 ? -1 : fd };
	if (h->file->magic != HISTORY_MAGIC || h->file->places != HISTORY_PLACES ||
	    h->file->entry_size != sizeof(struct history_entry))
		format(h->file);
	return error;
}

void
history_close(struct history *h)
{
	if (h->file != NULL)
		munmap(h->file, sizeof(*h->file));
	if (h->fd >= 0)
		close(h->fd);
	*h = (struct history){ .fd = -1 };
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
