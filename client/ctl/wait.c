/* wait.c - pyprepctl wait: until jobs of other clients have ended. */
#include <errno.h>
#include <limits.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/ids.h"
#include "client/ctl/jobmap.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_receipt.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"

static struct {
	bool any, all, as_completed;
	uint64_t timeout_ns;
} arg;

static const struct option_row options[] = {
	{ "any", 0, OPTION_FLAG, &arg.any, NULL, "until the first has ended", 0, 0 },
	{ "all", 0, OPTION_FLAG, &arg.all, NULL,
	  "until all have ended; printed in the order given (this is the default)", 0, 0 },
	{ "as-completed", 0, OPTION_FLAG, &arg.as_completed, NULL,
	  "until all have ended; each printed as it ends", 0, 0 },
	{ "timeout", 't', OPTION_DURATION, &arg.timeout_ns, "S",
	  "give up after S seconds (status 124); the jobs go on", 0, 0 },
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "only the exit status", 0, 0 },
	OPTION_ROW_END,
};

struct waiting {
	const struct ids *ids;
	struct jobmap *jobs; /* by place in ids; bytes NULL: not ended yet */
	unsigned ended;
	int status;  /* of the last one */
	bool failed; /* one of them */
	struct table table;
};

static void
show(struct waiting *w, const struct jobmap *job)
{
	struct pyprep_receipt receipt;

	if (ctl.quiet || jobmap_receipt(job, &receipt) < 0)
		return;
	if (ctl.json)
		json_print_line(json_of_jobmap(job));
	else if (w->ids->count == 1)
		receipt_print(stdout, &receipt, job->args);
	else
		receipts_table_add(&w->table, &receipt);
	fflush(stdout);
}

static int
got_job(void *context, const msgpack_object *map)
{
	struct waiting *w = context;
	struct pyprep_receipt receipt;
	struct jobmap job;

	if (jobmap_read(map, &job) < 0)
		return -EPROTO;
	jobmap_receipt(&job, &receipt);
	w->ended++;
	w->status = receipt.exit_status;
	if (strcmp(receipt.state, "succeeded") != 0)
		w->failed = true;
	if (arg.any || arg.as_completed)
		show(w, &job);
	for (unsigned i = 0; i < w->ids->count; i++) {
		if (w->ids->id[i] == receipt.id && !w->jobs[i].bytes) {
			w->jobs[i] = job;
			return 0;
		}
	}
	jobmap_free(&job);
	return 0;
}

static int
ask(struct pyprep *p, struct waiting *w)
{
	struct pyprep_problem why;
	struct request request;
	uint64_t ms = (arg.timeout_ns + NS_PER_MS - 1) / NS_PER_MS;
	int timeout_ms = arg.timeout_ns == 0 ? -1 : ms > INT_MAX ? INT_MAX : (int)ms;

	request_begin(&request, "wait", 2);
	request_list(&request, "ids", w->ids->count);
	for (unsigned i = 0; i < w->ids->count; i++)
		msgpack_pack_uint64(&request.packer, w->ids->id[i]);
	request_text(&request, "mode", arg.any ? "any" : "all");
	int r = request_ask(&request, p, timeout_ms, got_job, w, &why);
	if (r == -ETIMEDOUT)
		return ctl_fail(EXIT_TIMED_OUT, "timed_out",
				"waited %s; %u of %u jobs have ended, the others go on",
				unit_time_human(arg.timeout_ns).text, w->ended, w->ids->count);
	return r < 0 ? ctl_fail_problem(&why) : 0;
}

static int
wait_for(const struct ids *ids)
{
	struct waiting w = { .ids = ids, .jobs = ctl_alloc(ids->count, sizeof *w.jobs) };
	struct pyprep *p;

	receipts_table_begin(&w.table, true);
	int status = ctl_connect(&p);
	if (status == 0) {
		status = ask(p, &w);
		pyprep_close(p);
	}
	for (unsigned i = 0; i < ids->count; i++) {
		if (w.jobs[i].bytes && !arg.any && !arg.as_completed)
			show(&w, &w.jobs[i]);
		jobmap_free(&w.jobs[i]);
	}
	table_print(&w.table);
	free(w.jobs);
	if (status != 0)
		return status;
	if (ids->count == 1 || arg.any)
		return w.status;
	return w.failed ? EXIT_SOME_FAILED : 0;
}

static int
wait_run(const struct words *words)
{
	struct ids ids;

	if (arg.any + arg.all + arg.as_completed > 1)
		return ctl_fail(EXIT_USAGE, "usage",
				"--any, --all and --as-completed exclude each other");
	if (words->count == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"wait takes one id or more; 'pyprepctl ls' lists them");
	int status = ids_read(words, &ids);
	if (status != 0)
		return status;
	status = wait_for(&ids);
	ids_free(&ids);
	return status;
}

extern const struct command command_wait;
const struct command command_wait = {
	.name = "wait",
	.args = "ID ... [--any|--all|--as-completed] [--timeout S]",
	.summary = "wait until jobs have ended",
	.examples = "  pyprepctl wait 17\n"
		    "  pyprepctl wait 17 18 19 --any --timeout 30\n",
	.more = "Exit status: one job or --any: the job's own; many: 1 when some did not succeed;\n"
		"3 no such job; 124 --timeout passed.\n",
	.options = options,
	.complete = COMPLETE_JOB,
	.run = wait_run,
};
