/* tally.h - what became of many jobs: counts, stages, the summary, the exit status. */
#ifndef PYPREP_CTL_TALLY_H
#define PYPREP_CTL_TALLY_H

#include "client/ctl/stats.h"
#include "client/pyprep.h"

enum stage {
	STAGE_SUBMIT,
	STAGE_STORE,
	STAGE_QUEUE,
	STAGE_DISPATCH,
	STAGE_RUN,
	STAGE_RETURN,
	STAGE_TOTAL,
	STAGE_COUNT,
};

struct tally {
	uint64_t ended; /* all below */
	uint64_t succeeded, failed, cancelled, timed_out, refused;
	uint64_t cached;                    /* of the succeeded: did not run (--cache) */
	uint64_t lost;                      /* of the failed: with the daemon */
	uint64_t begun_ns, last_ns;         /* first submit, last receipt */
	uint64_t residual_most;             /* largest |residual| */
	int exit_status;                    /* of the last receipt */
	int refused_status;                 /* of the first refused one; 0: none */
	struct samples stages[STAGE_COUNT]; /* of jobs that ran */
};

void tally_begin(struct tally *tally);
void tally_add(struct tally *tally, const struct pyprep_receipt *receipt);
/* A job the library itself could not hand over. */
void tally_refuse(struct tally *tally, int status);
void tally_free(struct tally *tally);

/* One job of one: its own status.  Else 0, 1 when some did not succeed, the refusal's status
 * when one was refused, 125 when the daemon was lost on the way. */
int tally_exit(const struct tally *tally, uint64_t wanted);

/* Counts, wall time, rate, residual, and the table of stages; on stdout. */
void tally_print(struct tally *tally);

#endif
