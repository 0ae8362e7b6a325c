/* ping.c - pyprepctl ping: does a daemon answer?  With --wait: not before it does. */
#include <inttypes.h>
#include <time.h>

#include "client/ctl/command.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"

#define RETRY_NS (5 * NS_PER_MS)

static uint64_t wait_ns;

static const struct option_row options[] = {
	{ "wait", 'w', OPTION_DURATION, &wait_ns, "S", "try again until it answers or S passes", 0,
	  0 },
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "only the exit status", 0, 0 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

struct ping {
	uint64_t broker_pid;
	bool ready;
	uint64_t round_trip_ns;
};

static int
got_pong(void *context, const msgpack_object *map)
{
	struct ping *ping = context;
	ping->broker_pid = field_u64(map, "broker_pid");
	ping->ready = field_bool(map, "ready");
	return 0;
}

/* 0, or a negative errno with `why`. */
static int
ping_once(struct ping *ping, int timeout_ms, struct pyprep_problem *why)
{
	struct request request;
	struct pyprep *p;

	int r = pyprep_connect_lane(ctl.runtime_dir, ctl.lane, &p, why);
	if (r < 0)
		return r;
	uint64_t begun = clock_now();
	request_begin(&request, "ping", 0);
	r = request_ask(&request, p, timeout_ms, got_pong, ping, why);
	ping->round_trip_ns = clock_now() - begun;
	pyprep_close(p);
	return r;
}

/* An answer that cannot change by waiting. */
static bool
is_final(const struct pyprep_problem *why)
{
	return why->exit_status == EXIT_NOT_ALLOWED;
}

static int
ping_run(const struct words *words)
{
	const struct timespec nap = { .tv_nsec = RETRY_NS };
	struct pyprep_problem why = { .exit_status = EXIT_UNREACHABLE };
	struct ping ping = { 0 };
	uint64_t begun = clock_now();

	if (words->count > 0)
		return ctl_fail(EXIT_USAGE, "usage", "ping takes no words, not '%s'",
				words->word[0]);
	for (;;) {
		uint64_t passed = clock_now() - begun;
		uint64_t left = passed < wait_ns ? wait_ns - passed : 0;
		int patience = left > NS_PER_S || wait_ns == 0 ? 1000 : (int)(left / NS_PER_MS) + 1;
		if (ping_once(&ping, patience, &why) == 0) {
			if (ping.ready || wait_ns == 0)
				break;
			snprintf(why.code, sizeof(why.code), "unreachable");
			snprintf(why.message, sizeof(why.message),
				 "the daemon answers, but not all of its workers are ready; "
				 "'pyprepctl status' shows which");
		}
		if (left == 0 || is_final(&why)) {
			why.exit_status = is_final(&why) ? EXIT_NOT_ALLOWED : EXIT_UNREACHABLE;
			return ctl_fail_problem(&why);
		}
		nanosleep(&nap, NULL);
	}
	if (ctl.json)
		printf("{\"schema\":\"pyprep.ping/1\",\"broker_pid\":%" PRIu64
		       ",\"round_trip_ns\":%" PRIu64 "}\n",
		       ping.broker_pid, ping.round_trip_ns);
	else if (!ctl.quiet)
		printf("pyprepd answers (broker pid %" PRIu64 ") in %s\n", ping.broker_pid,
		       unit_time_human(ping.round_trip_ns).text);
	return 0;
}

extern const struct command command_ping;
const struct command command_ping = {
	.name = "ping",
	.args = "[--wait S]",
	.summary = "ask whether the daemon answers; with --wait, until its workers are ready",
	.examples = "  pyprepctl ping\n"
		    "  pyprepctl ping --wait 5 && echo ready\n",
	.more = "Exit status: 0 it answers; 69 it does not.\n",
	.options = options,
	.run = ping_run,
};
