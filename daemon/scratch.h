/*
 * scratch.h - a private directory for each job that writes files: $PYPREP_SCRATCH of a command,
 * call_scratch() of a kind.  Empty when the job starts, 0700, the job's user's, gone afterwards.
 *
 *   DIR/pyprepd-RANDOM/          of one daemon; its supervisor holds a lock on it (flock), so
 *                                what nobody holds is a dead daemon's
 *     POOL-SLOT                  of the commands of one worker, one after the other
 *     POOL-SLOT-ID               of job ID of a kind that asked for one
 *     .trash-NUMBER              what takes long to remove: a sweeper's (sweeper.c)
 *
 * Making a directory and removing it takes longer than all else that a command costs its worker;
 * so the worker keeps one, and looks after each command whether it is still there, still its
 * own and still empty.  For a command that runs as another user it is made anew.
 *
 * Removing follows no symbolic link and crosses no mount point.  It stops after a bounded time; the
 * rest is renamed to .trash-*, which takes no time, and the supervisor is told.
 */
#ifndef PYPREP_DAEMON_SCRATCH_H
#define PYPREP_DAEMON_SCRATCH_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SCRATCH_NAME  64
#define SCRATCH_TRASH ".trash-"

/* What was found and removed. */
struct scratch_count {
	uint64_t files; /* and everything else that is no directory */
	uint64_t bytes;
	bool more; /* not all was counted */
};

/* ---- a daemon's directory: the supervisor's ---- */

struct scratch_home {
	int lock; /* -1: there is no scratch directory */
	char path[PATH_MAX - SCRATCH_NAME - 16];
};

/* Make it below `directory`, which is made too.  0 or -errno. */
int scratch_home_open(struct scratch_home *h, const char *directory);
/* Remove it, for at most so long; what is left waits for the next daemon. */
void scratch_home_close(struct scratch_home *h, uint64_t most_ns);

/* Is there something below `directory` that belongs to no living daemon, or trash in `home`? */
bool scratch_has_litter(const char *directory, const char *home);
/* Remove all that.  Takes its time. */
void scratch_sweep(const char *directory, const char *home);

/* ---- a job's directory: a worker's ---- */

struct scratch {
	const char *home;
	char name[SCRATCH_NAME];
	unsigned moved; /* to another name, since something stands in its place for good */
	char path[PATH_MAX];
	dev_t device; /* of the present one */
	ino_t inode;  /* 0: there is none */
};

void scratch_init(struct scratch *s, const char *home, const char *name);

/* Make sure that there is an empty one, of that user (with `give`: the caller is root, and
 * the directory is made anew).  s->path names it.  0 or -errno. */
int scratch_take(struct scratch *s, bool give, uid_t uid, gid_t gid);

/* The job is over: count and remove what it left.  With `keep` the empty directory stays for the
 * next job.  Returns true when there is litter to tell the supervisor of. */
bool scratch_clear(struct scratch *s, bool keep, struct scratch_count *ret);

/* ---- removing ---- */

/* Remove what is called `name` in `parent`, whatever it is, and count it.  Until `end_ns`
 * (CLOCK_MONOTONIC; 0: no end).  0; -ETIME: not all of it; or -errno of what could not be
 * removed. */
int scratch_remove(int parent, const char *name, uint64_t end_ns, struct scratch_count *count);

#endif
