/*
 * array_meta.h - the file beside an array, /dev/shm/pyprep.array.NAME.  For array*.c only.
 *
 * Written under its lock; `state` and `holders` are read without it.  A user who may write
 * to it may write nonsense: array_meta_read() copies and checks, and sizes are believed no
 * further than the data file goes.
 *
 * Names appear in this order, and go in the other: the file beside, pyprep.memory.NAME (not
 * for adopted ones), NAME.  So whoever is killed half-way leaves the file beside, which says
 * by its state that it was, and which file was meant (device and inode): no file that is not
 * ours is ever removed.
 */
#ifndef PYPREP_SHM_ARRAY_META_H
#define PYPREP_SHM_ARRAY_META_H

#include <stdatomic.h>
#include <stdint.h>

#include "shm/array.h"

#define ARRAY_PREFIX        "pyprep.array."
#define ARRAY_MEMORY_PREFIX "pyprep.memory."
#define ARRAY_MAGIC         0x59415050u /* "PPAY" */
#define ARRAY_VERSION       1u

/* The one value a finished creation has; anything else is cut off. */
#define ARRAY_META_MAKING 0u
#define ARRAY_META_LIVE   1u
#define ARRAY_META_ENDED  2u /* its removal has begun */

#define ARRAY_META_WEAK    1u
#define ARRAY_META_ADOPTED 2u
#define ARRAY_META_HELD    4u /* somebody was a holder once */

struct array_meta {
	struct named_head head;
	uint64_t data_device, data_inode;
	uint64_t data_bytes;
	uint32_t type; /* enum array_type */
	uint32_t dimensions;
	uint64_t length[ARRAY_DIMENSIONS_MAX];
	_Atomic uint32_t state;
	_Atomic uint32_t flags;
	uint64_t reserved[17];
	_Atomic uint64_t holders[ARRAY_HOLDERS_MAX]; /* owner.h; 0: free */
};
_Static_assert(sizeof(struct array_meta) == 4096, "one page");

/* The file beside NAME, open, locked, and mapped. */
struct array_beside {
	char name[NAMED_MAX + 1];
	int fd;
	bool writable;
	struct array_meta *meta;
};

/* Open it and wait for its lock.  -ENOENT, -EACCES, -EPROTO (no file of ours), -EBUSY. */
int array_beside_open(const char *name, bool wait, struct array_beside *ret);
int array_beside_lock(int fd, bool wait);
void array_beside_unlock(int fd);
void array_beside_close(struct array_beside *b); /* and unlock */

void array_file_beside(const char *name, char ret[NAMED_FILE_MAX]);
void array_file_memory(const char *name, char ret[NAMED_FILE_MAX]);

/* Copy and check type, shape and sizes.  -EPROTO. */
int array_meta_read(const struct array_meta *meta, struct array_stat *ret);

/* What became of it?  With the lock held. */
enum array_state array_meta_state(const struct array_beside *b, unsigned living);

/* Count the holders; the living ones go to `living` (may be NULL). */
unsigned array_meta_holders(const struct array_meta *meta, uint64_t *living, unsigned *ret_dead);

/* May nobody use it any more, given its state? */
bool array_meta_is_orphan(enum array_state state, unsigned living);

/* Remove all its names, with the lock held.  -EPERM: another's; nothing was done. */
int array_beside_remove(struct array_beside *b);

/* Remove `file` if it is the data that `meta` means.  0 also when it was not. */
int array_data_unlink(const struct array_meta *meta, const char *file);
bool array_data_is(const struct array_meta *meta, const char *file, bool *ret_exists);

#endif
