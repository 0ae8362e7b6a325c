/*
 * array.h - typed, shaped arrays in shared memory that processes find by name.
 *
 * The data is the file /dev/shm/NAME, from its first byte on and nothing else, so that
 * Python's multiprocessing.shared_memory.SharedMemory(name="NAME") and numpy attach to it
 * without a copy and without knowing us.  What we know of it (type, shape, creator, holders,
 * weak or not) lies beside it in /dev/shm/pyprep.array.NAME (array_meta.h).  An array that
 * pyprep made has a second link, /dev/shm/pyprep.memory.NAME: who removes NAME behind our
 * back (Python's resource tracker does) takes the name and not the memory, and
 * array_restore() gives it back.
 *
 * Holders.  Who attaches is written down (owner.h) until array_close(), and whoever looks
 * can tell the living from the dead.  A strong array stays until array_unlink(), holders or
 * not; a weak one goes with its last holder, also when that one was killed: then whoever
 * looks next collects it.  A weak array nobody has held yet stays.  Not counted: who
 * attaches with ARRAY_LOOK, who may only read the file beside it (another user, by mode),
 * Python, and a forked child (it has its parent's view; to count, it attaches itself).
 *
 * The memory of an array lives as long as anybody has it mapped, whatever becomes of names.
 *
 * Death.  Any process may be killed at any instruction.  Creation, attachment, closing and
 * removal happen under a lock of the kernel (flock on the file beside) that ends with its
 * holder; what was half done is finished or undone by whoever comes next.  Who is stopped
 * (not dead) in there makes others wait two seconds and get -EBUSY.
 *
 * SIGBUS.  Pages are allocated at creation and adoption: a full /dev/shm is -ENOSPC.  But
 * whoever may write to the file may shrink it, and then touching what is gone is SIGBUS: no
 * process of pyprepd but a worker maps an array.
 *
 * Nothing here orders the accesses of several processes to one element: that is a lock's
 * work (lock.h).  Functions return 0 or a negative errno and leave *ret alone on failure.
 * Common to all that take a name: -EINVAL it is none (named_is_valid()), -EACCES not
 * allowed, -EBUSY see above.
 */
#ifndef PYPREP_SHM_ARRAY_H
#define PYPREP_SHM_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "shm/array_type.h"
#include "shm/named.h"

#define ARRAY_HOLDERS_MAX 478

/* One process's view of an array.  To be read, not written, but for what `data` points to. */
struct array {
	char name[NAMED_MAX + 1];
	enum array_type type;
	struct array_shape shape;
	uint64_t count; /* elements */
	uint64_t bytes;
	void *data;
	bool writable;
	bool weak;
	bool counted; /* is this view one of the holders? */
	/* array.c's own */
	struct array_meta *meta;
	int data_fd, meta_fd;
	bool meta_writable;
	size_t mapped_bytes;
	unsigned slot;
	uint64_t owner;
};

#define ARRAY_WEAK      1u /* create, adopt: the name goes with the last holder */
#define ARRAY_READ_ONLY 2u /* attach: map for reading only */
#define ARRAY_POPULATE  4u /* fault all pages in at once: 4 times cheaper than one by one */
#define ARRAY_LOOK      8u /* do not count me as a holder */

/* Make an array of zeroes.  `mode` as for open(), not cut by the umask; 0: 0600.  The caller
 * owns *ret and ends it with array_close().
 * -EEXIST: NAME is taken, by an array or by another's segment.  -EINVAL: name, type or
 * shape.  -EFBIG, -ENOSPC: /dev/shm cannot hold it. */
int array_create(const char *name, enum array_type type, const struct array_shape *shape,
		 unsigned flags, mode_t mode, struct array **ret);

/* Make /dev/shm/NAME, which another program (Python) made, an array: writes type and shape
 * beside it, and allocates what pages it lacks.  The caller owns *ret.
 * -ENOENT: there is no such segment.  -EEXIST: it is an array already.  -ERANGE: it has fewer
 * bytes than that shape takes.  -ENOSPC. */
int array_adopt(const char *name, enum array_type type, const struct array_shape *shape,
		unsigned flags, struct array **ret);

/* Attach to an array.  The caller owns *ret.
 * -ENOENT: there is none.  -ESTALE: pyprep knows one, but /dev/shm/NAME is gone or is another
 * file now (array_stat() tells which).  -EPROTO: what lies beside it makes no sense.
 * -EUSERS: ARRAY_HOLDERS_MAX hold it.  -EACCES. */
int array_attach(const char *name, unsigned flags, struct array **ret);

/* Let go.  The last holder of a weak array takes its name along.  NULL in, NULL out. */
struct array *array_close(struct array *a);

/* Does NAME still mean the memory that `a` is a view of? */
bool array_is_current(const struct array *a);

/* Remove the names; who is attached keeps the memory.  -ENOENT; -EPERM: another's. */
int array_unlink(const char *name);

/* ---- looking: array_look.c ---- */

enum array_state {
	ARRAY_WHOLE,
	ARRAY_NAME_GONE, /* /dev/shm/NAME was removed, not by us */
	ARRAY_REPLACED,  /* /dev/shm/NAME is another file now */
	ARRAY_CUT_OFF,   /* its creation or its removal was */
	ARRAY_LEFT,      /* weak, and all who held it are dead */
};
const char *array_state_text(enum array_state state); /* "whole", "name gone", ... */

struct array_stat {
	char name[NAMED_MAX + 1];
	enum array_type type;
	struct array_shape shape;
	uint64_t count, bytes;
	enum array_state state;
	bool weak, adopted;
	bool restorable;     /* its name is gone, its memory is not */
	uint64_t creator;    /* owner.h */
	uint64_t created_ns; /* CLOCK_REALTIME */
	uint64_t inode;      /* of the data */
	uid_t uid;
	mode_t mode;
	unsigned living, dead;               /* holders */
	uint64_t holders[ARRAY_HOLDERS_MAX]; /* the living ones */
};

/* What is known of NAME.  Maps nothing, changes nothing, and waits only for what is just being
 * made or removed.  -ENOENT, -EPROTO, -EACCES. */
int array_stat(const char *name, struct array_stat *ret);

/* The same from a descriptor of the file beside NAME, read and never mapped: whoever may write
 * to that file may cut it.  Takes no lock, so what is being made or removed right now may look
 * cut off; array_is_busy() tells. */
int array_look(int fd, const char *name, struct array_stat *ret);

/* Is somebody making, changing or removing the array of that file? */
bool array_is_busy(int fd);

/* Is one in that state, with so many living holders, nobody's any more? */
bool array_is_orphan(const struct array_stat *stat);

/* Call `each` with every array one may read, in no order, until it returns non-zero, which
 * is returned. */
int array_each(int (*each)(void *context, const struct array_stat *stat), void *context);

struct array_collected {
	unsigned arrays;  /* removed: cut off, left by the dead, or without a name and a holder */
	unsigned holders; /* dead ones struck from arrays that stay */
	unsigned kept;    /* would be removed, but are another user's, or busy */
	uint64_t bytes;
};

/* Remove what nobody can use any more.  A strong array with its name is never removed. */
int array_collect(struct array_collected *ret);

/* The same for one array. */
int array_collect_one(const char *name, struct array_collected *ret);

/* NAME was removed behind our back: make it again, for the same memory.  -ENOENT: no such
 * array.  -EALREADY: its name is there.  -EEXIST: it is another file's now.  -ENODATA: it was
 * adopted, so the memory had one name only. */
int array_restore(const char *name);

#endif
