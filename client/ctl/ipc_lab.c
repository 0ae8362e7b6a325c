/* ipc_lab.c - pyprepctl ipc lab: options, a private daemon, and the cells one after the other. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/ctl/aside.h"
#include "client/ctl/floor.h"
#include "client/ctl/ipc.h"
#include "client/ctl/ipc_lab.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"

#define SPAN_NS       (40 * NS_PER_MS)
#define SPAN_QUICK_NS (12 * NS_PER_MS)
#define ROUNDS        5
#define ROUNDS_QUICK  3
#define PATIENCE_S    900
#define SIZE_LEAST    64
#define SIZE_MOST     (UINT64_C(16) << 20)

const struct lab_way lab_ways[LAB_WAYS] = {
	{ "ring", "shm", "ring", 'r', "#1f77b4" },
	{ "pipe", "shm", "pipe", 'p', "#2ca02c" },
	{ "queue", "shm", "queue", 'q', "#ff7f0e" },
	{ "zmq", "shm", "zmq", 'z', "#d62728" },
	{ "unix lane", "unix", "ring", 'U', "#9467bd" },
	{ "zmq lane", "zmq", "ring", 'Z', "#8c564b" },
};

/* ---- sizes ---- */

/* "4096", "64K", "16M". */
static int
parse_size(const char *text, size_t length, uint64_t *ret)
{
	uint64_t value = 0;
	size_t i = 0;

	for (; i < length && text[i] >= '0' && text[i] <= '9' && value < SIZE_MOST; i++)
		value = value * 10 + (uint64_t)(text[i] - '0');
	if (i == 0 || length - i > 1)
		return -EINVAL;
	if (i < length) {
		if (text[i] != 'K' && text[i] != 'k' && text[i] != 'M' && text[i] != 'm')
			return -EINVAL;
		value <<= text[i] == 'K' || text[i] == 'k' ? 10 : 20;
	}
	if (value < SIZE_LEAST || value > SIZE_MOST)
		return -EINVAL;
	*ret = value;
	return 0;
}

/* The steps of the lab within `text`, "LO..HI" or one size. */
static int
choose_sizes(struct lab *lab, const char *text)
{
	static const uint64_t steps[] = { 64,    256,    1024,    4096,    16384,   32768,
					  65536, 262144, 1048576, 4194304, 16777216 };
	uint64_t low = SIZE_LEAST, high = SIZE_MOST;
	const char *dots = text ? strstr(text, "..") : NULL;

	if (text && dots) {
		if (parse_size(text, (size_t)(dots - text), &low) < 0 ||
		    parse_size(dots + 2, strlen(dots + 2), &high) < 0)
			return -EINVAL;
	} else if (text) {
		if (parse_size(text, strlen(text), &low) < 0)
			return -EINVAL;
		high = low;
	}
	if (low > high)
		return -EINVAL;
	for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++)
		if (steps[i] >= low && steps[i] <= high)
			lab->sizes[lab->size_count++] = steps[i];
	if (lab->size_count == 0)
		lab->sizes[lab->size_count++] = low;
	return 0;
}

/* ---- measuring: in a process of its own ---- */

struct lab_run {
	struct lab *lab;
	const struct bench *bench;
};

static void
find_workers(const struct bench_status *status, struct lab_place *place)
{
	const unsigned most = sizeof place->workers / sizeof place->workers[0];

	for (unsigned i = 0; i < status->count && place->worker_count < most; i++)
		if (strcmp(status->workers[i].pool, place->pool) == 0 &&
		    status->workers[i].pid != 0)
			place->workers[place->worker_count++] = status->workers[i].pid;
}

static void
show_progress(unsigned way, uint64_t bytes)
{
	char text[32];

	if (!ctl.quiet && !ctl.json && stderr_redraws())
		fprintf(stderr, "\r\033[K%s, %s", lab_ways[way].name,
			lab_bytes((double)bytes, text, sizeof text));
}

/* Connections of all lanes; a lane that cannot be had leaves its way out. */
static int
open_places(struct lab *lab, const struct lab_run *run, const char *directory,
	    struct lab_place *places)
{
	for (unsigned way = 0; way < LAB_WAYS; way++) {
		struct lab_place *place = &places[way];
		struct pyprep_problem why = { 0 };
		struct bench_session session = { 0 };
		struct bench_status status;
		*place = (struct lab_place){ .pool = lab_ways[way].link,
					     .label = run->bench->label };
		if (pyprep_connect_lane(directory, lab_ways[way].lane, &place->p, &why) < 0) {
			snprintf(lab->missing[way], sizeof lab->missing[way], "%.*s",
				 (int)sizeof lab->missing[way] - 1, why.message);
			continue; /* no libzmq here: the others can be measured */
		}
		session.p = place->p;
		if (session_settle(&session, &lab->trouble) < 0 ||
		    session_status(&session, &status, &lab->trouble) < 0)
			return -1;
		place->broker = status.broker;
		find_workers(&status, place);
		if (place->worker_count == 0)
			snprintf(lab->missing[way], sizeof lab->missing[way],
				 "the pool's workers did not start; is libzmq5 installed?");
	}
	return 0;
}

static void
close_places(struct lab_place *places)
{
	for (unsigned way = 0; way < LAB_WAYS; way++)
		pyprep_close(places[way].p);
}

/* Client and broker on two CPUs (workers are bound by the daemon).  Left to the scheduler they
 * come to lie on one or on two, a wake across CPUs costs ten times the rest, and the figures of
 * a cell would say where they lay.  ZeroMQ's threads stay free. */
static void
keep_apart(const struct lab_place *places)
{
	for (unsigned way = 0; way < LAB_WAYS; way++) {
		if (places[way].broker == 0)
			continue;
		if (floor_bind(places[way].broker, floor_cpu(1)))
			(void)floor_bind(0, floor_cpu(0));
		return;
	}
}

/* Each half by its quietest round: what others do on this machine only ever adds. */
static void
merge(struct lab_cell *best, const struct lab_cell *now)
{
	if (!best->done) {
		*best = *now;
		return;
	}
	double most = now->p50_ns > best->p50_most_ns ? now->p50_ns : best->p50_most_ns;
	if (now->p50_ns < best->p50_ns) {
		best->samples = now->samples;
		best->p50_ns = now->p50_ns;
		best->p99_ns = now->p99_ns;
		best->switches_alone = now->switches_alone;
	}
	best->p50_most_ns = most;
	if (now->rate > best->rate) {
		best->rate = now->rate;
		best->bytes_per_s = now->bytes_per_s;
		best->cpu_ns = now->cpu_ns;
		best->switches = now->switches;
	}
}

/* The ways by turns, in rounds, so that a machine that changes changes for all of them. */
static int
measure_size(struct lab *lab, const struct lab_place *places, unsigned size)
{
	for (unsigned round = 0; round < lab->rounds; round++) {
		for (unsigned way = 0; way < LAB_WAYS; way++) {
			struct lab_cell cell = { 0 };
			if (lab->missing[way][0])
				continue;
			show_progress(way, lab->sizes[size]);
			if (lab_measure(lab, &places[way], lab->sizes[size], &cell, &lab->trouble) <
			    0)
				return -1;
			merge(&lab->cells[way][size], &cell);
		}
	}
	return 0;
}

static int
measure(void *context)
{
	struct lab_run *run = context;
	struct lab_place places[LAB_WAYS] = { 0 };
	struct bench_daemon daemon;
	int r = daemon_spawn(run->bench, CONFIG_LINKS, &daemon, &run->lab->trouble);

	if (r == 0)
		r = daemon_wait(&daemon, &run->lab->trouble);
	if (r == 0)
		r = open_places(run->lab, run, daemon.runtime, places);
	if (r == 0)
		keep_apart(places);
	for (unsigned size = 0; r == 0 && size < run->lab->size_count; size++)
		r = measure_size(run->lab, places, size);
	close_places(places);
	daemon_stop(&daemon);
	if (!ctl.quiet && !ctl.json && stderr_redraws())
		fprintf(stderr, "\r\033[K");
	return r == 0 ? 0 : 1;
}

/* ---- the command ---- */

static int
report(const struct lab *lab)
{
	if (ctl.json)
		lab_print_json(lab);
	else
		lab_print(lab);
	if (ipc_options.svg == NULL)
		return 0;
	int r = lab_svg(lab, ipc_options.svg);
	if (r < 0)
		return ctl_fail(EXIT_OURS, "cannot_write", "cannot write %s: %s", ipc_options.svg,
				strerror(-r));
	return 0;
}

static int
run_lab(struct lab *lab)
{
	char path[1024];
	struct aside aside;
	struct bench bench = { .daemon = path,
			       .directory = aside.directory,
			       .label = aside.label,
			       .quick = ipc_options.quick };
	struct lab_run run = { .lab = lab, .bench = &bench };

	if (bench_find_daemon(path, sizeof path) < 0)
		return ctl_fail(EXIT_OURS, "no_daemon",
				"pyprepd is not beside pyprepctl, in ../sbin or in PATH; add its "
				"directory to PATH");
	int status = aside_open(&aside, "lab");
	if (status != 0)
		return status;
	machine_look(&lab->machine);
	struct aside_result end = aside_run(&aside, measure, &run, PATIENCE_S);
	aside_close(&aside);
	if (end.how == ASIDE_INTERRUPTED) {
		ctl_note("interrupted; its daemon and files are gone");
		return EXIT_SIGNALLED + end.value;
	}
	if (end.how != ASIDE_ENDED || end.value != 0)
		return ctl_fail(EXIT_OURS, "lab_failed", "%s",
				lab->trouble.error[0] ? lab->trouble.error
						      : "the measuring process was lost");
	return report(lab);
}

int
ipc_lab(char **word, int count)
{
	struct lab *lab = floor_share(sizeof *lab);

	(void)word;
	if (lab == NULL)
		return ctl_fail(EXIT_OURS, "internal", "no shared memory for the results");
	int status = 0;
	if (count > 0)
		status = ctl_fail(EXIT_USAGE, "usage",
				  "ipc lab takes no words; see pyprepctl ipc --help");
	else if (choose_sizes(lab, ipc_options.payload) < 0)
		status = ctl_fail(EXIT_USAGE, "usage",
				  "--payload %s: expected sizes from 64 to 16M, such as 64..16M, "
				  "4K..64K or 1M",
				  ipc_options.payload);
	lab->quick = ipc_options.quick;
	lab->span_ns = lab->quick ? SPAN_QUICK_NS : SPAN_NS;
	lab->rounds = lab->quick ? ROUNDS_QUICK : ROUNDS;
	if (status == 0)
		status = run_lab(lab);
	munmap(lab, sizeof *lab);
	return status;
}
