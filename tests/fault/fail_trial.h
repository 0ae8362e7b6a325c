/* fail_trial.h - what fail_point.c and fail_jobs.c share: the state of one point. */
#ifndef PYPREP_FAIL_TRIAL_H
#define PYPREP_FAIL_TRIAL_H

#include "tests/fault/fail_point.h"

#define ACKS_MOST 64
#define SAID_MOST 4096

/* One run of pyprepctl. */
struct said {
	int status; /* -1: it did not end */
	char out[SAID_MOST], err[SAID_MOST];
};

/* The state of one point. */
struct trial {
	struct fail_place *place;
	const struct fail_point *point;
	struct fail_outcome *outcome;
	pid_t daemon; /* 0: gone */
	uint64_t acks[ACKS_MOST];
	unsigned ack_count;
	bool slow; /* a command had to wait */
};

/* A problem.  The first one counts: it says most. */
void trial_wrong(struct trial *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* How long anybody waits, in milliseconds. */
unsigned trial_patience(const struct trial *t);

const char *trial_last_words(const struct fail_place *p); /* the end of the log, in one line */
void trial_start(struct trial *t, bool faulty);
void trial_end(struct trial *t, int signal); /* the daemon, and all that it left */
bool trial_is_up(struct trial *t);           /* or gone */
void trial_read(const char *path, char *text, size_t size);

/* pyprepctl with the words of `line`; a word may not have blanks. */
void trial_ctl(struct trial *t, struct said *said, const char *line, ...)
	__attribute__((format(printf, 3, 4)));

/* A new daemon knows all that were acknowledged (fail_jobs.c). */
void trial_judge_jobs(struct trial *t);

#endif
