/*
 * why.h - what the files of `pyprepctl why` share.
 *
 *   why.c       the command: asks, prints; what has ended
 *   why_text.c  a sentence, and a command that helps, for each reason
 *   why_cpu.c   is a running job's process on a CPU, or waiting for one
 */
#ifndef PYPREP_CTL_WHY_H
#define PYPREP_CTL_WHY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Of an object; 0 and "" when it is missing or null. */
uint64_t why_u64(const json_t *object, const char *key);
const char *why_str(const json_t *object, const char *key);

/* One reason of the job's, in a sentence; and in `remedy` the command that takes it away, "" when
 * there is none.  false: only time, or others, take it away. */
bool why_reason(const json_t *job, const json_t *reason, char *text, size_t size, char *remedy,
		size_t remedy_size);

/* When it will start, and how long such jobs take, in words. */
void why_start(const json_t *job, char *text, size_t size);
void why_runs(const json_t *job, char *text, size_t size);

/* Where the time of a process went in some milliseconds, with all its threads, and with
 * `descendants` also its children and theirs. */
struct cpu_share {
	uint64_t on_ns, waiting_ns; /* summed over its threads */
	uint64_t span_ns;           /* of looking */
	unsigned threads;
};
int why_cpu(pid_t pid, bool descendants, struct cpu_share *ret); /* -errno: it cannot be seen */

#endif
