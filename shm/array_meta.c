/* array_meta.c - see array_meta.h */
#include "shm/array_meta.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shm/owner.h"

#define LOCK_TRIES    2000 /* of a millisecond: two seconds */
#define LOCK_PAUSE_NS 1000000

void
array_file_beside(const char *name, char ret[NAMED_FILE_MAX])
{
	snprintf(ret, NAMED_FILE_MAX, ARRAY_PREFIX "%s", name);
}

void
array_file_memory(const char *name, char ret[NAMED_FILE_MAX])
{
	snprintf(ret, NAMED_FILE_MAX, ARRAY_MEMORY_PREFIX "%s", name);
}

/* ---- the lock ---- */

/* The kernel lets go of it when its holder dies.  One that is stopped holds on: so nobody
 * waits for ever. */
int
array_beside_lock(int fd, bool wait)
{
	struct timespec pause = { .tv_nsec = LOCK_PAUSE_NS };

	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (!wait || i == LOCK_TRIES)
			return -EBUSY;
		nanosleep(&pause, NULL);
	}
	return 0;
}

void
array_beside_unlock(int fd)
{
	(void)flock(fd, LOCK_UN);
}

/* ---- the file ---- */

static int
open_either_way(const char *file, int *ret_fd, bool *ret_writable)
{
	int r = named_open(file, true, ret_fd);

	*ret_writable = r == 0;
	return r == -EACCES ? named_open(file, false, ret_fd) : r;
}

static int
map_beside(struct array_beside *b)
{
	void *base;
	size_t bytes;

	int r = named_map(b->fd, b->writable, false, &base, &bytes);
	if (r < 0)
		return r == -EINVAL ? -EPROTO : r;
	b->meta = base;
	if (bytes != sizeof(*b->meta)) {
		named_unmap(base, bytes);
		b->meta = NULL;
		return -EPROTO;
	}
	return 0;
}

int
array_beside_open(const char *name, bool wait, struct array_beside *ret)
{
	struct array_beside b = { .fd = -1 };
	char file[NAMED_FILE_MAX];

	if (!named_is_valid(name))
		return -EINVAL;
	snprintf(b.name, sizeof(b.name), "%s", name);
	array_file_beside(name, file);
	for (;;) {
		int r = open_either_way(file, &b.fd, &b.writable);
		if (r < 0)
			return r;
		r = array_beside_lock(b.fd, wait);
		/* Removed, and perhaps made again, while we waited: that one it is. */
		if (r == 0 && !named_is_same(file, b.fd)) {
			close(b.fd);
			continue;
		}
		if (r == 0)
			r = map_beside(&b);
		if (r < 0) {
			close(b.fd);
			return r;
		}
		*ret = b;
		return 0;
	}
}

void
array_beside_close(struct array_beside *b)
{
	if (b->meta != NULL)
		named_unmap(b->meta, sizeof(*b->meta));
	if (b->fd >= 0) {
		array_beside_unlock(b->fd);
		close(b->fd);
	}
	b->meta = NULL;
	b->fd = -1;
}

/* ---- what it says ---- */

int
array_meta_read(const struct array_meta *meta, struct array_stat *ret)
{
	struct array_shape shape = { .dimensions = meta->dimensions };
	uint32_t type = meta->type, flags = atomic_load(&meta->flags);
	uint64_t count, bytes;

	if (meta->head.magic != ARRAY_MAGIC || meta->head.version != ARRAY_VERSION ||
	    !array_type_is_valid(type) || shape.dimensions == 0 ||
	    shape.dimensions > ARRAY_DIMENSIONS_MAX)
		return -EPROTO;
	memcpy(shape.length, meta->length, shape.dimensions * sizeof(shape.length[0]));
	if (array_shape_size(&shape, (enum array_type)type, &count, &bytes) < 0)
		return -EPROTO;
	ret->type = (enum array_type)type;
	ret->shape = shape;
	ret->count = count;
	ret->bytes = bytes;
	ret->weak = (flags & ARRAY_META_WEAK) != 0;
	ret->adopted = (flags & ARRAY_META_ADOPTED) != 0;
	ret->creator = meta->head.creator;
	ret->created_ns = meta->head.created_ns;
	ret->inode = meta->data_inode;
	return 0;
}

unsigned
array_meta_holders(const struct array_meta *meta, uint64_t *living, unsigned *ret_dead)
{
	unsigned alive = 0, dead = 0;

	for (unsigned i = 0; i < ARRAY_HOLDERS_MAX; i++) {
		uint64_t word = atomic_load(&meta->holders[i]);
		if (word == OWNER_NOBODY)
			continue;
		if (!owner_alive(word))
			dead++;
		else if (living != NULL)
			living[alive++] = word;
		else
			alive++;
	}
	if (ret_dead != NULL)
		*ret_dead = dead;
	return alive;
}

bool
array_data_is(const struct array_meta *meta, const char *file, bool *ret_exists)
{
	char path[sizeof(NAMED_DIRECTORY) + NAMED_FILE_MAX];
	struct stat st;

	snprintf(path, sizeof(path), NAMED_DIRECTORY "/%s", file);
	*ret_exists = lstat(path, &st) == 0;
	return *ret_exists && st.st_dev == meta->data_device && st.st_ino == meta->data_inode;
}

enum array_state
array_meta_state(const struct array_beside *b, unsigned living)
{
	uint32_t flags = atomic_load(&b->meta->flags);
	bool exists;

	if (atomic_load(&b->meta->state) != ARRAY_META_LIVE)
		return ARRAY_CUT_OFF;
	if ((flags & ARRAY_META_WEAK) && (flags & ARRAY_META_HELD) && living == 0)
		return ARRAY_LEFT;
	if (array_data_is(b->meta, b->name, &exists))
		return ARRAY_WHOLE;
	return exists ? ARRAY_REPLACED : ARRAY_NAME_GONE;
}

bool
array_meta_is_orphan(enum array_state state, unsigned living)
{
	switch (state) {
	case ARRAY_CUT_OFF:
	case ARRAY_LEFT:
		return true;
	case ARRAY_NAME_GONE:
	case ARRAY_REPLACED:
		return living == 0;
	case ARRAY_WHOLE:
		break;
	}
	return false;
}

/* ---- removal ---- */

/* /dev/shm is sticky: a name is its owner's to remove. */
static bool
may_remove(const char *file)
{
	char path[sizeof(NAMED_DIRECTORY) + NAMED_FILE_MAX];
	struct stat st;

	snprintf(path, sizeof(path), NAMED_DIRECTORY "/%s", file);
	return geteuid() == 0 || (lstat(path, &st) == 0 && st.st_uid == geteuid());
}

int
array_data_unlink(const struct array_meta *meta, const char *file)
{
	bool exists;

	return array_data_is(meta, file, &exists) ? named_unlink(file) : 0;
}

/* Root removes for others; a file beside speaks for data of its own user, or root's for all. */
static bool
may_speak_for(const struct array_beside *b, const char *file)
{
	char path[sizeof(NAMED_DIRECTORY) + NAMED_FILE_MAX];
	struct stat beside, data;

	snprintf(path, sizeof(path), NAMED_DIRECTORY "/%s", file);
	return fstat(b->fd, &beside) == 0 && lstat(path, &data) == 0 &&
	       (beside.st_uid == 0 || beside.st_uid == data.st_uid);
}

static int
data_unlink(const struct array_beside *b, const char *file)
{
	return may_speak_for(b, file) ? array_data_unlink(b->meta, file) : 0;
}

int
array_beside_remove(struct array_beside *b)
{
	char beside[NAMED_FILE_MAX], memory[NAMED_FILE_MAX];
	bool exists;

	array_file_beside(b->name, beside);
	array_file_memory(b->name, memory);
	if (!may_remove(beside) ||
	    (array_data_is(b->meta, b->name, &exists) && !may_remove(b->name)))
		return -EPERM;
	if (b->writable)
		atomic_store(&b->meta->state, ARRAY_META_ENDED);
	int r = data_unlink(b, b->name);
	if (r == 0)
		r = data_unlink(b, memory);
	if (r == 0)
		r = named_unlink(beside);
	return r == -ENOENT ? 0 : r;
}
