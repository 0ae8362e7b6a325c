/*
 * owner.h - who holds a piece of shared memory: one word that names a process for ever.
 *
 * A pid alone is used again; with the time its process started it is not.  The word is
 * pid << 40 | start time in clock ticks since boot (field 22 of /proc/PID/stat), so it
 * fits one atomic: a slot is claimed and signed by the same compare-and-swap, and whoever
 * finds it can tell whether its owner lives.  0 is nobody.
 *
 * A zombie is dead: it will touch nothing any more.  Processes must share one pid namespace
 * and see /proc; in another namespace every owner looks dead or is somebody else.
 */
#ifndef PYPREP_SHM_OWNER_H
#define PYPREP_SHM_OWNER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define OWNER_NOBODY 0u

/* The calling process, also after fork().  Reads /proc once per process, then
 * costs a load.  Not for signal handlers. */
uint64_t owner_self(void);

/* The process `pid` as it is now; OWNER_NOBODY when there is none. */
uint64_t owner_of(pid_t pid);

/* Does that very process still run?  A system call or three: not for hot paths. */
bool owner_alive(uint64_t owner);

static inline pid_t
owner_pid(uint64_t owner)
{
	return (pid_t)(owner >> 40);
}

#endif
