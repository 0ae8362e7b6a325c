/* retry.c - pyprepctl retry: ended detached jobs once more. */
#include "client/ctl/change_jobs.h"
#include "client/ctl/report.h"

static struct {
	bool dead;
} arg;

static const struct option_row options[] = {
	{ "dead", 0, OPTION_FLAG, &arg.dead, NULL,
	  "all jobs in quarantine, see 'pyprepctl ls --state dead'", 0, 0 },
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "do not say how many", 0, 0 },
	OPTION_ROW_END,
};

static int
retry_run(const struct words *words)
{
	static const char busy_why[] =
		"these have not ended; wait for them, or 'pyprepctl cancel ID'";

	if (!arg.dead)
		return change_jobs(words, "retry", "queued", busy_why);
	if (words->count > 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"retry takes ids, or --dead for all jobs in quarantine, not both");
	return change_jobs_in("dead", "retry", "queued", busy_why);
}

extern const struct command command_retry;
const struct command command_retry = {
	.name = "retry",
	.args = "ID ... | --dead",
	.summary = "queue ended detached jobs once more, as the same jobs",
	.examples = "  pyprepctl retry 17\n"
		    "  pyprepctl ls --state failed -q | xargs pyprepctl retry\n"
		    "  pyprepctl retry --dead\n",
	.more = "The job keeps its id; its attempts go on counting.\n"
		"Exit status: 1 some have not ended; 3 no such detached job; 77 another user's.\n",
	.options = options,
	.complete = COMPLETE_JOB,
	.run = retry_run,
};
