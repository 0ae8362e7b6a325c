/*
 * store_faults.h - a disk that fails under the store: an SQLite VFS below ours, and a script of
 * changes that runs on it in a child.
 *
 * The VFS counts what changes files (writes, syncs, truncations, removals).  At number `at`
 * something happens.  A power cut takes back what was not synced, sector by sector, as chance has
 * it; of the claims, which are never synced, an earlier version may be what the disk has.
 */
#ifndef PYPREP_TESTS_STORE_FAULTS_H
#define PYPREP_TESTS_STORE_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

#define SCRIPT_JOBS 24u

enum fault {
	FAULT_NONE,
	FAULT_KILL,      /* SIGKILL instead of call `at` */
	FAULT_KILL_HALF, /* ... in the middle of it: half is written */
	FAULT_CUT,       /* the power fails at call `at` */
	FAULT_FULL,      /* no room: ENOSPC, half is written */
	FAULT_IO,        /* EIO: nothing is written; of a sync, the page cache has it */
};

struct faults {
	enum fault fault;
	uint64_t at;     /* from 1 */
	uint64_t until;  /* errors: the last call that fails; UINT64_MAX: for ever */
	uint64_t seed;   /* of the power cut */
	bool syncs_only; /* only syncs are counted */
	bool no_sync;    /* store_options.no_sync */
	bool early;      /* a planted bug: acknowledged before apply() */
};

/* What the script was told, in memory that outlives it. */
struct script {
	uint64_t calls; /* that the VFS counted */
	int opened;     /* what open() said */
	uint32_t failures;
	int error;                                                /* the last one */
	uint8_t added[SCRIPT_JOBS + 1], failed[SCRIPT_JOBS + 1];  /* failed: to be added */
	uint8_t ended[SCRIPT_JOBS + 1], claimed[SCRIPT_JOBS + 1]; /* claimed: attempts begun */
	uint8_t written[SCRIPT_JOBS + 1];                         /* output */
	uint8_t finished;                                         /* it came to its end */
};

/* Once in each test, before a store is opened.  From then on nothing waits for the real disk: syncs
 * are only counted. */
void faults_setup(void);

/* Run the script in a child on a new store in store_dir, until it ends or is killed. */
void faults_run(const struct faults *f, struct script *ret);

/* Open what it left, and compare: all that was acknowledged is there, once; nothing that failed
 * is.  `claims`: claims count, too (not after a power cut).  NULL, or what is wrong. */
const char *faults_check(const struct script *s, bool claims);

#endif
