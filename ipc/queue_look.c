/*
 * queue_look.c - a queue's state from a descriptor, read and never mapped: whoever may write to
 * a named queue may cut its file short, and a map of it would then be SIGBUS.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/queue_shared.h"

#define SLOTS_READ 65536u /* beyond, messages that a dead consumer gave back are not counted */

/* Read `bytes` at `offset` of the file to the same place of the copy.  0 or -errno. */
static int
copy(int fd, unsigned char *memory, size_t offset, size_t bytes)
{
	ssize_t n = pread(fd, memory + offset, bytes, (off_t)offset);

	return n < 0 ? -errno : (size_t)n != bytes ? -EPROTO : 0;
}

/* The slots' words: only messages given back are to be found there. */
static int
copy_words(int fd, unsigned char *memory, const struct queue *view)
{
	int r = 0;

	if (!atomic_load(&view->shared->any_returned) || view->capacity > SLOTS_READ)
		return 0;
	for (uint64_t i = 0; r == 0 && i < view->capacity; i++) {
		const unsigned char *slot = (const unsigned char *)slot_of_index(view, i);
		r = copy(fd, memory, (size_t)(slot - memory), sizeof(struct queue_slot));
	}
	return r;
}

/* The head, the members and what else is needed, to where they would be mapped. */
static int
look(int fd, unsigned char *memory, size_t bytes, struct queue_stat *ret)
{
	size_t most = sizeof(struct queue_shared) + QUEUE_MEMBERS_MAX * sizeof(struct queue_place);
	struct queue_options o;
	struct queue view;

	int r = copy(fd, memory, 0, bytes < most ? bytes : most);
	if (r == 0)
		r = queue_check(memory, bytes, &o);
	if (r < 0)
		return r;
	queue_view(&view, memory, &o);
	r = copy_words(fd, memory, &view);
	return r < 0 ? r : queue_stat_memory(memory, bytes, ret);
}

int
queue_look(int fd, struct queue_stat *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		return -EPROTO;
	/* Pages that are not written to are none. */
	size_t bytes = (size_t)st.st_size;
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	int r = look(fd, memory, bytes, ret);
	munmap(memory, bytes);
	return r;
}
