/*
 * progress.h - one line on stderr about work under way: redrawn at most ten times a second
 * on a terminal, printed every ten seconds otherwise.
 */
#ifndef PYPREP_CTL_PROGRESS_H
#define PYPREP_CTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *noun; /* "jobs", "items" */
	bool off;
	bool redraws;
	bool drawn; /* a line stands on the terminal */
	uint64_t begun_ns;
	uint64_t drawn_ns; /* the last time */
	uint64_t total;    /* 0: not known */
	uint64_t done;     /* succeeded or not */
	uint64_t failed;
	uint64_t open; /* submitted, not ended */
};

void progress_begin(struct progress *progress, const char *noun, uint64_t total, bool off);
void progress_show(struct progress *progress);  /* when it is due */
void progress_clear(struct progress *progress); /* before other lines are printed */

/* How long one may sleep so that the next line comes in time, in ms. */
int progress_patience(const struct progress *progress);

#endif
