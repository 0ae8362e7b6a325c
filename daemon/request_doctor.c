/*
 * request_doctor.c - the verb doctor: is the machine, as this daemon finds it, good for what it
 * promises?  Each thing looked at is one line: ok, warn or fail, what was found, and what to do.
 */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/cgroup.h"
#include "daemon/durable.h"
#include "daemon/limits.h"
#include "daemon/request.h"

#define MIB        (UINT64_C(1) << 20)
#define DISK_LOW   (512 * MIB)
#define FDS_OWN    64u /* of the broker's own: store, sockets, bells */
#define FDS_WORKER 6u

struct diagnosis {
	msgpack_sbuffer lines; /* maps, before their count is known */
	unsigned count;
};

/* `advice` "": nothing to do. */
static void __attribute__((format(printf, 5, 6)))
say(struct diagnosis *d, const char *state, const char *what, const char *advice,
    const char *format, ...)
{
	struct reply one;
	char text[400];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	reply_begin(&one, 4);
	reply_text(&one, "check", what);
	reply_text(&one, "state", state);
	reply_text(&one, "found", text);
	reply_text(&one, "advice", advice);
	msgpack_sbuffer_write(&d->lines, one.bytes.data, one.bytes.size);
	msgpack_sbuffer_destroy(&one.bytes);
	d->count++;
}

static void
look_at_memory_limits(struct broker *b, struct diagnosis *d)
{
	const struct cgroup *c = b->birth->cgroup;

	if (c != NULL && c->version != CGROUP_NONE)
		say(d, "ok", "memory limits", "",
		    "of commands by %s for the whole tree, below %s; of other kinds by RLIMIT_DATA",
		    cgroup_method(c), c->ours);
	else
		say(d, "warn", "memory limits",
		    "until then --memory-limit bounds each process of a command by itself, and an "
		    "out-of-memory kill looks like any SIGKILL",
		    "of commands by rlimits only: %s", c != NULL ? c->why : "no cgroup");
}

static void
look_at_niceness(struct diagnosis *d)
{
	if (limits_can_undo_nice())
		say(d, "ok", "niceness", "", "workers can undo it after a job with --nice");
	else
		say(d, "warn", "niceness", "give the daemon LimitNICE=20 or CAP_SYS_NICE",
		    "workers cannot undo it: each is replaced after a job with --nice (commands "
		    "are not concerned)");
}

static void
look_at_descriptors(struct broker *b, struct diagnosis *d)
{
	struct rlimit limit;
	uint64_t wanted = FDS_OWN + 2 * (uint64_t)b->config->max_clients;

	for (unsigned i = 0; i < b->pool_count; i++)
		wanted += FDS_WORKER * (uint64_t)b->pools[i].wanted;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	if (limit.rlim_cur >= wanted)
		say(d, "ok", "descriptors", "", "%llu, and at most %llu are needed",
		    (unsigned long long)limit.rlim_cur, (unsigned long long)wanted);
	else
		say(d, "warn", "descriptors",
		    "raise LimitNOFILE= or ulimit -n, or lower max_clients",
		    "%llu, and with max_clients (%u) connected %llu are needed",
		    (unsigned long long)limit.rlim_cur, b->config->max_clients,
		    (unsigned long long)wanted);
}

static void
look_at_disk(struct diagnosis *d, const char *what, const char *directory, const char *advice)
{
	struct statvfs v;

	if (statvfs(directory, &v) < 0 || access(directory, W_OK) < 0) {
		say(d, "fail", what, advice, "%s cannot be written: %s", directory,
		    strerror(errno));
		return;
	}
	uint64_t free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	bool low = free_bytes < DISK_LOW || v.f_favail < 1000;
	say(d, low ? "warn" : "ok", what, low ? advice : "", "%s has %llu MiB free", directory,
	    (unsigned long long)(free_bytes / MIB));
}

static void
look_at_store(struct broker *b, struct diagnosis *d)
{
	enum job_error error;

	if (!durable_ready(b, &error)) {
		say(d, "fail", "store",
		    "make room, or mend the disk: it goes on by itself; attached jobs run "
		    "meanwhile",
		    "detached jobs are refused: %s (%s)", durable_trouble(b), b->birth->state_dir);
		return;
	}
	look_at_disk(d, "store", b->birth->state_dir,
		     "make room there, or lower store_keep or store_bytes in pyprepd.conf");
}

static void
look_at_scratch(struct broker *b, struct diagnosis *d)
{
	if (b->birth->scratch_home == NULL)
		say(d, "warn", "scratch directories", "set scratch_dir in pyprepd.conf",
		    "there are none: commands run without PYPREP_SCRATCH");
	else
		look_at_disk(d, "scratch directories", b->birth->scratch_home,
			     "set scratch_dir in pyprepd.conf to a larger disk");
}

static void
look_at_service(struct diagnosis *d)
{
	if (getenv("NOTIFY_SOCKET") != NULL)
		say(d, "ok", "service", "",
		    "run by a service manager, which is told of readiness%s",
		    getenv("WATCHDOG_USEC") != NULL ? " and watches it" : "");
	else
		say(d, "ok", "service", "", "started by hand: nobody restarts it");
}

static void
look_at_pools(struct broker *b, struct diagnosis *d)
{
	char advice[100];
	unsigned failed = 0;

	for (unsigned i = 0; i < b->pool_count; i++) {
		const struct pool *p = &b->pools[i];
		if (p->state != POOL_FAILED)
			continue;
		failed++;
		snprintf(advice, sizeof(advice), "see the log, then: pyprepctl pool resume %s",
			 p->config->name);
		say(d, "fail", "pools", advice, "%s has failed: its workers die at start",
		    p->config->name);
	}
	if (failed == 0)
		say(d, "ok", "pools", "", "%u, none has failed", b->pool_count);
	if (b->manager.state == MANAGER_FAILED)
		say(d, "fail", "manager", "pyprepctl reload",
		    "it was given up: counters and locks through it are refused");
}

void
verb_doctor(struct broker *b, const struct request *r)
{
	struct diagnosis d = { 0 };
	struct reply a;

	msgpack_sbuffer_init(&d.lines);
	look_at_service(&d);
	look_at_pools(b, &d);
	look_at_memory_limits(b, &d);
	look_at_niceness(&d);
	look_at_descriptors(b, &d);
	look_at_store(b, &d);
	look_at_scratch(b, &d);
	reply_begin(&a, 1);
	reply_key(&a, "checks");
	msgpack_pack_array(&a.pack, d.count);
	msgpack_sbuffer_write(&a.bytes, d.lines.data, d.lines.size);
	msgpack_sbuffer_destroy(&d.lines);
	reply_send(b, r, &a, 0);
}
