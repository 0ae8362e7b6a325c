/*
 * gate_parts.h - what the files of the gate (gate.h) share.  Nobody else includes it.
 *
 *   gate.c         the two gates, `release`
 *   gate_time.c    jobs that wait for a time
 *   gate_after.c   jobs that wait for jobs
 *   gate_limit.c   what there is only so much of: who has it, who is next
 *   gate_claim.c   ... what a job wants of it
 *   gate_need.c    ... named resources
 *   gate_rate.c    ... starts of a group within a window
 *   gate_key.c     at most one open job of a key; what a submit is checked for
 *   gate_ask.c     what the store knows of jobs that others wait for
 *   gate_look.c    what a job waits for, in words and numbers
 */
#ifndef PYPREP_DAEMON_GATE_PARTS_H
#define PYPREP_DAEMON_GATE_PARTS_H

#include <event2/event.h>
#include <sys/queue.h>

#include "daemon/broker.h"
#include "daemon/gate.h"
#include "daemon/heap.h"
#include "daemon/index.h"
#include "daemon/policy.h"

/* ---- what a job has here ---- */

enum edge_state {
	EDGE_MET,    /* the parent has ended as asked */
	EDGE_OPEN,   /* in its parent's list */
	EDGE_ASKED,  /* the store is asked what became of it */
	EDGE_FAILED, /* it has ended otherwise */
};

/* "child waits for parent". */
struct edge {
	LIST_ENTRY(edge) link; /* EDGE_OPEN: in the parent's list */
	struct gate_job *child;
	uint64_t parent;
	uint8_t mode;         /* enum policy_after */
	uint8_t state;        /* enum edge_state */
	uint8_t parent_state; /* enum job_state: EDGE_FAILED */
};

/* How a start stands in the log of its group. */
enum start { START_NONE, START_PENDING, START_KNOWN };

/* So much of a limit is wanted. */
struct claim {
	struct limit *limit;
	uint64_t count;
	struct gate_job *job;
	TAILQ_ENTRY(claim) pending; /* START_PENDING: in the log's list */
	uint64_t started_ns;        /* START_KNOWN: as it stands in the log */
	uint8_t start;              /* enum start */
	bool counts;                /* a rate: the first of this job's claims with that log */
};

/* Of a job that has parents, a key, rates or needs.  One allocation with both lists behind it. */
struct gate_job {
	struct index_node by_key; /* first: index.c hands it out */
	TAILQ_ENTRY(gate_job) doomed_link;
	uint32_t index; /* the job's place */
	bool failed;    /* a parent has ended otherwise than asked */
	bool doomed;    /* in the list of those that end in the turn that follows */
	bool keyed;     /* in the index of keys */
	unsigned char token[STORE_TOKEN]; /* keyed and detached; else zeroes */
	bool offered;                     /* stands in its queue by the word of waits_at */
	uint32_t open;                    /* edges that are EDGE_OPEN or EDGE_ASKED */
	uint32_t edge_count, claim_count;
	struct edge *edges;
	struct claim *claims;   /* rates first, then needs */
	struct claim *waits_at; /* parked there, or offered; NULL: neither */
};

/* ---- limits ---- */

/* The jobs of one pool that wait at a limit. */
struct line {
	struct heap waiters; /* parked, by priority, then age; more->place */
	struct heap offered; /* back in their queue to take it, in the same order */
	uint32_t bound;      /* jobs that may come into either */
	uint64_t promised;   /* to those in `offered` */
};

LIST_HEAD(limits, limit);

/* Known starts of a group, in their order, and those of jobs that are on the way to a worker. */
struct rate_log {
	struct index_node by_name; /* first */
	char name[POLICY_NAME_MAX + 1];
	struct limits limits;
	TAILQ_HEAD(, claim) pending;
	uint32_t pending_count;
	uint64_t *starts; /* a ring; starts[(first + i) & (capacity - 1)] */
	uint32_t first, count, capacity;
	uint32_t most;       /* more than any of its limits looks back to */
	uint64_t longest_ns; /* as long as any of its limits looks back */
};

struct limit {
	enum wait type;   /* WAIT_NEED or WAIT_RATE */
	uint32_t users;   /* claims of jobs that are not over */
	uint32_t waiting; /* jobs in its lines */
	uint32_t pools;   /* bit per pool: somebody waits in its line */
	uint32_t offered; /* bit per pool: somebody in its line has an offer */
	bool left;        /* in the list of those that are looked at again in the next turn */
	LIST_ENTRY(limit) in_left;
	/* NEED */
	const char *name; /* of the configuration; for a rate its log's */
	uint64_t most, used;
	/* RATE: fewer than `most` starts within window_ns */
	struct rate_log *log;
	LIST_ENTRY(limit) in_log;
	uint64_t window_ns;
	uint64_t due_ns;      /* to be looked at then */
	uint32_t due, number; /* place in the heap of those; in gate.rates */
	struct line lines[];  /* by pool */
};

/* What is known of a job that another one is to wait for. */
enum found_as { FOUND_NOTHING, FOUND_OPEN, FOUND_OVER };
struct found {
	uint64_t id;
	uint32_t uid;
	uint8_t as;    /* enum found_as */
	uint8_t state; /* FOUND_OVER: enum job_state */
};

TAILQ_HEAD(gate_jobs, gate_job);
LIST_HEAD(parents, parent);

struct gate {
	struct heap times; /* jobs that wait for a time, by more->wake_ns; more->place */
	uint64_t bound;    /* jobs that may come into it */
	struct event *timer;
	uint64_t timer_ns;   /* when it fires; 0: not armed */
	struct event *clock; /* that people set: readable when they have; NULL: not watched */

	struct index parents;    /* jobs that others wait for, by id */
	struct parents over;     /* ... of which these have ended: their children are told */
	struct gate_jobs doomed; /* end in the turn that follows */
	struct found found[POLICY_PARENTS]; /* what after_check() found, for after_bind() */
	TAILQ_HEAD(, ask) asks;             /* what the store was asked for submits */
	struct index keys;

	struct limit *resources[RESOURCES_MAX];
	char resource_names[RESOURCES_MAX][RESOURCE_NAME_MAX + 1];
	unsigned resource_count;
	struct resource_config coming[RESOURCES_MAX]; /* of a reload, until the last is here */
	struct limits left;      /* somebody stood back for one of another pool */
	struct gate_job *keeper; /* what it needs is kept for it as it comes free; or NULL */
	struct index logs;
	struct limit **rates; /* by number; NULL: free */
	uint32_t rate_count, rate_capacity;
	uint32_t rate_hint; /* no free number is below */
	struct heap due;    /* numbers of rates, by due_ns */
};

/* gate.c */
struct job *job_of(const struct broker *b, const struct gate_job *gj);

/* gate_time.c */
int times_open(struct broker *b);
void times_close(struct gate *g);
void time_park(struct broker *b, uint32_t index); /* until more->wake_ns */
void time_unpark(struct broker *b, uint32_t index);
void times_clock_set(struct broker *b); /* b->wall_offset_ns is another */
void gate_timer_at(struct broker *b, uint64_t when_ns);

/* gate_after.c */
int after_open(struct gate *g);
void after_close(struct gate *g);
/* The parents of a submit: are they all there? */
enum gate_verdict after_check(struct broker *b, const struct client *c, const struct policy *p,
			      struct gate_answer *ret);
/* Find the parents that policy->parents names. */
enum job_error after_bind(struct broker *b, struct gate_job *gj, bool loaded, char *why,
			  size_t size);
void after_unbind(struct broker *b, struct gate_job *gj);
/* What the store knows of the parents of a job that was loaded. */
void after_answered(struct broker *b, uint64_t child, const struct found *found, unsigned count);
/* It is parked, and must not run: it ends in the turn that follows. */
void after_doom(struct broker *b, struct gate_job *gj);
void after_spare(struct broker *b, struct gate_job *gj); /* ... not any more: it ends now */
void after_ended(struct broker *b, uint64_t id, unsigned state);
/* Does somebody wait for this id already?  (It was not in the table when they came.) */
bool after_is_parent(const struct gate *g, uint64_t id);
/* Tell children and end the doomed; how many were. */
unsigned after_turn(struct broker *b);

/* gate_ask.c */
/* What the table and the history know; how many remain FOUND_NOTHING. */
unsigned found_look_up(const struct broker *b, struct found *found, unsigned count);
/* What the store knows, for a submit of `c`.  GATE_GO: it has said; GATE_WAIT: it is asked. */
enum gate_verdict ask_for_client(struct broker *b, const struct client *c, struct found *found,
				 unsigned count, struct gate_answer *ret);
int ask_for_job(struct broker *b, uint64_t child, const struct found *found, unsigned count);
void asks_close(struct gate *g);

/* gate_limit.c */
int limits_open(struct broker *b);
void limits_close(struct broker *b);
bool limits_take(struct broker *b, struct gate_job *gj);        /* false: parked */
void limits_take_anyhow(struct broker *b, struct gate_job *gj); /* it runs already */
/* `ran`: the attempt is over, and had started then (0: never); else it was not sent. */
void limits_give(struct broker *b, struct gate_job *gj, bool ran, uint64_t started_ns);
void limits_unpark(struct broker *b, struct gate_job *gj);
void limits_unoffer(struct broker *b, struct gate_job *gj);
/* Something came free: who may go on goes back to its queue. */
void limit_offer(struct broker *b, struct limit *l);
uint64_t limit_room(struct broker *b, struct limit *l);
/* Nobody uses this rate any more.  It is kept as long as a start lies within its window. */
void limit_unused(struct broker *b, struct limit *l);
void keep_no_more(struct broker *b, const struct gate_job *gj); /* it is no keeper, if it was */
/* Those where somebody stood back: has the other taken it? */
void limits_look_again(struct broker *b);
/* Those whose time has come; when the next one is due, 0: none. */
uint64_t limits_due(struct broker *b);
struct limit *limit_new(struct broker *b, enum wait type); /* NULL: no memory */
void limit_free(const struct broker *b, struct limit *l);

/* gate_claim.c */
enum job_error limits_bind(struct broker *b, struct gate_job *gj, const struct policy *p,
			   bool loaded, char *why, size_t size);
void limits_unbind(struct broker *b, struct gate_job *gj);

/* gate_need.c */
int resources_open(struct broker *b);
/* `loaded`: one that is in no configuration (any more) is added, with a limit of 0.  NULL: with the
 * reason. */
struct limit *resource_find(struct broker *b, const struct policy_need *n, bool loaded,
			    enum job_error *ret_error, char *why, size_t size);

/* gate_rate.c */
struct limit *rate_find(struct broker *b, const struct policy_rate *r); /* NULL: no memory */
void rate_forget(struct broker *b, struct limit *l);
uint64_t rate_room(struct broker *b, struct limit *l);
/* When there is more room, at the earliest; 0: there is as much as there can be. */
uint64_t rate_next(const struct broker *b, const struct limit *l);
/* When its last start leaves the window; 0: none is in it. */
uint64_t rate_last(const struct broker *b, const struct limit *l);
void rate_begin(struct claim *claim);                        /* handed out */
void rate_void(struct claim *claim);                         /* it never started */
void rate_started(struct claim *claim, uint64_t started_ns); /* it did, then */

/* gate_key.c */
void key_bind(struct broker *b, struct gate_job *gj, const char *key);
void key_unbind(struct broker *b, struct gate_job *gj);

#endif
