/*
 * supervisor.h - the parent of all: its state, shared by the files of that process.
 *
 *   supervisor.c  role: signals, start, drain and stop
 *   keeper.c      the broker: its start, what it says, its deaths
 *   slots.c       the workers: deaths, restarts with backoff, resizing
 *   slots_start.c ... starting
 *   heirs.c       ... replacing one while it works
 *   spares.c      links and a worker process kept ready
 *   outbox.c      messages to the broker, kept while its socket is full
 *   minder.c      the manager: its memory, its start, its deaths
 *   sweeper.c     scratch directories, and what removes the large ones
 *   orphans.c     what dead command workers left behind
 *   directory.c   the lock of the runtime directory
 *   notify.c      what the service manager is told
 *
 * It parses no client bytes, takes no lock that another process can hold, and stays small:
 * what it forks starts clean.
 */
#ifndef PYPREP_DAEMON_SUPERVISOR_H
#define PYPREP_DAEMON_SUPERVISOR_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/resource.h>

#include "daemon/cgroup.h"
#include "daemon/roles.h"
#include "daemon/scratch.h"
#include "ipc/message.h"

/* A worker's place.  Slot states and what moves them:
 *
 *              fork        ready       stop asked    death            timer
 *   EMPTY      STARTING
 *   STARTING               READY       STOPPING      BACKOFF, FAILED
 *   READY                              STOPPING      STARTING, BACKOFF
 *   STOPPING                                         EMPTY
 *   BACKOFF                            EMPTY                          STARTING
 *   FAILED     (pool failed; `pool resume` or a reload begins again)
 */
enum slot_state { SLOT_EMPTY, SLOT_STARTING, SLOT_READY, SLOT_STOPPING, SLOT_BACKOFF, SLOT_FAILED };

struct supervisor;
struct pool_slots;

enum slot_part { SLOT_OF_POOL, SLOT_HEIR, SLOT_LEAVES }; /* slots.h */

struct slot {
	struct pool_slots *pool;
	unsigned number;
	enum slot_part part;
	bool spent; /* it is to be replaced, by an heir */
	enum slot_state state;
	pid_t pid;
	int control;
	struct event *control_event, *timer;
	struct link_fds link;
	uint32_t generation, restarts;
	uint64_t started_ns;
	unsigned failures; /* deaths without progress in a row: the backoff's exponent */
	bool ordered;      /* its death was asked for */
};

#define DEATHS_KEPT 64u

struct pool_slots {
	struct supervisor *supervisor;
	struct pool_config *config;
	unsigned index;
	unsigned wanted;
	bool failed;
	bool recovering; /* it had failed, and no worker has been ready since */
	bool paused, draining; /* the broker's word, kept for its successor */
	uint32_t strategy; /* the same: a number (schedule.h) */
	struct slot *slots[WORKERS_MAX];
	struct slot *aside[WORKERS_MAX]; /* an heir that starts, or who leaves; mostly NULL */
	struct event *heirs_again;
	unsigned slot_count;
	uint64_t deaths_ns[DEATHS_KEPT]; /* the last ones without progress */
	unsigned death_count;
	uint64_t jobs_of_dead;  /* jobs started by workers that are gone */
	uint64_t jobs_at_death; /* ... and by all, when the last one made no progress */
};

struct letter {
	STAILQ_ENTRY(letter) link;
	unsigned type;
	int fds[FRAME_FDS_MAX];
	int fd_count;
	size_t length, tail_length;
	unsigned char body[]; /* and the tail */
};

#define SPARE_LINKS BOARD_SPARES

/* The manager, and what outlives it (minder.c). */
struct minder {
	pid_t pid; /* 0: none */
	int control;
	struct event *event, *timer;
	enum manager_state state;
	int counters_memfd, store_memfd;
	struct manager_store *store; /* NULL: no manager was started yet */
	int listener;
	char path[512];
	uint64_t started_ns, answered; /* the clock, and requests answered, when it began */
	unsigned failures, restarts;
	uint64_t deaths_ns[DEATHS_KEPT]; /* without progress */
	unsigned deaths;
};

/* Removes what jobs left in their scratch directories (sweeper.c). */
struct sweeper {
	struct scratch_home home;
	char directory[PATH_MAX - 128]; /* where homes lie */
	pid_t pid;                      /* 0: none runs */
	int control;
	bool again; /* there is news for it */
};

struct supervisor {
	struct config *config;
	const char *config_path;
	const char *runtime_dir;
	struct event_base *base;
	struct board *board;
	struct birth birth; /* what children are given */
	struct pool_slots pools[POOLS_MAX];
	unsigned pool_count;
	pid_t broker_pid; /* 0: none */
	int broker_control;
	bool broker_ready;
	struct event *broker_event, *broker_writable;
	struct event *broker_again; /* one could not be started: try again */
	struct event *outbox_again;
	uint64_t broker_deaths_ns[DEATHS_KEPT];
	unsigned broker_deaths;
	STAILQ_HEAD(, letter) outbox;
	struct link_fds spares[SPARE_LINKS];
	unsigned spare_count;
	pid_t spare_pid; /* a worker without a slot (spare.c); 0: none */
	int spare_control;
	pid_t spare_ended; /* killed by us, not reaped yet */
	struct minder minder;
	struct sweeper sweeper;
	struct cgroup cgroup;
	struct event *orphans_patience; /* how long the outbox is held for them: orphans.c */
	bool orphans_held;
	struct event *refill; /* make spares when nothing else is to do */
	struct event *watchdog, *deadline;
	struct event *tell_later; /* lines that were left out are told then */
	struct event *signals[4]; /* CHLD TERM INT HUP */
	uint64_t watchdog_ns;     /* interval of WATCHDOG=1; 0: none */
	uint64_t beats_sent, beats_back;
	bool announced; /* READY=1 was said */
	enum { RUN, DRAIN, DRAIN_HARD, STOP } phase;
	unsigned reloads;
	int exit_status;
};

/* supervisor.c */
void supervisor_drain(struct supervisor *s); /* running jobs finish first */
void supervisor_stop(struct supervisor *s);
void supervisor_stop_at_once(struct supervisor *s); /* what runs is ended */

/* keeper.c */
int keeper_open(struct supervisor *s); /* 0, or -1: no memory */
void keeper_start(struct supervisor *s);
void keeper_reaped(struct supervisor *s, int status);
void keeper_forget(struct supervisor *s); /* close its socket: the order to end */

/* slots.c */
int slots_open(struct supervisor *s);
void slots_close(struct supervisor *s);
void slots_start(struct supervisor *s);
void slots_reap(struct supervisor *s, pid_t pid, int status, const struct rusage *usage);
void slots_announce(struct supervisor *s);      /* tell a new broker of all that live */
bool slots_settled(const struct supervisor *s); /* every worker ready, or its pool failed */
bool slots_gone(const struct supervisor *s);
unsigned slots_count(const struct supervisor *s); /* processes */
void slots_stop(struct supervisor *s);            /* close the control sockets */
void slots_kill(struct supervisor *s, int signal);
void slots_resize(struct pool_slots *p, unsigned workers);
void slots_resume(struct pool_slots *p);
void slots_reschedule(struct pool_slots *p); /* strategy or ageing were changed by a reload */
void slots_order(struct supervisor *s, const struct worker_kill_body *order);
/* Replace that worker, its successor first (heirs.c). */
void slots_recycle(struct supervisor *s, const struct worker_kill_body *order);
void heirs_on_timer(evutil_socket_t fd, short what, void *context);
bool slots_owns(const struct supervisor *s, pid_t pid);

/* spares.c */
int spares_open(struct supervisor *s); /* 0, or -1: no memory */
void spares_begin(struct supervisor *s);
void spares_stop(struct supervisor *s);
void spares_close(struct supervisor *s);
/* One that is kept ready if the way is the ring's, or a new one.  0 or -errno. */
int spare_link(struct supervisor *s, enum link_way way, struct link_fds *ret);
/* Make the spare worker this slot's: its pid and slot->control; 0: there is none. */
pid_t spare_assign(struct slot *slot);
bool spare_reaped(struct supervisor *s, pid_t pid); /* true: it was the spare */
/* End the spare: what it was forked with is no longer true. */
void spare_drop(struct supervisor *s);

/* minder.c */
int minder_open(struct supervisor *s); /* 0 or -errno */
void minder_begin(struct supervisor *s);
bool minder_reaped(struct supervisor *s, pid_t pid, int status); /* true: it was the manager */
void minder_announce(struct supervisor *s);                      /* tell the broker of it */
void minder_resume(struct supervisor *s); /* try again after it was given up */
void minder_stop(struct supervisor *s);
void minder_kill(struct supervisor *s);
void minder_close(struct supervisor *s);

/* sweeper.c */
void sweeper_open(struct supervisor *s);  /* without a scratch directory the daemon does well */
void sweeper_begin(struct supervisor *s); /* at start: what dead daemons left */
void sweeper_start(struct supervisor *s); /* there is litter */
bool sweeper_reaped(struct supervisor *s, pid_t pid); /* true: it was the sweeper */
void sweeper_stop(struct supervisor *s);
void sweeper_close(struct supervisor *s);

/* outbox.c: to the broker; without one, nothing is kept.  While orphans are held all waits, in
 * order, but the beat. */
void tell_broker(struct supervisor *s, unsigned type, const void *body, size_t length,
		 const int *fds, int fd_count);
void tell_broker_more(struct supervisor *s, unsigned type, const void *body, size_t length,
		      const void *tail, size_t tail_length);
void outbox_flush(struct supervisor *s);
void outbox_clear(struct supervisor *s);

/* orphans.c: kill and reap children that are nobody's. */
int orphans_open(struct supervisor *s); /* 0 or -errno */
void orphans_close(struct supervisor *s);
void orphans_hold(struct supervisor *s); /* a worker has died: until what it left is gone */
void orphans_end(struct supervisor *s);

/* directory.c: make the runtime directory and take it, or wait for what a killed daemon left
 * there to be gone.  0, and the lock's descriptor; or the exit status, and why is in the log. */
int directory_lock(const char *dir, int *ret_fd);

/* reload.c: read the config again and apply what can change live.  The caller owns *ret_map: a
 * msgpack map for the reply, with REPLY_ERROR in *ret_flags when it was refused. */
void reload(struct supervisor *s, unsigned char **ret_map, size_t *ret_length, uint32_t *ret_flags);

/* supervisor.c: something got ready or failed: is it time to say READY=1? */
void supervisor_progress(struct supervisor *s);

/* notify.c */
void notify_ready(struct supervisor *s);
void notify_status(struct supervisor *s);
void notify_reloading(void);
void notify_stopping(struct supervisor *s);
void notify_alive(void);
void notify_extend(uint64_t ns);
uint64_t notify_watchdog_ns(void);
/* The listening socket: from the service manager, or bound at `path`.  A descriptor or -errno. */
int notify_listener(const struct config *config, const char *path);
/* A listening unix socket of that type, with the mode and group of the client socket. */
int notify_bind(const struct config *config, const char *path, int type);

#endif
