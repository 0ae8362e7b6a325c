/*
 * usage.c - see usage.h.
 *
 * On-CPU time is the thread's CPU clock, which the kernel brings up to date when it is
 * read; the first field of schedstat lags by up to a tick while the thread runs.  The second
 * field (time ready and waiting) only grows while the thread does not run, so it is exact.
 */
#include "daemon/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ipc/clock.h"

/* Above this, malloc gives memory back to the kernel on free.  glibc would otherwise raise the
 * bound to the largest block ever freed, and a job's memory would stay with the worker and
 * be counted to its successors. */
#define MMAP_THRESHOLD (256 * 1024)

static int
open_proc(const char *path, int flags)
{
	return open(path, flags | O_CLOEXEC);
}

void
usage_open(struct usage_meter *m, bool whole_process)
{
	*m = (struct usage_meter){ .whole_process = whole_process };
	m->schedstat = open_proc("/proc/thread-self/schedstat", O_RDONLY);
	m->status = open_proc("/proc/self/status", O_RDONLY);
	m->clear_refs = whole_process ? open_proc("/proc/self/clear_refs", O_WRONLY) : -1;
	if (whole_process)
		mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
}

static void
close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void
usage_close(struct usage_meter *m)
{
	close_one(&m->schedstat);
	close_one(&m->status);
	close_one(&m->clear_refs);
}

/* ---- the sources ---- */

static uint64_t
thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t
runqueue_ns(const struct usage_meter *m)
{
	char text[96];
	ssize_t n = m->schedstat < 0 ? -1 : pread(m->schedstat, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	char *second = strchr(text, ' ');
	return second == NULL ? 0 : strtoull(second, NULL, 10);
}

static uint64_t
timeval_ns(struct timeval t)
{
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_usec * NS_PER_US;
}

static void
read_rusage(struct usage_snapshot *s)
{
	struct rusage r;

	if (getrusage(RUSAGE_THREAD, &r) < 0)
		return;
	s->user_ns = timeval_ns(r.ru_utime);
	s->system_ns = timeval_ns(r.ru_stime);
	s->faults_minor = (uint64_t)r.ru_minflt;
	s->faults_major = (uint64_t)r.ru_majflt;
	s->switches_voluntary = (uint64_t)r.ru_nvcsw;
	s->switches_involuntary = (uint64_t)r.ru_nivcsw;
}

/* "VmHWM:	  123 kB" in `text`, in bytes; 0 when it is not there. */
static uint64_t
status_field(const char *text, const char *name)
{
	const char *line = strstr(text, name);

	return line == NULL ? 0 : strtoull(line + strlen(name), NULL, 10) * 1024;
}

/* The peak memory of the run that ends now.  A worker alone in its process: since it was
 * reset; else since the process began. */
static uint64_t
read_memory(struct usage_meter *m, const struct usage_snapshot *now)
{
	uint64_t faults = now->faults_minor + now->faults_major;
	char text[2048];

	m->growth = 0;
	if (faults == m->memory_faults)
		return m->memory_last;
	ssize_t n = m->status < 0 ? -1 : pread(m->status, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	uint64_t peak = status_field(text, "\nVmHWM:");
	m->memory_last = m->whole_process ? status_field(text, "\nVmRSS:") : peak;
	uint64_t anonymous = status_field(text, "\nRssAnon:");
	m->growth = m->anonymous_last != 0 ? (int64_t)(anonymous - m->anonymous_last) : 0;
	m->anonymous_last = anonymous;
	m->memory_faults = faults;
	m->peak_stale = peak > m->memory_last;
	return peak;
}

/* Make the kernel's peak what the process holds now, unless it is. */
static void
reset_peak(struct usage_meter *m)
{
	uint64_t faults = m->base.faults_minor + m->base.faults_major;

	if (m->clear_refs < 0 || (!m->peak_stale && faults == m->memory_faults))
		return;
	(void)!pwrite(m->clear_refs, "5", 1, 0);
	m->peak_stale = false;
}

/* ---- a run ---- */

/* Cut the parts so that they sum to the run: the clocks are read one after the other. */
static void
share_out(struct usage *u, uint64_t run, uint64_t oncpu, uint64_t runqueue)
{
	u->oncpu_ns = oncpu < run ? oncpu : run;
	u->runqueue_ns = runqueue < run - u->oncpu_ns ? runqueue : run - u->oncpu_ns;
	u->blocked_ns = run - u->oncpu_ns - u->runqueue_ns;
}

/* User and system time hold a little of the measuring around the run: cut them, in
 * proportion, to the time the run was on a CPU. */
static void
share_cpu(struct usage *u, uint64_t user, uint64_t system)
{
	uint64_t sum = user + system;

	if (sum > u->oncpu_ns) {
		user = (uint64_t)((double)user * (double)u->oncpu_ns / (double)sum);
		system = u->oncpu_ns - user;
	}
	u->user_ns = user;
	u->system_ns = system;
}

static uint64_t
run_time(const struct outcome *o)
{
	return o->ended_ns > o->started_ns ? o->ended_ns - o->started_ns : 0;
}

void
usage_begin(struct usage_meter *m, unsigned kind)
{
	struct usage_guess *g = &m->guesses[kind % USAGE_GUESSES];

	m->full = usage_is_due(m, kind);
	if (!m->full) {
		g->since_full++;
		return;
	}
	g->since_full = 0;
	read_rusage(&m->base);
	reset_peak(m);
	m->base.runqueue_ns = runqueue_ns(m);
	m->base.oncpu_ns = thread_cpu_ns();
	m->light_ns = 0;
}

static void
end_full(struct usage_meter *m, struct outcome *o)
{
	struct usage *u = &o->usage;
	struct usage_snapshot now = { .oncpu_ns = thread_cpu_ns() };

	now.runqueue_ns = runqueue_ns(m);
	read_rusage(&now);
	share_out(u, run_time(o), now.oncpu_ns - m->base.oncpu_ns,
		  now.runqueue_ns - m->base.runqueue_ns);
	share_cpu(u, now.user_ns - m->base.user_ns, now.system_ns - m->base.system_ns);
	u->faults_minor = (uint32_t)(now.faults_minor - m->base.faults_minor);
	u->faults_major = (uint32_t)(now.faults_major - m->base.faults_major);
	u->switches_voluntary = (uint32_t)(now.switches_voluntary - m->base.switches_voluntary);
	u->switches_involuntary =
		(uint32_t)(now.switches_involuntary - m->base.switches_involuntary);
	u->peak_memory_bytes = read_memory(m, &now);
	o->method = m->schedstat < 0 ? USAGE_LIGHT : USAGE_THREAD;
	/* Light runs that follow are compared with now, not with before this run. */
	m->base = now;
	m->light_ns = 0;
}

/* A run of a tiny kind took long.  What the thread used since the last snapshot, less the
 * runs that are accounted for, is an upper bound: it holds the waiting between runs too.  The
 * run is shared out in its proportion. */
static void
end_surprise(struct usage_meter *m, struct outcome *o)
{
	uint64_t run = run_time(o);
	struct usage_snapshot now = m->base;

	now.oncpu_ns = thread_cpu_ns();
	now.runqueue_ns = runqueue_ns(m);
	uint64_t oncpu = now.oncpu_ns - m->base.oncpu_ns;
	uint64_t runqueue = now.runqueue_ns - m->base.runqueue_ns;
	oncpu = oncpu > m->light_ns ? oncpu - m->light_ns : 0;
	if (oncpu + runqueue > run) {
		double scale = (double)run / (double)(oncpu + runqueue);
		oncpu = (uint64_t)((double)oncpu * scale);
		runqueue = (uint64_t)((double)runqueue * scale);
	}
	share_out(&o->usage, run, oncpu, runqueue);
	m->base = now;
	m->light_ns = 0;
}

void
usage_end(struct usage_meter *m, unsigned kind, struct outcome *o)
{
	struct usage_guess *g = &m->guesses[kind % USAGE_GUESSES];
	uint64_t run = run_time(o);

	o->usage = (struct usage){ 0 };
	if (m->full) {
		end_full(m, o);
	} else {
		o->method = USAGE_LIGHT;
		o->usage.peak_memory_bytes = m->memory_last;
		if (run < USAGE_LIGHT_NS) {
			o->usage.oncpu_ns = run;
			m->light_ns += run;
		} else {
			end_surprise(m, o);
		}
	}
	if (run >= USAGE_LIGHT_NS)
		g->tiny_in_row = 0;
	else if (g->tiny_in_row < USAGE_TINY_RUNS)
		g->tiny_in_row++;
}
