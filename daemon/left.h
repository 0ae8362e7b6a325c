/*
 * left.h - what a kind left behind in a worker that runs one job at a time: descriptors that are
 * still open, names in /dev/shm, processes.
 *
 * Looked for around every run that is measured in full (usage.h): two system calls before, three
 * after, about a microsecond.  Of the short runs between, which are not, one that left something
 * is found by the next look; then it is known which kind it was, but not which job.
 *
 *   descriptors   their number (/proc/self/fd); they are not closed, since nobody knows what for
 *                 they are: the worker asks to be replaced instead
 *   segments      files in /dev/shm that were born during the run and that this process has open
 *                 or mapped; looked for when the directory has changed at all.  Removed
 *   processes     children, and children's children (the worker is a subreaper).  Killed
 *
 * A kind that keeps descriptors from job to job on purpose says so (struct kind, `keeps`).
 */
#ifndef PYPREP_DAEMON_LEFT_H
#define PYPREP_DAEMON_LEFT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "ipc/message.h"

struct kind;

struct left_watch {
	int directory;    /* /proc/self/fd; -1: not watching */
	bool sized;       /* its size is the number of descriptors (Linux 6.2) */
	int64_t open;     /* descriptors at the last look; -1: not looked yet */
	uint16_t between; /* the kind of the short runs since; LEFT_KINDS: several */
	bool any_between;
	struct timespec began; /* the run; CLOCK_REALTIME, as files have it */
};

/* In a worker that runs one job at a time.  `descriptors`: nothing else in this process opens
 * any. */
void left_open(struct left_watch *w, bool descriptors);
void left_close(struct left_watch *w);

/* Before a run that is measured in full.  Fills *ret with what short runs before it left; true
 * when there is something to tell. */
bool left_begin(struct left_watch *w, struct left_body *ret);

/* A short run is about to begin. */
static inline void
left_short(struct left_watch *w, uint16_t kind)
{
	w->between = w->any_between && w->between != kind ? LEFT_KINDS : kind;
	w->any_between = true;
}

/* The worker itself opens something that stays: around that.  `before` is what the first returns. */
int64_t left_before_own(const struct left_watch *w);
void left_after_own(struct left_watch *w, int64_t before);

/* After a run that left_begin() was called for: adds to *left.  true when there is something. */
bool left_end(struct left_watch *w, const struct kind *kind, struct left_body *left);

#endif
