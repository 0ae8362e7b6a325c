/*
 * figures.h - what jobs of one sort came to: how many ended how, what they used, and how long each
 * stage of their way took.  The broker counts by kind, pool and day (daemon/tallies.h); the
 * store keeps the bytes; pyprepctl adds them up as it is asked.
 *
 * Figures add up, in any order: figures of a week are the sum of its days.
 *
 * Every job is counted, and its times and usage are in the sums.  Its stages are in the
 * histograms when it started to run; where jobs come faster than they are worth, one stands for
 * many (figures_measure's weight), and the histogram says of how many values it is a sample.
 */
#ifndef PYPREP_IPC_FIGURES_H
#define PYPREP_IPC_FIGURES_H

#include "ipc/histogram.h"
#include "ipc/receipt.h"

/*        name             word        unit      of which jobs that started */
#define FIGURES(X)                                                                       \
	X(FIGURE_SUBMIT, "submit", "ns")     /* all */                                   \
	X(FIGURE_STORE, "store", "ns")       /* detached ones */                         \
	X(FIGURE_QUEUE, "queue", "ns")       /* all */                                   \
	X(FIGURE_DISPATCH, "dispatch", "ns") /* all */                                   \
	X(FIGURE_RUN, "run", "ns")           /* all */                                   \
	X(FIGURE_RETURN, "return", "ns")     /* all; to the broker's sending it back */  \
	X(FIGURE_TOTAL, "total", "ns")       /* all; the same */                         \
	X(FIGURE_ONCPU, "oncpu", "ns")       /* measured ones: method not none */        \
	X(FIGURE_RUNQUEUE, "runqueue", "ns") /* measured in full: not light, not loop */ \
	X(FIGURE_BLOCKED, "blocked", "ns")   /* measured, and not light */               \
	X(FIGURE_MEMORY, "memory", "bytes")  /* measured in full, and alone */

#define X(name, ...) name,
enum figure { FIGURES(X) FIGURE_COUNT };
#undef X

extern const char *const figure_words[FIGURE_COUNT];
extern const char *const figure_units[FIGURE_COUNT];

/* A zeroed struct is an empty one. */
struct figures {
	uint64_t jobs;     /* that have ended, refused ones too */
	uint64_t started;  /* of which ran, or began to */
	uint64_t attempts; /* runs: more than `started` where jobs were tried again */
	uint64_t items;    /* of array jobs */
	uint64_t run_ns;   /* sums over all attempts, measured or not: of the run, */
	uint64_t cpu_ns;   /* ... of CPU time: on-CPU, or user and system where that is more, */
	uint64_t user_ns, system_ns; /* ... and of these, where they were measured */
	uint64_t outcomes[JOB_STATE_COUNT][JOB_CAUSE_COUNT];
	struct histogram stages[FIGURE_COUNT];
};

/* An attempt has ended and the job will be tried again: the sums alone. */
static inline void
figures_attempt(struct figures *f, const struct receipt *r)
{
	const struct outcome *o = &r->outcome;
	uint64_t both = o->usage.user_ns + o->usage.system_ns;

	if (o->started_ns == 0)
		return;
	f->attempts++;
	f->run_ns += o->ended_ns > o->started_ns ? o->ended_ns - o->started_ns : 0;
	f->cpu_ns += both > o->usage.oncpu_ns ? both : o->usage.oncpu_ns;
	f->user_ns += o->usage.user_ns;
	f->system_ns += o->usage.system_ns;
}

/* One job has ended: its counts and sums.  Inline: the broker does it for every job. */
static inline void
figures_count(struct figures *f, const struct receipt *r)
{
	const struct outcome *o = &r->outcome;

	f->jobs++;
	f->started += o->started_ns != 0;
	f->items += r->items;
	if (o->state < JOB_STATE_COUNT && o->cause < JOB_CAUSE_COUNT)
		f->outcomes[o->state][o->cause]++;
	figures_attempt(f, r);
}

/* Its stages, standing for `weight` jobs like it.  What there is no memory for is left out. */
void figures_measure(struct figures *f, const struct receipt *r, uint64_t weight);

/* Add all of `from`.  false: no memory, and `to` has a part of it. */
bool figures_merge(struct figures *to, const struct figures *from);
void figures_free(struct figures *f); /* and they are empty again */

/* How many ended in `state`, of any cause. */
uint64_t figures_state(const struct figures *f, enum job_state state);

/*
 * As bytes: a version, the counts, then each histogram that is not empty with its number and its
 * length, so that a reader skips what it does not know.  Returns their length, which may be more
 * than `room`; then nothing of them is to be used.
 */
#define FIGURES_VERSION 1u
size_t figures_write(const struct figures *f, void *to, size_t room);
/* Part `part` of FIGURE_PARTS, for what must be short: together they add up to all of it. */
#define FIGURE_PARTS (FIGURE_COUNT + 1u)
size_t figures_write_part(const struct figures *f, unsigned part, void *to, size_t room);
/* Add what stands there.  0; -EPROTO: these are no figures; -ENOMEM.  After an error `f` may have
 * a part of them. */
int figures_read(struct figures *f, const void *from, size_t length);

#endif
