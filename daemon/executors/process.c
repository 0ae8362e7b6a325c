/*
 * process.c - the process executor: one job at a time, where it lies in the request ring.
 *
 * The record is released after the run: nothing is copied, and the broker writes its next
 * requests behind it meanwhile.
 */
#include "daemon/executor.h"

#include <errno.h>
#include <stdlib.h>

int
process_run(struct worker *w)
{
	struct link_worker *l = &w->link;
	bool go_on = true;

	link_worker_ready(l);
	for (;;) {
		const struct ring_record *record = link_next(l);
		if (record == NULL) {
			int r = link_wait_for(l, w->control, run_patience_ms());
			if (r == 0)
				break; /* the order to stop */
			if (r == -ETIMEDOUT)
				run_idle();
			continue; /* a request, or a signal */
		}
		/* MSG_STOP is not for us: a job here ends with its worker. */
		if (record->type == MSG_RUN) {
			const struct run_body *run = (const void *)record->body;
			go_on = run_one(w, run, run + 1, NULL);
		}
		link_release(l, record);
		if (!go_on) {
			worker_wait_for_end(w);
			break;
		}
	}
	run_close();
	return EXIT_SUCCESS;
}
