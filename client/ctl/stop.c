/* stop.c - pyprepctl stop: end the daemon, and wait until it has gone. */
#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/ctl/command.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"
#include "ipc/cleanup.h"

static struct {
	bool now, no_wait;
} arg;

static const struct option_row options[] = {
	{ "now", 0, OPTION_FLAG, &arg.now, NULL, "do not let running jobs finish", 0, 0 },
	{ "no-wait", 0, OPTION_FLAG, &arg.no_wait, NULL, "do not wait until the daemon has gone", 0,
	  0 },
	OPTION_ROW_END,
};

/* The first reply of "status" names the supervisor. */
static int
got_status(void *context, const msgpack_object *map)
{
	uint64_t *pid = context;

	if (field_get(map, "supervisor_pid"))
		*pid = field_u64(map, "supervisor_pid");
	return 0;
}

/* -1 when it cannot be watched, for example because it runs in another pid namespace. */
static int
watch_supervisor(struct pyprep *p)
{
	struct pyprep_problem why;
	struct request request;
	uint64_t pid = 0;

	request_begin(&request, "status", 0);
	if (request_ask(&request, p, 1000, got_status, &pid, &why) < 0 || pid == 0)
		return -1;
	return (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
}

static int
stop_run(const struct words *words)
{
	struct pyprep_problem why;
	struct request request;
	struct pyprep *p;

	if (words->count > 0)
		return ctl_fail(EXIT_USAGE, "usage", "stop takes no words, not '%s'",
				words->word[0]);
	int status = ctl_connect(&p);
	if (status != 0)
		return status;
	scoped_fd supervisor = arg.no_wait ? -1 : watch_supervisor(p);
	request_begin(&request, "stop", 1);
	request_bool(&request, "now", arg.now);
	int r = request_ask(&request, p, -1, NULL, NULL, &why);
	pyprep_close(p);
	/* it may be gone before its answer is here */
	if (r < 0 && r != -EPIPE)
		return ctl_fail_problem(&why);
	struct pollfd gone = { .fd = supervisor, .events = POLLIN };
	if (supervisor >= 0)
		while (poll(&gone, 1, -1) < 0 && errno == EINTR)
			;
	return 0;
}

extern const struct command command_stop;
const struct command command_stop = {
	.name = "stop",
	.args = "[--now] [--no-wait]",
	.summary = "end the daemon; running jobs finish first",
	.examples = "  pyprepctl stop\n"
		    "  pyprepctl stop --now\n",
	.more = "Returns when the daemon has gone.  For operators.\n",
	.options = options,
	.run = stop_run,
};
