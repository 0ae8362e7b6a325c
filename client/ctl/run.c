/* run.c - pyprepctl run: one job as if it ran here: its output, its exit status. */
#include <errno.h>
#include <string.h>

#include "client/ctl/attached.h"
#include "client/ctl/command.h"
#include "client/ctl/jobspec.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_receipt.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"

static struct {
	struct job_options job;
	bool receipt;
} arg;

static const struct option_row options[] = {
	JOB_OPTION_ROWS(arg.job),
	{ "receipt", 'r', OPTION_FLAG, &arg.receipt, NULL, "print the receipt to stderr", 0, 0 },
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "do not say why a job failed", 0, 0 },
	OPTION_ROW_END,
};

struct run {
	const struct jobspec *spec;
	struct capture *capture; /* --json only: else output passes through */
	int status;
	bool command;
};

static void
pass_through(struct run *run, const struct pyprep_event *event)
{
	FILE *to = event->stream == 2 ? stderr : stdout;

	if (run->capture) {
		capture_add(run->capture, event);
		return;
	}
	fwrite(event->bytes, 1, event->length, to);
	fflush(to);
}

/* One line on why the job did not succeed; a plain exit status speaks for itself. */
static void
say_failure(const struct run *run, const struct pyprep_receipt *r)
{
	char why[400];

	if (ctl.quiet || strcmp(r->state, "succeeded") == 0)
		return;
	failure_text(r, why, sizeof why);
	if (strcmp(r->state, "timed_out") == 0)
		ctl_note("%s %s: timed out after %s", r->kind, run->spec->args_text,
			 unit_time_human(r->run_ns).text);
	else if (strcmp(r->cause, "cancelled") != 0)
		ctl_note("%s %s: %s: %s", r->kind, run->spec->args_text, r->state, why);
}

static void
got_event(struct attached *a, const struct pyprep_event *event)
{
	struct run *run = a->context;
	const struct pyprep_receipt *r = &event->receipt;

	if (event->type == PYPREP_OUTPUT)
		pass_through(run, event);
	if (event->type != PYPREP_RECEIPT)
		return;
	run->status = r->exit_status;
	if (strcmp(r->state, "refused") == 0) {
		ctl_fail(r->exit_status, r->error_code, "%s", r->error_message);
		return;
	}
	if (ctl.json)
		json_print_line(json_of_receipt(r, run->capture));
	else if (!run->command && strcmp(r->state, "succeeded") == 0)
		result_print(stdout, r);
	say_failure(run, r);
	if (arg.receipt) {
		fflush(stdout);
		receipt_print(stderr, r, run->spec->args_text);
	}
}

static int
run_with(struct pyprep *p, const struct jobspec *spec)
{
	struct run run = { .spec = spec, .status = EXIT_OURS };
	struct pyprep_prepared *prepared;
	struct pyprep_problem why = { 0 };
	struct attached attached;

	if (pyprep_prepare(p, &spec->job, &prepared, &why) < 0)
		return ctl_fail_problem(&why);
	run.command = strcmp(pyprep_prepared_executor(prepared), "command") == 0;
	if (ctl.json && run.command)
		run.capture = capture_new();
	attached_begin(&attached, p, got_event, &run);
	int r;
	do
		r = pyprep_submit_prepared(p, prepared, NULL, NULL);
	while (r == -EINTR && !attached_stopped(&attached));
	if (r == -EAGAIN)
		run.status = ctl_fail(EXIT_TRY_LATER, "queue_full",
				      "the daemon has no room for this job now; try again later, "
				      "or leave --no-wait-for-room out to wait");
	else if (r < 0)
		run.status = ctl_fail(EXIT_OURS, "internal", "cannot submit: %s", strerror(-r));
	attached_finish(&attached);
	capture_free(run.capture);
	pyprep_prepared_free(prepared);
	return attached_end(&attached, run.status);
}

static int
run_run(const struct words *words)
{
	struct jobspec spec;
	struct pyprep *p;

	int status = jobspec_make(words, &arg.job, &spec);
	if (status != 0)
		return status;
	status = ctl_connect(&p);
	if (status == 0) {
		status = run_with(p, &spec);
		pyprep_close(p);
	}
	jobspec_free(&spec);
	return status;
}

extern const struct command command_run;
const struct command command_run = {
	.name = "run",
	.args = "[OPTIONS] KIND [NAME=VALUE ...] [-- CMD ARGS ...]",
	.summary = "run one job as if it ran here: its output, its exit status",
	.examples = "  pyprepctl run exec -- make -j2\n"
		    "  pyprepctl run --timeout 5 exec -- ./flaky-test\n"
		    "  pyprepctl run --receipt sumsq n=1000000\n",
	.more = "Exit status: the job's own; 124 timeout; 125 pyprep failed; 128+N signal N.\n"
		"SIGINT and SIGTERM cancel the job.\n",
	.options = options,
	.complete = COMPLETE_KIND,
	.run = run_run,
};
