/*
 * crowd.h - bad clients in crowds, and a good one that works on among them: what the broker pays
 * for each of them, what the good one notices, and what is left when they are gone.
 *
 *   idle     has said hello, has its lane mapped (or its frames), and is silent
 *   stalled  never says hello; stands in the middle of a submit; or is stopped (SIGSTOP) while it
 *            submits and reads, on each lane
 *   unread   submits until nothing more is taken, and never reads: good jobs, jobs that are
 *            refused, requests with long answers
 *   half     has closed its half of the connection, or was killed, between submit and receipt
 *
 * A frame is one packet of its socket, so half a frame is a wrong one: test_bad_frames.c.
 */
#ifndef PYPREP_TESTS_DAEMON_CROWD_H
#define PYPREP_TESTS_DAEMON_CROWD_H

#include "tests/helpers.h"

enum crowd_sort { CROWD_IDLE, CROWD_STALLED, CROWD_UNREAD, CROWD_HALF, CROWD_SORTS };
extern const char *const crowd_names[CROWD_SORTS];

/* A process with clients of one sort; it and its clients end with crowd_end(). */
struct crowd {
	pid_t pid;
	unsigned connected;
	uint64_t lane_bytes; /* of shared memory that their lanes are charged with */
};

/* Returns when they all stand as they should; false: they do not within two minutes. */
bool crowd_begin(const struct test_daemon *d, enum crowd_sort sort, unsigned count, unsigned seed,
		 struct crowd *ret);
/* Clients of sort `half` that come and go until crowd_end(). */
bool crowd_churn(const struct test_daemon *d, unsigned seed, struct crowd *ret);
void crowd_end(struct crowd *c);

/* What the good client saw. */
struct crowd_arm {
	uint64_t jobs, wrong;                  /* attached, one at a time; wrong: not succeeded */
	double p50_us, p99_us;                 /* submit to receipt */
	double broker_us;                      /* of CPU time that the broker took for each */
	uint64_t detached, lost;               /* lost: acknowledged and not done in the end */
	double durable_p50_us, durable_p99_us; /* submit to durable */
};

struct crowd_cost {
	unsigned clients;    /* asked for */
	unsigned connected;  /* of them; half: before they closed */
	double broker_bytes; /* of private memory of the broker, for each, without ... */
	double table_bytes;  /* ... the job table, for all of them: that has a limit of its own */
	double lane_bytes;   /* of shared memory, for each */
	double descriptors;  /* of the broker, for each */
	uint64_t queued;     /* jobs that wait, of all of them */
};

struct crowd_report {
	struct crowd_arm alone[2]; /* the control: before all, and after all */
	struct crowd_arm among;    /* with all of them there */
	struct crowd_arm churn;    /* ... and others that come and go */
	struct crowd_cost cost[CROWD_SORTS];
	uint64_t bytes[3];   /* private memory of the broker: before, with all, after */
	int fds[3];          /* its descriptors */
	uint64_t clients[3]; /* as it counts them, the asker not */
	char text[300];      /* the first that was wrong, or "" */
};

struct crowd_limits {
	double broker_bytes[CROWD_SORTS]; /* for each client; 0: no limit */
	double left_bytes;                /* of private memory, after all have gone */
};

/* One after the other; `jobs`: of the good client in each arm.  `spoil`: one crowd does not go, for
 * the judge to be seen at work. */
void crowd_run(struct test_daemon *d, const unsigned counts[CROWD_SORTS], unsigned jobs,
	       uint64_t max_jobs, const struct crowd_limits *limits, unsigned seed, bool spoil,
	       struct crowd_report *ret);

#endif
