/* receipt.c - the words for a job's states, causes and errors. */
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
