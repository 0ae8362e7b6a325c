/*
 * schedule.h - which job of a pool is next: strategies behind one table.
 *
 *   priority  highest priority first, first come first served within one; waiting counts, too
 *   fifo      first come, first served
 *   fair      each user gets the same share of the pool's time
 *   sjf       the kind that was measured to be shortest first
 *
 * All are made of lines.  A line is a queue that goes by priority; a strategy says into which line
 * a job comes and whose turn it is.  `priority` and `fifo` have one line, `fair` one for each user,
 * `sjf` one for each kind, whose jobs all take about the same time.  So a strategy decides among
 * few lines and never looks through jobs, and what it sees as equal goes by priority.
 *
 * Waiting: with `ageing` of a minute, a job that has waited for a minute counts as one priority
 * higher.  All age alike, so which of two jobs goes first never changes while they wait: the one
 * that came first, priority for priority a minute later.  Each level is a list in order of
 * coming, only the heads of levels are compared, and nothing has to be moved as time goes by.
 *
 * Every operation takes the same time however many jobs wait, but for put_back: the logarithm of
 * how many have come back.
 *
 * To add a strategy: a file with its row, and the row's name in schedule.c.
 *
 * Only the broker touches this.
 */
#ifndef PYPREP_DAEMON_SCHEDULE_H
#define PYPREP_DAEMON_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/heap.h"
#include "ipc/message.h"

#define LEVELS (2 * PRIORITY_MAX + 1)

struct ahead;
struct broker;
struct client;
struct job;
struct pool;

/* The jobs of one priority in order of queued_ns. */
struct level {
	uint32_t count;
	uint32_t head, tail; /* JOB_NONE in an empty one, once it was used */
	uint32_t place;      /* in line.filled */
	uint64_t head_ns;    /* the head's queued_ns */
};

/* All zero is an empty line. */
struct pool_line {
	uint32_t count;              /* jobs */
	struct heap filled;          /* levels that are not empty, by whose head's turn it is */
	uint32_t filled_at[LEVELS];  /* its memory */
	struct level levels[LEVELS]; /* index 0 is the highest priority */
	struct heap returned; /* what came back, by turn: JOB_RETURNED, job->prev is the place */
};

struct strategy {
	const char *name;
	const char *help; /* one line */
	bool levels;      /* priorities count within a line */
	/* Its own state, p->scheduling.  NULL: it has none, and all jobs are in p->line. */
	void *(*open)(void); /* NULL: no memory */
	void (*close)(void *scheduling);
	/* The job's line, the same as long as it waits there. */
	struct pool_line *(*line_of)(struct pool *p, const struct job *job);
	/* Whose turn it is: a line that is not empty, or NULL. */
	struct pool_line *(*choose)(const struct broker *b, struct pool *p);
	/* A line got its first job; lost its last.  Never p->line. */
	void (*filled)(struct pool *p, struct pool_line *l);
	void (*emptied)(struct pool *p, struct pool_line *l);
	/* The n-th line that may hold jobs; NULL: there is none.  For looking through all. */
	struct pool_line *(*line_at)(struct pool *p, unsigned n);
	/* Count the jobs of other lines that go before this one; those of its own are. */
	void (*ahead)(const struct broker *b, struct pool *p, const struct job *job,
		      struct ahead *a);
	/* A job, or a range of an array job, went to a worker; its run took so long (not said of
	 * one that was taken back); it is no longer there.  NULL: no matter. */
	void (*handed)(struct pool *p, const struct job *job);
	void (*ran)(struct pool *p, const struct job *job, uint64_t run_ns);
	void (*settled)(struct pool *p, const struct job *job);
};

extern const struct strategy *const strategies[]; /* NULL at the end; the first is the default */
extern const struct strategy strategy_priority, strategy_fifo, strategy_fair, strategy_sjf;
const struct strategy *strategy_by_name(const char *name); /* NULL: none */
unsigned strategy_index(const struct strategy *s);         /* in strategies */

/* 0 or -ENOMEM.  Begins with the strategy of the configuration. */
int pool_queue_open(struct pool *p);
void pool_queue_close(struct pool *p);
/* From now on by `s`: all jobs that wait go over in the order they came.  -ENOMEM: nothing has
 * changed. */
int pool_queue_switch(struct broker *b, struct pool *p, const struct strategy *s);
void pool_queue_ageing(struct broker *b, struct pool *p, uint64_t ageing_ns);

/* A place at the end, in its own place, out; the caller counts p->queued. */
void queue_push(struct broker *b, uint32_t index);
void queue_put_back(struct broker *b, uint32_t index);
void queue_remove(struct broker *b, uint32_t index);   /* also of one that is parked (gate.h) */
uint32_t queue_peek(struct broker *b, struct pool *p); /* moves jobs of held clients aside */
void queue_release_held(struct broker *b, struct client *c);

#endif
