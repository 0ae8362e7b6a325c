/*
 * drill_clock.c - drill clock-jump: CLOCK_REALTIME goes an hour back and forth while jobs wait for
 * their delays.  The daemon sees it through libfaketime (Debian package libfaketime); the machine's
 * clock is not touched.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/drill.h"
#include "client/ctl/drill_load.h"
#include "ipc/clock.h"

#define DELAY_NS (400 * NS_PER_MS)
#define MOVED_NS (60 * NS_PER_S) /* from ours: less is no jump */
#define LATE_NS  (5 * NS_PER_S)  /* as a machine with other work may be; an hour is not */

static const char *const libraries[] = {
	"/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
	"/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
	"/usr/lib/faketime/libfaketime.so.1",
	"/usr/lib64/faketime/libfaketime.so.1",
};

static const char *
find_library(void)
{
	for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++)
		if (access(libraries[i], R_OK) == 0)
			return libraries[i];
	return NULL;
}

static void
set_clock(const char *path, const char *offset)
{
	char next[320];

	/* In one step: the daemon may read it at any moment. */
	snprintf(next, sizeof next, "%s.next", path);
	FILE *f = fopen(next, "we");
	if (f == NULL)
		return;
	fputs(offset, f);
	fclose(f);
	(void)rename(next, path);
}

struct delayed {
	uint64_t ended, early, late;
	unsigned jumps, seen; /* by its receipts */
};

/* Is the daemon's clock where it was set? */
static bool
is_there(const struct pyprep_receipt *r, const char *offset)
{
	int64_t away_ns = (int64_t)(r->ended_wall_ns - clock_wall());
	int64_t wanted_ns = strtoll(offset, NULL, 10) * (int64_t)NS_PER_S;

	return llabs(away_ns - wanted_ns) < (int64_t)MOVED_NS;
}

/* A job with a delay across a jump: from its submit to its end, by our own clock. */
static void
run_delayed(struct drill *d, const char *path, const char *offset, struct delayed *sum)
{
	static const struct pyprep_policy policy = { .delay_ns = DELAY_NS };
	const struct pyprep_job job = { .kind = "noop", .pool = "cpu", .policy = &policy };
	struct pyprep_event event;
	struct pyprep *p;
	int r;

	if (pyprep_connect(d->daemon.runtime, &p, NULL) < 0)
		return;
	uint64_t from_ns = clock_now();
	if (pyprep_submit(p, &job, NULL, NULL, NULL) == 0) {
		drill_work(d, clock_now() + DELAY_NS / 4);
		set_clock(path, offset);
		do
			drill_turn(d, true);
		while ((r = pyprep_next(p, 0, &event)) == 0 &&
		       clock_now() - from_ns < DELAY_NS + LATE_NS);
		uint64_t took_ns = clock_now() - from_ns;
		sum->ended += r == 1 && strcmp(event.receipt.state, "succeeded") == 0;
		sum->seen += r == 1 && is_there(&event.receipt, offset);
		sum->early += took_ns < DELAY_NS;
		sum->late += took_ns > DELAY_NS + LATE_NS;
	}
	pyprep_close(p);
}

int
drill_clock_jump(struct demo *demo)
{
	static const char *const offsets[] = { "-3600", "+0", "+3600", "+86400", "-86400", "+0" };
	const char *library = find_library();
	static struct drill d;
	struct delayed sum = { 0 };
	char path[300];

	if (library == NULL) {
		demo_say(demo, "not done: libfaketime is missing (apt install libfaketime)");
		return 0;
	}
	snprintf(path, sizeof path, "%s/clock", demo_directory(demo));
	set_clock(path, "+0");
	setenv("LD_PRELOAD", library, 1);
	setenv("FAKETIME_TIMESTAMP_FILE", path, 1);
	setenv("FAKETIME_NO_CACHE", "1", 1);
	setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1", 1);
	int r = drill_begin(&d, demo);
	unsetenv("LD_PRELOAD");
	if (r < 0)
		return -1;
	uint64_t end_ns = clock_now() + drill_options.for_ns;
	for (; clock_now() < end_ns; sum.jumps++)
		run_delayed(&d, path, offsets[sum.jumps % 6], &sum);
	set_clock(path, "+0");
	demo_figure(demo, "jumps", sum.jumps, "", "jumps of an hour or a day");
	demo_check(demo, sum.seen == sum.jumps, "the daemon saw all %u jumps (%u)", sum.jumps,
		   sum.seen);
	demo_check(demo, sum.early == 0 && sum.late == 0 && sum.ended == sum.jumps,
		   "jobs with a delay of 400 ms started neither early nor late (%llu, %llu of %u)",
		   (unsigned long long)sum.early, (unsigned long long)sum.late, sum.jumps);
	r = drill_judge(&d);
	drill_end(&d);
	return r;
}
