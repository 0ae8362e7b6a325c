/* map.h - what the files of pyprepctl map share. */
#ifndef PYPREP_CTL_MAP_H
#define PYPREP_CTL_MAP_H

#include "client/ctl/attached.h"
#include "client/ctl/command.h"
#include "client/ctl/print_table.h"
#include "client/ctl/tally.h"

/* One `map`, as the command line says it. */
struct map {
	const char *kind;
	bool range; /* else the items are lines of stdin */
	int64_t low, high;
	const char *pool;
	uint64_t timeout_ns;
	const struct pyprep_policy *policy; /* of each job; NULL: none */
	char **params;                      /* further "name=value" words */
	int param_count;
	char **argv; /* exec: the command each item is appended to */
	int argv_count;
	char param[64]; /* which parameter takes the item */
	FILE *out;      /* results one a line; NULL: only a few, in the summary */
};

/* One array job over the range.  Both return the exit status. */
int map_array(struct pyprep *p, const struct map *map);

/* One job per item. */
int map_each(struct pyprep *p, const struct map *map);

/* The first and the last few results, in order, for the summary. */
#define SAMPLE_ENDS 3
struct map_sample {
	char text[2 * SAMPLE_ENDS][100]; /* "7 -> 49"; "" when there is none */
};
/* Result `index` of `count` (0: not known how many yet). */
void map_sample_put(struct map_sample *sample, uint64_t index, uint64_t count, const char *item,
		    const char *result);
void map_summary(const struct map *map, uint64_t items, uint64_t failed, uint64_t wall_ns,
		 const struct map_sample *sample);

/* source.c: the items, one after the other. */
struct source {
	bool range;
	int64_t next, high;
	char *buffer; /* stdin: what is read and not yet given */
	size_t start, length, capacity;
	bool ended; /* stdin: end of file seen */
	char number[24];
};
enum source_state { SOURCE_ITEM, SOURCE_LATER, SOURCE_END };
/* The next item; *ret is valid until the next call.  LATER: poll stdin, then source_fill(). */
enum source_state source_next(struct source *source, const char **ret);
/* Read more of stdin; may block.  0 or a negative errno. */
int source_fill(struct source *source);

#endif
