/*
 * kind.h - a kind of job: one row and one function.
 *
 * To add a kind: write its file under kinds/, define `const struct kind kind_NAME`, add
 * one line to KINDS, and a test.  Nothing else changes: the broker checks parameters
 * by the declaration, `pyprepctl kinds` prints it.
 *
 * Three classes, by how they run:
 *   KIND_CPU      run() computes on the calling thread and returns
 *   KIND_IO       start() begins, libevent callbacks go on, io_done() ends; an event pool
 *                 runs thousands of them in one process, a process or thread worker runs
 *                 one at a time on a small loop of its own: the same code in both
 *   KIND_COMMAND  another program; the command executor runs it
 *
 * kinds_check() refuses, at start-up, a row that lacks something its class needs; a line in
 * KINDS without a row does not link.
 */
#ifndef PYPREP_DAEMON_KIND_H
#define PYPREP_DAEMON_KIND_H

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/args.h"
#include "ipc/receipt.h"

struct event_base;
struct scratch;

enum kind_class { KIND_CPU, KIND_IO, KIND_COMMAND };
const char *kind_class_text(enum kind_class c);

/* One run of a kind, in a worker.  Made by the executor; `args` is checked. */
struct call {
	const struct kind *kind;
	const void *args; /* packed; args_int(call->args, INDEX) ... */
	uint64_t id;
	unsigned attempt;
	struct outcome outcome; /* starts as succeeded */
	uint32_t flags; /* RECEIPT_*, RESULT_* */
	int32_t growth_kib; /* of its worker, where measured */
	struct scratch *scratch; /* NULL: it did not ask for one */
	msgpack_sbuffer result; /* one msgpack value; empty is nil */
	char message[512]; /* error text */
};

/* A directory of this job's own, empty, removed after it with all that is in it; made at the first
 * call.  NULL after call_fail(). */
const char *call_scratch(struct call *call);

/* What a run function says.  Without any of these the job succeeds with no result. */
void call_result_int(struct call *call, int64_t value);
void call_result_u128(struct call *call, unsigned __int128 value); /* decimal text above 64 bits */
void call_result_text(struct call *call, const char *text);
void call_fail(struct call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for want of memory: the job's limit, or the machine's. */
void call_no_memory(struct call *call, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* A packer onto call->result, for maps: msgpack_packer p = call_packer(call); */
msgpack_packer call_packer(struct call *call);

/* One run of a KIND_IO, on an event loop. */
struct io_call {
	struct call call;
	struct event_base *base;
	void *state; /* the kind's own, allocated in start(), freed before io_done() or in stop() */
	void (*done)(struct io_call *io); /* the executor's; io_done() calls it */
	void *owner; /* the executor's */
	uint64_t entered_ns; /* io_enter .. io_leave: time of callbacks */
	uint64_t oncpu_ns;
};

/* Around the body of every libevent callback of an I/O kind, so that the receipt knows its
 * on-CPU time.  io_done() is the last thing a callback does: after it `io` is gone, and it
 * leaves by itself. */
void io_enter(struct io_call *io);
void io_leave(struct io_call *io);
void io_done(struct io_call *io);

struct kind {
	const char *name;
	enum kind_class class;
	const char *help; /* one line */
	bool keeps; /* descriptors and mappings stay with the worker on purpose, for the next job */
	const char *home; /* executor of its default pool; NULL: the one made for its class */
	struct param params[PARAMS_MAX + 1]; /* ends with PARAM_END */
	/* KIND_CPU */
	void (*run)(struct call *call);
	/* KIND_CPU, optional: one item of an array job; the item is the first parameter,
	 * which must be a PARAM_INT; other parameters keep their defaults */
	int64_t (*item)(int64_t x);
	/* KIND_CPU, optional beside item(): the same for `count` items from `first` on, where a
	 * call per item would cost more than the item */
	void (*items)(int64_t first, uint32_t count, int64_t *ret);
	/* KIND_CPU, optional, instead of item(): an array job whose items are pieces of the work
	 * that the call's arguments name, which the client gives with it.  Computes items from
	 * `first` on and returns how many; fewer than `count`: it said why by call_fail().  What
	 * an item's number means is the kind's own; it checks that there is such an item. */
	uint32_t (*range)(struct call *call, int64_t first, uint32_t count, int64_t *ret);
	/* KIND_IO: begin; may end at once by io_done().  Called inside io_enter. */
	void (*start)(struct io_call *io);
	/* KIND_IO: give up: free all that start() made; no io_done(). */
	void (*stop)(struct io_call *io);
};

/* In the order of `pyprepctl kinds`. */
#define KINDS(X)        \
	X(noop)         \
	X(sumsq)        \
	X(square)       \
	X(fib)          \
	X(primes)       \
	X(sort)         \
	X(lines)        \
	X(sleep)        \
	X(read)         \
	X(fetch)        \
	X(fail)         \
	X(touch)        \
	X(echo)         \
	X(array_fill)   \
	X(array_scale)  \
	X(array_random) \
	X(array_sum)    \
	X(array_dot)    \
	X(array_sort)   \
	X(array_merge)  \
	X(exec)

#define X(name) extern const struct kind kind_##name;
KINDS(X)
#undef X

extern const struct kind *const kinds[];
extern const unsigned kind_count;

/* NULL when there is none; the index is what travels in messages. */
const struct kind *kind_by_index(unsigned index);
const struct kind *kind_by_name(const char *name, unsigned *ret_index);
unsigned kind_param_count(const struct kind *kind);

static inline bool
kind_has_items(const struct kind *kind)
{
	return kind->item != NULL || kind->range != NULL;
}

/* 0, or -EINVAL with a sentence that names the kind and what it lacks. */
int kind_check(const struct kind *kind, char *why, size_t why_size);
int kinds_check(char *why, size_t why_size);

#endif
