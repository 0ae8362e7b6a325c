/*
 * store_fixture.h - a store of the engine that TEST_STORE names (sqlite without it), in a
 * directory of the test's own; jobs to put into it, and rows kept from it.
 */
#ifndef PYPREP_TESTS_STORE_FIXTURE_H
#define PYPREP_TESTS_STORE_FIXTURE_H

#include <stdbool.h>

#include "daemon/store.h"

extern const struct store_ops *store_ops;
extern struct store *store; /* the writer's */
extern char store_dir[];
extern struct store_options store_options;

void store_setup(void);
void store_teardown(void);
/* Close it and open it again.  Of the engine `memory` a reader is kept open, so that it lives. */
void store_reopen(void);

int apply(struct store_change *change); /* what apply() said, or the change's own result */

/* A job of kind "sleep" in pool "io"; its token follows from its id. */
struct store_change new_job(uint64_t id);
/* Its end, now, of attempt 1, without a claim. */
struct store_change new_end(uint64_t id, unsigned state);
void add_job(uint64_t id);
void end_job(uint64_t id, unsigned state);
void run_job(uint64_t id, uint16_t attempt, unsigned state); /* claimed, ended, let go */
int write_output(uint64_t id, uint16_t attempt, uint32_t stream, uint64_t offset, const char *text);

/* A row with copies of all it points to; they live until the test ends. */
struct kept {
	struct store_row row;
	struct kept *next;
};
int keep_row(void *list, const struct store_row *row); /* a store_row_fn; struct kept ** */
struct kept *read_job(uint64_t id);                    /* NULL: not there */
struct kept *read_attempts(uint64_t id);
struct kept *load(uint64_t after_id, size_t most, bool claimed);
uint64_t count_rows(void);
const char *ids(const struct store_filter *filter); /* "3 2 1" */
/* "1:text 2:text": stream and bytes of each chunk. */
const char *read_output(uint64_t id, uint16_t attempt, uint64_t from1, uint64_t from2);
const char *read_tallies(uint32_t since_day); /* "day kind pool figures, " */

bool same_bytes(const struct bytes *a, const struct bytes *b);

#endif
