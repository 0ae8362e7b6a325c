/*
 * floor.h - the floors of `pyprepctl bench`: the same work done by the least code that can
 * do it, in real processes that wait by the same policy (ipc/wake.h), measured in the same
 * run.  What pyprep adds is the ratio to them.
 *
 *   floor_party.c    processes that sleep and wake each other; a crew that works on demand
 *   floor_ring.c     client, broker and worker as bare rings: one in flight, and a flood
 *   floor_work.c     plain loops: sums of squares, squares through one ring, timers, exec
 *   floor_process.c  kill and fork again, processes that only sleep
 *
 * Functions return 0 or -errno; nothing here prints.  Each floor's processes end with the
 * one that started them.
 */
#ifndef PYPREP_CTL_FLOOR_H
#define PYPREP_CTL_FLOOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/ctl/stats.h"
#include "ipc/wake.h"
#include "shm/ring.h"

#define FLOOR_WORKERS 2

/* ---- floor_party.c ---- */

/* Fork a process that dies with this one.  As fork(). */
pid_t floor_fork(void);
void floor_kill(pid_t pid); /* and wait for it */

/* Memory shared with processes forked later, zeroed; NULL when there is none. */
void *floor_share(size_t size);

/* The nth CPU that we may use, -1: there are fewer. */
int floor_cpu(unsigned n);
/* Bind a process (0: this thread) to one; -1 and one that is not there: nothing is changed. */
bool floor_bind(pid_t pid, int cpu);

/* One process that can sleep.  `wake` lies in shared memory, `bell` is an eventfd. */
struct party {
	struct wake *wake;
	int bell;
};
int party_make(struct party *party, struct wake *wake);
void party_ring(const struct party *party); /* wake it if it sleeps */

/* Wait until `ready`: look and yield WAKE_LOOKS times, then sleep until rung. */
void party_wait(const struct party *me, bool (*ready)(void *), void *context);

/* Processes that wait, all do `work(context, argument)` when told to, and wait again. */
struct crew;
typedef void (*crew_fn)(void *context, uint64_t argument);
int crew_start(unsigned count, crew_fn work, void *context, struct crew **ret);
void crew_begin(struct crew *crew, uint64_t argument);
void crew_wait(struct crew *crew);                       /* until all have done */
uint64_t crew_run(struct crew *crew, uint64_t argument); /* both; ns */
void crew_stop(struct crew *crew);                       /* NULL is fine */

/* ---- floor_ring.c ---- */

/* The rings of a job's way with records of the same sizes, and nothing between them. */
struct ring_floor;
int ring_floor_start(unsigned workers, struct ring_floor **ret);
/* `count` round trips, one in flight; their ns go to `ret`. */
void ring_floor_echo(struct ring_floor *floor, unsigned count, struct samples *ret);
/* `count` round trips, at most `window` in flight: ns for all. */
uint64_t ring_floor_flood(struct ring_floor *floor, uint64_t count, unsigned window);
void ring_floor_stop(struct ring_floor *floor); /* NULL is fine */

/* ---- floor_work.c ---- */

void floor_sumsq(void *context, uint64_t count);     /* for a crew: the kind's loop, twice */
void floor_exec_true(void *context, uint64_t count); /* for a crew: /bin/true, one by one */

/* One process squares 0 .. count-1 into a ring, this one copies them to `ret`. */
struct square_floor;
int square_floor_start(struct square_floor **ret);
uint64_t square_floor_run(struct square_floor *floor, uint64_t count, int64_t *ret); /* ns */
void square_floor_stop(struct square_floor *floor); /* NULL is fine */

/* `count` timers of `ms` in one process: ns until the last has fired. */
uint64_t floor_timers(unsigned count, unsigned ms);

/* ---- floor_process.c ---- */

/* Kill a sleeping child, hear of it, fork another, hear its hello: ns, `count` times. */
int floor_respawn(unsigned count, struct samples *ret);
/* fork, exec /bin/true, wait: ns, `count` times. */
int floor_run_true(unsigned count, struct samples *ret);
/* The memory (Pss) of `count` processes that are /bin/sleep. */
int floor_sleepers(unsigned count, uint64_t *ret_bytes);
/* Pss of one process.  -errno when /proc does not tell. */
int process_pss(pid_t pid, uint64_t *ret_bytes);

#endif
