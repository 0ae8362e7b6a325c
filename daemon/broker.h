/*
 * broker.h - the broker's state, shared by the files of that one process:
 *
 *   broker.c    role: the loop, waiting, the supervisor's messages
 *   clients.c   connections: who they are, their lanes, what they say
 *   outlet.c    what goes to a client, and what waits while it does not read
 *   lane.h      how records travel: a table of operations each (lane_*.c)
 *   admit.c     a submit becomes a job
 *   schedule.h  which job is next: the pools' queues, by strategies (schedule_*.c)
 *   dispatch.c  which worker gets it: tickets, credit, results
 *   crew.c      workers come and go: links, deaths
 *   array.c     ranges of array jobs
 *   drain.c     an orderly end of work
 *   quarantine.c  jobs that kill their worker, again and again
 *   hung.c      workers that were stopped with jobs on them
 *   deadline.c  timeouts, cancels, what happens when a worker does not obey
 *   complete.c  a job ends: receipt, history, those who wait
 *   durable.c   detached jobs: what goes into the store (durable_load.c: what comes back)
 *   requests.c  the verbs of control requests (request_*.c)
 *   tallies.c   what the jobs of a day came to
 *   history.c   receipts of ended jobs, in a file
 *
 * Everything here belongs to the broker's single thread.
 */
#ifndef PYPREP_DAEMON_BROKER_H
#define PYPREP_DAEMON_BROKER_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "daemon/args.h"
#include "daemon/history.h"
#include "daemon/identity.h"
#include "daemon/jobs.h"
#include "daemon/lane.h"
#include "daemon/ledger.h"
#include "daemon/roles.h"
#include "daemon/schedule.h"
#include "ipc/frames.h"
#include "ipc/lane.h"
#include "ipc/link.h"

#define KINDS_MAX     64
#define TINY_NS       20000u  /* jobs measured to be shorter than this may be prefetched */
#define CREDIT_NS     200000u /* ... up to this much work per worker */
#define CREDIT_JOBS   256u
#define BACKLOG_HOLD  (1024u * 1024)      /* unread bytes after which a client's jobs wait */
#define BACKLOG_FULL  (2 * BACKLOG_HOLD)  /* ... after which nothing more is read from its lane */
#define BACKLOG_LIMIT (64u * 1024 * 1024) /* ... after which it is let go */

/* ---- clients ---- */

/* A record that found no room in the client's ring. */
struct parked {
	STAILQ_ENTRY(parked) link;
	uint32_t type, length;
	unsigned char body[];
};

struct client {
	TAILQ_ENTRY(client) active_link; /* while its lane is looked at each turn */
	struct broker *broker;
	uint32_t index;
	int fd; /* its socket; -1 on a lane without one of its own */
	uint64_t since_ns;
	struct event *readable;
	const struct lane_ops *lane_ops;
	struct identity who;
	enum access access;
	bool may_submit; /* of identity.h, asked once: they cost system calls */
	bool commands_only;
	bool greeted;
	bool active;
	bool doomed;          /* to be closed at the end of this turn */
	bool writing;         /* its socket was full: waits to be writable */
	bool bell_due;        /* something was put into its ring in this turn */
	uint32_t quiet_turns; /* looks in a row that found nothing */
	bool blocked;         /* frames: what stands in lane.out found no room on the way */
	bool bundles;         /* frames: it takes MSG_RECORDS */
	struct lane lane;     /* shared is NULL without a lane */
	struct zmq_client *zmq; /* lane_zmq.c */
	struct frames frames; /* what moves its rings when they are not shared */
	uint64_t told_bytes;  /* frames: in the last MSG_TAKEN */
	uint64_t lane_inode;
	uint64_t frames_in, frames_out; /* on its control road, ever */
	STAILQ_HEAD(, parked) backlog;
	uint64_t backlog_bytes;
	STAILQ_HEAD(, parked) replies; /* frames that found no room in the socket */
	uint32_t first_job;            /* its jobs, linked by client_next */
	uint32_t held_head, held_tail; /* jobs kept out of the queues */
	uint64_t jobs;
	uint64_t job_bytes; /* their parameters, outside of struct job */
	struct parked *stalled; /* a submit that waits for room in the table */
	struct shared_context *context; /* for commands: context.h; NULL: none */
};
TAILQ_HEAD(client_list, client);

/* ---- pools and workers, as the broker sees them ---- */

#define CREW_MAX (2 * WORKERS_MAX) /* workers, and their heirs */

#define ORPHAN (JOB_NONE - 1) /* in tickets: a job of an earlier broker */

struct crew { /* one worker */
	struct broker *broker;
	bool up;       /* there is a process and a link */
	bool retiring; /* gets no more jobs; goes when it is idle */
	bool touched;  /* got something in this turn: to be woken */
	struct crew *next_touched;
	TAILQ_ENTRY(crew) busy_link; /* while it has jobs */
	bool seen_ready;             /* the broker knows that it is */
	bool overran; /* its job runs longer than was thought: nothing is sent ahead */
	bool alone;   /* runs a suspect: nothing else goes there (quarantine.c) */
	bool leaving; /* the supervisor has been asked to stop it */
	bool spent;    /* ... to start a successor of it (relief.c) */
	bool halted;   /* it runs nothing more */
	bool heir;     /* it is one: its predecessor works until it is ready */
	bool relieved; /* its heir is ready */
	uint16_t pool, slot;
	uint16_t place; /* in its pool's crew */
	uint32_t pid, generation, restarts;
	uint32_t outstanding; /* tickets out */
	uint64_t estimate_ns; /* of them */
	uint32_t adopted;     /* ... of which are detached jobs of an earlier broker's */
	uint32_t orphans;     /* ... of which are of an earlier broker */
	uint32_t stopping;    /* ... of which are to end: JOB_STOPPING, or of an earlier broker */
	uint64_t looked_ns, stopped_ns; /* hung.c: when its state was looked at; since when stopped */
	uint64_t stop_by_ns;  /* to be killed then, unless they have ended; 0: not */
	uint64_t jobs;        /* ended here */
	uint64_t sent;        /* tickets ever handed out by this broker */
	uint64_t got;         /* records from it, ever */
	uint32_t outstanding_high;
	uint64_t since_ns; /* when this broker got to know it */
	uint64_t link_inode;
	struct link_broker link;
	uint32_t stops_due;             /* ... stops that found no room on their way yet */
	struct event *news[2];          /* of its link's descriptors; NULL: its way has none */
	uint8_t stop_due[LINK_TICKETS]; /* the cause to be told of each of those; 0: none */
	uint32_t tickets[LINK_TICKETS]; /* job of each ticket, or JOB_NONE, ORPHAN */
};

struct pool {
	const struct pool_config *config;
	unsigned index;
	unsigned wanted;    /* workers */
	enum link_way link; /* of the worker that came last */
	enum pool_state state;
	bool known; /* the supervisor has told how it is */
	uint64_t queued, running;
	uint32_t alone_head, alone_tail; /* suspects that wait for a fresh worker, by prev and next */
	uint64_t ended[JOB_STATE_COUNT];
	struct crew *crew[CREW_MAX];      /* by place; NULL: never used */
	unsigned crew_count;              /* places used */
	unsigned able_of, able_least;     /* since it was whole with so many: see pool_note_able() */
	uint64_t recycled;                /* workers relieved by their heirs */
	char executor_name[HISTORY_NAME]; /* padded, for history entries */
	unsigned turn;                    /* where the search for a worker begins */
	uint64_t estimate_ns[KINDS_MAX];  /* run time by kind; 0: not known */
	const struct strategy *strategy;
	void *scheduling; /* the strategy's own */
	uint64_t ageing_ns;
	struct pool_line line; /* of a strategy without lines of its own */
};

/* A `wait` request in progress. */
struct watcher {
	LIST_ENTRY(watcher) link;
	struct client *client;
	uint32_t request;
	bool any;
	uint32_t count; /* ids not ended */
	uint64_t ids[];
};

struct broker {
	const struct birth *birth;
	const struct config *config;
	struct board *board;
	struct event_base *base;
	uint64_t started_ns;
	uint64_t now_ns;         /* clock, read once a turn: see broker_now() */
	uint64_t balanced_ns;    /* when it last looked for what waits behind long jobs */
	uint64_t wall_offset_ns; /* CLOCK_REALTIME - CLOCK_MONOTONIC */
	bool told;               /* what pools, workers and manager there are: serves clients */
	bool settled;            /* see crews_settled() */
	bool draining;
	bool drain_hard; /* what still runs is being ended */
	bool drained_said;
	bool end;
	struct jobs jobs;
	struct pool pools[POOLS_MAX];
	unsigned pool_count;
	struct client **clients; /* by index; config->max_clients places */
	uint32_t client_count;
	struct client_list active;
	struct zmq_lane *zmq; /* NULL: there is none */
	TAILQ_HEAD(, crew) busy;
	struct crew *touched;
	uint32_t unready; /* crews up and not seen ready */
	uint32_t heirs;   /* crews that wait to relieve another */
	uint32_t waiting; /* bit per pool: its queue may hold jobs */
	uint32_t alone;   /* bit per pool: suspects wait for a fresh worker */
	uint64_t queued_ns; /* of the job that was queued last: see queue_push() */
	struct event *listening, *listen_again;
	bool someone_doomed;
	bool room_made; /* a job has left the table in this turn */
	uint32_t stalled_clients;
	uint64_t freed_bytes; /* that clients who left had not read; see give_back() */
	LIST_HEAD(, watcher) watchers;
	STAILQ_HEAD(, later) later; /* requests about jobs that may still come; request_later.c */
	uint32_t later_count;
	struct event *control, *bell, *look_again;
	struct event *deadline;
	uint64_t deadline_ns; /* when the timer fires; 0: not armed */
	struct history history;
	struct tallies *tallies; /* of today, by kind and pool */
	struct ledger ledger;
	struct durable *durable; /* NULL before it is open */
	char kind_names[KINDS_MAX][HISTORY_NAME];
	struct args_buffer args;
	struct gate *gate; /* gate.h */
	struct cache *cache; /* cache.h */
	bool gate_due;     /* gate_turn() has something to do */
	uint64_t ended[JOB_STATE_COUNT];
	unsigned char *scratch;   /* one record from a lane */
	struct manager_body manager; /* as the supervisor last said */
	struct client *reloading; /* who asked for a reload */
	uint32_t reload_request;
};

/* broker.c */
/* The time of this turn, but never before `seen_ns`, which another process saw already.  A
 * turn is microseconds long when jobs come one by one; with thousands in flight all jobs of
 * a turn share its time (docs: pyprep-timings), for a clock read costs as much as a tenth of
 * a job. */
uint64_t broker_now(struct broker *b, uint64_t seen_ns);
void broker_clocks(struct broker *b); /* wall_offset_ns, anew */
int supervisor_tell(struct broker *b, unsigned type, const void *body);

/* clients.c */
int clients_open(struct broker *b);
/* From now on they may come. */
int clients_listen(struct broker *b);
/* One more, with no lane yet: NULL when there is no place for it. */
struct client *client_new(struct broker *b, const struct identity *who, enum access access);
void clients_close(struct broker *b);
/* One look at every active lane; returns how many records came. */
unsigned clients_poll(struct broker *b);
bool clients_pending(struct broker *b); /* is something in a lane, right before sleeping */
void clients_arm(struct broker *b);     /* the broker sleeps: active lanes must ring */
void clients_disarm(struct broker *b);
void clients_flush(struct broker *b); /* end of a turn: bells, goodbyes */
void clients_room(struct broker *b);  /* the table has room again: stalled submits */
/* Admit what stands in the client's lane; how much moved.  Before a cancel: what it submitted
 * earlier must not come later. */
unsigned client_admit(struct broker *b, struct client *c);
/* Give the submit up that waits for room, when it has this tag (NULL: any). */
bool client_drop_stalled(struct broker *b, struct client *c, const uint64_t *tag);

void client_on_socket(evutil_socket_t fd, short what, void *context);
/* Take what is on its socket, so much at once; and one frame, wherever it came from. */
void client_read(struct broker *b, struct client *c);
void client_on_frame(struct broker *b, struct client *c, struct frame_in *in);
void client_broke_rules(struct client *c, const char *why);

/* outlet.c */
/* Put a record into the client's ring, or behind what waits already.  `parts` are written one
 * after the other. */
struct part {
	const void *bytes;
	uint32_t length;
};
void client_put(struct broker *b, struct client *c, unsigned type, const struct part *parts,
		unsigned count);
void client_reply(struct broker *b, struct client *c, uint32_t request, uint32_t flags,
		  const void *map, size_t length);
void client_refuse(struct client *c, enum job_error error, const char *text);
bool client_is_held(const struct client *c);
struct parked *client_park(uint32_t type, const struct part *parts, unsigned count);
void client_doom(struct client *c);                       /* close it at the end of this turn */
void client_activate(struct broker *b, struct client *c); /* look at its lane each turn */
void client_deactivate(struct broker *b, struct client *c);
void client_ring(struct client *c); /* what was put travels; wake it if it sleeps */
unsigned client_flush_backlog(struct broker *b, struct client *c);
void client_flush_replies(struct broker *b, struct client *c);
void client_unblock(struct broker *b, struct client *c); /* there may be room on its road */

/* attach.c */
void client_attach(struct broker *b, struct client *c, const struct attach_body *ask);

/* admit.c: 0, or -EAGAIN when it has to wait for room, -EPROTO when the record is not one. */
int admit_record(struct broker *b, struct client *c, unsigned type, const unsigned char *body,
		 uint32_t length);
/* May the table have room for a job of this client that waits for it? */
bool admit_goes_on(const struct broker *b, const struct client *c);

/* admit_limits.c: can the pool keep the limits of `policy` (NULL: it has none)? */
struct policy;
enum job_error admit_limits(const struct broker *b, const struct pool *p, const struct kind *k,
			    const struct policy *policy, char *why, size_t size);

/* dispatch.c */
unsigned dispatch_results(struct broker *b);
void dispatch_jobs(struct broker *b);
/* The job that is first in its queue to this worker; false: not now, or it is parked. */
bool dispatch_one(struct broker *b, struct pool *p, struct crew *w, uint32_t index);
bool dispatch_pending(struct broker *b); /* is something in a link, right before sleeping */
void dispatch_wake(struct broker *b);
/* Take a ticket's job back from its worker if it has not started; a stopping one is completed. */
bool ticket_taken_back(struct broker *b, struct crew *w, uint32_t ticket);
/* Before sleeping, and now and then: take back what waits behind a job that runs longer than was
 * thought.  True when something moved; *ret_look_in_ns: when to look again, 0: no need. */
bool dispatch_rebalance(struct broker *b, uint64_t *ret_look_in_ns);
/* What its policy says of memory and priority, into the request. */
void run_limits(const struct job *job, struct run_body *run);
/* One more ticket is out; something is to be told to it at the end of this turn. */
void crew_took(struct broker *b, struct crew *w);
void crew_touch(struct broker *b, struct crew *w);
/* The ticket is no longer out: its job has ended, or goes back. */
void crew_settle(struct broker *b, struct crew *w, uint32_t ticket);
/* Take at most so many records of its results; how many came. */
unsigned crew_drain(struct broker *b, struct crew *w, unsigned most);
/* Take back all that it has not started; how many. */
unsigned crew_take_back(struct broker *b, struct crew *w);
struct crew *crew_of(struct broker *b, const struct job *job);

/* crew.c */
/* Takes bell and ends over, on success. */
int crew_up(struct broker *b, const struct worker_up_body *up, const struct link_fds *fds);
void crew_let_go(struct crew *w); /* end its link */
void crew_down(struct broker *b, const struct worker_down_body *down);
void crew_retire(struct broker *b, struct crew *w);
void crew_kill(struct broker *b, struct crew *w);
void pool_failed(struct broker *b, struct pool *p);
/* Has every worker of every pool that has not failed been ready once? */
bool crews_settled(struct broker *b);

/* relief.c */
/* Who works in that slot now, or did last; NULL: nobody ever. */
struct crew *crew_at(const struct pool *p, unsigned slot);
struct crew *crew_named(const struct pool *p, unsigned slot, uint32_t generation); /* that is up */
/* A place for a worker of that slot that is up now; -1: no memory. */
int crew_place(struct pool *p, unsigned slot);
void crew_is_heir(struct broker *b, struct crew *w); /* a new one: is it? */
void crew_spent(struct broker *b, struct crew *w, uint32_t flags); /* RESULT_SPENT, RESULT_HALTED */
void crew_hand_on(struct pool *p, struct crew *w); /* it is down: its count goes to its heir */
void crews_relieve(struct broker *b);           /* heirs that have got ready take over */
unsigned pool_able(const struct pool *p);       /* workers that can be given jobs now */
/* Its workers have changed: what was the least number of able ones since there were as many as
 * wanted? */
void pool_note_able(struct pool *p);

/* array.c */
struct array_job *array_new(int64_t low, int64_t high);
bool array_has_more(const struct job *job); /* items not handed out yet */
/* Send the next range to `w`; false when its link is full. */
bool array_hand_out(struct broker *b, struct crew *w, uint32_t index);
void array_items(struct broker *b, struct crew *w, uint32_t index, const struct items_body *items,
		 const void *values);
/* A range is over: with the worker's result, taken back unstarted, or lost with its worker.  The
 * job is completed when it was the last. */
void array_range_ended(struct broker *b, struct crew *w, uint32_t index,
		       const struct result_body *result, const char *message);
void array_range_back(struct broker *b, struct crew *w, uint32_t index, uint32_t ticket);
void array_range_lost(struct broker *b, struct crew *w, uint32_t index, uint32_t ticket,
		      const char *why);
/* When the first of its ranges was taken by a worker; 0: none was. */
uint64_t array_started(const struct broker *b, const struct job *job);
void array_counts(const struct array_job *a, uint64_t *ret_items, uint64_t *ret_failed);
/* Give up what is not handed out; true when the job is completed by that. */
bool array_stop(struct broker *b, uint32_t index, enum job_cause reason);

/* hung.c: is a busy worker stopped?  Then it is killed.  When to look again; 0: no need. */
#define HUNG_LOOK_NS (1 * NS_PER_S)
uint64_t hung_look(struct broker *b, struct crew *w);

/* deadline.c */
void deadline_open(struct broker *b);
void deadline_at(struct broker *b, uint64_t when_ns);
/* End a job: at once when it is queued, by the worker or by the worker's death when it runs. */
void job_stop(struct broker *b, uint32_t index, enum job_cause reason);
/* The same for one ticket of a job that is JOB_STOPPING already. */
void ticket_stop(struct broker *b, struct crew *w, uint32_t ticket, enum job_cause reason);
/* Tell the worker to end what this ticket runs: now, or as soon as there is room on the way. */
void crew_stop(struct broker *b, struct crew *w, uint32_t ticket, enum job_cause reason);
void crew_send_stops(struct broker *b, struct crew *w);

/* drain.c */
/* The daemon is to end: nothing that is queued starts; `hard`: what runs is ended, too. */
void drain_daemon(struct broker *b, bool hard);
void drain_cancel_queued(struct broker *b);
/* Was this attempt of a detached job ended because the daemon ends? */
bool drain_lost(const struct job *job, const struct outcome *outcome);
/* Does the pool start jobs at all? */
bool pool_starts(const struct pool *p);
/* The job is next: may it start in a pool that is drained?  If not, it is parked. */
bool drain_passes(struct broker *b, uint32_t index);
void drain_over(struct broker *b, struct pool *p); /* it is resumed */

/* requests.c: and the supervisor is told, for a new broker. */
void pool_set_state(struct broker *b, struct pool *p, enum pool_state state);

/* complete.c: every change of a job's state passes through job_change(). */
void job_enter(struct broker *b, struct job *job); /* it is new, and queued */
void job_change(struct broker *b, struct job *job, enum job_state state);
void job_complete(struct broker *b, uint32_t index, const struct outcome *outcome, uint32_t flags,
		  const void *result, const void *message);
/* ... with what is known when no worker said anything. */
void job_complete_as(struct broker *b, uint32_t index, enum job_state state, enum job_cause cause,
		     int32_t value, enum job_error error, uint32_t flags, const char *message);
/* A refused submit, or one cancelled before it was admitted: a receipt without a job. */
void refuse_submit(struct broker *b, struct client *c, const struct submit_body *submit,
		   enum job_error error, const char *message);
void receipt_of(const struct broker *b, const struct job *job, struct receipt *ret);
/* It is over for good: history, its client, those who wait; out of the table. */
void job_ended(struct broker *b, uint32_t index, const struct receipt *receipt, const void *result,
	       const void *message);
/* It never was a job: out of the table, and nobody hears of it. */
void job_drop(struct broker *b, uint32_t index);

/* requests.c */
void request_handle(struct broker *b, struct client *c, const struct request_body *request,
		    const void *map, uint32_t length);
void request_reloaded(struct broker *b, const void *map, uint32_t length, uint32_t flags);
void requests_loaded(struct broker *b); /* all open jobs are in the table: see request_later.c */

#endif
