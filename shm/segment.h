/*
 * segment.h - anonymous shared memory: a sealed memfd, passed by descriptor.
 *
 * A segment has no name, so nothing can leak by name and it lives exactly as
 * long as somebody holds its descriptor or a mapping.  Its pages are allocated
 * at birth (posix_fallocate): a full /dev/shm is an error here and never a
 * SIGBUS later.  It is sealed against growing and shrinking: whoever maps it
 * may trust its size, whatever the other side does.
 *
 * Sizes are in bytes and rounded up to whole pages.  Functions return 0 or a
 * negative errno and leave *ret alone on failure; nothing here logs.
 */
#ifndef PYPREP_SHM_SEGMENT_H
#define PYPREP_SHM_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

/* Create a zeroed segment; `label` shows in /proc/PID/maps as memfd:label.
 * The caller owns *ret_fd (close-on-exec).  -ENOSPC: no room in shared memory. */
int segment_create(const char *label, size_t size, int *ret_fd);

/* Map the whole of `fd` read-write.  -EINVAL when it is smaller than `size` or not
 * sealed.  The caller ends the mapping with segment_unmap(); the descriptor is
 * not needed any more for it. */
int segment_map(int fd, size_t size, void **ret);

void segment_unmap(void *base, size_t size); /* NULL is fine */

/* The number that /proc/PID/maps and /proc/PID/fd show for it; 0 when `fd` is none. */
uint64_t segment_inode(int fd);

size_t segment_round(size_t size); /* up to whole pages */

#endif
