/*
 * bench_machine.c - what the figures were measured on, and how quiet it was.
 *
 * How far two CPUs are from each other decides what rings between them can do: a cache line
 * takes 40 ns within one chiplet and 200 ns and more between two, and a virtual machine's
 * CPUs move between the two.  So every run measures it.
 */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/bench.h"
#include "client/ctl/floor.h"
#include "ipc/clock.h"

#define HOP_BATCHES  9
#define HOP_TURNS    2000
#define NEAR_NS      120
#define BUSY_MS      250
#define BUSY_PERCENT 10

/* ---- the distance ---- */

struct hop {
	_Alignas(RING_LINE) _Atomic uint64_t line; /* odd: the first CPU's turn is over */
	_Alignas(RING_LINE) _Atomic uint64_t best_ns;
};

static void
return_the_line(struct hop *hop)
{
	for (uint64_t i = 0; i < (uint64_t)HOP_BATCHES * HOP_TURNS; i++) {
		while (atomic_load_explicit(&hop->line, memory_order_acquire) != 2 * i + 1)
			;
		atomic_store_explicit(&hop->line, 2 * i + 2, memory_order_release);
	}
}

/* The best batch counts: what disturbs makes it longer only. */
static void
send_the_line(struct hop *hop)
{
	uint64_t best = UINT64_MAX, i = 0;

	for (int batch = 0; batch < HOP_BATCHES; batch++) {
		uint64_t begun = clock_now();
		for (int turn = 0; turn < HOP_TURNS; turn++, i++) {
			atomic_store_explicit(&hop->line, 2 * i + 1, memory_order_release);
			while (atomic_load_explicit(&hop->line, memory_order_acquire) != 2 * i + 2)
				;
		}
		uint64_t took = clock_now() - begun;
		best = took < best ? took : best;
	}
	atomic_store(&hop->best_ns, best);
}

static pid_t
fork_hopper(struct hop *hop, int cpu, void (*work)(struct hop *))
{
	pid_t pid = floor_fork();

	if (pid == 0) {
		(void)floor_bind(0, cpu);
		work(hop);
		_exit(0);
	}
	return pid;
}

/* ns one way between two CPUs, or NAN. */
static double
measure_hop(int first, int second)
{
	struct hop *hop = floor_share(sizeof *hop);

	if (!hop)
		return NAN;
	pid_t a = fork_hopper(hop, second, return_the_line);
	pid_t b = a > 0 ? fork_hopper(hop, first, send_the_line) : -1;
	if (b > 0)
		while (waitpid(b, NULL, 0) < 0 && errno == EINTR)
			;
	floor_kill(a);
	uint64_t best = atomic_load(&hop->best_ns);
	munmap(hop, sizeof *hop);
	return b > 0 && best > 0 ? (double)best / HOP_TURNS / 2 : NAN;
}

/* ---- the machine ---- */

static void
look_at_cpus(struct machine *m)
{
	cpu_set_t set;

	m->cpus = 1;
	if (sched_getaffinity(0, sizeof set, &set) == 0)
		m->cpus = (unsigned)CPU_COUNT(&set);
}

static void
look_at_model(struct machine *m)
{
	char line[256];

	snprintf(m->model, sizeof m->model, "unknown CPU");
	FILE *file = fopen("/proc/cpuinfo", "re");
	if (!file)
		return;
	while (fgets(line, sizeof line, file)) {
		const char *colon = strchr(line, ':');
		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		snprintf(m->model, sizeof m->model, "%s", colon + 2);
		m->model[strcspn(m->model, "\n")] = '\0';
		break;
	}
	fclose(file);
}

/* All time of all CPUs and the part of it that was not idle, in ticks. */
static bool
cpu_ticks(double *ret_all, double *ret_busy)
{
	double v[8] = { 0 };

	FILE *file = fopen("/proc/stat", "re");
	if (!file)
		return false;
	int n = fscanf(file, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &v[0], &v[1], &v[2], &v[3],
		       &v[4], &v[5], &v[6], &v[7]);
	fclose(file);
	*ret_all = 0;
	for (int i = 0; i < n; i++)
		*ret_all += v[i];
	*ret_busy = *ret_all - v[3] - v[4]; /* idle, waiting for I/O */
	return n >= 5;
}

static double
others_busy(void)
{
	double all, busy, all_then, busy_then;

	if (!cpu_ticks(&all_then, &busy_then))
		return 0;
	bench_pause_ms(BUSY_MS);
	if (!cpu_ticks(&all, &busy) || all <= all_then)
		return 0;
	return 100 * (busy - busy_then) / (all - all_then);
}

void
machine_name(struct machine *ret)
{
	struct utsname name;
	double load = 0;

	*ret = (struct machine){ .hop_ns = NAN };
	look_at_model(ret);
	if (uname(&name) == 0)
		snprintf(ret->kernel, sizeof ret->kernel, "%.20s %.70s", name.sysname,
			 name.release);
	(void)getloadavg(&load, 1);
	ret->load = load;
	look_at_cpus(ret);
}

void
machine_look(struct machine *ret)
{
	machine_name(ret);
	ret->busy_percent = others_busy();
	if (ret->cpus > 1)
		ret->hop_ns = measure_hop(floor_cpu(0), floor_cpu(1));
}

bool
machine_near(const struct machine *m)
{
	return m->hop_ns <= NEAR_NS;
}

bool
machine_noisy(const struct machine *m)
{
	return m->busy_percent > BUSY_PERCENT;
}
