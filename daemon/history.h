/*
 * history.h - receipts of the last jobs that ended: a ring of fixed places in a file.
 *
 * The file is mapped, so adding a receipt is a copy in memory; the kernel writes it
 * back when it likes.  It survives the broker and the daemon, not a power cut; it is for
 * `ls` and `show`, not a store.  Where the state directory cannot be written, or
 * another daemon uses it, the same ring lives in memory.
 *
 * Only the broker touches it.
 */
#ifndef PYPREP_DAEMON_HISTORY_H
#define PYPREP_DAEMON_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/config.h"
#include "daemon/state_file.h"
#include "ipc/receipt.h"

#define HISTORY_PLACES 4096u
#define HISTORY_NAME   16u
#define HISTORY_TAIL   160u /* bytes of result and error text kept */

struct history_entry {
	struct receipt receipt; /* id 0: empty place; lengths are of what is kept */
	char kind[HISTORY_NAME];
	char pool[POOL_NAME_MAX + 1];
	char executor[HISTORY_NAME];
	unsigned char tail[HISTORY_TAIL]; /* result, then error text */
};

struct history {
	struct history_file *file;
	struct state_file mapped;
};

/* 0, or -errno with `why` when it could only be opened in memory (it works all the same). */
int history_open(struct history *h, const char *state_dir, const char **why);
void history_close(struct history *h);

/* A place for the next receipt, to be filled by the caller; the oldest goes. */
struct history_entry *history_add(struct history *h);

/* Entries ever made, and how many of them are in the store (durable_history.c). */
uint64_t history_added(const struct history *h);
uint64_t history_saved(const struct history *h);
void history_set_saved(struct history *h, uint64_t saved);

/* It is not to be found any more. */
void history_forget(struct history *h, uint64_t id);

/* NULL: not there (any more). */
const struct history_entry *history_find(const struct history *h, uint64_t id);

/* The `back`th newest (0: the last one added), or NULL. */
const struct history_entry *history_newest(const struct history *h, uint64_t back);

/* Places that hold a receipt. */
uint64_t history_count(const struct history *h);

/* The highest id ever added: a new daemon numbers on from it. */
uint64_t history_last_id(const struct history *h);

#endif
