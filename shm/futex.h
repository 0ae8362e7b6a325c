/*
 * futex.h - sleep on a word of shared memory until somebody changes it and wakes.
 *
 * For processes that share nothing but memory (named objects, libpyprep's users): no
 * descriptor has to travel.  Among our own processes, which wait in event loops, the bell is
 * an eventfd (ipc/wake.h).
 *
 * A waker may be killed between its change and its wake.  So nobody sleeps for ever here:
 * callers wait in slices of FUTEX_SLICE_NS and look again, which costs a sleeper ten looks a
 * second and makes the death of a waker a delay of at most one slice, never a hang.
 */
#ifndef PYPREP_SHM_FUTEX_H
#define PYPREP_SHM_FUTEX_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FUTEX_SLICE_NS 100000000ull

/* CLOCK_MONOTONIC: what slices and deadlines are counted by. */
static inline uint64_t
futex_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Sleep while *word == seen, at most `ns`.  0 when woken or when it differs; -ETIMEDOUT;
 * -EINTR. */
static inline int
futex_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000u),
			      .tv_nsec = (long)(ns % 1000000000u) };

	if (syscall(SYS_futex, word, FUTEX_WAIT, seen, &t, NULL, 0) == 0 || errno == EAGAIN)
		return 0;
	return -errno;
}

/* Wake at most `count` sleepers (INT_MAX: all).  Returns how many slept. */
static inline int
futex_wake(_Atomic uint32_t *word, int count)
{
	return (int)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

#endif
