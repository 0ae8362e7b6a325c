/* explain_start.c - fork-vs-spawn: what a process costs to start, and what makes fork slow. */
#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/explain.h"
#include "client/ctl/floor.h"
#include "client/ctl/stats.h"
#include "ipc/clock.h"

#define MIB (1024u * 1024u)

extern char **environ;

static void
wait_for(pid_t pid)
{
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* fork, end, wait; with `exec`, /bin/true in between. */
static double
fork_ns(unsigned rounds, bool exec)
{
	static char *const argv[] = { "/bin/true", NULL };
	struct samples samples = { 0 };

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t begun = clock_now();
		pid_t pid = floor_fork();
		if (pid == 0) {
			if (exec)
				execv(argv[0], argv);
			_exit(0);
		}
		wait_for(pid);
		samples_add(&samples, clock_now() - begun);
	}
	double p50 = (double)samples_percentile(&samples, 50);
	samples_free(&samples);
	return p50;
}

static double
spawn_ns(unsigned rounds)
{
	static char *const argv[] = { "/bin/true", NULL };
	struct samples samples = { 0 };

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t begun = clock_now();
		pid_t pid = -1;
		if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0)
			break;
		wait_for(pid);
		samples_add(&samples, clock_now() - begun);
	}
	double p50 = (double)samples_percentile(&samples, 50);
	samples_free(&samples);
	return p50;
}

/* The same fork from a process that has written `bytes` of memory. */
static double
fat_fork_ns(unsigned rounds, size_t bytes)
{
	char *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return NAN;
	(void)madvise(memory, bytes, MADV_NOHUGEPAGE); /* as most programs' memory is */
	for (size_t at = 0; at < bytes; at += 4096)
		memory[at] = 1;
	double p50 = fork_ns(rounds, false);
	munmap(memory, bytes);
	return p50;
}

static double
python_start(struct demo *d, const char *method)
{
	const char *const params[] = { method, demo_quick(d) ? "rounds=5" : "rounds=20", NULL };
	json_t *answer = demo_python(d, "start", params);
	double p50 = demo_number(answer, "p50_ns");

	json_decref(answer);
	return p50;
}

int
explain_fork(struct demo *d)
{
	unsigned rounds = demo_quick(d) ? 100 : 1000, few = demo_quick(d) ? 5 : 30;

	double small = fork_ns(rounds, false), with_exec = fork_ns(rounds, true);
	double spawned = spawn_ns(rounds);
	double fat = fat_fork_ns(few, 256 * MIB);
	demo_figure(d, "fork_ns", small, "ns", "fork and wait, from a small process (p50)");
	demo_figure(d, "fork_fat_ns", fat, "ns", "the same from one that holds 256 MiB");
	demo_figure(d, "fork_exec_ns", with_exec, "ns", "fork, exec /bin/true, wait");
	demo_figure(d, "spawn_ns", spawned, "ns", "posix_spawn /bin/true, wait");
	double forked = python_start(d, "method=fork"), respawned = python_start(d, "method=spawn");
	demo_python_figure(d, "fork_ns", forked);
	demo_python_figure(d, "spawn_ns", respawned);
	demo_conclude(d,
		      "A fork of a small process costs %s, and %s from one that holds 256 MiB: the "
		      "kernel copies its page tables. So fork workers early, from a small process.",
		      measure_ns(small), measure_ns(fat));
	demo_conclude(d, "Another program (exec) costs %s; posix_spawn, which copies nothing, %s.",
		      measure_ns(with_exec), measure_ns(spawned));
	if (!isnan(forked) && !isnan(respawned))
		demo_conclude(d,
			      "In CPython a Process by fork takes %s and by spawn %s: spawn starts "
			      "an interpreter and imports again (%s as long), but starts clean: no "
			      "copied locks, threads or memory.",
			      measure_ns(forked), measure_ns(respawned),
			      measure_times(respawned / forked));
	return 0;
}
