/* array.c - creation, attachment, the end; see array.h and array_meta.h */
#include "shm/array.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shm/array_meta.h"
#include "shm/owner.h"

static struct array *
view_new(const char *name)
{
	struct array *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	strcpy(a->name, name);
	a->data_fd = a->meta_fd = -1;
	return a;
}

/* What a view has of its own; names and holders stay as they are. */
static struct array *
view_free(struct array *a)
{
	if (a == NULL)
		return NULL;
	named_unmap(a->data, a->mapped_bytes);
	named_unmap(a->meta, a->meta != NULL ? sizeof(*a->meta) : 0);
	if (a->data_fd >= 0)
		close(a->data_fd);
	if (a->meta_fd >= 0)
		close(a->meta_fd);
	free(a);
	return NULL;
}

static void
view_describe(struct array *a, const struct array_stat *known)
{
	a->type = known->type;
	a->shape = known->shape;
	a->count = known->count;
	a->bytes = known->bytes;
	a->weak = known->weak;
}

/* A segment of Python's may be longer than its shape takes; all of it is mapped. */
static int
view_map(struct array *a, unsigned flags)
{
	struct stat st;
	void *base;

	if (fstat(a->data_fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < a->bytes)
		return -ERANGE;
	a->writable = (flags & ARRAY_READ_ONLY) == 0;
	int r = named_map(a->data_fd, a->writable, (flags & ARRAY_POPULATE) != 0, &base,
			  &a->mapped_bytes);
	if (r < 0)
		return r;
	a->data = base;
	return a->mapped_bytes < a->bytes ? -ERANGE : 0; /* shrunk just now */
}

/* Under the lock.  Slots of the dead are taken only when there is no free one: finding out
 * who is dead takes a look at /proc each. */
static int
take_slot(struct array *a)
{
	uint64_t self = owner_self();

	for (int dead_too = 0; dead_too < 2; dead_too++) {
		for (unsigned i = 0; i < ARRAY_HOLDERS_MAX; i++) {
			uint64_t word = atomic_load(&a->meta->holders[i]);
			if (word != OWNER_NOBODY && (!dead_too || owner_alive(word)))
				continue;
			atomic_store(&a->meta->holders[i], self);
			atomic_fetch_or(&a->meta->flags, ARRAY_META_HELD);
			a->slot = i;
			a->owner = self;
			a->counted = true;
			return 0;
		}
	}
	return -EUSERS;
}

/* ---- creation ---- */

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
meta_fill(struct array_meta *meta, const struct array *a, const struct stat *data, uint32_t flags)
{
	meta->head = (struct named_head){
		.magic = ARRAY_MAGIC,
		.version = ARRAY_VERSION,
		.bytes = sizeof(*meta),
		.creator = owner_self(),
		.created_ns = now_ns(),
	};
	meta->data_device = data->st_dev;
	meta->data_inode = data->st_ino;
	meta->data_bytes = a->bytes;
	meta->type = a->type;
	meta->dimensions = a->shape.dimensions;
	memcpy(meta->length, a->shape.length, sizeof(meta->length));
	atomic_store(&meta->flags, flags);
}

/* The file beside, nameless yet, locked and filled: its name makes it visible at once. */
static int
meta_begin(struct array *a, unsigned flags, uint32_t meta_flags)
{
	struct stat data;
	void *base = NULL;
	size_t bytes;

	if (fstat(a->data_fd, &data) < 0)
		return -errno;
	mode_t mode = data.st_mode & 0777;
	int r = named_begin(sizeof(*a->meta), mode | 0600, &a->meta_fd);
	if (r == 0 && (fchmod(a->meta_fd, mode | 0600) < 0 ||
		       (data.st_gid != getegid() &&
			fchown(a->meta_fd, (uid_t)-1, data.st_gid) < 0 && errno != EPERM)))
		r = -errno;
	if (r == 0)
		r = named_map(a->meta_fd, true, false, &base, &bytes);
	if (r != 0)
		return r;
	a->meta = base;
	a->weak = (flags & ARRAY_WEAK) != 0;
	meta_fill(a->meta, a, &data, meta_flags | (a->weak ? ARRAY_META_WEAK : 0));
	if ((flags & ARRAY_LOOK) == 0)
		r = take_slot(a);
	return r < 0 ? r : array_beside_lock(a->meta_fd, true);
}

/* What was left or cut off under that name goes.  -EEXIST: there is an array. */
static int
clear_orphan(const char *name)
{
	struct array_beside old;

	int r = array_beside_open(name, true, &old);
	if (r < 0)
		return r == -ENOENT ? 0 : r == -EBUSY ? r : -EEXIST;
	unsigned living = array_meta_holders(old.meta, NULL, NULL);
	if (!array_meta_is_orphan(array_meta_state(&old, living), living) ||
	    array_beside_remove(&old) < 0)
		r = -EEXIST;
	array_beside_close(&old);
	return r;
}

/* With the file beside published and locked. */
static int
publish_data(const struct array *a)
{
	char memory[NAMED_FILE_MAX];

	array_file_memory(a->name, memory);
	int r = named_publish(a->data_fd, memory);
	if (r == -EEXIST) { /* nobody's: what it belonged to would have its name beside */
		r = named_unlink(memory);
		if (r == 0 || r == -ENOENT)
			r = named_publish(a->data_fd, memory);
	}
	return r < 0 ? r : named_publish(a->data_fd, a->name);
}

/* Undo in the order of a removal: the file beside goes last. */
static void
unpublish(const struct array *a)
{
	char memory[NAMED_FILE_MAX], beside[NAMED_FILE_MAX];

	array_file_memory(a->name, memory);
	array_file_beside(a->name, beside);
	(void)array_data_unlink(a->meta, memory);
	(void)named_unlink(beside);
}

static int
publish(struct array *a, bool adopted)
{
	char beside[NAMED_FILE_MAX];

	array_file_beside(a->name, beside);
	int r = named_publish(a->meta_fd, beside);
	if (r < 0)
		return r;
	if (!adopted)
		r = publish_data(a);
	if (r == 0)
		atomic_store(&a->meta->state, ARRAY_META_LIVE);
	else
		unpublish(a);
	return r;
}

/* The end of creation, adoption and attachment: the view is the caller's, or freed. */
static int
finish(struct array *a, int r, struct array **ret)
{
	if (a->meta_fd >= 0)
		array_beside_unlock(a->meta_fd);
	if (r < 0)
		view_free(a);
	else
		*ret = a;
	return r;
}

/* A view that will be of `type` and `shape`, and the name free for it. */
static int
begin(const char *name, enum array_type type, const struct array_shape *shape, struct array **ret)
{
	struct array_stat wanted = { .type = type, .shape = *shape };

	if (!named_is_valid(name))
		return -EINVAL;
	int r = array_shape_size(shape, type, &wanted.count, &wanted.bytes);
	if (r == 0)
		r = clear_orphan(name);
	if (r < 0)
		return r;
	struct array *a = view_new(name);
	if (a == NULL)
		return -ENOMEM;
	view_describe(a, &wanted);
	*ret = a;
	return 0;
}

int
array_create(const char *name, enum array_type type, const struct array_shape *shape,
	     unsigned flags, mode_t mode, struct array **ret)
{
	struct array *a;

	int r = begin(name, type, shape, &a);
	if (r < 0)
		return r;
	mode = mode == 0 ? 0600 : mode & 0777;
	/* Look before gigabytes are allocated in vain; what counts is the link in publish(). */
	r = named_open(name, false, &a->data_fd) == -ENOENT ? 0 : -EEXIST;
	if (r == 0)
		r = named_begin(a->bytes, mode, &a->data_fd);
	if (r == 0 && fchmod(a->data_fd, mode) < 0)
		r = -errno;
	if (r == 0)
		r = view_map(a, flags & ~ARRAY_READ_ONLY);
	if (r == 0)
		r = meta_begin(a, flags, 0);
	if (r == 0)
		r = publish(a, false);
	return finish(a, r, ret);
}

int
array_adopt(const char *name, enum array_type type, const struct array_shape *shape, unsigned flags,
	    struct array **ret)
{
	struct array *a;

	int r = begin(name, type, shape, &a);
	if (r < 0)
		return r;
	r = named_open(name, true, &a->data_fd);
	if (r == 0)
		r = view_map(a, flags & ~(ARRAY_READ_ONLY | ARRAY_POPULATE));
	/* Python's segments are sparse: what is not allocated is SIGBUS when /dev/shm is full. */
	if (r == 0)
		r = -posix_fallocate(a->data_fd, 0, (off_t)a->bytes);
	if (r == 0)
		r = meta_begin(a, flags, ARRAY_META_ADOPTED);
	if (r == 0)
		r = publish(a, true);
	return finish(a, r, ret);
}

/* ---- attachment ---- */

/* With the lock held.  -ENOENT when what was there can be no more, -ESTALE when its name
 * means something else. */
static int
check_state(struct array_beside *b)
{
	bool weak = (atomic_load(&b->meta->flags) & ARRAY_META_WEAK) != 0;
	/* Only weak ones depend on them, and each costs a look at /proc. */
	unsigned living = weak ? array_meta_holders(b->meta, NULL, NULL) : 1;
	enum array_state state = array_meta_state(b, living);

	if (state == ARRAY_WHOLE)
		return 0;
	if (state == ARRAY_NAME_GONE || state == ARRAY_REPLACED)
		return -ESTALE;
	(void)array_beside_remove(b);
	return -ENOENT;
}

/* Open the data, and be sure that it is the data meant: its name may change hands. */
static int
open_data(struct array *a, unsigned flags)
{
	struct stat st;

	int r = named_open(a->name, (flags & ARRAY_READ_ONLY) == 0, &a->data_fd);
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	if (fstat(a->data_fd, &st) < 0)
		return -errno;
	return st.st_dev == a->meta->data_device && st.st_ino == a->meta->data_inode ? 0 : -ESTALE;
}

/* The file beside stays locked until finish(). */
static int
take_beside(struct array *a)
{
	struct array_beside b;
	struct array_stat known;

	int r = array_beside_open(a->name, true, &b);
	if (r < 0)
		return r;
	r = array_meta_read(b.meta, &known);
	if (r == 0)
		r = check_state(&b);
	if (r < 0) {
		array_beside_close(&b);
		return r;
	}
	view_describe(a, &known);
	a->meta = b.meta;
	a->meta_fd = b.fd;
	a->meta_writable = b.writable;
	return 0;
}

int
array_attach(const char *name, unsigned flags, struct array **ret)
{
	if (!named_is_valid(name))
		return -EINVAL;
	struct array *a = view_new(name);
	if (a == NULL)
		return -ENOMEM;
	int r = take_beside(a);
	if (r == 0)
		r = open_data(a, flags);
	if (r == 0)
		r = view_map(a, flags);
	if (r == 0 && a->meta_writable && (flags & ARRAY_LOOK) == 0)
		r = take_slot(a);
	return finish(a, r, ret);
}

bool
array_is_current(const struct array *a)
{
	char beside[NAMED_FILE_MAX];

	array_file_beside(a->name, beside);
	return named_is_same(a->name, a->data_fd) && named_is_same(beside, a->meta_fd);
}

/* ---- the end ---- */

/* Give the slot back; the last holder of a weak array takes the names along.  When the lock
 * cannot be had, the slot is given back all the same, and whoever looks next does the rest.
 *
 * The lock is taken on an opening of its own: that of meta_fd is shared with children forked
 * since, and would stay locked as long as one of them lives. */
static void
let_go(struct array *a)
{
	struct array_beside b = { .fd = -1, .writable = true, .meta = a->meta };
	char beside[NAMED_FILE_MAX];

	strcpy(b.name, a->name);
	array_file_beside(a->name, beside);
	int r = named_open_again(a->meta_fd, &b.fd);
	if (r == 0)
		r = array_beside_lock(b.fd, true);
	atomic_store(&a->meta->holders[a->slot], OWNER_NOBODY);
	if (r == 0 && a->weak && array_meta_holders(a->meta, NULL, NULL) == 0 &&
	    named_is_same(beside, b.fd))
		(void)array_beside_remove(&b);
	if (b.fd >= 0)
		close(b.fd);
}

struct array *
array_close(struct array *a)
{
	/* A forked child has its parent's view: the slot is not its own to give back. */
	if (a != NULL && a->counted && a->owner == owner_self())
		let_go(a);
	return view_free(a);
}

int
array_unlink(const char *name)
{
	struct array_beside b;

	int r = array_beside_open(name, true, &b);
	if (r < 0)
		return r;
	r = array_beside_remove(&b);
	array_beside_close(&b);
	return r;
}
