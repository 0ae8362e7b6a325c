/* drain.c - pyprepctl drain: a pool, or all of them, finish what they have and take nothing new. */
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/print_json.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"

#define LOOK_MS 100

static struct {
	bool wait;
	uint64_t timeout_ns;
} arg;

static const struct option_row options[] = {
	{ "wait", 'w', OPTION_FLAG, &arg.wait, NULL, "until nothing runs there any more", 0, 0 },
	{ "timeout", 't', OPTION_DURATION, &arg.timeout_ns, "S",
	  "with --wait: give up after S seconds (status 124); it goes on draining", 0, 0 },
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "only the exit status", 0, 0 },
	OPTION_ROW_END,
};

static int
got_left(void *context, const msgpack_object *map)
{
	uint64_t *left = context;

	*left = field_u64(map, "left");
	return 0;
}

static int
ask(struct pyprep *p, const char *pool, uint64_t *ret_left)
{
	struct request request;

	request_begin(&request, "drain", pool != NULL);
	if (pool != NULL)
		request_text(&request, "pool", pool);
	return request_send(&request, p, got_left, ret_left);
}

static int
drain(struct pyprep *p, const char *pool, uint64_t *ret_left)
{
	uint64_t end_ns = clock_now() + arg.timeout_ns;

	int status = ask(p, pool, ret_left);
	while (status == 0 && arg.wait && *ret_left > 0) {
		if (arg.timeout_ns > 0 && clock_now() >= end_ns)
			return ctl_fail(EXIT_TIMED_OUT, "timed_out",
					"waited %s; %" PRIu64 " jobs have not ended",
					unit_time_human(arg.timeout_ns).text, *ret_left);
		poll(NULL, 0, LOOK_MS);
		status = ask(p, pool, ret_left);
	}
	return status;
}

static int
drain_run(const struct words *words)
{
	const char *pool = words->count > 0 ? words->word[0] : NULL;
	struct pyprep *p;
	uint64_t left = 0;

	if (words->count > 1)
		return ctl_fail(EXIT_USAGE, "usage",
				"drain takes one pool, or none for all of them; not '%s'",
				words->word[1]);
	int status = ctl_connect(&p);
	if (status != 0)
		return status;
	status = drain(p, pool, &left);
	pyprep_close(p);
	if (status != 0)
		return status;
	if (ctl.json)
		json_print_line(json_pack("{s:s, s:s?, s:I}", "schema", "pyprep.drain/1", "pool",
					  pool, "left", (json_int_t)left));
	else if (!ctl.quiet && left > 0)
		printf("draining; %" PRIu64 " job%s to end\n", left, left == 1 ? " has" : "s have");
	else if (!ctl.quiet)
		printf("drained: nothing runs; 'pyprepctl pool resume NAME' takes jobs again\n");
	return 0;
}

extern const struct command command_drain;
const struct command command_drain = {
	.name = "drain",
	.args = "[POOL] [--wait] [--timeout S]",
	.summary = "finish what has been submitted, and take no new jobs",
	.examples = "  pyprepctl drain cpu --wait\n"
		    "  pyprepctl drain --wait --timeout 60 && pyprepctl stop\n",
	.more = "Without POOL: all pools.  Detached jobs that have not started stay in the store.\n"
		"'pyprepctl pool resume NAME' undoes it.  For operators.\n",
	.options = options,
	.complete = COMPLETE_WORDS,
	.choices = "",
	.run = drain_run,
};
