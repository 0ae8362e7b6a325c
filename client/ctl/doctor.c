/*
 * doctor.c - pyprepctl doctor: is this machine good for pyprep?  One line for each thing looked
 * at: ok, warn or fail, what was found, and what to do about it.  What concerns the daemon is
 * asked of the daemon, which may live in another cgroup and with other limits than we.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "client/ctl/command.h"
#include "client/ctl/print_json.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "ipc/zmq.h"

#define MIB     (UINT64_C(1) << 20)
#define SHM_LOW (64 * MIB)

static const struct option_row options[] = {
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "only what is not ok", 0, 0 },
	OPTION_ROW_END,
};

enum state { STATE_OK, STATE_WARN, STATE_FAIL };
static const char *const state_texts[] = { "ok", "warn", "fail" };
static const enum colour state_colours[] = { COLOUR_GOOD, COLOUR_WARN, COLOUR_BAD };

static unsigned counts[3];

static void
print_check(enum state state, const char *check, const char *found, const char *advice)
{
	counts[state]++;
	if (ctl.quiet && state == STATE_OK)
		return;
	if (ctl.json) {
		json_print_line(json_pack("{s:s, s:s, s:s, s:s, s:s*}", "schema", "pyprep.check/1",
					  "check", check, "state", state_texts[state], "found",
					  found, "advice", advice[0] != '\0' ? advice : NULL));
		return;
	}
	printf("%s%-4s%s  %s: %s\n", colour_begin(state_colours[state]), state_texts[state],
	       colour_end(state_colours[state]), check, found);
	if (advice[0] != '\0')
		printf("      %s\n", advice);
}

static void __attribute__((format(printf, 4, 5)))
say(enum state state, const char *check, const char *advice, const char *format, ...)
{
	char text[500];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	print_check(state, check, text, advice);
}

/* ---- what we see ourselves ---- */

static void
look_at_kernel(void)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		return;
	/* pidfd, close_range(), openat2() */
	if (major > 5 || (major == 5 && minor >= 9))
		say(STATE_OK, "kernel", "", "%s %s", u.sysname, u.release);
	else
		say(STATE_FAIL, "kernel", "use Linux 5.9 or later", "%s %s is too old", u.sysname,
		    u.release);
}

static void
look_at_shared_memory(void)
{
	struct statvfs v;

	if (statvfs("/dev/shm", &v) < 0 || access("/dev/shm", W_OK | X_OK) < 0) {
		say(STATE_FAIL, "shared memory", "mount a tmpfs on /dev/shm, mode 1777",
		    "/dev/shm cannot be written: no arrays and no queues by name");
		return;
	}
	uint64_t size = (uint64_t)v.f_blocks * v.f_frsize, room = (uint64_t)v.f_bavail * v.f_frsize;
	bool low = room < SHM_LOW;
	say(low ? STATE_WARN : STATE_OK, "shared memory",
	    low ? "pyprepctl ipc ls shows who has it; mount -o remount,size=1G /dev/shm (docker "
		  "run "
		  "--shm-size=1g)"
		: "",
	    "/dev/shm has %s of %s free", unit_bytes_human(room).text, unit_bytes_human(size).text);
}

static void
look_at_systemd(void)
{
	if (access("/run/systemd/system", F_OK) == 0)
		say(STATE_OK, "systemd", "", "it runs this machine");
	else
		say(STATE_OK, "systemd", "",
		    "it does not run this machine: start pyprepd by hand or by what does");
}

static void
look_at_zmq(void)
{
	if (zmq_load() == 0)
		say(STATE_OK, "libzmq", "", "found");
	else
		say(STATE_WARN, "libzmq",
		    "needed by lane zmq, links of way zmq, manager and locks only: apt-get install "
		    "libzmq5",
		    "%s", zmq_problem());
}

static void
look_at_python(void)
{
	const char *name = getenv("PYPREP_PYTHON");
	char command[4200], version[100] = "";

	snprintf(command, sizeof command, "exec 2>&1; exec \"$PYTHON\" -V");
	setenv("PYTHON", name != NULL ? name : "python3", 1);
	FILE *f = popen(command, "re");
	bool read = f != NULL && fgets(version, sizeof version, f) != NULL;
	bool good = f != NULL && pclose(f) == 0 && read;
	version[strcspn(version, "\n")] = '\0';
	if (good)
		say(STATE_OK, "python", "", "%s", version);
	else
		say(STATE_WARN, "python",
		    "needed by compare, explain and some demos only: apt-get install python3, or "
		    "set "
		    "PYPREP_PYTHON",
		    "%s does not run", name != NULL ? name : "python3");
}

/* ---- what the daemon sees ---- */

static enum state
state_of(const msgpack_object *check)
{
	for (unsigned i = 0; i < 3; i++)
		if (field_text_is(check, "state", state_texts[i]))
			return (enum state)i;
	return STATE_FAIL;
}

static int
got_checks(void *context, const msgpack_object *map)
{
	const msgpack_object *check;
	unsigned count = field_list(map, "checks", &check);

	(void)context;
	for (unsigned i = 0; i < count; i++) {
		char name[64], found[500], advice[300];
		snprintf(name, sizeof name, "%.*s", FIELD_TEXT(&check[i], "check"));
		snprintf(found, sizeof found, "%.*s", FIELD_TEXT(&check[i], "found"));
		snprintf(advice, sizeof advice, "%.*s", FIELD_TEXT(&check[i], "advice"));
		print_check(state_of(&check[i]), name, found, advice);
	}
	return 0;
}

static void
ask_daemon(void)
{
	struct pyprep_problem why;
	struct request request;
	struct pyprep *p;

	if (pyprep_connect_lane(ctl.runtime_dir, ctl.lane, &p, &why) < 0) {
		say(STATE_FAIL, "daemon",
		    "systemctl start pyprepd, or pyprepd & by hand; then ask again: its cgroup, "
		    "limits "
		    "and store are its own",
		    "%s", why.message);
		return;
	}
	say(STATE_OK, "daemon", "", "it answers, over lane %s", pyprep_lane(p));
	request_begin(&request, "doctor", 0);
	if (request_ask(&request, p, -1, got_checks, NULL, &why) < 0)
		say(STATE_FAIL, "daemon",
		    "pyprepctl --version and pyprepd --version tell which is "
		    "older",
		    "%s", why.message);
	pyprep_close(p);
}

static int
doctor_run(const struct words *words)
{
	if (words->count > 0)
		return ctl_fail(EXIT_USAGE, "usage", "doctor takes no words, not '%s'",
				words->word[0]);
	look_at_kernel();
	look_at_shared_memory();
	look_at_systemd();
	look_at_zmq();
	look_at_python();
	ask_daemon();
	if (!ctl.json && !ctl.quiet)
		printf("%u ok, %u to look at, %u wrong\n", counts[STATE_OK], counts[STATE_WARN],
		       counts[STATE_FAIL]);
	return counts[STATE_FAIL] > 0 ? EXIT_SOME_FAILED : 0;
}

extern const struct command command_doctor;
const struct command command_doctor = {
	.name = "doctor",
	.args = "[--json] [--quiet]",
	.summary = "check that this machine and its daemon are good for all that pyprep does",
	.examples = "  pyprepctl doctor\n"
		    "  pyprepctl doctor --json | jq -r 'select(.state==\"fail\").advice'\n",
	.more = "Each line is ok, warn (something is weaker or missing that only some need) or "
		"fail,\n"
		"what was found, and below it what to do.  What concerns the daemon it says "
		"itself.\n"
		"Exit status: 1 when a line says fail.\n",
	.options = options,
	.run = doctor_run,
};
