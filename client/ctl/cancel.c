/* cancel.c - pyprepctl cancel: end jobs, queued or running. */
#include <inttypes.h>
#include <msgpack.h>

#include "client/ctl/command.h"
#include "client/ctl/ids.h"
#include "client/ctl/print_json.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"

static struct {
	bool all, everybody;
} arg;

static const struct option_row options[] = {
	{ "all", 'a', OPTION_FLAG, &arg.all, NULL, "all jobs of this user", 0, 0 },
	{ "everybody", 0, OPTION_FLAG, &arg.everybody, NULL,
	  "with --all: of every user (operators)", 0, 0 },
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "do not say how many", 0, 0 },
	OPTION_ROW_END,
};

static int
got_answer(void *context, const msgpack_object *map)
{
	int *status = context;
	uint64_t count = field_u64(map, "cancelled");

	if (ctl.json)
		printf("{\"schema\":\"pyprep.cancel/1\",\"cancelled\":%" PRIu64 "}\n", count);
	else if (!ctl.quiet)
		printf("cancelled %" PRIu64 " job%s\n", count, count == 1 ? "" : "s");
	if (ids_complain(map, "missing", "no_such_job", EXIT_NO_SUCH,
			 "no such job, or it has ended already"))
		*status = EXIT_NO_SUCH;
	if (ids_complain(map, "not_allowed", "not_allowed", EXIT_NOT_ALLOWED,
			 "not allowed, these are another user's jobs"))
		*status = EXIT_NOT_ALLOWED;
	return 0;
}

static int
send_cancel(const struct ids *ids)
{
	struct request request;
	int status = 0;

	request_begin(&request, "cancel", 1);
	if (arg.all) {
		request_text(&request, "all", arg.everybody ? "everybody" : "user");
	} else {
		request_list(&request, "ids", ids->count);
		for (unsigned i = 0; i < ids->count; i++)
			msgpack_pack_uint64(&request.packer, ids->id[i]);
	}
	int r = request_once(&request, got_answer, &status);
	return r != 0 ? r : status;
}

static int
cancel_run(const struct words *words)
{
	struct ids ids;

	if (arg.all && words->count > 0)
		return ctl_fail(EXIT_USAGE, "usage", "give ids or --all, not both");
	if (!arg.all && words->count == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"cancel takes one id or more, or --all; 'pyprepctl ls' lists them");
	if (arg.everybody && !arg.all)
		return ctl_fail(EXIT_USAGE, "usage", "--everybody goes with --all");
	int status = ids_read(words, &ids);
	if (status != 0)
		return status;
	status = send_cancel(&ids);
	ids_free(&ids);
	return status;
}

extern const struct command command_cancel;
const struct command command_cancel = {
	.name = "cancel",
	.args = "ID ... | --all [--everybody]",
	.summary = "end jobs, queued or running",
	.examples = "  pyprepctl cancel 17 18\n"
		    "  pyprepctl cancel --all\n",
	.more = "Exit status: 3 no such job (or it has ended); 77 another user's.\n",
	.options = options,
	.complete = COMPLETE_JOB,
	.run = cancel_run,
};
