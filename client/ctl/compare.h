/*
 * compare.h - what the files of `pyprepctl compare` share.
 *
 *   compare.c           the command: which topics, each in a process of its own (aside.h)
 *   compare_turns.c     a work and its ways, measured by turns; medians, ratios
 *   compare_print.c     a work as a table or as JSON; the sentences about it
 *   compare_together.c  processes that begin together
 *   compare_clock.c     the CPU time of this process and of the daemon's
 *   compare_jobs.c      jobs on a pool of the daemon: submit, hear the receipts, add them up
 *   compare_pools.c     cpu and io: one after another, by processes, threads, an event loop
 *   compare_call.c, compare_map.c, compare_queue.c, compare_pipe.c, compare_shm.c,
 * compare_manager.c
 *
 * A topic makes one work or several.  A work is done several ways, some by pyprep and some by
 * CPython (cpython.h), and each way gives one figure each turn.  All ways take turns, so that a
 * machine that changes meanwhile changes for all.
 */
#ifndef PYPREP_CTL_COMPARE_H
#define PYPREP_CTL_COMPARE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/ctl/bench.h"
#include "client/pyprep.h"

#define COMPARE_REPEATS_MAX 99
#define COMPARE_WAYS_MAX    12
#define COMPARE_SAID_MAX    12

/* One run of the command. */
struct compare {
	const struct machine *machine;
	const char *python; /* "CPython 3.11.2"; NULL: there is none */
	const char *label;  /* what named memory begins with */
	unsigned repeats;
	bool quick;
	char said[COMPARE_SAID_MAX][320];
	unsigned said_count;
	bool failed; /* a way that should work did not */
};

struct compare_topic {
	const char *name;
	bool needs_daemon;
	/* 0, or an exit status, said.  `p` is NULL when no daemon is needed. */
	int (*run)(struct compare *c, struct pyprep *p);
	int (*tidy)(void *context); /* afterwards, in a process of its own, or NULL */
};

/* ---- compare_turns.c ---- */

enum unit { UNIT_NS, UNIT_PER_S, UNIT_BYTES_PER_S };

struct way;
/* One turn.  0 and the figure, or -1 after way_problem(). */
typedef int (*measure_fn)(struct compare *c, struct way *way, double *ret);

struct way {
	bool python;
	char name[56];
	unsigned at_once;       /* processes, threads or calls at once; 0: has no meaning */
	const struct way *peer; /* of a CPython's way: ours that it is compared with */
	bool may_fail;          /* refusing is what it is to show */

	measure_fn measure;
	void *context;              /* measure's */
	const char *topic, *figure; /* of a CPython's way: which answer is the figure */
	char params[200];           /* separated by blanks */

	double values[COMPARE_REPEATS_MAX], cpu_values[COMPARE_REPEATS_MAX];
	unsigned count;
	double cpu_s;      /* measure writes it: of all processes; NAN: not known */
	char problem[480]; /* why it was not measured */
	json_t *more;      /* of the last turn, for JSON; NULL: nothing */
};

struct work {
	const char *topic, *name; /* "queue", "rate" */
	char text[120];           /* "200,000 messages of 64 bytes, 1 producer, 1 consumer" */
	enum unit unit;
	bool speed_ups; /* against the side's first way */
	struct way ways[COMPARE_WAYS_MAX];
	unsigned count;
};

void work_begin(struct work *work, const char *topic, const char *name, enum unit unit,
		const char *format, ...) __attribute__((format(printf, 5, 6)));
struct way *work_ours(struct work *work, const char *name, unsigned at_once, measure_fn measure,
		      void *context);
/* `params` are words "name=value"; the peer is ours, made before. */
struct way *work_python(struct work *work, const char *name, unsigned at_once,
			const struct way *peer, const char *topic, const char *figure,
			const char *format, ...) __attribute__((format(printf, 7, 8)));
int way_problem(struct way *way, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The median of `count` times. */
double compare_p50(const uint64_t *times_ns, uint64_t count);

/* Measure and print it.  0, or the exit status of an interruption. */
int work_run(struct compare *c, struct work *work);
void work_end(struct work *work);

bool way_done(const struct way *way);
double way_median(const struct way *way); /* NAN when it was not measured */
double way_cpu_s(const struct way *way);  /* median; NAN: not known */
void way_spread(const struct way *way, double *ret_least, double *ret_most);
double work_speed_up(const struct work *work, const struct way *way); /* NAN */
/* Do the turns of one lie among those of the other?  Then neither is faster for sure. */
bool way_overlaps(const struct way *a, const struct way *b);
/* How many times as fast as `slow` is `fast`?  NAN: not both were measured. */
double work_ratio(const struct work *work, const struct way *fast, const struct way *slow);

/* ---- compare_print.c ---- */

void compare_print_begin(const struct compare *c);
void compare_print_work(const struct compare *c, const struct work *work);
/* A sentence, computed from figures; printed behind the topic's tables. */
void compare_say(struct compare *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "pyprep's WAY is 12.3 times as fast as CPython's WAY", when both were measured. */
void compare_say_ratio(struct compare *c, const struct work *work, const struct way *python);
void compare_print_said(struct compare *c, const char *topic);

/* ---- compare_together.c ---- */

struct together {
	double seconds; /* from the first's beginning to the last's end */
	double cpu_s;
};
/* Its exit status: 0 is success. */
typedef int (*member_fn)(void *context, unsigned index);
/* `count` processes that begin together, the index telling which.  Before that each does
 * `prepare` (NULL: nothing), in a copy of the context that is its own.  0, or -1 with `way`'s
 * problem said. */
int together_run(struct way *way, unsigned count, member_fn prepare, member_fn member,
		 void *context, struct together *ret);

/* ---- compare_clock.c ---- */

struct cpu_clocks {
	pid_t pids[BENCH_WORKERS + 3];
	unsigned count;
	double begun_s;
};
/* From now on; `p` may be NULL: this process alone. */
void cpu_clocks_begin(struct cpu_clocks *clocks, struct pyprep *p);
/* CPU seconds since; NAN: one of them has ended. */
double cpu_clocks_read(const struct cpu_clocks *clocks);

/* ---- compare_jobs.c ---- */

struct jobs_work {
	const char *kind, *pool;
	const char *const *params;
	const char *const *argv; /* kind exec */
	uint64_t count;          /* equal jobs; or 1 array job over 0 .. items-1 */
	uint64_t items;          /* 0: no array job */
	bool one_by_one;         /* the next job only after the last receipt */
	uint64_t items_expected; /* sum of all results, modulo 2^64 */
	double *ret_p50_ns;      /* median of the jobs' totals; may be NULL */
};
/* `way` gets its CPU time and more (JSON).  0; or -1 with way's problem said. */
int jobs_run(struct pyprep *p, const struct jobs_work *work, struct way *way, uint64_t *ret_ns);

/* The first running pool with that executor; false: there is none. */
bool jobs_find_pool(struct pyprep *p, const char *executor, char *ret, size_t size,
		    unsigned *ret_at_once);

/* ---- topics ---- */

int compare_cpu(struct compare *c, struct pyprep *p);
int compare_io(struct compare *c, struct pyprep *p);
int compare_call(struct compare *c, struct pyprep *p);
int compare_map(struct compare *c, struct pyprep *p);
int compare_queue(struct compare *c, struct pyprep *p);
int compare_pipe(struct compare *c, struct pyprep *p);
int compare_shm(struct compare *c, struct pyprep *p);
int compare_manager(struct compare *c, struct pyprep *p);
int compare_manager_tidy(void *context); /* struct compare: what an interrupted one left */

#endif
