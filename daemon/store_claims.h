/*
 * store_claims.h - the attempts that are being run, in a mapped file beside the database.
 *
 * A claim is a few stores into memory that the kernel keeps when this process dies, so it costs no
 * system call and survives kill -9.  One thread takes and drops claims; another one may ask
 * whether a claim stands.  A slot becomes valid by one store, its fence, which is the last; and it
 * is over by one store, the fence again.  The kernel writes the file back when it likes: after a
 * power cut claims may be missing, old or torn.  A torn one is known by its check; an old one by
 * the database, which knows what has ended.
 *
 * The file is also the lock of the store: whoever may write holds it with flock(2).
 */
#ifndef PYPREP_DAEMON_STORE_CLAIMS_H
#define PYPREP_DAEMON_STORE_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLAIMS_FILE "claims"

struct claims;

struct claim {
	uint64_t fence;
	uint64_t id;
	uint16_t attempt;
};

/* Open or make the file in the directory `state_dir`; NULL: in memory, for this process alone.
 * With `read_only` nobody is kept out and nothing is made.  The claims that stand are read, none
 * is dropped.  0, or -errno: -EBUSY another process has it. */
int claims_open(struct claims **ret, const char *state_dir, bool read_only);
void claims_close(struct claims *c); /* NULL is fine; claims stay standing */

/* -EAGAIN: STORE_CLAIMS are out. */
int claims_take(struct claims *c, uint64_t id, uint16_t attempt, uint64_t *ret_fence);
void claims_drop(struct claims *c, uint64_t id, uint64_t fence);

/* From any thread: does the claim `fence` of job `id` stand, for this attempt? */
bool claims_stand(const struct claims *c, uint64_t id, uint16_t attempt, uint64_t fence);

/* All claims that stand, by id and attempt; the caller frees *ret.  0 or -ENOMEM. */
int claims_list(const struct claims *c, struct claim **ret, size_t *ret_count);
/* The fence of job `id` in such a list; 0: none. */
uint64_t claims_fence_of(const struct claim *list, size_t count, uint64_t id);

/* What the writer notes about its files, each by one store (store_sqlite_files.c).  Kept like
 * claims: it may be older than the files after a power cut, never newer. */
enum claims_note {
	NOTE_LOG,    /* how far the log was acknowledged: salt, frames */
	NOTE_CHANGED /* when the database file was last changed by us: its mtime and length, mixed
		      */
};
uint64_t claims_note(const struct claims *c, enum claims_note which);
void claims_set_note(struct claims *c, enum claims_note which, uint64_t value);

/* Slots whose check did not fit when the file was opened: torn by a power cut, and dropped. */
unsigned claims_torn(const struct claims *c);

#endif
