/*
 * ledger.h - what jobs left behind: sums by kind, and the last jobs that left something.
 *
 * A file in the state directory (state_file.h), so the sums go on over restarts.  Kinds stand there
 * by name.  One that finds no place any more is counted under the name "(others)", what several
 * kinds may have left under "(several)".
 *
 * Only the broker touches it.
 */
#ifndef PYPREP_DAEMON_LEDGER_H
#define PYPREP_DAEMON_LEDGER_H

#include <stdint.h>

#include "daemon/state_file.h"
#include "ipc/message.h"

#define LEDGER_KINDS 64u
#define LEDGER_JOBS  1024u
#define LEDGER_NAME  16u

struct ledger_sum {
	char kind[LEDGER_NAME]; /* "": free */
	uint64_t jobs;          /* that left something */
	uint64_t descriptors, segments, processes, files, bytes;
	uint64_t measured; /* runs whose memory was looked at ... */
	int64_t growth;    /* ... and by how much their workers grew in them, in bytes */
	uint64_t last_wall_ns;
};

struct ledger_job {
	uint64_t id; /* 0: which job it was is not known */
	char kind[LEDGER_NAME];
	uint32_t uid;
	uint32_t flags; /* LEFT_* */
	uint32_t descriptors, segments, processes;
	uint32_t reserved;
	uint64_t files, bytes;
	uint64_t wall_ns;
};

struct ledger {
	struct state_file file;
	struct ledger_book *book; /* NULL: no memory; nothing is kept */
};

/* 0, or -errno with `why` when it could only be opened in memory. */
int ledger_open(struct ledger *l, const char *state_dir, const char **why);
void ledger_close(struct ledger *l);

/* A job (id 0: not known which) of this kind (NULL: one of several) has left something. */
void ledger_add(struct ledger *l, const char *kind, uint64_t id, uint32_t uid,
		const struct left_body *left, uint64_t wall_ns);

/* A run of that kind was looked at: its worker grew by so much. */
void ledger_grew(struct ledger *l, const char *kind, int64_t bytes);

/* The `n`th sum, or NULL at the end. */
const struct ledger_sum *ledger_sum(const struct ledger *l, unsigned n);

/* The `back`th newest (0: the last one), or NULL. */
const struct ledger_job *ledger_newest(const struct ledger *l, uint64_t back);

#endif
