/*
 * writer.h - the store's threads in the broker: one that commits changes in groups, one that reads.
 *
 * The broker's thread puts orders and takes answers; it never waits for a disk.  All that stands
 * in the queue when the writer looks becomes one commit, so the slower the disk the larger the
 * groups.  A commit that fails (no room, read-only, an error of the disk) answers every order of
 * it with that error, and the store says so until a trial commit succeeds again: it is tried
 * once a second.
 *
 * Put, take and pending are for the broker's thread alone; orders belong to the writer between.
 */
#ifndef PYPREP_DAEMON_WRITER_H
#define PYPREP_DAEMON_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "daemon/store.h"

struct broker;
struct wake;
struct writer;

/* One change and whoever asked for it.  malloc'ed by the asker with its bytes behind it
 * (order_new()); freed after `answered`. */
struct order {
	STAILQ_ENTRY(order) link;
	struct store_change change; /* change.result says how it went: also the commit's error */
	bool lazy; /* need not be durable soon: waits for others, or half a second */
	/* Called on the broker's thread; NULL: nobody cares.  It is freed afterwards, unless
	 * `kept` was set: then it is the callee's again. */
	void (*answered)(struct broker *b, struct order *o);
	bool kept;
	uint64_t number[3]; /* the asker's own */
	unsigned char bytes[];
};

/* A question for the reading thread. */
struct question {
	STAILQ_ENTRY(question) link;
	void (*ask)(const struct store_ops *ops, struct store *s, struct question *q); /* there */
	void (*answered)(struct broker *b, struct question *q); /* on the broker's thread; frees it.
								   `b` NULL: the writer closes */
};

enum writer_state { WRITER_OK, WRITER_FULL, WRITER_FAILED };

struct order *order_new(enum store_change_type type, size_t bytes); /* zeroed; NULL: no memory */

/* Opens the store on this thread (0 or what open() said), and starts the threads.  `wake` is the
 * broker's sleeper flag and bell: rung when there is an answer. */
int writer_open(struct writer **ret, const struct store_ops *ops,
		const struct store_options *options, struct wake *broker, int bell,
		struct store_problem *why);
void writer_close(struct writer *w); /* commits what was put; answers are dropped */

void writer_put(struct writer *w, struct order *o);
void writer_ask(struct writer *w, struct question *q);
/* Hand out the answers that are there; how many. */
unsigned writer_take(struct writer *w, struct broker *b);
bool writer_pending(const struct writer *w); /* is an answer there, right before sleeping */

/* The claims of the writer's store, for the broker's thread. */
int writer_claim(struct writer *w, uint64_t id, uint16_t attempt, uint64_t *ret_fence);
void writer_unclaim(struct writer *w, uint64_t id, uint64_t fence);

enum writer_state writer_state(const struct writer *w);
const char *writer_state_text(enum writer_state state); /* ok, full, failed */
int writer_error(const struct writer *w);               /* -errno of the last failure */

struct writer_stats {
	uint64_t orders, commits, failures;
	uint64_t commit_ns_p50, commit_ns_p99; /* of the last thousand */
	uint64_t waiting;                      /* orders put and not answered */
	struct store_stats store;              /* as of the last commit */
};
void writer_stats(struct writer *w, struct writer_stats *ret);
const char *writer_engine(const struct writer *w);
/* For the one look at claimed jobs before the first order is put. */
int writer_load_claimed(struct writer *w, store_row_fn each, void *context);

#endif
