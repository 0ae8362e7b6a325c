/*
 * ipc_lab.h - `pyprepctl ipc lab`: one job with a payload, over every link and every lane of a
 * private daemon.
 *
 *   ipc_lab.c          the command: options, a private daemon, which cells
 *   ipc_lab_measure.c  one cell: one in flight, then many
 *   ipc_lab_sense.c    what the figures say: who is best where, where curves cross
 *   ipc_lab_print.c    tables and JSON
 *   ipc_lab_plot.c     curves in the terminal and as SVG
 *
 * A way is a lane and a link.  The links are compared over one lane (shm), the lanes over one link
 * (ring): what differs between two curves is then one thing.
 */
#ifndef PYPREP_CTL_IPC_LAB_H
#define PYPREP_CTL_IPC_LAB_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "client/ctl/bench.h"

#define LAB_WAYS    6
#define LAB_SIZES   12
#define LAB_CARRIED 65000u /* longer payloads are carried by a shared array */

struct lab_way {
	const char *name, *lane, *link; /* link: also the name of its pool */
	char mark;                      /* in the plot */
	const char *colour;             /* in the SVG */
};
extern const struct lab_way lab_ways[LAB_WAYS];

struct lab_cell {
	bool done;
	bool by_name; /* the payload lay in a shared array; the job carried its name */
	uint64_t samples;
	double p50_ns, p99_ns; /* one in flight: submit to receipt taken */
	double p50_most_ns;    /* of the slowest round; the others are of the quietest */
	double rate;           /* messages/s, `window` in flight */
	double bytes_per_s;    /* payload one way, at that rate */
	double cpu_ns;         /* per message at that rate: user and system, of all three */
	double switches,
		switches_alone; /* of context, per message: at that rate, and one in flight */
	unsigned window;
};

/* Lies in memory that the measuring process shares. */
struct lab {
	uint64_t sizes[LAB_SIZES];
	unsigned size_count;
	uint64_t span_ns; /* for each half of a cell in a round */
	unsigned rounds;
	bool quick;
	struct machine machine;
	char missing[LAB_WAYS][200]; /* why a way was not measured; "" when it was */
	struct lab_cell cells[LAB_WAYS][LAB_SIZES];
	struct bench_result trouble; /* its error, when the lab could not go on */
};

/* ---- ipc_lab_measure.c ---- */

struct lab_place { /* who takes part in a cell */
	struct pyprep *p;
	pid_t broker, workers[8];
	unsigned worker_count;
	const char *pool;
	const char *label; /* of named memory */
};
/* 0, or -1 with bench_fail() said. */
int lab_measure(const struct lab *lab, const struct lab_place *place, uint64_t bytes,
		struct lab_cell *ret, struct bench_result *trouble);

/* ---- ipc_lab_sense.c ---- */

enum lab_goal { LAB_P50, LAB_RATE, LAB_CPU, LAB_GOALS };
double lab_value(const struct lab_cell *cell, enum lab_goal goal); /* less is better; NAN */

/* The best way at a size; -1: none.  *ret_next: how many times worse the next one is; NAN. */
int lab_best(const struct lab *lab, unsigned size, enum lab_goal goal, bool links_only,
	     double *ret_next);

struct lab_crossing {
	int before, after; /* ways: the faster one below and above `bytes` */
	double bytes;
};
#define LAB_CROSSINGS 64
/* Where curves of p50 cross, by log-log interpolation; a difference below `least` (a ratio) on
 * either side is noise and no crossing.  How many. */
unsigned lab_crossings(const struct lab *lab, double least, struct lab_crossing *ret);

/* ---- ipc_lab_print.c, ipc_lab_plot.c ---- */

void lab_print(const struct lab *lab);
void lab_print_json(const struct lab *lab);
const char *lab_bytes(double bytes, char *buffer, size_t size); /* "4 KiB" */
void lab_plot(const struct lab *lab, FILE *out);
int lab_svg(const struct lab *lab, const char *path); /* 0 or -errno */

#endif
