/* quarantine.h - jobs that kill their worker, again and again; see quarantine.c. */
#ifndef PYPREP_DAEMON_QUARANTINE_H
#define PYPREP_DAEMON_QUARANTINE_H

#include "daemon/broker.h"

#define CRASH_LIMIT 3u /* deaths before it is suspect; --crash-limit */

enum verdict {
	VERDICT_NONE,  /* not a case for us */
	VERDICT_AGAIN, /* it is run again, whatever its retries */
	VERDICT_DEAD,  /* it was alone: it is the cause */
};
/* The attempt of a job with job->more ended as `receipt` says; it has crashed once more. */
enum verdict quarantine_judge(struct job *job, const struct receipt *receipt);
/* Was this the end of a job that ran alone, and killed its worker again? */
bool quarantine_is_dead(const struct job *job, const struct receipt *receipt);
#define QUARANTINE_TEXT 800u
/* Its last receipt says so: state, error, and a sentence in `text`. */
void quarantine_sentence(const struct job *job, struct receipt *receipt, const void *message,
			 char *text, size_t size);

/* The job is next in its queue: does it have to run alone?  Then it is parked. */
bool quarantine_takes(struct broker *b, uint32_t index);
void quarantine_drop(struct broker *b, uint32_t index); /* it waits no longer */
/* Each turn while b->alone: fresh workers for those that wait. */
void quarantine_dispatch(struct broker *b);

#endif
