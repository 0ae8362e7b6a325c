/* rm.c - pyprepctl rm: ended jobs out of the store. */
#include "client/ctl/change_jobs.h"

static const struct option_row options[] = {
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "do not say how many", 0, 0 },
	OPTION_ROW_END,
};

static int
rm_run(const struct words *words)
{
	return change_jobs(words, "rm", "removed",
			   "these have not ended; 'pyprepctl cancel ID' ends them");
}

extern const struct command command_rm;
const struct command command_rm = {
	.name = "rm",
	.args = "ID ...",
	.summary = "forget ended jobs: their results, output and history",
	.examples = "  pyprepctl rm 17 18\n"
		    "  pyprepctl ls --state finished -q | xargs pyprepctl rm\n",
	.more = "Exit status: 1 some have not ended; 3 no such job; 77 another user's.\n",
	.options = options,
	.complete = COMPLETE_JOB,
	.run = rm_run,
};
