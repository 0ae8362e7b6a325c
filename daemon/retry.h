/*
 * retry.h - an attempt of a job is over: another one, or the end (policy.h: retries, backoff).
 *
 * Only the broker touches this.
 */
#ifndef PYPREP_DAEMON_RETRY_H
#define PYPREP_DAEMON_RETRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/receipt.h"

struct broker;
struct job;

/* The attempt of a running job ended as `receipt` says, which is complete but for the history and
 * the client.  true: the job has gone back for another attempt, and nobody hears of this end but
 * the store; false: it is over. */
bool retry_instead(struct broker *b, uint32_t index, const struct receipt *receipt,
		   const void *result, const void *message);

/* Keep this end for that text. */
void retry_remember(struct job *job, const struct receipt *receipt);

#define PAST_TEXT_MAX 512u
/* "attempts 1-3: exit 3, attempt 4: timed out": the attempts before this one.  Its length, 0 when
 * there is nothing to tell; at most `size` - 1. */
size_t retry_past_text(const struct job *job, char *buffer, size_t size);

/* `message` with that text behind it, malloc'ed, the caller frees it; NULL: there is nothing to
 * add. */
char *retry_message(const struct job *job, const void *message, uint32_t length,
		    uint32_t *ret_length);

#endif
