/* change_jobs.h - commands that do one thing to some jobs, named by their ids. */
#ifndef PYPREP_CTL_CHANGE_JOBS_H
#define PYPREP_CTL_CHANGE_JOBS_H

#include "client/ctl/command.h"
#include "client/ctl/reply.h"

/* Ask `verb` for the ids in `words`; `did` is what is said of the jobs it was done to
 * ("removed").  The exit status: 3 when one is missing, 77 another user's, 1 `busy_why`. */
int change_jobs(const struct words *words, const char *verb, const char *did, const char *busy_why);

/* The same, for all detached jobs in a state of ls. */
int change_jobs_in(const char *state, const char *verb, const char *did, const char *busy_why);

#endif
