/* jobspec.h - "KIND name=value ... -- CMD ARGS" and the options every submit has, as a job. */
#ifndef PYPREP_CTL_JOBSPEC_H
#define PYPREP_CTL_JOBSPEC_H

#include "client/ctl/command.h"
#include "client/ctl/policy_options.h"

struct job_options {
	const char *pool;
	uint64_t timeout_ns;
	int64_t priority;
	bool no_wait;
	bool shell;
	struct policy_options policy;
};

/* Rows of an options' table that fill `o`, a struct job_options. */
#define JOB_OPTION_ROWS(o)                                                                     \
	{ "pool",    'p', OPTION_TEXT,                                                         \
	  &(o).pool, "P", "run in this pool (else the first that takes such kinds)",           \
	  0,         0 },                                                                      \
		{ "timeout",                                                                   \
		  't',                                                                         \
		  OPTION_DURATION,                                                             \
		  &(o).timeout_ns,                                                             \
		  "S",                                                                         \
		  "end the run after S seconds (1.5, 500ms, 2s, 1m): TERM, then KILL",         \
		  0,                                                                           \
		  0 },                                                                         \
		{ "priority", 0,  OPTION_INT, &(o).priority, "N", "-100 to 100, higher first", \
		  -100,       100 },                                                           \
		{ "no-wait-for-room",                                                          \
		  0,                                                                           \
		  OPTION_FLAG,                                                                 \
		  &(o).no_wait,                                                                \
		  NULL,                                                                        \
		  "when the daemon is full, be refused (status 75) instead of waiting",        \
		  0,                                                                           \
		  0 },                                                                         \
		{ "shell",    0,    OPTION_FLAG,                                               \
		  &(o).shell, NULL, "exec: hand the words after -- to /bin/sh -c",             \
		  0,          0 },                                                             \
		POLICY_OPTION_ROWS((o).policy), POLICY_OPTION_ROWS_SINGLE((o).policy)

/* A job and what it points to.  The strings are the command line's. */
struct jobspec {
	struct pyprep_job job;
	struct policy_spec policy;
	const char **params;
	const char *shell_argv[4];
	char *shell_line;
	char args_text[256]; /* "n=1000 method=memo", "-- make -j2": for people */
};

/* words->word[0] is the kind, the others are parameters.  0, or EXIT_USAGE, said; then
 * there is nothing to free. */
int jobspec_make(const struct words *words, const struct job_options *options, struct jobspec *ret);
void jobspec_free(struct jobspec *spec);

#endif
