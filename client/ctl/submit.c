/* submit.c - pyprepctl submit: jobs, awaited, with their receipts. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "client/ctl/attached.h"
#include "client/ctl/capture.h"
#include "client/ctl/command.h"
#include "client/ctl/detach.h"
#include "client/ctl/jobspec.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_receipt.h"
#include "client/ctl/print_table.h"
#include "client/ctl/report.h"
#include "client/ctl/tally.h"

#define ROWS_MAX   20 /* more receipts than this are not printed one by one */
#define FAILED_MAX 10 /* except so many that failed */
#define BURST      64 /* submits between two looks at what has come back */
#define TAIL_LINES 5  /* of a failed command's output, when there are many jobs */

static struct {
	struct job_options job;
	int64_t count;
	bool all;
	bool detach;
} arg = { .count = 1 };

static const struct option_row options[] = {
	{ "count", 'n', OPTION_INT, &arg.count, "N", "submit N such jobs", 1, 1000000000 },
	JOB_OPTION_ROWS(arg.job),
	{ "detach", 'd', OPTION_FLAG, &arg.detach, NULL,
	  "print ids once the jobs are durable, and do not wait for their ends", 0, 0 },
	POLICY_OPTION_ROWS_DETACHED(arg.job.policy),
	{ "all", 'a', OPTION_FLAG, &arg.all, NULL,
	  "print every receipt, also when there are more than 20", 0, 0 },
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "print only ids, one a line, as jobs end (or are accepted)", 0,
	  0 },
	OPTION_ROW_END,
};

/* One `submit` under way. */
struct submission {
	const struct jobspec *spec;
	uint64_t wanted, sent;
	bool captures; /* commands: collect what they write */
	bool hopeless; /* refused for what it is: more of the same is no use */
	unsigned failed_shown;
	struct tally tally;
	struct table table;
};

/* A refused job never was one: said as an error, the first of many only. */
static void
show_refused(struct submission *s, const struct pyprep_receipt *r)
{
	if (s->tally.refused == 1 || ctl.json)
		ctl_fail(r->exit_status, r->error_code, "%s", r->error_message);
	if (r->exit_status != EXIT_TRY_LATER)
		s->hopeless = true;
}

static void
show_text(struct submission *s, const struct pyprep_receipt *r, const struct capture *capture)
{
	bool failed = strcmp(r->state, "succeeded") != 0;

	if (s->wanted == 1) {
		receipt_print(stdout, r, s->spec->args_text);
		if (capture)
			capture_print(stdout, capture, 0);
		return;
	}
	receipts_table_add(&s->table, r);
	if (failed)
		s->failed_shown++;
	if (failed && capture)
		capture_print(stdout, capture, TAIL_LINES);
}

/* Will this receipt be seen?  Then the line of progress has to make room. */
static bool
prints(const struct submission *s, const struct pyprep_receipt *r)
{
	bool failed = strcmp(r->state, "succeeded") != 0;

	return ctl.json || ctl.quiet || s->wanted <= ROWS_MAX || arg.all ||
	       (failed && s->failed_shown < FAILED_MAX);
}

static void
got_receipt(struct attached *a, const struct pyprep_event *event)
{
	struct submission *s = a->context;
	const struct pyprep_receipt *r = &event->receipt;
	struct capture *capture = event->user;

	tally_add(&s->tally, r);
	a->progress.done = s->tally.ended;
	a->progress.failed = s->tally.ended - s->tally.succeeded;
	a->progress.open = pyprep_outstanding(a->p);
	if (prints(s, r))
		progress_clear(&a->progress);
	if (strcmp(r->state, "refused") == 0)
		show_refused(s, r);
	else if (ctl.json)
		json_print_line(json_of_receipt(r, capture));
	else if (ctl.quiet)
		printf("%" PRIu64 "\n", r->id);
	else if (prints(s, r))
		show_text(s, r, capture);
	capture_free(capture);
}

static void
got_event(struct attached *a, const struct pyprep_event *event)
{
	if (event->type == PYPREP_RECEIPT)
		got_receipt(a, event);
	else if (event->type == PYPREP_OUTPUT && event->user)
		capture_add(event->user, event);
}

/* Hand over one job.  0, or what pyprep_submit_prepared() said. */
static int
submit_one(struct attached *a, const struct pyprep_prepared *prepared)
{
	struct submission *s = a->context;
	struct capture *capture = s->captures ? capture_new() : NULL;

	int r = pyprep_submit_prepared(a->p, prepared, capture, NULL);
	if (r < 0)
		capture_free(capture);
	if (r == 0 || r == -EAGAIN)
		s->sent++;
	if (r == -EAGAIN) {
		tally_refuse(&s->tally, EXIT_TRY_LATER);
		if (s->tally.refused == 1 || ctl.json)
			ctl_fail(EXIT_TRY_LATER, "queue_full",
				 "the daemon has no room for this job now; try again later, or "
				 "leave --no-wait-for-room out to wait");
	}
	return r == -EAGAIN ? 0 : r;
}

static void
submit_all(struct attached *a, const struct pyprep_prepared *prepared)
{
	struct submission *s = a->context;

	while (s->sent < s->wanted && !s->hopeless && !attached_stopped(a)) {
		int r = 0;
		for (int i = 0; i < BURST && s->sent < s->wanted && r == 0; i++)
			r = submit_one(a, prepared);
		if (r < 0 && r != -EINTR && r != -EPIPE) {
			ctl_note("cannot submit: %s", strerror(-r));
			s->hopeless = true;
		}
		a->progress.open = pyprep_outstanding(a->p);
		attached_turn(a, false);
	}
}

/* Counts and stages, and what was left out above them. */
static void
print_summary(struct submission *s)
{
	bool few = s->wanted <= ROWS_MAX || arg.all;
	uint64_t failed = s->tally.failed + s->tally.timed_out + s->tally.cancelled;

	if (!few && failed > s->failed_shown)
		printf("and %s more that did not succeed (--all or --json shows every receipt)\n",
		       unit_count(failed - s->failed_shown).text);
	if (few || failed > 0)
		putchar('\n');
	tally_print(&s->tally);
	if (!few && failed == 0)
		printf("--all or --json shows every receipt\n");
}

static int
finish(struct attached *a)
{
	struct submission *s = a->context;

	attached_finish(a);
	int status = tally_exit(&s->tally, s->wanted);
	if (s->sent < s->wanted && !s->hopeless && a->signal == 0) {
		ctl_note("the daemon is gone; %" PRIu64 " of %" PRIu64 " jobs were not submitted",
			 s->wanted - s->sent, s->wanted);
		status = EXIT_OURS;
	}
	if (s->hopeless && status == 0)
		status = EXIT_OURS;
	status = attached_end(a, status);
	table_print(&s->table);
	if (s->wanted > 1 && !ctl.json && !ctl.quiet && s->tally.ended > s->tally.refused)
		print_summary(s);
	return status;
}

static int
submit_with(struct pyprep *p, const struct jobspec *spec)
{
	struct submission s = { .spec = spec, .wanted = (uint64_t)arg.count };
	struct pyprep_prepared *prepared;
	struct pyprep_problem why = { 0 };
	struct attached attached;

	if (pyprep_prepare(p, &spec->job, &prepared, &why) < 0)
		return ctl_fail_problem(&why);
	s.captures = strcmp(pyprep_prepared_executor(prepared), "command") == 0;
	receipts_table_begin(&s.table, true);
	attached_begin(&attached, p, got_event, &s);
	progress_begin(&attached.progress, "jobs", s.wanted, ctl.quiet);
	tally_begin(&s.tally);
	submit_all(&attached, prepared);
	int status = finish(&attached);
	tally_free(&s.tally);
	pyprep_prepared_free(prepared);
	return status;
}

static int
submit_run(const struct words *words)
{
	struct jobspec spec;
	struct pyprep *p;

	if (arg.job.policy.keep_ns != 0 && !arg.detach)
		return ctl_fail(EXIT_USAGE, "usage",
				"--keep is for jobs that the store has: add --detach; for all of "
				"them there is store_keep in pyprepd.conf");
	int status = jobspec_make(words, &arg.job, &spec);
	if (status != 0)
		return status;
	if (arg.detach) {
		status = detach_jobs(&spec, (uint64_t)arg.count);
		jobspec_free(&spec);
		return status;
	}
	status = ctl_connect(&p);
	if (status == 0) {
		status = submit_with(p, &spec);
		pyprep_close(p);
	}
	jobspec_free(&spec);
	return status;
}

extern const struct command command_submit;
const struct command command_submit = {
	.name = "submit",
	.args = "[OPTIONS] KIND [NAME=VALUE ...] [-- CMD ARGS ...]",
	.summary = "submit jobs, wait, and print their receipts",
	.examples = "  pyprepctl submit sumsq n=1000000 --count 4\n"
		    "  pyprepctl submit sleep ms=10 --count 1000 --pool io\n"
		    "  pyprepctl submit exec --timeout 5 -- make -j2\n"
		    "  pyprepctl submit exec --shell -- 'ls | wc -l'\n"
		    "  pyprepctl submit --detach -q exec -- ./nightly.sh\n"
		    "  pyprepctl submit primes limit=100000 --json | jq .stages\n",
	.more = "Exit status: one job: its own; many: 1 when some failed.  Ctrl-C cancels the "
		"jobs;\n"
		"a second Ctrl-C ends at once.\n",
	.options = options,
	.complete = COMPLETE_KIND,
	.run = submit_run,
};
