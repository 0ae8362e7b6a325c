/* hold.c - pyprepctl hold and release: queued jobs that are not to start for the time being. */
#include <inttypes.h>
#include <msgpack.h>

#include "client/ctl/command.h"
#include "client/ctl/ids.h"
#include "client/ctl/print_json.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"

static const struct option_row options[] = {
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "do not say how many", 0, 0 },
	OPTION_ROW_END,
};

struct asked {
	const char *verb, *done; /* "hold", "held" */
	int status;
};

static int
got_answer(void *context, const msgpack_object *map)
{
	struct asked *asked = context;
	uint64_t count = field_u64(map, asked->done);

	if (ctl.json)
		printf("{\"schema\":\"pyprep.%s/1\",\"%s\":%" PRIu64 "}\n", asked->verb,
		       asked->done, count);
	else if (!ctl.quiet)
		printf("%s %" PRIu64 " job%s\n", asked->done, count, count == 1 ? "" : "s");
	if (ids_complain(map, "running", "bad_request", EXIT_USAGE,
			 "running already, only queued jobs are held and released"))
		asked->status = EXIT_USAGE;
	if (ids_complain(map, "missing", "no_such_job", EXIT_NO_SUCH,
			 "no such job, or it has ended already"))
		asked->status = EXIT_NO_SUCH;
	if (ids_complain(map, "not_allowed", "not_allowed", EXIT_NOT_ALLOWED,
			 "not allowed, these are another user's jobs"))
		asked->status = EXIT_NOT_ALLOWED;
	return 0;
}

static int
ask(const struct words *words, const char *verb, const char *done)
{
	struct asked asked = { verb, done, 0 };
	struct request request;
	struct ids ids;

	if (words->count == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"%s takes one id or more; 'pyprepctl ls --state queued' lists them",
				verb);
	int status = ids_read(words, &ids);
	if (status != 0)
		return status;
	request_begin(&request, verb, 1);
	request_list(&request, "ids", ids.count);
	for (unsigned i = 0; i < ids.count; i++)
		msgpack_pack_uint64(&request.packer, ids.id[i]);
	int r = request_once(&request, got_answer, &asked);
	ids_free(&ids);
	return r != 0 ? r : asked.status;
}

static int
hold_run(const struct words *words)
{
	return ask(words, "hold", "held");
}

static int
release_run(const struct words *words)
{
	return ask(words, "release", "released");
}

#define STATUS_TEXT \
	"Exit status: 2 it runs already; 3 no such job (or it has ended); 77 another user's.\n"

extern const struct command command_hold;
const struct command command_hold = {
	.name = "hold",
	.args = "ID ...",
	.summary = "do not start queued jobs until `release`",
	.examples = "  pyprepctl hold 17 18\n",
	.more = STATUS_TEXT,
	.options = options,
	.complete = COMPLETE_JOB,
	.run = hold_run,
};

extern const struct command command_release;
const struct command command_release = {
	.name = "release",
	.args = "ID ...",
	.summary = "let held jobs start",
	.examples = "  pyprepctl release 17 18\n",
	.more = STATUS_TEXT,
	.options = options,
	.complete = COMPLETE_JOB,
	.run = release_run,
};
