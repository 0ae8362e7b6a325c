/*
 * tallies.h - what the jobs of each day came to, by kind and pool: counted as they end, kept in the
 * store, told by the verb `report`.
 *
 *   job_ended() ──▶ cell of (day, pool, kind) in memory ──after 2 s──▶ CHANGE_TALLY, the whole cell
 *                              ▲                                               │
 *                              └────── read back when a broker starts ◀────────┘
 *
 * A cell is written as a whole, over what was there: what it holds was counted once, however often
 * it is written.  A broker first reads back what the last one wrote of this day, and writes
 * nothing of it before: so a kill -9 costs what was counted in the last seconds, and nothing else.
 *
 * Days are UTC's.  Memory holds two of them, the one that is counted and the one before until it
 * is written: at most two cells for each kind and pool, of about 100 KiB.
 *
 * Every job is counted.  The stages of all are measured, too, while they come no faster than
 * TALLY_FULL in a millisecond for long; beyond, one in TALLY_SAMPLE, chosen by chance, stands for
 * the others.  So they cost the broker next to nothing, however many they are.
 *
 * Only the broker's thread touches them.
 */
#ifndef PYPREP_DAEMON_TALLIES_H
#define PYPREP_DAEMON_TALLIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/figures.h"

#define TALLY_FULL   64u   /* jobs of one cell that are all measured, in each millisecond ... */
#define TALLY_BURST  4096u /* ... or so many at once after a rest ... */
#define TALLY_SAMPLE 64u   /* ... and one of so many of those beyond */
#define TALLY_DAYS   2u

struct broker;
struct tallies;

int tallies_open(struct broker *b); /* -ENOMEM; the store is open */
/* Put what is not written yet; the store closes next. */
void tallies_close(struct broker *b);

/* A job has ended; or only an attempt of one. */
void tallies_job(struct broker *b, const struct receipt *r);
void tallies_attempt(struct broker *b, const struct receipt *r);

/* The cells of the days in memory.  Non-zero stops. */
typedef int (*tally_fn)(void *context, uint32_t day, unsigned pool, unsigned kind,
			const struct figures *f);
int tallies_each(const struct broker *b, tally_fn each, void *context);
/* Is this one in memory?  Then what the store has of it is older. */
bool tallies_has(const struct broker *b, uint32_t day, const char *pool, const char *kind);
uint32_t tallies_today(const struct broker *b);
/* No day before this one is in memory. */
uint32_t tallies_first_day(const struct broker *b);

#define DAY_NS (86400ull * 1000000000ull)

#endif
