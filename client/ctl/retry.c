/* retry.c - pyprepctl retry: ended detached jobs once more. */
#include "client/ctl/change_jobs.h"

static const struct option_row options[] = {
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "do not say how many", 0, 0 },
	OPTION_ROW_END,
};

static int
retry_run(const struct words *words)
{
	return change_jobs(words, "retry", "queued",
			   "these have not ended; wait for them, or 'pyprepctl cancel ID'");
}

extern const struct command command_retry;
const struct command command_retry = {
	.name = "retry",
	.args = "ID ...",
	.summary = "queue ended detached jobs once more, as the same jobs",
	.examples = "  pyprepctl retry 17\n"
		    "  pyprepctl ls --state failed -q | xargs pyprepctl retry\n",
	.more = "The job keeps its id; its attempts go on counting.\n"
		"Exit status: 1 some have not ended; 3 no such detached job; 77 another user's.\n",
	.options = options,
	.complete = COMPLETE_JOB,
	.run = retry_run,
};
