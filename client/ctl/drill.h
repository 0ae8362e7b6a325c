/*
 * drill.h - pyprepctl drill: a fault, made on purpose in a daemon of its own that works, and a
 * judge.
 *
 *   drill.c        the command: the table; each drill is a story (demo_story.h) in a process of its
 * own drill_load.c   the daemon, its load, the kills drill_judge.c  what is looked at afterwards
 *   drill_NAME.c   what is done to it
 *
 * The load: detached jobs, each with a token of its own, and attached ones beside them.  A
 * submitted job is unknown until it is acknowledged or refused; whatever is unknown when the
 * daemon dies is submitted again with its token.  Every eighth detached job is a command that
 * writes to a file when it begins and when it ends, with its attempt number, so that what ran is
 * known from outside.
 */
#ifndef PYPREP_CTL_DRILL_H
#define PYPREP_CTL_DRILL_H

#include "client/ctl/bench.h"
#include "client/ctl/demo.h"

struct drill_row {
	const char *name;
	const char *summary;
	int (*run)(struct demo *demo); /* as demo_row.tell */
};

/* What the command line says. */
struct drill_options {
	uint64_t for_ns;
	int64_t seed;
	bool forgets; /* a store that forgets: see what the judge says then */
};
extern struct drill_options drill_options;

#define DRILL_RECOVERIES 4096u

struct drill {
	struct demo *demo;
	struct bench bench;
	struct bench_daemon daemon;
	struct bench_result why;         /* of the functions of bench_daemon.c */
	bool watchdog;                   /* the supervisor watches its broker, as under systemd */
	uint64_t timeout_ns;             /* of the load's jobs; 0: none */
	int (*prepare)(struct drill *d); /* before the daemon starts; NULL: nothing */

	/* detached */
	struct pyprep *p; /* NULL: not connected now */
	struct pyprep_prepared *kinds[3];
	unsigned char *fate; /* of each job */
	uint64_t *id;
	uint32_t sent, open; /* open: sent and neither acknowledged nor refused for good */
	uint64_t acknowledged, again, refused;
	uint64_t renamed; /* one token, two ids */
	char trace[300];

	/* attached */
	struct pyprep *a;
	struct pyprep_prepared *attached_job;
	uint64_t attached_sent, attached_back, attached_lost, attached_failed, attached_last_ns;

	/* recoveries: from the fault to the acknowledgement of a job that was submitted after it */
	uint64_t fault_ns;   /* 0: recovered */
	uint32_t fault_sent; /* jobs submitted before */
	uint32_t recovered_us[DRILL_RECOVERIES];
	unsigned recoveries;
};

/* Start the daemon and connect.  0, or -1 after demo_fail(). */
int drill_begin(struct drill *d, struct demo *demo);
void drill_end(struct drill *d);
/* Submit, hear, connect again: until `until_ns` of CLOCK_MONOTONIC. */
void drill_work(struct drill *d, uint64_t until_ns);
/* The daemon as it is; false: it does not answer now. */
bool drill_status(struct drill *d, struct bench_status *ret);
/* kill -9 (or another signal), and count the time until work goes on. */
void drill_kill(struct drill *d, pid_t pid, int signal);
/* It has recovered, after so long. */
void drill_recovered(struct drill *d, uint64_t took_ns);
/* The supervisor is gone: start another in the same place, and wait until it answers. */
int drill_restart(struct drill *d);
/* A random number below `below`, from the seed. */
uint32_t drill_random(uint32_t below);

/* Let all work end and look at everything; demo_check() for each promise, figures. */
int drill_judge(struct drill *d);

int drill_worker_kill(struct demo *demo);
int drill_broker_kill(struct demo *demo);
int drill_daemon_kill(struct demo *demo);
int drill_hang(struct demo *demo);
int drill_oom(struct demo *demo);
int drill_disk_full(struct demo *demo);
int drill_fd_exhaustion(struct demo *demo);
int drill_clock_jump(struct demo *demo);

#endif
