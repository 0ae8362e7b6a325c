/*
 * cache.h - results of jobs that asked for it (--cache TTL): the next one of the same user, kind
 * and parameters gets the result of the last, if that is not older than its TTL, and does not run.
 *
 * A job is looked up when it comes to its queue, and once more when it stands first in it: so of
 * many that were submitted together one runs.  While it does, the others wait for its result
 * (WAIT_CACHE); if it fails, or is taken back, they go back to their queue, and the next one runs.
 * Only what succeeded is kept.
 *
 * What makes two jobs the same: the user and group, the kind, the parameters as packed (args.h),
 * and for a command also where its client stood: umask, directory and environment, but for what
 * shells change as they go.  Not the pool.  A command's output is kept with its result, and told
 * again.
 *
 * Results are kept for the longest TTL that was asked with; `cache_entries` and `cache_bytes` of
 * the configuration bound them, and the one that was not used for longest goes first.  All is in
 * the broker's memory and ends with it.
 *
 * Only the broker touches this.  Every operation takes at most the logarithm of how many results
 * are kept, and the time of the bytes it moves.
 */
#ifndef PYPREP_DAEMON_CACHE_H
#define PYPREP_DAEMON_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/receipt.h"

struct broker;
struct cache;
struct job;
struct reply;

int cache_open(struct broker *b); /* -ENOMEM, or what getrandom() said */
void cache_close(struct broker *b);

/* Can jobs like this ask for it?  ERR_NONE, or a sentence in `why`. */
enum job_error cache_check(bool array, char *why, size_t size);

/* The job is about to be queued.  false: queue it; true: its result is there, it ends in the
 * turn that follows. */
bool cache_enter(struct broker *b, uint32_t index);
/* The job stands first in its queue.  false: it has left it, for its result is there or comes. */
bool cache_passes(struct broker *b, uint32_t index);
/* It waits here no longer: it ends, or is held. */
void cache_unpark(struct broker *b, uint32_t index);

/* The job with job->more was sent to a worker; or has come back, or ended. */
void cache_changed(struct broker *b, const struct job *job, enum job_state state);
/* What it wrote while it runs, and how its run ended. */
void cache_output(struct broker *b, const struct job *job, uint32_t stream, const void *bytes,
		  uint32_t length);
void cache_keep(struct broker *b, const struct job *job, const struct outcome *outcome,
		uint32_t flags, const void *result);

/* Each turn: give out what is there.  How many jobs moved. */
unsigned cache_turn(struct broker *b);
bool cache_pending(const struct broker *b);

/* The id of the job whose result this one waits for; 0: it does not wait for one. */
uint64_t cache_waits_for(const struct broker *b, const struct job *job);

struct cache_stats {
	uint64_t entries, entries_most;
	uint64_t bytes, bytes_most;
	uint64_t hits;   /* jobs that did not run */
	uint64_t misses; /* jobs that had to */
	uint64_t expired, evicted;
	uint64_t too_large;   /* results and output that were not kept */
	uint64_t waiting;     /* jobs that wait for one that runs */
	uint64_t next_expiry; /* of all that are kept; ns from now; 0: nothing is kept */
};
void cache_stats(struct broker *b, struct cache_stats *ret);
void cache_reply(struct broker *b, struct reply *a); /* "cache" of the daemon's status */

#endif
