/*
 * bench.h - what the files of `pyprepctl bench` share.
 *
 *   bench.c          the command: each row in a process of its own, cleaned up after
 *   bench_rows.c     the table of rows: name, unit, floor, goal
 *   bench_print.c    a row as a table's line or as JSON
 *   bench_machine.c  what is measured on: CPUs, kernel, load, distance of two CPUs
 *   bench_daemon.c   private daemons, connections, the daemon's status
 *   bench_lane.c     rows of the lane: one in flight, many in flight, array jobs
 *   bench_pool.c     rows of the pools: sleeps, sums of squares, commands
 *   bench_life.c     rows of processes: replacement, start
 *   bench_pipe.c     rows of the pipe and of the lock
 *   bench_backlog.c  row of a deep queue, by each strategy
 *   bench_memory.c   rows of memory: queued jobs, the idle daemon
 *   bench_queue.c ...  rows of the group `ipc`: the primitives, one file each
 *
 * A row measures floor and value by turns and takes medians, so that a machine that
 * changes between two runs changes both.
 */
#ifndef PYPREP_CTL_BENCH_H
#define PYPREP_CTL_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/ctl/stats.h"
#include "client/pyprep.h"

/* How to run; the same for all rows. */
struct bench {
	const char *daemon;    /* path of pyprepd; "" with `attach` */
	const char *directory; /* ours, removed at the end */
	const char *label;     /* what names of shared memory begin with; removed at the end */
	bool attach;           /* measure the daemon that runs */
	bool quick;
};

#define BENCH_EXTRAS 4

/* What one row found, in the row's unit; NAN where there is nothing to say.  Lies in memory
 * that bench.c shares with the row's process. */
struct bench_result {
	double value, p50, p99, p999, floor;
	double python; /* the same by CPython's own means; NAN: not measured */
	uint64_t n;    /* measurements behind it */
	struct bench_extra {
		char name[32];
		double value;
	} extras[BENCH_EXTRAS];
	unsigned extra_count;
	bool done;
	char error[640]; /* why it could not be measured */
};

enum bench_goal { RATIO_AT_MOST, RATIO_AT_LEAST, VALUE_AT_MOST, VALUE_AT_LEAST };

struct bench_row {
	const char *group; /* jobs, store, ipc */
	const char *name, *unit;
	const char *what;  /* is measured */
	const char *least; /* the floor, in words */
	enum bench_goal goal_is;
	double goal;
	bool attachable; /* harmless to a daemon that others use */
	/* 0, or -1 with bench_fail() said. */
	int (*measure)(const struct bench *bench, struct bench_result *result);
};
extern const struct bench_row bench_rows[]; /* name NULL at the end */
#define BENCH_ROW_NAMES                                                               \
	"attached_latency attached_rate array_items sleeps_1000 sumsq_4 exec_rate "   \
	"replacement deep_queue bytes_per_job idle_pss start array_attach array_sum " \
	"counter_atomic counter_pipelined counter_single pipe_rtt lock_pair "         \
	"queue_1to1 queue_2to2 detached_one detached_done detached_backlog"

int bench_fail(struct bench_result *result, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void bench_extra(struct bench_result *result, const char *name, double value);
double bench_median(double *values, unsigned count); /* sorts them */
/* p50, p99 (from 100 on), p999 (from 1000 on) and n, each divided by `divisor`. */
void bench_percentiles(struct bench_result *result, struct samples *samples, double divisor);
void bench_pause_ms(unsigned ms);

/* ---- bench_print.c ---- */

double bench_ratio(const struct bench_result *result);
/* How many times better than CPython: above 1 it is. */
double bench_gain(const struct bench_row *row, const struct bench_result *result);
bool bench_met(const struct bench_row *row, const struct bench_result *result);
struct machine;
/* `python`: with the columns of CPython. */
void bench_print_begin(const struct machine *machine, bool python);
void bench_print_row(const struct bench_row *row, const struct bench_result *result,
		     const struct machine *machine);

/* ---- bench_machine.c ---- */

struct machine {
	char model[96], kernel[96];
	unsigned cpus;       /* we may run on */
	double load;         /* average of the last minute */
	double busy_percent; /* of all CPUs, just before, without us */
	double hop_ns;       /* a cache line from one CPU to another; NAN with one CPU */
};
void machine_look(struct machine *ret);
/* The same without measuring anything: no hop, not how busy. */
void machine_name(struct machine *ret);
bool machine_near(const struct machine *machine);
bool machine_noisy(const struct machine *machine);

/* ---- bench_daemon.c ---- */

/* The path of pyprepd: beside this program, in ../sbin, or in PATH.  -ENOENT. */
int bench_find_daemon(char *ret, size_t size);

struct bench_daemon {
	pid_t pid;
	char directory[256], runtime[280];
};
enum bench_config {
	CONFIG_BUILT_IN,
	CONFIG_TWO_WORKERS,
	CONFIG_LINKS,
	CONFIG_DRILL,
	CONFIG_FORGETS
};

/* Start a private daemon; does not wait for it. */
int daemon_spawn(const struct bench *bench, enum bench_config config, struct bench_daemon *ret,
		 struct bench_result *result);
/* The same in two steps: its places, and a process in them, which may follow one that died there.
 * `watchdog`: it watches its broker, as under a service manager that wants that. */
int daemon_prepare_only(const struct bench *bench, enum bench_config config,
			struct bench_daemon *ret, struct bench_result *result);
int daemon_again(const struct bench *bench, struct bench_daemon *daemon, bool watchdog,
		 struct bench_result *result);
/* Until it answers a ping. */
int daemon_wait(const struct bench_daemon *daemon, struct bench_result *result);
void daemon_stop(struct bench_daemon *daemon);

/* A daemon (ours, or with `attach` the user's) and a connection to it. */
struct bench_session {
	struct bench_daemon daemon; /* pid 0: the user's */
	struct pyprep *p;
};
int session_open(const struct bench *bench, enum bench_config config, struct bench_session *ret,
		 struct bench_result *result);
void session_close(struct bench_session *session);
int session_prepare(struct bench_session *session, const struct pyprep_job *job,
		    struct pyprep_prepared **ret, struct bench_result *result);
/* Submit `count` jobs, at most `window` under way, and hear that all have succeeded. */
int session_run(struct bench_session *session, const struct pyprep_prepared *prepared,
		uint64_t count, uint64_t window, struct bench_result *result);
/* The next receipt, which must be a success. */
int session_receipt(struct bench_session *session, struct bench_result *result);

#define BENCH_WORKERS 64
struct bench_status {
	pid_t supervisor, broker, manager; /* manager 0: it does not run */
	uint64_t queued, running;          /* in all pools */
	bool loaded;                       /* what was open in the store is in the table */
	unsigned count;
	struct bench_worker {
		char pool[32];
		unsigned slot;
		pid_t pid;
		uint64_t jobs, ready_ns;
		bool idle;
	} workers[BENCH_WORKERS];
};
int session_status(struct bench_session *session, struct bench_status *ret,
		   struct bench_result *result);
/* Wait, for some seconds at most, until each worker has been ready once or its pool has failed: a
 * daemon answers before that. */
int session_settle(struct bench_session *session, struct bench_result *result);
/* A request with one word, such as pause's pool. */
int session_tell(struct bench_session *session, const char *verb, const char *pool,
		 struct bench_result *result);

/* ---- the rows ---- */

int bench_attached_latency(const struct bench *bench, struct bench_result *result);
int bench_attached_rate(const struct bench *bench, struct bench_result *result);
int bench_array_items(const struct bench *bench, struct bench_result *result);
int bench_sleeps(const struct bench *bench, struct bench_result *result);
int bench_sumsq(const struct bench *bench, struct bench_result *result);
int bench_exec_rate(const struct bench *bench, struct bench_result *result);
int bench_replacement(const struct bench *bench, struct bench_result *result);
int bench_deep_queue(const struct bench *bench, struct bench_result *result);
int bench_bytes_per_job(const struct bench *bench, struct bench_result *result);
int bench_idle_pss(const struct bench *bench, struct bench_result *result);
int bench_start(const struct bench *bench, struct bench_result *result);
int bench_array_attach(const struct bench *bench, struct bench_result *result);
int bench_array_sum(const struct bench *bench, struct bench_result *result);
int bench_counter_atomic(const struct bench *bench, struct bench_result *result);
int bench_counter_pipelined(const struct bench *bench, struct bench_result *result);
int bench_counter_single(const struct bench *bench, struct bench_result *result);
int bench_queue_1to1(const struct bench *bench, struct bench_result *result);
int bench_queue_2to2(const struct bench *bench, struct bench_result *result);

/* ---- bench_store.c ---- */

int bench_detached_one(const struct bench *bench, struct bench_result *result);
int bench_detached_done(const struct bench *bench, struct bench_result *result);
int bench_detached_backlog(const struct bench *bench, struct bench_result *result);

/* ---- bench_pipe.c ---- */

int bench_pipe_rtt(const struct bench *bench, struct bench_result *result);
int bench_lock_pair(const struct bench *bench, struct bench_result *result);

#endif
