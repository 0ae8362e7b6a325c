/*
 * store_check.h - a look at the store from outside, and what can be saved of a damaged one.
 *
 * `pyprepd --check-store` and `--repair-store` end here, in a process of their own: no daemon uses
 * the store meanwhile (its claims file is the lock).
 *
 *   check    changes nothing: the log, every page, every row's checksum, what rows say of each
 *            other, and SQLite's own check when all that is whole
 *   repair   puts every row whose checksum fits (store_salvage.h) into a new database, which takes
 *            the old one's place in one step; the old one is kept beside it
 *
 * A repair may die at any line.  Until the new database is whole nothing of the old one changes;
 * from then on whoever opens the store finishes the exchange (files_finish_repair()).
 */
#ifndef PYPREP_DAEMON_STORE_CHECK_H
#define PYPREP_DAEMON_STORE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "daemon/store.h"
#include "daemon/store_salvage.h"

#define REPORT_LINES 20 /* said one by one; the others are counted */

/* What was found, for people and as JSON. */
struct store_report {
	const char *state_dir;
	const char *verdict; /* "whole", "damaged", "repaired" */
	uint64_t open, ended, attempts, chunks, contexts, tallies; /* rows that count */
	uint64_t output_bytes, bad_rows;
	struct salvage_found files;
	uint64_t torn_bytes, lost_frames;
	uint64_t damage; /* findings, more maybe than there are lines */
	char line[REPORT_LINES][200];
	uint64_t lost; /* repair: jobs that are known to have been, and are not there any more */
	uint64_t lost_id[REPORT_LINES];
	const char *kept; /* repair: the old one's new name; NULL: nothing was changed */
};

void report_damage(struct store_report *r, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void report_lost(struct store_report *r, uint64_t id);
/* A salvage_row_fn; `context` is a struct store_report: count it. */
int report_row(void *context, const struct salvage_row *row);
void report_print(const struct store_report *r, bool json, FILE *f);

/* Look at all of it, or save what can be read of it.  The caller has the lock of a store that it
 * looks at; rebuilding takes it.  0: `ret` says what was found; -errno: `why` says why it could not
 * be done: -ENOENT there is no store, -EBUSY a daemon uses it, -ENOSPC, -EIO, ... */
int store_look(const char *state_dir, struct store_report *ret, struct store_problem *why);
int store_rebuild(const char *state_dir, struct store_report *ret, struct store_problem *why);

/* `pyprepd --check-store`, `--repair-store`: what was found goes to stdout, why it could not be
 * done to stderr.  The exit status: 0 the store is whole, or now is; 65 it is damaged; 66 there is
 * none; 74 its files cannot be read or written; 75 a daemon uses it, or there is no room; 77 not
 * allowed; 1 else. */
int store_check_main(const char *state_dir, bool json);
int store_repair_main(const char *state_dir, bool json);

#endif
