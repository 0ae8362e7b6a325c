/*
 * fail_calls.h - what the judge (fail_calls.c) and the library in the daemon's processes
 * (fail_calls_lib.c) share: one file that all of them map.
 *
 * The library is preloaded into pyprepd alone.  It counts the calls of each class by the role of
 * the process that makes them, and fails those that the control says.
 */
#ifndef PYPREP_FAIL_CALLS_H
#define PYPREP_FAIL_CALLS_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#define FAIL_CALLS_ENV "FAIL_CALLS" /* the path of the file */

/* What a process is, by its title.  A spare becomes a worker when it gets a slot. */
#define FAIL_ROLES(X)               \
	X(SUPERVISOR, "supervisor") \
	X(BROKER, "broker")         \
	X(WORKER, "worker") X(SPARE, "spare") X(MANAGER, "manager") X(SWEEPER, "sweeper")

/* Calls that fail alike.  "log" is what is written to the standard error; "alloc" is memory, but
 * for SQLite's; "zmq" is every call that libzmq makes, since it ends its process where one fails.
 */
/* clang-format off */
#define FAIL_CLASSES(X) \
	X(OPEN, "open") \
	X(FD, "fd") \
	X(WRITE, "write") \
	X(READ, "read") \
	X(LOG, "log") \
	X(PIPE_WRITE, "pipe_write") \
	X(PIPE_READ, "pipe_read") \
	X(SEND, "send") \
	X(RECV, "recv") \
	X(SYNC, "sync") \
	X(ROOM, "room") \
	X(NAME, "name") \
	X(STAT, "stat") \
	X(LOCK, "lock") \
	X(MMAP, "mmap") \
	X(FORK, "fork") \
	X(THREAD, "thread") \
	X(EPOLL, "epoll") \
	X(WAIT, "wait") \
	X(LOAD, "load") \
	X(ALLOC, "alloc") \
	X(ALLOC_SQLITE, "alloc_sqlite") \
	X(ZMQ, "zmq")
/* clang-format on */

#define FAIL_ENUM(name, text) FAIL_##name,
enum fail_role { FAIL_ROLES(FAIL_ENUM) FAIL_ROLE_COUNT };
enum fail_class { FAIL_CLASSES(FAIL_ENUM) FAIL_CLASS_COUNT };
#undef FAIL_ENUM

/* Instead of an errno. */
enum {
	FAIL_SHORT = 1000, /* half of it */
	FAIL_LIE,          /* says that it was done */
	FAIL_CRASH,        /* SIGSEGV in the place of the call */
	FAIL_HANG,         /* never comes back */
};

enum fail_when {
	FAIL_ONCE,
	FAIL_ALWAYS, /* from there on */
	FAIL_OTHER,  /* every other call from there on: who repeats the call gets on */
};

#define FAIL_FRAMES 14
#define FAIL_DEATHS 64

struct fail_control {
	/* The judge's.  `armed` is written last. */
	uint32_t role, class, error, when;
	uint64_t at;
	_Atomic uint32_t armed;
	/* The library's. */
	_Atomic uint64_t calls[FAIL_ROLE_COUNT][FAIL_CLASS_COUNT];
	_Atomic uint64_t hits;
	uint64_t base;                /* where pyprepd is loaded */
	uint64_t frames[FAIL_FRAMES]; /* who made the first call that failed */
	_Atomic uint32_t deaths;      /* children that the supervisor reaped after a signal */
	int signals[FAIL_DEATHS];
	pid_t pids[FAIL_DEATHS];
};

#endif
