/*
 * named.h - shared memory that other programs find by name: a file in /dev/shm.
 *
 * A name appears whole or not at all: the memory is made nameless (O_TMPFILE), its pages
 * are allocated (a full /dev/shm is -ENOSPC here and never SIGBUS later), the caller fills
 * it, and named_publish() gives it the name.  Who is killed before that leaves nothing.
 *
 * What pyprep knows about its objects lies in files whose names begin with "pyprep.":
 *
 *   pyprep.queue.NAME    a queue (ipc/queue.h)
 *   pyprep.array.NAME    what is known of array NAME; its data is /dev/shm/NAME, from
 *                        byte 0, as Python's SharedMemory(name="NAME") expects it
 *
 * Every such file begins with a struct named_head.  Named memory cannot be sealed: whoever
 * may write to it may also shrink it, and then touching it is SIGBUS.  So supervisor, broker
 * and manager never map one; a worker may, and a death there is charged to its job.
 *
 * Functions return 0 or a negative errno; nothing here logs.
 */
#ifndef PYPREP_SHM_NAMED_H
#define PYPREP_SHM_NAMED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NAMED_DIRECTORY "/dev/shm"
#define NAMED_PREFIX    "pyprep."
#define NAMED_MAX       128 /* longest NAME, without its end */
#define NAMED_FILE_MAX  (NAMED_MAX + 32)

struct named_head {
	uint32_t magic; /* the object's own */
	uint32_t version;
	uint64_t bytes;      /* of this file, as made */
	uint64_t creator;    /* owner.h */
	uint64_t created_ns; /* CLOCK_REALTIME */
};

/* Is `name` one a user may choose: 1 to NAMED_MAX of letters, digits and . _ - , not
 * beginning with a dot, a dash or NAMED_PREFIX? */
bool named_is_valid(const char *name);

/* Nameless memory of `bytes` zeroes.  The caller owns *ret_fd (close-on-exec). */
int named_begin(size_t bytes, mode_t mode, int *ret_fd);

/* Give it its name.  -EEXIST: taken. */
int named_publish(int fd, const char *file);

/* Open the file of that name.  -ENOENT: there is none.  -EACCES: not allowed. */
int named_open(const char *file, bool writable, int *ret_fd);

/* Open the file of `fd` again, for writing: an opening of its own, not shared with forked
 * children, for a lock (flock). */
int named_open_again(int fd, int *ret_fd);

/* Map all of `fd`; *ret_bytes is its size now.  `populate`: fault the pages in at once. */
int named_map(int fd, bool writable, bool populate, void **ret, size_t *ret_bytes);
void named_unmap(void *base, size_t bytes); /* NULL is fine */

/* Are all its pages there?  They are in what named_begin() made; a file of another's may promise
 * memory that touching it would have to find. */
bool named_is_allocated(int fd);

/* Remove the name; the memory lives on with those who have mapped it.  -ENOENT. */
int named_unlink(const char *file);

/* Does `file` still name the very memory that `fd` is open on? */
bool named_is_same(const char *file, int fd);

/* Call `each` with every file in /dev/shm whose name begins with `prefix`, until it returns
 * non-zero, which is returned.  0 at the end. */
int named_each(const char *prefix, int (*each)(void *context, const char *file), void *context);

#endif
