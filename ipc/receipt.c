/* receipt.c - the words for a job's states, causes and errors; the stages of its way. */
#include "ipc/receipt.h"

#include <stddef.h>

#define TEXT_ROW(name, text, ...) [name] = text,
static const char *const state_text[] = { JOB_STATES(TEXT_ROW) };
static const char *const cause_text[] = { JOB_CAUSES(TEXT_ROW) };
static const char *const error_text[] = { JOB_ERRORS(TEXT_ROW) };
#undef TEXT_ROW
#define EXIT_ROW(name, text, code) [name] = code,
static const int error_exit[] = { JOB_ERRORS(EXIT_ROW) };
#undef EXIT_ROW

static const char *
text_of(const char *const *texts, size_t count, unsigned value)
{
	return value < count ? texts[value] : "unknown";
}

const char *
job_state_text(unsigned state)
{
	return text_of(state_text, JOB_STATE_COUNT, state);
}

const char *
job_cause_text(unsigned cause)
{
	return text_of(cause_text, JOB_CAUSE_COUNT, cause);
}

const char *
job_error_text(unsigned error)
{
	return text_of(error_text, JOB_ERROR_COUNT, error);
}

int
job_error_exit(unsigned error)
{
	return error < JOB_ERROR_COUNT ? error_exit[error] : 125;
}

/* ---- the way ---- */

/* Its times, in order. */
enum { SUBMITTED, RECEIVED, STORED, HANDED, STARTED, ENDED, RETURNED, TIMES };

/*
 * A time that never came (a job cancelled while it was queued has no start) counts as the
 * next one that did, so its stage takes no time; after the last one that came, as that.
 */
static void
fill_gaps(uint64_t t[TIMES])
{
	uint64_t last = 0;

	for (int i = 0; i < TIMES; i++)
		if (t[i] != 0)
			last = t[i];
	for (int i = TIMES - 1; i >= 0; i--) {
		if (t[i] == 0)
			t[i] = last;
		last = t[i];
	}
}

static uint64_t
span(uint64_t from, uint64_t to)
{
	return to > from ? to - from : 0;
}

void
receipt_stages(const struct receipt *r, uint64_t returned_ns, struct stages *ret)
{
	uint64_t t[TIMES] = {
		[SUBMITTED] = r->submitted_ns,     [RECEIVED] = r->received_ns,
		[STORED] = r->stored_ns,           [HANDED] = r->handed_ns,
		[STARTED] = r->outcome.started_ns, [ENDED] = r->outcome.ended_ns,
		[RETURNED] = returned_ns,
	};

	/* Most jobs are not stored at all: that takes no time, whatever comes next. */
	if (t[STORED] == 0)
		t[STORED] = r->received_ns;
	/* Nearly all jobs have been everywhere. */
	if (t[SUBMITTED] == 0 || t[RECEIVED] == 0 || t[HANDED] == 0 || t[STARTED] == 0 ||
	    t[ENDED] == 0 || t[RETURNED] == 0)
		fill_gaps(t);
	*ret = (struct stages){
		.submitted_ns = t[SUBMITTED],
		.ended_ns = t[ENDED],
		.submit_ns = span(t[SUBMITTED], t[RECEIVED]),
		.store_ns = span(t[RECEIVED], t[STORED]),
		.queue_ns = span(t[STORED], t[HANDED]),
		.dispatch_ns = span(t[HANDED], t[STARTED]),
		.run_ns = span(t[STARTED], t[ENDED]),
		.return_ns = span(t[ENDED], t[RETURNED]),
		.total_ns = span(t[SUBMITTED], t[RETURNED]),
	};
	ret->residual_ns =
		(int64_t)(ret->total_ns - ret->submit_ns - ret->store_ns - ret->queue_ns -
			  ret->dispatch_ns - ret->run_ns - ret->return_ns);
}
