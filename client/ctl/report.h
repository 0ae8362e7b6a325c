/*
 * report.h - what pyprepctl says when something fails, and how it reaches the daemon.
 *
 * An error is one sentence on stderr; with --json also one object on stdout:
 * {"error":{"code":...,"message":...,"exit":...}}.
 */
#ifndef PYPREP_CTL_REPORT_H
#define PYPREP_CTL_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "client/pyprep.h"

/* Say it and return `status`, to be returned by the command. */
int ctl_fail(int status, const char *code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int ctl_fail_problem(const struct pyprep_problem *why);

/* A remark on stderr: "pyprepctl: ...". */
void ctl_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Connect as the global options say.  0, or the exit status, said. */
int ctl_connect(struct pyprep **ret);

/* Zeroed memory; ends the program with status 125 when there is none. */
void *ctl_alloc(size_t count, size_t size);
void *ctl_realloc(void *old, size_t size);
_Noreturn void ctl_no_memory(void);

/* Has a write to stdout failed already? */
bool output_broken(void);

/* Flush stdout and look whether all went out.  Returns `status`, or 125 (said), or 141 when
 * the reader has gone, as a shell shows it. */
int output_finish(int status);

#endif
